//! The only place that reads the wall clock. Whatever decides gets `now_ms` handed in.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
pub fn now_ms() -> i64 {
    let since_epoch =
        SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970");
    i64::try_from(since_epoch.as_millis()).expect("the clock stands before the year 292,000,000")
}

/// Microseconds since the Unix epoch, for waits that must hit a millisecond.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
pub fn now_us() -> i64 {
    let since_epoch =
        SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970");
    i64::try_from(since_epoch.as_micros()).expect("the clock stands before the year 292,000")
}
