//! Jobs in.

use serde_json::json;

use crate::{
    Enqueued, JobName, JobState, JobsQuery, NewJob, QueueName,
    conformance::{
        case::{cases, ensure, ensure_eq, ensure_matches},
        world::{id, job, job_in, numbered, q, queue},
    },
};

cases! {
    /// The answers of a batch are in the order of its jobs.
    #[breaks_on(ShuffledAnswers)]
    async fn answers_come_in_the_order_of_the_jobs(world: &World) -> Checked {
        let jobs: Vec<NewJob> = ["c", "a", "b", "e", "d"].map(|name| job().id(id(name))).into();
        let answers = world.queue.enqueue(&jobs).await?;
        let wanted: Vec<Enqueued> = ["c", "a", "b", "e", "d"].map(|name| Enqueued::Created(id(name))).into();
        ensure_eq!(answers, wanted, "the answers of a batch");
        Ok(())
    }

    /// A job that was acknowledged is there.
    #[breaks_on(LostJob)]
    async fn an_acknowledged_job_is_there(world: &World) -> Checked {
        for answer in world.add_all(numbered(3)).await? {
            world.look(&answer).await?;
        }
        let nameless = world.add(job()).await?;
        ensure_eq!(world.state_of(&nameless).await?, JobState::Waiting, "the state of a new job");
        Ok(())
    }

    /// A job is stored as it was asked for, whatever its data holds.
    #[breaks_on(LostData)]
    async fn a_job_is_stored_as_it_was_asked_for(world: &World) -> Checked {
        let data = json!({ "text": "grüße \u{1F980} \"quoted\" \\ \n % _", "deep": [1, -2.5, null, { "a": [true] }] });
        let asked = NewJob::new(q(), JobName::new("send mail: ü")?, data.clone()).id(id("x y/é"));
        let stored = world.look(&world.add(asked).await?).await?;
        let now = world.now().await?;
        ensure_eq!(stored.data, data, "its data");
        ensure_eq!((stored.queue, stored.id, stored.name.as_str()), (q(), id("x y/é"), "send mail: ü"), "its names");
        ensure_eq!((stored.state, stored.attempt), (JobState::Waiting, 0), "its state and attempt");
        ensure_eq!((stored.created_at, stored.run_at), (now, now), "its times");
        ensure_eq!((stored.started_at, stored.finished_at), (None, None), "the times it does not have yet");
        ensure_eq!((stored.output, stored.error, stored.progress), (None, None, None), "what it did not give yet");
        ensure!(!stored.cancel_requested, "nobody asked to cancel it");
        Ok(())
    }

    /// A number is read as it was written, to its last digit.
    #[breaks_on(LostData)]
    async fn numbers_are_kept_to_the_last_digit(world: &World) -> Checked {
        // Those that a parser in a hurry reads as their neighbours are among these.
        let fractions = (0..500_u64).map(|n| f64::from_bits(0x3fb9_9999_9999_999a + n * 0x1234_5678_9abc));
        let data = json!({ "integers": [u64::MAX, i64::MIN], "fractions": fractions.collect::<Vec<f64>>() });
        let stored = world.add(NewJob { data: data.clone(), ..job() }).await?;
        ensure_eq!(world.look(&stored).await?.data, data, "its data");
        Ok(())
    }

    /// A batch may span queues.
    #[breaks_on(LostJob)]
    async fn a_batch_may_span_queues(world: &World) -> Checked {
        world.add_all(vec![job_in("a").id(id("1")), job_in("b").id(id("2"))]).await?;
        world.look_in(&queue("a"), &id("1")).await?;
        world.look_in(&queue("b"), &id("2")).await?;
        Ok(())
    }

    /// A batch with one job that is refused stores none.
    #[breaks_on(PartialBatch, SilentLimit)]
    async fn a_batch_is_stored_whole_or_not_at_all(world: &World) -> Checked {
        let mut jobs = numbered(3);
        jobs[1].data = json!("nul \0");
        ensure_matches!(world.queue.enqueue(&jobs).await, Err(crate::Error::Invalid { .. }), "a job with NUL");
        ensure_eq!(world.list(JobsQuery::of(q())).await?, vec![], "jobs of a refused batch");
        ensure_eq!(world.counts().await?.total(), 0, "their count");
        Ok(())
    }

    /// The error says which job of the batch was refused.
    #[breaks_on(NamelessErrors)]
    async fn the_error_names_the_job_that_was_refused(world: &World) -> Checked {
        let mut jobs = numbered(4);
        jobs[2].options.attempts = Some(0);
        let error = world.queue.enqueue(&jobs).await.err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(error.contains("jobs[2]"), "the error names `jobs[2]`: {error}");
        Ok(())
    }

    /// Nothing in, nothing out.
    #[breaks_on(RefusesEmpty)]
    async fn empty_batches_are_fine(world: &World) -> Checked {
        ensure_eq!(world.queue.enqueue(&[]).await?, vec![], "no jobs");
        ensure_eq!(world.jobs.claim(&[]).await?, vec![], "no wants");
        ensure_eq!(world.jobs.settle(&[]).await?.len(), 0, "no settlements");
        ensure_eq!(world.jobs.beat(&[]).await?, vec![], "no beats");
        world.jobs.release(&[]).await?;
        world.jobs.progress(&[]).await?;
        ensure_eq!(world.events.append(&[]).await?, vec![], "no appends");
        world.state.apply(&[]).await?;
        Ok(())
    }

    /// A job that does not exist is not an error.
    #[breaks_on(MissingIsError)]
    async fn a_missing_job_is_none(world: &World) -> Checked {
        ensure_eq!(world.queue.job(&QueueName::new("nowhere")?, &id("1")).await?, None, "a job of no queue");
        world.add(job().id(id("1"))).await?;
        ensure_eq!(world.queue.job(&q(), &id("2")).await?, None, "a job that was never enqueued");
        Ok(())
    }
}
