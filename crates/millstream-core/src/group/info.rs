//! Groups as people see them.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::spec::Poison;
use crate::{
    Timestamp,
    name::{ConsumerName, GroupName, StreamName},
};

/// A group, its members and its partitions, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupInfo {
    /// Its name.
    pub name: GroupName,
    /// Its streams, as a pattern is written.
    pub pattern: String,
    /// Its event types, sorted; empty: all.
    pub types: Vec<Arc<str>>,
    /// Whether it is paused.
    pub paused: bool,
    /// What happens to an event that always fails.
    pub poison: Poison,
    /// How often the handler is tried on one event.
    pub attempts: u32,
    /// Whether retention waits for it.
    pub retain: bool,
    /// How long a partition stays with an owner that is not heard of.
    #[serde(with = "crate::duration_ms", rename = "leaseMs")]
    pub lease: Duration,
    /// The log's last position.
    pub head: u64,
    /// Positions that the partition furthest behind has not passed.
    pub lag: u64,
    /// How old the oldest event is that not every partition has passed; `None`: all have.
    #[serde(with = "crate::duration_ms::option", rename = "oldestMs")]
    pub oldest: Option<Duration>,
    /// Events put aside.
    pub parked: u64,
    /// Live members, by consumer and id.
    pub members: Vec<MemberInfo>,
    /// Every partition, by number.
    pub partitions: Vec<PartitionInfo>,
}

/// A live member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberInfo {
    /// The name that people know it by.
    pub consumer: ConsumerName,
    /// The store's own name for it.
    pub id: Arc<str>,
    /// When it was last heard of.
    pub last_seen: Timestamp,
    /// Partitions it has.
    pub partitions: u16,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionInfo {
    /// Its number, from 0.
    pub partition: u16,
    /// Everything up to this position is done.
    pub position: u64,
    /// Grows with every claim and reset.
    pub epoch: u64,
    /// Who has it now; `None`: nobody.
    pub owner: Option<ConsumerName>,
    /// How often the event behind the cursor failed.
    pub attempts: u32,
    /// The last failure's text.
    pub error: Option<Arc<str>>,
    /// Whether it stands still until the group is resumed: its event used up its attempts.
    pub halted: bool,
    /// Positions between its cursor and the log's end.
    pub lag: u64,
}

/// An event put aside.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Parked {
    /// Its position.
    pub position: u64,
    /// Its stream.
    pub stream: StreamName,
    /// Whether its stream is parked with it.
    pub stops_stream: bool,
    /// Why.
    pub error: Arc<str>,
    /// How often the handler failed on it.
    pub attempts: u32,
    /// When.
    pub parked_at: Timestamp,
}
