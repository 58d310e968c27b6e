//! The heartbeats' own connections, opened in whatever runtime beats: it never waits behind the pool, nor for the
//! runtime that handlers may starve.

use std::sync::Arc;

use tokio::{runtime, sync::Mutex, task::JoinSet};
use tokio_postgres::Client;

use crate::{connect::Connector, fault::Fault, schema};

/// Connections that are kept: one for jobs, one for members of groups.
const KEPT_MAX: usize = 2;

/// The connections that nobody uses just now. Written by beats.
#[derive(Default)]
pub(crate) struct Heart {
    kept: Mutex<Vec<Own>>,
}

pub(crate) struct Own {
    pub(crate) client: Client,
    runtime: runtime::Id,
    _driver: JoinSet<()>,
}

impl Heart {
    /// A connection of the caller's runtime; another runtime's is left, because nobody may be driving it any more.
    pub(crate) async fn take(&self, connector: &Arc<Connector>) -> Result<Own, Fault> {
        let runtime = runtime::Handle::current().id();
        let own = {
            let mut kept = self.kept.lock().await;
            kept.retain(|own| !own.client.is_closed());
            kept.iter().position(|own| own.runtime == runtime).map(|at| kept.swap_remove(at))
        };
        match own {
            Some(own) => Ok(own),
            None => {
                let (client, driver) = schema::open(connector).await?;
                Ok(Own { client, runtime, _driver: driver })
            }
        }
    }

    /// Keeps a connection that worked for the next beat.
    pub(crate) async fn keep(&self, own: Own) {
        let mut kept = self.kept.lock().await;
        if kept.len() >= KEPT_MAX {
            kept.remove(0);
        }
        kept.push(own);
    }

    pub(crate) async fn close(&self) {
        self.kept.lock().await.clear();
    }
}
