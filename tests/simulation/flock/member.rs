//! One member: the real rules of ownership, and around them what `ownership` (its loop, `division`,
//! `exchange`) does between these, the fleet, the pool, the outbox and the peers.

use std::{collections::BTreeMap, sync::Arc};

use rand::RngExt;
use starling::{
    config::Clustering,
    fleet::{membership::STALL_MS, standing::Standing},
    model::{
        member::{MemberState, NodeId, Roster},
        overrides::{self, OverrideMap, Overrides, Stamp},
        record::{Record, Sent},
        slot::Slot,
        target::Target,
    },
    ownership::{
        assign::{self, Adopted, Assign, JobShare, Previous},
        handoff::{self, Give, Handoff, Message, Outlook, World as Knows},
        letter::Letter,
        moves::Move,
        orders::{Knowledge, Report, Task},
        placement::Table,
        succession::Succession,
    },
};

use crate::flock::{
    air::{Air, Post},
    pool::{Moment, Pool},
    queue::{Disk, Extracted, Queue, line},
};

pub(crate) const DETECTION_MS: i64 = 5_000;
const TICK_US: i64 = 250_000;
const FENCE_MS_MAX: i64 = 60_000;
/// How often a member says its overrides again.
const TELL_MS: i64 = 1_000;

/// What the fleet shows at the moment.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) fleet_ms: i64,
    /// Since the world began; no clock that is set right counts so.
    pub(crate) mono_us: i64,
    pub(crate) knows_time: bool,
    pub(crate) standing: Standing,
    pub(crate) roster: Option<Roster>,
}

enum Change {
    Gained { slot: Slot, from_ms: i64, previous: Vec<Previous> },
    Lost { slot: Slot, until_ms: i64 },
}

/// A process.
pub(crate) struct Member {
    n: usize,
    me: NodeId,
    assign: Assign,
    rules: Handoff,
    succession: Succession,
    pub(crate) pool: Pool,
    pub(crate) queue: Queue,
    roster: Arc<Roster>,
    pub(crate) overrides: Overrides,
    lost: BTreeMap<Slot, i64>,
    tasks: Vec<Task>,
    changes: Vec<Change>,
    letters: Vec<(NodeId, Letter)>,
    pub(crate) is_met: bool,
    on_hold: bool,
    standing: Standing,
    lease: Lease,
    next_tick_us: i64,
    next_tell_ms: i64,
    found: Arc<[Arc<Target>]>,
    pub(crate) is_leaving: bool,
}

/// As `runtime::lease`.
#[derive(Default)]
struct Lease {
    until_us: i64,
    generation: u64,
    granted: u64,
}

impl Member {
    pub(crate) fn new(n: usize, me: NodeId, disk: &mut Disk, air: &Air) -> Self {
        let settings = handoff::Settings {
            me,
            fence_ms_max: FENCE_MS_MAX,
            part_records_max: 50,
            part_bytes_max: 1 << 20,
        };
        let destinations = air.destinations.keys().cloned().collect();
        Self {
            n,
            me,
            assign: Assign::new(assign::Settings { me, detection_ms: DETECTION_MS }),
            rules: Handoff::new(&settings, destinations, disk.saved.clone()),
            succession: Succession::default(),
            pool: Pool::default(),
            queue: disk.open(),
            roster: Arc::default(),
            overrides: disk.overrides.clone(),
            lost: BTreeMap::new(),
            tasks: Vec::new(),
            changes: Vec::new(),
            letters: Vec::new(),
            is_met: false,
            on_hold: false,
            standing: Standing::Seeking,
            lease: Lease { generation: 1, ..Lease::default() },
            next_tick_us: 0,
            next_tell_ms: 0,
            found: Arc::new([]),
            is_leaving: false,
        }
    }

    pub(crate) fn step(&mut self, shown: &Shown, disk: &mut Disk, air: &mut Air) {
        self.vouch(shown);
        let fleet_ms = shown.fleet_ms;
        if let Some(roster) = &shown.roster
            && self.roster.members != roster.members
        {
            self.roster = Arc::new(roster.clone());
            self.roster_changed(fleet_ms, air);
        }
        if self.standing != shown.standing {
            self.standing = shown.standing;
            self.status_changed(fleet_ms, disk, air);
        }
        if shown.mono_us >= self.next_tick_us {
            self.next_tick_us = shown.mono_us + TICK_US;
            let accepts = |name: &str| air.accepts(name);
            let effects = self.decide(fleet_ms, |rules, knows| rules.tick(&accepts, knows));
            self.obey(effects, disk, air, Vec::new());
        }
        self.settle(fleet_ms, disk, air);
        self.work(shown, disk, air);
        self.settle(fleet_ms, disk, air);
    }

    /// The pool and the outbox do what they were told.
    fn work(&mut self, shown: &Shown, disk: &mut Disk, air: &mut Air) {
        let is_granted = self.lease.granted == self.lease.generation;
        let has_lease = shown.mono_us < self.lease.until_us && is_granted;
        let may_scrape = has_lease && shown.knows_time;
        let (me, fleet_us) = (self.n, shown.fleet_ms * 1000);
        let mut moment = Moment { me, fleet_us, may_scrape, air };
        self.pool.obey(std::mem::take(&mut self.tasks), &mut moment);
        self.pool.step(&mut moment);
        for (point, since_ms) in self.pool.take_samples(air) {
            self.queue.append(disk, self.me, point, since_ms, air);
        }
        for report in self.pool.take_reports() {
            match report {
                Report::Sealed { slot } => {
                    let effects = self.rules.sealed(slot);
                    self.obey(effects, disk, air, Vec::new());
                }
                Report::Left(knowledge) => {
                    let slot = knowledge.target.key.slot();
                    let fence_ms = self.lost.get(&slot).copied().unwrap_or(shown.fleet_ms);
                    self.succession.add(knowledge, fence_ms, shown.fleet_ms);
                }
                Report::Gap { .. } => {}
            }
        }
        let extracted = self.queue.step(disk, has_lease && !self.on_hold, self.n, air);
        for Extracted { line, records, sent } in extracted {
            let effects = self.decide(shown.fleet_ms, |rules, knows| {
                rules.extracted(&line, records, sent, knows)
            });
            self.obey(effects, disk, air, Vec::new());
        }
    }

    fn vouch(&mut self, shown: &Shown) {
        match shown.standing {
            Standing::Active { .. } | Standing::Leaving { .. } => {
                self.lease.until_us = shown.mono_us + STALL_MS as i64 * 1000;
            }
            Standing::Seeking
            | Standing::Waiting
            | Standing::Holding
            | Standing::Refused
            | Standing::Gone => {
                if self.lease.until_us > 0 {
                    self.lease.until_us = 0;
                    self.lease.generation += 1;
                }
            }
        }
    }

    fn status_changed(&mut self, fleet_ms: i64, disk: &mut Disk, air: &mut Air) {
        match self.standing {
            Standing::Seeking | Standing::Refused | Standing::Gone => {}
            Standing::Waiting
            | Standing::Active { .. }
            | Standing::Holding
            | Standing::Leaving { .. } => self.meet(fleet_ms, disk, air),
        }
        self.roster_changed(fleet_ms, air);
        let on_hold = self.standing == Standing::Holding;
        self.on_hold = on_hold;
        let effects = self.assign.hold(on_hold).into_iter().collect();
        self.divide(effects, air);
        if matches!(self.standing, Standing::Active { .. } | Standing::Leaving { .. }) {
            self.lease.granted = self.lease.generation;
        }
    }

    fn meet(&mut self, fleet_ms: i64, disk: &mut Disk, air: &mut Air) {
        if self.is_met {
            return;
        }
        self.is_met = true;
        self.roster_changed(fleet_ms, air);
        self.settle(fleet_ms, disk, air);
        for line in disk.lines_with_records() {
            let is_mine = self.table(fleet_ms).owner(line.slot) == Some(self.me);
            if is_mine || self.rules.is_giving(&line) || self.rules.open_before_ms(&line).is_some()
            {
                continue;
            }
            let effect = self.rules.left_over(line, fleet_ms);
            self.obey(vec![effect], disk, air, Vec::new());
        }
        if let Standing::Active { from_ms } = self.standing
            && from_ms < fleet_ms
        {
            let effects = self.assign.resumed(fleet_ms - DETECTION_MS, fleet_ms);
            self.divide(effects, air);
        }
    }

    fn roster_changed(&mut self, fleet_ms: i64, air: &mut Air) {
        if !self.is_met {
            return;
        }
        let (roster, overrides) = (Arc::clone(&self.roster), self.overrides.clone());
        let effects = self.assign.placed(roster, overrides, fleet_ms);
        self.divide(effects, air);
    }

    pub(crate) fn discovered(
        &mut self,
        found: Arc<[Arc<Target>]>,
        refreshed_ms: i64,
        air: &mut Air,
    ) {
        if self.found != found {
            self.found = found;
        }
        let share = JobShare {
            name: "j".into(),
            clustering: Clustering { enabled: true, ..Clustering::default() },
            targets: Arc::clone(&self.found),
            refreshed_ms,
        };
        let effects = self.assign.discovered(&[share]);
        self.divide(effects, air);
    }

    pub(crate) fn hear(
        &mut self,
        from: NodeId,
        post: Post,
        fleet_ms: i64,
        disk: &mut Disk,
        air: &mut Air,
    ) {
        match post {
            Post::Letter(Letter::Handoff { message, .. }) => {
                self.hear_message(from, message, fleet_ms, disk, air);
            }
            Post::Letter(Letter::Knowledge { number, fence_ms, knowledge }) => {
                let slot = knowledge.target.key.slot();
                if self.table(fleet_ms).owner(slot) == Some(self.me) {
                    self.adopt(knowledge, fence_ms, air);
                    self.letters.push((from, Letter::Noted { number }));
                }
            }
            Post::Letter(Letter::Noted { number }) => self.succession.noted(number),
            // Nobody is weighed here; overrides come without their letters.
            Post::Letter(
                Letter::AskLoads
                | Letter::Loads { .. }
                | Letter::AskOverrides
                | Letter::Overrides(_)
                | Letter::AskDifference { .. }
                | Letter::Difference { .. },
            ) => {}
            Post::Overrides(heard) => {
                let before = self.overrides.clone();
                let merged = self.overrides.merge(heard);
                if self.overrides != before {
                    self.roster_changed(fleet_ms, air);
                }
                if merged == overrides::Merged::Conflict && self.is_publisher() {
                    self.publish_overrides(fleet_ms, air);
                }
            }
        }
        self.settle(fleet_ms, disk, air);
    }

    fn adopt(&mut self, knowledge: Knowledge, fence_ms: i64, air: &mut Air) {
        let adopted = self.assign.adopt(&knowledge.target, knowledge.seen_ms(fence_ms));
        let knowledge = Arc::new(knowledge);
        match adopted {
            Adopted::Known => self.tasks.push(Task::Adopt(knowledge)),
            Adopted::Orphan(effects) => {
                self.divide(effects, air);
                self.tasks.push(Task::Adopt(knowledge));
            }
            Adopted::Gone => self.tasks.push(Task::End(knowledge)),
        }
    }

    fn hear_message(
        &mut self,
        from: NodeId,
        message: Message,
        fleet_ms: i64,
        disk: &mut Disk,
        air: &mut Air,
    ) {
        let (line, records) = match &message {
            Message::Give(Give { line, records, .. }) => (line.clone(), records.clone()),
            Message::Ask(ask) => (ask.line.clone(), Vec::new()),
            Message::Answer(answer) => (answer.line.clone(), Vec::new()),
        };
        let sent = self.queue.sent(disk, &line);
        let sent_ms = |record: &Record| sent.get(&record.stream).copied();
        let outlook =
            Outlook { has_room: true, has_reserve: true, window_ms: 0, sent_ms: &sent_ms };
        let effects =
            self.decide(fleet_ms, |rules, knows| rules.heard(from, message, &outlook, knows));
        self.obey(effects, disk, air, records);
    }

    /// `arrived` came with the message that is obeyed.
    fn obey(
        &mut self,
        effects: Vec<handoff::Effect>,
        disk: &mut Disk,
        air: &mut Air,
        arrived: Vec<Record>,
    ) {
        use handoff::Effect;
        for effect in effects {
            match effect {
                Effect::Seal { slot, until_ms } => {
                    for destination in air.destinations.keys() {
                        self.queue.close(&line(slot, destination));
                    }
                    self.tasks.push(Task::Seal { slot, until_ms });
                }
                Effect::Extract { line } => self.queue.extract(line),
                Effect::PutBack { line } => self.queue.put_back(disk, line),
                Effect::Send { to, message } => {
                    self.letters.push((to, Letter::Handoff { message, batches: Vec::new() }));
                }
                Effect::Bury { line, names } => self.queue.bury(disk, &line, &names, air),
                Effect::Store { line, records: names, late, gone, sent, to, answer } => {
                    let taken = |record: &&Record| names.contains(&record.name);
                    let taken = arrived.iter().filter(taken).copied().collect();
                    self.store(&line, taken, &gone, &sent, disk, air);
                    for record in arrived.iter().filter(|record| late.contains(&record.name)) {
                        air.late(self.n, &line, record);
                    }
                    let letter = Letter::Handoff { message: answer, batches: Vec::new() };
                    self.letters.push((to, letter));
                }
                Effect::Open { line, before_ms } => self.queue.open(line, before_ms),
                Effect::Bet { line, on, .. } => air.bet(line, on),
                Effect::Given { line } => self.queue.given(disk, &line, air),
                Effect::Refused { line, by, why, .. } => {
                    air.fault(format!("{by} refuses {line:?} for {why:?}"));
                }
            }
        }
    }

    fn store(
        &mut self,
        line: &handoff::Line,
        records: Vec<Record>,
        gone: &[starling::model::record::RecordName],
        sent: &[Sent],
        disk: &mut Disk,
        air: &mut Air,
    ) {
        self.queue.store(disk, line, records, gone, sent, (self.n, air));
    }

    fn divide(&mut self, effects: Vec<assign::Effect>, air: &mut Air) {
        use assign::Effect;
        for effect in effects {
            match effect {
                Effect::Run { target, duties } => self.tasks.push(Task::Run { target, duties }),
                Effect::Stop { target, ending } => self.tasks.push(Task::Stop { target, ending }),
                Effect::CatchUp { target, at_ms } => {
                    self.tasks.push(Task::CatchUp { target, at_ms });
                }
                Effect::Hold(on_hold) => self.tasks.push(Task::Hold(on_hold)),
                Effect::Gained { slot, from_ms, previous } => {
                    self.changes.push(Change::Gained { slot, from_ms, previous });
                }
                Effect::Lost { slot, until_ms } => {
                    self.changes.push(Change::Lost { slot, until_ms });
                }
                Effect::Moved(moves) => note_late(&moves, air),
                Effect::Gap { .. } => {}
            }
        }
    }

    /// What one event has brought about goes out.
    fn settle(&mut self, fleet_ms: i64, disk: &mut Disk, air: &mut Air) {
        if self.is_met {
            let effects = self.assign.passed(fleet_ms);
            self.divide(effects, air);
        }
        for change in std::mem::take(&mut self.changes) {
            let effects = match change {
                Change::Gained { slot, from_ms, previous } => {
                    self.lost.remove(&slot);
                    self.decide(fleet_ms, |rules, knows| {
                        rules.gained(slot, from_ms, &previous, knows)
                    })
                }
                Change::Lost { slot, until_ms } => {
                    self.lost.insert(slot, until_ms);
                    self.rules.lost(slot, until_ms)
                }
            };
            self.obey(effects, disk, air, Vec::new());
        }
        let table = self.table(fleet_ms);
        self.letters.extend(self.succession.take_due(|slot| table.owner(slot), fleet_ms));
        air.tally.knowledge_given_up += self.succession.take_given_up();
    }

    /// The process ends; what is on the disk was written as it went.
    pub(crate) fn end(self, disk: &mut Disk, air: &mut Air) {
        disk.overrides = self.overrides;
        disk.saved = self.rules.all_saved().map(|(l, s)| (l.clone(), s.clone())).collect();
        self.queue.crash(disk, self.n, air);
    }

    pub(crate) fn take_letters(&mut self) -> Vec<(NodeId, Letter)> {
        std::mem::take(&mut self.letters)
    }

    fn decide<T>(&mut self, fleet_ms: i64, act: impl FnOnce(&mut Handoff, &Knows<'_>) -> T) -> T {
        let table = self.table(fleet_ms);
        let owner = |slot| table.owner(slot);
        act(&mut self.rules, &Knows { now_ms: fleet_ms, roster: &self.roster, owner: &owner })
    }

    pub(crate) fn table(&mut self, fleet_ms: i64) -> Arc<Table> {
        self.assign.placement().table_at(fleet_ms)
    }

    /// As the shell's `has_left`.
    pub(crate) fn has_left(&self, fleet_ms: i64) -> bool {
        let has_share = match self.standing {
            Standing::Active { .. } | Standing::Holding => true,
            Standing::Leaving { until_ms } => fleet_ms < until_ms,
            Standing::Seeking | Standing::Waiting | Standing::Refused | Standing::Gone => false,
        };
        let has_given = self.is_calm() && self.succession.is_empty() && self.letters.is_empty();
        let mut others = self.roster.active_at(fleet_ms).filter(|member| member.id != self.me);
        let is_alone = others.all(|member| member.state != MemberState::Alive);
        !has_share && self.tasks.is_empty() && (has_given || is_alone)
    }

    pub(crate) fn state_of(&self, line: &handoff::Line) -> String {
        let rules = &self.rules;
        let (giving, open) = (rules.is_giving(line), rules.open_before_ms(line));
        let (waiting, saved) = (rules.is_waiting(line), rules.saved(line));
        let queue = self.queue.state_of(line);
        format!("giving {giving}, open before {open:?}, waiting {waiting}; {queue}; {saved:?}")
    }

    /// Nothing left to give.
    pub(crate) fn is_calm(&self) -> bool {
        self.rules.unfinished() == 0 && self.queue.is_idle()
    }

    fn is_publisher(&self) -> bool {
        let mut alive = self.roster.members.values().filter(|one| one.state == MemberState::Alive);
        alive.next().is_some_and(|lowest| lowest.id == self.me)
    }

    /// Some slots get owners by lot.
    pub(crate) fn publish_overrides(&mut self, fleet_ms: i64, air: &mut Air) {
        if !self.is_publisher() || !matches!(self.standing, Standing::Active { .. }) {
            return;
        }
        let active: Vec<NodeId> = self.roster.active_at(fleet_ms).map(|one| one.id).collect();
        if active.is_empty() {
            return;
        }
        let moves = (0..air.rng.random_range(1..300))
            .map(|_| {
                let slot = Slot::new(air.rng.random_range(0..4096)).unwrap();
                (slot, active[air.rng.random_range(0..active.len())])
            })
            .collect();
        let version = self.overrides.stamp().map_or(0, |stamp| stamp.version) + 1;
        let stamp = Stamp { version, publisher: self.me };
        let map = OverrideMap { stamp, from_ms: fleet_ms + 10_000, moves };
        self.overrides = self.overrides.followed_by(map);
        self.next_tell_ms = 0;
        self.roster_changed(fleet_ms, air);
    }

    pub(crate) fn tells_overrides(&mut self, fleet_ms: i64) -> Option<Overrides> {
        if fleet_ms < self.next_tell_ms || self.overrides.stamp().is_none() {
            return None;
        }
        self.next_tell_ms = fleet_ms + TELL_MS;
        Some(self.overrides.clone())
    }
}

fn note_late(moves: &[Move], air: &mut Air) {
    for change in moves.iter().filter(|change| change.is_late) {
        air.tally.late_fences += 1;
        air.late_slots.insert(change.slot);
    }
}
