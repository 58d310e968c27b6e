//! Run state: values by key, with a time to live by the store's clock.

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::{Result, StateOp, StateStore, Timestamp, limits::PAGE_ROWS_MAX, payload};
use rusqlite::{Connection, params};
use serde_json::Value;

use crate::{
    fault::Fault,
    rows::{self, Above},
    sql::{self, Run},
    store::SqliteStore,
    tx::Tx,
};

#[async_trait]
impl StateStore for SqliteStore {
    async fn get(&self, key: &str) -> Result<Option<Value>> {
        let (key, now) = (key.to_owned(), self.shared().options.clock.now());
        self.reader().call(format!("read state `{key}`"), move |conn| read(conn, &key, now)).await
    }

    async fn apply(&self, ops: &[StateOp]) -> Result<()> {
        if ops.is_empty() {
            return Ok(());
        }
        let writes = ops
            .iter()
            .enumerate()
            .map(|(index, op)| Write::of(op).map_err(|error| error.at(format_args!("state[{index}]"))));
        let writes = writes.collect::<Result<Vec<Write>>>()?;
        self.writer().call("write state", move |tx| writes.iter().try_for_each(|write| write.run(tx))).await
    }

    async fn list(&self, prefix: &str, limit: u32) -> Result<Vec<Arc<str>>> {
        let (prefix, now) = (prefix.to_owned(), rows::micros(self.shared().options.clock.now()));
        let read = move |conn: &Connection| {
            let range = params![prefix, Above::prefix(&prefix), now, limit.min(PAGE_ROWS_MAX)];
            conn.all(sql::STATE_LIST, range, |row| row.get::<_, Arc<str>>(0))
        };
        self.reader().call("list state", read).await
    }

    async fn swap(&self, key: &str, old: Option<&Value>, new: Option<&Value>) -> Result<bool> {
        let write = Write::of(&match new {
            Some(value) => StateOp::Set { key: key.into(), value: value.clone(), ttl: None },
            None => StateOp::Delete { key: key.into() },
        })?;
        let old = old.cloned();
        let swap = move |tx: &mut Tx<'_>| {
            let same = read(tx.conn, &write.key, tx.now)? == old;
            if same {
                write.run(tx)?;
            }
            Ok(same)
        };
        self.writer().call(format!("swap state `{key}`"), swap).await
    }
}

fn read(conn: &Connection, key: &str, now: Timestamp) -> Result<Option<Value>, Fault> {
    let text = conn.first(sql::STATE_GET, params![key, rows::micros(now)], |row| row.get(0))?;
    Ok(rows::json_option(text, rows::at("state", &key)("value"))?)
}

/// A checked change of state.
pub(crate) struct Write {
    key: Arc<str>,
    /// The value as JSON text and its time to live; `None` deletes.
    value: Option<(String, Option<std::time::Duration>)>,
}

impl Write {
    pub(crate) fn of(op: &StateOp) -> Result<Self> {
        op.check()?;
        let value = match op {
            StateOp::Delete { .. } => None,
            StateOp::Set { value, ttl, .. } => {
                ttl.map_or(Ok(()), |ttl| rows::check_wait("time to live", ttl))?;
                Some((payload::text("state value", value)?, *ttl))
            }
        };
        Ok(Self { key: op.key().clone(), value })
    }

    pub(crate) fn run(&self, tx: &Tx<'_>) -> Result<(), Fault> {
        match &self.value {
            None => tx.conn.run(sql::STATE_DELETE, [&*self.key])?,
            Some((text, ttl)) => {
                let expires_at = ttl.map(|ttl| rows::micros(rows::later(tx.now, ttl)));
                tx.conn.run(sql::STATE_SET, params![&*self.key, text, expires_at])?
            }
        };
        Ok(())
    }
}
