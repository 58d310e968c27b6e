//! Settling claims: the fence, then the effects, then the outcome, each settlement on its own inside one commit.

use std::time::Duration;

use millstream_core::{Effects, JobState, Outcome, Result, Settlement, Verdict, payload};
use rusqlite::params;

use super::{
    enqueue,
    live::{self, End, Live},
};
use crate::{
    events,
    fault::Fault,
    rows,
    sql::{self, Run},
    state,
    store::SqliteStore,
    tx::Tx,
};

/// Settles a batch in one transaction. A claim is lost once its lease has run out, whether or not somebody has rescued
/// the job since: else two handles with different ideas of the moment would both be right.
pub(crate) async fn settle(store: &SqliteStore, batch: &[Settlement]) -> Result<Vec<Verdict>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let batch: Vec<(Settlement, Result<Written>)> =
        batch.iter().map(|settlement| (settlement.clone(), Written::of(&settlement.outcome))).collect();
    let settle_all = move |tx: &mut Tx<'_>| {
        batch.into_iter().map(|(settlement, written)| settle_one(tx, &settlement, written)).collect()
    };
    store.writer().call("settle claims", settle_all).await
}

/// An outcome, checked and as JSON text: made on the caller's thread, because the writer is shared by all.
enum Written {
    Done(String),
    Retry { error: String, after: Option<Duration> },
    Snooze(Duration),
    Fail(String),
    Cancel(String),
}

impl Written {
    fn of(outcome: &Outcome) -> Result<Self> {
        Ok(match outcome {
            Outcome::Done(output) => Self::Done(payload::text("output", output)?),
            Outcome::Retry { error, after } => {
                after.map_or(Ok(()), |after| rows::check_wait("retry wait", after))?;
                Self::Retry { error: rows::error_text(error), after: *after }
            }
            Outcome::Snooze(wait) => {
                rows::check_wait("snooze", *wait)?;
                Self::Snooze(*wait)
            }
            Outcome::Fail(error) => Self::Fail(rows::error_text(error)),
            Outcome::Cancel(reason) => Self::Cancel(rows::error_text(reason)),
        })
    }
}

fn settle_one(tx: &mut Tx<'_>, settlement: &Settlement, written: Result<Written>) -> Result<Verdict, Fault> {
    let Some(live) = live::held(tx, &settlement.claim)? else { return Ok(Verdict::LostClaim) };
    let written = match written {
        Ok(written) => written,
        Err(error) => return Ok(Verdict::EffectRefused(error)),
    };
    if settlement.effects.is_empty() {
        // Nothing of it can be refused any more, so it needs no savepoint of its own.
        return end(tx, &live, written).map(Verdict::Settled);
    }
    let done = tx.part(|tx| {
        write_effects(tx, &settlement.effects)?;
        end(tx, &live, written)
    })?;
    match done {
        Ok(state) => Ok(Verdict::Settled(state)),
        Err(Fault::Refused(error)) => Ok(Verdict::EffectRefused(error)),
        Err(fault) => Err(fault),
    }
}

pub(crate) fn write_effects(tx: &mut Tx<'_>, effects: &Effects) -> Result<(), Fault> {
    effects.check()?;
    for (index, append) in effects.append.iter().enumerate() {
        append
            .check()
            .map_err(Fault::from)
            .and_then(|()| events::append::append(tx, append))
            .map_err(|fault| fault.at("append", index))?;
    }
    for (index, job) in effects.enqueue.iter().enumerate() {
        // A duplicate is fine: the handler ran before, or somebody else wanted the same job.
        enqueue::admit(tx, job).map_err(|fault| fault.at("enqueue", index))?;
    }
    for (index, op) in effects.state.iter().enumerate() {
        state::Write::of(op)
            .map_err(Fault::from)
            .and_then(|write| write.run(tx))
            .map_err(|fault| fault.at("state", index))?;
    }
    for run in &effects.runs {
        let (started, completed) = (rows::micros(run.started_at), run.completed_at.map(rows::micros));
        tx.conn.run(sql::EVENTS_WRITE_RUN, params![&*run.run, &*run.flow, &*run.status, started, completed])?;
    }
    Ok(())
}

/// What becomes of the job.
fn end(tx: &mut Tx<'_>, live: &Live, written: Written) -> Result<JobState, Fault> {
    match written {
        Written::Done(output) => live.end(tx, End::Completed(output)),
        Written::Cancel(reason) => live.end(tx, End::Cancelled(Some(reason))),
        Written::Retry { error, .. } | Written::Fail(error) if live.cancel_requested => {
            live.end(tx, End::Cancelled(Some(error)))
        }
        Written::Snooze(_) if live.cancel_requested => live.end(tx, End::Cancelled(None)),
        Written::Fail(error) => live.end(tx, End::Failed(error)),
        Written::Retry { error, .. } if live.attempt >= live.settings.attempts => live.end(tx, End::Failed(error)),
        Written::Retry { error, after } => {
            let backoff = || live.settings.backoff.delay(live.attempt, &*tx.shared.options.entropy);
            let wait = after.unwrap_or_else(backoff);
            again(tx, live, wait, live.attempt, Some(&error))
        }
        // The number goes back by one, so that the next claim counts the same attempt.
        Written::Snooze(wait) => again(tx, live, wait, live.attempt.saturating_sub(1), None),
    }
}

fn again(tx: &mut Tx<'_>, live: &Live, wait: Duration, attempt: u32, error: Option<&str>) -> Result<JobState, Fault> {
    match wait.is_zero() {
        true => live.wait(tx, attempt, error),
        false => live.delay(tx, rows::later(tx.now, wait), attempt, error),
    }
}
