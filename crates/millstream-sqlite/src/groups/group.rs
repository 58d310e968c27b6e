//! Groups themselves: made, changed, paused, reset, removed.

use std::{sync::Arc, time::Duration};

use millstream_core::{Error, GroupName, GroupSpec, Pattern, Poison, Result, StartFrom};
use rusqlite::{Connection, params};

use super::missing;
use crate::{
    events,
    fault::Fault,
    rows,
    sql::{self, Run},
    tx::Tx,
};

/// A group as it is stored.
pub(super) struct Group {
    pub(super) id: i64,
    pub(super) spec: GroupSpec,
    pub(super) paused: bool,
}

impl Group {
    /// The lease in microseconds.
    pub(super) fn lease(&self) -> i64 {
        i64::try_from(self.spec.lease.as_micros()).unwrap_or(i64::MAX)
    }
}

/// The group of that name, if there is one.
pub(super) fn find(conn: &Connection, name: &GroupName) -> Result<Option<Group>, Fault> {
    let row = conn.first(sql::GROUPS_FIND, [name.as_str()], |row| {
        let words = (row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, String>(4)?);
        let numbers = (row.get::<_, i64>(3)?, row.get::<_, i64>(5)?, row.get::<_, i64>(7)?);
        Ok((row.get::<_, i64>(0)?, words, numbers, row.get::<_, bool>(6)?, row.get::<_, bool>(8)?))
    })?;
    let Some((id, (pattern, types, poison), (partitions, attempts, lease), retain, paused)) = row else {
        return Ok(None);
    };
    let place = rows::at("queue_event_groups", name);
    let kinds: Vec<Arc<str>> = rows::json(&types, place("types"))?;
    let pattern = Pattern::new(&pattern).map_err(|error| place("pattern").corrupt(error))?;
    let poison: Poison = poison.parse().map_err(|error| place("poison").corrupt(error))?;
    let spec = GroupSpec {
        kinds,
        partitions: rows::count(partitions, place("partitions"))?,
        poison,
        attempts: rows::count(attempts, place("attempts"))?,
        retain,
        lease: Duration::from_micros(rows::count(lease, place("lease"))?),
        ..GroupSpec::new(name.clone(), pattern)
    };
    Ok(Some(Group { id, spec, paused }))
}

/// The group of that name, which must exist.
pub(super) fn the(conn: &Connection, name: &GroupName) -> Result<Group, Fault> {
    find(conn, name)?.ok_or_else(|| missing(name))
}

/// Makes it, or changes what may change.
pub(super) fn ensure(tx: &mut Tx<'_>, spec: &GroupSpec) -> Result<bool, Fault> {
    let lease = i64::try_from(spec.lease.as_micros()).unwrap_or(i64::MAX);
    if let Some(stored) = find(tx.conn, &spec.name)? {
        spec.check_same(&stored.spec)?;
        let row = params![stored.id, spec.poison.as_str(), spec.attempts, spec.retain, lease];
        tx.conn.run(sql::GROUPS_UPDATE, row)?;
        return Ok(false);
    }
    let position = start(tx, spec.start)?;
    let (pattern, types) = (spec.pattern.to_string(), serde_json::json!(spec.kinds_sorted()).to_string());
    let poison = spec.poison.as_str();
    let row = params![spec.name.as_str(), pattern, types, spec.partitions, poison, spec.attempts, spec.retain, lease];
    let id = tx.conn.first(sql::GROUPS_INSERT, row, |row| row.get::<_, i64>(0))?;
    let id = id.ok_or_else(|| missing(&spec.name))?;
    let epoch = tx.next_seq()?;
    for partition in 0..spec.partitions {
        tx.conn.run(sql::GROUPS_INSERT_CURSOR, params![id, partition, rows::integer(position), epoch])?;
    }
    Ok(true)
}

/// The position behind which to begin.
fn start(tx: &mut Tx<'_>, from: StartFrom) -> Result<u64, Fault> {
    // Not the ledger's row: calls of this transaction may have appended.
    let head = tx.ledger()?.head;
    events::start_within(tx.conn, head, from)
}

pub(super) fn pause(tx: &mut Tx<'_>, name: &GroupName) -> Result<bool, Fault> {
    let Some(group) = find(tx.conn, name)? else { return Ok(false) };
    tx.conn.run(sql::GROUPS_PAUSE, params![group.id, true])?;
    Ok(true)
}

pub(super) fn resume(tx: &mut Tx<'_>, name: &GroupName) -> Result<bool, Fault> {
    let Some(group) = find(tx.conn, name)? else { return Ok(false) };
    tx.conn.run(sql::GROUPS_PAUSE, params![group.id, false])?;
    if group.spec.poison == Poison::Stop {
        let epoch = tx.next_seq()?;
        tx.conn.run(sql::GROUPS_REVIVE, params![group.id, epoch, group.spec.attempts])?;
    }
    Ok(true)
}

pub(super) fn reset(tx: &mut Tx<'_>, name: &GroupName, to: StartFrom) -> Result<u64, Fault> {
    let group = the(tx.conn, name)?;
    let position = start(tx, to)?;
    let epoch = tx.next_seq()?;
    tx.conn.run(sql::GROUPS_RESET, params![group.id, rows::integer(position), epoch])?;
    tx.conn.run(sql::GROUPS_UNPARK_BEHIND, params![group.id, rows::integer(position)])?;
    Ok(position)
}

pub(super) fn delete(tx: &mut Tx<'_>, name: &GroupName) -> Result<bool, Fault> {
    let Some(group) = find(tx.conn, name)? else { return Ok(false) };
    let now = rows::micros(tx.now);
    let live = params![group.id, now.saturating_sub(group.lease()), now];
    let live = tx.conn.all(sql::GROUPS_MEMBERS, live, |row| row.get::<_, String>(1))?;
    if !live.is_empty() {
        let expected = format!("a group without live members; `{}` live", live.join("`, `"));
        return Err(Error::invalid("group to delete", name.as_str(), expected).into());
    }
    tx.conn.run(sql::GROUPS_DELETE, [group.id])?;
    Ok(true)
}
