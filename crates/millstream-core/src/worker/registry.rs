//! Which handler runs which job: by queue and job name.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::handler::{Handler, JobError};
use crate::{
    claim::Claimed,
    error::{Error, Result},
    name::{JobName, QueueName},
};

/// The only place where a handler's types are already erased.
#[derive(Default)]
pub(crate) struct Registry {
    queues: HashMap<QueueName, Handlers>,
}

#[derive(Default)]
struct Handlers {
    by_name: BTreeMap<JobName, Arc<dyn Handler>>,
    /// Runs what has no handler of its own.
    fallback: Option<Arc<dyn Handler>>,
}

impl Registry {
    pub(crate) fn add(&mut self, queue: &QueueName, name: Option<&JobName>, handler: Arc<dyn Handler>) -> Result<()> {
        let handlers = self.queues.entry(queue.clone()).or_default();
        let taken = match name {
            Some(name) => handlers.by_name.contains_key(name),
            None => handlers.fallback.is_some(),
        };
        if taken {
            let got =
                name.map_or("a second default handler".to_owned(), |name| format!("a second handler of `{name}`"));
            return Err(Error::invalid(format!("handler of queue `{queue}`"), got, "one handler a job name"));
        }
        match name {
            Some(name) => drop(handlers.by_name.insert(name.clone(), handler)),
            None => handlers.fallback = Some(handler),
        }
        Ok(())
    }

    /// The job's handler, or the error that names what exists.
    pub(crate) fn find(&self, job: &Claimed) -> Result<Arc<dyn Handler>, JobError> {
        let handlers = self.queues.get(&job.claim.queue);
        let found = handlers.and_then(|handlers| handlers.by_name.get(&job.name).or(handlers.fallback.as_ref()));
        found.cloned().ok_or_else(|| {
            let known: Vec<&str> = handlers.iter().flat_map(|all| all.by_name.keys()).map(JobName::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            JobError::retry(format!(
                "no handler for job `{}` in queue `{}`; handlers: {known}",
                job.name, job.claim.queue
            ))
        })
    }
}
