//! How many lines one place in the code may write: a burst, then so many a second. What is left out is
//! counted and told in one line, so that ten thousand targets that fail at once drown nothing. Pure.

use std::hash::Hash;

use hashbrown::HashMap;
use tracing::Level;

/// Whose lines are orders and what became of them. None of them is ever left out: the door has a limit
/// of its own.
pub const AUDIT: &str = "starling::audit";

/// Ours are some hundred. Of more, as a library with made-up targets would have, all share one place.
const SITES_MAX: usize = 1_024;
/// Of a message, as a summary shows it.
const LIKE_CHARS_MAX: usize = 200;
/// A flood that goes on is summed up so often.
const SUM_UP_MS: u64 = 10_000;
/// One that has paused for so long has ended.
const PAUSE_MS: u64 = 1_000;

/// Lines that someone may want to look at one by one, if they are not too many.
const ORDINARY: Rate = Rate { burst: 100, per_second: 10 };
/// Each `error` tells of data that is lost.
const ERRORS: Rate = Rate { burst: 1_000, per_second: 100 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    burst: u64,
    per_second: u64,
}

impl Rate {
    /// `None`: never limited. Who turns on `debug` or `trace` wants it all.
    pub(super) fn of(level: Level, module: &str) -> Option<Self> {
        if module == AUDIT {
            return None;
        }
        match level {
            Level::ERROR => Some(ERRORS),
            Level::WARN | Level::INFO => Some(ORDINARY),
            _ => None,
        }
    }
}

/// The place in the code that a line comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) level: Level,
    pub(super) module: String,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Tell,
    LeaveOut {
        /// Of its flood, or since the last summary: its message is asked for.
        is_first: bool,
    },
}

/// Lines of one place that were not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) site: Site,
    /// The message of the first of them.
    pub(super) like: String,
    pub(super) lines: u64,
    /// From the first of them to the last.
    pub(super) ms: u64,
}

/// Of all places. `K` is what tells them apart. A line that is told costs some 0.1 µs here, beside the
/// microseconds of writing it; one that is left out costs that alone.
#[derive(Debug)]
pub(super) struct Limiter<K> {
    numbers: HashMap<K, usize>,
    buckets: Vec<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    site: Site,
    /// In thousandths of a line.
    room: u64,
    filled_ms: u64,
    missing: Option<Missing>,
}

#[derive(Debug)]
struct Missing {
    like: String,
    lines: u64,
    first_ms: u64,
    last_ms: u64,
}

impl<K: Hash + Eq> Limiter<K> {
    pub(super) fn new() -> Self {
        Self { numbers: HashMap::new(), buckets: Vec::new() }
    }

    /// Whether the line that `key` wants to write now is written. `site` is asked for what `key` stands
    /// for the first time that it comes.
    pub(super) fn take(
        &mut self,
        key: K,
        rate: Rate,
        now_ms: u64,
        site: impl FnOnce() -> Site,
    ) -> Verdict {
        let number = match self.numbers.get(&key) {
            Some(number) => *number,
            None => self.add(key, rate, now_ms, site),
        };
        self.buckets[number].take(rate, now_ms)
    }

    /// The message of the line that was left out first.
    pub(super) fn is_like(&mut self, key: &K, message: &str) {
        let number = self.numbers.get(key).copied().unwrap_or(SITES_MAX - 1);
        let missing = self.buckets.get_mut(number).and_then(|bucket| bucket.missing.as_mut());
        if let Some(missing) = missing {
            missing.like = message.chars().take(LIKE_CHARS_MAX).collect();
        }
    }

    /// What is to be told by now of floods that have paused, or gone on for long; with `is_end` of all.
    pub(super) fn due(&mut self, now_ms: u64, is_end: bool) -> Vec<LeftOut> {
        let buckets = self.buckets.iter_mut();
        buckets.filter_map(|bucket| bucket.due(now_ms, is_end)).collect()
    }

    fn add(&mut self, key: K, rate: Rate, now_ms: u64, site: impl FnOnce() -> Site) -> usize {
        if self.buckets.len() == SITES_MAX {
            return SITES_MAX - 1;
        }
        let number = self.buckets.len();
        let room = rate.burst * 1_000;
        self.buckets.push(Bucket { site: site(), room, filled_ms: now_ms, missing: None });
        self.numbers.insert(key, number);
        number
    }
}

impl Bucket {
    fn take(&mut self, rate: Rate, now_ms: u64) -> Verdict {
        let passed_ms = now_ms.saturating_sub(self.filled_ms);
        self.filled_ms = self.filled_ms.max(now_ms);
        // So many lines a second are as many thousandths a millisecond.
        let came = passed_ms.saturating_mul(rate.per_second);
        self.room = self.room.saturating_add(came).min(rate.burst * 1_000);
        if let Some(room) = self.room.checked_sub(1_000) {
            self.room = room;
            return Verdict::Tell;
        }
        let is_first = self.missing.is_none();
        let missing = self.missing.get_or_insert_with(|| Missing {
            like: String::new(),
            lines: 0,
            first_ms: now_ms,
            last_ms: now_ms,
        });
        missing.lines += 1;
        missing.last_ms = missing.last_ms.max(now_ms);
        Verdict::LeaveOut { is_first }
    }

    fn due(&mut self, now_ms: u64, is_end: bool) -> Option<LeftOut> {
        let has_paused = |missing: &Missing| now_ms >= missing.last_ms + PAUSE_MS;
        let is_long = |missing: &Missing| now_ms >= missing.first_ms + SUM_UP_MS;
        let missing =
            self.missing.take_if(|missing| is_end || has_paused(missing) || is_long(missing))?;
        Some(LeftOut {
            site: self.site.clone(),
            like: missing.like,
            lines: missing.lines,
            ms: missing.last_ms - missing.first_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, per_second: 2 };

    fn site(module: &str) -> Site {
        Site { level: Level::WARN, module: module.to_owned(), file: None, line: None }
    }

    /// How many of `lines` that come at `now_ms` are told.
    fn told(
        limiter: &mut Limiter<&'static str>,
        key: &'static str,
        lines: usize,
        ms: u64,
    ) -> usize {
        let mut takes = (0..lines).map(|_| limiter.take(key, RATE, ms, || site(key)));
        takes.by_ref().filter(|verdict| *verdict == Verdict::Tell).count()
    }

    #[test]
    fn a_burst_then_so_many_a_second() {
        let mut limiter = Limiter::new();
        // (when, lines, of which are told)
        for (ms, lines, expected) in [
            (0, 5, 3),
            (499, 5, 0),
            (500, 5, 1),
            (999, 1, 0),
            (1_000, 1, 1),
            // The clock never goes back; one that did would make no room.
            (200, 1, 0),
            (1_000, 1, 0),
            (3_600_000, 100, 3),
        ] {
            assert_eq!(told(&mut limiter, "a", lines, ms), expected, "at {ms} ms");
        }
    }

    #[test]
    fn a_place_that_floods_takes_nothing_from_another() {
        let mut limiter = Limiter::new();
        assert_eq!(told(&mut limiter, "a", 100_000, 0), 3);
        assert_eq!(told(&mut limiter, "b", 3, 0), 3);
        assert!(limiter.due(999, false).is_empty(), "the flood may go on");
        let due = limiter.due(1_000, false);
        assert_eq!(due, [LeftOut { site: site("a"), like: String::new(), lines: 99_997, ms: 0 }]);
        assert!(limiter.due(60_000, true).is_empty(), "what is told is told once");
    }

    #[test]
    fn a_flood_that_goes_on_is_summed_up_now_and_then() {
        let mut limiter = Limiter::new();
        told(&mut limiter, "a", 3, 0);
        let mut sums = Vec::new();
        // A line each 100 ms for 25 s, two a second of which are told.
        for ms in (0..25_000).step_by(100) {
            if told(&mut limiter, "a", 1, ms) == 0 {
                limiter.is_like(&"a", "it rains");
            }
            sums.extend(limiter.due(ms, false));
        }
        sums.extend(limiter.due(25_900, false));
        let lines: Vec<u64> = sums.iter().map(|sum| sum.lines).collect();
        assert_eq!(lines.len(), 3, "{sums:?}");
        // 250 lines, and room for 49 of them.
        assert_eq!(lines.iter().sum::<u64>(), 201, "{sums:?}");
        assert!(sums.iter().all(|sum| sum.like == "it rains" && sum.ms <= SUM_UP_MS), "{sums:?}");
    }

    #[test]
    fn the_end_waits_for_nothing() {
        let mut limiter = Limiter::new();
        told(&mut limiter, "a", 10, 0);
        assert!(limiter.due(0, false).is_empty());
        assert_eq!(limiter.due(0, true)[0].lines, 7);
    }

    #[test]
    fn only_the_first_that_is_left_out_is_asked_for_its_message() {
        let mut limiter = Limiter::new();
        told(&mut limiter, "a", 3, 0);
        let take = |limiter: &mut Limiter<_>| limiter.take("a", RATE, 0, || site("a"));
        assert_eq!(take(&mut limiter), Verdict::LeaveOut { is_first: true });
        assert_eq!(take(&mut limiter), Verdict::LeaveOut { is_first: false });
        limiter.is_like(&"a", &"ü".repeat(1_000));
        assert_eq!(limiter.due(0, true)[0].like, "ü".repeat(LIKE_CHARS_MAX));
        assert_eq!(take(&mut limiter), Verdict::LeaveOut { is_first: true });
    }

    #[test]
    fn places_are_bounded_and_the_last_is_shared() {
        let mut limiter = Limiter::new();
        for n in 0..SITES_MAX + 50 {
            let verdict = limiter.take(n, RATE, 0, || site("many"));
            // Those that share the last place share its burst.
            let expected = n < SITES_MAX + 2;
            assert_eq!(verdict == Verdict::Tell, expected, "{n}");
        }
        limiter.is_like(&(SITES_MAX + 7), "one of many");
        assert_eq!(limiter.buckets.len(), SITES_MAX);
        let due = limiter.due(0, true);
        assert_eq!((due[0].lines, &*due[0].like), (48, "one of many"));
    }

    #[test]
    fn errors_have_more_room_and_orders_no_limit() {
        let check = |level, module, expected| assert_eq!(Rate::of(level, module), expected);
        check(Level::INFO, "starling::scrape", Some(ORDINARY));
        check(Level::WARN, "starling::scrape", Some(ORDINARY));
        check(Level::ERROR, "starling::scrape", Some(ERRORS));
        check(Level::WARN, AUDIT, None);
        check(Level::DEBUG, "starling::scrape", None);
        check(Level::TRACE, "a_library", None);
    }
}
