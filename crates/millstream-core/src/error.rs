//! The error of every seam: semantic variants that a caller can act on, and one for the rest.
//!
//! Not found is never an error (it is `Ok(None)` or `Ok(false)`). [`Error`] is cheap to clone, because one
//! failed commit answers every caller whose work travelled in it.

use std::{fmt, sync::Arc};

/// What a store or the worker runtime answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A foreign error, kept whole as the cause.
pub type Source = Arc<dyn std::error::Error + Send + Sync + 'static>;

/// Why a call was refused or failed.
///
/// ```
/// use millstream_core::{Error, QueueName};
///
/// let error = QueueName::new("e mail").unwrap_err();
/// assert!(matches!(error, Error::Invalid { .. }));
/// assert_eq!(
///     error.to_string(),
///     "invalid queue name: got \"e mail\", expected 1 to 255 bytes of letters, digits, `_`, `.`, `-`, `/`"
/// );
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Input that no store accepts. Nothing was written.
    #[error("invalid {what}: got {got}, expected {expected}")]
    Invalid {
        /// Which input: a noun or a path, such as `queue name` or `jobs[3].options.attempts`.
        what: String,
        /// What was given, shortened.
        got: String,
        /// What would have been accepted.
        expected: String,
    },
    /// A stream was not at the version the caller expected. Nothing of this append was written.
    #[error("stream `{stream}` is at version {actual}, expected {expected}")]
    VersionConflict {
        /// The stream.
        stream: Arc<str>,
        /// The caller's expectation.
        expected: u64,
        /// Where the stream is.
        actual: u64,
    },
    /// The log no longer holds the position asked for: retention removed it.
    #[error("events after position {requested} are gone: the log begins at {first}")]
    Truncated {
        /// The position asked for.
        requested: u64,
        /// The first position that is still there.
        first: u64,
    },
    /// The log is shorter than the position asked for: an older copy of it was restored.
    #[error("the log ends at {head}, before the requested position {requested}: was an older copy restored?")]
    LogWentBack {
        /// The position asked for.
        requested: u64,
        /// The log's last position.
        head: u64,
    },
    /// The store lacks this capability, and says so in its `capabilities`.
    #[error("{store} does not support {what}")]
    Unsupported {
        /// The store.
        store: &'static str,
        /// The capability's name.
        what: &'static str,
    },
    /// The store's schema is not one this build can work with.
    #[error("{store} has schema version {found}, expected {expected}: {hint}")]
    Schema {
        /// The store.
        store: &'static str,
        /// What was found, or `none`.
        found: String,
        /// What this build works with.
        expected: String,
        /// What to do about it.
        hint: String,
    },
    /// Data that the store itself can never have written.
    #[error("impossible data in {table}.{column}, row {row}: {why}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong with it.
        why: String,
    },
    /// The store could not do it now. Trying again may help; whether this call took effect is unknown only where
    /// the text says so.
    #[error("{store} failed to {doing}: {source}")]
    Unavailable {
        /// The store.
        store: &'static str,
        /// What it was doing.
        doing: String,
        /// The driver's own error.
        source: Source,
    },
    /// The store or the worker was closed.
    #[error("{what} is closed")]
    Closed {
        /// What was closed.
        what: &'static str,
    },
    /// Configuration that cannot work. The text holds every problem found, one a line.
    #[error("{0}")]
    Config(String),
}

impl Error {
    /// An [`Error::Invalid`]; `got` is shortened to what fits on a line.
    pub fn invalid(what: impl Into<String>, got: impl fmt::Debug, expected: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), got: shorten(format!("{got:?}"), 120), expected: expected.into() }
    }

    /// An [`Error::Unavailable`] with its cause.
    pub fn unavailable(
        store: &'static str,
        doing: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
    ) -> Self {
        Self::Unavailable { store, doing: doing.into(), source: Arc::from(source.into()) }
    }

    /// Whether the same call may succeed later without a change by the caller.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Names the element of a batch that was refused: `jobs[3]` before the rest of the path.
    #[must_use]
    pub fn at(self, place: impl fmt::Display) -> Self {
        match self {
            Self::Invalid { what, got, expected } => Self::Invalid { what: format!("{place}: {what}"), got, expected },
            other => other,
        }
    }
}

/// Cuts at a character boundary and says that it cut.
pub(crate) fn shorten(mut text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    let cut = (0..=bytes_max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let whole = text.len();
    text.truncate(cut);
    text.push_str(&format!("… ({whole} bytes)"));
    text
}
