//! Retention: whole partitions of the log are dropped, by age or size, behind every group that needs them. Nobody who
//! appends ever waits for it for longer than [`LOCK_WITHIN`].

use std::time::Duration;

use deadpool_postgres::Object;
use millstream_core::Result;
use tokio_postgres::error::SqlState;

use super::partitions;
use crate::{
    cause::Cause,
    fault::{Fault, again},
    options::Retention,
    rows,
    shared::Shared,
    sql::{On, Sql},
};

/// How long a lock of the log is waited for: who comes later queues behind this wait. Detaching side by side with readers
/// holds up those who make partitions, and, in its last step, whoever still has the partition in a plan.
const LOCK_WITHIN: &str = "300ms";
/// How often a lock is tried in one sweep, and the rest in between; the next sweep goes on.
const TRIES: u32 = 3;
const REST: Duration = Duration::from_millis(500);

/// Makes partitions ahead, and drops those that are past their time. Answers how many went.
pub(crate) async fn sweep(shared: &Shared) -> Result<u64> {
    let retention = &shared.retention;
    let ahead = async || partitions::make(shared, On::Conn(&shared.conn().await?)).await;
    again!("make partitions of the log", ahead())?;
    if retention.is_off() {
        return Ok(0);
    }
    let every = rows::micros(retention.every);
    if shared.call("look for old events", Sql::RetentionDue, &[&every]).await?.is_empty() {
        return Ok(0);
    }
    let Retention { age, bytes, .. } = retention;
    let (age, bytes) = (age.map(rows::micros), bytes.map(rows::integer));
    let going = shared.call("move the log's beginning", Sql::RetentionTruncate, &[&age, &bytes]).await?;
    let mut dropped = 0;
    for row in &going {
        let name: &str = row.get("name");
        match again!(format!("drop partition `{name}`"), drop_partition(shared, name))? {
            true => dropped += 1,
            // Somebody reads it. Those behind it would only wait, too.
            false => break,
        }
    }
    Ok(dropped)
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
