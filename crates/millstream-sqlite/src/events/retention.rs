//! Retention: the log's beginning is deleted, by age or number of events, behind every group that needs it; a batch at a
//! time, so that appends take their turn in between.

use std::time::Duration;

use millstream_core::{Error, GroupName, Result, Retention, RetentionHold, RetentionInfo, Timestamp};
use rusqlite::{Connection, params};

use super::query::{self, Extent};
use crate::{
    fault::{Fault, KIND},
    rows,
    sql::{self, Run},
    store::SqliteStore,
    tx::Tx,
};

/// Events of one transaction: deleting must not hold the writer for long.
const BATCH: u64 = 1_000;

/// Refuses what this store cannot measure: a file has no size for each table.
pub(crate) fn check(retention: &Retention) -> Result<()> {
    retention.check()?;
    match retention.bytes {
        Some(_) => {
            Err(Error::Unsupported { store: KIND, what: "retention by size in bytes; bound the events' number" })
        }
        None => Ok(()),
    }
}

pub(crate) async fn look(store: &SqliteStore) -> Result<RetentionInfo> {
    let options = store.shared().options.clone();
    let look = move |conn: &Connection| Ok(info(conn, &options.retention, options.clock.now())?.0);
    store.reader().call("look at the log's retention", look).await
}

pub(crate) async fn set(store: &SqliteStore, retention: Option<&Retention>) -> Result<()> {
    retention.map(check).transpose()?;
    let retention = retention.copied();
    let write = move |tx: &mut Tx<'_>| {
        match retention {
            Some(Retention { age, events, .. }) => {
                tx.conn.run(sql::RETENTION_SET, params![age.map(micros), events.map(rows::integer)])?
            }
            None => tx.conn.run(sql::RETENTION_UNSET, [])?,
        };
        Ok(())
    };
    store.writer().call("set the log's retention", write).await
}

/// Removes what is due; answers how many events.
pub(crate) async fn expire(store: &SqliteStore) -> Result<u64> {
    let mut gone = 0;
    loop {
        match store.writer().call("remove old events", expire_batch).await? {
            0 => return Ok(gone),
            batch => gone += batch,
        }
    }
}

fn expire_batch(tx: &mut Tx<'_>) -> Result<u64, Fault> {
    let (info, needed) = info(tx.conn, &tx.shared.options.retention, tx.now)?;
    let behind = (info.first + info.due.min(BATCH)).min(needed);
    match behind > info.first {
        true => Ok(tx.conn.run(sql::RETENTION_DELETE, [rows::integer(behind - 1)])? as u64),
        false => Ok(0),
    }
}

/// What there is to know, and the first position that somebody needs.
fn info(conn: &Connection, options: &Retention, now: Timestamp) -> Result<(RetentionInfo, u64), Fault> {
    let set = found(conn)?;
    let retention = set.unwrap_or(*options);
    let extent = query::extent(conn)?;
    let due = due(conn, extent, &retention, now)?;
    let holds = holds(conn, extent.first, due)?;
    let needed = holds.iter().map(|hold| hold.needs).min().unwrap_or(u64::MAX);
    let oldest = conn.first(sql::EVENTS_TIME_AT, [rows::integer(extent.first)], |row| row.get::<_, i64>(0))?;
    let oldest = oldest.map(|at| rows::time(at, rows::at("queue_events", &extent.first)("ts"))).transpose()?;
    let Extent { first, head } = extent;
    Ok((RetentionInfo { retention, set: set.is_some(), first, head, oldest, bytes: None, due, holds }, needed))
}

fn found(conn: &Connection) -> Result<Option<Retention>, Fault> {
    let row =
        conn.first(sql::RETENTION_FIND, [], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?)))?;
    let Some((age, events)) = row else { return Ok(None) };
    let place = rows::at("event_retention", &1);
    let age = age.map(|age| rows::count(age, place("age")).map(Duration::from_micros)).transpose()?;
    let events = events.map(|events| rows::count(events, place("events"))).transpose()?;
    Ok(Some(Retention { age, events, bytes: None }))
}

/// How many events are past their bounds, from the first one on.
fn due(conn: &Connection, extent: Extent, retention: &Retention, now: Timestamp) -> Result<u64, Fault> {
    let by_age = match retention.age.and_then(|age| now.checked_sub(age).ok()) {
        Some(time) => query::before_time(conn, extent, time)?,
        None => 0,
    };
    let by_number = retention.events.map_or(0, |events| extent.head.saturating_sub(events));
    Ok((by_age.max(by_number) + 1).saturating_sub(extent.first))
}

fn holds(conn: &Connection, first: u64, due: u64) -> Result<Vec<RetentionHold>, Fault> {
    let found = conn.all(sql::RETENTION_HOLDS, [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    let hold = |(name, needs): (String, i64)| {
        let place = rows::at("queue_event_groups", &name);
        let needs = rows::count(needs, place("pos"))?;
        let group = GroupName::stored(name.as_str()).map_err(|error| place("name").corrupt(error))?;
        Ok(RetentionHold::new(group, needs, first, due))
    };
    found.into_iter().map(hold).collect()
}

fn micros(age: Duration) -> i64 {
    i64::try_from(age.as_micros()).unwrap_or(i64::MAX)
}
