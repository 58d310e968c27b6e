//! Reading on in several partitions at once.

use std::collections::HashMap;

use millstream_core::{
    GroupEvent, GroupName, PartitionRead, Poison, ReadFrom, Result, StreamName,
    limits::{GROUP_READ_MAX, GROUP_SCAN_MAX},
    partition_of,
};
use rusqlite::Connection;

use super::group::{Group, the};
use crate::{
    events::{self, Range},
    fault::Fault,
    sql::{self, Run},
};

/// Rows read at once, of which others' partitions are dropped.
const CHUNK: u32 = 1_000;

/// One pass over the log from the lowest position on. The partition of a stream is computed here, not stored: so a
/// group may have as many as it likes, and the log's rows stay as they are.
pub(super) fn read(
    conn: &Connection,
    group: &GroupName,
    from: &[ReadFrom],
    limit: u32,
) -> Result<PartitionRead, Fault> {
    let group = the(conn, group)?;
    let extent = events::extent(conn)?;
    for from in from {
        events::check(from.after, extent)?;
    }
    let Some(lowest) = from.iter().map(|from| from.after).min() else { return Ok(PartitionRead::default()) };
    let afters: HashMap<u16, u64> = from.iter().map(|from| (from.partition, from.after)).collect();
    let end = extent.head.min(lowest.saturating_add(GROUP_SCAN_MAX));
    let limit = limit.min(GROUP_READ_MAX) as usize;
    let kinds = (!group.spec.kinds.is_empty()).then(|| serde_json::json!(group.spec.kinds).to_string());
    let mut wanted = Wanted { group: &group, afters, streams: HashMap::new(), parked: HashMap::new() };
    let mut answer = PartitionRead { events: Vec::new(), up_to: lowest };
    while answer.up_to < end && answer.events.len() < limit {
        let range = Range {
            pattern: &group.spec.pattern,
            kinds: kinds.clone(),
            after: answer.up_to,
            up_to: end,
            limit: CHUNK,
            direction: millstream_core::Direction::Forward,
        };
        let rows = events::rows(conn, &range)?;
        let whole = rows.len() < CHUNK as usize;
        for row in rows {
            answer.up_to = row.position();
            if let Some(partition) = wanted.partition(row.stream(), row.position()) {
                let event = row.event()?;
                let behind = wanted.is_parked(conn, &event.stream)?;
                answer.events.push(GroupEvent { event, partition, behind });
            }
            if answer.events.len() == limit {
                return Ok(answer);
            }
        }
        if whole {
            answer.up_to = end;
        }
    }
    Ok(answer)
}

/// Which events are asked for.
struct Wanted<'a> {
    group: &'a Group,
    afters: HashMap<u16, u64>,
    /// Partitions of streams that were met.
    streams: HashMap<String, u16>,
    /// Streams that were met, and whether they are parked.
    parked: HashMap<StreamName, bool>,
}

impl Wanted<'_> {
    fn partition(&mut self, stream: &str, position: u64) -> Option<u16> {
        let partition = match self.streams.get(stream) {
            Some(partition) => *partition,
            None => {
                let partition = partition_of(stream, self.group.spec.partitions);
                self.streams.insert(stream.to_owned(), partition);
                partition
            }
        };
        self.afters.get(&partition).is_some_and(|after| position > *after).then_some(partition)
    }

    fn is_parked(&mut self, conn: &Connection, stream: &StreamName) -> Result<bool, Fault> {
        if self.group.spec.poison != Poison::ParkStream {
            return Ok(false);
        }
        if let Some(parked) = self.parked.get(stream) {
            return Ok(*parked);
        }
        let found = conn.first(sql::GROUPS_PARKED_STREAM, (self.group.id, stream.as_str()), |_| Ok(()))?;
        self.parked.insert(stream.clone(), found.is_some());
        Ok(found.is_some())
    }
}
