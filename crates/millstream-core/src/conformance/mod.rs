//! The suite that every store passes: each promise of the seams is a case with a name of its own, and each case is
//! shown to fail on a store that breaks the promise.
//!
//! A store crate gives a [`Harness`] and hands it to [`run`] from a test target without libtest's own main:
//!
//! ```text
//! fn main() -> std::process::ExitCode {
//!     millstream_core::conformance::run([Arc::new(MyHarness) as Arc<dyn Harness>])
//! }
//! ```
//!
//! **To add a case:** write it in the file of its noun under `cases/`, with a doc comment that is the promise and
//! `#[breaks_on(…)]` naming at least one [`Fault`]. It is listed by itself as `<harness>::<noun>::<case>`, as
//! `<harness>-muted::…` with wake-ups swallowed, and once per fault as `<harness>-broken::<noun>::<case>::<fault>`,
//! which passes only if the case fails. If no fault breaks it, add one to `broken/`.

mod broken;
mod case;
mod cases;
mod harness;
mod model;
mod observed;
mod trials;
mod world;

pub use broken::Fault;
pub use harness::{Backend, Harness};
pub use trials::{run, trials};
