//! What the store and the event log say about a run. Nothing here is counted by the demo itself.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use millstream::{EventQuery, JobCounts, JobId, JobsQuery, Pattern, QueueName, limits::PAGE_ROWS_MAX};
use serde::Serialize;

use super::pipeline::{LAST_EVENTS, Pipeline};
use crate::{
    failure::Failure,
    output::{Output, Table},
    session::Session,
};

/// What the store held before the run, and what tells this run's jobs from those of others: a store that is used again
/// has jobs already, some of which may have been left unfinished, and another demo may be at work on it.
pub(super) struct Tally {
    before: [(QueueName, JobCounts); 2],
    head: u64,
    pattern: Pattern,
    first: JobId,
    ids: String,
}

/// What became of a run.
pub(super) struct Summary {
    queues: Vec<(QueueName, JobCounts)>,
    events: BTreeMap<Arc<str>, u64>,
    /// Jobs whose last event is of a later attempt than the first.
    retried: u64,
    took: Duration,
}

#[derive(Serialize)]
struct Document {
    jobs: Jobs,
    events: Events,
    seconds: f64,
}

#[derive(Serialize)]
struct Jobs {
    enqueued: u64,
    completed: u64,
    failed: u64,
}

#[derive(Serialize)]
struct Events {
    appended: u64,
}

impl Tally {
    pub(super) async fn begin(session: &Session, pipeline: &Pipeline) -> Result<Self, Failure> {
        let count = async |queue: &QueueName| -> millstream::Result<(QueueName, JobCounts)> {
            Ok((queue.clone(), session.stores.queue.counts(queue).await?))
        };
        Ok(Self {
            before: [count(&pipeline.webhooks).await?, count(&pipeline.notify).await?],
            head: session.stores.events.head().await?,
            pattern: Pattern::new(&format!("{}*", pipeline.streams))?,
            first: pipeline.id(0)?,
            ids: pipeline.ids(),
        })
    }

    /// The queues' counts since the run began. In the pipeline's order: when the first is done, the next has all its
    /// jobs. What others left there is worked, too, and counted here: a run is over when nothing is left.
    pub(super) async fn counts(&self, session: &Session) -> Result<Vec<(QueueName, JobCounts)>, Failure> {
        let mut counts = Vec::new();
        for (queue, before) in &self.before {
            let now = session.lasting(async || session.stores.queue.counts(queue).await).await?;
            counts.push((queue.clone(), since(now, *before)));
        }
        Ok(counts)
    }

    /// How many jobs of this run alone are in each state.
    async fn own(&self, session: &Session) -> Result<Vec<(QueueName, JobCounts)>, Failure> {
        let store = &session.stores.queue;
        let first = session.lasting(async || store.job(&self.before[0].0, &self.first).await).await?;
        let since = first.map(|job| job.created_at);
        let mut own = Vec::new();
        for (queue, _) in &self.before {
            let mut query = JobsQuery { since, limit: PAGE_ROWS_MAX, ..JobsQuery::of(queue.clone()) };
            let mut counts = JobCounts::default();
            loop {
                let page = session.lasting(async || store.jobs(&query).await).await?;
                for job in page.items.iter().filter(|job| job.id.as_str().starts_with(&self.ids)) {
                    *counts.of_mut(job.state) += 1;
                }
                query.after = page.next;
                if query.after.is_none() {
                    break;
                }
            }
            own.push((queue.clone(), counts));
        }
        Ok(own)
    }

    pub(super) async fn summary(&self, session: &Session, took: Duration) -> Result<Summary, Failure> {
        let mut summary = Summary { queues: self.own(session).await?, events: BTreeMap::new(), retried: 0, took };
        let mut after = self.head;
        loop {
            let query = EventQuery { after: Some(after), limit: PAGE_ROWS_MAX, ..EventQuery::of(self.pattern.clone()) };
            let page = session.lasting(async || session.stores.events.query(&query).await).await?;
            let Some(last) = page.last() else { return Ok(summary) };
            after = last.id;
            for event in &page {
                *summary.events.entry(event.kind.clone()).or_default() += 1;
                let retried = LAST_EVENTS.contains(&&*event.kind) && event.attempt > Some(1);
                summary.retried += u64::from(retried);
            }
        }
    }
}

/// Only counts of finished jobs can have been there before; others' jobs may also have left meanwhile.
fn since(now: JobCounts, before: JobCounts) -> JobCounts {
    JobCounts {
        completed: now.completed.saturating_sub(before.completed),
        failed: now.failed.saturating_sub(before.failed),
        cancelled: now.cancelled.saturating_sub(before.cancelled),
        ..now
    }
}

impl Summary {
    pub(super) fn print(&self, output: &Output) -> Result<(), Failure> {
        let document = self.document();
        output.either(&document, || self.text(&document, output))?;
        let last: u64 = LAST_EVENTS.iter().filter_map(|kind| self.events.get(*kind)).sum();
        if last != document.jobs.completed {
            let completed = document.jobs.completed;
            return Err(Failure::new(format!("the event log says {last} jobs were completed, the queues {completed}")));
        }
        match document.jobs.failed {
            0 => Ok(()),
            failed => Err(Failure::new(format!("{failed} jobs failed"))),
        }
    }

    fn document(&self) -> Document {
        let sum = |of: fn(&JobCounts) -> u64| self.queues.iter().map(|(_, counts)| of(counts)).sum();
        Document {
            jobs: Jobs {
                enqueued: sum(JobCounts::total),
                completed: sum(|counts| counts.completed),
                failed: sum(|counts| counts.failed),
            },
            events: Events { appended: self.events.values().sum() },
            seconds: (self.took.as_secs_f64() * 1000.0).round() / 1000.0,
        }
    }

    fn text(&self, document: &Document, output: &Output) -> String {
        let mut queues = Table::new(["QUEUE", "ENQUEUED", "COMPLETED", "FAILED"]);
        for (queue, counts) in self.queues.iter().filter(|(_, counts)| counts.total() > 0) {
            let numbers = [counts.total(), counts.completed, counts.failed].map(|number| number.to_string());
            let [enqueued, completed, failed] = numbers;
            queues.row([queue.to_string(), enqueued, completed, failed]);
        }
        let mut events = Table::new(["EVENT", "APPENDED"]);
        for (kind, count) in &self.events {
            events.row([kind.to_string(), count.to_string()]);
        }
        let settled = document.jobs.completed + document.jobs.failed;
        format!(
            "{}\n\n{}\n\n{} jobs enqueued, {settled} settled, {} of them at a later attempt; {} events agree; {} s",
            queues.text(output),
            events.text(output),
            document.jobs.enqueued,
            self.retried,
            document.events.appended,
            document.seconds,
        )
    }
}
