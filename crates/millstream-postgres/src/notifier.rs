//! Wake-ups for other processes: one NOTIFY for whatever was committed while the last one was under way. Never inside
//! a transaction that enqueues or settles: NOTIFY holds a lock of the whole database until its commit.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use millstream_core::QueueName;
use tokio::sync::Notify;

use crate::{
    fault::Fault,
    shared::{Shared, lock},
    sql::{On, Sql},
};

/// Notifications closer together than this travel in one; the first goes at once.
const APART: Duration = Duration::from_millis(2);
/// Until what could not be told is tried again: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(10);
/// Queues named in one notification; more are told as "any". A payload holds 8,000 bytes.
const QUEUES_MAX: usize = 500;
/// Bytes of names in one notification.
const PAYLOAD_BYTES_MAX: usize = 7_000;
/// Queue events of one insert.
const FEED_BATCH: usize = 1_000;
/// Queue events that wait to be told; more than that lose the oldest, as a slow watcher does.
const FEED_MAX: usize = 10 * FEED_BATCH;

/// What is to be told. Written by whoever committed, taken by the task.
#[derive(Default)]
pub(crate) struct Notifier {
    pending: Mutex<Pending>,
    some: Notify,
}

#[derive(Default)]
struct Pending {
    work: BTreeSet<i32>,
    beat: BTreeSet<i32>,
    feed: Vec<String>,
    /// Whether watchers have rows of the feed to read.
    feed_told: bool,
    /// Queues of pg-boss's tables, which have no number; whether pg-boss's own workers are told, too.
    named: BTreeMap<QueueName, bool>,
    named_beat: BTreeSet<QueueName>,
}

impl Notifier {
    pub(crate) fn work(&self, queue: i32) {
        if lock(&self.pending).work.insert(queue) {
            self.some.notify_one();
        }
    }

    pub(crate) fn beat(&self, queue: i32) {
        lock(&self.pending).beat.insert(queue);
        self.some.notify_one();
    }

    /// There may be work in a queue of pg-boss's; `everybody`: its own workers listen, too.
    pub(crate) fn named(&self, queue: &QueueName, everybody: bool) {
        *lock(&self.pending).named.entry(queue.clone()).or_default() |= everybody;
        self.some.notify_one();
    }

    pub(crate) fn named_beat(&self, queue: &QueueName) {
        lock(&self.pending).named_beat.insert(queue.clone());
        self.some.notify_one();
    }

    pub(crate) fn feed(&self, event: String) {
        let mut pending = lock(&self.pending);
        if pending.feed.len() >= FEED_MAX {
            pending.feed.drain(..FEED_BATCH);
        }
        pending.feed.push(event);
        self.some.notify_one();
    }

    /// Tells, until the store closes. Whoever hears us looks rarely by himself, so what could not be told is told again
    /// as soon as it can be, together with what came meanwhile.
    pub(crate) async fn run(shared: Arc<Shared>) {
        let mut rest = RETRY_FIRST;
        loop {
            shared.notifier.some.notified().await;
            let mut pending = std::mem::take(&mut *lock(&shared.notifier.pending));
            let told = tell(&shared, &mut pending).await;
            match told {
                Ok(()) => {
                    rest = RETRY_FIRST;
                    tokio::time::sleep(APART).await;
                }
                Err(fault) => {
                    tracing::debug!(error = %fault.told("notify"), "trying again in {rest:?}");
                    shared.notifier.put_back(pending);
                    tokio::time::sleep(rest).await;
                    rest = (rest * 2).min(RETRY_LAST);
                }
            }
        }
    }

    /// What is still to be told; what came meanwhile comes after it.
    fn put_back(&self, mut old: Pending) {
        let mut pending = lock(&self.pending);
        old.work.append(&mut pending.work);
        old.beat.append(&mut pending.beat);
        old.feed.append(&mut pending.feed);
        let surplus = old.feed.len().saturating_sub(FEED_MAX);
        old.feed.drain(..surplus);
        for (queue, everybody) in std::mem::take(&mut pending.named) {
            *old.named.entry(queue).or_default() |= everybody;
        }
        old.named_beat.append(&mut pending.named_beat);
        old.feed_told |= pending.feed_told;
        *pending = old;
        self.some.notify_one();
    }
}

/// Tells what is pending, and takes out what must not be told twice. A hint may be; a queue event is sent to the server
/// once, because nobody can tell whether a commit whose answer was cut off took place.
async fn tell(shared: &Shared, pending: &mut Pending) -> Result<(), Fault> {
    if !shared.notify && pending.feed.is_empty() {
        return Ok(());
    }
    let conn = shared.conn().await?;
    let on = On::Conn(&conn);
    while !pending.feed.is_empty() {
        let events: Vec<String> = pending.feed.drain(..pending.feed.len().min(FEED_BATCH)).collect();
        pending.feed_told = true;
        shared.run(on, Sql::FeedInsert, &[&shared.origin, &events]).await?;
    }
    if !shared.notify {
        return Ok(());
    }
    let channel = shared.schema.channel();
    let mut words = Vec::new();
    words.extend(word('w', &pending.work));
    words.extend(word('b', &pending.beat));
    words.extend(pending.feed_told.then(|| "f".to_owned()));
    words.extend(named('n', pending.named.keys()));
    words.extend(named('m', pending.named_beat.iter()));
    for word in words {
        shared.run(on, Sql::FeedNotify, &[&channel, &format!("{}:{word}", shared.origin)]).await?;
    }
    if let Some(channel) = &shared.boss_channel {
        for queue in pending.named.iter().filter(|(_, everybody)| **everybody).map(|(queue, _)| queue) {
            shared.run(on, Sql::FeedNotify, &[channel, &queue.as_str()]).await?;
        }
    }
    Ok(())
}

/// `nmail,reports`, as many as a payload holds in each.
fn named<'a>(kind: char, queues: impl Iterator<Item = &'a QueueName>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for queue in queues {
        match words.last_mut().filter(|word| word.len() + queue.as_str().len() < PAYLOAD_BYTES_MAX) {
            Some(word) => {
                word.push(',');
                word.push_str(queue.as_str());
            }
            None => words.push(format!("{kind}{queue}")),
        }
    }
    words
}

/// `w1,2,3`, or `w*` for too many; `None` for none.
fn word(kind: char, queues: &BTreeSet<i32>) -> Option<String> {
    if queues.len() > QUEUES_MAX {
        return Some(format!("{kind}*"));
    }
    let listed: Vec<String> = queues.iter().map(ToString::to_string).collect();
    (!listed.is_empty()).then(|| format!("{kind}{}", listed.join(",")))
}
