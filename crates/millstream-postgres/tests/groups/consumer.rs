//! A consumer on the bare seam, without the runtime: it reads, and answers every event of `in:*` with one of `out:*` in
//! the commit that moves the cursor. So the log itself says what was done, how often, and in which order.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use millstream_core::{
    Append, ConsumerName, CursorMove, Direction, Effects, Event, EventQuery, EventStore, GroupName, GroupSpec,
    GroupStore, Member, NewEvent, PartitionRef, Pattern, ReadFrom, Result, StreamName,
};
use serde_json::json;

use crate::again::lasting;

/// Members of this process.
static MEMBERS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn group() -> GroupName {
    GroupName::new("g").unwrap()
}

/// A group over what the test appends, with short leases.
pub(crate) fn spec(lease: Duration, partitions: u16) -> GroupSpec {
    GroupSpec { partitions, lease, ..GroupSpec::new(group(), Pattern::new("in:*").unwrap()) }
}

pub(crate) fn member(name: &str) -> Member {
    let id = format!("{name}-{}-{}", std::process::id(), MEMBERS.fetch_add(1, Ordering::Relaxed));
    Member { group: group(), consumer: ConsumerName::new(name).unwrap(), id: id.into() }
}

/// `count` events in turn over `streams`, numbered within each from `from` on.
pub(crate) fn events(streams: u64, from: u64, count: u64) -> Vec<Append> {
    let one = |at: u64| {
        let stream = StreamName::new(format!("in:{}", at % streams)).unwrap();
        Append::one(stream, NewEvent::new("e", json!({ "n": from + at / streams })))
    };
    (0..count).map(one).collect()
}

/// What handling these events causes.
pub(crate) fn effects(events: &[Event]) -> Effects {
    let one = |event: &Event| {
        let stream = StreamName::new(event.stream.as_str().replacen("in:", "out:", 1)).unwrap();
        Append::one(stream, NewEvent::new("done", json!({ "n": event.data["n"], "of": event.id })))
    };
    Effects { append: events.iter().map(one).collect(), ..Effects::default() }
}

/// What a partition's owner knows of it.
#[derive(Clone, Copy)]
struct Owned {
    epoch: u64,
    position: u64,
}

pub(crate) struct Consumer {
    groups: Arc<dyn GroupStore>,
    pub(crate) member: Member,
    lease: Duration,
    held: BTreeMap<u16, Owned>,
    /// Between reading and committing.
    pub(crate) pause: Duration,
    pub(crate) batch: u32,
}

impl Consumer {
    pub(crate) fn new(store: &impl EventStore, name: &str, lease: Duration) -> Self {
        let groups = store.groups().unwrap();
        let member = member(name);
        Self { groups, member, lease, held: BTreeMap::new(), pause: Duration::ZERO, batch: 200 }
    }

    /// Consumes for ever.
    pub(crate) async fn run(mut self) {
        let mut beat = tokio::time::interval(self.lease / 4);
        loop {
            tokio::select! {
                biased;
                _ = beat.tick() => self.beat().await,
                // A step is never cut: what it committed, it knows.
                () = std::future::ready(()) => self.step().await,
            }
        }
    }

    /// Renews, gives back what is too much, takes what is free.
    pub(crate) async fn beat(&mut self) {
        if let Err(error) = self.try_beat().await {
            assert!(error.is_transient(), "{error}");
        }
    }

    fn reference(&self, partition: u16) -> PartitionRef {
        PartitionRef { partition, epoch: self.held[&partition].epoch }
    }

    async fn try_beat(&mut self) -> Result<()> {
        let held: Vec<PartitionRef> = self.held.keys().map(|partition| self.reference(*partition)).collect();
        let view = self.groups.beat_member(&self.member, &held).await?;
        for lost in &view.lost {
            self.held.remove(&lost.partition);
        }
        if view.paused {
            return Ok(());
        }
        let over: Vec<u16> = self.held.keys().skip(usize::from(view.share)).copied().collect();
        let given: Vec<PartitionRef> = over.iter().map(|partition| self.reference(*partition)).collect();
        if !given.is_empty() {
            self.groups.release_partitions(&self.member.group, &given).await?;
            self.held.retain(|partition, _| !over.contains(partition));
        }
        let room = view.share.saturating_sub(u16::try_from(self.held.len()).unwrap());
        if room > 0 && view.free > 0 {
            for claim in self.groups.claim_partitions(&self.member, room).await? {
                let owned = Owned { epoch: claim.held.epoch, position: claim.position };
                self.held.insert(claim.held.partition, owned);
            }
        }
        Ok(())
    }

    /// One read and its commits.
    pub(crate) async fn step(&mut self) {
        match self.try_step().await {
            Ok(true) => {}
            Ok(false) => {
                let after = self.held.values().map(|owned| owned.position).max().unwrap_or(u64::MAX);
                // Real time: the fallback of a lost signal, and the next beat.
                let rest = (self.lease / 8).min(Duration::from_millis(50));
                let _ = tokio::time::timeout(rest, self.groups.wait_log(after)).await;
            }
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Whether there was anything to do.
    async fn try_step(&mut self) -> Result<bool> {
        if self.held.is_empty() {
            return Ok(false);
        }
        let from: Vec<ReadFrom> = self
            .held
            .iter()
            .map(|(partition, owned)| ReadFrom { partition: *partition, after: owned.position })
            .collect();
        let read = self.groups.read_partitions(&self.member.group, &from, self.batch).await?;
        if self.pause > Duration::ZERO && !read.events.is_empty() {
            tokio::time::sleep(self.pause).await;
        }
        let mut by_partition: BTreeMap<u16, Vec<Event>> = BTreeMap::new();
        for event in read.events {
            by_partition.entry(event.partition).or_default().push(event.event);
        }
        let worked = !by_partition.is_empty();
        for (partition, events) in &by_partition {
            self.commit(*partition, read.up_to, events).await?;
        }
        let idle: Vec<(u16, CursorMove)> = self
            .held
            .iter()
            .filter(|(partition, owned)| !by_partition.contains_key(partition) && owned.position < read.up_to)
            .map(|(partition, owned)| {
                let held = self.reference(*partition);
                (*partition, CursorMove { held, from: owned.position, to: read.up_to })
            })
            .collect();
        let moves: Vec<CursorMove> = idle.iter().map(|(_, step)| *step).collect();
        if !moves.is_empty() {
            let moved = self.groups.advance(&self.member.group, &moves).await;
            for (at, (partition, step)) in idle.iter().enumerate() {
                match &moved {
                    Ok(moved) if moved[at] => self.moved(*partition, step.to),
                    _ => self.drop_partition(*partition).await,
                }
            }
        }
        Ok(worked)
    }

    async fn commit(&mut self, partition: u16, to: u64, events: &[Event]) -> Result<()> {
        let step = CursorMove { held: self.reference(partition), from: self.held[&partition].position, to };
        match self.groups.commit(&self.member.group, &step, &effects(events)).await {
            Ok(true) => self.moved(partition, to),
            Ok(false) => {
                self.held.remove(&partition);
            }
            Err(error) if error.is_transient() => self.drop_partition(partition).await,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn moved(&mut self, partition: u16, to: u64) {
        self.held.get_mut(&partition).expect("a partition that moved is held").position = to;
    }

    /// Where the cursor stands is not known any more: whoever takes it next reads it.
    async fn drop_partition(&mut self, partition: u16) {
        let held = self.reference(partition);
        self.held.remove(&partition);
        // Where this fails, too, its lease ends.
        let _ = self.groups.release_partitions(&self.member.group, &[held]).await;
    }
}

/// Reads all of a pattern.
async fn all(store: &impl EventStore, pattern: &str) -> Vec<Event> {
    let mut found: Vec<Event> = Vec::new();
    loop {
        let after = found.last().map(|event| event.id);
        let page = EventQuery {
            after,
            limit: 1_000,
            direction: Direction::Forward,
            ..EventQuery::of(Pattern::new(pattern).unwrap())
        };
        let page = lasting(async || store.query(&page).await).await;
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

/// Counts of what went wrong: events without an answer, answers too many, answers in the wrong order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    pub(crate) out_of_order: usize,
}

/// Compares what was appended with what was done, and says how much there was.
pub(crate) async fn audit(store: &impl EventStore) -> (usize, Wrong) {
    let (given, done) = (all(store, "in:*").await, all(store, "out:*").await);
    let mut wrong = Wrong::default();
    let mut times: BTreeMap<u64, usize> = given.iter().map(|event| (event.id, 0)).collect();
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for event in &done {
        let of = event.data["of"].as_u64().unwrap();
        *times.entry(of).or_default() += 1;
        let last = last.entry(event.stream.as_str()).or_default();
        if of < *last {
            wrong.out_of_order += 1;
        }
        *last = of;
    }
    wrong.lost = times.values().filter(|times| **times == 0).count();
    wrong.doubled = times.values().map(|times| times.saturating_sub(1)).sum();
    (given.len(), wrong)
}

/// Waits until every partition is past what is in the log of `in:*` now.
pub(crate) async fn drained(store: &impl EventStore, within: Duration) {
    let groups = store.groups().unwrap();
    let head = lasting(async || store.head().await).await;
    let waiting = async {
        loop {
            let info = lasting(async || groups.group(&group()).await).await.expect("the group is there");
            if info.partitions.iter().all(|partition| partition.position >= head) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(within, waiting).await.expect("the group catches up");
}
