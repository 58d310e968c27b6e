//! Settling claims: the fence, then the effects of those that hold, then the outcomes, in one transaction.

use std::collections::{HashMap, HashSet};

use millstream_core::{ClaimRef, JobState, Outcome, QueueName, Result, Settlement, Verdict};

use super::{
    boss::{Boss, Known, again},
    deferred,
    held::{self, Held},
    insert::{self, Entry, Stored},
    moves::{self, Kind, Move, Moved},
    sql::BossSql,
    words,
};
use crate::{
    effects::{self, Written},
    fault::Fault,
    queue::settle::Ending,
    rows,
    shared::transact,
    sql::On,
};

/// Settles a batch.
pub(crate) async fn settle(boss: &Boss, batch: &[Settlement]) -> Result<Vec<Verdict>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let mut verdicts = deferred::settle(boss, batch).await?;
    let left: Vec<&Settlement> =
        batch.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_none()).map(|(one, _)| one).collect();
    if !left.is_empty() {
        let mut rest = settle_started(boss, &left).await?.into_iter();
        verdicts.iter_mut().filter(|verdict| verdict.is_none()).for_each(|verdict| *verdict = rest.next());
    }
    Ok(verdicts.into_iter().map(|verdict| verdict.unwrap_or(Verdict::LostClaim)).collect())
}

/// Settles claims whose jobs' rows say that they run.
async fn settle_started(boss: &Boss, batch: &[&Settlement]) -> Result<Vec<Verdict>> {
    let parts: Vec<Part<'_>> = batch.iter().map(|one| Part::of(boss, one)).collect();
    let bare = batch.iter().zip(&parts).all(|(one, part)| one.effects.is_empty() && part.ending.is_ok());
    if bare {
        return again!(boss, "settle claims", settle_bare(boss, &parts));
    }
    let mut clashes = 0;
    loop {
        match settle_whole(boss, &parts).await {
            Ok(verdicts) => return Ok(verdicts),
            Err(fault) if clashes < crate::fault::CLASHES_MAX && boss.may_again(&fault) => clashes += 1,
            Err(fault) if fault.is_refusal() => return settle_apart(boss, &parts).await,
            Err(fault) => return Err(fault.told("settle claims")),
        }
    }
}

/// An outcome in pg-boss's words.
pub(crate) fn ending(outcome: &Outcome) -> Result<Ending> {
    let ending = Ending::of(outcome)?;
    let payload = match outcome {
        Outcome::Done(output) => words::output_text(output)?,
        Outcome::Retry { error, .. } | Outcome::Fail(error) | Outcome::Cancel(error) => words::error_text(error),
        Outcome::Snooze(_) => None,
    };
    Ok(Ending { payload, ..ending })
}

/// One settlement, ready to be written.
struct Part<'a> {
    claim: &'a ClaimRef,
    ending: Result<(Ending, Written<'a, Entry>)>,
}

impl<'a> Part<'a> {
    fn of(boss: &Boss, one: &'a Settlement) -> Self {
        let both = ending(&one.outcome)
            .and_then(|ending| Ok((ending, Written::of(&one.effects, |job| Entry::of(boss, job))?)));
        Self { claim: &one.claim, ending: both }
    }
}

/// The claims of a batch by their rows; the second of two equal ones is lost.
async fn places<'a>(boss: &Boss, on: On<'_>, parts: &[Part<'a>]) -> Result<Vec<Option<Held>>, Fault> {
    let claims: Vec<&ClaimRef> = parts.iter().map(|part| part.claim).collect();
    let mut seen = HashSet::new();
    let held = held::held(boss, on, &claims).await?;
    let mut first = |claim: &'a ClaimRef, held: &Held| seen.insert((&claim.queue, held.job, held.fence, held.start));
    Ok(held.into_iter().zip(claims).map(|(held, claim)| held.filter(|held| first(claim, held))).collect())
}

/// Outcomes without effects: one statement a table is the whole transaction.
async fn settle_bare(boss: &Boss, parts: &[Part<'_>]) -> Result<Vec<Verdict>, Fault> {
    let shared = &*boss.shared;
    let (held, moved): (Vec<Option<Held>>, Moved) =
        transact!(shared, shared.logs_any(), unit => move_bare(boss, unit.on()?, parts))?;
    let mut states = moved.states.iter();
    let verdict = |held: &Option<Held>| match held.as_ref().and_then(|_| states.next().copied().flatten()) {
        Some(state) => Verdict::Settled(state),
        None => Verdict::LostClaim,
    };
    let verdicts = held.iter().map(verdict).collect();
    moved.tell(boss);
    Ok(verdicts)
}

async fn move_bare(boss: &Boss, on: On<'_>, parts: &[Part<'_>]) -> Result<(Vec<Option<Held>>, Moved), Fault> {
    let held = places(boss, on, parts).await?;
    let both = held.iter().zip(parts);
    let aims: Vec<Aim<'_>> =
        both.filter_map(|(held, part)| Some(Aim::of(held.as_ref()?, &part.ending.as_ref().ok()?.0))).collect();
    let moved = end(boss, on, &aims).await?;
    Ok((held, moved))
}

/// What is to become of one job.
pub(crate) struct Aim<'a> {
    pub(crate) held: &'a Held,
    pub(crate) kind: Kind,
    pub(crate) payload: Option<&'a str>,
    /// `None`: by the job's backoff.
    pub(crate) wait: Option<i64>,
}

impl<'a> Aim<'a> {
    fn of(held: &'a Held, ending: &'a Ending) -> Self {
        let wait = ending.wait.map(rows::micros);
        Self { held, kind: Kind::Of(ending.kind), payload: ending.payload.as_deref(), wait }
    }
}

/// Writes the outcomes, with the waits that the jobs' backoffs choose.
pub(crate) async fn end(boss: &Boss, on: On<'_>, aims: &[Aim<'_>]) -> Result<Moved, Fault> {
    if aims.is_empty() {
        return Ok(Moved::default());
    }
    moves::moves(boss, on, &planned(boss, on, aims).await?).await
}

/// What settling one claim is to write.
pub(crate) async fn plan(boss: &Boss, claim: &ClaimRef, ending: &Ending) -> Result<Move, Fault> {
    let conn = boss.shared.conn().await?;
    let on = On::Conn(&conn);
    let held = held::held(boss, on, &[claim]).await?.pop().flatten();
    let held = held.unwrap_or_else(|| held::nobodys(&claim.queue));
    planned(boss, on, &[Aim::of(&held, ending)]).await?.pop().ok_or(Fault::Raced)
}

async fn planned(boss: &Boss, on: On<'_>, aims: &[Aim<'_>]) -> Result<Vec<Move>, Fault> {
    let mut waits: Vec<i64> = aims.iter().map(|aim| aim.wait.unwrap_or(0)).collect();
    let open = aims.iter().enumerate().filter(|(_, aim)| aim.wait.is_none());
    for (table, places) in held::by_table(open.map(|(place, aim)| (place, aim.held))) {
        let columns = held::columns(places.iter().map(|place| aims[*place].held));
        for row in boss.run_in(on, BossSql::Backoff, &table, &[&columns.queues, &columns.jobs]).await? {
            let place = usize::try_from(row.get::<_, i64>("ord") - 1).ok().and_then(|at| places.get(at).copied());
            if let Some(place) = place {
                waits[place] = rows::micros(chosen(boss, &row));
            }
        }
    }
    let one = |(aim, wait): (&Aim<'_>, i64)| Move {
        held: aim.held.clone(),
        kind: aim.kind,
        payload: aim.payload.map(str::to_owned),
        wait,
    };
    Ok(aims.iter().zip(waits).map(one).collect())
}

/// The wait of a failed attempt: by its exact backoff, where one is beside the row, else as pg-boss chooses it.
fn chosen(boss: &Boss, row: &tokio_postgres::Row) -> std::time::Duration {
    let entropy = &*boss.shared.options.entropy;
    let retries: i32 = row.get("retry_count");
    let own = row.get::<_, Option<&str>>("options").and_then(|text| {
        let options: millstream_core::JobOptions = serde_json::from_str(text).ok()?;
        options.backoff
    });
    match own {
        Some(backoff) => backoff.delay(words::attempt(retries, true), entropy),
        None => {
            let max: Option<i32> = row.get("retry_delay_max");
            words::wait(row.get("retry_delay"), row.get("retry_backoff"), max, retries, entropy.unit())
        }
    }
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
async fn settle_whole(boss: &Boss, parts: &[Part<'_>]) -> Result<Vec<Verdict>, Fault> {
    let written = || parts.iter().filter_map(|part| part.ending.as_ref().ok().map(|(_, written)| written));
    let jobs: Vec<&Entry> = written().flat_map(|written| &written.jobs).collect();
    let known = insert::known_of(boss, &jobs).await?;
    let shared = &*boss.shared;
    let settled: Settled = transact!(shared, true, unit => write(boss, unit.on()?, &known, parts))?;
    settled.moved.tell(boss);
    settled.stored.tell(boss);
    if settled.appended {
        shared.to_sequence.notify_one();
    }
    Ok(settled.verdicts)
}

async fn write(
    boss: &Boss,
    on: On<'_>,
    known: &HashMap<QueueName, Known>,
    parts: &[Part<'_>],
) -> Result<Settled, Fault> {
    let held = fence(boss, on, places(boss, on, parts).await?).await?;
    let mut verdicts: Vec<Verdict> = vec![Verdict::LostClaim; parts.len()];
    let mut accepted = Vec::new();
    for (place, (part, held)) in parts.iter().zip(&held).enumerate() {
        match (held, &part.ending) {
            (None, _) => {}
            (Some(_), Err(error)) => verdicts[place] = Verdict::EffectRefused(error.clone()),
            (Some(held), Ok((ending, written))) => accepted.push(Accepted { place, held, ending, written }),
        }
    }
    let all: Vec<&Written<'_, Entry>> = accepted.iter().map(|one| one.written).collect();
    let refused = effects::append(&boss.shared, on, &all).await?;
    let mut kept = Vec::new();
    for (one, refused) in accepted.into_iter().zip(refused) {
        match refused {
            Some(error) => verdicts[one.place] = Verdict::EffectRefused(error),
            None => kept.push(one),
        }
    }
    let writes: Vec<&Written<'_, Entry>> = kept.iter().map(|one| one.written).collect();
    let jobs: Vec<&Entry> = writes.iter().flat_map(|written| &written.jobs).collect();
    let stored = insert::insert(boss, on, known, &jobs).await?;
    effects::write(&boss.shared, on, &writes).await?;
    let aims: Vec<Aim<'_>> = kept.iter().map(|one| Aim::of(one.held, one.ending)).collect();
    let moved = end(boss, on, &aims).await?;
    for (one, state) in kept.iter().zip(&moved.states) {
        // Its lease ran out since the fence: nothing of it may be written.
        let state: JobState = state.ok_or(Fault::Raced)?;
        verdicts[one.place] = Verdict::Settled(state);
    }
    let appended = writes.iter().any(|written| !written.appends.is_empty()) || boss.shared.logs_any();
    Ok(Settled { verdicts, moved, stored, appended })
}

/// A settlement whose claim holds.
struct Accepted<'a> {
    place: usize,
    held: &'a Held,
    ending: &'a Ending,
    written: &'a Written<'a, Entry>,
}

/// Locks the jobs whose claims hold; the others become `None`.
async fn fence(boss: &Boss, on: On<'_>, held: Vec<Option<Held>>) -> Result<Vec<Option<Held>>, Fault> {
    let all = held.iter().enumerate().filter_map(|(place, held)| Some((place, held.as_ref()?)));
    let mut holding = HashSet::new();
    let lease = boss.lease();
    for (table, places) in held::by_table(all) {
        let columns = held::columns(places.iter().filter_map(|place| held[*place].as_ref()));
        let held::Columns { queues, jobs, fences, starts } = &columns;
        for row in boss.run_in(on, BossSql::Fence, &table, &[queues, jobs, fences, starts, &lease]).await? {
            let place = usize::try_from(row.get::<_, i64>("ord") - 1).ok().and_then(|at| places.get(at).copied());
            holding.extend(place);
        }
    }
    Ok(held.into_iter().enumerate().map(|(place, held)| held.filter(|_| holding.contains(&place))).collect())
}

/// A batch that the database refuses as a whole: one by one, so that only the cause is hurt.
async fn settle_apart(boss: &Boss, parts: &[Part<'_>]) -> Result<Vec<Verdict>> {
    let mut verdicts = Vec::with_capacity(parts.len());
    for part in parts {
        let mut clashes = 0;
        let verdict = loop {
            match settle_whole(boss, std::slice::from_ref(part)).await {
                Ok(mut verdicts) => break verdicts.pop().unwrap_or(Verdict::LostClaim),
                Err(fault) if clashes < crate::fault::CLASHES_MAX && boss.may_again(&fault) => clashes += 1,
                Err(fault) if fault.is_refusal() => break Verdict::EffectRefused(fault.told("write effects")),
                Err(fault) => return Err(fault.told("settle claims")),
            }
        };
        verdicts.push(verdict);
    }
    Ok(verdicts)
}
