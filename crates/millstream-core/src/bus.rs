//! The event manager of one process: publish once, it reaches the store and every local listener.
//!
//! - **Durable first, heard second.** A listener never hears of an event that the store refused.
//! - **In the log's order.** What this process publishes is heard in the order in which it was appended, whoever published.
//! - **Batched.** Calls without a condition or a key that come while an append is under way travel together in the next
//!   one. A call is never torn apart, and one that the store refuses spoils no other.
//! - **Bounded, without loss.** [`BUS_CALLS`] calls may wait, and [`SUBSCRIBE_BUFFER`] events for each listener. Beyond
//!   that publishers wait: a listener that does not read holds up everybody who publishes, until it reads or is dropped.
//!   So a listener that publishes does it from another task than the one that reads.
//! - **While the store is down** every call answers the store's error, after the store's own attempts, and nobody hears of
//!   it. The bus keeps nothing for later: memory that only this process has would be a promise that a crash breaks. A call
//!   whose error [is transient](crate::Error::is_transient) may be made again; it may have been written all the same, so
//!   give its appends [keys](Append::key) where twice would be wrong. Who must not wait for a store at all enqueues the
//!   event as an effect of a job, which is written with the job's outcome.
//! - **A call that is given up,** its future dropped, is carried out nonetheless once it waited for its turn.
//!
//! Queue events that the bus carries (`job.*`) are hints, as their source is, and are not stored by it.

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{
    effects::{Append, NewEvent},
    error::{Error, Result},
    event::Appended,
    limits::{APPEND_BATCH_MAX, BUS_CALLS, SUBSCRIBE_BUFFER},
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
    calls: mpsc::Sender<Call>,
    /// Until the first call, which has a runtime to work in.
    waiting: Mutex<Option<Pump>>,
    listeners: Arc<Listeners>,
    /// One task a carried queue.
    carriers: Mutex<JoinSet<()>>,
    /// The pump's.
    pumping: Mutex<JoinSet<()>>,
}

impl Drop for Shared {
    /// The calls that were taken are carried out; then there are no more, and the pump ends by itself.
    fn drop(&mut self) {
        self.pumping.lock().unwrap_or_else(PoisonError::into_inner).detach_all();
    }
}

/// One publisher's batch, on its way to the store.
struct Call {
    batch: Vec<Append>,
    answer: oneshot::Sender<Result<Vec<Appended>>>,
}

impl Call {
    /// Whether it can travel with others: the store can refuse no part of it that it would take alone.
    fn is_plain(&self) -> bool {
        self.batch.iter().all(|append| append.expected.is_none() && append.key.is_none())
    }

    fn events(&self) -> usize {
        self.batch.iter().map(|append| append.events.len()).sum()
    }
}

/// Appends what is published, and tells the listeners.
struct Pump {
    events: Arc<dyn EventStore>,
    calls: mpsc::Receiver<Call>,
    listeners: Arc<Listeners>,
}

impl Pump {
    async fn run(mut self) {
        let mut calls = Vec::new();
        while self.calls.recv_many(&mut calls, BUS_CALLS).await > 0 {
            let mut together: Vec<Call> = Vec::new();
            let mut events = 0;
            for call in calls.drain(..) {
                let joins = call.is_plain() && events + call.events() <= APPEND_BATCH_MAX;
                if !joins {
                    self.publish(std::mem::take(&mut together)).await;
                    events = 0;
                }
                events += call.events();
                let plain = call.is_plain();
                together.push(call);
                if !plain {
                    self.publish(std::mem::take(&mut together)).await;
                    events = 0;
                }
            }
            self.publish(together).await;
        }
    }

    async fn publish(&self, calls: Vec<Call>) {
        if calls.is_empty() {
            return;
        }
        let batch: Vec<Append> = calls.iter().flat_map(|call| call.batch.iter().cloned()).collect();
        match self.events.append(&batch).await {
            Ok(appended) => {
                let mut appended = appended.into_iter();
                for call in calls {
                    let own: Vec<Appended> = appended.by_ref().take(call.batch.len()).collect();
                    self.finish(call, Ok(own)).await;
                }
            }
            Err(error) if calls.len() == 1 || error.is_transient() => {
                for call in calls {
                    self.finish(call, Err(error.clone())).await;
                }
            }
            // One of them is bad: each for itself.
            Err(_) => {
                for call in calls {
                    let answer = self.events.append(&call.batch).await;
                    self.finish(call, answer).await;
                }
            }
        }
    }

    async fn finish(&self, call: Call, answer: Result<Vec<Appended>>) {
        let Call { batch, answer: caller } = call;
        if let Ok(appended) = &answer {
            self.listeners.tell_all(batch, appended).await;
        }
        // A caller that went away does not want its answer.
        let _ = caller.send(answer);
    }
}

#[derive(Default)]
struct Listeners {
    all: Mutex<Vec<Listener>>,
}

impl Listeners {
    async fn tell_all(&self, batch: Vec<Append>, appended: &[Appended]) {
        for (append, answer) in batch.into_iter().zip(appended).filter(|(_, answer)| !answer.duplicate) {
            let first = answer.positions.map(|(first, _)| first);
            for (event, ordinal) in append.events.into_iter().zip(0_u64..) {
                let position = first.map(|first| first + ordinal);
                self.tell(BusEvent { stream: append.stream.clone(), event, position }).await;
            }
        }
    }

    async fn tell(&self, event: BusEvent) {
        let senders: Vec<_> = self.with(|listeners| {
            listeners.retain(|listener| !listener.sender.is_closed());
            let heard = listeners.iter().filter(|listener| listener.pattern.matches(event.stream.as_str()));
            heard.map(|listener| listener.sender.clone()).collect()
        });
        for sender in senders {
            // Fails only when the listener is gone meanwhile.
            let _ = sender.send(event.clone()).await;
        }
    }

    fn with<T>(&self, with: impl FnOnce(&mut Vec<Listener>) -> T) -> T {
        with(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }
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
        let (sender, calls) = mpsc::channel(BUS_CALLS);
        let listeners = Arc::<Listeners>::default();
        let pump = Pump { events, calls, listeners: listeners.clone() };
        let shared = Shared {
            calls: sender,
            waiting: Mutex::new(Some(pump)),
            listeners,
            carriers: Mutex::default(),
            pumping: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Appends a batch to the store, in one transaction, then tells the listeners, in order. Returns when each of them
    /// has it in its buffer.
    ///
    /// # Errors
    ///
    /// What the store answers: then nobody heard of it. [`Error::Closed`] when the runtime of the first call is gone.
    pub async fn publish(&self, batch: &[Append]) -> Result<Vec<Appended>> {
        let closed = || Error::Closed { what: "the bus" };
        self.start();
        let (answer, answered) = oneshot::channel();
        self.shared.calls.send(Call { batch: batch.to_vec(), answer }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// Hears what is published to these streams from now on, in this process.
    pub fn listen(&self, pattern: Pattern) -> BusListener {
        let (sender, receiver) = mpsc::channel(SUBSCRIBE_BUFFER);
        self.shared.listeners.with(|listeners| listeners.push(Listener { pattern, sender }));
        BusListener { receiver }
    }

    /// Carries a queue's events, of every process, to the listeners: as `job.waiting`, `job.active` and so on. While a
    /// listener is behind, the queue's own buffer fills, and then loses the oldest, as it does for every watcher.
    ///
    /// # Errors
    ///
    /// What the store answers.
    pub async fn carry(&self, provider: &dyn QueueProvider, queue: &QueueName) -> Result<()> {
        let stream = queue_stream(queue)?;
        let mut watched = provider.watch(queue).await?;
        let listeners = self.shared.listeners.clone();
        let carrier = async move {
            while let Some(event) = poll_fn(|cx| watched.as_mut().poll_next(cx)).await {
                listeners.tell(BusEvent { stream: stream.clone(), event: job_event(&event), position: None }).await;
            }
        };
        self.shared.carriers.lock().unwrap_or_else(PoisonError::into_inner).spawn(carrier);
        Ok(())
    }

    /// How many calls wait for their turn, at most [`BUS_CALLS`]; those on their way to the store are not among them.
    pub fn waiting(&self) -> usize {
        self.shared.calls.max_capacity() - self.shared.calls.capacity()
    }

    fn start(&self) {
        let pump = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pump) = pump {
            self.shared.pumping.lock().unwrap_or_else(PoisonError::into_inner).spawn(pump.run());
        }
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
    StreamName::new(format!("nq:queue:{}", crate::name::fitting_stream(queue.as_str(), 200)))
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
