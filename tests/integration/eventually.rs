//! Waiting for what another process brings about.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

/// How often a condition of another process is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Waits until `look` finds something; panics with `what` after `patience`.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + patience;
    let search = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(LOOK_AGAIN).await;
        }
    };
    match timeout_at(deadline, search).await {
        Ok(found) => found,
        Err(elapsed) => panic!("waited {patience:?} in vain until {what}: {elapsed}"),
    }
}
