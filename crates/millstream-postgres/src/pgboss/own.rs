//! What is pg-boss's own: queues by policy, sending in its words, publish and subscribe, dead letters sent again.
//!
//! Left to pg-boss itself, and refused here by name: schedules by RRULE, tiers of groups.

use millstream_core::{Error, JobGroup, JobId, QueueName, Result, RunAt};
use serde_json::Value;
use std::time::Duration;
use tokio_postgres::Row;

use super::{
    boss::{Boss, again},
    held::Held,
    insert::{self, Entry, Fields},
    moves::Kind,
    options::QueueSettings,
    settle::{self, Aim},
    sql::BossSql,
    store::{KIND, PgBossStore},
    words::{self, OptionsIn},
};
use crate::{fault::Fault, shared::transact, sql::On};

/// How a job is sent, in pg-boss's words. What is `None` is its queue's.
#[derive(Clone, Debug, Default)]
pub struct SendOptions {
    /// The caller's own id.
    pub id: Option<JobId>,
    /// **Greater runs first**, as pg-boss has it. 0 by default.
    pub priority: Option<i32>,
    /// When it becomes ready; `None`: at once.
    pub start_after: Option<RunAt>,
    /// What the queue's policy and a throttle count by.
    pub singleton_key: Option<String>,
    /// At most one job of the key in each slot of so many seconds.
    pub singleton_seconds: Option<u32>,
    /// Where the slot is taken, the job is sent into the next one (a debounce), rather than refused.
    pub singleton_next_slot: bool,
    /// How often it is tried again.
    pub retry_limit: Option<u32>,
    /// The wait before that.
    pub retry_delay: Option<Duration>,
    /// Whether the wait grows.
    pub retry_backoff: Option<bool>,
    /// The longest wait; it needs `retry_backoff`.
    pub retry_delay_max: Option<Duration>,
    /// How long one attempt may take.
    pub expire: Option<Duration>,
    /// How long it is kept where nobody starts it.
    pub retention: Option<Duration>,
    /// How long it is kept once finished; zero: until somebody removes it.
    pub delete_after: Option<Duration>,
    /// How long it may run without a heartbeat.
    pub heartbeat: Option<Duration>,
    /// The group that its running jobs are counted by, where the queue's groups are limited
    /// ([`PgBossStore::set_group_concurrency`]); pg-boss's own workers count by it, too. As [`JobOptions::group`](millstream_core::JobOptions::group).
    pub group_id: Option<String>,
    /// The group's tier: refused. Only pg-boss's own workers know tiers.
    pub group_tier: Option<String>,
    /// The queue that takes a copy where it fails.
    pub dead_letter: Option<QueueName>,
}

impl SendOptions {
    fn fields(&self) -> Result<Fields> {
        if self.group_tier.is_some() {
            return Err(Error::Unsupported { store: KIND, what: "tiers of groups" });
        }
        if let Some(group) = &self.group_id {
            JobGroup::new(&**group).check()?;
        }
        if self.singleton_seconds == Some(0) {
            return Err(Error::invalid("singleton_seconds", 0, "at least 1"));
        }
        if self.retry_delay_max.is_some() && self.retry_backoff != Some(true) {
            let expected = "`retry_backoff`, without which no wait grows";
            return Err(Error::invalid("retry_delay_max", "a longest wait", expected));
        }
        let seconds = |time: Option<Duration>| time.map(words::seconds);
        let (due, delay) = match self.start_after {
            Some(RunAt::At(at)) => (Some(at), None),
            Some(RunAt::After(delay)) => (None, Some(delay)),
            None => (None, None),
        };
        let words = OptionsIn {
            priority: self.priority,
            retry_limit: self.retry_limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)),
            retry_delay: seconds(self.retry_delay),
            retry_backoff: self.retry_backoff,
            retry_delay_max: seconds(self.retry_delay_max),
            expire_seconds: seconds(self.expire),
            deletion_seconds: seconds(self.delete_after),
            ..OptionsIn::default()
        };
        Ok(Fields {
            words,
            due,
            delay,
            singleton_key: self.singleton_key.clone(),
            every: self.singleton_seconds.map(i64::from),
            retention: seconds(self.retention),
            heartbeat: seconds(self.heartbeat),
            group_id: self.group_id.clone(),
            dead_letter: self.dead_letter.as_ref().map(ToString::to_string),
            ..Fields::default()
        })
    }
}

/// Which jobs of a dead letter queue are sent again.
#[derive(Clone, Debug, Default)]
pub struct Redrive {
    /// At most so many; 1,000 by default.
    pub limit: Option<u32>,
    /// Where to, rather than to the queue that each came from.
    pub destination: Option<QueueName>,
    /// Only those that came from this queue.
    pub source: Option<QueueName>,
}

impl PgBossStore {
    /// Makes a queue; one that exists is left as it is.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for settings that pg-boss would not take, such as a dead letter queue that does not exist.
    pub async fn create_queue(&self, queue: &QueueName, settings: &QueueSettings) -> Result<()> {
        settings.check()?;
        let words = settings.words().to_string();
        let doing = format!("make queue `{queue}`");
        self.boss().call(doing, BossSql::QueueCreate, &[&queue.as_str(), &words]).await.map(drop)
    }

    /// Changes what a queue says to its next jobs: all of it but policy and partition. False: there is no such queue.
    ///
    /// # Errors
    ///
    /// As [`create_queue`](Self::create_queue).
    pub async fn update_queue(&self, queue: &QueueName, settings: &QueueSettings) -> Result<bool> {
        settings.check()?;
        let words = settings.words().to_string();
        let doing = format!("change queue `{queue}`");
        let found = self.boss().call(doing, BossSql::QueueUpdate, &[&queue.as_str(), &words]).await?;
        self.boss().forget();
        Ok(!found.is_empty())
    }

    /// Removes a queue with its jobs. False: there is no such queue.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where another queue, or a job of one, names it as its dead letter queue.
    pub async fn delete_queue(&self, queue: &QueueName) -> Result<bool> {
        let boss = self.boss();
        let doing = || format!("remove queue `{queue}`");
        let name = queue.as_str();
        let named = boss.call(doing(), BossSql::QueueNamed, &[&name]).await?;
        if let Some(by) = named.first().map(|row| row.get::<_, String>("name")) {
            let got = format!("the dead letter queue of `{by}`");
            return Err(Error::invalid("queue to remove", got, "a queue that no other names"));
        }
        let gone = boss.call(doing(), BossSql::QueueDelete, &[&name]).await?;
        boss.call(doing(), BossSql::LimitClear, &[&name]).await?;
        boss.forget();
        Ok(gone.first().is_some_and(|row| row.get("there")))
    }

    /// Sends a job in pg-boss's words, its data as it stands. `None`: the queue's policy, a throttle or its id refused it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for options that cannot be, [`Error::Unsupported`] for what is left to pg-boss.
    pub async fn send(&self, queue: &QueueName, data: &Value, options: &SendOptions) -> Result<Option<JobId>> {
        let boss = self.boss();
        let mut fields = options.fields()?;
        let sent = sent(boss, queue, data, options.id.as_ref(), fields.clone()).await?;
        if let (None, true, Some(every)) = (&sent, options.singleton_next_slot, fields.every) {
            fields.later = Some(every);
            let rows = boss.call("look at the clock", BossSql::Now, &[]).await?;
            let now = rows.first().map_or(0, |row| row.get::<_, i64>("seconds"));
            fields.due = None;
            fields.delay = Some(Duration::from_secs((every - now.rem_euclid(every)).unsigned_abs()));
            return self::sent(boss, queue, data, options.id.as_ref(), fields).await;
        }
        Ok(sent)
    }

    /// Sends jobs of an event to a queue from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where there is no such queue.
    pub async fn subscribe_queue(&self, event: &str, queue: &QueueName) -> Result<()> {
        let doing = format!("subscribe queue `{queue}` to `{event}`");
        self.boss().call(doing, BossSql::Subscribe, &[&event, &queue.as_str()]).await.map(drop)
    }

    /// Ends that. False: it was not subscribed.
    ///
    /// # Errors
    ///
    /// What the database answers.
    pub async fn unsubscribe_queue(&self, event: &str, queue: &QueueName) -> Result<bool> {
        let doing = format!("unsubscribe queue `{queue}` from `{event}`");
        Ok(!self.boss().call(doing, BossSql::Unsubscribe, &[&event, &queue.as_str()]).await?.is_empty())
    }

    /// Sends a job to each queue that subscribed to an event, each by itself. Answers how many took one.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); the first one, after every queue was tried.
    pub async fn publish(&self, event: &str, data: &Value, options: &SendOptions) -> Result<u64> {
        let rows = self.boss().call(format!("publish `{event}`"), BossSql::Subscribers, &[&event]).await?;
        let (mut sent, mut failed) = (0, None);
        for queue in rows.iter().filter_map(|row| QueueName::new(row.get::<_, String>("name")).ok()) {
            match self.send(&queue, data, options).await {
                Ok(job) => sent += u64::from(job.is_some()),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        failed.map_or(Ok(sent), Err)
    }

    /// Completes running jobs, whoever holds them, with one output. Answers how many.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an output that no store holds.
    pub async fn complete(&self, queue: &QueueName, ids: &[JobId], output: &Value) -> Result<u64> {
        let payload = words::output_text(output)?;
        end(self.boss(), queue, ids, Kind::Finish, payload.as_deref()).await
    }

    /// Fails unfinished jobs, whoever holds them: they are tried again where attempts are left. Answers how many.
    ///
    /// # Errors
    ///
    /// What the database answers.
    pub async fn fail(&self, queue: &QueueName, ids: &[JobId], error: &Value) -> Result<u64> {
        let payload = words::error_text(error);
        end(self.boss(), queue, ids, Kind::Break, payload.as_deref()).await
    }

    /// Notes a heartbeat of running jobs, whoever holds them. Answers how many.
    ///
    /// # Errors
    ///
    /// What the database answers.
    pub async fn touch(&self, queue: &QueueName, ids: &[JobId]) -> Result<u64> {
        let boss = self.boss();
        let ids: Vec<String> = ids.iter().map(|id| words::row_id(queue, id).to_string()).collect();
        let rows: Vec<Row> = again!(boss, "touch jobs", touch(boss, queue, &ids))?;
        Ok(rows.len() as u64)
    }

    /// Sends jobs of a dead letter queue again, as their queue would take them now. One that its policy refuses stays, failed,
    /// and says why. Answers how many were sent.
    ///
    /// # Errors
    ///
    /// What the database answers.
    pub async fn redrive(&self, queue: &QueueName, what: &Redrive) -> Result<u64> {
        let boss = self.boss();
        let to = what.destination.as_ref().map(QueueName::as_str);
        let from = what.source.as_ref().map(QueueName::as_str);
        let limit = i64::from(what.limit.unwrap_or(1_000));
        let doing = format!("send jobs of `{queue}` again");
        let rows = boss.call(doing, BossSql::Redrive, &[&queue.as_str(), &to, &from, &limit]).await?;
        let names = rows.iter().filter_map(|row| QueueName::new(row.get::<_, String>("queue")).ok());
        let names: Vec<QueueName> = names.collect();
        boss.ready(names.iter().map(|name| (name, true)));
        Ok(rows.iter().map(|row| row.get::<_, i64>("jobs").unsigned_abs()).sum())
    }
}

async fn sent(
    boss: &Boss,
    queue: &QueueName,
    data: &Value,
    id: Option<&JobId>,
    fields: Fields,
) -> Result<Option<JobId>> {
    let mut entry = Entry::plain(boss, queue, data, fields)?;
    if let Some(id) = id {
        entry.id = words::row_id(queue, id);
        entry.own = Some(id.clone());
    }
    let mut answers = insert::write_each(boss, &[entry]).await?;
    Ok(answers.pop().flatten())
}

async fn end(boss: &Boss, queue: &QueueName, ids: &[JobId], kind: Kind, payload: Option<&str>) -> Result<u64> {
    let moved = again!(boss, "end jobs", end_once(boss, queue, ids, kind, payload))?;
    let ended = moved.states.iter().flatten().count() as u64;
    moved.tell(boss);
    if ended > 0 {
        boss.beat_now(queue);
    }
    Ok(ended)
}

async fn end_once(
    boss: &Boss,
    queue: &QueueName,
    ids: &[JobId],
    kind: Kind,
    payload: Option<&str>,
) -> Result<super::moves::Moved, Fault> {
    let shared = &*boss.shared;
    transact!(shared, true, unit => end_in(boss, unit.on()?, queue, ids, kind, payload))
}

async fn end_in(
    boss: &Boss,
    on: On<'_>,
    queue: &QueueName,
    ids: &[JobId],
    kind: Kind,
    payload: Option<&str>,
) -> Result<super::moves::Moved, Fault> {
    let Some(known) = boss.one(on, queue).await? else { return Ok(super::moves::Moved::default()) };
    let mut rows: Vec<uuid::Uuid> = ids.iter().map(|id| words::row_id(queue, id)).collect();
    rows.sort_unstable();
    rows.dedup();
    let held = |job| Held {
        queue: queue.clone(),
        table: known.table.clone(),
        job,
        fence: 0,
        start: 0,
        call: 0,
        beside: true,
        place: None,
    };
    let held: Vec<Held> = rows.into_iter().map(held).collect();
    let wait = (kind == Kind::Finish).then_some(0);
    let aims: Vec<Aim<'_>> = held.iter().map(|held| Aim { held, kind, payload, wait }).collect();
    settle::end(boss, on, &aims).await
}

async fn touch(boss: &Boss, queue: &QueueName, ids: &[String]) -> Result<Vec<Row>, Fault> {
    let conn = boss.shared.conn().await?;
    let on = On::Conn(&conn);
    let Some(known) = boss.one(on, queue).await? else { return Ok(Vec::new()) };
    boss.run_in(on, BossSql::Touch, &known.table, &[&queue.as_str(), &ids.to_vec()]).await
}
