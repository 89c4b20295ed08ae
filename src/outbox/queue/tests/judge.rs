//! A queue under any orders, beside what must always be true of it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, sample::Index};

use super::{
    lines::{LOST, batch, foreign, show, slot},
    *,
};
use crate::{model::record::RecordName, outbox::lines::Stored};

#[derive(Clone, Debug)]
enum Step {
    Append(u16),
    Undivided(u16),
    /// So many records that somebody waits for.
    Push(u16, usize),
    Open(u16, i64),
    Close(u16),
    Extract(u16),
    PutBack(u16),
    Bury(u16, Index),
    Plan(u16, Vec<(i64, u64)>),
    PlanEnds(bool),
    Hold(bool),
    NextInterval,
    Start,
    Answer(Index, u8),
    Write,
    /// It fails, and who waits is refused.
    WriteFails,
    DropOldest,
}

fn step() -> impl Strategy<Value = Step> {
    let slot = 0..4_u16;
    // Whoever gives had the slot before.
    let given = proptest::collection::vec((0..40_i64, 0..30_u64), 0..4);
    let before = prop_oneof![0..50_i64, 100..200_i64, Just(i64::MAX)];
    prop_oneof![
        6 => slot.clone().prop_map(Step::Append),
        1 => slot.clone().prop_map(Step::Undivided),
        2 => (slot.clone(), 1..4_usize).prop_map(|(slot, count)| Step::Push(slot, count)),
        3 => (slot.clone(), before).prop_map(|(slot, ms)| Step::Open(slot, ms)),
        1 => slot.clone().prop_map(Step::Close),
        1 => slot.clone().prop_map(Step::Extract),
        1 => slot.clone().prop_map(Step::PutBack),
        1 => (slot.clone(), any::<Index>()).prop_map(|(slot, at)| Step::Bury(slot, at)),
        2 => (slot, given).prop_map(|(slot, given)| Step::Plan(slot, given)),
        2 => any::<bool>().prop_map(Step::PlanEnds),
        1 => any::<bool>().prop_map(Step::Hold),
        1 => Just(Step::NextInterval),
        4 => Just(Step::Start),
        4 => (any::<Index>(), 0..10_u8).prop_map(|(at, n)| Step::Answer(at, n)),
        2 => Just(Step::Write),
        1 => Just(Step::WriteFails),
        1 => Just(Step::DropOldest),
    ]
}

/// A queue beside what must be true of it.
struct Judge {
    queue: Queue,
    interval_ms: i64,
    now_ms: i64,
    starts: Vec<Start>,
    planned: Option<(u16, Planned)>,
    positions: BTreeMap<LineKey, u64>,
    /// On disk, and not let go.
    on_disk: BTreeSet<u64>,
    /// Pushed, and nothing was told of them yet.
    waiting: BTreeSet<u64>,
    /// Samples that came in, and that are gone for a reason that was told.
    came: u64,
    left: u64,
}

impl Judge {
    fn new() -> Self {
        let mut queue = queue(|limits| (limits.lanes, limits.bytes_max) = (2, 100_000));
        queue.rules.request_samples_max = 3;
        Self {
            queue,
            interval_ms: 100,
            now_ms: 0,
            starts: Vec::new(),
            planned: None,
            positions: BTreeMap::new(),
            on_disk: BTreeSet::new(),
            waiting: BTreeSet::new(),
            came: 0,
            left: 0,
        }
    }

    fn take(&mut self, step: Step) {
        self.now_ms += 1000;
        let now_ms = self.now_ms;
        match step {
            Step::Append(slot) => {
                self.came += 1;
                self.queue.append(batch(slot, self.interval_ms, now_ms), now_ms);
            }
            Step::Undivided(slot) => {
                self.came += 1;
                append(&mut self.queue, "", slot.into(), now_ms);
            }
            Step::Push(slot, count) => self.push(slot, count),
            Step::Open(number, before_ms) => self.queue.open(slot(number), before_ms),
            Step::Close(number) => self.queue.close(&BTreeSet::from([slot(number)])),
            Step::Extract(number) => {
                self.queue.close(&BTreeSet::from([slot(number)]));
                if !self.queue.is_under_way(slot(number)) {
                    self.queue.extract(slot(number));
                }
            }
            Step::PutBack(number) => self.queue.put_back(slot(number)),
            Step::Bury(number, at) => {
                let held = self.queue.held.of_slot(slot(number));
                let names: Vec<RecordName> =
                    held.filter_map(|held| self.queue.held.name_of(&held.entry)).collect();
                let count = at.index(names.len() + 1);
                self.queue.bury(slot(number), &names[..count]);
            }
            Step::Plan(number, given) if self.planned.is_none() => {
                let records = given.iter();
                let records = records.map(|(ms, n)| foreign(number, *ms, *n, now_ms)).collect();
                let stored = Stored { records, ..Stored::default() };
                let planned = self.queue.plan(slot(number), stored, now_ms);
                self.planned = Some((number, planned));
            }
            Step::PlanEnds(is_stored) => self.end_plan(is_stored),
            Step::Hold(holds) => self.queue.hold_all(holds),
            Step::NextInterval => self.interval_ms += 10,
            Step::Start => self.starts.extend(self.queue.start(now_ms, true)),
            Step::Answer(at, number) if !self.starts.is_empty() => {
                let start = self.starts.remove(at.index(self.starts.len()));
                let verdict = match number {
                    0..3 => Verdict::Stored,
                    3 => LOST,
                    4 => Verdict::Rejected,
                    5 => Verdict::StoredPartly { refused: 2, unsendable: 1 },
                    6 => Verdict::TooLarge,
                    7 => Verdict::OtherForm { maybe_stored: true },
                    8 => {
                        self.queue.take_back(start.ticket, &[]);
                        return;
                    }
                    _ => Verdict::Retry { wait_ms: None, maybe_stored: false },
                };
                self.left += answer(&mut self.queue, &start, verdict, now_ms).sent_samples;
            }
            Step::Plan(..) | Step::Answer(..) => {}
            Step::Write => {
                let written = write_all(&mut self.queue, now_ms);
                self.on_disk.extend(written);
            }
            Step::WriteFails => self.fail_write(),
            Step::DropOldest => self.drop_oldest(),
        }
    }

    fn push(&mut self, slot: u16, count: usize) {
        for _ in 0..count {
            self.came += 1;
            self.waiting.insert(self.queue.next_sequence());
            let batch = Batch { pushed: true, ..batch(slot, self.interval_ms, self.now_ms) };
            self.queue.append_urgent(batch, self.now_ms);
        }
    }

    fn drop_oldest(&mut self) {
        self.queue.limits.bytes_max = self.queue.unsent().bytes.max(10);
        self.queue.make_room(0);
        self.queue.limits.bytes_max = 100_000;
    }

    fn fail_write(&mut self) {
        self.queue.take_writes(self.now_ms, false);
        let before = self.queue.unsent().samples;
        let refused = std::mem::take(&mut self.waiting).into_iter().map(|n| n..n + 1);
        self.queue.withdraw(&refused.collect::<Vec<_>>());
        self.left += before - self.queue.unsent().samples;
        self.queue.not_written(false);
    }

    fn end_plan(&mut self, is_stored: bool) {
        let Some((number, planned)) = self.planned.take() else { return };
        if is_stored {
            let sequences: Vec<u64> = planned.records.iter().map(|r| r.sequence).collect();
            let places: Vec<Place> =
                sequences.iter().map(|n| place(u32::try_from(*n).unwrap())).collect();
            self.on_disk.extend(sequences);
            self.queue.stored(slot(number), planned, &places, self.now_ms);
        } else {
            self.queue.not_stored(&planned);
        }
    }

    fn check(&mut self) {
        let lost: u64 = self.queue.take_losses().iter().map(|loss| loss.samples).sum();
        let Handed { taken, given } = self.queue.take_handed();
        self.came += taken;
        self.left += lost + given;
        for (sequence, _) in self.queue.take_released() {
            assert!(self.on_disk.remove(&sequence), "{sequence} is let go, and was not there");
        }
        for (key, position) in self.queue.take_positions() {
            let old = self.positions.insert(key, position);
            assert!(old.is_none_or(|old| old <= position), "a position went back");
        }
        let queue = &self.queue;
        let in_lanes = queue
            .lanes
            .iter()
            .enumerate()
            .flat_map(|(number, (_, lane))| lane.entries().map(move |entry| (number, *entry)));
        let held = queue.held.records().map(|waiting| (waiting.lane, waiting.entry));
        let all: Vec<(usize, Entry)> = in_lanes.chain(held).collect();
        let mut totals = Totals::default();
        let mut names = BTreeSet::new();
        for (number, entry) in &all {
            totals.add(entry);
            assert_eq!(entry.place.is_some(), self.on_disk.contains(&entry.sequence));
            let name = queue.held.name_of(entry);
            assert!(name.is_none_or(|name| names.insert((entry.slot(), name))));
            self.check_position(*number, entry);
        }
        assert_eq!(totals, queue.unsent());
        // Of a request some may have been stored, and be here all the same until the rest is decided.
        assert!(self.came <= self.left + totals.samples, "samples are gone without a word");
        let live: BTreeSet<u64> = all.iter().map(|(_, entry)| entry.sequence).collect();
        assert!(self.on_disk.is_subset(&live), "what is gone is never let go");
        for one in self.planned.iter().flat_map(|(_, planned)| &planned.entries) {
            self.check_position(one.lane, &one.entry);
        }
        self.check_waiting(&all);
        self.check_order();
        self.check_requests();
    }

    /// Of each pushed record it is told once, and in time, that it is safe or lost.
    fn check_waiting(&mut self, all: &[(usize, Entry)]) {
        let places: BTreeMap<u64, Option<Place>> =
            all.iter().map(|(_, entry)| (entry.sequence, entry.place)).collect();
        for (sequence, _) in self.queue.take_settled() {
            self.waiting.remove(&sequence);
            let is_here = places.get(&sequence).is_some_and(Option::is_none);
            assert!(!is_here, "{sequence} is in memory alone");
        }
        for sequence in &self.waiting {
            assert_eq!(places.get(sequence), Some(&None), "of {sequence} nothing was told");
        }
    }

    /// Each lane is in one request at most, and what several share is not too large.
    fn check_requests(&self) {
        let mut lanes = BTreeSet::new();
        for share in self.starts.iter().flat_map(|start| &start.shares) {
            assert!(lanes.insert(share.lane), "lane {} is in two requests", share.lane);
        }
        for start in &self.starts {
            let samples = start.shares.iter().map(|share| share.samples.len());
            assert!(start.shares.len() == 1 || samples.sum::<usize>() <= 3, "{start:?}");
        }
    }

    /// A crash now must lose no record.
    fn check_position(&self, number: usize, entry: &Entry) {
        let LaneKey { signal, tenant, .. } = self.queue.lanes[number].0.clone();
        let key = LineKey { signal, tenant, slot: entry.slot(), divided: entry.is_divided() };
        let position = self.positions.get(&key).copied().unwrap_or_default();
        assert!(position < entry.sequence, "{entry:?} is passed by {position}");
    }

    /// In lanes is what may leave, in order of name, but for what is on its way.
    fn check_order(&self) {
        let mut last: BTreeMap<Slot, RecordName> = BTreeMap::new();
        for (_, lane) in &self.queue.lanes {
            let on_its_way = lane.on_its_way().count();
            // Of a request that was dissolved nobody knows what is on its way.
            if lane.is_in_flight() && on_its_way == 0 {
                continue;
            }
            for entry in lane.entries().skip(on_its_way) {
                let Some(name) = self.queue.held.name_of(entry) else { continue };
                let is_admitted = self.queue.held.admits(entry.slot(), entry.since_ms());
                assert!(is_admitted, "{} may not leave", show(&self.queue, entry));
                let before = last.insert(entry.slot(), name);
                assert!(before.is_none_or(|before| before < name), "{before:?} before {name:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_ordered_nothing_is_lost_and_order_is_kept(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut judge = Judge::new();
        for step in steps {
            judge.take(step);
            judge.check();
        }
    }
}
