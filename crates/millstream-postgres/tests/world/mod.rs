//! What the tests run on.

use millstream_servers::{Database, Postgres, Version, postgres};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

/// Each server to test on, with a database of this process.
pub(crate) fn databases() -> Vec<(Version, Database)> {
    let database = |version: Version| {
        let server = Postgres::get(version).expect("a private server");
        (version, server.create_database())
    };
    postgres::available().into_iter().map(database).collect()
}

/// A plain connection, and the task that drives it.
pub(crate) async fn connect(url: &str) -> (Client, JoinSet<()>) {
    let (client, wire) = tokio_postgres::connect(url, NoTls).await.expect("the test's server answers");
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(wire.await) });
    (client, driver)
}
