//! Stream patterns: all, one stream, or a prefix. Never LIKE: `%`, `_` and `\` are ordinary characters.

use std::{fmt, sync::Arc};

use crate::{
    error::{Error, Result},
    name::StreamName,
};

/// Which streams: `*`, `name`, or `prefix*`.
///
/// ```
/// use millstream_core::Pattern;
///
/// let flows = Pattern::new("nq:flow:*")?;
/// assert!(flows.matches("nq:flow:a:run1"));
/// assert!(!flows.matches("nq:flow"));
/// assert!(!Pattern::new("a_b*")?.matches("aXb1"));
/// assert!(Pattern::new("a*b").is_err());
/// # Ok::<(), millstream_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// Every stream.
    All,
    /// One stream.
    Exact(StreamName),
    /// Every stream that begins with these bytes.
    Prefix(Arc<str>),
}

impl Pattern {
    /// Reads `*`, `name` or `prefix*`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a `*` that is not at the end, an empty text, or NUL.
    pub fn new(text: &str) -> Result<Self> {
        let expected = "`*`, a stream name, or a prefix with one `*` at its end";
        let refused = || Error::invalid("stream pattern", text, expected);
        if text == "*" {
            return Ok(Self::All);
        }
        match text.strip_suffix('*') {
            Some(prefix) if !prefix.contains('*') && StreamName::new(prefix).is_ok() => Ok(Self::Prefix(prefix.into())),
            None if !text.contains('*') => StreamName::new(text).map(Self::Exact).map_err(|_| refused()),
            _ => Err(refused()),
        }
    }

    /// Whether a stream belongs to it.
    pub fn matches(&self, stream: &str) -> bool {
        match self {
            Self::All => true,
            Self::Exact(name) => name.as_str() == stream,
            Self::Prefix(prefix) => stream.starts_with(&**prefix),
        }
    }
}

impl From<StreamName> for Pattern {
    fn from(stream: StreamName) -> Self {
        Self::Exact(stream)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Exact(name) => write!(f, "{name}"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl std::str::FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}
