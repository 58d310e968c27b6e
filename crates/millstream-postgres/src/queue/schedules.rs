//! Schedules: a job per tick, once among all processes, because the transaction that enqueues it moves the tick.

use std::time::Duration;

use millstream_core::{Error, QueueName, Result, Schedule, ScheduleInfo, Timestamp};
use tokio_postgres::Row;

use super::enqueue::{self, Entry, Stored};
use crate::{
    fault::{Fault, again},
    rows::{self, Time},
    shared::{Shared, transact},
    sql::{On, Sql},
};

/// Schedules of one transaction.
const BATCH: i64 = 100;
/// How long a schedule rests that cannot be read.
const DAMAGED_REST: Duration = Duration::from_secs(60);

/// Writes a schedule; its next tick is counted from now unless expression and time zone are what they were.
pub(crate) async fn upsert(shared: &Shared, schedule: &Schedule) -> Result<()> {
    schedule.timetable()?;
    // What its jobs could be refused for is refused here, where somebody reads the answer.
    Entry::of(shared, &schedule.job(shared.options.clock.now())?)?;
    let body =
        serde_json::to_string(schedule).map_err(|error| Error::invalid("schedule", error.to_string(), "JSON"))?;
    let doing = || format!("write schedule `{}` of queue `{}`", schedule.key, schedule.queue);
    let queue = again!(doing(), upsert_once(shared, schedule, &body))?;
    shared.ready([(&schedule.queue, queue)]);
    Ok(())
}

async fn upsert_once(shared: &Shared, schedule: &Schedule, body: &str) -> Result<i32, Fault> {
    let ids = shared.ids_made(&[&schedule.queue]).await?;
    let queue = ids.get(&schedule.queue).copied().ok_or(Fault::Raced)?;
    transact!(shared, true, unit => write(shared, unit.on()?, queue, schedule, body))?;
    Ok(queue)
}

async fn write(shared: &Shared, on: On<'_>, queue: i32, schedule: &Schedule, body: &str) -> Result<(), Fault> {
    let found = shared.run(on, Sql::ScheduleFind, &[&queue, &&*schedule.key]).await?;
    let row = found.first().ok_or(Fault::Raced)?;
    let Time(now) = row.get("now");
    let kept = row
        .get::<_, Option<&str>>("body")
        .filter(|body| same_ticks(body, schedule))
        .and_then(|_| row.get::<_, Option<Time>>("next_at"));
    let next = match kept {
        Some(next) => Some(next),
        None => schedule.timetable()?.next_after(now).map(Time),
    };
    shared.run(on, Sql::ScheduleUpsert, &[&queue, &&*schedule.key, &body, &next]).await?;
    Ok(())
}

/// Whether the stored schedule ticks as this one does. A damaged one is replaced.
fn same_ticks(body: &str, schedule: &Schedule) -> bool {
    serde_json::from_str::<Schedule>(body)
        .is_ok_and(|stored| stored.cron == schedule.cron && stored.time_zone == schedule.time_zone)
}

/// Schedules by queue and key.
pub(crate) async fn list(shared: &Shared, queue: Option<&QueueName>) -> Result<Vec<ScheduleInfo>> {
    let name = queue.map(QueueName::as_str);
    let found = shared.call("list the schedules", Sql::ScheduleList, &[&name]).await?;
    let info = |row: &Row| {
        let key: &str = row.get("key");
        let schedule = rows::json(row.get("body"), rows::at("schedule", &key)("body"))?;
        let time = |column: &str| row.get::<_, Option<Time>>(column).map(|Time(time)| time);
        Ok(ScheduleInfo { schedule, next_at: time("next_at"), last_at: time("last_at") })
    };
    found.iter().map(info).collect()
}

/// Removes a schedule.
pub(crate) async fn remove(shared: &Shared, queue: &QueueName, key: &str) -> Result<bool> {
    let doing = || format!("remove schedule `{key}` of queue `{queue}`");
    again!(doing(), remove_once(shared, queue, key))
}

async fn remove_once(shared: &Shared, queue: &QueueName, key: &str) -> Result<bool, Fault> {
    let conn = shared.conn().await?;
    let on = On::Conn(&conn);
    let Some(queue) = shared.id(on, queue).await? else { return Ok(false) };
    Ok(!shared.run(on, Sql::ScheduleDelete, &[&queue, &key]).await?.is_empty())
}

/// Enqueues the jobs of due ticks; answers when the next one is due.
///
/// Each schedule fires once per call, with what its `missed` allows: one that catches up more than that is due again
/// at once, and the answer says so.
pub(crate) async fn fire(shared: &Shared) -> Result<Option<Timestamp>> {
    // A plain look first: the one that follows locks rows.
    let Some((next, now)) = next(shared).await? else { return Ok(None) };
    if next > now {
        return Ok(Some(next));
    }
    let stored = again!("fire schedules", fire_once(shared))?;
    stored.tell(shared);
    Ok(self::next(shared).await?.map(|(next, _)| next))
}

/// When the next schedule is due, and the time.
async fn next(shared: &Shared) -> Result<Option<(Timestamp, Timestamp)>> {
    let next = shared.call("look for due schedules", Sql::ScheduleNext, &[]).await?;
    Ok(next.first().map(|row| (row.get::<_, Time>("next_at").0, row.get::<_, Time>("now").0)))
}

async fn fire_once(shared: &Shared) -> Result<Stored, Fault> {
    transact!(shared, true, unit => fire_in(shared, unit.on()?))
}

async fn fire_in(shared: &Shared, on: On<'_>) -> Result<Stored, Fault> {
    let due = shared.run(on, Sql::ScheduleDue, &[&BATCH]).await?;
    let mut entries = Vec::new();
    for row in &due {
        let queue: i32 = row.get("queue");
        // Known from here on: its jobs are stored by this number.
        shared.name_found(on, queue).await?;
        let (key, Time(now)) = (row.get::<_, &str>("key"), row.get("now"));
        let (next, last) = match ticks(shared, row, now) {
            Ok(ticks) => {
                entries.extend(ticks.entries);
                (ticks.next.map(Time), ticks.last.map(Time))
            }
            // One schedule that cannot be fired must not stop the others.
            Err(error) => {
                tracing::error!(%error, schedule = key, "a schedule cannot fire; it rests for a minute");
                (Some(Time(now.saturating_add(DAMAGED_REST).unwrap_or(Timestamp::MAX))), None)
            }
        };
        shared.run(on, Sql::ScheduleMove, &[&queue, &key, &next, &last]).await?;
    }
    let entries: Vec<&Entry> = entries.iter().collect();
    let ids = shared.ids(on, &entries.iter().map(|entry| &entry.queue).collect::<Vec<_>>()).await?;
    enqueue::insert(shared, on, &ids, &entries).await
}

/// What one schedule has due.
struct Ticks {
    entries: Vec<Entry>,
    next: Option<Timestamp>,
    last: Option<Timestamp>,
}

fn ticks(shared: &Shared, row: &Row, now: Timestamp) -> Result<Ticks> {
    let key: &str = row.get("key");
    let schedule: Schedule = rows::json(row.get("body"), rows::at("schedule", &key)("body"))?;
    let Time(next) = row.get("next_at");
    let due = schedule.timetable()?.due(next, now, schedule.missed);
    let entry = |tick: &Timestamp| Entry::of(shared, &schedule.job(*tick)?);
    let entries = due.fire.iter().map(entry).collect::<Result<_>>()?;
    Ok(Ticks { entries, next: due.next, last: due.fire.last().copied() })
}
