//! What the compiler cannot hold: that the docs name things that exist, that a foreign dependency stays in the
//! crate that owns it, that the house rules are kept.
//!
//! One file in `tests/` a rule. Each rule is a function from text to [`Offender`]s with a test that plants an
//! offender for it, and is then run over the repository. This library only finds the files and takes their text apart.

pub mod markdown;
pub mod shell;
pub mod text;

mod offender;
mod repository;

pub use offender::{Offender, assert_none};
pub use repository::{File, Repository, Tree};
