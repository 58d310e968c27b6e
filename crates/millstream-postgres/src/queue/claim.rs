//! Taking ready jobs.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use millstream_core::{
    ClaimRef, Claimed, Clock, JobId, JobName, QueueEvent, QueueEventKind, QueueName, Result, SystemClock, Want,
    limits::CLAIM_BATCH_MAX,
};
use tokio_postgres::Row;

use super::held;
use crate::{
    events,
    fault::{Fault, again},
    rows::{self, JsonText, OwnId, Time},
    shared::{Shared, lock, transact},
    sql::{On, Sql},
};

/// Numbers below the last one taken that a search begins at: whoever got its number earlier and commits later is
/// still found at once.
const MARGIN: i64 = 2_000;
/// How often a search begins at the beginning, for those that commit later than that.
const FULL_EVERY: Duration = Duration::from_secs(1);
/// Such a search walks over all jobs that run: where that takes long, it happens more rarely, and takes this part of the
/// time.
const FULL_SHARE: u32 = 20;
/// But at least this often.
const FULL_EVERY_MAX: Duration = Duration::from_secs(5);

/// Where the search for ready jobs begins in each queue. Jobs that run are in the index of those that are ready, and a held
/// horizon keeps the entries of taken jobs in it; without a floor each claim would walk over all of them. Only a hint: a
/// wrong floor costs a second, not a job.
#[derive(Default)]
pub(crate) struct Floors {
    known: Mutex<Known>,
    /// Real time: the database's index does not care for a clock of tests.
    clock: SystemClock,
}

#[derive(Default)]
struct Known {
    floors: HashMap<i32, Floor>,
    /// When a search begins at the beginning again.
    full_at: Duration,
}

#[derive(Clone, Copy)]
struct Floor {
    priority: i32,
    seq: i64,
}

/// Below every job.
const BOTTOM: Floor = Floor { priority: i32::MIN, seq: 0 };

/// A search: from where in each queue, and since when if it is one from the beginning.
struct Search {
    floors: Vec<Floor>,
    full: Option<Duration>,
}

impl Floors {
    fn of(&self, queues: &[i32]) -> Search {
        let mut known = lock(&self.known);
        let now = self.clock.monotonic();
        let full = (now >= known.full_at).then_some(now);
        if full.is_some() {
            known.full_at = now + FULL_EVERY;
            known.floors.clear();
        }
        let floors = queues.iter().map(|queue| known.floors.get(queue).copied().unwrap_or(BOTTOM)).collect();
        Search { floors, full }
    }

    /// A search from the beginning has its answer.
    fn looked(&self, since: Duration) {
        let now = self.clock.monotonic();
        let rest = (now.saturating_sub(since) * FULL_SHARE).clamp(FULL_EVERY, FULL_EVERY_MAX);
        lock(&self.known).full_at = now + rest;
    }

    /// Rows come in the order of priority and number: the last one of a queue is its floor.
    fn raise(&self, taken: &[Row]) {
        let mut known = lock(&self.known);
        for row in taken {
            let (priority, seq): (i32, i64) = (row.get("priority"), row.get("seq"));
            known.floors.insert(row.get("queue"), Floor { priority, seq: (seq - MARGIN).max(0) });
        }
    }
}

/// Takes ready jobs of all these queues.
pub(crate) async fn claim(shared: &Shared, wants: &[Want]) -> Result<Vec<Claimed>> {
    let mut merged: BTreeMap<&QueueName, i64> = BTreeMap::new();
    for want in wants.iter().filter(|want| want.at_most > 0) {
        let sum = merged.entry(&want.queue).or_default();
        *sum = (*sum + i64::from(want.at_most)).min(i64::from(CLAIM_BATCH_MAX));
    }
    again!("claim jobs", claim_once(shared, &merged))
}

async fn claim_once(shared: &Shared, wants: &BTreeMap<&QueueName, i64>) -> Result<Vec<Claimed>, Fault> {
    let over = shared.calls.take_over();
    let body = || async { transact!(shared, shared.logs_any(), unit => take(shared, unit.on()?, wants, &over)) };
    let taken: Result<Taken, Fault> = body().await;
    let taken = taken.inspect_err(|_| shared.calls.give_back(over.clone()))?;
    if !taken.claimed.is_empty() {
        shared.tallied();
    }
    shared.tell(taken.events);
    Ok(taken.claimed)
}

#[derive(Default)]
struct Taken {
    claimed: Vec<Claimed>,
    events: Vec<QueueEvent>,
}

async fn take(shared: &Shared, on: On<'_>, wants: &BTreeMap<&QueueName, i64>, over: &Vec<i64>) -> Result<Taken, Fault> {
    let names: Vec<&QueueName> = wants.keys().copied().collect();
    let ids = shared.ids(on, &names).await?;
    let (queues, counts): (Vec<i32>, Vec<i64>) =
        wants.iter().filter_map(|(name, count)| Some((*ids.get(*name)?, *count))).unzip();
    if queues.is_empty() {
        shared.calls.give_back(over.clone());
        return Ok(Taken::default());
    }
    let search = shared.floors.of(&queues);
    let (priorities, seqs): (Vec<i32>, Vec<i64>) =
        search.floors.iter().map(|floor| (floor.priority, floor.seq)).unzip();
    let (cap, lease) = (i64::from(CLAIM_BATCH_MAX), rows::micros(shared.lease()));
    // The number alone is unique; the salt keeps it so where a standby that had not seen it yet took over.
    let salt = (shared.options.entropy.next_u64() & 0xffff) as i64;
    let rows =
        shared.run(on, Sql::JobClaim, &[&queues, &counts, &priorities, &seqs, &cap, &lease, &salt, over]).await?;
    if let Some(row) = rows.first() {
        let booked = usize::try_from(row.get::<_, i64>("booked")).unwrap_or(usize::MAX);
        shared.calls.began(row.get("claim"), booked);
    }
    if let Some(since) = search.full {
        shared.floors.looked(since);
    }
    shared.floors.raise(&rows);
    let mut taken = Taken::default();
    for row in &rows {
        match claimed(shared, row) {
            Ok((claimed, event)) => {
                taken.claimed.push(claimed);
                taken.events.extend(event);
            }
            // It must not keep its neighbours; its claim runs out, and its attempts with it.
            Err(error) => tracing::error!(%error, "a job cannot be read, and is not run"),
        }
    }
    events::append::job_events(shared, on, &taken.events).await?;
    Ok(taken)
}

fn claimed(shared: &Shared, row: &Row) -> Result<(Claimed, Option<QueueEvent>)> {
    let (queue, job): (i32, i64) = (row.get("queue"), row.get("job"));
    let place = rows::at("job", &job);
    let queue = shared.name(queue).ok_or_else(|| place("queue").corrupt("there is no such queue"))?;
    let id = own_or_key(row, job)?;
    let name: JobName = rows::word(row.get("name"), place("name"))?;
    let attempt = rows::count(i64::from(row.get::<_, i32>("attempt")), rows::at("job_live", &job)("attempt"))?;
    let event = (row.get("watched") || shared.logs(QueueEventKind::Active)).then(|| QueueEvent {
        queue: queue.clone(),
        kind: QueueEventKind::Active,
        job: Some(id.clone()),
        name: Some(name.clone()),
        attempt: Some(attempt),
        at: row.get::<_, Time>("now").0,
        data: None,
    });
    let text = |column: &str| row.get::<_, Option<JsonText<'_>>>(column).map(|JsonText(text)| text);
    let settings = rows::settings(text("settings"), job);
    let claimed = Claimed {
        claim: ClaimRef { queue, token: held::token(&id, job, row.get("claim"), row.get("tid")), job: id },
        name,
        life: life(job, row.get("life")),
        data: rows::json(row.get::<_, JsonText<'_>>("data").0, place("data"))?,
        attempt,
        attempts: rows::count(i64::from(row.get::<_, i32>("attempts")), rows::at("job_live", &job)("attempts"))?,
        timeout: settings.timeout,
        group: settings.group,
        trace: rows::json_option(text("trace"), place("trace"))?,
        together: false,
    };
    Ok((claimed, event))
}

fn life(job: i64, life: i32) -> Arc<str> {
    held::dotted(&[job as u64, u64::from(life as u32)])
}

/// The job's id: the caller's, or ours.
pub(crate) fn own_or_key(row: &Row, job: i64) -> Result<JobId> {
    match row.get::<_, Option<&str>>("key") {
        Some(key) => rows::word(key, rows::at("job", &job)("key")),
        None => OwnId { job, created_at: row.get("created_at") }.text(),
    }
}
