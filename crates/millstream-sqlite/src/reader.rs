//! The threads that read: one snapshot per call, beside the writer (WAL readers wait for nobody).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use millstream_core::{Error, Result};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{
    fault::{Doing, Fault, KIND, closed},
    inbox::{Hurry, Inbox},
    writer::Writer,
};

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// Where reads go.
#[derive(Clone)]
pub(crate) enum Reader {
    /// A connection of its own.
    Thread(Arc<Inbox<Read>>),
    /// A store in memory has one connection: the writer reads too, outside any transaction.
    Writer(Writer),
}

impl Reader {
    /// Reads on a connection of its own, whose thread is not started yet.
    pub(crate) fn new() -> Self {
        Self::Thread(Arc::new(Inbox::new()))
    }

    /// Starts a thread, where there is to be one; several may share the work. It ends once the inbox is closed and
    /// empty.
    pub(crate) fn start(&self, conn: Connection) -> std::io::Result<Option<thread::JoinHandle<Connection>>> {
        let Self::Thread(inbox) = self else { return Ok(None) };
        let reads = inbox.clone();
        let run = move || {
            while let Some(group) = reads.take(1) {
                group.into_iter().for_each(|read| read(&conn));
            }
            conn
        };
        thread::Builder::new().name("millstream-sqlite-read".into()).spawn(run).map(Some)
    }

    /// Runs `read` on one snapshot.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        doing: impl Into<Doing>,
        read: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        let doing = doing.into();
        let inbox = match self {
            Self::Thread(inbox) => inbox,
            Self::Writer(writer) => {
                let never = |_: &mut crate::tx::Tx<'_>| Err(Fault::from(closed()));
                return writer.call_unless(doing, move |conn, _| read(conn).map(Some), never).await;
            }
        };
        let (reply, answer) = oneshot::channel();
        let work = Box::new(move |conn: &Connection| {
            let done = catch_unwind(AssertUnwindSafe(|| snapshot(conn, read)));
            let done = match done {
                Ok(done) => done.map_err(|fault| fault.told(&doing)),
                Err(_) => Err(Error::unavailable(KIND, &*doing, "its code panicked")),
            };
            // Who stopped waiting does not want the answer.
            let _ = reply.send(done);
        });
        if !inbox.push(work, Hurry::Normal) {
            return Err(closed());
        }
        answer.await.unwrap_or(Err(closed()))
    }

    /// Takes no more reads; those taken in are still done.
    pub(crate) fn close(&self) {
        match self {
            Self::Thread(inbox) => inbox.close(),
            Self::Writer(writer) => writer.close(),
        }
    }
}

/// One read transaction around `read`, so that all its statements see one state of the file.
fn snapshot<T>(conn: &Connection, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
    let transaction = conn.unchecked_transaction()?;
    read(&transaction)
}
