//! Listings, page by page.

use std::collections::HashMap;

use crate::{
    JobId, JobName, JobState, JobsQuery, NewJob,
    conformance::{
        case::{Checked, cases, ensure, ensure_eq},
        world::{World, done, id, job, job_in, numbered, q, queue, secs},
    },
};

fn found(jobs: &[crate::Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.id.as_str()).collect()
}

/// Ten jobs, taken in a second apart; the first three are completed.
async fn ten(world: &World) -> Checked {
    for job in numbered(10) {
        world.add(job).await?;
        world.advance(secs(1)).await?;
    }
    for claimed in world.claim(&q(), 3).await? {
        world.settle(&claimed, done()).await?;
    }
    Ok(())
}

cases! {
    /// Newest first, page by page, each job on one page.
    #[breaks_on(SkippedRow, ReversedListing)]
    async fn each_job_is_on_one_page(world: &World) -> Checked {
        ten(world).await?;
        let mut query = JobsQuery { limit: 4, ..JobsQuery::of(q()) };
        let mut pages = Vec::new();
        loop {
            let page = world.queue.jobs(&query).await?;
            pages.push(found(&page.items).join(" "));
            match page.next {
                Some(next) if pages.len() < 5 => query.after = Some(next),
                _ => break,
            }
        }
        ensure_eq!(pages.join(" | "), "9 8 7 6 | 5 4 3 2 | 1 0", "the pages");
        Ok(())
    }

    /// Jobs of one moment, and of one batch, are paged as well.
    #[breaks_on(SkippedRow)]
    async fn jobs_of_one_moment_are_paged(world: &World) -> Checked {
        world.add_all(numbered(25)).await?;
        let mut ids: Vec<JobId> =
            world.list(JobsQuery { limit: 3, ..JobsQuery::of(q()) }).await?.into_iter().map(|job| job.id).collect();
        ids.reverse();
        let wanted: Vec<JobId> = (0..25).map(|n| id(&n.to_string())).collect();
        ensure_eq!(ids, wanted, "the jobs, oldest first");
        Ok(())
    }

    /// A job that is there throughout is on exactly one page, whatever comes and goes between the pages.
    #[breaks_on(OffsetPages, SkippedRow)]
    async fn inserts_and_removals_shift_no_page(world: &World) -> Checked {
        world.add_all(numbered(12)).await?;
        let mut times: HashMap<JobId, u32> = HashMap::new();
        let mut query = JobsQuery { limit: 3, ..JobsQuery::of(q()) };
        for round in 0..20 {
            let page = world.queue.jobs(&query).await?;
            page.items.iter().for_each(|job| *times.entry(job.id.clone()).or_default() += 1);
            world.add_all(vec![job(), job()]).await?;
            if round == 1 {
                world.queue.remove(&q(), &id("11")).await?;
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        for n in 0..11 {
            let n = id(&n.to_string());
            ensure_eq!(times.get(&n).copied().unwrap_or(0), 1, "pages with job {n}");
        }
        Ok(())
    }

    /// A listing keeps to the states it was asked for.
    #[breaks_on(IgnoresFilters)]
    async fn a_listing_keeps_to_its_states(world: &World) -> Checked {
        ten(world).await?;
        let of = |states: &[JobState]| JobsQuery { states: states.to_vec(), limit: 2, ..JobsQuery::of(q()) };
        ensure_eq!(found(&world.list(of(&[JobState::Completed])).await?), ["2", "1", "0"], "completed");
        let unfinished = world.list(of(&[JobState::Waiting, JobState::Active])).await?;
        ensure_eq!(found(&unfinished), ["9", "8", "7", "6", "5", "4", "3"], "waiting or active");
        let both = world.list(of(&[JobState::Waiting, JobState::Completed])).await?;
        ensure_eq!(found(&both), ["9", "8", "7", "6", "5", "4", "3", "2", "1", "0"], "waiting or completed");
        ensure_eq!(world.list(of(&[JobState::Failed])).await?, vec![], "failed");
        Ok(())
    }

    /// A listing keeps to a job name, and to its queue.
    #[breaks_on(IgnoresFilters)]
    async fn a_listing_keeps_to_its_name_and_queue(world: &World) -> Checked {
        let named = |id_text: &str, name: &str| {
            Ok::<_, crate::Error>(NewJob { name: JobName::new(name)?, ..job().id(id(id_text)) })
        };
        world.add_all(vec![named("1", "a")?, named("2", "b")?, named("3", "a")?]).await?;
        world.add(job_in("other").id(id("4"))).await?;
        let query = JobsQuery { name: Some(JobName::new("a")?), ..JobsQuery::of(q()) };
        ensure_eq!(found(&world.list(query).await?), ["3", "1"], "jobs of the name");
        ensure_eq!(found(&world.list(JobsQuery::of(queue("other"))).await?), ["4"], "jobs of the other queue");
        ensure_eq!(world.list(JobsQuery::of(queue("none"))).await?, vec![], "jobs of no queue");
        Ok(())
    }

    /// A listing keeps to its times: from `since`, before `until`.
    #[breaks_on(IgnoresFilters)]
    async fn a_listing_keeps_to_its_times(world: &World) -> Checked {
        let start = world.now().await?;
        ten(world).await?;
        let since = Some(start + secs(3));
        let until = Some(start + secs(6));
        let query = JobsQuery { limit: 2, ..JobsQuery::of(q()) };
        let both = world.list(JobsQuery { since, until, ..query.clone() }).await?;
        ensure_eq!(found(&both), ["5", "4", "3"], "jobs of three seconds");
        let early = world.list(JobsQuery { until, ..query.clone() }).await?;
        ensure_eq!(found(&early), ["5", "4", "3", "2", "1", "0"], "jobs before");
        let late = world.list(JobsQuery { since, ..query }).await?;
        ensure_eq!(found(&late), ["9", "8", "7", "6", "5", "4", "3"], "jobs since");
        Ok(())
    }

    /// A listed job is the job itself.
    #[breaks_on(StaleJob)]
    async fn a_listed_job_is_the_job_itself(world: &World) -> Checked {
        world.add(job().id(id("1")).priority(3)).await?;
        world.look(&id("1")).await?;
        let claimed = world.take().await?;
        for _ in 0..2 {
            let listed = world.list(JobsQuery::of(q())).await?;
            ensure_eq!(listed, vec![world.look(&id("1")).await?], "the listing of one job");
            world
                .jobs
                .settle(&[crate::Settlement {
                    claim: claimed.claim.clone(),
                    outcome: done(),
                    effects: crate::Effects::default(),
                }])
                .await?;
        }
        Ok(())
    }

    /// A page is no longer than was asked for.
    #[breaks_on(IgnoresFilters)]
    async fn a_page_keeps_to_its_limit(world: &World) -> Checked {
        world.add_all(numbered(10)).await?;
        let page = world.queue.jobs(&JobsQuery { limit: 4, ..JobsQuery::of(q()) }).await?;
        ensure_eq!(page.items.len(), 4, "rows");
        ensure!(page.next.is_some(), "there is a next page");
        let whole = world.queue.jobs(&JobsQuery { limit: u32::MAX, ..JobsQuery::of(q()) }).await?;
        ensure_eq!((whole.items.len(), whole.next), (10, None), "a page with room for all");
        Ok(())
    }
}
