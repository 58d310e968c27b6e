//! Every key there is. Loading, `docs/configuration.md` and the program's help all read this table.

use std::sync::LazyLock;

use super::{
    key::{Key, Kind},
    path::{KeyPath, fold, snake},
    postgres::SSL_MODES,
};

/// Keys that stand together, under each of these places.
#[derive(Debug)]
pub struct Group {
    /// Where the group is; an empty place is the top.
    pub places: &'static [&'static str],
    /// What the group is for.
    pub doc: &'static str,
    leaves: &'static [Leaf],
}

#[derive(Debug)]
struct Leaf {
    name: &'static str,
    aliases: &'static [&'static str],
    kind: Kind,
    default: &'static str,
    doc: &'static str,
}

impl Group {
    /// The group's keys under one of its places.
    pub fn keys(&'static self, place: &'static str) -> impl Iterator<Item = Key> {
        self.leaves.iter().map(move |leaf| Key {
            path: join(place, leaf.name),
            aliases: leaf.aliases.iter().map(|alias| join(place, alias)).collect(),
            kind: leaf.kind,
            default: leaf.default,
            doc: leaf.doc,
        })
    }
}

fn join(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

const fn leaf(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Leaf {
    Leaf { name, aliases: &[], kind, default, doc }
}

const fn also(aliases: &'static [&'static str], leaf: Leaf) -> Leaf {
    Leaf { aliases, ..leaf }
}

/// Milliseconds in the longest delay that any store takes.
const LONG_MS: u64 = millstream_core::limits::DELAY_MAX.as_millis() as u64;
const LONG_DAYS: u64 = LONG_MS / 86_400_000;
const COUNT: Kind = Kind::Whole(0, u32::MAX as u64);
const MS: Kind = Kind::Whole(0, LONG_MS);
const CONCURRENCY: Kind = Kind::Whole(1, millstream_core::limits::CONCURRENCY_MAX as u64);
const ATTEMPTS: Kind = Kind::Whole(1, millstream_core::limits::ATTEMPTS_MAX as u64);
const LEASE: Kind = Kind::Whole(millstream_core::LEASE_MIN.as_millis() as u64, 86_400_000);

/// Adapters of the queue, by name.
pub(super) const QUEUE_ADAPTERS: &[&str] = &["sqlite", "memory", "postgres", "pgboss", "redis", "bullmq"];
/// Adapters of events and state, by name.
pub(super) const STORE_ADAPTERS: &[&str] = &["sqlite", "memory", "postgres", "redis"];

/// Every group, in the order of the documentation.
pub(super) static GROUPS: &[Group] = &[
    Group {
        places: &["queue"],
        doc: "Where jobs are, and which of their events go into the event store.",
        leaves: &[
            also(
                &["provider.name"],
                leaf(
                    "adapter",
                    Kind::OneOf(QUEUE_ADAPTERS),
                    "see [Adapters](#adapters)",
                    "Which store holds the jobs.",
                ),
            ),
            leaf(
                "events",
                Kind::OneOf(&["off", "failures", "all"]),
                "off",
                "Which `job.*` events are appended to the stream `nq:queue:<queue>`, in the transaction that causes them: so the events are in the queue's own store, or this is `off`.",
            ),
        ],
    },
    Group {
        places: &["eventStore", "state"],
        doc: "Where events and run state are.",
        leaves: &[leaf("adapter", Kind::OneOf(STORE_ADAPTERS), "see [Adapters](#adapters)", "Which store holds them.")],
    },
    Group {
        places: &["queue.sqlite", "eventStore.sqlite", "state.sqlite"],
        doc: "One file, or one for each.",
        leaves: &[leaf(
            "path",
            Kind::Path,
            "the queue's, else `millstream.db`",
            "The file. It is made if it is missing; `:memory:` is a store that ends with the process.",
        )],
    },
    Group {
        places: &["queue.postgres", "eventStore.postgres", "state.postgres"],
        doc: "A Postgres database: a URL, or its parts.",
        leaves: &[
            leaf("connectionString", Kind::Url, "`DATABASE_URL`", "A URL, instead of the parts below."),
            leaf("host", Kind::Text, "`localhost`", "The server's name or address."),
            leaf("port", Kind::Whole(1, 65_535), "5432", "The server's port."),
            leaf("database", Kind::Text, "the user's name", "The database."),
            leaf("user", Kind::Text, "the system user's name", "Who connects."),
            leaf("password", Kind::Secret, "none", "Their password; it is never shown."),
            leaf(
                "sslmode",
                Kind::OneOf(SSL_MODES),
                "the URL's, else `prefer`",
                "How much of TLS; only the last two check who the server is.",
            ),
            leaf(
                "sslrootcert",
                Kind::Path,
                "`system`",
                "A file of certificates to trust, in PEM; with one, `require` checks like `verify-ca`.",
            ),
            leaf("schema", Kind::Text, "`millstream`; pg-boss's tables: `pgboss`", "The schema that holds the tables."),
            leaf(
                "poolSize",
                Kind::Whole(1, 1000),
                "10",
                "How many connections the pool opens at most; the listener and the heartbeat have one more each.",
            ),
            leaf("notify", Kind::Flag, "true", "Whether processes wake each other with NOTIFY; `false`: they poll."),
            leaf(
                "prepare",
                Kind::Flag,
                "found out",
                "Whether the server keeps prepared statements; `false` behind a pooler that shares sessions.",
            ),
            leaf(
                "migrate",
                Kind::Flag,
                "true",
                "Whether opening the store brings its schema up; `false`: an older one is refused.",
            ),
        ],
    },
    Group {
        places: &["queue.redis", "eventStore.redis", "state.redis"],
        doc: "A Redis server: a URL, or its parts.",
        leaves: &[
            leaf("connectionString", Kind::Url, "`REDIS_URL`", "A URL, instead of the parts below."),
            leaf("host", Kind::Text, "`localhost`", "The server's name or address."),
            leaf("port", Kind::Whole(1, 65_535), "6379", "The server's port."),
            leaf("database", Kind::Whole(0, 65_535), "0", "The database's number."),
            leaf("user", Kind::Text, "none", "Who connects."),
            leaf("password", Kind::Secret, "none", "Their password; it is never shown."),
            leaf("poolSize", Kind::Whole(1, 1000), "10", "How many connections this process opens at most."),
        ],
    },
    Group {
        places: &["queue.sqlite", "queue.postgres", "queue.redis"],
        doc: "pg-boss's words for default job options, on whichever adapter the queue uses. What \
              `defaultJobOptions` names wins over them. On pg-boss's tables, queues that do not exist yet are made with \
              them (with 3, 60, 24 and 30 where they are not set); one that exists keeps its own.",
        leaves: &[
            leaf("retryLimit", Kind::Whole(0, 9_999), "not set", "`attempts`, less the first one."),
            leaf("retryDelay", Kind::Whole(0, LONG_MS / 1000), "not set", "A fixed `backoff`, in seconds."),
            leaf("expireInHours", Kind::Whole(1, LONG_DAYS * 24), "not set", "`timeoutMs`, in hours."),
            leaf(
                "deleteAfterDays",
                Kind::Whole(1, LONG_DAYS),
                "not set",
                "The age of `removeOnComplete` and `removeOnFail`, in days.",
            ),
        ],
    },
    Group {
        places: &["eventStore.sqlite", "eventStore.postgres"],
        doc: "How long the log keeps events, while `millstream events retention set` was not called. Never one goes that \
              a consumer group still needs; on Postgres whole partitions go. So events may stay longer, never shorter.",
        leaves: &[
            leaf("retention.ageDays", Kind::Whole(1, LONG_DAYS), "for ever", "How long an event stays, in days."),
            leaf(
                "retention.events",
                Kind::Whole(1, 1_000_000_000_000),
                "no bound",
                "How many events the log may hold; the oldest go.",
            ),
        ],
    },
    Group {
        places: &["eventStore.postgres"],
        doc: "Postgres only.",
        leaves: &[leaf(
            "retention.sizeMb",
            Kind::Whole(1, 1_000_000_000),
            "no bound",
            "How large the log may get with its indexes, in MB; the oldest events go.",
        )],
    },
    Group {
        places: &["queue.postgres"],
        doc: "On pg-boss's tables only.",
        leaves: &[
            leaf(
                "retentionDays",
                Kind::Whole(1, LONG_DAYS),
                "7",
                "How long a job that nobody started is kept, in days.",
            ),
            leaf(
                "deferStarts",
                Kind::Flag,
                "true",
                "Whether jobs of a backlog that end within milliseconds are started and completed in one write; `false`: \
                 each is `active` first.",
            ),
        ],
    },
    Group {
        places: &["defaultJobOptions", "queues.*.defaultJobOptions"],
        doc: "Options of a job that does not name them itself: of every queue, and of one. What a queue leaves open \
              comes from `defaultJobOptions`.",
        leaves: &[
            leaf("attempts", ATTEMPTS, "3", "How many times a job may run in all."),
            leaf(
                "backoff.type",
                Kind::OneOf(&["fixed", "exponential"]),
                "exponential",
                "How the wait between attempts grows.",
            ),
            also(&["backoff.delay"], leaf("backoff.delayMs", MS, "1000", "The wait of a fixed backoff.")),
            leaf(
                "backoff.firstMs",
                MS,
                "1000",
                "The first wait of an exponential backoff; each later one is twice as long.",
            ),
            leaf("backoff.capMs", MS, "3600000", "The longest wait of an exponential backoff."),
            leaf(
                "backoff.jitter",
                Kind::Share,
                "0.2",
                "The share of an exponential wait that is random; it only shortens.",
            ),
            leaf("priority", Kind::Signed, "0", "Smaller runs first."),
            also(&["timeout"], leaf("timeoutMs", Kind::Whole(1, LONG_MS), "none", "How long one attempt may take.")),
            also(&["delay"], leaf("delayMs", MS, "0", "How long a job waits before its first attempt.")),
            leaf(
                "removeOnComplete",
                Kind::Removal,
                "false",
                "Whether a completed job is removed, or how many are kept.",
            ),
            leaf("removeOnComplete.count", COUNT, "all", "How many completed jobs the queue keeps."),
            leaf("removeOnComplete.ageMs", MS, "for ever", "How long a completed job is kept."),
            leaf(
                "removeOnFail",
                Kind::Removal,
                "false",
                "Whether a failed or cancelled job is removed, or how many are kept.",
            ),
            leaf("removeOnFail.count", COUNT, "all", "How many failed jobs the queue keeps."),
            leaf("removeOnFail.ageMs", MS, "for ever", "How long a failed job is kept."),
        ],
    },
    Group {
        places: &["queues.*"],
        doc: "How this process works one queue.",
        leaves: &[
            leaf("concurrency", CONCURRENCY, "`worker.concurrency`", "How many of its jobs run at once."),
            leaf("autorun", Kind::Flag, "`worker.autorun`", "Whether its worker starts with the others."),
            leaf(
                "groupConcurrency",
                CONCURRENCY,
                "as it was set last",
                "How many jobs of one group run at once, in all processes; on pg-boss's tables alone.",
            ),
            leaf(
                "localGroupConcurrency",
                CONCURRENCY,
                "no limit",
                "How many jobs of one group run at once in this process; on every store.",
            ),
        ],
    },
    Group {
        places: &["worker"],
        doc: "How this process works all queues.",
        leaves: &[
            leaf("concurrency", CONCURRENCY, "10", "How many jobs of one queue run at once."),
            leaf("autorun", Kind::Flag, "true", "Whether workers start with the manager, rather than when told to."),
            leaf(
                "pollMs",
                Kind::Whole(1, 3_600_000),
                "1000",
                "How often a worker looks for itself, should a signal be lost.",
            ),
            leaf(
                "graceMs",
                Kind::Whole(0, 86_400_000),
                "10000",
                "How long running jobs may take to end when a worker stops.",
            ),
        ],
    },
    Group {
        places: &["store"],
        doc: "What every store is opened with.",
        leaves: &[leaf(
            "leaseMs",
            LEASE,
            "30000",
            "How long a job stays with a worker that no longer gives a sign of life.",
        )],
    },
];

static KEYS: LazyLock<Vec<Key>> =
    LazyLock::new(|| GROUPS.iter().flat_map(|group| group.places.iter().flat_map(|place| group.keys(place))).collect());

/// Every key, in the order of the documentation.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    KEYS.iter()
}

/// How strictly a segment must be spelled: as we spell it in either case, or in a variable's capitals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    Exact,
    Folded,
}

impl Spelling {
    fn same(self, ours: &str, theirs: &str) -> bool {
        match self {
            _ if ours == "*" => true,
            Self::Exact => ours == theirs || snake(ours) == theirs,
            Self::Folded => fold(ours) == fold(theirs),
        }
    }

    fn begins(self, pattern: &str, segments: &[String]) -> bool {
        let ours: Vec<&str> = pattern.split('.').collect();
        ours.len() >= segments.len() && ours.iter().zip(segments).all(|(ours, theirs)| self.same(ours, theirs))
    }

    fn fits(self, pattern: &str, segments: &[String]) -> bool {
        pattern.split('.').count() == segments.len() && self.begins(pattern, segments)
    }
}

/// The key at a place, and the place as the table spells it.
pub(super) fn find(segments: &[String], spelling: Spelling) -> Option<(KeyPath, &'static Key)> {
    let key = all().find(|key| written(key).any(|pattern| spelling.fits(pattern, segments)))?;
    let name = segments.get(1).cloned().unwrap_or_default();
    let name = |segment: &str| if segment == "*" { name.clone() } else { segment.to_owned() };
    Some((KeyPath(key.path.split('.').map(name).collect()), key))
}

/// The words that may follow at a place; empty if nothing is below it.
pub(super) fn below(segments: &[String], spelling: Spelling) -> Vec<&'static str> {
    let mut words: Vec<&'static str> = all()
        .filter(|key| spelling.begins(&key.path, segments))
        .filter_map(|key| key.path.split('.').nth(segments.len()))
        .map(|word| if word == "*" { "<queue>" } else { word })
        .collect();
    words.dedup();
    words.sort_unstable();
    words.dedup();
    words
}

fn written(key: &'static Key) -> impl Iterator<Item = &'static str> {
    std::iter::once(&*key.path).chain(key.aliases.iter().map(|alias| &**alias))
}
