//! Consumer groups: cursors, members and what is parked, each call one transaction under the write lock.

mod cursor;
mod group;
mod info;
mod member;
mod read;

use std::time::Duration;

use async_trait::async_trait;
use millstream_core::{
    CursorMove, Effects, GroupInfo, GroupName, GroupSpec, GroupStore, Member, MemberView, Parked, ParkedNow,
    PartitionClaim, PartitionRead, PartitionRef, ReadFrom, Result, Signals as Wakes, StartFrom,
};

use crate::{fault::Fault, signals::Interest, store::SqliteStore};

#[async_trait]
impl GroupStore for SqliteStore {
    async fn ensure_group(&self, spec: &GroupSpec) -> Result<bool> {
        spec.check()?;
        let spec = spec.clone();
        self.writer().call("make a group", move |tx| group::ensure(tx, &spec)).await
    }

    async fn group(&self, group: &GroupName) -> Result<Option<GroupInfo>> {
        let (group, now) = (group.clone(), self.shared().options.clock.now());
        self.reader().call("look at a group", move |conn| info::info(conn, &group, now)).await
    }

    async fn list_groups(&self) -> Result<Vec<GroupInfo>> {
        let now = self.shared().options.clock.now();
        self.reader().call("list groups", move |conn| info::list(conn, now)).await
    }

    async fn beat_member(&self, member: &Member, held: &[PartitionRef]) -> Result<MemberView> {
        let (member, held) = (member.clone(), held.to_vec());
        self.heart().call_first("renew a member", move |tx| member::beat(tx, &member, &held)).await
    }

    async fn claim_partitions(&self, member: &Member, at_most: u16) -> Result<Vec<PartitionClaim>> {
        let member = member.clone();
        self.writer().call("claim partitions", move |tx| member::claim(tx, &member, at_most)).await
    }

    async fn read_partitions(&self, group: &GroupName, from: &[ReadFrom], limit: u32) -> Result<PartitionRead> {
        let (group, from) = (group.clone(), from.to_vec());
        self.reader().call("read partitions", move |conn| read::read(conn, &group, &from, limit)).await
    }

    async fn advance(&self, group: &GroupName, moves: &[CursorMove]) -> Result<Vec<bool>> {
        if moves.is_empty() {
            return Ok(Vec::new());
        }
        let (group, moves) = (group.clone(), moves.to_vec());
        self.writer().call("move cursors", move |tx| cursor::advance(tx, &group, &moves)).await
    }

    async fn commit(&self, group: &GroupName, step: &CursorMove, effects: &Effects) -> Result<bool> {
        let (group, step, effects) = (group.clone(), *step, effects.clone());
        self.writer().call("commit a cursor", move |tx| cursor::commit(tx, &group, &step, &effects)).await
    }

    async fn fail_partition(
        &self,
        group: &GroupName,
        held: PartitionRef,
        at: u64,
        wait: Duration,
        error: &str,
    ) -> Result<Option<u32>> {
        let (group, error) = (group.clone(), error.to_owned());
        self.writer().call("note a failure", move |tx| cursor::fail(tx, &group, held, at, wait, &error)).await
    }

    async fn park(&self, group: &GroupName, step: &CursorMove, events: &[ParkedNow]) -> Result<bool> {
        let (group, step, events) = (group.clone(), *step, events.to_vec());
        self.writer().call("park events", move |tx| cursor::park(tx, &group, &step, &events)).await
    }

    async fn release_partitions(&self, group: &GroupName, held: &[PartitionRef]) -> Result<()> {
        let (group, held) = (group.clone(), held.to_vec());
        self.writer().call("release partitions", move |tx| member::release(tx, &group, &held)).await
    }

    async fn leave(&self, member: &Member) -> Result<()> {
        let member = member.clone();
        self.writer().call("leave a group", move |tx| member::leave(tx, &member)).await
    }

    async fn pause_group(&self, group: &GroupName) -> Result<bool> {
        let group = group.clone();
        self.writer().call("pause a group", move |tx| group::pause(tx, &group)).await
    }

    async fn resume_group(&self, group: &GroupName) -> Result<bool> {
        let group = group.clone();
        self.writer().call("resume a group", move |tx| group::resume(tx, &group)).await
    }

    async fn reset_group(&self, group: &GroupName, to: StartFrom) -> Result<u64> {
        let group = group.clone();
        self.writer().call("reset a group", move |tx| group::reset(tx, &group, to)).await
    }

    async fn delete_group(&self, group: &GroupName) -> Result<bool> {
        let group = group.clone();
        self.writer().call("delete a group", move |tx| group::delete(tx, &group)).await
    }

    async fn parked(&self, group: &GroupName, after: u64, limit: u32) -> Result<Vec<Parked>> {
        let group = group.clone();
        self.reader().call("read parked events", move |conn| info::parked(conn, &group, after, limit)).await
    }

    async fn wait_log(&self, after: u64) {
        let signals = self.shared().signals.clone();
        let muted = self.shared().options.signals == Wakes::Muted;
        let (mut log, _interest) = (signals.log(), Interest::new(signals));
        // Closing is no hint: it is heard even so, and the next call is told.
        if log.wait_for(|log| log.closed || (!muted && log.head > after)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What every call of a group that is not there answers.
fn missing(group: &GroupName) -> Fault {
    millstream_core::Error::invalid("group", group.as_str(), "an existing group").into()
}
