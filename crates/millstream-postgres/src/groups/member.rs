//! Members: beats, claims, leaving.

use std::time::Duration;

use millstream_core::{Error, GroupName, LEASE_DEFAULT, Member, MemberView, PartitionClaim, PartitionRef, Result};
use tokio_postgres::Row;

use super::define;
use crate::{
    fault::{Fault, KIND, again, closed},
    rows,
    shared::Shared,
    sql::{On, Sql},
};

/// How long a beat may take: then its connection is given up. Within the default lease there is room for another.
const BEAT_WITHIN: Duration = LEASE_DEFAULT.checked_div(3).unwrap();

/// Partitions in the columns of a statement.
pub(super) fn columns(held: &[PartitionRef]) -> (Vec<i32>, Vec<i64>) {
    held.iter().map(|held| (i32::from(held.partition), rows::integer(held.epoch))).unzip()
}

/// Registers or renews a member, on a connection that belongs to heartbeats alone.
pub(super) async fn beat(shared: &Shared, member: &Member, held: &[PartitionRef]) -> Result<MemberView> {
    if shared.closing.is_cancelled() {
        return Err(closed());
    }
    let doing = || format!("renew a member of group `{}`", member.group);
    // Real time: a connection that hangs must not cost the next beat.
    match tokio::time::timeout(BEAT_WITHIN, async { again!(doing(), beat_once(shared, member, held)) }).await {
        Ok(view) => view,
        Err(_) => Err(Error::unavailable(KIND, doing(), "no answer in time")),
    }
}

async fn beat_once(shared: &Shared, member: &Member, held: &[PartitionRef]) -> Result<MemberView, Fault> {
    // Not kept where anything fails: the next beat opens another.
    let own = shared.heart.take(&shared.connector).await?;
    let (parts, epochs) = columns(held);
    let params: &[&(dyn crate::sql::Param + Sync)] =
        &[&member.group.as_str(), &&*member.id, &member.consumer.as_str(), &parts, &epochs];
    let rows = shared.run(On::Own(&own.client), Sql::GroupsBeat, params).await?;
    shared.heart.keep(own).await;
    let row = rows.first().ok_or_else(|| define::missing(&member.group))?;
    Ok(view(row, held)?)
}

fn view(row: &Row, held: &[PartitionRef]) -> Result<MemberView> {
    let place = rows::at("queue_event_members", &"beat");
    let number = |column: &'static str| i64::from(row.get::<_, i32>(column));
    let places: Vec<i64> = row.get("lost");
    let lost = places.iter().filter_map(|at| held.get(usize::try_from(at - 1).ok()?).copied());
    Ok(MemberView {
        share: rows::count(number("share"), place("share"))?,
        members: rows::count(number("members"), place("members"))?,
        paused: row.get("paused"),
        lost: lost.collect(),
        free: rows::count(number("free"), place("free"))?,
    })
}

/// Takes partitions that nobody has.
pub(super) async fn claim(shared: &Shared, member: &Member, at_most: u16) -> Result<Vec<PartitionClaim>> {
    let rows = again!(format!("claim partitions of group `{}`", member.group), claim_once(shared, member, at_most))?;
    let mut claims = rows.iter().map(claimed).collect::<Result<Vec<_>>>()?;
    claims.sort_by_key(|claim| claim.held.partition);
    Ok(claims)
}

async fn claim_once(shared: &Shared, member: &Member, at_most: u16) -> Result<Vec<Row>, Fault> {
    let conn = shared.conn().await?;
    let on = On::Conn(&conn);
    let (group, at_most) = (member.group.as_str(), i64::from(at_most));
    let rows = shared.run(on, Sql::GroupsClaim, &[&group, &&*member.id, &member.consumer.as_str(), &at_most]).await?;
    if rows.is_empty() {
        define::check(shared, on, &member.group).await?;
    }
    Ok(rows)
}

fn claimed(row: &Row) -> Result<PartitionClaim> {
    let part: i32 = row.get("part");
    let place = rows::at("queue_event_cursors", &part);
    let wait: Option<i64> = row.get("wait");
    Ok(PartitionClaim {
        held: PartitionRef {
            partition: rows::count(i64::from(part), place("part"))?,
            epoch: rows::count(row.get("epoch"), place("epoch"))?,
        },
        position: rows::count(row.get("pos"), place("pos"))?,
        attempts: rows::count(i64::from(row.get::<_, i32>("attempts")), place("attempts"))?,
        wait: Duration::from_micros(rows::count(wait.unwrap_or(0), place("retry_at"))?),
    })
}

pub(super) async fn release(shared: &Shared, group: &GroupName, held: &[PartitionRef]) -> Result<()> {
    let (parts, epochs) = columns(held);
    let doing = format!("release partitions of group `{group}`");
    shared.call(doing, Sql::GroupsRelease, &[&group.as_str(), &parts, &epochs]).await.map(drop)
}

pub(super) async fn leave(shared: &Shared, member: &Member) -> Result<()> {
    let doing = format!("leave group `{}`", member.group);
    shared.call(doing, Sql::GroupsLeave, &[&member.group.as_str(), &&*member.id]).await.map(drop)
}
