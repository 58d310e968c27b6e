//! What an application holds: the groups of its log, and the consumers it runs.

use std::{fmt, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    attempt::{Reaches, Runner},
    engine::Engine,
    handler::{EventOf, GroupContext, GroupHandler, batch, each},
    heart::{Beating, Heart, Seen},
    held::Held,
    keeper::{Keeper, Keeping},
    options::GroupOptions,
    partition::Member,
    spec::GroupSpec,
};
use crate::{
    effects::Effects,
    error::{Error, Result},
    name::{ConsumerName, GroupName},
    pattern::Pattern,
    store::GroupStore,
    stores::Stores,
    worker::JobError,
};

/// Consumes the log of these stores in groups.
#[derive(Clone)]
pub struct Groups {
    stores: Stores,
    store: Arc<dyn GroupStore>,
    options: GroupOptions,
    keeper: Keeper,
}

impl Groups {
    /// Groups over the stores' log.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a log without groups.
    pub fn new(stores: Stores, options: GroupOptions) -> Result<Self> {
        options.check()?;
        Ok(Self { store: stores.events.groups()?, stores, options, keeper: Keeper::default() })
    }

    /// The groups themselves: to look at, pause, reset and delete.
    pub fn store(&self) -> &Arc<dyn GroupStore> {
        &self.store
    }

    pub(super) fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Joins a group, which begins if it does not exist, and consumes. Call it inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// What the store answers to the group's spec, or to a member that joins.
    pub async fn consume(
        &self,
        spec: GroupSpec,
        consumer: ConsumerName,
        handler: Arc<dyn GroupHandler>,
    ) -> Result<GroupConsumer> {
        self.store.ensure_group(&spec).await?;
        let id: Arc<str> = self.options.entropy.uuid(self.options.clock.now()).to_string().into();
        let member = Member { group: spec.name.clone(), consumer, id };
        let view = Arc::new(self.store.beat_member(&member, &[]).await?);
        let held = Arc::new(Held::new(spec.lease));
        let (seen, watched) = watch::channel(Seen::View(view.clone()));
        let heart = Heart::start(Beating {
            store: self.store.clone(),
            member: member.clone(),
            held: held.clone(),
            clock: self.options.clock.clone(),
            lease: spec.lease,
            poll: self.options.poll,
            seen,
        })?;
        let realm = self.stores.events.realm();
        let reaches = Reaches { queue: self.stores.queue.realm() == realm, state: self.stores.state.realm() == realm };
        let (stop, count) = (CancellationToken::new(), watch::Sender::new(0));
        let runner = Runner {
            store: self.store.clone(),
            spec,
            member: member.clone(),
            handler,
            options: self.options.clone(),
            reaches,
        };
        let engine = Engine::new(Arc::new(runner), held, watched, view, stop.clone(), count.clone());
        let beating = heart.stop_with();
        let ended = watch::Sender::new(None);
        let mut task = JoinSet::new();
        task.spawn(supervise(engine, heart, self.store.clone(), member.clone(), ended.clone()));
        let keeping = self.keeper.keep(&self.stores.events, &self.options.clock);
        let shared = Shared { member, stop, ended, count, _task: task, _beating: beating, _keeping: keeping };
        Ok(GroupConsumer { shared: Arc::new(shared) })
    }

    /// As [`consume`](Self::consume), with an async function of one event whose data is a `T`.
    ///
    /// # Errors
    ///
    /// As `consume`.
    pub async fn consume_each<T, F, Fut>(
        &self,
        spec: GroupSpec,
        consumer: ConsumerName,
        run: F,
    ) -> Result<GroupConsumer>
    where
        F: Fn(EventOf<T>, GroupContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Effects, JobError>> + Send + 'static,
        T: DeserializeOwned + Send + 'static,
    {
        self.consume(spec, consumer, each(run)).await
    }

    /// As [`consume`](Self::consume), with an async function of a batch of events.
    ///
    /// # Errors
    ///
    /// As `consume`.
    pub async fn consume_batch<T, F, Fut>(
        &self,
        spec: GroupSpec,
        consumer: ConsumerName,
        run: F,
    ) -> Result<GroupConsumer>
    where
        F: Fn(Vec<EventOf<T>>, GroupContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Effects, JobError>> + Send + 'static,
        T: DeserializeOwned + Send + 'static,
    {
        self.consume(spec, consumer, batch(run)).await
    }

    /// Joins a group by text alone: a pattern, the group's and the consumer's name, a function of one event, and how
    /// often to look where a signal was lost. Everything else is as [`GroupSpec::new`] and the options say.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for what is no pattern or name; then as `consume`.
    pub async fn subscribe_external<T, F, Fut>(
        &self,
        pattern: &str,
        group: &str,
        consumer: &str,
        run: F,
        poll_interval: Duration,
    ) -> Result<GroupConsumer>
    where
        F: Fn(EventOf<T>, GroupContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Effects, JobError>> + Send + 'static,
        T: DeserializeOwned + Send + 'static,
    {
        let spec = GroupSpec::new(GroupName::new(group)?, Pattern::new(pattern)?);
        let options = GroupOptions { poll: poll_interval, ..self.options.clone() };
        options.check()?;
        Self { options, ..self.clone() }.consume_each(spec, ConsumerName::new(consumer)?, run).await
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Groups")
    }
}

/// A consumer that runs. Cheap to clone; clones are the same consumer.
///
/// Call [`unsubscribe`](Self::unsubscribe) before the end: when the last clone is only dropped, its handlers are
/// dropped with it, and its partitions come free by their lease.
#[derive(Clone)]
pub struct GroupConsumer {
    shared: Arc<Shared>,
}

struct Shared {
    member: Member,
    stop: CancellationToken,
    ended: watch::Sender<Option<Result<()>>>,
    count: watch::Sender<u16>,
    /// Aborted when dropped, and some moment later gone.
    _task: JoinSet<()>,
    /// At once when dropped: nobody beats for work that is cut off.
    _beating: DropGuard,
    /// The sweeps of the store, for as long as it has consumers here.
    _keeping: Arc<Keeping>,
}

impl GroupConsumer {
    /// Who it is for the store.
    pub fn member(&self) -> &Member {
        &self.shared.member
    }

    /// How many partitions it has now.
    pub fn partitions(&self) -> u16 {
        *self.shared.count.borrow()
    }

    /// Leaves the group: nothing new starts, running handlers get the options' grace, the partitions are free for
    /// others at once. The cursors stay: who joins again goes on from there. Doing it again is fine.
    ///
    /// # Errors
    ///
    /// Why the consumer had ended by itself, or what the store answers to leaving.
    pub async fn unsubscribe(&self) -> Result<()> {
        self.shared.stop.cancel();
        self.ended().await
    }

    /// Waits until the consumer has ended: by [`unsubscribe`](Self::unsubscribe), or because it could not go on.
    ///
    /// # Errors
    ///
    /// Why it could not go on: [`Error::Truncated`] and [`Error::LogWentBack`] for a cursor that the log does not
    /// reach, [`Error::Closed`] for the store, [`Error::Invalid`] for a group that was deleted.
    pub async fn ended(&self) -> Result<()> {
        let mut ended = self.shared.ended.subscribe();
        match ended.wait_for(Option::is_some).await.map(|ended| ended.clone()) {
            Ok(Some(ended)) => ended,
            _ => Err(Error::Closed { what: "consumer" }),
        }
    }
}

impl fmt::Debug for GroupConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupConsumer({} of {})", self.shared.member.consumer, self.shared.member.group)
    }
}

/// Runs the engine, and leaves the group when it has ended. If it is dropped, so is the heartbeat: partitions that
/// nobody works on must come free.
async fn supervise(
    engine: Engine,
    heart: Heart,
    store: Arc<dyn GroupStore>,
    member: Member,
    ended: watch::Sender<Option<Result<()>>>,
) {
    let beating = heart.stop_with();
    let answer = engine.run().await;
    if let Err(error) = &answer {
        tracing::error!(group = %member.group, consumer = %member.consumer, %error, "a consumer could not go on");
    }
    drop(beating);
    heart.stop().await;
    let left = store.leave(&member).await;
    ended.send_replace(Some(answer.and(left)));
}
