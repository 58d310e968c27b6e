//! Claims as rows know them. The token is a job's number and its claim's, which are unique together.

use std::{collections::HashMap, sync::Arc};

use millstream_core::{ClaimRef, QueueName};

use crate::{
    fault::Fault,
    shared::Shared,
    sql::On,
};

/// A claim as its row knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) queue: i32,
    pub(crate) job: i64,
    pub(crate) claim: i64,
}

pub(crate) fn token(job: i64, claim: i64) -> Arc<str> {
    format!("{job:x}.{claim:x}").into()
}

fn read(token: &str) -> Option<(i64, i64)> {
    let (job, claim) = token.split_once('.')?;
    Some((i64::from_str_radix(job, 16).ok()?, i64::from_str_radix(claim, 16).ok()?))
}

/// Claims by their rows; `None` for what cannot be a claim of this store.
pub(crate) async fn held(shared: &Shared, on: On<'_>, claims: &[&ClaimRef]) -> Result<Vec<Option<Held>>, Fault> {
    let mut names: Vec<&QueueName> = claims.iter().map(|claim| &claim.queue).collect();
    names.sort_unstable();
    names.dedup();
    let ids = shared.ids(on, &names).await?;
    Ok(claims.iter().map(|claim| one(&ids, claim)).collect())
}

fn one(ids: &HashMap<QueueName, i32>, claim: &ClaimRef) -> Option<Held> {
    let (job, number) = read(&claim.token)?;
    Some(Held { queue: *ids.get(&claim.queue)?, job, claim: number })
}

/// The columns that statements take claims in.
pub(crate) fn columns(held: impl Iterator<Item = Held>) -> (Vec<i32>, Vec<i64>, Vec<i64>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for Held { queue, job, claim } in held {
        columns.0.push(queue);
        columns.1.push(job);
        columns.2.push(claim);
    }
    columns
}
