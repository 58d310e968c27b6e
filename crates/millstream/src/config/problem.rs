//! What is wrong with a configuration: all of it, each with its place, its origin and what was expected.

use std::{fmt, sync::Arc};

use millstream_core::Error;
use serde_json::Value;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    File { path: Arc<str>, line: usize },
    Variable(Arc<str>),
    Flag(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "{name}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    pub(super) place: String,
    pub(super) got: String,
    pub(super) expected: String,
    pub(super) origin: Option<Origin>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: got {}, expected {}", self.place, self.got, self.expected)?;
        match &self.origin {
            Some(origin) => write!(f, " ({origin})"),
            None => Ok(()),
        }
    }
}

/// All problems as one error, one a line.
pub(super) fn error(problems: &[Problem]) -> Error {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    Error::Config(lines.join("\n"))
}

/// A value as an error shows it: short, and without a password.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("{:?}", short(&without_password(text))),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a table".into(),
    }
}

/// A URL without its password; any other text as it is.
pub(super) fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password may hold an unescaped `/`: whatever stands before the last `@` is not shown.
    let Some(at) = rest.rfind('@') else { return text.to_owned() };
    let user = rest[..at.min(end)].split(':').next().unwrap_or_default();
    format!("{scheme}://{user}:…@{}", &rest[at + 1..])
}

fn short(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

/// How many characters must change to make one text of the other.
pub(super) fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, char) in left.chars().enumerate() {
        let mut corner = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let change = corner + usize::from(char != *other);
            corner = row[column + 1];
            row[column + 1] = change.min(corner + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for url in ["postgres://ada:s3cret@db/app", "redis://:s3cret@cache", "postgres://ada:s3/c@ret@db/app?x=1"] {
            let shown = without_password(url);
            assert!(!shown.contains("s3") && !shown.contains("ret@"), "{shown}");
        }
        assert_eq!(without_password("postgres://db/app"), "postgres://db/app");
    }

    #[test]
    fn distance_counts_changes() {
        assert_eq!(distance("adaptor", "adapter"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
