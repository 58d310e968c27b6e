//! The event log: appended under the write lock, so positions are dense and in the order of commits.

pub(crate) mod append;
mod query;
pub(crate) mod retention;
mod subscribe;

use std::sync::Arc;

pub(crate) use query::{Range, extent, rows};
pub(crate) use subscribe::{check, start_within};

use async_trait::async_trait;
use millstream_core::{
    Append, Appended, BoxStream, Error, Event, EventQuery, EventStore, GroupStore, Pattern, Result, Retention,
    RetentionInfo, StartFrom, limits::APPEND_BATCH_MAX,
};

use crate::{fault::Fault, store::SqliteStore};

#[async_trait]
impl EventStore for SqliteStore {
    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>> {
        let events: usize = batch.iter().map(|append| append.events.len()).sum();
        if events > APPEND_BATCH_MAX {
            return Err(Error::invalid(
                "append batch",
                format!("{events} events"),
                format!("at most {APPEND_BATCH_MAX}"),
            ));
        }
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        for (index, append) in batch.iter().enumerate() {
            append.check().map_err(|error| error.at(format_args!("append[{index}]")))?;
        }
        let batch = batch.to_vec();
        let append_all = move |tx: &mut crate::tx::Tx<'_>| {
            let appends = batch.iter().enumerate();
            appends
                .map(|(index, append)| append::append(tx, append).map_err(|fault| fault.at("append", index)))
                .collect()
        };
        self.writer().call("append events", append_all).await
    }

    async fn query(&self, query: &EventQuery) -> Result<Vec<Event>> {
        let query = query.clone();
        self.reader().call("read events", move |conn| query::query(conn, &query)).await
    }

    async fn subscribe(&self, pattern: &Pattern, from: StartFrom) -> Result<BoxStream<Result<Event>>> {
        subscribe::subscribe(self, pattern.clone(), from).await
    }

    fn groups(&self) -> Result<Arc<dyn GroupStore>> {
        Ok(Arc::new(self.clone()))
    }

    async fn retention(&self) -> Result<RetentionInfo> {
        retention::look(self).await
    }

    async fn set_retention(&self, retention: Option<&Retention>) -> Result<()> {
        retention::set(self, retention).await
    }

    async fn expire_events(&self) -> Result<u64> {
        retention::expire(self).await
    }

    async fn head(&self) -> Result<u64> {
        self.reader().call("read the log's head", |conn| Ok::<_, Fault>(query::extent(conn)?.head)).await
    }
}
