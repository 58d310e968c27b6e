//! Taking ready jobs.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use millstream_core::{
    ClaimRef, Claimed, JobId, JobOptions, QueueEvent, QueueEventKind, QueueName, Result, Want, limits::CLAIM_BATCH_MAX,
};
use tokio_postgres::{Row, error::SqlState};
use uuid::Uuid;

use super::{
    boss::{Boss, again},
    deferred,
    floors::{FULL_MIN, Floor},
    held, limit,
    sql::Pick,
    words,
};
use crate::{
    events,
    fault::Fault,
    queue::held::dotted,
    rows::{self, Key, Tid, Time},
    shared::transact,
    sql::{On, Param},
};

/// Takes ready jobs of all these queues: a statement for each table of jobs, and for each kind of policy.
pub(crate) async fn claim(boss: &Boss, wants: &[Want]) -> Result<Vec<Claimed>> {
    let mut merged: BTreeMap<&QueueName, Room> = BTreeMap::new();
    for want in wants.iter().filter(|want| want.at_most > 0) {
        let room = merged.entry(&want.queue).or_insert(Room { at_most: 0, brief: true });
        room.at_most = (room.at_most + i64::from(want.at_most)).min(i64::from(CLAIM_BATCH_MAX));
        room.brief &= want.brief;
    }
    let mut left = i64::from(CLAIM_BATCH_MAX);
    let mut claimed = Vec::new();
    for Group { table, pick, wants, brief } in again!(boss, "claim jobs", groups(boss, &merged))? {
        if left <= 0 {
            break;
        }
        let taken = match again!(boss, "claim jobs", claim_once(boss, &table, pick, &wants, left, brief)) {
            // What other calls took already must not be lost with this one.
            Err(error) if !claimed.is_empty() => {
                tracing::warn!(%error, "jobs of some queues are claimed later");
                continue;
            }
            taken => taken?.claimed,
        };
        left -= taken.len() as i64;
        claimed.extend(taken);
    }
    Ok(claimed)
}

/// What is wanted of one queue.
struct Room {
    at_most: i64,
    brief: bool,
}

/// What is wanted of one table in one way.
struct Group {
    table: Arc<str>,
    pick: Pick,
    wants: Vec<(QueueName, i64)>,
    /// Of one queue, whose jobs may be worth a lock.
    brief: bool,
}

async fn groups(boss: &Boss, wants: &BTreeMap<&QueueName, Room>) -> Result<Vec<Group>, Fault> {
    let names: Vec<&QueueName> = wants.keys().copied().collect();
    let conn = boss.shared.conn().await?;
    let known = boss.known(On::Conn(&conn), &names).await?;
    let mut groups: Vec<Group> = Vec::new();
    for (name, room) in wants {
        let Some(known) = known.get(*name) else { continue };
        let one = ((*name).clone(), room.at_most);
        let brief = room.brief && known.pick == Pick::Plain && room.at_most >= deferred::JOBS_MIN;
        let alike = |group: &&mut Group| {
            // A limit on groups is counted under a lock of its queue: two at once could wait for each other.
            group.table == known.table
                && group.pick == known.pick
                && group.pick != Pick::Limited
                && !brief
                && !group.brief
        };
        match groups.iter_mut().find(alike) {
            Some(group) => group.wants.push(one),
            None => groups.push(Group { table: known.table.clone(), pick: known.pick, wants: vec![one], brief }),
        }
    }
    // One that waits for a lock's place holds up no other.
    groups.sort_by_key(|group| group.brief);
    Ok(groups)
}

async fn claim_once(
    boss: &Boss,
    table: &Arc<str>,
    pick: Pick,
    wants: &[(QueueName, i64)],
    left: i64,
    brief: bool,
) -> Result<Taken, Fault> {
    let over = boss.calls.take_over();
    let shared = &*boss.shared;
    if brief {
        match deferred::take(boss, table, wants, left, &over).await {
            Ok(Some(taken)) => return Ok(taken),
            Ok(None) => {}
            Err(fault) => {
                boss.calls.give_back(over);
                return Err(fault);
            }
        }
    }
    let body = || async {
        match (pick, wants) {
            (Pick::Limited, [(queue, count)]) => {
                let at_most = (*count).min(left);
                transact!(shared, true, unit => limit::take(boss, unit.on()?, table, queue, at_most, &over))
            }
            _ => {
                let whole = shared.logs_any();
                transact!(shared, whole, unit => take(boss, unit.on()?, table, pick, wants, &over, left))
            }
        }
    };
    let taken: Result<Taken, Fault> = body().await;
    match taken {
        Ok(mut taken) => {
            shared.tell(std::mem::take(&mut taken.events));
            Ok(taken)
        }
        Err(fault) => {
            boss.calls.give_back(over);
            // Somebody took a job of the same key at the same time: the policy's index let one of us in.
            if is_taken(&fault) { Ok(Taken::default()) } else { Err(fault) }
        }
    }
}

fn is_taken(fault: &Fault) -> bool {
    matches!(fault, Fault::Driver(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION))
}

/// By priority, large ones first, then by intake.
type Order = (Reverse<i32>, Time);

#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) claimed: Vec<Claimed>,
    pub(crate) events: Vec<QueueEvent>,
}

pub(crate) async fn take(
    boss: &Boss,
    on: On<'_>,
    table: &Arc<str>,
    pick: Pick,
    wants: &[(QueueName, i64)],
    over: &[i64],
    left: i64,
) -> Result<Taken, Fault> {
    // What is left of the whole call goes to the first queues.
    let mut left = left;
    let mut share = |count: &i64| {
        let share = (*count).min(left);
        left -= share;
        share
    };
    let counts: Vec<i64> = wants.iter().map(|(_, count)| share(count)).collect();
    let names = || wants.iter().map(|(name, _)| name);
    let floors = match pick {
        Pick::Plain => boss.floors.of(names()),
        _ => vec![Floor::bottom(); wants.len()],
    };
    let mut rows = search(boss, on, table, pick, wants, &counts, &floors, over).await?;
    let more = |rows: &[Row]| counts.iter().sum::<i64>() > rows.len() as i64;
    let again = more(&rows) && floors.iter().any(|floor| *floor != Floor::bottom());
    if again {
        names().for_each(|name| boss.floors.forget(name));
        let found = |name: &QueueName| rows.iter().filter(|row| row.get::<_, &str>(QUEUE) == name.as_str()).count();
        let counts: Vec<i64> = wants.iter().zip(&counts).map(|((name, _), count)| count - found(name) as i64).collect();
        let bottoms = vec![Floor::bottom(); wants.len()];
        rows.extend(search(boss, on, table, pick, wants, &counts, &bottoms, &[]).await?);
    }
    let taken = taken(boss, wants, &rows);
    if let [(queue, _)] = wants
        && pick == Pick::Plain
        && !again
        && !more(&rows)
    {
        raise_floor(boss, queue, &rows, rows.len() as i64);
    }
    events::append::job_events(&boss.shared, on, &taken.events).await?;
    Ok(taken)
}

/// What was taken, in the order in which it is to run.
pub(crate) fn taken(boss: &Boss, wants: &[(QueueName, i64)], rows: &[Row]) -> Taken {
    let mut jobs = Vec::with_capacity(rows.len());
    for row in rows {
        match claimed(boss, wants, row) {
            Ok((claimed, event)) => jobs.push((order(row), claimed, event)),
            // It must not keep its neighbours; its claim runs out, and its attempts with it.
            Err(error) => tracing::error!(%error, "a job cannot be read, and is not run"),
        }
    }
    // The statement answers them as they lie in the table, which is in their order already, or almost.
    jobs.sort_by(|(left_order, left, _), (right_order, right, _)| {
        (left.claim.queue.as_str(), left_order).cmp(&(right.claim.queue.as_str(), right_order))
    });
    let mut taken = Taken::default();
    for (_, claimed, event) in jobs {
        taken.claimed.push(claimed);
        taken.events.extend(event);
    }
    taken
}

/// The next search begins behind a claim that brought all of `count`.
pub(crate) fn raise_floor(boss: &Boss, queue: &QueueName, rows: &[Row], count: i64) {
    let last = rows.iter().map(order).max();
    if let Some((Reverse(priority), created)) = last.filter(|_| rows.len() >= FULL_MIN && rows.len() as i64 >= count) {
        boss.floors.raise(queue, Floor { priority, created });
    }
}

/// A row's call, and when it started.
pub(crate) fn call_of(row: &Row) -> (i64, Time) {
    (row.get(BATCH), row.get(STARTED_ON))
}

/// A row's key and place.
pub(crate) fn place_of(row: &Row) -> (Uuid, Tid) {
    let Key(job) = row.get(JOB);
    (job, row.get(TID))
}

/// Columns of the claim's answer, in its order: a look by name for each of so many rows takes longer than the value.
const QUEUE: usize = 0;
const JOB: usize = 1;
const DATA: usize = 2;
const RETRY_COUNT: usize = 3;
const RETRY_LIMIT: usize = 4;
const EXPIRE_SECONDS: usize = 5;
const STARTED_ON: usize = 6;
const CREATED_ON: usize = 7;
const PRIORITY: usize = 8;
const TID: usize = 9;
const NOW: usize = 10;
const WATCHED: usize = 11;
const BATCH: usize = 12;
const BESIDE: usize = 13;
const GROUP_ID: usize = 14;
const GROUP_TIER: usize = 15;
const TRACE_CONTEXT: usize = 16;
/// Of `defer` only.
pub(crate) const FIT: usize = 17;

fn order(row: &Row) -> Order {
    (Reverse(row.get(PRIORITY)), row.get(CREATED_ON))
}

/// What lies beside a job's row.
#[derive(serde::Deserialize, Default)]
struct Beside {
    key: Option<String>,
    name: Option<String>,
    options: Option<serde_json::Value>,
    trace: Option<serde_json::Value>,
    life: i32,
    /// Whether it says what becomes of the finished job.
    removal: bool,
}

#[expect(clippy::too_many_arguments, reason = "each is a parameter of the statement")]
async fn search(
    boss: &Boss,
    on: On<'_>,
    table: &Arc<str>,
    pick: Pick,
    wants: &[(QueueName, i64)],
    counts: &[i64],
    floors: &[Floor],
    over: &[i64],
) -> Result<Vec<Row>, Fault> {
    let queues: Vec<&str> = wants.iter().map(|(name, _)| name.as_str()).collect();
    let (priorities, intakes): (Vec<i32>, Vec<Time>) =
        floors.iter().map(|floor| (floor.priority, floor.created)).unzip();
    let (counts, lease, over, first) = (counts.to_vec(), boss.lease(), over.to_vec(), boss.deferred.first());
    let params: [&(dyn Param + Sync); 7] = [&queues, &counts, &lease, &over, &priorities, &intakes, &first];
    let rows = boss.run_pick(on, pick, table, &params).await?;
    if let Some(row) = rows.first() {
        boss.calls.began(row.get(BATCH), rows.len());
    }
    Ok(rows)
}

fn claimed(boss: &Boss, wants: &[(QueueName, i64)], row: &Row) -> Result<(Claimed, Option<QueueEvent>)> {
    let Key(job) = row.get(JOB);
    let place = rows::at("job", &job);
    let queue: &str = row.get(QUEUE);
    let wanted = wants.iter().find(|(name, _)| name.as_str() == queue);
    let queue = wanted.map_or_else(|| rows::word(queue, place("name")), |(name, _)| Ok(name.clone()))?;
    let beside: Option<&str> = row.get(BESIDE);
    let beside = beside.map(|text| serde_json::from_str(text).map_err(|error| place("beside").corrupt(error)));
    let Beside { key, name, options, trace, life, removal } = beside.transpose()?.unwrap_or_default();
    let id: JobId = match key {
        Some(key) => rows::word(&key, place("key"))?,
        None => rows::word(job.hyphenated().encode_lower(&mut Uuid::encode_buffer()), place("id"))?,
    };
    let data = rows::json_option(row.get(DATA), place("data"))?;
    let (name, data) = words::data_out(&queue, name.as_deref(), data);
    let (fence, start): (i32, Time) = (row.get(RETRY_COUNT), row.get(STARTED_ON));
    let attempt = words::attempt(fence, true);
    let own = options.and_then(|options| serde_json::from_value::<JobOptions>(options).ok()).unwrap_or_default();
    let event = (row.get(WATCHED) || boss.shared.logs(QueueEventKind::Active)).then(|| QueueEvent {
        queue: queue.clone(),
        kind: QueueEventKind::Active,
        job: Some(id.clone()),
        name: Some(name.clone()),
        attempt: Some(attempt),
        at: row.get::<_, Time>(NOW).0,
        data: None,
    });
    let created = row.get::<_, Time>(CREATED_ON).0.as_microsecond();
    let trace = match trace {
        None if boss.texts.has_trace() => rows::json_option(row.get(TRACE_CONTEXT), place("trace_context"))?,
        trace => trace,
    };
    let claimed = Claimed {
        claim: ClaimRef {
            queue,
            token: held::token(&id, fence, start, row.get(BATCH), removal, row.get(TID)),
            job: id,
        },
        name,
        life: dotted(&[created as u64, u64::from(life as u32)]),
        data,
        attempt,
        attempts: words::attempts(row.get(RETRY_LIMIT)),
        timeout: Some(own.timeout.unwrap_or_else(|| words::timeout(row.get(EXPIRE_SECONDS)))),
        group: words::group(row.get(GROUP_ID), row.get(GROUP_TIER)),
        trace,
        together: false,
    };
    Ok((claimed, event))
}
