//! The `millstream` program. stdout is data, stderr is talk; exit code 0: done, 1: refused or failed, 2: used wrongly.

mod args;
mod cli;
mod commands;
mod failure;
mod lines;
mod output;
mod session;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::typed();
    let output = cli.globals.output();
    cli.globals.start_logging();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::Failure::new(format!("failed to start: {error}")).report(&output),
    };
    match runtime.block_on(commands::run(cli, &output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&output),
    }
}
