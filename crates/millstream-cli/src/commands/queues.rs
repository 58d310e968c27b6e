//! `millstream queues`.

use clap::{Args, Subcommand};
use millstream::{QueueInfo, QueueName};
use serde_json::json;

use crate::{
    failure::Failure,
    output::{Output, Table},
    session::Session,
};

/// Look at queues, pause and resume them.
#[derive(Debug, Subcommand)]
pub(crate) enum Queues {
    /// Every queue with its jobs by state.
    List,
    /// Let no worker of any process take jobs from a queue, until it is resumed.
    Pause(One),
    /// End a pause.
    Resume(One),
}

#[derive(Debug, Args)]
pub(crate) struct One {
    /// The queue.
    queue: QueueName,
}

impl Queues {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List => list(session).await,
            Self::Pause(one) => one.set(session, true).await,
            Self::Resume(one) => one.set(session, false).await,
        }
    }
}

async fn list(session: &Session) -> Result<(), Failure> {
    let queues = session.stores.queue.queues().await?;
    session.output.either(&queues, || table(&queues, &session.output))?;
    if queues.is_empty() {
        session.output.talk("no queues yet: a queue begins with its first job");
    }
    Ok(())
}

fn table(queues: &[QueueInfo], output: &Output) -> String {
    let mut table = Table::new(["QUEUE", "WAITING", "DELAYED", "ACTIVE", "COMPLETED", "FAILED", "CANCELLED", "PAUSED"]);
    for queue in queues {
        let counts = queue.counts;
        let numbers =
            [counts.waiting, counts.delayed, counts.active, counts.completed, counts.failed, counts.cancelled];
        let [waiting, delayed, active, completed, failed, cancelled] = numbers.map(|number| number.to_string());
        let paused = if queue.paused { "yes" } else { "" };
        table.row([queue.name.to_string(), waiting, delayed, active, completed, failed, cancelled, paused.into()]);
    }
    table.text(output)
}

impl One {
    async fn set(&self, session: &Session, paused: bool) -> Result<(), Failure> {
        let store = &session.stores.queue;
        let known = store.queues().await?.iter().any(|queue| queue.name == self.queue);
        if !known && !paused {
            return Err(Failure::new(format!("there is no queue `{}`", self.queue)));
        }
        if paused {
            store.pause(&self.queue).await?
        } else {
            store.resume(&self.queue).await?
        }
        if session.output.json {
            session.output.json(&json!({ "queue": self.queue, "paused": paused }))?;
        }
        let done = if paused { "paused" } else { "resumed" };
        let new = if known { "" } else { ", which has no jobs yet" };
        session.output.talk(format_args!("{done} queue `{}`{new}", self.queue));
        Ok(())
    }
}
