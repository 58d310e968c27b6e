//! Group commit: calls that come while a commit is under way travel in the next one. There is no timer that an idle
//! system would feel.

use tokio::{
    sync::mpsc,
    task::{JoinSet, yield_now},
};

/// Calls of one commit.
const CALLS_MAX: usize = 256;
/// Calls that may wait for their commit.
pub(crate) const BACKLOG: usize = 4 * CALLS_MAX;
/// Commits under way at once: while one becomes durable, the server works on the other.
const WRITERS: usize = 2;
/// Calls that are worth a second commit beside the first; fewer wait for it and travel together, because a commit
/// costs more than what travels in it.
const SECOND_MIN: usize = 64;

/// Commits calls in groups, until nobody can send any more.
pub(crate) async fn run<C, F>(mut calls: mpsc::Receiver<C>, commit: impl Fn(Vec<C>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut writing = JoinSet::new();
    let mut batch = Vec::new();
    loop {
        let room = CALLS_MAX - batch.len();
        tokio::select! {
            biased;
            Some(ended) = writing.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a commit failed");
                }
            }
            received = calls.recv_many(&mut batch, room), if room > 0 => {
                if received == 0 {
                    break;
                }
            }
        }
        // Whoever was answered just now, or is as ready as the first, gets its turn, and travels with it.
        yield_now().await;
        while batch.len() < CALLS_MAX
            && let Ok(call) = calls.try_recv()
        {
            batch.push(call);
        }
        let second = writing.len() < WRITERS && batch.len() >= SECOND_MIN;
        if !batch.is_empty() && (writing.is_empty() || second) {
            writing.spawn(commit(std::mem::take(&mut batch)));
        }
    }
    // What was taken in is still written.
    if !batch.is_empty() {
        writing.spawn(commit(batch));
    }
    while writing.join_next().await.is_some() {}
}
