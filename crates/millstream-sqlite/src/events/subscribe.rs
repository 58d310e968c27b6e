//! Following the log: backfill and live are one loop, so there is nothing to hand over between them.
//!
//! The loop reads what lies between its cursor and the head, delivers it, and moves the cursor to the last event it
//! read, or to the head where no more matched: so a rare pattern reads no event twice. When there is nothing, it waits
//! for a signal, or for the poll that makes up for a lost one. It lives inside the stream: no task of its own.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use millstream_core::{
    BoxStream, Direction, Error, Event, Pattern, Result, Signals as Wakes, StartFrom, limits::SUBSCRIBE_BUFFER,
};
use rusqlite::Connection;
use tokio::sync::watch;

use super::query::{self, Extent, Range};
use crate::{
    fault::{Fault, closed},
    signals::{Interest, LogSignal},
    store::{SqliteStore, WeakStore},
    stream::{Step, unfold},
};

/// Follows a pattern from a position on. An impossible position is refused here; what goes wrong later is the
/// stream's last item. The stream ends when the store is closed.
pub(crate) async fn subscribe(
    store: &SqliteStore,
    pattern: Pattern,
    from: StartFrom,
) -> Result<BoxStream<Result<Event>>> {
    // Registered before looking at the log: what is appended from here on wakes the stream.
    let signals = store.shared().signals.clone();
    let (log, interest) = (signals.log(), Interest::new(signals));
    let cursor = store.reader().call("subscribe", move |conn| start(conn, from)).await?;
    let options = &store.shared().options;
    let following = Following {
        store: store.downgrade(),
        pattern: Arc::new(pattern),
        cursor,
        buffer: VecDeque::new(),
        log,
        _interest: interest,
        muted: options.signals == Wakes::Muted,
        poll: options.poll,
        over: false,
    };
    Ok(unfold(following, next))
}

/// The position after which to read.
fn start(conn: &Connection, from: StartFrom) -> Result<u64, Fault> {
    start_at(conn, query::extent(conn)?, from)
}

/// As [`start`] where the log's last position is known better than its row.
pub(crate) fn start_within(conn: &Connection, head: u64, from: StartFrom) -> Result<u64, Fault> {
    let first = query::extent(conn)?.first;
    start_at(conn, Extent { first, head }, from)
}

fn start_at(conn: &Connection, extent: Extent, from: StartFrom) -> Result<u64, Fault> {
    Ok(match from {
        StartFrom::Start => extent.first - 1,
        StartFrom::Now => extent.head,
        StartFrom::Time(time) => query::before_time(conn, extent, time)?,
        StartFrom::After(position) => {
            check(position, extent)?;
            position
        }
    })
}

/// Refuses a position whose next event is gone, or was never there.
pub(crate) fn check(position: u64, Extent { first, head }: Extent) -> Result<()> {
    if position > head {
        return Err(Error::LogWentBack { requested: position, head });
    }
    if position.saturating_add(1) < first {
        return Err(Error::Truncated { requested: position, first });
    }
    Ok(())
}

struct Following {
    /// Weak: a stream that nobody reads must not keep the store open.
    store: WeakStore,
    pattern: Arc<Pattern>,
    /// Everything up to here was delivered, lies in the buffer, or does not match.
    cursor: u64,
    buffer: VecDeque<Event>,
    log: watch::Receiver<LogSignal>,
    _interest: Interest,
    muted: bool,
    poll: Duration,
    /// An error was delivered.
    over: bool,
}

fn next(mut following: Following) -> Step<Result<Event>, Following> {
    Box::pin(async move {
        loop {
            if let Some(event) = following.buffer.pop_front() {
                return Some((Ok(event), following));
            }
            // Seen before reading: an append after it wakes the wait below.
            if following.over || following.log.borrow_and_update().closed {
                return None;
            }
            match following.fill().await {
                Ok(true) => {}
                Ok(false) => following.wait().await,
                Err(Error::Closed { .. }) => return None,
                Err(error) => {
                    following.over = true;
                    return Some((Err(error), following));
                }
            }
        }
    })
}

impl Following {
    /// Reads on; false: there is nothing for now.
    async fn fill(&mut self) -> Result<bool> {
        let Some(store) = self.store.upgrade() else { return Err(closed()) };
        let (pattern, cursor) = (self.pattern.clone(), self.cursor);
        let (events, cursor) = store.reader().call("read events", move |conn| read_on(conn, &pattern, cursor)).await?;
        self.cursor = cursor;
        self.buffer.extend(events);
        Ok(!self.buffer.is_empty())
    }

    /// Until there may be more: a signal, or the poll that makes up for a lost one.
    async fn wait(&mut self) {
        let signal = async {
            match self.muted {
                // Closing is no hint: it is heard even so.
                true => self.log.wait_for(|log| log.closed).await.map(|_| ()),
                false => self.log.changed().await,
            }
        };
        tokio::select! {
            _ = signal => {}
            () = tokio::time::sleep(self.poll) => {}
        }
    }
}

/// The next events after `cursor`, and the cursor after them.
fn read_on(conn: &Connection, pattern: &Pattern, cursor: u64) -> Result<(Vec<Event>, u64), Fault> {
    let extent = query::extent(conn)?;
    check(cursor, extent)?;
    if cursor == extent.head {
        return Ok((Vec::new(), cursor));
    }
    let limit = SUBSCRIBE_BUFFER as u32;
    let (after, up_to, direction) = (cursor, extent.head, Direction::Forward);
    let events = query::read(conn, &Range { pattern, kinds: None, after, up_to, limit, direction })?;
    let cursor = match events.last() {
        Some(last) if events.len() == SUBSCRIBE_BUFFER => last.id,
        _ => extent.head,
    };
    Ok((events, cursor))
}
