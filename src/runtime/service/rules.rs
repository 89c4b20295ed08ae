//! When the service manager is fed, when it is asked for more time, and how long a hand-over is
//! waited for. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::runtime::service::Stage;

/// More time is asked for in such pieces …
pub(super) const EXTENSION: Duration = Duration::from_secs(30);
/// … as often, so that one that is lost does no harm.
const EXTENSION_EVERY: Duration = Duration::from_secs(10);
/// As long as the agent itself waits for its first targets, its peers, and their number.
const START_MAX: Duration = Duration::from_secs(10 * 60);
/// For scrapes under way, the queues, the API and the history, each of which has a bound of its own.
const STOP_MAX: Duration = Duration::from_secs(90);
/// A hand-over that does not get on for so long has nobody who takes it.
const LEAVE_STANDSTILL_MAX: Duration = Duration::from_secs(20);
/// One that gets on has so long: a host that shuts down is waited for by somebody.
const LEAVE_MAX: Duration = Duration::from_secs(10 * 60);

/// What the watchdog is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feeding {
    NotYet,
    /// All have answered: it is fed, and they are asked anew.
    Due,
    /// Some have not, and half of the time is over; said once.
    Late,
}

/// Elapsed time only: a step of the clock changes nothing.
#[derive(Debug)]
pub(super) struct WatchdogRule {
    limit: Duration,
    fed: Instant,
    is_late_told: bool,
}

impl WatchdogRule {
    pub(super) fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, fed: now, is_late_told: false }
    }

    pub(super) fn look(&mut self, now: Instant, have_all_answered: bool) -> Feeding {
        let passed = now.saturating_duration_since(self.fed);
        if have_all_answered && passed >= self.limit / 4 {
            self.fed = now;
            self.is_late_told = false;
            return Feeding::Due;
        }
        if !have_all_answered && passed >= self.limit / 2 && !self.is_late_told {
            self.is_late_told = true;
            return Feeding::Late;
        }
        Feeding::NotYet
    }
}

/// Asks for more time as long as something goes on that takes it.
#[derive(Debug, Default)]
pub(super) struct Extension {
    started: Option<Instant>,
    asked: Option<Instant>,
}

impl Extension {
    pub(super) fn is_due(&mut self, stage: Stage, since: Instant, now: Instant) -> bool {
        let started = *self.started.get_or_insert(now);
        let goes_on = match stage {
            Stage::Starting { goes_on, .. } => goes_on && now - started < START_MAX,
            Stage::Ready => false,
            // It has a bound of its own.
            Stage::Leaving(_) => true,
            Stage::Stopping => now.saturating_duration_since(since) < STOP_MAX,
        };
        let is_due = goes_on && self.asked.is_none_or(|asked| now - asked >= EXTENSION_EVERY);
        if is_due {
            self.asked = Some(now);
        }
        is_due
    }
}

/// What a member that leaves has yet to give to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Unsent.
    pub bytes: u64,
    /// One is what one slot has for one destination.
    pub lines: usize,
    /// Moved, and what is known of them is not noted there.
    pub targets: usize,
}

impl Left {
    /// Whether less is left of anything.
    fn beats(self, before: Self) -> bool {
        self.bytes < before.bytes || self.lines < before.lines || self.targets < before.targets
    }
}

/// How long a hand-over is waited for: as long as it gets on.
#[derive(Debug)]
pub struct Patience {
    began: Instant,
    moved: Instant,
    /// Of bytes the least there ever was, as what others hand over comes and goes. Lines and targets
    /// come up once the share ends, so of these what was left at the last look.
    before: Option<Left>,
}

impl Patience {
    pub fn new(now: Instant) -> Self {
        Self { began: now, moved: now, before: None }
    }

    /// `Err` with the reason when it is over.
    ///
    /// # Errors
    /// Why there is no point in waiting on.
    pub fn look(&mut self, left: Left, now: Instant) -> Result<(), String> {
        if self.before.is_none_or(|before| left.beats(before)) {
            self.moved = now;
        }
        let bytes = self.before.map_or(left.bytes, |before| before.bytes.min(left.bytes));
        self.before = Some(Left { bytes, ..left });
        if now - self.began >= LEAVE_MAX {
            return Err(format!("it took {} s", LEAVE_MAX.as_secs()));
        }
        if now - self.moved >= LEAVE_STANDSTILL_MAX {
            let seconds = LEAVE_STANDSTILL_MAX.as_secs();
            return Err(format!("nothing of it was taken for {seconds} s"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn the_watchdog_is_fed_only_when_all_have_answered() {
        use Feeding::{Due, Late, NotYet};
        let check = |looks: &[(u64, bool, Feeding)]| {
            let start = Instant::now();
            let mut rule = WatchdogRule::new(Duration::from_secs(20), start);
            for &(at, all, expected) in looks {
                assert_eq!(rule.look(after(start, at), all), expected, "at {at} s of {looks:?}");
            }
        };
        // A quarter of the time lies between two feedings.
        check(&[
            (1, true, NotYet),
            (4, true, NotYet),
            (5, true, Due),
            (9, true, NotYet),
            (10, true, Due),
        ]);
        // A late answer feeds at once, and only what is late for long is told, once.
        check(&[(5, false, NotYet), (8, true, Due), (9, false, NotYet), (13, true, Due)]);
        check(&[(5, false, NotYet), (10, false, Late), (15, false, NotYet), (60, false, NotYet)]);
        check(&[(10, false, Late), (19, true, Due), (29, false, Late)]);
        // The process stood still, and with it those who look.
        check(&[(90, true, Due), (91, true, NotYet)]);
    }

    #[test]
    fn time_is_asked_for_while_something_goes_on() {
        let starting = |goes_on| Stage::Starting { does: "meets the fleet", goes_on };
        let check = |stage: Stage, seconds: &[u64], expected: &[u64]| {
            let start = Instant::now();
            let mut extension = Extension::default();
            let asked = |at: &&u64| extension.is_due(stage, start, after(start, **at));
            let asked: Vec<u64> = seconds.iter().filter(asked).copied().collect();
            assert_eq!(asked, expected, "{stage:?}");
        };
        check(starting(true), &[0, 5, 10, 15, 20, 599, 600, 700], &[0, 10, 20, 599]);
        check(starting(false), &[0, 10, 20], &[]);
        check(Stage::Ready, &[0, 10, 20], &[]);
        check(Stage::Leaving(Left::default()), &[0, 10, 599, 900], &[0, 10, 599, 900]);
        check(Stage::Stopping, &[0, 9, 80, 90, 100], &[0, 80]);
    }

    #[test]
    fn a_hand_over_is_waited_for_as_long_as_it_gets_on() {
        let left = |bytes, lines, targets| Left { bytes, lines, targets };
        let check = |looks: &[(u64, Left)], expected: Result<(), &str>| {
            let start = Instant::now();
            let mut patience = Patience::new(start);
            let (last, before) = looks.split_last().unwrap();
            for (at, left) in before {
                assert_eq!(patience.look(*left, after(start, *at)), Ok(()), "at {at} s");
            }
            let outcome = patience.look(last.1, after(start, last.0));
            assert_eq!(outcome, expected.map_err(str::to_owned), "{looks:?}");
        };
        let stuck = Err("nothing of it was taken for 20 s");
        check(&[(0, left(9, 9, 9)), (19, left(9, 9, 9))], Ok(()));
        check(&[(0, left(9, 9, 9)), (20, left(9, 9, 9))], stuck);
        // Anything that becomes less is progress.
        check(&[(0, left(9, 9, 9)), (19, left(8, 9, 9)), (38, left(8, 9, 9))], Ok(()));
        check(&[(0, left(9, 9, 9)), (19, left(9, 8, 9)), (38, left(9, 8, 9))], Ok(()));
        check(&[(0, left(9, 9, 9)), (19, left(9, 9, 8)), (39, left(9, 9, 8))], stuck);
        // The lines are there only when the share has ended.
        check(&[(0, left(9, 0, 0)), (19, left(9, 50, 7)), (20, left(9, 50, 7))], stuck);
        check(
            &[(0, left(9, 0, 0)), (2, left(9, 50, 7)), (19, left(9, 49, 7)), (38, left(9, 49, 7))],
            Ok(()),
        );
        // To and fro is none.
        check(&[(0, left(8, 0, 0)), (10, left(9, 0, 0)), (20, left(8, 0, 0))], stuck);
        // It has an end, however well it gets on.
        let mut looks: Vec<_> = (0..60).map(|n| (n * 10, left(900 - n, 0, 0))).collect();
        looks.push((600, left(1, 0, 0)));
        check(&looks, Err("it took 600 s"));
    }
}
