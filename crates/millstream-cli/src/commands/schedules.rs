//! `millstream schedules`.

use clap::{Args, Subcommand, ValueEnum};
use millstream::{JobName, Missed, QueueName, Schedule, ScheduleInfo};
use serde_json::{Value, json};

use crate::{
    args::{self, JobOptionArgs},
    failure::Failure,
    output::{Output, Table, plain, time_or_dash},
    session::Session,
};

/// Jobs by the clock.
#[derive(Debug, Subcommand)]
pub(crate) enum Schedules {
    /// Every schedule, or a queue's.
    List(List),
    /// Write a schedule; one with the same queue and key is replaced.
    Set(Box<Set>),
    /// Remove a schedule; jobs that it enqueued stay.
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this queue's.
    queue: Option<QueueName>,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The queue of its jobs.
    queue: QueueName,
    /// Tells the queue's schedules apart.
    key: String,
    /// Five cron fields, as in '*/5 * * * *', or six with seconds first.
    cron: String,
    /// The jobs' name; without one, they go by their queue's.
    #[arg(long)]
    name: Option<JobName>,
    /// The time zone of the expression, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    /// The jobs' data as JSON; `-` reads it from stdin.
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// What happens to ticks more than a minute late.
    #[arg(long, value_enum, default_value_t = MissedArg::Once)]
    missed: MissedArg,
    #[command(flatten)]
    options: JobOptionArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MissedArg {
    /// They are dropped.
    Skip,
    /// The latest of them runs.
    Once,
    /// Each of them runs.
    All,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The queue.
    queue: QueueName,
    /// The schedule's key.
    key: String,
}

impl Schedules {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(session).await,
            Self::Set(set) => set.run(session).await,
            Self::Remove(remove) => remove.run(session).await,
        }
    }
}

impl List {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let schedules = session.stores.queue.schedules(self.queue.as_ref()).await?;
        session.output.either(&schedules, || table(&schedules, &session.output))?;
        if schedules.is_empty() {
            session.output.talk("no schedules");
        }
        Ok(())
    }
}

fn table(schedules: &[ScheduleInfo], output: &Output) -> String {
    let mut table = Table::new(["QUEUE", "KEY", "CRON", "ZONE", "NAME", "NEXT", "LAST"]);
    for info in schedules {
        let schedule = &info.schedule;
        table.row([
            schedule.queue.to_string(),
            plain(&schedule.key),
            schedule.cron.to_string(),
            schedule.time_zone.to_string(),
            schedule.name.to_string(),
            time_or_dash(info.next_at),
            time_or_dash(info.last_at),
        ]);
    }
    table.text(output)
}

impl Set {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let schedule = self.schedule()?;
        session.stores.queue.schedule_upsert(&schedule).await?;
        let all = session.stores.queue.schedules(Some(&self.queue)).await?;
        let stored = all.iter().find(|info| *info.schedule.key == *self.key);
        if session.output.json {
            session.output.json(&stored)?;
        }
        let next = time_or_dash(stored.and_then(|info| info.next_at));
        session.output.talk(format_args!("schedule `{}` of queue `{}` runs next at {next}", self.key, self.queue));
        Ok(())
    }

    fn schedule(&self) -> Result<Schedule, Failure> {
        let name = self.name.clone().unwrap_or_else(|| JobName::from(&self.queue));
        let data = self.data.as_deref().map(|text| args::json("--data", text)).transpose()?;
        let missed = match self.missed {
            MissedArg::Skip => Missed::Skip,
            MissedArg::Once => Missed::Once,
            MissedArg::All => Missed::All,
        };
        Ok(Schedule {
            time_zone: self.time_zone.as_str().into(),
            data: data.unwrap_or(Value::Null),
            options: self.options.options(),
            missed,
            ..Schedule::new(self.queue.clone(), self.key.as_str(), self.cron.as_str(), name)
        })
    }
}

impl Remove {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        if !session.stores.queue.unschedule(&self.queue, &self.key).await? {
            return Err(Failure::new(format!("queue `{}` has no schedule `{}`", self.queue, self.key)));
        }
        if session.output.json {
            session.output.json(&json!({ "queue": self.queue, "key": self.key, "removed": true }))?;
        }
        session.output.talk(format_args!("removed schedule `{}` of queue `{}`", self.key, self.queue));
        Ok(())
    }
}
