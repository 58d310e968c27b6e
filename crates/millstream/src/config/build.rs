//! Checked values become the configuration; what does not fit together is a problem.

use std::{collections::BTreeMap, time::Duration};

use millstream_core::{Backoff, JobEvents, JobOptions, LEASE_DEFAULT, QueueDefaults, QueueName, Removal};

use super::{
    Backend, Config, QueueConfig, WorkerConfig,
    backend::{Picker, SEAMS, got, section},
    merged::{Entry, Merged},
    path::KeyPath,
    problem::Problem,
    sources::Sources,
};

/// Builds the configuration; it is worth something only if `problems` stays empty.
pub(super) fn build(merged: &Merged, sources: &Sources, problems: &mut Vec<Problem>) -> Config {
    let mut picker = Picker { merged, sources, problems, pgboss: false };
    let choices = picker.choices();
    let [mut queue, events, state] = [0, 1, 2].map(|seam| picker.backend(SEAMS[seam], &choices[seam]));
    let retention = picker.retention(&choices[1]);
    let at = Place { merged, place: Vec::new() };
    let lease = at.millis("store.leaseMs").unwrap_or(LEASE_DEFAULT);
    let words = match &queue {
        // There they are what queues are made with, and a queue that exists keeps its own.
        Backend::PgBoss(_) => JobOptions::default(),
        _ => words_of_pgboss(&at.below("queue").below(section(&choices[0].adapter))),
    };
    let mut defaults =
        QueueDefaults { base: job_options(&at.below("defaultJobOptions"), problems).or(&words), ..Default::default() };
    let (mut queues, mut limits) = (BTreeMap::new(), BTreeMap::new());
    for name in merged.queues() {
        let place = at.below("queues").below(name);
        let Ok(queue) = QueueName::new(name) else {
            problems.push(Problem {
                place: place.to_string(),
                got: "a name that no queue has".into(),
                expected: "1 to 255 bytes of letters, digits, `_`, `.`, `-`, `/`".into(),
                origin: merged.first_below(&KeyPath(place.place.clone())).map(|entry| entry.origin.clone()),
            });
            continue;
        };
        defaults.queues.insert(queue.clone(), job_options(&place.below("defaultJobOptions"), problems));
        if let Some(at_most) = place.number("groupConcurrency") {
            limits.insert(queue.clone(), at_most);
        }
        let own = QueueConfig {
            concurrency: place.number("concurrency"),
            autorun: place.flag("autorun"),
            local_group_concurrency: place.number("localGroupConcurrency"),
        };
        queues.insert(queue, own);
    }
    match &mut queue {
        Backend::PgBoss(boss) => boss.group_concurrency = limits,
        _ => problems.extend(limits.keys().filter_map(|name| {
            let place = at.below("queues").below(name.as_str());
            let entry = place.get("groupConcurrency")?;
            Some(place.clash(
                "groupConcurrency",
                entry,
                "the adapter `pgboss`; `localGroupConcurrency` is one process's, on every store",
            ))
        })),
    }
    let job_events = job_events(&at);
    if job_events != JobEvents::Off
        && !queue.shares_commits(&events)
        && let Some(entry) = at.get("queue.events")
    {
        // They are written in the transaction that causes them, which does not reach another store.
        problems.push(at.below("queue").clash(
            "events",
            entry,
            "`off` where the event store is not the queue's own store",
        ));
    }
    Config { queue, events, state, defaults, job_events, lease, retention, worker: worker(&at), queues }
}

fn job_events(at: &Place<'_>) -> JobEvents {
    match at.text("queue.events").as_deref() {
        Some("all") => JobEvents::All,
        Some("failures") => JobEvents::Failures,
        _ => JobEvents::Off,
    }
}

fn worker(at: &Place<'_>) -> WorkerConfig {
    let base = WorkerConfig::default();
    WorkerConfig {
        concurrency: at.number("worker.concurrency").unwrap_or(base.concurrency),
        autorun: at.flag("worker.autorun").unwrap_or(base.autorun),
        poll: at.millis("worker.pollMs").unwrap_or(base.poll),
        grace: at.millis("worker.graceMs").unwrap_or(base.grace),
    }
}

/// pg-boss counts retries, where we count attempts.
fn words_of_pgboss(at: &Place<'_>) -> JobOptions {
    let kept = at
        .whole("deleteAfterDays")
        .map(|days| Removal::Keep { count: None, age: Some(Duration::from_secs(days * 86_400)) });
    JobOptions {
        attempts: at.number("retryLimit").map(|limit| limit + 1),
        backoff: at.whole("retryDelay").map(|seconds| Backoff::fixed(Duration::from_secs(seconds))),
        timeout: at.whole("expireInHours").map(|hours| Duration::from_secs(hours * 3600)),
        remove_on_complete: kept,
        remove_on_fail: kept,
        ..JobOptions::default()
    }
}

fn job_options(at: &Place<'_>, problems: &mut Vec<Problem>) -> JobOptions {
    JobOptions {
        attempts: at.number("attempts"),
        backoff: backoff(at, problems),
        priority: at.get("priority").and_then(|entry| i32::try_from(entry.value.as_i64()?).ok()),
        timeout: at.millis("timeoutMs"),
        delay: at.millis("delayMs"),
        remove_on_complete: removal(at, "removeOnComplete", problems),
        remove_on_fail: removal(at, "removeOnFail", problems),
        // It is a job's own.
        group: None,
    }
}

fn backoff(at: &Place<'_>, problems: &mut Vec<Problem>) -> Option<Backoff> {
    let place = at.below("backoff");
    let parts = ["type", "delayMs", "firstMs", "capMs", "jitter"];
    parts.into_iter().find_map(|part| place.get(part))?;
    let delay = place.millis("delayMs");
    let first = place.millis("firstMs");
    // `{ delay: 1000 }` alone is a fixed wait, as in the original.
    let fixed = match place.text("type").as_deref() {
        Some(kind) => kind == "fixed",
        None => delay.is_some() && first.is_none(),
    };
    // The original writes the first wait of an exponential backoff as `delay`, too.
    let strangers: &[&str] = match (fixed, first) {
        (true, _) => &["firstMs", "capMs", "jitter"],
        (false, Some(_)) => &["delayMs"],
        (false, None) => &[],
    };
    for stranger in strangers {
        let kind = if fixed { "fixed" } else { "exponential" };
        problems.extend(
            place.get(stranger).map(|entry| place.clash(stranger, entry, &format!("no such part of a {kind} backoff"))),
        );
    }
    let Backoff::Exponential { first: first_base, cap, jitter } = Backoff::default() else { return None };
    Some(match fixed {
        true => Backoff::fixed(delay.unwrap_or(first_base)),
        false => Backoff::Exponential {
            first: first.or(delay).unwrap_or(first_base),
            cap: place.millis("capMs").unwrap_or(cap),
            jitter: place.get("jitter").and_then(|entry| entry.value.as_f64()).map_or(jitter, |share| share as f32),
        },
    })
}

fn removal(at: &Place<'_>, name: &str, problems: &mut Vec<Problem>) -> Option<Removal> {
    let place = at.below(name);
    let (count, age) = (place.number("count"), place.millis("ageMs"));
    let parts = count.is_some() || age.is_some();
    let Some(whole) = at.get(name) else { return parts.then_some(Removal::Keep { count, age }) };
    if parts {
        problems.push(at.clash(name, whole, "either this or `count` and `ageMs`"));
    }
    Some(match whole.value.as_bool() {
        Some(true) => Removal::AtOnce,
        Some(false) => Removal::Never,
        None => Removal::Keep { count: at.number(name), age: None },
    })
}

/// Part of the configuration, to read values from.
struct Place<'a> {
    merged: &'a Merged,
    place: Vec<String>,
}

impl<'a> Place<'a> {
    fn below(&self, name: &str) -> Place<'a> {
        let mut place = self.place.clone();
        place.push(name.to_owned());
        Place { merged: self.merged, place }
    }

    fn get(&self, name: &str) -> Option<&'a Entry> {
        let mut place = self.place.clone();
        place.extend(name.split('.').map(str::to_owned));
        self.merged.get(&KeyPath(place))
    }

    fn whole(&self, name: &str) -> Option<u64> {
        self.get(name)?.value.as_u64()
    }

    fn number(&self, name: &str) -> Option<u32> {
        u32::try_from(self.whole(name)?).ok()
    }

    fn millis(&self, name: &str) -> Option<Duration> {
        self.whole(name).map(Duration::from_millis)
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.get(name)?.value.as_bool()
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name)?.value.as_str().map(str::to_owned)
    }

    fn clash(&self, name: &str, entry: &Entry, expected: &str) -> Problem {
        Problem {
            place: self.below(name).to_string(),
            got: got(entry),
            expected: expected.to_owned(),
            origin: Some(entry.origin.clone()),
        }
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        KeyPath(self.place.clone()).fmt(f)
    }
}
