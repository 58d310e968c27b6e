//! Jobs whose holder vanished: their lease ran out.

use millstream_core::{QueueEventKind, Result, Timestamp};
use rusqlite::{Connection, params};
use serde_json::json;

use super::live::{End, Live, LiveRow};
use crate::{
    fault::Fault,
    rows,
    sql::{self, Run},
    store::SqliteStore,
    tx::Tx,
};

/// Jobs per transaction: a crash of a large worker must not hold the writer for long.
const BATCH: u32 = 500;

/// Takes expired claims away; answers how many.
pub(crate) async fn rescue(store: &SqliteStore) -> Result<u64> {
    let mut rescued = 0;
    loop {
        let batch = store.writer().call_unless("rescue jobs", nothing_expired, rescue_batch).await?;
        rescued += u64::from(batch);
        if batch < BATCH {
            return Ok(rescued);
        }
    }
}

fn nothing_expired(conn: &Connection, now: Timestamp) -> Result<Option<u32>, Fault> {
    let any = conn.first(sql::JOB_EXPIRED_ANY, [rows::micros(now)], |_| Ok(()))?;
    Ok(any.is_none().then_some(0))
}

fn rescue_batch(tx: &mut Tx<'_>) -> Result<u32, Fault> {
    let expired = tx.conn.all(sql::JOB_EXPIRED, params![rows::micros(tx.now), BATCH], LiveRow::read)?;
    let mut rescued = 0;
    for row in expired {
        rescue_one(tx, &row.live()?)?;
        rescued += 1;
    }
    Ok(rescued)
}

fn rescue_one(tx: &mut Tx<'_>, live: &Live) -> Result<(), Fault> {
    let (queue, job, attempt) = (&live.queue.name, &live.id, live.attempt);
    tracing::warn!(%queue, %job, attempt, "a claim's lease ran out: its job is rescued");
    live.tell(tx, QueueEventKind::Stalled, None)?;
    let last = live.attempt >= live.settings.attempts;
    let message = match last {
        true => "the claim's lease ran out, and all attempts are used up: the worker vanished",
        false => "the claim's lease ran out: the worker vanished",
    };
    let error = json!({ "message": message, "code": "lease_expired" }).to_string();
    if live.cancel_requested {
        live.end(tx, End::Cancelled(Some(error)))?;
    } else if last {
        live.end(tx, End::Failed(error))?;
    } else {
        live.wait(tx, live.attempt, Some(&error))?;
    }
    Ok(())
}
