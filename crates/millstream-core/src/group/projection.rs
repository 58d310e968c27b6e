//! Projections: rows of run state folded from the log, each batch in the transaction that moves the cursor.

use std::{collections::BTreeMap, fmt, marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    consumer::{GroupConsumer, Groups},
    handler::{EventOf, GroupContext, GroupHandler, Handled},
    spec::GroupSpec,
};
use crate::{
    effects::{Effects, StateOp},
    error::{Error, Result},
    event::Event,
    name::{ConsumerName, GroupName},
    store::StateStore,
    worker::JobError,
};

/// The rows of a projection: values of run state under `nq:projection:<name>:<key>`. To look at one needs no consumer.
pub struct ProjectionTable<S> {
    state: Arc<dyn StateStore>,
    prefix: String,
    rows: PhantomData<fn() -> S>,
}

impl<S> Clone for ProjectionTable<S> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), prefix: self.prefix.clone(), rows: PhantomData }
    }
}

impl<S: Serialize + DeserializeOwned> ProjectionTable<S> {
    /// The table of the projection of that name.
    pub fn new(state: Arc<dyn StateStore>, name: &GroupName) -> Self {
        Self { state, prefix: format!("nq:projection:{name}:"), rows: PhantomData }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// A row; `None`: there is none.
    ///
    /// # Errors
    ///
    /// What the store answers; [`Error::Invalid`] for a row that is not an `S`: its projection was another one.
    pub async fn get(&self, key: &str) -> Result<Option<S>> {
        let Some(value) = self.state.get(&self.key(key)).await? else { return Ok(None) };
        serde_json::from_value(value)
            .map(Some)
            .map_err(|error| Error::invalid("projection row", key, format!("a row of this projection: {error}")))
    }

    /// Keys of rows that begin with this, sorted.
    ///
    /// # Errors
    ///
    /// What the store answers.
    pub async fn keys(&self, prefix: &str, limit: u32) -> Result<Vec<String>> {
        let keys = self.state.list(&self.key(prefix), limit).await?;
        Ok(keys.iter().filter_map(|key| key.strip_prefix(&self.prefix).map(str::to_owned)).collect())
    }

    /// Removes every row, for a projection that was replaced by another.
    ///
    /// # Errors
    ///
    /// What the store answers.
    pub async fn clear(&self) -> Result<()> {
        loop {
            let keys = self.state.list(&self.prefix, 500).await?;
            if keys.is_empty() {
                return Ok(());
            }
            let deletes: Vec<StateOp> = keys.into_iter().map(|key| StateOp::Delete { key }).collect();
            self.state.apply(&deletes).await?;
        }
    }
}

impl<S> fmt::Debug for ProjectionTable<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProjectionTable({})", self.prefix)
    }
}

/// Where the fold of one event goes: the key of its row; `None`: the event does not concern the projection.
type KeyOf<B> = dyn Fn(&EventOf<B>) -> Option<String> + Send + Sync;
/// A row and an event make the next row; `None`: there is no row.
type Reduce<S, B> = dyn Fn(Option<S>, &EventOf<B>) -> Result<Option<S>, JobError> + Send + Sync;

impl Groups {
    /// Folds events into rows, exactly once: a row and the position up to which it is right are one commit.
    ///
    /// The group of that name is the projection's cursor, and its rows are a [`ProjectionTable`]. A row that is fed by
    /// events of several streams needs a spec with one partition; where each row is fed by one stream, there may be
    /// many. To rebuild a projection, run it under a new name from the log's start, and read from that once it has
    /// caught up.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where run state is in another store than the log: no commit reaches both. Then as
    /// [`consume`](Self::consume).
    pub async fn project<S, B>(
        &self,
        spec: GroupSpec,
        consumer: ConsumerName,
        key: impl Fn(&EventOf<B>) -> Option<String> + Send + Sync + 'static,
        reduce: impl Fn(Option<S>, &EventOf<B>) -> Result<Option<S>, JobError> + Send + Sync + 'static,
    ) -> Result<GroupConsumer>
    where
        S: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
        B: DeserializeOwned + Send + Sync + 'static,
    {
        let stores = self.stores();
        if stores.state.realm() != stores.events.realm() {
            return Err(Error::Unsupported { store: stores.events.kind(), what: "projections into another store" });
        }
        let table = ProjectionTable::new(stores.state.clone(), &spec.name);
        let projector = Projector { table, key: Box::new(key), reduce: Box::new(reduce) };
        self.consume(spec, consumer, Arc::new(projector)).await
    }
}

struct Projector<S, B> {
    table: ProjectionTable<S>,
    key: Box<KeyOf<B>>,
    reduce: Box<Reduce<S, B>>,
}

#[async_trait]
impl<S, B> GroupHandler for Projector<S, B>
where
    S: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    B: DeserializeOwned + Send + Sync + 'static,
{
    async fn handle(&self, events: &[Event], _: GroupContext) -> Handled {
        let mut rows = BTreeMap::new();
        for (done, event) in events.iter().enumerate() {
            if let Err(error) = self.fold(&mut rows, event).await {
                return match self.effects(rows) {
                    Ok(effects) => Handled::FailedAt { done, effects, error },
                    Err(error) => Handled::Failed(error),
                };
            }
        }
        self.effects(rows).into()
    }
}

impl<S, B> Projector<S, B>
where
    S: Serialize + DeserializeOwned + Clone,
    B: DeserializeOwned,
{
    /// Rows are read once a batch: nobody else writes them while the partition is ours, and if it is not, nothing of
    /// the batch is written.
    async fn fold(&self, rows: &mut BTreeMap<String, Option<S>>, event: &Event) -> Result<(), JobError> {
        let event = EventOf::new(event)?;
        let Some(key) = (self.key)(&event) else { return Ok(()) };
        let row = match rows.get(&key) {
            Some(row) => row.clone(),
            None => self.table.get(&key).await?,
        };
        let next = (self.reduce)(row, &event)?;
        rows.insert(key, next);
        Ok(())
    }

    fn effects(&self, rows: BTreeMap<String, Option<S>>) -> Result<Effects, JobError> {
        let mut effects = Effects::default();
        for (key, row) in rows {
            let key = self.table.key(&key).into();
            effects.state.push(match row {
                Some(row) => StateOp::Set { key, value: serde_json::to_value(row)?, ttl: None },
                None => StateOp::Delete { key },
            });
        }
        Ok(effects)
    }
}
