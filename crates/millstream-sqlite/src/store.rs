//! The store: one object for queue, events and run state, over a few threads.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use async_trait::async_trait;
use millstream_core::{Capabilities, Error, Realm, Result, Signals as Wakes, Store, StoreOptions};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use crate::{
    fault::{KIND, closed},
    heart::Turnstile,
    reader::Reader,
    schema,
    shared::{Shared, Stats},
    signals::Signals,
    sql::{self, Run},
    watcher::Watcher,
    writer::{Lane, Writer},
};

/// Threads that read a file: a long listing does not hold up who follows the log.
const READERS: usize = 2;

/// Millstream's queue, events and run state in one SQLite file, or in memory.
///
/// A handle is cheap to clone. Any number of processes may open one file; a store in memory belongs to its handle.
/// Its threads end with [`close`](Store::close), or with the last handle.
///
/// ```
/// use millstream_core::{JobName, NewJob, QueueName, QueueProvider, StoreOptions};
/// use millstream_sqlite::SqliteStore;
/// use serde_json::json;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let store = SqliteStore::memory(StoreOptions::default())?;
/// let mail = QueueName::new("mail")?;
/// store.enqueue(&[NewJob::new(mail.clone(), JobName::new("welcome")?, json!({ "to": "ada" }))]).await?;
/// assert_eq!(store.counts(&mail).await?.waiting, 1);
/// # Ok::<(), millstream_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

/// A handle that does not keep the store open.
pub(crate) struct WeakStore(Weak<Inner>);

impl WeakStore {
    pub(crate) fn upgrade(&self) -> Option<SqliteStore> {
        self.0.upgrade().map(|inner| SqliteStore { inner })
    }
}

struct Inner {
    shared: Arc<Shared>,
    writer: Writer,
    /// The writer itself for a store in memory.
    heart: Writer,
    reader: Reader,
    /// Taken by the first `close`.
    threads: Mutex<Vec<JoinHandle<Connection>>>,
}

impl SqliteStore {
    /// Opens a file: creates it if there is none, and brings an older schema up to this build's.
    ///
    /// ```
    /// use millstream_core::{EventStore, StoreOptions};
    /// use millstream_sqlite::SqliteStore;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = SqliteStore::open(dir.path().join("jobs.db"), StoreOptions::default()).await?;
    /// assert_eq!(store.head().await?, 0);
    /// # Ok::<(), millstream_core::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a path that is no file of ours or cannot be used, [`Error::Schema`] for a file that a
    /// newer build wrote, [`Error::Invalid`] for a lease out of bounds.
    pub async fn open(path: impl AsRef<Path>, options: StoreOptions) -> Result<Arc<Self>> {
        let path = path.as_ref().to_owned();
        let (reply, opened) = oneshot::channel();
        // Opening waits for disks and locks, which is no work for an async runtime's thread.
        spawned(std::thread::Builder::new().name("millstream-sqlite-open".into()).spawn(move || {
            // Who stopped waiting does not want the store: it closes as it is dropped.
            let _ = reply.send(open(&path, options));
        }))?;
        opened.await.unwrap_or(Err(closed()))
    }

    /// A store in memory: everything works, nothing is kept.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the machine has no memory or threads to give, [`Error::Invalid`] for a lease out
    /// of bounds.
    pub fn memory(options: StoreOptions) -> Result<Arc<Self>> {
        options.check()?;
        let conn = schema::open_memory()?;
        let shared = shared(&conn, Path::new(":memory:"), options, false)?;
        let writer = Writer::new();
        let store = Self::stopped(shared, writer.clone(), Reader::Writer(writer.clone()), writer);
        let lane = Lane::Main(Turnstile::new());
        store.keep(writer_thread(&store.inner.writer, "millstream-sqlite", conn, &store, lane)?);
        Ok(Arc::new(store))
    }

    /// A store whose threads are still to be started; dropped early, it ends those that were.
    fn stopped(shared: Arc<Shared>, heart: Writer, reader: Reader, writer: Writer) -> Self {
        Self { inner: Arc::new(Inner { shared, writer, heart, reader, threads: Mutex::default() }) }
    }

    fn keep(&self, thread: JoinHandle<Connection>) {
        self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }

    /// Write transactions this handle has committed: what group commit saves.
    #[doc(hidden)]
    pub fn commits(&self) -> u64 {
        self.inner.shared.stats.commits.load(Ordering::Relaxed)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.inner.writer
    }

    pub(crate) fn heart(&self) -> &Writer {
        &self.inner.heart
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.inner.reader
    }

    pub(crate) fn downgrade(&self) -> WeakStore {
        WeakStore(Arc::downgrade(&self.inner))
    }
}

fn open(path: &Path, options: StoreOptions) -> Result<Arc<SqliteStore>> {
    options.check()?;
    let conn = schema::open_file(path)?;
    let shared = shared(&conn, path, options, true)?;
    let heart = heart_connection(path)?;
    let watching = schema::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;

    let store = SqliteStore::stopped(shared.clone(), Writer::new(), Reader::new(), Writer::new());
    let (turnstile, inner) = (Turnstile::new(), &store.inner);
    store.keep(writer_thread(&inner.writer, "millstream-sqlite", conn, &store, Lane::Main(turnstile.clone()))?);
    store.keep(writer_thread(&inner.heart, "millstream-sqlite-beat", heart, &store, Lane::Heart(turnstile))?);
    for _ in 0..READERS {
        let reading = schema::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        spawned(inner.reader.start(reading))?.into_iter().for_each(|thread| store.keep(thread));
    }
    let watcher = Watcher::new(watching, shared, inner.writer.clone());
    let watcher = watcher.map_err(|fault| fault.told("read the signal counters"))?;
    store.keep(spawned(watcher.spawn())?);
    Ok(Arc::new(store))
}

fn writer_thread(
    writer: &Writer,
    name: &str,
    conn: Connection,
    store: &SqliteStore,
    lane: Lane,
) -> Result<JoinHandle<Connection>> {
    spawned(writer.start(name, conn, store.inner.shared.clone(), lane))
}

/// A renewal that a power cut undoes is worth nothing: its holder was cut off with it. So beats need no fsync.
fn heart_connection(path: &Path) -> Result<Connection> {
    let mut conn = schema::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let set = conn.pragma_update(None, "synchronous", "NORMAL");
    let set = set.and_then(|()| conn.busy_handler(Some(schema::wait_for_lock_hurried)));
    set.map_err(|error| Error::unavailable(KIND, "open a connection for beats", error))?;
    Ok(conn)
}

fn shared(conn: &Connection, path: &Path, options: StoreOptions, on_disk: bool) -> Result<Arc<Shared>> {
    schema::migrate(conn, path, &schema::store_id(&*options.clock))?;
    crate::events::retention::check(&options.retention)?;
    let store = conn.first(sql::LEDGER_STORE, [], |row| row.get::<_, String>(0));
    let store = store.map_err(|fault| fault.told("read the store's name"))?.unwrap_or_default();
    let realm = Realm::new(format!("sqlite:{store}"));
    // Seeded entropy may be the same in two handles of a process: the count tells them apart.
    static HANDLES: AtomicU64 = AtomicU64::new(0);
    let handle = HANDLES.fetch_add(1, Ordering::Relaxed);
    let origin = format!("{}-{handle}-{:016x}", std::process::id(), options.entropy.next_u64()).into();
    let signals = Arc::new(Signals::new(options.signals == Wakes::Muted));
    Ok(Arc::new(Shared { options, realm, origin, on_disk, signals, stats: Stats::default() }))
}

fn spawned<T>(thread: std::io::Result<T>) -> Result<T> {
    thread.map_err(|error| Error::unavailable(KIND, "start a thread", error))
}

#[async_trait]
impl Store for SqliteStore {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn realm(&self) -> &Realm {
        &self.inner.shared.realm
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    async fn sweep(&self) -> Result<u64> {
        crate::queue::sweep::sweep(self).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.stop();
        let threads = std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if threads.is_empty() {
            return Ok(());
        }
        let (reply, joined) = oneshot::channel();
        // Joining blocks for as long as what was taken in takes to be written.
        spawned(std::thread::Builder::new().name("millstream-sqlite-close".into()).spawn(move || {
            let joined: Vec<_> = threads.into_iter().map(JoinHandle::join).collect();
            let panicked = joined.iter().filter(|joined| joined.is_err()).count();
            // One by one, and not as the threads end: SQLite takes the log into the file as the last connection
            // closes, and of two that close at once neither is the last.
            joined.into_iter().for_each(drop);
            let _ = reply.send(panicked);
        }))?;
        match joined.await {
            Ok(0) => Ok(()),
            _ => Err(Error::unavailable(KIND, "close", "a thread had panicked")),
        }
    }
}

impl Inner {
    /// Takes nothing more in, and lets the threads end.
    fn stop(&self) {
        self.shared.signals.close();
        self.reader.close();
        self.heart.close();
        self.writer.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Not joined: this may be an async runtime's thread. What was taken in is still written.
        self.stop();
    }
}
