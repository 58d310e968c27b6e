//! One key: where it is, what it takes, what it means.

use serde_json::Value;

/// One key of the configuration.
#[derive(Clone, Debug)]
pub struct Key {
    /// Where it is, in camelCase; `*` stands for a queue's name.
    pub path: String,
    /// Other places where it may be written.
    pub aliases: Vec<String>,
    /// What it takes.
    pub kind: Kind,
    /// What holds without it, in words or as a value.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text that is never shown.
    Secret,
    /// A connection URL; its password is never shown.
    Url,
    /// A file's path. A relative one is relative to the file it is written in, or else to the working directory.
    Path,
    /// `true` or `false`.
    Flag,
    /// A whole number between two bounds, both included.
    Whole(u64, u64),
    /// A whole number that may be negative.
    Signed,
    /// A number from 0 to 1.
    Share,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `false` (never), `true` (at once), or how many are kept.
    Removal,
}

impl Kind {
    /// What it takes, in words.
    pub fn expected(&self) -> String {
        match self {
            Self::Text | Self::Secret => "text".into(),
            Self::Url => "a connection URL".into(),
            Self::Path => "a path".into(),
            Self::Flag => "`true` or `false`".into(),
            Self::Whole(low, high) => format!("a whole number from {low} to {high}"),
            Self::Signed => format!("a whole number from {} to {}", i32::MIN, i32::MAX),
            Self::Share => "a number from 0 to 1".into(),
            Self::OneOf(words) => one_of(words),
            Self::Removal => "`true`, `false`, or how many are kept".into(),
        }
    }

    /// The value as this kind holds it; `None` if it is of another kind. Text from the environment and from flags
    /// (`from_text`) is read as whatever the key takes.
    pub(super) fn read(&self, value: &Value, from_text: bool) -> Option<Value> {
        match (self, value) {
            (Self::Text | Self::Secret | Self::Url | Self::Path, Value::String(text)) => {
                (!text.is_empty()).then(|| value.clone())
            }
            (Self::OneOf(words), Value::String(text)) => words.contains(&&**text).then(|| value.clone()),
            (Self::Flag | Self::Removal, Value::Bool(_)) => Some(value.clone()),
            (Self::Whole(low, high), Value::Number(number)) => {
                number.as_u64().filter(|number| (low..=high).contains(&number)).map(Value::from)
            }
            (Self::Signed, Value::Number(number)) => {
                number.as_i64().and_then(|number| i32::try_from(number).ok()).map(Value::from)
            }
            (Self::Share, Value::Number(number)) => {
                number.as_f64().filter(|share| (0.0..=1.0).contains(share)).map(Value::from)
            }
            (Self::Removal, Value::Number(number)) => {
                number.as_u64().and_then(|count| u32::try_from(count).ok()).map(Value::from)
            }
            (_, Value::String(text)) if from_text => {
                let meant = text.trim().parse().ok().filter(|value| !matches!(value, Value::String(_)))?;
                self.read(&meant, false)
            }
            _ => None,
        }
    }

    /// Whether its value is never shown.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self, Self::Secret)
    }
}

/// `` `a`, `b` or `c` ``.
pub(super) fn one_of(words: &[&str]) -> String {
    match words {
        [] => "nothing".into(),
        [only] => format!("`{only}`"),
        [most @ .., last] => format!("`{}` or `{last}`", most.join("`, `")),
    }
}
