//! The moves of an unfinished job, in one statement a table for all of them: settled, released, rescued, cancelled.

use std::collections::{BTreeMap, BTreeSet};

use millstream_core::{JobState, QueueEvent, QueueEventKind, QueueName, Result};
use tokio_postgres::Row;

use super::{
    boss::Boss,
    held::{self, Held},
    insert::id_of,
    literal::Column,
    sql::BossSql,
    words,
};
use crate::{
    events,
    fault::Fault,
    queue::moves::Kind as Native,
    rows::{self, Key, Tid, Time},
    sql::{On, Param},
};

/// How often a row may slip away under a beat before the whole transaction is tried again.
const SLIPS_MAX: u32 = 5;

/// What is to become of one job; the statement's header says what each kind asks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As the native store's.
    Of(Native),
    /// It ran too long, or its heartbeat stopped, by pg-boss's own rules.
    Time,
    /// Its worker took it without writing so, and vanished.
    Crash,
    /// Cancelled while a worker of pg-boss's own holds it.
    Stop,
    /// Completed, whoever holds it.
    Finish,
    /// Failed, whoever holds it, if anybody.
    Break,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Of(native) => native.word(),
            Self::Time => "time",
            Self::Crash => "crash",
            Self::Stop => "stop",
            Self::Finish => "finish",
            Self::Break => "break",
        }
    }

    const fn is_stalled(self) -> bool {
        matches!(self, Self::Of(Native::Expire) | Self::Time | Self::Crash)
    }
}

/// One job's move.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub(crate) held: Held,
    pub(crate) kind: Kind,
    /// Output or error, as JSON text in pg-boss's words.
    pub(crate) payload: Option<String>,
    /// Microseconds until it is ready again.
    pub(crate) wait: i64,
}

/// What became of the moves, and what is told of it after the commit.
#[derive(Default)]
pub(crate) struct Moved {
    /// By place; `None`: it did not hold.
    pub(crate) states: Vec<Option<JobState>>,
    ready: BTreeMap<QueueName, bool>,
    /// Queues with a limit on groups, where a slot is free now: whoever waits for one may be in another process.
    freed: BTreeSet<QueueName>,
    /// The queue that was looked at last: most jobs of a batch are of one.
    looked: Option<QueueName>,
    /// Calls whose claims ended.
    ended: Vec<i64>,
    pub(crate) events: Vec<QueueEvent>,
}

impl Moved {
    pub(crate) fn tell(self, boss: &Boss) {
        boss.calls.ended(self.ended.iter().copied());
        // What comes back takes its old place.
        self.ready.keys().for_each(|name| boss.floors.forget(name));
        boss.ready(self.ready.iter().map(|(name, now)| (name, *now)));
        boss.ready(self.freed.iter().map(|name| (name, false)));
        boss.shared.tell(self.events);
    }

    fn completed(&mut self, boss: &Boss, held: &Held, place: usize) {
        self.states[place] = Some(JobState::Completed);
        self.ended.push(held.call);
        self.free(boss, &held.queue);
    }

    /// A job of the queue runs no more.
    fn free(&mut self, boss: &Boss, queue: &QueueName) {
        if self.looked.as_ref() == Some(queue) {
            return;
        }
        self.looked = Some(queue.clone());
        if boss.is_limited(queue) {
            self.freed.insert(queue.clone());
        }
    }
}

/// Moves jobs in whatever transaction this is. Each job is named at most once.
pub(crate) async fn moves(boss: &Boss, on: On<'_>, moves: &[Move]) -> Result<Moved, Fault> {
    let mut moved = Moved { states: vec![None; moves.len()], ..Moved::default() };
    let all = moves.iter().enumerate().map(|(place, one)| (place, &one.held));
    for (table, places) in held::by_table(all) {
        let mut places = complete(boss, on, &table, moves, places, &mut moved).await?;
        let mut slips = 0;
        while !places.is_empty() {
            let rows = run(boss, on, &table, moves, &places).await?;
            let mut slipped = Vec::new();
            for row in &rows {
                let place = usize::try_from(row.get::<_, i64>("ord") - 1).ok().and_then(|at| places.get(at).copied());
                let Some(place) = place else { continue };
                match row.get("moved") {
                    true => note(boss, &moves[place], place, row, &mut moved)?,
                    false => slipped.push(place),
                }
            }
            slips += 1;
            if slips > SLIPS_MAX && !slipped.is_empty() {
                return Err(Fault::Raced);
            }
            places = slipped;
        }
    }
    events::append::job_events(&boss.shared, on, &moved.events).await?;
    Ok(moved)
}

/// Completes what needs no more than that. Answers the places of the rest.
async fn complete(
    boss: &Boss,
    on: On<'_>,
    table: &std::sync::Arc<str>,
    moves: &[Move],
    places: Vec<usize>,
    moved: &mut Moved,
) -> Result<Vec<usize>, Fault> {
    let plain = |place: &usize| moves[*place].kind == Kind::Of(Native::Done) && !moves[*place].held.beside;
    if boss.shared.logs_any() || !places.iter().any(plain) {
        return Ok(places);
    }
    let (plain, mut rest): (Vec<usize>, Vec<usize>) = places.into_iter().partition(plain);
    complete_at(boss, on, table, moves, &plain, moved).await?;
    // What a beat moved since its claim.
    let plain: Vec<usize> = plain.into_iter().filter(|place| moved.states[*place].is_none()).collect();
    if plain.is_empty() {
        return Ok(rest);
    }
    let columns = held::columns(plain.iter().map(|place| &moves[*place].held));
    let outputs: Vec<Option<&str>> = plain.iter().map(|place| moves[*place].payload.as_deref()).collect();
    let held::Columns { queues, jobs, fences, starts } = &columns;
    let lease = boss.lease();
    for row in boss.run_in(on, BossSql::Complete, table, &[queues, jobs, fences, starts, &outputs, &lease]).await? {
        let place = usize::try_from(row.get::<_, i64>(0) - 1).ok().and_then(|place| plain.get(place).copied());
        if let Some(place) = place {
            moved.completed(boss, &moves[place].held, place);
        }
    }
    rest.extend(plain.into_iter().filter(|place| moved.states[*place].is_none()));
    rest.sort_unstable();
    Ok(rest)
}

/// Completes jobs that are still where their claims left them.
async fn complete_at(
    boss: &Boss,
    on: On<'_>,
    table: &std::sync::Arc<str>,
    moves: &[Move],
    plain: &[usize],
    moved: &mut Moved,
) -> Result<(), Fault> {
    let known = |place: &usize| Some((*place, moves[*place].held.place?));
    let (known, tids): (Vec<usize>, Vec<Tid>) = plain.iter().filter_map(known).unzip();
    if known.is_empty() {
        return Ok(());
    }
    let all = || known.iter().map(|place| &moves[*place]);
    let queues: Vec<&str> = all().map(|one| one.held.queue.as_str()).collect();
    let jobs: Vec<Key> = all().map(|one| Key(one.held.job)).collect();
    let fences: Vec<i32> = all().map(|one| one.held.fence).collect();
    let starts: Vec<Time> = all().map(|one| held::start(&one.held)).collect();
    let outputs: Vec<Option<&str>> = all().map(|one| one.payload.as_deref()).collect();
    let lease = boss.lease();
    let params: &[&(dyn Param + Sync)] = &[&queues, &jobs, &fences, &starts, &outputs, &lease, &tids];
    let rows = boss.run_in(on, BossSql::CompleteAt, table, params).await?;
    let some: Option<Vec<i64>> = rows.first().and_then(|row| row.get(0));
    let taken: Vec<usize> = match some {
        None => known,
        Some(some) => some.into_iter().filter_map(|ord| known.get(usize::try_from(ord - 1).ok()?).copied()).collect(),
    };
    for place in taken {
        moved.completed(boss, &moves[place].held, place);
    }
    Ok(())
}

async fn run(
    boss: &Boss,
    on: On<'_>,
    table: &std::sync::Arc<str>,
    moves: &[Move],
    places: &[usize],
) -> Result<Vec<Row>, Fault> {
    let columns = held::columns(places.iter().map(|place| &moves[*place].held));
    let held::Columns { queues, jobs, fences, starts } = &columns;
    let kinds: Vec<&str> = places.iter().map(|place| moves[*place].kind.word()).collect();
    let payloads: Vec<Option<&str>> = places.iter().map(|place| moves[*place].payload.as_deref()).collect();
    let waits: Vec<i64> = places.iter().map(|place| moves[*place].wait).collect();
    let lease = boss.lease();
    boss.run_in(on, BossSql::Settle, table, &[queues, jobs, fences, starts, &kinds, &payloads, &waits, &lease]).await
}

/// The parameters of one move, each as text, for a transaction of its caller's.
pub(crate) fn as_text(boss: &Boss, one: &Move) -> Vec<String> {
    let held::Columns { queues, jobs, fences, starts } = held::columns(std::iter::once(&one.held));
    let (kinds, payloads, waits) = (vec![one.kind.word()], vec![one.payload.as_deref()], vec![one.wait]);
    let all: [&dyn Column; 7] = [&queues, &jobs, &fences, &starts, &kinds, &payloads, &waits];
    all.iter().map(|column| column.literal()).chain([boss.lease().to_string()]).collect()
}

fn note(boss: &Boss, one: &Move, place: usize, row: &Row, moved: &mut Moved) -> Result<()> {
    let address = rows::at("job", &one.held.job);
    let state = match row.get("target") {
        "completed" => JobState::Completed,
        "failed" => JobState::Failed,
        "cancelled" => JobState::Cancelled,
        "created" | "retry" if one.wait > 0 => JobState::Delayed,
        "created" | "retry" => JobState::Waiting,
        other => return Err(address("state").corrupt(format_args!("no state is called {other:?}"))),
    };
    moved.states[place] = Some(state);
    moved.ended.extend((one.held.call != 0).then_some(one.held.call));
    moved.free(boss, &one.held.queue);
    if !state.is_finished() {
        *moved.ready.entry(one.held.queue.clone()).or_default() |= state == JobState::Waiting;
    }
    let buried = row.get::<_, Option<&str>>("dead_letter").and_then(|name| QueueName::new(name).ok());
    moved.ready.extend(buried.map(|name| (name, true)));
    let watched: bool = row.get("watched");
    if watched || boss.shared.logs_any() {
        let data = match state {
            JobState::Completed | JobState::Failed | JobState::Cancelled => {
                let stored = one.payload.as_ref().and_then(|text| serde_json::from_str(text).ok());
                (stored.is_some() || state == JobState::Completed).then(|| words::output_out(stored))
            }
            JobState::Delayed => row.get::<_, Option<Time>>("due").map(|Time(due)| due.to_string().into()),
            JobState::Waiting | JobState::Active => None,
        };
        let stalled = one.kind.is_stalled().then(|| happened(&one.held.queue, QueueEventKind::Stalled, row, None));
        moved.events.extend(stalled.transpose()?);
        moved.events.push(happened(&one.held.queue, state.into(), row, data)?);
        moved.events.retain(|event| watched || boss.shared.logs(event.kind));
    }
    Ok(())
}

/// An event of a row that has the columns `job`, `key`, `name`, `data`, `retry_count`, `started` and `now`.
pub(crate) fn happened(
    queue: &QueueName,
    kind: QueueEventKind,
    row: &Row,
    data: Option<serde_json::Value>,
) -> Result<QueueEvent> {
    let job: &str = row.get("job");
    let body = rows::json_option(row.get("data"), rows::at("job", &job)("data"))?;
    let (name, _) = words::data_out(queue, row.get("name"), body);
    let attempt = words::attempt(row.get("retry_count"), row.get("started"));
    let attempt = (attempt > 0).then_some(attempt);
    let at = row.get::<_, Time>("now").0;
    Ok(QueueEvent { queue: queue.clone(), kind, job: Some(id_of(row)?), name: Some(name), attempt, at, data })
}
