//! Queue events for people and pages, of every process.
//!
//! While somebody watches, a row says so, and every move writes what happened into the feed right after its commit.
//! Nobody watching costs each move one look at an empty table.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use millstream_core::{BoxStream, QueueEvent, QueueName, Result};
use tokio::sync::broadcast::error::RecvError;
use tokio_postgres::Row;

use crate::{
    fault::{Fault, closed},
    shared::{Shared, lock},
    sql::{On, Sql},
    stream,
};

/// How long a watcher's row is believed, and how often it is written anew.
const WATCH_SECS: i64 = 30;
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Rows behind the last one read that are looked at again: who got its number earlier may commit later.
const OVERLAP: i64 = 200;
const READ_ROWS: i64 = 1_000;

/// What happens in the queue, from when this call returned.
pub(crate) async fn watch(shared: &Arc<Shared>, queue: &QueueName) -> Result<BoxStream<QueueEvent>> {
    if shared.closing.is_cancelled() {
        return Err(closed());
    }
    let mut receiver = shared.signals.watch(queue);
    let rows = shared.call(format!("watch queue `{queue}`"), Sql::FeedWatch, &[&shared.origin, &WATCH_SECS]).await?;
    let last: i64 = rows.first().map_or(0, |row| row.get("last"));
    lock(&shared.feed_from).get_or_insert(last);
    shared.signals.feed.send_modify(|epoch| *epoch += 1);
    let closing = shared.closing.clone();
    Ok(stream::spawned(shared.connector.home(), millstream_core::limits::WATCH_BUFFER, async move |sender| {
        loop {
            let event = tokio::select! {
                biased;
                () = closing.cancelled() => return,
                event = receiver.recv() => event,
            };
            match event {
                // Not awaited: a slow watcher loses events, it does not hold up others.
                Ok(event) => match sender.try_send(event) {
                    Err(tokio::sync::mpsc::error::TrySendError::Closed(_)) => return,
                    Ok(()) | Err(tokio::sync::mpsc::error::TrySendError::Full(_)) => {}
                },
                Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "a slow watcher lost queue events"),
                Err(RecvError::Closed) => return,
            }
        }
    }))
}

/// Brings other processes' events to the watchers of this one, for as long as there are some.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut feed = shared.signals.feed.subscribe();
    loop {
        if feed.changed().await.is_err() {
            return;
        }
        let Some(from) = *lock(&shared.feed_from) else { continue };
        let mut reader = Reader { last: from, seen: BTreeSet::new() };
        let mut renew = tokio::time::interval(RENEW_EVERY);
        renew.tick().await;
        while shared.signals.is_watching() {
            feed.borrow_and_update();
            if let Err(fault) = reader.read(&shared).await {
                tracing::debug!(error = %fault.told("read the feed"), "looked at again later");
            }
            tokio::select! {
                _ = feed.changed() => {}
                () = tokio::time::sleep(shared.poll()) => {}
                _ = renew.tick() => {
                    let renewed = shared.call("renew a watch", Sql::FeedWatch, &[&shared.origin, &WATCH_SECS]).await;
                    if let Err(error) = renewed {
                        tracing::debug!(%error, "renewed later");
                    }
                }
            }
        }
        *lock(&shared.feed_from) = None;
        // Left alone, the row runs out by itself.
        let _ = shared.call("end a watch", Sql::FeedUnwatch, &[&shared.origin]).await;
    }
}

struct Reader {
    last: i64,
    /// Rows within the overlap that were told.
    seen: BTreeSet<i64>,
}

impl Reader {
    async fn read(&mut self, shared: &Shared) -> Result<(), Fault> {
        let rows: Vec<Row> = {
            let conn = shared.conn().await?;
            let from = self.floor();
            shared.run(On::Conn(&conn), Sql::FeedRead, &[&from, &shared.origin, &READ_ROWS, &shared.layout]).await?
        };
        for row in &rows {
            let id: i64 = row.get("id");
            if self.seen.insert(id) {
                match serde_json::from_str(row.get("event")) {
                    Ok(event) => shared.signals.tell(event),
                    Err(error) => tracing::warn!(%error, row = id, "a queue event cannot be read"),
                }
            }
            self.last = self.last.max(id);
        }
        let floor = self.floor();
        self.seen.retain(|id| *id > floor);
        Ok(())
    }

    /// Nothing from before the watch began: until rows were told, there is no overlap.
    fn floor(&self) -> i64 {
        match self.seen.first() {
            Some(first) => (self.last - OVERLAP).max(first - 1),
            None => self.last,
        }
    }
}
