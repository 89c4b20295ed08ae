//! Ticks that nobody took: where a member died, or news came late. What of them is made up for, and
//! when. Pure; part of `assign`.

use std::collections::BTreeMap;

use crate::{
    discovery::per_target::phase_ms,
    model::{
        member::{MemberState, NodeId, Roster},
        target::Target,
    },
};

/// A target that nobody scraped at a tick shall be scraped within so long of it, so that no gap is
/// longer than the interval and five seconds …
const HOLE_MS_MAX: i64 = 4_500;
/// … but for one whose next tick comes as soon as this.
const SOON_MS: i64 = 500;
/// Where the tick may have been taken after all, the catch-up keeps its distance: a little more than
/// half the interval, or it would be the same scrape twice. It may then come as late as this.
const UNSURE_MS_MAX: i64 = 5_200;
/// Catch-ups are spread over this, so that takers and targets see no burst.
const SPREAD_MS: u64 = 1_000;
/// A member was last well so long before it first did not answer.
const PROBE_MS_MAX: i64 = 2_000;

/// A stretch of time, up to now, in which ticks were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    /// Ticks from here on may have been missed …
    pub(super) from_ms: i64,
    /// … and from here on they surely were.
    pub(super) sure_ms: i64,
}

impl Hole {
    pub(super) fn sure(from_ms: i64) -> Self {
        Self { from_ms, sure_ms: from_ms }
    }

    /// When to scrape a target in the place of its last tick; `None` where that tick was taken, or
    /// where the next one does instead.
    pub(super) fn catch_up_ms(self, target: &Target, now_ms: i64) -> Option<i64> {
        let (last_ms, next_ms) = ticks_around(target, now_ms);
        let interval_ms = next_ms - last_ms;
        let mut earliest_ms = now_ms;
        let mut latest_ms = next_ms - interval_ms * 3 / 5;
        if interval_ms > HOLE_MS_MAX {
            // The next tick may be too late. Where it comes soon after, the catch-up stands for it.
            let latest_max = next_ms - SOON_MS;
            latest_ms = latest_ms.max(last_ms + HOLE_MS_MAX).max(now_ms).min(latest_max);
        }
        if last_ms < self.sure_ms {
            let away_ms = interval_ms * 13 / 25;
            earliest_ms = earliest_ms.max(last_ms + away_ms);
            if (HOLE_MS_MAX..=UNSURE_MS_MAX).contains(&away_ms) {
                latest_ms = latest_ms.max(earliest_ms);
            }
        }
        // Other bits than those that choose the phase, or all of one phase would still come at once.
        let at_ms = now_ms + ((target.key.0 >> 20) % SPREAD_MS).cast_signed();
        let at_ms = at_ms.min(latest_ms).max(earliest_ms);
        (last_ms >= self.from_ms && at_ms <= latest_ms).then_some(at_ms)
    }

    /// From the last tick that was most likely taken to the first scrape behind the hole.
    pub(super) fn longest_gap_ms(self, target: &Target, now_ms: i64) -> i64 {
        let (last_ms, _) = ticks_around(target, self.sure_ms - 1);
        let (_, next_ms) = ticks_around(target, now_ms);
        self.catch_up_ms(target, now_ms).unwrap_or(next_ms) - last_ms
    }
}

/// The last tick, at `instant_ms` or before it, and the one after.
pub(super) fn ticks_around(target: &Target, instant_ms: i64) -> (i64, i64) {
    let interval_ms = i64::try_from(target.interval.as_millis()).unwrap_or(i64::MAX / 4).max(1);
    let since_tick = (instant_ms - phase_ms(target, target.key)).rem_euclid(interval_ms);
    (instant_ms - since_tick, instant_ms - since_tick + interval_ms)
}

/// Since when each member does not answer: nearer to its death than the instant at which it is
/// declared dead.
#[derive(Debug, Default)]
pub(super) struct Silent(BTreeMap<NodeId, i64>);

impl Silent {
    pub(super) fn observe(&mut self, roster: &Roster, now_ms: i64) {
        for (id, member) in &roster.members {
            match member.state {
                MemberState::Suspect => {
                    self.0.entry(*id).or_insert(now_ms);
                }
                MemberState::Alive | MemberState::Left => {
                    self.0.remove(id);
                }
                MemberState::Dead => {}
            }
        }
        self.0.retain(|id, _| roster.members.contains_key(id));
    }

    /// What the death of a member leaves behind that was declared dead at `died_ms`, at most
    /// `detection_ms` after it.
    pub(super) fn hole(&self, dead: NodeId, died_ms: i64, detection_ms: i64) -> Hole {
        let earliest_ms = died_ms - detection_ms;
        match self.0.get(&dead) {
            Some(&since_ms) if (earliest_ms..=died_ms).contains(&since_ms) => {
                Hole { from_ms: (since_ms - PROBE_MS_MAX).max(earliest_ms), sure_ms: since_ms }
            }
            Some(_) | None => Hole { from_ms: earliest_ms, sure_ms: died_ms },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        model::slot::StreamKey,
        ownership::assign::tests::{member, target},
    };

    /// With its ticks at multiples of the interval, and a catch-up as early as may be.
    fn at_multiples(interval_ms: u64) -> Arc<Target> {
        let target = Target { key: StreamKey(0), ..(*target(1, interval_ms)).clone() };
        assert_eq!(target.interval, Duration::from_millis(interval_ms));
        Arc::new(target)
    }

    #[test]
    fn a_missed_tick_is_made_up_for_at_once_or_by_the_next() {
        let hole = Hole { from_ms: 97_000, sure_ms: 99_000 };
        for (interval_ms, now_ms, expected) in [
            // Missed for sure, at 100 s.
            (10_000, 101_000, Some(101_000)),
            (10_000, 104_600, Some(104_600)),
            (10_000, 109_600, None),
            (5_000, 103_000, Some(103_000)),
            (4_000, 101_000, Some(101_000)),
            (4_000, 101_700, None),
            (60_000, 101_000, None),
            (50_000, 101_000, Some(101_000)),
            // Perhaps, at 98 s.
            (7_000, 99_500, Some(101_640)),
            (7_000, 102_000, Some(102_000)),
            (2_000, 99_500, None),
            (49_000, 99_500, None),
            // Taken, at 96 s.
            (8_000, 99_500, None),
        ] {
            let found = hole.catch_up_ms(&at_multiples(interval_ms), now_ms);
            assert_eq!(found, expected, "{interval_ms} at {now_ms}");
        }
    }

    #[test]
    fn a_hole_begins_where_a_member_fell_silent() {
        let (dead, mut silent) = (NodeId(2), Silent::default());
        let mut observe = |state, now_ms| {
            let member = member(dead, state, &[]);
            let roster = Roster { members: [(dead, member)].into(), version: 1 };
            silent.observe(&roster, now_ms);
            silent.hole(dead, 10_000, 5_000)
        };
        let unknown = Hole { from_ms: 5_000, sure_ms: 10_000 };
        let told = |from_ms, sure_ms| Hole { from_ms, sure_ms };
        assert_eq!(observe(MemberState::Suspect, 4_000), unknown, "too long ago");
        assert_eq!(observe(MemberState::Alive, 6_000), unknown);
        assert_eq!(observe(MemberState::Suspect, 7_500), told(5_500, 7_500));
        assert_eq!(observe(MemberState::Suspect, 8_000), told(5_500, 7_500));
        assert_eq!(observe(MemberState::Dead, 10_000), told(5_500, 7_500));
        assert_eq!(observe(MemberState::Alive, 11_000), unknown);
        assert_eq!(observe(MemberState::Suspect, 6_000), told(5_000, 6_000));
    }
}
