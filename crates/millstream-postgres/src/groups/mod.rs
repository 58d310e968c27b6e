//! Consumer groups: the seam's methods, each in the module of its noun.

mod cursor;
mod define;
mod info;
mod member;
mod read;

use std::time::Duration;

use async_trait::async_trait;
use millstream_core::{
    CursorMove, Effects, GroupInfo, GroupName, GroupSpec, GroupStore, Member, MemberView, Parked, ParkedNow,
    PartitionClaim, PartitionRead, PartitionRef, ReadFrom, Result, StartFrom,
};

use crate::store::PostgresStore;

#[async_trait]
impl GroupStore for PostgresStore {
    async fn ensure_group(&self, spec: &GroupSpec) -> Result<bool> {
        define::ensure(self.shared(), spec).await
    }

    async fn group(&self, group: &GroupName) -> Result<Option<GroupInfo>> {
        info::group(self.shared(), group).await
    }

    async fn list_groups(&self) -> Result<Vec<GroupInfo>> {
        info::list(self.shared()).await
    }

    async fn beat_member(&self, member: &Member, held: &[PartitionRef]) -> Result<MemberView> {
        member::beat(self.shared(), member, held).await
    }

    async fn claim_partitions(&self, member: &Member, at_most: u16) -> Result<Vec<PartitionClaim>> {
        member::claim(self.shared(), member, at_most).await
    }

    async fn read_partitions(&self, group: &GroupName, from: &[ReadFrom], limit: u32) -> Result<PartitionRead> {
        read::read(self.shared(), group, from, limit).await
    }

    async fn advance(&self, group: &GroupName, moves: &[CursorMove]) -> Result<Vec<bool>> {
        cursor::advance(self.shared(), group, moves).await
    }

    async fn commit(&self, group: &GroupName, step: &CursorMove, effects: &Effects) -> Result<bool> {
        cursor::commit(self.shared(), group, step, effects).await
    }

    async fn fail_partition(
        &self,
        group: &GroupName,
        held: PartitionRef,
        at: u64,
        wait: Duration,
        error: &str,
    ) -> Result<Option<u32>> {
        cursor::fail(self.shared(), group, held, at, wait, error).await
    }

    async fn park(&self, group: &GroupName, step: &CursorMove, events: &[ParkedNow]) -> Result<bool> {
        cursor::park(self.shared(), group, step, events).await
    }

    async fn release_partitions(&self, group: &GroupName, held: &[PartitionRef]) -> Result<()> {
        member::release(self.shared(), group, held).await
    }

    async fn leave(&self, member: &Member) -> Result<()> {
        member::leave(self.shared(), member).await
    }

    async fn pause_group(&self, group: &GroupName) -> Result<bool> {
        define::pause(self.shared(), group).await
    }

    async fn resume_group(&self, group: &GroupName) -> Result<bool> {
        define::resume(self.shared(), group).await
    }

    async fn reset_group(&self, group: &GroupName, to: StartFrom) -> Result<u64> {
        define::reset(self.shared(), group, to).await
    }

    async fn delete_group(&self, group: &GroupName) -> Result<bool> {
        define::delete(self.shared(), group).await
    }

    async fn parked(&self, group: &GroupName, after: u64, limit: u32) -> Result<Vec<Parked>> {
        info::parked(self.shared(), group, after, limit).await
    }

    async fn wait_log(&self, after: u64) {
        self.shared().signals.log_beyond(after).await;
    }
}
