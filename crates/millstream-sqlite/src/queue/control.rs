//! What people do to jobs and queues: cancel, retry, remove, pause.

use millstream_core::{Error, JobId, JobName, JobSettings, JobState, QueueEvent, QueueEventKind, QueueName, Result};
use rusqlite::{Row, params};

use super::live::{self, End};
use crate::{
    fault::Fault,
    rows,
    sql::{self, Run},
    store::SqliteStore,
    tx::{Happened, Queue, Tx},
};

/// Cancels a job at once, or asks its holder to.
pub(crate) async fn cancel(store: &SqliteStore, queue: &QueueName, id: &JobId) -> Result<bool> {
    let doing = format!("cancel job `{id}` of queue `{queue}`");
    let (queue, id) = (queue.clone(), id.clone());
    let cancel = move |tx: &mut Tx<'_>| {
        let Some(live) = live::live(tx, &queue, &id)? else { return Ok(false) };
        if live.state == JobState::Active {
            tx.conn.run(sql::JOB_REQUEST_CANCEL, [live.row])?;
            tx.beat(live.queue.id);
        } else {
            live.end(tx, End::Cancelled(None))?;
        }
        Ok(true)
    };
    store.writer().call(doing, cancel).await
}

/// Runs a finished job again.
pub(crate) async fn retry(store: &SqliteStore, queue: &QueueName, id: &JobId) -> Result<bool> {
    let doing = format!("retry job `{id}` of queue `{queue}`");
    let (queue, id) = (queue.clone(), id.clone());
    let retry = move |tx: &mut Tx<'_>| {
        let Some(queue) = tx.queue(&queue)? else { return Ok(false) };
        let row = tx.conn.first(sql::JOB_FINISHED, params![queue.id, id.as_str()], FinishedRow::read)?;
        match row {
            Some(row) => row.run_again(tx, &queue, &id).map(|()| true),
            None => Ok(false),
        }
    };
    store.writer().call(doing, retry).await
}

struct FinishedRow {
    row: i64,
    state: String,
    attempt: i64,
    started_at: Option<i64>,
    error: Option<String>,
    name: String,
    settings: String,
}

impl FinishedRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            row: row.get(0)?,
            state: row.get(1)?,
            attempt: row.get(2)?,
            started_at: row.get(3)?,
            error: row.get(4)?,
            name: row.get(5)?,
            settings: row.get(6)?,
        })
    }

    /// Waiting again, counting on, with at least one more attempt.
    fn run_again(self, tx: &mut Tx<'_>, queue: &Queue, id: &JobId) -> Result<(), Fault> {
        let (body, done) = (rows::at("job", &self.row), rows::at("job_done", &self.row));
        let name: JobName = rows::word(self.name, body("name"))?;
        let mut settings: JobSettings = rows::json(&self.settings, body("settings"))?;
        let attempt: u32 = rows::count(self.attempt, done("attempt"))?;
        if settings.attempts <= attempt {
            settings.attempts = attempt + 1;
            let text = serde_json::to_string(&settings)
                .map_err(|error| Error::invalid("job options", error.to_string(), "JSON"))?;
            tx.conn.run(sql::JOB_WRITE_SETTINGS, params![self.row, text])?;
        }
        let state = JobState::Waiting;
        let (seq, run_at) = (tx.next_seq()?, rows::micros(tx.now));
        tx.conn.run(sql::JOB_DELETE_DONE, [self.row])?;
        let live = params![
            self.row,
            queue.id,
            state.as_str(),
            settings.priority,
            seq,
            run_at,
            attempt,
            self.started_at,
            self.error
        ];
        tx.conn.run(sql::JOB_INSERT_LIVE, live)?;
        tx.moved(queue.id, Some(rows::state(&self.state, done("state"))?), Some(state));
        tx.ready(queue.id);
        tx.happened(state.into(), Happened { queue, id, name: &name, attempt, data: None })
    }
}

/// Removes a job in whatever state.
pub(crate) async fn remove(store: &SqliteStore, queue: &QueueName, id: &JobId) -> Result<bool> {
    let doing = format!("remove job `{id}` of queue `{queue}`");
    let (queue, id) = (queue.clone(), id.clone());
    let remove = move |tx: &mut Tx<'_>| {
        if let Some(live) = live::live(tx, &queue, &id)? {
            if live.state == JobState::Active {
                tx.beat(live.queue.id);
            }
            delete(tx, &live.queue, live.row, live.state)?;
            live.tell(tx, QueueEventKind::Removed, None)?;
            return Ok(true);
        }
        let Some(queue) = tx.queue(&queue)? else { return Ok(false) };
        let row = tx.conn.first(sql::JOB_FINISHED, params![queue.id, id.as_str()], FinishedRow::read)?;
        let Some(row) = row else { return Ok(false) };
        let done = rows::at("job_done", &row.row);
        let (state, attempt) = (rows::state(&row.state, done("state"))?, rows::count(row.attempt, done("attempt"))?);
        let name = rows::word(row.name, rows::at("job", &row.row)("name"))?;
        delete(tx, &queue, row.row, state)?;
        let happened = Happened { queue: &queue, id: &id, name: &name, attempt, data: None };
        tx.happened(QueueEventKind::Removed, happened)?;
        Ok(true)
    };
    store.writer().call(doing, remove).await
}

fn delete(tx: &mut Tx<'_>, queue: &Queue, row: i64, state: JobState) -> Result<(), Fault> {
    tx.conn.run(sql::JOB_DELETE, [row])?;
    tx.moved(queue.id, Some(state), None);
    Ok(())
}

/// Pauses or resumes a queue, for every process.
pub(crate) async fn set_paused(store: &SqliteStore, queue: &QueueName, paused: bool) -> Result<()> {
    let doing = format!("{} queue `{queue}`", if paused { "pause" } else { "resume" });
    let name = queue.clone();
    let set = move |tx: &mut Tx<'_>| {
        let queue = tx.queue_made(&name)?;
        if tx.conn.run(sql::QUEUE_PAUSE, params![queue.id, paused])? == 0 {
            return Ok(());
        }
        // Resumed, there may be work; paused, workers that look see that there is none.
        tx.ready(queue.id);
        let kind = if paused { QueueEventKind::Paused } else { QueueEventKind::Resumed };
        let at = tx.now;
        tx.tell(&queue, QueueEvent { queue: name, kind, job: None, name: None, attempt: None, at, data: None })
    };
    store.writer().call(doing, set).await
}

/// Whether a queue is paused.
pub(crate) async fn is_paused(store: &SqliteStore, queue: &QueueName) -> Result<bool> {
    let name = queue.clone();
    let read =
        move |conn: &rusqlite::Connection| conn.first(sql::QUEUE_FIND, [name.as_str()], |row| row.get::<_, bool>(1));
    Ok(store.reader().call(format!("read queue `{queue}`"), read).await?.unwrap_or(false))
}
