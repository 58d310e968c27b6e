//! A server program that runs in a [`Folder`].

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{Error, Result, command, fault::process, folder::Folder};

/// Lines of the log that are kept; what went wrong is in the last ones.
const LOG_LINES_MAX: usize = 500;

/// A start after a crash replays the log first; on a busy machine that takes its time.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A smart stop waits for clients; whoever forgets one shall read why the test hangs.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Service {
    /// What it is called in errors.
    name: String,
    process: Option<Process>,
    log: Arc<Log>,
    // Dropped last: when the watchdog looks, the process is gone.
    folder: Folder,
}

#[derive(Debug)]
struct Process {
    child: Child,
    run: Arc<Run>,
}

/// The lines of all runs of a server, newest last.
#[derive(Debug, Default)]
struct Log(Mutex<VecDeque<String>>);

/// How far one run has come. Written by the thread that reads the log, read by whoever waits.
#[derive(Debug, Default)]
struct Run {
    stage: Mutex<Stage>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Stage {
    #[default]
    Starting,
    Ready,
    /// No process of the server holds the log any more.
    Gone,
}

impl Service {
    pub(crate) fn new(name: impl Into<String>, folder: Folder) -> Self {
        Self { name: name.into(), process: None, log: Arc::default(), folder }
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.child.id())
    }

    pub(crate) fn log(&self) -> String {
        let lines = lock(&self.log.0);
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Returns when a line of the log holds `ready`.
    pub(crate) fn start(&mut self, command: &mut Command, ready: &'static str) -> Result<()> {
        if self.process.is_some() {
            return Err(Error::new(format!("{} is running already", self.name)));
        }
        let command = self.folder.account().run_as(command);
        command.current_dir(self.folder.path()).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| Error::new(format!("failed to start {}: {error}", self.name)))?;
        let words = child.stderr.take().expect("stderr is piped");
        let run = Arc::new(Run::default());
        let (log, of_reader) = (Arc::clone(&self.log), Arc::clone(&run));
        // It ends with the last process of the server.
        std::thread::spawn(move || read_log(words, &log, &of_reader, ready));
        self.process = Some(Process { child, run: Arc::clone(&run) });
        let why = match run.wait(START_TIMEOUT, |stage| stage != Stage::Starting) {
            Some(Stage::Ready) => return Ok(()),
            Some(_) => "it ended".to_owned(),
            None => format!("it is not ready after {START_TIMEOUT:?}"),
        };
        // The error has its words; what is left of it goes now.
        let _ = self.stop("KILL");
        Err(Error::new(format!("{} did not start: {why}:\n{}", self.name, command::tail(&self.log()))))
    }

    /// Sends the signal; returns when every process of the server is gone.
    pub(crate) fn stop(&mut self, signal: &str) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        process::signal(signal, process.child.id())?;
        if process.run.wait(STOP_TIMEOUT, |stage| stage == Stage::Gone).is_none() {
            let log = command::tail(&self.log());
            return Err(Error::new(format!("{} is still there {STOP_TIMEOUT:?} after {signal}:\n{log}", self.name)));
        }
        process.child.wait().map_err(|error| Error::new(format!("failed to wait for {}: {error}", self.name)))?;
        self.process = None;
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Reaped here, so that the watchdog finds nothing to wait for. What does not go is the watchdog's.
            let _ = process::signal("QUIT", process.child.id());
            let _ = process::signal("CONT", process.child.id());
            if process.run.wait(Duration::from_secs(10), |stage| stage == Stage::Gone).is_none() {
                let _ = process::signal("KILL", process.child.id());
            }
            let _ = process.child.wait();
        }
    }
}

impl Run {
    fn reach(&self, stage: Stage) {
        *lock(&self.stage) = stage;
        self.changed.notify_all();
    }

    /// None after the timeout.
    fn wait(&self, timeout: Duration, wanted: impl Fn(Stage) -> bool) -> Option<Stage> {
        let stage = lock(&self.stage);
        let waited = self.changed.wait_timeout_while(stage, timeout, |stage| !wanted(*stage));
        let (stage, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        (!waited.timed_out()).then_some(*stage)
    }
}

fn read_log(words: impl Read, log: &Log, run: &Run, ready: &str) {
    let mut words = BufReader::new(words);
    let mut line = Vec::new();
    while words.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let is_ready = text.contains(ready);
        let mut lines = lock(&log.0);
        lines.push_back(text);
        if lines.len() > LOG_LINES_MAX {
            lines.pop_front();
        }
        drop(lines);
        if is_ready {
            run.reach(Stage::Ready);
        }
        line.clear();
    }
    run.reach(Stage::Gone);
}

/// A panic in one test must not take the server from the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
