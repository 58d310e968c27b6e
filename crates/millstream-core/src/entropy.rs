//! Where randomness comes from: an argument, so that a test can choose it.

use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use crate::Timestamp;

/// A source of random numbers, safe to share.
pub trait Entropy: Send + Sync + 'static {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;

    /// A number from 0 (included) to 1 (excluded).
    fn unit(&self) -> f64 {
        // 53 bits: every value is exactly representable.
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A time-ordered UUID (version 7), for ids that are made by us.
    fn uuid(&self, now: Timestamp) -> Uuid {
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let mut random = [0_u8; 10];
        random[..8].copy_from_slice(&self.next_u64().to_le_bytes());
        random[8..].copy_from_slice(&self.next_u64().to_le_bytes()[..2]);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

/// Random numbers seeded by the operating system.
pub struct SystemEntropy(SeededEntropy);

impl SystemEntropy {
    /// Seeds itself from the operating system.
    ///
    /// # Panics
    ///
    /// If the operating system has no randomness to give: nothing that needs a unique token may start then.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the operating system")]
    pub fn new() -> Self {
        Self(SeededEntropy::new(getrandom::u64().expect("the operating system gives random numbers")))
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    fn next_u64(&self) -> u64 {
        self.0.next_u64()
    }
}

/// The same numbers for the same seed, for tests and simulations.
///
/// ```
/// use millstream_core::{Entropy, SeededEntropy};
///
/// assert_eq!(SeededEntropy::new(1).next_u64(), SeededEntropy::new(1).next_u64());
/// ```
pub struct SeededEntropy(Mutex<fastrand::Rng>);

impl SeededEntropy {
    /// Starts the sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn next_u64(&self) -> u64 {
        // A poisoned generator still gives numbers: its state is never half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).u64(..)
    }
}
