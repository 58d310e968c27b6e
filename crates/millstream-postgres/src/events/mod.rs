//! Events: the seam's methods, each in the module of its noun.

pub(crate) mod append;
pub(crate) mod partitions;
mod query;
pub(crate) mod sequencer;
mod subscribe;

use async_trait::async_trait;
use millstream_core::{Append, Appended, BoxStream, Event, EventQuery, EventStore, Pattern, Result, StartFrom};

use crate::store::PostgresStore;

#[async_trait]
impl EventStore for PostgresStore {
    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>> {
        append::append(self.shared(), batch).await
    }

    async fn query(&self, query: &EventQuery) -> Result<Vec<Event>> {
        query::query(self.shared(), query).await
    }

    async fn subscribe(&self, pattern: &Pattern, from: StartFrom) -> Result<BoxStream<Result<Event>>> {
        subscribe::subscribe(self.shared(), pattern, from).await
    }

    async fn head(&self) -> Result<u64> {
        query::head(self.shared()).await
    }
}
