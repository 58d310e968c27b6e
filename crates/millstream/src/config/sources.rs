//! Where configuration comes from: a file, the environment, flags.

use std::path::PathBuf;

use serde_json::Value;

use millstream_core::{Error, Result};

use super::{
    file, keys,
    path::{KeyPath, fold},
    problem::{Origin, Problem},
};

/// The file that is read from the working directory if no other one is named.
pub const FILE_NAME: &str = "millstream.toml";

/// Variables that are not configuration: the file's name, what `millstream work` tells its commands about their
/// job, and the log filter. A command that runs this program again must not trip over them.
const NOT_KEYS: [&str; 7] = [
    "MILLSTREAM_CONFIG",
    "MILLSTREAM_JOB_ID",
    "MILLSTREAM_QUEUE",
    "MILLSTREAM_JOB_NAME",
    "MILLSTREAM_ATTEMPT",
    "MILLSTREAM_ATTEMPTS",
    "MILLSTREAM_LOG",
];

/// Where configuration comes from; later ones win: file, environment, flags.
///
/// ```
/// use millstream::{Config, Sources};
///
/// let config = Config::load(&Sources::default().set("queue.adapter", "memory"));
/// # if cfg!(feature = "sqlite") {
/// assert!(config.is_ok());
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Sources {
    directory: PathBuf,
    file: Option<(PathBuf, &'static str)>,
    environment: Vec<(String, String)>,
    flags: Vec<(String, String, String)>,
}

/// A value, as it was written.
pub(super) struct Written {
    pub(super) place: Vec<String>,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// The values of one source.
pub(super) struct Layer {
    pub(super) spelling: keys::Spelling,
    /// Whether every value is text, to be read as whatever its key takes.
    pub(super) text: bool,
    /// Whether a later value replaces an earlier one, rather than contradicting it.
    pub(super) later_wins: bool,
    pub(super) values: Vec<Written>,
}

impl Sources {
    /// The process's working directory and environment.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the working directory is gone, or a variable of ours is not UTF-8.
    pub fn from_process() -> Result<Self> {
        let directory = std::env::current_dir()
            .map_err(|error| Error::Config(format!("working directory: got {error}, expected one that exists")))?;
        let mut environment = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            if !name.starts_with("MILLSTREAM_") && name != "DATABASE_URL" && name != "REDIS_URL" {
                continue;
            }
            let Ok(value) = value.into_string() else {
                return Err(Error::Config(format!("{name}: got bytes that are not UTF-8, expected text")));
            };
            environment.push((name, value));
        }
        Ok(Self { directory, environment, ..Self::default() })
    }

    /// Reads this file instead of `millstream.toml` in the working directory. It must exist.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some((path.into(), "--config"));
        self
    }

    /// The directory whose `millstream.toml` is read, and to which relative paths are relative.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Sets a key, above file and environment; of two for one key, the later wins.
    #[must_use]
    pub fn set(self, path: impl Into<String>, value: impl Into<String>) -> Self {
        self.flag("--set", path, value)
    }

    /// Sets a key on behalf of a flag, which errors name.
    #[must_use]
    pub fn flag(mut self, flag: impl Into<String>, path: impl Into<String>, value: impl Into<String>) -> Self {
        self.flags.push((flag.into(), path.into(), value.into()));
        self
    }

    /// A variable that is set to something.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.environment.iter().rev().find(|(set, _)| set == name)?;
        Some(&**value).filter(|value| !value.is_empty())
    }

    pub(super) fn base(&self) -> &PathBuf {
        &self.directory
    }

    /// The sources' values, the weakest first.
    pub(super) fn layers(&self, problems: &mut Vec<Problem>) -> Vec<Layer> {
        vec![self.file_layer(problems), self.environment_layer(problems), self.flag_layer(problems)]
    }

    fn file_layer(&self, problems: &mut Vec<Problem>) -> Layer {
        let named = self.file.clone().or_else(|| {
            self.get("MILLSTREAM_CONFIG").map(|path| (path.into(), "environment variable MILLSTREAM_CONFIG"))
        });
        let mut layer = Layer { spelling: keys::Spelling::Exact, text: false, later_wins: false, values: Vec::new() };
        let (path, by) = match &named {
            Some((path, by)) => (path.clone(), Some(*by)),
            None => (PathBuf::from(FILE_NAME), None),
        };
        match std::fs::read_to_string(self.directory.join(&path)) {
            Ok(text) => file::read(&path.display().to_string(), &text, &mut layer.values, problems),
            Err(error) if by.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => problems.push(Problem {
                place: path.display().to_string(),
                got: error.to_string(),
                expected: "a configuration file that can be read".into(),
                origin: by.map(|by| Origin::Flag(by.into())),
            }),
        }
        layer
    }

    fn environment_layer(&self, problems: &mut Vec<Problem>) -> Layer {
        let mut layer = Layer { spelling: keys::Spelling::Folded, text: true, later_wins: false, values: Vec::new() };
        for (name, value) in &self.environment {
            let Some(rest) = name.strip_prefix("MILLSTREAM_") else { continue };
            if NOT_KEYS.contains(&&**name) || value.is_empty() {
                continue;
            }
            if !rest.contains("__") {
                // Not ours: an orchestrator names its own variables after the service. But a key with one `_` too
                // few would be silently without effect.
                problems.extend(meant(name, rest));
                continue;
            }
            let origin = Origin::Variable(name.as_str().into());
            layer.values.push(Written { place: segments(rest), value: Value::from(value.as_str()), origin });
        }
        layer
    }

    fn flag_layer(&self, problems: &mut Vec<Problem>) -> Layer {
        let mut layer = Layer { spelling: keys::Spelling::Exact, text: true, later_wins: true, values: Vec::new() };
        for (flag, path, value) in &self.flags {
            let origin = Origin::Flag(flag.as_str().into());
            match KeyPath::parse(path) {
                Some(place) => {
                    layer.values.push(Written { place: place.0, value: Value::from(value.as_str()), origin });
                }
                None => problems.push(Problem {
                    place: format!("{path:?}"),
                    got: "something else".into(),
                    expected: "a key, such as `queue.adapter`".into(),
                    origin: Some(origin),
                }),
            }
        }
        layer
    }
}

/// A queue's name in capitals means the one in small letters: variables are rarely written otherwise.
fn segments(rest: &str) -> Vec<String> {
    let small = |segment: &str| match segment.chars().any(|char| char.is_ascii_lowercase()) {
        true => segment.to_owned(),
        false => segment.to_ascii_lowercase(),
    };
    rest.split("__").map(small).collect()
}

fn meant(name: &str, rest: &str) -> Option<Problem> {
    let key = keys::all().find(|key| fold(&key.path.replace('.', "")) == fold(rest))?;
    let variable = KeyPath::parse(&key.path)?.variable();
    Some(Problem {
        place: name.to_owned(),
        got: "an unknown variable".into(),
        expected: format!("{variable} (two underscores between the parts of a key)"),
        origin: None,
    })
}
