//! What became of one attempt, and what the store answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{claim::ClaimRef, effects::Effects, error::Error, job::JobState};

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Completed, with the handler's output.
    Done(Value),
    /// The attempt failed; the job runs again after its backoff (or `after`) unless its attempts are used up.
    Retry {
        /// What went wrong.
        error: Value,
        /// A wait chosen by the handler.
        #[serde(with = "crate::duration_ms::option")]
        after: Option<Duration>,
    },
    /// Runs again after this wait; no attempt is burned.
    #[serde(with = "crate::duration_ms")]
    Snooze(Duration),
    /// Failed for good, whatever attempts are left.
    Fail(Value),
    /// Cancelled by its handler, with the reason, which is kept as the job's error.
    Cancel(Value),
}

impl Outcome {
    /// Whether the job can never run again after this, whatever its attempts.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Fail(_) | Self::Cancel(_))
    }
}

/// One claim's outcome and effects: one part of the transaction that `settle` is.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// The fence.
    pub claim: ClaimRef,
    /// What became of the attempt.
    pub outcome: Outcome,
    /// What happens with it, in the same commit.
    pub effects: Effects,
}

/// The store's answer to one settlement.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Accepted; the job is in this state now.
    Settled(JobState),
    /// The claim was no longer valid. Nothing was written.
    LostClaim,
    /// An effect, or an output that no store can hold, could not be written, so nothing was; the claim still holds.
    EffectRefused(Error),
}
