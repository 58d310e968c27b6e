//! Every queue's slots in this process, and the jobs that wait for one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    context::Cancellation,
    pace::{Pace, weight},
    siblings::Siblings,
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

/// Jobs of full groups that wait in one lane: each is held from other processes, and burns an attempt where this one is
/// killed; fewer would let one busy group in front of a queue hold up the others sooner.
const PARKED_MAX: usize = 100;

/// A claimed job that has not started.
pub(crate) struct Ready {
    pub(crate) job: Claimed,
    pub(crate) cancellation: Cancellation,
    /// Those that it is best settled with.
    pub(crate) siblings: Option<Siblings>,
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
    /// Jobs that claims under way ask for.
    asked: u32,
    /// Whether the engine was told that more is wanted, and has not looked since.
    told: bool,
    ready: VecDeque<Ready>,
    groups: Option<Groups>,
    pace: Pace,
}

/// The groups of a lane that runs so many of each at once.
struct Groups {
    at_most: u32,
    /// Running jobs, of groups that have some.
    running: HashMap<Arc<str>, u32>,
    /// Claimed jobs of groups that run as many as they may, in the order of their claims.
    parked: HashMap<Arc<str>, VecDeque<Ready>>,
}

impl Groups {
    /// Takes a slot of the job's group, or parks the job.
    fn admit(&mut self, ready: Ready) -> Option<Ready> {
        let Some(group) = &ready.job.group else { return Some(ready) };
        let id = group.id.clone();
        let running = self.running.entry(id.clone()).or_default();
        if *running < self.at_most {
            *running += 1;
            return Some(ready);
        }
        self.parked.entry(id).or_default().push_back(ready);
        None
    }

    /// One of the group has ended. Answers the job that waited for it.
    fn ended(&mut self, group: &Arc<str>) -> Option<Ready> {
        let running = self.running.get_mut(group)?;
        *running = running.saturating_sub(1);
        if *running >= self.at_most {
            return None;
        }
        if *running == 0 {
            self.running.remove(group);
        }
        let parked = self.parked.get_mut(group)?;
        let next = parked.pop_front();
        if parked.is_empty() {
            self.parked.remove(group);
        }
        next
    }

    fn parked(&self) -> usize {
        self.parked.values().map(VecDeque::len).sum()
    }

    fn unpark(&mut self) -> impl Iterator<Item = Ready> + use<> {
        std::mem::take(&mut self.parked).into_values().flatten()
    }
}

impl Lane {
    pub(crate) fn new(concurrency: u32) -> Self {
        Self {
            concurrency,
            active: false,
            paused: false,
            running: 0,
            more: false,
            asked: 0,
            told: false,
            ready: VecDeque::new(),
            groups: None,
            pace: Pace::default(),
        }
    }

    fn takes(&self) -> bool {
        self.active && !self.paused
    }

    /// How many jobs to ask for, beside what is asked for already. What is taken ahead is asked for when half of it is
    /// gone, not one by one.
    ///
    /// A second claim beside the first only where there is known to be more, and where jobs run side by side: two
    /// claims may take from each other, and one slot's jobs must run in the order of the queue.
    fn wanted(&self) -> u32 {
        if !self.takes() || (self.asked > 0 && !(self.more && self.concurrency > 1)) || self.parked() >= PARKED_MAX {
            return 0;
        }
        let ahead = match &self.groups {
            None => self.pace.ahead(self.concurrency),
            // What is taken ahead may be parked.
            Some(groups) => self.pace.ahead(self.concurrency).min(PARKED_MAX.saturating_sub(groups.parked()) as u32),
        };
        let coming = u32::try_from(self.ready.len()).unwrap_or(u32::MAX).saturating_add(self.asked);
        if coming > ahead / 2 || (coming == ahead && self.running >= self.concurrency) {
            return 0;
        }
        let room = (self.concurrency + ahead).saturating_sub(self.running.saturating_add(coming));
        // No claim brings more: what is left is for the next one, beside it.
        room.min(CLAIM_BATCH_MAX)
    }

    /// Whether what is asked for is expected to have ended soon after it came.
    fn is_brief(&self) -> bool {
        self.groups.is_none() && self.pace.is_brief(self.ready.len() + self.asked as usize, self.concurrency)
    }

    /// Whether to tell the engine that it may ask for more.
    fn runs_low(&mut self) -> bool {
        let low = self.more && !self.told && self.wanted() > 0;
        self.told |= low;
        low
    }

    /// The next job for a slot; notes how long it has waited for it.
    fn next(&mut self, now: Duration) -> Option<Ready> {
        loop {
            let ready = self.ready.pop_front()?;
            self.pace.waited(now.saturating_sub(ready.since), now);
            let admitted = match &mut self.groups {
                None => Some(ready),
                Some(groups) => groups.admit(ready),
            };
            if admitted.is_some() {
                return admitted;
            }
        }
    }

    fn has_slot(&self) -> bool {
        self.takes() && self.running < self.concurrency
    }

    fn parked(&self) -> usize {
        self.groups.as_ref().map_or(0, Groups::parked)
    }

    /// A job of this group has ended: what waited for that is next.
    fn free(&mut self, group: Option<&Arc<str>>, now: Duration) {
        let waited = self.groups.as_mut().zip(group).and_then(|(groups, group)| groups.ended(group));
        if let Some(ready) = waited {
            // It waited for its group, which says nothing of how long jobs wait for a slot.
            self.ready.push_front(Ready { since: now, ..ready });
        }
    }

    /// Runs so many jobs of one group at once from now on. What runs already of a lane that had no limit is not counted.
    pub(crate) fn limit_groups(&mut self, at_most: u32) {
        let groups =
            self.groups.get_or_insert_with(|| Groups { at_most, running: HashMap::new(), parked: HashMap::new() });
        groups.at_most = at_most;
        let mut waited: Vec<Ready> = groups.unpark().collect();
        waited.sort_by_key(|ready| std::cmp::Reverse(ready.since));
        waited.into_iter().for_each(|ready| self.ready.push_front(ready));
    }

    /// Every job that has not started.
    fn drain(&mut self) -> Vec<ClaimRef> {
        let parked = self.groups.as_mut().map(Groups::unpark).into_iter().flatten();
        self.ready.drain(..).chain(parked).map(|ready| ready.job.claim).collect()
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
            lane.told = false;
            if at_most > 0 {
                lane.asked += at_most;
                wants.push(Want { queue: queue.clone(), at_most, brief: lane.is_brief() });
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
                lane.asked = lane.asked.saturating_sub(want.at_most);
            }
        }
    }

    /// Lays claimed jobs into their lanes.
    pub(crate) fn claimed(&self, wants: &[Want], claimed: Vec<(Cancellation, Claimed)>) {
        let (since, all) = (self.now(), claimed.len());
        let siblings = Siblings::default();
        let mut by_queue: HashMap<QueueName, Vec<Ready>> = HashMap::new();
        for (cancellation, job) in claimed {
            let siblings = job.together.then(|| siblings.clone());
            let ready = Ready { job, cancellation, siblings, since };
            match by_queue.get_mut(&ready.job.claim.queue) {
                Some(jobs) => jobs.push(ready),
                None => drop(by_queue.insert(ready.job.claim.queue.clone(), vec![ready])),
            }
        }
        let mut lanes = self.lock();
        for want in wants {
            let Some(lane) = lanes.get_mut(&want.queue) else { continue };
            let jobs = by_queue.remove(&want.queue).unwrap_or_default();
            lane.asked = lane.asked.saturating_sub(want.at_most);
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
        let (mut starts, now) = (Vec::new(), self.now());
        let mut low = false;
        for lane in self.lock().values_mut() {
            while lane.has_slot()
                && let Some(ready) = lane.next(now)
            {
                lane.running += 1;
                starts.push(ready);
            }
            // What is parked fills no slot: there may be jobs of other groups behind it.
            low |= lane.parked() > 0 && lane.runs_low();
        }
        if low {
            self.low.notify_one();
        }
        starts
    }

    /// A job that began then, of this group, has ended: the next one for its slot, or the slot is free.
    pub(crate) fn ended(&self, queue: &QueueName, group: Option<&Arc<str>>, began: Duration) -> Next {
        let now = self.now();
        let mut lanes = self.lock();
        let Some(lane) = lanes.get_mut(queue) else { return Next::None };
        lane.pace.ended(now.saturating_sub(began));
        lane.free(group, now);
        let keeps = lane.takes() && lane.running <= lane.concurrency;
        let next = if keeps { lane.next(now) } else { None };
        if next.is_none() {
            lane.running -= 1;
        }
        let low = lane.runs_low();
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
                claims.extend(lane.drain());
            }
        }
        claims
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const MANY: u32 = 10;

    fn queue() -> QueueName {
        QueueName::new("q").unwrap()
    }

    /// One queue whose handlers are short and whose claims were full, so that much is taken ahead.
    fn lanes(concurrency: u32) -> Lanes {
        let mut lane = Lane::new(concurrency);
        lane.active = true;
        (0..20).for_each(|_| lane.pace.full(concurrency));
        (0..50).for_each(|_| lane.pace.ended(Duration::from_micros(3)));
        let lanes = Lanes::default();
        lanes.lock().insert(queue(), lane);
        lanes
    }

    /// A job of a group; the letter is the group's, the rest is its id.
    fn of_group(text: &str) -> (Cancellation, Claimed) {
        let job = Claimed { group: Some(crate::JobGroup::new(&text[..1])), ..job(text) };
        (Cancellation::default(), job)
    }

    fn started(lanes: &Lanes) -> Vec<String> {
        lanes.starts().into_iter().map(|ready| ready.job.claim.job.to_string()).collect()
    }

    /// The next job in the slot of one of this group that has ended.
    fn after(lanes: &Lanes, group: &str) -> Option<String> {
        match lanes.ended(&queue(), Some(&group.into()), Duration::MAX) {
            Next::Job(ready) => Some(ready.job.claim.job.to_string()),
            Next::None => None,
        }
    }

    #[test]
    fn a_full_group_waits_and_holds_up_no_other() {
        let lanes = lanes(4);
        lanes.change(&queue(), |lane| lane.limit_groups(1));
        let wants = lanes.wants();
        assert_eq!(wants[0].at_most, 4 + PARKED_MAX as u32);
        let jobs = ["a1", "a2", "a3", "b1", "b2", "c1"].map(of_group);
        lanes.claimed(&wants, jobs.into());
        assert_eq!(started(&lanes), ["a1", "b1", "c1"]);
        // The slot goes on with the job that waited for its group.
        assert_eq!(after(&lanes, "a").as_deref(), Some("a2"));
        assert_eq!(after(&lanes, "c"), None);
        assert_eq!(after(&lanes, "b").as_deref(), Some("b2"));
        lanes.change(&queue(), |lane| lane.limit_groups(2));
        assert_eq!(started(&lanes), ["a3"]);
        assert_eq!((after(&lanes, "a"), after(&lanes, "a"), after(&lanes, "b")), (None, None, None));
        assert_eq!(lanes.lock()[&queue()].running, 0);
    }

    #[test]
    fn what_waits_for_its_group_is_bounded_and_given_back() {
        let lanes = lanes(2);
        lanes.change(&queue(), |lane| lane.limit_groups(1));
        let mut claims = 0;
        loop {
            let wants = lanes.wants();
            let Some(want) = wants.first() else { break };
            let jobs = (0..want.at_most).map(|n| of_group(&format!("a{claims}.{n}"))).collect();
            lanes.claimed(&wants, jobs);
            lanes.starts();
            claims += 1;
            assert!(claims < 100, "what is parked has no end");
        }
        let parked = lanes.lock()[&queue()].parked();
        assert!((PARKED_MAX..=2 * PARKED_MAX).contains(&parked), "{parked} are parked");
        lanes.change(&queue(), |lane| lane.paused = true);
        assert_eq!(lanes.take_paused().len(), parked);
        assert_eq!(lanes.lock()[&queue()].parked(), 0);
    }

    fn asked(lanes: &Lanes) -> u32 {
        lanes.wants().iter().map(|want| want.at_most).sum()
    }

    fn job(text: &str) -> Claimed {
        Claimed {
            claim: ClaimRef { queue: queue(), job: crate::JobId::new(text).unwrap(), token: text.into() },
            name: crate::JobName::new("n").unwrap(),
            life: "1".into(),
            data: Value::Null,
            attempt: 1,
            attempts: 1,
            timeout: None,
            group: None,
            trace: None,
            together: false,
        }
    }

    fn answer(lanes: &Lanes, asked: u32, jobs: u32) {
        let claimed = (0..jobs).map(|number| (Cancellation::default(), job(&number.to_string()))).collect();
        lanes.claimed(&[Want::new(queue(), asked)], claimed);
        // However slow this machine is, none has waited for long.
        let mut all = lanes.lock();
        all.values_mut().flat_map(|lane| &mut lane.ready).for_each(|ready| ready.since = Duration::MAX);
    }

    /// Runs so many of what waits.
    fn run(lanes: &Lanes, jobs: usize) {
        for _ in 0..jobs {
            lanes.ended(&queue(), None, Duration::MAX);
        }
    }

    #[test]
    fn two_claims_share_what_is_taken_ahead() {
        let (lanes, whole) = (lanes(MANY), CLAIM_BATCH_MAX);
        // No claim asks for more than one brings, and nothing is known of the queue yet: one claim.
        assert_eq!(asked(&lanes), whole);
        assert_eq!(asked(&lanes), 0);
        answer(&lanes, whole, whole);
        assert_eq!(lanes.starts().len(), MANY as usize);
        // There is more: the next one is under way while the jobs of the first run.
        assert_eq!(asked(&lanes), whole);
        assert_eq!(asked(&lanes), 0);
        // What is here is about to end: a second one beside it, and never more than there is room for.
        run(&lanes, whole as usize);
        assert_eq!(asked(&lanes), whole);
        assert_eq!(asked(&lanes), 0);
        answer(&lanes, whole, whole);
        assert_eq!(asked(&lanes), 0);
    }

    #[test]
    fn one_slot_has_one_claim() {
        let lanes = lanes(1);
        let first = asked(&lanes);
        answer(&lanes, first, first);
        assert_eq!(lanes.starts().len(), 1);
        run(&lanes, first as usize - 1);
        assert!(asked(&lanes) > 0);
        run(&lanes, 1);
        assert_eq!(asked(&lanes), 0);
    }

    #[test]
    fn a_queue_that_seems_empty_has_one_claim() {
        let lanes = lanes(MANY);
        let first = asked(&lanes);
        answer(&lanes, first, first - 1);
        assert_eq!(lanes.starts().len(), MANY as usize);
        run(&lanes, first as usize - 1);
        assert!(asked(&lanes) > 0);
        assert_eq!(asked(&lanes), 0);
        lanes.refused(&[Want::new(queue(), first)]);
        assert!(asked(&lanes) > 0, "a claim that failed is asked for again");
    }
}
