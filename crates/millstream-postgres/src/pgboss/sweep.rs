//! Removing what nobody keeps any more: finished jobs with a rule of their own, and what the native store sweeps of events
//! and state. pg-boss's own retention is maintenance.

use millstream_core::{QueueName, Result};
use tokio_postgres::Row;

use super::{
    boss::{Boss, again},
    sql::BossSql,
};
use crate::{fault::Fault, sql::On};

/// Rows of one statement: sweeping must not hold locks for long.
const BATCH: i64 = 1_000;

/// Removes it all, a batch at a time; answers how many rows.
pub(crate) async fn sweep(boss: &Boss) -> Result<u64> {
    let mut swept = 0;
    loop {
        let batch = again!(boss, "sweep", sweep_batch(boss))?;
        swept += batch;
        if batch == 0 {
            break;
        }
    }
    Ok(swept + crate::queue::sweep::sweep(&boss.shared).await?)
}

async fn sweep_batch(boss: &Boss) -> Result<u64, Fault> {
    let conn = boss.shared.conn().await?;
    let on = On::Conn(&conn);
    let old = boss.run(on, BossSql::SweepOld, &[&BATCH]).await?;
    let mut swept = delete(boss, on, &old).await?;
    for group in boss.run(on, BossSql::SweepGroups, &[]).await? {
        let (queue, done, keep): (&str, &str, i32) = (group.get("queue"), group.get("done"), group.get("keep"));
        let many = boss.run(on, BossSql::SweepMany, &[&queue, &done, &keep, &BATCH]).await?;
        swept += delete(boss, on, &many).await?;
    }
    Ok(swept)
}

async fn delete(boss: &Boss, on: On<'_>, jobs: &[Row]) -> Result<u64, Fault> {
    let mut deleted = 0;
    for row in jobs {
        let (name, job): (&str, &str) = (row.get("queue"), row.get("job"));
        let table = match QueueName::new(name) {
            Ok(queue) => boss.one(on, &queue).await?.map(|known| known.table),
            Err(_) => None,
        };
        let gone = match table {
            Some(table) => boss.run_in(on, BossSql::SweepOne, &table, &[&name, &job]).await?,
            None => boss.run(on, BossSql::SweepOne, &[&name, &job]).await?,
        };
        deleted += gone.len() as u64;
    }
    Ok(deleted)
}
