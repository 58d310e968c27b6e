//! The effects of many settlements, checked first and then written together.

use std::{collections::BTreeMap, sync::Arc};

use millstream_core::{Effects, NewJob, Result, RunRow};

use crate::{
    events::append::{self, Written as WrittenAppend},
    fault::Fault,
    rows::Time,
    shared::Shared,
    sql::{On, Sql},
    state,
};

/// The effects of one settlement, checked.
pub(crate) struct Written<'a, J> {
    pub(crate) appends: Vec<WrittenAppend<'a>>,
    /// Jobs, as the layout of their tables has them.
    pub(crate) jobs: Vec<J>,
    state: Vec<state::Write>,
    runs: &'a [RunRow],
}

impl<'a, J> Written<'a, J> {
    pub(crate) fn of(effects: &'a Effects, entry: impl Fn(&NewJob) -> Result<J>) -> Result<Self> {
        effects.check()?;
        let named = |what: &'static str, index: usize| {
            move |error: millstream_core::Error| error.at(format_args!("{what}[{index}]"))
        };
        let appends = effects.append.iter().enumerate();
        let jobs = effects.enqueue.iter().enumerate();
        let state = effects.state.iter().enumerate();
        Ok(Self {
            appends: appends
                .map(|(index, one)| WrittenAppend::of(one).map_err(named("append", index)))
                .collect::<Result<_>>()?,
            jobs: jobs.map(|(index, job)| entry(job).map_err(named("enqueue", index))).collect::<Result<_>>()?,
            state: state
                .map(|(index, op)| state::Write::of(op).map_err(named("state", index)))
                .collect::<Result<_>>()?,
            runs: &effects.runs,
        })
    }
}

/// Appends the events of many settlements. Answers for each why it was refused; of those nothing is left.
pub(crate) async fn append<J>(
    shared: &Shared,
    on: On<'_>,
    all: &[&Written<'_, J>],
) -> Result<Vec<Option<millstream_core::Error>>, Fault> {
    let mut refused = vec![None; all.len()];
    let appends: Vec<&WrittenAppend<'_>> = all.iter().flat_map(|written| &written.appends).collect();
    if appends.is_empty() {
        return Ok(refused);
    }
    append::lock_streams(shared, on, &appends).await?;
    let mut plain = Vec::new();
    for (written, refused) in all.iter().zip(&mut refused) {
        if written.appends.iter().all(WrittenAppend::is_plain) {
            plain.extend(&written.appends);
        } else {
            *refused = apart(shared, on, &written.appends).await?;
        }
    }
    append::plain(shared, on, &plain).await?;
    Ok(refused)
}

/// Appends of one settlement behind a savepoint: a conflict undoes them alone.
async fn apart(
    shared: &Shared,
    on: On<'_>,
    appends: &[WrittenAppend<'_>],
) -> Result<Option<millstream_core::Error>, Fault> {
    let On::Conn(conn) = on else { return Err(Fault::Raced) };
    conn.batch_execute("savepoint effects").await?;
    for one in appends {
        match append::one(shared, on, one).await {
            Ok(_) => {}
            Err(fault) if fault.is_refusal() => {
                conn.batch_execute("rollback to savepoint effects; release savepoint effects").await?;
                return Ok(Some(fault.told("append")));
            }
            Err(fault) => return Err(fault),
        }
    }
    conn.batch_execute("release savepoint effects").await?;
    Ok(None)
}

/// Writes state and the flow index: nothing of it can be refused any more.
pub(crate) async fn write<J>(shared: &Shared, on: On<'_>, all: &[&Written<'_, J>]) -> Result<(), Fault> {
    let writes: Vec<&state::Write> = all.iter().flat_map(|written| &written.state).collect();
    state::write(shared, on, &writes).await?;
    let runs: Vec<&RunRow> = all.iter().flat_map(|written| written.runs).collect();
    write_runs(shared, on, &runs).await
}

async fn write_runs(shared: &Shared, on: On<'_>, runs: &[&RunRow]) -> Result<(), Fault> {
    // The last row of a run counts.
    let last: BTreeMap<&Arc<str>, &RunRow> = runs.iter().map(|row| (&row.run, *row)).collect();
    if last.is_empty() {
        return Ok(());
    }
    let column = |text: fn(&RunRow) -> &str| last.values().map(|row| text(row)).collect::<Vec<&str>>();
    let started: Vec<Time> = last.values().map(|row| Time(row.started_at)).collect();
    let completed: Vec<Option<Time>> = last.values().map(|row| row.completed_at.map(Time)).collect();
    let (flows, names, status) = (column(|row| &row.flow), column(|row| &row.run), column(|row| &row.status));
    shared.run(on, Sql::EventsWriteRuns, &[&flows, &names, &started, &completed, &status]).await?;
    Ok(())
}
