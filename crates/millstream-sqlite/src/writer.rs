//! The thread that writes, with group commit.
//!
//! Callers hand over closures. The thread takes the first, and what else waits with it, into one `BEGIN IMMEDIATE`:
//! each closure in a savepoint of its own, so that a refused one never fails its neighbours; one commit; then every
//! caller is answered, and then the signals go out. There is no timer: who comes while a commit is in flight goes
//! into the next one, so an idle store answers at once and a busy one shares its fsyncs.
//!
//! A caller that stops waiting changes nothing: its write happens.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    thread,
};

use millstream_core::{Error, QueueName, Result, Timestamp};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{
    fault::{Doing, Fault, KIND, closed},
    heart::Turnstile,
    inbox::{Hurry, Inbox},
    shared::Shared,
    tx::{Outbox, Tx},
};

/// Calls that share one commit: enough that fsync no longer counts, and few enough that the first does not wait long.
const GROUP_MAX: usize = 128;
/// Rounds of waiting for another process's write lock, each as long as the connection's busy handler waits (about a
/// second): together the ten seconds after which a caller is told to try again.
const BUSY_ROUNDS: u32 = 10;

/// A call as the thread sees it.
pub(crate) trait Work: Send {
    /// Answers it without a write, where a look shows that there is nothing to write. Outside any transaction.
    fn peek(&mut self, conn: &Connection, now: Timestamp) -> bool;
    /// Does it, inside the transaction; false: undo it.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Tells the caller: what `run` answered, or why the commit failed.
    fn answer(self: Box<Self>, failed: Option<&Error>);
}

/// The caller's side of a writing thread.
#[derive(Clone)]
pub(crate) struct Writer {
    inbox: Arc<Inbox<Box<dyn Work>>>,
}

impl Writer {
    /// A handle whose thread is not started yet.
    pub(crate) fn new() -> Self {
        Self { inbox: Arc::new(Inbox::new()) }
    }

    /// Starts the thread on its connection. It ends once the inbox is closed and empty.
    pub(crate) fn start(
        &self,
        name: &str,
        conn: Connection,
        shared: Arc<Shared>,
        lane: Lane,
    ) -> std::io::Result<thread::JoinHandle<Connection>> {
        let thread = WriterThread { inbox: self.inbox.clone(), conn, shared, lane, queues: HashMap::new() };
        thread::Builder::new().name(name.into()).spawn(move || thread.run())
    }

    /// Runs `write` in a transaction, and answers once it is durable.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        doing: impl Into<Doing>,
        write: impl FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        self.call_unless(doing, |_, _| Ok(None), write).await
    }

    /// As [`call`](Self::call), unless `peek` has the answer without a write.
    pub(crate) async fn call_unless<T: Send + 'static>(
        &self,
        doing: impl Into<Doing>,
        peek: impl FnOnce(&Connection, Timestamp) -> Result<Option<T>, Fault> + Send + 'static,
        write: impl FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        self.send(doing, Hurry::Normal, peek, write).await
    }

    /// As [`call`](Self::call), ahead of what waits.
    pub(crate) async fn call_first<T: Send + 'static>(
        &self,
        doing: impl Into<Doing>,
        write: impl FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        self.send(doing, Hurry::Urgent, |_, _| Ok(None), write).await
    }

    /// Runs `write` some time soon; nobody waits for it.
    pub(crate) fn tell(
        &self,
        doing: impl Into<Doing>,
        write: impl FnOnce(&mut Tx<'_>) -> Result<(), Fault> + Send + 'static,
    ) {
        let (reply, _) = oneshot::channel();
        let peek: fn(&Connection, Timestamp) -> Result<Option<()>, Fault> = |_, _| Ok(None);
        let call = Call { doing: doing.into(), peek: Some(peek), write: Some(write), answer: None, reply };
        self.inbox.push(Box::new(call), Hurry::Normal);
    }

    /// Takes no more calls; those taken in are still done.
    pub(crate) fn close(&self) {
        self.inbox.close();
    }

    async fn send<T: Send + 'static>(
        &self,
        doing: impl Into<Doing>,
        hurry: Hurry,
        peek: impl FnOnce(&Connection, Timestamp) -> Result<Option<T>, Fault> + Send + 'static,
        write: impl FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let call = Call { doing: doing.into(), peek: Some(peek), write: Some(write), answer: None, reply };
        if !self.inbox.push(Box::new(call), hurry) {
            return Err(closed());
        }
        // The thread answers everything it takes in; if it is gone, so is the store.
        answer.await.unwrap_or(Err(closed()))
    }
}

struct Call<T, P, W> {
    doing: Doing,
    peek: Option<P>,
    write: Option<W>,
    answer: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, P, W> Work for Call<T, P, W>
where
    T: Send,
    P: FnOnce(&Connection, Timestamp) -> Result<Option<T>, Fault> + Send,
    W: FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send,
{
    fn peek(&mut self, conn: &Connection, now: Timestamp) -> bool {
        let Some(peek) = self.peek.take() else { return false };
        self.answer = match peek(conn, now) {
            Ok(answer) => answer.map(Ok),
            Err(fault) => Some(Err(fault.told(&self.doing))),
        };
        self.answer.is_some()
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let Some(write) = self.write.take() else { return false };
        let done = catch_unwind(AssertUnwindSafe(|| write(tx)));
        let answer = match done {
            Ok(done) => done.map_err(|fault| fault.told(&self.doing)),
            Err(_) => Err(Error::unavailable(KIND, &*self.doing, "its code panicked; nothing was written")),
        };
        let keep = answer.is_ok();
        self.answer = Some(answer);
        keep
    }

    fn answer(self: Box<Self>, failed: Option<&Error>) {
        let answer = match (failed, self.answer) {
            // A refusal stands whatever became of the neighbours.
            (_, Some(Err(refused))) => Err(refused),
            (Some(error), _) => Err(error.clone()),
            (None, Some(Ok(answer))) => Ok(answer),
            (None, None) => Err(Error::unavailable(KIND, &*self.doing, "it was not run")),
        };
        // Who stopped waiting does not want the answer.
        let _ = self.reply.send(answer);
    }
}

/// Which thread this is, for who gives way to whom.
#[derive(Clone)]
pub(crate) enum Lane {
    /// Gives way to the heart before each transaction.
    Main(Arc<Turnstile>),
    /// Renews claims.
    Heart(Arc<Turnstile>),
}

struct WriterThread {
    inbox: Arc<Inbox<Box<dyn Work>>>,
    conn: Connection,
    shared: Arc<Shared>,
    lane: Lane,
    /// Row ids of queues. Queues are never removed, so an entry stays true, unless its insert was rolled back.
    queues: HashMap<QueueName, i64>,
}

impl WriterThread {
    fn run(mut self) -> Connection {
        while let Some(group) = self.inbox.take(GROUP_MAX) {
            let group = self.answer_idle(group);
            if !group.is_empty() {
                self.commit(group);
            }
        }
        self.conn
    }

    /// Answers calls that need no write, and keeps the others.
    fn answer_idle(&self, group: Vec<Box<dyn Work>>) -> Vec<Box<dyn Work>> {
        let now = self.shared.options.clock.now();
        let mut writes = Vec::with_capacity(group.len());
        for mut work in group {
            match work.peek(&self.conn, now) {
                true => work.answer(None),
                false => writes.push(work),
            }
        }
        writes
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Work>>) {
        let lane = self.lane.clone();
        let _passing = match &lane {
            Lane::Main(turnstile) => turnstile.give_way(),
            Lane::Heart(turnstile) => Some(turnstile.hurry()),
        };
        match self.transact(&mut group) {
            Ok(outbox) => {
                self.shared.stats.commits.fetch_add(1, Ordering::Relaxed);
                group.into_iter().for_each(|work| work.answer(None));
                outbox.fire(&self.shared.signals);
            }
            Err(fault) => {
                self.queues.clear();
                let error = fault.told("commit");
                tracing::warn!(error = %error, calls = group.len(), "a group of writes failed");
                group.into_iter().for_each(|work| work.answer(Some(&error)));
            }
        }
    }

    /// One transaction over the whole group. After an error nothing is written, and no transaction is open.
    fn transact(&mut self, group: &mut [Box<dyn Work>]) -> Result<Outbox, Fault> {
        self.begin()?;
        let done = self.run_group(group);
        let done = done.and_then(|outbox| {
            self.conn.execute_batch("COMMIT")?;
            Ok(outbox)
        });
        if done.is_err()
            && !self.conn.is_autocommit()
            && let Err(error) = self.conn.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "failed to roll back");
        }
        done
    }

    fn begin(&self) -> Result<(), Fault> {
        let mut round = 1;
        loop {
            let begun = self.conn.execute_batch("BEGIN IMMEDIATE").map_err(Fault::from);
            match begun {
                Err(fault) if fault.is_busy() && round < BUSY_ROUNDS => {
                    tracing::warn!(round, "another process holds the write lock; waiting on");
                    round += 1;
                }
                begun => return begun,
            }
        }
    }

    fn run_group(&mut self, group: &mut [Box<dyn Work>]) -> Result<Outbox, Fault> {
        let mut tx = Tx::new(&self.conn, &self.shared, &mut self.queues);
        for work in group {
            tx.now = self.shared.options.clock.now();
            // The refused call has its answer already.
            let _ = tx.part(|tx| if work.run(tx) { Ok(()) } else { Err(()) })?;
        }
        tx.finish()
    }
}
