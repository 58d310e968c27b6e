//! Exact counts, from what each transaction changed of them.

use std::sync::atomic::Ordering;

use millstream_core::{JobCounts, QueueInfo, QueueName, Result};
use tokio_postgres::Row;

use crate::{rows, shared::Shared, sql::Sql};

/// Tallies of this process until it folds them.
const FOLD_AFTER: u64 = 1_000;

/// Jobs of a queue by state.
pub(crate) async fn counts(shared: &Shared, queue: &QueueName) -> Result<JobCounts> {
    let found = shared.call(format!("count queue `{queue}`"), Sql::QueueList, &[&Some(queue.as_str())]).await?;
    Ok(found.first().map(info).transpose()?.map_or_else(JobCounts::default, |info| info.counts))
}

/// Every queue, by name.
pub(crate) async fn queues(shared: &Shared) -> Result<Vec<QueueInfo>> {
    shared.call("list the queues", Sql::QueueList, &[&None::<&str>]).await?.iter().map(info).collect()
}

fn info(row: &Row) -> Result<QueueInfo> {
    rows::queue_info(row, "queue_tally")
}

/// Folds the tallies where this process wrote many: counts stay cheap. A failure costs time, not counts.
pub(crate) async fn fold_if_many(shared: &Shared) {
    if shared.tallies.load(Ordering::Relaxed) < FOLD_AFTER {
        return;
    }
    if let Err(error) = fold(shared).await {
        tracing::debug!(%error, "folded later");
    }
}

/// Folds the tallies where this process wrote some.
pub(crate) async fn fold_if_any(shared: &Shared) -> Result<()> {
    if shared.tallies.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    fold(shared).await
}

async fn fold(shared: &Shared) -> Result<()> {
    shared.tallies.store(0, Ordering::Relaxed);
    shared.call("fold the counts", Sql::QueueFold, &[]).await.map(drop)
}
