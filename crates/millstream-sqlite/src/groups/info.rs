//! Groups as people see them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use millstream_core::{
    GroupInfo, GroupName, MemberInfo, Parked, PartitionInfo, Poison, Result, StreamName, Timestamp,
    limits::PAGE_ROWS_MAX,
};
use rusqlite::{Connection, params};

use super::group::{Group, find, the};
use crate::{
    events,
    fault::Fault,
    rows,
    sql::{self, Run},
};

pub(super) fn list(conn: &Connection, now: Timestamp) -> Result<Vec<GroupInfo>, Fault> {
    let names = conn.all(sql::GROUPS_LIST, [], |row| row.get::<_, String>(0))?;
    let mut groups = Vec::with_capacity(names.len());
    for name in names {
        let place = rows::at("queue_event_groups", &name);
        let name = GroupName::stored(name.as_str()).map_err(|error| place("name").corrupt(error))?;
        groups.extend(info(conn, &name, now)?);
    }
    Ok(groups)
}

pub(super) fn info(conn: &Connection, name: &GroupName, now: Timestamp) -> Result<Option<GroupInfo>, Fault> {
    let Some(group) = find(conn, name)? else { return Ok(None) };
    let head = events::extent(conn)?.head;
    let partitions = partitions(conn, &group, head, now)?;
    let lowest = partitions.iter().map(|partition| partition.position).min().unwrap_or(head);
    let oldest = conn.first(sql::EVENTS_TIME_AT, [rows::integer(lowest + 1)], |row| row.get::<_, i64>(0))?;
    let age = |micros: i64| Duration::from_micros(u64::try_from(rows::micros(now) - micros).unwrap_or(0));
    let parked = conn.first(sql::GROUPS_PARKED_COUNT, [group.id], |row| row.get::<_, i64>(0))?.unwrap_or(0);
    let members = members(conn, &group, now)?;
    let spec = group.spec;
    Ok(Some(GroupInfo {
        name: spec.name,
        pattern: spec.pattern.to_string(),
        types: spec.kinds,
        paused: group.paused,
        poison: spec.poison,
        attempts: spec.attempts,
        retain: spec.retain,
        lease: spec.lease,
        head,
        lag: head.saturating_sub(lowest),
        oldest: oldest.map(age),
        parked: rows::count(parked, rows::at("queue_event_parked", name)("pos"))?,
        members,
        partitions,
    }))
}

fn members(conn: &Connection, group: &Group, now: Timestamp) -> Result<Vec<MemberInfo>, Fault> {
    let now = rows::micros(now);
    let live = conn.all(sql::GROUPS_MEMBERS, params![group.id, now.saturating_sub(group.lease()), now], |row| {
        Ok((row.get::<_, Arc<str>>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
    })?;
    let mut members = BTreeMap::new();
    for (id, consumer, seen, partitions) in live {
        let place = rows::at("queue_event_members", &id);
        let member = MemberInfo {
            consumer: rows::word(consumer, place("consumer"))?,
            id: id.clone(),
            last_seen: rows::time(seen, place("seen"))?,
            partitions: rows::count(partitions, place("member"))?,
        };
        members.insert((member.consumer.clone(), id.clone()), member);
    }
    Ok(members.into_values().collect())
}

fn partitions(conn: &Connection, group: &Group, head: u64, now: Timestamp) -> Result<Vec<PartitionInfo>, Fault> {
    let cursors = conn.all(sql::GROUPS_CURSORS, params![group.id, rows::micros(now)], |row| {
        let numbers = (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(4)?);
        Ok((numbers, row.get::<_, Option<String>>(3)?, row.get::<_, Option<Arc<str>>>(5)?))
    })?;
    let cursor = |((part, pos, epoch, attempts), owner, error): ((i64, i64, i64, i64), Option<String>, _)| {
        let place = rows::at("queue_event_cursors", &part);
        let (position, attempts) = (rows::count(pos, place("pos"))?, rows::count(attempts, place("attempts"))?);
        Ok(PartitionInfo {
            partition: rows::count(part, place("part"))?,
            position,
            epoch: rows::count(epoch, place("epoch"))?,
            owner: owner.map(|owner| rows::word(owner, place("owner"))).transpose()?,
            attempts,
            error,
            halted: group.spec.poison == Poison::Stop && attempts >= group.spec.attempts,
            lag: head.saturating_sub(position),
        })
    };
    cursors.into_iter().map(cursor).collect()
}

pub(super) fn parked(conn: &Connection, name: &GroupName, after: u64, limit: u32) -> Result<Vec<Parked>, Fault> {
    let group = the(conn, name)?;
    let range = params![group.id, rows::integer(after), limit.min(PAGE_ROWS_MAX)];
    let parked = conn.all(sql::GROUPS_PARKED, range, |row| {
        let text = (row.get::<_, String>(1)?, row.get::<_, Arc<str>>(3)?);
        Ok((row.get::<_, i64>(0)?, text, row.get::<_, bool>(2)?, row.get::<_, i64>(4)?, row.get::<_, i64>(5)?))
    })?;
    let event = |(pos, (stream, error), stops_stream, attempts, at): (i64, (String, _), bool, i64, i64)| {
        let place = rows::at("queue_event_parked", &pos);
        Ok(Parked {
            position: rows::count(pos, place("pos"))?,
            stream: StreamName::stored(stream).map_err(|error| place("stream").corrupt(error))?,
            stops_stream,
            error,
            attempts: rows::count(attempts, place("attempts"))?,
            parked_at: rows::time(at, place("parked_at"))?,
        })
    };
    parked.into_iter().map(event).collect()
}
