//! Delayed jobs that become ready: at their time, or because somebody says so.

use millstream_core::{JobId, JobState, QueueName, Result, Timestamp};
use rusqlite::{Connection, params};

use super::live::{self, LiveRow};
use crate::{
    fault::Fault,
    rows,
    sql::{self, Run},
    store::SqliteStore,
    tx::Tx,
};

/// Jobs per transaction: a thousand due at once must not hold the writer for long.
const BATCH: usize = 1_000;

/// Makes due jobs waiting; answers when the next one is due.
pub(crate) async fn promote_due(store: &SqliteStore) -> Result<Option<Timestamp>> {
    loop {
        let promoted = store.writer().call_unless("promote due jobs", nothing_due, promote_batch).await?;
        if let Promoted::All { next } = promoted {
            return Ok(next);
        }
    }
}

enum Promoted {
    /// Nothing more is due before `next`.
    All { next: Option<Timestamp> },
    /// There may be more.
    Some,
}

fn nothing_due(conn: &Connection, now: Timestamp) -> Result<Option<Promoted>, Fault> {
    let next = next_due(conn)?;
    Ok(next.is_none_or(|next| next > now).then_some(Promoted::All { next }))
}

fn next_due(conn: &Connection) -> Result<Option<Timestamp>, Fault> {
    let next = conn.first(sql::JOB_DUE_NEXT, [], |row| row.get(0))?.flatten();
    Ok(rows::time_option(next, rows::at("job_live", &"min(run_at)")("run_at"))?)
}

fn promote_batch(tx: &mut Tx<'_>) -> Result<Promoted, Fault> {
    let due = tx.conn.all(sql::JOB_DUE, params![rows::micros(tx.now), BATCH as i64], LiveRow::read)?;
    let full = due.len() == BATCH;
    for row in due {
        let live = row.live()?;
        live.wait(tx, live.attempt, None)?;
    }
    match full {
        true => Ok(Promoted::Some),
        false => Ok(Promoted::All { next: next_due(tx.conn)? }),
    }
}

/// Makes one delayed job waiting now.
pub(crate) async fn promote(store: &SqliteStore, queue: &QueueName, id: &JobId) -> Result<bool> {
    let (queue, id) = (queue.clone(), id.clone());
    let doing = format!("promote job `{id}` of queue `{queue}`");
    let promote = move |tx: &mut Tx<'_>| match live::live(tx, &queue, &id)? {
        Some(live) if live.state == JobState::Delayed => live.wait(tx, live.attempt, None).map(|_| true),
        _ => Ok(false),
    };
    store.writer().call(doing, promote).await
}
