//! A delayed job that shall run now.

use crate::{
    JobState,
    conformance::{
        case::{cases, ensure, ensure_eq},
        world::{id, q},
    },
};

cases! {
    /// A promoted job is waiting, and can be claimed.
    #[breaks_on(IgnoredOperator)]
    async fn a_promoted_job_is_waiting(world: &World) -> Checked {
        world.bring(&id("1"), JobState::Delayed).await?;
        ensure!(world.queue.promote(&q(), &id("1")).await?, "it is delayed");
        ensure_eq!(world.state_of(&id("1")).await?, JobState::Waiting, "its state");
        ensure_eq!(world.take().await?.claim.job, id("1"), "the job claimed");
        Ok(())
    }

    /// What is not delayed is not promoted.
    #[breaks_on(YesMan, MissingIsError)]
    async fn only_a_delayed_job_is_promoted(world: &World) -> Checked {
        ensure!(!world.queue.promote(&q(), &id("none")).await?, "there is no such job");
        for state in [JobState::Active, JobState::Completed, JobState::Failed, JobState::Cancelled, JobState::Waiting] {
            let id = id(state.as_str());
            world.bring(&id, state).await?;
            ensure!(!world.queue.promote(&q(), &id).await?, "a {state} job is not delayed");
            ensure_eq!(world.state_of(&id).await?, state, "its state");
        }
        Ok(())
    }
}
