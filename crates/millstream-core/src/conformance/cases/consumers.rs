//! What the consumers of a group promise on every store.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use super::{
    groups::{consumer, group, spec},
    worker::OneThread,
};
use crate::{
    Append, Backoff, CancelReason, Effects, Error, EventOf, GroupConsumer, GroupContext, GroupInfo, GroupOptions,
    GroupSpec, Groups, JobError, ManualClock, NewEvent, PartitionRead, Poison, ProjectionTable, ReadFrom, StartFrom, Stores, Timestamp, clock::{Clock, Sleep},
    conformance::{
        case::{Checked, Failure, cases, ensure, ensure_eq, ensure_matches},
        world::{Handle, LEASE, World, pattern, secs, stream},
    },
};

/// Real time between two looks of a runtime under test.
const POLL: Duration = Duration::from_millis(20);

fn options(world: &World) -> GroupOptions {
    GroupOptions {
        clock: Arc::new(world.clock()),
        entropy: world.entropy.clone(),
        batch: 7,
        poll: POLL,
        backoff: Backoff::fixed(Duration::ZERO),
        ..GroupOptions::default()
    }
}

fn groups_with(handle: &Handle, options: GroupOptions) -> Checked<Groups> {
    let stores = Stores { queue: handle.queue.clone(), events: handle.events.clone(), state: handle.state.clone() };
    Ok(Groups::new(stores, options)?)
}

fn groups_of(world: &World, handle: &Handle) -> Checked<Groups> {
    groups_with(handle, options(world))
}

/// A group of the streams `in:…`.
fn inputs(partitions: u16) -> GroupSpec {
    GroupSpec { pattern: pattern("in:*"), ..spec(partitions) }
}

/// The copy of an event in a stream of its own stream's, as an effect.
fn copied<T>(event: &EventOf<T>) -> Effects {
    let copy = NewEvent::new("copied", json!(event.id));
    Effects { append: vec![Append::one(stream(&format!("out:{}", event.stream)), copy)], ..Effects::default() }
}

/// A consumer that copies.
async fn copying(groups: &Groups, spec: &GroupSpec, name: &str) -> Checked<GroupConsumer> {
    let copy = |event: EventOf<Value>, _: GroupContext| async move { Ok::<_, JobError>(copied(&event)) };
    Ok(groups.consume_each(spec.clone(), consumer(name), copy).await?)
}

/// Appends to streams in turn.
async fn feed(world: &World, streams: usize, count: usize) -> Checked {
    for n in 0..count {
        world.append(&format!("in:{}", n % streams), "e").await?;
    }
    Ok(())
}

/// Events of `in:…` by stream, in order.
async fn fed(world: &World) -> Checked<BTreeMap<String, Vec<u64>>> {
    let mut fed: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for event in world.log("in:*").await? {
        fed.entry(event.stream.to_string()).or_default().push(event.id);
    }
    Ok(fed)
}

/// What was copied, by the stream it was copied from.
async fn copies(world: &World) -> Checked<BTreeMap<String, Vec<u64>>> {
    let mut copies: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for event in world.log("out:*").await? {
        let from = event.stream.as_str().trim_start_matches("out:").to_owned();
        copies.entry(from).or_default().push(event.data.as_u64().unwrap_or(0));
    }
    Ok(copies)
}

/// Waits until a look finds what is wanted.
async fn until<T, F: Future<Output = Checked<Option<T>>> + Send>(
    world: &World,
    what: &str,
    mut look: impl FnMut() -> F + Send,
) -> Checked<T> {
    let looking = async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            tokio::time::sleep(POLL / 4).await;
        }
    };
    world.within(what, looking).await?
}

async fn until_copied(world: &World, count: usize) -> Checked {
    let what = format!("{count} copies");
    until(world, &what, || async {
        Ok((copies(world).await?.values().map(Vec::len).sum::<usize>() >= count).then_some(()))
    })
    .await
}

/// Time goes on by a second where somebody has beaten since it last did: no faster than beats come on this machine, or
/// leases would end that nobody gave up.
async fn tick(world: &World) -> Checked {
    let now = world.now().await?;
    if info(world).await?.members.iter().any(|member| member.last_seen >= now) {
        world.advance(secs(1)).await?;
    }
    Ok(())
}

/// As [`until_copied`], while time goes on: what a crashed consumer had comes free, whenever its last beat was.
async fn until_copied_in_time(world: &World, count: usize) -> Checked {
    let what = format!("{count} copies");
    until(world, &what, || async {
        tick(world).await?;
        Ok((copies(world).await?.values().map(Vec::len).sum::<usize>() >= count).then_some(()))
    })
    .await
}

async fn info(world: &World) -> Checked<GroupInfo> {
    let groups = world.events.groups()?;
    groups.group(&group("g")).await?.ok_or_else(|| Failure::new("the group is gone"))
}

async fn until_info(world: &World, what: &str, is: impl Fn(&GroupInfo) -> bool + Send + Sync) -> Checked<GroupInfo> {
    let is = &is;
    until(world, what, || async move { Ok(Some(info(world).await?).filter(|info| is(info))) }).await
}

/// What handlers did, rather than what was written.
#[derive(Clone, Default)]
struct Deeds(Arc<Mutex<Vec<(String, u64)>>>);

impl Deeds {
    fn note<T>(&self, event: &EventOf<T>) {
        let deed = (event.stream.to_string(), event.id);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(deed);
    }

    fn by_stream(&self) -> BTreeMap<String, Vec<u64>> {
        let mut by_stream: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (name, id) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            by_stream.entry(name.clone()).or_default().push(*id);
        }
        by_stream
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// A consumer that does something elsewhere with each event, which takes a moment.
async fn doing(groups: &Groups, spec: &GroupSpec, name: &str, deeds: &Deeds) -> Checked<GroupConsumer> {
    let deeds = deeds.clone();
    let run = move |event: EventOf<Value>, _: GroupContext| {
        let deeds = deeds.clone();
        async move {
            deeds.note(&event);
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok::<_, JobError>(Effects::default())
        }
    };
    Ok(groups.consume_each(spec.clone(), consumer(name), run).await?)
}

/// A consumer that copies, but fails on events of a type.
async fn failing(groups: &Groups, spec: &GroupSpec, kind: &'static str) -> Checked<GroupConsumer> {
    let run = move |event: EventOf<Value>, _: GroupContext| async move {
        match &*event.kind == kind {
            true => Err(JobError::retry(format!("cannot stand {kind}"))),
            false => Ok(copied(&event)),
        }
    };
    Ok(groups.consume_each(spec.clone(), consumer("failing"), run).await?)
}

/// How often a handler of each group was given the event that it always fails on.
#[derive(Clone, Default)]
struct Tried(Arc<Mutex<BTreeMap<String, u32>>>);

impl Tried {
    /// A consumer that copies into streams of its group's, but fails on events of the type `bad`.
    async fn consumer(&self, groups: &Groups, spec: &GroupSpec, who: &str) -> Checked<GroupConsumer> {
        let (tried, name) = (self.clone(), spec.name.to_string());
        let run = move |event: EventOf<Value>, _: GroupContext| {
            let (tried, name) = (tried.clone(), name.clone());
            async move {
                if &*event.kind == "bad" {
                    *tried.lock().entry(name).or_default() += 1;
                    return Err(JobError::retry("cannot stand bad"));
                }
                let copy = NewEvent::new("copied", json!(event.id));
                let into = stream(&format!("{name}:{}", event.stream));
                Ok(Effects { append: vec![Append::one(into, copy)], ..Effects::default() })
            }
        };
        Ok(groups.consume_each(spec.clone(), consumer(who), run).await?)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tries(&self, spec: &GroupSpec) -> u32 {
        self.lock().get(spec.name.as_str()).copied().unwrap_or(0)
    }

    /// What a group copied, by the stream it was copied from.
    async fn copies(&self, world: &World, spec: &GroupSpec) -> Checked<BTreeMap<String, Vec<u64>>> {
        let mut copies: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for event in world.log(&format!("{}:*", spec.name)).await? {
            let (_, from) = event.stream.as_str().split_once(':').unwrap_or_default();
            copies.entry(from.to_owned()).or_default().push(event.data.as_u64().unwrap_or(0));
        }
        Ok(copies)
    }
}

/// Two events, one of type `bad`, two more of its stream, and five of another.
async fn feed_poison(world: &World) -> Checked<Vec<u64>> {
    for kind in ["e", "e", "bad", "e", "e"] {
        world.append("in:bad", kind).await?;
        world.append("in:good", "e").await?;
    }
    Ok(fed(world).await?.remove("in:bad").unwrap_or_default())
}

/// A consumer's clock that tells another time of day.
struct Off {
    clock: ManualClock,
    ahead: SignedDuration,
}

impl Clock for Off {
    fn now(&self) -> Timestamp {
        self.clock.now() + self.ahead
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        self.clock.sleep(duration)
    }
}

/// Events by the partition and the epoch in which something was done for them.
type ByEpoch = BTreeMap<(u16, u64), Vec<u64>>;

/// What handlers did elsewhere.
#[derive(Clone, Default)]
struct Epochs(Arc<Mutex<ByEpoch>>);

impl Epochs {
    async fn consumer(&self, groups: &Groups, spec: &GroupSpec) -> Checked<GroupConsumer> {
        let epochs = self.clone();
        let run = move |event: EventOf<Value>, ctx: GroupContext| {
            epochs.lock().entry((ctx.partition(), ctx.epoch())).or_default().push(event.id);
            // Between the deed and the commit of its batch is where a crash makes it repeat.
            async {
                tokio::time::sleep(POLL / 10).await;
                Ok::<_, JobError>(Effects::default())
            }
        };
        Ok(groups.consume_each(spec.clone(), consumer("c"), run).await?)
    }

    fn lock(&self) -> MutexGuard<'_, ByEpoch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events that anything was done for.
    fn events(&self) -> usize {
        self.lock().values().flatten().collect::<HashSet<_>>().len()
    }

    /// A takeover is an epoch that follows another.
    fn check(&self, batch: usize) -> Checked {
        let deeds = self.lock();
        for ((partition, epoch), events) in &*deeds {
            ensure!(events.is_sorted_by(|a, b| a < b), "partition {partition} went back in epoch {epoch}: {events:?}");
        }
        let partitions: HashSet<u16> = deeds.keys().map(|(partition, _)| *partition).collect();
        let takeovers = deeds.len() - partitions.len();
        let all: Vec<&u64> = deeds.values().flatten().collect();
        let repeats = all.len() - all.iter().collect::<HashSet<_>>().len();
        ensure!(repeats <= batch * takeovers, "{repeats} repeats by {takeovers} takeovers of batches of {batch}");
        Ok(())
    }
}

cases! {
    /// Every event's effects are written once, in order within its stream, by one consumer of the group, whatever
    /// crashes or is paused past its lease.
    #[breaks_on(GroupOfOne, StillCursor, SkippedEvent, ReorderedEvents, UpToHead)]
    #[needs(Groups)]
    async fn every_event_once_in_order_whatever_crashes(world: &World) -> Checked {
        let second = world.second().await?;
        let spec = inputs(8);
        // A backlog: the first reads bring several events of each stream.
        feed(world, 11, 60).await?;
        let mut running = Vec::new();
        for (n, handle) in [&**world, &second, &second].into_iter().enumerate() {
            running.push(copying(&groups_of(world, handle)?, &spec, &format!("c{n}")).await?);
        }
        for round in 1..=5 {
            feed(world, 11, 60).await?;
            until_copied_in_time(world, round * 60 + 30).await?;
            // A crash: nothing is given back, and a batch under way is cut off.
            drop(running.remove(0));
            // Past every lease: those that live are as if they had been paused.
            world.advance(LEASE + secs(1)).await?;
            let handle: &Handle = if round % 2 == 0 { world } else { &second };
            running.push(copying(&groups_of(world, handle)?, &spec, &format!("d{round}")).await?);
        }
        feed(world, 11, 10).await?;
        until_copied_in_time(world, 370).await?;
        for consumer in running {
            consumer.unsubscribe().await?;
        }
        ensure_eq!(copies(world).await?, fed(world).await?, "copies, by stream");
        Ok(())
    }

    /// When consumers join and leave, without a crash, no event is even handled twice, and streams keep their order.
    #[breaks_on(GroupOfOne, StealsPartitions)]
    #[needs(Groups)]
    async fn a_planned_move_repeats_nothing(world: &World) -> Checked {
        let second = world.second().await?;
        let (spec, deeds) = (inputs(16), Deeds::default());
        let mut running = vec![doing(&groups_of(world, world)?, &spec, "first", &deeds).await?];
        for round in 0..6 {
            feed(world, 13, 80).await?;
            let handle: &Handle = if round % 2 == 0 { &second } else { world };
            running.push(doing(&groups_of(world, handle)?, &spec, &format!("c{round}"), &deeds).await?);
            until_info(world, "the new member's partitions", |info| {
                info.members.iter().all(|member| member.partitions > 0)
            })
            .await?;
            if round % 2 == 1 {
                running.remove(0).unsubscribe().await?;
            }
        }
        until(world, "every event", || async { Ok((deeds.count() >= 480).then_some(())) }).await?;
        for consumer in running {
            consumer.unsubscribe().await?;
        }
        ensure_eq!(deeds.by_stream(), fed(world).await?, "what was done, by stream");
        Ok(())
    }

    /// Partitions spread evenly soon after a member came or went; a crashed one's come free with its lease.
    #[breaks_on(GreedyShare, ImmortalMembers)]
    #[needs(Groups)]
    async fn partitions_spread_evenly(world: &World) -> Checked {
        let spec = inputs(16);
        let spread = |wanted: &'static [u16]| {
            move |info: &GroupInfo| {
                let mut counts: Vec<u16> = info.members.iter().map(|member| member.partitions).collect();
                counts.sort_unstable();
                counts == wanted
            }
        };
        let second = world.second().await?;
        let first = copying(&groups_of(world, world)?, &spec, "a").await?;
        until_info(world, "one member with all", spread(&[16])).await?;
        let crashing = copying(&groups_of(world, &second)?, &spec, "b").await?;
        until_info(world, "two members", spread(&[8, 8])).await?;
        let third = copying(&groups_of(world, &second)?, &spec, "c").await?;
        until_info(world, "three members", spread(&[5, 5, 6])).await?;
        drop(crashing);
        let again = spread(&[8, 8]);
        until(world, "two members again", || async {
            world.advance(secs(1)).await?;
            Ok(again(&info(world).await?).then_some(()))
        })
        .await?;
        third.unsubscribe().await?;
        until_info(world, "one member again", spread(&[16])).await?;
        first.unsubscribe().await?;
        ensure_eq!(info(world).await?.members, [], "members when all have left");
        Ok(())
    }

    /// Who unsubscribes and comes back goes on where it was; nothing in between is missed.
    #[breaks_on(UnsubscribeForgets, GroupOfOne)]
    #[needs(Groups)]
    async fn unsubscribing_keeps_the_cursor(world: &World) -> Checked {
        let groups = groups_of(world, world)?;
        feed(world, 5, 20).await?;
        for round in 1..=3 {
            let consumer = copying(&groups, &inputs(4), "c").await?;
            until_copied(world, round * 20).await?;
            consumer.unsubscribe().await?;
            consumer.unsubscribe().await?;
            feed(world, 5, 20).await?;
        }
        let last = copying(&groups, &inputs(4), "c").await?;
        until_copied(world, 80).await?;
        last.unsubscribe().await?;
        ensure_eq!(copies(world).await?, fed(world).await?, "copies, by stream");
        Ok(())
    }

    /// What is appended while a consumer runs reaches it by the log's signal, without waiting for a poll.
    #[breaks_on(LostWakeUp)]
    #[needs(Groups, Signals)]
    async fn what_comes_wakes_the_consumer(world: &World) -> Checked {
        let second = world.second().await?;
        let rarely = GroupOptions { poll: secs(3600), ..options(world) };
        let consumer = copying(&groups_with(world, rarely)?, &inputs(4), "c").await?;
        for n in 0..10 {
            let handle: &Handle = if n % 2 == 0 { &second } else { world };
            handle.append(&format!("in:{n}"), "e").await?;
            until_copied(world, n + 1).await?;
        }
        consumer.unsubscribe().await?;
        Ok(())
    }

    /// A rare pattern is found in a long log, and the cursor passes what does not concern the group.
    #[breaks_on(SkippedEvent, GroupIgnoresPattern, StillCursor)]
    #[needs(Groups)]
    async fn cursors_pass_what_does_not_concern_the_group(world: &World) -> Checked {
        for n in 0..300 {
            world.append(if n % 100 == 50 { "in:rare" } else { "in_common" }, "e").await?;
        }
        let consumer = copying(&groups_of(world, world)?, &inputs(4), "c").await?;
        until_copied(world, 3).await?;
        let head = world.events.head().await?;
        ensure_eq!(head, 303, "the log");
        until_info(world, "cursors at the log's end", |info| info.lag == 0).await?;
        consumer.unsubscribe().await?;
        ensure_eq!(copies(world).await?, fed(world).await?, "copies, by stream");
        Ok(())
    }

    /// With `stop`, the partition of an event that always fails halts, for people to see; the others go on, and a
    /// resume lets it try again.
    #[breaks_on(ForgetsFailures)]
    #[needs(Groups)]
    async fn poison_stops_its_partition_only(world: &World) -> Checked {
        let spec = GroupSpec { attempts: 3, ..inputs(64) };
        let bad = feed_poison(world).await?;
        let consumer = failing(&groups_of(world, world)?, &spec, "bad").await?;
        until_copied(world, 7).await?;
        let halted = until_info(world, "a halted partition", |info| info.partitions.iter().any(|one| one.halted)).await?;
        let halted: Vec<_> = halted.partitions.into_iter().filter(|one| one.halted).collect();
        ensure_eq!((halted.len(), halted[0].attempts), (1, 3), "halted partitions");
        ensure_eq!(halted[0].error.as_deref(), Some("cannot stand bad"), "the error that people see");
        ensure!(halted[0].lag > 0 && halted[0].position < bad[2], "it stands before the event: {:?}", halted[0]);
        consumer.unsubscribe().await?;
        let cured = copying(&groups_of(world, world)?, &spec, "cured").await?;
        feed(world, 1, 1).await?;
        until_copied(world, 8).await?;
        ensure_eq!(copies(world).await?["in:bad"], bad[..2], "it halts in another consumer, too");
        world.events.groups()?.resume_group(&group("g")).await?;
        until_copied(world, 11).await?;
        cured.unsubscribe().await?;
        ensure_eq!(copies(world).await?, fed(world).await?, "copies, by stream");
        Ok(())
    }

    /// With `park_event`, an event that always fails is put aside, and its stream goes on without it.
    #[breaks_on(LostParked, ForgetsFailures)]
    #[needs(Groups)]
    async fn poison_is_put_aside(world: &World) -> Checked {
        let spec = GroupSpec { attempts: 2, poison: Poison::ParkEvent, ..inputs(4) };
        let bad = feed_poison(world).await?;
        let consumer = failing(&groups_of(world, world)?, &spec, "bad").await?;
        until_copied(world, 9).await?;
        consumer.unsubscribe().await?;
        let mut wanted = fed(world).await?;
        wanted.insert("in:bad".into(), vec![bad[0], bad[1], bad[3], bad[4]]);
        ensure_eq!(copies(world).await?, wanted, "copies, by stream");
        let parked = world.events.groups()?.parked(&group("g"), 0, 10).await?;
        ensure_eq!(parked.len(), 1, "parked events");
        ensure_eq!((parked[0].position, parked[0].attempts), (bad[2], 2), "the parked event");
        ensure_eq!(&*parked[0].error, "cannot stand bad", "its error");
        Ok(())
    }

    /// With `park_stream`, an event that always fails is put aside, and all of its stream behind it, in order, also by
    /// the next consumer; other streams go on.
    #[breaks_on(LostParked, ForgetsParkedStreams, ForgetsFailures)]
    #[needs(Groups)]
    async fn poison_parks_its_stream(world: &World) -> Checked {
        let spec = GroupSpec { attempts: 2, poison: Poison::ParkStream, ..inputs(1) };
        let bad = feed_poison(world).await?;
        let consumer = failing(&groups_of(world, world)?, &spec, "bad").await?;
        until_copied(world, 7).await?;
        until_info(world, "parked events", |info| info.parked == 3).await?;
        consumer.unsubscribe().await?;
        world.append("in:bad", "e").await?;
        world.append("in:good", "e").await?;
        let consumer = copying(&groups_of(world, world)?, &spec, "next").await?;
        until_copied(world, 8).await?;
        until_info(world, "parked events", |info| info.parked == 4).await?;
        consumer.unsubscribe().await?;
        let all = fed(world).await?;
        let copies = copies(world).await?;
        ensure_eq!((&copies["in:bad"][..], &copies["in:good"]), (&bad[..2], &all["in:good"]), "copies, by stream");
        let parked = world.events.groups()?.parked(&group("g"), 0, 10).await?;
        let positions: Vec<u64> = parked.iter().map(|parked| parked.position).collect();
        ensure_eq!(positions, all["in:bad"][2..], "parked events, in order");
        Ok(())
    }

    /// Whatever is done about an event that always fails is done once, and its attempts are kept, wherever in it the
    /// consumer crashes: before or after each of its writes.
    #[breaks_on(LostParked, ForgetsParkedStreams, ForgetsFailures)]
    #[needs(Groups)]
    async fn a_crash_at_any_step_parks_once(world: &World) -> Checked {
        let bad = feed_poison(world).await?;
        let all = fed(world).await?;
        let mut plans = Vec::new();
        // What is written: the events before, two failures, the event put aside, the rest of the batch.
        let steps: [(Poison, &[u32]); 3] =
            [(Poison::ParkStream, &[4, 5]), (Poison::ParkEvent, &[1, 3, 4, 5]), (Poison::Stop, &[2, 3])];
        for (poison, steps) in steps {
            for &nth in steps {
                for after in [false, true] {
                    let name = group(&format!("{poison}-{nth}-{after}"));
                    plans.push((GroupSpec { name, attempts: 2, poison, ..inputs(1) }, nth, after));
                }
            }
        }
        let tried = Tried::default();
        // One at a time: consumers look all the time, and a case is not to keep a server busy.
        for (spec, nth, after) in &plans {
            let (handle, mut crashed) = world.crashing(*nth, *after);
            let crashing = tried.consumer(&groups_of(world, &handle)?, spec, "crashing").await?;
            world.within("a crash", crashed.wait_for(|crashed| *crashed)).await??;
            drop(crashing);
        }
        world.advance(LEASE + secs(1)).await?;
        let store = world.events.groups()?;
        for (spec, nth, after) in &plans {
            let next = tried.consumer(&groups_of(world, world)?, spec, "next").await?;
            let what = format!("{} that crashed {} write {nth}", spec.poison, if *after { "after" } else { "before" });
            let ended = until(world, &format!("the end of {what}"), || async {
                let info = store.group(&spec.name).await?.ok_or_else(|| Failure::new("the group is gone"))?;
                // What the crashed one had comes free with its lease, whenever its last beat was.
                if info.partitions[0].owner.as_ref().is_none_or(|owner| owner.as_str() == "crashing") {
                    world.advance(secs(1)).await?;
                }
                Ok((info.partitions[0].halted || info.lag == 0).then_some(info))
            })
            .await?;
            next.unsubscribe().await?;
            let (handled, aside) = match spec.poison {
                Poison::Stop => ((&bad[..2], &all["in:good"][..2]), vec![]),
                Poison::ParkEvent => ((&[bad[0], bad[1], bad[3], bad[4]][..], &all["in:good"][..]), vec![bad[2]]),
                Poison::ParkStream => ((&bad[..2], &all["in:good"][..]), bad[2..].to_vec()),
            };
            let wanted: BTreeMap<String, Vec<u64>> =
                [("in:bad", handled.0), ("in:good", handled.1)].map(|(name, ids)| (name.into(), ids.to_vec())).into();
            ensure_eq!(tried.copies(world, spec).await?, wanted, "copies of {what}");
            let parked: Vec<u64> = store.parked(&spec.name, 0, 10).await?.iter().map(|one| one.position).collect();
            ensure_eq!(parked, aside, "what was put aside by {what}");
            if spec.poison == Poison::Stop {
                ensure_eq!((ended.partitions[0].attempts, ended.partitions[0].halted), (2, true), "attempts by {what}");
            }
            // A failure that was written is counted; one that was not is had again: one try more for the crash.
            let tries = tried.tries(spec);
            ensure!((2..=3).contains(&tries), "{tries} tries by {what}");
        }
        Ok(())
    }

    /// A batch that fails is tried one by one, so that only the event that fails is put aside.
    #[breaks_on(LostParked, StillCursor)]
    #[needs(Groups)]
    async fn the_event_that_fails_is_found_in_its_batch(world: &World) -> Checked {
        let bad = feed_poison(world).await?;
        let spec = GroupSpec { attempts: 2, poison: Poison::ParkEvent, ..inputs(1) };
        let run = |events: Vec<EventOf<Value>>, _: GroupContext| async move {
            if events.iter().any(|event| &*event.kind == "bad") {
                return Err(JobError::retry("one of these"));
            }
            let mut effects = Effects::default();
            events.iter().for_each(|event| effects.extend(copied(event)));
            Ok(effects)
        };
        let consumer = groups_of(world, world)?.consume_batch(spec, consumer("c"), run).await?;
        until_copied(world, 9).await?;
        consumer.unsubscribe().await?;
        let mut wanted = fed(world).await?;
        wanted.insert("in:bad".into(), vec![bad[0], bad[1], bad[3], bad[4]]);
        ensure_eq!(copies(world).await?, wanted, "copies, by stream");
        ensure_eq!(info(world).await?.parked, 1, "parked events");
        Ok(())
    }

    /// A panic, a handler that takes too long, data that is not the handler's type and an effect that is refused are
    /// failures like any other: counted, with their reason, and no partition hangs.
    #[breaks_on(LostParked, DroppedEffects)]
    #[needs(Groups)]
    async fn a_panic_and_a_timeout_are_failures(world: &World) -> Checked {
        #[derive(Deserialize)]
        struct Body {
            what: String,
        }
        let hung = watch::Sender::new(0_u32);
        for body in [json!({ "what": "panic" }), json!({ "what": "hang" }), json!(7), json!({ "what": "clash" }), json!({ "what": "ok" })] {
            world.events.append(&[Append::one(stream("in:s"), NewEvent::new("e", body))]).await?;
        }
        let spec = GroupSpec { attempts: 1, poison: Poison::ParkEvent, ..inputs(2) };
        let hanging = hung.clone();
        let run = move |event: EventOf<Body>, _: GroupContext| {
            let hanging = hanging.clone();
            async move {
                match &*event.body.what {
                    "panic" => panic!("as the case wants"),
                    "hang" => {
                        hanging.send_modify(|count| *count += 1);
                        std::future::pending().await
                    }
                    "clash" => {
                        let mut effects = copied(&event);
                        effects.append[0].expected = Some(99);
                        Ok(effects)
                    }
                    _ => Ok(copied(&event)),
                }
            }
        };
        let options = GroupOptions { batch: 1, timeout: secs(5), ..options(world) };
        let consumer = groups_with(world, options)?.consume_each(spec, consumer("c"), run).await?;
        let mut hung = hung.subscribe();
        world.within("the handler that hangs", hung.wait_for(|count| *count > 0)).await??;
        world.advance(secs(6)).await?;
        until_copied(world, 1).await?;
        consumer.unsubscribe().await?;
        let parked = world.events.groups()?.parked(&group("g"), 0, 10).await?;
        let errors: Vec<&str> = parked.iter().map(|parked| &*parked.error).collect();
        ensure_eq!(errors.len(), 4, "parked events: {errors:?}");
        let words = ["panicked: as the case wants", "timed out", "is not what the handler takes", "expected 99"];
        for (error, word) in errors.iter().zip(words) {
            ensure!(error.contains(word), "`{error}` does not say `{word}`");
        }
        Ok(())
    }

    /// A failed event waits its backoff by the clock, and is not overtaken by others of its partition.
    #[breaks_on(ReorderedEvents)]
    #[needs(Groups)]
    async fn a_failed_event_waits_and_keeps_its_place(world: &World) -> Checked {
        feed(world, 1, 3).await?;
        let tries = watch::Sender::new(0_u32);
        let counting = tries.clone();
        let run = move |event: EventOf<Value>, ctx: GroupContext| {
            counting.send_modify(|count| *count += 1);
            async move {
                match event.id {
                    1 if ctx.attempts() < 2 => Err(JobError::retry("not yet")),
                    _ => Ok(copied(&event)),
                }
            }
        };
        let options = GroupOptions { backoff: Backoff::fixed(secs(10)), ..options(world) };
        let consumer = groups_with(world, options)?.consume_each(inputs(1), consumer("c"), run).await?;
        let mut tries = tries.subscribe();
        for wanted in 1..=2 {
            world.within("a try", tries.wait_for(|tries| *tries >= wanted)).await??;
            until_info(world, "the count of it", |info| info.partitions[0].attempts == wanted).await?;
            world.advance(secs(9)).await?;
            tokio::time::sleep(POLL).await;
            ensure_eq!(*tries.borrow(), wanted, "tries before the wait was over");
            world.advance(secs(1)).await?;
        }
        until_copied(world, 3).await?;
        consumer.unsubscribe().await?;
        ensure_eq!(copies(world).await?, fed(world).await?, "copies, by stream");
        Ok(())
    }

    /// While a group is paused, no handler starts, in no process; then it goes on.
    #[breaks_on(ForgottenPause, IgnoredOperator)]
    #[needs(Groups)]
    async fn a_paused_group_starts_nothing(world: &World) -> Checked {
        let consumer = copying(&groups_of(world, world)?, &inputs(4), "c").await?;
        feed(world, 3, 9).await?;
        until_copied(world, 9).await?;
        let groups = world.events.groups()?;
        groups.pause_group(&group("g")).await?;
        consumer.unsubscribe().await?;
        feed(world, 3, 9).await?;
        let consumer = copying(&groups_of(world, world)?, &inputs(4), "c").await?;
        until_info(world, "partitions", |info| info.members.iter().any(|member| member.partitions == 4)).await?;
        tokio::time::sleep(POLL * 3).await;
        ensure_eq!(copies(world).await?.values().map(Vec::len).sum::<usize>(), 9, "copies while it was paused");
        groups.resume_group(&group("g")).await?;
        until_copied(world, 18).await?;
        consumer.unsubscribe().await?;
        Ok(())
    }

    /// A group that is reset under its consumer is delivered again from there, once.
    #[breaks_on(IgnoredReset)]
    #[needs(Groups)]
    async fn a_reset_delivers_again_from_there(world: &World) -> Checked {
        feed(world, 3, 12).await?;
        let consumer = copying(&groups_of(world, world)?, &inputs(4), "c").await?;
        until_copied(world, 12).await?;
        let last = fed(world).await?.values().flatten().copied().max().unwrap_or(0);
        world.events.groups()?.reset_group(&group("g"), StartFrom::After(last - 3)).await?;
        until_copied(world, 15).await?;
        feed(world, 3, 3).await?;
        until_copied(world, 18).await?;
        consumer.unsubscribe().await?;
        let all: Vec<u64> = copies(world).await?.into_values().flatten().collect();
        let distinct: HashSet<u64> = all.iter().copied().collect();
        ensure_eq!((all.len(), distinct.len()), (18, 15), "copies, and events that were copied");
        Ok(())
    }

    /// A handler is told when its consumer leaves, has its grace, and what it had not done comes again elsewhere.
    #[breaks_on(UnsubscribeForgets, SkippedEvent)]
    #[needs(Groups)]
    async fn a_leaving_consumer_lets_its_handlers_end(world: &World) -> Checked {
        feed(world, 1, 2).await?;
        let told = watch::Sender::new(None);
        let telling = told.clone();
        let run = move |event: EventOf<Value>, ctx: GroupContext| {
            let telling = telling.clone();
            async move {
                if event.id == 2 {
                    telling.send_replace(Some(None));
                    ctx.cancellation().cancelled().await;
                    telling.send_replace(Some(ctx.cancel_reason()));
                    return Err(JobError::retry("interrupted"));
                }
                Ok(copied(&event))
            }
        };
        let leaving = groups_of(world, world)?.consume_each(inputs(1), consumer("c"), run).await?;
        let mut told = told.subscribe();
        world.within("the handler that waits", told.wait_for(Option::is_some)).await??;
        let stopping = leaving.clone();
        let mut stop = tokio::task::JoinSet::new();
        stop.spawn(async move { stopping.unsubscribe().await });
        until(world, "the end of a handler", || async {
            world.advance(secs(11)).await?;
            Ok(matches!(*told.borrow(), Some(Some(_))).then_some(()))
        })
        .await?;
        ensure_eq!(*told.borrow(), Some(Some(CancelReason::Stopping)), "why the handler was told to end");
        world.within("the end of the consumer", leaving.ended()).await??;
        let next = copying(&groups_of(world, world)?, &inputs(1), "next").await?;
        until_copied(world, 2).await?;
        next.unsubscribe().await?;
        ensure_eq!(copies(world).await?, fed(world).await?, "copies: what was interrupted is not charged, and comes again");
        ensure_eq!(info(world).await?.partitions[0].attempts, 0, "attempts");
        Ok(())
    }

    /// A consumer ends, and says why, when its group or its store is gone.
    #[breaks_on(OpenAfterClose)]
    #[needs(Groups)]
    async fn a_consumer_says_why_it_ended(world: &World) -> Checked {
        let groups = groups_of(world, world)?;
        let orphan = copying(&groups, &inputs(2), "orphan").await?;
        world.events.groups()?.leave(orphan.member()).await?;
        let deleted = until(world, "a delete between two beats", || async {
            world.events.groups()?.leave(orphan.member()).await?;
            match world.events.groups()?.delete_group(&group("g")).await {
                Ok(deleted) => Ok(deleted.then_some(())),
                Err(Error::Invalid { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        });
        deleted.await?;
        let ended = world.within("the end of the orphan", orphan.ended()).await?;
        ensure_matches!(ended, Err(Error::Invalid { .. }), "a consumer of a group that was deleted");
        let last = copying(&groups, &GroupSpec { name: group("h"), ..inputs(2) }, "last").await?;
        world.close().await?;
        let ended = world.within("the end of the last", last.ended()).await?;
        ensure_matches!(ended, Err(Error::Closed { .. }), "a consumer of a closed store");
        Ok(())
    }

    /// A group that retention does not wait for is told what it missed, and its consumers end with that; it goes on where
    /// it is set to. Nothing is passed over in silence.
    #[breaks_on(SilentTruncation)]
    #[needs(Groups, Truncation)]
    async fn a_group_that_was_too_slow_is_told(world: &World) -> Checked {
        let (groups, loose) = (world.events.groups()?, GroupSpec { retain: false, ..inputs(2) });
        groups.ensure_group(&loose).await?;
        feed(world, 3, 6).await?;
        ensure_eq!(world.events.head().await?, 6, "the log");
        world.truncate(4).await?;
        let from = [ReadFrom { partition: 0, after: 2 }, ReadFrom { partition: 1, after: 3 }];
        let read = groups.read_partitions(&group("g"), &from, 10).await;
        ensure_matches!(read, Err(Error::Truncated { requested: 2, first: 4 }), "a read of what is gone");
        let kept = groups.read_partitions(&group("g"), &from[1..], 10).await;
        ensure_matches!(kept, Ok(PartitionRead { up_to: 6, .. }), "a read of what is there");
        let late = copying(&groups_of(world, world)?, &loose, "late").await?;
        let ended = world.within("the end of who was too slow", late.ended()).await?;
        ensure_matches!(ended, Err(Error::Truncated { requested: 0, first: 4 }), "its reason");
        ensure_eq!(copies(world).await?.len(), 0, "streams of which anything was handled");
        ensure_matches!(
            groups.reset_group(&group("g"), StartFrom::After(2)).await,
            Err(Error::Truncated { requested: 2, first: 4 }),
            "a reset to what is gone"
        );
        ensure_eq!(groups.reset_group(&group("g"), StartFrom::Start).await?, 3, "where it goes on");
        let again = copying(&groups_of(world, world)?, &loose, "again").await?;
        until_copied(world, 3).await?;
        again.unsubscribe().await?;
        ensure_eq!(copies(world).await?, fed(world).await?, "copies of what is there, by stream");
        Ok(())
    }

    /// Clocks of consumers decide nothing: with two of them ten minutes off, one each way, no partition changes hands
    /// while its owner beats, whatever time passes.
    #[breaks_on(BeatForgets)]
    #[needs(Groups)]
    async fn a_consumers_clock_decides_nothing(world: &World) -> Checked {
        let mut running = Vec::new();
        for (name, ahead) in [("slow", -600), ("fast", 600)] {
            let clock = Arc::new(Off { clock: world.clock(), ahead: SignedDuration::from_secs(ahead) });
            let groups = groups_with(world, GroupOptions { clock, ..options(world) })?;
            running.push(copying(&groups, &inputs(4), name).await?);
        }
        let owned = |info: &GroupInfo| {
            let partitions = info.partitions.iter();
            partitions.map(|one| (one.epoch, one.owner.clone())).collect::<Vec<_>>()
        };
        let even = |info: &GroupInfo| info.members.iter().all(|member| member.partitions == 2);
        let before = owned(&until_info(world, "two members with two each", even).await?);
        for round in 1..=6 {
            world.advance(LEASE / 2).await?;
            let now = world.now().await?;
            let beaten = |info: &GroupInfo| info.members.iter().all(|member| member.last_seen >= now);
            let info = until_info(world, "a beat of both", beaten).await?;
            ensure_eq!(owned(&info), before, "epochs and owners after {round} half leases");
            feed(world, 5, 5).await?;
            until_copied(world, round * 5).await?;
        }
        for consumer in running {
            consumer.unsubscribe().await?;
        }
        ensure_eq!(copies(world).await?, fed(world).await?, "copies, by stream");
        Ok(())
    }

    /// What handlers do elsewhere is not lost, whatever crashes, and repeated at most by the batches under way, each time
    /// by a holder with a larger epoch: so that others can refuse the smaller one.
    #[breaks_on(SkippedEvent, UpToHead)]
    #[needs(Groups)]
    async fn deeds_repeat_at_most_a_batch_under_a_larger_epoch(world: &World) -> Checked {
        const CRASHES: usize = 4;
        let (deeds, second) = (Epochs::default(), world.second().await?);
        let spec = inputs(4);
        let mut running = vec![deeds.consumer(&groups_of(world, world)?, &spec).await?];
        running.push(deeds.consumer(&groups_of(world, &second)?, &spec).await?);
        for round in 0..CRASHES {
            feed(world, 9, 60).await?;
            let wanted = (round + 1) * 60 - 40;
            until(world, "some deeds", || async {
                tick(world).await?;
                Ok((deeds.events() >= wanted).then_some(()))
            })
            .await?;
            // A crash, wherever its handlers are.
            drop(running.remove(0));
            world.advance(LEASE + secs(1)).await?;
            running.push(deeds.consumer(&groups_of(world, &second)?, &spec).await?);
        }
        until(world, "every deed", || async {
            tick(world).await?;
            Ok((deeds.events() >= CRASHES * 60).then_some(()))
        })
        .await?;
        for consumer in running {
            consumer.unsubscribe().await?;
        }
        deeds.check(7)
    }

    /// What the store cannot do for the moment is tried again, and charged to no event: the handler did its part.
    #[breaks_on(DroppedEffects)]
    #[needs(Groups)]
    async fn the_stores_own_trouble_is_not_charged(world: &World) -> Checked {
        feed(world, 1, 3).await?;
        let spec = GroupSpec { attempts: 1, ..inputs(1) };
        let consumer = copying(&groups_of(world, &world.unwilling(3))?, &spec, "c").await?;
        until_copied(world, 3).await?;
        consumer.unsubscribe().await?;
        ensure_eq!(copies(world).await?, fed(world).await?, "copies, by stream");
        let seen = info(world).await?.partitions.remove(0);
        ensure_eq!((seen.attempts, seen.halted, seen.error), (0, false, None), "what is counted");
        Ok(())
    }

    /// A projection's rows are the fold of the log, whatever crashes; built again under another name, they are the same.
    #[breaks_on(StillCursor, UpToHead)]
    #[needs(Groups, OneRealm)]
    async fn a_projection_is_the_fold_of_its_log(world: &World) -> Checked {
        for n in 0..200_u64 {
            let name = stream(&format!("in:{}", n % 7));
            world.events.append(&[Append::one(name, NewEvent::new("paid", json!(n)))]).await?;
        }
        let groups = groups_of(world, world)?;
        let run = async |name: &str, partitions: u16| -> Checked<GroupConsumer> {
            let spec = GroupSpec { name: group(name), ..inputs(partitions) };
            let key = |event: &EventOf<u64>| Some(event.stream.to_string());
            let sum = |row: Option<(u64, u64)>, event: &EventOf<u64>| {
                let (count, sum) = row.unwrap_or_default();
                // A row that is long enough is removed, and begins anew.
                Ok((count < 25).then_some((count + 1, sum + event.body)))
            };
            Ok(groups.project(spec, consumer("c"), key, sum).await?)
        };
        let crashing = run("totals", 4).await?;
        let store = world.events.groups()?;
        until(world, "a beginning", || async {
            let info = store.group(&group("totals")).await?;
            Ok(info.filter(|info| info.partitions.iter().any(|one| one.position > 20)))
        })
        .await?;
        drop(crashing);
        let again = run("totals", 4).await?;
        let rebuilt = run("totals-2", 1).await?;
        until(world, "both projections", || async {
            world.advance(secs(1)).await?;
            let lags = store.list_groups().await?.iter().map(|info| info.lag).sum::<u64>();
            Ok((lags == 0).then_some(()))
        })
        .await?;
        again.unsubscribe().await?;
        rebuilt.unsubscribe().await?;
        let mut wanted: BTreeMap<String, Option<(u64, u64)>> = BTreeMap::new();
        for event in world.log("in:*").await? {
            let row = wanted.entry(event.stream.to_string()).or_default();
            let (count, sum) = row.unwrap_or_default();
            *row = (count < 25).then_some((count + 1, sum + event.data.as_u64().unwrap_or(0)));
        }
        for name in ["totals", "totals-2"] {
            let table = ProjectionTable::<(u64, u64)>::new(world.state.clone(), &group(name));
            let mut found = BTreeMap::new();
            for key in wanted.keys() {
                found.insert(key.clone(), table.get(key).await?);
            }
            ensure_eq!(found, wanted, "rows of {name}");
            let kept = wanted.values().filter(|row| row.is_some()).count();
            ensure_eq!(table.keys("in:", 100).await?.len(), kept, "keys of {name}");
            table.clear().await?;
            ensure_eq!(table.keys("", 100).await?.len(), 0, "keys of {name} after it was cleared");
        }
        Ok(())
    }

    /// The call of text alone stands: a pattern, a group, a consumer, a function, a poll interval.
    #[breaks_on(GroupIgnoresPattern, SkippedEvent)]
    #[needs(Groups)]
    async fn subscribing_by_text_works(world: &World) -> Checked {
        world.append("elsewhere", "e").await?;
        feed(world, 3, 9).await?;
        let groups = groups_of(world, world)?;
        let run = |event: EventOf<Value>, _: GroupContext| async move { Ok::<_, JobError>(copied(&event)) };
        let consumer = groups.subscribe_external("in:*", "g", "mine", run, POLL).await?;
        until_copied(world, 9).await?;
        consumer.unsubscribe().await?;
        ensure_eq!(copies(world).await?, fed(world).await?, "copies, by stream");
        let refused = groups.subscribe_external("a*b", "g", "mine", run, POLL).await;
        ensure_matches!(refused, Err(Error::Invalid { .. }), "what is no pattern");
        let refused = groups.subscribe_external("a*", "", "mine", run, POLL).await;
        ensure_matches!(refused, Err(Error::Invalid { .. }), "what is no name");
        let refused = groups.subscribe_external("in:*", "g", "mine", run, Duration::ZERO).await;
        ensure_matches!(refused, Err(Error::Invalid { .. }), "no poll at all");
        Ok(())
    }

    /// Consumers of one name are two members, as where every process of a service is started alike: they share the work,
    /// and one goes on when the other leaves.
    #[breaks_on(NameIsMember, GreedyShare)]
    #[needs(Groups)]
    async fn one_name_may_be_two_members(world: &World) -> Checked {
        let second = world.second().await?;
        let (spec, deeds) = (inputs(4), Deeds::default());
        let one = doing(&groups_of(world, world)?, &spec, "same", &deeds).await?;
        let other = doing(&groups_of(world, &second)?, &spec, "same", &deeds).await?;
        let shared = |info: &GroupInfo| info.members.iter().map(|member| member.partitions).eq([2, 2]);
        until_info(world, "two members with two each", shared).await?;
        feed(world, 9, 40).await?;
        until(world, "every event", || async { Ok((deeds.count() >= 40).then_some(())) }).await?;
        one.unsubscribe().await?;
        feed(world, 9, 20).await?;
        until(world, "every event", || async { Ok((deeds.count() >= 60).then_some(())) }).await?;
        other.unsubscribe().await?;
        ensure_eq!(deeds.by_stream(), fed(world).await?, "what was done, by stream");
        Ok(())
    }

    /// A handler that blocks every thread of its runtime for three leases keeps its partitions, and writes its effects.
    #[breaks_on(BeatForgets)]
    #[needs(Groups)]
    async fn a_handler_that_blocks_every_thread_keeps_its_partitions(world: &World) -> Checked {
        feed(world, 1, 2).await?;
        let started = watch::Sender::new(false);
        let mut starts = started.subscribe();
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let blocked = Arc::new(Mutex::new(blocked));
        let run = move |event: EventOf<Value>, _: GroupContext| {
            started.send_replace(true);
            // Not an await: the runtime's only thread is gone until the case gives it back.
            let _ = blocked.lock().unwrap_or_else(PoisonError::into_inner).recv();
            async move { Ok::<_, JobError>(copied(&event)) }
        };
        let (runtime, groups, second) = (OneThread::new()?, groups_of(world, world)?, world.second().await?);
        let (told, joined) = oneshot::channel();
        runtime.get().spawn(async move { told.send(groups.consume_each(inputs(1), consumer("blocked"), run).await) });
        let blocking = world.within("the consumer", joined).await???;
        world.within("the start", starts.wait_for(|started| *started)).await??;
        // Another process looks, and would take them.
        let heir = copying(&groups_of(world, &second)?, &inputs(1), "heir").await?;
        let looks = second.events.groups()?;
        let look = async || looks.group(&group("g")).await?.ok_or_else(|| Failure::new("the group is gone"));
        let before = look().await?.partitions.remove(0);
        for _ in 0..9 {
            world.advance(LEASE / 3).await?;
            let now = world.now().await?;
            until(world, "a beat of both", || async {
                let members = look().await?.members;
                Ok((members.len() == 2 && members.iter().all(|member| member.last_seen >= now)).then_some(()))
            })
            .await?;
        }
        let after = look().await?.partitions.remove(0);
        ensure_eq!((after.epoch, after.owner), (before.epoch, before.owner), "the owner three leases later");
        drop(release);
        until_copied(world, 2).await?;
        let (told, left) = oneshot::channel();
        runtime.get().spawn(async move { told.send(blocking.unsubscribe().await) });
        world.within("the end", left).await???;
        heir.unsubscribe().await?;
        ensure_eq!(copies(world).await?, fed(world).await?, "copies, by stream");
        Ok(())
    }

    /// The first event of the log may be the one that always fails: a cursor before every event is a place like any other.
    #[breaks_on(LostParked, ForgetsFailures)]
    #[needs(Groups)]
    async fn the_first_event_of_all_may_be_the_bad_one(world: &World) -> Checked {
        for kind in ["bad", "e", "e"] {
            world.append("in:s", kind).await?;
        }
        world.append("in:t", "e").await?;
        let (tried, store) = (Tried::default(), world.events.groups()?);
        for (poison, handled, aside) in [
            (Poison::Stop, 0, &[][..]),
            (Poison::ParkEvent, 3, &[1][..]),
            (Poison::ParkStream, 1, &[1, 2, 3][..]),
        ] {
            let spec = GroupSpec { name: group(poison.as_str()), attempts: 2, poison, ..inputs(1) };
            let running = tried.consumer(&groups_of(world, world)?, &spec, "c").await?;
            let ended = until(world, &format!("the end of {poison}"), || async {
                let info = store.group(&spec.name).await?.ok_or_else(|| Failure::new("the group is gone"))?;
                Ok((info.partitions[0].halted || info.lag == 0).then_some(info))
            })
            .await?;
            running.unsubscribe().await?;
            let copied: usize = tried.copies(world, &spec).await?.values().map(Vec::len).sum();
            ensure_eq!((copied, tried.tries(&spec)), (handled, 2), "what was handled, and the tries, by {poison}");
            let parked: Vec<u64> = store.parked(&spec.name, 0, 10).await?.iter().map(|one| one.position).collect();
            ensure_eq!(parked, aside, "what was put aside by {poison}");
            if poison == Poison::Stop {
                ensure_eq!((ended.partitions[0].position, ended.lag), (0, ended.head), "where it halted");
            }
        }
        Ok(())
    }

    /// A group whose pattern finds nothing is not behind: its cursors go with the log, so that nobody waits for it.
    #[breaks_on(StillCursor, GroupIgnoresPattern)]
    #[needs(Groups)]
    async fn a_pattern_that_finds_nothing_holds_up_nothing(world: &World) -> Checked {
        let spec = GroupSpec { pattern: pattern("nobody:*"), ..spec(4) };
        let deeds = Deeds::default();
        let consumer = doing(&groups_of(world, world)?, &spec, "c", &deeds).await?;
        for round in 1..=3 {
            feed(world, 5, 20).await?;
            let at_end = |info: &GroupInfo| info.head == round * 20 && info.lag == 0;
            let info = until_info(world, "cursors at the log's end", at_end).await?;
            ensure_eq!((info.oldest, info.parked), (None, 0), "what waits");
        }
        consumer.unsubscribe().await?;
        ensure_eq!(deeds.count(), 0, "events that were handled");
        Ok(())
    }

    /// Ten thousand streams are handled once each, by members that share them.
    #[breaks_on(SkippedEvent, GroupOfOne)]
    #[needs(Groups)]
    async fn ten_thousand_streams_are_shared(world: &World) -> Checked {
        const STREAMS: usize = 10_000;
        let second = world.second().await?;
        let (spec, deeds) = (inputs(16), Deeds::default());
        let mut running = Vec::new();
        for handle in [&**world, &second] {
            let (deeds, options) = (deeds.clone(), GroupOptions { batch: 200, ..options(world) });
            let run = move |events: Vec<EventOf<Value>>, _: GroupContext| {
                events.iter().for_each(|event| deeds.note(event));
                async { Ok::<_, JobError>(Effects::default()) }
            };
            running.push(groups_with(handle, options)?.consume_batch(spec.clone(), consumer("c"), run).await?);
        }
        let even = |info: &GroupInfo| info.members.iter().map(|member| member.partitions).eq([8, 8]);
        until_info(world, "two members with eight each", even).await?;
        for from in (0..STREAMS).step_by(1_000) {
            let names = (from..from + 1_000).map(|n| stream(&format!("in:{n}")));
            let batch: Vec<Append> = names.map(|name| Append::one(name, NewEvent::new("e", Value::Null))).collect();
            world.events.append(&batch).await?;
        }
        until(world, "every event", || async { Ok((deeds.count() >= STREAMS).then_some(())) }).await?;
        until_info(world, "cursors at the log's end", |info| info.lag == 0).await?;
        for consumer in running {
            consumer.unsubscribe().await?;
        }
        let done = deeds.by_stream();
        ensure_eq!((done.len(), deeds.count()), (STREAMS, STREAMS), "streams, and events that were handled");
        Ok(())
    }
}
