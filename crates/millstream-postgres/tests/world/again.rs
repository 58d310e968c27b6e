//! Calling again.

use std::time::Duration;

use millstream_core::Result;

/// Far above what a restart or a promotion takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls again while the store is unavailable.
pub(crate) async fn lasting<T>(mut call: impl AsyncFnMut() -> Result<T>) -> T {
    let trying = async {
        loop {
            match call().await {
                Ok(done) => return done,
                Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.expect("the store comes back")
}
