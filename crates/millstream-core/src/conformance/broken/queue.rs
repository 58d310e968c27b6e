//! The broken queue.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::{Broken, Fault};
use crate::{
    BoxStream, Enqueued, Error, Job, JobCounts, JobId, JobOptions, JobSettings, JobState, JobStore, JobsQuery, Missed,
    NewJob, Page, QueueEvent, QueueEventKind, QueueInfo, QueueName, QueueProvider, Removal, Result, RunAt, Schedule,
    ScheduleInfo, Work,
};

impl Broken {
    /// The job as the broken store takes it in.
    fn spoiled_job(&self, mut job: NewJob) -> NewJob {
        if self.has(Fault::LostData) {
            job.data = Value::Null;
            job.trace = None;
        }
        if self.has(Fault::OneIdForAll) && job.id.is_none() {
            job.id = JobId::new("job").ok();
        }
        if self.has(Fault::ForgetsOptions) {
            job.options = JobOptions::default();
            job.run_at = None;
        }
        if self.has(Fault::ForgetsDefaults) {
            job.options = explicit(job.options);
        }
        if self.has(Fault::ForgetsGroup) {
            job.options.group = None;
        }
        if self.has(Fault::IgnoresPriority) {
            job.options.priority = Some(0);
        }
        if self.has(Fault::EarlyDelayed) {
            job.run_at = Some(RunAt::After(std::time::Duration::ZERO));
        }
        if self.has(Fault::KeepsFinished) {
            job.options.remove_on_complete = Some(Removal::Never);
            job.options.remove_on_fail = Some(Removal::Never);
        }
        job
    }

    /// Ids that the broken store believes to be taken.
    fn believes_taken(&self, job: &NewJob) -> bool {
        let Some(id) = &job.id else { return false };
        let key = (job.queue.clone(), id.clone());
        if self.has(Fault::IdsStayTaken) {
            return !self.memory().ids.insert(key);
        }
        if self.has(Fault::IdsAcrossQueues) {
            let mut memory = self.memory();
            let taken = memory.ids.iter().any(|(queue, taken)| *queue != job.queue && taken == id);
            memory.ids.insert(key);
            return taken;
        }
        false
    }

    async fn store(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        match self.inner.queue.enqueue(jobs).await {
            Err(error) if self.has(Fault::PartialBatch) => {
                for job in jobs {
                    if self.inner.queue.enqueue(std::slice::from_ref(job)).await.is_err() {
                        break;
                    }
                }
                Err(error)
            }
            Err(Error::Invalid { .. }) if self.has(Fault::SilentLimit) => {
                let lost = JobId::new("lost")?;
                Ok(jobs.iter().map(|job| Enqueued::Created(job.id.clone().unwrap_or(lost.clone()))).collect())
            }
            Err(Error::Invalid { got, expected, .. }) if self.has(Fault::NamelessErrors) => {
                Err(Error::Invalid { what: "job".into(), got, expected })
            }
            answer => answer,
        }
    }

    /// What becomes of a job whose id the store has.
    async fn doubled(&self, job: &NewJob, answer: Enqueued) -> Result<Enqueued> {
        if answer.is_created() {
            return Ok(answer);
        }
        if self.has(Fault::ForgetsIds) {
            let nameless = NewJob { id: None, ..job.clone() };
            self.inner.queue.enqueue(&[nameless]).await?;
            return Ok(Enqueued::Created(answer.id().clone()));
        }
        if self.has(Fault::DuplicateOverwrites) {
            self.inner.queue.remove(&job.queue, answer.id()).await?;
            self.inner.queue.enqueue(std::slice::from_ref(job)).await?;
        }
        Ok(answer)
    }

    async fn enqueue_badly(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        let mut answers = Vec::new();
        let taken: Vec<bool> = jobs.iter().map(|job| self.believes_taken(job)).collect();
        let fresh: Vec<NewJob> = jobs
            .iter()
            .zip(&taken)
            .filter(|(_, taken)| !**taken)
            .map(|(job, _)| self.spoiled_job(job.clone()))
            .collect();
        let mut stored = self.store(&fresh).await?.into_iter();
        for (job, taken) in jobs.iter().zip(taken) {
            let answer = match (&job.id, taken) {
                (Some(id), true) => Enqueued::Duplicate(id.clone()),
                _ => match stored.next() {
                    Some(answer) => self.doubled(job, answer).await?,
                    None => break,
                },
            };
            answers.push(answer);
        }
        Ok(answers)
    }

    /// An operator's word, with what the store made of it.
    fn word(&self, queue: &QueueName, id: Option<&JobId>, done: Result<bool>) -> Result<bool> {
        match done {
            Ok(false) if self.has(Fault::YesMan) => Ok(true),
            Ok(false) if self.has(Fault::MissingIsError) => Err(missing(queue, id)),
            other => other,
        }
    }
}

fn missing(queue: &QueueName, id: Option<&JobId>) -> Error {
    Error::invalid("job", id.map_or(queue.as_str(), JobId::as_str), "one that exists")
}

/// Every option named, as if the queue had none.
fn explicit(options: JobOptions) -> JobOptions {
    let base = JobSettings::default();
    let base = JobOptions {
        attempts: Some(base.attempts),
        backoff: Some(base.backoff),
        priority: Some(base.priority),
        timeout: Some(std::time::Duration::from_secs(1)),
        delay: Some(std::time::Duration::ZERO),
        remove_on_complete: Some(base.remove_on_complete),
        remove_on_fail: Some(base.remove_on_fail),
        group: base.group,
    };
    options.or(&base)
}

#[async_trait]
impl QueueProvider for Broken {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        if jobs.is_empty() && self.has(Fault::RefusesEmpty) {
            return Err(Error::invalid("jobs", 0, "at least one"));
        }
        if self.has(Fault::LifoBatch) {
            let reversed: Vec<NewJob> = jobs.iter().rev().cloned().collect();
            let mut answers = self.inner.queue.enqueue(&reversed).await?;
            answers.reverse();
            return Ok(answers);
        }
        let mut answers = self.enqueue_badly(jobs).await?;
        if self.has(Fault::ShuffledAnswers) {
            answers.reverse();
        }
        if self.has(Fault::LostJob)
            && let (Some(job), Some(Enqueued::Created(id))) = (jobs.last(), answers.last())
        {
            self.inner.queue.remove(&job.queue, id).await?;
        }
        Ok(answers)
    }

    async fn job(&self, queue: &QueueName, id: &JobId) -> Result<Option<Job>> {
        let Some(mut job) = self.inner.queue.job(queue, id).await? else {
            return if self.has(Fault::MissingIsError) { Err(missing(queue, Some(id))) } else { Ok(None) };
        };
        if self.has(Fault::ForgetsResults) {
            (job.output, job.error, job.progress) = (None, None, None);
        }
        if self.has(Fault::StaleJob) {
            job = self.memory().jobs.entry((queue.clone(), id.clone())).or_insert(job).clone();
        }
        Ok(Some(job))
    }

    async fn jobs(&self, query: &JobsQuery) -> Result<Page<Job>> {
        if self.has(Fault::OffsetPages) {
            return self.offset_page(query).await;
        }
        let mut query = query.clone();
        if self.has(Fault::IgnoresFilters) {
            query = JobsQuery { after: query.after, ..JobsQuery::of(query.queue) };
        }
        let mut page = self.inner.queue.jobs(&query).await?;
        if self.has(Fault::SkippedRow) && page.next.is_some() {
            page.items.pop();
        }
        if self.has(Fault::ReversedListing) {
            page.items.reverse();
        }
        Ok(page)
    }

    async fn counts(&self, queue: &QueueName) -> Result<JobCounts> {
        let mut counts = self.inner.queue.counts(queue).await?;
        if counts.total() == 0 && self.has(Fault::MissingIsError) {
            return Err(missing(queue, None));
        }
        if counts.total() > 0 && self.has(Fault::WrongCounts) {
            counts.waiting += 1;
            counts.paused = 0;
        }
        Ok(counts)
    }

    async fn queues(&self) -> Result<Vec<QueueInfo>> {
        let mut queues = self.inner.queue.queues().await?;
        if self.has(Fault::ReversedListing) {
            queues.reverse();
        }
        if self.has(Fault::WrongCounts) {
            queues.iter_mut().for_each(|info| info.counts.completed += 1);
        }
        Ok(queues)
    }

    async fn pause(&self, queue: &QueueName) -> Result<()> {
        if self.has(Fault::ForgottenPause) {
            return Ok(());
        }
        if self.has(Fault::LocalPause) {
            self.paused_here().insert(queue.clone());
            return Ok(());
        }
        if self.has(Fault::PauseStopsRunning) {
            self.inner.jobs.release(&self.all_held()).await?;
        }
        self.inner.queue.pause(queue).await
    }

    async fn resume(&self, queue: &QueueName) -> Result<()> {
        if self.has(Fault::IgnoredOperator) {
            return Ok(());
        }
        self.paused_here().remove(queue);
        self.inner.queue.resume(queue).await
    }

    async fn is_paused(&self, queue: &QueueName) -> Result<bool> {
        let here = self.paused_here().contains(queue);
        Ok(here || self.inner.queue.is_paused(queue).await?)
    }

    async fn cancel(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        if self.has(Fault::IgnoredCancel) {
            return Ok(true);
        }
        let done = self.inner.queue.cancel(queue, id).await;
        self.word(queue, Some(id), done)
    }

    async fn retry(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        if self.has(Fault::IgnoredOperator) {
            return Ok(true);
        }
        let done = self.inner.queue.retry(queue, id).await;
        self.word(queue, Some(id), done)
    }

    async fn remove(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        if self.has(Fault::IgnoredOperator) {
            return Ok(true);
        }
        let done = self.inner.queue.remove(queue, id).await;
        self.word(queue, Some(id), done)
    }

    async fn promote(&self, queue: &QueueName, id: &JobId) -> Result<bool> {
        if self.has(Fault::IgnoredOperator) {
            return Ok(true);
        }
        let done = self.inner.queue.promote(queue, id).await;
        self.word(queue, Some(id), done)
    }

    async fn schedule_upsert(&self, schedule: &Schedule) -> Result<()> {
        let mut schedule = schedule.clone();
        if self.has(Fault::IgnoresMissed) {
            schedule.missed = if schedule.missed == Missed::All { Missed::Skip } else { Missed::All };
        }
        if self.has(Fault::IgnoresZone) {
            schedule.time_zone = "UTC".into();
        }
        if self.has(Fault::LostData) {
            schedule.data = Value::Null;
        }
        if self.has(Fault::ForgetsTick) {
            self.inner.queue.unschedule(&schedule.queue, &schedule.key).await?;
        }
        if self.has(Fault::KeepsOldSchedule) {
            let known = self.inner.queue.schedules(Some(&schedule.queue)).await?;
            if known.iter().any(|info| info.schedule.key == schedule.key) {
                return Ok(());
            }
        }
        match self.inner.queue.schedule_upsert(&schedule).await {
            Err(Error::Invalid { .. }) if self.has(Fault::SilentLimit) => Ok(()),
            answer => answer,
        }
    }

    async fn schedules(&self, queue: Option<&QueueName>) -> Result<Vec<ScheduleInfo>> {
        let mut schedules = self.inner.queue.schedules(queue).await?;
        if self.has(Fault::ReversedListing) {
            schedules.reverse();
        }
        Ok(schedules)
    }

    async fn unschedule(&self, queue: &QueueName, key: &str) -> Result<bool> {
        if self.has(Fault::IgnoredOperator) {
            return Ok(true);
        }
        let done = self.inner.queue.unschedule(queue, key).await;
        self.word(queue, None, done)
    }

    async fn watch(&self, queue: &QueueName) -> Result<BoxStream<QueueEvent>> {
        let stream = self.inner.queue.watch(queue).await?;
        if self.has(Fault::DeafWatch) {
            return Ok(super::events::map(stream, |_| Vec::new()));
        }
        if self.has(Fault::MislabelledWatch) {
            return Ok(super::events::map(stream, |mut event| {
                event.kind = match event.kind {
                    QueueEventKind::Waiting => QueueEventKind::Delayed,
                    QueueEventKind::Paused => QueueEventKind::Resumed,
                    QueueEventKind::Stalled => QueueEventKind::Failed,
                    QueueEventKind::Removed => QueueEventKind::Cancelled,
                    other => other,
                };
                vec![event]
            }));
        }
        Ok(stream)
    }

    fn work(&self) -> Work {
        let jobs: Arc<dyn JobStore> = self.inner.jobs.clone();
        Work::Shared(jobs)
    }
}

impl Broken {
    /// A page that begins after so many rows.
    async fn offset_page(&self, query: &JobsQuery) -> Result<Page<Job>> {
        let skip: usize = query.after.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0);
        let limit = query.limit as usize;
        let whole = JobsQuery { after: None, limit: crate::limits::PAGE_ROWS_MAX, ..query.clone() };
        let all = self.inner.queue.jobs(&whole).await?.items;
        let next = (all.len() > skip + limit).then(|| (skip + limit).to_string().into());
        Ok(Page { items: all.into_iter().skip(skip).take(limit).collect(), next })
    }
}

/// The state that an outcome would have led to.
pub(super) fn would_be(outcome: &crate::Outcome) -> JobState {
    match outcome {
        crate::Outcome::Done(_) => JobState::Completed,
        crate::Outcome::Retry { .. } | crate::Outcome::Snooze(_) => JobState::Delayed,
        crate::Outcome::Fail(_) => JobState::Failed,
        crate::Outcome::Cancel(_) => JobState::Cancelled,
    }
}
