//! When a provider is asked again: every refresh interval, and sooner where it failed, but later each
//! time. Pure.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// After the first failure; doubled with each that follows.
const RETRY_SECONDS_MIN: u64 = 5;
/// A provider that fails for long is asked as often as this, or as its refresh interval says where
/// that is shorter.
const RETRY_SECONDS_MAX: u64 = 300;
/// Of its length a wait is made shorter or longer by up to this, so that agents which failed at once
/// do not all come back at once.
const JITTER: f64 = 0.25;

pub(super) struct Pace {
    refresh_interval: Duration,
    failures: u32,
    rng: StdRng,
}

impl Pace {
    pub(super) fn new(refresh_interval: Duration, seed: u64) -> Self {
        Self { refresh_interval, failures: 0, rng: StdRng::seed_from_u64(seed) }
    }

    /// How long to wait after a round that was good or was not.
    pub(super) fn after(&mut self, good: bool) -> Duration {
        if good {
            self.failures = 0;
            return self.refresh_interval;
        }
        let seconds = RETRY_SECONDS_MIN.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let wait = Duration::from_secs(seconds.min(RETRY_SECONDS_MAX));
        wait.mul_f64(self.rng.random_range(1.0 - JITTER..1.0 + JITTER)).min(self.refresh_interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_retried_sooner_and_ever_later() {
        let seconds = |refresh: u64, seed: u64| {
            let mut pace = Pace::new(Duration::from_secs(refresh), seed);
            let waits = [false, false, false, false, true, false].map(|good| pace.after(good));
            (waits, pace)
        };
        let about = |wait: Duration, seconds: f64| {
            (seconds * 0.75..=seconds * 1.25).contains(&wait.as_secs_f64())
        };
        for seed in 0..50 {
            let ([one, two, three, four, good, again], mut pace) = seconds(3_600, seed);
            for (wait, expected) in
                [(one, 5.0), (two, 10.0), (three, 20.0), (four, 40.0), (again, 5.0)]
            {
                assert!(about(wait, expected), "{seed}: {wait:?} for {expected}");
            }
            assert_eq!(good, Duration::from_secs(3_600));
            let last = (0..40).map(|_| pace.after(false)).last().unwrap();
            assert!(about(last, 300.0), "{seed}: {last:?}");
        }
        let ([one, .., again], _) = seconds(2, 1);
        assert_eq!((one, again), (Duration::from_secs(2), Duration::from_secs(2)));
        assert_ne!(seconds(60, 1).0, seconds(60, 2).0, "two hosts wait alike");
    }
}
