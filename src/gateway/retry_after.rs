//! When a client that could not be served shall come again: the seconds of `Retry-After`. Pure: chance is
//! handed in.

use rand::{Rng, RngExt};

/// The first wait of whoever meets an overload; each further one doubles it.
const OVERLOAD_SECONDS: u32 = 6;
/// The longest wait before chance has its say, after five attempts.
const OVERLOAD_SECONDS_MAX: u32 = 96;
/// Half more or less, so that clients which were refused together do not come again together.
const SPREAD: f64 = 0.5;

/// Why a push was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// What passes by itself within a moment: an owner moves, a member is about to stop.
    Passing,
    /// There is more than can be taken, and coming again soon makes it worse.
    Overload { attempt: u32 },
}

/// At least 1.
pub fn retry_after_seconds(trouble: Trouble, rng: &mut impl Rng) -> u32 {
    match trouble {
        Trouble::Passing => 1,
        Trouble::Overload { attempt } => {
            let doublings = attempt.saturating_sub(1).min(u32::BITS - 1);
            let seconds = OVERLOAD_SECONDS.saturating_mul(1 << doublings).min(OVERLOAD_SECONDS_MAX);
            let (least, most) = (1.0 - SPREAD, 1.0 + SPREAD);
            let spread = f64::from(seconds) * rng.random_range(least..=most);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at most half more than the longest wait"
            )]
            let seconds = spread.round() as u32;
            seconds.max(1)
        }
    }
}

/// Which one this is, as `Retry-Attempt` tells; a client that says nothing is at its first.
pub fn attempt(retry_attempt: Option<&[u8]>) -> u32 {
    let text = retry_attempt.and_then(|value| std::str::from_utf8(value).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn an_overload_is_given_more_time_with_each_attempt() {
        let mut rng = StdRng::seed_from_u64(7);
        for (attempt, least, most) in
            [(0, 3, 9), (1, 3, 9), (2, 6, 18), (3, 12, 36), (5, 48, 144), (u32::MAX, 48, 144)]
        {
            let overload = Trouble::Overload { attempt };
            let found: Vec<u32> =
                (0..2_000).map(|_| retry_after_seconds(overload, &mut rng)).collect();
            assert_eq!(found.iter().min(), Some(&least), "attempt {attempt}");
            assert_eq!(found.iter().max(), Some(&most), "attempt {attempt}");
        }
        assert_eq!(retry_after_seconds(Trouble::Passing, &mut rng), 1);
    }

    #[test]
    fn an_attempt_is_what_the_client_says() {
        for (header, expected) in
            [("3", 3), (" 2 ", 2), ("0", 1), ("-1", 1), ("", 1), ("x", 1), ("99999999999", 1)]
        {
            assert_eq!(attempt(Some(header.as_bytes())), expected, "{header}");
        }
        assert_eq!((attempt(None), attempt(Some(b"\xff"))), (1, 1));
    }
}
