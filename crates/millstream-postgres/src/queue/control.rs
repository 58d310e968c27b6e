//! What people do to jobs and queues: cancel, retry, remove, pause.

use millstream_core::{JobId, JobName, QueueEvent, QueueEventKind, QueueName, Result};
use tokio_postgres::Row;

use super::{
    held::Held,
    moves::{self, Kind, Move, Moved},
};
use crate::{
    events,
    fault::{Fault, again},
    rows::{self, OwnId, Time},
    shared::{Shared, transact},
    sql::{On, Sql},
};

/// A job that moves all the time is looked for this often.
const LOOKS_MAX: u32 = 20;

/// Where a job is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) queue: i32,
    pub(crate) job: i64,
}

/// A job by its id, in whatever state.
pub(crate) async fn locate(shared: &Shared, on: On<'_>, queue: &QueueName, id: &JobId) -> Result<Option<At>, Fault> {
    let Some(queue) = shared.id(on, queue).await? else { return Ok(None) };
    let own = OwnId::read(id);
    let (twin, twin_at) = (own.map(|own| own.job), own.map(|own| own.created_at));
    let rows = shared.run(on, Sql::JobLocate, &[&queue, &id.as_str(), &twin, &twin_at]).await?;
    let job = rows.first().and_then(|row| row.get::<_, Option<i64>>("job"));
    Ok(job.map(|job| At { queue, job }))
}

/// What an operator's call did, and what is told of it after the commit.
#[derive(Default)]
pub(crate) struct Change {
    done: bool,
    ready: Option<i32>,
    beat: Option<i32>,
    events: Vec<QueueEvent>,
    moved: Option<Moved>,
}

impl Change {
    pub(crate) fn tell(self, shared: &Shared, queue: &QueueName) -> bool {
        if self.done {
            shared.tallied();
        }
        shared.ready(self.ready.map(|id| (queue, id)));
        if let Some(id) = self.beat {
            shared.beat_now(queue, id);
        }
        shared.tell(self.events);
        if let Some(moved) = self.moved {
            moved.tell(shared);
        }
        self.done
    }
}

/// A job's turn, as the statement that made it answers.
pub(crate) struct Turn<'a> {
    pub(crate) queue: &'a QueueName,
    pub(crate) id: &'a JobId,
    pub(crate) at: At,
    pub(crate) row: &'a Row,
    pub(crate) kind: QueueEventKind,
}

/// What is told of a job that is waiting again, or gone.
pub(crate) async fn changed(shared: &Shared, on: On<'_>, turn: Turn<'_>) -> Result<Change, Fault> {
    let Turn { queue, id, at, row, kind } = turn;
    let mut change = Change { done: true, ready: Some(at.queue), ..Change::default() };
    if row.get("watched") || shared.logs(kind) {
        let name: JobName = rows::word(row.get("name"), rows::at("job", &at.job)("name"))?;
        let attempt = u32::try_from(row.get::<_, Option<i32>>("attempt").unwrap_or(0)).ok().filter(|at| *at > 0);
        let (queue, job) = (queue.clone(), Some(id.clone()));
        let happened = row.get::<_, Time>("now").0;
        change.events.push(QueueEvent { queue, kind, job, name: Some(name), attempt, at: happened, data: None });
        events::append::job_events(shared, on, &change.events).await?;
    }
    Ok(change)
}

/// Cancels a job at once, or asks its holder to.
pub(crate) async fn cancel(shared: &Shared, queue: &QueueName, id: &JobId) -> Result<bool> {
    let doing = || format!("cancel job `{id}` of queue `{queue}`");
    let change = again!(doing(), cancel_once(shared, queue, id))?;
    Ok(change.tell(shared, queue))
}

async fn cancel_once(shared: &Shared, queue: &QueueName, id: &JobId) -> Result<Change, Fault> {
    transact!(shared, shared.logs_any(), unit => cancel_in(shared, unit.on()?, queue, id))
}

async fn cancel_in(shared: &Shared, on: On<'_>, queue: &QueueName, id: &JobId) -> Result<Change, Fault> {
    let Some(at) = locate(shared, on, queue, id).await? else { return Ok(Change::default()) };
    // Between two looks it may be claimed or given back: whichever it is then, one of them meets it.
    for _ in 0..LOOKS_MAX {
        let held = Held { queue: at.queue, job: at.job, claim: 0, place: None };
        let drop = Move { held, kind: Kind::Drop, payload: None, wait: 0 };
        let moved = moves::moves(shared, on, &[drop]).await?;
        if moved.states[0].is_some() {
            return Ok(Change { done: true, moved: Some(moved), ..Change::default() });
        }
        if !shared.run(on, Sql::JobRequestCancel, &[&at.queue, &at.job]).await?.is_empty() {
            return Ok(Change { done: true, beat: Some(at.queue), ..Change::default() });
        }
        if shared.run(on, Sql::JobIsLive, &[&at.queue, &at.job]).await?.is_empty() {
            return Ok(Change::default());
        }
    }
    Err(Fault::Raced)
}

/// Runs a finished job again.
pub(crate) async fn retry(shared: &Shared, queue: &QueueName, id: &JobId) -> Result<bool> {
    let doing = || format!("retry job `{id}` of queue `{queue}`");
    let change = again!(doing(), retry_once(shared, queue, id))?;
    Ok(change.tell(shared, queue))
}

async fn retry_once(shared: &Shared, queue: &QueueName, id: &JobId) -> Result<Change, Fault> {
    transact!(shared, shared.logs_any(), unit => retry_in(shared, unit.on()?, queue, id))
}

async fn retry_in(shared: &Shared, on: On<'_>, queue: &QueueName, id: &JobId) -> Result<Change, Fault> {
    let Some(at) = locate(shared, on, queue, id).await? else { return Ok(Change::default()) };
    let rows = shared.run(on, Sql::JobRetry, &[&at.queue, &at.job]).await?;
    let Some(row) = rows.first() else { return Ok(Change::default()) };
    changed(shared, on, Turn { queue, id, at, row, kind: QueueEventKind::Waiting }).await
}

/// Removes a job in whatever state.
pub(crate) async fn remove(shared: &Shared, queue: &QueueName, id: &JobId) -> Result<bool> {
    let doing = || format!("remove job `{id}` of queue `{queue}`");
    let change = again!(doing(), remove_once(shared, queue, id))?;
    Ok(change.tell(shared, queue))
}

async fn remove_once(shared: &Shared, queue: &QueueName, id: &JobId) -> Result<Change, Fault> {
    transact!(shared, shared.logs_any(), unit => remove_in(shared, unit.on()?, queue, id))
}

async fn remove_in(shared: &Shared, on: On<'_>, queue: &QueueName, id: &JobId) -> Result<Change, Fault> {
    for _ in 0..LOOKS_MAX {
        let Some(at) = locate(shared, on, queue, id).await? else { return Ok(Change::default()) };
        let rows = shared.run(on, Sql::JobRemove, &[&vec![at.queue], &vec![at.job]]).await?;
        let Some(row) = rows.first() else { continue };
        if row.get("moved") {
            let was_running = row.get::<_, Option<&str>>("was") == Some("a");
            let turn = Turn { queue, id, at, row, kind: QueueEventKind::Removed };
            let change = changed(shared, on, turn).await?;
            return Ok(Change { ready: None, beat: was_running.then_some(at.queue), ..change });
        }
    }
    Err(Fault::Raced)
}

/// Pauses or resumes a queue, for every process.
pub(crate) async fn set_paused(shared: &Shared, queue: &QueueName, paused: bool) -> Result<()> {
    let doing = || format!("{} queue `{queue}`", if paused { "pause" } else { "resume" });
    let change = again!(doing(), set_once(shared, queue, paused))?;
    change.tell(shared, queue);
    Ok(())
}

async fn set_once(shared: &Shared, queue: &QueueName, paused: bool) -> Result<Change, Fault> {
    let ids = shared.ids_made(&[queue]).await?;
    let id = ids.get(queue).copied().ok_or(Fault::Raced)?;
    transact!(shared, shared.logs_any(), unit => set_in(shared, unit.on()?, queue, id, paused))
}

async fn set_in(shared: &Shared, on: On<'_>, queue: &QueueName, id: i32, paused: bool) -> Result<Change, Fault> {
    let rows = shared.run(on, Sql::QueuePause, &[&id, &paused]).await?;
    let Some(row) = rows.first() else { return Ok(Change::default()) };
    let kind = if paused { QueueEventKind::Paused } else { QueueEventKind::Resumed };
    let mut change = Change { ready: Some(id), ..Change::default() };
    if row.get("watched") || shared.logs(kind) {
        let at = row.get::<_, Time>("at").0;
        let queue = queue.clone();
        change.events.push(QueueEvent { queue, kind, job: None, name: None, attempt: None, at, data: None });
        events::append::job_events(shared, on, &change.events).await?;
    }
    Ok(change)
}

/// Whether a queue is paused.
pub(crate) async fn is_paused(shared: &Shared, queue: &QueueName) -> Result<bool> {
    let rows = shared.call(format!("read queue `{queue}`"), Sql::QueuePaused, &[&queue.as_str()]).await?;
    Ok(rows.first().is_some_and(|row| row.get("paused")))
}
