//! From the call that enqueues to the start of the handler.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{Clock, JobName, QueueName, QueueProvider, SystemClock, WorkerManager, WorkerOptions};
use tokio::{sync::mpsc, task::JoinSet};

use super::{expect, fill, job, queue, watch::Watch, workers};
use crate::bench::{Failure, Measure, Quantiles, Site, Sizes};

/// How long one job may take to its handler before the scenario gives up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two batches of the load.
const LOAD_EVERY: Duration = Duration::from_millis(5);

pub(in crate::bench) async fn idle(site: &dyn Site, sizes: &Sizes, bytes: usize) -> Result<Measure, Failure> {
    let bench = Bench::start(site, sizes, bytes).await?;
    let watch = Watch::start(site).await?;
    let took = bench.samples(sizes, bytes).await?;
    let measure = watch.stop("latency", took.len()).await?;
    bench.manager.close_all().await?;
    Ok(Measure { per_s: None, latency: Quantiles::of(took), ..measure })
}

/// Beside half of what this machine enqueues and works at once, found out just before.
pub(in crate::bench) async fn loaded(site: &dyn Site, sizes: &Sizes, bytes: usize) -> Result<Measure, Failure> {
    let bench = Bench::start(site, sizes, bytes).await?;
    let most = bench.most(sizes, bytes).await?;
    let rate = most / 2.0;
    let watch = Watch::start(site).await?;
    let before = bench.worked.load(Ordering::Relaxed);
    let mut load = JoinSet::new();
    let stop = Arc::new(AtomicBool::new(false));
    load.spawn(bench.load(rate, bytes, stop.clone()));
    let took = bench.samples(sizes, bytes).await?;
    stop.store(true, Ordering::Relaxed);
    let beside = (bench.worked.load(Ordering::Relaxed) - before) as f64 / watch.passed().as_secs_f64();
    while let Some(ended) = load.join_next().await {
        ended??;
    }
    let measure = watch.stop("latency-loaded", took.len()).await?;
    bench.manager.close_all().await?;
    Ok(Measure { per_s: None, latency: Quantiles::of(took), beside_per_s: Some(beside), ..measure })
}

struct Bench {
    provider: Arc<dyn QueueProvider>,
    queue: QueueName,
    manager: WorkerManager,
    clock: Arc<SystemClock>,
    /// When the handler of each sample started.
    started: tokio::sync::Mutex<mpsc::UnboundedReceiver<Duration>>,
    /// Jobs of the load that were worked.
    worked: Arc<AtomicUsize>,
}

impl Bench {
    async fn start(site: &dyn Site, sizes: &Sizes, bytes: usize) -> Result<Self, Failure> {
        let queue = queue()?;
        let clock = Arc::new(SystemClock::new());
        let worked = Arc::new(AtomicUsize::new(0));
        let (tell, started) = mpsc::unbounded_channel();
        let manager = WorkerManager::new(site.stores().clone(), WorkerOptions::default());
        let sample = workers::noop({
            let clock = clock.clone();
            move |_| {
                let _ = tell.send(clock.monotonic());
            }
        });
        manager.register_handler(&queue, &JobName::new("sample")?, sample)?;
        let load = workers::noop({
            let worked = worked.clone();
            move |_| {
                worked.fetch_add(1, Ordering::Relaxed);
            }
        });
        let noop = JobName::new("noop")?;
        manager.register_handler(&queue, &noop, load)?;
        manager.start().await?;
        // Connections, plans and caches begin with their first use.
        for number in 0..sizes.samples.min(20) {
            fill(site, 1, 1, |_| job(&queue, &noop, number, bytes)).await?;
            tokio::time::sleep(sizes.every).await;
        }
        let provider = site.stores().queue.clone();
        let started = tokio::sync::Mutex::new(started);
        Ok(Self { provider, queue, manager, clock, started, worked })
    }

    async fn samples(&self, sizes: &Sizes, bytes: usize) -> Result<Vec<Duration>, Failure> {
        let name = JobName::new("sample")?;
        let mut started = self.started.lock().await;
        let mut took = Vec::with_capacity(sizes.samples);
        let mut ticks = tokio::time::interval(sizes.every);
        for number in 0..sizes.samples {
            ticks.tick().await;
            let before = self.clock.monotonic();
            self.provider.enqueue(&[job(&self.queue, &name, number, bytes)]).await?;
            let at = tokio::time::timeout(PATIENCE, started.recv()).await?.ok_or("the workers are gone")?;
            took.push(at.saturating_sub(before));
        }
        expect("samples", took.len() as u64, sizes.samples)?;
        Ok(took)
    }

    /// Jobs a second that are enqueued one by one and worked at once.
    async fn most(&self, sizes: &Sizes, bytes: usize) -> Result<f64, Failure> {
        let (before, began) = (self.worked.load(Ordering::Relaxed), self.clock.monotonic());
        let until = began + sizes.lasting.min(Duration::from_secs(3));
        let mut tasks: JoinSet<Result<(), crate::Error>> = JoinSet::new();
        let name = JobName::new("noop")?;
        for _ in 0..sizes.tasks {
            let (provider, queue, name, clock) =
                (self.provider.clone(), self.queue.clone(), name.clone(), self.clock.clone());
            tasks.spawn(async move {
                while clock.monotonic() < until {
                    provider.enqueue(&[job(&queue, &name, 0, bytes)]).await?;
                }
                Ok(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        while self.provider.counts(&self.queue).await?.unfinished() > 0 {
            tokio::time::sleep(LOAD_EVERY).await;
        }
        let worked = self.worked.load(Ordering::Relaxed) - before;
        Ok(worked as f64 / (self.clock.monotonic() - began).as_secs_f64())
    }

    /// Calls of one job each, at a steady rate.
    fn load(
        &self,
        rate: f64,
        bytes: usize,
        stop: Arc<AtomicBool>,
    ) -> impl Future<Output = Result<(), crate::Error>> + Send + 'static {
        let (provider, queue, clock) = (self.provider.clone(), self.queue.clone(), self.clock.clone());
        async move {
            let name = JobName::new("noop")?;
            let (began, mut sent) = (clock.monotonic(), 0_usize);
            let mut calls: JoinSet<Result<(), crate::Error>> = JoinSet::new();
            while !stop.load(Ordering::Relaxed) {
                let due = (rate * (clock.monotonic() - began).as_secs_f64()) as usize;
                while sent < due {
                    let (provider, new) = (provider.clone(), job(&queue, &name, sent, bytes));
                    calls.spawn(async move { provider.enqueue(&[new]).await.map(drop) });
                    sent += 1;
                }
                while let Some(ended) = calls.try_join_next() {
                    ended.map_err(|error| crate::Error::unavailable("bench", "enqueue", error))??;
                }
                tokio::time::sleep(LOAD_EVERY).await;
            }
            while calls.join_next().await.is_some() {}
            Ok(())
        }
    }
}
