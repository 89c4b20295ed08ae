//! All that waits for one destination: its lanes, what is held outside of them, what of it all is in
//! memory, and the bounds. Pure; `destination` brings events and time, and does what this decides.

mod bounds;
mod copies;
mod lines;
mod pushes;
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use hashbrown::HashMap;

pub(super) use crate::outbox::queue::{
    lines::{Handed, Planned},
    pushes::{Free, Settled},
    turns::{Share, Start},
};
use crate::{
    model::{batch::Batch, member::NodeId, slot::Slot},
    outbox::{
        entry::{Entry, LaneKey, LineKey, Place},
        frame::{FRAME_BYTES_MAX, Record, frame_bytes},
        fresh::{Fresh, Unwritten},
        held::Held,
        hold::Holds,
        lane::{Lane, REQUEST_BYTES_MAX, Rules},
        loss::{Loss, Losses, Reason},
        progress::{Line, Progress},
        queue::copies::Looked,
        recovery::Unsent,
        sent::SentInstants,
        settings::Limits,
    },
};

/// A size that the destination has refused is tried again after that long.
const SIZE_LEARNED_MS: i64 = 3_600_000;

#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    rules: Rules,
    /// Never removed: a position belongs to each.
    lanes: Vec<(LaneKey, Lane)>,
    index: BTreeMap<LaneKey, usize>,
    /// The lanes that may share a request: those of one tenant, in order of number.
    companies: Vec<Vec<usize>>,
    /// Of each lane, which of those it is in.
    company: Vec<usize>,
    /// Divided records that may not leave, or not yet: none of a lane waits for them.
    held: Held,
    /// Slots with records on their way by that lane, which are to be sorted anew after the answer.
    unsettled: BTreeMap<usize, BTreeSet<Slot>>,
    /// Of own records, who has a copy.
    copied: HashMap<u64, NodeId>,
    looked: Option<Looked>,
    progress: Progress,
    sent: SentInstants,
    handed: Handed,
    fresh: Fresh,
    /// Pushed records that are in memory alone no longer.
    settled: Vec<(u64, Settled)>,
    unsent: Totals,
    next_sequence: u64,
    /// Of records that enter a lane late.
    next_order: u64,
    next_ticket: u64,
    /// The lanes of each request that is not answered yet, by its ticket.
    under_way: HashMap<u64, Vec<usize>>,
    /// Where the next round of starts begins, so that each lane has its turn.
    next_lane: usize,
    holds: Holds,
    size_learned_ms: Option<i64>,
    losses: Losses,
    released: Vec<(u64, Place)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) bytes: u64,
    pub(super) samples: u64,
    pub(super) records: usize,
}

/// What an answer has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) sent_samples: u64,
    /// The tenant is held from now on, or no longer.
    pub(super) held: Option<bool>,
}

impl Queue {
    /// `next_sequence` is above every number ever used.
    pub(super) fn new(limits: Limits, rules: Rules, me: NodeId, next_sequence: u64) -> Self {
        Self {
            rules,
            limits,
            lanes: Vec::new(),
            index: BTreeMap::new(),
            companies: Vec::new(),
            company: Vec::new(),
            held: Held::new(me),
            unsettled: BTreeMap::new(),
            copied: HashMap::new(),
            looked: None,
            progress: Progress::default(),
            sent: SentInstants::default(),
            handed: Handed::default(),
            fresh: Fresh::default(),
            settled: Vec::new(),
            unsent: Totals::default(),
            next_sequence,
            next_order: 0,
            next_ticket: 0,
            under_way: HashMap::new(),
            next_lane: 0,
            holds: Holds::default(),
            size_learned_ms: None,
            losses: Losses::default(),
            released: Vec::new(),
        }
    }

    /// New limits and rules; the number of lanes stays, as the order of what is on its way hangs on
    /// it. What was learned of the destination may hold no longer.
    pub(super) fn change(&mut self, limits: &Limits, rules: &Rules, now_ms: i64) {
        self.limits = Limits { lanes: self.limits.lanes, ..limits.clone() };
        self.size_learned_ms = None;
        self.set_rules(rules.clone());
        self.holds = Holds::default();
        for (_, lane) in &mut self.lanes {
            lane.try_at_once();
        }
        self.expire(now_ms);
        self.make_room(0);
    }

    /// A record that lay on disk when the log was opened, in order of sequence. What is divided waits
    /// until it is said who is to send it.
    pub(super) fn restore(&mut self, unsent: Unsent) {
        let Unsent { key, name, copy_of, entry } = unsent;
        let number = self.lane_of(&key.lane(self.limits.lanes));
        let Some(name) = name else {
            self.unsent.add(&entry);
            self.lanes[number].1.expect_repeats();
            self.enter(number, entry);
            return;
        };
        self.held.learn_name(entry.sequence, name);
        // Of two copies the later one was made when the record had changed hands.
        self.forget_copy(self.held.copy_of(&name));
        let is_new = match copy_of {
            Some(original) => self.held.add_copy(number, entry, original),
            None => self.held.add(number, entry, true),
        };
        if is_new {
            self.unsent.add(&entry);
            self.progress.pin(number, &entry);
        } else {
            // It was given away and came back, and the first was not forgotten yet.
            self.held.forget_name(entry.sequence);
            self.released.extend(entry.place.map(|place| (entry.sequence, place)));
        }
    }

    /// False: the queue is full and told to push back, so appending has to wait.
    pub(super) fn has_room(&self) -> bool {
        self.limits.drops_oldest
            || self.unsent.bytes < self.own_bytes_max()
                && self.unsent.records < self.limits.records_max
                && self.fresh.unwritten_bytes() < self.limits.memory_bytes_max
    }

    pub(super) fn append(&mut self, batch: Batch, now_ms: i64) {
        self.add(batch, false, now_ms);
    }

    fn add(&mut self, batch: Batch, urgent: bool, now_ms: i64) {
        let bytes = u32::try_from(batch.bytes.len()).unwrap_or(u32::MAX);
        if frame_bytes(&batch.tenant, batch.bytes.len()) > FRAME_BYTES_MAX {
            self.losses.add(Reason::TooLarge, u64::from(batch.samples), batch.oldest_ms);
            return;
        }
        self.make_room(u64::from(bytes));
        let slot = batch.stream.slot();
        let number =
            self.lane_of(&LaneKey::of(batch.signal, &batch.tenant, slot, self.limits.lanes));
        let entry = Entry::of(&batch, self.next_sequence, now_ms);
        self.next_sequence += 1;
        self.unsent.add(&entry);
        let line = Line::of(&entry, number);
        let unwritten = Unwritten { sequence: entry.sequence, line, appended_ms: now_ms, urgent };
        self.fresh.add(unwritten, batch.bytes);
        if self.held.admits(slot, entry.since_ms()) {
            self.enter(number, entry);
        } else {
            self.progress.pin(number, &entry);
            self.held.add(number, entry, false);
        }
        // The disk hangs, or can't keep up.
        self.shed_memory(self.limits.memory_bytes_max.saturating_mul(2), Reason::Memory);
    }

    /// For reading what is handed over: none of an attempt.
    pub(super) fn take_ticket(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        ticket
    }

    pub(super) fn write_due_ms(&self) -> Option<i64> {
        self.fresh.due_ms()
    }

    /// What is due to be written, or everything where `all`.
    pub(super) fn take_writes(&mut self, now_ms: i64, all: bool) -> Vec<Record> {
        let due = self.fresh.take_due(now_ms, all).to_vec();
        due.iter().map(|unwritten| self.record(unwritten)).collect()
    }

    /// The records last taken lie at `places` now, in that order.
    pub(super) fn written(&mut self, places: &[Place]) {
        let written = self.fresh.written(self.limits.written_bytes_max);
        for (unwritten, place) in written.into_iter().zip(places) {
            let Unwritten { sequence, line, urgent, .. } = unwritten;
            if let Some(entry) = self.entry_mut(line.lane, sequence) {
                entry.place = Some(*place);
                self.settled.extend(urgent.then_some((sequence, Settled::Safe)));
            } else {
                // Acknowledged or dropped while it was being written.
                self.released.push((sequence, *place));
                self.progress.written_late(line);
            }
        }
    }

    /// Records have been moved to other places.
    pub(super) fn moved(&mut self, moves: &[(LineKey, u64, Place)]) {
        for (key, sequence, place) in moves {
            let number = self.lane_of(&key.lane(self.limits.lanes));
            // Who has left meanwhile was released with its old place: the segment is the same.
            if let Some(entry) = self.entry_mut(number, *sequence) {
                entry.place = Some(*place);
            }
        }
    }

    pub(super) fn take_released(&mut self) -> Vec<(u64, Place)> {
        std::mem::take(&mut self.released)
    }

    /// The lines that have come further, with what is now done with.
    pub(super) fn take_positions(&mut self) -> Vec<(LineKey, u64)> {
        let positions = self.progress.take(self.next_sequence - 1);
        let keyed = |(line, position): (Line, u64)| {
            let LaneKey { signal, tenant, .. } = self.lanes[line.lane].0.clone();
            (LineKey { signal, tenant, slot: line.slot, divided: line.divided }, position)
        };
        positions.into_iter().map(keyed).collect()
    }

    pub(super) fn take_losses(&mut self) -> Vec<Loss> {
        self.losses.take()
    }

    pub(super) fn body(&self, sequence: u64) -> Option<&Bytes> {
        self.fresh.body(sequence)
    }

    pub(super) fn place(&self, number: usize, sequence: u64) -> Option<Place> {
        self.entry(number, sequence)?.place
    }

    pub(super) fn unsent(&self) -> Totals {
        self.unsent
    }

    pub(super) fn in_flight(&self) -> usize {
        self.under_way.len()
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    pub(super) fn is_all_written(&mut self) -> bool {
        self.fresh.is_all_written()
    }

    /// Of what is in memory alone.
    pub(super) fn unwritten_samples(&self) -> u64 {
        let entries = self.lanes.iter().flat_map(|(_, lane)| lane.entries());
        let entries = entries.chain(self.held.records().map(|waiting| &waiting.entry));
        entries.filter(|entry| entry.place.is_none()).map(|entry| u64::from(entry.samples)).sum()
    }

    pub(super) fn oldest_ms(&self) -> Option<i64> {
        let firsts = self.lanes.iter().filter_map(|(_, lane)| lane.first());
        let held = self.held.first().map(|waiting| &waiting.entry);
        firsts.chain(held).map(|entry| entry.oldest_ms).min()
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = (&LaneKey, &Lane)> {
        self.lanes.iter().map(|(key, lane)| (key, lane))
    }

    pub(super) fn is_held(&self, key: &LaneKey) -> bool {
        self.holds.contains(&key.tenant)
    }

    /// The destination refuses a tenant that has something to send.
    pub(super) fn is_refused(&self) -> bool {
        self.lanes.iter().any(|(key, lane)| !lane.is_empty() && self.is_held(key))
    }

    /// Nothing will leave by itself for now: each lane that has something waits for better times.
    pub(super) fn is_stuck(&self, now_ms: i64) -> bool {
        self.lanes.iter().filter(|(_, lane)| !lane.is_empty()).all(|(key, lane)| {
            lane.is_backing_off(now_ms) || !lane.is_in_flight() && self.is_held(key)
        })
    }

    fn lane_of(&mut self, key: &LaneKey) -> usize {
        if let Some(number) = self.index.get(key) {
            return *number;
        }
        let number = self.lanes.len();
        let of_tenant = |number: u16| LaneKey { number, ..key.clone() };
        let others = of_tenant(u16::MIN)..=of_tenant(u16::MAX);
        let other = self.index.range(others).next().map(|(_, other)| self.company[*other]);
        let company = other.unwrap_or(self.companies.len());
        if company == self.companies.len() {
            self.companies.push(Vec::new());
        }
        self.companies[company].push(number);
        self.company.push(company);
        self.lanes.push((key.clone(), Lane::default()));
        self.index.insert(key.clone(), number);
        number
    }

    fn record(&self, unwritten: &Unwritten) -> Record {
        let Unwritten { line: Line { lane, .. }, sequence, .. } = *unwritten;
        let entry = self.entry(lane, sequence).expect("who has a body has not left");
        let bytes = self.fresh.body(sequence).expect("what is not written has a body");
        let (appended_ms, name) = (entry.appended_ms, self.held.name_of(entry));
        let batch = self.batch(lane, entry, bytes.clone());
        // A copy is written before it is anything else.
        Record { sequence, appended_ms, name, copy_of: None, batch }
    }

    fn batch(&self, number: usize, entry: &Entry, bytes: Bytes) -> Batch {
        let key = &self.lanes[number].0;
        Batch {
            signal: key.signal,
            tenant: Arc::clone(&key.tenant),
            stream: entry.stream,
            round: entry.round,
            since_ms: entry.since_ms(),
            pushed: entry.is_pushed(),
            samples: entry.samples,
            oldest_ms: entry.oldest_ms,
            raw_length: entry.raw_length,
            bytes,
        }
    }

    /// Wherever it waits.
    fn entry(&self, number: usize, sequence: u64) -> Option<&Entry> {
        self.lanes[number].1.entry(sequence).or_else(|| self.held.get(sequence))
    }

    fn entry_mut(&mut self, number: usize, sequence: u64) -> Option<&mut Entry> {
        let in_lane = self.lanes[number].1.entry_mut(sequence);
        in_lane.or_else(|| self.held.get_mut(sequence))
    }

    fn enter(&mut self, number: usize, entry: Entry) {
        self.progress.entered(number, &entry);
        self.lanes[number].1.push(entry, &self.rules);
    }

    fn forget(&mut self, entry: &Entry, settled: Settled) {
        if entry.is_pushed() && entry.place.is_none() {
            self.settled.push((entry.sequence, settled));
        }
        self.unsent.subtract(entry);
        self.fresh.forget(entry.sequence, entry.place.is_some());
        self.held.forget_name(entry.sequence);
        self.copied.remove(&entry.sequence);
        self.released.extend(entry.place.map(|place| (entry.sequence, place)));
    }

    fn learn_size(&mut self, request_bytes: usize, now_ms: i64) {
        let half = (request_bytes as u64 / 2).max(1);
        if half < self.rules.request_bytes_max {
            self.set_rules(Rules { request_bytes_max: half, ..self.rules.clone() });
        }
        self.size_learned_ms = Some(now_ms);
    }

    fn forget_learned_size(&mut self, now_ms: i64) {
        if self.size_learned_ms.is_some_and(|learned_ms| now_ms - learned_ms > SIZE_LEARNED_MS) {
            self.size_learned_ms = None;
            self.set_rules(Rules { request_bytes_max: REQUEST_BYTES_MAX, ..self.rules.clone() });
        }
    }

    fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
        for (_, lane) in &mut self.lanes {
            lane.redraft(&self.rules);
        }
    }
}

impl Totals {
    fn add(&mut self, entry: &Entry) {
        self.bytes += u64::from(entry.bytes);
        self.samples += u64::from(entry.samples);
        self.records += 1;
    }

    fn subtract(&mut self, entry: &Entry) {
        self.bytes -= u64::from(entry.bytes);
        self.samples -= u64::from(entry.samples);
        self.records -= 1;
    }
}

#[cfg(test)]
mod tests;
