//! Rows to words and back. What the store itself can never have written is an [`Error::Corrupt`] with its address.

use std::{fmt::Display, time::Duration};

use millstream_core::{
    Error, JobState, Result, Timestamp,
    limits::{DELAY_MAX, ERROR_BYTES_MAX},
    payload,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where a value was read, for errors.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    pub(crate) row: &'a dyn Display,
}

/// A place in the making: `at("job", &row)("data")`.
pub(crate) fn at<'a>(table: &'static str, row: &'a dyn Display) -> impl Fn(&'static str) -> Place<'a> {
    move |column| Place { table, column, row }
}

impl Place<'_> {
    pub(crate) fn corrupt(self, why: impl Display) -> Error {
        Error::Corrupt { table: self.table, column: self.column, row: self.row.to_string(), why: why.to_string() }
    }
}

/// Microseconds since 1970: what every time column holds.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

pub(crate) fn time(micros: i64, place: Place<'_>) -> Result<Timestamp> {
    Timestamp::from_microsecond(micros).map_err(|error| place.corrupt(error))
}

pub(crate) fn time_option(micros: Option<i64>, place: Place<'_>) -> Result<Option<Timestamp>> {
    micros.map(|micros| time(micros, place)).transpose()
}

/// `now` and this much more; the end of the calendar where it would lie behind it.
pub(crate) fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Refuses a wait over [`DELAY_MAX`].
pub(crate) fn check_wait(what: &str, wait: Duration) -> Result<()> {
    match wait > DELAY_MAX {
        true => Err(Error::invalid(what, wait, "at most ten years")),
        false => Ok(()),
    }
}

/// A name, state or other checked text.
pub(crate) fn word<T>(text: String, place: Place<'_>) -> Result<T>
where
    T: TryFrom<String, Error = Error>,
{
    T::try_from(text).map_err(|error| place.corrupt(error))
}

pub(crate) fn state(text: &str, place: Place<'_>) -> Result<JobState> {
    text.parse().map_err(|error| place.corrupt(error))
}

pub(crate) fn json<T: DeserializeOwned>(text: &str, place: Place<'_>) -> Result<T> {
    serde_json::from_str(text).map_err(|error| place.corrupt(error))
}

pub(crate) fn json_option(text: Option<String>, place: Place<'_>) -> Result<Option<Value>> {
    text.map(|text| json(&text, place)).transpose()
}

/// A number that is never negative.
pub(crate) fn count<T: TryFrom<i64>>(number: i64, place: Place<'_>) -> Result<T> {
    T::try_from(number).map_err(|_| place.corrupt(format_args!("{number} is out of range")))
}

/// A position or count as SQLite stores it. Above its range there is nothing to find.
pub(crate) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The JSON text of an attempt's error. It is never refused, because the handler that failed cannot do better: a long
/// one keeps its beginning and says so, NUL becomes U+FFFD, one that no reader of JSON would follow says that.
pub(crate) fn error_text(error: &Value) -> String {
    match payload::text("error", error) {
        Ok(text) if text.len() <= ERROR_BYTES_MAX => text,
        _ => shortened(error),
    }
}

fn shortened(error: &Value) -> String {
    if payload::is_too_deep(error) {
        return Value::from("the error was nested too deeply to be kept").to_string();
    }
    let (text, is_text) = match error {
        Value::String(text) => (text.replace('\0', "\u{fffd}"), true),
        other => (other.to_string().replace("\\u0000", "\\ufffd"), false),
    };
    if text.len() > ERROR_BYTES_MAX {
        let end = (0..=ERROR_BYTES_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        return Value::from(format!("{}… ({} bytes)", &text[..end], text.len())).to_string();
    }
    match is_text {
        true => Value::from(text).to_string(),
        false => text,
    }
}

/// The first text above every text with this prefix, as an exclusive upper end.
pub(crate) enum Above {
    Text(String),
    /// There is none: an empty blob, because SQLite orders every blob above every text.
    Everything,
}

impl Above {
    /// The last character of the prefix, one further. Text is ordered by bytes, and UTF-8 orders like code points.
    pub(crate) fn prefix(prefix: &str) -> Self {
        let mut chars: Vec<char> = prefix.chars().collect();
        while let Some(last) = chars.pop() {
            // The range steps over the surrogates, which are no characters.
            if let Some(next) = (last..=char::MAX).nth(1) {
                chars.push(next);
                return Self::Text(chars.into_iter().collect());
            }
        }
        Self::Everything
    }
}

impl rusqlite::ToSql for Above {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self {
            Self::Text(text) => text.to_sql(),
            Self::Everything => Ok(rusqlite::types::ToSqlOutput::Borrowed(rusqlite::types::ValueRef::Blob(&[]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_text() {
        let end = |prefix: &str| match Above::prefix(prefix) {
            Above::Text(text) => Some(text),
            Above::Everything => None,
        };
        assert_eq!(end("ab").as_deref(), Some("ac"));
        assert_eq!(end("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(end("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(end("\u{10ffff}"), None);
        assert_eq!(end(""), None);
    }

    #[test]
    fn an_error_is_kept_whatever_it_holds() {
        assert_eq!(error_text(&json!({ "message": "no" })), r#"{"message":"no"}"#);
        assert_eq!(error_text(&json!("a\0b")), "\"a\u{fffd}b\"");
        assert_eq!(error_text(&json!({ "a": "\0" })), r#"{"a":"\ufffd"}"#);
        let long = error_text(&json!("ä".repeat(ERROR_BYTES_MAX)));
        assert!(long.ends_with(&format!("… ({} bytes)\"", 2 * ERROR_BYTES_MAX)), "{}", &long[long.len() - 40..]);
    }
}
