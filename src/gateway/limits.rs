//! How many samples a tenant may push in a second: a bucket for each that fills again with time. Pure:
//! time is handed in.

use std::{collections::BTreeMap, sync::Arc};

use crate::config::PushLimits;

/// Of a table; when it is full, those that are full again are forgotten, and else those that have been
/// quiet for the longest. Who is forgotten begins with a full bucket.
const TENANTS_MAX: usize = 10_000;
/// So many at once, lest each new name costs a look at all.
const FORGOTTEN: usize = TENANTS_MAX / 10;
/// What may be pushed at once where the configuration does not say it.
const BURST_SECONDS: u64 = 10;
/// One sample: what a rate per second gives in a millisecond is whole then.
const ONE: i64 = 1_000;
/// More samples than that are no push, and what is counted with them stays within 64 bits.
const SAMPLES_MAX: u64 = 1 << 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: u64,
    burst: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// Not before so long, at least 1.
    Wait {
        ms: u64,
    },
}

impl Rate {
    /// One member's part of it, at least one sample a second: each counts only what comes in by itself.
    /// `None`: there is no limit.
    pub fn of(limits: &PushLimits, members: usize) -> Option<Self> {
        if limits.samples_per_second == 0 {
            return None;
        }
        let whole = limits.samples_per_second;
        let burst =
            if limits.burst == 0 { whole.saturating_mul(BURST_SECONDS) } else { limits.burst };
        let members = u64::try_from(members.max(1)).unwrap_or(u64::MAX);
        let part = |whole: u64| whole.div_ceil(members).clamp(1, SAMPLES_MAX);
        Some(Self { per_second: part(whole), burst: part(burst) })
    }
}

/// What is left to one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    /// In thousandths of a sample; below zero it is owed.
    left: i64,
    at_ms: u64,
}

/// The buckets of all tenants.
#[derive(Debug, Default)]
pub struct Buckets {
    buckets: BTreeMap<Arc<str>, Bucket>,
}

impl Buckets {
    /// Takes `samples` out where there are as many, else nothing, so that who comes again does not wait
    /// longer for it. A push that is larger than the burst passes when the bucket is full, and what is
    /// owed then is waited for: it would never pass otherwise.
    pub fn take(&mut self, tenant: &str, rate: Rate, samples: u64, now_ms: u64) -> Verdict {
        let full = thousandths(rate.burst);
        let bucket = self
            .buckets
            .get(tenant)
            .map_or(Bucket { left: full, at_ms: now_ms }, |own| own.filled(rate, now_ms));
        let taken = thousandths(samples);
        let missing = taken.min(full) - bucket.left;
        let verdict = if missing <= 0 { Verdict::Pass } else { wait(missing, rate) };
        let left = match verdict {
            Verdict::Pass => bucket.left - taken,
            Verdict::Wait { .. } => bucket.left,
        };
        self.put(tenant, Bucket { left, ..bucket }, rate);
        verdict
    }

    /// What `take` took was not pushed after all.
    pub fn give_back(&mut self, tenant: &str, rate: Rate, samples: u64) {
        if let Some(bucket) = self.buckets.get_mut(tenant) {
            let left = bucket.left.saturating_add(thousandths(samples));
            bucket.left = left.min(thousandths(rate.burst));
        }
    }

    fn put(&mut self, tenant: &str, bucket: Bucket, rate: Rate) {
        if let Some(own) = self.buckets.get_mut(tenant) {
            *own = bucket;
            return;
        }
        if self.buckets.len() >= TENANTS_MAX {
            self.make_room(rate, bucket.at_ms);
        }
        self.buckets.insert(tenant.into(), bucket);
    }

    /// Others may have another rate; one that is taken for full too early has a little more than its due.
    fn make_room(&mut self, rate: Rate, now_ms: u64) {
        let full = thousandths(rate.burst);
        self.buckets.retain(|_, bucket| bucket.filled(rate, now_ms).left < full);
        if self.buckets.len() >= TENANTS_MAX {
            let mut instants: Vec<u64> = self.buckets.values().map(|one| one.at_ms).collect();
            let (_, quiet_ms, _) = instants.select_nth_unstable(FORGOTTEN - 1);
            let mut left = FORGOTTEN;
            self.buckets.retain(|_, bucket| {
                let goes = left > 0 && bucket.at_ms <= *quiet_ms;
                left -= usize::from(goes);
                !goes
            });
        }
    }
}

impl Bucket {
    /// A clock that steps back gives nothing.
    fn filled(self, rate: Rate, now_ms: u64) -> Self {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        let gained = passed_ms.saturating_mul(rate.per_second);
        let gained = i64::try_from(gained).unwrap_or(i64::MAX);
        let left = self.left.saturating_add(gained).min(thousandths(rate.burst));
        Self { left, at_ms: now_ms.max(self.at_ms) }
    }
}

fn wait(missing: i64, rate: Rate) -> Verdict {
    let ms = missing.unsigned_abs().div_ceil(rate.per_second);
    Verdict::Wait { ms: ms.max(1) }
}

fn thousandths(samples: u64) -> i64 {
    i64::try_from(samples.min(SAMPLES_MAX)).expect("2^40 fits") * ONE
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: fn(u64) -> Verdict = |ms| Verdict::Wait { ms };

    /// Pushes: when, of how many samples, and what is said to each.
    #[track_caller]
    fn check(per_second: u64, burst: u64, pushes: &[(u64, u64, Verdict)]) {
        let rate = Rate { per_second, burst };
        let mut buckets = Buckets::default();
        for (n, (at_ms, samples, expected)) in pushes.iter().enumerate() {
            let verdict = buckets.take("a", rate, *samples, *at_ms);
            assert_eq!(verdict, *expected, "push {n} at {at_ms} ms");
        }
        let other = buckets.take("b", rate, burst, 0);
        assert_eq!(other, Verdict::Pass, "tenants do not share");
    }

    #[test]
    fn a_bucket_lets_pass_what_it_holds_and_what_comes_in() {
        let pass = Verdict::Pass;
        check(
            100,
            200,
            &[(0, 150, pass), (0, 100, WAIT(500)), (499, 100, WAIT(1)), (500, 100, pass)],
        );
        // Asking in vain costs nothing, and full is full, however long it was quiet.
        check(100, 100, &[(0, 100, pass), (10, 100, WAIT(990)), (10, 1, pass)]);
        check(1, 5, &[(90_000, 5, pass), (90_000, 1, WAIT(1_000)), (5, 1, WAIT(1_000))]);
        // More than the burst passes when it is full, and is paid for later.
        check(
            100,
            200,
            &[(0, 1_000, pass), (0, 1, WAIT(8_010)), (8_009, 1, WAIT(1)), (8_010, 1, pass)],
        );
        check(100, 200, &[(0, 1, pass), (0, 1_000, WAIT(10)), (10, 1_000, pass)]);
        check(u64::MAX, 1, &[(0, u64::MAX, pass), (u64::MAX, u64::MAX, pass)]);
        check(1, 1, &[(0, 0, pass), (0, 1, pass), (0, 0, pass)]);
    }

    #[test]
    fn what_was_not_pushed_is_given_back() {
        let rate = Rate { per_second: 1, burst: 10 };
        let mut buckets = Buckets::default();
        assert_eq!(buckets.take("a", rate, 10, 0), Verdict::Pass);
        buckets.give_back("a", rate, 4);
        assert_eq!(buckets.take("a", rate, 5, 0), WAIT(1_000));
        assert_eq!(buckets.take("a", rate, 4, 0), Verdict::Pass);
        buckets.give_back("a", rate, u64::MAX);
        buckets.give_back("nobody", rate, 1);
        assert_eq!(buckets.take("a", rate, 10, 0), Verdict::Pass);
        assert_eq!(buckets.take("a", rate, 1, 0), WAIT(1_000));
    }

    #[test]
    fn a_limit_is_shared_by_the_members() {
        let check = |per_second, burst, members, expected: Option<(u64, u64)>| {
            let limits =
                PushLimits { samples_per_second: per_second, burst, ..PushLimits::default() };
            let expected = expected.map(|(per_second, burst)| Rate { per_second, burst });
            assert_eq!(Rate::of(&limits, members), expected, "{per_second} {burst} {members}");
        };
        check(0, 5, 3, None);
        check(1_000, 0, 1, Some((1_000, 10_000)));
        check(1_000, 100, 0, Some((1_000, 100)));
        check(1_000, 100, 3, Some((334, 34)));
        check(1, 1, 5, Some((1, 1)));
    }

    #[test]
    fn tenants_are_bounded_and_the_quiet_ones_forgotten() {
        let rate = Rate { per_second: 1, burst: 10 };
        let mut buckets = Buckets::default();
        for n in 0..2 * TENANTS_MAX {
            let now_ms = u64::try_from(n).unwrap() / 10;
            assert_eq!(buckets.take(&n.to_string(), rate, 10, now_ms), Verdict::Pass);
        }
        assert!(buckets.buckets.len() <= TENANTS_MAX, "{}", buckets.buckets.len());
        assert!(buckets.buckets.len() >= TENANTS_MAX - FORGOTTEN);
        let last = (2 * TENANTS_MAX - 1).to_string();
        assert!(matches!(buckets.take(&last, rate, 10, 2_000), Verdict::Wait { .. }));
        // Once they are full again, none needs to be remembered.
        assert_eq!(buckets.take("new", rate, 10, 60_000), Verdict::Pass);
        assert_eq!(buckets.buckets.len(), 1);
    }
}
