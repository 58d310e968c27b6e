//! Reading on in several partitions: one pass over a range of positions for all that a member has.

use millstream_core::{
    Error, GroupEvent, GroupName, PartitionRead, Pattern, Poison, ReadFrom, Result,
    limits::{GROUP_READ_MAX, GROUP_SCAN_MAX},
};
use tokio_postgres::Row;

use super::define;
use crate::{
    events::{query, sequencer},
    fault::{Fault, again},
    rows,
    shared::Shared,
    sql::{On, Sql},
};

/// Of a partition that is not asked for, every position is done.
const NOT_ASKED: i64 = i64::MAX;

pub(super) async fn read(shared: &Shared, group: &GroupName, from: &[ReadFrom], limit: u32) -> Result<PartitionRead> {
    if from.is_empty() {
        let conn = again!(format!("read for group `{group}`"), shared.conn())?;
        look(shared, On::Conn(&conn), group).await.map_err(|fault| fault.told(format!("read for group `{group}`")))?;
        return Ok(PartitionRead::default());
    }
    again!(format!("read for group `{group}`"), read_once(shared, group, from, limit))
}

/// What a group reads, and where the log begins and ends.
struct Look {
    head: u64,
    first: u64,
    pattern: Pattern,
    kinds: Option<Vec<String>>,
    partitions: u16,
    stops_streams: bool,
    retain: bool,
}

async fn look(shared: &Shared, on: On<'_>, group: &GroupName) -> Result<Look, Fault> {
    let rows = shared.run(on, Sql::GroupsLook, &[&group.as_str()]).await?;
    let row = rows.first().ok_or_else(|| rows::at("event_head", &1)("one").corrupt("there is no row"))?;
    let Some(pattern) = row.get::<_, Option<&str>>("pattern") else { return Err(define::missing(group).into()) };
    let (log, place) = (rows::at("event_head", &1), rows::at("queue_event_groups", group));
    let kinds: Vec<String> = row.get("types");
    Ok(Look {
        head: rows::count(row.get("pos"), log("pos"))?,
        first: rows::count::<u64>(row.get("first_pos"), log("first_pos"))?.max(1),
        pattern: Pattern::new(pattern).map_err(|error| place("pattern").corrupt(error))?,
        kinds: (!kinds.is_empty()).then_some(kinds),
        partitions: rows::count(i64::from(row.get::<_, i32>("partitions")), place("partitions"))?,
        stops_streams: row.get::<_, &str>("poison") == Poison::ParkStream.as_str(),
        retain: row.get("retain"),
    })
}

impl Look {
    /// Whether what follows every position is still there, or there already.
    fn check(&self, from: &[ReadFrom]) -> Result<()> {
        for ReadFrom { after, .. } in from {
            if *after > self.head {
                return Err(Error::LogWentBack { requested: *after, head: self.head });
            }
            if after.saturating_add(1) < self.first {
                return Err(Error::Truncated { requested: *after, first: self.first });
            }
        }
        Ok(())
    }
}

async fn read_once(shared: &Shared, group: &GroupName, from: &[ReadFrom], limit: u32) -> Result<PartitionRead, Fault> {
    let lowest = from.iter().map(|from| from.after).min().unwrap_or(0);
    let conn = shared.conn().await?;
    let on = On::Conn(&conn);
    let mut now = look(shared, on, group).await?;
    if now.head <= lowest {
        // A process that is gone may have left something behind. Where nothing is left, nobody who numbers is disturbed.
        let pending = shared.run(on, Sql::EventsPending, &[]).await?;
        if pending.first().is_some_and(|row| row.get("pending")) {
            sequencer::look_on(shared, on).await?;
            now = look(shared, on, group).await?;
        }
    }
    now.check(from)?;
    if now.head <= lowest {
        return Ok(PartitionRead { events: Vec::new(), up_to: now.head });
    }
    let limit = limit.clamp(1, GROUP_READ_MAX);
    let (rows, end) = rows(shared, on, group, &now, from, limit).await?;
    if !now.retain {
        // Retention waits for groups that retain. For others: what went between the two reads was not looked at.
        look(shared, on, group).await?.check(from)?;
    }
    let events = rows.iter().map(|row| event(row, now.partitions)).collect::<Result<Vec<_>>>()?;
    let full = events.len() >= limit as usize;
    let up_to = events.last().filter(|_| full).map_or(end, |last| last.event.id);
    Ok(PartitionRead { events, up_to })
}

/// Rows, and the position up to which was looked.
async fn rows(
    shared: &Shared,
    on: On<'_>,
    group: &GroupName,
    now: &Look,
    from: &[ReadFrom],
    limit: u32,
) -> Result<(Vec<Row>, u64), Fault> {
    let limit = i64::from(limit);
    let stops = now.stops_streams.then_some(group.as_str());
    let (low, high) = match &now.pattern {
        Pattern::Exact(stream) => {
            // One stream is in one partition, and has an index of its own.
            let partition = millstream_core::partition_of(stream.as_str(), now.partitions);
            let Some(from) = from.iter().find(|from| from.partition == partition) else {
                return Ok((Vec::new(), now.head));
            };
            let (after, head) = (rows::integer(from.after), rows::integer(now.head));
            let params: &[&(dyn crate::sql::Param + Sync)] =
                &[&stream.as_str(), &after, &head, &now.kinds, &limit, &stops];
            return Ok((shared.run(on, Sql::GroupsReadStream, params).await?, now.head));
        }
        Pattern::All => (None, None),
        Pattern::Prefix(prefix) => (Some(&**prefix), rows::above(prefix)),
    };
    let mut afters = vec![NOT_ASKED; usize::from(now.partitions)];
    for from in from {
        if let Some(after) = afters.get_mut(usize::from(from.partition)) {
            *after = rows::integer(from.after);
        }
    }
    let lowest = from.iter().map(|from| from.after).min().unwrap_or(0);
    let end = now.head.min(lowest.saturating_add(GROUP_SCAN_MAX));
    let (lowest, last, mask) = (rows::integer(lowest), rows::integer(end), i32::from(now.partitions) - 1);
    let params: &[&(dyn crate::sql::Param + Sync)] =
        &[&afters, &mask, &lowest, &last, &low, &high, &now.kinds, &limit, &stops];
    Ok((shared.run(on, Sql::GroupsRead, params).await?, end))
}

fn event(row: &Row, partitions: u16) -> Result<GroupEvent> {
    let event = query::event(row)?;
    let bucket: i16 = row.get("bucket");
    let bucket: u16 = rows::count(i64::from(bucket), rows::at("queue_events", &event.id)("bucket"))?;
    Ok(GroupEvent { partition: bucket % partitions.max(1), behind: row.get("behind"), event })
}
