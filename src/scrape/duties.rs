//! When a target's ticks are to be taken here, as the pool sees it: what one instant belongs to, and
//! what is left when the stretch that runs is over. Pure.

use crate::{
    model::member::Interval,
    ownership::shares::{Duties, filed_under_ms},
};

/// This member's clock may be so far behind the fleet's: a tick before a border that the fleet has
/// passed comes here that much later, and is still taken.
const CLOCK_BEHIND_MS_MAX: i64 = 2_000;

/// What samples of `instant_ms` are filed under: the beginning of the stretch that it lies in. One
/// that lies in none, as markers may, is filed under the last stretch before it. `None`: the target
/// is not divided.
pub fn since_ms(duties: &[Interval], instant_ms: i64) -> Option<i64> {
    let begun = duties.iter().rev().find(|duty| duty.from_ms <= instant_ms);
    let from_ms = begun.or(duties.first())?.from_ms;
    (from_ms > i64::MIN).then_some(from_ms)
}

/// The same for the next samples of a stream whose last ones were filed under `before_ms`.
pub fn next_since_ms(duties: &[Interval], instant_ms: i64, before_ms: Option<i64>) -> Option<i64> {
    Some(filed_under_ms(since_ms(duties, instant_ms)?, before_ms))
}

pub fn is_divided(duties: &[Interval]) -> bool {
    duties.iter().all(|duty| duty.from_ms > i64::MIN)
}

/// Of a target that has moved at `now_ms`: no stretch that is still to come, and of the one that
/// runs no more than may be late.
pub fn ended(duties: &[Interval], now_ms: i64) -> Duties {
    let begun: Vec<Interval> =
        duties.iter().filter(|duty| duty.from_ms <= now_ms).copied().collect();
    before(&begun, now_ms.saturating_add(CLOCK_BEHIND_MS_MAX))
}

/// What lies before `until_ms`.
pub fn before(duties: &[Interval], until_ms: i64) -> Duties {
    let begun = duties.iter().filter(|duty| duty.from_ms < until_ms);
    let cut = begun.map(|duty| Interval {
        from_ms: duty.from_ms,
        until_ms: Some(duty.until_ms.map_or(until_ms, |own_ms| own_ms.min(until_ms))),
    });
    cut.collect()
}

/// Whether what ran of `old` is over, and `new` begins behind it. Another member had the target in
/// between, or is to have it: for that one this is a move like any other. The stretch that runs may
/// be over by late news, as after a death that was none, or by the fleet's clock when this one is
/// behind.
pub fn is_return(old: &[Interval], new: &[Interval], now_ms: i64) -> bool {
    let (Some(running), Some(next)) = (old.first(), new.first()) else { return false };
    match running.until_ms.filter(|until_ms| *until_ms <= now_ms) {
        Some(over_ms) => next.from_ms >= over_ms,
        None => running.from_ms <= now_ms && next.from_ms > now_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::shares::{always, never};

    /// `until` 0: without an end.
    fn duties(stretches: &[(i64, i64)]) -> Duties {
        let interval = |&(from_ms, until): &(i64, i64)| Interval {
            from_ms,
            until_ms: (until > 0).then_some(until),
        };
        stretches.iter().map(interval).collect()
    }

    #[test]
    fn an_instant_belongs_to_its_stretch_or_to_the_one_before() {
        let two = duties(&[(100, 200), (300, 0)]);
        for (instant_ms, expected) in
            [(50, 100), (100, 100), (199, 100), (200, 100), (299, 100), (300, 300), (900, 300)]
        {
            assert_eq!(since_ms(&two, instant_ms), Some(expected), "{instant_ms}");
        }
        assert_eq!(since_ms(&always(), 5), None);
        assert_eq!(since_ms(&never(), 5), None);
        assert_eq!(next_since_ms(&two, 310, Some(305)), Some(305));
        assert_eq!(next_since_ms(&always(), 5, Some(300)), None);
        assert!(is_divided(&two) && !is_divided(&always()));
    }

    #[test]
    fn what_is_left_of_a_target_that_has_moved() {
        for (old, now_ms, expected) in [
            (&[(100, 5_000)][..], 5_001, &[(100, 5_000)][..]),
            // The own clock is behind, a little or beyond reason.
            (&[(100, 5_000)], 4_000, &[(100, 5_000)]),
            (&[(100, 9_000)], 4_000, &[(100, 6_000)]),
            (&[(100, 0)], 4_000, &[(100, 6_000)]),
            // It was to be here again, or was not here yet.
            (&[(100, 5_000), (7_000, 0)], 5_000, &[(100, 5_000)]),
            (&[(7_000, 0)], 5_000, &[]),
        ] {
            assert_eq!(ended(&duties(old), now_ms), duties(expected), "{old:?} at {now_ms}");
        }
        let two = duties(&[(100, 200), (300, 0)]);
        assert_eq!(before(&two, 400), duties(&[(100, 200), (300, 400)]));
        assert_eq!(before(&two, 300), duties(&[(100, 200)]));
        assert_eq!(before(&two, 150), duties(&[(100, 150)]));
    }

    #[test]
    fn a_stretch_behind_one_that_is_over_begins_anew() {
        for (old, new, now_ms, expected) in [
            (&[(100, 200), (300, 0)][..], &[(300, 0)][..], 200, true),
            (&[(100, 200)], &[(300, 0)], 250, true),
            // The fleet has passed the border, and the own clock is behind.
            (&[(100, 200), (300, 0)], &[(300, 0)], 199, true),
            // It was dead for the others, and begins anew.
            (&[(100, 0)], &[(300, 0)], 250, true),
            // It has not begun.
            (&[(300, 0)], &[(400, 0)], 250, false),
            // It goes on, whatever comes later.
            (&[(100, 200)], &[(100, 0)], 250, false),
            (&[(100, 0)], &[(100, 200), (300, 0)], 150, false),
            (&[(100, 0)], &[(100, 200)], 250, false),
        ] {
            let is_new = is_return(&duties(old), &duties(new), now_ms);
            assert_eq!(is_new, expected, "{old:?} {new:?} at {now_ms}");
        }
    }
}
