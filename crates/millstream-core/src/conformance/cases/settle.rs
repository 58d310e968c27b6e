//! What became of an attempt.

use serde_json::json;

use crate::{
    Effects, JobState, Outcome, Settlement, Verdict,
    conformance::{
        case::{cases, ensure, ensure_eq, ensure_matches},
        world::{done, failed, id, job, numbered, q, secs},
    },
};

cases! {
    /// A job that is done is completed, with its output and the time.
    #[breaks_on(ForgetsResults, LostSettle)]
    async fn done_completes_with_the_output(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let claimed = world.take().await?;
        world.advance(secs(3)).await?;
        let output = json!({ "sent": ["ü", 1.5, null] });
        ensure_eq!(world.settle(&claimed, Outcome::Done(output.clone())).await?, JobState::Completed, "the verdict");
        let job = world.look(&id("1")).await?;
        ensure_eq!((job.state, job.output), (JobState::Completed, Some(output)), "state and output");
        ensure_eq!(job.finished_at, Some(world.now().await?), "when it finished");
        ensure_eq!((job.error, job.attempt), (None, 1), "error and attempt");
        Ok(())
    }

    /// A failed attempt leaves its error, and the job waits for its backoff.
    #[breaks_on(ForgetsResults, EarlyDelayed)]
    async fn a_failed_attempt_waits_with_its_error(world: &World) -> Checked {
        world.add(job().id(id("1")).backoff(crate::Backoff::fixed(secs(10)))).await?;
        let claimed = world.take().await?;
        ensure_eq!(world.settle(&claimed, failed()).await?, JobState::Delayed, "the verdict");
        let job = world.look(&id("1")).await?;
        ensure_eq!((job.state, job.error), (JobState::Delayed, Some(json!("failed"))), "state and error");
        ensure_eq!(job.run_at, world.now().await? + secs(10), "when it runs again");
        ensure_eq!((job.finished_at, job.attempt), (None, 1), "it is not finished");
        Ok(())
    }

    /// The last attempt's failure fails the job, and its error is kept.
    #[breaks_on(UncountedAttempt, ForgetsResults)]
    async fn the_last_failed_attempt_fails_the_job(world: &World) -> Checked {
        world.add(job().id(id("1")).attempts(2)).await?;
        for attempt in 1..=2 {
            let claimed = world.take().await?;
            ensure_eq!((claimed.attempt, claimed.attempts), (attempt, 2), "the attempt");
            let outcome = Outcome::Retry { error: json!(format!("no. {attempt}")), after: None };
            let state = world.settle(&claimed, outcome).await?;
            let wanted = if attempt == 2 { JobState::Failed } else { JobState::Delayed };
            ensure_eq!(state, wanted, "after attempt {attempt}");
            world.advance(secs(3600)).await?;
            world.jobs.promote_due().await?;
        }
        let job = world.look(&id("1")).await?;
        ensure_eq!((job.state, job.error), (JobState::Failed, Some(json!("no. 2"))), "state and error");
        ensure!(job.finished_at.is_some(), "it has a time of its end");
        world.nothing_ready("the job is failed").await
    }

    /// A handler may fail a job for good, whatever attempts are left.
    #[breaks_on(NeverEnds)]
    async fn fail_ends_a_job_with_attempts_left(world: &World) -> Checked {
        world.add(job().id(id("1")).attempts(9)).await?;
        let claimed = world.take().await?;
        ensure_eq!(world.settle(&claimed, Outcome::Fail(json!("gone"))).await?, JobState::Failed, "the verdict");
        let job = world.look(&id("1")).await?;
        ensure_eq!((job.state, job.error), (JobState::Failed, Some(json!("gone"))), "state and error");
        ensure_eq!(job.finished_at, Some(world.now().await?), "when it finished");
        Ok(())
    }

    /// A handler may cancel its job, and its reason is kept.
    #[breaks_on(NeverEnds, ForgetsResults)]
    async fn a_handler_may_cancel_its_job(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let claimed = world.take().await?;
        let state = world.settle(&claimed, Outcome::Cancel(json!("not needed"))).await?;
        ensure_eq!(state, JobState::Cancelled, "the verdict");
        let job = world.look(&id("1")).await?;
        ensure_eq!((job.state, job.error), (JobState::Cancelled, Some(json!("not needed"))), "state and reason");
        Ok(())
    }

    /// One call settles many, and answers in their order.
    #[breaks_on(ShuffledAnswers, LostSettle)]
    async fn one_settle_answers_many_in_order(world: &World) -> Checked {
        world.add_all(numbered(4)).await?;
        let claimed = world.claim(&q(), 4).await?;
        let outcomes = [done(), failed(), Outcome::Fail(json!("x")), done()];
        let mut batch: Vec<Settlement> = claimed
            .iter()
            .zip(outcomes)
            .map(|(one, outcome)| Settlement { claim: one.claim.clone(), outcome, effects: Effects::default() })
            .collect();
        batch[3].claim.token = "no such token".into();
        let verdicts = world.jobs.settle(&batch).await?;
        ensure_eq!(verdicts.len(), 4, "verdicts");
        ensure_matches!(verdicts[0], Verdict::Settled(JobState::Completed), "the first");
        ensure_matches!(verdicts[1], Verdict::Settled(JobState::Delayed), "the second");
        ensure_matches!(verdicts[2], Verdict::Settled(JobState::Failed), "the third");
        ensure_matches!(verdicts[3], Verdict::LostClaim, "the fourth");
        let counts = world.counts().await?;
        let found = (counts.completed, counts.delayed, counts.failed, counts.active);
        ensure_eq!(found, (1, 1, 1, 1), "completed, delayed, failed, active");
        Ok(())
    }

    /// Progress is seen while the job runs, the latest.
    #[breaks_on(ForgetsResults)]
    async fn progress_is_seen_while_the_job_runs(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        let claim = world.take().await?.claim;
        for value in [json!(10), json!({ "done": 55 })] {
            world.jobs.progress(&[crate::Progress { claim: claim.clone(), value: value.clone() }]).await?;
            ensure_eq!(world.look(&id("1")).await?.progress, Some(value), "the progress");
        }
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Active, "its state");
        Ok(())
    }
}
