//! What can be typed.

use std::{io::IsTerminal, path::PathBuf};

use clap::{ArgAction, Args, Command as Grammar, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use millstream::{Result, Sources};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{commands, output::Output};

/// Jobs, events and flows on the Postgres you already run.
///
/// Without any configuration, everything is in one SQLite file, `millstream.db`, in the working directory.
#[derive(Debug, Parser)]
#[command(
    name = "millstream",
    version,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 used wrongly. Data goes to stdout, talk to stderr.\n\
                  Keys for --set and for millstream.toml: `millstream config keys`."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Read this configuration file instead of `millstream.toml`.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Keep everything in this SQLite file, or in `memory`, which ends with the command.
    #[arg(long, global = true, value_name = "PATH|memory")]
    pub(crate) store: Option<String>,
    /// Set a configuration key, such as `queue.events=all`.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Say more on stderr; twice: much more.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Say nothing on stderr but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Print without colour; so does the variable NO_COLOR.
    #[arg(long, global = true)]
    no_color: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(commands::demo::Demo),
    Bench(commands::bench::Bench),
    Work(commands::work::Work),
    Enqueue(commands::enqueue::Enqueue),
    #[command(subcommand)]
    Jobs(commands::jobs::Jobs),
    #[command(subcommand)]
    Queues(commands::queues::Queues),
    #[command(subcommand)]
    Schedules(commands::schedules::Schedules),
    #[command(subcommand)]
    Events(commands::events::Events),
    Watch(commands::watch::Watch),
    #[command(subcommand)]
    Schema(commands::schema::Schema),
    #[command(subcommand)]
    Config(commands::config::Show),
    Completions(commands::completions::Completions),
}

impl Cli {
    /// What was typed; ends the process where that makes no sense.
    pub(crate) fn typed() -> Self {
        let mut grammar = with_negative_numbers(Self::command());
        let matches = grammar.get_matches_mut();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut grammar).exit())
    }
}

/// A number below zero after an option is its value: so the error is about the number, and not about an option `-1` that
/// does not exist.
fn with_negative_numbers(grammar: Grammar) -> Grammar {
    let takes_a_value = |arg: &clap::Arg| !arg.is_positional() && arg.get_action().takes_values();
    grammar
        .mut_args(|arg| if takes_a_value(&arg) { arg.allow_negative_numbers(true) } else { arg })
        .mut_subcommands(with_negative_numbers)
}

impl Globals {
    pub(crate) fn output(&self) -> Output {
        let plain = self.no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Output { json: self.json, color: !plain && std::io::stdout().is_terminal(), quiet: self.quiet }
    }

    /// Where configuration comes from, with this command line on top.
    pub(crate) fn sources(&self) -> Result<Sources> {
        let mut sources = Sources::from_process()?;
        if let Some(file) = &self.config {
            sources = sources.file(file);
        }
        if let Some(store) = &self.store {
            sources = stored(sources, store);
        }
        Ok(self.set.iter().fold(sources, |sources, (key, value)| sources.set(key, value)))
    }

    /// Whether this command line says where things are.
    pub(crate) fn names_a_store(&self) -> bool {
        self.store.is_some() || self.config.is_some() || !self.set.is_empty()
    }

    /// Logs go to stderr: warnings, and more with `-v` or by `MILLSTREAM_LOG`.
    pub(crate) fn start_logging(&self) {
        let level = match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::ERROR,
            (false, 0) => LevelFilter::WARN,
            (false, 1) => LevelFilter::INFO,
            (false, _) => LevelFilter::DEBUG,
        };
        let filter = EnvFilter::builder().with_default_directive(level.into()).with_env_var("MILLSTREAM_LOG");
        let plain = self.no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = !plain && std::io::stderr().is_terminal();
        tracing_subscriber::fmt()
            .with_env_filter(filter.from_env_lossy())
            .with_writer(std::io::stderr)
            .with_ansi(color)
            .with_target(false)
            // Or it would tell stderr that stderr is gone, and panic: a worker outlives who reads its logs.
            .log_internal_errors(false)
            .init();
    }
}

/// One store for jobs, events and state.
pub(crate) fn stored(sources: Sources, store: &str) -> Sources {
    const SEAMS: [&str; 3] = ["queue", "eventStore", "state"];
    SEAMS.into_iter().fold(sources, |sources, seam| {
        let adapter = if store == "memory" { "memory" } else { "sqlite" };
        let sources = sources.flag("--store", format!("{seam}.adapter"), adapter);
        if store == "memory" { sources } else { sources.flag("--store", format!("{seam}.sqlite.path"), store) }
    })
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as queue.events=all")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::with_negative_numbers(super::Cli::command()).debug_assert();
    }
}
