//! Where the search for ready jobs begins in each queue. A held horizon keeps the entries of taken jobs in the index;
//! without a floor each claim would walk over all of them.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use millstream_core::{Clock, QueueName, SystemClock, Timestamp};

use crate::{rows::Time, shared::lock};

/// How often a search begins at the beginning, for jobs whose intake is older than the floor: they came back, fell due,
/// or were committed late.
const FULL_EVERY: Duration = Duration::from_secs(1);
/// Claims of fewer jobs leave no floor: it would save little, and jobs that come back are to be seen at once.
pub(crate) const FULL_MIN: usize = 100;
/// Before every intake, in seconds of Unix: the year 1.
const LONG_AGO: i64 = -62_135_596_800;

/// A place in a queue: the priority as pg-boss has it, where large runs first, and the intake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Floor {
    pub(crate) priority: i32,
    pub(crate) created: Time,
}

impl Floor {
    /// In front of every job.
    pub(crate) fn bottom() -> Self {
        let created = Time(Timestamp::from_second(LONG_AGO).unwrap_or_default());
        Self { priority: i32::MAX, created }
    }
}

/// Only a hint: a wrong floor costs a second, not a job. Written by claims.
#[derive(Default)]
pub(crate) struct Floors {
    known: Mutex<Known>,
    /// Real time: the database's index does not care for a clock of tests.
    clock: SystemClock,
}

#[derive(Default)]
struct Known {
    floors: HashMap<QueueName, Floor>,
    full_at: Option<Duration>,
}

impl Floors {
    pub(crate) fn of<'a>(&self, queues: impl Iterator<Item = &'a QueueName>) -> Vec<Floor> {
        let mut known = lock(&self.known);
        let now = self.clock.monotonic();
        if known.full_at.is_none_or(|at| now >= at + FULL_EVERY) {
            known.full_at = Some(now);
            known.floors.clear();
        }
        queues.map(|queue| known.floors.get(queue).copied().unwrap_or_else(Floor::bottom)).collect()
    }

    /// A claim was filled up to this job.
    pub(crate) fn raise(&self, queue: &QueueName, to: Floor) {
        lock(&self.known).floors.insert(queue.clone(), to);
    }

    /// Something may be ready in front of the floor.
    pub(crate) fn forget(&self, queue: &QueueName) {
        lock(&self.known).floors.remove(queue);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_holds_until_it_is_forgotten() {
        let (floors, queue) = (Floors::default(), QueueName::new("q").unwrap());
        let place = Floor { priority: 3, created: Time(Timestamp::UNIX_EPOCH) };
        assert_eq!(floors.of([&queue].into_iter()), [Floor::bottom()]);
        floors.raise(&queue, place);
        assert_eq!(floors.of([&queue].into_iter()), [place]);
        floors.forget(&queue);
        assert_eq!(floors.of([&queue].into_iter()), [Floor::bottom()]);
    }
}
