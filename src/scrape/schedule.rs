//! When a target is due, and which instant its samples carry. Pure: wall-clock time is handed in.
//! A target is due at `k · interval + phase`, its phase hanging on the target alone (ARCHITECTURE.md),
//! and of these ticks those are taken here that lie within this member's duties.

use std::time::Duration;

use crate::{
    discovery::per_target::phase_ms,
    model::{slot::StreamKey, target::Target},
    ownership::{assign::is_due, shares::Duties},
};

/// A clock that stepped back further than this has been set: ticks start over from its new time.
/// Below it, ticks wait until the clock has passed the last one again.
const CLOCK_STEP_BACK_MS_MAX: i64 = 10_000;

/// Nobody tells a sleeper that the wall clock was set, so no sleep is longer than this.
const SLEEP_US_MAX: i64 = 15_000_000;

/// A timer of the runtime fires 0.4 to 1.6 ms late, as it and the poll below it count in whole
/// milliseconds (500 tasks on two cores, 1st to 99th percentile). Asked to wake this much earlier it
/// is off by -0.4 to 0.7 ms, so a tick may start as much before it is due.
const EARLY_US_MAX: i64 = 500;

/// All instants at which a target is due, whoever scrapes it.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    interval_ms: i64,
    phase_ms: i64,
}

/// The ticks of one target. No tick is taken at or before the last one.
#[derive(Clone, Debug)]
pub struct Schedule {
    grid: Grid,
    /// A scrape that starts this close to its tick carries the tick's instant.
    tolerance_us: i64,
    duties: Duties,
    /// The last tick that was taken, here or by the target's former owner.
    last_ms: Option<i64>,
    /// Ticks before this were not this schedule's to take, so they do not count as missed.
    since_ms: i64,
    /// The tick that is waited for: taken however late the sleeper wakes, within its interval.
    awaited_ms: Option<i64>,
    /// A scrape off the ticks, in the place of the tick before it.
    catch_up_ms: Option<i64>,
    /// On hold: the duties when that began.
    held: Option<Duties>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Sleep(Duration),
    Take(Tick),
    /// Scrape now, off the ticks. The tick before stands as taken by that.
    CatchUp,
    /// Nothing more is due, until there are other duties.
    Idle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    pub due_ms: i64,
    /// Ticks within the duties since the last one that nobody took: a scrape overran them, or the
    /// process stood still.
    pub missed: u64,
}

impl Grid {
    pub fn of(target: &Target) -> Self {
        Self::keyed(target, target.key)
    }

    /// Where it is divided by another key than its own.
    pub fn keyed(target: &Target, key: StreamKey) -> Self {
        Self::new(target.interval, phase_ms(target, key))
    }

    pub(super) fn new(interval: Duration, phase_ms: i64) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX / 4).max(1);
        Self { interval_ms, phase_ms }
    }

    /// Of each tick behind a multiple of the interval.
    pub fn phase_ms(self) -> i64 {
        self.phase_ms
    }

    pub fn first_after(self, instant_ms: i64) -> i64 {
        let into_interval = (instant_ms - self.phase_ms).rem_euclid(self.interval_ms);
        instant_ms - into_interval + self.interval_ms
    }

    /// The instant itself, if the target is due at it.
    fn last_before(self, instant_ms: i64) -> i64 {
        self.first_after(instant_ms) - self.interval_ms
    }

    /// How many ticks lie behind `after_ms` and before `until_ms`.
    fn count(self, after_ms: i64, until_ms: i64) -> u64 {
        let first_ms = self.first_after(after_ms);
        if first_ms >= until_ms {
            return 0;
        }
        1 + ((until_ms - 1 - first_ms) / self.interval_ms).unsigned_abs()
    }
}

impl Schedule {
    /// The first tick is the first one due after `now_ms`.
    pub fn new(grid: Grid, tolerance: Duration, duties: Duties, now_ms: i64) -> Self {
        let tolerance_us = i64::try_from(tolerance.as_micros()).unwrap_or(i64::MAX);
        Self {
            grid,
            tolerance_us: tolerance_us.min(grid.interval_ms.saturating_mul(1000) / 100),
            duties,
            last_ms: None,
            since_ms: now_ms,
            awaited_ms: None,
            catch_up_ms: None,
            held: None,
        }
    }

    /// The same target under other settings: the last tick stays the last.
    #[must_use]
    pub fn retuned(&self, grid: Grid, tolerance: Duration, now_ms: i64) -> Self {
        let new = Self::new(grid, tolerance, self.duties.clone(), now_ms);
        let held = self.held.clone();
        Self { last_ms: self.last_ms, catch_up_ms: self.catch_up_ms, held, ..new }
    }

    pub fn set_duties(&mut self, duties: Duties) {
        self.duties = duties;
    }

    pub fn duties(&self) -> &Duties {
        &self.duties
    }

    /// Scrape once at that instant, unless the tick before it was taken, or the next comes first. One
    /// that is near the next tick stands for that one, too.
    pub fn set_catch_up(&mut self, at_ms: Option<i64>) {
        self.catch_up_ms = at_ms;
    }

    /// The former owner took the tick of `tick_ms`, or a marker stands there.
    pub fn pass(&mut self, tick_ms: i64) {
        self.last_ms = self.last_ms.max(Some(tick_ms));
    }

    pub fn hold(&mut self) {
        self.held.get_or_insert_with(|| self.duties.clone());
    }

    /// Goes on under the duties that are known now. Where they are others than before, a member took
    /// over what was waited for, and the next tick is one that is still to come.
    pub fn resume(&mut self) {
        if self.held.take().is_some_and(|before| before != self.duties) {
            self.awaited_ms = None;
        }
    }

    /// What to do at `now_us` (microseconds since the Unix epoch): sleep and ask again, or scrape.
    pub fn turn(&mut self, now_us: i64) -> Turn {
        let due_ms = match self.awaited_ms {
            Some(due_ms) if self.is_on(due_ms, now_us) && self.is_open(due_ms) => Some(due_ms),
            Some(_) | None => self.next_after(now_us),
        };
        self.awaited_ms = due_ms;
        if let Some(due_ms) = due_ms.filter(|due_ms| self.is_on(*due_ms, now_us)) {
            return Turn::Take(self.take(due_ms));
        }
        let tick_us = due_ms.map(|due_ms| due_ms * 1000 - self.early_us());
        let catch_up_us = self.next_catch_up(now_us).map(|at_ms| at_ms * 1000);
        if let Some(at_us) = catch_up_us.filter(|at_us| *at_us <= now_us) {
            self.catch_up_ms = None;
            let next_ms = self.grid.first_after(now_us.div_euclid(1000));
            let stands_for_next = self.is_near(next_ms, now_us);
            self.pass(if stands_for_next { next_ms } else { self.grid.last_before(at_us / 1000) });
            return Turn::CatchUp;
        }
        let Some(next_us) = tick_us.into_iter().chain(catch_up_us).min() else {
            return Turn::Idle;
        };
        let wait_us = (next_us - now_us).clamp(1, SLEEP_US_MAX);
        Turn::Sleep(Duration::from_micros(wait_us.unsigned_abs()))
    }

    pub fn last_ms(&self) -> Option<i64> {
        self.last_ms
    }

    /// The first tick after the last one taken: where a target that is gone is first missed.
    pub fn first_missed_ms(&self) -> i64 {
        self.grid.first_after(self.floor_ms())
    }

    /// Where the series of a target that is gone end: at the first tick that is missed. Where that one
    /// is another member's, who may not know yet that the target is gone and take it, they end with
    /// the stretch, so that nothing comes before what that member writes.
    pub fn end_ms(&self) -> i64 {
        let (missed_ms, floor_ms) = (self.first_missed_ms(), self.floor_ms());
        if self.is_mine(missed_ms) {
            return missed_ms;
        }
        let own = self.duties.iter().rfind(|duty| duty.from_ms <= missed_ms);
        let last_ms = own.and_then(|duty| duty.until_ms).map(|until_ms| until_ms - 1);
        last_ms.filter(|last_ms| *last_ms > floor_ms).unwrap_or(missed_ms)
    }

    /// Whether the tick is this member's to take.
    pub fn is_mine(&self, due_ms: i64) -> bool {
        is_due(&self.duties, due_ms)
    }

    /// The instant for the samples of the tick `due_ms` when its scrape started at `started_us`.
    pub fn timestamp_ms(&self, due_ms: i64, started_us: i64) -> i64 {
        let off_us = started_us - due_ms * 1000;
        if off_us.abs() <= self.tolerance_us { due_ms } else { started_us.div_euclid(1000) }
    }

    /// How long a scrape may take. One that may last a whole interval ends a little before the next
    /// tick, so that a target that hangs misses no tick and has `up` 0 on each.
    pub fn budget(&self, timeout: Duration) -> Duration {
        let room_ms = self.grid.interval_ms - self.margin_ms();
        timeout.min(Duration::from_millis(room_ms.unsigned_abs()))
    }

    /// The same of one that starts off the ticks.
    pub fn budget_before_tick(&self, timeout: Duration, started_us: i64) -> Duration {
        let now_ms = started_us.div_euclid(1000);
        let next_ms = self.grid.first_after(now_ms.max(self.floor_ms()));
        let room_ms = next_ms - now_ms - self.margin_ms();
        timeout.min(Duration::from_millis(room_ms.max(0).unsigned_abs()))
    }

    fn take(&mut self, due_ms: i64) -> Tick {
        let after_ms = self.floor_ms().max(self.since_ms);
        let missed = self.duties.iter().map(|duty| {
            let until_ms = duty.until_ms.map_or(due_ms, |until_ms| until_ms.min(due_ms));
            self.grid.count(after_ms.max(duty.from_ms.saturating_sub(1)), until_ms)
        });
        let missed = missed.sum();
        self.last_ms = Some(due_ms);
        self.awaited_ms = None;
        Tick { due_ms, missed }
    }

    fn is_on(&self, due_ms: i64, now_us: i64) -> bool {
        let from_us = due_ms * 1000 - self.early_us();
        (from_us..(due_ms + self.grid.interval_ms) * 1000).contains(&now_us)
    }

    fn is_open(&self, due_ms: i64) -> bool {
        self.last_ms.is_none_or(|last_ms| due_ms > last_ms) && self.is_mine(due_ms)
    }

    fn next_after(&mut self, now_us: i64) -> Option<i64> {
        let clock_ms = now_us.div_euclid(1000);
        if self.floor_ms() - clock_ms > CLOCK_STEP_BACK_MS_MAX {
            self.last_ms = None;
            self.since_ms = clock_ms;
        }
        // A tick that an overrunning scrape has just covered by less than the tolerance is no late
        // one: it is taken, with its own instant.
        let earliest_ms = (now_us - self.tolerance_us - 1).div_euclid(1000);
        let after_ms = earliest_ms.max(self.floor_ms());
        self.duties.iter().find_map(|duty| {
            let due_ms = self.grid.first_after(after_ms.max(duty.from_ms.saturating_sub(1)));
            duty.contains(due_ms).then_some(due_ms)
        })
    }

    /// Forgets it where it is of no use any more.
    fn next_catch_up(&mut self, now_us: i64) -> Option<i64> {
        let at_ms = self.catch_up_ms?;
        let next_ms = self.grid.first_after(at_ms);
        let was_taken = self.last_ms.is_some_and(|last_ms| last_ms >= self.grid.last_before(at_ms));
        let is_over = next_ms * 1000 - self.early_us() <= now_us;
        let is_near = self.is_near(next_ms, now_us.max(at_ms * 1000));
        let is_theirs =
            !self.is_mine(at_ms.max(now_us.div_euclid(1000))) || is_near && !self.is_mine(next_ms);
        if was_taken || is_over || is_theirs {
            self.catch_up_ms = None;
        }
        self.catch_up_ms
    }

    /// Two scrapes would be less than about half an interval apart.
    fn is_near(&self, tick_ms: i64, now_us: i64) -> bool {
        (tick_ms * 1000 - now_us) * 25 < self.grid.interval_ms * 1000 * 13
    }

    /// Ticks up to this are not to be taken.
    fn floor_ms(&self) -> i64 {
        self.last_ms.unwrap_or(self.since_ms)
    }

    fn margin_ms(&self) -> i64 {
        (self.grid.interval_ms / 20).min(10)
    }

    fn early_us(&self) -> i64 {
        EARLY_US_MAX.min(self.tolerance_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::member::Interval, ownership::shares::always};

    const SECOND: Duration = Duration::from_secs(1);
    const TOLERANCE: Duration = Duration::from_millis(2);

    fn grid(phase_ms: i64, interval: Duration) -> Grid {
        Grid::new(interval, phase_ms)
    }

    /// Due at 250 ms after each full second.
    fn schedule(now_ms: i64) -> Schedule {
        Schedule::new(grid(250, SECOND), TOLERANCE, always(), now_ms)
    }

    /// For `check`: there is nothing to wait for.
    const IDLE: i64 = i64::MAX;
    /// For `check`: a scrape off the ticks.
    const CATCH_UP: i64 = i64::MIN;

    type Asked = Result<(i64, u64), i64>;

    /// Asks at each `now` (µs) in turn: `Err(ms)` is a sleep until shortly before a tick, and
    /// `Ok((due ms, missed))` a tick.
    fn check(schedule: &mut Schedule, asked: &[(i64, Asked)]) {
        for &(now_us, expected) in asked {
            let turn = match schedule.turn(now_us) {
                Turn::Sleep(wait) => {
                    let woken_us = now_us + i64::try_from(wait.as_micros()).unwrap();
                    // Of a tick it is shortly before; of a catch-up the very instant.
                    let early_us = if woken_us % 1000 == 0 { 0 } else { EARLY_US_MAX };
                    assert_eq!((woken_us + early_us) % 1000, 0, "at {now_us} µs");
                    Err((woken_us + early_us) / 1000)
                }
                Turn::Take(tick) => Ok((tick.due_ms, tick.missed)),
                Turn::CatchUp => Ok((CATCH_UP, 0)),
                Turn::Idle => Err(IDLE),
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
        let mut schedule = Schedule::new(grid(0, hour), TOLERANCE, always(), 1_000);
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
        let mut after = before.retuned(grid(250, ten_seconds), TOLERANCE, 100_500);
        check(&mut after, &[(100_500_000, Err(110_250)), (110_250_000, Ok((110_250, 0)))]);
        let mut back = after.retuned(grid(250, SECOND), TOLERANCE, 110_000);
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
            let schedule = Schedule::new(grid(0, interval), tolerance, always(), 0);
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
    fn every_interval_ticks_once_whatever_the_phase() {
        for phase_ms in [0, 1, 500, 999] {
            let mut schedule = Schedule::new(grid(phase_ms, SECOND), TOLERANCE, always(), 50_000);
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

    /// `until` 0: without an end.
    fn with_duties(now_ms: i64, stretches: &[(i64, i64)]) -> Schedule {
        let mut schedule = schedule(now_ms);
        schedule.set_duties(duties(stretches));
        schedule
    }

    fn duties(stretches: &[(i64, i64)]) -> Duties {
        let interval = |&(from_ms, until): &(i64, i64)| Interval {
            from_ms,
            until_ms: (until > 0).then_some(until),
        };
        stretches.iter().map(interval).collect()
    }

    #[test]
    fn ticks_are_taken_within_the_duties_alone() {
        // A tick on the border is the next owner's, however late this one wakes before it.
        let mut old = with_duties(100_000, &[(90_000, 101_250)]);
        check(&mut old, &[(100_250_000, Ok((100_250, 0))), (100_251_000, Err(IDLE))]);
        let mut new = with_duties(100_000, &[(101_250, 0)]);
        check(&mut new, &[(100_250_000, Err(101_250)), (101_250_000, Ok((101_250, 0)))]);
        // The tick before the border comes late, behind the border.
        let mut old = with_duties(100_000, &[(90_000, 100_251)]);
        check(
            &mut old,
            &[
                (100_100_000, Err(100_250)),
                (100_700_000, Ok((100_250, 0))),
                (100_701_000, Err(IDLE)),
            ],
        );
        // Here for a while, away for a while: what others take is not missed.
        let mut schedule = with_duties(100_000, &[(90_000, 102_000), (105_000, 0)]);
        check(
            &mut schedule,
            &[
                (100_250_000, Ok((100_250, 0))),
                (101_900_000, Err(105_250)),
                (106_300_000, Err(107_250)),
                (107_250_000, Ok((107_250, 3))),
            ],
        );
        check(&mut with_duties(100_000, &[]), &[(100_000_000, Err(IDLE))]);
        check(&mut with_duties(100_000, &[(90_000, 95_000)]), &[(100_000_000, Err(IDLE))]);
    }

    #[test]
    fn duties_may_change_while_a_tick_is_waited_for() {
        let mut schedule = with_duties(100_000, &[(90_000, 0)]);
        check(&mut schedule, &[(100_100_000, Err(100_250))]);
        schedule.set_duties(duties(&[(90_000, 100_250)]));
        check(&mut schedule, &[(100_250_000, Err(IDLE))]);
        schedule.set_duties(duties(&[(90_000, 0)]));
        check(&mut schedule, &[(100_260_000, Err(101_250))]);
    }

    #[test]
    fn a_tick_that_the_former_owner_took_is_not_taken_again() {
        let mut schedule = with_duties(100_000, &[(100_200, 0)]);
        check(&mut schedule, &[(100_100_000, Err(100_250))]);
        schedule.pass(100_250);
        check(&mut schedule, &[(100_300_000, Err(101_250)), (101_250_000, Ok((101_250, 0)))]);
        assert_eq!(schedule.last_ms(), Some(101_250));
        schedule.pass(100_250);
        assert_eq!((schedule.last_ms(), schedule.first_missed_ms()), (Some(101_250), 102_250));
        // By a clock that is out of all reason.
        schedule.pass(200_250);
        check(&mut schedule, &[(101_900_000, Err(102_250)), (102_250_000, Ok((102_250, 0)))]);
    }

    /// The last tick known was that of 101,250.
    #[test]
    fn a_target_that_is_gone_ends_within_the_own_stretch() {
        for (stretches, expected) in [
            (&[(100_000, 0)][..], 102_250),
            (&[(100_000, 102_251)], 102_250),
            (&[(100_000, 102_250)], 102_249),
            // The former owner took that tick.
            (&[(101_500, 102_000)], 101_999),
            (&[(100_000, 101_400), (101_500, 102_000)], 101_999),
            // Over, or not begun.
            (&[(100_000, 101_251)], 102_250),
            (&[(102_500, 0)], 102_250),
        ] {
            let mut schedule = with_duties(100_000, stretches);
            schedule.pass(101_250);
            assert_eq!(schedule.end_ms(), expected, "{stretches:?}");
        }
    }

    #[test]
    fn a_hold_costs_a_tick_only_where_another_may_have_taken_it() {
        let late = [(101_300_000, Ok((101_250, 0))), (101_400_000, Err(102_250))];
        // The tick that was waited for is not taken late.
        let missed = [(101_300_000, Err(102_250)), (102_250_000, Ok((102_250, 1)))];
        for (duties, expected) in [(&[(0, 200_000)], late), (&[(0, 150_000)], missed)] {
            let mut schedule = with_duties(100_000, &[(0, 200_000)]);
            check(&mut schedule, &[(100_250_000, Ok((100_250, 0))), (100_251_000, Err(101_250))]);
            schedule.hold();
            schedule.set_duties(super::tests::duties(duties));
            schedule.resume();
            check(&mut schedule, &expected);
        }
    }

    #[test]
    fn a_catch_up_stands_for_the_tick_before_it() {
        for (last_ms, at_ms, asked) in [
            (
                None,
                100_600,
                &[
                    (100_500_000, Err(100_600)),
                    (100_600_000, Ok((CATCH_UP, 0))),
                    (100_601_000, Err(101_250)),
                ][..],
            ),
            // That tick was taken, here or elsewhere.
            (Some(100_250), 100_600, &[(100_600_000, Err(101_250))]),
            (Some(99_250), 100_600, &[(100_600_000, Ok((CATCH_UP, 0)))]),
            // It stands for two.
            (
                None,
                100_800,
                &[
                    (100_500_000, Err(100_800)),
                    (100_800_000, Ok((CATCH_UP, 0))),
                    (100_801_000, Err(102_250)),
                ],
            ),
            // The next tick comes first.
            (
                None,
                101_600,
                &[
                    (100_500_000, Err(101_250)),
                    (101_250_000, Ok((101_250, 0))),
                    (101_600_000, Err(102_250)),
                ],
            ),
            // It is too late for it.
            (None, 100_600, &[(101_249_600, Ok((101_250, 0)))]),
            (None, 100_600, &[(101_400_000, Err(102_250))]),
        ] {
            let mut schedule = with_duties(100_500, &[(100_400, 0)]);
            if let Some(last_ms) = last_ms {
                schedule.pass(last_ms);
            }
            schedule.set_catch_up(Some(at_ms));
            check(&mut schedule, asked);
        }
        // It is another's by now.
        let mut schedule = with_duties(100_500, &[(100_400, 100_600)]);
        schedule.set_catch_up(Some(100_600));
        check(&mut schedule, &[(100_600_000, Err(IDLE))]);
        // A marker would come behind it.
        let mut schedule = with_duties(100_500, &[(100_400, 0)]);
        schedule.set_catch_up(Some(100_600));
        check(&mut schedule, &[(100_600_000, Ok((CATCH_UP, 0)))]);
        assert_eq!(schedule.first_missed_ms(), 101_250);
        let budget = |timeout_ms| {
            schedule.budget_before_tick(Duration::from_millis(timeout_ms), 100_600_000).as_millis()
        };
        assert_eq!((budget(500), budget(1_000)), (500, 640));
        // Near the next tick, which another has.
        let mut schedule = with_duties(100_500, &[(100_400, 101_000)]);
        schedule.set_catch_up(Some(100_800));
        check(&mut schedule, &[(100_800_000, Err(IDLE))]);
    }
}
