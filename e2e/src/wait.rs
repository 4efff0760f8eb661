//! Waiting on conditions, with a limit. Tests never sleep to let something happen.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Between two looks. Short against everything that is waited for, long enough to leave the cores to what is tested.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks again until `probe` succeeds; after `limit` its last error is the error, with `what` was waited for.
pub async fn within<T>(limit: Duration, what: &str, mut probe: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > limit => {
                return Err(error).with_context(|| format!("waited {limit:?} for {what}"));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// [`within`] half a minute: far beyond what anything takes on a busy machine.
pub async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    within(Duration::from_secs(30), what, probe).await
}
