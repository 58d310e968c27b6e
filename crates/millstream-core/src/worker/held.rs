//! The claims this process holds, from the moment they are taken until the store accepted what became of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::context::{CancelReason, Cancellation};
use crate::claim::ClaimRef;

/// The share of a lease that is given up to clocks and scheduling: the process stops trusting a claim that much
/// before the store may give it away.
const MARGIN: u32 = 10;

/// Written by the engine (takes), the settler (drops) and the heart (renews).
pub(crate) struct Held {
    lease: Duration,
    claims: Mutex<HashMap<Arc<str>, HeldClaim>>,
}

struct HeldClaim {
    claim: ClaimRef,
    cancellation: Cancellation,
    /// By the process's monotonic clock.
    trusted_until: Duration,
}

impl Held {
    pub(crate) fn new(lease: Duration) -> Self {
        Self { lease, claims: Mutex::default() }
    }

    fn claims(&self) -> MutexGuard<'_, HashMap<Arc<str>, HeldClaim>> {
        // Every change is one insert, remove or assignment: a panic leaves nothing half done.
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trust(&self, asked_at: Duration) -> Duration {
        asked_at + self.lease - self.lease / MARGIN
    }

    /// A claim that was asked for at `asked_at`.
    pub(crate) fn take(&self, claim: &ClaimRef, asked_at: Duration) -> Cancellation {
        let cancellation = Cancellation::default();
        let held =
            HeldClaim { claim: claim.clone(), cancellation: cancellation.clone(), trusted_until: self.trust(asked_at) };
        self.claims().insert(claim.token.clone(), held);
        cancellation
    }

    pub(crate) fn drop_claim(&self, claim: &ClaimRef) {
        self.claims().remove(&claim.token);
    }

    pub(crate) fn holds(&self, claim: &ClaimRef) -> bool {
        self.claims().contains_key(&claim.token)
    }

    /// Whether the store still keeps the claim for us, as far as this process can tell.
    pub(crate) fn trusts(&self, claim: &ClaimRef, now: Duration) -> bool {
        self.claims().get(&claim.token).is_some_and(|held| held.trusted_until > now)
    }

    pub(crate) fn all(&self) -> Vec<ClaimRef> {
        self.claims().values().map(|held| held.claim.clone()).collect()
    }

    /// Those of `beaten` that are still ours are trusted again, from the moment before the beat was sent.
    pub(crate) fn renew(&self, beaten: &[ClaimRef], asked_at: Duration) {
        let trusted_until = self.trust(asked_at);
        let mut claims = self.claims();
        for claim in beaten {
            if let Some(held) = claims.get_mut(&claim.token) {
                held.trusted_until = held.trusted_until.max(trusted_until);
            }
        }
    }

    pub(crate) fn fire(&self, claim: &ClaimRef, reason: CancelReason) {
        if let Some(held) = self.claims().get(&claim.token) {
            held.cancellation.fire(reason);
        }
    }

    pub(crate) fn fire_all(&self, reason: CancelReason) {
        for held in self.claims().values() {
            held.cancellation.fire(reason);
        }
    }

    /// Fires the tokens of claims that are no longer trusted. Answers when the next one stops being trusted.
    pub(crate) fn distrust(&self, now: Duration) -> Option<Duration> {
        let claims = self.claims();
        for held in claims.values().filter(|held| held.trusted_until <= now && held.cancellation.reason().is_none()) {
            tracing::warn!(job = %held.claim, "no beat got through for a lease: the claim is not trusted any more");
            held.cancellation.fire(CancelReason::ClaimLost);
        }
        claims.values().map(|held| held.trusted_until).filter(|until| *until > now).min()
    }
}
