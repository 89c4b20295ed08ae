//! What a loop does next: scrape, wait, end its series or go. Pure.

use std::time::Duration;

use crate::{
    ownership::assign::Ending,
    scrape::{
        desk::Course,
        schedule::{Schedule, Tick, Turn},
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// And ask again.
    Sleep(Duration),
    /// For orders.
    Wait,
    Scrape(Tick),
    /// Off the ticks.
    CatchUp,
    /// Write the markers of all series, at this instant.
    EndSeries {
        leaving: u64,
        at_ms: i64,
    },
    /// Say what is known of the target, and end.
    Depart {
        leaving: u64,
    },
    Return,
}

/// `ended` is the leaving at which the series were ended last.
pub(super) fn next_step(
    course: Course,
    on_hold: bool,
    ended: Option<u64>,
    schedule: &mut Schedule,
    now_us: i64,
) -> Step {
    match course {
        Course::Dismissed => Step::Return,
        Course::Scrape if on_hold => Step::Wait,
        Course::Scrape => match schedule.turn(now_us) {
            Turn::Sleep(wait) => Step::Sleep(wait),
            Turn::Take(tick) => Step::Scrape(tick),
            Turn::CatchUp => Step::CatchUp,
            Turn::Idle => Step::Wait,
        },
        Course::Leave(Ending::Moved, leaving) if on_hold => Step::Depart { leaving },
        Course::Leave(Ending::Moved, leaving) => match schedule.turn(now_us) {
            Turn::Sleep(wait) => Step::Sleep(wait),
            Turn::Take(tick) => Step::Scrape(tick),
            Turn::CatchUp | Turn::Idle => Step::Depart { leaving },
        },
        Course::Leave(Ending::Gone, leaving) if ended == Some(leaving) => Step::Wait,
        Course::Leave(Ending::Gone, leaving) => {
            let end = Step::EndSeries { leaving, at_ms: schedule.end_ms() };
            // Another has that tick, but may not know the target, and would write no markers.
            if !schedule.is_mine(schedule.first_missed_ms()) {
                return end;
            }
            match schedule.turn(now_us) {
                Turn::Sleep(wait) => Step::Sleep(wait),
                Turn::Take(_) | Turn::CatchUp | Turn::Idle => end,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::member::Interval, ownership::shares::Duties, scrape::schedule::Grid};

    /// Due at each full second; the last tick was that of second 100.
    fn schedule(until_ms: Option<i64>) -> Schedule {
        let duties: Duties = [Interval { from_ms: 90_000, until_ms }].into();
        let (second, tolerance) = (Duration::from_secs(1), Duration::from_millis(2));
        let mut schedule = Schedule::new(Grid::new(second, 0), tolerance, duties, 99_500);
        assert_eq!(schedule.turn(99_999_500), Turn::Take(Tick { due_ms: 100_000, missed: 0 }));
        schedule
    }

    /// At 500 ms behind the tick, then at the next one.
    fn check(course: Course, on_hold: bool, until_ms: Option<i64>, expected: [Step; 2]) {
        let mut schedule = schedule(until_ms);
        for (now_us, expected) in [100_500_000, 101_000_000].into_iter().zip(expected) {
            let step = next_step(course, on_hold, Some(3), &mut schedule, now_us);
            assert_eq!(step, expected, "{course:?}, {on_hold}, {until_ms:?} at {now_us}");
        }
    }

    #[test]
    fn each_course_to_its_end() {
        let sleep = Step::Sleep(Duration::from_micros(499_500));
        let tick = Step::Scrape(Tick { due_ms: 101_000, missed: 0 });
        check(Course::Scrape, false, None, [sleep, tick]);
        check(Course::Scrape, false, Some(101_000), [Step::Wait; 2]);
        check(Course::Scrape, true, None, [Step::Wait; 2]);
        check(Course::Dismissed, false, None, [Step::Return; 2]);

        let depart = Step::Depart { leaving: 4 };
        let moved = Course::Leave(Ending::Moved, 4);
        check(moved, false, Some(101_000), [depart; 2]);
        // The border has passed by the fleet's clock, and this one is behind.
        check(moved, false, Some(101_001), [sleep, tick]);
        check(moved, true, Some(101_001), [depart; 2]);

        let end = Step::EndSeries { leaving: 4, at_ms: 101_000 };
        let gone = Course::Leave(Ending::Gone, 4);
        check(gone, false, None, [sleep, end]);
        check(gone, true, None, [sleep, end]);
        // It moves as well: the tick is another's.
        let end = Step::EndSeries { leaving: 4, at_ms: 100_999 };
        check(gone, false, Some(101_000), [end; 2]);
        // It was ended, and waits.
        check(Course::Leave(Ending::Gone, 3), false, None, [Step::Wait; 2]);
    }
}
