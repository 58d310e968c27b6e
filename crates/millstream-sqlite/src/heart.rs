//! Beats: renewing claims, ahead of everything else.
//!
//! A file store renews on a thread and a connection of its own, so that a beat never waits in line behind other calls
//! of this process. SQLite has one write lock for all of them, and who polls for it can starve beside who takes it
//! again at once; so the writer gives way between its transactions while a beat is on its way.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use millstream_core::{ClaimRef, Result, Signal};
use rusqlite::params;

use crate::{
    fault::Fault,
    rows,
    sql::{self, Run},
    store::SqliteStore,
    tx::Tx,
};

/// How long the writer gives way at most: a beat takes a millisecond, and one that takes longer is itself waiting for
/// another process.
const GIVE_WAY_MAX: Duration = Duration::from_millis(100);

impl SqliteStore {
    /// Renews the claims, and answers about those that need attention.
    pub(crate) async fn renew(&self, held: &[ClaimRef]) -> Result<Vec<(ClaimRef, Signal)>> {
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let held = held.to_vec();
        self.heart().call_first("renew claims", move |tx| renew(tx, held)).await
    }
}

fn renew(tx: &mut Tx<'_>, held: Vec<ClaimRef>) -> Result<Vec<(ClaimRef, Signal)>, Fault> {
    let until = rows::micros(rows::later(tx.now, tx.shared.options.lease));
    let mut answers = Vec::new();
    for claim in held {
        let row = params![claim.queue.as_str(), claim.job.as_str(), &*claim.token, rows::micros(tx.now), until];
        match tx.conn.first(sql::JOB_RENEW, row, |row| row.get::<_, bool>(0))? {
            None => answers.push((claim, Signal::Lost)),
            Some(true) => answers.push((claim, Signal::Cancel)),
            Some(false) => {}
        }
    }
    Ok(answers)
}

/// Lets beats pass between the writer's transactions.
#[derive(Default)]
pub(crate) struct Turnstile {
    hurried: Mutex<u32>,
    passed: Condvar,
}

/// A beat on its way; dropped when it is through.
pub(crate) struct Passing<'a>(&'a Turnstile);

impl Turnstile {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Announces a beat.
    pub(crate) fn hurry(&self) -> Passing<'_> {
        *self.hurried.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Passing(self)
    }

    /// Waits while a beat is on its way. Answers nothing; it has the shape of `hurry` for the one caller of both.
    pub(crate) fn give_way(&self) -> Option<Passing<'_>> {
        let hurried = self.hurried.lock().unwrap_or_else(PoisonError::into_inner);
        // Waited too long: go on; the lock decides.
        let _ = self.passed.wait_timeout_while(hurried, GIVE_WAY_MAX, |hurried| *hurried > 0);
        None
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        *self.0.hurried.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.passed.notify_all();
    }
}
