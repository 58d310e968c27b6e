//! What a store gives so that the suite can run on it.

use std::time::Duration;

use async_trait::async_trait;

use crate::{Result, StoreOptions, Stores, Timestamp};

/// Opens isolated stores of one kind and configuration.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// How trials name it, such as `sqlite-file`.
    fn name(&self) -> &str;
    /// Whether its data outlives its handles. Where it does not, the cases of a restart are skipped.
    fn durable(&self) -> bool {
        true
    }
    /// Whether queue, events and state share commits. Where they do not, the cases of what only one commit can do are
    /// skipped.
    fn one_realm(&self) -> bool {
        true
    }
    /// Whether its log has consumer groups. Where it has none, their cases are skipped.
    fn groups(&self) -> bool {
        true
    }
    /// Whether its backends can take away the log's beginning, as retention does. Where they cannot, the cases of a log
    /// that was cut are skipped.
    fn truncates(&self) -> bool {
        false
    }
    /// Whether jobs of equal priority run in the order in which they became ready. Where they do not, the cases of that
    /// order are skipped, and the store says so in its capabilities.
    fn ready_order(&self) -> bool {
        true
    }
    /// Whether the broken twins run on it. Another configuration of a store that has them already needs none.
    fn twinned(&self) -> bool {
        true
    }
    /// Whether the muted runs are for it: as a rule, where the twins are.
    fn muted(&self) -> bool {
        self.twinned()
    }
    /// Whether its connections hold. Where they are cut, hints get lost, and a call that takes several commits is begun
    /// again in its middle: the cases of wake-ups, and of what such a call answers, are skipped.
    fn calm(&self) -> bool {
        true
    }
    /// A fresh, empty store that no other trial sees. A store without a clock of its own uses that of `options`.
    async fn open(&self, options: StoreOptions) -> Result<Box<dyn Backend>>;
}

/// One fresh store, and what the suite needs beside its seams.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The store.
    fn stores(&self) -> Stores;
    /// The same data as another process would open it. A store that only one process can have answers the same
    /// object again.
    async fn second(&self) -> Result<Stores>;
    /// The same data after every handle was closed. Asked only of a durable one.
    async fn reopen(&self) -> Result<Stores>;
    /// Moves the store's own clock; the clock of the options was moved already.
    async fn advance(&self, _by: Duration) -> Result<()> {
        Ok(())
    }
    /// The time by the store's own clock; `None` where that of the options is the store's.
    async fn now(&self) -> Result<Option<Timestamp>> {
        Ok(None)
    }
    /// Removes the log's events below a position, as retention does. Asked only where the harness says so.
    async fn truncate(&self, _first: u64) -> Result<()> {
        Err(crate::Error::Unsupported { store: "this harness", what: "a log that is cut" })
    }
    /// Closes every handle, and leaves nothing behind.
    async fn finish(&self) -> Result<()>;
}
