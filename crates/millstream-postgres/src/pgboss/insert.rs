//! Jobs in. Callers that come while a commit is under way travel in the next one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use millstream_core::{
    Enqueued, JobId, JobName, NewJob, QueueEvent, QueueEventKind, QueueName, Result, RunAt, Timestamp,
    check_enqueue_batch, payload,
};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    boss::{Boss, Known, again},
    literal::Column,
    sql::BossSql,
    words::{self, OptionsIn},
};
use crate::{
    events,
    fault::{Fault, closed},
    queue::enqueue::join,
    rows::{self, Time},
    shared::{lock, transact},
    sql::{On, Param},
};

/// A job that is complete and within bounds, in pg-boss's words. What is `None` is its queue's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    pub(crate) data: Option<String>,
    pub(crate) words: OptionsIn,
    pub(crate) due: Option<Timestamp>,
    pub(crate) delay: Option<Duration>,
    pub(crate) singleton_key: Option<String>,
    /// Seconds of a throttle's slot, and how far from now the slot is.
    pub(crate) every: Option<i64>,
    pub(crate) later: Option<i64>,
    /// A slot by its beginning, in UTC.
    pub(crate) slot: Option<String>,
    pub(crate) retention: Option<i32>,
    pub(crate) group_id: Option<String>,
    pub(crate) group_tier: Option<String>,
    pub(crate) dead_letter: Option<String>,
    pub(crate) heartbeat: Option<i32>,
    pub(crate) trace: Option<String>,
}

/// A row on its way into a queue.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) queue: QueueName,
    pub(crate) id: Uuid,
    /// The caller's own id.
    pub(crate) own: Option<JobId>,
    pub(crate) name: JobName,
    /// The name, where the data cannot hold it.
    pub(crate) own_name: Option<String>,
    pub(crate) row: Fields,
}

impl Entry {
    /// Completes and checks a job. When it becomes ready is left to the database, whose clock counts.
    pub(crate) fn of(boss: &Boss, job: &NewJob) -> Result<Self> {
        let options = &boss.shared.options;
        let now = options.clock.now();
        let admitted = options.defaults.admit(job, now)?;
        let complete = options.defaults.complete(&job.queue, job.options.clone());
        let (due, delay) = match job.run_at {
            Some(RunAt::At(at)) => (Some(at), None),
            Some(RunAt::After(delay)) => (None, Some(delay)),
            None => (None, complete.delay),
        };
        let (data, own_name) = words::data_in(&job.queue, &job.name, &job.data);
        let row = Fields {
            data: (!data.is_null()).then(|| data.to_string()),
            words: OptionsIn::of(&complete),
            due,
            delay,
            group_id: complete.group.as_ref().map(|group| group.id.to_string()),
            trace: admitted.trace,
            ..Fields::default()
        };
        Ok(Self {
            id: job.id.as_ref().map_or_else(|| options.entropy.uuid(now), |id| words::row_id(&job.queue, id)),
            queue: job.queue.clone(),
            own: job.id.clone(),
            name: job.name.clone(),
            own_name,
            row,
        })
    }

    /// A row in pg-boss's own words, with data as it stands.
    pub(crate) fn plain(boss: &Boss, queue: &QueueName, data: &serde_json::Value, row: Fields) -> Result<Self> {
        payload::text("job data", data)?;
        let options = &boss.shared.options;
        let (name, _) = words::data_out(queue, None, Some(data.clone()));
        let data = (!data.is_null()).then(|| data.to_string());
        let id = options.entropy.uuid(options.clock.now());
        Ok(Self { queue: queue.clone(), id, own: None, name, own_name: None, row: Fields { data, ..row } })
    }

    /// The id that finds it.
    pub(crate) fn told(&self) -> Result<JobId> {
        self.own.clone().map_or_else(|| JobId::new(self.id.to_string()), Ok)
    }

    /// The caller's own id, where it is not the row's.
    fn key(&self) -> Option<&str> {
        self.own.as_ref().filter(|own| words::uuid(own).is_none()).map(JobId::as_str)
    }

    fn is_beside(&self, has_trace: bool) -> bool {
        let words = &self.row.words;
        self.key().is_some()
            || self.own_name.is_some()
            || words.beside.is_some()
            || words.removal.is_some()
            || (self.row.trace.is_some() && !has_trace)
    }
}

/// Stores a batch in one transaction.
pub(crate) async fn enqueue(boss: &Arc<Boss>, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
    check_enqueue_batch(jobs)?;
    if boss.shared.closing.is_cancelled() {
        return Err(closed());
    }
    let entry = |(index, job)| Entry::of(boss, job).map_err(|error| error.at(format_args!("jobs[{index}]")));
    let entries = jobs.iter().enumerate().map(entry).collect::<Result<Vec<Entry>>>()?;
    join(&**boss, &boss.enqueues, entries).await
}

/// Stores jobs in a transaction of their own.
pub(crate) async fn write(boss: &Boss, entries: &[Entry]) -> Result<Vec<Enqueued>> {
    let answers = write_each(boss, entries).await?;
    let mut enqueued = Vec::with_capacity(answers.len());
    for (entry, answer) in entries.iter().zip(answers) {
        enqueued.push(match answer {
            Some(id) => Enqueued::Created(id),
            None => Enqueued::Duplicate(in_the_way(boss, entry).await?),
        });
    }
    Ok(enqueued)
}

/// Stores jobs in a transaction of their own; `None` for what was refused.
pub(crate) async fn write_each(boss: &Boss, entries: &[Entry]) -> Result<Vec<Option<JobId>>> {
    let entries: Vec<&Entry> = entries.iter().collect();
    again!(boss, "enqueue", write_once(boss, &entries))
}

/// The job that kept another one out: by its id, by the queue's policy, or by a throttle.
async fn in_the_way(boss: &Boss, entry: &Entry) -> Result<JobId> {
    if let Some(own) = &entry.own {
        return Ok(own.clone());
    }
    let look = async || {
        let conn = boss.shared.conn().await?;
        let on = On::Conn(&conn);
        let Some(known) = boss.one(on, &entry.queue).await? else { return Ok(Vec::new()) };
        let params: (&str, String) = (entry.queue.as_str(), entry.id.to_string());
        boss.run_in(on, BossSql::InTheWay, &known.table, &[&params.0, &params.1, &entry.row.singleton_key]).await
    };
    let found: Vec<Row> = again!(boss, "look for the job in the way", look())?;
    match found.first() {
        Some(row) => id_of(row),
        None => entry.told(),
    }
}

async fn write_once(boss: &Boss, entries: &[&Entry]) -> Result<Vec<Option<JobId>>, Fault> {
    let known = known_of(boss, entries).await?;
    let tables = by_table(&known, entries)?.len();
    let whole = tables > 1 || boss.shared.logs_any();
    let shared = &*boss.shared;
    let stored: Stored = transact!(shared, whole, unit => insert(boss, unit.on()?, &known, entries))?;
    stored.tell(boss);
    Ok(stored.answers)
}

/// What is known of the jobs' queues, which begin with their first job.
pub(crate) async fn known_of(boss: &Boss, entries: &[&Entry]) -> Result<HashMap<QueueName, Known>, Fault> {
    let mut names: Vec<&QueueName> = entries.iter().map(|entry| &entry.queue).collect();
    names.sort_unstable();
    names.dedup();
    boss.made(&names).await
}

/// Places of jobs by the table they belong to.
fn by_table(known: &HashMap<QueueName, Known>, entries: &[&Entry]) -> Result<BTreeMap<Arc<str>, Vec<usize>>, Fault> {
    let mut tables: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
    for (place, entry) in entries.iter().enumerate() {
        let known = known.get(&entry.queue).ok_or(Fault::Raced)?;
        tables.entry(known.table.clone()).or_default().push(place);
    }
    Ok(tables)
}

/// What became of a batch, and what is told of it after the commit.
#[derive(Default)]
pub(crate) struct Stored {
    /// By place; `None`: it was refused.
    pub(crate) answers: Vec<Option<JobId>>,
    ready: BTreeMap<QueueName, bool>,
    events: Vec<QueueEvent>,
}

impl Stored {
    pub(crate) fn tell(&self, boss: &Boss) {
        boss.ready(self.ready.iter().map(|(name, now)| (name, *now)));
        boss.shared.tell(self.events.clone());
    }
}

/// Stores jobs in whatever transaction this is.
pub(crate) async fn insert(
    boss: &Boss,
    on: On<'_>,
    known: &HashMap<QueueName, Known>,
    entries: &[&Entry],
) -> Result<Stored, Fault> {
    let mut stored = Stored { answers: vec![None; entries.len()], ..Stored::default() };
    for (table, places) in by_table(known, entries)? {
        let columns = Columns::of(boss, places.iter().map(|place| entries[*place]));
        for row in columns.run(boss, on, &table).await? {
            let place = usize::try_from(row.get::<_, i64>("ord") - 1).ok().and_then(|at| places.get(at).copied());
            if let Some(place) = place {
                note(boss, entries[place], place, &row, &mut stored)?;
            }
        }
    }
    events::append::job_events(&boss.shared, on, &stored.events).await?;
    Ok(stored)
}

fn note(boss: &Boss, entry: &Entry, place: usize, row: &Row, stored: &mut Stored) -> Result<()> {
    let id = entry.told()?;
    let delayed: bool = row.get("delayed");
    *stored.ready.entry(entry.queue.clone()).or_default() |= !delayed;
    let created: Time = row.get("created_on");
    let mut intake = lock(&boss.intake);
    *intake = (*intake).max(created);
    drop(intake);
    let kind = if delayed { QueueEventKind::Delayed } else { QueueEventKind::Waiting };
    if row.get("watched") || boss.shared.logs(kind) {
        let due: Time = row.get("start_after");
        stored.events.push(QueueEvent {
            queue: entry.queue.clone(),
            kind,
            job: Some(id.clone()),
            name: Some(entry.name.clone()),
            attempt: None,
            at: row.get::<_, Time>("now").0,
            data: delayed.then(|| due.0.to_string().into()),
        });
    }
    stored.answers[place] = Some(id);
    Ok(())
}

/// The statement's parameters, column by column.
#[derive(Default)]
struct Columns<'a> {
    queue: Vec<&'a str>,
    id: Vec<String>,
    data: Vec<Option<&'a str>>,
    priority: Vec<Option<i32>>,
    due: Vec<Option<Time>>,
    delay: Vec<Option<i64>>,
    singleton_key: Vec<Option<&'a str>>,
    every: Vec<Option<i64>>,
    later: Vec<Option<i64>>,
    slot: Vec<Option<&'a str>>,
    expire: Vec<Option<i32>>,
    deletion: Vec<Option<i32>>,
    retention: Vec<Option<i32>>,
    retry_limit: Vec<Option<i32>>,
    retry_delay: Vec<Option<i32>>,
    retry_backoff: Vec<Option<bool>>,
    retry_delay_max: Vec<Option<i32>>,
    group_id: Vec<Option<&'a str>>,
    group_tier: Vec<Option<&'a str>>,
    dead_letter: Vec<Option<&'a str>>,
    heartbeat: Vec<Option<i32>>,
    trace: Vec<Option<&'a str>>,
    own_key: Vec<Option<&'a str>>,
    own_name: Vec<Option<&'a str>>,
    own_options: Vec<Option<&'a str>>,
    removal: Vec<Option<&'a str>>,
    beside: Vec<bool>,
}

impl<'a> Columns<'a> {
    fn of(boss: &Boss, entries: impl Iterator<Item = &'a Entry>) -> Self {
        let mut columns = Self::default();
        for entry in entries {
            columns.push(entry, boss.texts.has_trace());
        }
        columns
    }

    fn push(&mut self, entry: &'a Entry, has_trace: bool) {
        let row = &entry.row;
        let words = &row.words;
        self.queue.push(entry.queue.as_str());
        self.id.push(entry.id.to_string());
        self.data.push(row.data.as_deref());
        self.priority.push(words.priority);
        self.due.push(row.due.map(Time));
        self.delay.push(row.delay.map(rows::micros));
        self.singleton_key.push(row.singleton_key.as_deref());
        self.every.push(row.every);
        self.later.push(row.later);
        self.slot.push(row.slot.as_deref());
        self.expire.push(words.expire_seconds);
        self.deletion.push(words.deletion_seconds);
        self.retention.push(row.retention);
        self.retry_limit.push(words.retry_limit);
        self.retry_delay.push(words.retry_delay);
        self.retry_backoff.push(words.retry_backoff);
        self.retry_delay_max.push(words.retry_delay_max);
        self.group_id.push(row.group_id.as_deref());
        self.group_tier.push(row.group_tier.as_deref());
        self.dead_letter.push(row.dead_letter.as_deref());
        self.heartbeat.push(row.heartbeat);
        self.trace.push(row.trace.as_deref());
        self.own_key.push(entry.key());
        self.own_name.push(entry.own_name.as_deref());
        self.own_options.push(words.beside.as_deref());
        self.removal.push(words.removal.as_deref());
        self.beside.push(entry.is_beside(has_trace));
    }

    /// In the order of the statement, after its first parameter.
    fn all(&self) -> [&dyn Column; 27] {
        [
            &self.queue,
            &self.id,
            &self.data,
            &self.priority,
            &self.due,
            &self.delay,
            &self.singleton_key,
            &self.every,
            &self.later,
            &self.slot,
            &self.expire,
            &self.deletion,
            &self.retention,
            &self.retry_limit,
            &self.retry_delay,
            &self.retry_backoff,
            &self.retry_delay_max,
            &self.group_id,
            &self.group_tier,
            &self.dead_letter,
            &self.heartbeat,
            &self.trace,
            &self.own_key,
            &self.own_name,
            &self.own_options,
            &self.removal,
            &self.beside,
        ]
    }

    async fn run(&self, boss: &Boss, on: On<'_>, table: &Arc<str>) -> Result<Vec<Row>, Fault> {
        let after = *lock(&boss.intake);
        let first: &(dyn Param + Sync) = &after;
        let params: Vec<&(dyn Param + Sync)> =
            std::iter::once(first).chain(self.all().map(|column| column as &(dyn Param + Sync))).collect();
        boss.run_in(on, BossSql::Insert, table, &params).await
    }
}

/// One job's parameters, each as text, for a transaction of its caller's.
pub(crate) fn as_text(boss: &Boss, entry: &Entry) -> Vec<Option<String>> {
    let columns = Columns::of(boss, std::iter::once(entry));
    // What this process took in before says nothing of when the caller commits.
    std::iter::once(None).chain(columns.all().map(|column| Some(column.literal()))).collect()
}

/// The id that finds a row: the caller's own, which is beside it, or the row's.
pub(crate) fn id_of(row: &Row) -> Result<JobId> {
    let id: &str = row.get("job");
    let place = rows::at("job", &id);
    rows::word(row.get::<_, Option<&str>>("key").unwrap_or(id), place("id"))
}
