//! Comforts over the queue seam: typed payloads, one job at a time, waiting for a result.

use std::{fmt, future::poll_fn, sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    error::{Error, Result},
    job::{Enqueued, Job, NewJob},
    name::{JobId, JobName, QueueName},
    queue::{JobCounts, QueueEventKind},
    store::QueueProvider,
};

/// How often `finished` looks for itself, should the hint be lost.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// One queue of a store.
#[derive(Clone)]
pub struct Queue {
    provider: Arc<dyn QueueProvider>,
    name: QueueName,
}

impl Queue {
    /// The queue of this name.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name that no store accepts.
    pub fn new(provider: Arc<dyn QueueProvider>, name: impl Into<Arc<str>>) -> Result<Self> {
        Ok(Self { provider, name: QueueName::new(name)? })
    }

    /// Its name.
    pub fn name(&self) -> &QueueName {
        &self.name
    }

    /// A job for this queue, to set options on and pass to [`add`](Self::add).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a job name that no store accepts, or an input that is not JSON.
    pub fn job(&self, name: impl Into<Arc<str>>, input: impl Serialize) -> Result<NewJob> {
        let data = serde_json::to_value(input)
            .map_err(|error| Error::invalid("job input", error.to_string(), "a value that serializes to JSON"))?;
        Ok(NewJob::new(self.name.clone(), JobName::new(name)?, data))
    }

    /// Enqueues one job with the queue's default options.
    ///
    /// # Errors
    ///
    /// As [`job`](Self::job), and what the store answers.
    pub async fn enqueue(&self, name: impl Into<Arc<str>>, input: impl Serialize) -> Result<Enqueued> {
        self.add(self.job(name, input)?).await
    }

    /// Enqueues one job.
    ///
    /// # Errors
    ///
    /// What the store answers.
    pub async fn add(&self, job: NewJob) -> Result<Enqueued> {
        let answers = self.provider.enqueue(std::slice::from_ref(&job)).await?;
        answers.into_iter().next().ok_or(Error::Closed { what: "store" })
    }

    /// One of its jobs.
    ///
    /// # Errors
    ///
    /// What the store answers.
    pub async fn get(&self, id: &JobId) -> Result<Option<Job>> {
        self.provider.job(&self.name, id).await
    }

    /// How many of its jobs are in each state.
    ///
    /// # Errors
    ///
    /// What the store answers.
    pub async fn counts(&self) -> Result<JobCounts> {
        self.provider.counts(&self.name).await
    }

    /// Waits until a job is finished, in whatever process; `None` when it is not there, or not there any more.
    ///
    /// # Errors
    ///
    /// What the store answers.
    pub async fn finished(&self, id: &JobId) -> Result<Option<Job>> {
        // Watch first, then look: an end between the two is seen.
        let mut events = self.provider.watch(&self.name).await?;
        loop {
            match self.get(id).await? {
                Some(job) if !job.state.is_finished() => {}
                end => return Ok(end),
            }
            let ended = async {
                while let Some(event) = poll_fn(|cx| events.as_mut().poll_next(cx)).await {
                    let end = !matches!(event.kind, QueueEventKind::Active | QueueEventKind::Progress);
                    if end && event.job.as_ref() == Some(id) {
                        return;
                    }
                }
                std::future::pending::<()>().await;
            };
            // Lost hints are made up for by the look that follows.
            let _ = tokio::time::timeout(LOOK_AGAIN, ended).await;
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({})", self.name)
    }
}
