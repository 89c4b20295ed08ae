//! How often a client may ask: a bucket per address that fills again with time. Pure.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

/// Of a table; when it is full, the one that has been quiet for the longest is forgotten.
const CLIENTS_MAX: usize = 4_096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) per_second: u32,
    pub(super) burst: u32,
}

/// What is left to one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// In thousandths of a request: what a rate per second gives in a millisecond is whole then.
    left: u64,
    at_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// So long until the next one passes, at least 1.
    Wait {
        seconds: u64,
    },
}

/// One request.
const ONE: u64 = 1_000;

impl Bucket {
    pub(super) fn full(rate: Rate, now_ms: u64) -> Self {
        Self { left: u64::from(rate.burst) * ONE, at_ms: now_ms }
    }

    /// Takes one request out, where there is one; else nothing, so that who goes on asking does not
    /// wait longer for it.
    pub(super) fn take(self, rate: Rate, now_ms: u64) -> (Self, Verdict) {
        let filled = self.filled(rate, now_ms);
        match filled.verdict(rate) {
            Verdict::Pass => (Self { left: filled.left - ONE, ..filled }, Verdict::Pass),
            wait @ Verdict::Wait { .. } => (filled, wait),
        }
    }

    /// What `take` took was not used up.
    fn give_back(self, rate: Rate) -> Self {
        Self { left: (self.left + ONE).min(u64::from(rate.burst) * ONE), ..self }
    }

    fn filled(self, rate: Rate, now_ms: u64) -> Self {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        let gained = passed_ms.saturating_mul(u64::from(rate.per_second));
        let left = self.left.saturating_add(gained).min(u64::from(rate.burst) * ONE);
        Self { left, at_ms: now_ms.max(self.at_ms) }
    }

    fn verdict(self, rate: Rate) -> Verdict {
        if self.left >= ONE {
            return Verdict::Pass;
        }
        let wait_ms = (ONE - self.left).div_ceil(u64::from(rate.per_second.max(1)));
        Verdict::Wait { seconds: wait_ms.div_ceil(1_000).max(1) }
    }
}

/// The buckets of all clients.
#[derive(Default)]
pub(super) struct Table {
    buckets: BTreeMap<IpAddr, Bucket>,
}

impl Table {
    pub(super) fn take(&mut self, client: IpAddr, rate: Rate, now_ms: u64) -> Verdict {
        let client = network(client);
        let bucket = self.buckets.get(&client).copied();
        if bucket.is_none() && self.buckets.len() >= CLIENTS_MAX {
            let quiet = self.buckets.iter().min_by_key(|(_, bucket)| bucket.at_ms);
            if let Some(quiet) = quiet.map(|(client, _)| *client) {
                self.buckets.remove(&quiet);
            }
        }
        let bucket = bucket.unwrap_or_else(|| Bucket::full(rate, now_ms));
        let (bucket, verdict) = bucket.take(rate, now_ms);
        self.buckets.insert(client, bucket);
        verdict
    }

    pub(super) fn give_back(&mut self, client: IpAddr, rate: Rate) {
        if let Some(bucket) = self.buckets.get_mut(&network(client)) {
            *bucket = bucket.give_back(rate);
        }
    }

    /// What `take` would say, and takes nothing.
    pub(super) fn look(&self, client: IpAddr, rate: Rate, now_ms: u64) -> Verdict {
        let bucket = self.buckets.get(&network(client));
        bucket.map_or(Verdict::Pass, |bucket| bucket.filled(rate, now_ms).verdict(rate))
    }
}

/// Who has one IPv6 address has the whole network of it.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        canonical @ IpAddr::V4(_) => canonical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: fn(u64) -> Verdict = |seconds| Verdict::Wait { seconds };

    /// At each instant one request, and what is said to it.
    #[track_caller]
    fn check(per_second: u32, burst: u32, asked: &[(u64, Verdict)]) {
        let rate = Rate { per_second, burst };
        let mut bucket = Bucket::full(rate, 0);
        for (n, (at_ms, expected)) in asked.iter().enumerate() {
            let verdict;
            (bucket, verdict) = bucket.take(rate, *at_ms);
            assert_eq!(verdict, *expected, "request {n} at {at_ms} ms");
        }
    }

    #[test]
    fn a_bucket_lets_pass_what_it_holds_and_what_comes_in() {
        let pass = Verdict::Pass;
        check(1, 2, &[(0, pass), (0, pass), (0, WAIT(1)), (999, WAIT(1)), (1000, pass)]);
        check(100, 1, &[(0, pass), (9, WAIT(1)), (10, pass), (15, WAIT(1)), (20, pass)]);
        // Full is full, however long it was quiet; a clock that steps back gives nothing.
        check(1, 2, &[(90_000, pass), (90_000, pass), (90_000, WAIT(1)), (5, WAIT(1))]);
        // Asking in vain costs nothing.
        check(1, 1, &[(0, pass), (100, WAIT(1)), (500, WAIT(1)), (1000, pass)]);
    }

    #[test]
    fn clients_are_told_apart_and_the_quiet_ones_forgotten() {
        let rate = Rate { per_second: 1, burst: 1 };
        let mut table = Table::default();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let check = |table: &mut Table, client: &str, expected: Verdict| {
            assert_eq!(table.take(address(client), rate, 0), expected, "{client}");
        };
        check(&mut table, "10.0.0.1", Verdict::Pass);
        check(&mut table, "10.0.0.1", WAIT(1));
        check(&mut table, "::ffff:10.0.0.1", WAIT(1));
        check(&mut table, "10.0.0.2", Verdict::Pass);
        check(&mut table, "2001:db8::1", Verdict::Pass);
        check(&mut table, "2001:db8::2", WAIT(1));
        assert_eq!(table.look(address("2001:db8::3"), rate, 0), WAIT(1));
        table.give_back(address("2001:db8::4"), rate);
        table.give_back(address("2001:db8::4"), rate);
        check(&mut table, "2001:db8::1", Verdict::Pass);
        check(&mut table, "2001:db8::1", WAIT(1));
        assert_eq!(table.look(address("10.0.0.3"), rate, 0), Verdict::Pass);

        let mut table = Table::default();
        for n in 0..10_000_u32 {
            let client = std::net::Ipv4Addr::from_bits(n).into();
            assert_eq!(table.take(client, rate, u64::from(n)), Verdict::Pass);
        }
        assert_eq!(table.buckets.len(), CLIENTS_MAX);
        // The last ones are known still.
        assert_eq!(table.take(std::net::Ipv4Addr::from_bits(9_999).into(), rate, 9_999), WAIT(1));
    }
}
