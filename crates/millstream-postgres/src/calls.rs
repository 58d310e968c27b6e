//! The book of claims, as this process knows it: each call that claimed has a row, which goes when all of its jobs are
//! settled.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use millstream_core::{Clock, SystemClock};

use crate::shared::lock;

/// Calls that claimed, and how many of each one's jobs are not settled yet: their rows go with the next claim. A call that
/// is not over after a lease, because somebody else settled a job of it or because its jobs run on, is left to the rescue,
/// which looks at its row.
pub(crate) struct Calls {
    open: Mutex<Open>,
    /// Real time: only what is remembered for how long depends on it.
    clock: SystemClock,
}

#[derive(Default)]
struct Open {
    calls: HashMap<i64, Call>,
    over: Vec<i64>,
}

struct Call {
    left: usize,
    began: Duration,
}

impl Default for Calls {
    fn default() -> Self {
        Self { open: Mutex::default(), clock: SystemClock::new() }
    }
}

impl Calls {
    pub(crate) fn began(&self, call: i64, jobs: usize) {
        let began = self.clock.monotonic();
        lock(&self.open).calls.insert(call, Call { left: jobs, began });
    }

    /// A job of each of these calls is settled: told after the commit, and once for each job.
    pub(crate) fn ended(&self, calls: impl IntoIterator<Item = i64>) {
        let mut open = lock(&self.open);
        for call in calls {
            let Some(known) = open.calls.get_mut(&call) else { continue };
            known.left = known.left.saturating_sub(1);
            if known.left == 0 {
                open.calls.remove(&call);
                open.over.push(call);
            }
        }
    }

    /// Calls whose rows can go; who takes them gives them back where that fails.
    pub(crate) fn take_over(&self) -> Vec<i64> {
        std::mem::take(&mut lock(&self.open).over)
    }

    pub(crate) fn give_back(&self, calls: Vec<i64>) {
        lock(&self.open).over.extend(calls);
    }

    /// Forgets the calls that the rescue looks after by now.
    pub(crate) fn forget_older(&self, age: Duration) {
        let now = self.clock.monotonic();
        lock(&self.open).calls.retain(|_, call| now < call.began + age);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_over_with_its_last_job() {
        let calls = Calls::default();
        calls.began(7, 2);
        calls.began(8, 1);
        calls.ended([7, 9]);
        assert_eq!(calls.take_over(), [0_i64; 0]);
        calls.ended([8, 7]);
        let over = calls.take_over();
        assert_eq!(over, [8, 7]);
        calls.give_back(over);
        calls.ended([7]);
        assert_eq!(calls.take_over(), [8, 7], "given back, and counted once");
    }

    #[test]
    fn what_the_rescue_looks_after_is_forgotten() {
        let calls = Calls::default();
        calls.began(7, 1);
        calls.forget_older(Duration::from_secs(60));
        calls.ended([7]);
        assert_eq!(calls.take_over(), [7]);
        calls.began(8, 1);
        calls.forget_older(Duration::ZERO);
        calls.ended([8]);
        assert_eq!(calls.take_over(), [0_i64; 0]);
    }
}
