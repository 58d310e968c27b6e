//! Reading events: a page of a query, and what a subscription reads next.

use std::sync::Arc;

use millstream_core::{
    Direction, Error, Event, EventQuery, Pattern, Result, StreamName, Timestamp, limits::PAGE_ROWS_MAX,
};
use rusqlite::{Connection, Row, params};

use crate::{
    fault::Fault,
    rows::{self, Above},
    sql::{self, Run},
};

/// Streams of a prefix that are read one by one. More are read along the log, where most of it matches then.
const STREAMS_MERGED_MAX: usize = 64;

/// The first and the last position. In an empty log `first` is behind `head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) first: u64,
    pub(crate) head: u64,
}

/// Where the log begins and ends.
pub(crate) fn extent(conn: &Connection) -> Result<Extent, Fault> {
    let row = conn.first(sql::EVENTS_HEAD, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)))?;
    let place = rows::at("ledger", &1);
    let (head, first) = row.ok_or_else(|| place("id").corrupt("there is no row"))?;
    let head = rows::count(head, place("event_head"))?;
    let first = first.map(|first| rows::count(first, rows::at("queue_events", &first)("id"))).transpose()?;
    Ok(Extent { first: first.unwrap_or(head + 1), head })
}

/// Events to read: positions, streams, types.
pub(crate) struct Range<'a> {
    pub(crate) pattern: &'a Pattern,
    /// The types as a JSON array; `None`: all.
    pub(crate) kinds: Option<String>,
    pub(crate) after: u64,
    pub(crate) up_to: u64,
    pub(crate) limit: u32,
    pub(crate) direction: Direction,
}

/// A page of a query.
pub(crate) fn query(conn: &Connection, query: &EventQuery) -> Result<Vec<Event>, Fault> {
    let extent = extent(conn)?;
    if let Some(requested) = query.after
        && requested.saturating_add(1) < extent.first
    {
        return Err(Error::Truncated { requested, first: extent.first }.into());
    }
    let since = query.since.map(|since| before_time(conn, extent, since)).transpose()?;
    let until = query.until.map(|until| before_time(conn, extent, until)).transpose()?;
    let kinds = (!query.kinds.is_empty()).then(|| serde_json::json!(query.kinds).to_string());
    let range = Range {
        pattern: &query.pattern,
        kinds,
        after: query.after.unwrap_or(0).max(since.unwrap_or(0)),
        up_to: query.up_to.unwrap_or(u64::MAX).min(until.unwrap_or(u64::MAX)).min(extent.head),
        limit: query.limit.min(PAGE_ROWS_MAX),
        direction: query.direction,
    };
    match few_streams(conn, &query.pattern)? {
        Some(streams) => merge(conn, &range, &streams),
        None => read(conn, &range),
    }
}

/// The last position whose event was taken in before `time`; 0 if there is none. Times never go back along positions.
pub(crate) fn before_time(conn: &Connection, extent: Extent, time: Timestamp) -> Result<u64, Fault> {
    let time = rows::micros(time);
    let (mut low, mut high) = (extent.first, extent.head + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let at = conn.first(sql::EVENTS_TIME_AT, [rows::integer(middle)], |row| row.get::<_, i64>(0))?;
        let at = at.ok_or_else(|| rows::at("queue_events", &middle)("id").corrupt("the log has a hole"))?;
        if at < time { low = middle + 1 } else { high = middle }
    }
    Ok(low - 1)
}

/// The streams of a prefix, if they are few: then each is read by its index, and a rare prefix in a long log is found
/// without reading the log.
fn few_streams(conn: &Connection, pattern: &Pattern) -> Result<Option<Vec<StreamName>>, Fault> {
    let Pattern::Prefix(prefix) = pattern else { return Ok(None) };
    let range = params![&**prefix, Above::prefix(prefix), STREAMS_MERGED_MAX as i64 + 1];
    let names = conn.all(sql::EVENTS_STREAMS, range, |row| row.get::<_, String>(0))?;
    if names.len() > STREAMS_MERGED_MAX {
        return Ok(None);
    }
    let word = |name: String| {
        StreamName::stored(name.as_str()).map_err(|error| rows::at("event_stream", &name)("stream").corrupt(error))
    };
    Ok(Some(names.into_iter().map(word).collect::<Result<_>>()?))
}

fn merge(conn: &Connection, range: &Range<'_>, streams: &[StreamName]) -> Result<Vec<Event>, Fault> {
    let mut events = Vec::new();
    for stream in streams {
        let pattern = Pattern::Exact(stream.clone());
        let kinds = range.kinds.clone();
        events.extend(read(conn, &Range { pattern: &pattern, kinds, ..*range })?);
    }
    match range.direction {
        Direction::Forward => events.sort_unstable_by_key(|event| event.id),
        Direction::Backward => events.sort_unstable_by_key(|event| std::cmp::Reverse(event.id)),
    }
    events.truncate(range.limit as usize);
    Ok(events)
}

/// Reads along the log, or along one stream.
pub(crate) fn read(conn: &Connection, range: &Range<'_>) -> Result<Vec<Event>, Fault> {
    rows(conn, range)?.into_iter().map(|row| row.event().map_err(Fault::from)).collect()
}

/// As [`read`], before the rows are made into events: who needs only some of them looks at their streams first.
pub(crate) fn rows(conn: &Connection, range: &Range<'_>) -> Result<Vec<EventRow>, Fault> {
    let (after, up_to) = (rows::integer(range.after), rows::integer(range.up_to));
    let kinds = range.kinds.as_deref();
    Ok(match (range.pattern, range.direction) {
        (Pattern::Exact(stream), direction) => {
            let sql = match direction {
                Direction::Forward => sql::EVENTS_READ_STREAM,
                Direction::Backward => sql::EVENTS_READ_STREAM_BACKWARD,
            };
            conn.all(sql, params![after, up_to, kinds, range.limit, stream.as_str()], EventRow::read)?
        }
        (pattern, direction) => {
            let prefix = if let Pattern::Prefix(prefix) = pattern { &**prefix } else { "" };
            let sql = match direction {
                Direction::Forward => sql::EVENTS_READ,
                Direction::Backward => sql::EVENTS_READ_BACKWARD,
            };
            let above = Above::prefix(prefix);
            conn.all(sql, params![after, up_to, kinds, range.limit, prefix, above], EventRow::read)?
        }
    })
}

/// The columns of an event, as they are stored.
pub(crate) struct EventRow {
    id: i64,
    stream: String,
    version: i64,
    ts: i64,
    kind: Arc<str>,
    run_id: Option<Arc<str>>,
    flow_name: Option<Arc<str>>,
    step_name: Option<Arc<str>>,
    step_id: Option<Arc<str>>,
    attempt: Option<i64>,
    data: String,
}

impl EventRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            stream: row.get(1)?,
            version: row.get(2)?,
            ts: row.get(3)?,
            kind: row.get(4)?,
            run_id: row.get(5)?,
            flow_name: row.get(6)?,
            step_name: row.get(7)?,
            step_id: row.get(8)?,
            attempt: row.get(9)?,
            data: row.get(10)?,
        })
    }

    pub(crate) fn stream(&self) -> &str {
        &self.stream
    }

    pub(crate) fn position(&self) -> u64 {
        // Positions begin at 1; one that cannot be is told as such by `event`.
        u64::try_from(self.id).unwrap_or(0)
    }

    pub(crate) fn event(self) -> Result<Event> {
        let place = rows::at("queue_events", &self.id);
        Ok(Event {
            id: rows::count(self.id, place("id"))?,
            stream: StreamName::stored(self.stream).map_err(|error| place("stream").corrupt(error))?,
            version: Some(rows::count(self.version, place("version"))?),
            ts: rows::time(self.ts, place("ts"))?,
            kind: self.kind,
            run_id: self.run_id,
            flow_name: self.flow_name,
            step_name: self.step_name,
            step_id: self.step_id,
            attempt: self.attempt.map(|attempt| rows::count(attempt, place("attempt"))).transpose()?,
            data: rows::json(&self.data, place("data"))?,
        })
    }
}
