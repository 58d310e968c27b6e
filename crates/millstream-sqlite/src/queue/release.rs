//! Giving claims back.

use millstream_core::{ClaimRef, Result};

use super::live::{self, End};
use crate::{fault::Fault, store::SqliteStore, tx::Tx};

/// Gives claims back: waiting again, behind those that were ready before, no attempt burned. Claims that no longer hold
/// are skipped. A job that somebody asked to cancel ends here: this attempt ended in something other than success.
pub(crate) async fn release(store: &SqliteStore, held: &[ClaimRef]) -> Result<()> {
    if held.is_empty() {
        return Ok(());
    }
    let held = held.to_vec();
    let release_all = move |tx: &mut Tx<'_>| held.iter().try_for_each(|claim| release_one(tx, claim));
    store.writer().call("release claims", release_all).await
}

fn release_one(tx: &mut Tx<'_>, claim: &ClaimRef) -> Result<(), Fault> {
    let Some(live) = live::held(tx, claim)? else { return Ok(()) };
    match live.cancel_requested {
        true => live.end(tx, End::Cancelled(None))?,
        false => live.wait(tx, live.attempt.saturating_sub(1), None)?,
    };
    Ok(())
}
