//! Calls for the caller's own transaction.

use millstream_core::{Append, ClaimRef, NewJob, Outcome, Result};

use super::{
    boss::again,
    deferred, held,
    insert::{self, Entry},
    moves, settle,
    sql::{BossSql, Pick},
    store::PgBossStore,
};
use crate::{SqlCall, fault::Fault};

impl PgBossStore {
    /// Stores a job on pg-boss's tables, in the caller's transaction. Answers one row: `id`, and `created`, which is false
    /// for what its id, its queue's policy or a throttle kept out.
    ///
    /// The queue is made at once, and not in that transaction, where there is none yet.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](millstream_core::Error::Invalid) for what no store accepts, and what the database answers.
    pub async fn enqueue_call(&self, job: &NewJob) -> Result<SqlCall> {
        let boss = self.boss();
        let entry = Entry::of(boss, job)?;
        let known = insert::known_of(boss, &[&entry]).await.map_err(|fault| fault.told("find the queue"))?;
        let table = &known.get(&entry.queue).ok_or(Fault::Raced).map_err(|fault| fault.told("find the queue"))?.table;
        let text = boss.texts.get(BossSql::InsertCall, table, Pick::Plain).to_string();
        let mut params = insert::as_text(boss, &entry);
        params.push(Some(entry.told()?.to_string()));
        Ok(SqlCall { text, params })
    }

    /// Settles a claim in the caller's transaction. Answers one row: `state`. A claim that does not hold is SQLSTATE
    /// `MS410`, and ends the transaction. Its handler returns without settling again.
    ///
    /// How long a failed attempt waits for its next one is counted now, where the outcome does not say it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](millstream_core::Error::Invalid) for what no store accepts, and what the database answers.
    pub async fn settle_call(&self, claim: &ClaimRef, outcome: &Outcome) -> Result<SqlCall> {
        let boss = self.boss();
        let ending = settle::ending(outcome)?;
        deferred::start_calls(boss, held::call(claim).into_iter()).await?;
        let planned = again!(boss, "look at the claim", settle::plan(boss, claim, &ending))?;
        let text = boss.texts.get(BossSql::SettleCall, &planned.held.table, Pick::Plain).to_string();
        let mut params = moves::as_text(boss, &planned);
        params.extend([claim.queue.to_string(), claim.job.to_string()]);
        Ok(SqlCall { text, params: params.into_iter().map(Some).collect() })
    }

    /// Appends events in the caller's transaction: see [`PostgresStore::append_call`](crate::PostgresStore::append_call).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](millstream_core::Error::Invalid) for what no store accepts.
    pub fn append_call(&self, append: &Append) -> Result<SqlCall> {
        self.native().append_call(append)
    }
}
