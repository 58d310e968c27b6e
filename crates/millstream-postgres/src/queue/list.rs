//! Jobs as people look at them.

use millstream_core::{Error, Job, JobId, JobState, JobsQuery, Page, QueueName, Result, limits::PAGE_ROWS_MAX};
use tokio_postgres::Row;

use super::claim::own_or_key;
use crate::{
    fault::{Fault, again},
    rows::{self, OwnId, Time},
    shared::Shared,
    sql::{On, Sql},
};

/// One job, wherever it is in its life.
pub(crate) async fn job(shared: &Shared, queue: &QueueName, id: &JobId) -> Result<Option<Job>> {
    let found = again!(format!("read job `{id}` of queue `{queue}`"), find(shared, queue, id))?;
    found.as_ref().map(|row| read(queue, row)).transpose()
}

async fn find(shared: &Shared, queue: &QueueName, id: &JobId) -> Result<Option<Row>, Fault> {
    let conn = shared.conn().await?;
    let on = On::Conn(&conn);
    let Some(number) = shared.id(on, queue).await? else { return Ok(None) };
    let own = OwnId::read(id);
    let (twin, twin_at) = (own.map(|own| own.job), own.map(|own| own.created_at));
    let rows = shared.run(on, Sql::JobFind, &[&number, &id.as_str(), &twin, &twin_at]).await?;
    Ok(rows.into_iter().next())
}

/// A page of a queue's jobs, newest first. The key of a page is the number of its last job.
pub(crate) async fn jobs(shared: &Shared, query: &JobsQuery) -> Result<Page<Job>> {
    let before: i64 = match &query.after {
        None => i64::MAX,
        Some(key) => key.parse().map_err(|_| Error::invalid("page key", &**key, "the `next` of the page before"))?,
    };
    let limit = query.limit.min(PAGE_ROWS_MAX) as usize;
    let mut found = again!(format!("list the jobs of queue `{}`", query.queue), page(shared, query, before, limit))?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|row| row.get::<_, i64>("job").to_string().into());
    let items = found.iter().map(|row| read(&query.queue, row)).collect::<Result<_>>()?;
    Ok(Page { items, next })
}

async fn page(shared: &Shared, query: &JobsQuery, before: i64, limit: usize) -> Result<Vec<Row>, Fault> {
    let conn = shared.conn().await?;
    let on = On::Conn(&conn);
    let Some(queue) = shared.id(on, &query.queue).await?.filter(|_| limit > 0) else { return Ok(Vec::new()) };
    let name = query.name.as_ref().map(|name| name.as_str());
    let (since, until) = (query.since.map(Time), query.until.map(Time));
    // One row more than asked for: whether there is a next page.
    let rows = limit as i64 + 1;
    if query.states.is_empty() {
        return shared.run(on, Sql::JobPage, &[&queue, &before, &name, &since, &until, &rows]).await;
    }
    let letters = JobState::ALL.into_iter().filter(|state| query.states.contains(state)).map(rows::letter);
    let states: Vec<&str> = letters.collect();
    shared.run(on, Sql::JobPageStates, &[&queue, &before, &name, &since, &until, &rows, &states]).await
}

fn read(queue: &QueueName, row: &Row) -> Result<Job> {
    let job: i64 = row.get("job");
    let body = rows::at("job", &job);
    let side = rows::at(if row.get("live") { "job_live" } else { "job_done" }, &job);
    let Some(state) = row.get::<_, Option<&str>>("state") else {
        return Err(side("state").corrupt("the job is neither live nor finished"));
    };
    let count = |column: &'static str| rows::count(i64::from(row.get::<_, i32>(column)), side(column));
    let mut settings = rows::settings(row.get("settings"), job);
    // An operator's retry may have given it more.
    settings.attempts = count("attempts")?;
    let time = |column: &str| row.get::<_, Option<Time>>(column).map(|Time(time)| time);
    Ok(Job {
        queue: queue.clone(),
        id: own_or_key(row, job)?,
        name: rows::word(row.get("name"), body("name"))?,
        state: rows::state(state, side("state"))?,
        data: rows::json(row.get("data"), body("data"))?,
        settings,
        attempt: count("attempt")?,
        progress: rows::json_option(row.get("progress"), rows::at("job_progress", &job)("value"))?,
        output: rows::json_option(row.get("output"), side("output"))?,
        error: rows::json_option(row.get("error"), side("error"))?,
        cancel_requested: row.get("cancel"),
        created_at: row.get::<_, Time>("created_at").0,
        run_at: row.get::<_, Time>("run_at").0,
        started_at: time("started_at"),
        finished_at: time("finished_at"),
    })
}
