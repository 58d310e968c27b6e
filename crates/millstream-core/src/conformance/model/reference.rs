//! The reference: what the seams promise of jobs, in a map.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{ClaimRef, Claimed, JobCounts, JobId, JobState, NewJob, Outcome, QueueName, Timestamp};

/// A job, as the reference knows it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) state: JobState,
    pub(super) attempt: u32,
    pub(super) attempts: u32,
    pub(super) priority: i32,
    pub(super) cancel: bool,
    due: Timestamp,
    held: Option<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    claim: ClaimRef,
    until: Timestamp,
}

/// A job's place.
pub(super) type Place = (QueueName, JobId);

pub(super) struct Reference {
    pub(super) jobs: BTreeMap<Place, Known>,
    pub(super) paused: BTreeSet<QueueName>,
    pub(super) now: Timestamp,
    lease: Duration,
    backoff: Duration,
}

fn place(claim: &ClaimRef) -> Place {
    (claim.queue.clone(), claim.job.clone())
}

impl Reference {
    pub(super) fn new(now: Timestamp, lease: Duration, backoff: Duration) -> Self {
        Self { jobs: BTreeMap::new(), paused: BTreeSet::new(), now, lease, backoff }
    }

    /// Takes a job in under this id; false: it is a duplicate.
    pub(super) fn enqueue(&mut self, job: &NewJob, id: &JobId) -> bool {
        let due = job.due(self.now);
        let known = Known {
            state: if due.is_some() { JobState::Delayed } else { JobState::Waiting },
            attempt: 0,
            attempts: job.options.attempts.unwrap_or(3),
            priority: job.options.priority.unwrap_or(0),
            cancel: false,
            due: due.unwrap_or(self.now),
            held: None,
        };
        match self.jobs.entry((job.queue.clone(), id.clone())) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(known);
                true
            }
            std::collections::btree_map::Entry::Occupied(_) => false,
        }
    }

    /// The priorities of what can be claimed from a queue, smallest first.
    pub(super) fn ready(&self, queue: &QueueName) -> Vec<i32> {
        if self.paused.contains(queue) {
            return Vec::new();
        }
        let waiting = self.jobs.iter().filter(|((of, _), job)| of == queue && job.state == JobState::Waiting);
        let mut priorities: Vec<i32> = waiting.map(|(_, job)| job.priority).collect();
        priorities.sort_unstable();
        priorities
    }

    /// A job was claimed; why it could not be, if so.
    pub(super) fn claimed(&mut self, claimed: &Claimed) -> Option<String> {
        let until = self.now + self.lease;
        let Some(job) = self.jobs.get_mut(&place(&claimed.claim)) else { return Some("there is no such job".into()) };
        if job.state != JobState::Waiting {
            return Some(format!("it is {}", job.state));
        }
        job.attempt += 1;
        (job.state, job.held) = (JobState::Active, Some(Held { claim: claimed.claim.clone(), until }));
        if (claimed.attempt, claimed.attempts) != (job.attempt, job.attempts) {
            return Some(format!("it is attempt {} of {}", job.attempt, job.attempts));
        }
        None
    }

    /// Whether the claim holds now.
    pub(super) fn holds(&self, claim: &ClaimRef) -> bool {
        let held = self.jobs.get(&place(claim)).and_then(|job| job.held.as_ref());
        held.is_some_and(|held| held.claim == *claim && held.until >= self.now)
    }

    /// The state that a settle leads to; `None`: the claim is lost.
    pub(super) fn settle(&mut self, claim: &ClaimRef, outcome: &Outcome) -> Option<JobState> {
        if !self.holds(claim) {
            return None;
        }
        let (now, backoff) = (self.now, self.backoff);
        let job = self.jobs.get_mut(&place(claim))?;
        job.held = None;
        let (state, wait) = match outcome {
            Outcome::Done(_) => (JobState::Completed, Duration::ZERO),
            _ if job.cancel => (JobState::Cancelled, Duration::ZERO),
            Outcome::Cancel(_) => (JobState::Cancelled, Duration::ZERO),
            Outcome::Fail(_) => (JobState::Failed, Duration::ZERO),
            Outcome::Retry { .. } if job.attempt >= job.attempts => (JobState::Failed, Duration::ZERO),
            Outcome::Retry { after, .. } => (JobState::Delayed, after.unwrap_or(backoff)),
            Outcome::Snooze(wait) => {
                job.attempt -= 1;
                (JobState::Delayed, *wait)
            }
        };
        (job.state, job.due) = (state, now + wait);
        Some(state)
    }

    /// Renews a claim; what a beat tells of it.
    pub(super) fn beat(&mut self, claim: &ClaimRef) -> Option<crate::Signal> {
        if !self.holds(claim) {
            return Some(crate::Signal::Lost);
        }
        let until = self.now + self.lease;
        let job = self.jobs.get_mut(&place(claim))?;
        job.held = Some(Held { claim: claim.clone(), until });
        job.cancel.then_some(crate::Signal::Cancel)
    }

    pub(super) fn release(&mut self, claim: &ClaimRef) {
        if !self.holds(claim) {
            return;
        }
        if let Some(job) = self.jobs.get_mut(&place(claim)) {
            job.held = None;
            if job.cancel {
                // It ended in this attempt, which therefore stays counted.
                job.state = JobState::Cancelled;
            } else {
                job.attempt -= 1;
                job.state = JobState::Waiting;
            }
        }
    }

    /// How many expired claims there were.
    pub(super) fn rescue(&mut self) -> u64 {
        let now = self.now;
        let expired = self.jobs.values_mut().filter(|job| job.held.as_ref().is_some_and(|held| held.until < now));
        let mut rescued = 0;
        for job in expired {
            job.held = None;
            job.state = match job.cancel {
                true => JobState::Cancelled,
                false if job.attempt >= job.attempts => JobState::Failed,
                false => JobState::Waiting,
            };
            rescued += 1;
        }
        rescued
    }

    /// When the next delayed job is due.
    pub(super) fn promote_due(&mut self) -> Option<Timestamp> {
        let now = self.now;
        let delayed = || |job: &&mut Known| job.state == JobState::Delayed;
        for job in self.jobs.values_mut().filter(delayed()).filter(|job| job.due <= now) {
            job.state = JobState::Waiting;
        }
        self.jobs.values_mut().filter(delayed()).map(|job| job.due).min()
    }

    pub(super) fn cancel(&mut self, place: &Place) -> bool {
        let Some(job) = self.jobs.get_mut(place) else { return false };
        match job.state {
            JobState::Waiting | JobState::Delayed => job.state = JobState::Cancelled,
            JobState::Active => job.cancel = true,
            JobState::Completed | JobState::Failed | JobState::Cancelled => return false,
        }
        true
    }

    pub(super) fn retry(&mut self, place: &Place) -> bool {
        let Some(job) = self.jobs.get_mut(place).filter(|job| job.state.is_finished()) else { return false };
        job.state = JobState::Waiting;
        job.cancel = false;
        job.attempts = job.attempts.max(job.attempt + 1);
        true
    }

    pub(super) fn remove(&mut self, place: &Place) -> bool {
        self.jobs.remove(place).is_some()
    }

    pub(super) fn promote(&mut self, place: &Place) -> bool {
        let Some(job) = self.jobs.get_mut(place).filter(|job| job.state == JobState::Delayed) else { return false };
        job.state = JobState::Waiting;
        true
    }

    pub(super) fn counts(&self, queue: &QueueName) -> JobCounts {
        let mut counts = JobCounts::default();
        for (_, job) in self.jobs.iter().filter(|((of, _), _)| of == queue) {
            *counts.of_mut(job.state) += 1;
        }
        if self.paused.contains(queue) {
            counts.paused = counts.waiting;
        }
        counts
    }
}
