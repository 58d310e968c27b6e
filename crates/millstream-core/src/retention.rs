//! How long the log keeps events.

use std::time::Duration;

use serde::Serialize;

use crate::{
    Timestamp,
    error::{Error, Result},
    limits::DELAY_MAX,
    name::GroupName,
};

/// How long the log keeps events: the oldest go once they are older than `age`, or while the log is over `bytes` or over
/// `events`. Never one that a retaining group still needs, nor one put aside. So events may stay longer, never shorter;
/// a store that drops them by the partition keeps them until the whole partition is past its time.
///
/// ```
/// use millstream_core::Retention;
/// use std::time::Duration;
///
/// let month = Retention { age: Some(Duration::from_secs(30 * 86_400)), ..Retention::default() };
/// assert!(month.check().is_ok());
/// assert!(Retention::default().is_off());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Counted from when an event was taken in, by the store's clock. `None`: whatever its age.
    #[serde(with = "crate::duration_ms::option", rename = "ageMs")]
    pub age: Option<Duration>,
    /// Of the log's tables with their indexes. `None`: whatever its size. Not every store can tell.
    pub bytes: Option<u64>,
    /// How many events stay. `None`: whatever their number.
    pub events: Option<u64>,
}

impl Retention {
    /// Whether nothing ever goes.
    pub fn is_off(&self) -> bool {
        self.age.is_none() && self.bytes.is_none() && self.events.is_none()
    }

    /// What every store refuses.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for the first bound that cannot work.
    pub fn check(&self) -> Result<()> {
        if let Some(age) = self.age.filter(|age| age.is_zero() || *age > DELAY_MAX) {
            return Err(Error::invalid("retention age", age, "more than nothing, at most ten years"));
        }
        if self.bytes == Some(0) {
            return Err(Error::invalid("retention size", 0, "at least 1 byte"));
        }
        if self.events == Some(0) {
            return Err(Error::invalid("retention by number", 0, "at least 1 event"));
        }
        Ok(())
    }
}

/// How long the log keeps events just now, and who is in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionInfo {
    /// What holds.
    pub retention: Retention,
    /// Whether it was set in the store, for every process. False: it is what this process was opened with.
    pub set: bool,
    /// The first position that is there; behind `head` in an empty log.
    pub first: u64,
    /// The last position.
    pub head: u64,
    /// When the first event was taken in; `None` in an empty log.
    pub oldest: Option<Timestamp>,
    /// Of the log's tables with their indexes, where the store can tell.
    pub bytes: Option<u64>,
    /// Events past their bounds: what would go if no group needed it.
    pub due: u64,
    /// Every group that retention waits for, by name.
    pub holds: Vec<RetentionHold>,
}

/// What a group keeps in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionHold {
    /// The group.
    pub group: GroupName,
    /// The first position that it needs: behind its slowest cursor, or of its first event put aside.
    pub needs: u64,
    /// Events past their bounds that stay because of it.
    pub held: u64,
}

impl RetentionHold {
    /// What a group holds that needs everything from `needs` on, of the `due` events from `first` on.
    pub fn new(group: GroupName, needs: u64, first: u64, due: u64) -> Self {
        let held = (first + due).saturating_sub(needs.max(first));
        Self { group, needs, held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_holds_what_is_due_from_its_need_on() {
        let held = |needs, first, due| RetentionHold::new(GroupName::new("g").expect("a name"), needs, first, due).held;
        assert_eq!(held(1, 1, 10), 10);
        assert_eq!(held(4, 1, 10), 7);
        assert_eq!(held(11, 1, 10), 0);
        assert_eq!(held(50, 1, 10), 0);
        assert_eq!(held(1, 5, 10), 10, "what was before the log is nobody's");
        assert_eq!(held(5, 5, 0), 0);
    }

    #[test]
    fn a_bound_of_nothing_is_refused() {
        let nothing = [
            Retention { age: Some(Duration::ZERO), ..Retention::default() },
            Retention { bytes: Some(0), ..Retention::default() },
            Retention { events: Some(0), ..Retention::default() },
            Retention { age: Some(DELAY_MAX + Duration::from_secs(1)), ..Retention::default() },
        ];
        for retention in nothing {
            let error = retention.check().expect_err("refused").to_string();
            assert!(error.contains("retention"), "{error}");
        }
    }
}
