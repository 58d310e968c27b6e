//! A case: one promise, checked on a world of its own.

use std::{fmt, panic::Location, pin::Pin};

use super::{broken::Fault, world::World};

/// What a check answers.
pub(super) type Checked<T = ()> = std::result::Result<T, Failure>;

/// Why a case failed, and where.
pub(super) struct Failure(String);

impl Failure {
    #[track_caller]
    pub(super) fn new(text: impl fmt::Display) -> Self {
        let at = Location::caller();
        Self(format!("{text}\n  at {}:{}", at.file(), at.line()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A call that the case expected to succeed.
impl<E: std::error::Error> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        Self::new(format_args!("unexpected error: {error}"))
    }
}

/// What a case needs beyond what every store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Wake-ups.
    Signals,
    /// Connections that hold.
    Calm,
    /// Data that outlives its handles.
    Reopen,
    /// Consumer groups.
    Groups,
    /// A log whose beginning can be taken away.
    Truncation,
    /// One commit that reaches queue, events and state.
    OneRealm,
    /// The order in which jobs became ready.
    ReadyOrder,
}

/// The future of a running case.
pub(super) type Running<'w> = Pin<Box<dyn Future<Output = Checked> + Send + 'w>>;

/// One promise.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) needs: &'static [Need],
    /// The faults on which it must fail.
    pub(super) breaks_on: &'static [Fault],
    pub(super) run: for<'w> fn(&'w World) -> Running<'w>,
}

/// Writes down cases and lists them in the const `CASES` of their module.
macro_rules! cases {
    ($(
        $(#[doc = $doc:literal])+
        #[breaks_on($($fault:ident),+ $(,)?)]
        $(#[needs($($need:ident),+)])?
        async fn $name:ident($world:ident: &World) -> Checked $body:block
    )+) => {
        $(
            $(#[doc = $doc])+
            async fn $name($world: &$crate::conformance::world::World) -> $crate::conformance::case::Checked $body
        )+

        pub(super) const CASES: &[$crate::conformance::case::Case] = &[$(
            $crate::conformance::case::Case {
                name: stringify!($name),
                needs: &[$($($crate::conformance::case::Need::$need),+)?],
                breaks_on: &[$($crate::conformance::broken::Fault::$fault),+],
                run: |world| Box::pin($name(world)),
            },
        )+];
    };
}
pub(super) use cases;

/// Fails the case unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::conformance::case::Failure::new(format_args!($($text)+)));
        }
    };
}
pub(super) use ensure;

/// Fails the case unless both are equal.
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($text:tt)+) => {
        match (&$left, &$right) {
            (left, right) => if *left != *right {
                let text = format_args!($($text)+);
                let text = format!("{text}\n   found: {left:?}\n  wanted: {right:?}");
                return Err($crate::conformance::case::Failure::new(text));
            }
        }
    };
}
pub(super) use ensure_eq;

/// Fails the case unless the value matches the pattern.
macro_rules! ensure_matches {
    ($value:expr, $pattern:pat $(if $guard:expr)?, $($text:tt)+) => {
        match &$value {
            $pattern $(if $guard)? => {}
            other => {
                let text = format_args!($($text)+);
                return Err($crate::conformance::case::Failure::new(format!("{text}\n   found: {other:?}")));
            }
        }
    };
}
pub(super) use ensure_matches;
