//! Events in. Plain appends that come while a commit is under way travel in the next one; those under a condition or
//! a key have a transaction of their own, because they can be refused.

use std::{collections::BTreeMap, sync::Arc};

use millstream_core::{
    Append, Appended, Error, NewEvent, QueueEvent, Result, job_event, limits::APPEND_BATCH_MAX, payload, queue_stream,
};
use tokio::sync::oneshot;

use crate::{
    fault::{Fault, again, closed},
    rows,
    shared::{Shared, transact},
    sql::{On, Sql},
};

/// A call of more events than this has a commit of its own.
const JOINED_MAX: usize = 200;

/// An append whose events are checked and JSON text.
pub(crate) struct Written<'a> {
    pub(crate) append: &'a Append,
    data: Vec<String>,
}

impl<'a> Written<'a> {
    pub(crate) fn of(append: &'a Append) -> Result<Self> {
        append.check()?;
        Ok(Self { append, data: texts(&append.events)? })
    }

    /// Whether it cannot be refused, nor be a repeat.
    pub(crate) fn is_plain(&self) -> bool {
        self.append.expected.is_none() && self.append.key.is_none()
    }
}

fn texts(events: &[NewEvent]) -> Result<Vec<String>> {
    events.iter().map(|event| payload::text("event data", &event.data)).collect()
}

/// One caller's events, on their way to a commit.
pub(crate) struct AppendCall {
    batch: Vec<Append>,
    data: Vec<Vec<String>>,
    answer: oneshot::Sender<Result<Vec<Appended>>>,
}

/// Appends a batch in one transaction.
pub(crate) async fn append(shared: &Arc<Shared>, batch: &[Append]) -> Result<Vec<Appended>> {
    if shared.closing.is_cancelled() {
        return Err(closed());
    }
    let written = check(batch)?;
    let events: usize = batch.iter().map(|append| append.events.len()).sum();
    if events == 0 {
        return Ok(Vec::new());
    }
    if events > JOINED_MAX || !written.iter().all(Written::is_plain) {
        return commit(shared, &written).await;
    }
    let (answer, answered) = oneshot::channel();
    let data = written.into_iter().map(|written| written.data).collect();
    let call = AppendCall { batch: batch.to_vec(), data, answer };
    shared.appends.send(call).await.map_err(|_| closed())?;
    answered.await.map_err(|_| closed())?
}

fn check(batch: &[Append]) -> Result<Vec<Written<'_>>> {
    let one = |(index, append)| Written::of(append).map_err(|error| error.at(format_args!("append[{index}]")));
    let written = batch.iter().enumerate().map(one).collect::<Result<Vec<_>>>()?;
    let events: usize = batch.iter().map(|append| append.events.len()).sum();
    match events > APPEND_BATCH_MAX {
        true => Err(Error::invalid("append", format!("{events} events"), format!("at most {APPEND_BATCH_MAX} events"))),
        false => Ok(written),
    }
}

/// Commits calls that travel together.
pub(crate) async fn commit_calls(shared: Arc<Shared>, mut calls: Vec<AppendCall>) {
    let data: Vec<Vec<Vec<String>>> = calls.iter_mut().map(|call| std::mem::take(&mut call.data)).collect();
    let mut written = Vec::new();
    for (call, data) in calls.iter().zip(data) {
        written.extend(call.batch.iter().zip(data).map(|(append, data)| Written { append, data }));
    }
    let answer = commit(&shared, &written).await;
    let sizes: Vec<usize> = calls.iter().map(|call| call.batch.len()).collect();
    drop(written);
    let mut answers = match answer {
        Ok(answers) => Ok(answers.into_iter()),
        Err(error) => Err(error),
    };
    for (call, size) in calls.into_iter().zip(sizes) {
        let own = match &mut answers {
            Ok(answers) => Ok(answers.take(size).collect()),
            Err(error) => Err(error.clone()),
        };
        // A caller that went away does not want its answer.
        let _ = call.answer.send(own);
    }
}

/// Appends in a transaction of their own.
async fn commit(shared: &Shared, written: &[Written<'_>]) -> Result<Vec<Appended>> {
    let refs: Vec<&Written<'_>> = written.iter().collect();
    let answers = again!("append", commit_once(shared, &refs))?;
    shared.to_sequence.notify_one();
    Ok(answers)
}

async fn commit_once(shared: &Shared, written: &[&Written<'_>]) -> Result<Vec<Appended>, Fault> {
    let all_plain = written.iter().all(|written| written.is_plain());
    let whole = !all_plain && written.len() > 1;
    transact!(shared, whole, unit => write(shared, unit.on()?, written, all_plain))
}

async fn write(shared: &Shared, on: On<'_>, written: &[&Written<'_>], all_plain: bool) -> Result<Vec<Appended>, Fault> {
    if all_plain {
        return plain(shared, on, written).await;
    }
    if written.len() > 1 {
        lock_streams(shared, on, written).await?;
    }
    let mut answers = Vec::with_capacity(written.len());
    for append in written {
        answers.push(one(shared, on, append).await?);
    }
    Ok(answers)
}

/// Takes the locks of all streams in one order, so that two batches never wait for each other.
pub(crate) async fn lock_streams(shared: &Shared, on: On<'_>, written: &[&Written<'_>]) -> Result<(), Fault> {
    let mut streams: BTreeMap<&str, bool> = BTreeMap::new();
    for Written { append, .. } in written {
        *streams.entry(append.stream.as_str()).or_default() |= append.expected.is_some();
    }
    let (names, alone): (Vec<&str>, Vec<bool>) = streams.into_iter().unzip();
    shared.run(on, Sql::EventsLock, &[&names, &alone]).await?;
    Ok(())
}

/// One append, under its condition and its key.
pub(crate) async fn one(shared: &Shared, on: On<'_>, written: &Written<'_>) -> Result<Appended, Fault> {
    let Append { stream, events, expected, key } = written.append;
    let events = serde_json::to_string(events)
        .map_err(|error| Error::invalid("append", error.to_string(), "events that serialize to JSON"))?;
    let expected = expected.map(rows::integer);
    let rows = shared.run(on, Sql::EventsAppend, &[&stream.as_str(), &events, &expected, &key.as_deref()]).await?;
    let row = rows.first().ok_or(Fault::Raced)?;
    let version: Option<i64> = row.get("version");
    let place = rows::at("event_stream", stream);
    let version = version.map(|version| rows::count(version, place("version"))).transpose()?;
    Ok(Appended { version, positions: None, duplicate: row.get("duplicate") })
}

/// Events in the columns of the statement.
#[derive(Default)]
struct Columns<'a> {
    stream: Vec<&'a str>,
    kind: Vec<&'a str>,
    run_id: Vec<Option<&'a str>>,
    flow_name: Vec<Option<&'a str>>,
    step_name: Vec<Option<&'a str>>,
    step_id: Vec<Option<&'a str>>,
    attempt: Vec<Option<i32>>,
    data: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, stream: &'a str, event: &'a NewEvent, data: &'a str) {
        self.stream.push(stream);
        self.kind.push(&event.kind);
        self.run_id.push(event.run_id.as_deref());
        self.flow_name.push(event.flow_name.as_deref());
        self.step_name.push(event.step_name.as_deref());
        self.step_id.push(event.step_id.as_deref());
        self.attempt.push(event.attempt.map(rows::small));
        self.data.push(data);
    }

    /// Answers the versions of events whose streams are versioned, by place.
    async fn run(&self, shared: &Shared, on: On<'_>) -> Result<BTreeMap<i64, i64>, Fault> {
        let Self { stream, kind, run_id, flow_name, step_name, step_id, attempt, data } = self;
        let rows = shared
            .run(on, Sql::EventsAppendPlain, &[stream, kind, run_id, flow_name, step_name, step_id, attempt, data])
            .await?;
        Ok(rows.iter().map(|row| (row.get("ord"), row.get("version"))).collect())
    }
}

/// Appends that cannot be refused, all in one statement.
pub(crate) async fn plain(shared: &Shared, on: On<'_>, written: &[&Written<'_>]) -> Result<Vec<Appended>, Fault> {
    if written.is_empty() {
        return Ok(Vec::new());
    }
    let mut columns = Columns::default();
    for Written { append, data } in written {
        for (event, data) in append.events.iter().zip(data) {
            columns.push(append.stream.as_str(), event, data);
        }
    }
    let versions = columns.run(shared, on).await?;
    let mut last = 0_i64;
    let answer = |written: &&Written<'_>| {
        last += written.append.events.len() as i64;
        let place = rows::at("event_stream", &written.append.stream);
        let version = versions.get(&last).map(|version| rows::count(*version, place("version"))).transpose()?;
        Ok(Appended { version, positions: None, duplicate: false })
    };
    written.iter().map(answer).collect()
}

/// Appends what happened to jobs, where that is wanted, in the transaction that caused it.
pub(crate) async fn job_events(shared: &Shared, on: On<'_>, events: &[QueueEvent]) -> Result<(), Fault> {
    let mut logged = Vec::new();
    for event in events.iter().filter(|event| shared.logs(event.kind)) {
        let new = job_event(event);
        let data = payload::text("event data", &new.data)?;
        logged.push((queue_stream(&event.queue)?, new, data));
    }
    if logged.is_empty() {
        return Ok(());
    }
    let mut columns = Columns::default();
    for (stream, event, data) in &logged {
        columns.push(stream.as_str(), event, data);
    }
    columns.run(shared, on).await?;
    // Early by a commit: the sequencer looks again by itself.
    shared.to_sequence.notify_one();
    Ok(())
}
