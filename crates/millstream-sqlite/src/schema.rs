//! The schema and its versions: a file says which it has, and this build brings an older one up to its own.
//!
//! The version is SQLite's `user_version`; the file says that it is ours by its `application_id`. Migrations run in
//! one transaction under the write lock, so any number of processes may open a new file at once.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use millstream_core::{Clock, Entropy, Error, Result, SystemClock, SystemEntropy};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::fault::{Fault, KIND};

/// Marks a file as ours: `Mill` in ASCII.
const APPLICATION_ID: i64 = 0x4d69_6c6c;

/// Every migration, oldest first; the last one's number is the version this build works with.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "0001_begin", sql: include_str!("../migrations/0001_begin.sql") },
    Migration { version: 2, name: "0002_groups", sql: include_str!("../migrations/0002_groups.sql") },
    Migration { version: 3, name: "0003_retention", sql: include_str!("../migrations/0003_retention.sql") },
];

/// Statements kept prepared per connection: more than there are.
const STATEMENTS_CACHED: usize = 128;
/// Pages that a busy writer's log may grow to before it is copied into the file: 16 MiB, four times SQLite's own
/// bound, because each copy costs two fsyncs.
const CHECKPOINT_PAGES: u32 = 4_000;

/// How long opening waits for other processes: as long as a write does.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries of it.
const OPEN_PAUSE: Duration = Duration::from_millis(5);

struct Migration {
    version: u32,
    name: &'static str,
    sql: &'static str,
}

/// Which schema a file has, and which this build works with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaStatus {
    /// The file's version; `None`: there is no schema yet (or no file).
    pub found: Option<u32>,
    /// This build's version.
    pub supported: u32,
    /// Names of the migrations between them, oldest first.
    pub pending: Vec<&'static str>,
}

impl SchemaStatus {
    fn of(found: Option<u32>) -> Self {
        let pending = pending(found).map(|migration| migration.name).collect();
        Self { found, supported: supported(), pending }
    }

    /// Whether there is nothing to do.
    pub fn is_current(&self) -> bool {
        self.found == Some(self.supported)
    }

    /// The SQL of the pending migrations, as [`up`] would run it.
    pub fn pending_sql(&self) -> String {
        pending(self.found).map(|migration| format!("-- {}\n{}", migration.name, migration.sql)).collect()
    }
}

/// Which schema a file has. Changes nothing; a file that does not exist has none. Blocks: it reads the file.
///
/// ```
/// let status = millstream_sqlite::schema::status("/nowhere/jobs.db")?;
/// assert_eq!(status.found, None);
/// assert!(status.pending_sql().contains("CREATE TABLE job"));
/// # Ok::<(), millstream_core::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Config`] for a file that is not ours or cannot be read.
pub fn status(path: impl AsRef<Path>) -> Result<SchemaStatus> {
    let path = path.as_ref();
    if !path.exists() {
        return Ok(SchemaStatus::of(None));
    }
    check_path(path)?;
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    Ok(SchemaStatus::of(found(&conn, path)?))
}

/// Creates the file if there is none, and brings its schema up to this build's. Blocks: it writes the file.
///
/// # Errors
///
/// [`Error::Config`] for a file that is not ours or cannot be used, [`Error::Schema`] for one that is newer.
pub fn up(path: impl AsRef<Path>) -> Result<SchemaStatus> {
    let conn = open_file(path.as_ref())?;
    migrate(&conn, path.as_ref(), &store_id(&SystemClock::new()))?;
    Ok(SchemaStatus::of(Some(supported())))
}

/// The version this build works with.
fn supported() -> u32 {
    MIGRATIONS.last().map_or(0, |migration| migration.version)
}

fn pending(found: Option<u32>) -> impl Iterator<Item = &'static Migration> {
    MIGRATIONS.iter().filter(move |migration| migration.version > found.unwrap_or(0))
}

/// A name for a new file. Never from seeded entropy: two files of one seed would pass for one realm, and whoever joins
/// realms would trust one commit to reach both.
pub(crate) fn store_id(clock: &dyn Clock) -> String {
    SystemEntropy::new().uuid(clock.now()).to_string()
}

/// A connection for writing, on a file that may be new.
pub(crate) fn open_file(path: &Path) -> Result<Connection> {
    check_path(path)?;
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    let writable = conn.is_readonly(rusqlite::MAIN_DB).map(|readonly| !readonly);
    if !writable.map_err(|error| told(path, error.into()))? {
        return Err(Error::Config(format!("`{}` cannot be written: check its permissions", path.display())));
    }
    // Asked before anything is changed: WAL is a property of the file, and this one may be somebody else's.
    found(&conn, path)?;
    let switch = || Ok(conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?);
    let mode = patiently(switch).map_err(|fault| told(path, fault))?;
    if !mode.eq_ignore_ascii_case("wal") {
        let path = path.display();
        return Err(Error::Config(format!(
            "`{path}` cannot use a write-ahead log (it uses `{mode}`): is it on a network drive?"
        )));
    }
    Ok(conn)
}

/// A connection to no file.
pub(crate) fn open_memory() -> Result<Connection> {
    let mut conn = Connection::open_in_memory().map_err(|error| told(Path::new(":memory:"), error.into()))?;
    configure(&mut conn).map_err(|error| told(Path::new(":memory:"), error.into()))?;
    Ok(conn)
}

/// Brings the schema up to this build's; `store` names the file if it is new.
pub(crate) fn migrate(conn: &Connection, path: &Path, store: &str) -> Result<()> {
    if found(conn, path)? == Some(supported()) {
        return Ok(());
    }
    let migrate = || -> Result<(), Fault> {
        patiently(|| Ok(conn.execute_batch("BEGIN IMMEDIATE")?))?;
        // Again, under the lock: another process may have been faster.
        let from = found(conn, path)?;
        for migration in pending(from) {
            tracing::info!(migration = migration.name, "migrating the schema");
            conn.execute_batch(migration.sql)?;
            conn.pragma_update(None, "user_version", migration.version)?;
        }
        if from.is_none() {
            conn.execute("INSERT INTO ledger (id, store) VALUES (1, ?1)", [store])?;
            conn.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        Ok(conn.execute_batch("COMMIT")?)
    };
    migrate().map_err(|fault| {
        if !conn.is_autocommit()
            && let Err(error) = conn.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "failed to roll back a migration");
        }
        told(path, fault)
    })
}

/// The file's version; `None` for a new file.
fn found(conn: &Connection, path: &Path) -> Result<Option<u32>> {
    let ask = || -> Result<(i64, i64, i64), Fault> {
        // One snapshot: between two statements, another process may create the schema. A savepoint, because the
        // migration asks inside its transaction.
        conn.execute_batch("SAVEPOINT look")?;
        let tables = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0));
        let application = conn.pragma_query_value(None, "application_id", |row| row.get(0));
        let version = conn.pragma_query_value(None, "user_version", |row| row.get(0));
        conn.execute_batch("RELEASE look")?;
        Ok((application?, version?, tables?))
    };
    match patiently(ask).map_err(|fault| told(path, fault))? {
        (0, 0, 0) => Ok(None),
        (APPLICATION_ID, version, _) => match u32::try_from(version) {
            Ok(version) if version <= supported() => Ok(Some(version)),
            _ => Err(newer(version)),
        },
        _ => Err(Error::Config(format!(
            "`{}` is another program's SQLite database: name a file of its own",
            path.display()
        ))),
    }
}

fn newer(version: i64) -> Error {
    Error::Schema {
        store: KIND,
        found: version.to_string(),
        expected: format!("{} or older", supported()),
        hint: "a newer millstream wrote this file: upgrade this program".into(),
    }
}

/// Tries again while another process is in the way. SQLite waits by itself for most locks, but not where two processes
/// switch a new file to its write-ahead log at once.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
    let clock = SystemClock::new();
    loop {
        match attempt() {
            Err(fault) if fault.is_busy() && clock.monotonic() < OPEN_PATIENCE => std::thread::park_timeout(OPEN_PAUSE),
            done => return done,
        }
    }
}

/// What SQLite itself would only call "unable to open database file".
fn check_path(path: &Path) -> Result<()> {
    let refused = |why: &str| Err(Error::Config(format!("`{}` {why}", path.display())));
    // SQLite gives these a meaning: a database per connection, where ours must share one.
    if path.as_os_str().is_empty() || path == Path::new(":memory:") {
        return refused("is not a file: a store in memory is opened as such");
    }
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => refused("is a directory: name a file"),
        // Opening a pipe would wait for whoever writes into it.
        Ok(found) if !found.is_file() => refused("is a pipe, a socket or a device: name a file"),
        Ok(_) => match std::fs::File::open(path) {
            Ok(_) => Ok(()),
            Err(error) => refused(&format!("cannot be read: {error}")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = parent(path);
            match parent.is_dir() {
                true => Ok(()),
                false => refused(&format!("cannot be created: there is no directory `{}`", parent.display())),
            }
        }
        Err(error) => refused(&format!("cannot be read: {error}")),
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A connection with the settings that every one of ours has.
pub(crate) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    // No mutex: a connection belongs to one thread at a time. No URI: a path is a path.
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags).map_err(|error| told(path, error.into()))?;
    configure(&mut conn).map_err(|error| told(path, error.into()))?;
    Ok(conn)
}

fn configure(conn: &mut Connection) -> rusqlite::Result<()> {
    conn.busy_handler(Some(wait_for_lock))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // An acknowledged write survives a power cut.
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cache_size", -16_000)?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    conn.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)
}

/// Tries of one statement to get the lock: a millisecond apart at first, ten at last, a second in all. SQLite's own
/// handler ends at a tenth of a second between tries, which loses every race against a process that polls faster.
fn wait_for_lock(tries: i32) -> bool {
    let millis = u64::try_from(tries).unwrap_or(0).clamp(1, 10);
    std::thread::park_timeout(Duration::from_millis(millis));
    tries < 100
}

/// Tries of a beat: half a millisecond apart, a second in all. A process that writes without pause leaves the lock free
/// for a fraction of a millisecond at a time, and who polls more often finds it sooner.
pub(crate) fn wait_for_lock_hurried(tries: i32) -> bool {
    std::thread::park_timeout(Duration::from_micros(500));
    tries < 2_000
}

/// Names the file in what went wrong with it.
fn told(path: &Path, fault: Fault) -> Error {
    let path = path.display();
    match &fault {
        Fault::Sql(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            Error::Config(format!("`{path}` is not a SQLite database"))
        }
        Fault::Sql(error) if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {
            Error::Config(format!("`{path}` cannot be opened: {error}"))
        }
        _ => fault.told(&format!("open `{path}`")),
    }
}
