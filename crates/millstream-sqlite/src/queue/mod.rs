//! Jobs: the seams of queue and runtime, each method in the module of its noun.

mod beat;
mod claim;
mod control;
mod counts;
pub(crate) mod enqueue;
mod list;
mod live;
mod promote;
mod release;
mod rescue;
mod schedules;
pub(crate) mod settle;
pub(crate) mod sweep;
mod watch;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use millstream_core::{
    BoxStream, ClaimRef, Claimed, Enqueued, Job, JobCounts, JobId, JobStore, JobsQuery, NewJob, Page, Progress,
    QueueEvent, QueueInfo, QueueName, QueueProvider, Result, Schedule, ScheduleInfo, Settlement, Signal, Timestamp,
    Verdict, Wake, Want, Work,
};

use crate::store::SqliteStore;

#[async_trait]
impl QueueProvider for SqliteStore {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        enqueue::enqueue(self, jobs).await
    }

    async fn job(&self, queue: &QueueName, id: &JobId) -> Result<Option<Job>> {
        list::job(self, queue, id).await
    }

    async fn jobs(&self, query: &JobsQuery) -> Result<Page<Job>> {
        list::jobs(self, query).await
    }

    async fn counts(&self, queue: &QueueName) -> Result<JobCounts> {
        counts::counts(self, queue).await
    }

    async fn queues(&self) -> Result<Vec<QueueInfo>> {
        counts::queues(self).await
    }

    async fn pause(&self, queue: &QueueName) -> Result<()> {
        control::set_paused(self, queue, true).await
    }

    async fn resume(&self, queue: &QueueName) -> Result<()> {
        control::set_paused(self, queue, false).await
    }

    async fn is_paused(&self, queue: &QueueName) -> Result<bool> {
        control::is_paused(self, queue).await
    }

    async fn cancel(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        control::cancel(self, queue, id).await
    }

    async fn retry(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        control::retry(self, queue, id).await
    }

    async fn remove(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        control::remove(self, queue, id).await
    }

    async fn promote(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        promote::promote(self, queue, id).await
    }

    async fn schedule_upsert(&self, schedule: &Schedule) -> Result<()> {
        schedules::upsert(self, schedule).await
    }

    async fn schedules(&self, queue: Option<&QueueName>) -> Result<Vec<ScheduleInfo>> {
        schedules::list(self, queue).await
    }

    async fn unschedule(&self, queue: &QueueName, key: &str) -> Result<bool> {
        schedules::remove(self, queue, key).await
    }

    async fn watch(&self, queue: &QueueName) -> Result<BoxStream<QueueEvent>> {
        watch::watch(self, queue).await
    }

    fn work(&self) -> Work {
        Work::Shared(Arc::new(self.clone()))
    }
}

#[async_trait]
impl JobStore for SqliteStore {
    fn lease(&self) -> Duration {
        self.shared().options.lease
    }

    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>> {
        claim::claim(self, wants).await
    }

    async fn settle(&self, batch: &[Settlement]) -> Result<Vec<Verdict>> {
        settle::settle(self, batch).await
    }

    async fn beat(&self, held: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>> {
        beat::beat(self, held).await
    }

    async fn progress(&self, notes: &[Progress]) -> Result<()> {
        beat::progress(self, notes).await
    }

    async fn release(&self, held: &[ClaimRef]) -> Result<()> {
        release::release(self, held).await
    }

    async fn rescue(&self) -> Result<u64> {
        rescue::rescue(self).await
    }

    async fn promote_due(&self) -> Result<Option<Timestamp>> {
        promote::promote_due(self).await
    }

    async fn fire_schedules(&self) -> Result<Option<Timestamp>> {
        schedules::fire(self).await
    }

    async fn wait(&self, queues: &[QueueName]) -> Wake {
        self.shared().signals.wait(queues).await
    }
}
