//! A partition that this consumer has: what is read ahead of its cursor, and whether its next batch may start.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use super::partition::{GroupEvent, PartitionClaim, PartitionRef};
use crate::{event::Event, name::StreamName};

pub(super) struct Lane {
    pub(super) held: PartitionRef,
    /// Everything up to here is done, and the store knows.
    pub(super) cursor: u64,
    /// Everything up to here was read: it is done, waits below, or is of no concern.
    pub(super) read_to: u64,
    waiting: VecDeque<GroupEvent>,
    /// A batch or a move is under way.
    pub(super) busy: bool,
    /// How often the next event failed.
    pub(super) attempts: u32,
    /// When it may be tried again, by the process's monotonic clock.
    pub(super) not_before: Duration,
    /// Up to here events go one by one, because one of them failed.
    one_by_one: u64,
    /// Its event used up its attempts.
    pub(super) halted: bool,
    /// Starts nothing more: it is to be given away.
    pub(super) draining: bool,
    /// Streams that were parked since it was claimed: what was read before does not know.
    parked: HashSet<StreamName>,
    /// When it was last read and last started, in turns: who waited longest is next.
    pub(super) read_turn: u64,
    pub(super) start_turn: u64,
}

/// What a partition does next.
pub(super) enum Next {
    Handle(Vec<Event>),
    ParkBehind(Vec<Event>),
}

impl Lane {
    pub(super) fn new(claim: &PartitionClaim, halted: bool, now: Duration) -> Self {
        Self {
            held: claim.held,
            cursor: claim.position,
            read_to: claim.position,
            waiting: VecDeque::new(),
            busy: false,
            attempts: claim.attempts,
            not_before: now + claim.wait,
            one_by_one: 0,
            halted,
            draining: false,
            parked: HashSet::new(),
            read_turn: 0,
            start_turn: 0,
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether it could start something.
    pub(super) fn is_ready(&self) -> bool {
        !self.busy && !self.halted && !self.draining && !self.waiting.is_empty()
    }

    /// Whether all it has read is done, but its cursor does not say so yet.
    pub(super) fn is_behind_itself(&self) -> bool {
        !self.busy && self.waiting.is_empty() && self.attempts == 0 && self.read_to > self.cursor
    }

    pub(super) fn push(&mut self, event: GroupEvent) {
        self.waiting.push_back(event);
    }

    /// The next batch, at most so long, and where the cursor goes with it.
    pub(super) fn next(&mut self, batch: usize) -> Option<(Next, u64)> {
        let behind = self.is_behind(self.waiting.front()?);
        let mut events = Vec::new();
        while let Some(first) = self.waiting.front()
            && events.len() < batch
            && self.is_behind(first) == behind
        {
            let alone = !behind && (self.attempts > 0 || first.event.id <= self.one_by_one);
            if alone && !events.is_empty() {
                break;
            }
            events.extend(self.waiting.pop_front().map(|next| next.event));
            if alone {
                break;
            }
        }
        let last = events.last()?.id;
        // Nothing else follows up to where it was read: the cursor need not stop before.
        let to = if self.waiting.is_empty() { self.read_to.max(last) } else { last };
        Some((if behind { Next::ParkBehind(events) } else { Next::Handle(events) }, to))
    }

    fn is_behind(&self, event: &GroupEvent) -> bool {
        event.behind || self.parked.contains(&event.event.stream)
    }

    /// Events that are not done come first again.
    pub(super) fn put_back(&mut self, events: Vec<Event>) {
        let partition = self.held.partition;
        for event in events.into_iter().rev() {
            self.waiting.push_front(GroupEvent { event, partition, behind: false });
        }
    }

    /// What waits now is tried one by one, as far as it was in the batch that failed.
    pub(super) fn one_by_one_to(&mut self, position: u64) {
        self.one_by_one = position;
    }

    pub(super) fn park(&mut self, stream: StreamName) {
        self.parked.insert(stream);
    }
}
