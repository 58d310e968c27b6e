//! What the tests run on.

#![allow(dead_code, reason = "each test file uses a part of it")]

use millstream_servers::{Postgres, Version, postgres};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

/// Each server to test on.
pub(crate) fn servers() -> Vec<(Version, &'static Postgres)> {
    let server = |version| (version, Postgres::get(version).expect("a private server"));
    postgres::available().into_iter().map(server).collect()
}

/// A plain connection, and the task that drives it.
pub(crate) async fn connect(url: &str) -> (Client, JoinSet<()>) {
    let (client, wire) = tokio_postgres::connect(url, NoTls).await.expect("the test's server answers");
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(wire.await) });
    (client, driver)
}

/// pg-boss without its background work: what a test does not ask for does not happen.
pub(crate) fn quiet(url: &str) -> Value {
    json!({ "connectionString": url, "supervise": false, "schedule": false, "bamIntervalSeconds": 10 })
}

/// Every policy of a queue.
pub(crate) fn policies() -> impl Iterator<Item = &'static str> {
    ["standard", "short", "singleton", "stately", "exclusive", "key_strict_fifo"].into_iter()
}

/// A queue's name by its policy, and whether it has a table of its own.
pub(crate) fn queue(policy: &str, partition: bool) -> String {
    format!("{policy}{}", if partition { ".own" } else { "" })
}
