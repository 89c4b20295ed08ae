//! The admin API of a real fleet, asked by machines: by schemathesis, which makes questions of the
//! `OpenAPI` document and judges the answers by it, and by a client that listens to events.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

mod events;
mod flock;
#[path = "../integration/process.rs"]
#[expect(dead_code, reason = "the tests of one agent ask for more")]
mod process;
mod schemathesis;
#[path = "../integration/target.rs"]
#[expect(dead_code, reason = "others count the scrapes")]
mod target;

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

/// How often a condition of another process is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Waits until `look` finds something; panics with `what` after `patience`.
async fn eventually<T, F: Future<Output = Option<T>>>(
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
