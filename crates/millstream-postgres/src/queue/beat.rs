//! Heartbeats and progress of running jobs.

use std::collections::HashMap;

use millstream_core::{ClaimRef, Error, Progress, QueueEvent, QueueEventKind, Result, Signal, payload};

use super::held::{self, Held};
use crate::{
    events,
    fault::{Fault, KIND, again, closed},
    heart::Own,
    rows::{self, Time},
    shared::{Shared, transact},
    sql::{On, Sql},
};

/// Beats that may take this share of a lease; then the connection is given up.
const WITHIN: u32 = 3;

/// Renews claims, on a connection that belongs to heartbeats alone.
pub(crate) async fn beat(shared: &Shared, held: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>> {
    if shared.closing.is_cancelled() {
        return Err(closed());
    }
    if held.is_empty() {
        return Ok(Vec::new());
    }
    // Real time: a connection that hangs must not cost the claims of the next beat.
    match tokio::time::timeout(shared.lease() / WITHIN, beat_once(shared, held)).await {
        Ok(answer) => answer.map_err(|fault| fault.told("renew claims")),
        Err(_) => Err(Error::unavailable(KIND, "renew claims", "no answer in time")),
    }
}

async fn beat_once(shared: &Shared, claims: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>, Fault> {
    // Not kept where anything fails: the next beat opens another.
    let own = shared.heart.take(&shared.connector).await?;
    let signals = renew(shared, &own, claims).await?;
    shared.heart.keep(own).await;
    Ok(signals)
}

async fn renew(shared: &Shared, own: &Own, claims: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>, Fault> {
    let on = On::Own(&own.client);
    let refs: Vec<&ClaimRef> = claims.iter().collect();
    let rows_of = held::held(shared, on, &refs).await?;
    let known: Vec<(usize, Held)> = rows_of.iter().enumerate().filter_map(|(at, held)| Some((at, (*held)?))).collect();
    let (queues, jobs, numbers) = held::columns(known.iter().map(|(_, held)| *held));
    let lease = rows::micros(shared.lease());
    let rows = shared.run(on, Sql::JobBeat, &[&queues, &jobs, &numbers, &lease]).await?;
    let holding: HashMap<usize, bool> = rows
        .iter()
        .filter_map(|row| {
            let at = usize::try_from(row.get::<_, i64>("ord") - 1).ok()?;
            Some((known.get(at)?.0, row.get("cancel")))
        })
        .collect();
    let signal = |(at, claim): (usize, &ClaimRef)| match holding.get(&at) {
        None => Some((claim.clone(), Signal::Lost)),
        Some(true) => Some((claim.clone(), Signal::Cancel)),
        Some(false) => None,
    };
    Ok(claims.iter().enumerate().filter_map(signal).collect())
}

/// Notes the progress of running jobs.
pub(crate) async fn progress(shared: &Shared, notes: &[Progress]) -> Result<()> {
    // The last note of a claim counts.
    let mut last: HashMap<&str, (&Progress, String)> = HashMap::new();
    for note in notes {
        last.insert(&note.claim.token, (note, payload::text("progress", &note.value)?));
    }
    if last.is_empty() {
        return Ok(());
    }
    let last: Vec<(&Progress, String)> = last.into_values().collect();
    let events = again!("note progress", note(shared, &last))?;
    shared.tell(events);
    Ok(())
}

async fn note(shared: &Shared, notes: &[(&Progress, String)]) -> Result<Vec<QueueEvent>, Fault> {
    transact!(shared, shared.logs_any(), unit => note_in(shared, unit.on()?, notes))
}

async fn note_in(shared: &Shared, on: On<'_>, notes: &[(&Progress, String)]) -> Result<Vec<QueueEvent>, Fault> {
    let claims: Vec<&ClaimRef> = notes.iter().map(|(note, _)| &note.claim).collect();
    let held = held::held(shared, on, &claims).await?;
    let known: Vec<(Held, &Progress, &str)> =
        held.iter().zip(notes).filter_map(|(held, (note, text))| Some(((*held)?, *note, text.as_str()))).collect();
    let (queues, jobs, numbers) = held::columns(known.iter().map(|(held, ..)| *held));
    let values: Vec<&str> = known.iter().map(|(.., text)| *text).collect();
    let rows = shared.run(on, Sql::JobProgress, &[&queues, &jobs, &numbers, &values]).await?;
    let mut events = Vec::new();
    for row in &rows {
        let at = usize::try_from(row.get::<_, i64>("ord") - 1).ok();
        let Some((held, note, _)) = at.and_then(|at| known.get(at)) else { continue };
        if row.get("watched") || shared.logs(QueueEventKind::Progress) {
            events.push(QueueEvent {
                queue: note.claim.queue.clone(),
                kind: QueueEventKind::Progress,
                job: Some(note.claim.job.clone()),
                name: Some(rows::word(row.get("name"), rows::at("job", &held.job)("name"))?),
                attempt: u32::try_from(row.get::<_, i32>("attempt")).ok(),
                at: row.get::<_, Time>("now").0,
                data: Some(note.value.clone()),
            });
        }
    }
    events::append::job_events(shared, on, &events).await?;
    Ok(events)
}
