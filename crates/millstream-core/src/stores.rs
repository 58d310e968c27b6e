//! The stores that one configuration picked.

use std::sync::Arc;

use crate::{
    error::Result,
    split::SplitJobStore,
    store::{EventStore, JobStore, QueueProvider, StateStore},
};

/// Queue, events and state, each chosen on its own; stores of one realm are one object behind several seams.
#[derive(Clone)]
pub struct Stores {
    /// Jobs.
    pub queue: Arc<dyn QueueProvider>,
    /// Events.
    pub events: Arc<dyn EventStore>,
    /// Run state.
    pub state: Arc<dyn StateStore>,
}

impl Stores {
    /// One object that is all three.
    pub fn of<S: QueueProvider + EventStore + StateStore>(store: Arc<S>) -> Self {
        Self { queue: store.clone(), events: store.clone(), state: store }
    }

    /// The job store whose settles carry effects to wherever they belong: itself where one commit reaches all three.
    pub fn join(&self, jobs: Arc<dyn JobStore>) -> Arc<dyn JobStore> {
        let split = self.events.realm() != jobs.realm() || self.state.realm() != jobs.realm();
        if split { Arc::new(SplitJobStore::new(jobs, self.events.clone(), self.state.clone())) } else { jobs }
    }

    /// Closes all three; the first error is answered, after every one was asked.
    ///
    /// # Errors
    ///
    /// What a store answers.
    pub async fn close(&self) -> Result<()> {
        let queue = self.queue.close().await;
        let events = self.events.close().await;
        let state = self.state.close().await;
        queue.and(events).and(state)
    }
}
