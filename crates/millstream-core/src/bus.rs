//! The event manager of one process: publish once, it reaches the store and every local listener.
//!
//! What is published is durable first and heard second: a listener never hears of an event that the store refused.
//! Listeners are bounded, and a slow one holds publishers back rather than losing events. Queue events that the bus
//! carries (`job.*`) are hints, as their source is, and are not stored by it.

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    effects::{Append, NewEvent},
    error::{Error, Result},
    event::Appended,
    limits::SUBSCRIBE_BUFFER,
    name::{QueueName, StreamName},
    pattern::Pattern,
    queue::QueueEvent,
    store::{EventStore, QueueProvider},
};

/// What a listener hears.
#[derive(Clone, Debug, PartialEq)]
pub struct BusEvent {
    /// Its stream; of a queue event `nq:queue:<queue>`.
    pub stream: StreamName,
    /// The event.
    pub event: NewEvent,
    /// Its position, where it was stored and the store numbers at once.
    pub position: Option<u64>,
}

/// The event manager of one process. Cheap to clone; clones are the same bus.
#[derive(Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

struct Shared {
    events: Arc<dyn EventStore>,
    listeners: Mutex<Vec<Listener>>,
    /// One task a carried queue.
    carriers: Mutex<JoinSet<()>>,
}

struct Listener {
    pattern: Pattern,
    sender: mpsc::Sender<BusEvent>,
}

/// Hears what is published while it exists.
#[derive(Debug)]
pub struct BusListener {
    receiver: mpsc::Receiver<BusEvent>,
}

impl BusListener {
    /// The next event; `None` when the bus is gone.
    pub async fn next(&mut self) -> Option<BusEvent> {
        self.receiver.recv().await
    }
}

impl Bus {
    /// A bus that publishes to this store.
    pub fn new(events: Arc<dyn EventStore>) -> Self {
        Self { shared: Arc::new(Shared { events, listeners: Mutex::default(), carriers: Mutex::default() }) }
    }

    /// Appends a batch to the store, then tells the listeners, in order.
    ///
    /// # Errors
    ///
    /// What the store answers: then nobody heard of it.
    pub async fn publish(&self, batch: &[Append]) -> Result<Vec<Appended>> {
        let appended = self.shared.events.append(batch).await?;
        for (append, answer) in batch.iter().zip(&appended).filter(|(_, answer)| !answer.duplicate) {
            let first = answer.positions.map(|(first, _)| first);
            for (event, ordinal) in append.events.iter().zip(0_u64..) {
                let position = first.map(|first| first + ordinal);
                self.tell(BusEvent { stream: append.stream.clone(), event: event.clone(), position }).await;
            }
        }
        Ok(appended)
    }

    /// Hears what is published to these streams from now on, in this process.
    pub fn listen(&self, pattern: Pattern) -> BusListener {
        let (sender, receiver) = mpsc::channel(SUBSCRIBE_BUFFER);
        self.listeners(|listeners| listeners.push(Listener { pattern, sender }));
        BusListener { receiver }
    }

    /// Carries a queue's events, of every process, to the listeners: as `job.waiting`, `job.active` and so on.
    ///
    /// # Errors
    ///
    /// What the store answers.
    pub async fn carry(&self, provider: &dyn QueueProvider, queue: &QueueName) -> Result<()> {
        let stream = queue_stream(queue)?;
        let mut watched = provider.watch(queue).await?;
        // Weak, or the bus would keep itself alive through its own task.
        let shared = Arc::downgrade(&self.shared);
        let carrier = async move {
            while let Some(event) = poll_fn(|cx| watched.as_mut().poll_next(cx)).await {
                let Some(shared) = shared.upgrade() else { return };
                let event = BusEvent { stream: stream.clone(), event: job_event(&event), position: None };
                Bus { shared }.tell(event).await;
            }
        };
        self.shared.carriers.lock().unwrap_or_else(PoisonError::into_inner).spawn(carrier);
        Ok(())
    }

    async fn tell(&self, event: BusEvent) {
        let senders: Vec<_> = self.listeners(|listeners| {
            listeners.retain(|listener| !listener.sender.is_closed());
            let heard = listeners.iter().filter(|listener| listener.pattern.matches(event.stream.as_str()));
            heard.map(|listener| listener.sender.clone()).collect()
        });
        for sender in senders {
            // Fails only when the listener is gone meanwhile.
            let _ = sender.send(event.clone()).await;
        }
    }

    fn listeners<T>(&self, with: impl FnOnce(&mut Vec<Listener>) -> T) -> T {
        with(&mut self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bus")
    }
}

/// The stream of a queue's job events. A queue whose name leaves no room for the prefix has its beginning there, and
/// its hash.
///
/// # Errors
///
/// Never in practice: every queue name gives a stream name.
pub fn queue_stream(queue: &QueueName) -> Result<StreamName, Error> {
    StreamName::new(format!("nq:queue:{}", crate::name::fitting(queue.as_str(), 200)))
}

/// A queue event as the log and the bus spell it.
pub fn job_event(event: &QueueEvent) -> NewEvent {
    let data = serde_json::json!({
        "queue": event.queue,
        "job": event.job,
        "name": event.name,
        "attempt": event.attempt,
        "data": event.data,
    });
    NewEvent { attempt: event.attempt, ..NewEvent::new(format!("job.{}", event.kind.as_str()), data) }
}
