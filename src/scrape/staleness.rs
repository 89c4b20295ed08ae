//! Which series end, and when a sample may follow another: what is remembered of one series between
//! scrapes, and the rules over it. Pure.

use crate::model::{
    histogram::{Counts, Histogram, ResetHint},
    sample::{PointValue, STALE_NAN_BITS, stale_marker},
};

/// What a series has for values: a marker must be of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Float,
    Histogram,
}

/// Between two scrapes of one target. `0` for `seen`: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Presence {
    /// Of the last sample that was taken.
    last_ms: i64,
    /// The round of its last sample, whether or not that round was kept.
    seen: u32,
    /// Samples taken in that round.
    times: u16,
    /// A marker of this kind is owed when it is not there any more.
    live: Option<Kind>,
    /// What `live` will be if this round is kept.
    tracked: Option<Kind>,
}

/// Numbers the scrapes of a target that brought a body, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rounds {
    pub(super) now: u32,
    /// The last one that was kept.
    pub(super) kept: u32,
}

/// One sample as the rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) timestamp_ms: i64,
    /// The target gave the timestamp.
    pub(super) explicit: bool,
    /// Its end will be told by a marker of this kind.
    pub(super) tracked: Option<Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Take {
        /// Not there in the last scrape that was kept.
        is_new: bool,
        /// How many samples of the series this scrape has had before.
        layer: usize,
    },
    /// The series was there before in this scrape: the first sample counts.
    Repeated,
    /// Not after the last sample of the series: no receiver wants it.
    OutOfOrder,
}

/// How a scrape ended, for the series that were not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Kept,
    /// Nothing came, or nothing of it was kept; or the target is gone.
    Failed,
    /// Too many samples: nothing was kept, and nothing has ended either. The series go on when the
    /// target is back within its limit.
    OverLimit,
}

impl Presence {
    /// Of a series that another reader had in its last scrape, about `last_ms`; to this one it is as
    /// if it had been there in `round`.
    pub(super) fn adopted(kind: Kind, round: u32, last_ms: i64) -> Self {
        Self { last_ms, seen: round, live: Some(kind), tracked: Some(kind), times: 0 }
    }

    /// Of a series that has had plain floats alone, the last one at `last_ms` in the round `seen`.
    pub(super) fn resumed(is_live: bool, seen: u32, last_ms: i64) -> Self {
        let live = is_live.then_some(Kind::Float);
        Self { last_ms, seen, live, tracked: Some(Kind::Float), times: 1 }
    }

    pub(super) fn see(&mut self, rounds: Rounds, sight: Sight) -> Verdict {
        let is_new = self.seen == 0 || self.seen < rounds.kept;
        let again = self.seen == rounds.now;
        if again && !sight.explicit {
            return Verdict::Repeated;
        }
        let in_order = self.seen == 0 || sight.timestamp_ms > self.last_ms;
        if !again {
            self.seen = rounds.now;
            self.times = 0;
            // A sample that is not taken leaves the series as live as it was.
            self.tracked = self.live;
        }
        if !in_order {
            return Verdict::OutOfOrder;
        }
        let layer = usize::from(self.times);
        self.times = self.times.saturating_add(1);
        self.tracked = sight.tracked;
        self.last_ms = sight.timestamp_ms;
        Verdict::Take { is_new, layer }
    }

    /// The kind of the marker that is due at `timestamp_ms`, if one is.
    pub(super) fn end(&mut self, rounds: Rounds, end: End, timestamp_ms: i64) -> Option<Kind> {
        match end {
            End::OverLimit => return None,
            End::Kept if self.seen == rounds.now => {
                self.live = self.tracked;
                return None;
            }
            End::Kept | End::Failed => {}
        }
        let due = self.live.take().filter(|_| timestamp_ms >= self.last_ms);
        if due.is_some() {
            self.last_ms = timestamp_ms;
        }
        due
    }

    /// Whether a sample at `start_ms` may come before the one that is about to be seen.
    pub(super) fn takes_start(&self, start_ms: i64) -> bool {
        self.seen == 0 || start_ms > self.last_ms
    }

    pub(super) fn last_ms(&self) -> i64 {
        self.last_ms
    }

    /// What was taken was not kept: the same sample may come again.
    pub(super) fn take_back(&mut self, last_ms: i64) {
        self.last_ms = last_ms;
    }

    /// Samples from `timestamp_ms` on are to come.
    pub(super) fn set_clock_back(&mut self, timestamp_ms: i64) {
        self.last_ms = self.last_ms.min(timestamp_ms.saturating_sub(1));
    }

    pub(super) fn live(&self) -> Option<Kind> {
        self.live
    }

    pub(super) fn seen(&self) -> u32 {
        self.seen
    }
}

/// The value that ends a series of that kind.
pub(super) fn marker(kind: Kind) -> PointValue<'static> {
    static OF_HISTOGRAMS: Histogram = Histogram {
        schema: 0,
        zero_threshold: 0.0,
        sum: f64::from_bits(STALE_NAN_BITS),
        reset_hint: ResetHint::Unknown,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        counts: Counts::Integer {
            count: 0,
            zero_count: 0,
            positive_deltas: Vec::new(),
            negative_deltas: Vec::new(),
        },
        custom_bounds: Vec::new(),
    };
    match kind {
        Kind::Float => PointValue::Float(stale_marker()),
        Kind::Histogram => PointValue::Histogram(&OF_HISTOGRAMS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOAT: Option<Kind> = Some(Kind::Float);

    /// One scrape as one series sees it, at `n` seconds for the `n`th.
    #[derive(Clone, Copy)]
    enum Scrape {
        /// Without a timestamp of its own.
        There,
        /// With this one, in seconds.
        At(i64),
        /// With this one, and `track_timestamps_staleness`.
        Tracked(i64),
        /// In a scrape that turned out to be over its limit.
        ThereButOverLimit,
        Absent,
        Failed,
    }
    use Scrape::*;

    /// What leaves at each scrape: `v` a value, `S` a marker, `-` nothing.
    fn check(scrapes: &[Scrape], expected: &str) {
        let mut presence = Presence::default();
        let mut rounds = Rounds::default();
        let mut left = String::new();
        for (n, scrape) in (1..).zip(scrapes) {
            rounds.now += 1;
            let now_ms = n * 1000;
            let sight = |timestamp_ms, explicit, tracked: bool| {
                let tracked = FLOAT.filter(|_| tracked);
                Sight { timestamp_ms, explicit, tracked }
            };
            let (sight, end) = match *scrape {
                There => (Some(sight(now_ms, false, true)), End::Kept),
                At(second) => (Some(sight(second * 1000, true, false)), End::Kept),
                Tracked(second) => (Some(sight(second * 1000, true, true)), End::Kept),
                ThereButOverLimit => (Some(sight(now_ms, false, true)), End::OverLimit),
                Absent => (None, End::Kept),
                Failed => (None, End::Failed),
            };
            let taken = sight.is_some_and(|sight| {
                matches!(presence.see(rounds, sight), Verdict::Take { layer: 0, .. })
            });
            let marked = presence.end(rounds, end, now_ms).is_some();
            if end == End::Kept {
                rounds.kept = rounds.now;
            }
            left.push(match (taken && end == End::Kept, marked) {
                (true, false) => 'v',
                (false, true) => 'S',
                (false, false) => '-',
                (true, true) => panic!("a sample and a marker at once"),
            });
        }
        assert_eq!(left, expected);
    }

    #[test]
    fn a_series_ends_once() {
        check(&[There, There, Absent, Absent, There, Absent], "vvS-vS");
        check(&[There, Failed, Failed, There, There], "vS-vv");
        check(&[Absent, Failed, There], "--v");
    }

    #[test]
    fn too_many_samples_end_nothing() {
        check(&[There, ThereButOverLimit, There, Failed], "v-vS");
        check(&[There, ThereButOverLimit, ThereButOverLimit, Absent], "v--S");
        // A series that is new in a scrape over the limit owes no marker.
        check(&[ThereButOverLimit, Failed, There], "--v");
    }

    #[test]
    fn explicit_timestamps_end_without_a_marker_unless_tracked() {
        check(&[At(1), At(2), Absent, Failed], "vv--");
        check(&[Tracked(1), Tracked(2), Absent, Absent], "vvS-");
        // It is still there, only not tracked any more.
        check(&[There, At(2), Absent], "vv-");
        check(&[At(1), There, Absent], "vvS");
    }

    #[test]
    fn no_sample_goes_behind_a_later_one() {
        check(&[At(5), At(5), At(4), At(6)], "v--v");
        check(&[At(5), There, There, There, There, There], "v----v");
        // Nor does a marker.
        check(&[Tracked(9), Absent, Absent], "v--");
        check(&[Tracked(1), Tracked(1), Absent], "v-S");
        // Nor a sample behind a marker.
        check(&[There, Failed, At(1), At(3)], "vS-v");
    }

    #[test]
    fn what_comes_twice_in_a_scrape() {
        let rounds = Rounds { now: 1, kept: 0 };
        let plain = Sight { timestamp_ms: 5, explicit: false, tracked: FLOAT };
        let at = |timestamp_ms| Sight { timestamp_ms, explicit: true, tracked: None };
        let take = |is_new, layer| Verdict::Take { is_new, layer };

        let mut presence = Presence::default();
        assert_eq!(presence.see(rounds, plain), take(true, 0));
        assert_eq!(presence.see(rounds, plain), Verdict::Repeated);

        let mut presence = Presence::default();
        for (sight, expected) in [
            (at(5), take(true, 0)),
            (at(6), take(false, 1)),
            (at(6), Verdict::OutOfOrder),
            (at(2), Verdict::OutOfOrder),
            (plain, Verdict::Repeated),
            (at(9), take(false, 2)),
        ] {
            let verdict = presence.see(rounds, sight);
            let same = match (verdict, expected) {
                (Verdict::Take { layer: one, .. }, Verdict::Take { layer: two, .. }) => one == two,
                (one, two) => one == two,
            };
            assert!(same, "{verdict:?} instead of {expected:?}");
        }
    }

    #[test]
    fn new_is_what_the_last_kept_scrape_had_not() {
        let sight = |timestamp_ms| Sight { timestamp_ms, explicit: false, tracked: FLOAT };
        let mut presence = Presence::default();
        for (now, kept, expected) in [(1, 0, true), (2, 1, false), (4, 3, true), (6, 4, false)] {
            let verdict = presence.see(Rounds { now, kept }, sight(i64::from(now)));
            assert_eq!(verdict, Verdict::Take { is_new: expected, layer: 0 }, "{now}");
        }
    }

    #[test]
    fn a_marker_is_of_the_kind_that_the_series_had_last() {
        let mut presence = Presence::default();
        let mut rounds = Rounds::default();
        let mut scrape = |kind: Option<Kind>| {
            rounds.now += 1;
            let timestamp_ms = i64::from(rounds.now);
            if let Some(kind) = kind {
                presence.see(rounds, Sight { timestamp_ms, explicit: false, tracked: Some(kind) });
            }
            let due = presence.end(rounds, End::Kept, timestamp_ms);
            rounds.kept = rounds.now;
            due
        };
        for kind in [Kind::Histogram, Kind::Float] {
            assert_eq!(
                [Some(Kind::Float), Some(kind), None].map(&mut scrape),
                [None, None, Some(kind)]
            );
        }
        let PointValue::Histogram(histogram) = marker(Kind::Histogram) else { panic!("it is one") };
        assert_eq!(histogram.sum.to_bits(), STALE_NAN_BITS);
    }

    #[test]
    fn a_start_lies_behind_all_that_was_there() {
        let mut presence = Presence::default();
        assert!(presence.takes_start(i64::MIN));
        let sight = Sight { timestamp_ms: 5, explicit: false, tracked: FLOAT };
        presence.see(Rounds { now: 1, kept: 0 }, sight);
        assert_eq!([4, 5, 6].map(|ms| presence.takes_start(ms)), [false, false, true]);
    }
}
