//! Cursors: they move by compare-and-set, alone, with effects, or over what is put aside.

use std::{collections::BTreeSet, time::Duration};

use millstream_core::{
    CursorMove, Effects, Error, GroupName, ParkedNow, PartitionRef, Result, limits::ERROR_BYTES_MAX,
};

use super::define;
use crate::{
    effects::{self, Written},
    fault::{Fault, again},
    queue::enqueue::Intake,
    rows,
    shared::{Shared, transact},
    sql::{On, Sql},
};

/// # Errors
///
/// [`Error::Invalid`] for a move back.
fn check(step: &CursorMove) -> Result<()> {
    match step.to < step.from {
        true => Err(Error::invalid("cursor move", step.to, format!("a position from {} on", step.from))),
        false => Ok(()),
    }
}

/// Moves cursors, each on its own.
pub(super) async fn advance(shared: &Shared, group: &GroupName, moves: &[CursorMove]) -> Result<Vec<bool>> {
    moves.iter().try_for_each(check)?;
    again!(format!("advance group `{group}`"), advance_once(shared, group, moves))
}

async fn advance_once(shared: &Shared, group: &GroupName, moves: &[CursorMove]) -> Result<Vec<bool>, Fault> {
    let mut seen = BTreeSet::new();
    let once = moves.iter().all(|step| seen.insert(step.held.partition));
    let moved = match once {
        true => transact!(shared, false, unit => advance_in(shared, unit.on()?, group, moves))?,
        false => transact!(shared, true, unit => advance_each(shared, unit.on()?, group, moves))?,
    };
    Ok(moved)
}

/// One statement moves a cursor at most once: a chain of moves goes one by one.
async fn advance_each(
    shared: &Shared,
    on: On<'_>,
    group: &GroupName,
    moves: &[CursorMove],
) -> Result<Vec<bool>, Fault> {
    let mut moved = Vec::with_capacity(moves.len());
    for step in moves {
        moved.extend(advance_in(shared, on, group, std::slice::from_ref(step)).await?);
    }
    Ok(moved)
}

async fn advance_in(shared: &Shared, on: On<'_>, group: &GroupName, moves: &[CursorMove]) -> Result<Vec<bool>, Fault> {
    let mut moved = vec![false; moves.len()];
    let parts: Vec<i32> = moves.iter().map(|step| i32::from(step.held.partition)).collect();
    let column = |of: fn(&CursorMove) -> u64| moves.iter().map(|step| rows::integer(of(step))).collect::<Vec<i64>>();
    let (epochs, from, to) = (column(|step| step.held.epoch), column(|step| step.from), column(|step| step.to));
    for row in shared.run(on, Sql::GroupsMove, &[&group.as_str(), &parts, &epochs, &from, &to]).await? {
        let place = usize::try_from(row.get::<_, i64>("ord") - 1).ok();
        if let Some(moved) = place.and_then(|place| moved.get_mut(place)) {
            *moved = true;
        }
    }
    if !moved.contains(&true) {
        define::check(shared, on, group).await?;
    }
    Ok(moved)
}

/// Moves one cursor with effects in its transaction; jobs among them go where the intake has its own.
pub(super) async fn commit<I: Intake>(
    intake: &I,
    group: &GroupName,
    step: &CursorMove,
    effects: &Effects,
) -> Result<bool> {
    if effects.is_empty() {
        return Ok(advance(intake.shared(), group, std::slice::from_ref(step)).await? == [true]);
    }
    check(step)?;
    let written = Written::of(effects, |job| intake.entry(job))?;
    again!(intake, format!("commit group `{group}`"), commit_once(intake, group, step, &written))
}

async fn commit_once<I: Intake>(
    intake: &I,
    group: &GroupName,
    step: &CursorMove,
    written: &Written<'_, I::Entry>,
) -> Result<bool, Fault> {
    let shared = intake.shared();
    let jobs: Vec<&I::Entry> = written.jobs.iter().collect();
    let queues = intake.queues(&jobs).await?;
    let stored = transact!(shared, true, unit => async {
        let on = unit.on()?;
        // The fence first: it locks the cursor until the commit, so nothing can come between.
        if advance_in(shared, on, group, std::slice::from_ref(step)).await? != [true] {
            return Ok(None);
        }
        if let Some(error) = effects::append(shared, on, &[written]).await?.into_iter().flatten().next() {
            return Err(Fault::Refused(error));
        }
        let stored = intake.insert(on, &queues, &jobs).await?;
        effects::write(shared, on, &[written]).await?;
        Ok(Some(stored))
    })?;
    let Some(stored): Option<I::Stored> = stored else { return Ok(false) };
    intake.tell(&stored);
    if !written.appends.is_empty() || shared.logs_any() {
        shared.to_sequence.notify_one();
    }
    Ok(true)
}

/// Counts a failure on the event behind a cursor. `None`: fenced.
pub(super) async fn fail(
    shared: &Shared,
    group: &GroupName,
    held: PartitionRef,
    at: u64,
    wait: Duration,
    error: &str,
) -> Result<Option<u32>> {
    rows::check_wait("retry wait", wait)?;
    let error = text(error);
    let counted = async || {
        let conn = shared.conn().await?;
        let on = On::Conn(&conn);
        let (part, epoch) = (i32::from(held.partition), rows::integer(held.epoch));
        let params: &[&(dyn crate::sql::Param + Sync)] =
            &[&group.as_str(), &part, &epoch, &rows::integer(at), &rows::micros(wait), &error];
        let rows = shared.run(on, Sql::GroupsFail, params).await?;
        let Some(row) = rows.first() else {
            define::check(shared, on, group).await?;
            return Ok(None);
        };
        let place = rows::at("queue_event_cursors", &part);
        let attempts = rows::count(i64::from(row.get::<_, i32>("attempts")), place("attempts"))?;
        Ok::<_, Fault>(Some(attempts))
    };
    again!(format!("count a failure of group `{group}`"), counted())
}

/// An error's text as it is kept: without NUL, and a long one cut.
fn text(error: &str) -> String {
    let mut text = error.replace('\0', "\u{fffd}");
    if text.len() > ERROR_BYTES_MAX {
        let whole = text.len();
        let end = (0..=ERROR_BYTES_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(&format!("… ({whole} bytes)"));
    }
    text
}

/// Moves a cursor and puts events aside.
pub(super) async fn park(shared: &Shared, group: &GroupName, step: &CursorMove, events: &[ParkedNow]) -> Result<bool> {
    check(step)?;
    let (part, epoch) = (i32::from(step.held.partition), rows::integer(step.held.epoch));
    let (from, to) = (rows::integer(step.from), rows::integer(step.to));
    let positions: Vec<i64> = events.iter().map(|event| rows::integer(event.position)).collect();
    let streams: Vec<&str> = events.iter().map(|event| event.stream.as_str()).collect();
    let stops: Vec<bool> = events.iter().map(|event| event.stops_stream).collect();
    let errors: Vec<String> = events.iter().map(|event| text(&event.error)).collect();
    let attempts: Vec<i32> = events.iter().map(|event| rows::small(event.attempts)).collect();
    let parked = async || {
        let conn = shared.conn().await?;
        let on = On::Conn(&conn);
        let params: &[&(dyn crate::sql::Param + Sync)] =
            &[&group.as_str(), &part, &epoch, &from, &to, &positions, &streams, &stops, &errors, &attempts];
        let moved = !shared.run(on, Sql::GroupsPark, params).await?.is_empty();
        if !moved {
            define::check(shared, on, group).await?;
        }
        Ok::<_, Fault>(moved)
    };
    again!(format!("park events of group `{group}`"), parked())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errors_text_is_kept_whatever_it_holds() {
        assert_eq!(text("a\0b"), "a\u{fffd}b");
        let long = text(&"ä".repeat(ERROR_BYTES_MAX));
        assert!(long.ends_with(&format!("… ({} bytes)", 2 * ERROR_BYTES_MAX)));
    }
}
