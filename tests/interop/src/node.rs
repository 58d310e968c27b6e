//! One process of Node with pg-boss in it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Command as StdCommand, Output, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use millstream_servers::node;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

const SCRIPT: &str = include_str!("boss.mjs");

/// Longer than anything here takes on a slow machine; whoever waits this long has met a fault.
const PATIENCE: Duration = Duration::from_secs(90);

/// Which pg-boss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// 12.35.0: schema version 43, the oldest that Millstream works on.
    Oldest,
    /// 12.38.0: schema version 46.
    Current,
}

impl Release {
    fn version(self) -> &'static str {
        match self {
            Self::Oldest => "12.35.0",
            Self::Current => "12.38.0",
        }
    }

    /// Its folder, with the script beside it.
    fn folder(self) -> PathBuf {
        // The newest `rrule-temporal` that pg-boss asks for is not in every registry; schedules of that kind are not ours.
        let manifest = json!({
            "private": true,
            "dependencies": { "pg-boss": self.version() },
            "overrides": { "rrule-temporal": "2.2.7" },
        });
        let name = format!("pg-boss-{}", self.version());
        node::packages(&name, &manifest.to_string()).unwrap_or_else(|error| panic!("{error}"))
    }
}

type Answers = Arc<Mutex<HashMap<u64, oneshot::Sender<Result<Value, Value>>>>>;

/// pg-boss in a process of its own, which ends with this value.
pub struct Node {
    process: Child,
    stdin: ChildStdin,
    answers: Answers,
    jobs: mpsc::UnboundedReceiver<Value>,
    told: Arc<Mutex<Vec<Value>>>,
    calls: u64,
    _reader: JoinSet<()>,
}

impl Node {
    /// Starts pg-boss with the options of its constructor.
    ///
    /// # Panics
    ///
    /// Where it cannot be had, or does not start.
    pub async fn start(release: Release, options: Value) -> Self {
        let mut node = Self::idle(release);
        node.call("start", json!([options])).await;
        node
    }

    /// The process, before pg-boss is started in it by the call `start`.
    pub fn idle(release: Release) -> Self {
        let folder = release.folder();
        let program = node::program().unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(program);
        command.args(["--input-type=module", "--eval", SCRIPT]).current_dir(&folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("Node starts");
        let stdin = process.stdin.take().expect("a pipe");
        let stdout = process.stdout.take().expect("a pipe");
        let (answers, told) = (Answers::default(), Arc::default());
        let (sender, jobs) = mpsc::unbounded_channel();
        let mut reader = JoinSet::new();
        reader.spawn(read(stdout, answers.clone(), sender, Arc::clone(&told)));
        Self { process, stdin, answers, jobs, told, calls: 0, _reader: reader }
    }

    /// Calls a method of pg-boss, or one of the script, and answers what it resolves to.
    ///
    /// # Panics
    ///
    /// Where it throws.
    pub async fn call(&mut self, method: &str, args: Value) -> Value {
        match self.try_call(method, args.clone()).await {
            Ok(value) => value,
            Err(error) => panic!("pg-boss: {method}({args}) threw {error}"),
        }
    }

    /// The same; what it throws is the error.
    pub async fn try_call(&mut self, method: &str, args: Value) -> Result<Value, Value> {
        self.calls += 1;
        let (sender, answer) = oneshot::channel();
        lock(&self.answers).insert(self.calls, sender);
        let line = format!("{}\n", json!({ "id": self.calls, "call": method, "args": args }));
        self.stdin.write_all(line.as_bytes()).await.expect("Node is there");
        timeout(PATIENCE, answer)
            .await
            .unwrap_or_else(|_| panic!("pg-boss: no answer to {method}({args})"))
            .unwrap_or_else(|_| panic!("Node ended while it was asked for {method}({args})"))
    }

    /// The next job that one of its workers takes: `token`, `queue`, `id`, `data`, `retryCount`, `expireInSeconds`.
    ///
    /// # Panics
    ///
    /// Where none comes.
    pub async fn job(&mut self) -> Value {
        let job = timeout(PATIENCE, self.jobs.recv()).await;
        job.unwrap_or_else(|_| panic!("Node got no job; it told {:?}", self.told())).expect("Node is there")
    }

    /// A job that was taken meanwhile.
    pub fn job_now(&mut self) -> Option<Value> {
        self.jobs.try_recv().ok()
    }

    /// Ends a job that it holds: `{"return": value}` or `{"throw": message}`.
    pub async fn settle(&mut self, job: &Value, how: Value) {
        self.call("settle", json!([job["token"], how])).await;
    }

    /// Errors, warnings and the like that pg-boss told so far.
    pub fn told(&self) -> Vec<Value> {
        lock(&self.told).clone()
    }

    /// Stops pg-boss as a service does, and ends.
    pub async fn stop(mut self) {
        self.call("stop", json!([{ "graceful": true }])).await;
        drop(self.stdin);
        timeout(PATIENCE, self.process.wait()).await.expect("Node ends").expect("Node ends");
    }

    /// Ends as by `kill -9`.
    pub async fn kill(mut self) {
        self.process.kill().await.expect("Node ends");
    }
}

/// Runs pg-boss's command line program to its end.
pub fn command(release: Release, args: &[&str]) -> Output {
    let program = node::program().unwrap_or_else(|error| panic!("{error}"));
    let mut command = StdCommand::new(program);
    command.arg(cli(&release.folder())).args(args).stdin(Stdio::null());
    command.output().expect("Node starts")
}

fn cli(folder: &Path) -> PathBuf {
    folder.join("node_modules/pg-boss/dist/cli.js")
}

async fn read(stdout: ChildStdout, answers: Answers, jobs: mpsc::UnboundedSender<Value>, told: Arc<Mutex<Vec<Value>>>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(mut line) = serde_json::from_str::<Value>(&line) else { continue };
        if let Some(answer) = line["id"].as_u64().and_then(|id| lock(&answers).remove(&id)) {
            let answered = if line.get("error").is_some() { Err(line["error"].take()) } else { Ok(line["ok"].take()) };
            // Nobody waits any more: the test failed meanwhile.
            let _ = answer.send(answered);
        } else if line.get("job").is_some() {
            let _ = jobs.send(line["job"].take());
        } else {
            lock(&told).push(line["told"].take());
        }
    }
    // Whoever waits for an answer learns that none comes.
    lock(&answers).clear();
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
