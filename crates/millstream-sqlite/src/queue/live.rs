//! An unfinished job, and the moves that every call makes of it: waiting, delayed, finished.

use millstream_core::{
    Error, JobId, JobName, JobSettings, JobState, QueueEventKind, QueueName, Removal, Result, Timestamp,
};
use rusqlite::{Row, params};
use serde_json::Value;

use crate::{
    fault::Fault,
    rows,
    sql::{self, Run},
    tx::{Happened, Queue, Tx},
};

/// An unfinished job's row, with what its moves need of its body.
pub(crate) struct Live {
    pub(crate) row: i64,
    pub(crate) queue: Queue,
    pub(crate) id: JobId,
    pub(crate) name: JobName,
    pub(crate) settings: JobSettings,
    pub(crate) state: JobState,
    pub(crate) seq: i64,
    pub(crate) run_at: i64,
    pub(crate) attempt: u32,
    pub(crate) started_at: Option<i64>,
    pub(crate) cancel_requested: bool,
    /// Of its latest failed attempt, as JSON text.
    pub(crate) error: Option<String>,
}

/// The columns of the statements that answer a [`Live`], as they are stored.
pub(crate) struct LiveRow {
    row: i64,
    queue: i64,
    queue_name: String,
    id: String,
    name: String,
    settings: String,
    state: String,
    seq: i64,
    run_at: i64,
    attempt: i64,
    started_at: Option<i64>,
    cancel_requested: bool,
    error: Option<String>,
}

impl LiveRow {
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            row: row.get(0)?,
            queue: row.get(1)?,
            queue_name: row.get(2)?,
            id: row.get(3)?,
            name: row.get(4)?,
            settings: row.get(5)?,
            state: row.get(6)?,
            seq: row.get(8)?,
            run_at: row.get(9)?,
            attempt: row.get(10)?,
            started_at: row.get(11)?,
            cancel_requested: row.get(12)?,
            error: row.get(13)?,
        })
    }

    pub(crate) fn live(self) -> Result<Live> {
        let (body, live) = (rows::at("job", &self.row), rows::at("job_live", &self.row));
        let queue: QueueName = rows::word(self.queue_name, rows::at("queue", &self.queue)("name"))?;
        Ok(Live {
            queue: Queue { id: self.queue, name: queue },
            id: rows::word(self.id, body("job"))?,
            name: rows::word(self.name, body("name"))?,
            settings: settings(&self.settings, self.row),
            state: rows::state(&self.state, live("state"))?,
            seq: self.seq,
            run_at: self.run_at,
            attempt: rows::count(self.attempt, live("attempt"))?,
            started_at: self.started_at,
            cancel_requested: self.cancel_requested,
            error: self.error,
            row: self.row,
        })
    }
}

/// Damaged settings must not keep a job from ending: it ends by the defaults, and the log says so.
fn settings(text: &str, row: i64) -> JobSettings {
    rows::json(text, rows::at("job", &row)("settings")).unwrap_or_else(|error: Error| {
        tracing::error!(%error, "a job goes on with default settings");
        JobSettings::default()
    })
}

/// How a job ends.
pub(crate) enum End {
    /// Completed, with the output as JSON text.
    Completed(String),
    /// Failed, with the error as JSON text.
    Failed(String),
    /// Cancelled; with a reason as JSON text, where there is one.
    Cancelled(Option<String>),
}

impl Live {
    /// Waiting again, from the back of its priority.
    pub(crate) fn wait(&self, tx: &mut Tx<'_>, attempt: u32, error: Option<&str>) -> Result<JobState, Fault> {
        let (seq, state) = (tx.next_seq()?, JobState::Waiting);
        // A due job keeps the time it was due at.
        let run_at =
            if self.state == JobState::Delayed { self.run_at.min(rows::micros(tx.now)) } else { rows::micros(tx.now) };
        tx.conn.run(
            sql::JOB_REQUEUE,
            params![self.row, state.as_str(), seq, run_at, attempt, error.or(self.error.as_deref())],
        )?;
        tx.ready(self.queue.id);
        self.moved(tx, state, None)
    }

    /// Delayed until `due`.
    pub(crate) fn delay(
        &self,
        tx: &mut Tx<'_>,
        due: Timestamp,
        attempt: u32,
        error: Option<&str>,
    ) -> Result<JobState, Fault> {
        let (state, run_at) = (JobState::Delayed, rows::micros(due));
        tx.delays(self.queue.id, run_at)?;
        let error = error.or(self.error.as_deref());
        tx.conn.run(sql::JOB_REQUEUE, params![self.row, state.as_str(), self.seq, run_at, attempt, error])?;
        self.moved(tx, state, Some(due.to_string().into()))
    }

    /// Finished, and removed where its settings say so.
    pub(crate) fn end(&self, tx: &mut Tx<'_>, end: End) -> Result<JobState, Fault> {
        let (state, output, error) = match end {
            End::Completed(output) => (JobState::Completed, Some(output), None),
            End::Failed(error) => (JobState::Failed, None, Some(error)),
            End::Cancelled(reason) => (JobState::Cancelled, None, reason),
        };
        let data = match tx.heeds(&self.queue, state.into())? {
            true => output.as_ref().or(error.as_ref()).and_then(|text| serde_json::from_str(text).ok()),
            false => None,
        };
        match self.removal(state) {
            Removal::AtOnce => {
                tx.conn.run(sql::JOB_DELETE, [self.row])?;
                tx.moved(self.queue.id, Some(self.state), None);
            }
            removal => {
                self.write_done(tx, state, output, error.or_else(|| self.error.clone()), removal)?;
                tx.moved(self.queue.id, Some(self.state), Some(state));
            }
        }
        self.tell(tx, state.into(), data)?;
        Ok(state)
    }

    fn removal(&self, state: JobState) -> Removal {
        match state {
            JobState::Completed => self.settings.remove_on_complete,
            _ => self.settings.remove_on_fail,
        }
    }

    fn write_done(
        &self,
        tx: &mut Tx<'_>,
        state: JobState,
        output: Option<String>,
        error: Option<String>,
        removal: Removal,
    ) -> Result<(), Fault> {
        let (keep, age) = match removal {
            Removal::Keep { count, age } => (count, age),
            Removal::Never | Removal::AtOnce => (None, None),
        };
        let expires_at = age.map(|age| rows::micros(rows::later(tx.now, age)));
        let seq = tx.next_seq()?;
        tx.conn.run(sql::JOB_DELETE_LIVE, [self.row])?;
        let done = params![
            self.row,
            self.queue.id,
            state.as_str(),
            seq,
            self.run_at,
            self.attempt,
            self.started_at,
            rows::micros(tx.now),
            self.cancel_requested,
            output,
            error,
            keep,
            expires_at,
        ];
        tx.conn.run(sql::JOB_FINISH, done)?;
        Ok(())
    }

    /// Counts the move, and tells of it.
    fn moved(&self, tx: &mut Tx<'_>, to: JobState, data: Option<Value>) -> Result<JobState, Fault> {
        tx.moved(self.queue.id, Some(self.state), Some(to));
        self.tell(tx, to.into(), data)?;
        Ok(to)
    }

    /// Something happened to it.
    pub(crate) fn tell(&self, tx: &mut Tx<'_>, kind: QueueEventKind, data: Option<Value>) -> Result<(), Fault> {
        tx.happened(kind, Happened { queue: &self.queue, id: &self.id, name: &self.name, attempt: self.attempt, data })
    }
}

/// An unfinished job by its id.
pub(crate) fn live(tx: &mut Tx<'_>, queue: &QueueName, id: &JobId) -> Result<Option<Live>, Fault> {
    let Some(queue) = tx.queue(queue)? else { return Ok(None) };
    let row = tx.conn.first(sql::JOB_LIVE, params![queue.id, id.as_str()], LiveRow::read)?;
    Ok(row.map(LiveRow::live).transpose()?)
}

/// The job of a claim, if the claim holds.
pub(crate) fn held(tx: &mut Tx<'_>, claim: &millstream_core::ClaimRef) -> Result<Option<Live>, Fault> {
    let Some(queue) = tx.queue(&claim.queue)? else { return Ok(None) };
    let fence = params![queue.id, claim.job.as_str(), &*claim.token, rows::micros(tx.now)];
    let row = tx.conn.first(sql::JOB_HELD, fence, LiveRow::read)?;
    Ok(row.map(LiveRow::live).transpose()?)
}
