//! What an application holds: its handlers, and the workers that run them.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    context::JobContext,
    engine::{Engine, STOP_PATIENCE, in_time},
    executor::JobExecutor,
    guarded::Guarded,
    handler::{Handler, JobError, Typed},
    heart::Heart,
    held::Held,
    keeper::Keeper,
    lanes::{Lane, Lanes},
    options::{QueueWorkerOptions, WorkerOptions},
    registry::Registry,
    settler::{BACKLOG, ProgressBoard, Settler},
};
use crate::{
    error::{Error, Result},
    name::{JobName, QueueName},
    store::{Consumer, JobStore, OwnLoop, Work},
    stores::Stores,
};

/// The workers of one process: one consumer a queue, dispatch by job name.
///
/// Cheap to clone; clones are the same manager. Call [`close_all`](Self::close_all) before the end: a manager that is
/// only dropped leaves its running jobs to their leases.
#[derive(Clone)]
pub struct WorkerManager {
    shared: Arc<Shared>,
}

struct Shared {
    stores: Stores,
    work: Work,
    options: WorkerOptions,
    registry: Arc<RwLock<Registry>>,
    lanes: Arc<Lanes>,
    progress: Arc<ProgressBoard>,
    phase: Mutex<Phase>,
    /// The shortest grace that a stop was asked for.
    grace: watch::Sender<Duration>,
    /// The stop under way, a task of its own: it goes on when whoever asked for it stops waiting, or is a handler that
    /// it ends. One caller waits for it at a time, the others for that one.
    closing: tokio::sync::Mutex<JoinSet<Result<()>>>,
}

enum Phase {
    New,
    Running(Running),
    OwnLoops(HashMap<QueueName, Box<dyn Consumer>>),
    Closed,
}

/// What a started manager owns.
struct Running {
    jobs: Arc<dyn JobStore>,
    held: Arc<Held>,
    heart: Arc<Mutex<Heart>>,
    stop: CancellationToken,
    engine: JoinSet<()>,
    last: CancellationToken,
    settler: JoinSet<()>,
    /// Aborted when dropped.
    keeper: JoinSet<()>,
}

impl WorkerManager {
    /// A manager without handlers; nothing runs before [`start`](Self::start).
    pub fn new(stores: Stores, options: WorkerOptions) -> Self {
        let work = match stores.queue.work() {
            Work::Shared(jobs) => Work::Shared(stores.join(jobs)),
            own => own,
        };
        Self::with_work(stores, work, options)
    }

    /// With another loop than the queue's own, for the suite: a job store that is watched, or broken.
    pub(crate) fn with_work(stores: Stores, work: Work, options: WorkerOptions) -> Self {
        let shared = Shared {
            stores,
            work,
            options,
            registry: Arc::default(),
            lanes: Arc::default(),
            progress: Arc::default(),
            phase: Mutex::new(Phase::New),
            grace: watch::Sender::new(Duration::MAX),
            closing: tokio::sync::Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Registers an async function for the jobs of one name. Data that does not fit its input fails the job for good.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a second handler of the same name.
    pub fn register<I, O, F, Fut>(&self, queue: &QueueName, name: &JobName, handler: F) -> Result<()>
    where
        F: Fn(I, JobContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, JobError>> + Send + 'static,
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
    {
        self.add(queue, Some(name), Typed::new(handler))
    }

    /// Registers a handler of JSON for the jobs of one name.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a second handler of the same name.
    pub fn register_handler(&self, queue: &QueueName, name: &JobName, handler: Arc<dyn Handler>) -> Result<()> {
        self.add(queue, Some(name), handler)
    }

    /// Registers a handler for the queue's jobs that have none of their own.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a second one.
    pub fn register_default(&self, queue: &QueueName, handler: Arc<dyn Handler>) -> Result<()> {
        self.add(queue, None, handler)
    }

    fn add(&self, queue: &QueueName, name: Option<&JobName>, handler: Arc<dyn Handler>) -> Result<()> {
        self.shared.registry.write().unwrap_or_else(PoisonError::into_inner).add(queue, name, handler)?;
        self.lane(queue);
        Ok(())
    }

    /// Sets how one queue's workers run, before or after the start.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a concurrency of 0 or above the limit; [`Error::Unsupported`] for one of groups, where the store has
    /// a loop of its own.
    pub fn configure(&self, queue: &QueueName, options: QueueWorkerOptions) -> Result<()> {
        options.check()?;
        if options.group_concurrency.is_some() && matches!(self.shared.work, Work::Own(_)) {
            let store = self.shared.stores.queue.kind();
            return Err(Error::Unsupported { store, what: "limits on groups in one process" });
        }
        self.lane(queue);
        self.shared.lanes.change(queue, |lane| {
            lane.concurrency = options.concurrency.unwrap_or(lane.concurrency);
            lane.active = options.autorun.unwrap_or(lane.active);
            if let Some(at_most) = options.group_concurrency {
                lane.limit_groups(at_most);
            }
        });
        Ok(())
    }

    /// Makes sure the queue has a lane. One that comes after the start runs at once, if it is to run at all.
    fn lane(&self, queue: &QueueName) {
        let options = &self.shared.options;
        self.shared.lanes.lock().entry(queue.clone()).or_insert_with(|| {
            let mut lane = Lane::new(options.concurrency);
            lane.active = options.autorun;
            lane
        });
        self.shared.lanes.changed.notify_one();
    }

    /// Starts the workers. Call it inside a tokio runtime, after the handlers were registered.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a concurrency or a poll out of bounds; [`Error::Closed`] after `close_all`; what a store with a
    /// loop of its own answers.
    pub async fn start(&self) -> Result<()> {
        self.shared.options.check()?;
        match &self.shared.work {
            Work::Shared(jobs) => self.start_runtime(jobs.clone()),
            Work::Own(own) => self.start_own_loops(&**own).await,
        }
    }

    fn start_runtime(&self, jobs: Arc<dyn JobStore>) -> Result<()> {
        let mut phase = self.phase();
        match *phase {
            Phase::New => {}
            Phase::Closed => return Err(Error::Closed { what: "worker manager" }),
            Phase::Running(_) | Phase::OwnLoops(_) => return Ok(()),
        }
        let jobs: Arc<dyn JobStore> = Arc::new(Guarded(jobs));
        let options = &self.shared.options;
        let held = Arc::new(Held::new(jobs.lease()));
        let heart = Arc::new(Mutex::new(Heart::start(jobs.clone(), held.clone(), options.clock.clone())?));
        let (finished, received) = mpsc::channel(BACKLOG);
        let (stop, keeper_look) = (CancellationToken::new(), Arc::new(Notify::new()));
        let engine = Engine {
            jobs: jobs.clone(),
            lanes: self.shared.lanes.clone(),
            held: held.clone(),
            executor: Arc::new(self.executor()),
            finished,
            clock: options.clock.clone(),
            entropy: options.entropy.clone(),
            poll: options.poll,
            heart: heart.clone(),
            keeper_look: keeper_look.clone(),
            stop: stop.clone(),
        };
        let progress = self.shared.progress.clone();
        let last = CancellationToken::new();
        let settler =
            Settler { jobs: jobs.clone(), held: held.clone(), progress, finished: received, last: last.clone() };
        let (clock, entropy) = (options.clock.clone(), options.entropy.clone());
        let keeper = Keeper { jobs: jobs.clone(), clock, entropy, poll: options.poll, look: keeper_look };
        *phase = Phase::Running(Running {
            jobs,
            held,
            stop,
            engine: vital(engine.run(self.shared.grace.subscribe()), &heart),
            last,
            settler: vital(settler.run(), &heart),
            keeper: vital(keeper.run(), &heart),
            heart,
        });
        Ok(())
    }

    fn executor(&self) -> JobExecutor {
        JobExecutor {
            registry: self.shared.registry.clone(),
            state: self.shared.stores.state.clone(),
            clock: self.shared.options.clock.clone(),
            progress: self.shared.progress.clone(),
            cancel_grace: self.shared.options.cancel_grace,
        }
    }

    async fn start_own_loops(&self, own: &dyn OwnLoop) -> Result<()> {
        if matches!(*self.phase(), Phase::Closed) {
            return Err(Error::Closed { what: "worker manager" });
        }
        let executor = Arc::new(self.executor());
        let wanted: Vec<(QueueName, u32)> = {
            let lanes = self.shared.lanes.lock();
            lanes
                .iter()
                .filter(|(_, lane)| lane.active)
                .map(|(queue, lane)| (queue.clone(), lane.concurrency))
                .collect()
        };
        let mut consumers = HashMap::new();
        for (queue, concurrency) in wanted {
            let consumer = own.start(&queue, concurrency, executor.clone()).await?;
            consumers.insert(queue, consumer);
        }
        *self.phase() = Phase::OwnLoops(consumers);
        Ok(())
    }

    /// The worker of a queue; `None` if the queue has neither handler nor options.
    pub fn get_worker(&self, queue: &QueueName) -> Option<Worker> {
        let known = self.shared.lanes.lock().contains_key(queue);
        known.then(|| Worker { queue: queue.clone(), manager: self.clone() })
    }

    /// The queues that have a worker, by name.
    pub fn queues(&self) -> Vec<QueueName> {
        let mut queues: Vec<QueueName> = self.shared.lanes.lock().keys().cloned().collect();
        queues.sort();
        queues
    }

    /// Stops gracefully: no new claims, running jobs get the options' grace, the rest go back to their queues without
    /// burning an attempt. Finished jobs are settled. Waits for a `close_all` that is under way, and goes on when its
    /// caller stops waiting.
    ///
    /// # Errors
    ///
    /// What the store answers to giving jobs back; they come back by their lease then.
    pub async fn close_all(&self) -> Result<()> {
        self.close_all_within(self.shared.options.grace).await
    }

    /// As [`close_all`](Self::close_all), with this grace; zero is a hard stop. While a stop is under way, a call with
    /// a shorter grace shortens it, counted from the stop's beginning.
    ///
    /// # Errors
    ///
    /// As `close_all`.
    pub async fn close_all_within(&self, grace: Duration) -> Result<()> {
        self.shared.grace.send_if_modified(|shortest| {
            let shorter = grace < *shortest;
            *shortest = grace.min(*shortest);
            shorter
        });
        let mut closing = self.shared.closing.lock().await;
        let phase = std::mem::replace(&mut *self.phase(), Phase::Closed);
        match phase {
            Phase::New | Phase::Closed => {}
            Phase::Running(running) => drop(closing.spawn(running.close())),
            Phase::OwnLoops(consumers) => drop(closing.spawn(stop_own_loops(consumers, grace))),
        }
        match closing.join_next().await {
            None => Ok(()),
            Some(Ok(closed)) => closed,
            Some(Err(error)) => Err(Error::unavailable("worker", "stop", error)),
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for WorkerManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerManager").field("queues", &self.queues()).finish_non_exhaustive()
    }
}

/// A task with an owner: it ends with the set. Where it ends before its time (its runtime goes down, or it panics), so
/// does the heart: the claims of jobs that nobody runs any more must run out.
fn vital(task: impl Future<Output = ()> + Send + 'static, heart: &Mutex<Heart>) -> JoinSet<()> {
    let last_beat = heart.lock().unwrap_or_else(PoisonError::into_inner).stop_with();
    let mut owner = JoinSet::new();
    owner.spawn(async move {
        task.await;
        last_beat.disarm();
    });
    owner
}

async fn stop_own_loops(consumers: HashMap<QueueName, Box<dyn Consumer>>, grace: Duration) -> Result<()> {
    let mut answer = Ok(());
    for (_, consumer) in consumers {
        answer = answer.and(consumer.stop(grace).await);
    }
    answer
}

impl Running {
    async fn close(mut self) -> Result<()> {
        self.stop.cancel();
        self.engine.join_next().await;
        self.last.cancel();
        if tokio::time::timeout(STOP_PATIENCE, self.settler.join_next()).await.is_err() {
            tracing::warn!("the store did not take the last settles in time; those jobs will run again");
            self.settler.shutdown().await;
        }
        let left = self.held.all();
        let released = if left.is_empty() { Ok(()) } else { in_time(self.jobs.release(&left)).await };
        left.iter().for_each(|claim| self.held.drop_claim(claim));
        self.keeper.shutdown().await;
        self.heart.lock().unwrap_or_else(PoisonError::into_inner).stop();
        released
    }
}

/// One queue's worker in this process.
///
/// Its pause is this process's own; [`QueueProvider::pause`](crate::QueueProvider::pause) pauses the queue for all.
#[derive(Clone, Debug)]
pub struct Worker {
    queue: QueueName,
    manager: WorkerManager,
}

impl Worker {
    /// Its queue.
    pub fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// Starts taking jobs, where `autorun` was off.
    pub fn run(&self) {
        self.change(|lane| lane.active = true);
    }

    /// Takes no more jobs; running ones go on.
    pub fn pause(&self) {
        self.change(|lane| lane.paused = true);
        if let Phase::OwnLoops(consumers) = &*self.manager.phase()
            && let Some(consumer) = consumers.get(&self.queue)
        {
            consumer.pause();
        }
    }

    /// Takes jobs again.
    pub fn resume(&self) {
        self.change(|lane| lane.paused = false);
        if let Phase::OwnLoops(consumers) = &*self.manager.phase()
            && let Some(consumer) = consumers.get(&self.queue)
        {
            consumer.resume();
        }
    }

    /// Whether it was paused here.
    pub fn is_paused(&self) -> bool {
        self.read(|lane| lane.paused)
    }

    /// Whether it takes jobs: started, and not paused here.
    pub fn is_running(&self) -> bool {
        self.read(|lane| lane.active && !lane.paused)
    }

    /// How many jobs it is running.
    pub fn running(&self) -> u32 {
        self.read(|lane| lane.running)
    }

    fn change(&self, change: impl FnOnce(&mut Lane)) {
        self.manager.shared.lanes.change(&self.queue, change);
    }

    fn read<T: Default>(&self, read: impl FnOnce(&Lane) -> T) -> T {
        self.manager.shared.lanes.lock().get(&self.queue).map(read).unwrap_or_default()
    }
}
