//! What goes wrong inside a transaction: SQLite's own errors, and refusals that are an answer.

use std::borrow::Cow;

use millstream_core::Error;

/// This store's name in errors and logs.
pub(crate) const KIND: &str = "sqlite";

/// What every call of a closed store answers.
pub(crate) fn closed() -> Error {
    Error::Closed { what: "sqlite store" }
}

/// A failure inside a transaction, not yet told to the caller.
#[derive(Debug)]
pub(crate) enum Fault {
    /// SQLite could not do it: the caller learns what was being done.
    Sql(rusqlite::Error),
    /// An answer of its own, such as a version conflict.
    Refused(Error),
}

impl Fault {
    /// The caller's error; `doing` completes "failed to".
    pub(crate) fn told(self, doing: &str) -> Error {
        match self {
            Self::Sql(error) => Error::unavailable(KIND, doing, error),
            Self::Refused(error) => error,
        }
    }

    /// Names the element of a batch that was refused.
    pub(crate) fn at(self, what: &'static str, index: usize) -> Self {
        match self {
            Self::Refused(error) => Self::Refused(error.at(format_args!("{what}[{index}]"))),
            sql => sql,
        }
    }

    /// Whether another connection holds the write lock.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Sql(error) if matches!(
            error.sqlite_error_code(),
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
        ))
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// What a call was doing, for its errors; completes "failed to".
pub(crate) type Doing = Cow<'static, str>;
