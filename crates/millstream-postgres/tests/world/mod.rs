//! What the tests run on.

use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

/// The servers to test on, by version. `MILLSTREAM_TEST_POSTGRES` names running ones: `15=postgres://…,18=postgres://…`.
pub fn servers() -> Vec<(String, String)> {
    let named = std::env::var("MILLSTREAM_TEST_POSTGRES").unwrap_or_default();
    let read = |one: &str| one.split_once('=').map(|(version, url)| (version.to_owned(), url.to_owned()));
    named.split(',').filter_map(read).collect()
}

/// A plain connection, and the task that drives it.
pub async fn connect(url: &str) -> (Client, JoinSet<()>) {
    let (client, wire) = tokio_postgres::connect(url, NoTls).await.expect("the test's server answers");
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(wire.await) });
    (client, driver)
}
