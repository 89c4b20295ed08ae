//! How long a target that was taken over went without a scrape. Pure.

#[derive(Debug, Default)]
pub(super) struct Gap {
    /// The former owner's last tick, until that is told.
    left_ms: Option<i64>,
    /// The first scrape here.
    taken_ms: Option<i64>,
}

impl Gap {
    /// What the former owner knew has come; be it after the first scrape here.
    pub(super) fn adopted(&mut self, last_ms: i64) -> Option<i64> {
        self.left_ms = self.left_ms.max(Some(last_ms));
        self.take()
    }

    pub(super) fn scraped(&mut self, timestamp_ms: i64) -> Option<i64> {
        self.taken_ms.get_or_insert(timestamp_ms);
        self.take()
    }

    fn take(&mut self) -> Option<i64> {
        let (taken_ms, left_ms) = (self.taken_ms?, self.left_ms.take()?);
        (taken_ms > left_ms).then(|| taken_ms - left_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_whatever_comes_first() {
        let mut early = Gap::default();
        assert_eq!([early.adopted(1_000), early.scraped(6_000)], [None, Some(5_000)]);
        assert_eq!([early.scraped(11_000), early.scraped(16_000)], [None, None]);
        let mut late = Gap::default();
        assert_eq!([late.scraped(6_000), late.scraped(11_000)], [None, None]);
        assert_eq!([late.adopted(1_000), late.scraped(16_000)], [Some(5_000), None]);
        // Two scraped it for a while.
        let mut both = Gap::default();
        assert_eq!([both.scraped(6_000), both.adopted(7_000)], [None, None]);
    }
}
