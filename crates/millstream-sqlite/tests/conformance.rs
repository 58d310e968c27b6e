//! The suite that every store passes, on a file and in memory.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use millstream_core::{
    Result, StoreOptions, Stores,
    conformance::{self, Backend, Harness},
};
use millstream_sqlite::SqliteStore;
use rusqlite::Connection;
use tempfile::TempDir;

struct File;
struct Memory;
struct Split;

/// A file of its own in a directory of its own, gone with it.
struct FileBackend {
    path: PathBuf,
    options: StoreOptions,
    first: Stores,
    /// Every other handle that was opened.
    others: Mutex<Vec<Stores>>,
    _directory: TempDir,
}

/// Stores that end with their handles.
struct MemoryBackend(Stores);

#[async_trait]
impl Harness for File {
    fn name(&self) -> &str {
        "sqlite-file"
    }

    fn truncates(&self) -> bool {
        true
    }

    async fn open(&self, options: StoreOptions) -> Result<Box<dyn Backend>> {
        let directory = tempfile::tempdir()
            .map_err(|error| millstream_core::Error::unavailable("sqlite", "make a directory for a test", error))?;
        let path = directory.path().join("jobs.db");
        let first = Stores::of(SqliteStore::open(&path, options.clone()).await?);
        Ok(Box::new(FileBackend { path, options, first, others: Mutex::default(), _directory: directory }))
    }
}

impl FileBackend {
    async fn close_all(&self) -> Result<()> {
        let others = std::mem::take(&mut *self.others.lock().unwrap_or_else(PoisonError::into_inner));
        for stores in others {
            stores.close().await?;
        }
        self.first.close().await
    }
}

#[async_trait]
impl Backend for FileBackend {
    fn stores(&self) -> Stores {
        self.first.clone()
    }

    async fn second(&self) -> Result<Stores> {
        let stores = Stores::of(SqliteStore::open(&self.path, self.options.clone()).await?);
        self.others.lock().unwrap_or_else(PoisonError::into_inner).push(stores.clone());
        Ok(stores)
    }

    async fn reopen(&self) -> Result<Stores> {
        self.close_all().await?;
        self.second().await
    }

    async fn truncate(&self, first: u64) -> Result<()> {
        let failed = |error| millstream_core::Error::unavailable("sqlite", "cut a test's log", error);
        let conn = Connection::open(&self.path).map_err(failed)?;
        conn.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
        conn.execute("DELETE FROM queue_events WHERE id < ?1", [i64::try_from(first).unwrap_or(i64::MAX)])
            .map_err(failed)?;
        Ok(())
    }

    async fn finish(&self) -> Result<()> {
        self.close_all().await
    }
}

#[async_trait]
impl Harness for Memory {
    fn name(&self) -> &str {
        "sqlite-memory"
    }

    fn durable(&self) -> bool {
        false
    }

    async fn open(&self, options: StoreOptions) -> Result<Box<dyn Backend>> {
        Ok(Box::new(MemoryBackend(Stores::of(SqliteStore::memory(options)?))))
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    fn stores(&self) -> Stores {
        self.0.clone()
    }

    async fn second(&self) -> Result<Stores> {
        Ok(self.0.clone())
    }

    async fn reopen(&self) -> Result<Stores> {
        Ok(self.0.clone())
    }

    async fn finish(&self) -> Result<()> {
        self.0.close().await
    }
}

/// Jobs in one store, events and state in another: what no commit reaches together, the split store joins.
#[async_trait]
impl Harness for Split {
    fn name(&self) -> &str {
        "sqlite-split"
    }

    fn one_realm(&self) -> bool {
        false
    }

    fn durable(&self) -> bool {
        false
    }

    async fn open(&self, options: StoreOptions) -> Result<Box<dyn Backend>> {
        let (queue, apart) = (SqliteStore::memory(options.clone())?, SqliteStore::memory(options)?);
        Ok(Box::new(MemoryBackend(Stores { queue, events: apart.clone(), state: apart })))
    }
}

fn main() -> ExitCode {
    conformance::run([Arc::new(File) as Arc<dyn Harness>, Arc::new(Memory), Arc::new(Split)])
}
