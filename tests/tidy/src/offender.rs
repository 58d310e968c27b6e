//! What a rule found.

use std::fmt;

/// A place that breaks a rule, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offender {
    file: String,
    line: usize,
    what: String,
}

impl Offender {
    /// `line` counts from 1; a finding about a file as a whole stands on line 1.
    pub fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Offender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Fails with all of them, so that one run tells everything.
#[track_caller]
pub fn assert_none(rule: &str, offenders: &[Offender]) {
    let list: Vec<String> = offenders.iter().map(|offender| format!("  {offender}")).collect();
    assert!(list.is_empty(), "{rule}; {} offenders:\n{}\n", list.len(), list.join("\n"));
}
