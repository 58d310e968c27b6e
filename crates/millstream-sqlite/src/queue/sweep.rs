//! Removing what nobody keeps any more: finished jobs, expired state, old idempotency keys, old events.

use millstream_core::{JobState, Result, limits::KEY_KEPT};
use rusqlite::{Row, params};

use crate::{
    events,
    fault::Fault,
    rows,
    sql::{self, Run},
    store::SqliteStore,
    tx::Tx,
};

/// Rows per transaction: sweeping must not hold the writer for long.
const BATCH: usize = 1_000;

/// Removes it all, a batch at a time; answers how many rows.
pub(crate) async fn sweep(store: &SqliteStore) -> Result<u64> {
    let mut swept = 0;
    loop {
        let batch = store.writer().call("sweep", sweep_batch).await?;
        swept += batch as u64;
        if batch == 0 {
            break;
        }
    }
    Ok(swept + events::retention::expire(store).await?)
}

fn sweep_batch(tx: &mut Tx<'_>) -> Result<usize, Fault> {
    let now = rows::micros(tx.now);
    let old = tx.conn.all(sql::JOB_SWEEP_OLD, params![now, BATCH as i64], DoneRow::read)?;
    let mut swept = delete_jobs(tx, old)?;
    swept += sweep_many(tx)?;
    swept += tx.conn.run(sql::STATE_SWEEP, params![now, BATCH as i64])?;
    let keys_until = tx.now.checked_sub(KEY_KEPT).map_or(i64::MIN, rows::micros);
    swept += tx.conn.run(sql::EVENTS_SWEEP_KEYS, params![keys_until, BATCH as i64])?;
    // Leftovers of watchers are not what the answer counts.
    tx.conn.run(sql::FEED_SWEEP_WATCHERS, [])?;
    tx.conn.run(sql::FEED_SWEEP, [])?;
    Ok(swept)
}

/// Finished jobs beyond the newest so many of their queue and state. Jobs that are kept for ever do not count.
fn sweep_many(tx: &mut Tx<'_>) -> Result<usize, Fault> {
    let groups = tx.conn.all(sql::JOB_SWEEP_GROUPS, [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
    })?;
    let mut swept = 0;
    for (queue, state, keep) in groups {
        let newest_gone = tx.conn.first(sql::JOB_SWEEP_CUT, params![queue, state, keep], |row| row.get::<_, i64>(0))?;
        let Some(newest_gone) = newest_gone else { continue };
        let range = params![queue, state, keep, newest_gone, BATCH as i64];
        let many = tx.conn.all(sql::JOB_SWEEP_MANY, range, DoneRow::read)?;
        swept += delete_jobs(tx, many)?;
    }
    Ok(swept)
}

struct DoneRow {
    row: i64,
    queue: i64,
    state: String,
}

impl DoneRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { row: row.get(0)?, queue: row.get(1)?, state: row.get(2)? })
    }
}

fn delete_jobs(tx: &mut Tx<'_>, jobs: Vec<DoneRow>) -> Result<usize, Fault> {
    let swept = jobs.len();
    for DoneRow { row, queue, state } in jobs {
        let state: JobState = rows::state(&state, rows::at("job_done", &row)("state"))?;
        tx.conn.run(sql::JOB_DELETE, [row])?;
        tx.moved(queue, Some(state), None);
    }
    Ok(swept)
}
