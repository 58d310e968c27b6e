//! One write transaction, as the calls in it see it: what they number from, and what is told after the commit.
//!
//! Counts, signal counters and the ledger are gathered while the calls run and written once, before the commit: so
//! a group of a hundred settles updates its queue's row once.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use millstream_core::{Error, JobEvents, JobId, JobName, JobState, QueueEvent, QueueEventKind, QueueName, Timestamp};
use rusqlite::{Connection, params};
use serde_json::Value;

use crate::{
    events,
    fault::{Fault, KIND},
    rows,
    shared::Shared,
    signals::{Marks, Signals},
    sql::{self, Run},
};

/// Rows that the feed keeps for watchers of other processes: some buffers of theirs.
const FEED_ROWS_MAX: i64 = 8 * millstream_core::limits::WATCH_BUFFER as i64;

/// A queue as rows know it and as people do.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) id: i64,
    pub(crate) name: QueueName,
}

/// A write transaction under way.
pub(crate) struct Tx<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) shared: &'a Shared,
    /// When the call began.
    pub(crate) now: Timestamp,
    /// Row ids of queues, kept from transaction to transaction.
    queues: &'a mut HashMap<QueueName, i64>,
    ledger: Option<Ledger>,
    /// The earliest due time of all delayed jobs; outer `None`: not looked up yet.
    next_due: Option<Option<i64>>,
    /// Queues that another process watches; `None`: not looked up yet.
    watched: Option<HashSet<String>>,
    outbox: Outbox,
    /// Savepoints that are open.
    depth: usize,
}

/// What the transaction numbers from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Position of the last event.
    pub(crate) head: u64,
    /// Time of the last event.
    pub(crate) ts: i64,
    seq: i64,
}

/// What is written at the end of a transaction and told after it.
#[derive(Default)]
pub(crate) struct Outbox {
    tally: Vec<(i64, JobState, i64)>,
    ready: Vec<i64>,
    beat: Vec<i64>,
    feed: Vec<QueueEvent>,
    marks: Vec<(QueueName, Marks)>,
    head: Option<u64>,
}

/// How long the outbox was when a part began.
struct Mark {
    tally: usize,
    ready: usize,
    beat: usize,
    feed: usize,
    ledger: Option<Ledger>,
    depth: usize,
}

/// Statements around a part. A call is one part, a settlement inside it another; nothing nests deeper.
const SAVEPOINT: [[&str; 3]; 3] = [
    ["SAVEPOINT part0", "ROLLBACK TO part0", "RELEASE part0"],
    ["SAVEPOINT part1", "ROLLBACK TO part1", "RELEASE part1"],
    ["SAVEPOINT part2", "ROLLBACK TO part2", "RELEASE part2"],
];

impl<'a> Tx<'a> {
    pub(crate) fn new(conn: &'a Connection, shared: &'a Shared, queues: &'a mut HashMap<QueueName, i64>) -> Self {
        let now = shared.options.clock.now();
        let outbox = Outbox::default();
        Self { conn, shared, now, queues, ledger: None, next_due: None, watched: None, outbox, depth: 0 }
    }

    /// Runs a part of the transaction: its error undoes the part alone. The outer error is the transaction's end.
    pub(crate) fn part<T, E>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<Result<T, E>, Fault> {
        let mark = self.mark();
        let [begin, undo, end] = SAVEPOINT[self.depth];
        self.conn.run(begin, [])?;
        self.depth += 1;
        let done = run(self);
        if done.is_err() {
            self.check_open()?;
            self.conn.run(undo, [])?;
            self.reset(&mark);
        }
        self.depth = mark.depth;
        self.conn.run(end, [])?;
        Ok(done)
    }

    /// SQLite ends a transaction by itself where a disk is full or fails: nothing of it is left to undo.
    fn check_open(&self) -> Result<(), Fault> {
        match self.conn.is_autocommit() {
            true => Err(Error::unavailable(KIND, "write", "SQLite ended the transaction: is the disk full?").into()),
            false => Ok(()),
        }
    }

    fn mark(&self) -> Mark {
        let Outbox { tally, ready, beat, feed, .. } = &self.outbox;
        let (tally, ready, beat, feed) = (tally.len(), ready.len(), beat.len(), feed.len());
        Mark { tally, ready, beat, feed, ledger: self.ledger, depth: self.depth }
    }

    fn reset(&mut self, mark: &Mark) {
        self.outbox.tally.truncate(mark.tally);
        self.outbox.ready.truncate(mark.ready);
        self.outbox.beat.truncate(mark.beat);
        self.outbox.feed.truncate(mark.feed);
        self.ledger = mark.ledger;
        // Both may hold what was just undone; they are looked up again.
        self.next_due = None;
        self.queues.clear();
    }

    /// The queue, if it exists.
    pub(crate) fn queue(&mut self, name: &QueueName) -> Result<Option<Queue>, Fault> {
        if let Some(&id) = self.queues.get(name) {
            return Ok(Some(Queue { id, name: name.clone() }));
        }
        let id = self.conn.first(sql::QUEUE_FIND, [name.as_str()], |row| row.get::<_, i64>(0))?;
        Ok(id.map(|id| {
            self.queues.insert(name.clone(), id);
            Queue { id, name: name.clone() }
        }))
    }

    /// The queue, which begins now if it does not exist.
    pub(crate) fn queue_made(&mut self, name: &QueueName) -> Result<Queue, Fault> {
        if let Some(queue) = self.queue(name)? {
            return Ok(queue);
        }
        self.conn.run(sql::QUEUE_ENSURE, [name.as_str()])?;
        self.queue(name)?
            .ok_or_else(|| rows::at("queue", name)("name").corrupt("a queue that was just written is not there").into())
    }

    /// What the transaction numbers from, to change.
    pub(crate) fn ledger(&mut self) -> Result<&mut Ledger, Fault> {
        if self.ledger.is_none() {
            let read = self.conn.first(sql::LEDGER_READ, [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            })?;
            let place = rows::at("ledger", &1);
            let (head, ts, seq) = read.ok_or_else(|| place("id").corrupt("there is no row"))?;
            self.ledger = Some(Ledger { head: rows::count(head, place("event_head"))?, ts, seq });
        }
        // Just filled where it was empty.
        self.ledger.as_mut().ok_or_else(|| rows::at("ledger", &1)("id").corrupt("there is no row").into())
    }

    /// A number above every one given out before, in any process.
    pub(crate) fn next_seq(&mut self) -> Result<i64, Fault> {
        let ledger = self.ledger()?;
        ledger.seq += 1;
        Ok(ledger.seq)
    }

    /// The proof of a claim: the sequence makes it unique, the random part keeps it so in a restored copy.
    pub(crate) fn token(&mut self) -> Result<Arc<str>, Fault> {
        let seq = self.next_seq()?;
        Ok(format!("{seq:x}-{:016x}", self.shared.options.entropy.next_u64()).into())
    }

    /// A job went from one state to another, or came, or went.
    pub(crate) fn moved(&mut self, queue: i64, from: Option<JobState>, to: Option<JobState>) {
        if from == Some(JobState::Delayed) {
            // It may have been the earliest.
            self.next_due = None;
        }
        self.outbox.tally.extend(from.map(|state| (queue, state, -1)));
        self.outbox.tally.extend(to.map(|state| (queue, state, 1)));
    }

    /// There may be work for the queue's workers, or an earlier due time.
    pub(crate) fn ready(&mut self, queue: i64) {
        if self.outbox.ready.last() != Some(&queue) {
            self.outbox.ready.push(queue);
        }
    }

    /// A running job of the queue was cancelled or taken away.
    pub(crate) fn beat(&mut self, queue: i64) {
        self.outbox.beat.push(queue);
    }

    /// A job of the queue is about to be delayed until `run_at`: workers that sleep longer are woken.
    pub(crate) fn delays(&mut self, queue: i64, run_at: i64) -> Result<(), Fault> {
        let next = match self.next_due {
            Some(next) => next,
            None => self.conn.first(sql::JOB_DUE_NEXT, [], |row| row.get(0))?.flatten(),
        };
        let earlier = next.is_none_or(|next| run_at < next);
        self.next_due = Some(if earlier { Some(run_at) } else { next });
        if earlier {
            self.ready(queue);
        }
        Ok(())
    }

    /// Whether anybody wants to know of such an event. Asked before one is built: mostly nobody does.
    pub(crate) fn heeds(&mut self, queue: &Queue, kind: QueueEventKind) -> Result<bool, Fault> {
        Ok(self.logs(kind) || self.is_watched(queue)?)
    }

    fn logs(&self, kind: QueueEventKind) -> bool {
        match self.shared.options.job_events {
            JobEvents::Off => false,
            JobEvents::Failures => matches!(kind, QueueEventKind::Failed | QueueEventKind::Stalled),
            JobEvents::All => true,
        }
    }

    fn is_watched(&mut self, queue: &Queue) -> Result<bool, Fault> {
        Ok(self.shared.signals.is_watched(&queue.name) || self.is_watched_elsewhere(&queue.name)?)
    }

    fn is_watched_elsewhere(&mut self, queue: &QueueName) -> Result<bool, Fault> {
        if !self.shared.on_disk {
            return Ok(false);
        }
        if self.watched.is_none() {
            let queues = self.conn.all(sql::FEED_WATCHED, [&*self.shared.origin], |row| row.get::<_, String>(0))?;
            self.watched = Some(queues.into_iter().collect());
        }
        Ok(self.watched.as_ref().is_some_and(|watched| watched.contains(queue.as_str())))
    }

    /// Something happened to a job.
    pub(crate) fn happened(&mut self, kind: QueueEventKind, job: Happened<'_>) -> Result<(), Fault> {
        if !self.heeds(job.queue, kind)? {
            return Ok(());
        }
        let (id, name) = (Some(job.id.clone()), Some(job.name.clone()));
        let attempt = (job.attempt > 0).then_some(job.attempt);
        let queue = job.queue.name.clone();
        self.tell(job.queue, QueueEvent { queue, kind, job: id, name, attempt, at: self.now, data: job.data })
    }

    /// Writes an event into the log where that is wanted, and keeps it for the watchers.
    pub(crate) fn tell(&mut self, queue: &Queue, event: QueueEvent) -> Result<(), Fault> {
        if self.logs(event.kind) {
            events::append::job_event(self, &event)?;
        }
        if self.is_watched(queue)? {
            self.outbox.feed.push(event);
        }
        Ok(())
    }

    /// Writes what was gathered; the commit follows.
    pub(crate) fn finish(mut self) -> Result<Outbox, Fault> {
        self.write_tally()?;
        self.write_feed()?;
        if let Some(Ledger { head, ts, seq }) = self.ledger {
            self.conn.run(sql::LEDGER_WRITE, params![rows::integer(head), ts, seq])?;
            self.outbox.head = Some(head);
        }
        Ok(self.outbox)
    }

    fn write_tally(&mut self) -> Result<(), Fault> {
        let mut queues: BTreeMap<i64, [i64; 8]> = BTreeMap::new();
        for &(queue, state, by) in &self.outbox.tally {
            queues.entry(queue).or_default()[state as usize] += by;
        }
        self.outbox.ready.iter().for_each(|&queue| queues.entry(queue).or_default()[6] = 1);
        self.outbox.beat.iter().for_each(|&queue| queues.entry(queue).or_default()[7] = 1);
        for (queue, [waiting, delayed, active, completed, failed, cancelled, ready, beat]) in queues {
            let row = params![queue, waiting, delayed, active, completed, failed, cancelled, ready, beat];
            let marks = self.conn.first(sql::QUEUE_TALLY, row, |row| {
                Ok((row.get::<_, String>(0)?, Marks { ready: row.get(1)?, beat: row.get(2)? }))
            })?;
            if let Some((name, marks)) = marks
                && ready + beat > 0
            {
                self.outbox.marks.push((rows::word(name, rows::at("queue", &queue)("name"))?, marks));
            }
        }
        Ok(())
    }

    fn write_feed(&mut self) -> Result<(), Fault> {
        let feed = std::mem::take(&mut self.outbox.feed);
        let mut wrote = false;
        for event in &feed {
            if self.is_watched_elsewhere(&event.queue)? {
                let text = serde_json::to_string(event)
                    .map_err(|error| Error::invalid("queue event", error.to_string(), "JSON"))?;
                self.conn.run(sql::FEED_INSERT, params![&*self.shared.origin, text])?;
                wrote = true;
            }
        }
        if wrote {
            self.conn.run(sql::FEED_PRUNE, [self.conn.last_insert_rowid() - FEED_ROWS_MAX])?;
        }
        self.outbox.feed = feed;
        Ok(())
    }
}

/// To which job something happened.
pub(crate) struct Happened<'a> {
    pub(crate) queue: &'a Queue,
    pub(crate) id: &'a JobId,
    pub(crate) name: &'a JobName,
    pub(crate) attempt: u32,
    /// Output, error, progress or due time, where the kind has one.
    pub(crate) data: Option<Value>,
}

impl Outbox {
    /// Tells this process; others see the counters.
    pub(crate) fn fire(self, signals: &Signals) {
        self.marks.into_iter().for_each(|(queue, marks)| signals.note(&queue, marks));
        if let Some(head) = self.head {
            signals.note_head(head);
        }
        self.feed.into_iter().for_each(|event| signals.tell(event));
    }
}
