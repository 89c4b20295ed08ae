//! The only place that reads the wall clock. Whatever decides gets `now_ms` handed in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// The wall clock as the whole fleet has it: cloned to all who act at the instants that their peers
/// act at. Of an agent that is alone it is the wall clock itself.
#[derive(Clone, Debug, Default)]
pub struct FleetTime {
    offset_ms: Arc<AtomicI64>,
}

impl FleetTime {
    /// What is to be added to this host's clock, as far as is known now.
    pub fn set_offset(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }

    pub fn now_ms(&self) -> i64 {
        now_ms().saturating_add(self.offset_ms.load(Ordering::Relaxed))
    }

    /// For waits that must hit a millisecond.
    pub fn now_us(&self) -> i64 {
        let offset_us = self.offset_ms.load(Ordering::Relaxed).saturating_mul(1000);
        now_us().saturating_add(offset_us)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fleet_time_is_the_wall_clock_set_right() {
        let time = FleetTime::default();
        let reader = time.clone();
        for offset_ms in [0, -2_000, 3_600_000] {
            time.set_offset(offset_ms);
            let before_ms = now_ms();
            let (millis, micros) = (reader.now_ms(), reader.now_us());
            let passed = before_ms + offset_ms..=now_ms() + offset_ms;
            assert!(passed.contains(&millis) && passed.contains(&(micros / 1000)));
        }
    }
}
