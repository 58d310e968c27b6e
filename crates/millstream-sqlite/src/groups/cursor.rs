//! Cursors: moved by compare-and-set over epoch and position, alone or with what commits beside them.

use std::time::Duration;

use millstream_core::{
    CursorMove, Effects, Error, GroupName, ParkedNow, PartitionRef, Result, limits::ERROR_BYTES_MAX,
};
use rusqlite::params;

use super::group::the;
use crate::{
    fault::Fault,
    queue::settle::write_effects,
    rows,
    sql::{self, Run},
    tx::Tx,
};

pub(super) fn advance(tx: &mut Tx<'_>, group: &GroupName, moves: &[CursorMove]) -> Result<Vec<bool>, Fault> {
    let group = the(tx.conn, group)?.id;
    moves.iter().map(|step| set(tx, group, step)).collect()
}

/// The fence first: nothing has been written when it refuses.
pub(super) fn commit(tx: &mut Tx<'_>, group: &GroupName, step: &CursorMove, effects: &Effects) -> Result<bool, Fault> {
    let group = the(tx.conn, group)?.id;
    if !set(tx, group, step)? {
        return Ok(false);
    }
    // An error undoes the call with the move in it.
    write_effects(tx, effects)?;
    Ok(true)
}

fn set(tx: &Tx<'_>, group: i64, step: &CursorMove) -> Result<bool, Fault> {
    if step.to < step.from {
        return Err(Error::invalid("cursor move", step.to, format!("a position from {} on", step.from)).into());
    }
    let (epoch, from, to) = (rows::integer(step.held.epoch), rows::integer(step.from), rows::integer(step.to));
    Ok(tx.conn.run(sql::GROUPS_MOVE, params![group, step.held.partition, epoch, from, to])? > 0)
}

pub(super) fn fail(
    tx: &mut Tx<'_>,
    group: &GroupName,
    held: PartitionRef,
    at: u64,
    wait: Duration,
    error: &str,
) -> Result<Option<u32>, Fault> {
    rows::check_wait("retry wait", wait)?;
    let group = the(tx.conn, group)?.id;
    let retry_at = rows::micros(rows::later(tx.now, wait));
    let (epoch, at) = (rows::integer(held.epoch), rows::integer(at));
    let row = params![group, held.partition, epoch, at, retry_at, shortened(error)];
    let attempts = tx.conn.first(sql::GROUPS_FAIL, row, |row| row.get::<_, i64>(0))?;
    let place = rows::at("queue_event_cursors", &held.partition);
    Ok(attempts.map(|attempts| rows::count(attempts, place("attempts"))).transpose()?)
}

pub(super) fn park(tx: &mut Tx<'_>, group: &GroupName, step: &CursorMove, events: &[ParkedNow]) -> Result<bool, Fault> {
    let group = the(tx.conn, group)?.id;
    if !set(tx, group, step)? {
        return Ok(false);
    }
    let now = rows::micros(tx.now);
    for event in events {
        let (pos, error) = (rows::integer(event.position), shortened(&event.error));
        let row = params![group, pos, event.stream.as_str(), event.stops_stream, error, event.attempts, now];
        tx.conn.run(sql::GROUPS_PARK, row)?;
    }
    Ok(true)
}

/// What is kept of an error's text.
fn shortened(error: &str) -> String {
    let end = (0..=error.len().min(ERROR_BYTES_MAX)).rev().find(|&at| error.is_char_boundary(at)).unwrap_or(0);
    let cut = if end < error.len() { format!("… ({} bytes)", error.len()) } else { String::new() };
    format!("{}{cut}", error[..end].replace('\0', "\u{fffd}"))
}
