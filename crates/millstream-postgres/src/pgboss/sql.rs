//! Every statement on pg-boss's tables, by name, filled in for one schema and one table of jobs.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{options::SchemaName, sql::statements};

statements! {
    /// A statement of the folder `sql/pgboss`.
    BossSql, "../../sql/":
    Backoff = "pgboss/backoff",
    Beat = "pgboss/beat",
    BecameDue = "pgboss/became_due",
    BookFirst = "pgboss/book_first",
    Claim = "pgboss/claim",
    Complete = "pgboss/complete",
    CompleteAt = "pgboss/complete_at",
    Counts = "pgboss/counts",
    Crashed = "pgboss/crashed",
    Dead = "pgboss/dead",
    Defer = "pgboss/defer",
    DeferComplete = "pgboss/defer_complete",
    DeferLook = "pgboss/defer_look",
    DeferNote = "pgboss/defer_note",
    DeferStart = "pgboss/defer_start",
    Dependencies = "pgboss/dependencies",
    Due = "pgboss/due",
    Expired = "pgboss/expired",
    Fence = "pgboss/fence",
    Find = "pgboss/find",
    Flow = "pgboss/flow",
    FlowClaim = "pgboss/flow_claim",
    InTheWay = "pgboss/in_the_way",
    Insert = "pgboss/insert",
    InsertCall = "pgboss/insert_call",
    IsLive = "pgboss/is_live",
    LimitClear = "pgboss/limit_clear",
    LimitFind = "pgboss/limit_find",
    LimitIntake = "pgboss/limit_intake",
    LimitLock = "pgboss/limit_lock",
    LimitPrune = "pgboss/limit_prune",
    LimitSet = "pgboss/limit_set",
    Lock = "pgboss/lock",
    MaintainBack = "pgboss/maintain_back",
    MaintainClaim = "pgboss/maintain_claim",
    Monitor = "pgboss/monitor",
    MonitorBack = "pgboss/monitor_back",
    MonitorClaim = "pgboss/monitor_claim",
    Now = "pgboss/now",
    Over = "pgboss/over",
    Page = "pgboss/page",
    Pick = "pgboss/pick",
    PickFifo = "pgboss/pick_fifo",
    PickLimited = "pgboss/pick_limited",
    PickSingle = "pgboss/pick_single",
    Progress = "pgboss/progress",
    Promote = "pgboss/promote",
    QueueCreate = "pgboss/queue_create",
    QueueDelete = "pgboss/queue_delete",
    QueueFind = "pgboss/queue_find",
    QueueNamed = "pgboss/queue_named",
    QueuePause = "pgboss/queue_pause",
    QueuePaused = "pgboss/queue_paused",
    QueueUpdate = "pgboss/queue_update",
    Redrive = "pgboss/redrive",
    Remove = "pgboss/remove",
    RemoveOld = "pgboss/remove_old",
    RequestCancel = "pgboss/request_cancel",
    Retained = "pgboss/retained",
    Retry = "pgboss/retry",
    ScheduleClaim = "pgboss/schedule_claim",
    ScheduleDelete = "pgboss/schedule_delete",
    ScheduleLast = "pgboss/schedule_last",
    ScheduleList = "pgboss/schedule_list",
    ScheduleMove = "pgboss/schedule_move",
    ScheduleNext = "pgboss/schedule_next",
    ScheduleUpsert = "pgboss/schedule_upsert",
    SendIt = "pgboss/send_it",
    Settle = "pgboss/settle",
    SettleCall = "pgboss/settle_call",
    Subscribe = "pgboss/subscribe",
    Subscribers = "pgboss/subscribers",
    SweepGroups = "pgboss/sweep_groups",
    SweepMany = "pgboss/sweep_many",
    SweepOld = "pgboss/sweep_old",
    SweepOne = "pgboss/sweep_one",
    TimedOut = "pgboss/timed_out",
    Told = "pgboss/told",
    Touch = "pgboss/touch",
    Unsubscribe = "pgboss/unsubscribe",
}

/// How many parameters `insert` has.
const INSERT_PARAMS: usize = 28;
/// And `settle`.
const SETTLE_PARAMS: usize = 8;

impl BossSql {
    fn text(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Its text without its header, as a part of another one.
    fn bare(self) -> String {
        self.text().lines().filter(|line| !line.starts_with("-- ")).collect::<Vec<_>>().join("\n")
    }
}

/// Which jobs a claim picks from: what a queue's policy asks for, or the limit on its groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Pick {
    /// No policy keeps a ready job from running.
    Plain,
    /// One of each key runs at a time.
    Single,
    /// The first of each key runs.
    Fifo,
    /// So many of each group run at a time.
    Limited,
}

impl Pick {
    pub(crate) fn of(policy: &str) -> Self {
        match policy {
            "singleton" | "stately" => Self::Single,
            "key_strict_fifo" => Self::Fifo,
            _ => Self::Plain,
        }
    }

    const fn part(self) -> BossSql {
        match self {
            Self::Plain => BossSql::Pick,
            Self::Single => BossSql::PickSingle,
            Self::Fifo => BossSql::PickFifo,
            Self::Limited => BossSql::PickLimited,
        }
    }
}

/// The statements for pg-boss's schema and ours.
pub(crate) struct BossTexts {
    ours: SchemaName,
    theirs: SchemaName,
    /// The version of their schema: columns that came later are left out.
    version: i32,
    filled: RwLock<Filled>,
}

/// By statement, table of jobs, and what a claim picks.
type Filled = HashMap<(BossSql, Arc<str>, Pick), Arc<str>>;

impl BossTexts {
    pub(crate) fn new(ours: SchemaName, theirs: SchemaName, version: i32) -> Self {
        Self { ours, theirs, version, filled: RwLock::default() }
    }

    /// A statement's text for one table of jobs.
    pub(crate) fn get(&self, sql: BossSql, table: &Arc<str>, pick: Pick) -> Arc<str> {
        let key = (sql, table.clone(), pick);
        if let Some(text) = self.filled.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return text.clone();
        }
        let text: Arc<str> = self.fill(sql, table, pick).into();
        self.filled.write().unwrap_or_else(PoisonError::into_inner).insert(key, text.clone());
        text
    }

    fn fill(&self, sql: BossSql, table: &str, pick: Pick) -> String {
        let lines: Vec<&str> = sql.text().lines().filter(|line| self.has(line)).collect();
        let whole = lines
            .join("\n")
            .replace("{picked}", &pick.part().bare())
            .replace("{dead}", &BossSql::Dead.bare())
            .replace("{insert}", &self.as_text(BossSql::Insert, INSERT_PARAMS))
            .replace("{settle}", &self.as_text(BossSql::Settle, SETTLE_PARAMS));
        let text = seeks(&whole);
        let boss = format!("\"{}\"", self.theirs.as_str());
        let text = text
            .replace("{job}", &format!("{boss}.\"{table}\""))
            .replace("{boss}", &boss)
            .replace("{name}", self.theirs.as_str());
        self.ours.fill(&text)
    }

    /// All of a statement but its answer, with parameters of text.
    fn as_text(&self, sql: BossSql, params: usize) -> String {
        let lines: Vec<&str> = sql.text().lines().filter(|line| !line.starts_with("-- ") && self.has(line)).collect();
        let whole = lines.join("\n");
        let (body, _answer) = whole.rsplit_once("\nselect ").unwrap_or((&whole, ""));
        (1..=params)
            .fold(body.to_owned(), |text, number| text.replace(&format!("${number}::"), &format!("${number}::text::")))
    }

    /// Whether their version has what a line is about: it ends with `-- from N` or `-- before N` where it may not.
    fn has(&self, line: &str) -> bool {
        let marked = |mark: &str| line.rsplit_once(mark).and_then(|(_, version)| version.trim().parse::<i32>().ok());
        marked("-- from ").is_none_or(|from| self.version >= from)
            && marked("-- before ").is_none_or(|before| self.version < before)
    }
}

/// Fills in how a job is found: `{seek queue | id}`. Every index of theirs begins with the queue, and to a planner that knows
/// nothing of a queue each is as good as the primary key: only that one gives the order that is asked for.
fn seeks(text: &str) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{seek ") {
        let (place, behind) = after.split_once('}').unwrap_or((after, ""));
        let (queue, id) = place.split_once(" | ").unwrap_or((place, ""));
        filled.push_str(before);
        filled.push_str("select k.ctid as tid from {job} k where k.name = ");
        filled.push_str(queue);
        filled.push_str(" and k.id >= ");
        filled.push_str(id);
        filled.push_str(" order by k.id limit 1");
        rest = behind;
    }
    filled + rest
}

impl BossTexts {
    /// Whether their jobs have a column for the trace.
    pub(crate) fn has_trace(&self) -> bool {
        self.version >= 44
    }
}
