//! How a target's loop waits: for its tick, and for the right to take it. `course` says for what.

use std::time::Duration;

use tokio::time::sleep;

use crate::scrape::{
    course::{self, Step},
    desk::Course,
    duties::is_divided,
    schedule::Schedule,
    target_loop::Context,
};

/// How often is looked whether the right to scrape has come back.
const LEASE_PAUSE: Duration = Duration::from_millis(50);

/// Resolves when there is something to do.
pub(super) async fn next_step(
    context: &Context,
    course: Course,
    on_hold: bool,
    ended_at: Option<u64>,
    schedule: &mut Schedule,
) -> Step {
    loop {
        let is_divided = is_divided(schedule.duties());
        // What is this member's alone nobody else would scrape meanwhile.
        let on_hold = on_hold && is_divided;
        // A tick that waits for it is still taken within its interval.
        if is_divided && !(context.lease.is_valid() && context.time.is_known()) {
            sleep(LEASE_PAUSE).await;
            continue;
        }
        match course::next_step(course, on_hold, ended_at, schedule, context.time.now_us()) {
            Step::Sleep(wait) => sleep(wait).await,
            Step::Wait => std::future::pending().await,
            step => return step,
        }
    }
}
