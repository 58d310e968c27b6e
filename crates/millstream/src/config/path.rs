//! The place of a value: segments, as the table of keys spells them once it was found there.

use std::fmt;

/// The place of a value in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyPath(pub(super) Vec<String>);

impl KeyPath {
    /// Reads `a.b.c`; a segment in double quotes may hold dots, as in `queues."mail.out".concurrency`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut segments = vec![String::new()];
        let mut quoted = false;
        for char in text.chars() {
            match char {
                '"' => quoted = !quoted,
                '.' if !quoted => segments.push(String::new()),
                other => segments.last_mut()?.push(other),
            }
        }
        let whole = !quoted && segments.iter().all(|segment| !segment.is_empty());
        whole.then_some(Self(segments))
    }

    /// Whether `other` lies below this place.
    pub(super) fn holds(&self, other: &Self) -> bool {
        other.0.len() > self.0.len() && other.0.starts_with(&self.0)
    }

    /// The environment variable that sets this place.
    pub(super) fn variable(&self) -> String {
        let segments: Vec<String> = self.0.iter().map(|segment| snake(segment).to_uppercase()).collect();
        format!("MILLSTREAM_{}", segments.join("__"))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            let quote = if segment.contains('.') || segment.is_empty() { "\"" } else { "" };
            write!(f, "{dot}{quote}{segment}{quote}")?;
        }
        Ok(())
    }
}

/// `poolSize` as `pool_size`.
pub(super) fn snake(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 2);
    for char in camel.chars() {
        if char.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(char.to_ascii_lowercase());
    }
    snake
}

/// What is left of a segment when its spelling is taken away: `POOL_SIZE` and `poolSize` are `poolsize`.
pub(super) fn fold(segment: &str) -> String {
    segment.chars().filter(|&char| char != '_').map(|char| char.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_back_as_it_was_written() {
        for text in ["queue.adapter", "queues.\"mail.out\".concurrency"] {
            assert_eq!(KeyPath::parse(text).expect("a path").to_string(), text);
        }
        assert_eq!(KeyPath::parse("queue..adapter"), None);
        assert_eq!(KeyPath::parse("queues.\"mail"), None);
    }

    #[test]
    fn a_variable_is_named_after_its_key() {
        let path = KeyPath::parse("eventStore.postgres.poolSize").expect("a path");
        assert_eq!(path.variable(), "MILLSTREAM_EVENT_STORE__POSTGRES__POOL_SIZE");
    }
}
