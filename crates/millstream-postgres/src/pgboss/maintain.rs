//! What somebody has to do for everybody now and then: end jobs that run too long, count queues, remove what is old, let go
//! jobs that waited for others. pg-boss's processes and ours take turns by the stamps and locks that pg-boss has for it.
//!
//! Left to pg-boss's own: persisted statistics, warnings, its instance registry and index care.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use millstream_core::{QueueName, Result};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    boss::{Boss, again},
    held::Held,
    moves::{Kind, Moved},
    settle::{self, Aim},
    sql::BossSql,
};
use crate::{
    fault::Fault,
    rows::Time,
    shared::transact,
    sql::{On, Param},
};

/// pg-boss's own intervals.
const MONITOR_SECS: i64 = 60;
const MAINTAIN_SECS: i64 = 86_400;
const FLOW_SECS: i64 = 5;
/// Queues, jobs, and ids of one transaction: as many as pg-boss takes.
const QUEUES: i64 = 100;
const JOBS: i64 = 1_000;
const STRETCH: i64 = 10_000;

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Running jobs whose time was over, or whose heartbeat stopped: they are to be repeated, or failed.
    pub expired: u64,
    /// Jobs that were removed because they are old.
    pub removed: u64,
    /// Queues that were counted.
    pub counted: u64,
}

/// Takes turns at maintenance, until the store closes; looks `every` so often whether it is its turn.
pub(crate) async fn run(boss: Arc<Boss>, every: Duration) {
    let mut flows = tokio::time::interval(Duration::from_secs(FLOW_SECS.unsigned_abs()));
    let mut passes = tokio::time::interval(every);
    // Not at the start: who only looks in does not maintain.
    flows.tick().await;
    passes.tick().await;
    loop {
        let done = tokio::select! {
            _ = flows.tick() => flow(&boss).await,
            _ = passes.tick() => supervise(&boss, None, false).await.map(drop),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "maintenance of pg-boss's tables is tried again later");
        }
    }
}

/// One pass over all queues, or one; `forced`: whoever's turn it is.
pub(crate) async fn supervise(boss: &Boss, only: Option<&QueueName>, forced: bool) -> Result<Maintained> {
    let mut done = Maintained::default();
    let only = only.map(QueueName::as_str);
    let (monitor, maintain) = if forced { (0, 0) } else { (MONITOR_SECS, MAINTAIN_SECS) };
    let mut after = String::new();
    loop {
        let claimed =
            boss.call("take a turn at queues", BossSql::MonitorClaim, &[&monitor, &QUEUES, &only, &after]).await?;
        for (table, queues) in by_table(&claimed) {
            done.counted += count(boss, &table, &queues).await?;
            done.expired += expire(boss, &table, &queues, false).await? + expire(boss, &table, &queues, true).await?;
        }
        match last(&claimed) {
            Some(last) => after = last,
            None => break,
        }
    }
    after.clear();
    loop {
        let claimed =
            boss.call("take a turn at old jobs", BossSql::MaintainClaim, &[&maintain, &QUEUES, &only, &after]).await?;
        for (table, queues) in by_table(&claimed) {
            match remove(boss, &table, &queues).await {
                Ok(removed) => done.removed += removed,
                Err(error) => {
                    // Somebody else may go on where this pass ended.
                    boss.call("give a turn back", BossSql::MaintainBack, &[&queues]).await?;
                    return Err(error);
                }
            }
        }
        match last(&claimed) {
            Some(last) => after = last,
            None => return Ok(done),
        }
    }
}

/// The queue that a pass goes on after; `None`: it is through.
fn last(claimed: &[Row]) -> Option<String> {
    let last = claimed.iter().map(|row| row.get::<_, String>("name")).max();
    last.filter(|_| claimed.len() as i64 >= QUEUES)
}

fn by_table(claimed: &[Row]) -> BTreeMap<Arc<str>, Vec<String>> {
    let mut tables: BTreeMap<Arc<str>, Vec<String>> = BTreeMap::new();
    for row in claimed {
        tables.entry(row.get::<_, &str>("table_name").into()).or_default().push(row.get("name"));
    }
    tables
}

async fn count(boss: &Boss, table: &Arc<str>, queues: &[String]) -> Result<u64> {
    let queues = queues.to_vec();
    let counted = again!(boss, "count queues", alone(boss, table, BossSql::Monitor, &[&queues]))?;
    if counted.is_empty() {
        boss.call("give a turn back", BossSql::MonitorBack, &[&queues]).await?;
    }
    Ok(counted.len() as u64)
}

async fn alone(boss: &Boss, table: &Arc<str>, sql: BossSql, params: &[&(dyn Param + Sync)]) -> Result<Vec<Row>, Fault> {
    let conn = boss.shared.conn().await?;
    boss.run_in(On::Conn(&conn), sql, table, params).await
}

/// Ends jobs by pg-boss's own rules, under its lock; a batch at a time.
async fn expire(boss: &Boss, table: &Arc<str>, queues: &[String], by_heartbeat: bool) -> Result<u64> {
    let mut expired = 0;
    loop {
        let (found, moved) = again!(boss, "expire jobs", expire_once(boss, table, queues, by_heartbeat))?;
        let gone = moved.states.iter().flatten().count() as u64;
        moved.tell(boss);
        expired += gone;
        if found < JOBS || gone == 0 {
            return Ok(expired);
        }
    }
}

async fn expire_once(
    boss: &Boss,
    table: &Arc<str>,
    queues: &[String],
    by_heartbeat: bool,
) -> Result<(i64, Moved), Fault> {
    let shared = &*boss.shared;
    transact!(shared, true, unit => expire_in(boss, unit.on()?, table, queues, by_heartbeat))
}

async fn expire_in(
    boss: &Boss,
    on: On<'_>,
    table: &Arc<str>,
    queues: &[String],
    by_heartbeat: bool,
) -> Result<(i64, Moved), Fault> {
    let (lock, why) = match by_heartbeat {
        false => ("failJobsByTimeout", "job timed out"),
        true => ("failJobsByHeartbeat", "job heartbeat timeout"),
    };
    boss.run(on, BossSql::Lock, &[&format!("{table}{lock}")]).await?;
    let found = boss.run_in(on, BossSql::TimedOut, table, &[&queues.to_vec(), &by_heartbeat, &JOBS]).await?;
    let payload = serde_json::json!({ "value": { "message": why } }).to_string();
    let held: Vec<Held> = found.iter().filter_map(|row| held(table, row)).collect();
    let aim = |held| Aim { held, kind: Kind::Time, payload: Some(&payload), wait: None };
    let aims: Vec<Aim<'_>> = held.iter().map(aim).collect();
    let moved = settle::end(boss, on, &aims).await?;
    Ok((found.len() as i64, moved))
}

fn held(table: &Arc<str>, row: &Row) -> Option<Held> {
    Some(Held {
        queue: QueueName::new(row.get::<_, String>("queue")).ok()?,
        table: table.clone(),
        job: row.get::<_, &str>("job").parse().ok()?,
        fence: row.get("retry_count"),
        start: row.get::<_, Time>("started_on").0.as_microsecond(),
        call: 0,
        beside: true,
    })
}

/// Removes queues' old jobs, a stretch of ids at a time, and dependencies that hang in the air.
async fn remove(boss: &Boss, table: &Arc<str>, queues: &[String]) -> Result<u64> {
    let mut removed = 0;
    for queue in queues {
        let (mut after, mut retained, mut live) = (Uuid::nil().to_string(), 0_i64, 0_i64);
        loop {
            let row = again!(boss, "remove old jobs", stretch(boss, table, queue, &after))?;
            let count = |column: &str| row.get::<_, i64>(column);
            removed += count("gone").unsigned_abs();
            retained += count("retained");
            live += count("live");
            match row.get::<_, Option<String>>("last") {
                Some(last) if count("seen") == STRETCH => after = last,
                _ => break,
            }
        }
        boss.call("note what is left", BossSql::Retained, &[&&**queue, &retained, &live]).await?;
    }
    again!(boss, "forget dependencies", dependencies(boss, table, queues))?;
    Ok(removed)
}

async fn stretch(boss: &Boss, table: &Arc<str>, queue: &str, after: &String) -> Result<Row, Fault> {
    let shared = &*boss.shared;
    transact!(shared, true, unit => stretch_in(boss, unit.on()?, table, queue, after))
}

async fn stretch_in(boss: &Boss, on: On<'_>, table: &Arc<str>, queue: &str, after: &String) -> Result<Row, Fault> {
    boss.run(on, BossSql::Lock, &[&format!("{table}deletion")]).await?;
    let rows = boss.run_in(on, BossSql::RemoveOld, table, &[&queue, after, &STRETCH]).await?;
    rows.into_iter().next().ok_or(Fault::Raced)
}

async fn dependencies(boss: &Boss, table: &Arc<str>, queues: &[String]) -> Result<(), Fault> {
    let shared = &*boss.shared;
    transact!(shared, true, unit => dependencies_in(boss, unit.on()?, table, queues))
}

async fn dependencies_in(boss: &Boss, on: On<'_>, table: &Arc<str>, queues: &[String]) -> Result<(), Fault> {
    boss.run(on, BossSql::Lock, &[&format!("{table}cleanupDependencies")]).await?;
    boss.run(on, BossSql::Dependencies, &[&queues.to_vec()]).await?;
    Ok(())
}

/// Lets go jobs whose awaited ones are completed, where it is this process's turn.
async fn flow(boss: &Boss) -> Result<()> {
    if boss.call("take a turn at jobs that wait for others", BossSql::FlowClaim, &[&FLOW_SECS]).await?.is_empty() {
        return Ok(());
    }
    resolve(boss).await
}

/// Lets go jobs whose awaited ones are completed.
pub(crate) async fn resolve(boss: &Boss) -> Result<()> {
    loop {
        let rows = boss.call("let go jobs that waited for others", BossSql::Flow, &[&JOBS]).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        let queues: Vec<String> = row.get("queues");
        let names: Vec<QueueName> = queues.into_iter().filter_map(|name| QueueName::new(name).ok()).collect();
        boss.ready(names.iter().map(|name| (name, true)));
        if row.get::<_, i64>("parents") == 0 {
            return Ok(());
        }
    }
}
