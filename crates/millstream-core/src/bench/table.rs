//! The medians of all runs, for people.

use std::fmt::Write as _;

use super::measure::Measure;

/// A line for each bench and payload; every number is a median on its own.
pub fn table(all: &[Measure]) -> String {
    let mut kinds: Vec<(&str, &str, usize)> = Vec::new();
    for one in all {
        if !kinds.contains(&(&one.bench, &one.store, one.bytes)) {
            kinds.push((&one.bench, &one.store, one.bytes));
        }
    }
    let mut text = format!(
        "{:<16} {:<16} {:>6} {:>9} {:>6} {:>9} {:>8} {:>8} {:>8} {:>10} {:>10} {:>9} {:>7} {:>5}\n",
        "bench",
        "store",
        "bytes",
        "per s",
        "ratio",
        "raw/s",
        "p50 ms",
        "p99 ms",
        "max ms",
        "db ms/1k",
        "own ms/1k",
        "WAL B/1",
        "RSS MB",
        "load"
    );
    for (bench, store, bytes) in kinds {
        let of: Vec<&Measure> =
            all.iter().filter(|one| (&*one.bench, &*one.store, one.bytes) == (bench, store, bytes)).collect();
        let of = |number: fn(&Measure) -> Option<f64>, digits: usize| {
            median(of.iter().filter_map(|one| number(one)).collect())
                .map_or_else(|| "-".to_owned(), |found| format!("{found:.digits$}"))
        };
        let cells = [
            (9, of(|one| one.per_s, 0)),
            (6, of(|one| one.ratio, 2)),
            (9, of(|one| one.raw_per_s, 0)),
            (8, of(|one| one.latency.map(|latency| latency.p50_ms), 2)),
            (8, of(|one| one.latency.map(|latency| latency.p99_ms), 2)),
            (8, of(|one| one.latency.map(|latency| latency.max_ms), 2)),
            (10, of(|one| one.db_cpu_s_per_1k.map(|seconds| seconds * 1e3), 1)),
            (10, of(|one| Some(one.own_cpu_s_per_1k * 1e3), 1)),
            (9, of(|one| one.wal_bytes_per_1k.map(|bytes| bytes / 1e3), 0)),
            (7, of(|one| Some(one.rss_mb), 0)),
            (5, of(|one| Some(one.load), 1)),
        ];
        let _ = write!(text, "{bench:<16} {store:<16} {bytes:>6}");
        for (width, cell) in cells {
            let _ = write!(text, " {cell:>width$}");
        }
        let queries = of(|one| one.queries_per_s, 2);
        let _ = if queries == "-" { writeln!(text) } else { writeln!(text, "  {queries} queries/s") };
    }
    text
}

/// The value in the middle; of an even number, the lower of the two in the middle: a value that was seen.
pub fn median(mut all: Vec<f64>) -> Option<f64> {
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_bench_with_medians() {
        let one = |per_s: f64| Measure {
            bench: "drain".into(),
            store: "x".into(),
            bytes: 100,
            per_s: Some(per_s),
            ..Measure::default()
        };
        let text = table(&[one(3.0), one(1.0), one(2.0)]);
        let cells: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(&cells[..4], ["drain", "x", "100", "2"]);
        assert_eq!(text.lines().count(), 2);
    }
}
