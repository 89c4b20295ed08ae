//! A network in memory with a time of its own and seeded faults: loss, delay, doubling, turning
//! round, and links that are cut in one direction. Simulations ask it what arrives next.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// On their way at once; beyond that many, the network loses the new ones.
const IN_FLIGHT_MAX: usize = 1 << 20;

/// What the network does to datagrams. Between tests of one seed the same things happen.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Lost datagrams of a hundred.
    pub loss_percent: u32,
    /// Doubled ones of a hundred.
    pub doubled_percent: u32,
    /// Each takes so long, drawn evenly; a wide range turns their order round.
    pub delay_us: std::ops::RangeInclusive<u64>,
}

impl Faults {
    /// A calm network in one room.
    pub fn calm() -> Self {
        Self { loss_percent: 0, doubled_percent: 0, delay_us: 100..=1500 }
    }
}

pub struct Network {
    pub faults: Faults,
    /// `(from, to)` that nothing passes.
    cut: BTreeSet<(SocketAddr, SocketAddr)>,
    in_flight: BTreeMap<(u64, u64), Delivery>,
    sent: u64,
    rng: StdRng,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub datagram: Vec<u8>,
}

impl Network {
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self {
            faults,
            cut: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            sent: 0,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    pub fn cut(&mut self, from: SocketAddr, to: SocketAddr) {
        self.cut.insert((from, to));
    }

    pub fn is_cut(&self, from: SocketAddr, to: SocketAddr) -> bool {
        self.cut.contains(&(from, to))
    }

    pub fn mend(&mut self) {
        self.cut.clear();
    }

    pub fn send(&mut self, now_us: u64, delivery: &Delivery) {
        let is_doubled = self.rng.random_ratio(self.faults.doubled_percent, 100);
        for _ in 0..=usize::from(is_doubled) {
            let is_lost = self.rng.random_ratio(self.faults.loss_percent, 100);
            let delay_us = self.rng.random_range(self.faults.delay_us.clone());
            let is_cut = self.cut.contains(&(delivery.from, delivery.to));
            if !is_lost && !is_cut && self.in_flight.len() < IN_FLIGHT_MAX {
                self.sent += 1;
                self.in_flight.insert((now_us + delay_us, self.sent), delivery.clone());
            }
        }
    }

    pub fn next_arrival_us(&self) -> Option<u64> {
        self.in_flight.first_key_value().map(|((at, _), _)| *at)
    }

    /// What has arrived by `now_us`, the earliest first.
    pub fn arrive(&mut self, now_us: u64) -> Option<Delivery> {
        let entry = self.in_flight.first_entry()?;
        (entry.key().0 <= now_us).then(|| entry.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(seed: u64, faults: Faults, cut: bool) -> Vec<(u64, u8)> {
        let (a, b) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap());
        let mut network = Network::new(seed, faults);
        if cut {
            network.cut(a, b);
        }
        for n in 0..100 {
            let datagram = vec![n];
            network
                .send(u64::from(n) * 10, &Delivery { from: a, to: b, datagram: datagram.clone() });
            network.send(u64::from(n) * 10, &Delivery { from: b, to: a, datagram });
        }
        let mut arrived = Vec::new();
        while let Some(at) = network.next_arrival_us() {
            let delivery = network.arrive(at).unwrap();
            if delivery.to == b {
                arrived.push((at, delivery.datagram[0]));
            }
        }
        arrived
    }

    #[test]
    fn a_seed_tells_what_happens() {
        let bad = Faults { loss_percent: 20, doubled_percent: 20, delay_us: 0..=5000 };
        assert_eq!(arrivals(1, bad.clone(), false), arrivals(1, bad.clone(), false));
        assert_ne!(arrivals(1, bad.clone(), false), arrivals(2, bad.clone(), false));
        let order: Vec<u8> = arrivals(1, bad, false).into_iter().map(|(_, n)| n).collect();
        assert!(!order.is_sorted() && (70..120).contains(&order.len()), "{order:?}");
    }

    #[test]
    fn a_calm_network_brings_all_and_a_cut_link_nothing() {
        let steady = Faults { delay_us: 50..=50, ..Faults::calm() };
        let expected: Vec<_> = (0..100).map(|n| (u64::from(n) * 10 + 50, n)).collect();
        assert_eq!(arrivals(1, steady.clone(), false), expected);
        assert_eq!(arrivals(1, steady, true), []);
    }
}
