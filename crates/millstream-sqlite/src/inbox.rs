//! What waits for a thread: a queue that many push to and one takes from, in groups.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// Work for one thread. Urgent work is taken first.
pub(crate) struct Inbox<W> {
    waiting: Mutex<Waiting<W>>,
    arrived: Condvar,
}

struct Waiting<W> {
    urgent: VecDeque<W>,
    normal: VecDeque<W>,
    closed: bool,
}

/// Which work is taken first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hurry {
    Urgent,
    Normal,
}

impl<W> Inbox<W> {
    pub(crate) fn new() -> Self {
        let waiting = Waiting { urgent: VecDeque::new(), normal: VecDeque::new(), closed: false };
        Self { waiting: Mutex::new(waiting), arrived: Condvar::new() }
    }

    /// Hands work over; false once closed.
    pub(crate) fn push(&self, work: W, hurry: Hurry) -> bool {
        let mut waiting = self.lock();
        if waiting.closed {
            return false;
        }
        match hurry {
            Hurry::Urgent => waiting.urgent.push_back(work),
            Hurry::Normal => waiting.normal.push_back(work),
        }
        drop(waiting);
        self.arrived.notify_one();
        true
    }

    /// Takes what waits, at most so much; blocks while there is nothing. `None` once closed and empty.
    pub(crate) fn take(&self, at_most: usize) -> Option<Vec<W>> {
        let mut waiting = self.lock();
        loop {
            if !waiting.urgent.is_empty() || !waiting.normal.is_empty() {
                return Some(waiting.group(at_most));
            }
            if waiting.closed {
                return None;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes nothing more in; what was taken in is still done.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Nothing that runs under the lock can leave a queue half changed, so a poisoned lock is as good as a whole one.
    fn lock(&self) -> MutexGuard<'_, Waiting<W>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> Waiting<W> {
    fn group(&mut self, at_most: usize) -> Vec<W> {
        let urgent = self.urgent.len().min(at_most);
        let normal = self.normal.len().min(at_most - urgent);
        self.urgent.drain(..urgent).chain(self.normal.drain(..normal)).collect()
    }
}
