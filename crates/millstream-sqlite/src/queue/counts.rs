//! Queues and their counts.

use millstream_core::{JobCounts, QueueInfo, QueueName, Result};
use rusqlite::Row;

use crate::{
    fault::Fault,
    rows,
    sql::{self, Run},
    store::SqliteStore,
};

/// Exact counts of one queue; all zero if there is none.
pub(crate) async fn counts(store: &SqliteStore, queue: &QueueName) -> Result<JobCounts> {
    let name = queue.clone();
    let read = move |conn: &rusqlite::Connection| {
        let row = conn.first(sql::QUEUE_COUNTS, [name.as_str()], QueueRow::read)?;
        Ok(row.map(QueueRow::info).transpose()?.map(|info| info.counts).unwrap_or_default())
    };
    store.reader().call(format!("count the jobs of queue `{queue}`"), read).await
}

/// Every queue, by name.
pub(crate) async fn queues(store: &SqliteStore) -> Result<Vec<QueueInfo>> {
    let read = |conn: &rusqlite::Connection| {
        let rows = conn.all(sql::QUEUE_LIST, [], QueueRow::read)?;
        rows.into_iter().map(|row| row.info().map_err(Fault::from)).collect()
    };
    store.reader().call("list the queues", read).await
}

struct QueueRow {
    name: String,
    paused: bool,
    counts: [i64; 6],
}

impl QueueRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let counts = [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?];
        Ok(Self { name: row.get(0)?, paused: row.get(1)?, counts })
    }

    fn info(self) -> Result<QueueInfo> {
        let name: QueueName = rows::word(self.name.clone(), rows::at("queue", &self.name)("name"))?;
        let count = |index: usize, column| rows::count::<u64>(self.counts[index], rows::at("queue", &name)(column));
        let waiting = count(0, "waiting")?;
        let counts = JobCounts {
            waiting,
            delayed: count(1, "delayed")?,
            active: count(2, "active")?,
            completed: count(3, "completed")?,
            failed: count(4, "failed")?,
            cancelled: count(5, "cancelled")?,
            paused: if self.paused { waiting } else { 0 },
        };
        Ok(QueueInfo { name, paused: self.paused, counts })
    }
}
