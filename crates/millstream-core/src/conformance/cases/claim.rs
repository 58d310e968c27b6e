//! Jobs out.

use std::collections::HashSet;

use serde_json::json;

use crate::{
    Claimed, JobState, JobGroup, NewJob, Want,
    conformance::{
        case::{Failure, cases, ensure, ensure_eq},
        world::{id, ids, job, job_in, numbered, q, queue, secs},
    },
};

fn want(name: &str, at_most: u32) -> Want {
    Want::new(queue(name), at_most)
}

fn from(claimed: &[Claimed], name: &str) -> usize {
    claimed.iter().filter(|claimed| claimed.claim.queue.as_str() == name).count()
}

cases! {
    /// A claim hands out all that the handler needs.
    #[breaks_on(BareClaim, LostData)]
    async fn a_claim_carries_what_the_handler_needs(world: &World) -> Checked {
        let data = json!({ "to": "ada", "n": [1, 2] });
        let trace = json!({ "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" });
        let asked = NewJob { data: data.clone(), trace: Some(trace.clone()), ..job().id(id("1")) };
        world.add(asked.attempts(9).timeout(secs(12)).group("ada")).await?;
        let claimed = world.take().await?;
        ensure_eq!((&claimed.claim.queue, &claimed.claim.job), (&q(), &id("1")), "which job");
        ensure_eq!(claimed.name.as_str(), "work", "its name");
        ensure_eq!((claimed.data, claimed.trace), (data, Some(trace)), "data and trace");
        ensure_eq!((claimed.attempt, claimed.attempts), (1, 9), "attempts");
        ensure_eq!(claimed.timeout, Some(secs(12)), "timeout");
        ensure_eq!(claimed.group, Some(JobGroup::new("ada")), "group");
        Ok(())
    }

    /// A claimed job is active since now, in its first attempt.
    #[breaks_on(StaleJob)]
    async fn a_claimed_job_is_active(world: &World) -> Checked {
        world.add(job().id(id("1"))).await?;
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Waiting, "before the claim");
        world.advance(secs(5)).await?;
        world.take().await?;
        let active = world.look(&id("1")).await?;
        ensure_eq!((active.state, active.attempt), (JobState::Active, 1), "after it");
        ensure_eq!(active.started_at, Some(world.now().await?), "when it started");
        Ok(())
    }

    /// A claimed job is nobody else's.
    #[breaks_on(DoubleClaim)]
    async fn a_claimed_job_is_not_claimed_again(world: &World) -> Checked {
        world.add(job()).await?;
        world.take().await?;
        ensure_eq!(ids(&world.claim(&q(), 5).await?), Vec::<&str>::new(), "a second claim");
        ensure_eq!(ids(&world.second().await?.claim(&q(), 5).await?), Vec::<&str>::new(), "that of another process");
        Ok(())
    }

    /// One call serves many queues.
    #[breaks_on(OneQueueOnly)]
    async fn one_claim_serves_many_queues(world: &World) -> Checked {
        world.add_all(vec![job_in("a"), job_in("b"), job_in("c"), job_in("c")]).await?;
        let claimed = world.jobs.claim(&[want("a", 5), want("b", 5), want("c", 5), want("empty", 5)]).await?;
        ensure_eq!((from(&claimed, "a"), from(&claimed, "b"), from(&claimed, "c")), (1, 1, 2), "jobs by queue");
        Ok(())
    }

    /// No queue gives more jobs than there is room for, and none gives fewer because of another.
    #[breaks_on(IgnoresCaps)]
    async fn each_queue_keeps_to_its_room(world: &World) -> Checked {
        for name in ["a", "b", "c"] {
            world.add_all(vec![job_in(name); 4]).await?;
        }
        let claimed = world.jobs.claim(&[want("a", 1), want("b", 3), want("c", 0)]).await?;
        ensure_eq!((from(&claimed, "a"), from(&claimed, "b"), from(&claimed, "c")), (1, 3, 0), "jobs by queue");
        Ok(())
    }

    /// Paused queues are skipped, the others served.
    #[breaks_on(ForgottenPause)]
    async fn a_paused_queue_is_skipped(world: &World) -> Checked {
        world.add_all(vec![job_in("a"), job_in("b")]).await?;
        world.queue.pause(&queue("a")).await?;
        let claimed = world.jobs.claim(&[want("a", 5), want("b", 5)]).await?;
        ensure_eq!((from(&claimed, "a"), from(&claimed, "b")), (0, 1), "jobs by queue");
        Ok(())
    }

    /// Every claim has a token that was never used before.
    #[breaks_on(ReusedToken)]
    async fn every_claim_has_a_new_token(world: &World) -> Checked {
        world.add_all(numbered(3)).await?;
        let mut tokens = HashSet::new();
        for _ in 0..4 {
            let claimed = world.claim(&q(), 3).await?;
            ensure_eq!(claimed.len(), 3, "jobs claimed");
            for one in &claimed {
                ensure!(tokens.insert(one.claim.token.clone()), "the token {} came twice", one.claim.token);
            }
            let claims: Vec<_> = claimed.into_iter().map(|one| one.claim).collect();
            world.jobs.release(&claims).await?;
        }
        Ok(())
    }

    /// However many claim at once, in however many processes, each job goes to one of them, and none is left.
    #[breaks_on(DoubleClaim)]
    async fn racing_claimers_share_no_job(world: &World) -> Checked {
        world.add_all(numbered(200)).await?;
        let second = world.second().await?;
        let mut racing = tokio::task::JoinSet::new();
        for n in 0..8 {
            let handle = if n % 2 == 0 { (**world).clone() } else { second.clone() };
            racing.spawn(async move {
                let mut mine = Vec::new();
                // A broken store may never run dry.
                for _ in 0..200 {
                    let claimed = handle.claim(&q(), 7).await?;
                    if claimed.is_empty() {
                        break;
                    }
                    mine.extend(claimed.into_iter().map(|one| one.claim.job));
                }
                Ok::<_, Failure>(mine)
            });
        }
        let mut seen = HashSet::new();
        while let Some(mine) = racing.join_next().await {
            for job in mine.map_err(Failure::new)?? {
                ensure!(seen.insert(job.clone()), "{job} was claimed twice");
            }
        }
        ensure_eq!(seen.len(), 200, "jobs claimed");
        Ok(())
    }
}
