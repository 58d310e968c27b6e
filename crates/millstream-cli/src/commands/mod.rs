//! One file a command.

pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod enqueue;
pub(crate) mod events;
pub(crate) mod jobs;
pub(crate) mod queues;
pub(crate) mod schedules;
pub(crate) mod schema;
pub(crate) mod watch;
pub(crate) mod work;

use crate::{
    cli::{Cli, Command},
    failure::Failure,
    output::Output,
    session::Session,
};

/// Runs what was typed.
pub(crate) async fn run(cli: Cli, output: &Output) -> Result<(), Failure> {
    let globals = cli.globals;
    macro_rules! in_session {
        ($command:expr) => {{
            let session = Session::open(&globals, output).await?;
            let done = $command.run(&session).await;
            session.close(done).await
        }};
    }
    match cli.command {
        Command::Demo(demo) => demo.run(&globals, output).await,
        Command::Bench(bench) => bench.run(&globals, output).await,
        Command::Work(work) => work.run(&globals, output).await,
        Command::Enqueue(enqueue) => enqueue.run(&globals, output).await,
        Command::Jobs(jobs) => in_session!(jobs),
        Command::Queues(queues) => in_session!(queues),
        Command::Schedules(schedules) => in_session!(schedules),
        Command::Events(events) => in_session!(events),
        Command::Watch(watch) => in_session!(watch),
        Command::Schema(schema) => schema.run(&globals, output).await,
        Command::Config(show) => show.run(&globals, output),
        Command::Completions(completions) => completions.run(output),
    }
}
