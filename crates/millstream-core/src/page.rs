//! Keyset pages: a page's end is a key, not a number of rows, so that inserts never shift the next page.

use std::sync::Arc;

use serde::Serialize;

/// Part of a listing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Pass it as `after` to get the next page; `None` at the end. Opaque.
    pub next: Option<Arc<str>>,
}
