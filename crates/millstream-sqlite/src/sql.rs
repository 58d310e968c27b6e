//! Every statement, by name, and the three ways to run one.

use rusqlite::{Connection, OptionalExtension, Params, Row};

use crate::fault::Fault;

macro_rules! statements {
    ($($name:ident = $path:literal,)*) => {
        $(pub(crate) const $name: &str = include_str!(concat!("../sql/", $path, ".sql"));)*

        /// Path and text of every statement, for the tests that prepare and plan them.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$(($path, $name),)*];
    };
}

statements! {
    LEDGER_READ = "ledger/read",
    LEDGER_WRITE = "ledger/write",
    LEDGER_STORE = "ledger/store",
    LEDGER_DATA_VERSION = "ledger/data_version",
    QUEUE_ENSURE = "queue/ensure",
    QUEUE_FIND = "queue/find",
    QUEUE_TALLY = "queue/tally",
    QUEUE_MARKS = "queue/marks",
    QUEUE_LIST = "queue/list",
    QUEUE_COUNTS = "queue/counts",
    QUEUE_PAUSE = "queue/pause",
    JOB_INSERT = "job/insert",
    JOB_INSERT_LIVE = "job/insert_live",
    JOB_READY_ANY = "job/ready_any",
    JOB_PICK = "job/pick",
    JOB_TAKE = "job/take",
    JOB_BODY = "job/body",
    JOB_HELD = "job/held",
    JOB_LIVE = "job/live",
    JOB_EXPIRED = "job/expired",
    JOB_DUE = "job/due",
    JOB_DUE_NEXT = "job/due_next",
    JOB_EXPIRED_ANY = "job/expired_any",
    JOB_RENEW = "job/renew",
    JOB_REQUEUE = "job/requeue",
    JOB_FINISH = "job/finish",
    JOB_DELETE_LIVE = "job/delete_live",
    JOB_DELETE_DONE = "job/delete_done",
    JOB_DELETE = "job/delete",
    JOB_REQUEST_CANCEL = "job/request_cancel",
    JOB_FINISHED = "job/finished",
    JOB_WRITE_SETTINGS = "job/write_settings",
    JOB_PROGRESS = "job/progress",
    JOB_FIND = "job/find",
    JOB_PAGE = "job/page",
    JOB_PAGE_LIVE = "job/page_live",
    JOB_PAGE_DONE = "job/page_done",
    JOB_SWEEP_OLD = "job/sweep_old",
    JOB_SWEEP_GROUPS = "job/sweep_groups",
    JOB_SWEEP_CUT = "job/sweep_cut",
    JOB_SWEEP_MANY = "job/sweep_many",
    SCHEDULE_FIND = "schedule/find",
    SCHEDULE_UPSERT = "schedule/upsert",
    SCHEDULE_LIST = "schedule/list",
    SCHEDULE_DELETE = "schedule/delete",
    SCHEDULE_DUE = "schedule/due",
    SCHEDULE_NEXT = "schedule/next",
    SCHEDULE_MOVE = "schedule/move",
    EVENTS_INSERT = "events/insert",
    EVENTS_VERSION = "events/version",
    EVENTS_WRITE_VERSION = "events/write_version",
    EVENTS_KEY = "events/key",
    EVENTS_INSERT_KEY = "events/insert_key",
    EVENTS_SWEEP_KEYS = "events/sweep_keys",
    EVENTS_HEAD = "events/head",
    EVENTS_TIME_AT = "events/time_at",
    EVENTS_READ = "events/read",
    EVENTS_READ_BACKWARD = "events/read_backward",
    EVENTS_READ_STREAM = "events/read_stream",
    EVENTS_READ_STREAM_BACKWARD = "events/read_stream_backward",
    EVENTS_STREAMS = "events/streams",
    EVENTS_WRITE_RUN = "events/write_run",
    GROUPS_CURSORS = "groups/cursors",
    GROUPS_DELETE = "groups/delete",
    GROUPS_DROP_MEMBERS = "groups/drop_members",
    GROUPS_FAIL = "groups/fail",
    GROUPS_FIND = "groups/find",
    GROUPS_FREE = "groups/free",
    GROUPS_INSERT = "groups/insert",
    GROUPS_INSERT_CURSOR = "groups/insert_cursor",
    GROUPS_LEAVE = "groups/leave",
    GROUPS_LIST = "groups/list",
    GROUPS_MEMBERS = "groups/members",
    GROUPS_MOVE = "groups/move",
    GROUPS_PARK = "groups/park",
    GROUPS_PARKED = "groups/parked",
    GROUPS_PARKED_COUNT = "groups/parked_count",
    GROUPS_PARKED_STREAM = "groups/parked_stream",
    GROUPS_PAUSE = "groups/pause",
    GROUPS_PICK = "groups/pick",
    GROUPS_RELEASE = "groups/release",
    GROUPS_RELEASE_ALL = "groups/release_all",
    GROUPS_RENEW = "groups/renew",
    GROUPS_RESET = "groups/reset",
    GROUPS_REVIVE = "groups/revive",
    GROUPS_SEEN = "groups/seen",
    GROUPS_TAKE = "groups/take",
    GROUPS_UNPARK_BEHIND = "groups/unpark_behind",
    GROUPS_UPDATE = "groups/update",
    RETENTION_FIND = "retention/find",
    RETENTION_SET = "retention/set",
    RETENTION_UNSET = "retention/unset",
    RETENTION_HOLDS = "retention/holds",
    RETENTION_DELETE = "retention/delete",
    STATE_GET = "state/get",
    STATE_SET = "state/set",
    STATE_DELETE = "state/delete",
    STATE_LIST = "state/list",
    STATE_SWEEP = "state/sweep",
    FEED_WATCHED = "feed/watched",
    FEED_WATCH = "feed/watch",
    FEED_UNWATCH = "feed/unwatch",
    FEED_INSERT = "feed/insert",
    FEED_READ = "feed/read",
    FEED_LAST = "feed/last",
    FEED_PRUNE = "feed/prune",
    FEED_SWEEP_WATCHERS = "feed/sweep_watchers",
    FEED_SWEEP = "feed/sweep",
}

/// Statements are prepared once per connection, and run by name.
pub(crate) trait Run {
    /// Runs a statement that answers no rows; answers how many it changed.
    fn run(&self, sql: &str, params: impl Params) -> Result<usize, Fault>;
    /// The first row, if there is one.
    fn first<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Fault>;
    /// Every row.
    fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Fault>;
}

impl Run for Connection {
    fn run(&self, sql: &str, params: impl Params) -> Result<usize, Fault> {
        Ok(self.prepare_cached(sql)?.execute(params)?)
    }

    fn first<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Fault> {
        Ok(self.prepare_cached(sql)?.query_row(params, read).optional()?)
    }

    fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Fault> {
        Ok(self.prepare_cached(sql)?.query_map(params, read)?.collect::<rusqlite::Result<_>>()?)
    }
}
