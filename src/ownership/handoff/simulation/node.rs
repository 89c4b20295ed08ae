//! One simulated member: the shell that obeys the rules, with a disk that a crash leaves behind and
//! a memory that it takes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use rand::RngExt;

use crate::{
    model::{
        member::{NodeId, Roster},
        overrides::Overrides,
        slot::{Slot, StreamKey},
    },
    ownership::{
        assign::Previous,
        handoff::{
            Effect, Handoff, Line, Message, Outlook, Record, RecordName, Saved, Sent, Settings,
            World,
            simulation::{
                INTERVAL_MS, SCRAPES_MS, STEP_MS, STREAMS,
                air::{Air, Point},
                slots_used, stream,
            },
        },
        placement,
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Unsent,
    /// Extracted, and being given.
    SetAside,
}

/// One line on the disk.
#[derive(Debug, Default)]
struct Disk {
    records: BTreeMap<RecordName, (Record, Place)>,
    sent: BTreeMap<StreamKey, i64>,
    saved: Option<Saved>,
}

#[derive(Debug, Default)]
struct Memory {
    started_ms: i64,
    open_before_ms: BTreeMap<Line, i64>,
    /// Requests under way: what each holds, and when it ends.
    requests: BTreeMap<Line, (Vec<RecordName>, i64)>,
    extracting: BTreeSet<Line>,
    /// Scrapes under way: when each ends, and its sample.
    scrapes: Vec<(i64, Slot, Point)>,
    sealing: Vec<(Slot, i64)>,
    /// Every beginning of an ownership.
    began: Vec<(Slot, i64)>,
    owners: BTreeMap<Slot, Option<NodeId>>,
}

/// A stretch of time, and who had a slot in it.
type Ownership = (i64, i64, Option<NodeId>);

pub(super) struct Node {
    id: NodeId,
    /// `None` while it is down.
    handoff: Option<Handoff>,
    pub(super) roster: Roster,
    memory: Memory,
    disk: BTreeMap<Line, Disk>,
    next_sequence: u64,
    /// Goes when it has given all.
    pub(super) is_leaving: bool,
    pub(super) has_room: bool,
    pub(super) back_ms: Option<i64>,
}

impl Node {
    pub(super) fn new(id: NodeId) -> Self {
        Self {
            id,
            handoff: None,
            roster: Roster::default(),
            memory: Memory::default(),
            disk: BTreeMap::new(),
            next_sequence: 1,
            is_leaving: false,
            has_room: true,
            back_ms: None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.handoff.is_some()
    }

    /// Nothing left to give, nothing left to take.
    pub(super) fn is_calm(&self) -> bool {
        self.handoff.as_ref().is_some_and(|h| h.unfinished() == 0 && h.closed() == 0)
    }

    pub(super) fn may_go(&self) -> bool {
        let has_given = self.handoff.as_ref().is_some_and(|handoff| handoff.unfinished() == 0);
        self.is_leaving && has_given && self.memory.requests.is_empty()
    }

    pub(super) fn go(&mut self) {
        self.handoff = None;
        self.memory = Memory::default();
    }

    pub(super) fn crash(&mut self, air: &mut Air) {
        self.handoff = None;
        let memory = std::mem::take(&mut self.memory);
        // What was under way may have arrived or not, and nobody here knows.
        for (line, (names, _)) in memory.requests {
            if air.rng.random_ratio(1, 2) && air.accepts(&line.destination) {
                for (record, _) in names.iter().filter_map(|n| self.disk[&line].records.get(n)) {
                    air.receive(&line, record, true);
                }
            }
        }
        // Ticks whose scrape died with it were never samples.
        for (_, _, point) in memory.scrapes {
            air.scraped.remove(&point);
        }
    }

    /// Brings it up with what is on its disk, as assignment and outbox would.
    pub(super) fn start(&mut self, roster: Roster, air: &mut Air) {
        let settings = Settings {
            me: self.id,
            fence_ms_max: if air.faults.crashes { 20_000 } else { 60_000 },
            part_records_max: 3,
            part_bytes_max: 1_000,
        };
        let saved = |(line, disk): (&Line, &Disk)| Some((line.clone(), disk.saved.clone()?));
        let saved = self.disk.iter().filter_map(saved).collect();
        self.handoff =
            Some(Handoff::new(&settings, air.destinations.keys().cloned().collect(), saved));
        self.roster = roster;
        self.is_leaving = false;
        self.back_ms = None;
        self.memory.started_ms = air.now_ms;
        for disk in self.disk.values_mut() {
            disk.records.values_mut().for_each(|(_, place)| *place = Place::Unsent);
        }
        for slot in slots_used() {
            let last = self.ownerships(slot, air.now_ms).last().copied();
            let owner = last.and_then(|(_, _, owner)| owner);
            self.memory.owners.insert(slot, owner);
            if let Some((from_ms, _, Some(_))) = last.filter(|_| owner == Some(self.id)) {
                self.gain(slot, from_ms, air);
                continue;
            }
            let lines: Vec<Line> = self.disk.keys().filter(|l| l.slot == slot).cloned().collect();
            for line in lines {
                let effect = self.rules().left_over(line, air.now_ms);
                self.obey(vec![effect], air);
            }
        }
    }

    pub(super) fn step(&mut self, air: &mut Air) {
        self.note_moves(air);
        self.scrape(air);
        self.seal(air);
        self.end_requests(air);
        self.begin_requests(air);
        self.extract(air);
        if air.now_ms % 500 == 0 {
            let effects = self.with_rules(air.now_ms, |rules, world| {
                rules.tick(&|destination| air.accepts(destination), world)
            });
            self.obey(effects, air);
        }
    }

    pub(super) fn hear(&mut self, from: NodeId, message: Message, air: &mut Air) {
        let (line, records) = match &message {
            Message::Give(give) => (give.line.clone(), give.records.clone()),
            Message::Ask(ask) => (ask.line.clone(), Vec::new()),
            Message::Answer(answer) => (answer.line.clone(), Vec::new()),
        };
        let disk = self.disk.entry(line.clone()).or_default();
        let mut sent = disk.sent.clone();
        // What is under way may have arrived.
        for name in self.memory.requests.get(&line).into_iter().flat_map(|(names, _)| names) {
            if let Some((record, _)) = disk.records.get(name) {
                let newest = sent.entry(record.stream).or_insert(record.oldest_ms);
                *newest = record.oldest_ms.max(*newest);
            }
        }
        let has_room = self.has_room;
        let sent_ms = |record: &Record| sent.get(&record.stream).copied();
        let outlook = Outlook { has_room, window_ms: 0, sent_ms: &sent_ms };
        let effects =
            self.with_rules(air.now_ms, |rules, world| rules.heard(from, message, &outlook, world));
        // The bytes come with the message.
        for effect in &effects {
            if let Effect::Store { line, records: names, late, .. } = effect {
                let disk = self.disk.get_mut(line).expect("it was made above");
                for record in records.iter().filter(|record| names.contains(&record.name)) {
                    disk.records.entry(record.name).or_insert((*record, Place::Unsent));
                }
                for record in records.iter().filter(|record| late.contains(&record.name)) {
                    air.late(line, record);
                }
                air.tally.handed_over += names.len();
            }
        }
        self.obey(effects, air);
    }

    fn obey(&mut self, effects: Vec<Effect>, air: &mut Air) {
        for effect in effects {
            match effect {
                Effect::Seal { slot, until_ms } => {
                    for line in air.destinations.keys().map(|name| line(slot, name)) {
                        self.memory.open_before_ms.remove(&line);
                        self.save(&line);
                    }
                    self.memory.sealing.push((slot, until_ms));
                }
                Effect::Extract { line } => drop(self.memory.extracting.insert(line)),
                Effect::PutBack { line } => {
                    self.memory.extracting.remove(&line);
                    let records = &mut self.disk.entry(line).or_default().records;
                    records.values_mut().for_each(|(_, place)| *place = Place::Unsent);
                }
                Effect::Send { to, message } => air.send(self.id, to, &message),
                Effect::Bury { line, names } => {
                    self.save(&line);
                    let records = &mut self.disk.entry(line).or_default().records;
                    for name in names {
                        let buried = records.remove(&name);
                        assert!(buried.is_none_or(|(_, place)| place == Place::SetAside));
                    }
                }
                Effect::Store { line, gone, sent, to, answer, .. } => {
                    let records = &mut self.disk.entry(line.clone()).or_default().records;
                    for name in &gone {
                        records.remove(name);
                    }
                    self.learn(&line, &sent, air);
                    self.save(&line);
                    air.send(self.id, to, &answer);
                }
                Effect::Open { line, before_ms } => {
                    self.save(&line);
                    self.memory.open_before_ms.insert(line, before_ms);
                }
                Effect::Bet { line, .. } => air.bet(line),
                Effect::Given { line } => {
                    self.save(&line);
                    let left = self.disk.get(&line).map_or(0, |disk| disk.records.len());
                    assert_eq!(left, 0, "seed {}: given, and yet here: {line:?}", air.seed);
                }
                Effect::Refused { .. } => air.tally.refused += 1,
            }
        }
    }

    /// What others know to be at the destination; what is here and older is late.
    fn learn(&mut self, line: &Line, sent: &[Sent], air: &mut Air) {
        let disk = self.disk.entry(line.clone()).or_default();
        for Sent { stream, newest_ms } in sent {
            let own = disk.sent.entry(*stream).or_insert(*newest_ms);
            *own = *newest_ms.max(own);
            let is_late = |_: &RecordName, (record, _): &mut (Record, Place)| {
                record.stream == *stream && record.oldest_ms <= *newest_ms
            };
            for (_, (record, _)) in disk.records.extract_if(.., is_late) {
                air.late(line, &record);
            }
        }
    }

    fn save(&mut self, line: &Line) {
        let saved = self.rules().saved(line).cloned();
        self.disk.entry(line.clone()).or_default().saved = saved;
    }

    fn rules(&mut self) -> &mut Handoff {
        self.handoff.as_mut().expect("it is up")
    }

    fn with_rules<T>(&mut self, now_ms: i64, act: impl FnOnce(&mut Handoff, &World<'_>) -> T) -> T {
        let mut rules = self.handoff.take().expect("it is up");
        let owner = |slot| self.owner(slot, now_ms);
        let result = act(&mut rules, &World { now_ms, roster: &self.roster, owner: &owner });
        self.handoff = Some(rules);
        result
    }

    fn owner(&self, slot: Slot, instant_ms: i64) -> Option<NodeId> {
        placement::owner(slot, instant_ms, &self.roster, &Overrides::default())
    }

    /// Who had the slot up to `instant_ms`, as the roster tells it now.
    fn ownerships(&self, slot: Slot, instant_ms: i64) -> Vec<Ownership> {
        let intervals = self.roster.members.values().flat_map(|member| &member.intervals);
        let borders = intervals.flat_map(|i| [Some(i.from_ms), i.until_ms]).flatten();
        let borders: BTreeSet<i64> = borders.filter(|border| *border <= instant_ms).collect();
        let mut found: Vec<Ownership> = Vec::new();
        for border_ms in borders {
            let owner = self.owner(slot, border_ms);
            match found.last_mut() {
                Some((_, _, last)) if *last == owner => continue,
                Some((_, until_ms, _)) => *until_ms = border_ms,
                None => {}
            }
            found.push((border_ms, i64::MAX, owner));
        }
        found
    }

    /// What assignment tells: `Gained` and `Lost`.
    fn note_moves(&mut self, air: &mut Air) {
        for slot in slots_used() {
            let owner = self.owner(slot, air.now_ms);
            let before = self.memory.owners.insert(slot, owner).flatten();
            if owner == before {
                continue;
            }
            let ownerships = self.ownerships(slot, air.now_ms);
            let at_ms = ownerships.last().map_or(air.now_ms, |(from_ms, ..)| *from_ms);
            if before == Some(self.id) {
                let effects = self.rules().lost(slot, at_ms);
                self.obey(effects, air);
            }
            if owner == Some(self.id) {
                self.gain(slot, at_ms, air);
            }
        }
    }

    fn gain(&mut self, slot: Slot, from_ms: i64, air: &mut Air) {
        self.memory.began.push((slot, from_ms));
        let mut previous: Vec<Previous> = Vec::new();
        for (_, until_ms, owner) in self.ownerships(slot, from_ms - 1).into_iter().rev() {
            if let Some(node) = owner.filter(|owner| *owner != self.id)
                && !previous.iter().any(|other| other.node == node)
            {
                previous.push(Previous { node, until_ms: until_ms.min(from_ms) });
            }
        }
        let effects = self
            .with_rules(air.now_ms, |rules, world| rules.gained(slot, from_ms, &previous, world));
        self.obey(effects, air);
    }

    fn scrape(&mut self, air: &mut Air) {
        let now_ms = air.now_ms;
        for slot in slots_used().filter(|_| now_ms <= SCRAPES_MS) {
            for stream in (0..STREAMS).map(|number| stream(slot, number)) {
                let phase_ms = (stream.0 % 7 * 130).cast_signed();
                let tick_ms = now_ms - (now_ms - phase_ms).rem_euclid(INTERVAL_MS);
                if tick_ms <= (now_ms - STEP_MS).max(self.memory.started_ms) {
                    continue;
                }
                // An ownership that began and ended within a step went by unnoticed.
                let was_told = self.memory.began.iter().any(|(other, _)| *other == slot);
                if was_told
                    && self.owner(slot, tick_ms) == Some(self.id)
                    && air.scraped.insert((stream, tick_ms))
                {
                    let takes_ms = air.rng.random_range(0..600);
                    self.memory.scrapes.push((now_ms + takes_ms, slot, (stream, tick_ms)));
                }
            }
        }
        let done = self.memory.scrapes.extract_if(.., |(at_ms, ..)| *at_ms <= now_ms);
        for (_, slot, (stream, tick_ms)) in done {
            let began = self.memory.began.iter().filter(|(s, _)| *s == slot).map(|(_, ms)| *ms);
            // Of several borders within a step, the last stands for all.
            let interval_ms = began.clone().filter(|ms| *ms <= tick_ms).max().or(began.min());
            let interval_ms = interval_ms.expect("ticks are of an ownership");
            let name = RecordName { interval_ms, node: self.id, sequence: self.next_sequence };
            self.next_sequence += 1;
            air.tally.scraped += 1;
            let record = Record { name, stream, oldest_ms: tick_ms, bytes: 300 };
            for line in air.destinations.keys().map(|name| line(slot, name)) {
                let records = &mut self.disk.entry(line).or_default().records;
                records.insert(name, (record, Place::Unsent));
            }
        }
    }

    fn seal(&mut self, air: &mut Air) {
        let scrapes = &self.memory.scrapes;
        let is_done = |(slot, until_ms): &mut (Slot, i64)| {
            !scrapes.iter().any(|(_, other, (_, tick_ms))| other == slot && tick_ms < until_ms)
        };
        let sealed: Vec<(Slot, i64)> = self.memory.sealing.extract_if(.., is_done).collect();
        for (slot, _) in sealed {
            let effects = self.rules().sealed(slot);
            self.obey(effects, air);
        }
    }

    fn end_requests(&mut self, air: &mut Air) {
        let now_ms = air.now_ms;
        let requests = self.memory.requests.extract_if(.., |_, (_, at_ms)| *at_ms <= now_ms);
        for (line, (names, _)) in requests {
            if !air.accepts(&line.destination) {
                continue;
            }
            let is_answer_lost = air.has_network_trouble() && air.rng.random_ratio(1, 10);
            let disk = self.disk.get_mut(&line).expect("it had records");
            for name in names {
                let Some((record, _)) = disk.records.get(&name).copied() else { continue };
                air.receive(&line, &record, is_answer_lost);
                if !is_answer_lost {
                    disk.records.remove(&name);
                    let newest = disk.sent.entry(record.stream).or_insert(record.oldest_ms);
                    *newest = record.oldest_ms.max(*newest);
                }
            }
        }
    }

    /// At most one record of a stream in a request, and of a line one request.
    fn begin_requests(&mut self, air: &mut Air) {
        for (line, disk) in &self.disk {
            let is_busy = self.memory.requests.contains_key(line);
            if is_busy || self.memory.extracting.contains(line) {
                continue;
            }
            let before_ms = self.memory.open_before_ms.get(line).copied().unwrap_or(i64::MIN);
            let mut streams = BTreeSet::new();
            let names: Vec<RecordName> = disk
                .records
                .iter()
                .take_while(|(name, _)| name.interval_ms < before_ms)
                .filter(|(_, (_, place))| *place == Place::Unsent)
                .map_while(|(name, (record, _))| streams.insert(record.stream).then_some(*name))
                .collect();
            if !names.is_empty() {
                let ends_ms = air.now_ms + air.rng.random_range(50..400);
                self.memory.requests.insert(line.clone(), (names, ends_ms));
            }
        }
    }

    fn extract(&mut self, air: &mut Air) {
        let requests = &self.memory.requests;
        let free = self.memory.extracting.extract_if(.., |line| !requests.contains_key(line));
        for line in free.collect::<Vec<_>>() {
            let disk = self.disk.entry(line.clone()).or_default();
            disk.records.values_mut().for_each(|(_, place)| *place = Place::SetAside);
            let records: VecDeque<Record> = disk.records.values().map(|(r, _)| *r).collect();
            let sent = disk.sent.iter();
            let sent = sent.map(|(stream, ms)| Sent { stream: *stream, newest_ms: *ms }).collect();
            let effects = self.with_rules(air.now_ms, |rules, world| {
                rules.extracted(&line, records, sent, world)
            });
            self.obey(effects, air);
        }
    }
}

fn line(slot: Slot, destination: &Arc<str>) -> Line {
    Line { slot, destination: Arc::clone(destination) }
}
