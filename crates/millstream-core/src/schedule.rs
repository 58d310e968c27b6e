//! Schedules: a job each time a cron expression matches, in a time zone.
//!
//! **Exactly one job per tick**, however many processes run: the tick's job has an id made of the schedule's key
//! and the tick, and the store moves a schedule's next tick in the transaction that enqueues the job.
//!
//! **Daylight saving.** An expression that names its times of day (`30 2 * * *`, `0 2,14 * * *`, `0 9-17 * * *`) runs
//! once for each of them: a time that the clocks skip runs at the first moment after the gap (several of one gap
//! together, as one tick), a time that comes twice runs the first time. An expression with a wildcard or a step in its
//! seconds, minutes or hours runs by elapsed time: nothing is made up in a gap, and it goes on through the hour that
//! comes twice.

use std::sync::Arc;

use croner::{
    Cron, CronComponent,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Timestamp,
    error::{Error, Result},
    job::{JobOptions, NewJob},
    limits::SCHEDULE_CATCH_UP_MAX,
    name::{JobId, JobName, QueueName, fitting},
    payload,
};

/// A tick this much late was missed: nobody was there to fire it.
const MISSED_AFTER: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// A job each time a cron expression matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// The queue its jobs go to.
    pub queue: QueueName,
    /// Tells the schedules of one queue apart; writing one with a key that exists replaces it.
    pub key: Arc<str>,
    /// Five fields (minute, hour, day of month, month, day of week), or six with seconds first.
    pub cron: Arc<str>,
    /// An IANA time zone name, such as `Europe/Berlin`.
    pub time_zone: Arc<str>,
    /// The jobs' name.
    pub name: JobName,
    /// The jobs' data.
    pub data: Value,
    /// The jobs' options.
    #[serde(default)]
    pub options: JobOptions,
    /// What happens to ticks that nobody was there to fire.
    #[serde(default)]
    pub missed: Missed,
}

/// What happens to ticks that nobody was there to fire: those more than a minute late when a process looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// They are dropped.
    Skip,
    /// The latest of them runs.
    #[default]
    Once,
    /// Each of them runs, up to [`SCHEDULE_CATCH_UP_MAX`], the oldest first.
    All,
}

/// A stored schedule.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleInfo {
    /// What was asked for.
    #[serde(flatten)]
    pub schedule: Schedule,
    /// Its next tick; `None` if there is none any more.
    pub next_at: Option<Timestamp>,
    /// The latest tick that enqueued a job.
    pub last_at: Option<Timestamp>,
}

/// What is due of one schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct DueTicks {
    /// The ticks to enqueue a job for, oldest first.
    pub fire: Vec<Timestamp>,
    /// The next tick after them.
    pub next: Option<Timestamp>,
}

impl Schedule {
    /// A schedule in UTC whose jobs have no data.
    pub fn new(queue: QueueName, key: impl Into<Arc<str>>, cron: impl Into<Arc<str>>, name: JobName) -> Self {
        Self {
            queue,
            key: key.into(),
            cron: cron.into(),
            time_zone: "UTC".into(),
            name,
            data: Value::Null,
            options: JobOptions::default(),
            missed: Missed::default(),
        }
    }

    /// Reads the expression and the time zone, and checks the rest: what it answers ticks some day.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the part that was wrong.
    pub fn timetable(&self) -> Result<Timetable> {
        payload::check_key("schedule key", &self.key)?;
        self.options.check()?;
        let timetable = Timetable::new(&self.cron, &self.time_zone)?;
        match timetable.next_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(timetable),
            None => Err(Error::invalid("cron expression", &*self.cron, "a date that comes: this one never does")),
        }
    }

    /// The job of one tick. Its id is the same in every process.
    pub fn job(&self, tick: Timestamp) -> Result<NewJob> {
        let id = JobId::new(format!("schedule:{}:{}", fitting(&self.key, 200), tick.as_second()))?;
        let mut job = NewJob::new(self.queue.clone(), self.name.clone(), self.data.clone()).id(id);
        job.options = self.options.clone();
        Ok(job)
    }
}

/// A cron expression in a time zone.
///
/// ```
/// use millstream_core::Timetable;
///
/// let nightly = Timetable::new("30 2 * * *", "Europe/Berlin")?;
/// let before = "2026-11-21T00:00:00Z".parse().unwrap();
/// assert_eq!(nightly.next_after(before).unwrap().to_string(), "2026-11-21T01:30:00Z");
/// # Ok::<(), millstream_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Timetable {
    cron: Cron,
    zone: TimeZone,
}

impl Timetable {
    /// Reads an expression (five fields, or six with seconds first) and an IANA time zone name.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for either.
    pub fn new(cron: &str, time_zone: &str) -> Result<Self> {
        let zone = TimeZone::get(time_zone).map_err(|_| {
            Error::invalid("time zone", time_zone, "an IANA time zone name, such as `UTC` or `Europe/Berlin`")
        })?;
        let cron =
            CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build().parse(cron).map_err(
                |error| {
                    let expected =
                        format!("five cron fields, or six with seconds first, such as `*/5 * * * *` ({error})");
                    Error::invalid("cron expression", cron, expected)
                },
            )?;
        Ok(Self { cron, zone })
    }

    /// The first tick after `after`; `None` if the expression never matches again.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        if self.names_its_times() { self.next_named(after) } else { self.next_elapsed(after) }
    }

    /// Whether it lists times of day, rather than running every so often.
    fn names_its_times(&self) -> bool {
        let pattern = &self.cron.pattern;
        let named = |field: &CronComponent| !field.from_wildcard && field.step == 1;
        named(&pattern.seconds) && named(&pattern.minutes) && named(&pattern.hours)
    }

    /// Each time on the clock once: the first time it is shown, or the end of the gap that skipped it.
    fn next_named(&self, after: Timestamp) -> Option<Timestamp> {
        let mut clock = self.zone.to_datetime(after);
        loop {
            clock = self.next_on_clock(clock)?;
            let found = self.zone.to_ambiguous_timestamp(clock);
            let tick = match found.offset() {
                AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => found.earlier().ok()?,
                // By the offset from after the gap, a skipped time lies before its beginning.
                AmbiguousOffset::Gap { .. } => self.zone.following(found.earlier().ok()?).next()?.timestamp(),
            };
            // In the second pass of an hour, its times were had in the first.
            if tick > after {
                return Some(tick);
            }
        }
    }

    /// Each moment at which the clock shows a time that matches: one stretch of constant offset after the other.
    fn next_elapsed(&self, after: Timestamp) -> Option<Timestamp> {
        let mut offset = self.zone.to_offset(after);
        let mut clock = offset.to_datetime(after);
        for change in self.zone.following(after) {
            let tick = offset.to_timestamp(self.next_on_clock(clock)?).ok()?;
            if tick < change.timestamp() {
                return Some(tick);
            }
            offset = change.offset();
            // The moment of the change may itself be a tick.
            clock = offset.to_datetime(change.timestamp()).checked_sub(jiff::SignedDuration::from_secs(1)).ok()?;
        }
        offset.to_timestamp(self.next_on_clock(clock)?).ok()
    }

    /// The next time that matches on a clock that is never changed.
    fn next_on_clock(&self, clock: DateTime) -> Option<DateTime> {
        let clock = clock.to_zoned(TimeZone::UTC).ok()?;
        self.cron.find_next_occurrence(&clock, false).ok().map(|next| next.datetime())
    }

    /// What is due at `now`, when `next` is the next tick that was not dealt with.
    pub fn due(&self, next: Timestamp, now: Timestamp, missed: Missed) -> DueTicks {
        let mut fire = Vec::new();
        let mut tick = Some(next);
        let mut looked = 0;
        while let Some(at) = tick.filter(|at| *at <= now) {
            let late = now.duration_since(at) > MISSED_AFTER;
            match missed {
                Missed::Skip if late => {}
                Missed::Once => fire = vec![at],
                Missed::Skip | Missed::All => fire.push(at),
            }
            looked += 1;
            if looked == SCHEDULE_CATCH_UP_MAX && missed == Missed::All {
                tick = self.next_after(at);
                break;
            }
            tick = match looked < SCHEDULE_CATCH_UP_MAX {
                true => self.next_after(at),
                // A long sleep of a frequent schedule: what lies between is missed anyway.
                false => self.next_after(at.max(now.checked_sub(MISSED_AFTER).unwrap_or(at))),
            };
        }
        DueTicks { fire, next: tick }
    }
}
