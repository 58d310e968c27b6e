//! Settling claims: the fence, then the effects of those that hold, then the outcomes, in one transaction.

use std::{collections::HashSet, time::Duration};

use millstream_core::{ClaimRef, JobState, Outcome, Result, Settlement, Verdict, payload};

use super::{
    enqueue::{self, Entry, Stored},
    held::{self, Held},
    moves::{self, Kind, Move, Moved},
};
use crate::{
    effects::{self, Written},
    fault::{Fault, again},
    rows,
    shared::{Shared, transact},
    sql::{On, Sql},
};

/// Settles a batch.
pub(crate) async fn settle(shared: &Shared, batch: &[Settlement]) -> Result<Vec<Verdict>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let outcomes: Vec<Result<Ending>> = batch.iter().map(|one| Ending::of(&one.outcome)).collect();
    let bare = batch.iter().zip(&outcomes).all(|(one, ending)| one.effects.is_empty() && ending.is_ok());
    if bare {
        let endings: Vec<Ending> = outcomes.into_iter().flatten().collect();
        return again!("settle claims", settle_bare(shared, batch, &endings));
    }
    let parts: Vec<Part<'_>> = batch.iter().zip(outcomes).map(|(one, ending)| Part::of(shared, one, ending)).collect();
    let mut clashes = 0;
    loop {
        match settle_whole(shared, &parts).await {
            Ok(verdicts) => return Ok(verdicts),
            Err(fault) if fault.is_clash() && clashes < crate::fault::CLASHES_MAX => clashes += 1,
            Err(fault) if fault.is_refusal() => return settle_apart(shared, &parts).await,
            Err(fault) => return Err(fault.told("settle claims")),
        }
    }
}

/// An outcome, checked and as JSON text.
#[derive(Clone)]
pub(crate) struct Ending {
    pub(crate) kind: Kind,
    pub(crate) payload: Option<String>,
    /// `None`: by the job's backoff.
    pub(crate) wait: Option<Duration>,
}

impl Ending {
    pub(crate) fn of(outcome: &Outcome) -> Result<Self> {
        let now = Some(Duration::ZERO);
        Ok(match outcome {
            Outcome::Done(output) => {
                Self { kind: Kind::Done, payload: Some(payload::text("output", output)?), wait: now }
            }
            Outcome::Retry { error, after } => {
                after.map_or(Ok(()), |after| rows::check_wait("retry wait", after))?;
                Self { kind: Kind::Retry, payload: Some(rows::error_text(error)), wait: *after }
            }
            Outcome::Snooze(wait) => {
                rows::check_wait("snooze", *wait)?;
                Self { kind: Kind::Snooze, payload: None, wait: Some(*wait) }
            }
            Outcome::Fail(error) => Self { kind: Kind::Fail, payload: Some(rows::error_text(error)), wait: now },
            Outcome::Cancel(reason) => Self { kind: Kind::Cancel, payload: Some(rows::error_text(reason)), wait: now },
        })
    }
}

/// One settlement, ready to be written.
struct Part<'a> {
    claim: &'a ClaimRef,
    ending: Result<(Ending, Written<'a, Entry>)>,
}

impl<'a> Part<'a> {
    fn of(shared: &Shared, one: &'a Settlement, ending: Result<Ending>) -> Self {
        let both = ending.and_then(|ending| Ok((ending, Written::of(&one.effects, |job| Entry::of(shared, job))?)));
        Self { claim: &one.claim, ending: both }
    }
}

/// The claims of a batch by their rows; the second of two equal ones is lost.
async fn places(shared: &Shared, on: On<'_>, claims: &[&ClaimRef]) -> Result<Vec<Option<Held>>, Fault> {
    let mut seen = HashSet::new();
    let held = held::held(shared, on, claims).await?;
    Ok(held.into_iter().map(|held| held.filter(|held| seen.insert(*held))).collect())
}

/// Outcomes without effects: one statement is the whole transaction.
async fn settle_bare(shared: &Shared, batch: &[Settlement], endings: &[Ending]) -> Result<Vec<Verdict>, Fault> {
    let claims: Vec<&ClaimRef> = batch.iter().map(|one| &one.claim).collect();
    let (held, moved): (Vec<Option<Held>>, Moved) =
        transact!(shared, shared.logs_any(), unit => move_bare(shared, unit.on()?, &claims, endings))?;
    let verdicts = verdicts(&held, &moved);
    moved.tell(shared);
    Ok(verdicts)
}

async fn move_bare(
    shared: &Shared,
    on: On<'_>,
    claims: &[&ClaimRef],
    endings: &[Ending],
) -> Result<(Vec<Option<Held>>, Moved), Fault> {
    let held = places(shared, on, claims).await?;
    let ending: Vec<(Held, &Ending)> =
        held.iter().zip(endings).filter_map(|(held, ending)| Some(((*held)?, ending))).collect();
    let moved = end(shared, on, &ending).await?;
    Ok((held, moved))
}

/// Verdicts of claims that were moved, in the order of those that could be claims.
fn verdicts(held: &[Option<Held>], moved: &Moved) -> Vec<Verdict> {
    let mut states = moved.states.iter();
    let verdict = |held: &Option<Held>| match held.as_ref().and_then(|_| states.next().copied().flatten()) {
        Some(state) => Verdict::Settled(state),
        None => Verdict::LostClaim,
    };
    held.iter().map(verdict).collect()
}

/// Writes the outcomes, with the waits that the jobs' backoffs choose.
async fn end(shared: &Shared, on: On<'_>, ending: &[(Held, &Ending)]) -> Result<Moved, Fault> {
    if ending.is_empty() {
        return Ok(Moved::default());
    }
    let mut waits: Vec<i64> = ending.iter().map(|(_, ending)| ending.wait.map_or(0, rows::micros)).collect();
    let open: Vec<usize> = (0..ending.len()).filter(|at| ending[*at].1.wait.is_none()).collect();
    if !open.is_empty() {
        let (queues, jobs, _) = held::columns(open.iter().map(|at| ending[*at].0));
        for row in shared.run(on, Sql::JobBackoff, &[&queues, &jobs]).await? {
            let at = usize::try_from(row.get::<_, i64>("ord") - 1).ok().and_then(|at| open.get(at).copied());
            let Some(at) = at else { continue };
            let settings = rows::settings(row.get("settings"), ending[at].0.job);
            let attempt = u32::try_from(row.get::<_, i32>("attempt")).unwrap_or(1);
            waits[at] = rows::micros(settings.backoff.delay(attempt, &*shared.options.entropy));
        }
    }
    let all: Vec<Move> = ending
        .iter()
        .zip(waits)
        .map(|((held, ending), wait)| Move { held: *held, kind: ending.kind, payload: ending.payload.clone(), wait })
        .collect();
    moves::moves(shared, on, &all).await
}

/// What is told after the commit of a whole batch.
struct Settled {
    verdicts: Vec<Verdict>,
    moved: Moved,
    stored: Stored,
    appended: bool,
}

/// Outcomes with their effects, in one transaction. A refused effect that can be told apart refuses its settlement
/// alone; another one is an error of the whole.
async fn settle_whole(shared: &Shared, parts: &[Part<'_>]) -> Result<Vec<Verdict>, Fault> {
    let written = || parts.iter().filter_map(|part| part.ending.as_ref().ok().map(|(_, written)| written));
    let mut queues: Vec<_> = written().flat_map(|written| written.jobs.iter().map(|job| &job.queue)).collect();
    queues.sort_unstable();
    queues.dedup();
    let ids = shared.ids_made(&queues).await?;
    let settled: Settled = transact!(shared, true, unit => write(shared, unit.on()?, &ids, parts))?;
    settled.moved.tell(shared);
    settled.stored.tell(shared);
    if settled.appended {
        shared.to_sequence.notify_one();
    }
    Ok(settled.verdicts)
}

async fn write(
    shared: &Shared,
    on: On<'_>,
    ids: &std::collections::HashMap<millstream_core::QueueName, i32>,
    parts: &[Part<'_>],
) -> Result<Settled, Fault> {
    let claims: Vec<&ClaimRef> = parts.iter().map(|part| part.claim).collect();
    let held = fence(shared, on, places(shared, on, &claims).await?).await?;
    let mut verdicts: Vec<Verdict> = vec![Verdict::LostClaim; parts.len()];
    let mut accepted = Vec::new();
    for (place, (part, held)) in parts.iter().zip(&held).enumerate() {
        match (held, &part.ending) {
            (None, _) => {}
            (Some(_), Err(error)) => verdicts[place] = Verdict::EffectRefused(error.clone()),
            (Some(held), Ok((ending, written))) => accepted.push(Accepted { place, held: *held, ending, written }),
        }
    }
    let all: Vec<&Written<'_, Entry>> = accepted.iter().map(|one| one.written).collect();
    let refused = effects::append(shared, on, &all).await?;
    let mut kept = Vec::new();
    for (one, refused) in accepted.into_iter().zip(refused) {
        match refused {
            Some(error) => verdicts[one.place] = Verdict::EffectRefused(error),
            None => kept.push(one),
        }
    }
    let writes: Vec<&Written<'_, Entry>> = kept.iter().map(|one| one.written).collect();
    let jobs: Vec<&Entry> = writes.iter().flat_map(|written| &written.jobs).collect();
    let stored = enqueue::insert(shared, on, ids, &jobs).await?;
    effects::write(shared, on, &writes).await?;
    let ending: Vec<(Held, &Ending)> = kept.iter().map(|one| (one.held, one.ending)).collect();
    let moved = end(shared, on, &ending).await?;
    for (one, state) in kept.iter().zip(&moved.states) {
        // Its lease ran out since the fence: nothing of it may be written.
        let state: JobState = state.ok_or(Fault::Raced)?;
        verdicts[one.place] = Verdict::Settled(state);
    }
    let appended = writes.iter().any(|written| !written.appends.is_empty()) || shared.logs_any();
    Ok(Settled { verdicts, moved, stored, appended })
}

/// A settlement whose claim holds.
struct Accepted<'a> {
    place: usize,
    held: Held,
    ending: &'a Ending,
    written: &'a Written<'a, Entry>,
}

/// Locks the jobs whose claims hold; the others become `None`.
async fn fence(shared: &Shared, on: On<'_>, held: Vec<Option<Held>>) -> Result<Vec<Option<Held>>, Fault> {
    let (queues, jobs, claims) = held::columns(held.iter().flatten().copied());
    let rows = shared.run(on, Sql::JobFence, &[&queues, &jobs, &claims]).await?;
    let holding: HashSet<i64> = rows.iter().map(|row| row.get("ord")).collect();
    let mut place = 0;
    let holds = |held: Option<Held>| {
        held.filter(|_| {
            place += 1;
            holding.contains(&place)
        })
    };
    Ok(held.into_iter().map(holds).collect())
}

/// A batch that the database refuses as a whole: one by one, so that only the cause is hurt.
async fn settle_apart(shared: &Shared, parts: &[Part<'_>]) -> Result<Vec<Verdict>> {
    let mut verdicts = Vec::with_capacity(parts.len());
    for part in parts {
        let mut clashes = 0;
        let verdict = loop {
            match settle_whole(shared, std::slice::from_ref(part)).await {
                Ok(mut verdicts) => break verdicts.pop().unwrap_or(Verdict::LostClaim),
                Err(fault) if fault.is_clash() && clashes < crate::fault::CLASHES_MAX => clashes += 1,
                Err(fault) if fault.is_refusal() => break Verdict::EffectRefused(fault.told("write effects")),
                Err(fault) => return Err(fault.told("settle claims")),
            }
        };
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_outcome_over_its_bounds_is_refused() {
        let over = millstream_core::limits::DELAY_MAX + Duration::from_secs(1);
        assert!(Ending::of(&Outcome::Snooze(over)).is_err());
        assert!(Ending::of(&Outcome::Retry { error: json!("e"), after: Some(over) }).is_err());
        assert!(Ending::of(&Outcome::Done(json!("\0"))).is_err());
        assert!(Ending::of(&Outcome::Fail(json!("\0"))).is_ok());
    }
}
