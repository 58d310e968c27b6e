//! Jobs whose holder vanished: their lease ran out.

use millstream_core::Result;
use serde_json::json;

use super::{
    held::Held,
    moves::{self, Kind, Move, Moved},
};
use crate::{
    fault::{Fault, again},
    shared::{Shared, transact},
    sql::{On, Sql},
};

/// Jobs of one transaction.
const BATCH: i64 = 500;

/// Takes expired claims away; answers how many.
pub(crate) async fn rescue(shared: &Shared) -> Result<u64> {
    let mut rescued = 0;
    loop {
        let (found, moved) = again!("rescue jobs", rescue_batch(shared))?;
        let gone = moved.states.iter().flatten().count() as u64;
        if gone > 0 {
            tracing::warn!(jobs = gone, "leases ran out: their jobs are rescued");
        }
        rescued += gone;
        moved.tell(shared);
        // A batch of which nothing moved is somebody else's by now.
        if found < BATCH || gone == 0 {
            break;
        }
    }
    // What is rescued is told whatever becomes of the book: the next rescue tidies it as well.
    if let Err(error) = tidy(shared).await {
        tracing::debug!(%error, "the book of claims is tidied later");
    }
    Ok(rescued)
}

async fn tidy(shared: &Shared) -> Result<()> {
    while shared
        .call("tidy the book of claims", Sql::BookTidy, &[&BATCH])
        .await?
        .first()
        .is_some_and(|row| row.get("more"))
    {}
    shared.calls.forget_older(shared.lease());
    Ok(())
}

async fn rescue_batch(shared: &Shared) -> Result<(i64, Moved), Fault> {
    transact!(shared, shared.logs_any(), unit => rescue_in(shared, unit.on()?))
}

async fn rescue_in(shared: &Shared, on: On<'_>) -> Result<(i64, Moved), Fault> {
    let expired = shared.run(on, Sql::JobExpired, &[&BATCH]).await?;
    if expired.is_empty() {
        return Ok((0, Moved::default()));
    }
    for row in &expired {
        shared.named(row.get("queue"), row.get("queue_name"))?;
    }
    let error = json!({ "message": "the claim's lease ran out: the worker vanished", "code": "lease_expired" });
    let rescue = |row: &tokio_postgres::Row| Move {
        held: Held { queue: row.get("queue"), job: row.get("job"), claim: row.get("claim"), place: None },
        kind: Kind::Expire,
        payload: Some(error.to_string()),
        wait: 0,
    };
    let all: Vec<Move> = expired.iter().map(rescue).collect();
    let moved = moves::moves(shared, on, &all).await?;
    Ok((all.len() as i64, moved))
}
