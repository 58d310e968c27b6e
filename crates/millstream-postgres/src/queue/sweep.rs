//! Removing what nobody keeps any more: finished jobs, expired state, old idempotency keys, old events.

use millstream_core::Result;
use tokio_postgres::Row;

use super::counts;
use crate::{
    events,
    fault::{Fault, again},
    shared::Shared,
    sql::{On, Sql},
};

/// Rows of one statement: sweeping must not hold locks for long.
const BATCH: i64 = 1_000;
/// How long an idempotency key of an append makes repeats harmless: longer than any job of a flow that could repeat
/// it is expected to lie around, and short enough that the table stays small.
const KEY_KEPT_SECS: i64 = 30 * 24 * 60 * 60;
/// How long a queue event waits for watchers of other processes.
const FEED_KEPT_SECS: i64 = 60;

/// Removes it all, a batch at a time; answers how many rows.
pub(crate) async fn sweep(shared: &Shared) -> Result<u64> {
    let mut swept = 0;
    loop {
        let batch = again!("sweep", sweep_batch(shared))?;
        swept += batch;
        if batch == 0 {
            break;
        }
    }
    shared.call("prune the feed", Sql::FeedPrune, &[&FEED_KEPT_SECS]).await?;
    counts::fold_if_any(shared).await?;
    Ok(swept + events::retention::sweep(shared).await?)
}

async fn sweep_batch(shared: &Shared) -> Result<u64, Fault> {
    let conn = shared.conn().await?;
    let on = On::Conn(&conn);
    let old = shared.run(on, Sql::JobSweepOld, &[&BATCH]).await?;
    let mut swept = delete(shared, on, &old).await?;
    for group in shared.run(on, Sql::JobSweepGroups, &[]).await? {
        let (queue, state, keep): (i32, &str, i32) = (group.get("queue"), group.get("state"), group.get("keep"));
        let many = shared.run(on, Sql::JobSweepMany, &[&queue, &state, &keep, &BATCH]).await?;
        swept += delete(shared, on, &many).await?;
    }
    swept += shared.run(on, Sql::StateSweep, &[&BATCH]).await?.len() as u64;
    swept += shared.run(on, Sql::EventsSweepKeys, &[&KEY_KEPT_SECS, &BATCH]).await?.len() as u64;
    Ok(swept)
}

async fn delete(shared: &Shared, on: On<'_>, jobs: &[Row]) -> Result<u64, Fault> {
    if jobs.is_empty() {
        return Ok(0);
    }
    let (queues, numbers): (Vec<i32>, Vec<i64>) =
        jobs.iter().map(|row| (row.get::<_, i32>("queue"), row.get::<_, i64>("job"))).unzip();
    let removed = shared.run(on, Sql::JobRemove, &[&queues, &numbers]).await?;
    shared.tallied();
    Ok(removed.iter().filter(|row| row.get("moved")).count() as u64)
}
