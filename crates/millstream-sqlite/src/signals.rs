//! Wake-ups: hints that there may be work, a cancelled job, or an event. The tables are the truth.
//!
//! A signal is a counter that grew. The counters of a queue live in its row, written by the transaction that causes
//! the signal. The writer notes them right after its commit; the [watcher](crate::watcher) notes what other processes
//! committed. Who waits compares counters from before with counters from after, so nothing falls between looking and
//! waiting, and a commit that both note wakes once.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use millstream_core::{QueueEvent, QueueName, Wake, limits::WATCH_BUFFER};
use tokio::sync::{broadcast, watch};

/// The signal counters of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) ready: i64,
    pub(crate) beat: i64,
}

/// The log as subscribers wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogSignal {
    pub(crate) head: u64,
    pub(crate) closed: bool,
}

/// The wake-ups of one store.
pub(crate) struct Signals {
    muted: bool,
    /// Written by the writer and the watcher, read by who waits.
    marks: Mutex<HashMap<QueueName, Marks>>,
    /// Grows with every change of `marks`.
    epoch: watch::Sender<u64>,
    log: watch::Sender<LogSignal>,
    /// Who watches queues in this process.
    feeds: Mutex<HashMap<QueueName, broadcast::Sender<QueueEvent>>>,
    interest: Mutex<Interested>,
    interested: Condvar,
}

/// How many wait for something that another process may do.
#[derive(Default)]
struct Interested {
    count: usize,
    closed: bool,
}

impl Signals {
    pub(crate) fn new(muted: bool) -> Self {
        Self {
            muted,
            marks: Mutex::default(),
            epoch: watch::Sender::new(0),
            log: watch::Sender::default(),
            feeds: Mutex::default(),
            interest: Mutex::default(),
            interested: Condvar::new(),
        }
    }

    /// The counters of a queue, as a commit left them.
    pub(crate) fn note(&self, queue: &QueueName, seen: Marks) {
        let mut marks = lock(&self.marks);
        let known = marks.entry(queue.clone()).or_default();
        let newer = Marks { ready: known.ready.max(seen.ready), beat: known.beat.max(seen.beat) };
        if newer != *known {
            *known = newer;
            drop(marks);
            self.epoch.send_modify(|epoch| *epoch += 1);
        }
    }

    /// The log's last position, as a commit left it.
    pub(crate) fn note_head(&self, head: u64) {
        if !self.muted {
            self.log.send_if_modified(|log| {
                let newer = head > log.head;
                log.head = log.head.max(head);
                newer
            });
        }
    }

    /// Hands a queue event to the watchers of this process.
    pub(crate) fn tell(&self, event: QueueEvent) {
        if let Some(feed) = lock(&self.feeds).get(&event.queue) {
            // Nobody there any more: the watcher thread tidies up.
            let _ = feed.send(event);
        }
    }

    /// Returns when a counter of these queues has grown since the first poll.
    pub(crate) async fn wait(self: &Arc<Self>, queues: &[QueueName]) -> Wake {
        if self.muted || self.log.borrow().closed {
            return std::future::pending().await;
        }
        let _interest = Interest::new(self.clone());
        let mut epoch = self.epoch.subscribe();
        let before = self.marks_of(queues);
        loop {
            if epoch.changed().await.is_err() {
                return std::future::pending().await;
            }
            let after = self.marks_of(queues);
            if before.iter().zip(&after).any(|(before, after)| before.beat != after.beat) {
                return Wake::Beat;
            }
            // A closed store wakes its waiters once, so that they ask and are told.
            if before != after || self.log.borrow().closed {
                return Wake::Work;
            }
        }
    }

    fn marks_of(&self, queues: &[QueueName]) -> Vec<Marks> {
        let marks = lock(&self.marks);
        queues.iter().map(|queue| marks.get(queue).copied().unwrap_or_default()).collect()
    }

    /// The log's signals from now on.
    pub(crate) fn log(&self) -> watch::Receiver<LogSignal> {
        self.log.subscribe()
    }

    /// Queue events from now on, in this process; `None` once closed. The receiver loses the oldest if it is slow.
    pub(crate) fn watch(&self, queue: &QueueName) -> Option<broadcast::Receiver<QueueEvent>> {
        let mut feeds = lock(&self.feeds);
        // Asked under the lock, which closing takes after it has said so: no feed outlives it.
        let open = !self.log.borrow().closed;
        open.then(|| feeds.entry(queue.clone()).or_insert_with(|| broadcast::channel(WATCH_BUFFER).0).subscribe())
    }

    pub(crate) fn is_watched(&self, queue: &QueueName) -> bool {
        lock(&self.feeds).get(queue).is_some_and(|feed| feed.receiver_count() > 0)
    }

    /// Queues with watchers in this process; `gone` ones are forgotten.
    pub(crate) fn watched(&self) -> Watched {
        let mut feeds = lock(&self.feeds);
        let mut watched = Watched::default();
        feeds.retain(|queue, feed| {
            let kept = feed.receiver_count() > 0;
            if kept { &mut watched.kept } else { &mut watched.gone }.push(queue.clone());
            kept
        });
        watched
    }

    /// Ends every wait, watch and subscription.
    pub(crate) fn close(&self) {
        self.log.send_modify(|log| log.closed = true);
        self.epoch.send_modify(|epoch| *epoch += 1);
        lock(&self.feeds).clear();
        lock(&self.interest).closed = true;
        self.interested.notify_all();
    }

    /// Blocks for a tick while somebody waits, and for as long as nobody does. False once closed.
    pub(crate) fn tick(&self, tick: Duration) -> bool {
        let interest = lock(&self.interest);
        let closed = |interest: &mut Interested| !interest.closed;
        let (interest, _) =
            self.interested.wait_timeout_while(interest, tick, closed).unwrap_or_else(PoisonError::into_inner);
        let nobody = |interest: &mut Interested| interest.count == 0 && !interest.closed;
        let interest = self.interested.wait_while(interest, nobody).unwrap_or_else(PoisonError::into_inner);
        !interest.closed
    }
}

/// Queues by whether somebody in this process still watches them.
#[derive(Default)]
pub(crate) struct Watched {
    pub(crate) kept: Vec<QueueName>,
    pub(crate) gone: Vec<QueueName>,
}

/// Somebody waits for what another process may do, for as long as this lives.
pub(crate) struct Interest(Arc<Signals>);

impl Interest {
    pub(crate) fn new(signals: Arc<Signals>) -> Self {
        lock(&signals.interest).count += 1;
        signals.interested.notify_all();
        Self(signals)
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        lock(&self.0.interest).count -= 1;
    }
}

/// Nothing that runs under these locks can leave their data half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
