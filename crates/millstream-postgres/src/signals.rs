//! Wake-ups inside this process: hints that there may be work, a cancelled job, or an event. The tables are the truth.
//!
//! The call that causes one gives it right after its commit; the [listener](crate::listener) passes on what other
//! processes notified.

use std::{collections::HashMap, sync::Mutex};

use millstream_core::{QueueEvent, QueueName, Wake, limits::WATCH_BUFFER};
use tokio::sync::{broadcast, oneshot, watch};

use crate::shared::lock;

/// The wake-ups of one store.
pub(crate) struct Signals {
    muted: bool,
    state: Mutex<State>,
    /// Changes with every batch of events that was numbered, once.
    log: watch::Sender<Log>,
    /// Who watches queues in this process.
    feeds: Mutex<HashMap<QueueName, broadcast::Sender<QueueEvent>>>,
    /// Grows when somebody begins to watch, and when another process tells something.
    pub(crate) feed: watch::Sender<u64>,
}

/// What is known of the log.
#[derive(Clone, Copy, Default)]
pub(crate) struct Log {
    /// Grows with every hint that names no position.
    epoch: u64,
    /// The highest position heard of.
    head: u64,
}

#[derive(Default)]
struct State {
    waiters: Vec<Waiter>,
    closed: bool,
}

struct Waiter {
    queues: Vec<QueueName>,
    sender: oneshot::Sender<Wake>,
}

impl Signals {
    pub(crate) fn new(muted: bool) -> Self {
        Self {
            muted,
            state: Mutex::default(),
            log: watch::Sender::new(Log::default()),
            feeds: Mutex::default(),
            feed: watch::Sender::new(0),
        }
    }

    /// Returns with the first wake-up for these queues since the first poll.
    pub(crate) async fn wait(&self, queues: &[QueueName]) -> Wake {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            if !self.muted && !state.closed {
                // Those that nobody awaits any more go with the next one that comes.
                state.waiters.retain(|waiter| !waiter.sender.is_closed());
                state.waiters.push(Waiter { queues: queues.to_vec(), sender });
            }
        }
        match receiver.await {
            Ok(wake) => wake,
            Err(_) => std::future::pending().await,
        }
    }

    pub(crate) fn work(&self, queue: &QueueName) {
        self.wake(Wake::Work, |queues| queues.contains(queue));
    }

    pub(crate) fn beat(&self, queue: &QueueName) {
        self.wake(Wake::Beat, |queues| queues.contains(queue));
    }

    /// For when it is not known what was missed.
    pub(crate) fn everything(&self) {
        self.wake(Wake::Work, |_| true);
        self.log_grew(None);
        self.feed.send_modify(|epoch| *epoch += 1);
    }

    /// A queue that this process has no name for: whoever waits may wait for it.
    pub(crate) fn anybody(&self, wake: Wake) {
        self.wake(wake, |_| true);
    }

    fn wake(&self, wake: Wake, concerns: impl Fn(&[QueueName]) -> bool) {
        let mut state = lock(&self.state);
        let mut kept = Vec::with_capacity(state.waiters.len());
        for waiter in state.waiters.drain(..) {
            if concerns(&waiter.queues) {
                // Fails only where nobody waits any more.
                let _ = waiter.sender.send(wake);
            } else {
                kept.push(waiter);
            }
        }
        state.waiters = kept;
    }

    /// Events were numbered, up to this position where it is known. Who numbered them says so, and the server says it
    /// again to everybody: one position is news once.
    pub(crate) fn log_grew(&self, head: Option<u64>) {
        if !self.muted {
            self.log.send_if_modified(|log| match head {
                Some(head) if head <= log.head => false,
                Some(head) => {
                    log.head = head;
                    true
                }
                None => {
                    log.epoch += 1;
                    true
                }
            });
        }
    }

    /// Forgets how far the log had grown, for a listener that begins: after a failover the log may have gone back. What
    /// is told from now on counts, so nothing may be forgotten later.
    pub(crate) fn log_restarts(&self) {
        if !self.muted {
            self.log.send_modify(|log| *log = Log { epoch: log.epoch + 1, head: 0 });
        }
    }

    /// Returns when the log may have grown beyond a position.
    pub(crate) async fn log_beyond(&self, after: u64) {
        let mut log = self.log.subscribe();
        let begun = log.borrow().epoch;
        if log.wait_for(|log| log.head > after || log.epoch != begun).await.is_err() {
            std::future::pending().await
        }
    }

    /// The log's signals from now on.
    pub(crate) fn log(&self) -> watch::Receiver<Log> {
        self.log.subscribe()
    }

    /// Whether anybody in this process follows the log.
    pub(crate) fn is_followed(&self) -> bool {
        self.log.receiver_count() > 0
    }

    /// Hands a queue event to the watchers of this process.
    pub(crate) fn tell(&self, event: QueueEvent) {
        if let Some(feed) = lock(&self.feeds).get(&event.queue) {
            // Nobody there any more: the watching task tidies up.
            let _ = feed.send(event);
        }
    }

    /// Queue events from now on. The receiver loses the oldest if it is slow.
    pub(crate) fn watch(&self, queue: &QueueName) -> broadcast::Receiver<QueueEvent> {
        let receiver = {
            let mut feeds = lock(&self.feeds);
            feeds.entry(queue.clone()).or_insert_with(|| broadcast::channel(WATCH_BUFFER).0).subscribe()
        };
        self.feed.send_modify(|epoch| *epoch += 1);
        receiver
    }

    /// Whether anybody in this process watches; queues that nobody watches any more are forgotten.
    pub(crate) fn is_watching(&self) -> bool {
        let mut feeds = lock(&self.feeds);
        feeds.retain(|_, feed| feed.receiver_count() > 0);
        !feeds.is_empty()
    }

    /// Wakes everybody a last time: they ask, and are told.
    pub(crate) fn close(&self) {
        self.everything();
        lock(&self.state).closed = true;
        self.wake(Wake::Work, |_| true);
        lock(&self.feeds).clear();
    }
}
