//! A command while it runs: its pipes, and its end.

use std::{io, os::unix::process::ExitStatusExt as _, process::Stdio, time::Duration};

use millstream::{Clock, JobContext, SystemClock, limits::PAYLOAD_BYTES_MAX};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{self, Command},
};

use crate::output::Output;

/// Bytes of stderr that are kept with an error: its end, where the reason stands.
const STDERR_BYTES_MAX: usize = 4 * 1024;
/// How long the pipes of a command that ended are read on: what it started may hold them open for ever.
const PIPES_GRACE: Duration = Duration::from_secs(1);

/// A command that was started. Dropped, it is killed with all that it started.
pub(super) struct Child {
    child: process::Child,
    /// Its process group, while there is something to kill.
    group: Option<Pid>,
}

/// How a command ended.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) stdout: Vec<u8>,
    /// Whether stdout was more than a job's output may hold.
    pub(super) too_long: bool,
    pub(super) stderr: String,
}

impl Child {
    pub(super) fn start(command: &str, ctx: &JobContext) -> io::Result<Self> {
        let child = Command::new("sh")
            .arg("-c")
            .arg(command)
            .env("MILLSTREAM_JOB_ID", ctx.job_id().as_str())
            .env("MILLSTREAM_QUEUE", ctx.queue().as_str())
            .env("MILLSTREAM_JOB_NAME", ctx.name().as_str())
            .env("MILLSTREAM_ATTEMPT", ctx.attempt().to_string())
            .env("MILLSTREAM_ATTEMPTS", ctx.attempts().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C is for the worker, which decides what becomes of the command.
            .process_group(0)
            .spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self { child, group })
    }

    /// Feeds it and reads it until it ends.
    pub(super) async fn run(&mut self, input: &Value, output: &Output) -> io::Result<Ended> {
        let (stdin, stdout, stderr) = (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take());
        let (mut printed, mut said) = (Vec::new(), Vec::new());
        let (status, too_long) = {
            let pipes = async {
                let beside = async {
                    tokio::join!(feed(stdin, input), read_end(stderr, &mut said, output));
                    Ok(())
                };
                tokio::try_join!(read_all(stdout, &mut printed), beside).is_err()
            };
            tokio::pin!(pipes);
            tokio::select! {
                too_long = &mut pipes => {
                    if too_long {
                        // It may go on for ever, and nothing of it can be kept.
                        self.signal(Signal::KILL);
                    }
                    (self.child.wait().await?, too_long)
                }
                status = self.child.wait() => {
                    // The pipes' end is not worth an error: what was read is kept.
                    (status?, tokio::time::timeout(PIPES_GRACE, pipes).await.unwrap_or(false))
                }
            }
        };
        self.group = None;
        let stderr = String::from_utf8_lossy(&said).replace('\0', "\u{fffd}");
        Ok(Ended { code: status.code(), signal: status.signal(), stdout: printed, too_long, stderr })
    }

    /// Asks it to end; kills it after `grace`.
    pub(super) async fn stop(&mut self, clock: &SystemClock, grace: Duration) {
        self.signal(Signal::TERM);
        let ended = tokio::select! {
            _ = self.child.wait() => true,
            () = clock.sleep(grace) => false,
        };
        if ended {
            tracing::debug!("the command ended when asked to");
        }
        // What it started may still be there, also when it ended itself.
        self.signal(Signal::KILL);
        self.group = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group
            && let Err(error) = kill_process_group(group, signal)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(%error, "failed to signal a command");
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// A command that does not read its stdin closes it, which is fine.
async fn feed(stdin: Option<process::ChildStdin>, input: &Value) {
    let Some(mut stdin) = stdin else { return };
    let mut text = input.to_string();
    text.push('\n');
    if let Err(error) = stdin.write_all(text.as_bytes()).await
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        tracing::warn!(%error, "failed to write a job's data to its command");
    }
}

/// More was printed than a job's output may hold.
struct TooLong;

/// Reads all of stdout, up to what a job's output may hold.
async fn read_all(pipe: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> Result<(), TooLong> {
    let Some(pipe) = pipe else { return Ok(()) };
    let mut bounded = pipe.take(PAYLOAD_BYTES_MAX as u64 + 1);
    if let Err(error) = bounded.read_to_end(into).await {
        tracing::warn!(%error, "failed to read what a command printed");
    }
    if into.len() > PAYLOAD_BYTES_MAX { Err(TooLong) } else { Ok(()) }
}

/// Passes stderr on as it comes, and keeps its end.
async fn read_end(pipe: Option<impl AsyncRead + Unpin>, end: &mut Vec<u8>, output: &Output) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = [0_u8; 8 * 1024];
    while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
        output.pass_on(&chunk[..read]);
        end.extend_from_slice(&chunk[..read]);
        let surplus = end.len().saturating_sub(STDERR_BYTES_MAX);
        end.drain(..surplus);
    }
}
