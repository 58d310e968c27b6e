//! Partitions: which a stream belongs to, and the words in which owners and stores talk about them.

use std::{sync::Arc, time::Duration};

use md5::{Digest, Md5};

use crate::{
    event::Event,
    name::{ConsumerName, GroupName, StreamName},
};

/// The bucket of a stream, 0 to 1023: the last ten of the first sixteen bits of its name's MD5, which every database
/// can compute, today and after an upgrade.
///
/// ```
/// assert_eq!(millstream_core::bucket("nq:flow:1"), millstream_core::bucket("nq:flow:1"));
/// assert!(millstream_core::bucket("") < 1024);
/// ```
pub fn bucket(stream: &str) -> u16 {
    let digest = Md5::digest(stream.as_bytes());
    u16::from_be_bytes([digest[0], digest[1]]) & 1023
}

/// The partition of a stream in a group with so many: its bucket modulo their number.
pub fn partition_of(stream: &str, partitions: u16) -> u16 {
    bucket(stream) % partitions.max(1)
}

/// One consumer of a group, as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The group.
    pub group: GroupName,
    /// The name that people know it by; several members may share one.
    pub consumer: ConsumerName,
    /// New for every joining: two members never share one.
    pub id: Arc<str>,
}

/// A partition, and the epoch in which somebody owns it. **The epoch is the fence**: it grows with every claim and
/// reset, and never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionRef {
    /// Which partition, from 0.
    pub partition: u16,
    /// In which epoch.
    pub epoch: u64,
}

/// What a beat answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// How many partitions this member should have: the partitions divided by the live members, the remainder given to
    /// the first by id. Shares of all live members add up to the partitions.
    pub share: u16,
    /// How many members are alive.
    pub members: u32,
    /// Whether the group is paused: nothing is to be read or started.
    pub paused: bool,
    /// Partitions of those named that are not this member's any more, in that epoch.
    pub lost: Vec<PartitionRef>,
    /// Partitions that nobody has now.
    pub free: u16,
}

/// A partition taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionClaim {
    /// Which, and in which epoch.
    pub held: PartitionRef,
    /// Where its cursor stands: everything up to this position is done.
    pub position: u64,
    /// How often the event behind the cursor failed already.
    pub attempts: u32,
    /// How long to wait before it is tried again.
    pub wait: Duration,
}

/// A partition to read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFrom {
    /// Which.
    pub partition: u16,
    /// Only events behind this position.
    pub after: u64,
}

/// What a read found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartitionRead {
    /// Events of the partitions asked for, each behind its partition's position, in order of position.
    pub events: Vec<GroupEvent>,
    /// Up to here everything was looked at: there is no other event of these partitions up to this position. At least
    /// the last event's position.
    pub up_to: u64,
}

/// An event for a group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupEvent {
    /// The event.
    pub event: Event,
    /// Its partition.
    pub partition: u16,
    /// Its stream is parked: it is to be put behind what is parked, not handled.
    pub behind: bool,
}

/// A cursor's move. It happens only if the cursor is where it was read, in that epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorMove {
    /// Whose cursor.
    pub held: PartitionRef,
    /// Where it must be.
    pub from: u64,
    /// Where it goes; never below `from`.
    pub to: u64,
}

/// An event that is put aside by the move over it.
#[derive(Clone, Debug, PartialEq)]
pub struct ParkedNow {
    /// Its position.
    pub position: u64,
    /// Its stream.
    pub stream: StreamName,
    /// Whether its stream is parked with it: later events of the stream are answered as `behind`.
    pub stops_stream: bool,
    /// Why; for one that only stood behind, the reason names that.
    pub error: Arc<str>,
    /// How often the handler failed on it; 0 for one that stood behind.
    pub attempts: u32,
}
