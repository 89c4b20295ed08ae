//! What an API lends for a time, such as a token: used until shortly before its end. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Before its end by so much, or a tenth of its life where that is less, it is used no more: it would
/// run out on the way.
const UNUSED_BEFORE_SECONDS_MAX: u64 = 60;

#[derive(Debug)]
pub(super) struct Lent<T>(Option<(T, Instant)>);

impl<T> Default for Lent<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Lent<T> {
    pub(super) fn get(&self, now: Instant) -> Option<&T> {
        self.0.as_ref().filter(|(_, until)| now < *until).map(|(value, _)| value)
    }

    pub(super) fn put(&mut self, value: T, life: Duration, now: Instant) {
        let margin = (life / 10).min(Duration::from_secs(UNUSED_BEFORE_SECONDS_MAX));
        // A life without end is as good as a day: nobody asks too often then.
        let life = life.saturating_sub(margin).min(Duration::from_secs(24 * 3_600));
        self.0 = Some((value, now + life));
    }

    /// It was refused.
    pub(super) fn throw_away(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_used_until_shortly_before_its_end() {
        let now = Instant::now();
        for (life, last) in [(3_600, 3_539), (100, 89), (u64::MAX, 86_399)] {
            let mut lent = Lent::default();
            assert_eq!(lent.get(now), None);
            lent.put("token", Duration::from_secs(life), now);
            assert_eq!(lent.get(now + Duration::from_secs(last)), Some(&"token"), "{life}");
            assert_eq!(lent.get(now + Duration::from_secs(last + 1)), None, "{life}");
            lent.throw_away();
            assert_eq!(lent.get(now), None);
        }
    }
}
