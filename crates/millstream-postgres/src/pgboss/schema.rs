//! The schema of pg-boss: used as it stands where Node's pg-boss made it, created where there is none.
//!
//! - **Versions [`OLDEST`] to [`CREATED`] are used as they are**; a newer one too, with a warning, because pg-boss only
//!   adds. An older one is refused: pg-boss itself migrates it.
//! - **What is created is version [`CREATED`]**, under the lock that pg-boss takes for it, so that both may start at once.
//! - **Nothing of ours is in it**, and its version is never raised from here: pg-boss trusts the number alone.

use millstream_core::{Error, Result};
use tokio_postgres::{Client, types::Type};

use crate::{
    fault::Fault,
    options::{PostgresOptions, SchemaName},
    schema::Session,
};

/// The oldest version that is used: that of pg-boss 12.35.
pub const OLDEST: i32 = 43;
/// The version that is created, and the newest that is known: that of pg-boss 12.38.
pub const CREATED: i32 = 46;

/// The store's name in errors and logs.
const KIND: &str = "pgboss";

macro_rules! text {
    ($name:literal) => {
        include_str!(concat!("../../sql/pgboss/schema/", $name, ".sql"))
    };
}

/// What makes the schema, in order.
const STEPS: &[&str] = &[
    text!("job_state"),
    text!("job_now"),
    text!("version"),
    text!("queue"),
    text!("schedule"),
    text!("subscription"),
    text!("bam"),
    text!("job_table_format"),
    text!("job_table_run"),
    text!("job_table_run_async"),
    text!("job"),
    text!("job_common"),
    text!("warning"),
    text!("warning_index"),
    text!("queue_stats"),
    text!("queue_stats_index"),
    text!("queue_stats_days"),
    text!("job_dependency"),
    text!("job_dependency_index"),
    text!("instance"),
    text!("create_queue"),
    text!("delete_queue"),
    text!("version_insert"),
];

/// What several steps say, by the name that stands for it.
const PARTS: &[(&str, &str)] = &[("{job_table}", text!("job_table")), ("{indexes}", text!("job_indexes"))];

/// As long as pg-boss itself waits for a lock, or leaves one waiting.
const PATIENCE: &str = "set local lock_timeout = '30s'; set local idle_in_transaction_session_timeout = '30s'";

/// Where a schema of pg-boss stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BossSchema {
    /// The schema.
    pub schema: String,
    /// Its version; `None`: there is none.
    pub found: Option<i32>,
}

impl BossSchema {
    /// # Errors
    ///
    /// [`Error::Schema`] for one that this build does not work with, or that is not there.
    pub fn check(&self) -> Result<()> {
        let hint = match self.found {
            None => "create it with `millstream schema up`, or start pg-boss on it".to_owned(),
            Some(found) if found < OLDEST => format!(
                "bring `{}` up with pg-boss 12.38 (`npx pg-boss@12.38.0 migrate --schema {}`, or start a service with it)",
                self.schema, self.schema
            ),
            Some(_) => return Ok(()),
        };
        Err(Error::Schema {
            store: KIND,
            found: self.found.map_or("none".to_owned(), |found| found.to_string()),
            expected: format!("{OLDEST} to {CREATED}"),
            hint,
        })
    }

    /// Whether it is newer than what this build knows.
    pub fn is_newer(&self) -> bool {
        self.found.is_some_and(|found| found > CREATED)
    }
}

/// Looks, and changes nothing. The schema is `schema`, whatever the options name.
///
/// # Errors
///
/// [`Error::Unavailable`] where the database cannot be reached, [`Error::Invalid`] for options that cannot work.
pub async fn status(options: &PostgresOptions, schema: &str) -> Result<BossSchema> {
    let schema = SchemaName::new(schema)?;
    let session = Session::open(options).await?;
    look(session.client(), &schema).await.map_err(|fault| fault.told("read the version of pg-boss's schema"))
}

/// Creates the schema where there is none.
///
/// # Errors
///
/// As [`status`], and [`Error::Schema`] for one that is too old.
pub async fn up(options: &PostgresOptions, schema: &str) -> Result<BossSchema> {
    let schema = SchemaName::new(schema)?;
    let session = Session::open(options).await?;
    ready(session.client(), &schema, true).await
}

/// What [`up`] runs where there is no schema, as one text: for people without the right to create one, and for reviews.
///
/// # Errors
///
/// [`Error::Invalid`] for a name that no schema has.
pub fn creation(schema: &str) -> Result<String> {
    let schema = SchemaName::new(schema)?;
    Ok(format!("begin;\ncreate schema if not exists {};\n{}commit;\n", schema.fill("{schema}"), steps(&schema)))
}

/// The schema, fit to work with: created where it is missing and `create` allows it, else as it stands.
pub(crate) async fn ready(client: &Client, schema: &SchemaName, create: bool) -> Result<BossSchema> {
    let doing = |fault: Fault| fault.told("set up pg-boss's schema");
    let mut found = look(client, schema).await.map_err(doing)?;
    if found.found.is_none() && create {
        found = create_one(client, schema).await.map_err(doing)?;
    }
    found.check()?;
    if found.is_newer() {
        let (schema, version) = (schema.as_str(), found.found);
        tracing::warn!(schema, version, known = CREATED, "pg-boss's schema is newer than this build");
    }
    Ok(found)
}

/// Where it stands, as this connection sees it.
pub(crate) async fn look(client: &Client, schema: &SchemaName) -> Result<BossSchema, Fault> {
    let found = match is_there(client, text!("version_table"), schema).await? {
        false => None,
        true => {
            let rows = client.query_typed(&schema.fill(text!("version_read")), &[]).await?;
            let row = rows.first().ok_or_else(|| Error::Corrupt {
                table: "version",
                column: "version",
                row: schema.as_str().to_owned(),
                why: "the table is empty; pg-boss keeps one row in it".to_owned(),
            })?;
            Some(row.get(0))
        }
    };
    Ok(BossSchema { schema: schema.as_str().to_owned(), found })
}

/// What the advisory locks of a schema are named after, by every process on it. pg-boss has a name in quotes where it is
/// not all lower case.
pub(crate) fn lock_name(schema: &SchemaName, suffix: &str) -> String {
    let quote = if schema.as_str().bytes().any(|byte| byte.is_ascii_uppercase()) { "\"" } else { "" };
    format!("{quote}{}{quote}{suffix}", schema.as_str())
}

async fn is_there(client: &Client, question: &str, schema: &SchemaName) -> Result<bool, Fault> {
    Ok(client.query_typed(question, &[(&schema.as_str(), Type::TEXT)]).await?[0].get(0))
}

/// Creates it, unless another process just did.
async fn create_one(client: &Client, schema: &SchemaName) -> Result<BossSchema, Fault> {
    client.batch_execute(&format!("begin; {PATIENCE}")).await?;
    let done = async {
        client.query_typed(text!("lock"), &[(&lock_name(schema, ""), Type::TEXT)]).await?;
        // Again under the lock: a statement of its own, with a snapshot later than the lock.
        if look(client, schema).await?.found.is_none() {
            if !is_there(client, text!("namespace"), schema).await? {
                client.batch_execute(&schema.fill("create schema {schema}")).await?;
            }
            client.batch_execute(&steps(schema)).await?;
            tracing::info!(schema = schema.as_str(), version = CREATED, "created pg-boss's schema");
        }
        look(client, schema).await
    };
    let done: Result<BossSchema, Fault> = done.await;
    client.batch_execute(if done.is_ok() { "commit" } else { "rollback" }).await?;
    done
}

/// Every step, with the schema's name in it.
fn steps(schema: &SchemaName) -> String {
    let whole = |step: &&str| PARTS.iter().fold((*step).to_owned(), |text, (name, part)| text.replace(name, part));
    STEPS.iter().map(|step| format!("{};\n", schema.fill(&whole(step)).trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_whole() {
        let text = creation("jobs").unwrap();
        assert!(!text.contains('{') || text.matches('{').count() == text.matches("'{}'").count(), "{text}");
        assert!(text.contains("create table \"jobs\".queue") && text.contains("values (46)"));
        assert!(creation("a b").is_err());
    }

    #[test]
    fn a_version_is_used_or_refused() {
        let at = |found| BossSchema { schema: "pgboss".to_owned(), found };
        for (found, works, newer) in [
            (None, false, false),
            (Some(42), false, false),
            (Some(43), true, false),
            (Some(46), true, false),
            (Some(47), true, true),
        ] {
            assert_eq!((at(found).check().is_ok(), at(found).is_newer()), (works, newer), "{found:?}");
        }
        let told = at(Some(37)).check().unwrap_err().to_string();
        assert!(told.contains("37") && told.contains("43 to 46") && told.contains("npx pg-boss"), "{told}");
    }

    #[test]
    fn a_lock_is_named_as_pg_boss_names_it() {
        let named = |name| lock_name(&SchemaName::new(name).unwrap(), "create-queue");
        assert_eq!(named("pgboss"), "pgbosscreate-queue");
        assert_eq!(named("Jobs"), "\"Jobs\"create-queue");
    }
}
