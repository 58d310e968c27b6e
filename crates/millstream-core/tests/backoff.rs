//! The wait between attempts keeps to its bounds, whatever the numbers.

use std::time::Duration;

use millstream_core::{Backoff, SeededEntropy};
use proptest::prelude::*;

fn exponential(first_ms: u64, cap_ms: u64, jitter: f32) -> Backoff {
    Backoff::Exponential { first: Duration::from_millis(first_ms), cap: Duration::from_millis(cap_ms), jitter }
}

proptest! {
    #[test]
    fn a_wait_grows_up_to_its_cap(first in 0_u64..1 << 40, cap in 0_u64..1 << 40, attempts in prop::collection::vec(1_u32.., 1..20)) {
        let backoff = exponential(first, cap, 0.0);
        let mut attempts = attempts;
        attempts.extend([1, 2, 63, 64, 65, u32::MAX]);
        attempts.sort_unstable();
        let entropy = SeededEntropy::new(1);
        let waits: Vec<Duration> = attempts.iter().map(|attempt| backoff.delay(*attempt, &entropy)).collect();
        prop_assert!(waits.is_sorted(), "{waits:?}");
        prop_assert!(waits.iter().all(|wait| *wait <= Duration::from_millis(cap)));
        prop_assert_eq!(waits[0], Duration::from_millis(first.min(cap)));
        let last = if first == 0 { 0 } else { cap };
        prop_assert_eq!(*waits.last().unwrap(), Duration::from_millis(last));
    }

    #[test]
    fn jitter_only_shortens_and_by_its_share(first in 1_u64..100_000, cap in 1_u64..1 << 40, jitter in 0.0_f32..=1.0, attempt in 1_u32.., seed: u64) {
        let plain = exponential(first, cap, 0.0).delay(attempt, &SeededEntropy::new(seed));
        let jittered = exponential(first, cap, jitter).delay(attempt, &SeededEntropy::new(seed));
        prop_assert!(jittered <= plain);
        let least = plain.mul_f64((1.0 - f64::from(jitter)).max(0.0));
        prop_assert!(jittered + Duration::from_micros(1) >= least, "{jittered:?} of {plain:?} with {jitter}");
    }

    #[test]
    fn a_fixed_wait_is_fixed(delay in 0_u64..1 << 40, attempt: u32, seed: u64) {
        let backoff = Backoff::fixed(Duration::from_millis(delay));
        prop_assert_eq!(backoff.delay(attempt, &SeededEntropy::new(seed)), Duration::from_millis(delay));
    }

    #[test]
    fn a_backoff_reads_as_it_was_written(first in 0_u64..1 << 40, cap in 0_u64..1 << 40, jitter in 0.0_f32..=1.0) {
        for backoff in [Backoff::fixed(Duration::from_millis(first)), exponential(first, cap, jitter)] {
            let text = serde_json::to_string(&backoff).unwrap();
            prop_assert_eq!(serde_json::from_str::<Backoff>(&text).unwrap(), backoff);
        }
    }
}

#[test]
fn a_jitter_that_is_no_share_is_refused() {
    for jitter in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
        assert!(exponential(1, 1, jitter).check().is_err(), "{jitter}");
    }
    for jitter in [0.0, 0.5, 1.0] {
        assert!(exponential(1, 1, jitter).check().is_ok(), "{jitter}");
    }
}
