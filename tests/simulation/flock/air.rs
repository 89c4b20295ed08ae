//! What is between and around the members: time, chance, letters under way, the targets and the
//! destinations; and the books from which everything is judged.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rand::{RngExt, rngs::StdRng};
use starling::{
    model::{
        labels::Labels,
        member::NodeId,
        overrides::Overrides,
        record::Record,
        slot::{Slot, StreamKey},
        target::{Target, TargetId},
    },
    ownership::{handoff::Line, letter::Letter},
};

/// A target as it is in the world, whoever knows of it.
pub(crate) struct Truth {
    pub(crate) target: Arc<Target>,
    /// Discovery may find it between these instants.
    pub(crate) from_ms: i64,
    pub(crate) until_ms: i64,
    /// Before each of these it has one series, and from then on another one.
    pub(crate) changes: Vec<i64>,
}

impl Truth {
    /// What a scrape would find: one series, named by a number.
    pub(crate) fn series_at(&self, instant_ms: i64) -> u64 {
        self.changes.partition_point(|change_ms| *change_ms <= instant_ms) as u64
    }
}

/// One scrape, as the target saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scraped {
    /// `None`: off the ticks.
    pub(crate) due_ms: Option<i64>,
    pub(crate) at_ms: i64,
    pub(crate) by: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Marker {
    pub(crate) target: usize,
    pub(crate) series: u64,
    pub(crate) timestamp_ms: i64,
    pub(crate) written_ms: i64,
    pub(crate) by: usize,
}

pub(crate) enum Post {
    Letter(Letter),
    Overrides(Overrides),
}

/// A sample as a destination knows it: its stream and instant.
pub(crate) type Point = (StreamKey, i64);

#[derive(Default)]
pub(crate) struct Destination {
    newest: BTreeMap<StreamKey, i64>,
    pub(crate) stored: BTreeSet<Point>,
    pub(crate) down_until_ms: i64,
    /// Stored, and the sender does not know: it will send them again.
    unsure: BTreeSet<Point>,
    /// Named as lost: too late, or refused in an order that had been bet.
    pub(crate) lost: BTreeSet<Point>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) scraped: usize,
    pub(crate) handed_over: usize,
    pub(crate) adopted: usize,
    pub(crate) catch_ups: usize,
    pub(crate) bets: usize,
    pub(crate) late: usize,
    pub(crate) out_of_order: usize,
    pub(crate) doubles: usize,
    pub(crate) late_fences: usize,
    pub(crate) knowledge_given_up: u64,
}

pub(crate) struct Air {
    /// The true wall clock.
    pub(crate) now_ms: i64,
    pub(crate) rng: StdRng,
    /// Of a hundred letters, so many are lost, and as many are very slow.
    pub(crate) loss_percent: u32,
    letters: BTreeMap<(i64, u64), (usize, usize, Post)>,
    posted: u64,
    pub(crate) truths: Vec<Truth>,
    pub(crate) scrapes: Vec<Vec<Scraped>>,
    pub(crate) markers: Vec<Marker>,
    /// Which member's process was killed when, and with it what it knew.
    pub(crate) kills: Vec<(usize, i64)>,
    pub(crate) destinations: BTreeMap<Arc<str>, Destination>,
    /// What came into an outbox.
    pub(crate) appended: BTreeSet<Point>,
    /// Lines whose order was bet, and so may be broken.
    bets: BTreeSet<Line>,
    /// There were two fleets, apart or one after the other, that never knew of each other: neither
    /// could name what the other one had sent.
    pub(crate) were_strangers: bool,
    /// Slots of which some member heard too late that they had moved, and said so.
    pub(crate) late_slots: BTreeSet<Slot>,
    /// What must never happen, and did.
    pub(crate) faults: Vec<String>,
    /// What must not happen unless it was named, before or after.
    unnamed: Vec<(Line, String)>,
    pub(crate) tally: Tally,
    pub(crate) first_double: Option<String>,
}

impl Air {
    pub(crate) fn new(rng: StdRng, destinations: usize) -> Self {
        let name = |n: usize| (format!("d{n}").into(), Destination::default());
        Self {
            now_ms: 0,
            rng,
            loss_percent: 0,
            letters: BTreeMap::new(),
            posted: 0,
            truths: Vec::new(),
            scrapes: Vec::new(),
            markers: Vec::new(),
            kills: Vec::new(),
            destinations: (0..destinations).map(name).collect(),
            appended: BTreeSet::new(),
            bets: BTreeSet::new(),
            were_strangers: false,
            late_slots: BTreeSet::new(),
            faults: Vec::new(),
            unnamed: Vec::new(),
            tally: Tally::default(),
            first_double: None,
        }
    }

    /// `changes` times, within `span_ms` from now on, its series is another one.
    pub(crate) fn add_target(
        &mut self,
        interval_ms: u64,
        from_ms: i64,
        until_ms: i64,
        span_ms: i64,
    ) {
        let n = self.truths.len();
        let key = StreamKey(self.rng.random());
        let target = Target {
            job: "j".into(),
            labels: Labels::new(),
            discovered: Labels::new(),
            id: TargetId(n as u64),
            key,
            url: String::new(),
            interval: Duration::from_millis(interval_ms),
            timeout: Duration::from_millis(interval_ms),
        };
        let count = if self.rng.random_ratio(1, 4) { 2 } else { 0 };
        let mut changes: Vec<i64> =
            (0..count).map(|_| self.now_ms + self.rng.random_range(0..span_ms)).collect();
        changes.sort_unstable();
        self.truths.push(Truth { target: target.into(), from_ms, until_ms, changes });
        self.scrapes.push(Vec::new());
    }

    pub(crate) fn post(&mut self, from: usize, to: usize, post: Post) {
        if self.rng.random_ratio(self.loss_percent, 100) {
            return;
        }
        let is_slow = self.rng.random_ratio(self.loss_percent, 100);
        let delay_ms = self.rng.random_range(1..if is_slow { 6_000 } else { 30 });
        self.post_later(from, to, post, delay_ms);
    }

    /// To a process that stands still it comes when that one reads again.
    pub(crate) fn post_later(&mut self, from: usize, to: usize, post: Post, delay_ms: i64) {
        self.posted += 1;
        self.letters.insert((self.now_ms + delay_ms, self.posted), (from, to, post));
    }

    pub(crate) fn arrived(&mut self) -> Option<(usize, usize, Post)> {
        let entry = self.letters.first_entry()?;
        (entry.key().0 <= self.now_ms).then(|| entry.remove())
    }

    pub(crate) fn accepts(&self, destination: &str) -> bool {
        self.destinations[destination].down_until_ms <= self.now_ms
    }

    pub(crate) fn bet(&mut self, line: Line, _on: NodeId) {
        self.tally.bets += 1;
        self.bets.insert(line);
    }

    fn is_excused(&self, line: &Line) -> bool {
        self.were_strangers || self.bets.contains(line) || self.late_slots.contains(&line.slot)
    }

    pub(crate) fn first_fault(&self) -> Option<&String> {
        let unnamed = self.unnamed.iter().filter(|(line, _)| !self.is_excused(line));
        self.faults.iter().chain(unnamed.map(|(_, what)| what)).next()
    }

    /// A destination without any window gets a sample. One that is older than the newest of its
    /// stream is refused; the newest again is taken, as it was sent again for want of an answer.
    pub(crate) fn receive(&mut self, by: usize, line: &Line, record: &Record, will_repeat: bool) {
        let destination = self.destinations.get_mut(&line.destination).expect("all exist");
        let point = (record.stream, record.oldest_ms);
        let newest = destination.newest.entry(record.stream).or_insert(i64::MIN);
        if record.oldest_ms > *newest {
            *newest = record.oldest_ms;
            destination.stored.insert(point);
        } else if !destination.stored.contains(&point) || !destination.unsure.contains(&point) {
            // Twice where both sides of a split had scraped it, else out of order.
            let is_double = !destination.lost.insert(point) || destination.stored.contains(&point);
            self.tally.doubles += usize::from(is_double);
            self.tally.out_of_order += usize::from(!is_double);
            let (newest, story) = (*newest, self.story(record.stream));
            let what = format!("{by} sends {record:?} after {newest}, and nobody bet: {story}");
            // Whether there was anything to split them is for the scenario to say.
            if is_double {
                self.first_double.get_or_insert(what);
            } else {
                self.unnamed(line, what);
            }
        }
        if will_repeat {
            let destination = self.destinations.get_mut(&line.destination).expect("all exist");
            destination.unsure.insert(point);
        }
    }

    /// What was under way for very long may be late though it has arrived since.
    pub(crate) fn late(&mut self, by: usize, line: &Line, record: &Record) {
        let destination = self.destinations.get_mut(&line.destination).expect("all exist");
        let point = (record.stream, record.oldest_ms);
        if !destination.stored.contains(&point) {
            destination.lost.insert(point);
            self.tally.late += 1;
            self.unnamed(line, format!("{by} calls {record:?} late, and nobody bet"));
        }
    }

    fn unnamed(&mut self, line: &Line, what: String) {
        let at_s = self.now_ms as f64 / 1e3;
        let what = format!("at {at_s:.3}: {line:?}: {what}");
        if self.unnamed.len() < 10_000 {
            self.unnamed.push((line.clone(), what));
        }
    }

    /// What was seen of a stream last.
    pub(crate) fn story(&self, stream: StreamKey) -> String {
        self.story_about(stream, i64::MAX)
    }

    pub(crate) fn story_about(&self, stream: StreamKey, at_ms: i64) -> String {
        let Some(n) = self.truths.iter().position(|truth| truth.target.key == stream) else {
            return String::new();
        };
        let truth = &self.truths[n];
        let scrapes = &self.scrapes[n];
        let end = scrapes.partition_point(|one| one.at_ms <= at_ms.saturating_add(6_000));
        let last = &scrapes[end.saturating_sub(6)..end];
        let markers: Vec<_> = self.markers.iter().filter(|marker| marker.target == n).collect();
        let Truth { from_ms, until_ms, .. } = truth;
        format!("target {n} from {from_ms} until {until_ms}: {last:?} {markers:?}")
    }

    pub(crate) fn fault(&mut self, what: String) {
        let at_s = self.now_ms as f64 / 1e3;
        if self.faults.len() < 5 {
            self.faults.push(format!("at {at_s:.3}: {what}"));
        }
    }
}
