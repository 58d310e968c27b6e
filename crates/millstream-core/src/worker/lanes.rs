//! Every queue's slots in this process, and the jobs that wait for one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    context::Cancellation,
    pace::{Pace, weight},
};
use crate::{
    claim::{ClaimRef, Claimed, Want},
    clock::{Clock, SystemClock},
    limits::CLAIM_BATCH_MAX,
    name::QueueName,
};

/// How long a job that was taken ahead waits for a slot before it goes back to its queue: the handlers in front of it
/// turned out longer than those before them.
const HOARDED_MAX: Duration = Duration::from_millis(500);

/// A claimed job that has not started.
pub(crate) struct Ready {
    pub(crate) job: Claimed,
    pub(crate) cancellation: Cancellation,
    since: Duration,
}

/// What a slot that is done with a job does next.
pub(crate) enum Next {
    Job(Box<Ready>),
    None,
}

/// One queue's slots in this process.
pub(crate) struct Lane {
    pub(crate) concurrency: u32,
    /// Whether it takes jobs at all: started by `start`, or by `run`.
    pub(crate) active: bool,
    pub(crate) paused: bool,
    /// Slots with a task.
    pub(crate) running: u32,
    /// Whether the last claim filled every slot, so that there may be more.
    more: bool,
    /// Whether a claim is under way, or asked for.
    asking: bool,
    ready: VecDeque<Ready>,
    pace: Pace,
}

impl Lane {
    pub(crate) fn new(concurrency: u32) -> Self {
        let (active, paused, running, more, asking) = (false, false, 0, false, false);
        Self { concurrency, active, paused, running, more, asking, ready: VecDeque::new(), pace: Pace::default() }
    }

    fn takes(&self) -> bool {
        self.active && !self.paused
    }

    /// How many jobs to ask for. What is taken ahead is asked for when half of it is gone, not one by one.
    fn wanted(&self) -> u32 {
        if !self.takes() {
            return 0;
        }
        let (ahead, waiting) = (self.pace.ahead(self.concurrency), u32::try_from(self.ready.len()).unwrap_or(u32::MAX));
        if waiting > ahead / 2 || (waiting == ahead && self.running >= self.concurrency) {
            return 0;
        }
        (self.concurrency + ahead).saturating_sub(self.running + waiting)
    }

    fn has_slot(&self) -> bool {
        self.takes() && self.running < self.concurrency && !self.ready.is_empty()
    }
}

/// Every queue's slots. Written by the manager (what is wanted), the engine (what came) and the slots' tasks.
#[derive(Default)]
pub(crate) struct Lanes {
    lanes: Mutex<HashMap<QueueName, Lane>>,
    /// Told after every change of what is wanted.
    pub(crate) changed: Notify,
    /// Told when a lane with more to come runs low.
    pub(crate) low: Notify,
    /// Real time: how long handlers take is no business of a clock of tests.
    clock: SystemClock,
}

impl Lanes {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<QueueName, Lane>> {
        // Every change leaves a lane whole: a panic leaves nothing half done.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Changes one queue's lane, if it is known, and tells the engine.
    pub(crate) fn change(&self, queue: &QueueName, change: impl FnOnce(&mut Lane)) -> bool {
        let known = self.lock().get_mut(queue).map(change).is_some();
        self.changed.notify_one();
        known
    }

    pub(crate) fn wants(&self) -> Vec<Want> {
        let mut wants = Vec::new();
        for (queue, lane) in self.lock().iter_mut() {
            let at_most = lane.wanted();
            lane.asking = at_most > 0;
            if lane.asking {
                wants.push(Want { queue: queue.clone(), at_most });
            }
        }
        wants
    }

    pub(crate) fn queues(&self) -> Vec<QueueName> {
        self.lock().iter().filter(|(_, lane)| lane.active).map(|(queue, _)| queue.clone()).collect()
    }

    /// A claim that failed: what was asked for is asked for again by the next signal or poll.
    pub(crate) fn refused(&self, wants: &[Want]) {
        let mut lanes = self.lock();
        for want in wants {
            if let Some(lane) = lanes.get_mut(&want.queue) {
                lane.asking = false;
            }
        }
    }

    /// Lays claimed jobs into their lanes.
    pub(crate) fn claimed(&self, wants: &[Want], claimed: Vec<(Cancellation, Claimed)>) {
        let (since, all) = (self.now(), claimed.len());
        let mut by_queue: HashMap<QueueName, Vec<Ready>> = HashMap::new();
        for (cancellation, job) in claimed {
            let ready = Ready { job, cancellation, since };
            match by_queue.get_mut(&ready.job.claim.queue) {
                Some(jobs) => jobs.push(ready),
                None => drop(by_queue.insert(ready.job.claim.queue.clone(), vec![ready])),
            }
        }
        let mut lanes = self.lock();
        for want in wants {
            let Some(lane) = lanes.get_mut(&want.queue) else { continue };
            let jobs = by_queue.remove(&want.queue).unwrap_or_default();
            lane.asking = false;
            lane.more = jobs.len() >= want.at_most as usize || all >= CLAIM_BATCH_MAX as usize;
            if lane.more {
                lane.pace.full(lane.concurrency);
            }
            lane.pace.weigh(jobs.iter().map(|ready| weight(&ready.job.data)));
            lane.ready.extend(jobs);
        }
    }

    /// Jobs whose slots are free; their slots are taken now.
    pub(crate) fn starts(&self) -> Vec<Ready> {
        let mut starts = Vec::new();
        for lane in self.lock().values_mut() {
            while lane.has_slot() {
                lane.running += 1;
                starts.extend(lane.ready.pop_front());
            }
        }
        starts
    }

    /// A job that began then has ended: the next one for its slot, or the slot is free.
    pub(crate) fn ended(&self, queue: &QueueName, began: Duration) -> Next {
        let took = self.now().saturating_sub(began);
        let mut lanes = self.lock();
        let Some(lane) = lanes.get_mut(queue) else { return Next::None };
        lane.pace.ended(took);
        let keeps = lane.takes() && lane.running <= lane.concurrency;
        let next = if keeps { lane.ready.pop_front() } else { None };
        if next.is_none() {
            lane.running -= 1;
        }
        let low = lane.more && !lane.asking && lane.wanted() > 0;
        lane.asking |= low;
        drop(lanes);
        if low {
            self.low.notify_one();
        }
        next.map_or(Next::None, |ready| Next::Job(Box::new(ready)))
    }

    /// Ends when a job has waited for its slot for too long.
    pub(crate) async fn hoarding(&self) {
        let oldest = || self.lock().values().filter_map(|lane| lane.ready.front().map(|ready| ready.since)).min();
        match oldest() {
            Some(since) => tokio::time::sleep((since + HOARDED_MAX).saturating_sub(self.now())).await,
            None => std::future::pending().await,
        }
    }

    /// Jobs of lanes in which one has waited for too long.
    pub(crate) fn take_hoarded(&self) -> Vec<ClaimRef> {
        let now = self.now();
        self.take_ready(|lane| {
            let hoards = lane.ready.front().is_some_and(|ready| ready.since + HOARDED_MAX <= now);
            if hoards {
                lane.pace.stuck();
            }
            hoards
        })
    }

    /// Jobs of lanes that take none any more.
    pub(crate) fn take_paused(&self) -> Vec<ClaimRef> {
        self.take_ready(|lane| !lane.takes())
    }

    /// Every job that has not started; none starts after this.
    pub(crate) fn close(&self) -> Vec<ClaimRef> {
        self.take_ready(|lane| {
            lane.active = false;
            true
        })
    }

    fn take_ready(&self, mut from: impl FnMut(&mut Lane) -> bool) -> Vec<ClaimRef> {
        let mut claims = Vec::new();
        for lane in self.lock().values_mut() {
            if from(lane) {
                claims.extend(lane.ready.drain(..).map(|ready| ready.job.claim));
            }
        }
        claims
    }
}
