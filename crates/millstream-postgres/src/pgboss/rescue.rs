//! Jobs whose holder vanished: their lease ran out. And claims given back.

use std::collections::HashSet;

use millstream_core::{ClaimRef, QueueName, Result};
use serde_json::json;

use super::{
    boss::{Boss, again},
    deferred,
    held::{self, Held},
    moves::{self, Kind, Move, Moved},
    sql::BossSql,
    words,
};
use crate::{
    fault::Fault,
    queue::moves::Kind as Native,
    rows::Time,
    shared::transact,
    sql::{On, Param},
};

/// Jobs of one transaction.
const BATCH: i64 = 500;

/// Takes expired claims of ours away; answers how many. What pg-boss's own workers hold is left to maintenance.
pub(crate) async fn rescue(boss: &Boss) -> Result<u64> {
    let mut rescued = 0;
    for lost in [BossSql::Expired, BossSql::Crashed] {
        rescued += rescue_all(boss, lost).await?;
    }
    boss.call("forget claims that are over", BossSql::Over, &[&boss.lease()]).await?;
    boss.calls.forget_older(boss.shared.lease());
    if let Some(row) = boss.call("look into the book of claims", BossSql::BookFirst, &[]).await?.first() {
        boss.deferred.set_first(row.get(0));
    }
    Ok(rescued)
}

/// Rescues what a statement finds.
async fn rescue_all(boss: &Boss, lost: BossSql) -> Result<u64> {
    let mut rescued = 0;
    loop {
        let (found, moved) = again!(boss, "rescue jobs", rescue_batch(boss, lost))?;
        let gone = moved.states.iter().flatten().count() as u64;
        if gone > 0 {
            tracing::warn!(jobs = gone, "leases ran out: their jobs are rescued");
        }
        rescued += gone;
        moved.tell(boss);
        // A batch of which nothing moved is somebody else's by now.
        if found < BATCH || gone == 0 {
            return Ok(rescued);
        }
    }
}

async fn rescue_batch(boss: &Boss, lost: BossSql) -> Result<(i64, Moved), Fault> {
    let shared = &*boss.shared;
    transact!(shared, shared.logs_any(), unit => rescue_in(boss, unit.on()?, lost))
}

async fn rescue_in(boss: &Boss, on: On<'_>, lost: BossSql) -> Result<(i64, Moved), Fault> {
    let kind = if lost == BossSql::Crashed { Kind::Crash } else { Kind::Of(Native::Expire) };
    let lease = boss.lease();
    let (all, expired): (&[&(dyn Param + Sync)], _) = (&[&lease, &BATCH], lost != BossSql::Crashed);
    let expired = boss.run(on, lost, if expired { all } else { &all[1..] }).await?;
    if expired.is_empty() {
        return Ok((0, Moved::default()));
    }
    let error = json!({ "message": "the claim's lease ran out: the worker vanished", "code": "lease_expired" });
    let payload = words::error_text(&error);
    let mut all = Vec::new();
    for row in &expired {
        let Ok(queue) = QueueName::new(row.get::<_, String>("queue")) else { continue };
        let Some(known) = boss.one(on, &queue).await? else { continue };
        let Ok(job) = row.get::<_, &str>("job").parse() else { continue };
        let start = row.get::<_, Time>("started_on").0.as_microsecond();
        let (fence, call) = (row.get("retry_count"), row.get("batch"));
        let held = Held { queue, table: known.table, job, fence, start, call, beside: false, place: None };
        all.push(Move { held, kind, payload: payload.clone(), wait: 0 });
    }
    let moved = moves::moves(boss, on, &all).await?;
    Ok((expired.len() as i64, moved))
}

/// Gives claims back: waiting again in their old place, no attempt burned. Claims that no longer hold are skipped. A job
/// that somebody asked to cancel ends here: this attempt ended in something other than success.
pub(crate) async fn release(boss: &Boss, claims: &[ClaimRef]) -> Result<()> {
    deferred::start_calls(boss, claims.iter().filter_map(held::call)).await?;
    let moved = again!(boss, "release claims", release_once(boss, claims))?;
    moved.tell(boss);
    Ok(())
}

async fn release_once(boss: &Boss, claims: &[ClaimRef]) -> Result<Moved, Fault> {
    let shared = &*boss.shared;
    transact!(shared, shared.logs_any(), unit => release_in(boss, unit.on()?, claims))
}

async fn release_in(boss: &Boss, on: On<'_>, claims: &[ClaimRef]) -> Result<Moved, Fault> {
    let refs: Vec<&ClaimRef> = claims.iter().collect();
    let mut seen = HashSet::new();
    let held = held::held(boss, on, &refs).await?.into_iter().flatten().filter(|held| seen.insert(held.clone()));
    let release = |held| Move { held, kind: Kind::Of(Native::Release), payload: None, wait: 0 };
    let all: Vec<Move> = held.map(release).collect();
    moves::moves(boss, on, &all).await
}
