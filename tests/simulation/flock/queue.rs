//! One member's outbox, as far as lines go: what is on the disk, what is being sent, what is set
//! aside. Obeys the orders of hand-over as `outbox::queue` does.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use rand::RngExt;
use starling::{
    model::{
        member::NodeId,
        overrides::Overrides,
        record::{Record, RecordName, Sent},
        slot::{Slot, StreamKey},
    },
    ownership::handoff::{Line, Saved},
};

use crate::flock::air::{Air, Point};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Unsent,
    /// Extracted, and being given.
    SetAside,
}

#[derive(Default)]
struct Kept {
    records: BTreeMap<RecordName, (Record, Place)>,
    sent: BTreeMap<StreamKey, i64>,
}

/// Outlives the process.
#[derive(Default)]
pub(crate) struct Disk {
    lines: BTreeMap<Line, Kept>,
    /// What hand-over wants to be remembered.
    pub(crate) saved: BTreeMap<Line, Saved>,
    pub(crate) overrides: Overrides,
    next_sequence: u64,
}

/// What a crash takes.
#[derive(Default)]
pub(crate) struct Queue {
    open_before_ms: BTreeMap<Line, i64>,
    /// What each request holds, and when it ends.
    requests: BTreeMap<Line, (Vec<RecordName>, i64)>,
    extracting: BTreeSet<Line>,
    /// Lines that may have something to send.
    busy: BTreeSet<Line>,
}

pub(crate) struct Extracted {
    pub(crate) line: Line,
    pub(crate) records: VecDeque<Record>,
    pub(crate) sent: Vec<Sent>,
}

impl Disk {
    /// As it is found by a new process.
    pub(crate) fn open(&mut self) -> Queue {
        for kept in self.lines.values_mut() {
            kept.records.values_mut().for_each(|(_, place)| *place = Place::Unsent);
        }
        let has_records = |(_, kept): &(&Line, &Kept)| !kept.records.is_empty();
        let busy = self.lines.iter().filter(has_records).map(|(line, _)| line.clone()).collect();
        Queue { busy, ..Queue::default() }
    }

    pub(crate) fn lines_with_records(&self) -> Vec<Line> {
        let has_records = |(_, kept): &(&Line, &Kept)| !kept.records.is_empty();
        self.lines.iter().filter(has_records).map(|(line, _)| line.clone()).collect()
    }

    /// For those who look for what did not arrive.
    pub(crate) fn find(&self, line: &Line, point: Point) -> Option<&impl std::fmt::Debug> {
        let records = &self.lines.get(line)?.records;
        records.values().find(|(record, _)| (record.stream, record.oldest_ms) == point)
    }

    fn kept(&mut self, line: &Line) -> &mut Kept {
        if !self.lines.contains_key(line) {
            self.lines.insert(line.clone(), Kept::default());
        }
        self.lines.get_mut(line).expect("it was just made")
    }
}

impl Queue {
    pub(crate) fn append(
        &mut self,
        disk: &mut Disk,
        me: NodeId,
        (stream, instant_ms): (StreamKey, i64),
        since_ms: i64,
        air: &mut Air,
    ) {
        disk.next_sequence += 1;
        let name = RecordName { interval_ms: since_ms, node: me, sequence: disk.next_sequence };
        let record = Record { name, stream, oldest_ms: instant_ms, bytes: 300, pushed: false };
        air.appended.insert((stream, instant_ms));
        for destination in air.destinations.keys() {
            let line = line(stream.slot(), destination);
            disk.kept(&line).records.insert(name, (record, Place::Unsent));
            self.busy.insert(line);
        }
    }

    pub(crate) fn close(&mut self, line: &Line) {
        self.open_before_ms.remove(line);
    }

    pub(crate) fn open(&mut self, line: Line, before_ms: i64) {
        self.busy.insert(line.clone());
        self.open_before_ms.insert(line, before_ms);
    }

    pub(crate) fn extract(&mut self, line: Line) {
        self.open_before_ms.remove(&line);
        self.extracting.insert(line);
    }

    pub(crate) fn put_back(&mut self, disk: &mut Disk, line: Line) {
        self.extracting.remove(&line);
        let places = disk.kept(&line).records.values_mut();
        places.for_each(|(_, place)| *place = Place::Unsent);
        self.busy.insert(line);
    }

    pub(crate) fn bury(
        &mut self,
        disk: &mut Disk,
        line: &Line,
        names: &[RecordName],
        air: &mut Air,
    ) {
        let records = &mut disk.kept(line).records;
        for name in names {
            if records.remove(name).is_some_and(|(_, place)| place != Place::SetAside) {
                air.fault(format!("{name:?} of {line:?} is buried and was not set aside"));
            }
        }
    }

    pub(crate) fn given(&mut self, disk: &mut Disk, line: &Line, air: &mut Air) {
        let left: Vec<_> = disk.kept(line).records.values().collect();
        if let Some((record, _)) = left.first() {
            let (count, story) = (left.len(), air.story(record.stream));
            air.fault(format!("{line:?} was given, and yet here are {count}: {left:?}; {story}"));
            return;
        }
        disk.lines.remove(line);
    }

    /// The newest instant of each stream of a line that was sent, or is being sent.
    pub(crate) fn sent(&self, disk: &mut Disk, line: &Line) -> BTreeMap<StreamKey, i64> {
        let kept = disk.kept(line);
        let mut sent = kept.sent.clone();
        for name in self.requests.get(line).into_iter().flat_map(|(names, _)| names) {
            if let Some((record, _)) = kept.records.get(name) {
                let newest = sent.entry(record.stream).or_insert(record.oldest_ms);
                *newest = record.oldest_ms.max(*newest);
            }
        }
        sent
    }

    /// Takes over what was given.
    pub(crate) fn store(
        &mut self,
        disk: &mut Disk,
        line: &Line,
        records: Vec<Record>,
        gone: &[RecordName],
        sent: &[Sent],
        (by, air): (usize, &mut Air),
    ) {
        air.tally.handed_over += records.len();
        let kept = disk.kept(line);
        for record in records {
            kept.records.entry(record.name).or_insert((record, Place::Unsent));
        }
        for name in gone {
            kept.records.remove(name);
        }
        for Sent { stream, newest_ms } in sent {
            let own = kept.sent.entry(*stream).or_insert(*newest_ms);
            *own = *newest_ms.max(own);
            let is_late = |_: &RecordName, (record, _): &mut (Record, Place)| {
                record.stream == *stream && record.oldest_ms <= *newest_ms
            };
            for (_, (record, _)) in kept.records.extract_if(.., is_late) {
                air.late(by, line, &record);
            }
        }
        self.busy.insert(line.clone());
    }

    pub(crate) fn crash(self, disk: &Disk, by: usize, air: &mut Air) {
        // What was under way may have arrived or not, and nobody here knows.
        for (line, (names, _)) in self.requests {
            if air.rng.random_bool(0.5) && air.accepts(&line.destination) {
                let records = &disk.lines[&line].records;
                for (record, _) in names.iter().filter_map(|name| records.get(name)) {
                    air.receive(by, &line, record, true);
                }
            }
        }
    }

    /// For those who look for what did not arrive.
    pub(crate) fn state_of(&self, line: &Line) -> String {
        let (open, request) = (self.open_before_ms.get(line), self.requests.get(line));
        let (extracting, busy) = (self.extracting.contains(line), self.busy.contains(line));
        format!("open before {open:?}, request {request:?}, extracting {extracting}, busy {busy}")
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.extracting.is_empty()
    }

    pub(crate) fn step(
        &mut self,
        disk: &mut Disk,
        may_send: bool,
        by: usize,
        air: &mut Air,
    ) -> Vec<Extracted> {
        self.end_requests(disk, by, air);
        if may_send {
            self.begin_requests(disk, air);
        }
        let requests = &self.requests;
        let free = self.extracting.extract_if(.., |line| !requests.contains_key(line));
        let free: Vec<Line> = free.collect();
        free.into_iter().map(|line| set_aside(disk, line)).collect()
    }

    fn end_requests(&mut self, disk: &mut Disk, by: usize, air: &mut Air) {
        let now_ms = air.now_ms;
        let ended = self.requests.extract_if(.., |_, (_, at_ms)| *at_ms <= now_ms);
        for (line, (names, _)) in ended {
            self.busy.insert(line.clone());
            if !air.accepts(&line.destination) {
                continue;
            }
            let is_answer_lost = air.rng.random_ratio(air.loss_percent, 100);
            let kept = disk.kept(&line);
            for name in names {
                let Some((record, _)) = kept.records.get(&name).copied() else { continue };
                air.receive(by, &line, &record, is_answer_lost);
                if !is_answer_lost {
                    kept.records.remove(&name);
                    let newest = kept.sent.entry(record.stream).or_insert(record.oldest_ms);
                    *newest = record.oldest_ms.max(*newest);
                }
            }
        }
    }

    /// At most one record of a stream in a request, and of a line one request.
    fn begin_requests(&mut self, disk: &mut Disk, air: &mut Air) {
        for line in std::mem::take(&mut self.busy) {
            if self.requests.contains_key(&line) || self.extracting.contains(&line) {
                continue;
            }
            let before_ms = self.open_before_ms.get(&line).copied().unwrap_or(i64::MIN);
            let Some(kept) = disk.lines.get(&line) else { continue };
            let mut streams = BTreeSet::new();
            let names: Vec<RecordName> = kept
                .records
                .iter()
                .take_while(|(name, _)| name.interval_ms < before_ms)
                .filter(|(_, (_, place))| *place == Place::Unsent)
                .map_while(|(name, (record, _))| streams.insert(record.stream).then_some(*name))
                .collect();
            if !names.is_empty() {
                let ends_ms = air.now_ms + air.rng.random_range(10..200);
                self.requests.insert(line, (names, ends_ms));
            }
        }
    }
}

fn set_aside(disk: &mut Disk, line: Line) -> Extracted {
    let kept = disk.kept(&line);
    kept.records.values_mut().for_each(|(_, place)| *place = Place::SetAside);
    let records = kept.records.values().map(|(record, _)| *record).collect();
    let sent = kept.sent.iter().map(|(stream, ms)| Sent { stream: *stream, newest_ms: *ms });
    let sent = sent.collect();
    Extracted { line, records, sent }
}

pub(crate) fn line(slot: Slot, destination: &Arc<str>) -> Line {
    Line { slot, destination: Arc::clone(destination) }
}
