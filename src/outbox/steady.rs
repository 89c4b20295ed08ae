//! A destination's time: the wall clock at its start, and what has passed since. It never steps.

use tokio::time::{Duration, Instant};

pub(super) struct SteadyClock {
    started: Instant,
    started_ms: i64,
}

impl SteadyClock {
    /// `now_ms` is what the wall clock shows.
    pub(super) fn new(now_ms: i64) -> Self {
        Self { started: Instant::now(), started_ms: now_ms }
    }

    pub(super) fn now_ms(&self) -> i64 {
        let passed = i64::try_from(self.started.elapsed().as_millis());
        self.started_ms.saturating_add(passed.unwrap_or(i64::MAX))
    }

    /// Rounded up, so that who is woken then finds it due.
    pub(super) fn at(&self, ms: i64) -> Instant {
        let after_ms = u64::try_from(ms.saturating_sub(self.started_ms)).unwrap_or_default();
        self.started + Duration::from_millis(after_ms)
    }
}
