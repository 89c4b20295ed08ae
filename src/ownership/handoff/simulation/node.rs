//! One simulated member: the shell that obeys the rules, with a disk that a crash leaves behind and
//! a memory that it takes. What feeds it is another's matter.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rand::RngExt;

use crate::{
    model::{
        member::{NodeId, Roster},
        overrides::Overrides,
        slot::Slot,
    },
    ownership::{
        assign::{self, Assign},
        handoff::{
            Effect, Handoff, Line, Message, Outlook, Record, RecordName, Settings, World,
            simulation::{
                DETECTION_MS,
                air::{Air, Contents, Point},
                disk::Disk,
                feed::{Feed, Made, Moment},
            },
        },
        placement,
    },
};

/// How much a disk has left.
#[derive(Clone, Copy, Debug)]
pub(super) enum Room {
    Ample,
    /// What is kept for hand-overs.
    Reserve,
    None,
}

#[derive(Debug, Default)]
struct Memory<F> {
    feed: F,
    open_before_ms: BTreeMap<Line, i64>,
    /// Requests under way: what each holds, and when it ends.
    requests: BTreeMap<Line, (Vec<RecordName>, i64)>,
    extracting: BTreeSet<Line>,
    sealing: Vec<(Slot, i64)>,
    /// In the queue, and not yet on disk as far as who made them knows.
    unwritten: Vec<RecordName>,
}

pub(super) struct Node<F> {
    id: NodeId,
    /// Its clock is ahead of the others' by so much.
    skew_ms: i64,
    /// `None` while it is down.
    handoff: Option<Handoff>,
    assign: Assign,
    roster: Arc<Roster>,
    memory: Memory<F>,
    disk: BTreeMap<Line, Disk>,
    next_sequence: u64,
    /// Goes when it has given all.
    pub(super) is_leaving: bool,
    pub(super) room: Room,
    pub(super) back_ms: Option<i64>,
}

impl<F: Feed> Node<F> {
    pub(super) fn new(id: NodeId, skew_ms: i64) -> Self {
        Self {
            id,
            skew_ms,
            handoff: None,
            assign: assign(id),
            roster: Arc::default(),
            memory: Memory::default(),
            disk: BTreeMap::new(),
            next_sequence: 1,
            is_leaving: false,
            room: Room::Ample,
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
        let has_ended = self.memory.requests.is_empty() && self.memory.feed.is_idle();
        self.is_leaving && has_given && has_ended
    }

    fn now_ms(&self, air: &Air<F::Outside>) -> i64 {
        air.now_ms + self.skew_ms
    }

    pub(super) fn go(&mut self) {
        self.handoff = None;
        self.memory = Memory::default();
    }

    pub(super) fn crash(&mut self, air: &mut Air<F::Outside>) {
        self.handoff = None;
        let memory = std::mem::take(&mut self.memory);
        // What was under way may have arrived or not, and nobody here knows.
        for (line, (names, _)) in memory.requests {
            if air.rng.random_ratio(1, 2) && air.accepts(&line.destination) {
                for record in names.iter().filter_map(|name| self.disk[&line].get(name)) {
                    air.receive(&line, &record, true);
                }
            }
        }
        if air.rng.random_ratio(1, 2) {
            for disk in self.disk.values_mut() {
                disk.forget(&memory.unwritten);
            }
        }
        memory.feed.crashed(air);
    }

    /// Brings it up with what is on its disk, as assignment and outbox would.
    pub(super) fn start(&mut self, roster: Roster, air: &mut Air<F::Outside>) {
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
        self.is_leaving = false;
        self.back_ms = None;
        self.memory.feed.begin(self.now_ms(air), air);
        self.disk.values_mut().for_each(Disk::put_back);
        self.assign = assign(self.id);
        let effects = self.assign.discovered(&F::jobs());
        self.divide(effects, air);
        self.learn_roster(roster, air);
        let lines: Vec<Line> = self.disk.keys().cloned().collect();
        let now_ms = self.now_ms(air);
        for line in lines {
            if self.assign.mine_since_ms(line.slot, now_ms).is_none() {
                let effect = self.rules().left_over(line, now_ms);
                self.obey(vec![effect], air);
            }
        }
    }

    pub(super) fn learn_roster(&mut self, roster: Roster, air: &mut Air<F::Outside>) {
        self.roster = Arc::new(roster);
        let roster = Arc::clone(&self.roster);
        let effects = self.assign.placed(roster, Overrides::default(), self.now_ms(air));
        self.divide(effects, air);
    }

    pub(super) fn step(&mut self, air: &mut Air<F::Outside>) {
        self.feed(air);
        let now_ms = self.now_ms(air);
        let wake_ms = self.assign.next_wake_ms(now_ms - F::STEP_MS);
        if wake_ms.is_some_and(|wake_ms| wake_ms <= now_ms) {
            let effects = self.assign.passed(now_ms);
            self.divide(effects, air);
        }
        self.seal(air);
        self.end_requests(air);
        self.begin_requests(air);
        self.extract(air);
        if air.now_ms % 500 == 0 {
            let effects = self.with_rules(self.now_ms(air), |rules, world| {
                rules.tick(&|destination| air.accepts(destination), world)
            });
            self.obey(effects, air);
        }
    }

    pub(super) fn hear(&mut self, from: NodeId, message: Message, air: &mut Air<F::Outside>) {
        let (line, records) = match &message {
            Message::Give(give) => (give.line.clone(), give.records.clone()),
            Message::Ask(ask) => (ask.line.clone(), Vec::new()),
            Message::Answer(answer) => (answer.line.clone(), Vec::new()),
        };
        let disk = self.disk.entry(line.clone()).or_default();
        let requests = self.memory.requests.get(&line);
        let sent = disk.sent_with(requests.into_iter().flat_map(|(names, _)| names));
        let has_room = matches!(self.room, Room::Ample);
        let has_reserve = matches!(self.room, Room::Ample | Room::Reserve);
        let sent_ms = |record: &Record| sent.get(&record.stream).copied();
        let outlook = Outlook { has_room, has_reserve, window_ms: 0, sent_ms: &sent_ms };
        let effects = self.with_rules(self.now_ms(air), |rules, world| {
            rules.heard(from, message, &outlook, world)
        });
        // The bytes come with the message.
        for effect in &effects {
            if let Effect::Store { line, records: names, late, .. } = effect {
                let disk = self.disk.get_mut(line).expect("it was made above");
                for record in records.iter().filter(|record| names.contains(&record.name)) {
                    disk.add(*record);
                }
                for record in records.iter().filter(|record| late.contains(&record.name)) {
                    air.late(line, record);
                }
                air.tally.handed_over += names.len();
            }
        }
        self.obey(effects, air);
    }

    fn obey(&mut self, effects: Vec<Effect>, air: &mut Air<F::Outside>) {
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
                    self.disk.entry(line).or_default().put_back();
                }
                Effect::Send { to, message } => air.send(self.id, to, &message),
                Effect::Bury { line, names } => {
                    self.save(&line);
                    self.disk.entry(line).or_default().bury(&names);
                }
                Effect::Store { line, gone, sent, to, answer, .. } => {
                    let disk = self.disk.entry(line.clone()).or_default();
                    disk.forget(&gone);
                    disk.learn(&sent).iter().for_each(|record| air.late(&line, record));
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
                    let left = self.disk.get(&line).map_or(0, Disk::len);
                    assert_eq!(left, 0, "seed {}: given, and yet here: {line:?}", air.seed);
                }
                Effect::Refused { .. } => air.tally.refused += 1,
            }
        }
    }

    /// Where this member has a sample that did not arrive, and why.
    pub(super) fn held(
        &self,
        destination: &str,
        point: Point,
        air: &Air<F::Outside>,
    ) -> Vec<String> {
        let mut held = Vec::new();
        for (line, disk) in self.disk.iter().filter(|(line, _)| *line.destination == *destination) {
            let open_before_ms = self.memory.open_before_ms.get(line);
            let saved = self.handoff.as_ref().and_then(|rules| rules.saved(line));
            let holds = |name: &&RecordName| air.contents[*name].points.contains(&point);
            held.extend(disk.names().filter(holds).map(|name| {
                format!("{name:?} with {}, open before {open_before_ms:?}, {saved:?}", self.id)
            }));
        }
        held
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

    /// Does what assignment wants: the pool's part, and hand-over's.
    fn divide(&mut self, effects: Vec<assign::Effect>, air: &mut Air<F::Outside>) {
        for effect in effects {
            let Some(effect) = self.memory.feed.divide(effect) else { continue };
            match effect {
                assign::Effect::Gained { slot, from_ms, previous } if F::is_used(slot) => {
                    let effects = self.with_rules(self.now_ms(air), |rules, world| {
                        rules.gained(slot, from_ms, &previous, world)
                    });
                    self.obey(effects, air);
                }
                assign::Effect::Lost { slot, until_ms } if F::is_used(slot) => {
                    let effects = self.rules().lost(slot, until_ms);
                    self.obey(effects, air);
                }
                assign::Effect::Run { .. }
                | assign::Effect::Stop { .. }
                | assign::Effect::CatchUp { .. }
                | assign::Effect::Gained { .. }
                | assign::Effect::Lost { .. }
                | assign::Effect::Hold(_)
                | assign::Effect::Gap { .. }
                | assign::Effect::Moved(_) => {}
            }
        }
    }

    fn feed(&mut self, air: &mut Air<F::Outside>) {
        let moment = Moment {
            me: self.id,
            now_ms: self.now_ms(air),
            assign: &mut self.assign,
            has_room: matches!(self.room, Room::Ample),
        };
        let made = self.memory.feed.step(moment, air);
        if !self.memory.feed.is_writing() {
            self.memory.unwritten.clear();
        }
        for made in made {
            self.append(made, air);
        }
    }

    fn append(&mut self, made: Made, air: &mut Air<F::Outside>) {
        let Made { stream, since_ms, round, points } = made;
        let sequence = self.next_sequence;
        let name = RecordName { interval_ms: since_ms, node: self.id, sequence };
        self.next_sequence += 1;
        air.tally.samples += points.len();
        let oldest_ms = points.iter().map(|(_, at_ms)| *at_ms).min().expect("one at least");
        air.contents.insert(name, Contents { round, points });
        if self.memory.feed.is_writing() {
            self.memory.unwritten.push(name);
        }
        let record = Record { name, stream, oldest_ms, bytes: 300, pushed: F::IS_PUSHED };
        for line in air.destinations.keys().map(|name| line(stream.slot(), name)) {
            self.disk.entry(line).or_default().add(record);
        }
    }

    fn seal(&mut self, air: &mut Air<F::Outside>) {
        let feed = &mut self.memory.feed;
        let is_done = |(slot, until_ms): &mut (Slot, i64)| feed.is_done_with(*slot, *until_ms);
        let sealed: Vec<(Slot, i64)> = self.memory.sealing.extract_if(.., is_done).collect();
        for (slot, _) in sealed {
            let effects = self.rules().sealed(slot);
            self.obey(effects, air);
        }
    }

    fn end_requests(&mut self, air: &mut Air<F::Outside>) {
        let now_ms = air.now_ms;
        let requests = self.memory.requests.extract_if(.., |_, (_, at_ms)| *at_ms <= now_ms);
        for (line, (names, _)) in requests {
            if !air.accepts(&line.destination) {
                continue;
            }
            let is_answer_lost = air.has_network_trouble() && air.rng.random_ratio(1, 10);
            let disk = self.disk.get_mut(&line).expect("it had records");
            for name in names {
                let Some(record) = disk.get(&name) else { continue };
                air.receive(&line, &record, is_answer_lost);
                if !is_answer_lost {
                    disk.sent(&record);
                }
            }
        }
    }

    /// Of a line one at a time.
    fn begin_requests(&mut self, air: &mut Air<F::Outside>) {
        for (line, disk) in &self.disk {
            let is_busy = self.memory.requests.contains_key(line);
            if is_busy || self.memory.extracting.contains(line) {
                continue;
            }
            let before_ms = self.memory.open_before_ms.get(line).copied().unwrap_or(i64::MIN);
            let names = disk.next_request(before_ms, &|name| air.contents[name].round);
            if !names.is_empty() {
                let ends_ms = air.now_ms + air.rng.random_range(F::REQUEST_MS);
                self.memory.requests.insert(line.clone(), (names, ends_ms));
            }
        }
    }

    fn extract(&mut self, air: &mut Air<F::Outside>) {
        let requests = &self.memory.requests;
        let free = self.memory.extracting.extract_if(.., |line| !requests.contains_key(line));
        for line in free.collect::<Vec<_>>() {
            let (records, sent) = self.disk.entry(line.clone()).or_default().set_aside();
            let effects = self.with_rules(self.now_ms(air), |rules, world| {
                rules.extracted(&line, records, sent, world)
            });
            self.obey(effects, air);
        }
    }
}

fn line(slot: Slot, destination: &Arc<str>) -> Line {
    Line { slot, destination: Arc::clone(destination) }
}

fn assign(me: NodeId) -> Assign {
    Assign::new(assign::Settings { me, detection_ms: DETECTION_MS })
}
