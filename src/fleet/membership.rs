//! The rules of the fleet as one state machine: events in, effects out, no socket and no clock.
//! This file is its state, its book and its beat; `exchange` is what it says, `seek`, `standing` and
//! `hold` how a node comes, stays and goes, `outlook` what it shows of all that.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    fleet::{
        clock::{FleetClock, Now},
        drift::{self, JobTargets},
        exchange::RUMOUR_BEATS,
        gossip::{SUSPICION_MS, Swim, SwimEffects, SwimId, SwimNews, SwimTimer},
        hold::Hold,
        message::{About, Card, Closure, LoadsTag, Message, OverridesTag, Phase, Record},
        notice::{Difference, Minority, Notice},
        records::{Merged, Records},
        seal::{Rejected, Session},
        seek::Seek,
        standing::Standing,
    },
    model::member::NodeId,
};

/// All that is not foca's happens on a beat.
pub const BEAT_MS: u64 = 100;
/// A loop that was not asked for so long stood still: by half the suspicion time nobody has
/// declared it dead yet.
pub const STALL_MS: u64 = SUSPICION_MS / 2;
/// Sessions that are asked to prove themselves in a second; a recording played back gets no more.
const CHALLENGES_PER_SECOND_MAX: u32 = 200;

/// What a node knows of itself when it starts.
#[derive(Clone, Debug)]
pub struct MembershipSettings {
    pub id: NodeId,
    pub about: About,
    /// Entries of the list of peers.
    pub configured_peers: usize,
    /// Has a list of peers, or looks for them by mDNS; else it is alone by choice.
    pub seeks_peers: bool,
    pub settle_ms: i64,
    pub wait_for_size: usize,
    pub wait_timeout_ms: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Take a share: config, discovery and outbox are ready. Also takes back a `Leave`.
    Ready,
    /// Give the share up after the settling time, and stay.
    Leave,
    /// Say goodbye, at once.
    Depart,
    Describe(Description),
    /// This side of a split is the smaller one, and the agent has stopped for that; `None`: it has not.
    Quorum(Option<Minority>),
    /// What the member has said of the targets that it finds and this node does not, or not so.
    Differs(NodeId, Option<Difference>),
    /// Overrides came from a member that did not know of those in force here, nor the other way.
    OverrideConflict,
    /// Whether the secret is one that everybody knows.
    Insecure(bool),
    /// This dead member will not come back.
    Forget(NodeId),
    /// From now on this node is reached there.
    Advertise(SocketAddr),
}

/// What changes often, is not urgent, and is told to all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// 0 while it is not known.
    pub config_digest: u64,
    /// What discovery has found for each divided job; empty until its first round has ended.
    pub targets: JobTargets,
    pub loads: LoadsTag,
    pub overrides: OverridesTag,
}

#[derive(Debug)]
pub enum Event {
    Timer(Timer),
    Message {
        from: SocketAddr,
        message: Message,
    },
    Rejected {
        from: SocketAddr,
        why: Rejected,
    },
    Order(Order),
    /// Where peers may be.
    Candidates(BTreeSet<SocketAddr>),
}

#[derive(Debug)]
pub enum Timer {
    Beat,
    Swim(SwimTimer),
}

#[derive(Debug)]
pub enum Effect {
    Send {
        to: SocketAddr,
        message: Message,
    },
    /// To a session that has to prove itself.
    Challenge {
        to: SocketAddr,
        session: Session,
        message: Message,
    },
    Wake {
        after_ms: u64,
        timer: Timer,
    },
}

pub struct Membership {
    pub(super) settings: MembershipSettings,
    pub(super) about: About,
    pub(super) generation: u64,
    version: u32,
    pub(super) phase: Phase,
    pub(super) intervals: Vec<(i64, Option<i64>)>,
    pub(super) standing: Standing,
    pub(super) seek: Seek,
    pub(super) hold: Option<Hold>,
    pub(super) ready: bool,
    /// foca has been told that this generation is dead.
    pub(super) undead: bool,
    pub(super) records: Records,
    pub(super) swim: Swim,
    pub(super) clock: FleetClock,
    /// Members not closed, without this node; follows `records`.
    pub(super) alive: Vec<(NodeId, SocketAddr)>,
    pub(super) suspects: BTreeSet<NodeId>,
    pub(super) rumours: BTreeMap<NodeId, u8>,
    pub(super) next_compare_ms: u64,
    challenges: u32,
    pub(super) last_care_ms: u64,
    pub(super) differs_since: BTreeMap<(NodeId, bool), u64>,
    /// What discovery has found here.
    pub(super) targets: JobTargets,
    pub(super) minority: Option<Minority>,
    /// Of members that find other targets.
    pub(super) differences: BTreeMap<NodeId, Difference>,
    /// When last overrides came that did not follow those in force.
    pub(super) conflict_ms: Option<u64>,
    /// Where the secret is one that everybody knows.
    pub(super) insecure: Option<Notice>,
    pub(super) notices: BTreeSet<Notice>,
    /// When last a member found no room in the book.
    pub(super) crowded_ms: Option<u64>,
    pub(super) rng: StdRng,
    /// Time as this process has lived it: it does not pass while the process stands still, so that
    /// no timer takes the silence of its own sleep for a peer's.
    lived_ms: u64,
    last_looked: Option<Now>,
    pub(super) effects: Vec<Effect>,
    /// Something that the roster shows has changed.
    pub(super) changed: bool,
}

impl Membership {
    pub fn new(settings: MembershipSettings, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let about = settings.about.clone();
        let own = SwimId { id: settings.id.into(), generation: 0, address: about.address };
        let swim = Swim::new(own, StdRng::seed_from_u64(rng.random()));
        Self {
            settings,
            about,
            generation: 0,
            version: 0,
            phase: Phase::Here,
            intervals: Vec::new(),
            standing: Standing::Seeking,
            seek: Seek::default(),
            hold: None,
            ready: false,
            undead: false,
            records: Records::default(),
            swim,
            clock: FleetClock::default(),
            alive: Vec::new(),
            suspects: BTreeSet::new(),
            rumours: BTreeMap::new(),
            next_compare_ms: 0,
            challenges: 0,
            last_care_ms: 0,
            differs_since: BTreeMap::new(),
            targets: JobTargets::new(),
            minority: None,
            differences: BTreeMap::new(),
            conflict_ms: None,
            insecure: None,
            notices: BTreeSet::new(),
            crowded_ms: None,
            rng,
            lived_ms: 0,
            last_looked: None,
            effects: vec![Effect::Wake { after_ms: 0, timer: Timer::Beat }],
            changed: true,
        }
    }

    /// Lets time pass up to `now`. Comes before anything else that happens at `now`.
    pub fn advance(&mut self, now: Now) {
        let passed = self.last_looked.map_or(0, |last| now.mono_ms.saturating_sub(last.mono_ms));
        self.last_looked = Some(now);
        let slept = self.clock.look(now);
        if passed > STALL_MS {
            self.lived_ms += BEAT_MS;
            self.stall(now);
        } else {
            self.lived_ms += passed;
            if slept > i64::try_from(STALL_MS).expect("a second") {
                // The wall clock alone went on: the whole host was suspended, or the clock was set.
                self.stall(now);
            }
        }
    }

    pub fn lived_ms(&self) -> u64 {
        self.lived_ms
    }

    pub fn id(&self) -> NodeId {
        self.settings.id
    }

    pub fn handle(&mut self, event: Event, now: Now) {
        match event {
            Event::Timer(Timer::Beat) => self.beat(now),
            Event::Timer(Timer::Swim(timer)) => {
                let effects = self.swim.timer(timer);
                self.apply(effects, now);
            }
            Event::Message { from, message } => self.message(from, message, now),
            Event::Rejected { from, why } => self.rejected(from, why),
            Event::Order(order) => self.order(&order, now),
            Event::Candidates(found) => self.seek.replace(found),
        }
    }

    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn beat(&mut self, now: Now) {
        self.effects.push(Effect::Wake { after_ms: BEAT_MS, timer: Timer::Beat });
        if self.swim.is_joined() && self.hold.is_none() {
            let knows_all = self.knows_time();
            self.clock.beat(knows_all);
        } else {
            self.clock.set();
        }
        self.greet(now);
        self.move_on(now);
        self.compare(now);
        self.spread();
        self.care(now);
        let suspects = self.swim.alive().filter(|&(_, is_suspect)| is_suspect);
        let suspects: BTreeSet<NodeId> = suspects.map(|(id, _)| id).collect();
        if suspects != self.suspects {
            self.suspects = suspects;
            self.changed = true;
        }
    }

    fn rejected(&mut self, from: SocketAddr, why: Rejected) {
        match why {
            Rejected::Unproven(session) => {
                if self.challenges < CHALLENGES_PER_SECOND_MAX {
                    self.challenges += 1;
                    let message = Message::Hello { card: self.card(), challenge: true };
                    self.effects.push(Effect::Challenge { to: from, session, message });
                }
            }
            Rejected::UnknownKey { .. } | Rejected::OtherCluster { .. } => {
                if self.seek.note_stranger(from, why, self.lived_ms) {
                    // It cannot read this either, and learns by it that the secrets differ.
                    self.send(from, Message::Hello { card: self.card(), challenge: false });
                }
            }
            Rejected::Own => self.seek.note_own(from),
            Rejected::TooShort
            | Rejected::TooLong
            | Rejected::Foreign
            | Rejected::Version
            | Rejected::BadSeal
            | Rejected::Replayed
            | Rejected::Malformed => {}
        }
    }

    fn order(&mut self, order: &Order, now: Now) {
        match order {
            Order::Ready => self.be_ready(),
            Order::Leave => self.give_up_share(now),
            Order::Depart => self.depart(now),
            Order::Describe(description) => self.describe(description),
            Order::Quorum(minority) => self.minority = *minority,
            Order::Differs(member, Some(difference)) => {
                // One that does not differ any more is forgotten with the next look at all.
                self.differences.insert(*member, difference.clone());
            }
            Order::Differs(member, None) => drop(self.differences.remove(member)),
            Order::OverrideConflict => self.conflict_ms = Some(self.lived_ms),
            Order::Insecure(is_insecure) => self.insecure = is_insecure.then_some(Notice::Insecure),
            &Order::Forget(id) => {
                if let Some(record) = self.records.get(id).filter(|record| record.is_closed()) {
                    let (generation, until_ms) = (record.generation, self.clock.fleet_ms(now));
                    let by = self.settings.id.into();
                    let death = Closure { generation, until_ms, by, forgotten: true };
                    let until_ms = record.closure.map_or(until_ms, |known| known.until_ms);
                    self.close(id, Closure { until_ms, ..death }, now);
                }
            }
            Order::Advertise(address) => self.advertise(*address, now),
        }
    }

    fn describe(&mut self, description: &Description) {
        let Description { config_digest, targets, loads, overrides } = description;
        let about = About {
            config_digest: *config_digest,
            targets_digest: drift::digest(targets),
            jobs: drift::digests(targets),
            loads: *loads,
            overrides: *overrides,
            ..self.about.clone()
        };
        self.targets.clone_from(targets);
        if about != self.about {
            self.about = about;
            if self.swim.is_joined() {
                self.restate();
            }
        }
    }

    /// Takes in a record, this node's own included, and passes on what is news.
    pub(super) fn learn(&mut self, heard: Record, now: Now) {
        let id = NodeId::from(heard.id);
        if id == self.settings.id && self.swim.is_joined() {
            self.hear_of_self(&heard, now);
            return;
        }
        let before = self.records.get(id).cloned();
        match self.records.merge(heard, self.clock.fleet_ms(now)) {
            Merged::News => {}
            Merged::Known => return,
            Merged::NoRoom => {
                self.crowded_ms = Some(self.lived_ms);
                return;
            }
        }
        let after = self.records.get(id).expect("it was merged");
        let is_urgent = before.is_none_or(|before| {
            (before.generation, before.phase, before.closure, &before.intervals)
                != (after.generation, after.phase, after.closure, &after.intervals)
        });
        if is_urgent {
            self.rumours.insert(id, RUMOUR_BEATS);
        }
        self.reconcile(id, now);
    }

    /// Notes the death of a member.
    fn close(&mut self, id: NodeId, closure: Closure, now: Now) {
        if self.records.close(id, closure) {
            self.rumours.insert(id, RUMOUR_BEATS);
            self.reconcile(id, now);
        }
    }

    /// Tells foca what the book says of `id`.
    fn reconcile(&mut self, id: NodeId, now: Now) {
        self.changed = true;
        let Some(record) = self.records.get(id) else { return };
        let (swim_id, is_closed) = (swim_id(record), record.is_closed());
        self.alive.retain(|&(other, _)| other != id);
        if !is_closed && id != self.settings.id {
            self.alive.push((id, swim_id.address));
        }
        let effects = self.swim.learn(swim_id, !is_closed);
        self.apply(effects, now);
    }

    /// Turns what foca wants into effects, and what it noticed into the book.
    pub(super) fn apply(&mut self, effects: SwimEffects, now: Now) {
        for (to, packet) in effects.packets {
            self.send(to, Message::Swim(packet));
        }
        for (after, timer) in effects.timers {
            let after_ms = u64::try_from(after.as_millis()).expect("foca waits an hour at most");
            self.effects.push(Effect::Wake { after_ms, timer: Timer::Swim(timer) });
        }
        for news in effects.news {
            match news {
                SwimNews::Up(up) => {
                    let known = self.records.get(up.id.into());
                    if known.is_none_or(|record| record.generation < up.generation) {
                        self.send(up.address, Message::Want(vec![up.id]));
                    }
                }
                SwimNews::Down(down) => self.mourn(down, now),
                SwimNews::Defunct => {
                    self.undead = true;
                    self.told_dead(now);
                }
            }
        }
    }

    fn mourn(&mut self, down: SwimId, now: Now) {
        let id = NodeId::from(down.id);
        let record = self.records.get(id);
        if record.is_some_and(|one| one.generation == down.generation && !one.is_closed()) {
            let closure = Closure {
                generation: down.generation,
                until_ms: self.clock.fleet_ms(now),
                by: self.settings.id.into(),
                forgotten: false,
            };
            self.close(id, closure, now);
        }
    }

    /// Says anew what this node is, to whoever compares books.
    pub(super) fn restate(&mut self) {
        self.version += 1;
        let closure = self.records.get(self.settings.id).and_then(|record| record.closure);
        let record = Record {
            id: self.settings.id.into(),
            generation: self.generation,
            version: self.version,
            about: self.about.clone(),
            phase: self.phase,
            intervals: self.intervals.clone(),
            closure,
        };
        self.records.put(self.settings.id, record);
        self.changed = true;
    }

    /// Says it to every member at once, and lets it be repeated.
    pub(super) fn proclaim(&mut self) {
        self.restate();
        let own = self.settings.id;
        for message in self.records.told([own]) {
            for n in 0..self.alive.len() {
                self.send(self.alive[n].1, message.clone());
            }
        }
        self.rumours.insert(own, RUMOUR_BEATS);
    }

    pub(super) fn own_swim_id(&self) -> SwimId {
        let Self { settings, generation, about, .. } = self;
        SwimId { id: settings.id.into(), generation: *generation, address: about.address }
    }

    pub(super) fn card(&self) -> Card {
        Card {
            id: self.settings.id.into(),
            name: self.about.name.clone(),
            address: self.about.address,
            started_ms: self.about.started_ms,
            member: self.swim.is_joined() && self.hold.is_none(),
        }
    }

    pub(super) fn new_second(&mut self) {
        self.challenges = 0;
        self.seek.hinted.clear();
    }

    pub(super) fn send(&mut self, to: SocketAddr, message: Message) {
        self.effects.push(Effect::Send { to, message });
    }
}

pub(super) fn swim_id(record: &Record) -> SwimId {
    SwimId { id: record.id, generation: record.generation, address: record.about.address }
}
