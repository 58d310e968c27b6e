//! Hears other processes: one connection that listens, and is opened again when it breaks.
//!
//! A pooler that shares server connections swallows notifications. So a listener first sends itself one; if that does
//! not come, it says so once, and the process polls.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use millstream_core::{QueueName, Wake};
use tokio::{sync::watch, task::JoinSet};
use tokio_postgres::AsyncMessage;

use crate::{cause::Cause, connect::Wire, events::subscribe::Head, fault::Fault, shared::Shared, sql::On};

/// The first wait before connecting again, doubled up to the last.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(10);
/// How long the listener's own notification may take.
const PROBE_WITHIN: Duration = Duration::from_secs(3);
/// How often a quiet connection is asked whether it is still there.
const ALIVE_EVERY: Duration = Duration::from_secs(30);
const ALIVE_WITHIN: Duration = Duration::from_secs(10);
/// How long until a listener that heard nothing of itself is tried again.
const DEAF_REST: Duration = Duration::from_secs(300);

/// Why a listener ended.
enum Ended {
    /// It never heard itself.
    Deaf,
    Broken,
}

/// Listens until the store closes.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut wait = RETRY_FIRST;
    let mut warned = false;
    loop {
        match listen(&shared, &mut wait).await {
            Ok(Ended::Deaf) => {
                if !warned {
                    tracing::warn!(
                        "notifications do not arrive: a pooler between this process and Postgres? It polls instead; \
                         connect to Postgres itself, or set `notify` to false"
                    );
                    warned = true;
                }
                tokio::time::sleep(DEAF_REST).await;
            }
            Ok(Ended::Broken) => tracing::warn!("the listening connection broke; opening another in {wait:?}"),
            Err(fault) => {
                tracing::warn!(error = %fault.told("listen"), "trying again in {wait:?}");
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_LAST);
    }
}

async fn listen(shared: &Arc<Shared>, wait: &mut Duration) -> Result<Ended, Fault> {
    let (client, wire) = shared.connector.open().await?;
    let (heard, mut hears) = watch::channel(false);
    let mut driver = JoinSet::new();
    driver.spawn(drive(wire, shared.clone(), heard));
    shared.signals.log_restarts();
    client.batch_execute(&format!("listen \"{}\"", shared.schema.channel())).await?;
    if let Some(channel) = &shared.boss_channel {
        client.batch_execute(&format!("listen \"{channel}\"")).await?;
    }
    // What was numbered before anybody listened; the rest is heard.
    let head = Head::read(shared, On::Own(&client)).await?;
    shared.signals.log_grew(Some(head.pos));
    let probe = format!("select pg_notify('{}', '{}:p')", shared.schema.channel(), shared.origin);
    client.batch_execute(&probe).await?;
    let probed = tokio::time::timeout(PROBE_WITHIN, async { hears.wait_for(|heard| *heard).await.map(drop) }).await;
    match probed {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Ok(Ended::Broken),
        Err(_) => return Ok(Ended::Deaf),
    }
    *wait = RETRY_FIRST;
    let _hearing = Hearing::begin(shared);
    loop {
        tokio::select! {
            _ = driver.join_next() => return Ok(Ended::Broken),
            () = tokio::time::sleep(ALIVE_EVERY) => {
                let asked = tokio::time::timeout(ALIVE_WITHIN, client.batch_execute("select 1")).await;
                if !matches!(asked, Ok(Ok(()))) {
                    return Ok(Ended::Broken);
                }
            }
        }
    }
}

/// For as long as notifications arrive.
struct Hearing<'a>(&'a Shared);

impl<'a> Hearing<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.hearing.store(true, Ordering::Relaxed);
        // Whatever was notified while nobody listened.
        shared.signals.everything();
        Self(shared)
    }
}

impl Drop for Hearing<'_> {
    fn drop(&mut self) {
        self.0.hearing.store(false, Ordering::Relaxed);
        // Who relied on it looks by itself again.
        self.0.signals.everything();
    }
}

async fn drive(mut wire: Wire, shared: Arc<Shared>, heard: watch::Sender<bool>) {
    while let Some(message) = std::future::poll_fn(|cx| wire.poll_message(cx)).await {
        match message {
            Ok(AsyncMessage::Notification(note)) if Some(note.channel()) == shared.boss_channel.as_deref() => {
                named(&shared, note.payload(), Wake::Work);
            }
            Ok(AsyncMessage::Notification(note)) => hear(&shared, note.payload(), &heard),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(error = %Cause(error), "the listening connection ended");
                return;
            }
        }
    }
}

/// `e` and the head: events were numbered. `<origin>:` then `w` work, `b` beat, `n` and `m` the same by name, `f` feed,
/// `p` probe.
fn hear(shared: &Shared, payload: &str, heard: &watch::Sender<bool>) {
    if let Some(head) = payload.strip_prefix('e').and_then(|head| head.parse().ok()) {
        return shared.signals.log_grew(Some(head));
    }
    let Some((origin, word)) = payload.split_once(':') else { return };
    if origin == shared.origin {
        // Told already, right after the commit; it only proves that notifications arrive.
        heard.send_replace(true);
        return;
    }
    match word.split_at_checked(1) {
        Some(("w", queues)) => wake(shared, queues, Wake::Work),
        Some(("b", queues)) => wake(shared, queues, Wake::Beat),
        Some(("n", queues)) => named(shared, queues, Wake::Work),
        Some(("m", queues)) => named(shared, queues, Wake::Beat),
        Some(("f", _)) => shared.signals.feed.send_modify(|epoch| *epoch += 1),
        _ => {}
    }
}

/// Queues by their names.
fn named(shared: &Shared, queues: &str, wake: Wake) {
    for queue in queues.split(',').filter_map(|name| QueueName::new(name).ok()) {
        match wake {
            Wake::Work => shared.signals.work(&queue),
            Wake::Beat => shared.signals.beat(&queue),
        }
    }
}

fn wake(shared: &Shared, queues: &str, wake: Wake) {
    for queue in queues.split(',') {
        match (queue.parse().ok().and_then(|id| shared.name(id)), wake) {
            (Some(name), Wake::Work) => shared.signals.work(&name),
            (Some(name), Wake::Beat) => shared.signals.beat(&name),
            (None, _) => shared.signals.anybody(wake),
        }
    }
}
