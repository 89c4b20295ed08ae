//! The only place that reads the wall clock. Whatever decides gets `now_ms` handed in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

/// A wall clock that leaves the monotonic one by more has been set.
pub const STEP_MS_MAX: i64 = 100;

/// Two clocks are read at one instant when no more than this passes meanwhile …
const AT_ONCE: Duration = Duration::from_millis(2);
/// … and on a machine that is too busy for that the last of so many readings is taken.
const READINGS_MAX: usize = 5;

/// The wall clock as the whole fleet has it: cloned to all who act at the instants that their peers
/// act at. Of an agent that is alone it is the wall clock itself.
#[derive(Clone, Debug)]
pub struct FleetTime {
    started: Instant,
    shared: Arc<Shared>,
}

/// The fields of a `Lead`, read one by one: where they do not belong together, for a moment, the time
/// is one that was right before or after.
#[derive(Debug, Default)]
struct Shared {
    is_led: AtomicBool,
    offset_us: AtomicI64,
    standing_us: AtomicI64,
}

/// How fleet time follows from this host's clocks: it is the wall clock and an offset. When the wall
/// clock was set it goes on by the monotonic clock, until who measures the peers' clocks has looked.
/// Pure.
#[derive(Clone, Copy, Debug)]
pub struct Lead {
    offset_us: i64,
    /// From the monotonic clock to fleet time, when that was led last.
    standing_us: i64,
}

/// The monotonic clock and the wall clock at one instant.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    pub at: Instant,
    pub wall_us: i64,
}

impl Default for FleetTime {
    fn default() -> Self {
        Self { started: Instant::now(), shared: Arc::default() }
    }
}

impl FleetTime {
    /// What is to be added to this host's clock, as far as was known at `reading`.
    pub fn lead(&self, reading: Reading, offset_ms: i64) {
        let lead = Lead::new(self.mono_us(reading.at), reading.wall_us, offset_ms);
        self.shared.offset_us.store(lead.offset_us, Ordering::SeqCst);
        self.shared.standing_us.store(lead.standing_us, Ordering::SeqCst);
        self.shared.is_led.store(true, Ordering::SeqCst);
    }

    pub fn now_ms(&self) -> i64 {
        self.now_us().div_euclid(1000)
    }

    /// For waits that must hit a millisecond.
    pub fn now_us(&self) -> i64 {
        let wall_us = now_us();
        self.led().map_or(wall_us, |lead| lead.at_us(self.mono_us(Instant::now()), wall_us))
    }

    /// Else nothing may be done that is divided.
    pub fn is_known(&self) -> bool {
        let is_known = |lead: Lead| lead.is_known(self.mono_us(Instant::now()), now_us());
        self.led().is_none_or(is_known)
    }

    fn led(&self) -> Option<Lead> {
        let Shared { is_led, offset_us, standing_us } = &*self.shared;
        is_led.load(Ordering::SeqCst).then(|| Lead {
            offset_us: offset_us.load(Ordering::SeqCst),
            standing_us: standing_us.load(Ordering::SeqCst),
        })
    }

    fn mono_us(&self, at: Instant) -> i64 {
        let since = at.saturating_duration_since(self.started);
        i64::try_from(since.as_micros()).expect("a process does not run for 292,000 years")
    }
}

impl Lead {
    /// By the clocks of one instant.
    pub fn new(mono_us: i64, wall_us: i64, offset_ms: i64) -> Self {
        let ahead_us = offset_ms.saturating_mul(1000);
        Self { offset_us: ahead_us, standing_us: wall_us.saturating_add(ahead_us) - mono_us }
    }

    pub fn at_us(self, mono_us: i64, wall_us: i64) -> i64 {
        let by_mono_us = self.standing_us.saturating_add(mono_us);
        let ahead_us = self.ahead_us(mono_us, wall_us);
        let is_set = ahead_us.abs() > STEP_MS_MAX * 1000;
        if is_set { by_mono_us } else { by_mono_us + ahead_us }
    }

    /// Not where the wall clock has gone ahead of the monotonic one: the host may have been suspended,
    /// and others may do its work.
    pub fn is_known(self, mono_us: i64, wall_us: i64) -> bool {
        self.ahead_us(mono_us, wall_us) <= STEP_MS_MAX * 1000
    }

    /// By how much the wall clock has left the monotonic one.
    fn ahead_us(self, mono_us: i64, wall_us: i64) -> i64 {
        let by_wall_us = wall_us.saturating_add(self.offset_us);
        by_wall_us.saturating_sub(self.standing_us.saturating_add(mono_us))
    }
}

impl Reading {
    pub fn now() -> Self {
        let mut readings = 0;
        loop {
            let reading = Self { at: Instant::now(), wall_us: now_us() };
            readings += 1;
            if reading.at.elapsed() <= AT_ONCE || readings == READINGS_MAX {
                return reading;
            }
        }
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

    const HOUR_US: i64 = 3_600_000_000;

    #[test]
    fn fleet_time_is_the_wall_clock_set_right() {
        let time = FleetTime::default();
        let reader = time.clone();
        for offset_ms in [0, -2_000, 3_600_000] {
            if offset_ms != 0 {
                time.lead(Reading::now(), offset_ms);
            }
            let before_ms = now_ms();
            let (millis, micros) = (reader.now_ms(), reader.now_us());
            let passed = before_ms + offset_ms..=now_ms() + offset_ms;
            assert!(passed.contains(&millis) && passed.contains(&(micros / 1000)));
            assert!(reader.is_known());
        }
    }

    /// At so much after it was led, and with the wall clock set by so much.
    #[test]
    fn a_wall_clock_that_is_set_does_not_move_fleet_time() {
        let (mono_us, wall_us) = (5_000_000, 1_000_000_000);
        let lead = Lead::new(mono_us, wall_us, 250);
        for (passed_us, step_us, expected_us, is_known) in [
            (40, 0, 40, true),
            // It was slewed, and is followed.
            (90_000, 300, 90_300, true),
            (90_000, 5_000_000, 90_000, false),
            (90_000, -5_000_000, 90_000, true),
            (90_000, HOUR_US, 90_000, false),
            (90_000, -HOUR_US, 90_000, true),
        ] {
            let (mono_us, shown_us) = (mono_us + passed_us, wall_us + passed_us + step_us);
            let found = (lead.at_us(mono_us, shown_us), lead.is_known(mono_us, shown_us));
            assert_eq!(found, (wall_us + 250_000 + expected_us, is_known), "{passed_us} {step_us}");
            // Somebody has looked, and knows it.
            let anew = Lead::new(mono_us, shown_us, 250 - step_us / 1000);
            assert!(anew.is_known(mono_us, shown_us));
            assert!((anew.at_us(mono_us, shown_us) - found.0).abs() < 1000);
        }
    }
}
