//! Watching a queue: events of this process right after their commit, those of others through the feed.

use millstream_core::{BoxStream, QueueEvent, QueueName, Result};
use rusqlite::params;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{
    fault::closed,
    signals::Interest,
    sql::{self, Run},
    store::SqliteStore,
    stream::{Step, unfold},
    tx::Tx,
    watcher::WATCH_LEASE_S,
};

/// What happens in the queue from now on.
pub(crate) async fn watch(store: &SqliteStore, queue: &QueueName) -> Result<BoxStream<QueueEvent>> {
    let signals = store.shared().signals.clone();
    let Some(events) = signals.watch(queue) else { return Err(closed()) };
    let watching = Watching { events, _interest: Interest::new(signals) };
    if store.shared().on_disk {
        // Committed before this call returns: every later transaction of any process sees that somebody watches.
        let name = queue.clone();
        let announce = move |tx: &mut Tx<'_>| {
            tx.conn.run(sql::FEED_WATCH, params![&*tx.shared.origin, name.as_str(), WATCH_LEASE_S])?;
            Ok(())
        };
        store.writer().call(format!("watch queue `{queue}`"), announce).await?;
    }
    Ok(unfold(watching, next))
}

struct Watching {
    events: Receiver<QueueEvent>,
    _interest: Interest,
}

fn next(mut watching: Watching) -> Step<QueueEvent, Watching> {
    Box::pin(async move {
        loop {
            match watching.events.recv().await {
                Ok(event) => return Some((event, watching)),
                // It was too slow; what is lost is lost.
                Err(RecvError::Lagged(lost)) => tracing::debug!(lost, "a watcher was too slow"),
                Err(RecvError::Closed) => return None,
            }
        }
    })
}
