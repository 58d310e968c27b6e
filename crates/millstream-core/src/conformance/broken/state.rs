//! The broken run state.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::{Broken, Fault, events::like};
use crate::{Error, Result, StateOp, StateStore};

#[async_trait]
impl StateStore for Broken {
    async fn get(&self, key: &str) -> Result<Option<Value>> {
        let value = self.inner.state.get(key).await?;
        match value {
            Some(value) if self.has(Fault::StaleState) => {
                Ok(Some(self.memory().values.entry(key.to_owned()).or_insert(value).clone()))
            }
            other => Ok(other),
        }
    }

    async fn apply(&self, ops: &[StateOp]) -> Result<()> {
        let mut ops = ops.to_vec();
        if self.has(Fault::EternalState) {
            for op in &mut ops {
                if let StateOp::Set { ttl, .. } = op {
                    *ttl = None;
                }
            }
        }
        match self.inner.state.apply(&ops).await {
            Err(error) if self.has(Fault::PartialBatch) => {
                for op in &ops {
                    if self.inner.state.apply(std::slice::from_ref(op)).await.is_err() {
                        break;
                    }
                }
                Err(error)
            }
            Err(Error::Invalid { .. }) if self.has(Fault::SilentLimit) => Ok(()),
            answer => answer,
        }
    }

    async fn list(&self, prefix: &str, limit: u32) -> Result<Vec<Arc<str>>> {
        if self.has(Fault::LikePattern) {
            let mut keys = self.inner.state.list("", crate::limits::PAGE_ROWS_MAX).await?;
            keys.retain(|key| like(&format!("{prefix}%"), key));
            keys.truncate(limit as usize);
            return Ok(keys);
        }
        let mut keys = self.inner.state.list(prefix, limit).await?;
        if self.has(Fault::UnsortedKeys) {
            keys.reverse();
        }
        Ok(keys)
    }

    async fn swap(&self, key: &str, old: Option<&Value>, new: Option<&Value>) -> Result<bool> {
        if self.has(Fault::SwapAlways) {
            let key: Arc<str> = key.into();
            let op = match new {
                Some(value) => StateOp::Set { key, value: value.clone(), ttl: None },
                None => StateOp::Delete { key },
            };
            self.inner.state.apply(&[op]).await?;
            return Ok(true);
        }
        self.inner.state.swap(key, old, new).await
    }
}
