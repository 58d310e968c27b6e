//! Millstream beside its peers, as tables for a page.

use std::fmt::Write as _;

use millstream_core::bench::{Measure, median};

/// Drains of both kinds stand together: a peer drains the way that is its best.
const GROUPS: &[(&str, &[&str])] = &[
    ("Drain of a backlog", &["drain", "drain-remove"]),
    ("Enqueue, one job a call", &["enqueue/"]),
    ("Bulk enqueue", &["bulk"]),
    ("Enqueue to handler start, idle", &["latency"]),
];

/// A Markdown table for each kind of bench and payload; empty where no peer ran.
pub fn versus(all: &[Measure], is_peer: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let mut sizes: Vec<usize> = all.iter().map(|one| one.bytes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for bytes in sizes {
        for (title, benches) in GROUPS {
            let of_group = |one: &&Measure| {
                let is = |bench: &&str| one.bench == *bench || bench.ends_with('/') && one.bench.starts_with(bench);
                one.bytes == bytes && benches.iter().any(is)
            };
            let group: Vec<&Measure> = all.iter().filter(of_group).collect();
            if group.iter().any(|one| is_peer(&one.store)) {
                let _ = writeln!(text, "\n{title}, {bytes} B\n");
                table(&mut text, &group, &is_peer);
            }
        }
    }
    text
}

fn table(text: &mut String, group: &[&Measure], is_peer: &impl Fn(&str) -> bool) {
    let mut lines: Vec<(&str, &str)> = Vec::new();
    for one in group {
        if !lines.contains(&(&*one.bench, &*one.store)) {
            lines.push((&one.bench, &one.store));
        }
    }
    let of_line = |line: (&str, &str)| -> Vec<&Measure> {
        group.iter().copied().filter(|one| (&*one.bench, &*one.store) == line).collect()
    };
    let of = |line: (&str, &str), number: &dyn Fn(&Measure) -> Option<f64>| -> Vec<f64> {
        of_line(line).into_iter().filter_map(number).collect()
    };
    let is_latency = lines.iter().any(|(bench, _)| *bench == "latency");
    let score = |one: &Measure| if is_latency { one.latency.map(|latency| latency.p50_ms) } else { one.per_s };
    let unit = if is_latency { "p50 ms" } else { "per s" };
    let _ = writeln!(
        text,
        "| bench | store | {unit} (min–max of n) | p99 ms | of raw | Millstream against it | database CPU ms / 1,000 | WAL B each | load |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    let cell =
        |found: Vec<f64>, digits: usize| median(found).map_or("–".to_owned(), |found| format!("{found:.digits$}"));
    for &line in &lines {
        let (bench, store) = line;
        let scores = of(line, &score);
        let digits = if is_latency { 2 } else { 0 };
        let (min, max) = scores.iter().fold((f64::INFINITY, 0.0_f64), |(min, max), one| (min.min(*one), max.max(*one)));
        let ours = lines.iter().filter(|(_, other)| is_peer(store) && !is_peer(other));
        let against = ours.filter_map(|&own| {
            // Both of one run: the machine is not the same an hour later.
            let ratios = of_line(line).into_iter().filter_map(|theirs| {
                let own = of_line(own).into_iter().find(|own| own.run == theirs.run)?;
                let (own, theirs) = (score(own)?, score(theirs)?);
                Some(if is_latency { theirs / own } else { own / theirs })
            });
            let ratio = median(ratios.collect())?;
            Some(if lines.iter().filter(|(_, other)| !is_peer(other)).count() > 1 {
                format!("{}: {ratio:.2} ×", own.0)
            } else {
                format!("{ratio:.2} ×")
            })
        });
        let against = against.collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            text,
            "| {bench} | {store} | {} ({min:.digits$}–{max:.digits$}, {}) | {} | {} | {} | {} | {} | {} |",
            cell(scores.clone(), digits),
            scores.len(),
            cell(of(line, &|one| one.latency.map(|latency| latency.p99_ms)), 1),
            cell(of(line, &|one| one.ratio), 2),
            if against.is_empty() { "–" } else { &against },
            cell(of(line, &|one| one.db_cpu_s_per_1k.map(|seconds| seconds * 1e3)), 1),
            cell(of(line, &|one| one.wal_bytes_per_1k.map(|bytes| bytes / 1e3)), 0),
            cell(of(line, &|one| Some(one.load)), 1),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_stands_beside_both_drains() {
        let one = |bench: &str, store: &str, per_s: f64| Measure {
            bench: bench.into(),
            store: store.into(),
            per_s: Some(per_s),
            ..Measure::default()
        };
        let all = [one("drain", "postgres", 30.0), one("drain-remove", "postgres", 60.0), one("drain", "river", 20.0)];
        let text = versus(&all, |store| store == "river");
        let line = text.lines().find(|line| line.contains("river")).unwrap();
        assert!(line.contains("drain: 1.50 ×, drain-remove: 3.00 ×"), "{line}");
        assert!(versus(&all, |_| false).is_empty());
    }
}
