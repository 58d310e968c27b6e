//! What the worker runtime promises on every store.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use super::super::{
    case::{Checked, Failure, cases, ensure, ensure_eq, ensure_matches},
    observed::Observed,
    world::{Handle, LEASE, World, done, event, id, job, job_in, numbered, q, queue, secs, stream},
};
use crate::{
    Append, Backoff, CancelReason, Effects, Job, JobContext, JobError, JobId, JobName, JobState, NewJob, Outcome, Queue, QueueEventKind,
    QueueWorkerOptions, Schedule, Settlement, Stores, Work, WorkerManager, WorkerOptions,
};

/// Real time between two looks of a runtime under test: a muted run must not be a slow one.
const POLL: Duration = Duration::from_millis(20);

fn name(text: &str) -> JobName {
    JobName::new(text).expect("a valid job name")
}

fn stores(handle: &Handle) -> Stores {
    Stores { queue: handle.queue.clone(), events: handle.events.clone(), state: handle.state.clone() }
}

fn options(world: &World) -> WorkerOptions {
    WorkerOptions {
        clock: Arc::new(world.clock()),
        entropy: world.entropy.clone(),
        poll: POLL,
        grace: secs(10),
        ..WorkerOptions::default()
    }
}

/// Workers of one process, which sees the store through this handle.
fn workers_of(world: &World, handle: &Handle) -> WorkerManager {
    WorkerManager::with_work(stores(handle), Work::Shared(handle.jobs.clone()), options(world))
}

fn workers(world: &World) -> WorkerManager {
    workers_of(world, world)
}

/// The end of a job of the queue `q`.
async fn ended(world: &World, id: &JobId) -> Checked<Job> {
    let ended = Queue::new(world.queue.clone(), "q")?;
    let job = world.within("the job's end", ended.finished(id)).await??;
    job.ok_or_else(|| Failure::new(format_args!("the job {id} is gone")))
}

/// Waits for the next of what a handler reports.
async fn next<T: Send>(world: &World, what: &str, reports: &mut mpsc::UnboundedReceiver<T>) -> Checked<T> {
    world.within(what, reports.recv()).await?.ok_or_else(|| Failure::new(format_args!("nobody is left to report {what}")))
}

/// Takes the one job of the queue `q`. A worker that was just paused may have taken it, and gives it back.
async fn taken(world: &World) -> Checked<crate::Claimed> {
    loop {
        if let Some(claimed) = world.claim(&q(), 1).await?.pop() {
            return Ok(claimed);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A handler that reports its start, then runs until it is told to go on.
struct Gate {
    started: mpsc::UnboundedReceiver<JobContext>,
    go: watch::Sender<bool>,
}

fn gated(workers: &WorkerManager) -> Checked<Gate> {
    let (report, started) = mpsc::unbounded_channel();
    let go = watch::Sender::new(false);
    let gate = go.clone();
    workers.register(&q(), &name("work"), move |_: Value, ctx: JobContext| {
        let (report, mut gate) = (report.clone(), gate.subscribe());
        async move {
            let _ = report.send(ctx);
            let _ = gate.wait_for(|open| *open).await;
            Ok::<_, JobError>("went on")
        }
    })?;
    Ok(Gate { started, go })
}

/// A handler that reports its start, and ends with an error when its token fires.
fn obedient(workers: &WorkerManager) -> Checked<mpsc::UnboundedReceiver<JobContext>> {
    let (report, started) = mpsc::unbounded_channel();
    workers.register(&q(), &name("work"), move |_: Value, ctx: JobContext| {
        let report = report.clone();
        async move {
            let _ = report.send(ctx.clone());
            ctx.cancellation().cancelled().await;
            Err::<(), _>(JobError::retry("interrupted"))
        }
    })?;
    Ok(started)
}

/// A runtime with one thread for handlers to block, shut down in the background however the case ends.
pub(super) struct OneThread(Option<tokio::runtime::Runtime>);

impl OneThread {
    pub(super) fn new() -> std::io::Result<Self> {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map(Some).map(Self)
    }

    pub(super) fn get(&self) -> &tokio::runtime::Runtime {
        self.0.as_ref().expect("taken by drop only")
    }
}

impl Drop for OneThread {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Deserialize)]
struct Numbered {
    n: u64,
}

cases! {
    /// A typed handler's output is the job's, and the job is completed.
    #[breaks_on(LostSettle, ForgetsResults)]
    async fn a_handler_completes_its_job_with_its_output(world: &World) -> Checked {
        let workers = workers(world);
        workers.register(&q(), &name("work"), |input: Numbered, _| async move { Ok::<_, JobError>(input.n + 1) })?;
        workers.start().await?;
        let added = world.add(job()).await?;
        let job = ended(world, &added).await?;
        ensure_eq!(job.state, JobState::Completed, "the handler returned an output");
        ensure_eq!(job.output, Some(json!(2)), "the handler's output");
        ensure_eq!(job.attempt, 1, "it took one attempt");
        Ok(workers.close_all().await?)
    }

    /// Inside a queue, a job's name chooses its handler; the default handler takes the rest.
    #[breaks_on(BareClaim, LostSettle)]
    async fn a_job_goes_to_the_handler_of_its_name(world: &World) -> Checked {
        let workers = workers(world);
        for kind in ["a", "b"] {
            workers.register(&q(), &name(kind), move |_: Value, ctx: JobContext| async move {
                Ok::<_, JobError>(format!("{kind} got {}", ctx.name()))
            })?;
        }
        struct Rest;
        #[async_trait::async_trait]
        impl crate::Handler for Rest {
            async fn run(&self, input: Value, ctx: JobContext) -> Result<Value, JobError> {
                Ok(json!([format!("rest got {}", ctx.name()), input]))
            }
        }
        workers.register_default(&q(), Arc::new(Rest))?;
        workers.start().await?;
        for (kind, output) in [("a", json!("a got a")), ("b", json!("b got b")), ("c", json!(["rest got c", { "n": 1 }]))] {
            let added = world.add(NewJob { name: name(kind), ..job() }).await?;
            ensure_eq!(ended(world, &added).await?.output, Some(output), "the job named {kind}");
        }
        Ok(workers.close_all().await?)
    }

    /// A job without a handler is not lost: it fails, and the error names queue, job name, and the handlers there are.
    #[breaks_on(ForgetsResults)]
    async fn a_job_without_a_handler_fails_by_name(world: &World) -> Checked {
        let workers = workers(world);
        for kind in ["resize", "crop"] {
            workers.register(&q(), &name(kind), |(): (), _| async { Ok::<_, JobError>(()) })?;
        }
        workers.start().await?;
        let added = world.add(job().attempts(1)).await?;
        let job = ended(world, &added).await?;
        ensure_eq!(job.state, JobState::Failed, "there is no handler for it");
        let text = job.error.as_ref().and_then(|error| error["message"].as_str()).unwrap_or_default();
        for word in ["`work`", "`q`", "crop, resize"] {
            ensure!(text.contains(word), "the error {text:?} does not name {word}");
        }
        Ok(workers.close_all().await?)
    }

    /// Data that the handler cannot read fails the job for good: no further attempt would help.
    #[breaks_on(NeverEnds, ForgetsResults)]
    async fn data_that_does_not_fit_fails_for_good(world: &World) -> Checked {
        let workers = workers(world);
        workers.register(&q(), &name("work"), |_: Vec<u8>, _| async { Ok::<_, JobError>(()) })?;
        workers.start().await?;
        let added = world.add(job().attempts(9)).await?;
        let job = ended(world, &added).await?;
        ensure_eq!((job.state, job.attempt), (JobState::Failed, 1), "it fails at once");
        ensure!(job.error.is_some_and(|error| error["message"].as_str().is_some_and(|text| text.contains("work"))), "the error names the handler");
        Ok(workers.close_all().await?)
    }

    /// A panic is a failed attempt with the panic's message, and the worker goes on.
    #[breaks_on(ForgetsResults, UncountedAttempt)]
    async fn a_panic_is_a_failed_attempt(world: &World) -> Checked {
        let workers = workers(world);
        workers.register(&q(), &name("work"), |input: Numbered, _| async move {
            if input.n == 1 {
                // As a panic, without a line on the suite's standard error.
                std::panic::resume_unwind(Box::new(format!("n is {}", input.n)));
            }
            Ok::<_, JobError>(())
        })?;
        workers.start().await?;
        let added = world.add(job().attempts(2).backoff(crate::Backoff::fixed(Duration::ZERO))).await?;
        let failed = ended(world, &added).await?;
        ensure_eq!((failed.state, failed.attempt), (JobState::Failed, 2), "both attempts panicked");
        let text = failed.error.unwrap_or_default().to_string();
        ensure!(text.contains("panicked") && text.contains("n is 1"), "the error {text} has no panic message");
        let added = world.add(NewJob { data: json!({ "n": 2 }), ..job() }).await?;
        ensure_eq!(ended(world, &added).await?.state, JobState::Completed, "the worker goes on");
        Ok(workers.close_all().await?)
    }

    /// A call of the store that panics is a call that failed: the worker goes on, and nothing is lost.
    #[breaks_on(LostJob)]
    async fn a_store_that_panics_stops_no_worker(world: &World) -> Checked {
        let calls = ["wait", "claim", "settle", "progress", "promote_due", "fire_schedules", "rescue", "beat"];
        let observed = Arc::new(Observed::over(world.jobs.clone()).panicking_once_in(calls));
        let mut beats = observed.beats();
        let manager = WorkerManager::with_work(stores(world), Work::Shared(observed.clone()), options(world));
        let (report, mut started) = mpsc::unbounded_channel();
        manager.register(&q(), &name("work"), move |_: Value, ctx: JobContext| {
            let (go, wait) = oneshot::channel::<()>();
            let _ = report.send(go);
            async move {
                ctx.progress(json!(50));
                Ok::<_, JobError>(wait.await.is_ok())
            }
        })?;
        manager.start().await?;
        for n in 0..3 {
            let added = world.add(job()).await?;
            let go = next(world, "a start after the panic of a claim", &mut started).await?;
            if n == 0 {
                // One that panics, and the next.
                for step in [LEASE / 3, LEASE / 12] {
                    let seen = *beats.borrow_and_update();
                    world.advance(step).await?;
                    world.within("a beat", beats.wait_for(|beats| *beats > seen)).await??;
                }
            }
            let _ = go.send(());
            ensure_eq!(ended(world, &added).await?.state, JobState::Completed, "job {n}");
        }
        world.within("the stop", manager.close_all()).await??;
        ensure_eq!(observed.calm(), Vec::<&str>::new(), "calls that did not panic");
        Ok(())
    }

    /// An attempt that outlasts the job's timeout fails, and its token has fired.
    #[breaks_on(BareClaim, ForgetsResults)]
    async fn an_attempt_that_outlasts_its_timeout_fails(world: &World) -> Checked {
        let workers = workers(world);
        let mut gate = gated(&workers)?;
        workers.start().await?;
        let added = world.add(job().attempts(1).timeout(secs(5))).await?;
        let ctx = next(world, "the start", &mut gate.started).await?;
        world.advance(secs(6)).await?;
        let job = ended(world, &added).await?;
        ensure_eq!(job.state, JobState::Failed, "it took too long");
        let text = job.error.unwrap_or_default().to_string();
        ensure!(text.contains("timed out after 5s"), "the error {text} does not say so");
        ensure_eq!(ctx.cancel_reason(), Some(CancelReason::TimedOut), "the token's reason");
        Ok(workers.close_all().await?)
    }

    /// The handler sees true attempt numbers, and a wait it chooses itself is kept.
    #[breaks_on(UncountedAttempt)]
    async fn the_handler_sees_true_attempts(world: &World) -> Checked {
        let workers = workers(world);
        let (report, mut seen) = mpsc::unbounded_channel();
        workers.register(&q(), &name("work"), move |_: Value, ctx: JobContext| {
            let _ = report.send((ctx.attempt(), ctx.attempts()));
            async move {
                match ctx.attempt() {
                    3 => Ok(()),
                    _ => Err(JobError::retry("not yet").after(Duration::ZERO)),
                }
            }
        })?;
        workers.start().await?;
        let added = world.add(job().attempts(4)).await?;
        for attempt in 1..=3 {
            ensure_eq!(next(world, "an attempt", &mut seen).await?, (attempt, 4), "attempt and attempts");
        }
        let job = ended(world, &added).await?;
        ensure_eq!((job.state, job.attempt), (JobState::Completed, 3), "it took three attempts");
        Ok(workers.close_all().await?)
    }

    /// A snooze runs the job again without burning an attempt.
    #[breaks_on(BurnedAttempt)]
    async fn a_snooze_burns_no_attempt(world: &World) -> Checked {
        let workers = workers(world);
        let runs = Arc::new(AtomicU32::new(0));
        let count = runs.clone();
        workers.register(&q(), &name("work"), move |_: Value, ctx: JobContext| {
            let run = count.fetch_add(1, Ordering::Relaxed);
            async move { if run < 3 { Err(JobError::snooze(Duration::ZERO)) } else { Ok(ctx.attempt()) } }
        })?;
        workers.start().await?;
        let added = world.add(job().attempts(1)).await?;
        let job = ended(world, &added).await?;
        ensure_eq!(job.output, Some(json!(1)), "the fourth run is the first attempt");
        Ok(workers.close_all().await?)
    }

    /// A handler ends its job for good, or cancels it, whatever attempts are left.
    #[breaks_on(NeverEnds, LostSettle)]
    async fn a_handler_may_end_its_job(world: &World) -> Checked {
        let workers = workers(world);
        workers.register(&q(), &name("work"), |input: Numbered, _| async move {
            Err::<(), _>(if input.n == 1 { JobError::fail("no") } else { JobError::cancel("not needed") })
        })?;
        workers.start().await?;
        for (n, state) in [(1, JobState::Failed), (2, JobState::Cancelled)] {
            let added = world.add(NewJob { data: json!({ "n": n }), ..job() }).await?;
            let job = ended(world, &added).await?;
            ensure_eq!((job.state, job.attempt), (state, 1), "the handler's word is final");
        }
        Ok(workers.close_all().await?)
    }

    /// Progress is seen while the job runs.
    #[breaks_on(ForgetsResults)]
    async fn progress_is_seen_while_the_job_runs(world: &World) -> Checked {
        let workers = workers(world);
        let mut gate = gated(&workers)?;
        workers.start().await?;
        let mut events = world.queue.watch(&q()).await?;
        let added = world.add(job()).await?;
        next(world, "the start", &mut gate.started).await?.progress(40);
        let told = async {
            while let Some(event) = std::future::poll_fn(|cx| events.as_mut().poll_next(cx)).await {
                if event.kind == QueueEventKind::Progress {
                    return event.data;
                }
            }
            None
        };
        ensure_eq!(world.within("the progress", told).await?, Some(json!(40)), "what a watcher is told");
        ensure_eq!(world.look(&added).await?.progress, Some(json!(40)), "what is stored");
        gate.go.send_replace(true);
        ended(world, &added).await?;
        Ok(workers.close_all().await?)
    }

    /// Events, next jobs and state are there when the job is completed.
    #[breaks_on(DroppedEffects)]
    async fn effects_commit_with_the_outcome(world: &World) -> Checked {
        let workers = workers(world);
        workers.register(&q(), &name("work"), |_: Value, ctx: JobContext| async move {
            ctx.append(Append::one(stream("s"), event("happened")));
            ctx.enqueue(job_in("next").id(id("n1")));
            ctx.set_state("k", json!(1), None);
            Ok::<_, JobError>(())
        })?;
        workers.start().await?;
        let added = world.add(job()).await?;
        ended(world, &added).await?;
        ensure_eq!(world.log("s").await?.len(), 1, "its event");
        ensure_eq!(world.look_in(&queue("next"), &id("n1")).await?.state, JobState::Waiting, "its next job");
        ensure_eq!(world.state.get("k").await?, Some(json!(1)), "its state");
        Ok(workers.close_all().await?)
    }

    /// An attempt that will run again leaves no effects behind.
    #[breaks_on(DoubleEvent, DroppedEffects)]
    async fn effects_of_an_attempt_that_runs_again_are_dropped(world: &World) -> Checked {
        let added = world.add(job().attempts(2)).await?;
        let snoozed = Arc::new(AtomicU32::new(0));
        let workers = workers(world);
        workers.register(&q(), &name("work"), move |_: Value, ctx: JobContext| {
            let run = snoozed.fetch_add(1, Ordering::Relaxed);
            async move {
                ctx.append(Append::one(stream("s"), event("happened")));
                match run {
                    0 => Err(JobError::retry("once more").after(Duration::ZERO)),
                    1 => Err(JobError::snooze(Duration::ZERO)),
                    _ => Ok(()),
                }
            }
        })?;
        workers.start().await?;
        ensure_eq!(ended(world, &added).await?.state, JobState::Completed, "the third run succeeds");
        ensure_eq!(world.log("s").await?.len(), 1, "only the last run's event is there");
        Ok(workers.close_all().await?)
    }

    /// A refused effect fails the attempt, says why, and the job runs again.
    #[breaks_on(BlindExpected)]
    async fn a_refused_effect_is_a_failed_attempt(world: &World) -> Checked {
        let workers = workers(world);
        workers.register(&q(), &name("work"), |_: Value, ctx: JobContext| async move {
            let expected = if ctx.attempt() == 1 { 7 } else { 0 };
            ctx.append(Append::one(stream("s"), event("happened")).expecting(expected));
            Ok::<_, JobError>(ctx.attempt())
        })?;
        workers.start().await?;
        let added = world.add(job().backoff(crate::Backoff::fixed(Duration::ZERO))).await?;
        let job = ended(world, &added).await?;
        ensure_eq!(job.output, Some(json!(2)), "the first attempt's effect was refused");
        Ok(workers.close_all().await?)
    }

    /// Cancelling a running job fires its token; the job is cancelled when its handler gives up.
    #[breaks_on(IgnoredCancel)]
    async fn cancelling_a_running_job_fires_its_token(world: &World) -> Checked {
        let workers = workers(world);
        let mut started = obedient(&workers)?;
        workers.start().await?;
        let added = world.add(job()).await?;
        let ctx = next(world, "the start", &mut started).await?;
        ensure!(world.queue.cancel(&q(), &added).await?, "a running job can be cancelled");
        // Where the hint is muted, the next beat tells.
        world.advance(LEASE / 3).await?;
        let job = ended(world, &added).await?;
        ensure_eq!(job.state, JobState::Cancelled, "its handler gave up");
        ensure_eq!(ctx.cancel_reason(), Some(CancelReason::Cancelled), "the token's reason");
        Ok(workers.close_all().await?)
    }

    /// Taking a running job away fires its token.
    #[breaks_on(NeverLost)]
    async fn losing_the_claim_fires_the_token(world: &World) -> Checked {
        let workers = workers(world);
        let mut started = obedient(&workers)?;
        workers.start().await?;
        let added = world.add(job()).await?;
        let ctx = next(world, "the start", &mut started).await?;
        ensure!(world.queue.remove(&q(), &added).await?, "a running job can be removed");
        world.advance(LEASE / 3).await?;
        world.within("the token", ctx.cancellation().cancelled()).await?;
        ensure_eq!(ctx.cancel_reason(), Some(CancelReason::ClaimLost), "the token's reason");
        Ok(workers.close_all().await?)
    }

    /// A worker that was stopped past its lease no longer trusts its claim, and its late settle is refused.
    #[breaks_on(NoFence)]
    async fn a_worker_stopped_past_its_lease_is_refused(world: &World) -> Checked {
        let workers = workers(world);
        let mut gate = gated(&workers)?;
        workers.start().await?;
        let added = world.add(job()).await?;
        let ctx = next(world, "the start", &mut gate.started).await?;
        // The keeper would rescue it, and this worker take it again: another one has it.
        if let Some(worker) = workers.get_worker(&q()) {
            worker.pause();
        }
        world.advance(LEASE + secs(1)).await?;
        world.within("the token", ctx.cancellation().cancelled()).await?;
        ensure_eq!(ctx.cancel_reason(), Some(CancelReason::ClaimLost), "the token's reason");
        world.jobs.rescue().await?;
        let second = world.within("the job's return", taken(world)).await??;
        ensure_eq!(second.attempt, 2, "the crash burned the first attempt");
        gate.go.send_replace(true);
        workers.close_all().await?;
        ensure_eq!(world.state_of(&added).await?, JobState::Active, "the late settle is refused");
        world.settle(&second, done()).await?;
        ensure_eq!(world.look(&added).await?.output, Some(json!("done")), "the second holder settles it");
        Ok(())
    }

    /// What a handler settled in a transaction of its own is the job's end, and the worker adds nothing.
    #[breaks_on(LostSettle)]
    async fn a_handler_may_settle_its_job(world: &World) -> Checked {
        let workers = workers(world);
        let jobs = world.jobs.clone();
        workers.register(&q(), &name("work"), move |_: Value, ctx: JobContext| {
            let jobs = jobs.clone();
            async move {
                let outcome = Outcome::Done(json!(ctx.attempt()));
                jobs.settle(&[Settlement { claim: ctx.claim().clone(), outcome, effects: Effects::default() }]).await?;
                Err::<(), _>(JobError::settled())
            }
        })?;
        workers.start().await?;
        let added = world.add(job()).await?;
        ended(world, &added).await?;
        // The worker has heard of it, too.
        workers.close_all().await?;
        let settled = world.look(&added).await?;
        ensure_eq!((settled.state, settled.output), (JobState::Completed, Some(json!(1))), "the handler's own outcome");
        Ok(())
    }

    /// A handler that only says that it settled its job has failed: the job is not lost.
    #[breaks_on(LostSettle)]
    async fn a_handler_that_did_not_settle_has_failed(world: &World) -> Checked {
        let workers = workers(world);
        workers.register(&q(), &name("work"), move |_: Value, ctx: JobContext| async move {
            if ctx.attempt() == 1 { Err(JobError::settled()) } else { Ok(ctx.attempt()) }
        })?;
        workers.start().await?;
        let added = world.add(job().backoff(Backoff::fixed(Duration::ZERO))).await?;
        ensure_eq!(ended(world, &added).await?.output, Some(json!(2)), "it ran again");
        Ok(workers.close_all().await?)
    }

    /// A graceful stop takes no new jobs, and lets running ones finish.
    #[breaks_on(LostSettle)]
    async fn a_graceful_stop_lets_running_jobs_finish(world: &World) -> Checked {
        let workers = workers(world);
        let mut gate = gated(&workers)?;
        workers.start().await?;
        let added = world.add(job()).await?;
        let ctx = next(world, "the start", &mut gate.started).await?;
        let stopping = workers.clone();
        let mut stop = tokio::task::JoinSet::new();
        stop.spawn(async move { stopping.close_all().await });
        world.within("the token", ctx.cancellation().cancelled()).await?;
        ensure_eq!(ctx.cancel_reason(), Some(CancelReason::Stopping), "the token's reason");
        let late = world.add(job()).await?;
        gate.go.send_replace(true);
        ensure_matches!(world.within("the stop", stop.join_next()).await?, Some(Ok(Ok(()))), "the stop succeeds");
        ensure_eq!(world.look(&added).await?.output, Some(json!("went on")), "it finished");
        ensure_eq!(world.state_of(&late).await?, JobState::Waiting, "no new job was taken");
        Ok(())
    }

    /// A job that outlasts the grace goes back to its queue at once, no attempt burned.
    #[breaks_on(BurnedAttempt)]
    async fn a_job_that_outlasts_the_grace_goes_back(world: &World) -> Checked {
        let workers = workers(world);
        let mut gate = gated(&workers)?;
        workers.start().await?;
        let added = world.add(job().attempts(1)).await?;
        next(world, "the start", &mut gate.started).await?;
        world.within("the stop", workers.close_all_within(Duration::ZERO)).await??;
        ensure_eq!(world.state_of(&added).await?, JobState::Waiting, "it waits again");
        ensure_eq!(world.take().await?.attempt, 1, "no attempt was burned");
        Ok(())
    }

    /// A second, hasty stop shortens the grace of the first.
    #[breaks_on(BurnedAttempt)]
    async fn a_hasty_stop_shortens_a_graceful_one(world: &World) -> Checked {
        let workers = workers(world);
        let mut gate = gated(&workers)?;
        workers.start().await?;
        let added = world.add(job().attempts(1)).await?;
        let ctx = next(world, "the start", &mut gate.started).await?;
        let stopping = workers.clone();
        let mut stop = tokio::task::JoinSet::new();
        stop.spawn(async move { stopping.close_all_within(secs(3600)).await });
        world.within("the token", ctx.cancellation().cancelled()).await?;
        world.within("the hasty stop", workers.close_all_within(Duration::ZERO)).await??;
        ensure_matches!(world.within("the first stop", stop.join_next()).await?, Some(Ok(Ok(()))), "both succeed");
        ensure_eq!(world.state_of(&added).await?, JobState::Waiting, "it waits again");
        ensure_eq!(world.take().await?.attempt, 1, "no attempt was burned");
        Ok(())
    }

    /// What fails because the worker stops goes back to its queue, no attempt burned.
    #[breaks_on(BurnedAttempt)]
    async fn an_interrupted_attempt_is_not_burned(world: &World) -> Checked {
        let workers = workers(world);
        let mut started = obedient(&workers)?;
        workers.start().await?;
        let added = world.add(job().attempts(1)).await?;
        next(world, "the start", &mut started).await?;
        world.within("the stop", workers.close_all()).await??;
        ensure_eq!(world.state_of(&added).await?, JobState::Waiting, "it waits again");
        ensure_eq!(world.take().await?.attempt, 1, "no attempt was burned");
        Ok(())
    }

    /// The job of a worker that crashed is finished by another one.
    #[breaks_on(NoRescue)]
    async fn the_job_of_a_crashed_worker_is_finished_by_another(world: &World) -> Checked {
        let crashing = workers(world);
        let mut gate = gated(&crashing)?;
        crashing.start().await?;
        let added = world.add(job()).await?;
        next(world, "the start", &mut gate.started).await?;
        // Dropped without a close: nobody beats for it any more.
        drop(crashing);
        let second = workers(world);
        second.register(&q(), &name("work"), |_: Value, ctx: JobContext| async move { Ok::<_, JobError>(ctx.attempt()) })?;
        second.start().await?;
        // The second step is a time to rescue by the keeper's clock, after the store's time has moved; shorter than a
        // lease, or a claim between its two halves would run out.
        world.advance(LEASE + secs(1)).await?;
        world.advance(LEASE / 2).await?;
        let job = ended(world, &added).await?;
        ensure_eq!(job.output, Some(json!(2)), "the second attempt");
        Ok(second.close_all().await?)
    }

    /// A handler that blocks every worker thread for three leases keeps its claim.
    #[breaks_on(BeatForgets)]
    async fn a_handler_that_blocks_every_thread_keeps_its_claim(world: &World) -> Checked {
        let observed = Observed::over(world.jobs.clone());
        let mut beats = observed.beats();
        let (report, mut started) = mpsc::unbounded_channel();
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let blocked = Mutex::new(blocked);
        let manager = WorkerManager::with_work(stores(world), Work::Shared(Arc::new(observed)), options(world));
        manager.register(&q(), &name("work"), move |_: Value, _| {
            let _ = report.send(());
            // Not an await: the runtime's only thread is gone until the test gives it back.
            let _ = blocked.lock().unwrap_or_else(PoisonError::into_inner).recv();
            async { Ok::<_, JobError>("kept") }
        })?;
        let added = world.add(job()).await?;
        // A store's connections may live on the runtime that is blocked: another process looks.
        let second = world.second().await?;
        let runtime = OneThread::new()?;
        let running = manager.clone();
        runtime.get().spawn(async move { running.start().await });
        next(world, "the start", &mut started).await?;
        for _ in 0..9 {
            let seen = *beats.borrow_and_update();
            world.advance(LEASE / 3).await?;
            world.within("a beat", beats.wait_for(|beats| *beats > seen)).await??;
            second.jobs.rescue().await?;
        }
        ensure_eq!(second.state_of(&added).await?, JobState::Active, "three leases later it is still its worker's");
        drop(release);
        let job = ended(world, &added).await?;
        ensure_eq!((job.output, job.attempt), (Some(json!("kept")), 1), "the first attempt completes it");
        let (closed, close) = oneshot::channel();
        runtime.get().spawn(async move { closed.send(manager.close_all().await) });
        world.within("the stop", close).await???;
        Ok(())
    }

    /// One settlement that can never be written holds up no other.
    #[breaks_on(LostJob)]
    async fn a_settlement_that_cannot_be_written_holds_up_no_other(world: &World) -> Checked {
        let observed = Observed::over(world.jobs.clone()).poisoned_by(id("3"));
        let manager = WorkerManager::with_work(stores(world), Work::Shared(Arc::new(observed)), options(world));
        manager.register(&q(), &name("work"), |_: Value, _| async { Ok::<_, JobError>(()) })?;
        let ids = world.add_all(numbered(8)).await?;
        manager.start().await?;
        for other in ids.iter().filter(|other| other.as_str() != "3") {
            ensure_eq!(ended(world, other).await?.state, JobState::Completed, "job {other}");
        }
        ensure_eq!(world.state_of(&id("3")).await?, JobState::Active, "the one that cannot be written");
        // What cannot be settled goes back in the end.
        world.within("the stop", manager.close_all_within(Duration::ZERO)).await??;
        ensure_eq!(world.state_of(&id("3")).await?, JobState::Waiting, "it was given back");
        Ok(())
    }

    /// A worker takes no more jobs than it has slots.
    #[breaks_on(IgnoresCaps)]
    async fn concurrency_is_never_exceeded(world: &World) -> Checked {
        let workers = workers(world);
        let (report, mut started) = mpsc::unbounded_channel();
        workers.configure(&q(), QueueWorkerOptions { concurrency: Some(2), ..QueueWorkerOptions::default() })?;
        workers.register(&q(), &name("work"), move |_: Value, _| {
            let (go, wait) = oneshot::channel::<()>();
            let _ = report.send(go);
            async move { Ok::<_, JobError>(wait.await.is_ok()) }
        })?;
        let ids = world.add_all(numbered(10)).await?;
        workers.start().await?;
        let first = next(world, "a start", &mut started).await?;
        let second = next(world, "a start", &mut started).await?;
        // None has ended: every claim is of a job that runs.
        ensure_eq!(world.counts().await?.active, 2, "jobs held in two slots");
        drop((first, second));
        for _ in 2..ids.len() {
            drop(next(world, "a start", &mut started).await?);
        }
        for id in &ids {
            ended(world, id).await?;
        }
        Ok(workers.close_all().await?)
    }

    /// Of one group no more jobs run at once than the worker may; it holds up no other group, and its jobs keep their order.
    #[breaks_on(ForgetsGroup, BareClaim)]
    async fn a_full_group_holds_up_no_other(world: &World) -> Checked {
        let workers = workers(world);
        let (report, mut started) = mpsc::unbounded_channel();
        let limited = QueueWorkerOptions {
            concurrency: Some(3),
            group_concurrency: Some(1),
            ..QueueWorkerOptions::default()
        };
        workers.configure(&q(), limited)?;
        workers.register(&q(), &name("work"), move |_: Value, ctx: JobContext| {
            let (go, wait) = oneshot::channel::<()>();
            let _ = report.send((ctx.job_id().clone(), go));
            async move { Ok::<_, JobError>(wait.await.is_ok()) }
        })?;
        let of = |(text, group): (&str, &str)| job().id(id(text)).group(group);
        let jobs = [("a1", "a"), ("a2", "a"), ("a3", "a"), ("a4", "a"), ("b1", "b")].map(of);
        world.add_all(jobs.into_iter().chain([job().id(id("free"))]).collect()).await?;
        workers.start().await?;
        let mut running = HashMap::new();
        for _ in 0..3 {
            let (started, go) = next(world, "a start", &mut started).await?;
            running.insert(started, go);
        }
        let mut first: Vec<&str> = running.keys().map(JobId::as_str).collect();
        first.sort_unstable();
        ensure_eq!(first, ["a1", "b1", "free"], "what three slots run");
        drop(running.remove(&id("b1")));
        ended(world, &id("b1")).await?;
        drop(running.remove(&id("a1")));
        for wanted in ["a2", "a3", "a4"] {
            let (started, go) = next(world, "a start", &mut started).await?;
            ensure_eq!(started, id(wanted), "the next of the group");
            ensure_eq!(go.is_closed(), false, "it runs");
            drop(go);
            ended(world, &started).await?;
        }
        drop(running);
        ended(world, &id("free")).await?;
        Ok(workers.close_all().await?)
    }

    /// A queue paused for all is left alone; a worker paused here leaves its queue to others.
    #[breaks_on(ForgottenPause)]
    async fn a_paused_queue_is_left_alone(world: &World) -> Checked {
        let workers = workers(world);
        let (report, mut ran) = mpsc::unbounded_channel();
        for queue in [q(), queue("other"), queue("here")] {
            let report = report.clone();
            workers.register(&queue, &name("work"), move |_: Value, ctx: JobContext| {
                let _ = report.send(ctx.queue().clone());
                async { Ok::<_, JobError>(()) }
            })?;
        }
        let here = workers.get_worker(&queue("here")).ok_or_else(|| Failure::new("the queue has a worker"))?;
        here.pause();
        ensure!(here.is_paused(), "it was paused");
        world.queue.pause(&q()).await?;
        workers.start().await?;
        world.add_all(vec![job(), job_in("here"), job_in("other")]).await?;
        ensure_eq!(next(world, "a run", &mut ran).await?, queue("other"), "the others are paused");
        here.resume();
        ensure_eq!(next(world, "a run", &mut ran).await?, queue("here"), "it was resumed");
        world.queue.resume(&q()).await?;
        ensure_eq!(next(world, "a run", &mut ran).await?, q(), "the queue was resumed");
        Ok(workers.close_all().await?)
    }

    /// Without autorun, a queue's worker waits for its `run`.
    #[breaks_on(LostSettle)]
    async fn without_autorun_a_worker_waits_for_its_run(world: &World) -> Checked {
        let workers = workers(world);
        workers.configure(&q(), QueueWorkerOptions { autorun: Some(false), ..QueueWorkerOptions::default() })?;
        for queue in [q(), queue("other")] {
            workers.register(&queue, &name("work"), |_: Value, _| async { Ok::<_, JobError>(()) })?;
        }
        workers.start().await?;
        let added = world.add(job()).await?;
        let other = world.add(job_in("other")).await?;
        let others = Queue::new(world.queue.clone(), "other")?;
        world.within("the other queue's job", others.finished(&other)).await??;
        ensure_eq!(world.state_of(&added).await?, JobState::Waiting, "its worker does not run yet");
        workers.get_worker(&q()).ok_or_else(|| Failure::new("the queue has a worker"))?.run();
        ensure_eq!(ended(world, &added).await?.state, JobState::Completed, "its worker runs");
        Ok(workers.close_all().await?)
    }

    /// A delayed job starts at its time, without anybody's help.
    #[breaks_on(NeverDue, EarlyDelayed)]
    async fn a_delayed_job_starts_at_its_time(world: &World) -> Checked {
        let workers = workers(world);
        // One slot: what the first job's end says of the one before it holds.
        workers.configure(&q(), QueueWorkerOptions { concurrency: Some(1), ..QueueWorkerOptions::default() })?;
        let clock = world.clock();
        workers.register(&q(), &name("work"), move |_: Value, _| {
            let at = crate::Clock::monotonic(&clock).as_secs();
            async move { Ok::<_, JobError>(at) }
        })?;
        workers.start().await?;
        let before = crate::Clock::monotonic(&world.clock()).as_secs();
        let added = world.add(job().delay(secs(60))).await?;
        let first = world.add(job()).await?;
        ended(world, &first).await?;
        world.advance(secs(60)).await?;
        let job = ended(world, &added).await?;
        ensure_eq!(job.output, Some(json!(before + 60)), "the second it ran at");
        Ok(workers.close_all().await?)
    }

    /// What is due, and what a crashed worker held, waits for no sweep, however long that takes.
    #[breaks_on(NeverDue, NoRescue)]
    async fn a_long_sweep_holds_up_no_job(world: &World) -> Checked {
        let (handle, mut sweeping) = world.sweeping();
        // Never beaten for: a worker had it, and is gone.
        let crashed = world.add(job()).await?;
        world.take().await?;
        let workers = workers_of(world, &handle);
        workers.register(&q(), &name("work"), |_: Value, _| async { Ok::<_, JobError>("ran") })?;
        workers.start().await?;
        let swept = async {
            while !*sweeping.borrow_and_update() {
                world.advance(LEASE + secs(1)).await?;
                tokio::time::sleep(POLL).await;
            }
            Checked::Ok(())
        };
        world.within("a sweep", swept).await??;
        let delayed = world.add(job().delay(secs(60))).await?;
        let both = async {
            // Step by step: what is rescued waits for its backoff.
            while !(world.state_of(&delayed).await?.is_finished() && world.state_of(&crashed).await?.is_finished()) {
                world.advance(secs(10)).await?;
                tokio::time::sleep(POLL).await;
            }
            Checked::Ok(())
        };
        world.within("the ends of both jobs", both).await??;
        Ok(workers.close_all().await?)
    }

    /// A schedule's job runs at its tick, without anybody's help.
    #[breaks_on(LostTick)]
    async fn a_schedule_runs_at_its_tick(world: &World) -> Checked {
        let workers = workers(world);
        let (report, mut ran) = mpsc::unbounded_channel();
        workers.register(&q(), &name("work"), move |_: Value, ctx: JobContext| {
            let _ = report.send(ctx.job_id().clone());
            async { Ok::<_, JobError>(()) }
        })?;
        workers.start().await?;
        world.queue.schedule_upsert(&Schedule::new(q(), "each-minute", "* * * * *", name("work"))).await?;
        world.advance(secs(60)).await?;
        let ran = next(world, "the tick's job", &mut ran).await?;
        ended(world, &ran).await?;
        Ok(workers.close_all().await?)
    }

    /// Of many jobs and several workers in several processes, every job runs to its end once.
    #[breaks_on(DoubleClaim, LostJob)]
    async fn many_workers_run_each_job_once(world: &World) -> Checked {
        let second = world.second().await?;
        let runs: Arc<Mutex<HashMap<(String, u32), u32>>> = Arc::default();
        let handles = [(**world).clone(), (**world).clone(), second];
        let mut managers = Vec::new();
        for handle in &handles {
            let workers = workers_of(world, handle);
            let runs = runs.clone();
            workers.register(&q(), &name("work"), move |_: Value, ctx: JobContext| {
                let key = (ctx.job_id().to_string(), ctx.attempt());
                *runs.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
                async move {
                    let fails = ctx.attempt() == 1 && ctx.job_id().as_str().ends_with('7');
                    if fails { Err(JobError::retry("sevens fail once").after(Duration::ZERO)) } else { Ok(()) }
                }
            })?;
            workers.start().await?;
            managers.push(workers);
        }
        let ids = world.add_all(numbered(200)).await?;
        for id in &ids {
            ensure_eq!(ended(world, id).await?.state, JobState::Completed, "job {id}");
        }
        let doubled: Vec<_> = {
            let runs = runs.lock().unwrap_or_else(PoisonError::into_inner);
            runs.iter().filter(|(_, runs)| **runs > 1).map(|(key, _)| key.clone()).collect()
        };
        ensure!(doubled.is_empty(), "attempts that ran more than once: {doubled:?}");
        let counts = world.counts().await?;
        ensure_eq!((counts.completed, counts.unfinished()), (200, 0), "the counts at the end");
        for workers in managers {
            workers.close_all().await?;
        }
        Ok(())
    }
}
