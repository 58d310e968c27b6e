//! The heartbeat's own connection, opened in whatever runtime beats: it never waits behind the pool, nor for the
//! runtime that handlers may starve.

use std::sync::Arc;

use tokio::{runtime, sync::Mutex, task::JoinSet};
use tokio_postgres::Client;

use crate::{connect::Connector, fault::Fault, schema};

/// The connection, if there is one. Written by `beat`.
#[derive(Default)]
pub(crate) struct Heart {
    slot: Mutex<Option<Own>>,
}

pub(crate) struct Own {
    pub(crate) client: Client,
    runtime: runtime::Id,
    _driver: JoinSet<()>,
}

impl Heart {
    /// The connection of the caller's runtime; another runtime's is left, because nobody may be driving it any more.
    pub(crate) async fn take(&self, connector: &Arc<Connector>) -> Result<Own, Fault> {
        let runtime = runtime::Handle::current().id();
        let kept = self.slot.lock().await.take().filter(|own| own.runtime == runtime && !own.client.is_closed());
        match kept {
            Some(own) => Ok(own),
            None => {
                let (client, driver) = schema::open(connector).await?;
                Ok(Own { client, runtime, _driver: driver })
            }
        }
    }

    /// Keeps a connection that worked for the next beat.
    pub(crate) async fn keep(&self, own: Own) {
        *self.slot.lock().await = Some(own);
    }

    pub(crate) async fn close(&self) {
        *self.slot.lock().await = None;
    }
}
