//! Spawning with a name: a panic ends its own task only, and is told.

use std::{future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tracing::error;

/// Runs `part` as a task of its own. The handle gives `None` where the part panicked; the panic is
/// logged here, so that no caller can forget it.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
pub fn spawn<T: Send + 'static>(
    name: &'static str,
    part: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<Option<T>> {
    tokio::spawn(async move {
        match AssertUnwindSafe(part).catch_unwind().await {
            Ok(outcome) => Some(outcome),
            Err(panic) => {
                let reason = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("no message");
                error!(task = name, reason, "a task panicked");
                None
            }
        }
    })
}
