//! A log that a check is run on: ours, or the original design.

use std::time::Duration;

use millstream_core::{
    Append, BoxStream, Event, EventQuery, EventStore, NewEvent, Pattern, Result, StartFrom, Store, StoreOptions,
    StreamName,
};
use millstream_postgres::{PostgresOptions, PostgresStore};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::world;

/// How long what must come may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How often a subscriber of these tests looks by itself.
pub(crate) const POLL: Duration = Duration::from_millis(20);
/// For who must be woken: the test is over before it looks by itself.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

/// What checks need of a log. An event is known by its mark, which is its type.
pub(crate) trait Log: Sync {
    type Reader: Reader;

    /// The statement that appends one event in the transaction of whoever runs it.
    fn append(&self, stream: &str, mark: &str) -> String;
    /// Subscribes to everything, from the beginning.
    async fn reader(&self) -> Self::Reader;
}

/// A subscription.
pub(crate) trait Reader: Send {
    /// Reads until a mark; answers everything since the last call, or what came within patience.
    fn until(&mut self, mark: &str) -> impl Future<Output = Vec<String>> + Send;
}

/// Millstream's log in a schema of its own.
pub(crate) struct Ours {
    pub(crate) store: PostgresStore,
    pub(crate) schema: &'static str,
    pub(crate) client: Client,
    url: String,
    _driver: JoinSet<()>,
}

impl Ours {
    pub(crate) async fn open(url: &str, schema: &'static str) -> Self {
        let store = connect(url, schema, POLL).await;
        let (client, driver) = world::connect(url).await;
        Self { store, schema, client, url: url.to_owned(), _driver: driver }
    }

    /// Another process.
    pub(crate) async fn another(&self) -> PostgresStore {
        connect(&self.url, self.schema, POLL).await
    }

    /// Runs a statement of the test.
    pub(crate) async fn run(&self, text: &str) {
        run(&self.client, &self.fill(text)).await;
    }

    /// Keeps what is committed from here on in the inbox, until `release_sequencer`. By the store's own lock, whose name
    /// has the schema's in quotes.
    pub(crate) async fn hold_sequencer(&self) {
        self.run("select pg_advisory_lock(hashtext('\"{schema}\".sequencer'), 0)").await;
        let (other, _driver) = world::connect(&self.url).await;
        let pass = self.fill("select moved from {schema}.sequence_events(1, 0, false, false)");
        assert_eq!(ask(&other, &pass).await, -1, "it is held");
    }

    pub(crate) async fn release_sequencer(&self) {
        self.run("select pg_advisory_unlock(hashtext('\"{schema}\".sequencer'), 0)").await;
    }

    /// One number.
    pub(crate) async fn ask(&self, text: &str) -> i64 {
        ask(&self.client, &self.fill(text)).await
    }

    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace("{schema}", self.schema)
    }

    /// The whole log.
    pub(crate) async fn log(&self) -> Vec<Event> {
        let mut query = EventQuery { limit: 1_000, ..EventQuery::of(Pattern::All) };
        let mut log: Vec<Event> = Vec::new();
        loop {
            let page = self.store.query(&query).await.unwrap();
            let Some(last) = page.last() else { return log };
            query.after = Some(last.id);
            log.extend(page);
        }
    }

    pub(crate) async fn marks(&self) -> Vec<String> {
        self.log().await.iter().map(|event| event.kind.to_string()).collect()
    }

    /// Ends the test's store.
    pub(crate) async fn close(self) {
        self.store.close().await.unwrap();
    }
}

impl Log for Ours {
    type Reader = Follower;

    fn append(&self, stream: &str, mark: &str) -> String {
        format!("select * from {}.append('{stream}', '[{{\"type\": \"{mark}\"}}]')", self.schema)
    }

    async fn reader(&self) -> Follower {
        follow(&self.store, StartFrom::Start).await
    }
}

/// A subscription of ours.
pub(crate) struct Follower {
    stream: BoxStream<Result<Event>>,
}

impl Follower {
    /// The next event, which must come.
    pub(crate) async fn next(&mut self) -> Result<Event> {
        let next = std::future::poll_fn(|cx| self.stream.as_mut().poll_next(cx));
        tokio::time::timeout(PATIENCE, next).await.expect("an event comes").expect("the subscription goes on")
    }
}

impl Reader for Follower {
    async fn until(&mut self, mark: &str) -> Vec<String> {
        let mut marks: Vec<String> = Vec::new();
        let reading = async {
            while marks.last().is_none_or(|last| last != mark) {
                marks.push(self.next().await.unwrap().kind.to_string());
            }
        };
        // What is missing is seen by the check that compares.
        let _ = tokio::time::timeout(PATIENCE, reading).await;
        marks
    }
}

pub(crate) async fn follow(store: &PostgresStore, from: StartFrom) -> Follower {
    Follower { stream: store.subscribe(&Pattern::All, from).await.unwrap() }
}

pub(crate) async fn connect(url: &str, schema: &str, poll: Duration) -> PostgresStore {
    let options = PostgresOptions::new(url).schema(schema);
    PostgresStore::connect(options, StoreOptions { poll, ..StoreOptions::default() }).await.unwrap()
}

pub(crate) fn event(stream: &str, mark: &str) -> Append {
    Append::one(StreamName::new(stream).unwrap(), NewEvent::new(mark, Value::Null))
}

/// Statements, of which the last may answer rows.
pub(crate) async fn run(client: &Client, text: &str) {
    if let Err(error) = client.batch_execute(text).await {
        panic!("{text}: {error:?}");
    }
}

/// One number.
pub(crate) async fn ask(client: &Client, text: &str) -> i64 {
    match client.query_one(text, &[]).await {
        Ok(row) => row.get(0),
        Err(error) => panic!("{text}: {error:?}"),
    }
}

/// Asks until the answer is above zero.
pub(crate) async fn until(client: &Client, text: &str) {
    let asking = async {
        while ask(client, text).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("in vain: {text}"));
}
