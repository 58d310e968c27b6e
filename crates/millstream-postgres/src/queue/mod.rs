//! Jobs: the seams of queue and runtime, each method in the module of its noun.

mod beat;
pub(crate) mod claim;
mod control;
mod counts;
pub(crate) mod enqueue;
pub(crate) mod held;
mod list;
pub(crate) mod moves;
mod promote;
mod release;
mod rescue;
mod schedules;
pub(crate) mod settle;
pub(crate) mod sweep;
pub(crate) mod watch;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use millstream_core::{
    BoxStream, ClaimRef, Claimed, Enqueued, Job, JobCounts, JobId, JobStore, JobsQuery, NewJob, Page, Progress,
    QueueEvent, QueueInfo, QueueName, QueueProvider, Result, Schedule, ScheduleInfo, Settlement, Signal, Timestamp,
    Verdict, Wake, Want, Work,
};

use crate::store::PostgresStore;

#[async_trait]
impl QueueProvider for PostgresStore {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        enqueue::enqueue(self.shared(), jobs).await
    }

    async fn job(&self, queue: &QueueName, id: &JobId) -> Result<Option<Job>> {
        list::job(self.shared(), queue, id).await
    }

    async fn jobs(&self, query: &JobsQuery) -> Result<Page<Job>> {
        list::jobs(self.shared(), query).await
    }

    async fn counts(&self, queue: &QueueName) -> Result<JobCounts> {
        counts::counts(self.shared(), queue).await
    }

    async fn queues(&self) -> Result<Vec<QueueInfo>> {
        counts::queues(self.shared()).await
    }

    async fn pause(&self, queue: &QueueName) -> Result<()> {
        control::set_paused(self.shared(), queue, true).await
    }

    async fn resume(&self, queue: &QueueName) -> Result<()> {
        control::set_paused(self.shared(), queue, false).await
    }

    async fn is_paused(&self, queue: &QueueName) -> Result<bool> {
        control::is_paused(self.shared(), queue).await
    }

    async fn cancel(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        control::cancel(self.shared(), queue, id).await
    }

    async fn retry(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        control::retry(self.shared(), queue, id).await
    }

    async fn remove(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        control::remove(self.shared(), queue, id).await
    }

    async fn promote(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        promote::promote(self.shared(), queue, id).await
    }

    async fn schedule_upsert(&self, schedule: &Schedule) -> Result<()> {
        schedules::upsert(self.shared(), schedule).await
    }

    async fn schedules(&self, queue: Option<&QueueName>) -> Result<Vec<ScheduleInfo>> {
        schedules::list(self.shared(), queue).await
    }

    async fn unschedule(&self, queue: &QueueName, key: &str) -> Result<bool> {
        schedules::remove(self.shared(), queue, key).await
    }

    async fn watch(&self, queue: &QueueName) -> Result<BoxStream<QueueEvent>> {
        watch::watch(self.shared(), queue).await
    }

    fn work(&self) -> Work {
        Work::Shared(Arc::new(self.clone()))
    }
}

#[async_trait]
impl JobStore for PostgresStore {
    fn lease(&self) -> Duration {
        self.shared().lease()
    }

    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>> {
        claim::claim(self.shared(), wants).await
    }

    async fn settle(&self, batch: &[Settlement]) -> Result<Vec<Verdict>> {
        settle::settle(self.shared(), batch).await
    }

    async fn beat(&self, held: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>> {
        beat::beat(self.shared(), held).await
    }

    async fn progress(&self, notes: &[Progress]) -> Result<()> {
        beat::progress(self.shared(), notes).await
    }

    async fn release(&self, held: &[ClaimRef]) -> Result<()> {
        release::release(self.shared(), held).await
    }

    async fn rescue(&self) -> Result<u64> {
        rescue::rescue(self.shared()).await
    }

    async fn promote_due(&self) -> Result<Option<Timestamp>> {
        promote::promote_due(self.shared()).await
    }

    async fn fire_schedules(&self) -> Result<Option<Timestamp>> {
        schedules::fire(self.shared()).await
    }

    async fn wait(&self, queues: &[QueueName]) -> Wake {
        self.shared().signals.wait(queues).await
    }

    fn hears(&self) -> bool {
        self.shared().hears()
    }
}
