//! Private servers for the tests of every crate: Postgres in each version we promise, PgBouncer before it, and the
//! faults that both must survive.
//!
//! ```no_run
//! use millstream_servers::{Mode, Postgres, Version, postgres};
//!
//! // Shared by all tests of this process; each takes a database of its own.
//! let database = postgres::v18().create_database();
//! database.run("CREATE TABLE t (id int)")?;
//! println!("{}", database.url());
//!
//! // Who restarts or kills a server takes one that nobody else uses.
//! let mut server = Postgres::start(Version::V15)?;
//! server.restart(Mode::Immediate)?;
//! # Ok::<(), millstream_servers::Error>(())
//! ```
//!
//! Nothing needs to be installed, and nothing is installed: what this machine does not have is fetched into
//! `target/servers`, once for all test processes. Postgres and Node.js come as packages of npm,
//! PgBouncer (and npm, where it is missing) as Debian's packages, unpacked. What cannot be had fails the test with a
//! text that says what was tried.
//!
//! Servers run as an unprivileged user (uid 65534 where the tests run as root), in a temporary folder, on a free port
//! of 127.0.0.1, with `fsync` and `synchronous_commit` on. The folder of the shared servers is in memory (`/dev/shm`)
//! where 3 GB are free there and `TMPDIR` is not set; that of a test's own server is always on disk. A watchdog process
//! ends them and removes their folder when the test process is gone, however it went.
//!
//! | variable | meaning |
//! |---|---|
//! | `MILLSTREAM_POSTGRES_15` (`_13` … `_18`) | the folder with that version's `initdb` and `postgres`; or `fetch`: do not look for an installed one |
//! | `MILLSTREAM_POSTGRES_VERSIONS` | which versions [`postgres::available`] answers, for instance `18`; else 15 and 18 |
//! | `MILLSTREAM_PGBOUNCER` | the `pgbouncer` program; or `fetch` |
//! | `MILLSTREAM_NODE` | the `node` program; or `fetch` |
//! | `MILLSTREAM_SERVERS_DIR` | where fetched programs are kept, else `servers` in cargo's target folder |

pub mod fault;
pub mod node;
pub mod pgbouncer;
pub mod postgres;

mod account;
mod apt;
mod cache;
mod command;
mod error;
mod folder;
mod npm;
mod port;
mod service;
mod wire;

pub use error::{Error, Result};
pub use pgbouncer::Pgbouncer;
pub use postgres::{Database, Mode, Postgres, Version};
pub use wire::Rows;
