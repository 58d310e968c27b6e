//! Jobs and queues as people look at them.

use millstream_core::{
    Error, Job, JobCounts, JobId, JobSettings, JobState, JobsQuery, Page, QueueInfo, QueueName, Result, Timestamp,
    limits::PAGE_ROWS_MAX,
};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    boss::{Boss, again},
    insert::id_of,
    sql::BossSql,
    words,
};
use crate::{
    fault::Fault,
    rows::{self, Time},
    sql::On,
};

/// One job, wherever it is in its life.
pub(crate) async fn job(boss: &Boss, queue: &QueueName, id: &JobId) -> Result<Option<Job>> {
    let found = again!(boss, format!("read job `{id}` of queue `{queue}`"), find(boss, queue, id))?;
    found.as_ref().map(|row| read(queue, row)).transpose()
}

async fn find(boss: &Boss, queue: &QueueName, id: &JobId) -> Result<Option<Row>, Fault> {
    let conn = boss.shared.conn().await?;
    let on = On::Conn(&conn);
    let Some(known) = boss.one(on, queue).await? else { return Ok(None) };
    let row = words::row_id(queue, id).to_string();
    Ok(boss.run_in(on, BossSql::Find, &known.table, &[&queue.as_str(), &row]).await?.into_iter().next())
}

/// A page of a queue's jobs, newest first. The key of a page is intake and id of its last job.
pub(crate) async fn jobs(boss: &Boss, query: &JobsQuery) -> Result<Page<Job>> {
    let before = match &query.after {
        None => (Timestamp::MAX, Uuid::max()),
        Some(key) => {
            let parts = key
                .split_once('.')
                .and_then(|(at, id)| Some((Timestamp::from_microsecond(at.parse().ok()?).ok()?, id.parse().ok()?)));
            parts.ok_or_else(|| Error::invalid("page key", &**key, "the `next` of the page before"))?
        }
    };
    let limit = query.limit.min(PAGE_ROWS_MAX) as usize;
    let mut found =
        again!(boss, format!("list the jobs of queue `{}`", query.queue), page(boss, query, before, limit))?;
    let more = found.len() > limit;
    found.truncate(limit);
    let key = |row: &Row| {
        let at = row.get::<_, Time>("created_on").0.as_microsecond();
        format!("{at}.{}", row.get::<_, &str>("job")).into()
    };
    let next = found.last().filter(|_| more).map(key);
    let items = found.iter().map(|row| read(&query.queue, row)).collect::<Result<_>>()?;
    Ok(Page { items, next })
}

async fn page(
    boss: &Boss,
    query: &JobsQuery,
    (before, id): (Timestamp, Uuid),
    limit: usize,
) -> Result<Vec<Row>, Fault> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let conn = boss.shared.conn().await?;
    let on = On::Conn(&conn);
    let Some(known) = boss.one(on, &query.queue).await? else { return Ok(Vec::new()) };
    let (queue, id) = (query.queue.as_str(), id.to_string());
    let name = query.name.as_ref().map(|name| name.as_str());
    let (since, until) = (query.since.map(Time), query.until.map(Time));
    let letters = JobState::ALL.into_iter().filter(|state| query.states.contains(state)).map(rows::letter);
    let states: Option<Vec<&str>> = (!query.states.is_empty()).then(|| letters.collect());
    let rows = limit as i64 + 1;
    boss.run_in(on, BossSql::Page, &known.table, &[&queue, &Time(before), &id, &name, &since, &until, &states, &rows])
        .await
}

fn read(queue: &QueueName, row: &Row) -> Result<Job> {
    let id = id_of(row)?;
    let address = id.clone();
    let place = rows::at("job", &address);
    let state = rows::state(row.get("state"), place("state"))?;
    let body = rows::json_option(row.get("data"), place("data"))?;
    let (name, data) = words::data_out(queue, row.get("name"), body);
    let columns = words::Columns {
        priority: row.get("priority"),
        retry_limit: row.get("retry_limit"),
        retry_delay: row.get("retry_delay"),
        retry_backoff: row.get("retry_backoff"),
        retry_delay_max: row.get("retry_delay_max"),
        expire_seconds: row.get("expire_seconds"),
    };
    let stored = rows::json_option(row.get("output"), place("output"))?;
    let (output, error) = match state {
        JobState::Completed => (Some(words::output_out(stored)), None),
        _ => (None, stored.map(|stored| words::output_out(Some(stored)))),
    };
    let time = |column: &str| row.get::<_, Option<Time>>(column).map(|Time(time)| time);
    let started = time("started_on");
    Ok(Job {
        queue: queue.clone(),
        name,
        state,
        data,
        settings: JobSettings {
            group: words::group(row.get("group_id"), row.get("group_tier")),
            ..words::settings(columns, row.get("options"), row.get("removal"))
        },
        attempt: words::attempt(row.get("retry_count"), started.is_some()),
        progress: rows::json_option(row.get("progress"), place("progress"))?,
        output,
        error,
        cancel_requested: row.get("cancel"),
        created_at: to_the_millisecond(row.get::<_, Time>("created_on").0),
        run_at: row.get::<_, Time>("start_after").0,
        started_at: started.map(to_the_millisecond),
        finished_at: time("completed_on"),
        id,
    })
}

/// Below the millisecond, intake is the order of one moment and the start is a claim's number.
fn to_the_millisecond(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_microsecond().div_euclid(1_000)).unwrap_or(at)
}

/// Jobs of a queue by state.
pub(crate) async fn counts(boss: &Boss, queue: &QueueName) -> Result<JobCounts> {
    let found = boss.call(format!("count queue `{queue}`"), BossSql::Counts, &[&Some(queue.as_str())]).await?;
    Ok(found.first().map(info).transpose()?.map_or_else(JobCounts::default, |info| info.counts))
}

/// Every queue, by name.
pub(crate) async fn queues(boss: &Boss) -> Result<Vec<QueueInfo>> {
    let found = boss.call("list the queues", BossSql::Counts, &[&None::<&str>]).await?;
    // A name that only pg-boss takes is none of ours.
    found.iter().filter(|row| QueueName::new(row.get::<_, String>("name")).is_ok()).map(info).collect()
}

fn info(row: &Row) -> Result<QueueInfo> {
    rows::queue_info(row, "queue")
}
