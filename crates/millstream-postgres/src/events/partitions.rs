//! Partitions of the log, made ahead of the sequencer. Appends never need one: they go into the inbox.

use std::{sync::Mutex, time::Duration};

use millstream_core::{Clock, SystemClock};

use crate::{
    fault::Fault,
    shared::{Shared, lock},
    sql::{On, Sql},
};

/// How often one process tries while it fails: each try may wait for a lock.
const APART: Duration = Duration::from_secs(1);

/// When this process may try again.
#[derive(Default)]
pub(crate) struct Pace {
    clock: SystemClock,
    not_before: Mutex<Option<Duration>>,
}

impl Pace {
    /// Whether it may try now; then it does.
    fn take(&self) -> bool {
        let now = self.clock.monotonic();
        let mut not_before = lock(&self.not_before);
        if not_before.is_some_and(|at| now < at) {
            return false;
        }
        *not_before = Some(now + APART);
        true
    }

    fn reset(&self) {
        *lock(&self.not_before) = None;
    }
}

/// Makes what is missing, and what will be soon.
pub(crate) async fn make(shared: &Shared, on: On<'_>) -> Result<(), Fault> {
    let rows = shared.run(on, Sql::EventsMakePartitions, &[]).await?;
    let made: i32 = rows.first().ok_or(Fault::Raced)?.get("made");
    shared.partitions.reset();
    if made > 0 {
        tracing::debug!(made, "partitions of the log made");
    }
    Ok(())
}

/// Makes more ahead, where the log will need them soon. It goes on without for now: what is numbered is numbered.
pub(crate) async fn ahead(shared: &Shared, on: On<'_>) {
    if !shared.partitions.take() {
        return;
    }
    if let Err(fault) = make(shared, on).await {
        tracing::warn!(error = %fault.told("make partitions of the log"), "trying again");
    }
}
