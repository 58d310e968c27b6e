//! A connection of the harness's own, for what no store tells: WAL, CPU, and a quiet start.

use async_trait::async_trait;
use millstream_core::bench::{Gauge, Used, machine};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use crate::Failure;

pub(crate) struct Probe {
    client: Client,
    /// The postmaster, where the server runs on this machine.
    root: Option<u32>,
    _driver: JoinSet<()>,
}

impl Probe {
    pub(crate) async fn connect(url: &str) -> Result<Self, Failure> {
        let (client, wire) = tokio_postgres::connect(url, NoTls).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(wire.await) });
        let pid: i32 = client.query_one("select pg_backend_pid()", &[]).await?.get(0);
        // A pid of another machine may exist here too, but is not Postgres's.
        let is_postgres = |pid: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.starts_with("postgres")
        };
        let root = u32::try_from(pid).ok().filter(is_postgres).and_then(machine::parent);
        Ok(Self { client, root, _driver: driver })
    }

    pub(crate) async fn run(&self, sql: &str) -> Result<(), Failure> {
        Ok(self.client.batch_execute(sql).await?)
    }

    /// Which server it is.
    pub(crate) async fn version(&self) -> Result<String, Failure> {
        Ok(self.client.query_one("select current_setting('server_version')", &[]).await?.get(0))
    }
}

#[async_trait]
impl Gauge for Probe {
    async fn settle(&self) -> Result<(), Failure> {
        self.run("vacuum analyze").await?;
        self.run("checkpoint").await
    }

    async fn used(&self) -> Result<Used, Failure> {
        let sql = "select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8";
        let wal_bytes = self.client.query_one(sql, &[]).await?.get(0);
        Ok(Used { wal_bytes, cpu_s: self.root.map(machine::tree_cpu) })
    }

    async fn transactions(&self) -> Result<i64, Failure> {
        let sql = "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()";
        Ok(self.client.query_one(sql, &[]).await?.get(0))
    }
}
