//! The questions of `docs/analytics.md`, as they are written there, over a long log. Postgres alone has them.

use std::{path::Path, sync::Arc, time::Duration};

use millstream_core::{
    Append, Clock, EventStore, NewEvent, StreamName, SystemClock,
    bench::{Bed as _, Gauge, Measure, Quantiles},
};
use serde_json::{Value, json};

use crate::{Failure, bed::Bed, probe::Probe};

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
fn bodies(file: Option<&Path>) -> Result<Vec<Value>, Failure> {
    let cut = |line: &str| json!({ "body": line.chars().take(DATA_BYTES - 16).collect::<String>() });
    match file {
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

/// Asks over a log of so many events, whose data are lines of a file, cut, where one is named.
///
/// # Errors
///
/// What the database answers, and a bed without one.
pub async fn analytics(bed: &Bed, total: usize, file: Option<&Path>) -> Result<Vec<Measure>, Failure> {
    let (Some(url), site) = (bed.url(), bed.open().await?) else { return Err("analytics need Postgres".into()) };
    let probe = Probe::connect(url).await?;
    let asked = ask(&probe, &site.stores().events, &bed.last_schema(), total, &bodies(file)?).await;
    site.finish().await?;
    asked
}

async fn ask(
    probe: &Probe,
    events: &Arc<dyn EventStore>,
    schema: &str,
    total: usize,
    payloads: &[Value],
) -> Result<Vec<Measure>, Failure> {
    let mut number = 0;
    while number < total {
        let to = total.min(number + FILL);
        let batch = (number..to).map(|number| event(number, payloads)).collect::<Result<Vec<_>, _>>()?;
        events.append(&batch).await?;
        number = to;
    }
    if events.head().await? != total as u64 {
        return Err("the log does not hold what was appended".into());
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
            store: events.kind().to_owned(),
            bytes: DATA_BYTES,
            run: 1,
            count: total,
            seconds: clock.monotonic().as_secs_f64(),
            latency: Quantiles::of(took),
            ..Measure::default()
        });
    }
    Ok(all)
}
