//! Delayed jobs become waiting: at their time, or because somebody says so.

use std::collections::BTreeMap;

use millstream_core::{JobId, QueueEvent, QueueEventKind, QueueName, Result, Timestamp};

use super::{control, counts, moves};
use crate::{
    events,
    fault::{Fault, again},
    rows::Time,
    shared::{Shared, transact},
    sql::{On, Sql},
};

/// Jobs of one transaction.
const BATCH: i64 = 1_000;

/// Delayed jobs that are due become waiting; answers when the next one is due.
pub(crate) async fn promote_due(shared: &Shared) -> Result<Option<Timestamp>> {
    counts::fold_if_many(shared).await;
    loop {
        let next = shared.call("look for due jobs", Sql::JobNextDue, &[]).await?;
        let Some(row) = next.first() else { return Ok(None) };
        let (Time(next), Time(now)) = (row.get("run_at"), row.get("now"));
        if next > now {
            return Ok(Some(next));
        }
        let promoted = again!("promote due jobs", promote_batch(shared))?;
        let full = promoted.count == BATCH as usize;
        let none = promoted.count == 0;
        promoted.tell(shared);
        if none {
            return Ok(Some(next));
        }
        if !full {
            let next = shared.call("look for due jobs", Sql::JobNextDue, &[]).await?;
            return Ok(next.first().map(|row| row.get::<_, Time>("run_at").0));
        }
    }
}

#[derive(Default)]
struct Promoted {
    count: usize,
    ready: BTreeMap<QueueName, i32>,
    events: Vec<QueueEvent>,
}

impl Promoted {
    fn tell(self, shared: &Shared) {
        if self.count > 0 {
            shared.tallied();
        }
        shared.ready(self.ready.iter().map(|(name, id)| (name, *id)));
        shared.tell(self.events);
    }
}

async fn promote_batch(shared: &Shared) -> Result<Promoted, Fault> {
    transact!(shared, shared.logs_any(), unit => promote_in(shared, unit.on()?))
}

async fn promote_in(shared: &Shared, on: On<'_>) -> Result<Promoted, Fault> {
    let rows = shared.run(on, Sql::JobPromoteDue, &[&BATCH]).await?;
    let mut promoted = Promoted { count: rows.len(), ..Promoted::default() };
    for row in &rows {
        let (queue, job): (i32, i64) = (row.get("queue"), row.get("job"));
        let name = shared.named(queue, row.get("queue_name"))?;
        if row.get("watched") || shared.logs(QueueEventKind::Waiting) {
            let attempt = u32::try_from(row.get::<_, i32>("attempt")).unwrap_or(0);
            promoted.events.push(moves::happened(&name, QueueEventKind::Waiting, row, job, attempt, None)?);
        }
        promoted.ready.entry(name).or_insert(queue);
    }
    events::append::job_events(shared, on, &promoted.events).await?;
    Ok(promoted)
}

/// Makes a delayed job waiting now.
pub(crate) async fn promote(shared: &Shared, queue: &QueueName, id: &JobId) -> Result<bool> {
    let doing = || format!("promote job `{id}` of queue `{queue}`");
    let change = again!(doing(), promote_once(shared, queue, id))?;
    Ok(change.tell(shared, queue))
}

async fn promote_once(shared: &Shared, queue: &QueueName, id: &JobId) -> Result<control::Change, Fault> {
    transact!(shared, shared.logs_any(), unit => promote_one(shared, unit.on()?, queue, id))
}

async fn promote_one(shared: &Shared, on: On<'_>, queue: &QueueName, id: &JobId) -> Result<control::Change, Fault> {
    let Some(at) = control::locate(shared, on, queue, id).await? else { return Ok(control::Change::default()) };
    let rows = shared.run(on, Sql::JobPromote, &[&at.queue, &at.job]).await?;
    let Some(row) = rows.first() else { return Ok(control::Change::default()) };
    control::changed(shared, on, control::Turn { queue, id, at, row, kind: QueueEventKind::Waiting }).await
}
