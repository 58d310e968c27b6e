//! Heartbeats and progress of running jobs.

use std::collections::HashMap;

use millstream_core::{ClaimRef, Error, Progress, QueueEvent, QueueEventKind, Result, Signal, payload};

use super::{
    boss::{Boss, again},
    deferred,
    held::{self, Held},
    sql::BossSql,
    words,
};
use crate::{
    events,
    fault::{Fault, closed},
    heart::Own,
    rows::{self, Time},
    shared::transact,
    sql::On,
};

/// Beats that may take this share of a lease; then the connection is given up.
const WITHIN: u32 = 3;

/// Renews claims, on a connection that belongs to heartbeats alone.
pub(crate) async fn beat(boss: &Boss, held: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>> {
    if boss.shared.closing.is_cancelled() {
        return Err(closed());
    }
    if held.is_empty() {
        return Ok(Vec::new());
    }
    // Real time: a connection that hangs must not cost the claims of the next beat.
    match tokio::time::timeout(boss.shared.lease() / WITHIN, beat_once(boss, held)).await {
        Ok(answer) => answer.map_err(|fault| {
            boss.may_again(&fault);
            fault.told("renew claims")
        }),
        Err(_) => Err(Error::unavailable(super::store::KIND, "renew claims", "no answer in time")),
    }
}

async fn beat_once(boss: &Boss, claims: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>, Fault> {
    // Not kept where anything fails: the next beat opens another.
    let own = boss.shared.heart.take(&boss.shared.connector).await?;
    let signals = renew(boss, &own, claims).await?;
    boss.shared.heart.keep(own).await;
    Ok(signals)
}

async fn renew(boss: &Boss, own: &Own, claims: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>, Fault> {
    let on = On::Own(&own.client);
    let refs: Vec<&ClaimRef> = claims.iter().collect();
    let rows_of = held::held(boss, on, &refs).await?;
    // Locked by us: nobody else's, and not written yet.
    let is_open = |held: &Option<Held>| held.as_ref().is_some_and(|held| boss.deferred.is_open(held.call));
    let open: Vec<bool> = rows_of.iter().map(is_open).collect();
    let known = rows_of
        .iter()
        .enumerate()
        .filter_map(|(place, held)| Some((place, held.as_ref()?)))
        .filter(|(place, _)| !open[*place]);
    let lease = boss.lease();
    let mut holding: HashMap<usize, bool> = HashMap::new();
    for (table, places) in held::by_table(known) {
        let columns = held::columns(places.iter().filter_map(|place| rows_of[*place].as_ref()));
        let held::Columns { queues, jobs, fences, starts } = &columns;
        for row in boss.run_in(on, BossSql::Beat, &table, &[queues, jobs, fences, starts, &lease]).await? {
            let place = usize::try_from(row.get::<_, i64>("ord") - 1).ok().and_then(|at| places.get(at).copied());
            holding.extend(place.map(|place| (place, row.get("cancel"))));
        }
    }
    let signal = |(place, claim): (usize, &ClaimRef)| match holding.get(&place) {
        None if open[place] => None,
        None => Some((claim.clone(), Signal::Lost)),
        Some(true) => Some((claim.clone(), Signal::Cancel)),
        Some(false) => None,
    };
    Ok(claims.iter().enumerate().filter_map(signal).collect())
}

/// Notes the progress of running jobs.
pub(crate) async fn progress(boss: &Boss, notes: &[Progress]) -> Result<()> {
    // The last note of a claim counts.
    let mut last: HashMap<&str, (&Progress, String)> = HashMap::new();
    for note in notes {
        last.insert(&note.claim.token, (note, payload::text("progress", &note.value)?));
    }
    if last.is_empty() {
        return Ok(());
    }
    let last: Vec<(&Progress, String)> = last.into_values().collect();
    deferred::start_calls(boss, last.iter().filter_map(|(note, _)| held::call(&note.claim))).await?;
    let events = again!(boss, "note progress", note(boss, &last))?;
    boss.shared.tell(events);
    Ok(())
}

async fn note(boss: &Boss, notes: &[(&Progress, String)]) -> Result<Vec<QueueEvent>, Fault> {
    let shared = &*boss.shared;
    transact!(shared, shared.logs_any(), unit => note_in(boss, unit.on()?, notes))
}

async fn note_in(boss: &Boss, on: On<'_>, notes: &[(&Progress, String)]) -> Result<Vec<QueueEvent>, Fault> {
    let claims: Vec<&ClaimRef> = notes.iter().map(|(note, _)| &note.claim).collect();
    let held: Vec<Option<Held>> = held::held(boss, on, &claims).await?;
    let known = held.iter().enumerate().filter_map(|(place, held)| Some((place, held.as_ref()?)));
    let lease = boss.lease();
    let mut events = Vec::new();
    for (table, places) in held::by_table(known) {
        let columns = held::columns(places.iter().filter_map(|place| held[*place].as_ref()));
        let held::Columns { queues, jobs, fences, starts } = &columns;
        let values: Vec<&str> = places.iter().map(|place| notes[*place].1.as_str()).collect();
        let params: [&(dyn crate::sql::Param + Sync); 6] = [queues, jobs, fences, starts, &values, &lease];
        for row in boss.run_in(on, BossSql::Progress, &table, &params).await? {
            let place = usize::try_from(row.get::<_, i64>("ord") - 1).ok().and_then(|at| places.get(at).copied());
            let Some((note, _)) = place.and_then(|place| notes.get(place)) else { continue };
            if row.get("watched") || boss.shared.logs(QueueEventKind::Progress) {
                let body = rows::json_option(row.get("data"), rows::at("job", &note.claim)("data"))?;
                let (name, _) = words::data_out(&note.claim.queue, row.get("name"), body);
                events.push(QueueEvent {
                    queue: note.claim.queue.clone(),
                    kind: QueueEventKind::Progress,
                    job: Some(note.claim.job.clone()),
                    name: Some(name),
                    attempt: Some(words::attempt(row.get("retry_count"), true)),
                    at: row.get::<_, Time>("now").0,
                    data: Some(note.value.clone()),
                });
            }
        }
    }
    events::append::job_events(&boss.shared, on, &events).await?;
    Ok(events)
}
