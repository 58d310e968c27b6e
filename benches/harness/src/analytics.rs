//! The questions of `docs/analytics.md`, as they are written there, over a long log. Postgres alone has them.

use std::{path::Path, time::Duration};

use millstream_core::{Append, Clock, NewEvent, StreamName, SystemClock};
use serde_json::{Value, json};

use millstream_core::bench::{Gauge as _, Measure, Quantiles, Site as _};

use crate::{
    Bed, Failure,
    bed::{Opened, Place},
};

/// Events of a run, by type: what a flow of three steps writes when its second step fails once.
const RUN: &[&str] = &[
    "flow.started",
    "step.started",
    "step.completed",
    "step.started",
    "step.failed",
    "step.retried",
    "step.started",
    "step.completed",
    "step.completed",
    "flow.completed",
];
/// Flows that runs belong to.
const FLOWS: usize = 20;
/// Runs of which one has a failed step.
const FAILS_EVERY: usize = 5;
/// Events of one append.
const FILL: usize = 2_000;
/// Bytes of an event's data.
const DATA_BYTES: usize = 500;
/// How often each question is asked.
const ASKED: usize = 3;

/// Data of the events: lines of a file, cut; or a text of that length.
fn payloads(path: Option<&Path>) -> Result<Vec<Value>, Failure> {
    let cut = |line: &str| json!({ "body": line.chars().take(DATA_BYTES - 16).collect::<String>() });
    match path {
        Some(path) => Ok(std::fs::read_to_string(path)?.lines().map(cut).collect()),
        None => Ok(vec![cut(&"welcome ".repeat(DATA_BYTES / 8))]),
    }
}

fn event(number: usize, payloads: &[Value]) -> Result<Append, millstream_core::Error> {
    let (run, at) = (number / RUN.len(), number % RUN.len());
    let fails = run % FAILS_EVERY == 0;
    let kind = if fails || RUN[at] != "step.failed" { RUN[at] } else { "step.progress" };
    let id = format!("0b8f6d3e-8d0a-4c5e-9d53-{run:012x}");
    let data = payloads[number % payloads.len()].clone();
    let event = NewEvent::new(kind, data).run(id.as_str(), format!("flow-{}", run % FLOWS).as_str());
    Ok(Append::one(StreamName::new(format!("nq:flow:{id}"))?, event))
}

/// Asks them of a log of so many events, which carry the lines of a file, cut. Nothing where it is not Postgres.
///
/// # Errors
///
/// What the store or the server answers.
pub async fn analytics(bed: &Bed, path: Option<&Path>, total: usize) -> Result<Vec<Measure>, Failure> {
    let opened = bed.opened().await?;
    let measured = ask(&opened, &payloads(path)?, total).await;
    Box::new(opened).finish().await?;
    measured
}

async fn ask(opened: &Opened, payloads: &[Value], total: usize) -> Result<Vec<Measure>, Failure> {
    let (Place::Postgres { schema, .. }, Some(probe)) = (&opened.place, &opened.probe) else { return Ok(Vec::new()) };
    let events = &opened.stores.events;
    let mut number = 0;
    while number < total {
        let to = total.min(number + FILL);
        let batch = (number..to).map(|number| event(number, payloads)).collect::<Result<Vec<_>, _>>()?;
        events.append(&batch).await?;
        number = to;
    }
    let head = events.head().await?;
    if head != total as u64 {
        return Err(format!("events: {head}, expected {total}").into());
    }
    let runs = total / RUN.len();
    probe
        .run(&format!(
            "set search_path = {schema};
             insert into queue_flow_index (flow_name, run_id, started_at, completed_at, status)
             select 'flow-' || r % {FLOWS}, 'run-' || r, now() - interval '1 hour',
                    now() - interval '1 hour' + (r % 600) * interval '1 second', 'completed'
             from generate_series(1, {runs}) r"
        ))
        .await?;
    probe.settle().await?;
    let page = include_str!("../../../docs/analytics.md");
    let questions = page.split("```sql\n").skip(1).filter_map(|block| block.split("```").next()).take(3);
    let mut all = Vec::new();
    for (question, text) in ["slow", "types", "failed"].into_iter().zip(questions) {
        let clock = SystemClock::new();
        let mut took: Vec<Duration> = Vec::new();
        for _ in 0..ASKED {
            let before = clock.monotonic();
            probe.run(text).await?;
            took.push(clock.monotonic() - before);
        }
        all.push(Measure {
            bench: format!("analytics/{question}"),
            store: opened.stores.events.kind().to_owned(),
            count: total,
            seconds: clock.monotonic().as_secs_f64(),
            latency: Quantiles::of(took),
            ..Measure::default()
        });
    }
    probe.run("reset search_path").await?;
    Ok(all)
}
