//! How long a failed job waits before its next attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    entropy::Entropy,
    error::{Error, Result},
    limits::DELAY_MAX,
};

/// The wait between attempts.
///
/// ```
/// use std::time::Duration;
/// use millstream_core::{Backoff, SeededEntropy};
///
/// let backoff = Backoff::Exponential {
///     first: Duration::from_secs(1),
///     cap: Duration::from_secs(60),
///     jitter: 0.0,
/// };
/// let entropy = SeededEntropy::new(7);
/// let waits: Vec<u64> = (1..=8).map(|attempt| backoff.delay(attempt, &entropy).as_secs()).collect();
/// assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Backoff {
    /// The same wait after every attempt.
    Fixed {
        /// The wait.
        #[serde(with = "crate::duration_ms", rename = "delayMs")]
        delay: Duration,
    },
    /// `first`, doubled after each attempt, never above `cap`.
    Exponential {
        /// The wait after the first attempt.
        #[serde(with = "crate::duration_ms", rename = "firstMs")]
        first: Duration,
        /// The longest wait, jitter included.
        #[serde(with = "crate::duration_ms", rename = "capMs")]
        cap: Duration,
        /// The share of the wait that is random, 0 to 1: with 0.2 a wait of 10 s becomes 8 s to 10 s. Jitter only
        /// shortens, so that `cap` stays a promise.
        jitter: f32,
    },
}

impl Backoff {
    /// A fixed wait.
    pub const fn fixed(delay: Duration) -> Self {
        Self::Fixed { delay }
    }

    /// The wait after `attempt` (1-based) failed.
    pub fn delay(&self, attempt: u32, entropy: &dyn Entropy) -> Duration {
        match *self {
            Self::Fixed { delay } => delay,
            Self::Exponential { first, cap, jitter } => {
                let doublings = attempt.saturating_sub(1).min(63);
                let nanos = first.as_nanos().saturating_mul(1_u128 << doublings).min(cap.as_nanos());
                let share = f64::from(jitter) * entropy.unit();
                let waited = nanos.saturating_sub((nanos as f64 * share) as u128);
                Duration::from_nanos_u128(waited)
            }
        }
    }

    /// # Errors
    ///
    /// [`Error::Invalid`] for a jitter outside 0 to 1 or a wait above [`DELAY_MAX`].
    pub fn check(&self) -> Result<()> {
        let (longest, jitter) = match *self {
            Self::Fixed { delay } => (delay, 0.0),
            Self::Exponential { first, cap, jitter } => (first.max(cap), jitter),
        };
        if longest > DELAY_MAX {
            return Err(Error::invalid("backoff", longest, "a wait of at most ten years"));
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(Error::invalid("backoff jitter", jitter, "a number from 0 to 1"));
        }
        Ok(())
    }
}

/// Exponential from one second, at most an hour, a fifth of it random.
impl Default for Backoff {
    fn default() -> Self {
        Self::Exponential { first: Duration::from_secs(1), cap: Duration::from_secs(3600), jitter: 0.2 }
    }
}
