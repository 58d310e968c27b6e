//! One measured thing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One scenario, once. A JSON line of the output.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Measure {
    /// Scenario, with what tells its variants apart: `append/8`.
    pub bench: String,
    /// The store, or the peer.
    pub store: String,
    /// Payload.
    pub bytes: usize,
    /// Which of the runs, from 1.
    pub run: u32,
    /// Load average before it.
    pub load: f64,
    /// Jobs, events or calls.
    pub count: usize,
    /// How long they took.
    pub seconds: f64,
    /// How many a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_s: Option<f64>,
    /// The raw limit that it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// That limit in this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw_per_s: Option<f64>,
    /// The rate as a share of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// How long single ones took.
    #[serde(flatten)]
    pub latency: Option<Quantiles>,
    /// CPU seconds of the database per thousand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db_cpu_s_per_1k: Option<f64>,
    /// CPU seconds of this process per thousand.
    pub own_cpu_s_per_1k: f64,
    /// Bytes of WAL per thousand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_bytes_per_1k: Option<f64>,
    /// Resident memory of the worker's process at its end.
    pub rss_mb: f64,
    /// Queries of an idle worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queries_per_s: Option<f64>,
    /// Jobs a second that ran beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside_per_s: Option<f64>,
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50_ms: f64,
    /// The 99th of a hundred.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Quantiles {
    /// Of any number of them; `None` of none.
    pub fn of(mut all: Vec<Duration>) -> Option<Self> {
        all.sort_unstable();
        let ms = |at: usize| all.get(at).map(|one| one.as_secs_f64() * 1e3);
        let last = all.len().checked_sub(1)?;
        Some(Self { p50_ms: ms(last / 2)?, p99_ms: ms(last * 99 / 100)?, max_ms: ms(last)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let latency = Some(Quantiles { p50_ms: 1.0, p99_ms: 2.0, max_ms: 3.0 });
        for latency in [latency, None] {
            let one = Measure { bench: "latency".into(), per_s: Some(2.5), latency, ..Measure::default() };
            let line = serde_json::to_string(&one).unwrap();
            let read: Measure = serde_json::from_str(&line).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), line);
            assert_eq!(read.latency.is_some(), latency.is_some());
        }
    }

    #[test]
    fn quantiles_of_a_hundred() {
        let all = (1..=100).rev().map(Duration::from_millis).collect();
        let found = Quantiles::of(all).unwrap();
        assert_eq!((found.p50_ms, found.p99_ms, found.max_ms), (50.0, 99.0, 100.0));
        assert!(Quantiles::of(Vec::new()).is_none());
    }
}
