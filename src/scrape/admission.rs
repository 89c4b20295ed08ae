//! Which series of a target its limit lets in: so many different ones in a day, the first to come.
//! Pure.

use hashbrown::HashSet;

/// The length of a window, as in vmagent.
const WINDOW_MS: i64 = 24 * 3600 * 1000;

#[derive(Debug, Default)]
pub(super) struct Admission {
    /// 0 is no limit.
    series_max: usize,
    /// Halves of the hashes of their labels; never more than the limit.
    admitted: HashSet<u64>,
    /// `None` before the first scrape.
    ends_ms: Option<i64>,
}

impl Admission {
    pub(super) fn new(series_max: usize) -> Self {
        Self { series_max, ..Self::default() }
    }

    /// Those that were let in stay in, though they be more than the new limit.
    pub(super) fn set_max(&mut self, series_max: usize) {
        self.series_max = series_max;
        if series_max == 0 {
            self.admitted = HashSet::new();
        }
    }

    /// Whether a new window begins with the scrape at `now_ms`: who is still there must be let in
    /// first, by `renew`.
    pub(super) fn is_over(&mut self, now_ms: i64) -> bool {
        let ends_ms = *self.ends_ms.get_or_insert(now_ms.saturating_add(WINDOW_MS));
        self.series_max > 0 && now_ms >= ends_ms
    }

    pub(super) fn renew(&mut self, now_ms: i64, there: impl Iterator<Item = u64>) {
        self.ends_ms = Some(now_ms.saturating_add(WINDOW_MS));
        self.admitted.clear();
        self.admitted.extend(there.take(self.series_max));
    }

    pub(super) fn lets_in(&mut self, series: u64) -> bool {
        if self.series_max == 0 || self.admitted.contains(&series) {
            return true;
        }
        self.admitted.len() < self.series_max && self.admitted.insert(series)
    }

    /// How many have been let in.
    pub(super) fn count(&self) -> usize {
        self.admitted.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ones_are_let_in_for_a_day() {
        let mut admission = Admission::new(2);
        assert!(!admission.is_over(5));
        let let_in = |admission: &mut Admission| [1, 2, 3, 1].map(|n| admission.lets_in(n));
        assert_eq!(let_in(&mut admission), [true, true, false, true]);
        assert_eq!(admission.count(), 2);
        assert!(!admission.is_over(4 + WINDOW_MS));
        assert!(admission.is_over(5 + WINDOW_MS));
        admission.renew(5 + WINDOW_MS, [3].into_iter());
        assert_eq!([3, 2, 1].map(|n| admission.lets_in(n)), [true, true, false]);
        assert!(!admission.is_over(4 + 2 * WINDOW_MS));
    }

    #[test]
    fn a_limit_may_change_or_be_none() {
        let mut admission = Admission::new(0);
        assert!((0..9).all(|n| admission.lets_in(n)) && !admission.is_over(i64::MAX));
        assert_eq!(admission.count(), 0);
        admission.set_max(2);
        assert_eq!([7, 8, 9].map(|n| admission.lets_in(n)), [true, true, false]);
        admission.set_max(1);
        assert_eq!([7, 8, 9].map(|n| admission.lets_in(n)), [true, true, false]);
    }
}
