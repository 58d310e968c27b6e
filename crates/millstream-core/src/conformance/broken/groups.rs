//! The broken groups.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;

use super::{Broken, Fault};
use crate::{
    CursorMove, Effects, Error, GroupInfo, GroupName, GroupSpec, GroupStore, Member, MemberView, Parked, ParkedNow,
    PartitionClaim, PartitionRead, PartitionRef, Pattern, ReadFrom, Result, StartFrom,
};

/// What was seen of groups in passing.
#[derive(Default)]
pub(super) struct GroupMemory {
    /// The latest claim of each partition.
    claims: HashMap<(GroupName, u16), (PartitionRef, Member)>,
    members: HashMap<GroupName, Vec<Member>>,
    specs: HashMap<GroupName, GroupSpec>,
}

impl Broken {
    /// No group is waited for any more.
    pub(super) async fn let_go(&self) -> Result<()> {
        let inner = self.groups_inner()?;
        let specs: Vec<GroupSpec> = self.memory().groups.specs.values().cloned().collect();
        for spec in specs {
            inner.ensure_group(&GroupSpec { retain: false, ..spec }).await?;
        }
        Ok(())
    }

    fn groups_inner(&self) -> Result<Arc<dyn GroupStore>> {
        self.inner.events.groups()
    }

    /// The original design: every consumer is a group of its own, with a checkpoint of its own. So each sees all.
    fn named(&self, group: &GroupName) -> Result<GroupName> {
        if self.has(Fault::GroupOfOne) {
            return GroupName::stored(format!("{group}~{}", self.number));
        }
        Ok(group.clone())
    }

    fn member(&self, member: &Member) -> Result<Member> {
        let id = if self.has(Fault::NameIsMember) { member.consumer.as_str().into() } else { member.id.clone() };
        Ok(Member { group: self.named(&member.group)?, id, ..member.clone() })
    }

    /// A reference as the inner store knows it.
    fn real(&self, group: &GroupName, held: PartitionRef) -> PartitionRef {
        if self.has(Fault::OneEpoch)
            && let Some((latest, _)) = self.memory().groups.claims.get(&(group.clone(), held.partition))
        {
            return *latest;
        }
        held
    }

    fn step(&self, group: &GroupName, step: &CursorMove) -> CursorMove {
        CursorMove { held: self.real(group, step.held), ..*step }
    }

    /// What a member has, as far as was seen.
    fn claims_of(&self, member: &Member) -> Vec<PartitionRef> {
        let memory = self.memory();
        memory.groups.claims.values().filter(|(_, owner)| owner == member).map(|(held, _)| *held).collect()
    }

    /// A write of a consumer, or its crash before or after it: then nothing is answered any more.
    async fn written<T>(&self, write: impl Future<Output = T> + Send) -> T {
        let Some(crash) = &self.breakage.crash else { return write.await };
        let less = |left: u32| left.checked_sub(1);
        match crash.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(1) => {}
            Ok(_) => return write.await,
            Err(_) => return std::future::pending().await,
        }
        if crash.after {
            write.await;
        }
        crash.told.send_replace(true);
        std::future::pending().await
    }

    async fn write_apart(&self, effects: &Effects) -> Result<()> {
        self.inner.events.append(&effects.append).await?;
        self.inner.queue.enqueue(&effects.enqueue).await?;
        self.inner.state.apply(&effects.state).await
    }
}

fn missing(group: &GroupName) -> Error {
    Error::invalid("group", group.as_str(), "an existing group")
}

#[async_trait]
impl GroupStore for Broken {
    async fn ensure_group(&self, spec: &GroupSpec) -> Result<bool> {
        let inner = self.groups_inner()?;
        let mut spec = GroupSpec { name: self.named(&spec.name)?, ..spec.clone() };
        if self.has(Fault::GroupIgnoresPattern) {
            (spec.pattern, spec.kinds) = (Pattern::All, Vec::new());
        }
        if self.has(Fault::ForgetsStart) {
            spec.start = StartFrom::Start;
        }
        if let StartFrom::After(position) = spec.start
            && position > self.inner.events.head().await?
            && self.has(Fault::SilentRestore)
        {
            spec.start = StartFrom::Now;
        }
        self.memory().groups.specs.insert(spec.name.clone(), spec.clone());
        match inner.ensure_group(&spec).await {
            Ok(false) if self.has(Fault::GroupStartsAnew) => {
                inner.reset_group(&spec.name, spec.start).await?;
                Ok(false)
            }
            Err(Error::Invalid { .. }) if self.has(Fault::SilentLimit) => Ok(false),
            answer => answer,
        }
    }

    async fn group(&self, group: &GroupName) -> Result<Option<GroupInfo>> {
        let mut info = self.groups_inner()?.group(&self.named(group)?).await?;
        if let Some(info) = &mut info
            && self.has(Fault::LyingLag)
        {
            (info.lag, info.oldest) = (0, None);
            info.partitions.iter_mut().for_each(|partition| partition.lag = 0);
        }
        if info.is_none() && self.has(Fault::MissingIsError) {
            return Err(missing(group));
        }
        Ok(info)
    }

    async fn list_groups(&self) -> Result<Vec<GroupInfo>> {
        let mut groups = self.groups_inner()?.list_groups().await?;
        if self.has(Fault::ReversedListing) {
            groups.reverse();
        }
        if self.has(Fault::HidesOldNames) {
            groups.retain(|info| GroupName::new(info.name.as_str()).is_ok());
        }
        Ok(groups)
    }

    async fn beat_member(&self, member: &Member, held: &[PartitionRef]) -> Result<MemberView> {
        let (inner, member) = (self.groups_inner()?, self.member(member)?);
        let mut real: Vec<PartitionRef> = held.iter().map(|held| self.real(&member.group, *held)).collect();
        if self.has(Fault::BeatForgets) {
            real.clear();
        }
        let others: Vec<Member> = {
            let known = &mut self.memory().groups.members;
            let known = known.entry(member.group.clone()).or_default();
            if !known.contains(&member) {
                known.push(member.clone());
            }
            known.iter().filter(|other| **other != member).cloned().collect()
        };
        if self.has(Fault::ImmortalMembers) {
            for other in others {
                inner.beat_member(&other, &self.claims_of(&other)).await?;
            }
        }
        let mut view = inner.beat_member(&member, &real).await?;
        if self.has(Fault::GreedyShare) {
            view.share = self.memory().groups.specs.get(&member.group).map_or(view.share, |spec| spec.partitions);
        }
        if self.has(Fault::ForgottenPause) {
            view.paused = false;
        }
        if self.has(Fault::OneEpoch) {
            view.lost.clear();
        }
        if self.has(Fault::NeverLost) {
            view.lost.clear();
        }
        Ok(view)
    }

    async fn claim_partitions(&self, member: &Member, at_most: u16) -> Result<Vec<PartitionClaim>> {
        let (inner, member) = (self.groups_inner()?, self.member(member)?);
        if self.has(Fault::StealsPartitions) {
            let others: Vec<PartitionRef> = {
                let claims = &self.memory().groups.claims;
                let others = claims.values().filter(|(_, owner)| owner.group == member.group && *owner != member);
                others.map(|(held, _)| *held).collect()
            };
            inner.release_partitions(&member.group, &others).await?;
        }
        let mut claims = inner.claim_partitions(&member, at_most).await?;
        for claim in &mut claims {
            let key = (member.group.clone(), claim.held.partition);
            self.memory().groups.claims.insert(key, (claim.held, member.clone()));
            if self.has(Fault::OneEpoch) {
                claim.held.epoch = 1;
            }
            if self.has(Fault::ForgetsFailures) {
                (claim.attempts, claim.wait) = (0, Duration::ZERO);
            }
        }
        Ok(claims)
    }

    async fn read_partitions(&self, group: &GroupName, from: &[ReadFrom], limit: u32) -> Result<PartitionRead> {
        let mut from = from.to_vec();
        if self.has(Fault::SilentRestore) {
            let head = self.inner.events.head().await?;
            from.iter_mut().for_each(|from| from.after = from.after.min(head));
        }
        let inner = self.groups_inner()?;
        let mut answer = inner.read_partitions(&self.named(group)?, &from, limit).await;
        if let Err(Error::Truncated { first, .. }) = &answer
            && self.has(Fault::SilentTruncation)
        {
            let first = *first;
            from.iter_mut().for_each(|from| from.after = from.after.max(first - 1));
            answer = inner.read_partitions(&self.named(group)?, &from, limit).await;
        }
        let mut read = answer?;
        if self.has(Fault::SkippedEvent) {
            read.events.retain(|event| event.event.id % 3 != 2);
        }
        if self.has(Fault::ReorderedEvents) {
            read.events.reverse();
        }
        if self.has(Fault::UpToHead) {
            read.up_to = self.inner.events.head().await?;
        }
        if self.has(Fault::ForgetsParkedStreams) {
            read.events.iter_mut().for_each(|event| event.behind = false);
        }
        Ok(read)
    }

    async fn advance(&self, group: &GroupName, moves: &[CursorMove]) -> Result<Vec<bool>> {
        let group = self.named(group)?;
        let moves: Vec<CursorMove> = moves.iter().map(|step| self.step(&group, step)).collect();
        if self.has(Fault::StillCursor) {
            return Ok(vec![true; moves.len()]);
        }
        let mut moved = self.groups_inner()?.advance(&group, &moves).await?;
        if self.has(Fault::UnfencedCommit) {
            moved.iter_mut().for_each(|moved| *moved = true);
        }
        Ok(moved)
    }

    async fn commit(&self, group: &GroupName, step: &CursorMove, effects: &Effects) -> Result<bool> {
        let (inner, group) = (self.groups_inner()?, self.named(group)?);
        let step = self.step(&group, step);
        if self.breakage.is_unwilling() {
            return Err(Error::unavailable(self.inner.events.kind(), "commit a cursor", "a serialization failure"));
        }
        if self.has(Fault::StillCursor) {
            self.write_apart(effects).await?;
            return Ok(true);
        }
        if self.has(Fault::DroppedEffects) {
            return inner.commit(&group, &step, &Effects::default()).await;
        }
        match self.written(inner.commit(&group, &step, effects)).await {
            Ok(false) if self.has(Fault::UnfencedCommit) => {
                self.write_apart(effects).await?;
                Ok(true)
            }
            Err(error) if self.has(Fault::OutcomeWithoutEffects) => {
                inner.advance(&group, &[step]).await?;
                Err(error)
            }
            answer => answer,
        }
    }

    async fn fail_partition(
        &self,
        group: &GroupName,
        held: PartitionRef,
        at: u64,
        wait: Duration,
        error: &str,
    ) -> Result<Option<u32>> {
        let group = self.named(group)?;
        let held = self.real(&group, held);
        if self.has(Fault::ForgetsFailures) {
            return Ok(Some(1));
        }
        let inner = self.groups_inner()?;
        self.written(inner.fail_partition(&group, held, at, wait, error)).await
    }

    async fn park(&self, group: &GroupName, step: &CursorMove, events: &[ParkedNow]) -> Result<bool> {
        let (inner, group) = (self.groups_inner()?, self.named(group)?);
        let step = self.step(&group, step);
        if self.has(Fault::LostParked) {
            return Ok(inner.advance(&group, &[step]).await?.first().copied().unwrap_or(false));
        }
        self.written(inner.park(&group, &step, events)).await
    }

    async fn release_partitions(&self, group: &GroupName, held: &[PartitionRef]) -> Result<()> {
        let group = self.named(group)?;
        let held: Vec<PartitionRef> = held.iter().map(|held| self.real(&group, *held)).collect();
        self.groups_inner()?.release_partitions(&group, &held).await
    }

    async fn leave(&self, member: &Member) -> Result<()> {
        let (inner, member) = (self.groups_inner()?, self.member(member)?);
        self.memory().groups.members.entry(member.group.clone()).or_default().retain(|other| *other != member);
        inner.leave(&member).await?;
        if self.has(Fault::UnsubscribeForgets) || self.has(Fault::GroupOfOne) {
            inner.delete_group(&member.group).await?;
        }
        Ok(())
    }

    async fn pause_group(&self, group: &GroupName) -> Result<bool> {
        if self.has(Fault::MissingIsError) {
            return Err(missing(group));
        }
        self.groups_inner()?.pause_group(&self.named(group)?).await
    }

    async fn resume_group(&self, group: &GroupName) -> Result<bool> {
        if self.has(Fault::IgnoredOperator) {
            return Ok(true);
        }
        self.groups_inner()?.resume_group(&self.named(group)?).await
    }

    async fn reset_group(&self, group: &GroupName, to: StartFrom) -> Result<u64> {
        if self.has(Fault::IgnoredReset) {
            return Ok(0);
        }
        self.groups_inner()?.reset_group(&self.named(group)?, to).await
    }

    async fn delete_group(&self, group: &GroupName) -> Result<bool> {
        let (inner, group) = (self.groups_inner()?, self.named(group)?);
        if self.has(Fault::DeletesUnderMembers) {
            let members = self.memory().groups.members.remove(&group).unwrap_or_default();
            for member in members {
                inner.leave(&member).await?;
            }
        }
        inner.delete_group(&group).await
    }

    async fn parked(&self, group: &GroupName, after: u64, limit: u32) -> Result<Vec<Parked>> {
        self.groups_inner()?.parked(&self.named(group)?, after, limit).await
    }

    async fn wait_log(&self, after: u64) {
        if self.has(Fault::LostWakeUp) {
            return std::future::pending().await;
        }
        match self.groups_inner() {
            Ok(groups) => groups.wait_log(after).await,
            Err(_) => std::future::pending().await,
        }
    }
}
