//! The versions of Postgres that Millstream runs on.

use std::fmt;

/// A major version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// PostgreSQL 13, the oldest.
    V13,
    /// PostgreSQL 14.
    V14,
    /// PostgreSQL 15.
    V15,
    /// PostgreSQL 16.
    V16,
    /// PostgreSQL 17.
    V17,
    /// PostgreSQL 18.
    V18,
}

impl Version {
    /// Every version that can be fetched.
    pub const ALL: [Self; 6] = [Self::V13, Self::V14, Self::V15, Self::V16, Self::V17, Self::V18];

    /// Those that the tests run on, unless told otherwise.
    pub const TESTED: [Self; 2] = [Self::V15, Self::V18];

    /// 13 to 18.
    pub const fn major(self) -> u32 {
        13 + self as u32
    }

    /// The release that is fetched, in the numbering of `@embedded-postgres`. Pinned: a test fails because of a change
    /// of ours, or of this line.
    pub(crate) const fn package_version(self) -> &'static str {
        match self {
            Self::V13 => "13.23.0-beta.16",
            Self::V14 => "14.23.0-beta.17",
            Self::V15 => "15.18.0-beta.17",
            Self::V16 => "16.14.0-beta.17",
            Self::V17 => "17.10.0-beta.17",
            Self::V18 => "18.4.0-beta.17",
        }
    }
}

/// The major version: `18`.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.major())
    }
}
