//! Looking at jobs: one, or a page.

use millstream_core::{Error, Job, JobId, JobState, JobsQuery, Page, QueueName, Result, limits::PAGE_ROWS_MAX};
use rusqlite::{Connection, Row, params};

use crate::{
    fault::Fault,
    rows,
    sql::{self, Run},
    store::SqliteStore,
};

/// One job, wherever it is in its life.
pub(crate) async fn job(store: &SqliteStore, queue: &QueueName, id: &JobId) -> Result<Option<Job>> {
    let doing = format!("read job `{id}` of queue `{queue}`");
    let (queue, id) = (queue.clone(), id.clone());
    let read = move |conn: &Connection| {
        let row = conn.first(sql::JOB_FIND, [queue.as_str(), id.as_str()], JobRow::read)?;
        Ok(row.map(|row| row.job(&queue)).transpose()?)
    };
    store.reader().call(doing, read).await
}

/// A page of jobs, newest first. Its key is the order of intake, which never changes: so a job is on exactly one page.
pub(crate) async fn jobs(store: &SqliteStore, query: &JobsQuery) -> Result<Page<Job>> {
    let before = match &query.after {
        None => i64::MAX,
        Some(key) => key.parse().map_err(|_| Error::invalid("page key", &**key, "the `next` of the page before"))?,
    };
    let query = query.clone();
    let doing = format!("list the jobs of queue `{}`", query.queue);
    store.reader().call(doing, move |conn| page(conn, &query, before)).await
}

fn page(conn: &Connection, query: &JobsQuery, before: i64) -> Result<Page<Job>, Fault> {
    let limit = query.limit.min(PAGE_ROWS_MAX) as usize;
    let queue = conn.first(sql::QUEUE_FIND, [query.queue.as_str()], |row| row.get::<_, i64>(0))?;
    let Some(queue) = queue.filter(|_| limit > 0) else { return Ok(Page { items: Vec::new(), next: None }) };

    // One row more than asked for: whether there is a next page.
    let rows = Rows { conn, query, queue, before, limit: limit as i64 + 1 };
    let mut found = rows.read()?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|row| row.row.to_string().into());
    let items = found.into_iter().map(|row| row.job(&query.queue)).collect::<Result<_>>()?;
    Ok(Page { items, next })
}

/// The rows of one page.
struct Rows<'a> {
    conn: &'a Connection,
    query: &'a JobsQuery,
    queue: i64,
    before: i64,
    limit: i64,
}

impl Rows<'_> {
    fn read(&self) -> Result<Vec<JobRow>, Fault> {
        if self.query.states.is_empty() {
            let (name, since, until) = self.filters();
            let row = params![self.queue, self.before, name, since, until, self.limit];
            return self.conn.all(sql::JOB_PAGE, row, JobRow::read);
        }
        let mut found = Vec::new();
        for &state in JobState::ALL.iter().filter(|state| self.query.states.contains(state)) {
            found.extend(self.of_state(state)?);
        }
        found.sort_unstable_by_key(|row| std::cmp::Reverse(row.row));
        Ok(found)
    }

    fn of_state(&self, state: JobState) -> Result<Vec<JobRow>, Fault> {
        let sql = if state.is_finished() { sql::JOB_PAGE_DONE } else { sql::JOB_PAGE_LIVE };
        let (name, since, until) = self.filters();
        let row = params![self.queue, self.before, name, since, until, self.limit, state.as_str()];
        self.conn.all(sql, row, JobRow::read)
    }

    fn filters(&self) -> (Option<&str>, Option<i64>, Option<i64>) {
        let JobsQuery { name, since, until, .. } = self.query;
        (name.as_ref().map(|name| name.as_str()), since.map(rows::micros), until.map(rows::micros))
    }
}

/// The columns of a listed job, as they are stored.
struct JobRow {
    row: i64,
    id: String,
    name: String,
    data: String,
    settings: String,
    created_at: i64,
    state: Option<String>,
    attempt: Option<i64>,
    progress: Option<String>,
    output: Option<String>,
    error: Option<String>,
    cancel_requested: Option<bool>,
    run_at: Option<i64>,
    started_at: Option<i64>,
    finished_at: Option<i64>,
}

impl JobRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            row: row.get(0)?,
            id: row.get(1)?,
            name: row.get(2)?,
            data: row.get(3)?,
            settings: row.get(4)?,
            created_at: row.get(5)?,
            state: row.get(6)?,
            attempt: row.get(7)?,
            progress: row.get(8)?,
            output: row.get(9)?,
            error: row.get(10)?,
            cancel_requested: row.get(11)?,
            run_at: row.get(12)?,
            started_at: row.get(13)?,
            finished_at: row.get(14)?,
        })
    }

    fn job(self, queue: &QueueName) -> Result<Job> {
        let (body, live, done) =
            (rows::at("job", &self.row), rows::at("job_live", &self.row), rows::at("job_done", &self.row));
        let Some(state) = self.state else {
            return Err(live("state").corrupt("the job is neither live nor finished"));
        };
        Ok(Job {
            queue: queue.clone(),
            id: rows::word(self.id, body("job"))?,
            name: rows::word(self.name, body("name"))?,
            state: rows::state(&state, live("state"))?,
            data: rows::json(&self.data, body("data"))?,
            settings: rows::json(&self.settings, body("settings"))?,
            attempt: rows::count(self.attempt.unwrap_or(0), live("attempt"))?,
            progress: rows::json_option(self.progress, rows::at("job_progress", &self.row)("value"))?,
            output: rows::json_option(self.output, done("output"))?,
            error: rows::json_option(self.error, done("error"))?,
            cancel_requested: self.cancel_requested.unwrap_or(false),
            created_at: rows::time(self.created_at, body("created_at"))?,
            run_at: rows::time(self.run_at.unwrap_or(self.created_at), live("run_at"))?,
            started_at: rows::time_option(self.started_at, live("started_at"))?,
            finished_at: rows::time_option(self.finished_at, done("finished_at"))?,
        })
    }
}
