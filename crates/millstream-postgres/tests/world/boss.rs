//! A store on pg-boss's tables, on each server, and a look behind it.

use millstream_core::{QueueName, Store as _, StoreOptions};
use millstream_postgres::{
    PostgresOptions,
    pgboss::{PgBossOptions, PgBossStore},
};
use millstream_servers::{Database, Version};
use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::world;

/// A store on a database of its own.
pub(crate) struct World {
    pub(crate) store: PgBossStore,
    pub(crate) client: Client,
    pub(crate) version: Version,
    pub(crate) url: String,
    pub(crate) _driver: JoinSet<()>,
    pub(crate) _database: Database,
}

pub(crate) async fn worlds() -> Vec<World> {
    let mut worlds = Vec::new();
    for (version, database) in world::databases() {
        let url = database.url();
        let store = open(&url).await;
        let (client, driver) = world::connect(&url).await;
        worlds.push(World { store, client, version, url, _driver: driver, _database: database });
    }
    worlds
}

pub(crate) async fn open(url: &str) -> PgBossStore {
    PgBossStore::connect(options(url), StoreOptions::default()).await.expect("the store opens")
}

pub(crate) fn options(url: &str) -> PgBossOptions {
    // What takes turns by itself would take them from the tests.
    PgBossOptions { supervise: false, postgres: PostgresOptions::new(url), ..PgBossOptions::new("") }
}

pub(crate) fn q() -> QueueName {
    QueueName::new("q").unwrap()
}

impl World {
    pub(crate) async fn run(&self, text: &str) {
        self.client.batch_execute(text).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
    }

    pub(crate) async fn close(self) {
        self.store.close().await.unwrap();
    }
}
