//! Cron expressions and time zones, against clocks that are read minute by minute.

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use millstream_core::{Missed, Timetable, limits::SCHEDULE_CATCH_UP_MAX};
use proptest::prelude::*;

const MINUTE: SignedDuration = SignedDuration::from_secs(60);

/// One field of an expression, and the values it means.
#[derive(Clone, Debug)]
struct Field {
    text: String,
    values: Vec<i8>,
    /// Whether it lists its values, rather than running every so often.
    named: bool,
}

fn field(low: i8, high: i8) -> BoxedStrategy<Field> {
    let every = Just(Field { text: "*".into(), values: (low..=high).collect(), named: false });
    let step = (2..=(high - low)).prop_map(move |step| Field {
        text: format!("*/{step}"),
        values: (low..=high).step_by(step as usize).collect(),
        named: false,
    });
    let list = prop::collection::btree_set(low..=high, 1..4).prop_map(|values| Field {
        text: values.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        values: values.into_iter().collect(),
        named: true,
    });
    let range = (low..=high, low..=high).prop_map(|(a, b)| Field {
        text: format!("{}-{}", a.min(b), a.max(b)),
        values: (a.min(b)..=a.max(b)).collect(),
        named: true,
    });
    prop_oneof![1 => every, 2 => step, 3 => list, 1 => range].boxed()
}

#[derive(Clone, Debug)]
struct Expression {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

/// Either the day of the month or that of the week is free: given both, either may match, which has a test of its own.
fn expression() -> impl Strategy<Value = Expression> {
    let free = |low, high| Field { text: "*".into(), values: (low..=high).collect(), named: false };
    let days = prop_oneof![
        2 => Just((free(1, 31), free(0, 6))),
        1 => field(1, 31).prop_map(move |day| (day, free(0, 6))),
        1 => field(0, 6).prop_map(move |weekday| (free(1, 31), weekday)),
    ];
    (field(0, 59), field(0, 23), days, prop_oneof![3 => Just(free(1, 12)), 1 => field(1, 12)])
        .prop_map(|(minute, hour, (day, weekday), month)| Expression { minute, hour, day, month, weekday })
}

impl Expression {
    fn text(&self) -> String {
        let fields = [&self.minute, &self.hour, &self.day, &self.month, &self.weekday];
        fields.map(|field| field.text.as_str()).join(" ")
    }

    fn matches(&self, clock: DateTime) -> bool {
        self.minute.values.contains(&clock.minute())
            && self.hour.values.contains(&clock.hour())
            && self.day.values.contains(&clock.day())
            && self.month.values.contains(&clock.month())
            && self.weekday.values.contains(&clock.weekday().to_sunday_zero_offset())
    }

    fn names_its_times(&self) -> bool {
        self.minute.named && self.hour.named
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The ticks after `from`, up to `to`: the clock of the zone is read at every minute.
fn read_off(expression: &Expression, zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    // Read from some hours before: what is shown a second time was shown a first time.
    let (mut ticks, mut now) = (Vec::new(), from - SignedDuration::from_hours(3));
    let mut latest = zone.to_datetime(now);
    while now < to {
        now += MINUTE;
        let clock = zone.to_datetime(now);
        let shown_again = clock <= latest;
        let mut skipped = latest + MINUTE;
        let mut skipped_one = false;
        while skipped < clock {
            skipped_one |= expression.matches(skipped);
            skipped += MINUTE;
        }
        let tick = match expression.names_its_times() {
            true => !shown_again && (skipped_one || expression.matches(clock)),
            false => expression.matches(clock),
        };
        if tick && now > from {
            ticks.push(now);
        }
        latest = latest.max(clock);
    }
    ticks
}

fn ticks(timetable: &Timetable, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    std::iter::successors(timetable.next_after(from), |tick| timetable.next_after(*tick))
        .take_while(|tick| *tick <= to)
        .collect()
}

/// Days around changes of the clock, and the plain days between them.
fn begins() -> impl Strategy<Value = (&'static str, Timestamp)> {
    let around = |zone, text: &'static str| {
        (0_i64..60).prop_map(move |hours| (zone, at(text) + SignedDuration::from_hours(hours)))
    };
    prop_oneof![
        around("Europe/Berlin", "2026-03-27T12:00:00Z"),
        around("Europe/Berlin", "2026-10-23T12:00:00Z"),
        around("America/New_York", "2026-03-06T12:00:00Z"),
        around("America/New_York", "2026-10-30T12:00:00Z"),
        around("Australia/Lord_Howe", "2026-04-03T03:00:00Z"),
        around("Australia/Lord_Howe", "2026-10-02T03:00:00Z"),
        around("Africa/Cairo", "2026-04-22T12:00:00Z"),
        around("Asia/Kolkata", "2026-06-01T00:00:00Z"),
        around("UTC", "2028-02-27T00:00:00Z"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn ticks_are_those_read_off_the_clock(expression in expression(), (zone, from) in begins()) {
        let timetable = Timetable::new(&expression.text(), zone).unwrap();
        let to = from + SignedDuration::from_hours(72);
        let wanted = read_off(&expression, &TimeZone::get(zone).unwrap(), from, to);
        prop_assert_eq!(ticks(&timetable, from, to), wanted, "{} in {}", expression.text(), zone);
    }

    #[test]
    fn ticks_always_go_on(expression in expression(), (zone, from) in begins(), late in 0_i64..3_600_000) {
        let timetable = Timetable::new(&expression.text(), zone).unwrap();
        let mut now = from + SignedDuration::from_millis(late);
        for _ in 0..20 {
            let Some(next) = timetable.next_after(now) else { break };
            prop_assert!(next > now, "{next} after {now}");
            prop_assert_eq!(next.subsec_nanosecond(), 0);
            now = next;
        }
    }

    #[test]
    fn nothing_lies_between_two_ticks(expression in expression(), (zone, from) in begins(), share in 0.0_f64..1.0) {
        let timetable = Timetable::new(&expression.text(), zone).unwrap();
        if let Some(next) = timetable.next_after(from) {
            let between = from + SignedDuration::from_secs_f64(next.duration_since(from).as_secs_f64() * share * 0.99);
            prop_assert_eq!(timetable.next_after(between), Some(next));
        }
    }

    #[test]
    fn what_is_due_keeps_to_its_policy(minutes in 0_i64..3000, seconds in 0_i64..60) {
        let timetable = Timetable::new("*/5 * * * *", "UTC").unwrap();
        let next = at("2026-11-21T12:00:00Z");
        let now = next + SignedDuration::from_secs(minutes * 60 + seconds);
        let passed = ticks(&timetable, next - MINUTE, now);
        let after = timetable.next_after(now);

        let once = timetable.due(next, now, Missed::Once);
        prop_assert_eq!(once.fire.as_slice(), &passed[passed.len() - 1..]);
        prop_assert_eq!(once.next, after);

        let skip = timetable.due(next, now, Missed::Skip);
        let fresh: Vec<_> = passed.iter().copied().filter(|tick| now.duration_since(*tick) <= MINUTE).collect();
        prop_assert_eq!(skip.fire, fresh);
        prop_assert_eq!(skip.next, after);

        let all = timetable.due(next, now, Missed::All);
        prop_assert_eq!(all.fire, passed);
        prop_assert_eq!(all.next, after);
    }
}

#[test]
fn nothing_is_due_before_the_next_tick() {
    let timetable = Timetable::new("0 * * * *", "UTC").unwrap();
    let next = at("2026-11-21T13:00:00Z");
    for missed in [Missed::Skip, Missed::Once, Missed::All] {
        let due = timetable.due(next, next - MINUTE, missed);
        assert_eq!((due.fire, due.next), (vec![], Some(next)), "{missed:?}");
    }
}

/// A schedule that slept for long: a catch-up has a bound, the rest comes with the next, and the others do not look at
/// every tick that passed.
#[test]
fn a_long_sleep_is_caught_up_in_bounds() {
    let timetable = Timetable::new("* * * * * *", "UTC").unwrap();
    let (next, now) = (at("2025-11-21T12:00:00Z"), at("2026-11-21T12:00:00Z"));
    let bound = i64::from(SCHEDULE_CATCH_UP_MAX);

    let all = timetable.due(next, now, Missed::All);
    assert_eq!(all.fire.len() as i64, bound);
    assert_eq!(all.fire[0], next, "the oldest first");
    assert_eq!(all.next, Some(next + SignedDuration::from_secs(bound)), "the rest is still to come");

    let once = timetable.due(next, now, Missed::Once);
    assert_eq!((once.fire, once.next), (vec![now], Some(now + SignedDuration::from_secs(1))));

    let skip = timetable.due(next, now, Missed::Skip);
    assert!(skip.fire.iter().all(|tick| now.duration_since(*tick) <= MINUTE), "{:?}", skip.fire);
    assert_eq!(skip.fire.last(), Some(&now));
    assert_eq!(skip.next, Some(now + SignedDuration::from_secs(1)));
}

/// The documented days, spelled out: (zone, expression, day, the times of its ticks with their offset).
#[test]
fn daylight_saving_is_as_documented() {
    const BERLIN: &str = "Europe/Berlin";
    const NEW_YORK: &str = "America/New_York";
    let cases: [(&str, &str, &str, &[&str]); 14] = [
        // A time that the clocks skip runs at the first moment after the gap.
        (BERLIN, "30 2 * * *", "2026-03-29", &["03:00+02"]),
        (NEW_YORK, "30 2 * * *", "2026-03-08", &["03:00-04"]),
        // Several of one gap run together, also with one that is due right then.
        (BERLIN, "0,30 2 * * *", "2026-03-29", &["03:00+02"]),
        (BERLIN, "0 2,3 * * *", "2026-03-29", &["03:00+02"]),
        (BERLIN, "15 1-4 * * *", "2026-03-29", &["01:15+01", "03:00+02", "03:15+02", "04:15+02"]),
        // A time that comes twice runs the first time.
        (BERLIN, "30 2 * * *", "2026-10-25", &["02:30+02"]),
        (NEW_YORK, "30 1 * * *", "2026-11-01", &["01:30-04"]),
        (NEW_YORK, "0 1,2 * * *", "2026-11-01", &["01:00-04", "02:00-05"]),
        // By elapsed time: nothing is made up in a gap.
        (BERLIN, "*/30 1-3 * * *", "2026-03-29", &["01:00+01", "01:30+01", "03:00+02", "03:30+02"]),
        (
            BERLIN,
            "45 */1 29 3 *",
            "2026-03-29",
            &[
                "00:45+01", "01:45+01", "03:45+02", "04:45+02", "05:45+02", "06:45+02", "07:45+02", "08:45+02",
                "09:45+02", "10:45+02", "11:45+02", "12:45+02", "13:45+02", "14:45+02", "15:45+02", "16:45+02",
                "17:45+02", "18:45+02", "19:45+02", "20:45+02", "21:45+02", "22:45+02", "23:45+02",
            ],
        ),
        // It goes on through the hour that comes twice.
        (BERLIN, "*/30 2 * * *", "2026-10-25", &["02:00+02", "02:30+02", "02:00+01", "02:30+01"]),
        (
            NEW_YORK,
            "*/20 1 * * *",
            "2026-11-01",
            &["01:00-04", "01:20-04", "01:40-04", "01:00-05", "01:20-05", "01:40-05"],
        ),
        // A wildcard in the seconds is one in the time of day.
        (BERLIN, "*/30 59 2 * * *", "2026-10-25", &["02:59+02", "02:59:30+02", "02:59+01", "02:59:30+01"]),
        // A plain day.
        (BERLIN, "0 9,17 * * 1-5", "2026-11-23", &["09:00+01", "17:00+01"]),
    ];
    for (zone, expression, day, wanted) in cases {
        let timetable = Timetable::new(expression, zone).unwrap();
        let tz = TimeZone::get(zone).unwrap();
        let midnight = day.parse::<jiff::civil::Date>().unwrap().to_zoned(tz.clone()).unwrap();
        let from = midnight.timestamp() - SignedDuration::from_secs(1);
        let to = midnight.tomorrow().unwrap().timestamp() - SignedDuration::from_secs(1);
        let shown: Vec<String> = ticks(&timetable, from, to)
            .into_iter()
            .map(|tick| {
                let shown = tick.to_zoned(tz.clone());
                let format = if shown.second() == 0 { "%H:%M%:::z" } else { "%H:%M:%S%:::z" };
                shown.strftime(format).to_string()
            })
            .collect();
        assert_eq!(shown, wanted, "`{expression}` in {zone} on {day}");
    }
}

/// Given both days, either may match, as in every cron.
#[test]
fn a_day_of_month_or_of_week_may_match() {
    let timetable = Timetable::new("0 0 13 * 5", "UTC").unwrap();
    let found = ticks(&timetable, at("2026-11-01T00:00:00Z"), at("2026-11-30T00:00:00Z"));
    let days: Vec<i8> = found.iter().map(|tick| tick.to_zoned(TimeZone::UTC).day()).collect();
    assert_eq!(days, [6, 13, 20, 27]);
    let timetable = Timetable::new("0 0 10 * 5", "UTC").unwrap();
    let found = ticks(&timetable, at("2026-11-01T00:00:00Z"), at("2026-11-30T00:00:00Z"));
    let days: Vec<i8> = found.iter().map(|tick| tick.to_zoned(TimeZone::UTC).day()).collect();
    assert_eq!(days, [6, 10, 13, 20, 27]);
}

/// A whole day that a zone left out is a gap like any other, and ends no schedule.
#[test]
fn a_day_that_was_left_out_ends_no_schedule() {
    let timetable = Timetable::new("0 12 * * *", "Pacific/Apia").unwrap();
    let found = ticks(&timetable, at("2011-12-29T00:00:00Z"), at("2012-01-01T00:00:00Z"));
    let wanted = ["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z", "2011-12-31T22:00:00Z"];
    assert_eq!(found, wanted.map(at));
}

#[test]
fn what_never_matches_has_no_next_tick() {
    for expression in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
        if let Ok(timetable) = Timetable::new(expression, "Europe/Berlin") {
            assert_eq!(timetable.next_after(at("2026-11-21T00:00:00Z")), None, "{expression}");
        }
    }
}
