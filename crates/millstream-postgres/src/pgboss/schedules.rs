//! Schedules, as pg-boss has them: whoever's turn it is writes each tick into pg-boss's own queue for them, where the
//! minute is unique, and whoever takes it from there sends the job. So pg-boss's processes and ours fire each tick once.
//!
//! What pg-boss has no word for (what happens to each missed tick, exact options) is beside its row, and holds as long
//! as the row's expression and time zone are those it was written for.

use std::time::Duration;

use millstream_core::{
    Error, JobOptions, Missed, NewJob, QueueName, Result, Schedule, ScheduleInfo, Timestamp, Timetable,
};
use serde_json::{Value, json};
use tokio_postgres::Row;

use super::{
    boss::{Boss, again},
    insert::{self, Entry, Fields, Stored},
    options::QueueSettings,
    sql::BossSql,
    words::{self, OptionsIn},
};
use crate::{
    fault::Fault,
    rows::{self, Time},
    shared::transact,
    sql::On,
};

/// pg-boss's queue of ticks.
pub(crate) const SEND_IT: &str = "__pgboss__send-it";
/// How long somebody's look at all schedules is enough: pg-boss's own interval.
const LOOK_SECS: i64 = 30;
/// Ticks that are sent on in one transaction: as many as pg-boss takes at once.
const BATCH: i64 = 50;
/// How late a tick may be of a schedule that was never looked at.
const FRESH: Duration = Duration::from_secs(60);
/// Ticks that are looked at to find two in one minute.
const TICKS_LOOKED_AT: usize = 120;

/// Writes a schedule; its next tick is counted from now unless expression and time zone are what they were.
pub(crate) async fn upsert(boss: &Boss, schedule: &Schedule) -> Result<()> {
    let timetable = schedule.timetable()?;
    let now = boss.shared.options.clock.now();
    refuse_seconds(&timetable, now, schedule)?;
    // What its jobs could be refused for is refused here, where somebody reads the answer.
    Entry::of(boss, &schedule.job(now)?)?;
    let doing = || format!("write schedule `{}` of queue `{}`", schedule.key, schedule.queue);
    again!(boss, doing(), upsert_once(boss, schedule, &timetable))?;
    boss.ready([(&schedule.queue, false)]);
    Ok(())
}

/// pg-boss fires a schedule once a minute at most.
fn refuse_seconds(timetable: &Timetable, now: Timestamp, schedule: &Schedule) -> Result<()> {
    let mut minute = None;
    let mut after = now;
    for _ in 0..TICKS_LOOKED_AT {
        let Some(tick) = timetable.next_after(after) else { return Ok(()) };
        let this = tick.as_second().div_euclid(60);
        if minute.replace(this) == Some(this) {
            let expected = "at most one tick a minute: pg-boss's schedules have no more";
            return Err(Error::invalid("cron expression", &*schedule.cron, expected));
        }
        after = tick;
    }
    Ok(())
}

/// What the next tick of a schedule is counted by.
fn seen(cron: &str, zone: &str) -> String {
    format!("{cron}\n{zone}")
}

async fn upsert_once(boss: &Boss, schedule: &Schedule, timetable: &Timetable) -> Result<(), Fault> {
    boss.made(&[&schedule.queue]).await?;
    let shared = &*boss.shared;
    transact!(shared, true, unit => write(boss, unit.on()?, schedule, timetable))
}

async fn write(boss: &Boss, on: On<'_>, schedule: &Schedule, timetable: &Timetable) -> Result<(), Fault> {
    let (queue, key) = (schedule.queue.as_str(), &*schedule.key);
    let found = boss.run(on, BossSql::ScheduleList, &[&Some(queue), &Some(key)]).await?;
    let by = seen(&schedule.cron, &schedule.time_zone);
    let kept = found.first().filter(|row| row.get::<_, Option<&str>>("seen") == Some(&by));
    let next = match kept.and_then(|row| row.get::<_, Option<Time>>("next_at")) {
        Some(next) => Some(next),
        None => {
            let looked = boss.run(on, BossSql::ScheduleNext, &[]).await?;
            let Time(now) = looked.first().ok_or(Fault::Raced)?.get("now");
            timetable.next_after(now).map(Time)
        }
    };
    let body =
        serde_json::to_string(schedule).map_err(|error| Error::invalid("schedule", error.to_string(), "JSON"))?;
    let (data, _) = words::data_in(&schedule.queue, &schedule.name, &schedule.data);
    let data = (!data.is_null()).then(|| data.to_string());
    let options = options_in(boss, schedule).to_string();
    let zone = &*schedule.time_zone;
    let params: [&(dyn crate::sql::Param + Sync); 9] =
        [&queue, &key, &&*schedule.cron, &zone, &data, &options, &body, &by, &next];
    boss.run(on, BossSql::ScheduleUpsert, &params).await?;
    Ok(())
}

/// The options of a schedule's jobs in pg-boss's words.
fn options_in(boss: &Boss, schedule: &Schedule) -> Value {
    let complete = boss.shared.options.defaults.complete(&schedule.queue, schedule.options.clone());
    let words = OptionsIn::of(&complete);
    let mut options = json!({
        "tz": &*schedule.time_zone,
        "key": &*schedule.key,
        "missed": if schedule.missed == Missed::Skip { "skip" } else { "once" },
    });
    let all = [
        ("priority", words.priority.map(Value::from)),
        ("retryLimit", words.retry_limit.map(Value::from)),
        ("retryDelay", words.retry_delay.map(Value::from)),
        ("retryBackoff", words.retry_backoff.map(Value::from)),
        ("retryDelayMax", words.retry_delay_max.map(Value::from)),
        ("expireInSeconds", words.expire_seconds.map(Value::from)),
        ("deleteAfterSeconds", words.deletion_seconds.map(Value::from)),
        ("group", complete.group.map(|group| json!({ "id": group.id }))),
    ];
    for (word, value) in all {
        if let Some(value) = value {
            options[word] = value;
        }
    }
    options
}

/// A job's fields from the options of a schedule of pg-boss's; what it does not name is the queue's.
fn fields(options: &Value) -> Fields {
    let number = |word: &str| options[word].as_f64().map(|number| number as i32);
    let text = |word: &Value| word.as_str().map(str::to_owned);
    Fields {
        words: OptionsIn {
            priority: number("priority"),
            retry_limit: number("retryLimit"),
            retry_delay: number("retryDelay"),
            retry_backoff: options["retryBackoff"].as_bool(),
            retry_delay_max: number("retryDelayMax"),
            expire_seconds: number("expireInSeconds"),
            deletion_seconds: number("deleteAfterSeconds"),
            ..OptionsIn::default()
        },
        delay: options["startAfter"].as_f64().filter(|wait| *wait > 0.0).map(Duration::from_secs_f64),
        singleton_key: text(&options["singletonKey"]),
        every: options["singletonSeconds"].as_i64().filter(|seconds| *seconds > 0),
        retention: number("retentionSeconds"),
        group_id: text(&options["group"]["id"]),
        group_tier: text(&options["group"]["tier"]),
        dead_letter: text(&options["deadLetter"]),
        heartbeat: number("heartbeatSeconds"),
        ..Fields::default()
    }
}

/// A stored schedule, as pg-boss or as we wrote it.
struct Kept {
    schedule: Schedule,
    /// Whether its jobs are made from ours, rather than from pg-boss's words.
    ours: bool,
    by: String,
    next: Option<Timestamp>,
    last: Option<Timestamp>,
}

fn read(row: &Row) -> Result<Kept> {
    let (key, cron, zone): (&str, &str, &str) = (row.get("key"), row.get("cron"), row.get("zone"));
    let place = rows::at("schedule", &key);
    let by = seen(cron, zone);
    let known = row.get::<_, Option<&str>>("seen") == Some(&by);
    let time = |column: &str| row.get::<_, Option<Time>>(column).map(|Time(time)| time);
    let (next, last) = (time("next_at").filter(|_| known), time("last_at"));
    if let Some(body) = row.get::<_, Option<&str>>("body").filter(|_| known) {
        let schedule = rows::json(body, place("body"))?;
        return Ok(Kept { schedule, ours: true, by, next, last });
    }
    let queue: QueueName = rows::word(row.get("queue"), place("name"))?;
    if row.get::<_, &str>("kind") != "cron" {
        return Err(Error::Unsupported { store: super::store::KIND, what: "schedules by RRULE" });
    }
    let options: Value = rows::json_option(row.get("options"), place("options"))?.unwrap_or_default();
    let data = rows::json_option(row.get("data"), place("data"))?;
    let (name, data) = words::data_out(&queue, None, data);
    let named = fields(&options);
    let words = named.words;
    let seconds = |seconds: i32| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let schedule = Schedule {
        queue,
        key: key.into(),
        cron: cron.into(),
        time_zone: zone.into(),
        name,
        data,
        options: JobOptions {
            attempts: words.retry_limit.map(|limit| u32::try_from(limit).unwrap_or(0) + 1),
            priority: words.priority.map(i32::saturating_neg),
            timeout: words.expire_seconds.map(seconds),
            group: words::group(named.group_id.as_deref(), named.group_tier.as_deref()),
            ..JobOptions::default()
        },
        missed: if options["missed"] == "once" { Missed::Once } else { Missed::Skip },
    };
    Ok(Kept { schedule, ours: false, by, next, last })
}

/// Schedules by queue and key.
pub(crate) async fn list(boss: &Boss, queue: Option<&QueueName>) -> Result<Vec<ScheduleInfo>> {
    let name = queue.map(QueueName::as_str);
    let found = boss.call("list the schedules", BossSql::ScheduleList, &[&name, &None::<&str>]).await?;
    let mut infos = Vec::with_capacity(found.len());
    for row in &found {
        match read(row) {
            Ok(Kept { schedule, next, last, .. }) => {
                let Time(now) = row.get("now");
                let counted = || schedule.timetable().ok()?.next_after(now);
                infos.push(ScheduleInfo { next_at: next.or_else(counted), last_at: last, schedule });
            }
            Err(error) => tracing::warn!(%error, "a schedule of pg-boss's is left out"),
        }
    }
    Ok(infos)
}

/// Removes a schedule.
pub(crate) async fn remove(boss: &Boss, queue: &QueueName, key: &str) -> Result<bool> {
    let doing = format!("remove schedule `{key}` of queue `{queue}`");
    Ok(!boss.call(doing, BossSql::ScheduleDelete, &[&queue.as_str(), &key]).await?.is_empty())
}

/// Fires what is due, where it is this process's turn, and sends on what waits; answers when to look again.
pub(crate) async fn fire(boss: &Boss) -> Result<Option<Timestamp>> {
    if !boss.schedule {
        return Ok(None);
    }
    let look = look(boss).await?;
    let due = look.unseen || look.next.is_some_and(|next| next <= look.now);
    if due && look.is_turn() {
        let send_it = QueueName::new(SEND_IT)?;
        again!(boss, "fire schedules", made(boss, &send_it))?;
        again!(boss, "fire schedules", fire_once(boss, &send_it))?;
    }
    if due || look.waits {
        while let Some(stored) = again!(boss, "send ticks on", send_once(boss))? {
            stored.tell(boss);
        }
    }
    let look = if due { self::look(boss).await? } else { look };
    // Whose turn it was not may look when it can be its own.
    Ok(look.next.map(|next| if next <= look.now { next.max(look.turn()) } else { next }))
}

/// What a glance at all schedules tells.
struct Look {
    next: Option<Timestamp>,
    unseen: bool,
    looked: Option<Timestamp>,
    now: Timestamp,
    waits: bool,
}

impl Look {
    /// When somebody may look again.
    fn turn(&self) -> Timestamp {
        let wait = Duration::from_secs(LOOK_SECS.unsigned_abs());
        self.looked.and_then(|looked| looked.checked_add(wait).ok()).unwrap_or(self.now)
    }

    fn is_turn(&self) -> bool {
        self.turn() <= self.now
    }
}

async fn look(boss: &Boss) -> Result<Look> {
    let rows = boss.call("look for due schedules", BossSql::ScheduleNext, &[]).await?;
    let row = rows.first().ok_or_else(|| Error::Corrupt {
        table: "version",
        column: "cron_on",
        row: boss.theirs.as_str().to_owned(),
        why: "the statement answered nothing".to_owned(),
    })?;
    let time = |column: &str| row.get::<_, Option<Time>>(column).map(|Time(time)| time);
    let Time(now) = row.get("now");
    Ok(Look { next: time("next_at"), unseen: row.get("unseen"), looked: time("looked"), now, waits: row.get("waits") })
}

/// pg-boss's own queue of ticks, as it makes it.
async fn made(boss: &Boss, send_it: &QueueName) -> Result<(), Fault> {
    let conn = boss.shared.conn().await?;
    let on = On::Conn(&conn);
    if boss.one(on, send_it).await?.is_none() {
        let settings = QueueSettings {
            retry_delay: Duration::ZERO,
            retry_backoff: false,
            retry_delay_max: None,
            ..QueueSettings::default()
        };
        boss.run(on, BossSql::QueueCreate, &[&SEND_IT, &settings.words().to_string()]).await?;
    }
    Ok(())
}

async fn fire_once(boss: &Boss, send_it: &QueueName) -> Result<(), Fault> {
    let shared = &*boss.shared;
    transact!(shared, true, unit => fire_in(boss, unit.on()?, send_it))
}

async fn fire_in(boss: &Boss, on: On<'_>, send_it: &QueueName) -> Result<(), Fault> {
    if boss.run(on, BossSql::ScheduleClaim, &[&LOOK_SECS]).await?.is_empty() {
        return Ok(());
    }
    let known = boss.known(on, &[send_it]).await?;
    for row in &boss.run(on, BossSql::ScheduleList, &[&None::<&str>, &None::<&str>]).await? {
        let (queue, key): (&str, &str) = (row.get("queue"), row.get("key"));
        let fired = match ticks(boss, row, send_it) {
            Ok(Some(fired)) => fired,
            Ok(None) => continue,
            // One schedule that cannot be fired must not stop the others; pg-boss may know what to do with it.
            Err(error) => {
                tracing::warn!(%error, queue, schedule = key, "a schedule cannot be fired from here");
                let by = seen(row.get("cron"), row.get("zone"));
                boss.run(on, BossSql::ScheduleMove, &[&queue, &key, &by, &None::<Time>, &None::<Time>]).await?;
                continue;
            }
        };
        let entries: Vec<&Entry> = fired.entries.iter().collect();
        // Refused where pg-boss's own process wrote the same minute: that is what it is for.
        insert::insert(boss, on, &known, &entries).await?;
        let (next, last) = (fired.next.map(Time), fired.last.map(Time));
        boss.run(on, BossSql::ScheduleMove, &[&queue, &key, &fired.by, &next, &last]).await?;
    }
    Ok(())
}

/// What one schedule has due.
struct Fired {
    entries: Vec<Entry>,
    by: String,
    next: Option<Timestamp>,
    last: Option<Timestamp>,
}

fn ticks(boss: &Boss, row: &Row, send_it: &QueueName) -> Result<Option<Fired>> {
    let stored = read(row)?;
    let Time(now) = row.get("now");
    let timetable = stored.schedule.timetable().or_else(|_| {
        // pg-boss's schedules may have no key, which ours have.
        Timetable::new(&stored.schedule.cron, &stored.schedule.time_zone)
    })?;
    let next = match stored.next {
        Some(next) => next,
        None => {
            let fresh = now.checked_sub(FRESH).unwrap_or(now).max(row.get::<_, Time>("created_on").0);
            match timetable.next_after(fresh) {
                Some(next) => next,
                None => return Ok(None),
            }
        }
    };
    if next > now && stored.next.is_some() {
        return Ok(None);
    }
    let due = timetable.due(next, now, stored.schedule.missed);
    let (data, options): (Option<&str>, Option<&str>) = (row.get("data"), row.get("options"));
    let place = rows::at("schedule", &"");
    let data = rows::json_option(data, place("data"))?;
    let options = rows::json_option(options, place("options"))?.unwrap_or_else(|| json!({}));
    let (queue, key): (&str, &str) = (row.get("queue"), row.get("key"));
    let entry = |tick: &Timestamp| {
        let slot = slot(*tick);
        let data = json!({ "name": queue, "key": key, "data": data, "options": options, "slot": slot });
        let singleton_key = Some(format!("{}__{key}", queue.replace('_', "\\_")));
        Entry::plain(boss, send_it, &data, Fields { singleton_key, slot: Some(slot), ..Fields::default() })
    };
    let entries = due.fire.iter().map(entry).collect::<Result<_>>()?;
    Ok(Some(Fired { entries, by: stored.by, next: due.next, last: due.fire.last().copied() }))
}

/// The minute of a tick, as pg-boss writes it.
fn slot(tick: Timestamp) -> String {
    let minute = Timestamp::from_second(tick.as_second().div_euclid(60) * 60).unwrap_or(tick);
    minute.strftime("%Y-%m-%d %H:%M:00").to_string()
}

/// The minute that a slot names.
fn tick(slot: &str) -> Option<Timestamp> {
    format!("{}Z", slot.replacen(' ', "T", 1)).parse().ok()
}

/// Sends a batch of ticks on; `None`: none waits.
async fn send_once(boss: &Boss) -> Result<Option<Stored>, Fault> {
    let shared = &*boss.shared;
    transact!(shared, true, unit => send_in(boss, unit.on()?))
}

async fn send_in(boss: &Boss, on: On<'_>) -> Result<Option<Stored>, Fault> {
    let taken = boss.run(on, BossSql::SendIt, &[&BATCH]).await?;
    if taken.is_empty() {
        return Ok(None);
    }
    let (mut entries, mut keys) = (Vec::new(), Vec::new());
    for row in &taken {
        let data: Value = rows::json_option(row.get("data"), rows::at("job", &SEND_IT)("data"))?.unwrap_or_default();
        match sent(boss, on, &data).await {
            Ok((entry, key)) => {
                entries.push(entry);
                keys.push(key);
            }
            Err(Fault::Refused(error)) => tracing::warn!(%error, "a tick cannot be sent on"),
            Err(fault) => return Err(fault),
        }
    }
    let mut names: Vec<&QueueName> = entries.iter().map(|entry: &Entry| &entry.queue).collect();
    names.sort_unstable();
    names.dedup();
    let known = boss.known(on, &names).await?;
    let entries: Vec<&Entry> = entries.iter().filter(|entry| known.contains_key(&entry.queue)).collect();
    let stored = insert::insert(boss, on, &known, &entries).await?;
    for ((entry, key), answer) in entries.iter().zip(&keys).zip(&stored.answers) {
        if answer.is_some() {
            let (queue, id) = (entry.queue.as_str(), entry.id.to_string());
            boss.run(on, BossSql::ScheduleLast, &[&queue, &key.as_str(), &id]).await?;
        }
    }
    Ok(Some(stored))
}

/// The job of a tick: as our schedule says, where it is ours, else in pg-boss's words.
async fn sent(boss: &Boss, on: On<'_>, data: &Value) -> Result<(Entry, String), Fault> {
    let queue = QueueName::new(data["name"].as_str().unwrap_or_default())?;
    let key = data["key"].as_str().unwrap_or_default();
    let found = boss.run(on, BossSql::ScheduleList, &[&Some(queue.as_str()), &Some(key)]).await?;
    let stored = found.first().map(read).transpose().unwrap_or(None).filter(|stored| stored.ours);
    let tick = data["slot"].as_str().and_then(tick);
    let entry = match stored.zip(tick) {
        Some((stored, tick)) => Entry::of(boss, &NewJob { ..stored.schedule.job(tick)? })?,
        None => Entry::plain(boss, &queue, &data["data"], fields(&data["options"]))?,
    };
    Ok((entry, key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_the_minute() {
        let at: Timestamp = "2026-11-21T12:01:42.5Z".parse().unwrap();
        assert_eq!(slot(at), "2026-11-21 12:01:00");
        assert_eq!(tick(&slot(at)).unwrap().to_string(), "2026-11-21T12:01:00Z");
    }

    #[test]
    fn options_of_pg_boss_are_read() {
        let fields = fields(
            &json!({ "priority": 3, "retryLimit": 1, "singletonKey": "k", "tz": "UTC", "group": { "id": "g" } }),
        );
        assert_eq!((fields.words.priority, fields.words.retry_limit), (Some(3), Some(1)));
        assert_eq!((fields.singleton_key.as_deref(), fields.group_id.as_deref()), (Some("k"), Some("g")));
    }
}
