//! How single arguments are read.

use std::{io::Read as _, time::Duration};

use clap::Args;
use millstream::{
    Backoff, JobGroup, JobOptions, Removal, Timestamp,
    limits::{ATTEMPTS_MAX, DELAY_MAX},
};
use serde_json::Value;

use crate::{failure::Failure, lines};

/// `500ms`, `10s`, `5m`, `2h` or `1d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected a number and a unit, such as 500ms, 10s, 5m, 2h or 1d, got {text:?}");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| expected())?;
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(expected()),
    };
    let duration = number.checked_mul(unit).map(Duration::from_millis).filter(|duration| *duration <= DELAY_MAX);
    duration.ok_or_else(|| format!("expected at most ten years, got {text:?}"))
}

/// A number that is never negative: a position, a version, how many.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a whole number, 0 or more, got {text:?}"))
}

/// As [`number`], of something that is asked for.
pub(crate) fn at_least_one(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("expected a whole number, 1 or more, got {text:?}"))
}

/// A time for errors about what is none.
pub(crate) const TIME_EXAMPLE: &str = "2026-11-21T08:00:00Z";

/// A moment with its zone, as `2026-11-21T08:00:00Z`.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| format!("expected a time with its zone, such as {TIME_EXAMPLE}, got {text:?}"))
}

/// `fixed:10s`, `exponential:1s..1h`, or with a share of jitter `exponential:1s..1h:0.5`.
pub(crate) fn backoff(text: &str) -> Result<Backoff, String> {
    let expected = || format!("expected fixed:10s, exponential:1s..1h or exponential:1s..1h:0.2, got {text:?}");
    match text.split_once(':').ok_or_else(expected)? {
        ("fixed", delay) => Ok(Backoff::fixed(duration(delay)?)),
        ("exponential", rest) => {
            let (range, jitter) = match rest.split_once(':') {
                Some((range, jitter)) => (range, jitter.parse().map_err(|_| expected())?),
                None => (rest, 0.2),
            };
            let (first, cap) = range.split_once("..").ok_or_else(expected)?;
            let backoff = Backoff::Exponential { first: duration(first)?, cap: duration(cap)?, jitter };
            backoff.check().map_err(|error| error.to_string())?;
            Ok(backoff)
        }
        _ => Err(expected()),
    }
}

/// `always`, `never`, how many are kept, or for how long.
fn removal(text: &str) -> Result<Removal, String> {
    match text {
        "always" => Ok(Removal::AtOnce),
        "never" => Ok(Removal::Never),
        _ => match text.parse() {
            Ok(count) => Ok(Removal::Keep { count: Some(count), age: None }),
            Err(_) => match duration(text) {
                Ok(age) => Ok(Removal::Keep { count: None, age: Some(age) }),
                Err(_) => Err(format!("expected always, never, how many to keep, or how long (1d), got {text:?}")),
            },
        },
    }
}

fn group(text: &str) -> Result<JobGroup, String> {
    let group = JobGroup::new(text);
    group.check().map(|()| group).map_err(|error| error.to_string())
}

/// Options of a job; what is left out comes from the configuration.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Job options")]
pub(crate) struct JobOptionArgs {
    /// How many times it may run in all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(ATTEMPTS_MAX)))]
    attempts: Option<u32>,
    /// The wait between attempts: `fixed:10s`, or `exponential:1s..1h` with jitter as in `exponential:1s..1h:0.5`.
    #[arg(long, value_name = "BACKOFF", value_parser = backoff, allow_hyphen_values = true)]
    backoff: Option<Backoff>,
    /// Smaller runs first.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    priority: Option<i32>,
    /// How long one attempt may take.
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_hyphen_values = true)]
    timeout: Option<Duration>,
    /// Once completed: `always`, `never`, how many are kept, or for how long.
    #[arg(long, value_name = "WHEN", value_parser = removal, allow_hyphen_values = true)]
    remove_on_complete: Option<Removal>,
    /// Once failed or cancelled: the same.
    #[arg(long, value_name = "WHEN", value_parser = removal, allow_hyphen_values = true)]
    remove_on_fail: Option<Removal>,
    /// The group whose running jobs it is counted with: a customer's, an account's.
    #[arg(long, value_name = "GROUP", value_parser = group)]
    group: Option<JobGroup>,
}

impl JobOptionArgs {
    pub(crate) fn options(&self) -> JobOptions {
        JobOptions {
            attempts: self.attempts,
            backoff: self.backoff.clone(),
            priority: self.priority,
            timeout: self.timeout,
            delay: None,
            remove_on_complete: self.remove_on_complete,
            remove_on_fail: self.remove_on_fail,
            group: self.group.clone(),
        }
    }
}

/// JSON as an argument; `-` reads it from stdin.
pub(crate) fn json(flag: &str, text: &str) -> Result<Value, Failure> {
    if text == "-" {
        return json_file(flag, "-");
    }
    serde_json::from_str(text).map_err(|error| {
        let hint = if text.starts_with(['{', '[', '"']) { "" } else { "; text needs quotes: '\"…\"'" };
        Failure::usage(format!("{flag}: got {:?} ({error}), expected JSON{hint}", shortened(text, GOT_CHARS_MAX)))
    })
}

/// JSON in a file; `-` is stdin.
pub(crate) fn json_file(flag: &str, path: &str) -> Result<Value, Failure> {
    let name = if path == "-" { "stdin" } else { path };
    let bytes = read(path)?;
    let value = serde_json::from_slice(&bytes).map_err(|error| {
        let got = match shortened(&String::from_utf8_lossy(&bytes), GOT_CHARS_MAX) {
            text if text.is_empty() => "nothing".to_owned(),
            text => format!("{text:?} ({error})"),
        };
        Failure::new(format!("{flag} {name}: got {got}, expected JSON"))
    })?;
    lines::fits(&value).map_err(|why| Failure::new(format!("{flag} {name}: {why}")))?;
    Ok(value)
}

/// A file's bytes; `-` is stdin.
pub(crate) fn read(path: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let (name, done) = match path {
        "-" => ("stdin", std::io::stdin().lock().read_to_end(&mut bytes).map(drop)),
        path => (path, std::fs::read(path).map(|read| bytes = read)),
    };
    done.map_err(|error| Failure::new(format!("failed to read {name}: {error}")))?;
    Ok(bytes)
}

/// How much of what was given is in an error about it.
pub(crate) const GOT_CHARS_MAX: usize = 60;

/// The beginning of a text, for an error.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let read: Vec<u128> =
            ["500ms", "10s", "5m", "2h", "1d"].map(|text| duration(text).expect(text).as_millis()).to_vec();
        assert_eq!(read, [500, 10_000, 300_000, 7_200_000, 86_400_000]);
        for text in ["", "5", "s", "-1s", "1.5s", "1w", "99999999d", "5 s", "5µs"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn backoffs_are_read() {
        assert_eq!(backoff("fixed:10s"), Ok(Backoff::fixed(Duration::from_secs(10))));
        let (first, cap) = (Duration::from_secs(1), Duration::from_secs(60));
        assert_eq!(backoff("exponential:1s..1m:0.5"), Ok(Backoff::Exponential { first, cap, jitter: 0.5 }));
        for text in ["10s", "fixed:", "exponential:1s", "exponential:1s..1m:2", "linear:1s"] {
            assert!(backoff(text).is_err(), "{text}");
        }
    }
}
