//! Events: the seam's methods, each in the module of its noun.

pub(crate) mod append;
pub(crate) mod partitions;
pub(crate) mod query;
pub(crate) mod retention;
pub(crate) mod sequencer;
pub(crate) mod subscribe;

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::{
    Append, Appended, BoxStream, Event, EventQuery, EventStore, GroupStore, Pattern, Result, Retention, RetentionInfo,
    StartFrom,
};

use crate::{groups::Groups, store::PostgresStore};

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

    async fn retention(&self) -> Result<RetentionInfo> {
        retention::look(self.shared()).await
    }

    async fn set_retention(&self, retention: Option<&Retention>) -> Result<()> {
        retention::set(self.shared(), retention).await
    }

    async fn expire_events(&self) -> Result<u64> {
        retention::expire(self.shared()).await
    }

    fn groups(&self) -> Result<Arc<dyn GroupStore>> {
        Ok(Groups::of(Arc::new(self.clone()), self.shared().clone()))
    }
}
