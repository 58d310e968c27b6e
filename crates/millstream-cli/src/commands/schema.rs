//! `millstream schema`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use millstream::{
    Backend, Config,
    sqlite::schema::{self, SchemaStatus},
};
use serde_json::{Value, json};

use crate::{
    cli::Globals,
    failure::Failure,
    output::{Output, Table},
};

/// The stores' schema. Opening a SQLite file brings it up to date by itself; these look first.
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
        let files = files(&Config::load(&globals.sources()?)?);
        if files.is_empty() {
            output.talk("the stores are in memory: their schema is always this build's");
        }
        let (command, output) = (self.step(), *output);
        // SQLite blocks its thread.
        let done = tokio::task::spawn_blocking(move || match command {
            Step::Status => status(&files, &output),
            Step::Up => up(&files, &output),
            Step::Sql => sql(&files, &output),
        });
        done.await.map_err(|error| Failure::new(format!("failed to look at the schema: {error}")))?
    }

    fn step(&self) -> Step {
        match self {
            Self::Status => Step::Status,
            Self::Up(up) if up.dry_run => Step::Sql,
            Self::Up(_) => Step::Up,
        }
    }
}

/// What is to be done to the schema.
#[derive(Clone, Copy)]
enum Step {
    Status,
    Sql,
    Up,
}

/// Each file once.
fn files(config: &Config) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = [&config.queue, &config.events, &config.state]
        .into_iter()
        .filter_map(|backend| match backend {
            Backend::Sqlite(path) => Some(path.clone()),
            _ => None,
        })
        .collect();
    files.sort();
    files.dedup();
    files
}

fn status(files: &[PathBuf], output: &Output) -> Result<(), Failure> {
    let found = files.iter().map(schema::status).collect::<millstream::Result<Vec<_>>>()?;
    show(files, &found, output)?;
    if found.iter().all(SchemaStatus::is_current) {
        return Ok(());
    }
    Err(Failure::new("the schema is not this build's: `millstream schema up` brings it up, as does opening the store"))
}

fn up(files: &[PathBuf], output: &Output) -> Result<(), Failure> {
    let found = files.iter().map(schema::up).collect::<millstream::Result<Vec<_>>>()?;
    show(files, &found, output)
}

fn sql(files: &[PathBuf], output: &Output) -> Result<(), Failure> {
    for file in files {
        let found = schema::status(file)?;
        let value = json!({ "store": file, "sql": found.pending_sql() });
        output.either(&value, || format!("-- {}\n{}", file.display(), found.pending_sql().trim_end()))?;
    }
    Ok(())
}

fn show(files: &[PathBuf], found: &[SchemaStatus], output: &Output) -> Result<(), Failure> {
    let values: Vec<Value> = files
        .iter()
        .zip(found)
        .map(|(file, status)| {
            json!({
                "store": file,
                "found": status.found,
                "supported": status.supported,
                "pending": status.pending,
            })
        })
        .collect();
    if output.json {
        return output.json(&values);
    }
    let mut table = Table::new(["STORE", "FOUND", "SUPPORTED", "PENDING"]);
    for (file, status) in files.iter().zip(found) {
        let version = status.found.map_or_else(|| "none".to_owned(), |version| version.to_string());
        table.row([file.display().to_string(), version, status.supported.to_string(), status.pending.join(", ")]);
    }
    output.data(table.text(output))
}
