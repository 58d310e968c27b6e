//! Run state: values by key, with a time to live by the store's clock.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use millstream_core::{Result, StateOp, StateStore, limits::PAGE_ROWS_MAX, payload};
use serde_json::Value;

use crate::{
    fault::{Fault, again},
    rows,
    shared::{Shared, transact},
    sql::{On, Sql},
    store::PostgresStore,
};

#[async_trait]
impl StateStore for PostgresStore {
    async fn get(&self, key: &str) -> Result<Option<Value>> {
        let found = self.shared().call(format!("read state `{key}`"), Sql::StateGet, &[&key]).await?;
        let text = found.first().map(|row| row.get::<_, &str>("value"));
        rows::json_option(text, rows::at("state", &key)("value"))
    }

    async fn apply(&self, ops: &[StateOp]) -> Result<()> {
        let of = |(index, op)| Write::of(op).map_err(|error| error.at(format_args!("state[{index}]")));
        let writes = ops.iter().enumerate().map(of).collect::<Result<Vec<Write>>>()?;
        let writes: Vec<&Write> = writes.iter().collect();
        again!("write state", apply(self.shared(), &writes))
    }

    async fn list(&self, prefix: &str, limit: u32) -> Result<Vec<Arc<str>>> {
        let limit = i64::from(limit.min(PAGE_ROWS_MAX));
        let found = self.shared().call("list state", Sql::StateList, &[&prefix, &rows::above(prefix), &limit]).await?;
        Ok(found.iter().map(|row| Arc::from(row.get::<_, &str>("key"))).collect())
    }

    async fn swap(&self, key: &str, old: Option<&Value>, new: Option<&Value>) -> Result<bool> {
        payload::check_key("state key", key)?;
        let text = |value: Option<&Value>| value.map(|value| payload::text("state value", value)).transpose();
        let (old, new) = (text(old)?, text(new)?);
        let doing = format!("swap state `{key}`");
        let shared = self.shared();
        let swapped = match (&old, &new) {
            (None, None) => return Ok(shared.call(doing, Sql::StateGet, &[&key]).await?.is_empty()),
            (None, Some(new)) => shared.call(doing, Sql::StateSwapMissing, &[&key, new]).await?,
            (Some(old), Some(new)) => shared.call(doing, Sql::StateSwap, &[&key, old, new]).await?,
            (Some(old), None) => shared.call(doing, Sql::StateSwapDelete, &[&key, old]).await?,
        };
        Ok(!swapped.is_empty())
    }
}

/// A checked change of state.
#[derive(Debug)]
pub(crate) struct Write {
    key: Arc<str>,
    /// The value as JSON text and its time to live; `None` deletes.
    value: Option<(String, Option<Duration>)>,
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
}

async fn apply(shared: &Shared, writes: &[&Write]) -> Result<(), Fault> {
    if writes.is_empty() {
        return Ok(());
    }
    let whole = writes.len() > 1;
    transact!(shared, whole, unit => write(shared, unit.on()?, writes))
}

/// Writes changes in whatever transaction this is; the last one of a key counts.
pub(crate) async fn write(shared: &Shared, on: On<'_>, writes: &[&Write]) -> Result<(), Fault> {
    let last: BTreeMap<&str, &Write> = writes.iter().map(|write| (&*write.key, *write)).collect();
    let (mut keys, mut values, mut ttls, mut gone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (key, write) in last {
        match &write.value {
            None => gone.push(key),
            Some((text, ttl)) => {
                keys.push(key);
                values.push(text.as_str());
                ttls.push(ttl.map(rows::micros));
            }
        }
    }
    if !keys.is_empty() {
        shared.run(on, Sql::StateSet, &[&keys, &values, &ttls]).await?;
    }
    if !gone.is_empty() {
        shared.run(on, Sql::StateDelete, &[&gone]).await?;
    }
    Ok(())
}
