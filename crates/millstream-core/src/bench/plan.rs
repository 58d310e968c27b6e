//! What is to be measured.

use std::{fmt, str::FromStr, time::Duration};

use super::Failure;

/// Which scenarios, how large, how often.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In this order.
    pub scenarios: Vec<Scenario>,
    /// Payload sizes.
    pub bytes: Vec<usize>,
    /// How often everything is run.
    pub runs: u32,
    /// How large.
    pub sizes: Sizes,
    /// Jobs that a queue runs at once; empty: the workers' default.
    pub concurrency: Vec<u32>,
}

/// How large the scenarios are.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Jobs of the backlog that is drained, and that bulk enqueues store.
    pub backlog: usize,
    /// Jobs in one call of a bulk enqueue.
    pub bulk: usize,
    /// Tasks that enqueue one by one.
    pub tasks: usize,
    /// Jobs that they enqueue in all.
    pub singles: usize,
    /// Jobs, or events, of a latency.
    pub samples: usize,
    /// Between two of them.
    pub every: Duration,
    /// Callers that append.
    pub callers: Vec<usize>,
    /// How long they do, and how long the load is calibrated.
    pub lasting: Duration,
    /// Waiting jobs, and as many finished ones, of the table whose counts are asked for.
    pub counted: usize,
    /// How long an idle worker is watched.
    pub idle: Duration,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            backlog: 200_000,
            bulk: 5_000,
            tasks: 50,
            singles: 50_000,
            samples: 200,
            every: Duration::from_millis(50),
            callers: vec![1, 8, 32],
            lasting: Duration::from_secs(5),
            counted: 200_000,
            // Two rounds of everything that a worker does now and then.
            idle: Duration::from_secs(60),
        }
    }
}

impl Sizes {
    /// Tiny, for a test that everything works.
    pub fn quick() -> Self {
        Self {
            backlog: 400,
            bulk: 100,
            tasks: 8,
            singles: 80,
            samples: 5,
            every: Duration::from_millis(5),
            callers: vec![2],
            lasting: Duration::from_millis(200),
            counted: 200,
            idle: Duration::from_millis(500),
        }
    }
}

macro_rules! scenarios {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What is measured.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Scenario { $($(#[$doc])* $name,)* }

        impl Scenario {
            /// Every one, in the order in which they run.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

scenarios! {
    /// Tasks that enqueue one job a call, each durable on return.
    Enqueue = "enqueue",
    /// Batches.
    Bulk = "bulk",
    /// A backlog through no-op handlers, history kept.
    Drain = "drain",
    /// The same, and finished jobs are removed.
    DrainRemove = "drain-remove",
    /// From the call that enqueues to the handler's start, with nothing else to do.
    Latency = "latency",
    /// The same, beside half of what the machine can take.
    LatencyLoaded = "latency-loaded",
    /// Callers that append one event a call.
    Append = "append",
    /// From the call that appends to a subscriber's hand.
    Subscribe = "subscribe",
    /// A backlog of events through a group of four.
    Groups = "groups",
    /// From the call that appends to a group's handler.
    GroupsLatency = "groups-latency",
    /// Counts of a big queue.
    Counts = "counts",
    /// A worker with nothing to do, in a process of its own.
    Idle = "idle",
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scenario {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let known = || Self::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ");
        let found = Self::ALL.iter().copied().find(|one| one.as_str() == text);
        found.ok_or_else(|| format!("no scenario `{text}`; there are {}", known()).into())
    }
}
