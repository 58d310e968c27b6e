//! The loop of one consumer: who has which partition, what is read ahead, what runs.

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    attempt::{Ended, Runner, Then, Work},
    heart::Seen,
    held::Held,
    lane::{Lane, Next},
    partition::{CursorMove, MemberView, PartitionClaim, PartitionRead, PartitionRef, ReadFrom},
    spec::Poison,
};
use crate::{
    error::{Error, Result},
    limits::{GROUP_READ_MAX, GROUP_SCAN_MAX},
    worker::{CancelReason, context::Cancellation},
};

/// Batches that are read ahead of a partition.
const BATCHES_AHEAD: usize = 2;
/// How often a consumer that is short of partitions asks for them, real time. Their owners give them away between two
/// beats, and nobody reads them until they are taken: a beat would be long for that.
const HAND_OVER: Duration = Duration::from_millis(20);
/// How often it asks like that. An owner whose handler takes longer gives them away when it pleases: then beats tell.
const HAND_OVER_MAX: u32 = 500;

pub(super) struct Engine {
    runner: Arc<Runner>,
    held: Arc<Held>,
    seen: watch::Receiver<Seen>,
    stop: CancellationToken,
    view: Arc<MemberView>,
    /// By number.
    lanes: BTreeMap<u16, Lane>,
    tasks: JoinSet<Done>,
    /// Handlers under way, also those of partitions that were lost meanwhile.
    running: u32,
    reading: bool,
    /// A read failed: nothing more before the next look.
    resting: bool,
    claiming: bool,
    /// The view says something new about free partitions.
    fresh_view: bool,
    /// How often it asked for partitions without a view that tells of free ones, since it is short of them.
    asked: u32,
    /// It may ask so now.
    ask: bool,
    /// The log was seen to reach at least here.
    head: u64,
    /// The log may reach further.
    look: bool,
    turn: u64,
    end: Option<Error>,
    /// For people and tests: how many partitions there are.
    count: watch::Sender<u16>,
}

/// What a task did.
enum Done {
    Batch(Ended),
    Read { asked: Vec<PartitionRef>, limit: u32, lowest: u64, read: Result<PartitionRead> },
    Claimed { asked_at: Duration, claims: Result<Vec<PartitionClaim>> },
    Moved { moves: Vec<CursorMove>, moved: Result<Vec<bool>> },
    Released,
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Engine {
    pub(super) fn new(
        runner: Arc<Runner>,
        held: Arc<Held>,
        seen: watch::Receiver<Seen>,
        view: Arc<MemberView>,
        stop: CancellationToken,
        count: watch::Sender<u16>,
    ) -> Self {
        Self {
            runner,
            held,
            seen,
            stop,
            view,
            lanes: BTreeMap::new(),
            tasks: JoinSet::new(),
            running: 0,
            reading: false,
            resting: false,
            claiming: false,
            fresh_view: true,
            asked: 0,
            ask: false,
            head: 0,
            look: true,
            turn: 0,
            end: None,
            count,
        }
    }

    /// Consumes until it is stopped, or cannot go on. Running handlers have ended then.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut poll = tokio::time::interval(self.runner.options.poll);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut hand_over = tokio::time::interval(HAND_OVER.min(self.runner.options.poll));
        hand_over.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut waiting: Option<Waiting> = None;
        while self.end.is_none() {
            self.act();
            // Not while it reads: the read may be the one that sees what the signal is about. What is signalled meanwhile
            // is above the head that the read answers, and heard then.
            if waiting.is_none() && !self.look && !self.reading {
                let (runner, after) = (self.runner.clone(), self.head);
                waiting = Some(Box::pin(async move { runner.store.wait_log(after).await }));
            }
            let retry = self.next_retry();
            tokio::select! {
                () = self.stop.cancelled() => break,
                Some(done) = self.tasks.join_next() => self.take(done),
                seen = self.seen.changed() => match seen {
                    Ok(()) => self.see(),
                    // The heart is gone, and with it the right to go on: it panicked.
                    Err(_) => self.end = Some(Error::unavailable("consumer", "go on", "its heartbeat ended")),
                },
                () = awaited(&mut waiting) => {
                    waiting = None;
                    self.look = true;
                }
                _ = poll.tick() => {
                    (self.look, self.resting) = (true, false);
                    self.catch_up();
                }
                _ = hand_over.tick(), if self.is_short() => (self.ask, self.asked) = (true, self.asked + 1),
                () = retry => {}
            }
        }
        self.finish().await;
        self.end.map_or(Ok(()), Err)
    }

    /// Everything that can be begun now.
    fn act(&mut self) {
        self.rebalance();
        self.claim();
        self.start();
        self.read();
        let count = u16::try_from(self.lanes.len()).unwrap_or(u16::MAX);
        self.count.send_if_modified(|known| std::mem::replace(known, count) != count);
    }

    /// Gives away what is more than this member's share: what is idle at once, what is busy when it is done.
    fn rebalance(&mut self) {
        let mut excess = self.lanes.len().saturating_sub(usize::from(self.view.share));
        self.lanes.values_mut().for_each(|lane| lane.draining = false);
        if excess == 0 {
            return;
        }
        let idle: Vec<PartitionRef> =
            self.lanes.values().rev().filter(|lane| !lane.busy).take(excess).map(|lane| lane.held).collect();
        excess -= idle.len();
        self.lanes.values_mut().rev().filter(|lane| lane.busy).take(excess).for_each(|lane| lane.draining = true);
        self.release(idle);
    }

    fn release(&mut self, given: Vec<PartitionRef>) {
        if given.is_empty() {
            return;
        }
        for held in &given {
            self.lanes.remove(&held.partition);
            self.held.drop_one(*held);
        }
        let runner = self.runner.clone();
        self.tasks.spawn(async move {
            if let Err(error) = runner.store.release_partitions(&runner.spec.name, &given).await {
                tracing::warn!(%error, "failed to give partitions back; they come free by their lease");
            }
            Done::Released
        });
    }

    /// How many partitions this member should have beside those that it has.
    fn missing(&self) -> usize {
        usize::from(self.view.share).saturating_sub(self.lanes.len())
    }

    /// Whether others are about to give partitions away to it.
    fn is_short(&self) -> bool {
        self.missing() > 0 && !self.claiming && self.asked < HAND_OVER_MAX
    }

    fn claim(&mut self) {
        let Ok(missing) = u16::try_from(self.missing()) else { return };
        let told = self.fresh_view && self.view.free > 0;
        if missing == 0 || self.claiming || !(told || self.ask) {
            return;
        }
        (self.claiming, self.fresh_view, self.ask) = (true, false, false);
        let (runner, asked_at) = (self.runner.clone(), self.runner.options.clock.monotonic());
        self.tasks.spawn(async move {
            let claims = runner.store.claim_partitions(&runner.member, missing).await;
            Done::Claimed { asked_at, claims }
        });
    }

    /// Handlers for partitions that have something to do, while there are slots: who waited longest first.
    fn start(&mut self) {
        if self.view.paused {
            return;
        }
        let now = self.runner.options.clock.monotonic();
        let mut ready: Vec<(u64, u16)> = self
            .lanes
            .values()
            .filter(|lane| lane.is_ready() && lane.not_before <= now)
            .map(|lane| (lane.start_turn, lane.held.partition))
            .collect();
        ready.sort_unstable();
        for (_, partition) in ready {
            if self.running >= self.runner.options.concurrency {
                return;
            }
            self.turn += 1;
            let Some(lane) = self.lanes.get_mut(&partition) else { continue };
            // By this process's own clock: what the store gave to somebody else meanwhile must not start here.
            let Some(cancellation) = self.held.begin(lane.held, now) else { continue };
            let Some((next, to)) = lane.next(self.runner.options.batch as usize) else { continue };
            (lane.busy, lane.start_turn) = (true, self.turn);
            self.running += 1;
            spawn_batch(&mut self.tasks, &self.runner, lane, next, to, cancellation);
        }
    }

    /// One read at a time, for every partition that has room and is not far from the one that waited longest.
    fn read(&mut self) {
        if self.reading || self.resting || self.view.paused {
            return;
        }
        let batch = self.runner.options.batch as usize;
        let room = |lane: &&Lane| !lane.draining && !lane.halted && lane.waiting() < BATCHES_AHEAD * batch;
        let at_head = self.lanes.values().filter(room).any(|lane| lane.read_to >= self.head);
        let looking = self.look && at_head;
        let wanted = |lane: &&Lane| room(lane) && (lane.read_to >= self.head) == looking;
        let Some(pivot) = self.lanes.values().filter(wanted).min_by_key(|lane| lane.read_turn) else { return };
        let lowest = pivot.read_to;
        let window = lowest..=lowest.saturating_add(GROUP_SCAN_MAX);
        let asked: Vec<&Lane> =
            self.lanes.values().filter(wanted).filter(|lane| window.contains(&lane.read_to)).collect();
        let from: Vec<ReadFrom> =
            asked.iter().map(|lane| ReadFrom { partition: lane.held.partition, after: lane.read_to }).collect();
        let asked: Vec<PartitionRef> = asked.iter().map(|lane| lane.held).collect();
        let waiting: usize = self.lanes.values().map(Lane::waiting).sum();
        let room = (BATCHES_AHEAD * batch * self.lanes.len()).saturating_sub(waiting).max(BATCHES_AHEAD * batch);
        let limit = u32::try_from(room).unwrap_or(u32::MAX).min(GROUP_READ_MAX);
        if looking {
            self.look = false;
        }
        self.reading = true;
        let runner = self.runner.clone();
        self.tasks.spawn(async move {
            let read = runner.store.read_partitions(&runner.spec.name, &from, limit).await;
            Done::Read { asked, limit, lowest, read }
        });
    }

    /// Moves cursors over what is of no concern, so that people and retention see how far the group is.
    fn catch_up(&mut self) {
        let behind = self.lanes.values_mut().filter(|lane| lane.is_behind_itself());
        let moves: Vec<CursorMove> = behind
            .map(|lane| {
                lane.busy = true;
                CursorMove { held: lane.held, from: lane.cursor, to: lane.read_to }
            })
            .collect();
        if moves.is_empty() {
            return;
        }
        let runner = self.runner.clone();
        self.tasks.spawn(async move {
            let moved = runner.store.advance(&runner.spec.name, &moves).await;
            Done::Moved { moves, moved }
        });
    }

    fn take(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Batch(ended)) => self.batch_ended(ended),
            Ok(Done::Read { asked, limit, lowest, read }) => self.was_read(&asked, limit, lowest, read),
            Ok(Done::Claimed { asked_at, claims }) => self.claimed(asked_at, claims),
            Ok(Done::Moved { moves, moved }) => self.moved(&moves, moved),
            Ok(Done::Released) => {}
            // Handlers' panics are caught; this is one of ours.
            Err(error) => self.end = Some(Error::unavailable("consumer", "go on", error)),
        }
    }

    fn batch_ended(&mut self, ended: Ended) {
        let Ended { held, cursor, rest, then } = ended;
        self.running = self.running.saturating_sub(1);
        self.held.ended(held);
        if let Then::End(error) = then {
            self.end = Some(error);
            return;
        }
        // Lost meanwhile.
        let Some(lane) = self.lanes.get_mut(&held.partition).filter(|lane| lane.held == held) else { return };
        (lane.busy, lane.cursor) = (false, cursor);
        let last = rest.last().map_or(0, |last| last.id);
        lane.put_back(rest);
        match then {
            Then::Go => lane.attempts = 0,
            Then::OneByOne => lane.one_by_one_to(last),
            Then::Wait { attempts, until } => (lane.attempts, lane.not_before) = (attempts, until),
            Then::Halt => lane.halted = true,
            Then::Parked(stream) => {
                lane.attempts = 0;
                stream.into_iter().for_each(|stream| lane.park(stream));
            }
            // Given back, too: it may still be ours for the store, as after a write whose answer was lost.
            Then::Lost | Then::End(_) => self.release(vec![held]),
        }
    }

    fn was_read(&mut self, asked: &[PartitionRef], limit: u32, lowest: u64, read: Result<PartitionRead>) {
        self.reading = false;
        let PartitionRead { events, up_to } = match read {
            Ok(read) => read,
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "failed to read on");
                (self.look, self.resting) = (true, true);
                return;
            }
            Err(error) => {
                self.end = Some(error);
                return;
            }
        };
        self.turn += 1;
        let is_full = events.len() >= limit as usize || up_to >= lowest.saturating_add(GROUP_SCAN_MAX);
        let mut known: BTreeMap<u16, &mut Lane> = BTreeMap::new();
        for (partition, lane) in &mut self.lanes {
            if asked.contains(&lane.held) {
                known.insert(*partition, lane);
            }
        }
        for event in events {
            if let Some(lane) = known.get_mut(&event.partition) {
                lane.push(event);
            }
        }
        for lane in known.into_values() {
            (lane.read_to, lane.read_turn) = (lane.read_to.max(up_to), self.turn);
        }
        self.head = self.head.max(up_to);
        self.look |= is_full;
    }

    fn claimed(&mut self, asked_at: Duration, claims: Result<Vec<PartitionClaim>>) {
        self.claiming = false;
        let claims = match claims {
            Ok(claims) => claims,
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "failed to claim partitions");
                return;
            }
            Err(error) => {
                self.end = Some(error);
                return;
            }
        };
        if claims.is_empty() {
            return;
        }
        let (spec, now) = (&self.runner.spec, self.runner.options.clock.monotonic());
        for claim in claims {
            let halted = spec.poison == Poison::Stop && claim.attempts >= spec.attempts;
            self.held.take(claim.held, asked_at);
            self.lanes.insert(claim.held.partition, Lane::new(&claim, halted, now));
        }
        (self.look, self.asked) = (true, 0);
    }

    fn moved(&mut self, moves: &[CursorMove], moved: Result<Vec<bool>>) {
        let moved = match moved {
            Ok(moved) => moved.into_iter().map(Some).collect(),
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "failed to move cursors");
                vec![None; moves.len()]
            }
            Err(error) => {
                self.end = Some(error);
                return;
            }
        };
        let mut lost = Vec::new();
        for (step, moved) in moves.iter().zip(moved) {
            let lane = self.lanes.get_mut(&step.held.partition).filter(|lane| lane.held == step.held);
            let Some(lane) = lane else { continue };
            lane.busy = false;
            match moved {
                Some(true) => lane.cursor = step.to,
                Some(false) => lost.push(step.held),
                // It is tried again. Where it did happen, the next move is refused, and the partition claimed anew.
                None => {}
            }
        }
        self.release(lost);
    }

    /// What the last beat brought.
    fn see(&mut self) {
        let seen = self.seen.borrow_and_update().clone();
        match seen {
            Seen::View(view) => {
                for lost in &view.lost {
                    if self.lanes.get(&lost.partition).is_some_and(|lane| lane.held == *lost) {
                        tracing::info!(group = %self.runner.spec.name, partition = lost.partition, "a partition was lost");
                        self.lanes.remove(&lost.partition);
                    }
                    self.held.drop_one(*lost);
                }
                if view.share != self.view.share {
                    self.asked = 0;
                }
                (self.view, self.fresh_view) = (view, true);
            }
            Seen::Ended(error) => self.end = Some(error),
        }
    }

    /// Ends when a failed event may be tried again.
    fn next_retry(&self) -> Waiting {
        let clock = &self.runner.options.clock;
        let now = clock.monotonic();
        let retries = self.lanes.values().filter(|lane| lane.is_ready()).map(|lane| lane.not_before);
        match retries.filter(|at| *at > now).min() {
            Some(at) => clock.sleep(at - now),
            None => Box::pin(std::future::pending()),
        }
    }

    /// Lets running handlers end; those that take longer than the grace are told to.
    async fn finish(&mut self) {
        let (clock, grace) = (self.runner.options.clock.clone(), self.runner.options.grace);
        let mut patience = clock.sleep(grace);
        let mut told = false;
        self.view = Arc::new(MemberView { share: u16::MAX, free: 0, ..(*self.view).clone() });
        loop {
            tokio::select! {
                biased;
                done = self.tasks.join_next() => match done {
                    Some(Ok(Done::Batch(ended))) => {
                        let end = self.end.take();
                        self.batch_ended(ended);
                        self.end = end.or(self.end.take());
                    }
                    Some(_) => {}
                    None => break,
                },
                () = &mut patience, if !told => {
                    told = true;
                    self.held.fire_all(CancelReason::Stopping);
                }
            }
        }
        self.catch_up();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn spawn_batch(
    tasks: &mut JoinSet<Done>,
    runner: &Arc<Runner>,
    lane: &Lane,
    next: Next,
    to: u64,
    cancellation: Cancellation,
) {
    let (held, cursor, attempts, runner) = (lane.held, lane.cursor, lane.attempts, runner.clone());
    tasks.spawn(async move {
        Done::Batch(match next {
            Next::Handle(events) => runner.run(Work { held, cursor, to, events, attempts, cancellation }).await,
            Next::ParkBehind(events) => {
                runner.park_behind(Work { held, cursor, to, events, attempts, cancellation }).await
            }
        })
    });
}

async fn awaited(waiting: &mut Option<Waiting>) {
    match waiting {
        Some(waiting) => waiting.await,
        None => std::future::pending().await,
    }
}
