//! Jobs of one claim that are best settled in one batch: their outcomes wait for each other, for a moment.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{limits::SETTLE_BATCH_MAX, outcome::Settlement};

/// How long an outcome waits for those of the other jobs of its claim.
const PATIENCE: Duration = Duration::from_millis(20);
/// Batches that may wait for the store: past it, handlers' slots stay taken until it keeps up.
const WHOLE_MAX: usize = 2;

/// One job's share in its claim. The claim's jobs have all ended when no share is left elsewhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Siblings(Arc<()>);

/// A finished job on its way to the settler.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) settlement: Settlement,
    pub(crate) siblings: Option<Siblings>,
}

/// Outcomes of jobs of one claim.
struct Family {
    outcomes: Vec<Settlement>,
    shares: Vec<Siblings>,
    /// When the first came.
    since: Duration,
}

impl Family {
    fn is_whole(&self) -> bool {
        self.shares.first().is_none_or(|share| Arc::strong_count(&share.0) == self.shares.len())
    }
}

/// Outcomes that wait for their siblings', and batches that wait for nothing.
#[derive(Default)]
pub(crate) struct Families {
    open: Vec<Family>,
    whole: VecDeque<Vec<Settlement>>,
}

impl Families {
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.whole.is_empty()
    }

    /// How many more may come now.
    pub(crate) fn room(&self) -> usize {
        if self.whole.len() < WHOLE_MAX { SETTLE_BATCH_MAX } else { 0 }
    }

    pub(crate) fn push(&mut self, settlement: Settlement, share: Siblings, now: Duration) {
        let known = |family: &&mut Family| family.shares.first().is_some_and(|first| Arc::ptr_eq(&first.0, &share.0));
        match self.open.iter_mut().find(known) {
            Some(family) => {
                family.outcomes.push(settlement);
                family.shares.push(share);
            }
            None => self.open.push(Family { outcomes: vec![settlement], shares: vec![share], since: now }),
        }
    }

    /// Looks for families that are whole, and for those that have waited long enough, or `all`.
    pub(crate) fn gather(&mut self, now: Duration, all: bool) {
        let ends = |family: &mut Family| all || family.is_whole() || now >= family.since + PATIENCE;
        self.whole.extend(self.open.extract_if(.., ends).map(|family| family.outcomes));
    }

    pub(crate) fn has_whole(&self) -> bool {
        !self.whole.is_empty()
    }

    pub(crate) fn take_whole(&mut self) -> Option<Vec<Settlement>> {
        self.whole.pop_front()
    }

    /// When the next family has waited long enough.
    pub(crate) fn until(&self) -> Option<Duration> {
        self.open.iter().map(|family| family.since + PATIENCE).min()
    }
}
