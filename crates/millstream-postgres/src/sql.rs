//! Every statement, by name, and the one way to run one.

use deadpool_postgres::Object;
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use crate::rows::{Key, Tid, Time};

/// Lists statements by name: an enum, with path and text of each in its order.
macro_rules! statements {
    ($(#[$doc:meta])* $kind:ident, $root:literal: $($name:ident = $path:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $kind { $($name,)* }

        impl $kind {
            /// Path and text of every statement, in the order of the names.
            pub(crate) const ALL: &[(&'static str, &'static str)] =
                &[$(($path, include_str!(concat!($root, $path, ".sql"))),)*];
        }
    };
}
pub(crate) use statements;

statements! {
    /// A statement of the folder `sql`, but for those on pg-boss's tables.
    Sql, "../sql/":
    QueueEnsure = "queue/ensure",
    QueueFind = "queue/find",
    QueuePause = "queue/pause",
    QueuePaused = "queue/paused",
    QueueList = "queue/list",
    QueueFold = "queue/fold",
    BookTidy = "book/tidy",
    JobEnqueue = "job/enqueue",
    JobClaim = "job/claim",
    JobComplete = "job/complete",
    JobSettle = "job/settle",
    JobFence = "job/fence",
    JobBackoff = "job/backoff",
    JobBeat = "job/beat",
    JobExpired = "job/expired",
    JobPromoteDue = "job/promote_due",
    JobNextDue = "job/next_due",
    JobLocate = "job/locate",
    JobPromote = "job/promote",
    JobRequestCancel = "job/request_cancel",
    JobIsLive = "job/is_live",
    JobRetry = "job/retry",
    JobRemove = "job/remove",
    JobProgress = "job/progress",
    JobFind = "job/find",
    JobPage = "job/page",
    JobPageStates = "job/page_states",
    JobSweepOld = "job/sweep_old",
    JobSweepGroups = "job/sweep_groups",
    JobSweepMany = "job/sweep_many",
    ScheduleFind = "schedule/find",
    ScheduleUpsert = "schedule/upsert",
    ScheduleList = "schedule/list",
    ScheduleDelete = "schedule/delete",
    ScheduleDue = "schedule/due",
    ScheduleMove = "schedule/move",
    ScheduleNext = "schedule/next",
    EventsAppend = "events/append",
    EventsAppendPlain = "events/append_plain",
    EventsLock = "events/lock",
    EventsSequence = "events/sequence",
    EventsFlush = "events/flush",
    EventsHead = "events/head",
    EventsPositionAt = "events/position_at",
    EventsRead = "events/read",
    EventsReadBackward = "events/read_backward",
    EventsReadStream = "events/read_stream",
    EventsReadStreamBackward = "events/read_stream_backward",
    EventsSweepKeys = "events/sweep_keys",
    EventsWriteRuns = "events/write_runs",
    EventsPending = "events/pending",
    EventsMakePartitions = "events/make_partitions",
    GroupsAge = "groups/age",
    GroupsBeat = "groups/beat",
    GroupsClaim = "groups/claim",
    GroupsCursors = "groups/cursors",
    GroupsDelete = "groups/delete",
    GroupsFail = "groups/fail",
    GroupsFind = "groups/find",
    GroupsHoldLog = "groups/hold_log",
    GroupsInsert = "groups/insert",
    GroupsLeave = "groups/leave",
    GroupsLock = "groups/lock",
    GroupsLook = "groups/look",
    GroupsMembers = "groups/members",
    GroupsMove = "groups/move",
    GroupsPark = "groups/park",
    GroupsParked = "groups/parked",
    GroupsPause = "groups/pause",
    GroupsRead = "groups/read",
    GroupsReadStream = "groups/read_stream",
    GroupsRelease = "groups/release",
    GroupsReset = "groups/reset",
    GroupsResume = "groups/resume",
    GroupsUpdate = "groups/update",
    RetentionDue = "retention/due",
    RetentionFind = "retention/find",
    RetentionSet = "retention/set",
    RetentionLook = "retention/look",
    RetentionHolds = "retention/holds",
    RetentionTruncate = "retention/truncate",
    RetentionState = "retention/state",
    StateGet = "state/get",
    StateSet = "state/set",
    StateDelete = "state/delete",
    StateList = "state/list",
    StateSwapMissing = "state/swap_missing",
    StateSwap = "state/swap",
    StateSwapDelete = "state/swap_delete",
    StateSweep = "state/sweep",
    FeedWatch = "feed/watch",
    FeedUnwatch = "feed/unwatch",
    FeedInsert = "feed/insert",
    FeedRead = "feed/read",
    FeedPrune = "feed/prune",
    FeedNotify = "feed/notify",
}

/// The statements for one schema.
pub(crate) struct Texts {
    texts: Vec<String>,
    /// Whether statements are prepared and kept by the server. Behind a pooler that shares server connections between
    /// transactions, they are not.
    prepare: bool,
}

/// What a statement runs on.
#[derive(Clone, Copy)]
pub(crate) enum On<'a> {
    Conn(&'a Object),
    /// A connection outside the pool.
    Own(&'a tokio_postgres::Client),
}

impl Texts {
    pub(crate) fn new(schema: &crate::options::SchemaName, prepare: bool) -> Self {
        Self { texts: Sql::ALL.iter().map(|(_, text)| schema.fill(text)).collect(), prepare }
    }

    /// Runs a statement and answers its rows.
    pub(crate) async fn run(
        &self,
        on: On<'_>,
        sql: Sql,
        params: &[&(dyn Param + Sync)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.run_text(on, &self.texts[sql as usize], params).await
    }

    /// Runs a statement by its text.
    pub(crate) async fn run_text(
        &self,
        on: On<'_>,
        text: &str,
        params: &[&(dyn Param + Sync)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let types = || params.iter().map(|param| param.kind());
        if self.prepare && !matches!(on, On::Own(_)) {
            let types: Vec<Type> = types().collect();
            let values: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| param.value()).collect();
            return match on {
                On::Conn(conn) => conn.query(&conn.prepare_typed_cached(text, &types).await?, &values).await,
                On::Own(client) => client.query(text, &values).await,
            };
        }
        let typed: Vec<(&(dyn ToSql + Sync), Type)> = params.iter().map(|param| param.value()).zip(types()).collect();
        match on {
            On::Conn(conn) => conn.query_typed(text, &typed).await,
            On::Own(client) => client.query_typed(text, &typed).await,
        }
    }
}

/// A parameter that knows its type, so that statements need not be described first.
pub(crate) trait Param {
    fn kind(&self) -> Type;
    fn value(&self) -> &(dyn ToSql + Sync);
}

macro_rules! params {
    ($($rust:ty => $one:ident, $many:ident;)*) => {$(
        impl Param for $rust {
            fn kind(&self) -> Type { Type::$one }
            fn value(&self) -> &(dyn ToSql + Sync) { self }
        }
        impl Param for Option<$rust> {
            fn kind(&self) -> Type { Type::$one }
            fn value(&self) -> &(dyn ToSql + Sync) { self }
        }
        impl Param for Vec<$rust> {
            fn kind(&self) -> Type { Type::$many }
            fn value(&self) -> &(dyn ToSql + Sync) { self }
        }
        impl Param for Vec<Option<$rust>> {
            fn kind(&self) -> Type { Type::$many }
            fn value(&self) -> &(dyn ToSql + Sync) { self }
        }
        impl Param for Option<Vec<$rust>> {
            fn kind(&self) -> Type { Type::$many }
            fn value(&self) -> &(dyn ToSql + Sync) { self }
        }
    )*};
}

params! {
    bool => BOOL, BOOL_ARRAY;
    i32 => INT4, INT4_ARRAY;
    i64 => INT8, INT8_ARRAY;
    &str => TEXT, TEXT_ARRAY;
    String => TEXT, TEXT_ARRAY;
    Time => TIMESTAMPTZ, TIMESTAMPTZ_ARRAY;
    Tid => TID, TID_ARRAY;
    Key => UUID, UUID_ARRAY;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pgboss::sql::BossSql;

    /// Every file is a statement here, and says what it promises.
    #[test]
    fn every_file_is_a_statement() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
        let mut files = Vec::new();
        for noun in std::fs::read_dir(&root).unwrap() {
            for file in std::fs::read_dir(noun.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                if path.is_file() {
                    let path = path.with_extension("");
                    files.push(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        files.sort();
        let all = || Sql::ALL.iter().chain(BossSql::ALL);
        let mut known: Vec<&str> = all().map(|(path, _)| *path).collect();
        known.sort_unstable();
        assert_eq!(files, known);
        for (path, text) in all() {
            assert!(text.starts_with("-- "), "{path} has no header");
        }
    }
}
