//! The raw limits of the machine: scripts that speak SQL to the same server, with no engine at all.

use std::{collections::BTreeMap, path::Path, process::Stdio};

use millstream_core::bench::{Measure, Plan, Scenario, Site};
use serde_json::Value;
use tokio::process::Command;

use crate::{
    Failure,
    bed::{Bed, Place, boss_of},
};

/// What the scripts found in one run.
#[derive(Debug, Default)]
pub struct Raw {
    /// What it is called, and the jobs a second.
    drain: Option<(&'static str, f64)>,
    /// By number of callers.
    append: BTreeMap<usize, f64>,
}

impl Raw {
    /// Runs the scripts that the plan's scenarios are compared with; says which are missing.
    pub(crate) async fn run(
        plan: &Plan,
        bed: &Bed,
        raw_dir: Option<&Path>,
        bytes: usize,
        said: &mut impl FnMut(&str),
    ) -> Result<Self, Failure> {
        let mut raw = Self::default();
        let (Some(url), Some(folder)) = (bed.url(), raw_dir) else {
            return Ok(raw);
        };
        if Command::new("pgbench").arg("--version").output().await.is_err() {
            said("raw limits: skipped, they need psql and pgbench on the PATH");
            return Ok(raw);
        }
        let any = |of: &[Scenario]| plan.scenarios.iter().any(|scenario| of.contains(scenario));
        let size = bytes.to_string();
        if any(&[Scenario::Bulk, Scenario::Drain, Scenario::DrainRemove]) {
            let jobs = plan.sizes.backlog.to_string();
            let lines = match bed.is_pgboss() {
                true => on_pgboss(bed, url, &folder.join("pgboss-drain.sh"), [&jobs, &size], said).await?,
                false => script(&folder.join("raw-drain.sh"), &[url, &jobs, &size], said).await?,
            };
            let name = if bed.is_pgboss() { "pgboss-drain best" } else { "raw-drain best" };
            raw.drain = lines.first().and_then(|line| Some((name, line["best"].as_f64()?)));
        }
        if any(&[Scenario::Append, Scenario::Enqueue]) {
            let seconds = plan.sizes.lasting.as_secs().max(1).to_string();
            let mut callers = plan.sizes.callers.clone();
            if any(&[Scenario::Enqueue]) {
                callers.push(plan.sizes.tasks);
            }
            let callers: Vec<String> = callers.iter().map(ToString::to_string).collect();
            let arguments = [url, &seconds, &size, &callers.join(" ")];
            for line in script(&folder.join("raw-append.sh"), &arguments, said).await? {
                if let (Some(callers), Some(rate)) = (line["clients"].as_u64(), line["plain_per_s"].as_f64()) {
                    raw.append.insert(usize::try_from(callers)?, rate);
                }
            }
        }
        Ok(raw)
    }

    /// Puts a rate beside its limit: drains and batches beside the drain, single commits beside single inserts of as
    /// many callers.
    pub(crate) fn compare(&self, measure: &mut Measure) {
        let (name, variant) = measure.bench.split_once('/').unwrap_or((&measure.bench, ""));
        let limit = match name {
            "bulk" | "drain" | "drain-remove" => self.drain,
            "append" | "enqueue" => {
                let rate = variant.parse().ok().and_then(|of| self.append.get(&of).copied());
                rate.map(|rate| ("raw-append plain", rate))
            }
            _ => return,
        };
        if let (Some((raw, rate)), Some(own)) = (limit, measure.per_s) {
            (measure.raw, measure.raw_per_s, measure.ratio) = (Some(raw.to_owned()), Some(rate), Some(own / rate));
        }
    }
}

/// A script that needs pg-boss's tables, with no jobs on them.
async fn on_pgboss(
    bed: &Bed,
    url: &str,
    path: &Path,
    [jobs, size]: [&str; 2],
    said: &mut impl FnMut(&str),
) -> Result<Vec<Value>, Failure> {
    let opened = Box::new(bed.opened().await?);
    let schema = match &opened.place {
        Place::Postgres { schema, .. } => boss_of(schema),
        Place::Sqlite(_) => return Ok(Vec::new()),
    };
    let lines = script(path, &[url, &schema, jobs, size], said).await;
    opened.finish().await?;
    lines
}

/// The JSON lines that a script prints.
async fn script(path: &Path, arguments: &[&str], said: &mut impl FnMut(&str)) -> Result<Vec<Value>, Failure> {
    if !path.exists() {
        said(&format!("raw limits: no {}, skipped", path.display()));
        return Ok(Vec::new());
    }
    let mut command = Command::new(path);
    let output = command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await?;
    if !output.status.success() {
        return Err(format!("{} failed: {}", path.display(), String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    said(text.trim_end());
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}
