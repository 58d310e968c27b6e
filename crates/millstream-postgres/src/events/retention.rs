//! Retention: whole partitions of the log are dropped, by age, size or number, behind every group that needs them. Nobody who
//! appends ever waits for it for longer than [`LOCK_WITHIN`].

use std::time::Duration;

use deadpool_postgres::Object;
use millstream_core::{GroupName, Result, Retention, RetentionHold, RetentionInfo};
use tokio_postgres::{Row, error::SqlState};

use super::{partitions, query};
use crate::{
    cause::Cause,
    fault::{Fault, again},
    rows::{self, Time},
    shared::Shared,
    sql::{On, Sql},
};

/// How long a lock of the log is waited for: who comes later queues behind this wait. Detaching side by side with readers
/// holds up those who make partitions, and, in its last step, whoever still has the partition in a plan.
const LOCK_WITHIN: &str = "300ms";
/// How often a lock is tried in one sweep, and the rest in between; the next sweep goes on.
const TRIES: u32 = 3;
const REST: Duration = Duration::from_millis(500);

/// Makes partitions ahead, and drops those that are past their time, where nobody looked lately. Answers how many went.
pub(crate) async fn sweep(shared: &Shared) -> Result<u64> {
    let ahead = async || partitions::make(shared, On::Conn(&shared.conn().await?)).await;
    again!("make partitions of the log", ahead())?;
    let retention = policy(shared).await?.0;
    if retention.is_off() {
        return Ok(0);
    }
    let every = rows::micros(shared.retention_every);
    if shared.call("look for old events", Sql::RetentionDue, &[&every]).await?.is_empty() {
        return Ok(0);
    }
    Ok(truncate(shared, &retention).await?.dropped)
}

/// Drops what is past its time now; answers how many events.
pub(crate) async fn expire(shared: &Shared) -> Result<u64> {
    // What is committed counts, whether it was numbered already or not.
    query::head(shared).await?;
    Ok(truncate(shared, &policy(shared).await?.0).await?.gone)
}

pub(crate) async fn set(shared: &Shared, retention: Option<&Retention>) -> Result<()> {
    retention.map(Retention::check).transpose()?;
    let is_set = retention.is_some();
    let Bounds { age, bytes, events } = Bounds::of(&retention.copied().unwrap_or_default());
    shared.call("set the log's retention", Sql::RetentionSet, &[&is_set, &age, &bytes, &events]).await?;
    Ok(())
}

pub(crate) async fn look(shared: &Shared) -> Result<RetentionInfo> {
    query::head(shared).await?;
    let (retention, set) = policy(shared).await?;
    let Bounds { age, bytes, events } = Bounds::of(&retention);
    let rows = shared.call("look at the log", Sql::RetentionLook, &[&age, &bytes, &events]).await?;
    let place = rows::at("event_head", &1);
    let row = rows.first().ok_or_else(|| place("one").corrupt("there is no row"))?;
    let first: u64 = rows::count(row.get("first_pos"), place("first_pos"))?;
    let due: u64 = rows::count(row.get("due"), place("first_pos"))?;
    let due = (due + 1).saturating_sub(first);
    let holds = shared.call("look at what groups need", Sql::RetentionHolds, &[]).await?;
    let hold = |row: &Row| {
        let group: &str = row.get("group_name");
        let place = rows::at("queue_event_groups", &group);
        let needs = rows::count(row.get("needs"), place("pos"))?;
        let name = GroupName::stored(group).map_err(|error| place("name").corrupt(error))?;
        Ok(RetentionHold::new(name, needs, first, due))
    };
    Ok(RetentionInfo {
        retention,
        set,
        first,
        head: rows::count(row.get("pos"), place("pos"))?,
        oldest: row.get::<_, Option<Time>>("oldest").map(|at| at.0),
        bytes: Some(rows::count(row.get("bytes"), place("bytes"))?),
        due,
        holds: holds.iter().map(hold).collect::<Result<_>>()?,
    })
}

/// What holds, and whether it was set for every process.
async fn policy(shared: &Shared) -> Result<(Retention, bool)> {
    let rows = shared.call("read the log's retention", Sql::RetentionFind, &[]).await?;
    let Some(row) = rows.first().filter(|row| row.get("is_set")) else {
        return Ok((shared.options.retention, false));
    };
    let place = rows::at("event_upkeep", &1);
    let number = |column: &'static str| {
        row.get::<_, Option<i64>>(column).map(|number| rows::count::<u64>(number, place(column))).transpose()
    };
    let age = number("age")?.map(Duration::from_micros);
    Ok((Retention { age, bytes: number("bytes_max")?, events: number("events_max")? }, true))
}

/// Bounds as statements take them.
struct Bounds {
    age: Option<i64>,
    bytes: Option<i64>,
    events: Option<i64>,
}

impl Bounds {
    fn of(retention: &Retention) -> Self {
        Self {
            age: retention.age.map(rows::micros),
            bytes: retention.bytes.map(rows::integer),
            events: retention.events.map(rows::integer),
        }
    }
}

/// What a look through the log did.
struct Truncated {
    /// Events that are not read any more.
    gone: u64,
    /// Partitions that are not there any more: more than went now, where earlier ones were in use; less where these are.
    dropped: u64,
}

async fn truncate(shared: &Shared, retention: &Retention) -> Result<Truncated> {
    let Bounds { age, bytes, events } = Bounds::of(retention);
    let going = shared.call("move the log's beginning", Sql::RetentionTruncate, &[&age, &bytes, &events]).await?;
    let mut done = Truncated { gone: 0, dropped: 0 };
    for row in &going {
        done.gone += rows::count::<u64>(row.get("gone"), rows::at("event_head", &1)("first_pos"))?;
    }
    for row in &going {
        let name: &str = row.get("name");
        match again!(format!("drop partition `{name}`"), drop_partition(shared, name))? {
            true => done.dropped += 1,
            // Somebody reads it. Those behind it would only wait, too.
            false => break,
        }
    }
    Ok(done)
}

/// False: it is in use; what was done of it stays done, and the next sweep goes on.
async fn drop_partition(shared: &Shared, name: &str) -> Result<bool, Fault> {
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(REST).await;
        }
        match drop_once(shared, name).await {
            Ok(()) => return Ok(true),
            Err(Fault::Driver(error)) if is_waiting(&error) => {
                tracing::debug!(error = %Cause(error), partition = name, "a partition is in use");
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(false)
}

/// The lock was not to be had in time, or somebody else is at the same partition.
fn is_waiting(error: &tokio_postgres::Error) -> bool {
    let code = error.code();
    code == Some(&SqlState::LOCK_NOT_AVAILABLE) || code == Some(&SqlState::OBJECT_IN_USE)
}

async fn drop_once(shared: &Shared, name: &str) -> Result<(), Fault> {
    let conn = shared.conn().await?;
    let rows = shared.run(On::Conn(&conn), Sql::RetentionState, &[&name]).await?;
    let row = rows.first().ok_or(Fault::Raced)?;
    let (there, attached): (bool, bool) = (row.get("there"), row.get("attached"));
    let (pending, concurrently): (bool, bool) = (row.get("pending"), row.get("concurrently"));
    let detach = |how: &str| format!("alter table {{schema}}.queue_events detach partition {{schema}}.{name} {how};");
    let mut steps = String::new();
    if attached && pending {
        apart(shared, conn, &detach("finalize")).await?;
    } else if attached && concurrently && !shared.pooled {
        apart(shared, conn, &detach("concurrently")).await?;
    } else if attached {
        steps = detach("");
        drop(conn);
    } else {
        drop(conn);
    }
    if there {
        steps.push_str(&format!("drop table {{schema}}.{name};"));
    }
    let text = format!(
        "begin; set local lock_timeout = '{LOCK_WITHIN}'; {steps}\
         delete from {{schema}}.event_partition where name = '{name}'; commit"
    );
    let conn = shared.conn().await?;
    let done = conn.batch_execute(&shared.schema.fill(&text)).await;
    if done.is_err() {
        // It may stand in a failed transaction: the server forgets it with the connection.
        drop(Object::take(conn));
    }
    Ok(done?)
}

/// A statement that cannot be in a transaction, in a session with a timeout of its own that goes with it.
async fn apart(shared: &Shared, conn: Object, text: &str) -> Result<(), Fault> {
    let client = Object::take(conn);
    client.batch_execute(&format!("set lock_timeout = '{LOCK_WITHIN}'")).await?;
    client.batch_execute(&shared.schema.fill(text)).await?;
    Ok(())
}
