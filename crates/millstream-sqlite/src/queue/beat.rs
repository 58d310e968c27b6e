//! What holders of claims say while they work: that they live, and how far they are.

use millstream_core::{ClaimRef, Progress, QueueEventKind, Result, Signal, payload};
use rusqlite::params;

use super::live;
use crate::{
    fault::Fault,
    rows,
    sql::{self, Run},
    store::SqliteStore,
    tx::Tx,
};

/// Renews claims, and answers about those that need attention.
pub(crate) async fn beat(store: &SqliteStore, held: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>> {
    store.renew(held).await
}

/// Notes how far running jobs are.
pub(crate) async fn progress(store: &SqliteStore, notes: &[Progress]) -> Result<()> {
    if notes.is_empty() {
        return Ok(());
    }
    let notes = notes.iter().enumerate().map(|(index, note)| {
        let text = payload::text("progress", &note.value).map_err(|error| error.at(format_args!("notes[{index}]")))?;
        Ok((note.clone(), text))
    });
    let notes = notes.collect::<Result<Vec<_>>>()?;
    let note_all = move |tx: &mut Tx<'_>| notes.iter().try_for_each(|(note, text)| note_one(tx, note, text));
    store.writer().call("note progress", note_all).await
}

fn note_one(tx: &mut Tx<'_>, note: &Progress, text: &str) -> Result<(), Fault> {
    let claim = &note.claim;
    let row = params![claim.queue.as_str(), claim.job.as_str(), &*claim.token, rows::micros(tx.now), text];
    let noted = tx.conn.run(sql::JOB_PROGRESS, row)? > 0;
    let Some(queue) = tx.queue(&claim.queue)?.filter(|_| noted) else { return Ok(()) };
    if tx.heeds(&queue, QueueEventKind::Progress)?
        && let Some(live) = live::held(tx, claim)?
    {
        live.tell(tx, QueueEventKind::Progress, Some(note.value.clone()))?;
    }
    Ok(())
}
