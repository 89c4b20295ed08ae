//! The page as a person meets it: in a real browser, on a real flock of three agents.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

mod driver;
mod flock;
mod page;
mod prefix;
#[path = "../integration/process.rs"]
#[expect(dead_code, reason = "the tests of one agent ask for more")]
mod process;
#[path = "../integration/target.rs"]
#[expect(dead_code, reason = "the tests of delivery count scrapes")]
mod target;

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

/// Waits until `look` finds something; panics with `what` after `patience`.
async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> F,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < patience, "waited {patience:?} in vain until {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
