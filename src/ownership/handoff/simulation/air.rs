//! What is between the members: time, chance, messages under way, the destinations; and the tally
//! of what came to pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rand::{RngExt, rngs::StdRng};

use crate::{
    model::{member::NodeId, slot::StreamKey},
    ownership::handoff::{Line, Message, Record, simulation::FAULTS_MS},
};

/// What may go wrong in a run, until `FAULTS_MS`.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub(super) struct Faults {
    pub(super) crashes: bool,
    pub(super) network: bool,
    pub(super) outages: bool,
    pub(super) full_disks: bool,
    /// Between two members no message passes, one way or both, though neither takes the other for
    /// dead.
    pub(super) cuts: bool,
}

impl Faults {
    pub(super) fn all() -> Self {
        Self { crashes: true, network: true, outages: true, full_disks: true, cuts: true }
    }
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) scraped: usize,
    pub(super) handed_over: usize,
    pub(super) bets: usize,
    pub(super) late: usize,
    pub(super) out_of_order: usize,
    pub(super) repeats: usize,
    pub(super) refused: usize,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.scraped += other.scraped;
        self.handed_over += other.handed_over;
        self.bets += other.bets;
        self.late += other.late;
        self.out_of_order += other.out_of_order;
        self.repeats += other.repeats;
        self.refused += other.refused;
    }
}

pub(super) enum Event {
    Message {
        from: NodeId,
        to: NodeId,
        message: Message,
    },
    /// A member hears how things are, at last.
    News {
        to: NodeId,
    },
}

/// A sample as a destination knows it: its stream and instant.
pub(super) type Point = (StreamKey, i64);

#[derive(Debug, Default)]
pub(super) struct Destination {
    newest: BTreeMap<StreamKey, i64>,
    pub(super) stored: BTreeSet<Point>,
    pub(super) down_until_ms: i64,
    /// Stored, and the sender does not know: it will send them again.
    unsure: BTreeSet<Point>,
    /// Named as lost: too late, or refused in an order that had been bet.
    pub(super) lost: BTreeSet<Point>,
}

pub(super) struct Air {
    pub(super) seed: u64,
    pub(super) rng: StdRng,
    pub(super) now_ms: i64,
    pub(super) faults: Faults,
    events: Vec<(i64, Event)>,
    /// From whom to whom nothing passes, and until when.
    pub(super) cuts: BTreeMap<(NodeId, NodeId), i64>,
    pub(super) destinations: BTreeMap<Arc<str>, Destination>,
    pub(super) scraped: BTreeSet<Point>,
    /// Lines whose order was bet, and so may be broken.
    bets: BTreeSet<Line>,
    pub(super) tally: Tally,
}

impl Air {
    pub(super) fn new(seed: u64, rng: StdRng, faults: Faults, destinations: &[&str]) -> Self {
        let destination = |name: &&str| (Arc::from(*name), Destination::default());
        Self {
            seed,
            rng,
            now_ms: 0,
            faults,
            events: Vec::new(),
            cuts: BTreeMap::new(),
            destinations: destinations.iter().map(destination).collect(),
            scraped: BTreeSet::new(),
            bets: BTreeSet::new(),
            tally: Tally::default(),
        }
    }

    pub(super) fn due(&mut self) -> Vec<Event> {
        let now_ms = self.now_ms;
        let due = self.events.extract_if(.., |(at_ms, _)| *at_ms <= now_ms);
        due.map(|(_, event)| event).collect()
    }

    pub(super) fn news(&mut self, to: NodeId, within_ms: i64) {
        let due_ms = self.now_ms + self.rng.random_range(0..within_ms);
        self.events.push((due_ms, Event::News { to }));
    }

    pub(super) fn send(&mut self, from: NodeId, to: NodeId, message: &Message) {
        if self.cuts.get(&(from, to)).is_some_and(|until_ms| self.now_ms < *until_ms) {
            return;
        }
        let trouble = self.has_network_trouble();
        let times = match self.rng.random_range(0..10) {
            0 | 1 if trouble => 0,
            2 | 3 if trouble => 2,
            _ => 1,
        };
        for _ in 0..times {
            let is_slow = trouble && self.rng.random_ratio(1, 10);
            let delay_ms = self.rng.random_range(10..if is_slow { 8_000 } else { 200 });
            let event = Event::Message { from, to, message: message.clone() };
            self.events.push((self.now_ms + delay_ms, event));
        }
    }

    pub(super) fn has_network_trouble(&self) -> bool {
        self.faults.network && self.now_ms < FAULTS_MS
    }

    pub(super) fn accepts(&self, destination: &str) -> bool {
        self.destinations[destination].down_until_ms <= self.now_ms
    }

    pub(super) fn bet(&mut self, line: Line) {
        assert!(self.faults.crashes, "seed {}: a bet on {line:?} for no reason", self.seed);
        self.tally.bets += 1;
        self.bets.insert(line);
    }

    /// A destination without any window gets a sample. One that is older than the newest of its
    /// stream is refused; the newest again is taken, as it was sent again for want of an answer.
    pub(super) fn receive(&mut self, line: &Line, record: &Record, will_repeat: bool) {
        let destination = self.destinations.get_mut(&line.destination).expect("all exist");
        let point = (record.stream, record.oldest_ms);
        let newest = destination.newest.entry(record.stream).or_insert(i64::MIN);
        if record.oldest_ms > *newest {
            *newest = record.oldest_ms;
            destination.stored.insert(point);
        } else if record.oldest_ms == *newest && destination.unsure.contains(&point) {
            self.tally.repeats += 1;
        } else {
            let seed = self.seed;
            assert!(self.bets.contains(line), "seed {seed}: {line:?}: {record:?} after {newest}");
            self.tally.out_of_order += 1;
            destination.lost.insert(point);
        }
        if will_repeat {
            destination.unsure.insert(point);
        }
    }

    /// What was under way for very long may be late though it has arrived since.
    pub(super) fn late(&mut self, line: &Line, record: &Record) {
        let destination = self.destinations.get_mut(&line.destination).expect("all exist");
        let point = (record.stream, record.oldest_ms);
        if !destination.stored.contains(&point) {
            let seed = self.seed;
            assert!(self.bets.contains(line), "seed {seed}: {line:?}: {record:?} is late");
            destination.lost.insert(point);
            self.tally.late += 1;
        }
    }
}
