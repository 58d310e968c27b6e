//! Claims as rows know them. The token is a job's number and its claim's, which are unique together, and where the claim
//! left the job's row.

use std::{collections::HashMap, sync::Arc};

use millstream_core::{ClaimRef, JobId, QueueName};

use crate::{fault::Fault, rows::Tid, shared::Shared, sql::On};

/// A claim as its row knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) queue: i32,
    pub(crate) job: i64,
    pub(crate) claim: i64,
    /// Where the claim left the row, where it is known.
    pub(crate) place: Option<Tid>,
}

/// The proof of a claim; it opens this job only, so it holds a mark of its id.
pub(crate) fn token(id: &JobId, job: i64, claim: i64, place: Tid) -> Arc<str> {
    let Tid { block, line } = place;
    dotted(&[job as u64, claim as u64, block.into(), line.into(), mark(id).into()])
}

/// Numbers in base 16, with dots between, in one allocation: a claim of a thousand jobs makes as many tokens, and the
/// formatter showed in the profile of a drain.
pub(crate) fn dotted(numbers: &[u64]) -> Arc<str> {
    const DIGITS_MAX: usize = 16;
    let mut text = String::with_capacity(numbers.len() * (DIGITS_MAX + 1));
    for (place, number) in numbers.iter().enumerate() {
        if place > 0 {
            text.push('.');
        }
        let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            let digit = (number >> (4 * digit) & 0xf) as u32;
            text.push(char::from_digit(digit, 16).unwrap_or('0'));
        }
    }
    text.into()
}

fn read(claim: &ClaimRef) -> Option<(i64, i64, Tid)> {
    let mut parts = claim.token.split('.');
    let mut part = || parts.next();
    let (job, number) = (i64::from_str_radix(part()?, 16).ok()?, i64::from_str_radix(part()?, 16).ok()?);
    let (block, line) = (u32::from_str_radix(part()?, 16).ok()?, u16::from_str_radix(part()?, 16).ok()?);
    let marked = u32::from_str_radix(part()?, 16).ok()? == mark(&claim.job);
    (marked && part().is_none()).then_some((job, number, Tid { block, line }))
}

/// FNV-1a: the same in every process and release.
pub(crate) fn mark(id: &JobId) -> u32 {
    id.as_str().bytes().fold(0x811c_9dc5, |mark, byte| (mark ^ u32::from(byte)).wrapping_mul(0x0100_0193))
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
    let (job, number, place) = read(claim)?;
    Some(Held { queue: *ids.get(&claim.queue)?, job, claim: number, place: Some(place) })
}

/// The columns that statements take claims in.
pub(crate) fn columns(held: impl Iterator<Item = Held>) -> (Vec<i32>, Vec<i64>, Vec<i64>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for Held { queue, job, claim, .. } in held {
        columns.0.push(queue);
        columns.1.push(job);
        columns.2.push(claim);
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_formatter_writes_them() {
        for number in [0, 1, 0xf, 0x10, 0xabcd_ef01, i64::MAX as u64, u64::MAX] {
            assert_eq!(*dotted(&[number, 7]), format!("{number:x}.7"));
        }
    }
}
