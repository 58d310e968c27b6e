//! A command as the handler of jobs.

use std::time::Duration;

use async_trait::async_trait;
use millstream::{CancelReason, Clock, Handler, JobContext, JobError, SystemClock};
use serde_json::{Value, json};

use super::child::{Child, Ended};
use crate::{args::shortened, output::Output};

/// Exit code of a command whose job should not be tried again (`EX_DATAERR`).
const FAIL: i32 = 65;
/// Exit code of a command that should be tried again later (`EX_TEMPFAIL`).
const SNOOZE: i32 = 75;
/// How long a command may take to end after SIGTERM: less than the worker waits for its handler.
const TERM_GRACE: Duration = Duration::from_secs(3);

/// How much of the last line of stderr is in an error's message; its details have the rest.
const LINE_CHARS_MAX: usize = 500;

/// Runs a command for each job.
pub(super) struct Exec {
    pub(super) command: String,
    pub(super) snooze: Duration,
    pub(super) output: Output,
}

#[async_trait]
impl Handler for Exec {
    async fn run(&self, input: Value, ctx: JobContext) -> Result<Value, JobError> {
        let clock = SystemClock::new();
        let mut child = Child::start(&self.command, &ctx)
            .map_err(|error| JobError::retry(format!("failed to start the command: {error}")))?;
        let ended = tokio::select! {
            ended = child.run(&input, &self.output) => Some(ended),
            () = void(&ctx) => None,
        };
        let Some(ended) = ended else {
            child.stop(&clock, TERM_GRACE).await;
            let reason = ctx.cancel_reason().unwrap_or(CancelReason::ClaimLost);
            return Err(JobError::retry(format!("command killed: {reason}")));
        };
        let ended = ended.map_err(|error| JobError::retry(format!("failed to run the command: {error}")))?;
        self.report(&ended, &ctx, clock.monotonic());
        self.answer(ended)
    }
}

/// Ends when the command's work is void. A worker that stops is no reason: the command has the grace to end.
async fn void(ctx: &JobContext) {
    ctx.cancellation().cancelled().await;
    if ctx.cancel_reason() == Some(CancelReason::Stopping) {
        std::future::pending::<()>().await;
    }
}

impl Exec {
    fn answer(&self, ended: Ended) -> Result<Value, JobError> {
        if ended.too_long {
            return Err(JobError::fail("the command printed more than a job's output may hold, and was killed"));
        }
        let details = json!({ "exitCode": ended.code, "signal": ended.signal, "stderr": ended.stderr });
        match (ended.code, ended.signal) {
            (Some(0), _) => Ok(output(&ended.stdout)),
            (Some(SNOOZE), _) => Err(JobError::snooze(self.snooze)),
            (Some(FAIL), _) => Err(JobError::fail(told(&ended, "command exited with 65")).details(details)),
            (Some(code), _) => {
                Err(JobError::retry(told(&ended, &format!("command exited with {code}"))).details(details))
            }
            (None, signal) => {
                let signal = signal.map_or_else(|| "a signal".to_owned(), |number| format!("signal {number}"));
                Err(JobError::retry(told(&ended, &format!("command killed by {signal}"))).details(details))
            }
        }
    }

    /// One line for each attempt, for whoever runs the worker.
    fn report(&self, ended: &Ended, ctx: &JobContext, took: Duration) {
        if !self.output.json {
            ctx.log().info(format_args!("command ended: exit code {:?}", ended.code));
            return;
        }
        let line = json!({
            "queue": ctx.queue(),
            "id": ctx.job_id(),
            "name": ctx.name(),
            "attempt": ctx.attempt(),
            "exitCode": ended.code,
            "signal": ended.signal,
            "seconds": (took.as_secs_f64() * 1000.0).round() / 1000.0,
        });
        if let Err(failure) = self.output.json(&line) {
            tracing::warn!(?failure, "nobody reads what this worker prints");
        }
    }
}

/// JSON if it is some, or else text without its last line break; nothing printed is `null`.
fn output(stdout: &[u8]) -> Value {
    if stdout.trim_ascii().is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(stdout)
        .unwrap_or_else(|_| String::from_utf8_lossy(stdout).trim_end_matches(['\n', '\r']).into())
}

/// What happened, with the last line of what the command said about it.
fn told(ended: &Ended, what: &str) -> String {
    match ended.stderr.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("{what}: {}", shortened(line.trim(), LINE_CHARS_MAX)),
        None => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_json_or_text() {
        assert_eq!(output(b"{\"a\": 1}\n"), json!({ "a": 1 }));
        assert_eq!(output(b"done\n"), json!("done"));
        assert_eq!(output(b"two\nlines\n"), json!("two\nlines"));
        assert_eq!(output(b" \n"), Value::Null);
    }
}
