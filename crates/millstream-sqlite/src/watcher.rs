//! The thread that sees what other processes commit.
//!
//! While somebody waits, it asks SQLite every few milliseconds whether another connection has committed (a look at
//! shared memory), and only then reads the signal counters. It holds no lock and decides nothing.

use std::{sync::Arc, thread, time::Duration};

use millstream_core::{QueueEvent, Signals as Wakes};
use rusqlite::{Connection, params};

use crate::{
    fault::Fault,
    rows,
    shared::Shared,
    signals::Marks,
    sql::{self, Run},
    writer::Writer,
};

/// How often it looks: what a wake-up between processes costs at most.
const TICK: Duration = Duration::from_millis(10);
/// How long a watcher's row lives, in seconds of real time: a process that vanished costs others so long.
pub(crate) const WATCH_LEASE_S: u32 = 60;
/// Ticks between two renewals: some ten seconds, so that five may fail.
const RENEW_TICKS: u32 = 1_000;
/// Ticks between two looks whether the file is still where it was: some second.
const FILE_TICKS: u32 = 100;
/// Rows of the feed read at once.
const FEED_ROWS: u32 = 1_000;

pub(crate) struct Watcher {
    conn: Connection,
    shared: Arc<Shared>,
    writer: Writer,
    /// What the last look saw.
    version: i64,
    feed: i64,
    /// The file at the path when it was opened; `None` for a store in memory, and where files have no number.
    file: Option<FileId>,
}

/// Tells files apart whatever they are called.
#[derive(PartialEq, Eq)]
struct FileId {
    device: u64,
    number: u64,
}

impl FileId {
    #[cfg(unix)]
    fn at(path: &str) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let found = std::fs::metadata(path).ok()?;
        Some(Self { device: found.dev(), number: found.ino() })
    }

    #[cfg(not(unix))]
    fn at(_: &str) -> Option<Self> {
        None
    }
}

impl Watcher {
    /// Takes its baseline before anybody can wait: what changes later is seen as a change.
    pub(crate) fn new(conn: Connection, shared: Arc<Shared>, writer: Writer) -> Result<Self, Fault> {
        let file = conn.path().and_then(FileId::at);
        let mut watcher = Self { conn, shared, writer, version: 0, feed: 0, file };
        watcher.version = watcher.version()?;
        watcher.feed = watcher.conn.first(sql::FEED_LAST, [], |row| row.get(0))?.flatten().unwrap_or(0);
        watcher.look_at_counters()?;
        Ok(watcher)
    }

    /// Starts the thread. It ends when the signals are closed.
    pub(crate) fn spawn(self) -> std::io::Result<thread::JoinHandle<Connection>> {
        thread::Builder::new().name("millstream-sqlite-watch".into()).spawn(move || self.run())
    }

    fn run(mut self) -> Connection {
        let tick = match self.shared.options.signals {
            Wakes::On => TICK,
            Wakes::Muted => self.shared.options.poll,
        };
        let renew = u32::try_from(TICK.as_millis() * u128::from(RENEW_TICKS) / tick.as_millis().max(1)).unwrap_or(1);
        let (mut ticks, mut blind) = (0, false);
        while self.shared.signals.tick(tick) {
            match self.look() {
                Ok(()) => blind = false,
                // Told once: it looks a hundred times a second.
                Err(fault) if !blind => {
                    let error = fault.told("look for other processes' commits");
                    tracing::warn!(%error, "other processes' signals are not seen; looking on");
                    blind = true;
                }
                Err(_) => {}
            }
            ticks += 1;
            if ticks % FILE_TICKS == 0 {
                self.look_at_path();
            }
            if ticks >= renew.max(1) {
                ticks = 0;
                self.renew_watches();
            }
        }
        self.conn
    }

    /// A file that was deleted or replaced is written on by who has it open, and by nobody else: said once.
    fn look_at_path(&mut self) {
        let Some(path) = self.conn.path() else { return };
        if self.file.is_some() && self.file != FileId::at(path) {
            tracing::error!(
                "`{path}` was deleted or replaced: other programs do not see what this one writes; restart it"
            );
            self.file = None;
        }
    }

    fn version(&self) -> Result<i64, Fault> {
        let version = self.conn.first(sql::LEDGER_DATA_VERSION, [], |row| row.get(0))?;
        Ok(version.unwrap_or_default())
    }

    fn look(&mut self) -> Result<(), Fault> {
        let version = self.version()?;
        if version != self.version {
            // The version first: a commit after it is seen by the next look.
            self.look_at_counters()?;
            self.look_at_feed()?;
            self.version = version;
        }
        Ok(())
    }

    fn look_at_counters(&self) -> Result<(), Fault> {
        let signals = &self.shared.signals;
        let marks = self.conn.all(sql::QUEUE_MARKS, [], |row| {
            Ok((row.get::<_, String>(0)?, Marks { ready: row.get(1)?, beat: row.get(2)? }))
        })?;
        for (queue, marks) in marks {
            let place = rows::at("queue", &queue)("name");
            signals.note(&rows::word(queue.clone(), place)?, marks);
        }
        let head = self.conn.first(sql::EVENTS_HEAD, [], |row| row.get::<_, i64>(0))?.unwrap_or(0);
        signals.note_head(rows::count(head, rows::at("ledger", &1)("event_head"))?);
        Ok(())
    }

    fn look_at_feed(&mut self) -> Result<(), Fault> {
        loop {
            let row = params![self.feed, &*self.shared.origin, FEED_ROWS];
            let events =
                self.conn.all(sql::FEED_READ, row, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
            let Some(&(last, _)) = events.last() else { return Ok(()) };
            for (id, text) in &events {
                match rows::json::<QueueEvent>(text, rows::at("queue_feed", id)("event")) {
                    Ok(event) => self.shared.signals.tell(event),
                    Err(error) => tracing::warn!(%error, "a queue event of another process is lost"),
                }
            }
            self.feed = last;
        }
    }

    /// Keeps the rows of watched queues alive, and takes those away that nobody watches any more.
    fn renew_watches(&self) {
        let watched = self.shared.signals.watched();
        if watched.kept.is_empty() && watched.gone.is_empty() {
            return;
        }
        self.writer.tell("renew watches", move |tx| {
            for queue in &watched.kept {
                tx.conn.run(sql::FEED_WATCH, params![&*tx.shared.origin, queue.as_str(), WATCH_LEASE_S])?;
            }
            // Asked again: somebody may have begun to watch it since.
            for queue in watched.gone.iter().filter(|queue| !tx.shared.signals.is_watched(queue)) {
                tx.conn.run(sql::FEED_UNWATCH, params![&*tx.shared.origin, queue.as_str()])?;
            }
            Ok(())
        });
    }
}
