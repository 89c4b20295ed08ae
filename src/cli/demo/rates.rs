//! How many samples came in a second, by agent. Pure.

use std::time::Duration;

/// A shorter time says nothing of what comes in a second.
const RATED_MIN: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub(super) struct Rates {
    at: Duration,
    /// All that had come then.
    counts: Vec<u64>,
    per_second: Vec<f64>,
}

impl Rates {
    /// `before` are those that these follow; too soon after them they are the same.
    pub(super) fn of(counts: &[u64], at: Duration, before: Option<&Self>) -> Self {
        let since = at.saturating_sub(before.map_or(Duration::ZERO, |before| before.at));
        if let Some(before) = before.filter(|_| since < RATED_MIN) {
            return before.clone();
        }
        let rate = |(agent, count): (usize, &u64)| {
            let arrived = count - before.map_or(0, |before| before.counts[agent]);
            // A second's samples are far below what 32 bits hold.
            let arrived = f64::from(u32::try_from(arrived).unwrap_or(u32::MAX));
            arrived / since.max(RATED_MIN).as_secs_f64()
        };
        let per_second = counts.iter().enumerate().map(rate).collect();
        Self { at, counts: counts.to_vec(), per_second }
    }

    pub(super) fn per_second(&self, agent: usize) -> f64 {
        self.per_second[agent]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_time_since_the_last_one() {
        let mut rates: Option<Rates> = None;
        for (at_ms, count, expected) in
            [(1_000, 10, 10.0), (3_000, 50, 20.0), (3_100, 90, 20.0), (4_000, 90, 40.0)]
        {
            let next = Rates::of(&[count], Duration::from_millis(at_ms), rates.as_ref());
            assert!((next.per_second(0) - expected).abs() < 1e-9, "{at_ms}: {next:?}");
            rates = Some(next);
        }
    }
}
