//! Claims as their rows know them: pg-boss's attempt, and when it started.

use std::{collections::HashMap, sync::Arc};

use millstream_core::{ClaimRef, JobId, QueueName, Timestamp};
use uuid::Uuid;

use super::{
    boss::{Boss, Known},
    words,
};
use crate::{
    fault::Fault,
    queue::held::{dotted, mark},
    rows::{Tid, Time},
    sql::On,
};

/// A claim as its row knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) queue: QueueName,
    pub(crate) table: Arc<str>,
    pub(crate) job: Uuid,
    pub(crate) fence: i32,
    /// In microseconds.
    pub(crate) start: i64,
    /// The call that claimed it; 0: not ours.
    pub(crate) call: i64,
    /// Whether something beside the row says what becomes of it.
    pub(crate) beside: bool,
    /// Where the claim left the row, where it is known.
    pub(crate) place: Option<Tid>,
}

/// The proof of a claim; it opens this job only, so it holds a mark of its id.
pub(crate) fn token(id: &JobId, fence: i32, start: Time, call: i64, beside: bool, place: Tid) -> Arc<str> {
    let (start, Tid { block, line }) = (start.0.as_microsecond(), place);
    let fence = u64::from(fence as u32);
    dotted(&[fence, start as u64, call as u64, beside.into(), block.into(), line.into(), mark(id).into()])
}

fn read(claim: &ClaimRef) -> Option<(i32, i64, i64, bool, Tid)> {
    let mut parts = claim.token.split('.');
    let mut part = || parts.next();
    let fence = i32::from_str_radix(part()?, 16).ok()?;
    let (start, call) = (i64::from_str_radix(part()?, 16).ok()?, i64::from_str_radix(part()?, 16).ok()?);
    let beside = part()? == "1";
    let (block, line) = (u32::from_str_radix(part()?, 16).ok()?, u16::from_str_radix(part()?, 16).ok()?);
    let marked = u32::from_str_radix(part()?, 16).ok()? == mark(&claim.job);
    (marked && part().is_none() && Timestamp::from_microsecond(start).is_ok()).then_some((
        fence,
        start,
        call,
        beside,
        Tid { block, line },
    ))
}

/// The call that a claim says it is of.
pub(crate) fn call(claim: &ClaimRef) -> Option<i64> {
    read(claim).map(|(_, _, call, ..)| call)
}

/// Whether something beside the row says what becomes of the job.
pub(crate) fn has_beside(claim: &ClaimRef) -> bool {
    read(claim).is_none_or(|(_, _, _, beside, _)| beside)
}

/// The id of a claim's row.
pub(crate) fn row(claim: &ClaimRef) -> Uuid {
    words::row_id(&claim.queue, &claim.job)
}

/// Claims by their rows; `None` for what cannot be a claim of this store.
pub(crate) async fn held(boss: &Boss, on: On<'_>, claims: &[&ClaimRef]) -> Result<Vec<Option<Held>>, Fault> {
    let mut names: Vec<&QueueName> = claims.iter().map(|claim| &claim.queue).collect();
    names.sort_unstable();
    names.dedup();
    let known = boss.known(on, &names).await?;
    Ok(claims.iter().map(|claim| one(&known, claim)).collect())
}

fn one(known: &HashMap<QueueName, Known>, claim: &ClaimRef) -> Option<Held> {
    let (fence, start, call, beside, place) = read(claim)?;
    let table = known.get(&claim.queue)?.table.clone();
    let job = words::row_id(&claim.queue, &claim.job);
    Some(Held { queue: claim.queue.clone(), table, job, fence, start, call, beside, place: Some(place) })
}

/// What cannot be a claim of this store: no row is held by it.
pub(crate) fn nobodys(queue: &QueueName) -> Held {
    let table = super::boss::COMMON.into();
    Held { queue: queue.clone(), table, job: Uuid::nil(), fence: -1, start: 0, call: 0, beside: true, place: None }
}

/// The columns that statements take claims in.
#[derive(Default)]
pub(crate) struct Columns<'a> {
    pub(crate) queues: Vec<&'a str>,
    pub(crate) jobs: Vec<String>,
    pub(crate) fences: Vec<i32>,
    pub(crate) starts: Vec<Time>,
}

pub(crate) fn columns<'a>(held: impl Iterator<Item = &'a Held>) -> Columns<'a> {
    let mut columns = Columns::default();
    for one in held {
        columns.queues.push(one.queue.as_str());
        columns.jobs.push(one.job.to_string());
        columns.fences.push(one.fence);
        columns.starts.push(start(one));
    }
    columns
}

/// When the claim started.
pub(crate) fn start(held: &Held) -> Time {
    Time(Timestamp::from_microsecond(held.start).unwrap_or_default())
}

/// Places of claims by the table that their jobs are in, in order.
pub(crate) fn by_table<'a>(held: impl Iterator<Item = (usize, &'a Held)>) -> Vec<(Arc<str>, Vec<usize>)> {
    let mut tables: Vec<(Arc<str>, Vec<usize>)> = Vec::new();
    for (place, held) in held {
        match tables.iter_mut().find(|(table, _)| *table == held.table) {
            Some((_, places)) => places.push(place),
            None => tables.push((held.table.clone(), vec![place])),
        }
    }
    tables
}
