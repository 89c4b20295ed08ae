//! What is between the members: time, chance, messages under way, the destinations; and the tally
//! of what came to pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rand::{RngExt, rngs::StdRng};

use crate::{
    model::{member::NodeId, record::RecordName},
    ownership::handoff::{Line, Message, Record},
};

/// The parts of a run.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "a unit is part of a name")]
pub(crate) struct Times {
    /// All is well from here on …
    pub(crate) faults_ms: i64,
    /// … no sample is of a later time …
    pub(crate) samples_ms: i64,
    /// … and by now all must have arrived.
    pub(crate) end_ms: i64,
}

/// What may go wrong in a run, while it is the time of faults.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub(crate) struct Faults {
    pub(crate) crashes: bool,
    pub(crate) network: bool,
    pub(crate) outages: bool,
    pub(crate) full_disks: bool,
    /// Between two members no message passes, one way or both, though neither takes the other for
    /// dead.
    pub(crate) cuts: bool,
    /// No destination takes anything before all members have given what is left over on their disks.
    pub(crate) darkness: bool,
}

impl Faults {
    pub(crate) fn all() -> Self {
        Self {
            crashes: true,
            network: true,
            outages: true,
            full_disks: true,
            cuts: true,
            darkness: false,
        }
    }
}

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) samples: usize,
    pub(crate) handed_over: usize,
    pub(crate) bets: usize,
    pub(crate) late: usize,
    pub(crate) out_of_order: usize,
    pub(crate) repeats: usize,
    /// Repeats of what is not the newest of its series any more.
    pub(crate) stale: usize,
    pub(crate) refused: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.handed_over += other.handed_over;
        self.bets += other.bets;
        self.late += other.late;
        self.out_of_order += other.out_of_order;
        self.repeats += other.repeats;
        self.stale += other.stale;
        self.refused += other.refused;
    }
}

pub(crate) enum Event {
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

/// A sample as a destination knows it: its series and instant.
pub(crate) type Point = (u64, i64);

/// What a record holds, wherever it is.
#[derive(Debug)]
pub(crate) struct Contents {
    /// What is of one round may leave together.
    pub(crate) round: i64,
    pub(crate) points: Vec<Point>,
}

#[derive(Debug, Default)]
pub(crate) struct Destination {
    newest: BTreeMap<u64, i64>,
    pub(crate) stored: BTreeSet<Point>,
    pub(crate) down_until_ms: i64,
    /// Stored, and the sender does not know: it will send them again.
    unsure: BTreeSet<Point>,
    /// Named as lost: too late, or refused in an order that had been bet.
    pub(crate) lost: BTreeSet<Point>,
}

/// What a run is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) seed: u64,
    pub(crate) faults: Faults,
    pub(crate) times: Times,
    pub(crate) destinations: &'a [&'a str],
}

pub(crate) struct Air<O> {
    pub(crate) seed: u64,
    pub(crate) rng: StdRng,
    pub(crate) now_ms: i64,
    pub(crate) faults: Faults,
    pub(crate) times: Times,
    events: Vec<(i64, Event)>,
    /// From whom to whom nothing passes, and until when.
    pub(crate) cuts: BTreeMap<(NodeId, NodeId), i64>,
    pub(crate) destinations: BTreeMap<Arc<str>, Destination>,
    /// What destinations are to have in the end.
    pub(crate) expected: BTreeSet<Point>,
    /// Samples that came together with newer ones of their series, and will again: of these no member
    /// can tell for ever that they have been here.
    pub(crate) led_on: BTreeSet<Point>,
    pub(crate) contents: BTreeMap<RecordName, Contents>,
    /// What lies outside of the members and feeds them.
    pub(crate) outside: O,
    /// A sample may also come again though its first coming was answered.
    takes_repeats: bool,
    /// Lines whose order was bet, and so may be broken.
    bets: BTreeSet<Line>,
    pub(crate) tally: Tally,
}

impl<O> Air<O> {
    pub(crate) fn new(setting: Setting<'_>, rng: StdRng, takes_repeats: bool, outside: O) -> Self {
        let Setting { seed, faults, times, destinations } = setting;
        let destination = |name: &&str| (Arc::from(*name), Destination::default());
        Self {
            seed,
            rng,
            now_ms: 0,
            faults,
            times,
            events: Vec::new(),
            cuts: BTreeMap::new(),
            destinations: destinations.iter().map(destination).collect(),
            expected: BTreeSet::new(),
            led_on: BTreeSet::new(),
            contents: BTreeMap::new(),
            outside,
            takes_repeats,
            bets: BTreeSet::new(),
            tally: Tally::default(),
        }
    }

    pub(crate) fn due(&mut self) -> Vec<Event> {
        let now_ms = self.now_ms;
        let due = self.events.extract_if(.., |(at_ms, _)| *at_ms <= now_ms);
        due.map(|(_, event)| event).collect()
    }

    pub(crate) fn news(&mut self, to: NodeId, within_ms: i64) {
        let due_ms = self.now_ms + self.rng.random_range(0..within_ms);
        self.events.push((due_ms, Event::News { to }));
    }

    pub(crate) fn send(&mut self, from: NodeId, to: NodeId, message: &Message) {
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

    pub(crate) fn has_network_trouble(&self) -> bool {
        self.faults.network && self.now_ms < self.times.faults_ms
    }

    pub(crate) fn accepts(&self, destination: &str) -> bool {
        self.destinations[destination].down_until_ms <= self.now_ms
    }

    pub(crate) fn bet(&mut self, line: Line) {
        assert!(self.faults.crashes, "seed {}: a bet on {line:?} for no reason", self.seed);
        self.tally.bets += 1;
        self.bets.insert(line);
    }

    /// A destination without any window gets a record. A sample that is older than the newest of its
    /// series is refused; the newest again is taken, as it was sent again for want of an answer.
    pub(crate) fn receive(&mut self, line: &Line, record: &Record, will_repeat: bool) {
        let destination = self.destinations.get_mut(&line.destination).expect("all exist");
        for point in &self.contents[&record.name].points {
            let newest = destination.newest.entry(point.0).or_insert(i64::MIN);
            let is_repeat = || self.takes_repeats || destination.unsure.contains(point);
            if point.1 > *newest {
                *newest = point.1;
                destination.stored.insert(*point);
            } else if point.1 == *newest && is_repeat() {
                self.tally.repeats += 1;
            } else if destination.stored.contains(point) && self.led_on.contains(point) {
                self.tally.stale += 1;
            } else {
                let seed = self.seed;
                assert!(
                    self.bets.contains(line),
                    "seed {seed}: {line:?}: {point:?} of {record:?} after {newest}"
                );
                if self.takes_repeats && destination.stored.contains(point) {
                    self.tally.stale += 1;
                } else {
                    self.tally.out_of_order += 1;
                    destination.lost.insert(*point);
                }
            }
            if will_repeat {
                destination.unsure.insert(*point);
            }
        }
    }

    /// What was under way for very long may be late though it has arrived since.
    pub(crate) fn late(&mut self, line: &Line, record: &Record) {
        let destination = self.destinations.get_mut(&line.destination).expect("all exist");
        for point in &self.contents[&record.name].points {
            if !destination.stored.contains(point) {
                let seed = self.seed;
                assert!(self.bets.contains(line), "seed {seed}: {line:?}: {record:?} is late");
                destination.lost.insert(*point);
                self.tally.late += 1;
            }
        }
    }
}
