//! The loop of a consumer over a store that does what a test says: what it asks for, and how often.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;
use tokio::{sync::mpsc, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    CursorMove, GroupContext, GroupEvent, GroupHandler, GroupInfo, GroupOptions, GroupSpec, Handled, Member,
    MemberView, Parked, ParkedNow, PartitionClaim, PartitionRead, PartitionRef, Poison, ReadFrom,
    attempt::{Reaches, Runner},
    engine::Engine,
    heart::Seen,
    held::Held,
};
use crate::{
    Backoff, Capabilities, Clock, ConsumerName, Effects, Entropy, Error, Event, GroupName, GroupStore, JobError,
    ManualClock, Pattern, Realm, Result, SeededEntropy, StartFrom, Store, StreamName, SystemClock,
};

/// Nothing here takes so long, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(60);
/// For what must not be needed.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);
const LEASE: Duration = Duration::from_secs(60 * 60);

/// One partition over a log of as many events as its head says.
struct Scripted {
    realm: Realm,
    head: watch::Sender<u64>,
    reads: watch::Sender<u64>,
    /// Whether the partition may be had.
    free: watch::Sender<bool>,
    claims: watch::Sender<u64>,
    cursor: watch::Sender<u64>,
    /// What the handler said it has done, in its order.
    done: Mutex<Vec<u64>>,
    parked: Mutex<BTreeSet<u64>>,
    failures: AtomicU32,
    /// What went wrong: moves over what nobody did, or from where the cursor is not.
    wrong: Mutex<Vec<String>>,
    /// Random answers, if it gives any: only every third event is of concern, reads stop anywhere, writes fail.
    dice: Option<SeededEntropy>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scripted {
    fn new(free: bool) -> Arc<Self> {
        Self::with(free, None)
    }

    fn with(free: bool, dice: Option<SeededEntropy>) -> Arc<Self> {
        Arc::new(Self {
            realm: Realm::new("scripted"),
            head: watch::Sender::new(0),
            reads: watch::Sender::new(0),
            free: watch::Sender::new(free),
            claims: watch::Sender::new(0),
            cursor: watch::Sender::new(0),
            done: Mutex::default(),
            parked: Mutex::default(),
            failures: AtomicU32::new(0),
            wrong: Mutex::default(),
            dice,
        })
    }

    fn concerns(&self, id: u64) -> bool {
        self.dice.is_none() || id % 3 == 1
    }

    /// A number below this one; 0 without dice.
    fn below(&self, bound: u64) -> u64 {
        self.dice.as_ref().map_or(0, |dice| dice.next_u64() % bound)
    }

    fn step(&self, step: &CursorMove) -> bool {
        let (done, parked) = (lock(&self.done), lock(&self.parked));
        let mut wrong = lock(&self.wrong);
        if *self.cursor.borrow() != step.from {
            wrong.push(format!("{step:?} from where the cursor is not"));
            return false;
        }
        for id in (step.from + 1..=step.to).filter(|id| self.concerns(*id)) {
            if !done.contains(&id) && !parked.contains(&id) {
                wrong.push(format!("{step:?} over event {id}, which nobody did"));
            }
        }
        self.cursor.send_replace(step.to);
        true
    }

    /// Sometimes a write is not possible just now.
    fn weather(&self) -> Result<()> {
        match self.dice.is_some() && self.below(100) == 0 {
            true => Err(Error::unavailable("scripted", "write", "the dice say so")),
            false => Ok(()),
        }
    }
}

fn unexpected<T>() -> Result<T> {
    Err(Error::Unsupported { store: "scripted", what: "what no consumer asks for" })
}

#[async_trait]
impl Store for Scripted {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn realm(&self) -> &Realm {
        &self.realm
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    async fn sweep(&self) -> Result<u64> {
        unexpected()
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl GroupStore for Scripted {
    async fn ensure_group(&self, _: &GroupSpec) -> Result<bool> {
        unexpected()
    }

    async fn group(&self, _: &GroupName) -> Result<Option<GroupInfo>> {
        unexpected()
    }

    async fn list_groups(&self) -> Result<Vec<GroupInfo>> {
        unexpected()
    }

    async fn beat_member(&self, _: &Member, _: &[PartitionRef]) -> Result<MemberView> {
        unexpected()
    }

    async fn claim_partitions(&self, _: &Member, _: u16) -> Result<Vec<PartitionClaim>> {
        self.claims.send_modify(|claims| *claims += 1);
        let held = PartitionRef { partition: 0, epoch: 1 };
        let claim = PartitionClaim { held, position: *self.cursor.borrow(), attempts: 0, wait: Duration::ZERO };
        Ok(self.free.send_replace(false).then_some(claim).into_iter().collect())
    }

    async fn read_partitions(&self, _: &GroupName, from: &[ReadFrom], limit: u32) -> Result<PartitionRead> {
        self.reads.send_modify(|reads| *reads += 1);
        self.weather()?;
        let (after, head) = (from[0].after, *self.head.borrow());
        // A read that stops before its limit has looked at everything: only a full one stops anywhere.
        let mut ids: Vec<u64> = (after + 1..=head).filter(|id| self.concerns(*id)).collect();
        let full = ids.len() >= limit as usize;
        ids.truncate(limit as usize);
        let up_to = if full { ids[ids.len() - 1] } else { head };
        let one = |id: u64| {
            let event = Event {
                id,
                stream: StreamName::new("s").unwrap(),
                version: None,
                ts: SystemClock::new().now(),
                kind: "e".into(),
                run_id: None,
                flow_name: None,
                step_name: None,
                step_id: None,
                attempt: None,
                data: json!(id),
            };
            GroupEvent { event, partition: 0, behind: false }
        };
        Ok(PartitionRead { events: ids.into_iter().map(one).collect(), up_to })
    }

    async fn advance(&self, _: &GroupName, moves: &[CursorMove]) -> Result<Vec<bool>> {
        self.weather()?;
        Ok(moves.iter().map(|step| self.step(step)).collect())
    }

    async fn commit(&self, _: &GroupName, step: &CursorMove, _: &Effects) -> Result<bool> {
        self.weather()?;
        self.failures.store(0, Ordering::Relaxed);
        Ok(self.step(step))
    }

    async fn fail_partition(
        &self,
        _: &GroupName,
        _: PartitionRef,
        _: u64,
        _: Duration,
        _: &str,
    ) -> Result<Option<u32>> {
        Ok(Some(self.failures.fetch_add(1, Ordering::Relaxed) + 1))
    }

    async fn park(&self, _: &GroupName, step: &CursorMove, events: &[ParkedNow]) -> Result<bool> {
        self.weather()?;
        self.failures.store(0, Ordering::Relaxed);
        lock(&self.parked).extend(events.iter().map(|event| event.position));
        Ok(self.step(step))
    }

    async fn release_partitions(&self, _: &GroupName, _: &[PartitionRef]) -> Result<()> {
        Ok(())
    }

    async fn leave(&self, _: &Member) -> Result<()> {
        Ok(())
    }

    async fn pause_group(&self, _: &GroupName) -> Result<bool> {
        unexpected()
    }

    async fn resume_group(&self, _: &GroupName) -> Result<bool> {
        unexpected()
    }

    async fn reset_group(&self, _: &GroupName, _: StartFrom) -> Result<u64> {
        unexpected()
    }

    async fn delete_group(&self, _: &GroupName) -> Result<bool> {
        unexpected()
    }

    async fn parked(&self, _: &GroupName, _: u64, _: u32) -> Result<Vec<Parked>> {
        unexpected()
    }

    async fn wait_log(&self, after: u64) {
        if self.head.subscribe().wait_for(|head| *head > after).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Does what it is told, or what the dice say.
struct Handler {
    store: Arc<Scripted>,
    told: mpsc::UnboundedSender<u64>,
}

#[async_trait]
impl GroupHandler for Handler {
    async fn handle(&self, events: &[Event], _: GroupContext) -> Handled {
        for _ in 0..self.store.below(4) {
            tokio::task::yield_now().await;
        }
        let count = events.len() as u64;
        let done = match self.store.below(6) {
            4 => self.store.below(count),
            5 => return Handled::Failed(JobError::retry("the dice say so")),
            _ => count,
        };
        let done = usize::try_from(done).unwrap();
        lock(&self.store.done).extend(events[..done].iter().map(|event| event.id));
        for event in &events[..done] {
            // Nobody counts any more: the test is over.
            let _ = self.told.send(event.id);
        }
        match done == events.len() {
            true => Handled::Done(Effects::default()),
            false => Handled::FailedAt { done, effects: Effects::default(), error: JobError::retry("the dice say so") },
        }
    }
}

/// A consumer that nothing wakes but the store's signals, and what its handler was given.
struct Running {
    handled: mpsc::UnboundedReceiver<u64>,
    /// What its beats bring, which never come by themselves.
    seen: watch::Sender<Seen>,
    task: JoinSet<Result<()>>,
}

fn run(store: &Arc<Scripted>, free: u16) -> Running {
    run_with(store, free, GroupOptions { poll: NEVER, ..GroupOptions::default() })
}

fn run_with(store: &Arc<Scripted>, free: u16, options: GroupOptions) -> Running {
    let (told, handled) = mpsc::unbounded_channel();
    let handler = Arc::new(Handler { store: store.clone(), told });
    let group = GroupName::new("g").unwrap();
    let member = Member { group: group.clone(), consumer: ConsumerName::new("c").unwrap(), id: "c".into() };
    let runner = Runner {
        store: store.clone(),
        spec: GroupSpec {
            partitions: 1,
            poison: Poison::ParkEvent,
            attempts: 2,
            lease: LEASE,
            ..GroupSpec::new(group, Pattern::All)
        },
        member,
        handler,
        options,
        reaches: Reaches { queue: true, state: true },
    };
    let view = Arc::new(MemberView { share: 1, members: 2, paused: false, lost: Vec::new(), free });
    let (seen, watched) = watch::channel(Seen::View(view.clone()));
    let (held, stop) = (Arc::new(Held::new(LEASE)), CancellationToken::new());
    let mut task = JoinSet::new();
    task.spawn(Engine::new(Arc::new(runner), held, watched, view, stop, watch::Sender::new(0)).run());
    Running { handled, seen, task }
}

impl Running {
    fn pause(&self, paused: bool) {
        let view = MemberView { share: 1, members: 1, paused, lost: Vec::new(), free: 0 };
        self.seen.send_replace(Seen::View(Arc::new(view)));
    }

    async fn next(&mut self) -> u64 {
        tokio::time::timeout(PATIENCE, self.handled.recv()).await.expect("no signal is missed").unwrap()
    }
}

#[tokio::test]
async fn a_signal_is_never_missed_and_costs_one_read() {
    let store = Scripted::new(true);
    let mut running = run(&store, 1);
    for head in 1..=2_000 {
        store.head.send_replace(head);
        assert_eq!(running.next().await, head);
    }
    // Beside those of the signals: the first look of the loop, and that of the claim.
    let reads = *store.reads.borrow();
    assert!(reads <= 2_002, "{reads} reads for 2000 signals");
}

#[tokio::test]
async fn a_consumer_whose_heartbeat_is_gone_says_so() {
    let Running { seen, mut task, .. } = run(&Scripted::new(true), 1);
    drop(seen);
    let ended = tokio::time::timeout(PATIENCE, task.join_next()).await.expect("it ends").unwrap().unwrap();
    assert!(ended.is_err_and(|error| error.to_string().contains("its heartbeat ended")));
}

#[tokio::test]
async fn a_partition_that_is_given_away_is_taken_without_a_beat() {
    let store = Scripted::new(false);
    let mut running = run(&store, 0);
    store.head.send_replace(1);
    // It was asked for in vain, more than once.
    let mut claims = store.claims.subscribe();
    let asked = tokio::time::timeout(PATIENCE, claims.wait_for(|claims| *claims > 1)).await.is_ok();
    assert!(asked, "who is short of partitions asks again");
    store.free.send_replace(true);
    assert_eq!(running.next().await, 1);
}

/// Its own clock is enough: who could not renew a partition for a lease starts nothing more in it, though it has events
/// and nobody told it that it is somebody else's.
#[tokio::test]
async fn no_handler_starts_after_the_deadline_of_its_own_clock() {
    let (store, clock) = (Scripted::new(true), ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap()));
    let mut running =
        run_with(&store, 1, GroupOptions { clock: Arc::new(clock.clone()), poll: NEVER, ..GroupOptions::default() });
    store.head.send_replace(1);
    assert_eq!(running.next().await, 1);
    clock.advance(LEASE);
    let mut reads = store.reads.subscribe();
    for head in 2..=5 {
        // It reads on: by the next read it has tried to start what the last one brought.
        let before = *reads.borrow();
        store.head.send_replace(head);
        let read = tokio::time::timeout(PATIENCE, reads.wait_for(|reads| *reads > before)).await.is_ok();
        assert!(read, "it reads on");
    }
    assert!(running.handled.try_recv().is_err(), "a handler started that nobody could count on");
    assert_eq!(*store.cursor.borrow(), 1);
}

/// Whatever is read, fails, is put aside or ticks meanwhile: no cursor moves over an event that nobody did.
#[tokio::test]
async fn no_cursor_passes_what_was_not_delivered() {
    let mut put_aside = 0;
    for seed in 0..40 {
        let store = Scripted::with(true, Some(SeededEntropy::new(seed)));
        let options = GroupOptions {
            batch: 1 + u32::try_from(store.below(6)).unwrap(),
            poll: Duration::from_millis(1),
            backoff: Backoff::fixed(Duration::ZERO),
            ..GroupOptions::default()
        };
        let running = run_with(&store, 1, options);
        for _ in 0..60 {
            store.head.send_modify(|head| *head += 1 + store.below(20));
            // What was read before a pause waits, and ticks go on.
            running.pause(store.below(4) == 0);
            if store.below(3) == 0 {
                tokio::time::sleep(Duration::from_millis(store.below(3))).await;
            }
        }
        running.pause(false);
        let head = *store.head.borrow();
        let mut cursor = store.cursor.subscribe();
        let caught_up = tokio::time::timeout(PATIENCE, cursor.wait_for(|cursor| *cursor == head)).await.is_ok();
        assert!(caught_up, "with seed {seed} the cursor stops at {}", *store.cursor.borrow());
        assert_eq!(*lock(&store.wrong), [] as [String; 0], "with seed {seed}");
        let (done, parked) = (lock(&store.done).clone(), lock(&store.parked).clone());
        assert!(done.is_sorted_by(|a, b| a < b), "with seed {seed} events were done twice or out of order");
        let all: BTreeSet<u64> = done.iter().copied().chain(parked.iter().copied()).collect();
        let wanted: BTreeSet<u64> = (1..=head).filter(|id| store.concerns(*id)).collect();
        assert_eq!((all.len(), &all), (done.len() + parked.len(), &wanted), "with seed {seed}");
        put_aside += parked.len();
    }
    // What meets what depends on the scheduler: a single seed may have no event that failed for good.
    assert!(put_aside >= 40, "{put_aside} events failed for good: too few to tell anything");
}
