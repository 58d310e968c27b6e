//! The store: one object for queue, events and run state, over a pool and a few tasks.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use millstream_core::{Capabilities, Clock, Error, Realm, Result, Store, StoreOptions, SystemClock};
use tokio::{runtime::Handle, sync::mpsc, task::JoinSet};
use tokio_postgres::{Client, Row};

use crate::{
    commits,
    connect::{Connector, Pooled, Target},
    events::{self, append},
    fault::{Fault, KIND},
    listener,
    notifier::Notifier,
    options::{PostgresOptions, SchemaName},
    queue::{enqueue, watch},
    schema,
    shared::{Parts, Shared, lock},
    sql::Texts,
};

/// How long `close` waits for what is under way.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Millstream's queue, events and run state in one schema of a Postgres database.
///
/// A handle is cheap to clone. Any number of processes may open one schema. Its tasks run in the runtime that
/// connected it, and end with [`close`](Store::close) or with the last handle.
///
/// ```no_run
/// use millstream_core::{JobName, NewJob, QueueName, QueueProvider, StoreOptions};
/// use millstream_postgres::{PostgresOptions, PostgresStore};
/// use serde_json::json;
///
/// # async fn example() -> millstream_core::Result<()> {
/// let options = PostgresOptions::new("postgres://app@localhost/app");
/// let store = PostgresStore::connect(options, StoreOptions::default()).await?;
/// let mail = QueueName::new("mail")?;
/// store.enqueue(&[NewJob::new(mail.clone(), JobName::new("welcome")?, json!({ "to": "ada" }))]).await?;
/// assert_eq!(store.counts(&mail).await?.waiting, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// Ended by the first `close`, or with the last handle.
    tasks: Mutex<JoinSet<()>>,
}

impl PostgresStore {
    /// Connects, and brings the schema up, or refuses one that this build cannot work with.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for options that cannot work, [`Error::Unavailable`] where the database cannot be reached,
    /// [`Error::Schema`] for a schema or server of a version that does not fit.
    pub async fn connect(options: PostgresOptions, store: StoreOptions) -> Result<Self> {
        Self::connect_beside(options, store, async |_| Ok(None)).await
    }

    /// As [`connect`](Self::connect), with a look at what is beside this schema in the database; it answers the channel
    /// of pg-boss's.
    pub(crate) async fn connect_beside(
        options: PostgresOptions,
        store: StoreOptions,
        look: impl AsyncFnOnce(&Client) -> Result<Option<String>>,
    ) -> Result<Self> {
        options.check()?;
        store.check()?;
        let name = SchemaName::new(&options.schema)?;
        let connector = Arc::new(Connector::new(Target::read(&options)?, Handle::current())?);
        let (client, driver) = schema::open(&connector).await.map_err(|fault| fault.told("connect"))?;
        let realm = schema::check_server(&client).await?;
        let status = schema::look(&client, &name).await.map_err(|fault| fault.told("read the schema's version"))?;
        schema::refuse_newer(&status)?;
        match options.migrate {
            true => drop(schema::migrate(&client, &name).await?),
            false => schema::refuse_older(&status)?,
        }
        let pooler = is_pooled(&connector, &client).await.map_err(|fault| fault.told("look for a pooler"))?;
        let boss_channel = look(&client).await?;
        drop((client, driver));
        let prepare = options.prepare.unwrap_or(!pooler);
        let realm = Realm::new(format!("{realm}:{}", name.as_str()));
        Self::start(options, store, Place { name, realm, connector, prepare, pooler, boss_channel })
    }

    fn start(options: PostgresOptions, store: StoreOptions, place: Place) -> Result<Self> {
        let Place { name, realm, connector, prepare, pooler, boss_channel } = place;
        let session = Arc::new(connector.with_session(prepare));
        let pool = pool(&options, &session)?;
        let (enqueues, to_enqueue) = mpsc::channel(commits::BACKLOG);
        let (appends, to_append) = mpsc::channel(commits::BACKLOG);
        let texts = Texts::new(&name, prepare);
        let parts = Parts {
            options: store,
            realm,
            schema: name,
            notify: options.notify,
            boss_channel,
            pooled: pooler,
            retention_every: options.retention_every,
            pool,
            texts,
            connector,
            enqueues,
            appends,
        };
        let shared = Arc::new(Shared::new(parts));
        let mut tasks = JoinSet::new();
        let (enqueuing, appending) = (shared.clone(), shared.clone());
        tasks.spawn(commits::run(to_enqueue, move |calls| enqueue::commit_calls(enqueuing.clone(), calls)));
        tasks.spawn(commits::run(to_append, move |calls| append::commit_calls(appending.clone(), calls)));
        tasks.spawn(events::sequencer::run(shared.clone()));
        tasks.spawn(Notifier::run(shared.clone()));
        tasks.spawn(watch::run(shared.clone()));
        if shared.notify && !pooler {
            tasks.spawn(listener::run(shared.clone()));
        } else if shared.notify {
            tracing::warn!("a pooler shares server connections between transactions: this process polls for wake-ups");
        }
        Ok(Self { inner: Arc::new(Inner { shared, tasks: Mutex::new(tasks) }) })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }
}

/// Where a store was found, and how to talk to it.
struct Place {
    name: SchemaName,
    realm: Realm,
    connector: Arc<Connector>,
    prepare: bool,
    pooler: bool,
    boss_channel: Option<String>,
}

fn pool(options: &PostgresOptions, connector: &Arc<Connector>) -> Result<Pool> {
    let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_connect(connector.config().clone(), Pooled(connector.clone()), fast);
    Pool::builder(manager)
        .max_size(options.pool_size)
        .build()
        .map_err(|error| Error::unavailable(KIND, "make the connection pool", error))
}

/// Whether somebody shares server sessions out. A session of one's own begins while one connects. A shared one was there
/// before, or begins only with the first statement.
async fn is_pooled(connector: &Arc<Connector>, first: &Client) -> Result<bool, Fault> {
    type Moment = std::time::SystemTime;
    let look = "select clock_timestamp(), inet_server_addr()::text, inet_server_port()";
    let before = &first.query_typed(look, &[]).await?[0];
    let (second, driver) = schema::open(connector).await?;
    let connected = &first.query_typed(look, &[]).await?[0];
    let own = "select backend_start, inet_server_addr()::text, inet_server_port() from pg_stat_activity \
               where pid = pg_backend_pid()";
    let Some(own) = second.query_typed(own, &[]).await?.into_iter().next() else { return Ok(false) };
    drop((second, driver));
    let place = |row: &Row| row.get::<_, Option<String>>(1).zip(row.get::<_, Option<i32>>(2));
    // Of several hosts, another one answered: it has another clock.
    let (Some(began), true) = (own.get::<_, Option<Moment>>(0), place(before) == place(&own)) else { return Ok(false) };
    Ok(began < before.get::<_, Moment>(0) || began > connected.get::<_, Moment>(0))
}

#[async_trait]
impl Store for PostgresStore {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn realm(&self) -> &Realm {
        &self.inner.shared.realm
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    async fn sweep(&self) -> Result<u64> {
        crate::queue::sweep::sweep(self.shared()).await
    }

    async fn close(&self) -> Result<()> {
        let shared = self.shared();
        shared.closing.cancel();
        let mut tasks = std::mem::take(&mut *lock(&self.inner.tasks));
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
        shared.signals.close();
        shared.pool.close();
        shared.heart.close().await;
        // Calls under way end by themselves; their connections go with them.
        let clock = SystemClock::new();
        let end = clock.monotonic() + CLOSE_WITHIN;
        while shared.pool.status().size > 0 && clock.monotonic() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgresStore({})", self.inner.shared.realm)
    }
}
