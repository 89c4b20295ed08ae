//! When a target is due, and which instant its samples carry. Pure: wall-clock time is handed in.
//! A target is due at `k · interval + phase`, its phase hanging on its key alone (DESIGN.md).

use std::time::Duration;

use crate::model::slot::StreamKey;

/// A clock that stepped back further than this has been set: ticks start over from its new time.
/// Below it, ticks wait until the clock has passed the last one again.
const CLOCK_STEP_BACK_MS_MAX: i64 = 10_000;

/// Nobody tells a sleeper that the wall clock was set, so no sleep is longer than this.
const SLEEP_US_MAX: i64 = 15_000_000;

/// A timer of the runtime fires 0.4 to 1.6 ms late, as it and the poll below it count in whole
/// milliseconds (500 tasks on two cores, 1st to 99th percentile). Asked to wake this much earlier it
/// is off by -0.4 to 0.7 ms, so a tick may start as much before it is due.
const EARLY_US_MAX: i64 = 500;

/// The ticks of one target. No tick is taken at or before the last one.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    interval_ms: i64,
    phase_ms: i64,
    /// A scrape that starts this close to its tick carries the tick's instant.
    tolerance_us: i64,
    last_ms: i64,
    /// Ticks before this were not this schedule's to take, so they do not count as missed.
    since_ms: i64,
    /// The tick that is waited for: taken however late the sleeper wakes, within its interval.
    awaited_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Sleep(Duration),
    Take(Tick),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tick {
    pub(super) due_ms: i64,
    /// Ticks since the last one that nobody took: a scrape overran them, or the process stood still.
    pub(super) missed: u64,
}

impl Schedule {
    /// The first tick is the first one due after `now_ms`.
    pub(super) fn new(
        key: StreamKey,
        interval: Duration,
        tolerance: Duration,
        now_ms: i64,
    ) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX / 4).max(1);
        let phase = key.0 % u64::try_from(interval_ms).expect("an interval is above zero");
        let tolerance_us = i64::try_from(tolerance.as_micros()).unwrap_or(i64::MAX);
        Self {
            interval_ms,
            phase_ms: i64::try_from(phase).expect("a phase is below its interval"),
            tolerance_us: tolerance_us.min(interval_ms.saturating_mul(1000) / 100),
            last_ms: now_ms,
            since_ms: now_ms,
            awaited_ms: None,
        }
    }

    /// The same target under other settings: the last tick stays the last.
    pub(super) fn retuned(
        &self,
        key: StreamKey,
        interval: Duration,
        tolerance: Duration,
        now_ms: i64,
    ) -> Self {
        Self { last_ms: self.last_ms, ..Self::new(key, interval, tolerance, now_ms) }
    }

    /// What to do at `now_us` (microseconds since the Unix epoch): sleep and ask again, or scrape.
    pub(super) fn turn(&mut self, now_us: i64) -> Turn {
        let due_ms = match self.awaited_ms {
            Some(due_ms) if self.is_on(due_ms, now_us) => due_ms,
            _ => self.next_after(now_us),
        };
        self.awaited_ms = Some(due_ms);
        if self.is_on(due_ms, now_us) {
            return Turn::Take(self.take(due_ms));
        }
        let wait_us = (due_ms * 1000 - self.early_us() - now_us).clamp(1, SLEEP_US_MAX);
        Turn::Sleep(Duration::from_micros(wait_us.unsigned_abs()))
    }

    /// The first tick after the last one taken: where a target that is gone is first missed.
    pub(super) fn first_missed_ms(&self) -> i64 {
        self.first_after(self.last_ms)
    }

    /// The instant for the samples of the tick `due_ms` when its scrape started at `started_us`.
    pub(super) fn timestamp_ms(&self, due_ms: i64, started_us: i64) -> i64 {
        let off_us = started_us - due_ms * 1000;
        if off_us.abs() <= self.tolerance_us { due_ms } else { started_us.div_euclid(1000) }
    }

    /// How long a scrape may take. One that may last a whole interval ends a little before the next
    /// tick, so that a target that hangs misses no tick and has `up` 0 on each.
    pub(super) fn budget(&self, timeout: Duration) -> Duration {
        let margin_ms = (self.interval_ms / 100).min(10);
        timeout.min(Duration::from_millis((self.interval_ms - margin_ms).unsigned_abs()))
    }

    fn take(&mut self, due_ms: i64) -> Tick {
        let first_ms = self.first_after(self.last_ms.max(self.since_ms));
        let missed = (due_ms - first_ms).max(0) / self.interval_ms;
        self.last_ms = due_ms;
        self.awaited_ms = None;
        Tick { due_ms, missed: missed.unsigned_abs() }
    }

    fn is_on(&self, due_ms: i64, now_us: i64) -> bool {
        let from_us = due_ms * 1000 - self.early_us();
        (from_us..(due_ms + self.interval_ms) * 1000).contains(&now_us)
    }

    fn next_after(&mut self, now_us: i64) -> i64 {
        let now_ms = now_us.div_euclid(1000);
        if self.last_ms - now_ms > CLOCK_STEP_BACK_MS_MAX {
            self.last_ms = now_ms;
            self.since_ms = now_ms;
        }
        // A tick that an overrunning scrape has just covered by less than the tolerance is no late
        // one: it is taken, with its own instant.
        let earliest_ms = (now_us - self.tolerance_us - 1).div_euclid(1000);
        self.first_after(earliest_ms.max(self.last_ms))
    }

    fn first_after(&self, instant_ms: i64) -> i64 {
        let into_interval = (instant_ms - self.phase_ms).rem_euclid(self.interval_ms);
        instant_ms - into_interval + self.interval_ms
    }

    fn early_us(&self) -> i64 {
        EARLY_US_MAX.min(self.tolerance_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TOLERANCE: Duration = Duration::from_millis(2);

    /// Due at 250 ms after each full second.
    fn schedule(now_ms: i64) -> Schedule {
        Schedule::new(StreamKey(7_250), SECOND, TOLERANCE, now_ms)
    }

    /// Asks at each `now` (µs) in turn: `Err(ms)` is a sleep until shortly before a tick, and
    /// `Ok((due ms, missed))` a tick.
    fn check(schedule: &mut Schedule, asked: &[(i64, Result<(i64, u64), i64>)]) {
        for &(now_us, expected) in asked {
            let turn = match schedule.turn(now_us) {
                Turn::Sleep(wait) => {
                    let woken_us = now_us + i64::try_from(wait.as_micros()).unwrap();
                    assert_eq!((woken_us + EARLY_US_MAX) % 1000, 0, "at {now_us} µs");
                    Err((woken_us + EARLY_US_MAX) / 1000)
                }
                Turn::Take(tick) => Ok((tick.due_ms, tick.missed)),
            };
            assert_eq!(turn, expected, "at {now_us} µs");
        }
    }

    #[test]
    fn ticks_hang_on_the_key_and_the_wall_clock_alone() {
        check(
            &mut schedule(100_000),
            &[
                (100_000_000, Err(100_250)),
                (100_249_500, Ok((100_250, 0))),
                (100_300_000, Err(101_250)),
                (101_250_900, Ok((101_250, 0))),
                (101_260_000, Err(102_250)),
            ],
        );
        // Born later, or elsewhere: the same grid.
        check(
            &mut schedule(100_250),
            &[(100_250_000, Err(101_250)), (101_250_000, Ok((101_250, 0)))],
        );
    }

    #[test]
    fn a_late_waker_takes_the_tick_it_waited_for() {
        check(
            &mut schedule(100_000),
            &[(100_100_000, Err(100_250)), (100_900_000, Ok((100_250, 0)))],
        );
    }

    #[test]
    fn an_overrun_drops_ticks_and_counts_them() {
        let mut schedule = schedule(100_000);
        check(&mut schedule, &[(100_100_000, Err(100_250)), (100_250_000, Ok((100_250, 0)))]);
        // The scrape ends 5 ms after the second tick after its own: both are gone.
        check(&mut schedule, &[(102_255_000, Err(103_250)), (103_250_000, Ok((103_250, 2)))]);
        // It ends within the tolerance after the next tick: that one is not lost.
        check(&mut schedule, &[(104_251_900, Ok((104_250, 0)))]);
        check(&mut schedule, &[(105_252_100, Err(106_250)), (106_250_000, Ok((106_250, 1)))]);
    }

    #[test]
    fn a_sleeper_that_wakes_intervals_later_takes_the_next_tick() {
        check(
            &mut schedule(100_000),
            &[
                (100_100_000, Err(100_250)),
                (160_100_000, Err(160_250)),
                (160_250_000, Ok((160_250, 60))),
            ],
        );
    }

    #[test]
    fn a_clock_set_back_a_little_repeats_no_tick() {
        let mut schedule = schedule(100_000);
        check(&mut schedule, &[(100_249_500, Ok((100_250, 0)))]);
        check(&mut schedule, &[(91_000_000, Err(101_250)), (101_250_000, Ok((101_250, 0)))]);
    }

    #[test]
    fn a_clock_set_back_far_starts_over() {
        let mut schedule = schedule(100_000);
        check(&mut schedule, &[(100_249_500, Ok((100_250, 0)))]);
        check(&mut schedule, &[(80_100_000, Err(80_250)), (80_250_000, Ok((80_250, 0)))]);
    }

    #[test]
    fn a_clock_set_forward_is_noticed_within_the_longest_sleep() {
        let hour = Duration::from_secs(3600);
        let mut schedule = Schedule::new(StreamKey(0), hour, TOLERANCE, 1_000);
        for now_us in [1_000_000, 7_300_000_000] {
            assert_eq!(schedule.turn(now_us), Turn::Sleep(Duration::from_secs(15)));
        }
        check(&mut schedule, &[(10_799_999_500, Ok((10_800_000, 2)))]);
    }

    #[test]
    fn other_settings_keep_the_last_tick() {
        let mut before = schedule(100_000);
        check(&mut before, &[(100_250_000, Ok((100_250, 0)))]);
        let ten_seconds = Duration::from_secs(10);
        let mut after = before.retuned(StreamKey(250), ten_seconds, TOLERANCE, 100_500);
        check(&mut after, &[(100_500_000, Err(110_250)), (110_250_000, Ok((110_250, 0)))]);
        let mut back = after.retuned(StreamKey(7_250), SECOND, TOLERANCE, 110_000);
        check(&mut back, &[(110_250_000, Err(111_250)), (111_250_000, Ok((111_250, 0)))]);
    }

    #[test]
    fn timestamps_snap_within_the_tolerance() {
        for (interval_ms, tolerance_ms, started_us, expected) in [
            (1_000, 2, 100_250_000, 100_250),
            (1_000, 2, 100_252_000, 100_250),
            (1_000, 2, 100_249_000, 100_250),
            (1_000, 2, 100_252_001, 100_252),
            (1_000, 2, 100_400_700, 100_400),
            // Never more than 1 % of the interval.
            (100, 2, 100_251_000, 100_250),
            (100, 2, 100_251_001, 100_251),
            (1_000, 0, 100_250_001, 100_250),
            (1_000, 0, 100_251_000, 100_251),
            (60_000, 50, 100_299_000, 100_250),
        ] {
            let interval = Duration::from_millis(interval_ms);
            let tolerance = Duration::from_millis(tolerance_ms);
            let schedule = Schedule::new(StreamKey(0), interval, tolerance, 0);
            let timestamp = schedule.timestamp_ms(100_250, started_us);
            assert_eq!(timestamp, expected, "{interval_ms} {tolerance_ms} {started_us}");
        }
    }

    #[test]
    fn a_scrape_ends_before_the_next_tick() {
        for (timeout_ms, expected_ms) in [(500, 500), (990, 990), (1_000, 990)] {
            let budget = schedule(0).budget(Duration::from_millis(timeout_ms));
            assert_eq!(budget, Duration::from_millis(expected_ms));
        }
    }

    #[test]
    fn every_interval_ticks_once_whatever_the_key() {
        for key in [0, 1, 999, 1_000, u64::MAX] {
            let mut schedule = Schedule::new(StreamKey(key), SECOND, TOLERANCE, 50_000);
            let mut ticks = Vec::new();
            for now_ms in 50_000..60_000 {
                if let Turn::Take(tick) = schedule.turn(now_ms * 1000) {
                    ticks.push(tick.due_ms);
                }
            }
            assert!((9..=11).contains(&ticks.len()), "{ticks:?}");
            assert!(ticks.windows(2).all(|pair| pair[1] - pair[0] == 1_000), "{ticks:?}");
        }
    }
}
