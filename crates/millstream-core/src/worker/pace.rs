//! How many jobs a queue may take ahead of its slots, from how long its handlers take.

use std::time::Duration;

use serde_json::Value;

use crate::limits::CLAIM_BATCH_MAX;

/// Work that is taken ahead: what all slots together do in this time. Long enough that a claim's commit is small
/// beside it, short enough that no other process would have begun the jobs much earlier, and that few jobs that never
/// started burn an attempt when the process is killed.
const AHEAD: Duration = Duration::from_millis(50);
/// Jobs that are taken ahead, however short the handlers are: two full claims, so that the store works on one while the
/// jobs of the other run. Three were not faster.
const AHEAD_JOBS: u32 = 2 * CLAIM_BATCH_MAX;
/// Jobs of one claim are brief where all that is here is expected to be done within this time.
const BRIEF: Duration = Duration::from_millis(25);
/// Bytes of payloads that are taken ahead.
const AHEAD_BYTES: usize = 16 * 1024 * 1024;
/// The weight of the latest of the durations in their mean: about the last sixteen count.
const LATEST: u32 = 16;

/// Learns from each job that ends. Written by the lane that it belongs to.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// `None` before the first job ended.
    mean: Option<Duration>,
    /// Jobs that ended since the number was begun anew.
    seen: u32,
    /// Mean payload of the last claim.
    bytes: usize,
    /// Doubled with every claim that was full: a queue with a short backlog is not emptied by one process. Halved
    /// when jobs waited for their slot for longer than [`AHEAD`]: the machine, or the store that settles, is slower
    /// than the handlers are.
    grown: u32,
    /// When it was halved last: those that waited meanwhile were taken by the old number.
    halved_at: Duration,
}

impl Pace {
    pub(crate) fn ended(&mut self, took: Duration) {
        self.mean = Some(self.mean.map_or(took, |mean| (mean * (LATEST - 1) + took) / LATEST));
        self.seen = self.seen.saturating_add(1);
    }

    /// After a claim that brought all it asked for.
    pub(crate) fn full(&mut self, concurrency: u32) {
        self.grown = self.grown.saturating_mul(2).max(concurrency).min(AHEAD_JOBS);
    }

    /// A job got its slot `now`, after it was here for so long.
    pub(crate) fn waited(&mut self, waited: Duration, now: Duration) {
        if waited > AHEAD && now.saturating_sub(waited) >= self.halved_at {
            self.grown /= 2;
            self.halved_at = now;
        }
    }

    pub(crate) fn weigh(&mut self, payloads: impl Iterator<Item = usize>) {
        let (mut count, mut sum) = (0, 0);
        for bytes in payloads {
            (count, sum) = (count + 1, sum + bytes);
        }
        if let Some(mean) = sum.checked_div(count) {
            self.bytes = mean;
        }
    }

    /// What was taken ahead did not get its turn: nothing more until handlers are seen to be short again.
    pub(crate) fn stuck(&mut self) {
        *self = Self { bytes: self.bytes, ..Self::default() };
    }

    /// Whether so many jobs are expected to be done soon.
    pub(crate) fn is_brief(&self, jobs: usize, concurrency: u32) -> bool {
        let Some(mean) = self.mean.filter(|_| self.seen >= concurrency) else { return false };
        let turns = u32::try_from(jobs).unwrap_or(u32::MAX).div_ceil(concurrency.max(1));
        mean.checked_mul(turns).is_some_and(|all| all <= BRIEF)
    }

    /// How many jobs may wait for a slot.
    pub(crate) fn ahead(&self, concurrency: u32) -> u32 {
        let Some(mean) = self.mean.filter(|_| self.seen >= concurrency) else { return 0 };
        if mean >= AHEAD {
            return 0;
        }
        let by_time = u128::from(concurrency) * AHEAD.as_nanos() / mean.as_nanos().max(1);
        let by_bytes = AHEAD_BYTES / self.bytes.max(1);
        let bound = |number: u128| u32::try_from(number).unwrap_or(u32::MAX);
        bound(by_time).min(bound(by_bytes as u128)).min(self.grown)
    }
}

/// About how many bytes a payload takes.
pub(crate) fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + size_of::<Value>(),
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + size_of::<Value>(),
        Value::Object(fields) => fields.iter().map(|(key, value)| key.len() + weight(value)).sum::<usize>() + 64,
        Value::Null | Value::Bool(_) | Value::Number(_) => size_of::<Value>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(took: Duration) -> Pace {
        let mut pace = Pace::default();
        (0..10).for_each(|_| pace.full(10));
        (0..50).for_each(|_| pace.ended(took));
        pace
    }

    #[test]
    fn short_handlers_get_large_batches() {
        assert_eq!(after(Duration::from_micros(3)).ahead(10), AHEAD_JOBS);
        assert_eq!(after(Duration::from_millis(5)).ahead(10), 100);
    }

    #[test]
    fn jobs_are_brief_where_all_of_them_are_done_soon() {
        let pace = after(Duration::from_millis(5));
        assert!(pace.is_brief(50, 10));
        assert!(!pace.is_brief(51, 10));
        // Nothing is known yet.
        assert!(!Pace::default().is_brief(1, 10));
    }

    #[test]
    fn long_handlers_hoard_nothing() {
        assert_eq!(after(Duration::from_millis(50)).ahead(10), 0);
        assert_eq!(after(Duration::from_secs(60)).ahead(1_000), 0);
    }

    #[test]
    fn nothing_is_taken_ahead_of_the_first_jobs_or_after_a_jam() {
        let mut pace = Pace::default();
        pace.full(10);
        assert_eq!(pace.ahead(10), 0);
        (0..10).for_each(|_| pace.ended(Duration::ZERO));
        assert_eq!(pace.ahead(10), 10);
        pace.stuck();
        assert_eq!(pace.ahead(10), 0);
    }

    #[test]
    fn jobs_that_wait_for_long_halve_what_is_taken_ahead() {
        let ms = Duration::from_millis;
        let mut pace = after(Duration::from_micros(3));
        pace.waited(AHEAD, ms(1_000));
        assert_eq!(pace.ahead(10), AHEAD_JOBS);
        // A batch that waited halves it once, not once a job.
        pace.waited(ms(60), ms(1_000));
        pace.waited(ms(61), ms(1_001));
        pace.waited(ms(80), ms(1_020));
        assert_eq!(pace.ahead(10), AHEAD_JOBS / 2);
        // The next batch, taken since, waited again.
        pace.waited(ms(60), ms(1_100));
        assert_eq!(pace.ahead(10), AHEAD_JOBS / 4);
        pace.full(10);
        assert_eq!(pace.ahead(10), AHEAD_JOBS / 2);
    }

    #[test]
    fn large_payloads_bound_what_is_taken_ahead() {
        let mut pace = after(Duration::from_micros(3));
        pace.weigh([4 * 1024 * 1024, 4 * 1024 * 1024].into_iter());
        assert_eq!(pace.ahead(10), 4);
    }
}
