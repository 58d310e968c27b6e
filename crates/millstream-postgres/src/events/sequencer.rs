//! Numbers what was appended: after this process's own commits, and now and then for those that nobody numbers.

use std::{sync::Arc, time::Duration};

use millstream_core::{Clock, SystemClock};

use super::partitions;
use crate::{
    fault::Fault,
    shared::Shared,
    sql::{On, Param, Sql},
};

/// Events of one pass.
const BATCH: i32 = 2_000;
/// Numbers below the last one moved that a pass begins at.
const MARGIN: i64 = 1_000;
/// How often a pass begins at the beginning, for those that commit later than that.
const FULL_EVERY: Duration = Duration::from_secs(1);
/// While another process is at it, it is asked again so soon, and so often; then it is left to it.
const BUSY_WAIT: Duration = Duration::from_millis(1);
const BUSY_MAX: u32 = 200;
/// A pass for what was committed between a look and its commit.
const ONCE_MORE: Duration = Duration::from_millis(20);
/// Passes closer together than this are one; the first goes at once. Under load each pass numbers what many commits
/// brought, instead of competing with them.
const APART: Duration = Duration::from_millis(2);
/// How often a process that follows the log looks for what nobody numbers: appends in other people's transactions, and
/// those of a process that is gone. Followers that hear every pass look by themselves only now and then.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Until the next pass after one that failed.
const REST: Duration = Duration::from_millis(250);

/// What this process knows of the inbox: only a hint.
#[derive(Default)]
struct Floor {
    last: i64,
    full_at: Option<Duration>,
}

/// Numbers, until the store closes.
pub(crate) async fn run(shared: Arc<Shared>) {
    let clock = SystemClock::new();
    let mut floor = Floor::default();
    let mut once_more = false;
    loop {
        tokio::select! {
            // Job events poke it before their commit.
            () = shared.to_sequence.notified() => once_more = shared.logs_any(),
            () = tokio::time::sleep(ONCE_MORE), if once_more => once_more = false,
            () = tokio::time::sleep(LOOK_EVERY) => {
                if !shared.hears() || !shared.signals.is_followed() {
                    continue;
                }
                floor = Floor::default();
            }
        }
        if let Err(fault) = pass(&shared, &mut floor, &clock).await {
            tracing::debug!(error = %fault.told("number events"), "numbered later");
            tokio::time::sleep(REST).await;
            shared.to_sequence.notify_one();
        }
        tokio::time::sleep(APART).await;
    }
}

async fn pass(shared: &Shared, floor: &mut Floor, clock: &SystemClock) -> Result<(), Fault> {
    let mut busy = 0;
    loop {
        let now = clock.monotonic();
        if floor.full_at.is_none_or(|at| now >= at + FULL_EVERY) {
            *floor = Floor { last: 0, full_at: Some(now) };
        }
        let from = (floor.last - MARGIN).max(0);
        let (moved, last) = sequence(shared, from).await?;
        if let Some(last) = last {
            floor.last = floor.last.max(last);
        }
        match moved {
            -1 if busy < BUSY_MAX => {
                busy += 1;
                tokio::time::sleep(BUSY_WAIT).await;
            }
            moved if moved >= i64::from(BATCH) => {}
            _ => return Ok(()),
        }
    }
}

/// One pass; tells subscribers of this process. Makes partitions where the log is about to need them.
async fn sequence(shared: &Shared, floor: i64) -> Result<(i64, Option<i64>), Fault> {
    let conn = shared.conn().await?;
    sequence_on(shared, On::Conn(&conn), floor).await
}

async fn sequence_on(shared: &Shared, on: On<'_>, floor: i64) -> Result<(i64, Option<i64>), Fault> {
    let params: &[&(dyn Param + Sync)] = &[&BATCH, &floor, &shared.notify];
    let rows = match shared.run(on, Sql::EventsSequence, params).await {
        Err(fault) if fault.is_no_partition() => {
            partitions::make(shared, on).await?;
            shared.run(on, Sql::EventsSequence, params).await?
        }
        rows => rows?,
    };
    let row = rows.first().ok_or(Fault::Raced)?;
    let moved: i64 = row.get("moved");
    // Also where nothing moved: what this process appended may have been numbered by a call that looked in between.
    if let Some(head) = row.get::<_, Option<i64>>("head").and_then(|head| u64::try_from(head).ok()) {
        shared.signals.log_grew(Some(head));
    }
    if row.get("low") {
        partitions::ahead(shared, on).await;
    }
    Ok((moved, row.get("last_id")))
}

/// One pass for whoever looks by itself: it finds what a process that is gone left behind.
pub(crate) async fn look(shared: &Shared) -> Result<(), Fault> {
    sequence(shared, 0).await.map(drop)
}

/// The same, on a connection that the caller has already.
pub(crate) async fn look_on(shared: &Shared, on: On<'_>) -> Result<(), Fault> {
    sequence_on(shared, on, 0).await.map(drop)
}
