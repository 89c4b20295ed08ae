//! Spawning with a name: a panic ends its own task only, and is told.

use std::{future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::{JoinHandle, block_in_place},
};
use tracing::error;

/// So many bytes take some 0.2 ms to read; more are read where other tasks can leave the thread.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// Runs `part` as a task of its own. The handle gives `None` where the part panicked; the panic is
/// logged here, so that no caller can forget it.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
pub fn spawn<T: Send + 'static>(
    name: &'static str,
    part: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<Option<T>> {
    // No `async` block: it would hold `part` twice, before it is awaited and while it is.
    tokio::spawn(AssertUnwindSafe(part).catch_unwind().map(move |outcome| match outcome {
        Ok(outcome) => Some(outcome),
        Err(panic) => {
            let reason = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            error!(task = name, error = reason, "a task panicked");
            None
        }
    }))
}

/// Runs what takes as long as reading `bytes` without holding up the tasks that wait for this thread.
pub fn beside_others<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let may_leave = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    if bytes > INLINE_BYTES_MAX && may_leave { block_in_place(work) } else { work() }
}
