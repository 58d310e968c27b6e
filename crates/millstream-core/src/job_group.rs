//! A job's group: which jobs of a queue are counted together, where it is limited how many of them run at once.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    limits::JOB_GROUP_BYTES_MAX,
};

/// Which jobs of a queue belong together (a customer's, an account's).
///
/// Every store keeps it with the job and hands it to the worker, whose
/// [`QueueWorkerOptions::group_concurrency`](crate::QueueWorkerOptions::group_concurrency) limits how many of a group run at
/// once in one process. A limit over all processes is the queue's own, on pg-boss's tables alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobGroup {
    /// What the jobs of the group have in common.
    pub id: Arc<str>,
    /// Which of several limits holds for the group. Only pg-boss's own workers know tiers: listings tell what they sent, and
    /// no store takes a job with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Arc<str>>,
}

impl JobGroup {
    /// The group of this id.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self { id: id.into(), tier: None }
    }

    /// # Errors
    ///
    /// [`Error::Invalid`] for an id that is no index key of every store, and for a tier.
    pub fn check(&self) -> Result<()> {
        if !(1..=JOB_GROUP_BYTES_MAX).contains(&self.id.len()) || self.id.chars().any(char::is_control) {
            let expected = format!("1 to {JOB_GROUP_BYTES_MAX} bytes without control characters");
            return Err(Error::invalid("job group", &*self.id, expected));
        }
        match &self.tier {
            None => Ok(()),
            Some(tier) => {
                Err(Error::invalid("job group's tier", &**tier, "no tier: only pg-boss's own workers know them"))
            }
        }
    }
}
