//! What a group is.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    event::StartFrom,
    limits::ATTEMPTS_MAX,
    name::GroupName,
    options::{LEASE_DEFAULT, LEASE_MIN},
    pattern::Pattern,
    payload,
};

/// Partitions of a group that names no number: enough for as many consumers as a group mostly has, and few enough that
/// moving them costs nothing.
pub const PARTITIONS_DEFAULT: u16 = 64;
/// Most partitions of a group: one a bucket.
pub const PARTITIONS_MAX: u16 = 1024;

/// What happens to an event on which the handler failed as often as it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Poison {
    /// Its partition halts, for people to see; the others go on. Resuming the group tries again.
    #[default]
    Stop,
    /// It is put aside, and the partition goes on behind it. The order of its stream is given up.
    ParkEvent,
    /// It is put aside, and so is every later event of its stream; other streams go on.
    ParkStream,
}

impl Poison {
    /// The word it is stored and shown as.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::ParkEvent => "park_event",
            Self::ParkStream => "park_stream",
        }
    }
}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Poison {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = [Self::Stop, Self::ParkEvent, Self::ParkStream].into_iter().find(|poison| poison.as_str() == text);
        found.ok_or_else(|| Error::invalid("poison policy", text, "`stop`, `park_event` or `park_stream`"))
    }
}

/// A group as it is made. What a group consumes and how it is divided stays as it was first written; the rest may be
/// changed by writing it again.
///
/// ```
/// use millstream_core::{GroupName, GroupSpec, Pattern};
///
/// let orders = GroupSpec::new(GroupName::new("billing")?, Pattern::new("order:*")?);
/// assert_eq!(orders.partitions, 64);
/// assert!(orders.check().is_ok());
/// # Ok::<(), millstream_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSpec {
    /// Its name.
    pub name: GroupName,
    /// Its streams. Fixed.
    pub pattern: Pattern,
    /// Its event types; empty: all. Fixed, up to their order.
    pub kinds: Vec<Arc<str>>,
    /// A power of two from 1 to 1024: as many consumers can share the work. Fixed.
    pub partitions: u16,
    /// Where a new group begins; of no meaning for one that exists.
    pub start: StartFrom,
    /// What happens to an event that always fails.
    pub poison: Poison,
    /// How often the handler is tried on one event.
    pub attempts: u32,
    /// Whether retention waits for it. A group that does not retain is told [`Error::Truncated`] where it was too slow.
    pub retain: bool,
    /// How long a partition stays with an owner that is not heard of.
    pub lease: Duration,
}

impl GroupSpec {
    /// A group from the log's start on, with 64 partitions, five attempts and [`Poison::Stop`].
    pub fn new(name: GroupName, pattern: Pattern) -> Self {
        Self {
            name,
            pattern,
            kinds: Vec::new(),
            partitions: PARTITIONS_DEFAULT,
            start: StartFrom::Start,
            poison: Poison::default(),
            attempts: 5,
            retain: true,
            lease: LEASE_DEFAULT,
        }
    }

    /// What every store refuses. Every store calls it first.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for the first thing out of bounds.
    pub fn check(&self) -> Result<()> {
        if !self.partitions.is_power_of_two() || self.partitions > PARTITIONS_MAX {
            return Err(Error::invalid("partitions", self.partitions, "a power of two from 1 to 1024"));
        }
        if !(1..=ATTEMPTS_MAX).contains(&self.attempts) {
            return Err(Error::invalid("attempts", self.attempts, format!("a number from 1 to {ATTEMPTS_MAX}")));
        }
        if self.lease < LEASE_MIN || self.lease > Duration::from_secs(24 * 60 * 60) {
            return Err(Error::invalid("lease", self.lease, format!("{LEASE_MIN:?} to a day")));
        }
        // It is kept as text.
        let pattern = self.pattern.to_string();
        if Pattern::new(&pattern)? != self.pattern {
            return Err(Error::invalid("stream pattern", &*pattern, "one without a `*` in its name or prefix"));
        }
        self.kinds.iter().try_for_each(|kind| payload::check_key("event type", kind))
    }

    /// The event types as stores keep them: sorted, without doubles.
    pub fn kinds_sorted(&self) -> Vec<Arc<str>> {
        let mut kinds = self.kinds.clone();
        kinds.sort();
        kinds.dedup();
        kinds
    }

    /// Whether another spec may be written over this one.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] that names what may not change.
    pub fn check_same(&self, stored: &Self) -> Result<()> {
        let differs = |what: &str, got: String, stored: String| {
            let expected = format!("{stored}, as group `{}` was made", self.name);
            Err(Error::invalid(what, got, expected))
        };
        if self.pattern != stored.pattern {
            return differs("group pattern", self.pattern.to_string(), format!("`{}`", stored.pattern));
        }
        if self.kinds_sorted() != stored.kinds_sorted() {
            return differs("group types", self.kinds.join(", "), format!("`{}`", stored.kinds.join(", ")));
        }
        if self.partitions != stored.partitions {
            return differs("partitions", self.partitions.to_string(), stored.partitions.to_string());
        }
        Ok(())
    }
}
