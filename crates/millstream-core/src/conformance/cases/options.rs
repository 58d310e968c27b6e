//! How a job is run: its own options, then its queue's, then the base.

use std::time::Duration;

use crate::{
    Backoff, Error, JobGroup, JobSettings, JobState, NewJob, Removal,
    conformance::{
        case::{cases, ensure, ensure_eq},
        world::{TUNED, job, job_in, q, queue, secs},
    },
};

cases! {
    /// What nobody names is the default: three attempts, exponential backoff, priority 0, nothing removed.
    #[breaks_on(ForgetsDefaults)]
    async fn what_nobody_names_is_the_default(world: &World) -> Checked {
        let stored = world.look(&world.add(job()).await?).await?;
        let wanted = JobSettings { timeout: Some(secs(3600)), ..JobSettings::default() };
        ensure_eq!(stored.settings, wanted, "the settings of a plain job");
        Ok(())
    }

    /// What a job does not name comes from its queue, and then from the base.
    #[breaks_on(ForgetsDefaults)]
    async fn the_queue_completes_the_options(world: &World) -> Checked {
        let stored = world.add(job_in(TUNED)).await?;
        let stored = world.look_in(&queue(TUNED), &stored).await?;
        let wanted = JobSettings {
            attempts: 7,
            backoff: Backoff::fixed(secs(5)),
            priority: -3,
            timeout: Some(secs(3600)),
            ..JobSettings::default()
        };
        ensure_eq!(stored.settings, wanted, "the settings of a job of the tuned queue");
        Ok(())
    }

    /// A job's own options win, each on its own.
    #[breaks_on(ForgetsOptions)]
    async fn the_jobs_own_options_win(world: &World) -> Checked {
        let backoff = Backoff::Exponential { first: secs(2), cap: secs(90), jitter: 0.5 };
        let keep = Removal::Keep { count: Some(3), age: Some(secs(60)) };
        let own = job_in(TUNED)
            .attempts(2)
            .backoff(backoff.clone())
            .timeout(Duration::from_millis(1500))
            .remove_on_complete(keep)
            .remove_on_fail(Removal::AtOnce);
        let stored = world.add(own).await?;
        let stored = world.look_in(&queue(TUNED), &stored).await?;
        let wanted = JobSettings {
            attempts: 2,
            backoff,
            priority: -3,
            timeout: Some(Duration::from_millis(1500)),
            remove_on_complete: keep,
            remove_on_fail: Removal::AtOnce,
            ..JobSettings::default()
        };
        ensure_eq!(stored.settings, wanted, "the settings of a job with options of its own");
        Ok(())
    }

    /// A job's group stays with it, in its listing and in each of its claims.
    #[breaks_on(ForgetsGroup)]
    async fn a_jobs_group_stays_with_it(world: &World) -> Checked {
        let grouped = ["ada", "grüße / 1", &"x".repeat(255)];
        for group in grouped {
            let stored = world.add(job().group(group)).await?;
            ensure_eq!(world.look(&stored).await?.settings.group, Some(JobGroup::new(group)), "the group in its listing");
        }
        let plain = world.add(job()).await?;
        ensure_eq!(world.look(&plain).await?.settings.group, None, "the group of a job without one");
        let first = world.claim(&q(), 9).await?;
        world.jobs.release(&first.iter().map(|one| one.claim.clone()).collect::<Vec<_>>()).await?;
        let mut told: Vec<Option<JobGroup>> = world.claim(&q(), 9).await?.into_iter().map(|one| one.group).collect();
        told.sort_by_key(|group| group.as_ref().map(|group| group.id.clone()));
        let mut wanted = vec![None];
        wanted.extend(grouped.map(|group| Some(JobGroup::new(group))));
        wanted[1..].sort_by_key(|group| group.as_ref().map(|group| group.id.clone()));
        ensure_eq!(told, wanted, "the groups in their second claims");
        Ok(())
    }

    /// A group that no store keeps is refused by its name, and so is a tier.
    #[breaks_on(SilentLimit)]
    async fn a_group_out_of_bounds_is_refused(world: &World) -> Checked {
        let tiered = JobGroup { tier: Some("gold".into()), ..JobGroup::new("ada") };
        for group in [JobGroup::new(""), JobGroup::new("a\nb"), JobGroup::new("x".repeat(256)), tiered] {
            let mut asked: NewJob = job();
            asked.options.group = Some(group);
            let answer = world.queue.enqueue(&[asked]).await;
            let named = matches!(&answer, Err(Error::Invalid { what, .. }) if what.contains("group"));
            ensure!(named, "a group out of bounds is refused by name: {answer:?}");
        }
        ensure_eq!(world.counts().await?.total(), 0, "what was stored");
        Ok(())
    }

    /// A queue's default delay holds where the job names no time of its own.
    #[breaks_on(ForgetsDefaults)]
    async fn the_queues_delay_holds_for_jobs_without_a_time(world: &World) -> Checked {
        let now = world.now().await?;
        let stored = world.add(job_in(TUNED)).await?;
        let stored = world.look_in(&queue(TUNED), &stored).await?;
        ensure_eq!((stored.state, stored.run_at), (JobState::Delayed, now + secs(60)), "without a time of its own");
        Ok(())
    }

    /// A job's own time wins over its queue's delay.
    #[breaks_on(ForgetsOptions)]
    async fn a_time_of_its_own_wins_over_the_queues_delay(world: &World) -> Checked {
        let now = world.now().await?;
        let stored = world.add(job_in(TUNED).delay(secs(7))).await?;
        let stored = world.look_in(&queue(TUNED), &stored).await?;
        ensure_eq!((stored.state, stored.run_at), (JobState::Delayed, now + secs(7)), "with a delay of its own");
        let stored = world.add(job_in(TUNED).run_at(now)).await?;
        ensure_eq!(world.look_in(&queue(TUNED), &stored).await?.state, JobState::Waiting, "with a time that is now");
        Ok(())
    }
}
