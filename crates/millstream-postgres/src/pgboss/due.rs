//! Delayed jobs become waiting by themselves: their time is in their row. Watchers are told of it here.

use std::collections::BTreeMap;

use millstream_core::{QueueEvent, QueueEventKind, QueueName, Result, Timestamp};

use super::{
    boss::{Boss, again},
    moves,
    sql::BossSql,
};
use crate::{events, fault::Fault, rows::Time, shared::transact, sql::On};

/// Jobs that are told of at once; more than that are a crowd that nobody reads.
const BATCH: i64 = 1_000;

/// Tells of jobs that became due; answers when the next one is due.
pub(crate) async fn promote_due(boss: &Boss) -> Result<Option<Timestamp>> {
    again!(boss, "promote due jobs", tell_once(boss))?.tell(boss);
    let next = boss.call("look for due jobs", BossSql::Due, &[]).await?;
    Ok(next.first().and_then(|row| row.get::<_, Option<Time>>("at")).map(|Time(at)| at))
}

/// What became due, and is told after the commit.
#[derive(Default)]
pub(crate) struct Promoted {
    ready: BTreeMap<QueueName, bool>,
    events: Vec<QueueEvent>,
}

impl Promoted {
    pub(crate) fn tell(self, boss: &Boss) {
        boss.ready(self.ready.iter().map(|(name, now)| (name, *now)));
        boss.shared.tell(self.events);
    }
}

async fn tell_once(boss: &Boss) -> Result<Promoted, Fault> {
    let shared = &*boss.shared;
    transact!(shared, shared.logs_any(), unit => tell_due(boss, unit.on()?))
}

/// Notes what became due since somebody noted it last; nothing, where nobody wants to know.
pub(crate) async fn tell_due(boss: &Boss, on: On<'_>) -> Result<Promoted, Fault> {
    let mut promoted = Promoted::default();
    let told = boss.run(on, BossSql::Told, &[&boss.shared.logs(QueueEventKind::Waiting)]).await?;
    let Some(told) = told.first() else { return Ok(promoted) };
    let (since, now): (Time, Time) = (told.get("since"), told.get("now"));
    if since >= now {
        return Ok(promoted);
    }
    for row in boss.run(on, BossSql::BecameDue, &[&since, &now, &BATCH]).await? {
        let Ok(queue) = QueueName::new(row.get::<_, String>("queue")) else { continue };
        promoted.events.push(moves::happened(&queue, QueueEventKind::Waiting, &row, None)?);
        promoted.ready.insert(queue, true);
    }
    events::append::job_events(&boss.shared, on, &promoted.events).await?;
    Ok(promoted)
}

/// What became due before somebody began to watch is not told.
pub(crate) async fn begin(boss: &Boss) -> Result<()> {
    again!(boss, "begin to watch", async {
        boss.run(On::Conn(&boss.shared.conn().await?), BossSql::Told, &[&true]).await.map(drop)
    })
}
