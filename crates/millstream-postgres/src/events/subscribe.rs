//! Backfill and live as one loop: read up to the head, deliver, wait. There is no handover, so there is no gap.

use std::{sync::Arc, time::Duration};

use millstream_core::{
    BoxStream, Direction, Error, Event, EventQuery, Pattern, Result, StartFrom, Timestamp, limits::SUBSCRIBE_BUFFER,
};
use tokio::sync::mpsc;
use tokio_postgres::Row;

use super::{query, sequencer};
use crate::{
    fault::{Fault, again},
    rows::{self, Time},
    shared::Shared,
    sql::{On, Sql},
    stream,
};

/// Events of one read.
const BATCH: u32 = SUBSCRIBE_BUFFER as u32;
/// The first wait before a store that could not be reached is asked again, and the longest; each doubles the last.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// Everything of a pattern from somewhere on, for as long as the stream is kept.
pub(crate) async fn subscribe(
    shared: &Arc<Shared>,
    pattern: &Pattern,
    from: StartFrom,
) -> Result<BoxStream<Result<Event>>> {
    let (cursor, log) = again!(format!("subscribe to `{pattern}`"), start(shared, from))?;
    let since = match from {
        StartFrom::Time(time) => Some(time),
        StartFrom::Start | StartFrom::After(_) | StartFrom::Now => None,
    };
    let follower = Follower { shared: shared.clone(), pattern: pattern.clone(), cursor, log, since };
    Ok(stream::spawned(shared.connector.home(), SUBSCRIBE_BUFFER, |sender| follower.run(sender)))
}

/// The position after which it begins, and which log that is in.
async fn start(shared: &Shared, from: StartFrom) -> Result<(u64, String), Fault> {
    let conn = shared.conn().await?;
    let on = On::Conn(&conn);
    query::flush(shared, on).await?;
    position(shared, on, from).await
}

/// The position after which to begin, and which log that is in. What is committed should be numbered before.
pub(crate) async fn position(shared: &Shared, on: On<'_>, from: StartFrom) -> Result<(u64, String), Fault> {
    let head = Head::read(shared, on).await?;
    let cursor = match from {
        StartFrom::Start => head.first - 1,
        StartFrom::Now => head.pos,
        StartFrom::After(position) => {
            head.check(position)?;
            position
        }
        StartFrom::Time(time) => {
            let rows = shared.run(on, Sql::EventsPositionAt, &[&Time(time)]).await?;
            let position: i64 = rows.first().ok_or(Fault::Raced)?.get("pos");
            rows::count::<u64>(position - 1, rows::at("event_head", &1)("pos"))?
        }
    };
    Ok((cursor, head.log))
}

/// Where the log begins and ends.
pub(crate) struct Head {
    pub(crate) pos: u64,
    pub(super) first: u64,
    log: String,
}

impl Head {
    pub(crate) async fn read(shared: &Shared, on: On<'_>) -> Result<Self, Fault> {
        let rows = shared.run(on, Sql::EventsHead, &[]).await?;
        let place = rows::at("event_head", &1);
        let row = rows.first().ok_or_else(|| place("one").corrupt("there is no row"))?;
        Ok(Self {
            pos: rows::count(row.get("pos"), place("pos"))?,
            first: rows::count::<u64>(row.get("first_pos"), place("first_pos"))?.max(1),
            log: row.get("log"),
        })
    }

    /// Whether what follows a position is still there, or there already.
    fn check(&self, position: u64) -> Result<()> {
        if position > self.pos {
            return Err(Error::LogWentBack { requested: position, head: self.pos });
        }
        if position.saturating_add(1) < self.first {
            return Err(Error::Truncated { requested: position, first: self.first });
        }
        Ok(())
    }
}

struct Follower {
    shared: Arc<Shared>,
    pattern: Pattern,
    /// Everything up to here was delivered, or does not belong to the pattern.
    cursor: u64,
    log: String,
    /// Until the first event: a time may lie ahead of the log.
    since: Option<Timestamp>,
}

impl Follower {
    async fn run(mut self, sender: mpsc::Sender<Result<Event>>) {
        let closing = self.shared.closing.clone();
        tokio::select! {
            () = closing.cancelled() => {}
            () = self.follow(&sender) => {}
        }
    }

    /// Ends when nobody reads any more, or with an error that no later look can mend.
    async fn follow(&mut self, sender: &mpsc::Sender<Result<Event>>) {
        let mut log = self.shared.signals.log();
        let mut wait = RETRY_FIRST;
        loop {
            // Registered before looking, so that nothing falls between the two.
            log.borrow_and_update();
            match self.read().await {
                Ok(batch) => {
                    wait = RETRY_FIRST;
                    if !self.deliver(&batch, sender).await {
                        return;
                    }
                    if batch.full {
                        continue;
                    }
                }
                Err(fault) => {
                    let error = fault.told(format!("follow `{}`", self.pattern));
                    if !error.is_transient() {
                        // Nobody there to be told: then it ends all the same.
                        let _ = sender.send(Err(error)).await;
                        return;
                    }
                    tracing::warn!(%error, "trying again in {wait:?}");
                    tokio::select! {
                        () = sender.closed() => return,
                        () = tokio::time::sleep(wait) => {}
                    }
                    wait = (wait * 2).min(RETRY_LAST);
                    // Read again: the signal of what it missed may have come already.
                    continue;
                }
            }
            tokio::select! {
                _ = log.changed() => {}
                () = sender.closed() => return,
                () = tokio::time::sleep(self.shared.poll()) => self.look().await,
            }
        }
    }

    /// A process that is gone may have left something behind.
    async fn look(&self) {
        if let Err(fault) = sequencer::look(&self.shared).await {
            tracing::debug!(error = %fault.told("number events"), "looked at again later");
        }
    }

    async fn read(&self) -> Result<Batch, Fault> {
        let conn = self.shared.conn().await?;
        let on = On::Conn(&conn);
        // The head first: what comes between the two reads is above it, and read the next time.
        let head = Head::read(&self.shared, on).await?;
        head.check(self.cursor)?;
        if head.log != self.log {
            return Err(Error::LogWentBack { requested: self.cursor, head: head.pos }.into());
        }
        if head.pos == self.cursor {
            return Ok(Batch { rows: Vec::new(), end: head.pos, full: false });
        }
        let page = EventQuery {
            after: Some(self.cursor),
            up_to: Some(head.pos),
            since: self.since,
            limit: BATCH,
            direction: Direction::Forward,
            ..EventQuery::of(self.pattern.clone())
        };
        let rows = query::read(&self.shared, on, &page).await?;
        if !self.is_gapless(&rows) {
            // Retention moves the log's beginning before it removes anything: what it removed under this read is
            // seen here, and never passed over in silence.
            Head::read(&self.shared, on).await?.check(self.cursor)?;
        }
        let full = rows.len() >= BATCH as usize;
        Ok(Batch { rows, end: head.pos, full })
    }

    /// Whether these are exactly the events after the cursor, whatever was removed.
    fn is_gapless(&self, rows: &[Row]) -> bool {
        let next = rows::integer(self.cursor + 1);
        rows.first().is_some_and(|row| row.get::<_, i64>("id") == next)
            && rows.last().is_some_and(|row| row.get::<_, i64>("id") - next + 1 == rows.len() as i64)
    }

    /// False: nobody reads any more, or an event cannot be read.
    async fn deliver(&mut self, batch: &Batch, sender: &mpsc::Sender<Result<Event>>) -> bool {
        for row in &batch.rows {
            let event = query::event(row);
            let broken = event.is_err();
            if let Ok(event) = &event {
                self.cursor = event.id;
                self.since = None;
            }
            if sender.send(event).await.is_err() || broken {
                return false;
            }
        }
        if !batch.full {
            self.cursor = batch.end;
        }
        true
    }
}

/// What one look found.
struct Batch {
    rows: Vec<Row>,
    /// The head it looked up to.
    end: u64,
    /// Whether there may be more before that.
    full: bool,
}
