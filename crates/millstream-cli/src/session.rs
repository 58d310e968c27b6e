//! What most commands need: the checked configuration, and its stores while they are open.

use millstream::{BoxStream, Config, Stores};

use crate::{cli::Globals, failure::Failure, output::Output};

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

/// Ctrl-C, or a polite kill.
pub(crate) struct Interrupts {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Interrupts {
    pub(crate) fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let heard = |kind| signal(kind).map_err(|error| Failure::new(format!("failed to listen for signals: {error}")));
        Ok(Self { interrupt: heard(SignalKind::interrupt())?, terminate: heard(SignalKind::terminate())? })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
