//! Groups as people see them.

use std::time::Duration;

use millstream_core::{
    GroupInfo, GroupName, GroupSpec, MemberInfo, Parked, PartitionInfo, Poison, Result, StreamName,
    limits::PAGE_ROWS_MAX,
};
use tokio_postgres::Row;

use super::define;
use crate::{
    events::query,
    fault::{Fault, again},
    rows::{self, Time},
    shared::Shared,
    sql::{On, Sql},
};

pub(super) async fn group(shared: &Shared, group: &GroupName) -> Result<Option<GroupInfo>> {
    Ok(again!(format!("look at group `{group}`"), groups(shared, Some(group)))?.pop())
}

pub(super) async fn list(shared: &Shared) -> Result<Vec<GroupInfo>> {
    again!("list groups", groups(shared, None))
}

async fn groups(shared: &Shared, name: Option<&GroupName>) -> Result<Vec<GroupInfo>, Fault> {
    let conn = shared.conn().await?;
    let on = On::Conn(&conn);
    let head = rows::count(query::flush(shared, on).await?, rows::at("event_head", &1)("pos"))?;
    let name = name.map(GroupName::as_str);
    let mut found = Vec::new();
    for row in shared.run(on, Sql::GroupsFind, &[&name]).await? {
        found.push(one(shared, on, &define::spec(&row)?, row.get("paused"), head).await?);
    }
    Ok(found)
}

async fn one(shared: &Shared, on: On<'_>, spec: &GroupSpec, paused: bool, head: u64) -> Result<GroupInfo, Fault> {
    let name = spec.name.as_str();
    let members = shared.run(on, Sql::GroupsMembers, &[&name]).await?;
    let cursors = shared.run(on, Sql::GroupsCursors, &[&name]).await?;
    let partitions = cursors.iter().map(|row| partition(row, spec, head)).collect::<Result<Vec<_>>>()?;
    let lowest = partitions.iter().map(|partition| partition.position).min().unwrap_or(head);
    let age = shared.run(on, Sql::GroupsAge, &[&name, &rows::integer(lowest.saturating_add(1))]).await?;
    let age = age.first().ok_or(Fault::Raced)?;
    let oldest: Option<i64> = age.get("age");
    let place = rows::at("queue_event_groups", &name);
    Ok(GroupInfo {
        name: spec.name.clone(),
        pattern: spec.pattern.to_string(),
        types: spec.kinds.clone(),
        paused,
        poison: spec.poison,
        attempts: spec.attempts,
        retain: spec.retain,
        lease: spec.lease,
        head,
        lag: head.saturating_sub(lowest),
        oldest: oldest.and_then(|micros| u64::try_from(micros).ok()).map(Duration::from_micros),
        parked: rows::count(age.get("parked"), place("parked"))?,
        members: members.iter().map(member).collect::<Result<_>>()?,
        partitions,
    })
}

fn member(row: &Row) -> Result<MemberInfo> {
    let id: &str = row.get("id");
    let place = rows::at("queue_event_members", &id);
    Ok(MemberInfo {
        consumer: rows::word(row.get("consumer"), place("consumer"))?,
        id: id.into(),
        last_seen: row.get::<_, Time>("seen").0,
        partitions: rows::count(row.get("partitions"), place("partitions"))?,
    })
}

fn partition(row: &Row, spec: &GroupSpec, head: u64) -> Result<PartitionInfo> {
    let part: i32 = row.get("part");
    let place = rows::at("queue_event_cursors", &part);
    let position: u64 = rows::count(row.get("pos"), place("pos"))?;
    let attempts: u32 = rows::count(i64::from(row.get::<_, i32>("attempts")), place("attempts"))?;
    let consumer: Option<&str> = row.get("consumer");
    Ok(PartitionInfo {
        partition: rows::count(i64::from(part), place("part"))?,
        position,
        epoch: rows::count(row.get("epoch"), place("epoch"))?,
        owner: consumer.map(|name| rows::word(name, place("consumer"))).transpose()?,
        attempts,
        error: rows::shared(row.get("error")),
        halted: spec.poison == Poison::Stop && attempts >= spec.attempts,
        lag: head.saturating_sub(position),
    })
}

pub(super) async fn parked(shared: &Shared, group: &GroupName, after: u64, limit: u32) -> Result<Vec<Parked>> {
    let (after, limit) = (rows::integer(after), i64::from(limit.min(PAGE_ROWS_MAX)));
    let page = async || {
        let conn = shared.conn().await?;
        let on = On::Conn(&conn);
        let rows = shared.run(on, Sql::GroupsParked, &[&group.as_str(), &after, &limit]).await?;
        if rows.is_empty() {
            define::check(shared, on, group).await?;
        }
        Ok::<_, Fault>(rows)
    };
    again!(format!("list what group `{group}` parked"), page())?.iter().map(aside).collect()
}

fn aside(row: &Row) -> Result<Parked> {
    let position: i64 = row.get("pos");
    let place = rows::at("queue_event_parked", &position);
    Ok(Parked {
        position: rows::count(position, place("pos"))?,
        stream: StreamName::stored(row.get::<_, &str>("stream")).map_err(|error| place("stream").corrupt(error))?,
        stops_stream: row.get("stops_stream"),
        error: row.get::<_, &str>("error").into(),
        attempts: rows::count(i64::from(row.get::<_, i32>("attempts")), place("attempts"))?,
        parked_at: row.get::<_, Time>("parked_at").0,
    })
}
