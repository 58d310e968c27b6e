//! Where time comes from: the store's clock for what is stored, an argument for the rest.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::Timestamp;

/// What [`Clock::sleep`] gives.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Time for leases, deadlines, delays and schedules. Waiting for a *signal* with a poll as its fallback is not
/// its business: that runs on real time, because a hint that was lost must be made up for whatever the clock says.
pub trait Clock: Send + Sync + 'static {
    /// The time of day.
    fn now(&self) -> Timestamp;
    /// Time since some fixed origin; never goes back, and is the same for every thread of the process.
    fn monotonic(&self) -> Duration;
    /// Ends when `monotonic` has grown by `duration`.
    fn sleep(&self, duration: Duration) -> Sleep;

    /// Ends when [`monotonic`](Self::monotonic) has reached this: no step of the clock falls between a look at it and the
    /// sleep.
    fn sleep_until(&self, until: Duration) -> Sleep {
        self.sleep(until.saturating_sub(self.monotonic()))
    }
}

/// The machine's clock.
pub struct SystemClock {
    origin: std::time::Instant,
}

impl SystemClock {
    /// A clock whose `monotonic` begins now.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    pub fn new() -> Self {
        Self { origin: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that stands still until told to advance, for tests of everything that depends on time.
///
/// ```
/// use std::time::Duration;
/// use millstream_core::{Clock, ManualClock};
///
/// let clock = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
/// clock.advance(Duration::from_secs(90));
/// assert_eq!(clock.now().to_string(), "2026-11-21T00:01:30Z");
/// ```
#[derive(Clone)]
pub struct ManualClock {
    shared: Arc<Manual>,
}

struct Manual {
    start: Mutex<Timestamp>,
    /// How far the clock was advanced; sleepers watch it.
    elapsed: watch::Sender<Duration>,
}

impl ManualClock {
    /// Stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        let shared = Manual { start: Mutex::new(start), elapsed: watch::Sender::new(Duration::ZERO) };
        Self { shared: Arc::new(shared) }
    }

    /// Moves both the time of day and the monotonic time, and wakes the sleepers that are due.
    pub fn advance(&self, by: Duration) {
        self.shared.elapsed.send_modify(|elapsed| *elapsed += by);
    }

    /// Moves the time of day alone, as an operator or NTP would.
    pub fn step_wall(&self, to: Timestamp) {
        let elapsed = *self.shared.elapsed.borrow();
        *self.shared.start.lock().unwrap_or_else(PoisonError::into_inner) = to - elapsed;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let start = *self.shared.start.lock().unwrap_or_else(PoisonError::into_inner);
        start + *self.shared.elapsed.borrow()
    }

    fn monotonic(&self) -> Duration {
        *self.shared.elapsed.borrow()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let until = self.shared.elapsed.borrow().saturating_add(duration);
        self.sleep_until(until)
    }

    fn sleep_until(&self, until: Duration) -> Sleep {
        let mut elapsed = self.shared.elapsed.subscribe();
        Box::pin(async move {
            // The sender lives in the clock; if it is gone, nobody can advance time any more.
            if elapsed.wait_for(|elapsed| *elapsed >= until).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}
