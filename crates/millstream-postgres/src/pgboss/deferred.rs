//! Claims whose jobs are started and completed in one write. Each update of a row of pg-boss's is a new row and three
//! entries of indexes: where jobs end within milliseconds, the first of the two is for nobody. Such a claim locks its
//! rows in a transaction that stays open while the handlers run, and notes in the book of claims, by a commit of its own,
//! whose they are. It ends with the first settle, or when its time is up: what is done is completed, the rest is started,
//! and is a claim like any other from there on.
//!
//! Nobody else can take a locked row, pg-boss's own workers included. A process that is killed loses its locks with its
//! connection, and the jobs are ready at once. What is noted then, by nobody who lives, was begun: the next claim counts it,
//! and so does the rescue. One that is stopped loses its locks when the server ends its idle transaction.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::Timeouts;
use millstream_core::{Clock, JobState, Outcome, QueueName, Result, Settlement, SystemClock, Verdict};
use tokio::{
    sync::{Mutex as Turn, Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    boss::{Boss, again},
    claim::{self, Taken},
    floors::Floor,
    held, settle,
    sql::{BossSql, Pick},
};
use crate::{
    fault::{Fault, closed},
    queue::moves::Kind as Native,
    rows::{Key, Tid, Time},
    shared::{Unit, lock},
    sql::{On, Param},
};

/// Fewer jobs are not worth two more commands.
pub(crate) const JOBS_MIN: i64 = 200;
/// How long a claim's jobs may stay unwritten: several times what a claim of brief jobs takes.
const OPEN_MAX: Duration = Duration::from_millis(100);
/// At most so many of the pool's connections are in such transactions, and only where some are left for others: two claims
/// are under way, the jobs of one wait or run, two are settled, and one waits for that.
const OPEN_AT_ONCE: usize = 6;
const POOL_MIN: usize = OPEN_AT_ONCE + 4;
/// The server gives up a transaction whose process does not go on: it was stopped, or the way to it is cut. Longer than a
/// machine that has too much to do lets anybody wait: jobs whose locks are lost may run twice.
const BEGIN: &str = "begin; set local idle_in_transaction_session_timeout = '5s'";
/// When a claim whose end could not be written, or hangs, is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long nobody looks while nothing is open: opening one is told.
const IDLE: Duration = Duration::from_secs(3600);
/// Claims of a queue that are made in the plain way after some that were not settled as one, at most.
const DOUBT_MAX: u32 = 64;

/// The open claims of this process, by call.
pub(crate) struct Deferred {
    open: Mutex<HashMap<i64, Entry>>,
    doubts: Mutex<HashMap<QueueName, Doubt>>,
    /// A permit for each claim that is open, or about to be.
    room: Arc<Semaphore>,
    /// Told when a claim was opened.
    opened: Notify,
    /// The first call that the book may have: a hint, so that claims do not read those of long ago. Written by the rescue.
    first: AtomicI64,
    /// Real time: how long a transaction stays open is no business of a clock of tests.
    clock: SystemClock,
}

impl Default for Deferred {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            doubts: Mutex::default(),
            room: Arc::new(Semaphore::new(OPEN_AT_ONCE)),
            opened: Notify::new(),
            first: AtomicI64::new(0),
            clock: SystemClock::new(),
        }
    }
}

struct Entry {
    until: Duration,
    claim: Slot,
}

/// Who ends a claim has the turn until that is written, so that others wait for it. `None`: it has ended.
type Slot = Arc<Turn<Option<Open>>>;

/// A claim that has not been written.
struct Open {
    call: i64,
    queue: QueueName,
    table: Arc<str>,
    start: Time,
    jobs: HashMap<Uuid, Tid>,
    /// `None`: it was lost, and the locks with it.
    unit: Option<Unit>,
    _room: OwnedSemaphorePermit,
}

/// How much a queue's claims are worth deferring.
#[derive(Default)]
struct Doubt {
    /// So many claims are plain ones.
    plain: u32,
    grown: u32,
}

impl Deferred {
    /// Whether the next claim of the queue is worth it.
    fn may(&self, queue: &QueueName) -> bool {
        let mut doubts = lock(&self.doubts);
        let Some(doubt) = doubts.get_mut(queue) else { return true };
        let may = doubt.plain == 0;
        doubt.plain = doubt.plain.saturating_sub(1);
        may
    }

    /// It was for nothing: fewer of the queue's claims are deferred.
    fn doubt(&self, queue: &QueueName) {
        let mut doubts = lock(&self.doubts);
        let doubt = doubts.entry(queue.clone()).or_default();
        doubt.grown = doubt.grown.saturating_mul(2).clamp(1, DOUBT_MAX);
        doubt.plain = doubt.grown;
    }

    fn trust(&self, queue: &QueueName) {
        lock(&self.doubts).remove(queue);
    }

    pub(crate) fn first(&self) -> i64 {
        self.first.load(Ordering::Relaxed)
    }

    pub(crate) fn set_first(&self, call: i64) {
        self.first.store(call, Ordering::Relaxed);
    }

    /// Whether a call's rows are locked and not written.
    pub(crate) fn is_open(&self, call: i64) -> bool {
        lock(&self.open).contains_key(&call)
    }

    fn is_empty(&self) -> bool {
        lock(&self.open).is_empty()
    }

    fn find(&self, call: i64) -> Option<Slot> {
        lock(&self.open).get(&call).map(|entry| entry.claim.clone())
    }

    /// `false`: the store was closed meanwhile, and nobody would end the claim.
    fn insert(&self, open: Open, closing: &CancellationToken) -> bool {
        let until = self.clock.monotonic() + OPEN_MAX;
        let call = open.call;
        let mut all = lock(&self.open);
        if closing.is_cancelled() {
            return false;
        }
        all.insert(call, Entry { until, claim: Arc::new(Turn::new(Some(open))) });
        self.opened.notify_one();
        true
    }

    /// The claims whose time is up, each told once, and when the next one's is.
    fn due(&self) -> (Vec<i64>, Option<Duration>) {
        let now = self.clock.monotonic();
        let mut open = lock(&self.open);
        let mut due = Vec::new();
        for (call, entry) in open.iter_mut().filter(|(_, entry)| entry.until <= now) {
            entry.until = now + RETRY;
            due.push(*call);
        }
        (due, open.values().map(|entry| entry.until).min().map(|until| until.saturating_sub(now)))
    }

    /// Gives up every claim, after `closing` was fired: the server takes the locks away with the connections.
    pub(crate) fn clear(&self) {
        lock(&self.open).clear();
    }
}

/// Locks jobs of one queue, as many as are wanted. `None`: a plain claim is to be made.
pub(crate) async fn take(
    boss: &Boss,
    table: &Arc<str>,
    wants: &[(QueueName, i64)],
    at_most: i64,
    over: &[i64],
) -> Result<Option<Taken>, Fault> {
    let shared = &*boss.shared;
    let [(queue, count)] = wants else { return Ok(None) };
    let count = (*count).min(at_most);
    let able = boss.defer_starts && !shared.pooled && !shared.logs_any();
    if !able || count < JOBS_MIN || shared.pool.status().max_size < POOL_MIN {
        return Ok(None);
    }
    if !boss.deferred.may(queue) {
        return Ok(None);
    }
    // Each that is open ends within that time; and as long as there are so many, nobody wants for jobs.
    let room = boss.deferred.room.clone().acquire_owned();
    let Ok(Ok(room)) = tokio::time::timeout(OPEN_MAX, room).await else { return Ok(None) };
    let conn = shared.conn().await?;
    // Not waited for: who holds a connection must not. It is another one, so that the note is a commit by itself.
    let at_once = Timeouts { wait: Some(Duration::ZERO), ..shared.pool.timeouts() };
    let Ok(second) = shared.pool.timeout_get(&at_once).await else { return Ok(None) };
    let locked = async {
        let unit = Unit::open(conn, BEGIN).await?;
        match lock_jobs(boss, unit.on()?, table, wants, count).await {
            Ok(Some(locked)) => Ok::<_, Fault>(Some((unit, locked))),
            other => {
                unit.rollback().await;
                other.map(|_| None)
            }
        }
    };
    let (unit, Locked { mut taken, call, start, jobs, rows }) = match locked.await {
        Ok(Some(locked)) => locked,
        // Nothing was written; what is in the way of more than this, the plain claim meets, too.
        nothing => {
            tracing::debug!(%queue, fault = ?nothing.err(), "nothing to lock: a plain claim is made");
            // What there may be in front of the floor is for that one.
            boss.floors.forget(queue);
            boss.deferred.doubt(queue);
            return Ok(None);
        }
    };
    let keys: Vec<Key> = jobs.keys().copied().map(Key).collect();
    let params: [&(dyn Param + Sync); 5] = [&call, &start, &queue.as_str(), &keys, &over.to_vec()];
    if let Err(fault) = boss.run(On::Conn(&second), BossSql::DeferNote, &params).await {
        unit.rollback().await;
        boss.floors.forget(queue);
        return Err(fault);
    }
    boss.calls.began(call, jobs.len());
    claim::raise_floor(boss, queue, &rows, count);
    taken.claimed.iter_mut().for_each(|one| one.together = true);
    let (queue, table) = (queue.clone(), table.clone());
    let open = Open { call, queue, table, start, jobs, unit: Some(unit), _room: room };
    if boss.deferred.insert(open, &shared.closing) { Ok(Some(taken)) } else { Err(closed().into()) }
}

/// Jobs that are locked, and in nobody's book yet.
struct Locked {
    taken: Taken,
    call: i64,
    start: Time,
    jobs: HashMap<Uuid, Tid>,
    rows: Vec<Row>,
}

/// `None`: too few, or more than a lock has to be written for some of them.
async fn lock_jobs(
    boss: &Boss,
    on: On<'_>,
    table: &Arc<str>,
    wants: &[(QueueName, i64)],
    count: i64,
) -> Result<Option<Locked>, Fault> {
    let [(queue, _)] = wants else { return Ok(None) };
    let floor = boss.floors.of(std::iter::once(queue)).pop().unwrap_or_else(Floor::bottom);
    let (names, first) = (vec![queue.as_str()], boss.deferred.first());
    let text = boss.texts.get(BossSql::Defer, table, Pick::Plain);
    let params: [&(dyn Param + Sync); 5] = [&names, &count, &floor.priority, &floor.created, &first];
    let rows = boss.shared.texts.run_text(on, &text, &params).await?;
    let found = rows.len() as i64;
    let whole = found == count || floor == Floor::bottom();
    let fit = || rows.iter().all(|row| row.get::<_, bool>(claim::FIT));
    let Some(one) = rows.first().filter(|_| found >= JOBS_MIN && whole && fit()) else { return Ok(None) };
    let (call, start) = claim::call_of(one);
    let taken = claim::taken(boss, wants, &rows);
    if taken.claimed.iter().any(|one| held::has_beside(&one.claim)) {
        return Ok(None);
    }
    let jobs = rows.iter().map(claim::place_of).collect();
    Ok(Some(Locked { taken, call, start, jobs, rows }))
}

/// Settles what of a batch is of open claims, and completes with them; the claims end here. `None`: to be settled in the
/// plain way.
pub(crate) async fn settle(boss: &Boss, batch: &[Settlement]) -> Result<Vec<Option<Verdict>>> {
    let mut verdicts = vec![None; batch.len()];
    if boss.deferred.is_empty() {
        return Ok(verdicts);
    }
    let mut calls: HashMap<i64, Vec<usize>> = HashMap::new();
    for (place, one) in batch.iter().enumerate() {
        if let Some(call) = held::call(&one.claim).filter(|call| boss.deferred.is_open(*call)) {
            calls.entry(call).or_default().push(place);
        }
    }
    for (call, places) in calls {
        let Some(slot) = boss.deferred.find(call) else { continue };
        let mut turn = slot.lock().await;
        let Some(open) = turn.as_mut() else { continue };
        let (mut done, mut settled, mut left) = (Done::default(), Vec::new(), open.jobs.clone());
        for place in places {
            let one = &batch[place];
            let row = held::row(&one.claim);
            if let Some(output) = plain_output(one)
                && let Some(tid) = left.remove(&row)
            {
                done.jobs.push(Key(row));
                done.outputs.push(output);
                done.places.push(tid);
                settled.push((place, row));
            }
        }
        let completed = end(boss, open, &done, &left).await?;
        *turn = None;
        settled.retain(|(_, row)| completed.as_ref().is_none_or(|some| some.contains(row)));
        boss.calls.ended(settled.iter().map(|_| call));
        settled.into_iter().for_each(|(place, _)| verdicts[place] = Some(Verdict::Settled(JobState::Completed)));
    }
    Ok(verdicts)
}

/// The output of what only completes its job.
fn plain_output(one: &Settlement) -> Option<Option<String>> {
    if !matches!(one.outcome, Outcome::Done(_)) || !one.effects.is_empty() {
        return None;
    }
    let ending = settle::ending(&one.outcome).ok()?;
    (ending.kind == Native::Done).then_some(ending.payload)
}

/// Ends the open claims of these calls: their jobs are started. For what has to be done on their rows by others.
pub(crate) async fn start_calls(boss: &Boss, calls: impl Iterator<Item = i64>) -> Result<()> {
    if boss.deferred.is_empty() {
        return Ok(());
    }
    for call in calls.collect::<BTreeSet<i64>>() {
        let Some(slot) = boss.deferred.find(call) else { continue };
        let mut turn = slot.lock().await;
        let Some(open) = turn.as_mut() else { continue };
        let left = open.jobs.clone();
        end(boss, open, &Done::default(), &left).await?;
        *turn = None;
    }
    Ok(())
}

/// What is completed: one job, its output and its place in each row.
#[derive(Default)]
struct Done {
    jobs: Vec<Key>,
    outputs: Vec<Option<String>>,
    places: Vec<Tid>,
}

/// Writes a claim's end. Answers what of `done` is completed, `None` for all of it; the rest is started, as `left` is. A
/// future that is dropped before its end, or an error, leaves a claim that has lost its locks; whoever is next ends that.
async fn end(boss: &Boss, open: &mut Open, done: &Done, left: &HashMap<Uuid, Tid>) -> Result<Option<HashSet<Uuid>>> {
    if left.len() * 4 > open.jobs.len() {
        boss.deferred.doubt(&open.queue);
    } else {
        boss.deferred.trust(&open.queue);
    }
    let written = match open.unit.take() {
        Some(unit) => write(boss, unit, open, done, left).await,
        None => Err(Fault::Raced),
    };
    let completed = match written {
        Ok(true) => None,
        Ok(false) => Some(HashSet::new()),
        Err(fault) => {
            tracing::warn!(queue = %open.queue, ?fault, "a claim is not settled as one: its jobs are started, but for what others took");
            boss.floors.forget(&open.queue);
            Some(again!(boss, "start jobs", start_again(boss, open, done))?)
        }
    };
    lock(&boss.deferred.open).remove(&open.call);
    Ok(completed)
}

async fn write(boss: &Boss, unit: Unit, open: &Open, done: &Done, left: &HashMap<Uuid, Tid>) -> Result<bool, Fault> {
    let all = done.jobs.len() as i64;
    let mut completed = false;
    if all > 0 {
        let (Done { jobs, outputs, places }, whole) = (done, left.is_empty());
        let params: [&(dyn Param + Sync); 6] = [jobs, outputs, places, &open.start, &open.call, &whole];
        let rows = boss.run_in(unit.on()?, BossSql::DeferComplete, &open.table, &params).await?;
        let count: i64 = rows.first().map_or(0, |row| row.get(0));
        completed = count == all;
        if !completed && count > 0 {
            return Err(Fault::Raced);
        }
    }
    let left = if completed { left } else { &open.jobs };
    if !left.is_empty() {
        start(boss, unit.on()?, open, left).await?;
    }
    unit.commit().await?;
    Ok(completed)
}

async fn start(boss: &Boss, on: On<'_>, open: &Open, jobs: &HashMap<Uuid, Tid>) -> Result<(), Fault> {
    let (keys, places): (Vec<Key>, Vec<Tid>) = jobs.iter().map(|(job, place)| (Key(*job), *place)).unzip();
    let (name, lease) = (open.queue.as_str(), boss.lease());
    let params: [&(dyn Param + Sync); 6] = [&open.call, &open.start, &name, &keys, &places, &lease];
    boss.run_in(on, BossSql::DeferStart, &open.table, &params).await?;
    Ok(())
}

/// Starts what nobody took since the locks were lost. Answers what of `done` was completed nonetheless: whether the write
/// was committed is not known where its answer was lost. The start waits for it, where it is still under way.
async fn start_again(boss: &Boss, open: &Open, done: &Done) -> Result<HashSet<Uuid>, Fault> {
    let conn = boss.shared.conn().await?;
    start(boss, On::Conn(&conn), open, &open.jobs).await?;
    if done.jobs.is_empty() {
        return Ok(HashSet::new());
    }
    let params: [&(dyn Param + Sync); 3] = [&open.queue.as_str(), &done.jobs, &open.start];
    let rows = boss.run_in(On::Conn(&conn), BossSql::DeferLook, &open.table, &params).await?;
    let job = |row: &Row| {
        let Key(job) = row.get(0);
        job
    };
    Ok(rows.iter().map(job).collect())
}

/// Ends claims whose time is up, for as long as the store is open: each by itself, so that a connection that hangs holds up
/// no other.
pub(crate) async fn run(boss: Arc<Boss>) {
    let mut ending = JoinSet::new();
    loop {
        let (due, next) = boss.deferred.due();
        for call in due {
            let boss = boss.clone();
            ending.spawn(async move {
                if let Err(error) = start_calls(&boss, std::iter::once(call)).await {
                    tracing::warn!(%error, "jobs that were locked are not started yet");
                }
            });
        }
        tokio::select! {
            () = tokio::time::sleep(next.unwrap_or(IDLE)) => {}
            () = boss.deferred.opened.notified() => {}
            Some(_) = ending.join_next() => {}
        }
    }
}
