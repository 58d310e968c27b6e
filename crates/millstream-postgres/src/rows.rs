//! Rows to words and back. What the store itself can never have written is an [`Error::Corrupt`] with its address.

use std::{error::Error as StdError, fmt::Display, sync::Arc, time::Duration};

use millstream_core::{
    Error, JobCounts, JobId, JobSettings, JobState, QueueInfo, Result, Timestamp,
    limits::{DELAY_MAX, ERROR_BYTES_MAX},
    payload,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type, private::BytesMut, to_sql_checked},
};

/// Microseconds from 1970 to 2000, where Postgres counts from.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A moment as Postgres keeps it, to the microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) Timestamp);

impl ToSql for Time {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(&(self.0.as_microsecond() - EPOCH_MICROS).to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Time {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let micros = i64::from_be_bytes(raw.try_into()?);
        // The infinities, too, are beyond the calendar: they become its ends.
        let shifted = micros.saturating_add(EPOCH_MICROS);
        let clamped = if shifted < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Ok(Self(Timestamp::from_microsecond(shifted).unwrap_or(clamped)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

/// Where a row lies in its table: a hint, true until the row is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tid {
    pub(crate) block: u32,
    pub(crate) line: u16,
}

impl ToSql for Tid {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(&self.block.to_be_bytes());
        out.extend_from_slice(&self.line.to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TID
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Tid {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let (block, line) = raw.split_at_checked(size_of::<u32>()).ok_or("a place without a line")?;
        Ok(Self { block: u32::from_be_bytes(block.try_into()?), line: u16::from_be_bytes(line.try_into()?) })
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TID
    }
}

/// A row's key, as its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(pub(crate) uuid::Uuid);

impl ToSql for Key {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::UUID
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Key {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(uuid::Uuid::from_slice(raw)?))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::UUID
    }
}

/// A `json` column's text, without a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonText<'a>(pub(crate) &'a str);

impl<'a> FromSql<'a> for JsonText<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(std::str::from_utf8(raw)?))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSON
    }
}

/// Where a value was read, for errors.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    pub(crate) row: &'a (dyn Display + Sync),
}

/// A place in the making: `at("job", &row)("data")`.
pub(crate) fn at<'a>(table: &'static str, row: &'a (dyn Display + Sync)) -> impl Fn(&'static str) -> Place<'a> {
    move |column| Place { table, column, row }
}

impl Place<'_> {
    pub(crate) fn corrupt(self, why: impl Display) -> Error {
        Error::Corrupt { table: self.table, column: self.column, row: self.row.to_string(), why: why.to_string() }
    }
}

/// A wait as microseconds.
pub(crate) fn micros(wait: Duration) -> i64 {
    i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)
}

/// Refuses a wait over [`DELAY_MAX`].
pub(crate) fn check_wait(what: &str, wait: Duration) -> Result<()> {
    match wait > DELAY_MAX {
        true => Err(Error::invalid(what, wait, "at most ten years")),
        false => Ok(()),
    }
}

/// A name or other checked text.
pub(crate) fn word<T>(text: &str, place: Place<'_>) -> Result<T>
where
    T: TryFrom<String, Error = Error>,
{
    T::try_from(text.to_owned()).map_err(|error| place.corrupt(error))
}

pub(crate) fn json<T: DeserializeOwned>(text: &str, place: Place<'_>) -> Result<T> {
    serde_json::from_str(text).map_err(|error| place.corrupt(error))
}

pub(crate) fn json_option(text: Option<&str>, place: Place<'_>) -> Result<Option<Value>> {
    text.map(|text| json(text, place)).transpose()
}

/// A number that is never negative.
pub(crate) fn count<T: TryFrom<i64>>(number: i64, place: Place<'_>) -> Result<T> {
    T::try_from(number).map_err(|_| place.corrupt(format_args!("{number} is out of range")))
}

/// A position or count as Postgres stores it. Above its range there is nothing to find.
pub(crate) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A small count as Postgres stores it.
pub(crate) fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(crate) fn shared(text: Option<&str>) -> Option<Arc<str>> {
    text.map(Arc::from)
}

/// The letter that a state is stored as.
pub(crate) const fn letter(state: JobState) -> &'static str {
    match state {
        JobState::Waiting => "w",
        JobState::Delayed => "d",
        JobState::Active => "a",
        JobState::Completed => "c",
        JobState::Failed => "f",
        JobState::Cancelled => "x",
    }
}

pub(crate) fn state(stored: &str, place: Place<'_>) -> Result<JobState> {
    let found = JobState::ALL.into_iter().find(|state| letter(*state) == stored);
    found.ok_or_else(|| place.corrupt(format_args!("no state is stored as {stored:?}")))
}

/// A queue and its counts, of a row that has a column for each state; `table`: where they were counted.
pub(crate) fn queue_info(row: &Row, table: &'static str) -> Result<QueueInfo> {
    let name: &str = row.get("name");
    let paused: bool = row.get("paused");
    let counted = |column: &'static str| count::<u64>(row.get(column), at(table, &name)(column));
    let waiting = counted("waiting")?;
    let counts = JobCounts {
        waiting,
        delayed: counted("delayed")?,
        active: counted("active")?,
        completed: counted("completed")?,
        failed: counted("failed")?,
        cancelled: counted("cancelled")?,
        paused: if paused { waiting } else { 0 },
    };
    Ok(QueueInfo { name: word(name, at("queue", &name)("name"))?, paused, counts })
}

/// Settings as they are stored: not at all, where a job asks for nothing.
pub(crate) fn settings_text(settings: &JobSettings) -> Result<Option<String>> {
    if *settings == JobSettings::default() {
        return Ok(None);
    }
    let text = serde_json::to_string(settings);
    text.map(Some).map_err(|error| Error::invalid("job options", error.to_string(), "JSON"))
}

/// Damaged settings must not keep a job from its life: it goes on by the defaults, and the log says so.
pub(crate) fn settings(text: Option<&str>, job: i64) -> JobSettings {
    let Some(text) = text else { return JobSettings::default() };
    json(text, at("job", &job)("settings")).unwrap_or_else(|error: Error| {
        tracing::error!(%error, "a job goes on with default settings");
        JobSettings::default()
    })
}

/// The id of a job that came without one: a time-ordered UUID (version 7) of when it came and its number. So it needs
/// no column and no index. The database's `job_id` writes the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnId {
    pub(crate) job: i64,
    pub(crate) created_at: Time,
}

impl OwnId {
    pub(crate) fn text(self) -> Result<JobId> {
        let micros = self.created_at.0.as_microsecond();
        let (millis, rest) = (micros.div_euclid(1000) as u128, micros.rem_euclid(1000) as u128);
        let bits = (millis << 80) | (7 << 76) | (rest << 64) | (1 << 63) | u128::from(self.job.unsigned_abs());
        JobId::new(uuid::Uuid::from_u128(bits).to_string())
    }

    /// What an id would mean, if it is one of these.
    pub(crate) fn read(id: &JobId) -> Option<Self> {
        let bits = uuid::Uuid::try_parse(id.as_str()).ok()?.as_u128();
        let micros = ((bits >> 80) as i64).checked_mul(1000)?.checked_add(((bits >> 64) & 0xfff) as i64)?;
        let job = (bits as u64 & !(1 << 63)) as i64;
        let own = Self { job, created_at: Time(Timestamp::from_microsecond(micros).ok()?) };
        // Written back it must be the same: another version, upper case or braces are a caller's own.
        own.text().ok().filter(|text| text == id).map(|_| own)
    }
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

/// The first text above every text with this prefix; `None` where there is none.
pub(crate) fn above(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The last character, one further; the range steps over the surrogates. UTF-8 orders like code points.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_text() {
        assert_eq!(above("ab").as_deref(), Some("ac"));
        assert_eq!(above("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(above("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(above("\u{10ffff}"), None);
        assert_eq!(above(""), None);
    }

    #[test]
    fn an_own_id_is_read_back_and_nothing_else_is() {
        let created_at = Time("2026-11-21T12:00:30.123456Z".parse().unwrap());
        let own = OwnId { job: 77, created_at };
        let text = own.text().unwrap();
        assert_eq!(uuid::Uuid::parse_str(text.as_str()).unwrap().get_version_num(), 7);
        assert_eq!(OwnId::read(&text), Some(own));
        let upper = JobId::new(text.as_str().to_uppercase()).unwrap();
        assert_eq!(OwnId::read(&upper), None);
        assert_eq!(OwnId::read(&JobId::new("3fa85f64-5717-4562-b3fc-2c963f66afa6").unwrap()), None);
    }

    #[test]
    fn an_error_is_kept_whatever_it_holds() {
        assert_eq!(error_text(&json!({ "message": "no" })), r#"{"message":"no"}"#);
        assert_eq!(error_text(&json!("a\0b")), "\"a\u{fffd}b\"");
        assert_eq!(error_text(&json!({ "a": "\0" })), r#"{"a":"\ufffd"}"#);
        let long = error_text(&json!("ä".repeat(ERROR_BYTES_MAX)));
        assert!(long.ends_with(&format!("… ({} bytes)\"", 2 * ERROR_BYTES_MAX)), "{}", &long[long.len() - 40..]);
    }

    /// Stored jobs without settings were written by these; changing them would change those jobs.
    #[test]
    fn the_settings_of_nothing_are_what_they_were() {
        let text = serde_json::to_string(&JobSettings::default()).unwrap();
        let wanted = r#"{"attempts":3,"backoff":{"type":"exponential","firstMs":1000,"capMs":3600000,"jitter":0.2},"priority":0,"timeoutMs":null,"removeOnComplete":false,"removeOnFail":false}"#;
        assert_eq!(text, wanted);
    }
}
