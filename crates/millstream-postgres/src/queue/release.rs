//! Giving claims back.

use std::collections::HashSet;

use millstream_core::{ClaimRef, Result};

use super::{
    held,
    moves::{self, Kind, Move, Moved},
};
use crate::{
    fault::{Fault, again},
    shared::{Shared, transact},
    sql::On,
};

/// Gives claims back: waiting again behind those that are ready, no attempt burned. Claims that no longer hold
/// are skipped. A job that somebody asked to cancel ends here: this attempt ended in something other than success.
pub(crate) async fn release(shared: &Shared, claims: &[ClaimRef]) -> Result<()> {
    let moved = again!("release claims", release_once(shared, claims))?;
    moved.tell(shared);
    Ok(())
}

async fn release_once(shared: &Shared, claims: &[ClaimRef]) -> Result<Moved, Fault> {
    transact!(shared, shared.logs_any(), unit => release_in(shared, unit.on()?, claims))
}

async fn release_in(shared: &Shared, on: On<'_>, claims: &[ClaimRef]) -> Result<Moved, Fault> {
    let refs: Vec<&ClaimRef> = claims.iter().collect();
    let mut seen = HashSet::new();
    let held = held::held(shared, on, &refs).await?.into_iter().flatten().filter(|held| seen.insert(*held));
    let all: Vec<Move> = held.map(|held| Move { held, kind: Kind::Release, payload: None, wait: 0 }).collect();
    moves::moves(shared, on, &all).await
}
