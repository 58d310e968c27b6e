//! `millstream schema`.

use clap::{Args, Subcommand};
use millstream::{Config, StoreSchema};
use serde_json::{Value, json};

use crate::{
    cli::Globals,
    failure::Failure,
    output::{Output, Table},
};

/// The stores' schema. Opening a store brings it up to date by itself; these look first.
#[derive(Debug, Subcommand)]
pub(crate) enum Schema {
    /// Which schema the stores have, and which this build works with. Exit code 1 if they differ.
    Status,
    /// Bring the stores' schema up to this build's.
    Up(Up),
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Print the SQL that would run, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Schema {
    pub(crate) async fn run(&self, globals: &Globals, output: &Output) -> Result<(), Failure> {
        let config = Config::load(&globals.sources()?)?;
        let found = match self {
            Self::Up(Up { dry_run: false }) => config.schema_up().await?,
            Self::Status | Self::Up(_) => config.schema_status().await?,
        };
        if found.is_empty() {
            output.talk("the stores are in memory: their schema is always this build's");
        }
        match self {
            Self::Up(Up { dry_run: true }) => sql(&found, output),
            Self::Up(_) => show(&found, output),
            Self::Status => {
                show(&found, output)?;
                current(&found)
            }
        }
    }
}

fn current(found: &[StoreSchema]) -> Result<(), Failure> {
    if found.iter().all(StoreSchema::is_current) {
        return Ok(());
    }
    Err(Failure::new("the schema is not this build's: `millstream schema up` brings it up, as does opening the store"))
}

fn sql(found: &[StoreSchema], output: &Output) -> Result<(), Failure> {
    for StoreSchema { store, pending_sql, .. } in found {
        let value = json!({ "store": store, "sql": pending_sql });
        output.either(&value, || format!("-- {store}\n{}", pending_sql.trim_end()))?;
    }
    Ok(())
}

fn show(found: &[StoreSchema], output: &Output) -> Result<(), Failure> {
    let values: Vec<Value> = found
        .iter()
        .map(|StoreSchema { store, found, supported, pending, .. }| {
            json!({ "store": store, "found": found, "supported": supported, "pending": pending })
        })
        .collect();
    if output.json {
        return output.json(&values);
    }
    let mut table = Table::new(["STORE", "FOUND", "SUPPORTED", "PENDING"]);
    for StoreSchema { store, found, supported, pending, .. } in found {
        let version = found.map_or_else(|| "none".to_owned(), |version| version.to_string());
        table.row([store.clone(), version, supported.to_string(), pending.join(", ")]);
    }
    output.data(table.text(output))
}
