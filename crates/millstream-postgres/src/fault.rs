//! From the driver's errors to the seams' own.

use millstream_core::Error;
use tokio_postgres::error::SqlState;

use crate::cause::{Cause, Unreached};

/// The store's name in errors and logs.
pub(crate) const KIND: &str = "postgres";
/// What `{schema}.append` raises where a stream is at another version than expected.
const VERSION_CONFLICT: &str = "MS409";
/// How often a transaction that met another one's lock is tried again.
pub(crate) const CLASHES_MAX: u32 = 8;

/// Why a step inside the store failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// What the caller is told as it is.
    Refused(Error),
    /// What the driver says.
    Driver(tokio_postgres::Error),
    /// No connection could be opened.
    Unreached {
        /// Where to: hosts, database and user, never the password.
        place: String,
        /// What the driver says.
        error: tokio_postgres::Error,
    },
    /// Something changed between two statements that have to agree.
    Raced,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
    }
}

impl Fault {
    /// Whether the same transaction may succeed at once: a deadlock, or a plan that a migration made stale.
    pub(crate) fn is_clash(&self) -> bool {
        let error = match self {
            Self::Driver(error) => error,
            Self::Raced => return true,
            Self::Refused(_) | Self::Unreached { .. } => return false,
        };
        let stale =
            |code: &SqlState| *code == SqlState::FEATURE_NOT_SUPPORTED || *code == SqlState::INVALID_SQL_STATEMENT_NAME;
        error.code().is_some_and(|code| {
            *code == SqlState::T_R_DEADLOCK_DETECTED || *code == SqlState::T_R_SERIALIZATION_FAILURE || stale(code)
        })
    }

    /// Whether the log has no partition for its next position.
    pub(crate) fn is_no_partition(&self) -> bool {
        matches!(self, Self::Driver(error) if no_partition(error))
    }

    /// Whether the cause is in what was to be written, not in the server or the way to it.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused(error) => !error.is_transient() && !matches!(error, Error::Closed { .. }),
            Self::Raced | Self::Unreached { .. } => false,
            Self::Driver(error) => {
                error.code().is_some_and(|code| code.code().starts_with("22") || code.code().starts_with("23"))
                    || version_conflict(error).is_some()
            }
        }
    }

    /// The seams' error, for somebody who was `doing` this.
    pub(crate) fn told(self, doing: impl Into<String>) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Driver(error) => told(error, doing.into()),
            Self::Unreached { place, error } => {
                Error::unavailable(KIND, doing, Unreached { place, cause: Cause(error) })
            }
            Self::Raced => Error::unavailable(KIND, doing, "other transactions kept getting in between"),
        }
    }
}

fn told(error: tokio_postgres::Error, doing: String) -> Error {
    if let Some(conflict) = version_conflict(&error) {
        return conflict;
    }
    let Some(db) = error.as_db_error() else { return Error::unavailable(KIND, doing, Cause(error)) };
    match db.code().code() {
        "42P01" | "42883" | "42703" | "3F000" => Error::Schema {
            store: KIND,
            found: db.message().to_owned(),
            expected: "this build's tables and functions".to_owned(),
            hint: "bring the schema up (`schema up`)".to_owned(),
        },
        code if (code.starts_with("22") || code.starts_with("23")) && !no_partition(&error) => {
            Error::invalid(doing, db.message(), "what Postgres accepts")
        }
        _ => Error::unavailable(KIND, doing, Cause(error)),
    }
}

/// A row for which no partition is there, as against one that a constraint refuses.
fn no_partition(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|db| {
        *db.code() == SqlState::CHECK_VIOLATION && db.table() == Some("queue_events") && db.constraint().is_none()
    })
}

/// The conflict that `{schema}.append` reports.
fn version_conflict(error: &tokio_postgres::Error) -> Option<Error> {
    let db = error.as_db_error().filter(|db| db.code().code() == VERSION_CONFLICT)?;
    let detail: serde_json::Value = serde_json::from_str(db.detail()?).ok()?;
    Some(Error::VersionConflict {
        stream: detail["stream"].as_str()?.into(),
        expected: detail["expected"].as_u64()?,
        actual: detail["actual"].as_u64()?,
    })
}

/// What a closed store answers.
pub(crate) fn closed() -> Error {
    Error::Closed { what: "store" }
}

/// Runs a transaction again where it clashed with another one, or where a layout of job tables says that it may succeed
/// then.
macro_rules! again {
    ($doing:expr, $call:expr) => {
        $crate::fault::again!(@ $doing, $call, |fault: &$crate::fault::Fault| fault.is_clash())
    };
    ($layout:expr, $doing:expr, $call:expr) => {
        $crate::fault::again!(@ $doing, $call, |fault: &$crate::fault::Fault| $layout.may_again(fault))
    };
    (@ $doing:expr, $call:expr, $may:expr) => {{
        let mut clashes = 0;
        loop {
            match $call.await {
                Err(fault) if clashes < $crate::fault::CLASHES_MAX && $may(&fault) => {
                    clashes += 1;
                    tracing::debug!(?fault, clashes, "tried again");
                }
                answer => break answer.map_err(|fault: $crate::fault::Fault| fault.told($doing)),
            }
        }
    }};
}
pub(crate) use again;
