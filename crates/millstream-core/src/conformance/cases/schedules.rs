//! A job per tick.

use serde_json::json;

use crate::{
    Job, JobName, JobState, JobsQuery, Missed, Schedule, Timestamp,
    conformance::{
        case::{Checked, Failure, cases, ensure, ensure_eq},
        world::{Handle, World, done, q, queue, secs},
    },
};

/// Every minute. The suite's time begins half a minute past twelve.
fn minutely() -> Schedule {
    Schedule::new(q(), "minutely", "* * * * *", JobName::from(&q()))
}

fn at(text: &str) -> Checked<Timestamp> {
    Ok(format!("2026-11-{text}Z").parse()?)
}

/// The jobs of the queue, oldest first.
async fn fired(world: &Handle) -> Checked<Vec<Job>> {
    let mut jobs = world.list(JobsQuery::of(q())).await?;
    jobs.reverse();
    Ok(jobs)
}

async fn next_at(world: &World) -> Checked<Option<Timestamp>> {
    let mut infos = world.queue.schedules(Some(&q())).await?;
    ensure_eq!(infos.len(), 1, "schedules of the queue");
    Ok(infos.remove(0).next_at)
}

/// How many jobs come when nobody looked for these minutes.
async fn caught_up(world: &World, missed: Missed, minutes: u64) -> Checked<usize> {
    world.queue.schedule_upsert(&Schedule { missed, ..minutely() }).await?;
    world.advance(secs(60 * minutes)).await?;
    world.jobs.fire_schedules().await?;
    let first = fired(world).await?.len();
    world.jobs.fire_schedules().await?;
    ensure_eq!(fired(world).await?.len(), first, "jobs after looking again");
    Ok(first)
}

cases! {
    /// A tick enqueues one job, however often one looks; it tells when the next is due.
    #[breaks_on(LostTick, DoubleTick)]
    async fn a_tick_enqueues_one_job(world: &World) -> Checked {
        world.queue.schedule_upsert(&minutely()).await?;
        ensure_eq!(world.jobs.fire_schedules().await?, Some(at("21T12:01:00")?), "when the first is due");
        ensure_eq!(fired(world).await?.len(), 0, "jobs before the first tick");
        world.advance(secs(30)).await?;
        for _ in 0..3 {
            ensure_eq!(world.jobs.fire_schedules().await?, Some(at("21T12:02:00")?), "when the second is due");
        }
        ensure_eq!(fired(world).await?.len(), 1, "jobs after the first tick");
        world.advance(secs(60)).await?;
        world.jobs.fire_schedules().await?;
        ensure_eq!(fired(world).await?.len(), 2, "jobs after the second");
        Ok(())
    }

    /// However many processes look at once, a tick enqueues one job.
    #[breaks_on(DoubleTick, LostTick)]
    async fn racing_processes_fire_a_tick_once(world: &World) -> Checked {
        world.queue.schedule_upsert(&minutely()).await?;
        let second = world.second().await?;
        for tick in 1..=5 {
            world.advance(secs(60)).await?;
            let mut racing = tokio::task::JoinSet::new();
            for n in 0..6 {
                let handle = if n % 2 == 0 { (**world).clone() } else { second.clone() };
                racing.spawn(async move { handle.jobs.fire_schedules().await });
            }
            while let Some(next) = racing.join_next().await {
                next.map_err(Failure::new)??;
            }
            ensure_eq!(fired(world).await?.len(), tick, "jobs after tick {tick}");
        }
        Ok(())
    }

    /// A tick whose job is done and gone enqueues no second one.
    #[breaks_on(DoubleTick)]
    async fn a_finished_job_does_not_bring_its_tick_back(world: &World) -> Checked {
        world.queue.schedule_upsert(&minutely()).await?;
        world.advance(secs(30)).await?;
        world.jobs.fire_schedules().await?;
        let claimed = world.take().await?;
        world.settle(&claimed, done()).await?;
        world.queue.remove(&q(), &claimed.claim.job).await?;
        world.jobs.fire_schedules().await?;
        ensure_eq!(fired(world).await?.len(), 0, "jobs of a tick that was dealt with");
        Ok(())
    }

    /// A schedule's job has its name, data and options, and the queue's for the rest.
    #[breaks_on(LostData, LostTick)]
    async fn a_scheduled_job_has_the_schedules_data_and_options(world: &World) -> Checked {
        let mut schedule = Schedule { name: JobName::new("report")?, data: json!({ "of": "day" }), ..minutely() };
        schedule.options.attempts = Some(8);
        schedule.options.priority = Some(-2);
        world.queue.schedule_upsert(&schedule).await?;
        world.advance(secs(30)).await?;
        world.jobs.fire_schedules().await?;
        let jobs = fired(world).await?;
        ensure_eq!(jobs.len(), 1, "jobs");
        ensure_eq!((jobs[0].name.as_str(), &jobs[0].data), ("report", &json!({ "of": "day" })), "name and data");
        ensure_eq!((jobs[0].settings.attempts, jobs[0].settings.priority), (8, -2), "its own options");
        ensure_eq!(jobs[0].settings.timeout, Some(secs(3600)), "the base's option");
        ensure_eq!(jobs[0].state, JobState::Waiting, "its state");
        Ok(())
    }

    /// What was written is listed, with the tick that comes and the latest that fired.
    #[breaks_on(KeepsOldSchedule, LostTick)]
    async fn a_schedule_is_listed_as_written(world: &World) -> Checked {
        world.queue.schedule_upsert(&minutely()).await?;
        let changed = Schedule { data: json!([1]), missed: Missed::All, ..minutely() };
        world.queue.schedule_upsert(&changed).await?;
        let infos = world.queue.schedules(None).await?;
        ensure_eq!(infos.len(), 1, "schedules of one key");
        ensure_eq!(infos[0].schedule, changed, "the schedule");
        ensure_eq!((infos[0].next_at, infos[0].last_at), (Some(at("21T12:01:00")?), None), "next and last");
        world.advance(secs(40)).await?;
        world.jobs.fire_schedules().await?;
        let infos = world.queue.schedules(None).await?;
        let found = (infos[0].next_at, infos[0].last_at);
        ensure_eq!(found, (Some(at("21T12:02:00")?), Some(at("21T12:01:00")?)), "next and last after a tick");
        Ok(())
    }

    /// Writing a schedule again, as every start of a program does, does not move its next tick.
    #[breaks_on(ForgetsTick)]
    async fn writing_it_again_keeps_the_next_tick(world: &World) -> Checked {
        world.queue.schedule_upsert(&minutely()).await?;
        world.advance(secs(45)).await?;
        world.queue.schedule_upsert(&Schedule { data: json!("new"), ..minutely() }).await?;
        ensure_eq!(next_at(world).await?, Some(at("21T12:01:00")?), "the next tick");
        world.jobs.fire_schedules().await?;
        ensure_eq!(fired(world).await?.len(), 1, "jobs of the tick that was due");
        Ok(())
    }

    /// A new expression or time zone counts from now.
    #[breaks_on(KeepsOldSchedule)]
    async fn a_new_expression_counts_from_now(world: &World) -> Checked {
        world.queue.schedule_upsert(&minutely()).await?;
        world.advance(secs(45)).await?;
        world.queue.schedule_upsert(&Schedule { cron: "0 13 * * *".into(), ..minutely() }).await?;
        ensure_eq!(next_at(world).await?, Some(at("21T13:00:00")?), "the next tick of a new expression");
        let zoned = Schedule { cron: "0 13 * * *".into(), time_zone: "America/New_York".into(), ..minutely() };
        world.queue.schedule_upsert(&zoned).await?;
        ensure_eq!(next_at(world).await?, Some(at("21T18:00:00")?), "the next tick in a new time zone");
        world.jobs.fire_schedules().await?;
        ensure_eq!(fired(world).await?.len(), 0, "jobs");
        Ok(())
    }

    /// A schedule runs in its time zone.
    #[breaks_on(IgnoresZone)]
    async fn a_schedule_runs_in_its_time_zone(world: &World) -> Checked {
        let schedule = Schedule { cron: "30 2 * * *".into(), time_zone: "Europe/Berlin".into(), ..minutely() };
        world.queue.schedule_upsert(&schedule).await?;
        ensure_eq!(next_at(world).await?, Some(at("22T01:30:00")?), "half past two in Berlin");
        world.advance(secs(13 * 3600 + 1800)).await?;
        world.jobs.fire_schedules().await?;
        ensure_eq!(fired(world).await?.len(), 1, "jobs");
        Ok(())
    }

    /// Ticks that nobody was there to fire are dropped where that was asked for.
    #[breaks_on(IgnoresMissed)]
    async fn missed_ticks_are_skipped(world: &World) -> Checked {
        // Half past: the tick of the full minute is half a minute late, and not missed.
        ensure_eq!(caught_up(world, Missed::Skip, 10).await?, 1, "jobs after ten minutes");
        Ok(())
    }

    /// The latest of them runs where that was asked for.
    #[breaks_on(IgnoresMissed)]
    async fn missed_ticks_run_once(world: &World) -> Checked {
        ensure_eq!(caught_up(world, Missed::Once, 10).await?, 1, "jobs after ten minutes");
        let infos = world.queue.schedules(None).await?;
        let found = (infos[0].last_at, infos[0].next_at);
        ensure_eq!(found, (Some(at("21T12:10:00")?), Some(at("21T12:11:00")?)), "last and next");
        Ok(())
    }

    /// Each of them runs where that was asked for, the oldest first.
    #[breaks_on(IgnoresMissed)]
    async fn missed_ticks_all_run(world: &World) -> Checked {
        ensure_eq!(caught_up(world, Missed::All, 10).await?, 10, "jobs after ten minutes");
        let jobs: Vec<_> = fired(world).await?.into_iter().map(|job| job.id).collect();
        let claimed: Vec<_> = world.claim(&q(), 20).await?.into_iter().map(|one| one.claim.job).collect();
        ensure_eq!(claimed, jobs, "the order of a claim");
        Ok(())
    }

    /// A removed schedule fires no more; the jobs it enqueued stay.
    #[breaks_on(IgnoredOperator, YesMan)]
    async fn a_removed_schedule_fires_no_more(world: &World) -> Checked {
        ensure!(!world.queue.unschedule(&q(), "minutely").await?, "there is no such schedule");
        world.queue.schedule_upsert(&minutely()).await?;
        world.advance(secs(60)).await?;
        world.jobs.fire_schedules().await?;
        ensure!(!world.queue.unschedule(&queue("other"), "minutely").await?, "it is another queue's");
        ensure!(world.queue.unschedule(&q(), "minutely").await?, "there is one");
        world.advance(secs(600)).await?;
        ensure_eq!(world.jobs.fire_schedules().await?, None, "what is due");
        ensure_eq!(fired(world).await?.len(), 1, "jobs");
        ensure_eq!(world.queue.schedules(None).await?.len(), 0, "schedules");
        Ok(())
    }

    /// Schedules are listed by queue and key; two queues may use one key.
    #[breaks_on(ReversedListing)]
    async fn schedules_are_listed_by_queue_and_key(world: &World) -> Checked {
        for (name, key) in [("b", "1"), ("a", "2"), ("a", "1"), ("c", "1")] {
            let schedule = Schedule { queue: queue(name), key: key.into(), ..minutely() };
            world.queue.schedule_upsert(&schedule).await?;
        }
        let names = |infos: Vec<crate::ScheduleInfo>| -> Vec<String> {
            infos.iter().map(|info| format!("{}{}", info.schedule.queue, info.schedule.key)).collect()
        };
        ensure_eq!(names(world.queue.schedules(None).await?), ["a1", "a2", "b1", "c1"], "every schedule");
        ensure_eq!(names(world.queue.schedules(Some(&queue("a"))).await?), ["a1", "a2"], "those of a queue");
        Ok(())
    }
}
