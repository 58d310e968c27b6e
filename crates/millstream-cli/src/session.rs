//! What most commands need: the checked configuration, and its stores while they are open.

use std::time::Duration;

use millstream::{BoxStream, Clock, Config, Stores, SystemClock};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{cli::Globals, failure::Failure, output::Output};

/// How long until a store that could not be reached is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// A command at work.
pub(crate) struct Session {
    pub(crate) config: Config,
    pub(crate) stores: Stores,
    pub(crate) output: Output,
}

impl Session {
    /// Checks the configuration, then opens the stores.
    pub(crate) async fn open(globals: &Globals, output: &Output) -> Result<Self, Failure> {
        let config = Config::load(&globals.sources()?)?;
        Self::of(config, output).await
    }

    pub(crate) async fn of(config: Config, output: &Output) -> Result<Self, Failure> {
        let stores = config.open().await?;
        Ok(Self { config, stores, output: *output })
    }

    /// Asks until the store can be reached: a server that restarts ends nobody's work. Only for what may be asked twice.
    pub(crate) async fn lasting<T>(
        &self,
        mut ask: impl AsyncFnMut() -> millstream::Result<T>,
    ) -> millstream::Result<T> {
        let mut told = false;
        loop {
            match ask().await {
                Err(error) if error.is_transient() => {
                    if !told {
                        self.output.talk(format_args!("{error}; asking again until it answers"));
                    }
                    told = true;
                    SystemClock::new().sleep(ASK_AGAIN).await;
                }
                answer => return answer,
            }
        }
    }

    /// Closes the stores after the work, whether it was done or not; the work's own failure comes first.
    pub(crate) async fn close<T>(self, done: Result<T, Failure>) -> Result<T, Failure> {
        let closed = self.stores.close().await;
        let done = done?;
        closed?;
        Ok(done)
    }
}

/// The next item of a stream.
pub(crate) async fn next<T>(stream: &mut BoxStream<T>) -> Option<T> {
    std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await
}

/// Ctrl-C, a polite kill, or a terminal that was closed.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Interrupts {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let heard = |kind| signal(kind).map_err(|error| Failure::new(format!("failed to listen for signals: {error}")));
        let hangup = if hangup_is_ours() { Some(heard(SignalKind::hangup())?) } else { None };
        Ok(Self { interrupt: heard(SignalKind::interrupt())?, terminate: heard(SignalKind::terminate())?, hangup })
    }

    pub(crate) async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether a closed terminal is to stop us: `nohup` has it ignored. Where there is no `/proc` to ask, it ends us as it
/// ends any program.
fn hangup_is_ours() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The first bit is signal 1, which is this one.
    ignored.is_some_and(|mask| mask & 1 == 0)
}
