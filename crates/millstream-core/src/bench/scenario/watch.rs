//! From a quiet start to the end of what is measured.

use std::time::Duration;

use crate::{Clock, SystemClock};

use crate::bench::{Failure, Measure, Site, Used, machine};

pub(in crate::bench) struct Watch<'a> {
    site: &'a dyn Site,
    before: Option<Used>,
    own_cpu: f64,
    clock: SystemClock,
}

impl<'a> Watch<'a> {
    /// Starts the clock, on a server that has nothing left to do.
    pub(in crate::bench) async fn start(site: &'a dyn Site) -> Result<Self, Failure> {
        let before = match site.gauge() {
            Some(gauge) => {
                gauge.settle().await?;
                Some(gauge.used().await?)
            }
            None => None,
        };
        Ok(Self { site, before, own_cpu: machine::own_cpu(), clock: SystemClock::new() })
    }

    pub(in crate::bench) fn passed(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Stops the clock: so many in so long.
    pub(in crate::bench) async fn stop(self, bench: impl Into<String>, count: usize) -> Result<Measure, Failure> {
        let seconds = self.passed().as_secs_f64();
        let own_cpu = machine::own_cpu() - self.own_cpu;
        let after = match self.site.gauge() {
            Some(gauge) => Some(gauge.used().await?),
            None => None,
        };
        let per_1k = |number: f64| number * 1e3 / count.max(1) as f64;
        let used = self.before.zip(after);
        Ok(Measure {
            bench: bench.into(),
            store: self.site.stores().queue.kind().to_owned(),
            count,
            seconds,
            per_s: Some(count as f64 / seconds),
            db_cpu_s_per_1k: used.and_then(|(before, after)| Some(per_1k(after.cpu_s? - before.cpu_s?))),
            wal_bytes_per_1k: used.map(|(before, after)| per_1k(after.wal_bytes - before.wal_bytes)),
            own_cpu_s_per_1k: per_1k(own_cpu),
            rss_mb: machine::rss_mb(std::process::id()),
            ..Measure::default()
        })
    }
}
