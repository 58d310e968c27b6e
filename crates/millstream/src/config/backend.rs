//! Which store holds jobs, events and state.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use millstream_core::Retention;

use super::{
    key::one_of,
    merged::{Entry, Merged},
    path::KeyPath,
    postgres::{PgBossBackend, PostgresBackend, SCHEMA_DEFAULT},
    problem::{Origin, Problem, shown, without_password},
    sources::Sources,
};

/// The SQLite file of a process that configures nothing.
pub const FILE_DEFAULT: &str = "millstream.db";

/// The adapters whose crate is in this build.
pub(super) const ADAPTERS: &[&str] = match (cfg!(feature = "sqlite"), cfg!(feature = "postgres")) {
    (true, true) => &["sqlite", "memory", "postgres", "pgboss"],
    (true, false) => &["sqlite", "memory"],
    (false, true) => &["postgres", "pgboss"],
    (false, false) => &[],
};

/// One store of this build. Equal ones are one object, so that they share transactions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// SQLite in memory: it ends with the process.
    Memory,
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A schema of a Postgres database.
    Postgres(PostgresBackend),
    /// pg-boss's tables, beside a schema of Millstream's own.
    PgBoss(PgBossBackend),
}

impl Backend {
    /// Whether a commit of one reaches the other: what the queue's store writes with a settle.
    pub fn shares_commits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::PgBoss(boss), Self::Postgres(postgres)) => boss.postgres == *postgres,
            _ => self == other,
        }
    }

    /// Whether both are of one crate.
    pub(crate) fn is_kin(&self, other: &Self) -> bool {
        let file = |backend: &Self| matches!(backend, Self::Memory | Self::Sqlite(_));
        file(self) == file(other)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("sqlite, in memory"),
            Self::Sqlite(path) => write!(f, "sqlite, {}", path.display()),
            Self::Postgres(postgres) => write!(f, "postgres, {postgres}"),
            Self::PgBoss(boss) => write!(f, "pgboss, {boss}"),
        }
    }
}

/// The parts of a configuration that name a store each.
pub(super) const SEAMS: [&str; 3] = ["queue", "eventStore", "state"];
const SECTIONS: [&str; 3] = ["sqlite", "postgres", "redis"];
const PARTS: [&str; 5] = ["host", "port", "database", "user", "password"];

/// The section of a seam that an adapter reads.
pub(super) fn section(adapter: &str) -> &str {
    match adapter {
        "pgboss" => "postgres",
        "bullmq" => "redis",
        "memory" => "sqlite",
        other => other,
    }
}

/// Picks a seam's adapter and, if this build has it, its store.
pub(super) struct Picker<'a> {
    pub(super) merged: &'a Merged,
    pub(super) sources: &'a Sources,
    pub(super) problems: &'a mut Vec<Problem>,
    /// Whether the queue is on pg-boss's tables.
    pub(super) pgboss: bool,
}

/// A seam's adapter, and where it was chosen.
#[derive(Clone)]
pub(super) struct Choice {
    pub(super) adapter: String,
    origin: Option<Origin>,
    /// Whether it is only the queue's again: what is wrong with that one was said there.
    same: bool,
}

impl Choice {
    fn new(adapter: &str, origin: Option<Origin>) -> Self {
        Self { adapter: adapter.to_owned(), origin, same: false }
    }
}

impl Picker<'_> {
    /// The adapters of queue, events and state.
    pub(super) fn choices(&mut self) -> [Choice; 3] {
        let queue = self.chosen("queue").unwrap_or_else(|| self.detected());
        // What is said of the queue alone holds for all: the stores share transactions then.
        let family = match section(&queue.adapter) {
            "sqlite" => queue.adapter.clone(),
            other => other.to_owned(),
        };
        let same = Choice { adapter: family, origin: queue.origin.clone(), same: true };
        let events = self.chosen("eventStore").unwrap_or_else(|| same.clone());
        let state = self.chosen("state").unwrap_or(same);
        self.pgboss = queue.adapter == "pgboss";
        [queue, events, state]
    }

    /// What the configuration says: the adapter, or the one section that is there.
    fn chosen(&mut self, seam: &str) -> Option<Choice> {
        if let Some(entry) = self.entry(&[seam, "adapter"]) {
            return Some(Choice::new(entry.value.as_str().unwrap_or_default(), Some(entry.origin)));
        }
        let given: Vec<&str> = SECTIONS.into_iter().filter(|section| self.has_section(seam, section)).collect();
        match *given {
            [] => None,
            [only] => Some(Choice::new(only, None)),
            [..] => {
                self.problems.push(Problem {
                    place: format!("{seam}.adapter"),
                    got: "nothing".into(),
                    expected: format!("{}, because each of them is configured", one_of(&given)),
                    origin: None,
                });
                Some(Choice::new("sqlite", None))
            }
        }
    }

    /// What the environment says when the configuration says nothing.
    fn detected(&mut self) -> Choice {
        let variable = |adapter: &str, name: &str| Choice::new(adapter, Some(Origin::Variable(name.into())));
        match (self.sources.get("DATABASE_URL"), self.sources.get("REDIS_URL")) {
            (None, None) => Choice::new("sqlite", None),
            (Some(url), None) => {
                self.check_url("DATABASE_URL", url, &["postgres", "postgresql"]);
                variable("postgres", "DATABASE_URL")
            }
            (None, Some(url)) => {
                self.check_url("REDIS_URL", url, &["redis", "rediss"]);
                variable("redis", "REDIS_URL")
            }
            (Some(_), Some(_)) => {
                self.problems.push(Problem {
                    place: "queue.adapter".into(),
                    got: "nothing, with both DATABASE_URL and REDIS_URL set".into(),
                    expected: one_of(super::keys::QUEUE_ADAPTERS),
                    origin: None,
                });
                Choice::new("sqlite", None)
            }
        }
    }

    fn check_url(&mut self, name: &str, url: &str, schemes: &[&str]) {
        let fits = url.split_once("://").is_some_and(|(scheme, _)| schemes.contains(&scheme));
        if !fits {
            self.problems.push(Problem {
                place: name.into(),
                got: format!("{:?}", without_password(url)),
                expected: format!("a URL that begins with {}://", schemes.join(":// or ")),
                origin: None,
            });
        }
    }

    /// The store of a seam, if this build has its adapter; a problem otherwise.
    pub(super) fn backend(&mut self, seam: &str, choice: &Choice) -> Backend {
        if !choice.same && !ADAPTERS.contains(&&*choice.adapter) {
            let had = match ADAPTERS {
                [] => "an adapter of this build, which has none (the crate features `sqlite` and `postgres` add some)"
                    .into(),
                some => format!("an adapter of this build: {}", one_of(some)),
            };
            self.problems.push(Problem {
                place: format!("{seam}.adapter"),
                got: format!("`{}`", choice.adapter),
                expected: had,
                origin: choice.origin.clone(),
            });
        }
        self.check_connection(seam, section(&choice.adapter));
        match &*choice.adapter {
            "memory" => Backend::Memory,
            "postgres" => Backend::Postgres(self.postgres(seam)),
            "pgboss" => Backend::PgBoss(self.pgboss()),
            _ => self.file(seam),
        }
    }

    fn check_connection(&mut self, seam: &str, section: &str) {
        let Some(url) = self.entry(&[seam, section, "connectionString"]) else { return };
        for part in PARTS {
            if let Some(entry) = self.entry(&[seam, section, part]) {
                self.problems.push(Problem {
                    place: format!("{seam}.{section}.{part}"),
                    got: "a value beside `connectionString`".into(),
                    expected: format!("either the URL or its parts (the URL: {})", url.origin),
                    origin: Some(entry.origin),
                });
            }
        }
    }

    fn file(&self, seam: &str) -> Backend {
        let own = self.entry(&[seam, "sqlite", "path"]);
        let entry = own.or_else(|| self.entry(&["queue", "sqlite", "path"]));
        let Some(entry) = entry else { return Backend::Sqlite(self.absolute(FILE_DEFAULT, None)) };
        match entry.value.as_str().unwrap_or_default() {
            ":memory:" => Backend::Memory,
            path => Backend::Sqlite(self.absolute(path, Some(&entry.origin))),
        }
    }

    /// A seam's own database, else the queue's, else that of `DATABASE_URL`; the schema may be the seam's own on
    /// either.
    fn postgres(&self, seam: &str) -> PostgresBackend {
        let names = |seam: &str, key: &str| self.entry(&[seam, "postgres", key]).is_some();
        let own = names(seam, "connectionString") || PARTS.iter().any(|part| names(seam, part));
        let from = if own { seam } else { "queue" };
        // A host of its own is another server than the variable's; other parts only say more of that one.
        let variable = || self.sources.get("DATABASE_URL").filter(|_| !names(from, "host")).map(str::to_owned);
        let number = |key: &str| self.entry(&[from, "postgres", key]).and_then(|entry| entry.value.as_u64());
        let flag = |key: &str| self.entry(&[from, "postgres", key]).and_then(|entry| entry.value.as_bool());
        PostgresBackend {
            url: self.text(from, "connectionString").or_else(variable).unwrap_or_default(),
            host: self.text(from, "host"),
            port: number("port").and_then(|port| u16::try_from(port).ok()),
            database: self.text(from, "database"),
            user: self.text(from, "user"),
            password: self.text(from, "password"),
            schema: self.schema(seam),
            pool_size: number("poolSize").and_then(|size| u32::try_from(size).ok()),
            ssl_mode: self.text(from, "sslmode"),
            ssl_root_cert: self.roots(from),
            notify: flag("notify"),
            prepare: flag("prepare"),
            migrate: flag("migrate"),
        }
    }

    /// How long the log keeps events, on the adapter that has them.
    pub(super) fn retention(&self, choice: &Choice) -> Retention {
        let bound = |key: &str| {
            let entry = self.entry(&["eventStore", section(&choice.adapter), "retention", key]);
            entry.and_then(|entry| entry.value.as_u64())
        };
        Retention {
            age: bound("ageDays").map(|days| Duration::from_secs(days.saturating_mul(24 * 60 * 60))),
            bytes: bound("sizeMb").map(|size| size.saturating_mul(1024 * 1024)),
            events: bound("events"),
        }
    }

    /// The file of trusted certificates; `system` stands for those of the system.
    fn roots(&self, seam: &str) -> Option<PathBuf> {
        let entry = self.entry(&[seam, "postgres", "sslrootcert"])?;
        match entry.value.as_str().unwrap_or_default() {
            "system" => Some(PathBuf::from("system")),
            path => Some(self.absolute(path, Some(&entry.origin))),
        }
    }

    /// The queue's database, where the schema that the queue names is pg-boss's; what is beside it is where events are.
    fn pgboss(&self) -> PgBossBackend {
        let whole = |key: &str| self.entry(&["queue", "postgres", key]).and_then(|entry| entry.value.as_u64());
        let flag = |key: &str| self.entry(&["queue", "postgres", key]).and_then(|entry| entry.value.as_bool());
        let base = PgBossBackend::default();
        PgBossBackend {
            postgres: self.postgres("queue"),
            schema: self.text("queue", "schema").unwrap_or(base.schema),
            retry_limit: whole("retryLimit").and_then(|limit| u32::try_from(limit).ok()).unwrap_or(base.retry_limit),
            retry_delay_secs: whole("retryDelay").unwrap_or(base.retry_delay_secs),
            expire_hours: whole("expireInHours").unwrap_or(base.expire_hours),
            retention_days: whole("retentionDays").unwrap_or(base.retention_days),
            delete_after_days: whole("deleteAfterDays").unwrap_or(base.delete_after_days),
            defer_starts: flag("deferStarts").unwrap_or(base.defer_starts),
            // Known when the queues are.
            group_concurrency: base.group_concurrency,
        }
    }

    /// The schema of Millstream's own tables. Beside pg-boss's, the queue names pg-boss's schema.
    fn schema(&self, seam: &str) -> String {
        let own = match self.pgboss {
            true => ["eventStore", "state"].into_iter().find_map(|other| self.text(other, "schema")),
            false => self.text("queue", "schema"),
        };
        let named = self.text(seam, "schema").filter(|_| !(self.pgboss && seam == "queue"));
        named.or(own).unwrap_or_else(|| SCHEMA_DEFAULT.to_owned())
    }

    fn text(&self, seam: &str, key: &str) -> Option<String> {
        self.entry(&[seam, "postgres", key]).and_then(|entry| entry.value.as_str().map(str::to_owned))
    }

    fn absolute(&self, path: &str, origin: Option<&Origin>) -> PathBuf {
        let base = self.sources.base();
        let beside = match origin {
            Some(Origin::File { path, .. }) => base.join(Path::new(&**path).parent().unwrap_or(Path::new(""))),
            _ => base.clone(),
        };
        settled(&beside.join(path))
    }

    fn has_section(&self, seam: &str, section: &str) -> bool {
        self.merged.any_below(&KeyPath(vec![seam.to_owned(), section.to_owned()]))
    }

    fn entry(&self, place: &[&str]) -> Option<Entry> {
        self.merged.get(&KeyPath(place.iter().map(|&part| part.to_owned()).collect())).cloned()
    }
}

/// The same file has one path here, however it is written: equal paths share a store.
fn settled(path: &Path) -> PathBuf {
    if let Ok(whole) = path.canonicalize() {
        return whole;
    }
    // The file may not exist yet; its directory does, or opening it will say so.
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return path.to_owned(),
    };
    match (directory.canonicalize(), path.file_name()) {
        (Ok(directory), Some(name)) => directory.join(name),
        _ => path.to_owned(),
    }
}

/// A value for an error text.
pub(super) fn got(entry: &Entry) -> String {
    shown(&entry.value)
}
