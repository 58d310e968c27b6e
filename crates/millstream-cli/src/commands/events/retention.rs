//! `millstream events retention`.

use std::time::Duration;

use clap::{Args, Subcommand};
use millstream::{EventStore, Retention as Bounds, RetentionInfo};
use serde_json::json;

use crate::{
    args::{at_least_one, duration},
    failure::Failure,
    output::{Output, Table, plain, time_or_dash},
    session::Session,
};

/// How long the log keeps events: look, set, and remove now what is past it.
#[derive(Debug, Subcommand)]
pub(crate) enum Retention {
    /// How long the log keeps events, and what each group holds back.
    Show,
    /// Set it in the store, for every process; what their configuration says counts no more.
    Set(Set),
    /// Leave it to each process's configuration again.
    Unset,
    /// Remove now what is past its bounds and no group needs, rather than with the next sweep of a worker.
    Run,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Set {
    /// Events go when they are older, such as 30d.
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_hyphen_values = true)]
    age: Option<Duration>,
    /// The oldest events go while the log is larger with its indexes, such as 500MB or 10GB.
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_hyphen_values = true)]
    size: Option<u64>,
    /// The oldest events go while the log holds more.
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_hyphen_values = true)]
    events: Option<u64>,
    /// Nothing ever goes.
    #[arg(long, conflicts_with_all = ["age", "size", "events"])]
    forever: bool,
}

/// `4096`, `500KB`, `20MB`, `10GB` or `1TB`, in powers of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let expected = || format!("expected a number and a unit, such as 500MB or 10GB, got {text:?}");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| expected())?;
    let unit: u64 = match &text[digits..] {
        "" | "B" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "TB" => 1 << 40,
        _ => return Err(expected()),
    };
    number.checked_mul(unit).ok_or_else(expected)
}

impl Retention {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let (events, output) = (&*session.stores.events, &session.output);
        match self {
            Self::Show => {
                let info = events.retention().await?;
                output.either(&info, || shown(&info, output))
            }
            Self::Set(set) => {
                let bounds = Bounds { age: set.age, bytes: set.size, events: set.events };
                events.set_retention(Some(&bounds)).await?;
                told(events, output).await
            }
            Self::Unset => {
                events.set_retention(None).await?;
                told(events, output).await
            }
            Self::Run => run(events, output).await,
        }
    }
}

/// What holds from now on.
async fn told(events: &dyn EventStore, output: &Output) -> Result<(), Failure> {
    let info = events.retention().await?;
    if output.json {
        output.json(&json!({ "retention": info.retention, "set": info.set }))?;
    }
    output.talk(kept(&info));
    Ok(())
}

async fn run(events: &dyn EventStore, output: &Output) -> Result<(), Failure> {
    let gone = events.expire_events().await?;
    output.either(&json!({ "removed": gone }), || gone.to_string())?;
    let info = events.retention().await?;
    if gone > 0 {
        output.talk(format_args!("removed; the log begins at position {}", info.first));
    }
    if info.retention.is_off() {
        output.talk("the log has no retention: `millstream events retention set` gives it one");
    } else if info.due > 0 {
        output.talk(format_args!("{}; `millstream events retention show` says why", stays(&info)));
    }
    Ok(())
}

fn shown(info: &RetentionInfo, output: &Output) -> String {
    let count = (info.head + 1).saturating_sub(info.first);
    let size = info.bytes.map_or_else(String::new, |bytes| format!(", {}", size(bytes)));
    let mut text = format!("{}\n", kept(info));
    text += &format!(
        "events in the log: {count}, up to position {}{size}, the oldest of {}\n",
        info.head,
        time_or_dash(info.oldest)
    );
    text += &stays(info);
    if !info.holds.is_empty() {
        let mut table = Table::new(["GROUP", "NEEDS FROM", "HOLDS BACK"]);
        for hold in &info.holds {
            table.row([plain(hold.group.as_str()), hold.needs.to_string(), hold.held.to_string()]);
        }
        text += &format!("\n\n{}", table.text(output));
    }
    text
}

/// What is past its bounds, and how much of it groups hold back.
fn stays(info: &RetentionInfo) -> String {
    let held = info.holds.iter().map(|hold| hold.held).max().unwrap_or(0);
    match (info.due, held) {
        (0, _) => "nothing is past its bounds".to_owned(),
        (due, 0) => format!("events past their bounds: {due}, which go with the next sweep"),
        (due, held) => format!("events past their bounds: {due}, of which {held} stay for groups that need them"),
    }
}

/// The bounds in words, and who set them.
fn kept(info: &RetentionInfo) -> String {
    let by = match info.set {
        true => "set for every process",
        false => "as this configuration says",
    };
    format!("the log keeps {} ({by})", bounds(&info.retention))
}

fn bounds(Bounds { age, bytes, events }: &Bounds) -> String {
    let newest = match events {
        Some(1) => Some("the newest event".to_owned()),
        Some(events) => Some(format!("the newest {events} events")),
        None => None,
    };
    match (newest, bytes.map(size), age.map(length)) {
        (None, None, None) => "events for ever".to_owned(),
        (Some(newest), None, None) => newest,
        (None, Some(size), None) => format!("the newest {size} of events"),
        (None, None, Some(age)) => format!("events for {age}"),
        (Some(newest), Some(size), None) => format!("{newest}, at most {size}"),
        (Some(newest), None, Some(age)) => format!("{newest}, for at most {age}"),
        (None, Some(size), Some(age)) => format!("the newest {size} of events, for at most {age}"),
        (Some(newest), Some(size), Some(age)) => format!("{newest}, at most {size}, for at most {age}"),
    }
}

/// A duration in the unit it was most likely given in.
fn length(age: Duration) -> String {
    let millis = age.as_millis();
    let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"), (1, "millisecond")];
    let (unit, name) = units.into_iter().find(|(unit, _)| millis.is_multiple_of(*unit)).unwrap_or(units[4]);
    let number = millis / unit;
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {name}{plural}")
}

/// A size in the greatest unit that fits.
fn size(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TB"), (1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) if bytes.is_multiple_of(unit) => format!("{} {name}", bytes / unit),
        // Tenths, in whole numbers: a float says nothing more.
        Some((unit, name)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(["4096", "2KB", "500MB", "10GB"].map(bytes), [Ok(4_096), Ok(2_048), Ok(500 << 20), Ok(10 << 30)]);
        for text in ["", "MB", "1.5GB", "-1", "10gb", "99999999999TB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!([0, 1_023, 1_536, 10 << 30].map(size), ["0 B", "1023 B", "1.5 KB", "10 GB"]);
    }

    #[test]
    fn ages_are_said_as_they_were_given() {
        let said = ["30d", "1d", "36h", "90m", "61s", "1500ms"].map(|text| length(duration(text).expect(text)));
        assert_eq!(said, ["30 days", "1 day", "36 hours", "90 minutes", "61 seconds", "1500 milliseconds"]);
    }

    #[test]
    fn bounds_are_said_in_a_sentence() {
        let day = Some(Duration::from_secs(86_400));
        let said = |age, bytes, events| bounds(&Bounds { age, bytes, events });
        assert_eq!(said(None, None, None), "events for ever");
        assert_eq!(said(day, None, None), "events for 1 day");
        assert_eq!(said(None, None, Some(1)), "the newest event");
        assert_eq!(said(None, None, Some(2)), "the newest 2 events");
        assert_eq!(said(None, Some(10 << 30), None), "the newest 10 GB of events");
        assert_eq!(said(day, None, Some(2)), "the newest 2 events, for at most 1 day");
        assert_eq!(said(None, Some(1 << 20), Some(2)), "the newest 2 events, at most 1 MB");
        assert_eq!(said(day, Some(1 << 20), None), "the newest 1 MB of events, for at most 1 day");
        assert_eq!(said(day, Some(1 << 20), Some(2)), "the newest 2 events, at most 1 MB, for at most 1 day");
    }
}
