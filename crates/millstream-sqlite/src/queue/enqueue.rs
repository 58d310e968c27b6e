//! Taking jobs in: by call, as an effect, or from a schedule.

use std::sync::Arc;

use millstream_core::{
    Admitted, Enqueued, JobId, JobState, NewJob, QueueEventKind, Result, Timestamp, check_enqueue_batch,
};
use rusqlite::params;
use serde_json::Value;

use crate::{
    fault::Fault,
    rows,
    sql::{self, Run},
    store::SqliteStore,
    tx::{Happened, Queue, Tx},
};

/// Stores a batch: all of it, or none.
pub(crate) async fn enqueue(store: &SqliteStore, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
    check_enqueue_batch(jobs)?;
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    // Checked and written as JSON here, on the caller's thread: the writer is shared by all.
    let (options, now) = (&store.shared().options, store.shared().options.clock.now());
    let admitted = jobs
        .iter()
        .enumerate()
        .map(|(index, job)| options.defaults.admit(job, now).map_err(|error| error.at(format_args!("jobs[{index}]"))));
    let admitted = admitted.collect::<Result<Vec<Admitted>>>()?;
    let heads: Vec<NewJob> = jobs.iter().map(head).collect();
    let insert_all = move |tx: &mut Tx<'_>| {
        heads.iter().zip(&admitted).map(|(job, admitted)| insert(tx, job, admitted, now)).collect()
    };
    store.writer().call("enqueue", insert_all).await
}

/// The job without what `Admitted` holds as text.
fn head(job: &NewJob) -> NewJob {
    let mut head = NewJob::new(job.queue.clone(), job.name.clone(), Value::Null);
    head.id.clone_from(&job.id);
    head
}

/// Checks a job and takes it in, within a transaction that does more.
pub(crate) fn admit(tx: &mut Tx<'_>, job: &NewJob) -> Result<Enqueued, Fault> {
    let now = tx.now;
    let admitted = tx.shared.options.defaults.admit(job, now)?;
    insert(tx, job, &admitted, now)
}

fn insert(tx: &mut Tx<'_>, job: &NewJob, admitted: &Admitted, now: Timestamp) -> Result<Enqueued, Fault> {
    let queue = tx.queue_made(&job.queue)?;
    let id = match &job.id {
        Some(id) => id.clone(),
        None => JobId::new(Arc::<str>::from(tx.shared.options.entropy.uuid(now).to_string()))?,
    };
    match insert_body(tx, &queue, &id, job, admitted, now)? {
        None => Ok(Enqueued::Duplicate(id)),
        Some(row) => {
            insert_live(tx, row, &queue, &id, job, admitted, now)?;
            Ok(Enqueued::Created(id))
        }
    }
}

fn insert_body(
    tx: &Tx<'_>,
    queue: &Queue,
    id: &JobId,
    job: &NewJob,
    admitted: &Admitted,
    now: Timestamp,
) -> Result<Option<i64>, Fault> {
    let settings = serde_json::to_string(&admitted.settings)
        .map_err(|error| millstream_core::Error::invalid("job options", error.to_string(), "JSON"))?;
    let (id, name, now) = (id.as_str(), job.name.as_str(), rows::micros(now));
    let body = params![queue.id, id, name, admitted.data, settings, admitted.trace, now];
    tx.conn.first(sql::JOB_INSERT, body, |row| row.get(0))
}

fn insert_live(
    tx: &mut Tx<'_>,
    row: i64,
    queue: &Queue,
    id: &JobId,
    job: &NewJob,
    admitted: &Admitted,
    now: Timestamp,
) -> Result<(), Fault> {
    let state = if admitted.due.is_some() { JobState::Delayed } else { JobState::Waiting };
    let run_at = rows::micros(admitted.due.unwrap_or(now));
    match state {
        JobState::Delayed => tx.delays(queue.id, run_at)?,
        _ => tx.ready(queue.id),
    }
    let (seq, priority) = (tx.next_seq()?, admitted.settings.priority);
    let none = None::<i64>;
    let live = params![row, queue.id, state.as_str(), priority, seq, run_at, 0, none, None::<&str>];
    tx.conn.run(sql::JOB_INSERT_LIVE, live)?;
    tx.moved(queue.id, None, Some(state));
    let data = admitted.due.map(|due| Value::from(due.to_string()));
    tx.happened(QueueEventKind::from(state), Happened { queue, id, name: &job.name, attempt: 0, data })
}
