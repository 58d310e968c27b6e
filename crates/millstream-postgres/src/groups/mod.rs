//! Consumer groups: the seam's methods, each in the module of its noun.

mod cursor;
mod define;
mod info;
mod member;
mod read;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use millstream_core::{
    Capabilities, CursorMove, Effects, GroupInfo, GroupName, GroupSpec, GroupStore, Member, MemberView, Parked,
    ParkedNow, PartitionClaim, PartitionRead, PartitionRef, ReadFrom, Realm, Result, StartFrom, Store,
};

use crate::queue::enqueue::Intake;

/// The consumer groups of a store, over job tables of one layout: that is where jobs go that a commit enqueues.
pub(crate) struct Groups<I> {
    store: Arc<dyn Store>,
    intake: Arc<I>,
}

impl<I: Intake> Groups<I> {
    pub(crate) fn of(store: Arc<dyn Store>, intake: Arc<I>) -> Arc<dyn GroupStore> {
        Arc::new(Self { store, intake })
    }
}

#[async_trait]
impl<I: Intake> Store for Groups<I> {
    fn kind(&self) -> &'static str {
        self.store.kind()
    }

    fn realm(&self) -> &Realm {
        self.store.realm()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn sweep(&self) -> Result<u64> {
        self.store.sweep().await
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

#[async_trait]
impl<I: Intake> GroupStore for Groups<I> {
    async fn ensure_group(&self, spec: &GroupSpec) -> Result<bool> {
        define::ensure(self.intake.shared(), spec).await
    }

    async fn group(&self, group: &GroupName) -> Result<Option<GroupInfo>> {
        info::group(self.intake.shared(), group).await
    }

    async fn list_groups(&self) -> Result<Vec<GroupInfo>> {
        info::list(self.intake.shared()).await
    }

    async fn beat_member(&self, member: &Member, held: &[PartitionRef]) -> Result<MemberView> {
        member::beat(self.intake.shared(), member, held).await
    }

    async fn claim_partitions(&self, member: &Member, at_most: u16) -> Result<Vec<PartitionClaim>> {
        member::claim(self.intake.shared(), member, at_most).await
    }

    async fn read_partitions(&self, group: &GroupName, from: &[ReadFrom], limit: u32) -> Result<PartitionRead> {
        read::read(self.intake.shared(), group, from, limit).await
    }

    async fn advance(&self, group: &GroupName, moves: &[CursorMove]) -> Result<Vec<bool>> {
        cursor::advance(self.intake.shared(), group, moves).await
    }

    async fn commit(&self, group: &GroupName, step: &CursorMove, effects: &Effects) -> Result<bool> {
        cursor::commit(&*self.intake, group, step, effects).await
    }

    async fn fail_partition(
        &self,
        group: &GroupName,
        held: PartitionRef,
        at: u64,
        wait: Duration,
        error: &str,
    ) -> Result<Option<u32>> {
        cursor::fail(self.intake.shared(), group, held, at, wait, error).await
    }

    async fn park(&self, group: &GroupName, step: &CursorMove, events: &[ParkedNow]) -> Result<bool> {
        cursor::park(self.intake.shared(), group, step, events).await
    }

    async fn release_partitions(&self, group: &GroupName, held: &[PartitionRef]) -> Result<()> {
        member::release(self.intake.shared(), group, held).await
    }

    async fn leave(&self, member: &Member) -> Result<()> {
        member::leave(self.intake.shared(), member).await
    }

    async fn pause_group(&self, group: &GroupName) -> Result<bool> {
        define::pause(self.intake.shared(), group).await
    }

    async fn resume_group(&self, group: &GroupName) -> Result<bool> {
        define::resume(self.intake.shared(), group).await
    }

    async fn reset_group(&self, group: &GroupName, to: StartFrom) -> Result<u64> {
        define::reset(self.intake.shared(), group, to).await
    }

    async fn delete_group(&self, group: &GroupName) -> Result<bool> {
        define::delete(self.intake.shared(), group).await
    }

    async fn parked(&self, group: &GroupName, after: u64, limit: u32) -> Result<Vec<Parked>> {
        info::parked(self.intake.shared(), group, after, limit).await
    }

    async fn wait_log(&self, after: u64) {
        self.intake.shared().signals.log_beyond(after).await;
    }
}
