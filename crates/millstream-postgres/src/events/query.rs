//! Events out, a page at a time.

use std::sync::Arc;

use millstream_core::{Direction, Error, Event, EventQuery, Pattern, Result, StreamName, limits::PAGE_ROWS_MAX};
use tokio_postgres::Row;

use super::{partitions, subscribe::Head};
use crate::{
    fault::{Fault, again},
    rows::{self, Time},
    shared::Shared,
    sql::{On, Sql},
};

/// Reads a page, of everything that was committed when it was asked for.
pub(crate) async fn query(shared: &Shared, query: &EventQuery) -> Result<Vec<Event>> {
    let rows = again!(format!("query events of `{}`", query.pattern), page(shared, query))?;
    rows.iter().map(event).collect()
}

async fn page(shared: &Shared, query: &EventQuery) -> Result<Vec<Row>, Fault> {
    let conn = shared.conn().await?;
    let on = On::Conn(&conn);
    flush(shared, on).await?;
    let rows = read(shared, on, query).await?;
    if let Some(after) = query.after {
        // Behind the rows: what retention removed meanwhile was not read.
        let first = Head::read(shared, on).await?.first;
        if after.saturating_add(1) < first {
            return Err(Error::Truncated { requested: after, first }.into());
        }
    }
    Ok(rows)
}

/// Reads a page of what is numbered.
pub(crate) async fn read(shared: &Shared, on: On<'_>, query: &EventQuery) -> Result<Vec<Row>, Fault> {
    let backward = query.direction == Direction::Backward;
    let after = query.after.map_or(0, rows::integer);
    let up_to = query.up_to.map_or(i64::MAX, rows::integer);
    let (since, until) = (query.since.map(Time), query.until.map(Time));
    let kinds: Vec<&str> = query.kinds.iter().map(|kind| &**kind).collect();
    let kinds = (!kinds.is_empty()).then_some(kinds);
    let limit = i64::from(query.limit.min(PAGE_ROWS_MAX));
    let (from, to) = match &query.pattern {
        Pattern::Exact(stream) => {
            let sql = if backward { Sql::EventsReadStreamBackward } else { Sql::EventsReadStream };
            return shared.run(on, sql, &[&stream.as_str(), &after, &up_to, &since, &until, &kinds, &limit]).await;
        }
        Pattern::All => (None, None),
        Pattern::Prefix(prefix) => (Some(&**prefix), rows::above(prefix)),
    };
    let sql = if backward { Sql::EventsReadBackward } else { Sql::EventsRead };
    shared.run(on, sql, &[&from, &after, &up_to, &since, &until, &kinds, &limit, &to]).await
}

/// The position of the last event that was committed when it was asked for.
pub(crate) async fn head(shared: &Shared) -> Result<u64> {
    let flushed = async || flush(shared, On::Conn(&shared.conn().await?)).await;
    let head = again!("read the log's head", flushed())?;
    rows::count(head, rows::at("event_head", &1)("pos"))
}

/// Numbers everything that is committed; answers the last position.
pub(crate) async fn flush(shared: &Shared, on: On<'_>) -> Result<i64, Fault> {
    let rows = match shared.run(on, Sql::EventsFlush, &[&shared.notify]).await {
        Err(fault) if fault.is_no_partition() => {
            partitions::make(shared, on).await?;
            shared.run(on, Sql::EventsFlush, &[&shared.notify]).await?
        }
        rows => rows?,
    };
    let head: i64 = rows.first().ok_or(Fault::Raced)?.get("head");
    // What this call numbered the sequencer will not find any more.
    shared.signals.log_grew(u64::try_from(head).ok());
    Ok(head)
}

pub(crate) fn event(row: &Row) -> Result<Event> {
    let id: i64 = row.get("id");
    let place = rows::at("queue_events", &id);
    let shared = |column: &str| rows::shared(row.get(column));
    let version: Option<i64> = row.get("version");
    let attempt: Option<i32> = row.get("attempt");
    Ok(Event {
        id: rows::count(id, place("id"))?,
        stream: StreamName::stored(row.get::<_, &str>("stream")).map_err(|error| place("stream").corrupt(error))?,
        version: version.map(|version| rows::count(version, place("version"))).transpose()?,
        ts: row.get::<_, Time>("ts").0,
        kind: Arc::from(row.get::<_, &str>("type")),
        run_id: shared("run_id"),
        flow_name: shared("flow_name"),
        step_name: shared("step_name"),
        step_id: shared("step_id"),
        attempt: attempt.map(|attempt| rows::count(i64::from(attempt), place("attempt"))).transpose()?,
        data: rows::json(row.get("data"), place("data"))?,
    })
}
