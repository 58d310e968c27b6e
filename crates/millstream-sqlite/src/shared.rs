//! What the store's threads and callers share.

use std::sync::{Arc, atomic::AtomicU64};

use millstream_core::{Realm, StoreOptions};

use crate::signals::Signals;

/// Written once at opening; what changes inside says who writes it.
pub(crate) struct Shared {
    pub(crate) options: StoreOptions,
    pub(crate) realm: Realm,
    /// Tells this handle's own queue events from other processes'.
    pub(crate) origin: Arc<str>,
    /// Whether other processes can have the file open; false for a store in memory.
    pub(crate) on_disk: bool,
    pub(crate) signals: Arc<Signals>,
    pub(crate) stats: Stats,
}

/// Counters of this handle, for tests and the curious.
#[derive(Default)]
pub(crate) struct Stats {
    /// Write transactions committed; written by the writing threads.
    pub(crate) commits: AtomicU64,
}
