//! What goes wrong outside: connections that break between two messages, processes that stop or die.
//!
//! ```no_run
//! use millstream_servers::{fault::{Direction, Proxy}, postgres};
//!
//! let database = postgres::v18().create_database();
//! let proxy = Proxy::start(postgres::v18().address())?;
//! let url = database.url_through(proxy.address());
//! # let operation = |_: &str| {};
//! // One run for each place where the connection can break, until the operation gets by without reaching it.
//! for passed in 0.. {
//!     proxy.cut_after(Direction::ToServer, passed);
//!     operation(&url);
//!     if proxy.is_armed() {
//!         break;
//!     }
//! }
//! # Ok::<(), millstream_servers::Error>(())
//! ```

pub mod process;

mod framing;
mod proxy;

pub use proxy::{Direction, Proxy};

/// Ends every other client's connection to the current database, as an administrator would; one row for each. The
/// server's own workers are left alone: one that vacuums just then is not what a test means.
pub const TERMINATE_BACKENDS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
