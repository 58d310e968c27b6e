//! From Millstream's words to pg-boss's and back: ids, names in the data, outputs, options.

use std::time::Duration;

use millstream_core::{Backoff, JobGroup, JobId, JobName, JobOptions, JobSettings, QueueName, Removal, Result};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Where the Nuxt module's own pg-boss adapter keeps a job's name.
const NAME: &str = "__jobName";
/// The namespace of ids that are made of a caller's own.
const IDS: Uuid = Uuid::from_u128(0x6d69_6c6c_7374_7265_616d_0000_7067_6273);

/// The row's id of a caller's own: itself, where it is a UUID as pg-boss writes one, else made of queue and id.
pub(crate) fn row_id(queue: &QueueName, id: &JobId) -> Uuid {
    uuid(id).unwrap_or_else(|| Uuid::new_v5(&IDS, format!("{queue}\n{id}").as_bytes()))
}

/// An id that is a UUID as pg-boss writes one.
pub(crate) fn uuid(id: &JobId) -> Option<Uuid> {
    Uuid::try_parse(id.as_str()).ok().filter(|uuid| uuid.hyphenated().to_string() == id.as_str())
}

/// Data as the row holds it, and the name, where the data cannot hold it.
pub(crate) fn data_in(queue: &QueueName, name: &JobName, data: &Value) -> (Value, Option<String>) {
    let plain = name.as_str() == queue.as_str();
    match data {
        Value::Object(fields) if fields.contains_key(NAME) => (data.clone(), Some(name.to_string())),
        Value::Null if !plain => (json!({ NAME: name.as_str() }), None),
        Value::Object(fields) if !plain && !fields.is_empty() => {
            let mut named = fields.clone();
            named.insert(NAME.to_owned(), name.as_str().into());
            (Value::Object(named), None)
        }
        _ => (data.clone(), (!plain).then(|| name.to_string())),
    }
}

/// A job's name and data; `beside` is the name that the data could not hold. A job without one goes by its queue's.
pub(crate) fn data_out(queue: &QueueName, beside: Option<&str>, data: Option<Value>) -> (JobName, Value) {
    let data = data.unwrap_or_default();
    if let Some(name) = beside.and_then(|name| JobName::new(name).ok()) {
        return (name, data);
    }
    let named = |fields: &Map<String, Value>| JobName::new(fields.get(NAME)?.as_str()?).ok();
    match data {
        Value::Object(mut fields) => match named(&fields) {
            Some(name) => {
                fields.remove(NAME);
                let data = if fields.is_empty() { Value::Null } else { Value::Object(fields) };
                (name, data)
            }
            None => (queue.into(), Value::Object(fields)),
        },
        data => (queue.into(), data),
    }
}

/// An output or error as pg-boss writes it: null is SQL's, and what is no object stands in one. What looks like such an
/// object itself is wrapped once more, so that it is told from what it holds.
pub(crate) fn output_in(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        value if !value.is_object() || is_wrapped(&value) => Some(json!({ "value": value })),
        value => Some(value),
    }
}

/// The reverse of [`output_in`].
pub(crate) fn output_out(stored: Option<Value>) -> Value {
    match stored {
        Some(Value::Object(mut fields)) if is_wrapped_fields(&fields) => fields.remove("value").unwrap_or_default(),
        stored => stored.unwrap_or_default(),
    }
}

fn is_wrapped(value: &Value) -> bool {
    value.as_object().is_some_and(is_wrapped_fields)
}

fn is_wrapped_fields(fields: &Map<String, Value>) -> bool {
    let inner = (fields.len() == 1).then(|| fields.get("value")).flatten();
    inner.is_some_and(|inner| !inner.is_object() || is_wrapped(inner))
}

/// A wait in whole seconds, rounded up.
pub(crate) fn seconds(wait: Duration) -> i32 {
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    i32::try_from(whole).unwrap_or(i32::MAX)
}

/// A row's columns that say how a job is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(crate) priority: i32,
    pub(crate) retry_limit: i32,
    pub(crate) retry_delay: i32,
    pub(crate) retry_backoff: bool,
    pub(crate) retry_delay_max: Option<i32>,
    pub(crate) expire_seconds: i32,
}

/// Options of ours in pg-boss's words: what is not named is left to the queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct OptionsIn {
    pub(crate) priority: Option<i32>,
    pub(crate) retry_limit: Option<i32>,
    pub(crate) retry_delay: Option<i32>,
    pub(crate) retry_backoff: Option<bool>,
    pub(crate) retry_delay_max: Option<i32>,
    pub(crate) expire_seconds: Option<i32>,
    pub(crate) deletion_seconds: Option<i32>,
    /// Those that whole seconds cannot say, as JSON text.
    pub(crate) beside: Option<String>,
    /// What becomes of the finished job, where it is not pg-boss's retention.
    pub(crate) removal: Option<String>,
}

/// The default's jitter stands for pg-boss's own.
fn default_jitter() -> f32 {
    match Backoff::default() {
        Backoff::Exponential { jitter, .. } => jitter,
        Backoff::Fixed { .. } => 0.0,
    }
}

impl OptionsIn {
    pub(crate) fn of(options: &JobOptions) -> Self {
        let mut beside = JobOptions::default();
        let mut words = Self {
            retry_limit: options.attempts.map(|attempts| i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX)),
            ..Self::default()
        };
        if let Some(priority) = options.priority {
            words.priority = Some(priority.saturating_neg());
            beside.priority = (priority == i32::MIN).then_some(priority);
        }
        if let Some(backoff) = &options.backoff {
            let (delay, grows, cap) = match *backoff {
                Backoff::Fixed { delay } => (delay, false, None),
                Backoff::Exponential { first, cap, .. } => (first, true, Some(cap)),
            };
            words.retry_delay = Some(seconds(delay));
            words.retry_backoff = Some(grows);
            words.retry_delay_max = cap.map(seconds);
            beside.backoff =
                (backoff_out(seconds(delay), grows, cap.map(seconds)) != *backoff).then(|| backoff.clone());
        }
        if let Some(timeout) = options.timeout {
            words.expire_seconds = Some(seconds(timeout).max(1));
            beside.timeout =
                (Duration::from_secs(u64::from(seconds(timeout).unsigned_abs())) != timeout).then_some(timeout);
        }
        let (done, failed) = (options.remove_on_complete, options.remove_on_fail);
        words.deletion_seconds = deletion(done, failed);
        let stays = |removal: Option<Removal>| removal.is_none_or(|removal| removal == Removal::Never);
        if !(stays(done) && stays(failed)) {
            let rule = |removal: Option<Removal>| removal.unwrap_or_default();
            words.removal = Some(json!({ "c": rule(done), "f": rule(failed) }).to_string());
        }
        words.beside = (beside != JobOptions::default()).then(|| json!(beside).to_string());
        words
    }
}

/// pg-boss keeps a finished job one time, however it ended: the longer one; 0 is for ever. What only one end names is
/// left to the queue.
fn deletion(done: Option<Removal>, failed: Option<Removal>) -> Option<i32> {
    let age = |removal: Option<Removal>| match removal? {
        Removal::Keep { age, .. } => age.map(seconds),
        Removal::Never => Some(0),
        Removal::AtOnce => None,
    };
    match (done, failed) {
        (Some(Removal::Never), _) | (_, Some(Removal::Never)) => Some(0),
        _ => match (age(done), age(failed)) {
            (Some(done), Some(failed)) => Some(done.max(failed)),
            _ => None,
        },
    }
}

fn backoff_out(delay: i32, grows: bool, max: Option<i32>) -> Backoff {
    let duration = |seconds: i32| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    match grows {
        false => Backoff::fixed(duration(delay)),
        true => Backoff::Exponential {
            first: duration(delay.max(1)),
            cap: max.map_or(millstream_core::limits::DELAY_MAX, duration),
            jitter: default_jitter(),
        },
    }
}

/// The group that a row names.
pub(crate) fn group(id: Option<&str>, tier: Option<&str>) -> Option<JobGroup> {
    id.map(|id| JobGroup { tier: tier.map(Into::into), ..JobGroup::new(id) })
}

/// The settings that a row and what is beside it say, without its group.
pub(crate) fn settings(columns: Columns, beside: Option<&str>, removal: Option<&str>) -> JobSettings {
    let own: JobOptions = beside.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let removal: Value = removal.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let rule = |end: &str| serde_json::from_value::<Removal>(removal[end].clone()).unwrap_or_default();
    JobSettings {
        attempts: attempts(columns.retry_limit),
        backoff: own
            .backoff
            .unwrap_or_else(|| backoff_out(columns.retry_delay, columns.retry_backoff, columns.retry_delay_max)),
        priority: own.priority.unwrap_or_else(|| columns.priority.saturating_neg()),
        timeout: Some(own.timeout.unwrap_or_else(|| timeout(columns.expire_seconds))),
        remove_on_complete: rule("c"),
        remove_on_fail: rule("f"),
        group: None,
    }
}

/// How many attempts a limit on retries allows.
pub(crate) fn attempts(retry_limit: i32) -> u32 {
    u32::try_from(retry_limit).unwrap_or(0).saturating_add(1)
}

/// How long an attempt may take, by a row of pg-boss's.
pub(crate) fn timeout(expire_seconds: i32) -> Duration {
    Duration::from_secs(u64::try_from(expire_seconds).unwrap_or(0).max(1))
}

/// The wait after a failed attempt, as pg-boss chooses it: doubled after each, half of it random, never above the most.
pub(crate) fn wait(delay: i32, grows: bool, max: Option<i32>, retries: i32, unit: f64) -> Duration {
    let delay = f64::from(delay.max(0));
    if !grows {
        return Duration::from_secs_f64(delay);
    }
    let half = f64::from(2_u32.pow(u32::try_from(retries + 1).unwrap_or(1).min(16))) / 2.0;
    let wait = delay.max(1.0) * (half + half * unit);
    Duration::from_secs_f64(max.map_or(wait, |max| wait.min(f64::from(max.max(0)))))
}

/// The number of a job's latest attempt: pg-boss counts the retries of those that were started.
pub(crate) fn attempt(retry_count: i32, started: bool) -> u32 {
    u32::try_from(retry_count).unwrap_or(0) + u32::from(started)
}

/// # Errors
///
/// [`Error::Invalid`](millstream_core::Error::Invalid) for an output that no store holds.
pub(crate) fn output_text(value: &Value) -> Result<Option<String>> {
    millstream_core::payload::text("output", value)?;
    Ok(output_in(value.clone()).map(|value| value.to_string()))
}

/// An error's text, wrapped as pg-boss wraps it.
pub(crate) fn error_text(error: &Value) -> Option<String> {
    let text = crate::rows::error_text(error);
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    output_in(value).map(|value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> QueueName {
        QueueName::new("q").unwrap()
    }

    #[test]
    fn a_callers_id_has_one_row_id() {
        let id = |text: &str| JobId::new(text).unwrap();
        let own = "018f3a5c-7a4e-7000-8000-000000000001";
        assert_eq!(row_id(&queue(), &id(own)).to_string(), own);
        assert_ne!(row_id(&queue(), &id(&own.to_uppercase())).to_string(), own);
        assert_eq!(row_id(&queue(), &id("a")).get_version_num(), 5);
        assert_ne!(row_id(&queue(), &id("a")), row_id(&QueueName::new("r").unwrap(), &id("a")));
        // Stored rows were found by this; another one would lose them.
        assert_eq!(row_id(&queue(), &id("a")).to_string(), Uuid::new_v5(&IDS, b"q\na").to_string());
    }

    #[test]
    fn data_comes_back_as_it_went() {
        let name = JobName::new("send").unwrap();
        let all = [
            json!(null),
            json!({}),
            json!({ "a": 1 }),
            json!([1]),
            json!("x"),
            json!({ NAME: "mine", "b": 2 }),
            json!({ NAME: 1 }),
        ];
        for data in all {
            for name in [name.clone(), JobName::from(&queue())] {
                let (row, beside) = data_in(&queue(), &name, &data);
                assert_eq!(data_out(&queue(), beside.as_deref(), Some(row)), (name, data.clone()));
            }
        }
        assert_eq!(data_in(&queue(), &name, &json!({ "a": 1 })).0, json!({ "a": 1, NAME: "send" }));
        assert_eq!(data_out(&queue(), None, Some(json!({ "a": 1 }))), (JobName::from(&queue()), json!({ "a": 1 })));
    }

    #[test]
    fn an_output_comes_back_as_it_went() {
        let all = [
            json!(null),
            json!(1),
            json!([2]),
            json!("x"),
            json!({ "a": 1 }),
            json!({ "value": 1 }),
            json!({ "value": { "a": 1 } }),
            json!({ "value": { "value": [] } }),
        ];
        for output in all {
            assert_eq!(output_out(output_in(output.clone())), output);
        }
        assert_eq!(output_in(json!([1])), Some(json!({ "value": [1] })));
        assert_eq!(output_in(json!(null)), None);
    }

    #[test]
    fn options_are_in_pg_boss_words() {
        let ms = Duration::from_millis;
        let words = OptionsIn::of(&JobOptions {
            attempts: Some(4),
            backoff: Some(Backoff::fixed(ms(1_500))),
            priority: Some(5),
            timeout: Some(ms(200)),
            ..JobOptions::default()
        });
        assert_eq!((words.retry_limit, words.retry_delay, words.retry_backoff), (Some(3), Some(2), Some(false)));
        assert_eq!((words.priority, words.expire_seconds, words.deletion_seconds), (Some(-5), Some(1), None));
        assert!(words.beside.is_some_and(|beside| beside.contains("1500") && beside.contains("200")));
        let plain = OptionsIn::of(&JobOptions { backoff: Some(Backoff::default()), ..JobOptions::default() });
        assert_eq!((plain.retry_delay, plain.retry_backoff, plain.retry_delay_max), (Some(1), Some(true), Some(3600)));
        assert_eq!(plain.beside, None);
        let kept = Some(Removal::Keep { count: None, age: Some(ms(1)) });
        let words =
            OptionsIn::of(&JobOptions { remove_on_complete: kept, remove_on_fail: kept, ..JobOptions::default() });
        assert_eq!((words.deletion_seconds, words.removal.is_some()), (Some(1), true));
        assert_eq!(OptionsIn::of(&JobOptions::default()), OptionsIn::default());
    }

    #[test]
    fn a_wait_doubles_up_to_the_most() {
        let secs = |retries, unit| wait(2, true, None, retries, unit).as_secs_f64();
        assert_eq!((secs(0, 0.0), secs(0, 1.0), secs(3, 0.0)), (2.0, 4.0, 16.0));
        assert_eq!(wait(2, true, Some(3), 9, 0.5), Duration::from_secs(3));
        assert_eq!(wait(7, false, None, 9, 0.5), Duration::from_secs(7));
        assert_eq!(wait(0, true, None, 0, 0.0), Duration::from_secs(1));
    }
}
