//! Spawning with a name: a panic ends its own task only, and is told.

use std::{future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt;
use tokio::{
    runtime::{Builder, Handle, RuntimeFlavor},
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
    tokio::spawn(told(name, part))
}

/// The same on a thread of its own, with all that `part` spawns: the system gives it its turn, however
/// many tasks wait for the threads of the others. What it has left on threads that block goes on
/// without it.
pub fn spawn_apart<T: Send + 'static>(
    name: &'static str,
    part: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<Option<T>> {
    tokio::task::spawn_blocking(move || {
        let runtime = Builder::new_current_thread().thread_name(name).enable_all().build();
        let runtime = runtime
            .inspect_err(|e| error!(task = name, error = %e, "a thread of its own can't be had"))
            .ok()?;
        let outcome = runtime.block_on(told(name, part));
        runtime.shutdown_background();
        outcome
    })
}

/// `None` where it has panicked, which is told.
fn told<T>(name: &'static str, part: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
    // No `async` block: it would hold `part` twice, before it is awaited and while it is.
    AssertUnwindSafe(part).catch_unwind().map(move |outcome| match outcome {
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
    })
}

/// Runs what takes as long as reading `bytes` without holding up the tasks that wait for this thread.
pub fn beside_others<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let may_leave = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    if bytes > INLINE_BYTES_MAX && may_leave { block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn a_part_that_is_apart_has_its_thread_with_all_that_it_spawns() {
        let here = thread::current().id();
        let part = async move {
            let own = thread::current().id();
            let of_spawned = spawn("inner", async { thread::current().id() }).await;
            own != here && of_spawned.unwrap() == Some(own)
        };
        assert_eq!(spawn_apart("outer", part).await.unwrap(), Some(true));
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_task_alone() {
        let panics = || async { panic!("on purpose") };
        assert_eq!(spawn::<()>("a", panics()).await.unwrap(), None);
        assert_eq!(spawn_apart::<()>("b", panics()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_blocks_does_not_hold_up_the_end_of_a_part_that_is_apart() {
        let (done, waits) = std::sync::mpsc::channel::<()>();
        let part = async move {
            drop(tokio::task::spawn_blocking(move || waits.recv()));
        };
        assert_eq!(spawn_apart("a", part).await.unwrap(), Some(()));
        drop(done);
    }
}
