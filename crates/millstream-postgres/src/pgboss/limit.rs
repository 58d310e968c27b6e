//! Limits on groups: how many jobs of one group of a queue run at once, over all processes.
//!
//! - **Strict**: one claim of a queue at a time counts what runs, whoever runs it, and adds to it. (pg-boss's own limit is
//!   counted before the claim, so that two of its workers may pass it together; and its workers do not wait for us.)
//! - **Fair**: of a group the first jobs run first, and a group without a free slot holds up no other.
//! - **The cost is that of the jobs taken**, not of those that wait: these are listed by group beside pg-boss's tables,
//!   each once when it becomes ready. The list is hints; pg-boss's row says whether a job waits.

use std::{sync::Arc, time::Duration};

use millstream_core::{Error, QueueName, Result};

use super::{
    boss::Boss,
    claim::{self, Taken},
    sql::{BossSql, Pick},
    store::PgBossStore,
};
use crate::{fault::Fault, rows, sql::On};

/// Jobs that are listed at once: a claim must not wait long for another process to list a backlog.
const INTAKE: i64 = 2_000;
/// How long after its beginning a transaction that sends a job may commit, and be noticed at once; later, within a look
/// over all, every ten seconds or more.
const OPEN_FOR: Duration = Duration::from_secs(5);
/// Groups, jobs of one group, and jobs in all that are looked at where fewer than wanted were taken.
const PRUNED: [i64; 3] = [1_000, 200, 2_000];
/// How often a claim goes on where others took what was listed, or where there is more to list.
const ROUNDS_MAX: u32 = 100;

/// # Errors
///
/// [`Error::Invalid`] for a limit that lets nothing run, or that no column holds.
pub(crate) fn check(queue: &QueueName, at_most: Option<u32>) -> Result<Option<i32>> {
    let Some(at_most) = at_most else { return Ok(None) };
    match i32::try_from(at_most) {
        Ok(fits) if fits > 0 => Ok(Some(fits)),
        _ => {
            let what = format!("group concurrency of queue `{queue}`");
            Err(Error::invalid(what, at_most, format!("a number from 1 to {}", i32::MAX)))
        }
    }
}

/// Sets the limit, or ends it. A queue begins with it.
pub(crate) async fn set(boss: &Boss, queue: &QueueName, at_most: Option<u32>) -> Result<()> {
    let at_most = check(queue, at_most)?;
    let doing = || format!("limit the groups of queue `{queue}`");
    match at_most {
        Some(at_most) => {
            let known = super::boss::again!(boss, doing(), boss.made(&[queue]))?;
            let keeps = known.get(queue).is_some_and(|known| !matches!(known.pick, Pick::Plain | Pick::Limited));
            if keeps {
                let what = format!("group concurrency of queue `{queue}`");
                let got = "a queue whose policy keeps ready jobs from running";
                return Err(Error::invalid(what, got, "the policy `standard`, `short` or `exclusive`"));
            }
            boss.call(doing(), BossSql::LimitSet, &[&queue.as_str(), &at_most]).await?;
        }
        None => drop(boss.call(doing(), BossSql::LimitClear, &[&queue.as_str()]).await?),
    }
    boss.forget();
    boss.ready([(queue, false)]);
    Ok(())
}

/// Takes ready jobs of a queue whose groups are limited, in a transaction of its own.
pub(crate) async fn take(
    boss: &Boss,
    on: On<'_>,
    table: &Arc<str>,
    queue: &QueueName,
    at_most: i64,
    over: &[i64],
) -> Result<Taken, Fault> {
    let name = queue.as_str();
    let locked = boss.run(on, BossSql::LimitLock, &[&name]).await?;
    if locked.first().and_then(|row| row.get::<_, Option<i32>>("at_most")).is_none() {
        // The limit ended since this process looked.
        boss.forget();
        return claim::take(boss, on, table, Pick::Plain, &[(queue.clone(), at_most)], over, at_most).await;
    }
    let open_for = rows::micros(OPEN_FOR);
    let [groups, each, all] = PRUNED;
    let mut taken = Taken::default();
    let mut over = over;
    for _ in 0..ROUNDS_MAX {
        let listed = boss.run_in(on, BossSql::LimitIntake, table, &[&name, &INTAKE, &open_for]).await?;
        let more: bool = listed.first().is_some_and(|row| row.get("more"));
        let left = at_most - taken.claimed.len() as i64;
        let round = claim::take(boss, on, table, Pick::Limited, &[(queue.clone(), left)], over, left).await?;
        over = &[];
        taken.claimed.extend(round.claimed);
        taken.events.extend(round.events);
        if taken.claimed.len() as i64 >= at_most {
            break;
        }
        let pruned = boss.run_in(on, BossSql::LimitPrune, table, &[&name, &groups, &each, &all]).await?;
        if !more && pruned.first().is_none_or(|row| row.get::<_, i64>("stale") == 0) {
            break;
        }
    }
    Ok(taken)
}

impl PgBossStore {
    /// Limits how many jobs of one group of a queue run at once, in all processes together; `None` ends the limit. Jobs
    /// without a group are not limited. A queue that does not exist begins.
    ///
    /// The limit stays with the queue, and every worker of Millstream keeps it, within a minute of its change. What pg-boss's
    /// own workers run is counted; they themselves keep the limit that their own `groupConcurrency` names.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for 0, and for a queue whose policy keeps ready jobs from running by their key.
    pub async fn set_group_concurrency(&self, queue: &QueueName, at_most: Option<u32>) -> Result<()> {
        set(self.boss(), queue, at_most).await
    }

    /// How many jobs of one group of a queue may run at once; `None`: as many as there are.
    ///
    /// # Errors
    ///
    /// What the database answers.
    pub async fn group_concurrency(&self, queue: &QueueName) -> Result<Option<u32>> {
        let doing = format!("look for the limit on groups of queue `{queue}`");
        let found = self.boss().call(doing, BossSql::LimitFind, &[&queue.as_str()]).await?;
        Ok(found.first().map(|row| row.get::<_, i32>("at_most").unsigned_abs()))
    }
}
