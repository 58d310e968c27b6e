//! Names: of queues, jobs, job ids and streams. A value of these types is valid; there is no other way to get one.

use std::{borrow::Borrow, fmt, sync::Arc};

use crate::{
    error::{Error, Result},
    limits::{GROUP_NAME_BYTES_MAX, JOB_ID_BYTES_MAX, JOB_NAME_BYTES_MAX, QUEUE_NAME_BYTES_MAX, STREAM_NAME_BYTES_MAX},
};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("Checks and keeps a ", $what, ".\n\n# Errors\n\n[`Error::Invalid`] unless it is ", $expected, ".")]
            pub fn new(text: impl Into<Arc<str>>) -> Result<Self> {
                let text = text.into();
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) { Ok(Self(text)) } else { Err(Error::invalid($what, &*text, $expected)) }
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;
            fn try_from(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<&$name> for $name {
            type Error = Error;
            fn try_from(name: &$name) -> Result<Self> {
                Ok(name.clone())
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// The name of a queue: what pg-boss and BullMQ both accept, so a queue can move between stores.
    ///
    /// ```
    /// use millstream_core::QueueName;
    ///
    /// assert!(QueueName::new("mail/outbound").is_ok());
    /// assert!(QueueName::new("").is_err());
    /// assert!(QueueName::new("grüße").is_err());
    /// ```
    QueueName, "queue name", "1 to 255 bytes of letters, digits, `_`, `.`, `-`, `/`",
    |text| (1..=QUEUE_NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte))
}

name! {
    /// Routes a job to a handler inside its queue.
    JobName, "job name", "1 to 255 bytes without control characters",
    |text| (1..=JOB_NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

name! {
    /// Finds one job in its queue again. Opaque; a caller's own id *is* the id.
    JobId, "job id", "1 to 255 bytes without control characters",
    |text| (1..=JOB_ID_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

name! {
    /// A named, ordered sequence of events, such as `nq:flow:<run id>`. A `*` would make it a pattern.
    StreamName, "stream name", "1 to 255 bytes without NUL and `*`",
    |text| is_stored_stream(text) && !text.contains('*')
}

fn is_stored_stream(text: &str) -> bool {
    (1..=STREAM_NAME_BYTES_MAX).contains(&text.len()) && !text.contains('\0')
}

impl StreamName {
    /// The name of a stream that is in a log already, for stores: it may have a `*`, from somebody who wrote in SQL.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] unless it is 1 to 255 bytes without NUL.
    pub fn stored(text: impl Into<Arc<str>>) -> Result<Self> {
        let text = text.into();
        match is_stored_stream(&text) {
            true => Ok(Self(text)),
            false => Err(Error::invalid("stream name", &*text, "1 to 255 bytes without NUL")),
        }
    }
}

name! {
    /// The name of a consumer group, such as `billing`. A `*` would look like a pattern, and a space like two names.
    ///
    /// ```
    /// use millstream_core::GroupName;
    ///
    /// assert!(GroupName::new("billing/eu").is_ok());
    /// assert_eq!(
    ///     GroupName::new("order:*").unwrap_err().to_string(),
    ///     "invalid group name: got \"order:*\", expected 1 to 255 bytes without white space, control characters and `*`"
    /// );
    /// ```
    GroupName, "group name", "1 to 255 bytes without white space, control characters and `*`",
    |text| is_stored_group(text) && !text.contains(|char: char| char == '*' || char.is_whitespace())
}

fn is_stored_group(text: &str) -> bool {
    (1..=GROUP_NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

impl GroupName {
    /// The name of a group that is in a store already: it may have a `*` or spaces, from before those were refused.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] unless it is 1 to 255 bytes without control characters.
    pub fn stored(text: impl Into<Arc<str>>) -> Result<Self> {
        let text = text.into();
        match is_stored_group(&text) {
            true => Ok(Self(text)),
            false => Err(Error::invalid("group name", &*text, "1 to 255 bytes without control characters")),
        }
    }
}

name! {
    /// The name that people know a consumer of a group by.
    ConsumerName, "consumer name", "1 to 255 bytes without control characters",
    |text| (1..=GROUP_NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A job without a name of its own goes by its queue's.
impl From<&QueueName> for JobName {
    fn from(queue: &QueueName) -> Self {
        Self(queue.0.clone())
    }
}

/// Text that becomes part of a longer name: whole where it fits, otherwise its beginning and its hash.
pub(crate) fn fitting(text: &str, bytes_max: usize) -> String {
    fitting_without(text, bytes_max, char::is_control)
}

/// The same for the name of a stream.
pub(crate) fn fitting_stream(text: &str, bytes_max: usize) -> String {
    fitting_without(text, bytes_max, |char| char.is_control() || char == '*')
}

fn fitting_without(text: &str, bytes_max: usize, odd: fn(char) -> bool) -> String {
    if text.len() <= bytes_max && !text.chars().any(odd) {
        return text.to_owned();
    }
    // FNV-1a: the same in every process and release, which the standard hasher does not promise.
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let start: String = text.chars().filter(|char| !odd(*char)).take(40).collect();
    format!("{start}#{hash:016x}")
}
