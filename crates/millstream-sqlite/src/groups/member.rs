//! Members: who lives, and who has which partition.

use std::time::Duration;

use millstream_core::{GroupName, Member, MemberView, PartitionClaim, PartitionRef, Result};
use rusqlite::params;

use super::group::{find, the};
use crate::{
    fault::Fault,
    rows,
    sql::{self, Run},
    tx::Tx,
};

/// Registers or renews the member and its partitions, and tells it what it should know.
pub(super) fn beat(tx: &mut Tx<'_>, member: &Member, held: &[PartitionRef]) -> Result<MemberView, Fault> {
    let group = the(tx.conn, &member.group)?;
    let now = rows::micros(tx.now);
    let until = now.saturating_add(group.lease());
    tx.conn.run(sql::GROUPS_SEEN, params![group.id, &*member.id, member.consumer.as_str(), now])?;
    tx.conn.run(sql::GROUPS_DROP_MEMBERS, params![group.id, now.saturating_sub(group.lease())])?;
    let mut lost = Vec::new();
    for held in held {
        let row = params![group.id, held.partition, rows::integer(held.epoch), &*member.id, until];
        if tx.conn.run(sql::GROUPS_RENEW, row)? == 0 {
            lost.push(*held);
        }
    }
    let live = params![group.id, now.saturating_sub(group.lease()), now];
    let live = tx.conn.all(sql::GROUPS_MEMBERS, live, |row| row.get::<_, String>(0))?;
    let free = tx.conn.first(sql::GROUPS_FREE, params![group.id, now], |row| row.get::<_, i64>(0))?.unwrap_or(0);
    let rank = live.iter().position(|id| **id == *member.id).unwrap_or(live.len());
    let members = live.len().max(1);
    let partitions = usize::from(group.spec.partitions);
    let share = partitions / members + usize::from(rank < partitions % members);
    Ok(MemberView {
        share: u16::try_from(share).unwrap_or(group.spec.partitions),
        members: u32::try_from(members).unwrap_or(u32::MAX),
        paused: group.paused,
        lost,
        free: rows::count(free, rows::at("queue_event_cursors", &member.group)("part"))?,
    })
}

/// Takes free partitions.
pub(super) fn claim(tx: &mut Tx<'_>, member: &Member, at_most: u16) -> Result<Vec<PartitionClaim>, Fault> {
    let group = the(tx.conn, &member.group)?;
    let now = rows::micros(tx.now);
    let until = now.saturating_add(group.lease());
    let free = tx.conn.all(sql::GROUPS_PICK, params![group.id, now, at_most], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
    })?;
    if free.is_empty() {
        return Ok(Vec::new());
    }
    let epoch = tx.next_seq()?;
    let mut claims = Vec::with_capacity(free.len());
    for (part, pos, attempts, retry_at) in free {
        tx.conn.run(sql::GROUPS_TAKE, params![group.id, part, epoch, &*member.id, until])?;
        let place = rows::at("queue_event_cursors", &part);
        let held =
            PartitionRef { partition: rows::count(part, place("part"))?, epoch: rows::count(epoch, place("epoch"))? };
        claims.push(PartitionClaim {
            held,
            position: rows::count(pos, place("pos"))?,
            attempts: rows::count(attempts, place("attempts"))?,
            wait: Duration::from_micros(u64::try_from(retry_at.saturating_sub(now)).unwrap_or(0)),
        });
    }
    Ok(claims)
}

/// Gives partitions back.
pub(super) fn release(tx: &mut Tx<'_>, group: &GroupName, held: &[PartitionRef]) -> Result<(), Fault> {
    let Some(group) = find(tx.conn, group)? else { return Ok(()) };
    for held in held {
        tx.conn.run(sql::GROUPS_RELEASE, params![group.id, held.partition, rows::integer(held.epoch)])?;
    }
    Ok(())
}

/// Gives everything back, and is gone.
pub(super) fn leave(tx: &mut Tx<'_>, member: &Member) -> Result<(), Fault> {
    let Some(group) = find(tx.conn, &member.group)? else { return Ok(()) };
    tx.conn.run(sql::GROUPS_RELEASE_ALL, params![group.id, &*member.id])?;
    tx.conn.run(sql::GROUPS_LEAVE, params![group.id, &*member.id])?;
    Ok(())
}
