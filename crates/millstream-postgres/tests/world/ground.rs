//! Schemas that trials work in, one after the other.
//!
//! To make a schema and to drop it costs the server ten times as much as most trials do in it. So a schema goes from one
//! trial to the next, when everything of the first is gone: its stores, its runtime, its sessions on the server. It is
//! cleared, and compared with what it held when it was new, right before the next trial has it (`ground.sql`). One that
//! a trial left in another shape, or did not finish in, is dropped.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use millstream_core::{Error, Result, Timestamp};
use millstream_postgres::PostgresOptions;
use millstream_servers::Database;
use tokio::runtime::{Handle, Runtime};
use tokio_postgres::{
    Client, NoTls,
    types::{ToSql, Type},
};

use super::time;

/// What a database gets before its first ground.
const SETUP: &str = include_str!("ground.sql");
#[allow(dead_code, reason = "the test of this has none to spare")]
/// So many wait at least, so that none is asked for at the moment when it comes back.
pub(crate) const SPARE: usize = 4;
/// How often a ground is asked for whose last sessions are just ending, and how long between.
const TRIES_MAX: u32 = 100;
const APART: Duration = Duration::from_millis(10);

/// The grounds of one database.
pub(crate) struct Grounds {
    database: Database,
    /// Whether each has a schema of pg-boss's beside it.
    boss: bool,
    spare: usize,
    made: AtomicU64,
    setup: tokio::sync::OnceCell<()>,
    /// Who waited longest is the next: the sessions of its last trial have ended by then.
    free: Mutex<VecDeque<Ground>>,
}

struct Ground {
    schema: String,
    client: Client,
    /// Whether its last trial finished.
    finished: bool,
}

/// A ground that a trial has. It goes back when the last handle does, or when the trial's runtime ends, if that is later.
pub(crate) struct Lent {
    ground: Option<Ground>,
    grounds: Arc<Grounds>,
    finished: AtomicBool,
}

impl Grounds {
    pub(crate) fn new(database: Database, boss: bool, spare: usize) -> Arc<Self> {
        let (made, setup, free) = Default::default();
        Arc::new(Self { database, boss, spare, made, setup, free })
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// A ground that nobody else has, as a new one is, where it is `now`.
    pub(crate) async fn lend(self: &Arc<Self>, now: Timestamp) -> Result<Arc<Lent>> {
        let ground = loop {
            match self.longest_free() {
                None => break self.make(now).await?,
                Some(ground) if ground.finished && ground.clear().await? => break ground,
                Some(ground) => ground.drop(self.boss).await?,
            }
        };
        let lent = Arc::new(Lent { ground: Some(ground), grounds: self.clone(), finished: AtomicBool::new(false) });
        lent.set_time(now).await?;
        // Nobody waits for it: it ends with the runtime, in which somebody may still be writing until then.
        let held = lent.clone();
        Handle::current().spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        Ok(lent)
    }

    fn longest_free(&self) -> Option<Ground> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() > self.spare { free.pop_front() } else { None }
    }

    async fn make(&self, now: Timestamp) -> Result<Ground> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let schema = format!("trial_{}_{number}", std::process::id());
        let url = self.database.url();
        let options = PostgresOptions::new(&url).schema(&schema);
        millstream_postgres::schema::up(&options).await?;
        let client = connect(&url).await?;
        let ground = Ground { schema, client, finished: false };
        self.setup.get_or_try_init(|| ground.run(SETUP)).await?;
        ground.run(&time::set_time(&ground.schema, now)).await?;
        if self.boss {
            millstream_postgres::pgboss::schema::up(&options, &boss(&ground.schema)).await?;
            let now = format!(
                "create or replace function {}.job_now() returns timestamptz language sql stable \
                 as $$ select at from {}.trial_time $$",
                boss(&ground.schema),
                ground.schema
            );
            ground.run(&now).await?;
        }
        let (name, schemas, aside) = (&ground.schema, ground.schemas(self.boss), aside(&ground.schema));
        let given: &[(&(dyn ToSql + Sync), Type)] =
            &[(name, Type::TEXT), (&schemas, Type::TEXT_ARRAY), (&aside, Type::TEXT)];
        ground.client.query_typed("select ground.lay($1, $2, $3)", given).await.map_err(failed)?;
        Ok(ground)
    }
}

/// The schema of pg-boss's beside one of ours.
pub(crate) fn boss(schema: &str) -> String {
    format!("{schema}_boss")
}

/// The schema of what is known of one of ours, and of the one beside it.
fn aside(schema: &str) -> String {
    format!("{schema}_aside")
}

impl Ground {
    /// Brings it back to what it was when it was new. False: it is no longer of use.
    async fn clear(&self) -> Result<bool> {
        let text = format!("select {}.clear()", aside(&self.schema));
        for _ in 0..TRIES_MAX {
            let found: Option<String> = self.client.query_typed(&text, &[]).await.map_err(failed)?[0].get(0);
            match found.as_deref() {
                None => return Ok(true),
                Some("busy") => tokio::time::sleep(APART).await,
                Some("reshaped") => return Ok(false),
                Some(other) => panic!("{} was cleared, and yet: {other}", self.schema),
            }
        }
        Ok(false)
    }

    fn schemas(&self, has_boss: bool) -> Vec<String> {
        [Some(self.schema.clone()), has_boss.then(|| boss(&self.schema))].into_iter().flatten().collect()
    }

    async fn drop(self, has_boss: bool) -> Result<()> {
        let text = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and application_name = '{}'; \
             drop schema {}, {} cascade",
            self.schema,
            self.schemas(has_boss).join(", "),
            aside(&self.schema)
        );
        // A session that is just ending, or a vacuum, may hold what is to be dropped.
        for _ in 1..TRIES_MAX {
            if self.run(&text).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(APART).await;
        }
        self.run(&text).await
    }

    async fn run(&self, text: &str) -> Result<()> {
        self.client.batch_execute(text).await.map_err(failed)
    }
}

impl Lent {
    fn ground(&self) -> &Ground {
        self.ground.as_ref().expect("it is taken only when it is dropped")
    }

    /// The schema, by whose name the trial's sessions have to go as well.
    pub(crate) fn schema(&self) -> &str {
        &self.ground().schema
    }

    #[allow(dead_code, reason = "not every suite asks the server")]
    /// The look behind the store.
    pub(crate) fn client(&self) -> &Client {
        &self.ground().client
    }

    /// The store's time stands where the trial's clock does, and so does pg-boss's.
    pub(crate) async fn set_time(&self, now: Timestamp) -> Result<()> {
        self.run(&time::move_time(self.schema(), now)).await
    }

    pub(crate) async fn run(&self, text: &str) -> Result<()> {
        self.ground().run(text).await
    }

    /// The trial closed what it opened, and found nothing wrong.
    pub(crate) fn finished(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(mut ground) = self.ground.take() {
            ground.finished = self.finished.load(Ordering::Relaxed);
            self.grounds.free.lock().unwrap_or_else(PoisonError::into_inner).push_back(ground);
        }
    }
}

/// A connection that outlives the trial: each has a runtime of its own.
async fn connect(url: &str) -> Result<Client> {
    static HOME: OnceLock<Runtime> = OnceLock::new();
    let home = HOME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
    });
    let url = url.to_owned();
    let connecting = async move {
        let (client, wire) = tokio_postgres::connect(&url, NoTls).await?;
        Handle::current().spawn(async move { drop(wire.await) });
        Ok(client)
    };
    home.spawn(connecting).await.expect("nobody stops it").map_err(failed)
}

fn failed(error: tokio_postgres::Error) -> Error {
    Error::unavailable("postgres", "run a test's statement", error)
}
