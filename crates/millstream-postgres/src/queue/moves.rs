//! The moves of an unfinished job, in one statement for all of them: settled, released, rescued, cancelled.

use std::collections::BTreeMap;

use millstream_core::{JobId, JobName, JobState, QueueEvent, QueueEventKind, QueueName, Result, Timestamp};
use tokio_postgres::Row;

use super::held::Held;
use crate::{
    events,
    fault::Fault,
    rows::{self, Tid, Time},
    shared::Shared,
    sql::{On, Sql},
};

/// How often a row may slip away under a beat before the whole transaction is tried again.
const SLIPS_MAX: u32 = 5;

/// What is to become of one job; the statement's header says what each kind asks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Done,
    Retry,
    Snooze,
    Fail,
    Cancel,
    Release,
    Expire,
    Drop,
}

impl Kind {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry => "retry",
            Self::Snooze => "snooze",
            Self::Fail => "fail",
            Self::Cancel => "cancel",
            Self::Release => "release",
            Self::Expire => "expire",
            Self::Drop => "drop",
        }
    }
}

/// One job's move.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub(crate) held: Held,
    pub(crate) kind: Kind,
    /// Output or error, as JSON text.
    pub(crate) payload: Option<String>,
    /// Microseconds until it is ready again.
    pub(crate) wait: i64,
}

/// What became of the moves, and what is told of it after the commit.
#[derive(Default)]
pub(crate) struct Moved {
    /// By place; `None`: it did not hold.
    pub(crate) states: Vec<Option<JobState>>,
    /// The claims of those that held one.
    ended: Vec<i64>,
    ready: BTreeMap<QueueName, i32>,
    pub(crate) events: Vec<QueueEvent>,
}

impl Moved {
    pub(crate) fn tell(self, shared: &Shared) {
        if self.states.iter().any(Option::is_some) {
            shared.tallied();
        }
        shared.calls.ended(self.ended);
        shared.ready(self.ready.iter().map(|(name, id)| (name, *id)));
        shared.tell(self.events);
    }
}

/// Moves jobs in whatever transaction this is. Each job is named at most once.
pub(crate) async fn moves(shared: &Shared, on: On<'_>, moves: &[Move]) -> Result<Moved, Fault> {
    let mut moved = Moved { states: vec![None; moves.len()], ..Moved::default() };
    let mut places = complete(shared, on, moves, &mut moved).await?;
    let mut slips = 0;
    while !places.is_empty() {
        let rows = run(shared, on, moves, &places).await?;
        let mut slipped = Vec::new();
        for row in &rows {
            let place = usize::try_from(row.get::<_, i64>("ord") - 1).ok().and_then(|at| places.get(at).copied());
            let Some(place) = place else { continue };
            match row.get("moved") {
                true => note(shared, on, &moves[place], place, row, &mut moved).await?,
                false => slipped.push(place),
            }
        }
        slips += 1;
        if slips > SLIPS_MAX && !slipped.is_empty() {
            return Err(Fault::Raced);
        }
        places = slipped;
    }
    events::append::job_events(shared, on, &moved.events).await?;
    Ok(moved)
}

/// Completes what needs no more than that. Answers the places of the rest.
async fn complete(shared: &Shared, on: On<'_>, moves: &[Move], moved: &mut Moved) -> Result<Vec<usize>, Fault> {
    if moves.is_empty() || shared.logs_any() || moves.iter().any(|one| one.kind != Kind::Done) {
        return Ok((0..moves.len()).collect());
    }
    let (queues, jobs, claims) = super::held::columns(moves.iter().map(|one| one.held));
    let outputs: Vec<Option<&str>> = moves.iter().map(|one| one.payload.as_deref()).collect();
    let places: Vec<Tid> = moves.iter().filter_map(|one| one.held.place).collect();
    for row in shared.run(on, Sql::JobComplete, &[&queues, &jobs, &claims, &outputs, &places]).await? {
        let place = usize::try_from(row.get::<_, i64>(0) - 1).ok();
        if let Some((place, one)) = place.and_then(|place| Some((place, moves.get(place)?))) {
            moved.states[place] = Some(JobState::Completed);
            moved.ended.push(one.held.claim);
        }
    }
    let left = moved.states.iter().enumerate().filter(|(_, state)| state.is_none());
    Ok(left.map(|(place, _)| place).collect())
}

async fn run(shared: &Shared, on: On<'_>, moves: &[Move], places: &[usize]) -> Result<Vec<Row>, Fault> {
    let (queues, jobs, claims) = super::held::columns(places.iter().map(|place| moves[*place].held));
    let kinds: Vec<&str> = places.iter().map(|place| moves[*place].kind.word()).collect();
    let payloads: Vec<Option<&str>> = places.iter().map(|place| moves[*place].payload.as_deref()).collect();
    let waits: Vec<i64> = places.iter().map(|place| moves[*place].wait).collect();
    let names = shared.logs_any();
    shared.run(on, Sql::JobSettle, &[&queues, &jobs, &claims, &kinds, &payloads, &waits, &names]).await
}

async fn note(
    shared: &Shared,
    on: On<'_>,
    one: &Move,
    place: usize,
    row: &Row,
    moved: &mut Moved,
) -> Result<(), Fault> {
    let address = rows::at("job_live", &one.held.job);
    let state = rows::state(row.get("target"), address("state"))?;
    moved.states[place] = Some(state);
    if one.kind != Kind::Drop {
        moved.ended.push(one.held.claim);
    }
    let queue = shared.name_found(on, one.held.queue).await?;
    if !state.is_finished() {
        moved.ready.entry(queue.clone()).or_insert(one.held.queue);
    }
    let watched: bool = row.get("watched");
    if watched || shared.logs_any() {
        let attempt = rows::count(i64::from(row.get::<_, i32>("attempt")), address("attempt"))?;
        let about = About { queue, row, attempt, job: one.held.job };
        let stalled = (one.kind == Kind::Expire).then(|| about.event(QueueEventKind::Stalled, None)).transpose()?;
        moved.events.extend(stalled);
        moved.events.push(about.event(state.into(), data(one, state, row))?);
        moved.events.retain(|event| watched || shared.logs(event.kind));
    }
    Ok(())
}

/// Output, error or due time, where the state has one.
fn data(one: &Move, state: JobState, row: &Row) -> Option<serde_json::Value> {
    match state {
        JobState::Completed | JobState::Failed | JobState::Cancelled => {
            one.payload.as_ref().and_then(|text| serde_json::from_str(text).ok())
        }
        JobState::Delayed => row.get::<_, Option<Time>>("due").map(|Time(due)| due.to_string().into()),
        JobState::Waiting | JobState::Active => None,
    }
}

/// Which job a row is about.
struct About<'a> {
    queue: QueueName,
    row: &'a Row,
    attempt: u32,
    job: i64,
}

impl About<'_> {
    fn event(&self, kind: QueueEventKind, data: Option<serde_json::Value>) -> Result<QueueEvent> {
        happened(&self.queue, kind, self.row, self.job, self.attempt, data)
    }
}

/// An event of a row that has the columns `id`, `name` and `now`.
pub(crate) fn happened(
    queue: &QueueName,
    kind: QueueEventKind,
    row: &Row,
    job: i64,
    attempt: u32,
    data: Option<serde_json::Value>,
) -> Result<QueueEvent> {
    let place = rows::at("job", &job);
    let id = row.get::<_, Option<&str>>("id").map(|id| rows::word::<JobId>(id, place("key"))).transpose()?;
    let name = row.get::<_, Option<&str>>("name").map(|name| rows::word::<JobName>(name, place("name"))).transpose()?;
    let at: Timestamp = row.get::<_, Time>("now").0;
    let attempt = (attempt > 0).then_some(attempt);
    Ok(QueueEvent { queue: queue.clone(), kind, job: id, name, attempt, at, data })
}
