//! Jobs in. Callers that come while a commit is under way travel in the next one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use millstream_core::{
    Enqueued, Error, JobId, JobName, NewJob, QueueEvent, QueueEventKind, QueueName, Removal, Result, RunAt, Timestamp,
    check_enqueue_batch,
};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::Row;

use crate::{
    events,
    fault::{Fault, again, closed},
    rows::{self, OwnId, Time},
    shared::{Shared, transact},
    sql::{On, Sql},
};

/// A call of more jobs than this has a commit of its own: joining others would only make them wait for it.
const JOINED_MAX: usize = 200;

/// A job that is complete and within bounds.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) queue: QueueName,
    key: Option<JobId>,
    name: JobName,
    data: String,
    trace: Option<String>,
    settings: Option<String>,
    priority: i32,
    attempts: u32,
    due: Option<Timestamp>,
    delay: Option<Duration>,
    removal: Option<String>,
}

impl Entry {
    /// Completes and checks a job. When it becomes ready is left to the database, whose clock counts.
    pub(crate) fn of(shared: &Shared, job: &NewJob) -> Result<Self> {
        let defaults = &shared.options.defaults;
        let admitted = defaults.admit(job, shared.options.clock.now())?;
        let (due, delay) = match job.run_at {
            Some(RunAt::At(at)) => (Some(at), None),
            Some(RunAt::After(delay)) => (None, Some(delay)),
            None => (None, defaults.complete(&job.queue, job.options.clone()).delay),
        };
        let settings = admitted.settings;
        let stays = settings.remove_on_complete == Removal::Never && settings.remove_on_fail == Removal::Never;
        let removal = || json!({ "c": settings.remove_on_complete, "f": settings.remove_on_fail }).to_string();
        Ok(Self {
            queue: job.queue.clone(),
            key: job.id.clone(),
            name: job.name.clone(),
            data: admitted.data,
            trace: admitted.trace,
            settings: rows::settings_text(&settings)?,
            priority: settings.priority,
            attempts: settings.attempts,
            due,
            delay,
            removal: (!stays).then(removal),
        })
    }
}

impl Entry {
    /// The parameters of the function `enqueue`: queue, name, data, id, options, due time, trace.
    pub(crate) fn params(&self) -> Result<Vec<Option<String>>> {
        let mut options = match &self.settings {
            None => serde_json::Map::new(),
            Some(text) => rows::json(text, rows::at("job", &self.name)("settings"))?,
        };
        if let Some(delay) = self.delay {
            options.insert("delayMs".to_owned(), (delay.as_millis() as u64).into());
        }
        Ok(vec![
            Some(self.queue.to_string()),
            Some(self.name.to_string()),
            Some(self.data.clone()),
            self.key.as_ref().map(ToString::to_string),
            Some(serde_json::Value::from(options).to_string()),
            self.due.map(|due| due.to_string()),
            self.trace.clone(),
        ])
    }
}

/// One caller's jobs, on their way to a commit.
pub(crate) struct EnqueueCall<E = Entry> {
    entries: Vec<E>,
    answer: oneshot::Sender<Result<Vec<Enqueued>>>,
}

/// What takes jobs into tables of one layout.
pub(crate) trait Intake: Send + Sync + 'static {
    /// A job, complete and within bounds.
    type Entry: Send + Sync + 'static;
    /// What is known of jobs' queues.
    type Queues: Send + Sync;
    /// What is told of stored jobs after the commit.
    type Stored: Send;

    fn shared(&self) -> &Shared;

    /// Completes and checks a job.
    fn entry(&self, job: &NewJob) -> Result<Self::Entry>;

    /// Stores jobs in a transaction of their own.
    fn write(&self, entries: &[Self::Entry]) -> impl Future<Output = Result<Vec<Enqueued>>> + Send;

    /// What is known of the jobs' queues, which begin with their first job. Before a transaction, not in it.
    fn queues(&self, entries: &[&Self::Entry]) -> impl Future<Output = Result<Self::Queues, Fault>> + Send;

    /// Stores jobs in whatever transaction this is.
    fn insert(
        &self,
        on: On<'_>,
        queues: &Self::Queues,
        entries: &[&Self::Entry],
    ) -> impl Future<Output = Result<Self::Stored, Fault>> + Send;

    /// Tells of stored jobs after the commit.
    fn tell(&self, stored: &Self::Stored);

    /// Whether the same transaction may succeed when it is tried again.
    fn may_again(&self, fault: &Fault) -> bool;
}

impl Intake for Shared {
    type Entry = Entry;
    type Queues = HashMap<QueueName, i32>;
    type Stored = Stored;

    fn shared(&self) -> &Shared {
        self
    }

    fn entry(&self, job: &NewJob) -> Result<Entry> {
        Entry::of(self, job)
    }

    async fn write(&self, entries: &[Entry]) -> Result<Vec<Enqueued>> {
        write(self, entries).await
    }

    async fn queues(&self, entries: &[&Entry]) -> Result<Self::Queues, Fault> {
        ids(self, entries).await
    }

    async fn insert(&self, on: On<'_>, queues: &Self::Queues, entries: &[&Entry]) -> Result<Stored, Fault> {
        insert(self, on, queues, entries).await
    }

    fn tell(&self, stored: &Stored) {
        stored.tell(self);
    }

    fn may_again(&self, fault: &Fault) -> bool {
        fault.is_clash()
    }
}

/// Stores a batch in one transaction.
pub(crate) async fn enqueue(shared: &Arc<Shared>, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
    check_enqueue_batch(jobs)?;
    if shared.closing.is_cancelled() {
        return Err(closed());
    }
    let entry = |(index, job)| Entry::of(shared, job).map_err(|error| error.at(format_args!("jobs[{index}]")));
    let entries = jobs.iter().enumerate().map(entry).collect::<Result<Vec<Entry>>>()?;
    join(&**shared, &shared.enqueues, entries).await
}

/// Stores jobs with those of other callers, where they are few.
pub(crate) async fn join<I: Intake>(
    intake: &I,
    calls: &mpsc::Sender<EnqueueCall<I::Entry>>,
    entries: Vec<I::Entry>,
) -> Result<Vec<Enqueued>> {
    match entries.len() {
        0 => Ok(Vec::new()),
        1..=JOINED_MAX => {
            let (answer, answered) = oneshot::channel();
            calls.send(EnqueueCall { entries, answer }).await.map_err(|_| closed())?;
            answered.await.map_err(|_| closed())?
        }
        _ => intake.write(&entries).await,
    }
}

/// Commits calls that travel together.
pub(crate) async fn commit_calls<I: Intake>(intake: Arc<I>, batch: Vec<EnqueueCall<I::Entry>>) {
    let mut sizes = Vec::with_capacity(batch.len());
    let (mut entries, mut answers) = (Vec::new(), Vec::with_capacity(batch.len()));
    for call in batch {
        sizes.push(call.entries.len());
        entries.extend(call.entries);
        answers.push(call.answer);
    }
    match intake.write(&entries).await {
        Ok(mut stored) => {
            for (size, answer) in sizes.into_iter().zip(answers) {
                let rest = stored.split_off(size);
                // A caller that went away does not want its answer.
                let _ = answer.send(Ok(std::mem::replace(&mut stored, rest)));
            }
        }
        Err(error) if error.is_transient() || answers.len() == 1 => {
            for answer in answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
        // One call's jobs are refused by the database itself: each alone, so that only the cause is hurt.
        Err(_) => {
            let mut rest = entries.as_slice();
            for (size, answer) in sizes.into_iter().zip(answers) {
                let (own, others) = rest.split_at(size);
                rest = others;
                let _ = answer.send(intake.write(own).await);
            }
        }
    }
}

/// Stores jobs in a transaction of their own.
async fn write(shared: &Shared, entries: &[Entry]) -> Result<Vec<Enqueued>> {
    let entries: Vec<&Entry> = entries.iter().collect();
    again!("enqueue", write_once(shared, &entries))
}

async fn write_once(shared: &Shared, entries: &[&Entry]) -> Result<Vec<Enqueued>, Fault> {
    let ids = ids(shared, entries).await?;
    let stored = transact!(shared, shared.logs_any(), unit => insert(shared, unit.on()?, &ids, entries))?;
    stored.tell(shared);
    Ok(stored.answers)
}

/// Numbers of the jobs' queues, which begin with their first job.
pub(crate) async fn ids(shared: &Shared, entries: &[&Entry]) -> Result<HashMap<QueueName, i32>, Fault> {
    let mut names: Vec<&QueueName> = entries.iter().map(|entry| &entry.queue).collect();
    names.sort_unstable();
    names.dedup();
    shared.ids_made(&names).await
}

/// What became of a batch, and what is told of it after the commit.
#[derive(Default)]
pub(crate) struct Stored {
    pub(crate) answers: Vec<Enqueued>,
    ready: BTreeMap<QueueName, i32>,
    events: Vec<QueueEvent>,
}

impl Stored {
    pub(crate) fn tell(&self, shared: &Shared) {
        if !self.ready.is_empty() {
            shared.tallied();
            shared.ready(self.ready.iter().map(|(name, id)| (name, *id)));
        }
        shared.tell(self.events.clone());
    }
}

/// The statement's parameters, column by column.
#[derive(Default)]
struct Columns<'a> {
    queue: Vec<i32>,
    key: Vec<Option<&'a str>>,
    twin: Vec<Option<i64>>,
    twin_at: Vec<Option<Time>>,
    name: Vec<&'a str>,
    data: Vec<&'a str>,
    trace: Vec<Option<&'a str>>,
    settings: Vec<Option<&'a str>>,
    priority: Vec<i32>,
    attempts: Vec<i32>,
    due: Vec<Option<Time>>,
    delay: Vec<Option<i64>>,
    removal: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, queue: i32, entry: &'a Entry) {
        let twin = entry.key.as_ref().and_then(OwnId::read);
        self.queue.push(queue);
        self.key.push(entry.key.as_ref().map(JobId::as_str));
        self.twin.push(twin.map(|twin| twin.job));
        self.twin_at.push(twin.map(|twin| twin.created_at));
        self.name.push(entry.name.as_str());
        self.data.push(&entry.data);
        self.trace.push(entry.trace.as_deref());
        self.settings.push(entry.settings.as_deref());
        self.priority.push(entry.priority);
        self.attempts.push(rows::small(entry.attempts));
        self.due.push(entry.due.map(Time));
        self.delay.push(entry.delay.map(rows::micros));
        self.removal.push(entry.removal.as_deref());
    }
}

/// Stores jobs in whatever transaction this is.
pub(crate) async fn insert(
    shared: &Shared,
    on: On<'_>,
    ids: &HashMap<QueueName, i32>,
    entries: &[&Entry],
) -> Result<Stored, Fault> {
    if entries.is_empty() {
        return Ok(Stored::default());
    }
    let mut columns = Columns::default();
    for entry in entries {
        columns.push(ids.get(&entry.queue).copied().ok_or(Fault::Raced)?, entry);
    }
    let Columns { queue, key, twin, twin_at, name, data, trace, settings, priority, attempts, due, delay, removal } =
        &columns;
    let fresh = shared
        .run(
            on,
            Sql::JobEnqueue,
            &[queue, key, twin, twin_at, name, data, trace, settings, priority, attempts, due, delay, removal],
        )
        .await?;
    let stored = answers(shared, ids, entries, &fresh)?;
    events::append::job_events(shared, on, &stored.events).await?;
    Ok(stored)
}

fn answers(shared: &Shared, ids: &HashMap<QueueName, i32>, entries: &[&Entry], fresh: &[Row]) -> Result<Stored> {
    let mut stored = Stored::default();
    let mut fresh = fresh.iter().peekable();
    for (entry, place) in entries.iter().zip(1_i64..) {
        let Some(row) = fresh.next_if(|row| row.get::<_, i64>("ord") == place) else {
            let id = entry.key.clone().ok_or_else(|| missing(entry))?;
            stored.answers.push(Enqueued::Duplicate(id));
            continue;
        };
        let own = OwnId { job: row.get("job"), created_at: row.get("created_at") };
        let id = entry.key.clone().map_or_else(|| own.text(), Ok)?;
        let delayed: bool = row.get("delayed");
        if let Some(queue) = ids.get(&entry.queue).filter(|_| !stored.ready.contains_key(&entry.queue)) {
            stored.ready.insert(entry.queue.clone(), *queue);
        }
        let kind = if delayed { QueueEventKind::Delayed } else { QueueEventKind::Waiting };
        if row.get("watched") || shared.logs(kind) {
            let Time(due) = row.get("run_at");
            stored.events.push(QueueEvent {
                queue: entry.queue.clone(),
                kind,
                job: Some(id.clone()),
                name: Some(entry.name.clone()),
                attempt: None,
                at: own.created_at.0,
                data: delayed.then(|| due.to_string().into()),
            });
        }
        stored.answers.push(Enqueued::Created(id));
    }
    Ok(stored)
}

fn missing(entry: &Entry) -> Error {
    rows::at("job", &entry.queue)("id").corrupt("a job without an id of its own was not stored")
}
