//! Consumer groups: every event of a pattern once, in order within its stream, to one consumer of the group.
//!
//! A group divides the streams of its pattern into partitions. Each partition has a cursor in the store, and at any
//! moment at most one owner, by a lease and an epoch. What an owner does with a batch counts only if the cursor moves,
//! and the cursor moves only for the owner of its epoch and from the position it read from: so a consumer that was
//! paused, cut off or declared dead can finish what it likes, and none of it is written.

mod attempt;
mod consumer;
mod engine;
mod handler;
mod heart;
mod held;
mod info;
mod keeper;
mod lane;
mod options;
mod partition;
mod projection;
mod spec;

pub use consumer::{GroupConsumer, Groups};
pub use handler::{EventOf, GroupContext, GroupHandler, Handled, batch, each};
pub use info::{GroupInfo, MemberInfo, Parked, PartitionInfo};
pub use options::GroupOptions;
pub use partition::{
    CursorMove, GroupEvent, Member, MemberView, ParkedNow, PartitionClaim, PartitionRead, PartitionRef, ReadFrom,
    bucket, partition_of,
};
pub use projection::ProjectionTable;
pub use spec::{GroupSpec, PARTITIONS_DEFAULT, PARTITIONS_MAX, Poison};
