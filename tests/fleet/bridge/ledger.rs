//! What a stretch of time did to the targets, from their own log: pure.

use super::{backend::Stored, farm::Scrape};

/// A stretch of the timeline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

impl Window {
    pub(crate) fn has(&self, at_ms: i64) -> bool {
        (self.from_ms..self.to_ms).contains(&at_ms)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// The longest time between two scrapes of one target, and which target's.
    pub(crate) gap_ms: i64,
    pub(crate) gap_target: usize,
    /// Intervals without a scrape: a gap of d intervals has round(d) - 1.
    pub(crate) missed: i64,
    /// Scrapes within half an interval after another member's.
    pub(crate) double: usize,
}

pub(crate) fn account(log: &[Scrape], targets: usize, interval_ms: i64, window: Window) -> Account {
    let mut by_target: Vec<Vec<&Scrape>> = vec![Vec::new(); targets];
    for scrape in log {
        by_target[scrape.target].push(scrape);
    }
    let mut account = Account::default();
    for (target, scrapes) in by_target.iter_mut().enumerate() {
        scrapes.sort_by_key(|scrape| scrape.at_ms);
        let mut last: Option<&Scrape> = None;
        for &scrape in &*scrapes {
            let is_double = last.is_some_and(|last| {
                last.member != scrape.member && scrape.at_ms - last.at_ms < interval_ms / 2
            });
            account.double += usize::from(is_double && window.has(scrape.at_ms));
            let from_ms = last.map_or(window.from_ms, |last| last.at_ms);
            account.see_gap(target, from_ms, scrape.at_ms, interval_ms, window);
            last = Some(scrape);
        }
        let from_ms = last.map_or(window.from_ms, |last| last.at_ms);
        account.see_gap(target, from_ms, window.to_ms.max(from_ms), interval_ms, window);
    }
    account
}

impl Account {
    fn see_gap(&mut self, target: usize, from_ms: i64, to_ms: i64, interval_ms: i64, in_: Window) {
        if to_ms <= in_.from_ms || in_.to_ms < from_ms {
            return;
        }
        let gap_ms = to_ms - from_ms;
        if gap_ms > self.gap_ms {
            (self.gap_ms, self.gap_target) = (gap_ms, target);
        }
        self.missed += ((gap_ms + interval_ms / 2) / interval_ms - 1).max(0);
    }
}

/// Scrapes of the window that the backend has not: how many that a victim could not tell of, and those
/// of others.
pub(crate) fn lost(
    log: &[Scrape],
    stored: &Stored,
    is_victims: impl Fn(&Scrape) -> bool,
    window: Window,
) -> (usize, Vec<Scrape>) {
    let (of_victims, of_others): (Vec<&Scrape>, Vec<&Scrape>) = log
        .iter()
        .filter(|scrape| window.has(scrape.at_ms) && !stored.contains_key(&scrape.number))
        .partition(|scrape| is_victims(scrape));
    (of_victims.len(), of_others.into_iter().copied().collect())
}

/// The most that a sample's time is off from when its target was asked.
pub(crate) fn off_ms(log: &[Scrape], stored: &Stored, wall_ms: i64) -> i64 {
    let off = |scrape: &Scrape| {
        stored.get(&scrape.number).map(|at_ms| (at_ms - wall_ms - scrape.at_ms).abs())
    };
    log.iter().filter_map(off).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scrapes: &[(usize, usize, i64)], expected: (i64, usize, i64, usize)) {
        let log: Vec<Scrape> = scrapes
            .iter()
            .zip(1..)
            .map(|(&(target, member, at_ms), number)| Scrape { target, member, at_ms, number })
            .collect();
        let window = Window { from_ms: 10_000, to_ms: 20_000 };
        let found = account(&log, 1, 2_000, window);
        let found = (found.gap_ms, found.gap_target, found.missed, found.double);
        assert_eq!(found, expected, "{scrapes:?}");
    }

    #[test]
    fn accounts_for_what_was_scraped() {
        let even = |member: usize| move |n: i64| (0, member, 9_000 + 2_000 * n);
        let calm: Vec<_> = (0..7).map(even(1)).collect();
        check(&calm, (2_000, 0, 0, 0));
        let moved: Vec<_> = (0..3).map(even(1)).chain((3..7).map(even(2))).collect();
        check(&moved, (2_000, 0, 0, 0));
        let missed: Vec<_> = (0..2).map(even(1)).chain((4..7).map(even(2))).collect();
        check(&missed, (6_000, 0, 2, 0));
        let late: Vec<_> = [(0, 1, 9_000), (0, 2, 13_500)].into_iter().collect();
        check(&late, (6_500, 0, 3, 0));
        let double: Vec<_> = calm.iter().copied().chain([(0, 2, 13_020)]).collect();
        check(&double, (2_000, 0, 0, 1));
        check(&[], (10_000, 0, 4, 0));
    }
}
