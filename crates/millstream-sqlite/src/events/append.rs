//! Writing events at the next positions.

use millstream_core::{
    Append, Appended, Error, NewEvent, QueueEvent, Result, job_event as job_event_of, payload, queue_stream,
};
use rusqlite::{Connection, params};

use crate::{
    fault::Fault,
    rows,
    sql::{self, Run},
    tx::Tx,
};

/// Appends to one stream, unless its key was used before. Checked by [`Append::check`] before.
pub(crate) fn append(tx: &mut Tx<'_>, append: &Append) -> Result<Appended, Fault> {
    if let Some(key) = &append.key
        && let Some(first) = appended_before(tx.conn, key)?
    {
        return Ok(first);
    }
    let before = version(tx.conn, append.stream.as_str())?;
    if let Some(expected) = append.expected
        && expected != before
    {
        let stream = append.stream.as_str().into();
        return Err(Error::VersionConflict { stream, expected, actual: before }.into());
    }
    let first = tx.ledger()?.head + 1;
    let last = insert_all(tx, append.stream.as_str(), before, &append.events)?;
    let version = before + append.events.len() as u64;
    if let Some(key) = &append.key {
        let (first, last, now) = (rows::integer(first), rows::integer(last), rows::micros(tx.now));
        tx.conn.run(sql::EVENTS_INSERT_KEY, params![&**key, first, last, rows::integer(version), now])?;
    }
    Ok(Appended { version: Some(version), positions: Some((first, last)), duplicate: false })
}

/// What the first append under this key answered.
fn appended_before(conn: &Connection, key: &str) -> Result<Option<Appended>, Fault> {
    let row = conn.first(sql::EVENTS_KEY, [key], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    })?;
    let Some((first, last, version)) = row else { return Ok(None) };
    let place = rows::at("event_key", &key);
    let positions = Some((rows::count(first, place("first"))?, rows::count(last, place("last"))?));
    Ok(Some(Appended { version: Some(rows::count(version, place("version"))?), positions, duplicate: true }))
}

fn version(conn: &Connection, stream: &str) -> Result<u64, Fault> {
    let version = conn.first(sql::EVENTS_VERSION, [stream], |row| row.get::<_, i64>(0))?.unwrap_or(0);
    Ok(rows::count(version, rows::at("event_stream", &stream)("version"))?)
}

/// Writes events after `version`, and answers the last one's position.
fn insert_all(tx: &mut Tx<'_>, stream: &str, version: u64, events: &[NewEvent]) -> Result<u64, Fault> {
    let mut version = version;
    for event in events {
        version += 1;
        insert(tx, stream, version, event)?;
    }
    tx.conn.run(sql::EVENTS_WRITE_VERSION, params![stream, rows::integer(version)])?;
    Ok(tx.ledger()?.head)
}

fn insert(tx: &mut Tx<'_>, stream: &str, version: u64, event: &NewEvent) -> Result<(), Fault> {
    let data = payload::text("event data", &event.data)?;
    let now = rows::micros(tx.now);
    let ledger = tx.ledger()?;
    ledger.head += 1;
    // Never back, whatever the clock does: a time can then be looked up by bisection.
    ledger.ts = ledger.ts.max(now);
    let (position, ts) = (rows::integer(ledger.head), ledger.ts);
    let row = params![
        position,
        stream,
        rows::integer(version),
        ts,
        &*event.kind,
        event.run_id.as_deref(),
        event.flow_name.as_deref(),
        event.step_name.as_deref(),
        event.step_id.as_deref(),
        event.attempt,
        data,
    ];
    tx.conn.run(sql::EVENTS_INSERT, row)?;
    Ok(())
}

/// Writes a queue event into the log, as `job.<word>` in `nq:queue:<queue>`.
pub(crate) fn job_event(tx: &mut Tx<'_>, event: &QueueEvent) -> Result<(), Fault> {
    let stream = queue_stream(&event.queue)?;
    let mut logged = job_event_of(event);
    if payload::text("event data", &logged.data).is_err() {
        // An output that just fits does not fit with more around it; the job itself still has it.
        logged = job_event_of(&QueueEvent { data: Some("too large for the log".into()), ..event.clone() });
    }
    let version = version(tx.conn, stream.as_str())?;
    insert_all(tx, stream.as_str(), version, std::slice::from_ref(&logged))?;
    Ok(())
}
