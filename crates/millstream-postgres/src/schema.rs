//! The schema's version: what is there, what is missing, and bringing it up.
//!
//! Migrations are the files of the folder `migrations`, each one transaction under an advisory lock, so that any
//! number of processes may start at once. A schema that is newer than this build is refused.

use std::sync::Arc;

use millstream_core::{Error, Result};
use tokio::task::JoinSet;
use tokio_postgres::{Client, types::Type};

use crate::{
    cause::Cause,
    connect::{Connector, Target},
    fault::{Fault, KIND},
    options::{PostgresOptions, SchemaName},
};

/// Every migration, in order; a version is its place, from 1.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_begin", include_str!("../migrations/0001_begin.sql")),
    ("0002_functions", include_str!("../migrations/0002_functions.sql")),
    ("0003_calls", include_str!("../migrations/0003_calls.sql")),
    ("0004_groups", include_str!("../migrations/0004_groups.sql")),
    ("0005_pgboss", include_str!("../migrations/0005_pgboss.sql")),
    ("0006_retention", include_str!("../migrations/0006_retention.sql")),
    ("0007_boss_groups", include_str!("../migrations/0007_boss_groups.sql")),
    ("0008_book", include_str!("../migrations/0008_book.sql")),
    ("0009_boss_claim", include_str!("../migrations/0009_boss_claim.sql")),
    ("0010_deferred", include_str!("../migrations/0010_deferred.sql")),
];

/// The oldest server that has all that is used.
const SERVER_MIN: i32 = 130_000;

/// Where a schema stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaStatus {
    /// The schema.
    pub schema: String,
    /// Its version; `None`: there is none.
    pub found: Option<u32>,
    /// The version of this build.
    pub supported: u32,
    /// Names of the migrations that are missing.
    pub pending: Vec<&'static str>,
}

impl SchemaStatus {
    /// Whether this build works with it as it is.
    pub fn is_current(&self) -> bool {
        self.found == Some(self.supported)
    }
}

/// Looks, and changes nothing.
///
/// # Errors
///
/// [`Error::Unavailable`] where the database cannot be reached, [`Error::Invalid`] for options that cannot work.
pub async fn status(options: &PostgresOptions) -> Result<SchemaStatus> {
    let session = Session::open(options).await?;
    look(&session.client, &session.schema).await.map_err(|fault| fault.told("read the schema's version"))
}

/// What [`up`] would run, as one text: for people without the right to change a schema, and for reviews. Empty where
/// nothing is missing.
///
/// # Errors
///
/// As [`status`], and [`Error::Schema`] for a schema that is newer than this build.
pub async fn pending(options: &PostgresOptions) -> Result<String> {
    let session = Session::open(options).await?;
    let found =
        look(&session.client, &session.schema).await.map_err(|fault| fault.told("read the schema's version"))?;
    refuse_newer(&found)?;
    Ok(steps(&session.schema, found.found.unwrap_or(0)).map(|(_, text)| format!("begin;\n{text}commit;\n")).collect())
}

/// Brings the schema up to this build.
///
/// # Errors
///
/// As [`pending`].
pub async fn up(options: &PostgresOptions) -> Result<SchemaStatus> {
    let session = Session::open(options).await?;
    migrate(&session.client, &session.schema).await
}

/// Drops the schema with everything that is in it; one that is not there is as well. For stores that were made for a
/// trial or a measurement.
///
/// # Errors
///
/// As [`status`].
pub async fn remove(options: &PostgresOptions) -> Result<()> {
    let session = Session::open(options).await?;
    let dropped = session.client.batch_execute(&session.schema.fill("drop schema if exists {schema} cascade")).await;
    dropped.map_err(|error| Fault::from(error).told("drop the schema"))
}

/// A connection of its own, for as long as a call takes.
pub(crate) struct Session {
    client: Client,
    schema: SchemaName,
    _driver: JoinSet<()>,
}

impl Session {
    pub(crate) async fn open(options: &PostgresOptions) -> Result<Self> {
        let schema = SchemaName::new(&options.schema)?;
        let connector = Connector::new(Target::read(options)?, tokio::runtime::Handle::current())?;
        let (client, driver) = open(&Arc::new(connector)).await.map_err(|fault| fault.told("connect"))?;
        Ok(Self { client, schema, _driver: driver })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

/// Opens a connection in the caller's runtime, with the task that drives it.
pub(crate) async fn open(connector: &Arc<Connector>) -> Result<(Client, JoinSet<()>), Fault> {
    let (client, wire) = connector.open().await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        if let Err(error) = wire.await {
            tracing::debug!(error = %Cause(error), "a connection ended");
        }
    });
    Ok((client, driver))
}

/// Where the schema stands, as this connection sees it.
pub(crate) async fn look(client: &Client, schema: &SchemaName) -> Result<SchemaStatus, Fault> {
    // By the tables of the catalogue, not by `to_regclass`: that answers from a cache, which may be older than the lock.
    let there = "select exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
                 where n.nspname = $1 and c.relname = 'migration')";
    let found = match client.query_typed(there, &[(&schema.as_str(), Type::TEXT)]).await?[0].get(0) {
        true => {
            let version = schema.fill("select coalesce(max(version), 0) from {schema}.migration");
            let version: i32 = client.query_typed(&version, &[]).await?[0].get(0);
            u32::try_from(version).ok().filter(|version| *version > 0)
        }
        false => None,
    };
    let pending = MIGRATIONS.iter().skip(found.unwrap_or(0) as usize).map(|(name, _)| *name).collect();
    Ok(SchemaStatus { schema: schema.as_str().to_owned(), found, supported: supported(), pending })
}

fn supported() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

pub(crate) fn refuse_newer(status: &SchemaStatus) -> Result<()> {
    match status.found {
        Some(found) if found > status.supported => Err(Error::Schema {
            store: KIND,
            found: found.to_string(),
            expected: status.supported.to_string(),
            hint: "it was migrated by a newer Millstream: update this program".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// What a build refuses that may not migrate.
pub(crate) fn refuse_older(status: &SchemaStatus) -> Result<()> {
    match status.is_current() {
        true => Ok(()),
        false => Err(Error::Schema {
            store: KIND,
            found: status.found.map_or("none".to_owned(), |found| found.to_string()),
            expected: status.supported.to_string(),
            hint: "bring it up with `millstream schema up`".to_owned(),
        }),
    }
}

/// The missing migrations, each with the note that it was done.
fn steps(schema: &SchemaName, found: u32) -> impl Iterator<Item = (&'static str, String)> {
    MIGRATIONS.iter().enumerate().skip(found as usize).map(move |(index, (name, text))| {
        let begin = match index {
            0 => {
                // Not `create schema if not exists`: that asks for the right to create one even where it is there.
                "do $$ begin\n    \
                      if not exists (select from pg_catalog.pg_namespace where nspname = '{name}') then\n        \
                          create schema {schema};\n    \
                      end if;\nend $$;\n\
                  create table if not exists {schema}.migration (\n    \
                      version integer primary key, name text not null, at timestamptz not null default now()\n);\n"
            }
            _ => "",
        };
        let note =
            format!("insert into {{schema}}.migration (version, name) values ({}, '{name}');\n", index as u32 + 1);
        (*name, schema.fill(&format!("{begin}{text}\n{note}")))
    })
}

/// Brings the schema up, one transaction a migration.
pub(crate) async fn migrate(client: &Client, schema: &SchemaName) -> Result<SchemaStatus> {
    loop {
        let status = step(client, schema).await.map_err(|fault| fault.told("migrate the schema"))?;
        refuse_newer(&status)?;
        if status.is_current() {
            return Ok(status);
        }
    }
}

/// Runs the first missing migration, unless another process just did. Answers where the schema stood before it.
async fn step(client: &Client, schema: &SchemaName) -> Result<SchemaStatus, Fault> {
    let status = look(client, schema).await?;
    if status.is_current() || refuse_newer(&status).is_err() {
        return Ok(status);
    }
    client
        .batch_execute(&schema.fill("begin; select pg_advisory_xact_lock(hashtext('{schema}.migration'), 0)"))
        .await?;
    let done = async {
        // Again under the lock: a statement of its own, with a snapshot later than the lock.
        let status = look(client, schema).await?;
        if let Some((name, text)) = steps(schema, status.found.unwrap_or(0)).next().filter(|_| !status.is_current()) {
            client.batch_execute(&text).await?;
            tracing::info!(schema = schema.as_str(), migration = name, "migrated");
        }
        Ok(status)
    };
    let done: Result<SchemaStatus, Fault> = done.await;
    client.batch_execute(if done.is_ok() { "commit" } else { "rollback" }).await?;
    done
}

/// # Errors
///
/// [`Error::Schema`] for a server that is too old, [`Error::Invalid`] for a database that is not in UTF-8.
pub(crate) async fn check_server(client: &Client) -> Result<String> {
    let text = "select current_setting('server_version_num')::integer, current_setting('server_version'), \
                current_setting('server_encoding'), current_database()::text, \
                (select system_identifier::text from pg_control_system())";
    let rows = client.query_typed(text, &[]).await.map_err(|error| Fault::from(error).told("look at the server"))?;
    let (number, version, encoding): (i32, String, String) = (rows[0].get(0), rows[0].get(1), rows[0].get(2));
    if number < SERVER_MIN {
        let hint = "update the server".to_owned();
        return Err(Error::Schema { store: KIND, found: version, expected: "Postgres 13 or newer".to_owned(), hint });
    }
    if encoding != "UTF8" {
        return Err(Error::invalid("server encoding", encoding, "UTF8"));
    }
    Ok(format!("postgres:{}:{}", rows[0].get::<_, String>(4), rows[0].get::<_, String>(3)))
}
