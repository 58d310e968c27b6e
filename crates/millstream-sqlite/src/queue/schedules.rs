//! Schedules: a job per tick, once among all processes, because the transaction that enqueues it moves the tick.

use millstream_core::{Error, QueueName, Result, Schedule, ScheduleInfo, Timestamp};
use rusqlite::{Connection, Row, params};
use std::time::Duration;

use super::enqueue;
use crate::{
    fault::Fault,
    rows,
    sql::{self, Run},
    store::SqliteStore,
    tx::Tx,
};

/// Schedules of one call: people write them, so there are rarely more, and the rest is due at once.
const BATCH: i64 = 1_000;
/// How long a schedule rests that cannot be read.
const DAMAGED_REST: Duration = Duration::from_secs(60);

/// Writes a schedule; its next tick is counted from now unless expression and time zone are what they were.
pub(crate) async fn upsert(store: &SqliteStore, schedule: &Schedule) -> Result<()> {
    let options = &store.shared().options;
    let timetable = schedule.timetable()?;
    // What its jobs could be refused for is refused here, where somebody reads the answer.
    let now = options.clock.now();
    options.defaults.admit(&schedule.job(now)?, now)?;
    let body =
        serde_json::to_string(schedule).map_err(|error| Error::invalid("schedule", error.to_string(), "JSON"))?;

    let schedule = schedule.clone();
    let doing = format!("write schedule `{}` of queue `{}`", schedule.key, schedule.queue);
    let write = move |tx: &mut Tx<'_>| {
        let queue = tx.queue_made(&schedule.queue)?;
        let stored = tx.conn.first(sql::SCHEDULE_FIND, params![queue.id, &*schedule.key], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?))
        })?;
        let kept = stored.and_then(|(body, next)| same_ticks(&body, &schedule).then_some(next).flatten());
        let next = kept.or_else(|| timetable.next_after(tx.now).map(rows::micros));
        tx.conn.run(sql::SCHEDULE_UPSERT, params![queue.id, &*schedule.key, body, next])?;
        tx.ready(queue.id);
        Ok(())
    };
    store.writer().call(doing, write).await
}

/// Whether the stored schedule ticks as this one does. A damaged one is replaced.
fn same_ticks(body: &str, schedule: &Schedule) -> bool {
    serde_json::from_str::<Schedule>(body)
        .is_ok_and(|stored| stored.cron == schedule.cron && stored.time_zone == schedule.time_zone)
}

/// Schedules by queue and key.
pub(crate) async fn list(store: &SqliteStore, queue: Option<&QueueName>) -> Result<Vec<ScheduleInfo>> {
    let queue = queue.cloned();
    let read = move |conn: &Connection| {
        let rows = conn.all(sql::SCHEDULE_LIST, [queue.as_ref().map(QueueName::as_str)], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?))
        })?;
        let info = |(row, body, next, last): (i64, String, _, _)| {
            let place = rows::at("schedule", &row);
            let schedule = rows::json(&body, place("body"))?;
            let next_at = rows::time_option(next, place("next_at"))?;
            Ok(ScheduleInfo { schedule, next_at, last_at: rows::time_option(last, place("last_at"))? })
        };
        rows.into_iter().map(info).collect()
    };
    store.reader().call("list the schedules", read).await
}

/// Removes a schedule.
pub(crate) async fn remove(store: &SqliteStore, queue: &QueueName, key: &str) -> Result<bool> {
    let doing = format!("remove schedule `{key}` of queue `{queue}`");
    let (queue, key) = (queue.clone(), key.to_owned());
    let remove = move |tx: &mut Tx<'_>| match tx.queue(&queue)? {
        Some(queue) => Ok(tx.conn.run(sql::SCHEDULE_DELETE, params![queue.id, key])? > 0),
        None => Ok(false),
    };
    store.writer().call(doing, remove).await
}

/// Enqueues the jobs of due ticks; answers when the next one is due.
///
/// Each schedule fires once per call, with what its `missed` allows: one that catches up more than that is due again
/// at once, and the answer says so.
pub(crate) async fn fire(store: &SqliteStore) -> Result<Option<Timestamp>> {
    store.writer().call_unless("fire schedules", nothing_due, fire_due).await
}

fn nothing_due(conn: &Connection, now: Timestamp) -> Result<Option<Option<Timestamp>>, Fault> {
    let next = next_due(conn)?;
    Ok(next.is_none_or(|next| next > now).then_some(next))
}

fn next_due(conn: &Connection) -> Result<Option<Timestamp>, Fault> {
    let next = conn.first(sql::SCHEDULE_NEXT, [], |row| row.get(0))?.flatten();
    Ok(rows::time_option(next, rows::at("schedule", &"min(next_at)")("next_at"))?)
}

fn fire_due(tx: &mut Tx<'_>) -> Result<Option<Timestamp>, Fault> {
    let due = tx.conn.all(sql::SCHEDULE_DUE, params![rows::micros(tx.now), BATCH], DueRow::read)?;
    for row in due {
        // One schedule that cannot be fired must not stop the others.
        let fired = tx.part(|tx| row.fire(tx))?;
        match fired {
            Ok(()) => {}
            Err(Fault::Refused(error)) => {
                tracing::error!(%error, schedule = row.id, "a schedule cannot fire; it rests for a minute");
                let rested = rows::micros(rows::later(tx.now, DAMAGED_REST));
                tx.conn.run(sql::SCHEDULE_MOVE, params![row.id, rested, None::<i64>])?;
            }
            Err(fault) => return Err(fault),
        }
    }
    next_due(tx.conn)
}

struct DueRow {
    id: i64,
    body: String,
    next: i64,
}

impl DueRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { id: row.get(0)?, body: row.get(1)?, next: row.get(2)? })
    }

    fn fire(&self, tx: &mut Tx<'_>) -> Result<(), Fault> {
        let place = rows::at("schedule", &self.id);
        let schedule: Schedule = rows::json(&self.body, place("body"))?;
        let next = rows::time(self.next, place("next_at"))?;
        let due = schedule.timetable()?.due(next, tx.now, schedule.missed);
        for &tick in &due.fire {
            // A duplicate is fine: an operator's copy of the file, or a clock that was set back.
            enqueue::admit(tx, &schedule.job(tick)?)?;
        }
        let (next, last) = (due.next.map(rows::micros), due.fire.last().copied().map(rows::micros));
        tx.conn.run(sql::SCHEDULE_MOVE, params![self.id, next, last])?;
        Ok(())
    }
}
