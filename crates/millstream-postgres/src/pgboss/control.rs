//! What people do to jobs and queues: cancel, retry, remove, promote, pause.

use millstream_core::{JobId, QueueEvent, QueueEventKind, QueueName, Result};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    boss::{Boss, Known, again},
    due,
    held::Held,
    moves::{self, Kind, Move, Moved},
    sql::BossSql,
    words,
};
use crate::{
    events,
    fault::Fault,
    queue::moves::Kind as Native,
    rows::{self, Time},
    shared::transact,
    sql::On,
};

/// A job that moves all the time is looked for this often.
const LOOKS_MAX: u32 = 20;

/// What an operator's call did, and what is told of it after the commit.
#[derive(Default)]
struct Change {
    done: bool,
    ready: bool,
    beat: bool,
    events: Vec<QueueEvent>,
    moved: Option<Moved>,
}

impl Change {
    fn tell(self, boss: &Boss, queue: &QueueName) -> bool {
        boss.ready(self.ready.then_some((queue, true)));
        if self.beat {
            boss.beat_now(queue);
        }
        boss.shared.tell(self.events);
        if let Some(moved) = self.moved {
            moved.tell(boss);
        }
        self.done
    }
}

/// One job that somebody names.
struct Named<'a> {
    queue: &'a QueueName,
    id: &'a JobId,
    row: Uuid,
    known: Known,
}

impl<'a> Named<'a> {
    /// `None`: there is no such queue.
    async fn of(boss: &Boss, on: On<'_>, queue: &'a QueueName, id: &'a JobId) -> Result<Option<Self>, Fault> {
        let known = boss.one(on, queue).await?;
        Ok(known.map(|known| Self { queue, id, row: words::row_id(queue, id), known }))
    }

    async fn run(&self, boss: &Boss, on: On<'_>, sql: BossSql) -> Result<Option<Row>, Fault> {
        let (queue, job) = (self.queue.as_str(), self.row.to_string());
        Ok(boss.run_in(on, sql, &self.known.table, &[&queue, &job]).await?.into_iter().next())
    }

    fn moved(&self, kind: Kind) -> Move {
        let (queue, table) = (self.queue.clone(), self.known.table.clone());
        let held = Held { queue, table, job: self.row, fence: 0, start: 0, call: 0, beside: true, place: None };
        Move { held, kind, payload: None, wait: 0 }
    }

    /// What is told of a job that is waiting again, or gone.
    async fn changed(&self, boss: &Boss, on: On<'_>, row: &Row, kind: QueueEventKind) -> Result<Change, Fault> {
        let mut change = Change { done: true, ready: true, ..Change::default() };
        if row.get("watched") || boss.shared.logs(kind) {
            let body = rows::json_option(row.get("data"), rows::at("job", self.id)("data"))?;
            let (name, _) = words::data_out(self.queue, row.get("name"), body);
            let attempt = Some(words::attempt(row.get("retry_count"), row.get("started"))).filter(|at| *at > 0);
            let (queue, job) = (self.queue.clone(), Some(self.id.clone()));
            let at = row.get::<_, Time>("now").0;
            change.events.push(QueueEvent { queue, kind, job, name: Some(name), attempt, at, data: None });
            events::append::job_events(&boss.shared, on, &change.events).await?;
        }
        Ok(change)
    }
}

/// Cancels a job at once, or asks its holder to. A worker of pg-boss's own is not told: its job is cancelled at once, as
/// pg-boss does it.
pub(crate) async fn cancel(boss: &Boss, queue: &QueueName, id: &JobId) -> Result<bool> {
    let doing = || format!("cancel job `{id}` of queue `{queue}`");
    let change = again!(boss, doing(), cancel_once(boss, queue, id))?;
    Ok(change.tell(boss, queue))
}

async fn cancel_once(boss: &Boss, queue: &QueueName, id: &JobId) -> Result<Change, Fault> {
    let shared = &*boss.shared;
    transact!(shared, shared.logs_any(), unit => cancel_in(boss, unit.on()?, queue, id))
}

async fn cancel_in(boss: &Boss, on: On<'_>, queue: &QueueName, id: &JobId) -> Result<Change, Fault> {
    let Some(named) = Named::of(boss, on, queue, id).await? else { return Ok(Change::default()) };
    // Between two looks it may be claimed or given back: whichever it is then, one of them meets it.
    for _ in 0..LOOKS_MAX {
        for kind in [Kind::Of(Native::Drop), Kind::Stop] {
            let moved = moves::moves(boss, on, &[named.moved(kind)]).await?;
            if moved.states[0].is_some() {
                return Ok(Change { done: true, beat: kind == Kind::Stop, moved: Some(moved), ..Change::default() });
            }
        }
        if named.run(boss, on, BossSql::RequestCancel).await?.is_some() {
            return Ok(Change { done: true, beat: true, ..Change::default() });
        }
        if named.run(boss, on, BossSql::IsLive).await?.is_none() {
            return Ok(Change::default());
        }
    }
    Err(Fault::Raced)
}

/// Runs a finished job again.
pub(crate) async fn retry(boss: &Boss, queue: &QueueName, id: &JobId) -> Result<bool> {
    let doing = || format!("retry job `{id}` of queue `{queue}`");
    let change = again!(boss, doing(), turn(boss, queue, id, BossSql::Retry, QueueEventKind::Waiting))?;
    Ok(change.tell(boss, queue))
}

/// Makes a delayed job waiting now.
pub(crate) async fn promote(boss: &Boss, queue: &QueueName, id: &JobId) -> Result<bool> {
    let doing = || format!("promote job `{id}` of queue `{queue}`");
    let change = again!(boss, doing(), turn(boss, queue, id, BossSql::Promote, QueueEventKind::Waiting))?;
    Ok(change.tell(boss, queue))
}

/// Removes a job in whatever state.
pub(crate) async fn remove(boss: &Boss, queue: &QueueName, id: &JobId) -> Result<bool> {
    let doing = || format!("remove job `{id}` of queue `{queue}`");
    let change = again!(boss, doing(), turn(boss, queue, id, BossSql::Remove, QueueEventKind::Removed))?;
    Ok(change.tell(boss, queue))
}

async fn turn(boss: &Boss, queue: &QueueName, id: &JobId, sql: BossSql, kind: QueueEventKind) -> Result<Change, Fault> {
    let shared = &*boss.shared;
    transact!(shared, shared.logs_any(), unit => turn_in(boss, unit.on()?, queue, id, sql, kind))
}

async fn turn_in(
    boss: &Boss,
    on: On<'_>,
    queue: &QueueName,
    id: &JobId,
    sql: BossSql,
    kind: QueueEventKind,
) -> Result<Change, Fault> {
    let Some(named) = Named::of(boss, on, queue, id).await? else { return Ok(Change::default()) };
    if sql == BossSql::Promote {
        // What became due until now is told first: this job is not among it then.
        due::tell_due(boss, on).await?.tell(boss);
    }
    let Some(row) = named.run(boss, on, sql).await? else { return Ok(Change::default()) };
    let change = named.changed(boss, on, &row, kind).await?;
    Ok(match sql {
        BossSql::Remove => Change { ready: false, beat: row.get("was_running"), ..change },
        _ => change,
    })
}

/// Pauses or resumes a queue, for every process of Millstream.
pub(crate) async fn set_paused(boss: &Boss, queue: &QueueName, paused: bool) -> Result<()> {
    let doing = || format!("{} queue `{queue}`", if paused { "pause" } else { "resume" });
    let change = again!(boss, doing(), set_once(boss, queue, paused))?;
    change.tell(boss, queue);
    Ok(())
}

async fn set_once(boss: &Boss, queue: &QueueName, paused: bool) -> Result<Change, Fault> {
    boss.made(&[queue]).await?;
    let shared = &*boss.shared;
    transact!(shared, shared.logs_any(), unit => set_in(boss, unit.on()?, queue, paused))
}

async fn set_in(boss: &Boss, on: On<'_>, queue: &QueueName, paused: bool) -> Result<Change, Fault> {
    let rows = boss.run(on, BossSql::QueuePause, &[&queue.as_str(), &paused]).await?;
    let Some(row) = rows.first() else { return Ok(Change::default()) };
    let kind = if paused { QueueEventKind::Paused } else { QueueEventKind::Resumed };
    let mut change = Change { ready: true, ..Change::default() };
    if row.get("watched") || boss.shared.logs(kind) {
        let at = row.get::<_, Time>("at").0;
        let queue = queue.clone();
        change.events.push(QueueEvent { queue, kind, job: None, name: None, attempt: None, at, data: None });
        events::append::job_events(&boss.shared, on, &change.events).await?;
    }
    Ok(change)
}

/// Whether a queue is paused.
pub(crate) async fn is_paused(boss: &Boss, queue: &QueueName) -> Result<bool> {
    let rows = boss.call(format!("read queue `{queue}`"), BossSql::QueuePaused, &[&queue.as_str()]).await?;
    Ok(rows.first().is_some_and(|row| row.get("paused")))
}
