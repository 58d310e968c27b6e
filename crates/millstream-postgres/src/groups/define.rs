//! Groups made, changed, paused, moved and removed.

use millstream_core::{Error, GroupName, GroupSpec, Pattern, Poison, Result, StartFrom};
use tokio_postgres::Row;

use crate::{
    events::{query, subscribe},
    fault::{Fault, again},
    rows::{self, micros},
    shared::{Shared, transact},
    sql::{On, Sql},
};

/// What a caller is told that names no group.
pub(super) fn missing(group: &GroupName) -> Error {
    Error::invalid("group", group.as_str(), "an existing group")
}

/// # Errors
///
/// [`missing`] where there is no such group.
pub(super) async fn check(shared: &Shared, on: On<'_>, group: &GroupName) -> Result<(), Fault> {
    match shared.run(on, Sql::GroupsFind, &[&group.as_str()]).await?.is_empty() {
        true => Err(missing(group).into()),
        false => Ok(()),
    }
}

/// A group as it was made. Where it began is not kept.
pub(super) fn spec(row: &Row) -> Result<GroupSpec> {
    let name: &str = row.get("name");
    let place = rows::at("queue_event_groups", &name);
    let corrupt =
        |column: &'static str| move |error: Error| rows::at("queue_event_groups", &name)(column).corrupt(error);
    let lease: u64 = rows::count(row.get("lease"), place("lease"))?;
    let kinds: Vec<&str> = row.get("types");
    Ok(GroupSpec {
        name: GroupName::stored(name).map_err(corrupt("name"))?,
        pattern: Pattern::new(row.get("pattern")).map_err(corrupt("pattern"))?,
        kinds: kinds.into_iter().map(Into::into).collect(),
        partitions: rows::count(i64::from(row.get::<_, i32>("partitions")), place("partitions"))?,
        start: StartFrom::Start,
        poison: row.get::<_, &str>("poison").parse::<Poison>().map_err(corrupt("poison"))?,
        attempts: rows::count(i64::from(row.get::<_, i32>("attempts")), place("attempts"))?,
        retain: row.get("retain"),
        lease: std::time::Duration::from_micros(lease),
    })
}

/// Makes a group, or finds it and changes what may change. True: it was made.
pub(super) async fn ensure(shared: &Shared, wanted: &GroupSpec) -> Result<bool> {
    wanted.check()?;
    let doing = || format!("make group `{}`", wanted.name);
    loop {
        // Of a log without a head that is read here, a group would begin too early.
        let flushed = async || query::flush(shared, On::Conn(&shared.conn().await?)).await;
        again!(doing(), flushed())?;
        match again!(doing(), ensure_once(shared, wanted))? {
            Some(made) => return Ok(made),
            // Somebody made it, or removed it, between two statements.
            None => tokio::task::yield_now().await,
        }
    }
}

async fn ensure_once(shared: &Shared, wanted: &GroupSpec) -> Result<Option<bool>, Fault> {
    transact!(shared, true, unit => ensure_in(shared, unit.on()?, wanted))
}

async fn ensure_in(shared: &Shared, on: On<'_>, wanted: &GroupSpec) -> Result<Option<bool>, Fault> {
    let GroupSpec { name, pattern, partitions, start, poison, attempts, retain, lease, .. } = wanted;
    let (attempts, lease) = (rows::small(*attempts), micros(*lease));
    if let Some(row) = shared.run(on, Sql::GroupsLock, &[&name.as_str()]).await?.first() {
        wanted.check_same(&spec(row)?)?;
        shared.run(on, Sql::GroupsUpdate, &[&name.as_str(), &poison.as_str(), &attempts, retain, &lease]).await?;
        return Ok(Some(false));
    }
    shared.run(on, Sql::GroupsHoldLog, &[]).await?;
    let (position, _) = subscribe::position(shared, on, *start).await?;
    let kinds: Vec<String> = wanted.kinds_sorted().iter().map(ToString::to_string).collect();
    let (pattern, position) = (pattern.to_string(), rows::integer(position));
    let made = shared
        .run(
            on,
            Sql::GroupsInsert,
            &[
                &name.as_str(),
                &pattern,
                &kinds,
                &i32::from(*partitions),
                &poison.as_str(),
                &attempts,
                retain,
                &lease,
                &position,
            ],
        )
        .await?;
    Ok((!made.is_empty()).then_some(true))
}

pub(super) async fn pause(shared: &Shared, group: &GroupName) -> Result<bool> {
    let rows = shared.call(format!("pause group `{group}`"), Sql::GroupsPause, &[&group.as_str()]).await?;
    Ok(!rows.is_empty())
}

pub(super) async fn resume(shared: &Shared, group: &GroupName) -> Result<bool> {
    let rows = shared.call(format!("resume group `{group}`"), Sql::GroupsResume, &[&group.as_str()]).await?;
    Ok(!rows.is_empty())
}

/// Sets every cursor, in a new epoch; answers the position.
pub(super) async fn reset(shared: &Shared, group: &GroupName, to: StartFrom) -> Result<u64> {
    let doing = || format!("reset group `{group}`");
    let flushed = async || query::flush(shared, On::Conn(&shared.conn().await?)).await;
    again!(doing(), flushed())?;
    again!(doing(), reset_once(shared, group, to))
}

async fn reset_once(shared: &Shared, group: &GroupName, to: StartFrom) -> Result<u64, Fault> {
    transact!(shared, true, unit => reset_in(shared, unit.on()?, group, to))
}

async fn reset_in(shared: &Shared, on: On<'_>, group: &GroupName, to: StartFrom) -> Result<u64, Fault> {
    if shared.run(on, Sql::GroupsLock, &[&group.as_str()]).await?.is_empty() {
        return Err(missing(group).into());
    }
    shared.run(on, Sql::GroupsHoldLog, &[]).await?;
    let (position, _) = subscribe::position(shared, on, to).await?;
    shared.run(on, Sql::GroupsReset, &[&group.as_str(), &rows::integer(position)]).await?;
    Ok(position)
}

pub(super) async fn delete(shared: &Shared, group: &GroupName) -> Result<bool> {
    again!(format!("delete group `{group}`"), delete_once(shared, group))
}

async fn delete_once(shared: &Shared, group: &GroupName) -> Result<bool, Fault> {
    transact!(shared, true, unit => delete_in(shared, unit.on()?, group))
}

async fn delete_in(shared: &Shared, on: On<'_>, group: &GroupName) -> Result<bool, Fault> {
    if shared.run(on, Sql::GroupsLock, &[&group.as_str()]).await?.is_empty() {
        return Ok(false);
    }
    let live = shared.run(on, Sql::GroupsMembers, &[&group.as_str()]).await?;
    if !live.is_empty() {
        let names: Vec<&str> = live.iter().map(|row| row.get("consumer")).collect();
        let expected = format!("no live members, found: {}", names.join(", "));
        return Err(Error::invalid("group", group.as_str(), expected).into());
    }
    shared.run(on, Sql::GroupsDelete, &[&group.as_str()]).await?;
    Ok(true)
}
