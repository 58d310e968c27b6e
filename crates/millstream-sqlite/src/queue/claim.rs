//! Taking ready jobs for work.

use std::{collections::BTreeMap, sync::Arc};

use millstream_core::{
    ClaimRef, Claimed, Error, JobId, JobName, JobSettings, JobState, QueueEventKind, QueueName, Result, Want,
    limits::CLAIM_BATCH_MAX,
};
use rusqlite::{Connection, Row, params};
use serde_json::json;

use crate::{
    fault::Fault,
    rows,
    sql::{self, Run},
    store::SqliteStore,
    tx::{Happened, Queue, Tx},
};

/// A ready job, not taken yet. Ordered as they are taken.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pick {
    priority: i64,
    seq: i64,
    row: i64,
    /// Which of the wants.
    want: usize,
}

/// Takes ready jobs of all these queues in one transaction. An idle call is a look, and takes no write lock.
pub(crate) async fn claim(store: &SqliteStore, wants: &[Want]) -> Result<Vec<Claimed>> {
    let mut rooms: BTreeMap<QueueName, u32> = BTreeMap::new();
    for want in wants.iter().filter(|want| want.at_most > 0) {
        let room = rooms.entry(want.queue.clone()).or_default();
        *room = room.saturating_add(want.at_most);
    }
    if rooms.is_empty() {
        return Ok(Vec::new());
    }
    let rooms: Vec<(QueueName, u32)> = rooms.into_iter().collect();
    let queues: Vec<QueueName> = rooms.iter().map(|(queue, _)| queue.clone()).collect();
    store.writer().call_unless("claim jobs", move |conn, _| idle(conn, &queues), move |tx| take_all(tx, &rooms)).await
}

/// The empty answer, if none of the queues has a ready job.
fn idle(conn: &Connection, queues: &[QueueName]) -> Result<Option<Vec<Claimed>>, Fault> {
    for queue in queues {
        if conn.first(sql::JOB_READY_ANY, [queue.as_str()], |_| Ok(()))?.is_some() {
            return Ok(None);
        }
    }
    Ok(Some(Vec::new()))
}

fn take_all(tx: &mut Tx<'_>, rooms: &[(QueueName, u32)]) -> Result<Vec<Claimed>, Fault> {
    let mut queues = Vec::with_capacity(rooms.len());
    let mut picks = Vec::new();
    for (name, room) in rooms {
        let row = tx.conn.first(sql::QUEUE_FIND, [name.as_str()], |row| Ok((row.get(0)?, row.get::<_, bool>(1)?)))?;
        if let Some((id, false)) = row {
            picks.extend(pick(tx.conn, id, *room, queues.len())?);
            queues.push(Queue { id, name: name.clone() });
        }
    }
    // The cap is for all queues together: the most urgent first, whichever queue they are of.
    picks.sort_unstable();
    picks.truncate(CLAIM_BATCH_MAX as usize);
    let mut claimed = Vec::with_capacity(picks.len());
    for Pick { row, want, .. } in picks {
        claimed.extend(take(tx, &queues[want], row)?);
    }
    Ok(claimed)
}

fn pick(conn: &Connection, queue: i64, room: u32, want: usize) -> Result<Vec<Pick>, Fault> {
    conn.all(sql::JOB_PICK, params![queue, room.min(CLAIM_BATCH_MAX)], |row| {
        Ok(Pick { row: row.get(0)?, priority: row.get(1)?, seq: row.get(2)?, want })
    })
}

/// Takes one job. `None`: its row is damaged; it is failed, so that it does not block the queue.
fn take(tx: &mut Tx<'_>, queue: &Queue, row: i64) -> Result<Option<Claimed>, Fault> {
    let token = tx.token()?;
    let until = rows::micros(rows::later(tx.now, tx.shared.options.lease));
    let taken = params![row, &*token, until, rows::micros(tx.now)];
    let taken = tx.conn.first(sql::JOB_TAKE, taken, |row| {
        Ok(Taken { token: token.clone(), attempt: row.get(0)?, life: row.get(1)? })
    })?;
    let Some(taken) = taken else { return Ok(None) };
    tx.moved(queue.id, Some(JobState::Waiting), Some(JobState::Active));
    let body = tx.conn.first(sql::JOB_BODY, [row], |row| Ok(Body::read(row)))?;
    let body = match body {
        Some(Ok(body)) => body.parse(row),
        Some(Err(error)) => Err(rows::at("job", &row)("data").corrupt(error)),
        None => Err(rows::at("job", &row)("id").corrupt("a live job without a body")),
    };
    match body {
        Ok(body) => Ok(Some(body.claimed(tx, queue, taken)?)),
        Err(error) => {
            fail_damaged(tx, queue, row, taken.attempt, &error)?;
            Ok(None)
        }
    }
}

/// What taking a job made of its live row.
struct Taken {
    token: Arc<str>,
    attempt: i64,
    life: i64,
}

/// The columns of a body, as they are stored.
struct Body {
    id: String,
    name: String,
    data: String,
    settings: String,
    trace: Option<String>,
}

/// A body that is whole.
struct Whole {
    id: JobId,
    name: JobName,
    data: serde_json::Value,
    settings: JobSettings,
    trace: Option<serde_json::Value>,
}

impl Body {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { id: row.get(0)?, name: row.get(1)?, data: row.get(2)?, settings: row.get(3)?, trace: row.get(4)? })
    }

    fn parse(self, row: i64) -> Result<Whole> {
        let at = rows::at("job", &row);
        Ok(Whole {
            id: rows::word(self.id, at("job"))?,
            name: rows::word(self.name, at("name"))?,
            data: rows::json(&self.data, at("data"))?,
            settings: rows::json(&self.settings, at("settings"))?,
            trace: rows::json_option(self.trace, at("trace"))?,
        })
    }
}

impl Whole {
    fn claimed(self, tx: &mut Tx<'_>, queue: &Queue, taken: Taken) -> Result<Claimed, Fault> {
        let attempt = rows::count(taken.attempt, rows::at("job_live", &self.id)("attempt"))?;
        let happened = Happened { queue, id: &self.id, name: &self.name, attempt, data: None };
        tx.happened(QueueEventKind::Active, happened)?;
        Ok(Claimed {
            claim: ClaimRef { queue: queue.name.clone(), job: self.id, token: taken.token },
            name: self.name,
            life: taken.life.to_string().into(),
            data: self.data,
            attempt,
            attempts: self.settings.attempts,
            timeout: self.settings.timeout,
            group: self.settings.group,
            trace: self.trace,
            together: false,
        })
    }
}

/// Ends a job whose body cannot be read.
fn fail_damaged(tx: &mut Tx<'_>, queue: &Queue, row: i64, attempt: i64, error: &Error) -> Result<(), Fault> {
    tracing::error!(%error, queue = %queue.name, "a job cannot be run; it is failed");
    let text = rows::error_text(&json!({ "message": error.to_string() }));
    let (seq, now) = (tx.next_seq()?, rows::micros(tx.now));
    let none = None::<i64>;
    tx.conn.run(sql::JOB_DELETE_LIVE, [row])?;
    let failed = JobState::Failed.as_str();
    tx.conn.run(
        sql::JOB_FINISH,
        params![row, queue.id, failed, seq, now, attempt, now, now, false, none, text, none, none],
    )?;
    tx.moved(queue.id, Some(JobState::Active), Some(JobState::Failed));
    Ok(())
}
