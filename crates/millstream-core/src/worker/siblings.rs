//! Jobs of one claim that are best settled in one batch: their outcomes wait for each other, for a moment.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{limits::SETTLE_BATCH_MAX, outcome::Settlement};

/// How long an outcome waits for those of the other jobs of its claim.
const PATIENCE: Duration = Duration::from_millis(20);
/// Batches that may wait for the store: past it, handlers' slots stay taken until it keeps up.
const WHOLE_MAX: usize = 2;

/// One job's share in its claim. The claim's jobs have all ended when no share is left elsewhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Siblings {
    /// Whether some of the claim's outcomes went ahead: then nothing is to be won by waiting for the rest.
    parted: Arc<AtomicBool>,
}

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
        self.shares.first().is_none_or(|share| Arc::strong_count(&share.parted) == self.shares.len())
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

    /// Answers the outcome where it has to wait for nobody.
    pub(crate) fn push(&mut self, settlement: Settlement, share: Siblings, now: Duration) -> Option<Settlement> {
        if share.parted.load(Ordering::Relaxed) {
            return Some(settlement);
        }
        let known =
            |family: &&mut Family| family.shares.first().is_some_and(|first| Arc::ptr_eq(&first.parted, &share.parted));
        match self.open.iter_mut().find(known) {
            Some(family) => {
                family.outcomes.push(settlement);
                family.shares.push(share);
            }
            None => self.open.push(Family { outcomes: vec![settlement], shares: vec![share], since: now }),
        }
        None
    }

    /// Looks for families that are whole, and for those that have waited long enough, or `all`.
    pub(crate) fn gather(&mut self, now: Duration, all: bool) {
        let ends = |family: &mut Family| all || family.is_whole() || now >= family.since + PATIENCE;
        for family in self.open.extract_if(.., ends) {
            family.shares.iter().for_each(|share| share.parted.store(true, Ordering::Relaxed));
            self.whole.push_back(family.outcomes);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClaimRef, Effects, JobId, Outcome, QueueName};

    fn outcome(text: &str) -> Settlement {
        let claim =
            ClaimRef { queue: QueueName::new("q").unwrap(), job: JobId::new(text).unwrap(), token: text.into() };
        Settlement { claim, outcome: Outcome::Done(serde_json::Value::Null), effects: Effects::default() }
    }

    /// The jobs of each batch that waits for nothing.
    fn whole(families: &mut Families) -> Vec<Vec<String>> {
        let names = |batch: Vec<Settlement>| batch.iter().map(|one| one.claim.job.to_string()).collect();
        std::iter::from_fn(|| families.take_whole()).map(names).collect()
    }

    const START: Duration = Duration::from_secs(9);

    #[test]
    fn outcomes_of_a_claim_are_one_batch() {
        let mut families = Families::default();
        let (first, second) = (Siblings::default(), Siblings::default());
        let (a, b, c) = (first.clone(), first, second);
        assert_eq!(families.push(outcome("a"), a, START), None);
        families.gather(START, false);
        assert!(!families.has_whole(), "one of its claim is still running");
        assert_eq!(families.push(outcome("c"), c, START), None);
        families.gather(START, false);
        assert_eq!(whole(&mut families), [["c"]]);
        assert_eq!(families.push(outcome("b"), b, START), None);
        families.gather(START, false);
        assert_eq!(whole(&mut families), [["a", "b"]]);
        assert!(families.is_empty());
    }

    #[test]
    fn a_job_that_lasts_holds_up_its_siblings_for_a_moment() {
        let mut families = Families::default();
        let lasting = Siblings::default();
        assert_eq!(families.push(outcome("a"), lasting.clone(), START), None);
        assert_eq!(families.until(), Some(START + PATIENCE));
        families.gather(START + PATIENCE, false);
        assert_eq!(whole(&mut families), [["a"]]);
        assert_eq!(families.until(), None);
        let late = families.push(outcome("b"), lasting, START + PATIENCE);
        assert!(late.is_some() && families.is_empty(), "nobody waits for it, nor it for anybody");
    }

    #[test]
    fn a_job_that_is_given_back_holds_up_nobody() {
        let mut families = Families::default();
        let here = Siblings::default();
        let given_back = here.clone();
        assert_eq!(families.push(outcome("a"), here, START), None);
        families.gather(START, false);
        assert!(!families.has_whole(), "one of its claim has not ended");
        drop(given_back);
        families.gather(START, false);
        assert_eq!(whole(&mut families), [["a"]]);
    }

    #[test]
    fn nobody_waits_at_the_end_or_for_a_store_that_does_not_keep_up() {
        let mut families = Families::default();
        let lasting: Vec<Siblings> = std::iter::repeat_with(Siblings::default).take(WHOLE_MAX).collect();
        for share in &lasting {
            assert_eq!(families.push(outcome("a"), share.clone(), START), None);
        }
        assert!(families.room() > 0);
        families.gather(START, true);
        assert_eq!(families.room(), 0);
        assert_eq!(whole(&mut families).len(), WHOLE_MAX);
        assert!(families.room() > 0);
    }
}
