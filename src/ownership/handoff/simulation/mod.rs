//! A small fleet that hands over: the real rules over simulated disks, network and destinations,
//! with crashes, and messages lost, doubled and late. Checkers look from outside, at what the
//! destinations got. `STARLING_SEED=7` replays one seed; `STARLING_SEEDS=10000` runs so many. What is
//! left to chance here, `states` goes through one by one.

pub(crate) mod air;
mod disk;
pub(crate) mod feed;
mod node;
mod scrapes;
pub(crate) mod states;

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    model::member::{Interval, Member, MemberState, NodeId, Roster},
    ownership::handoff::simulation::{
        air::{Air, Event, Faults, Point, Setting, Tally, Times},
        feed::Feed,
        node::{Node, Room},
        scrapes::Scrapes,
    },
};

/// Of each scenario. One takes a fifth of a second in a debug build, most of it for the 4,096 slots.
const SEEDS: u64 = 25;
const SETTLE_MS: i64 = 2_000;
const DETECTION_MS: i64 = 2_500;
const TIMES: Times = Times { faults_ms: 40_000, samples_ms: 50_000, end_ms: 240_000 };
/// How often destinations, and the end of all, are looked at.
const LOOK_MS: i64 = 500;
/// How often something may go wrong.
const TROUBLE_MS: i64 = 100;

struct Fleet<F: Feed> {
    air: Air<F::Outside>,
    nodes: BTreeMap<NodeId, Node<F>>,
    /// What is so; members hear of it later.
    truth: Roster,
    /// Crashed, and to be declared dead then.
    doomed: BTreeMap<NodeId, i64>,
}

impl<F: Feed> Fleet<F> {
    fn new(seed: u64, faults: Faults) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let size = rng.random_range(2..=5);
        let ids: Vec<NodeId> = (0..size).map(|_| NodeId(rng.random())).collect();
        let destinations: &[&str] = if rng.random_ratio(1, 2) { &["a"] } else { &["a", "b"] };
        let mut fleet = Self::of(&ids, rng, Setting { seed, faults, times: TIMES, destinations });
        for node in fleet.nodes.values_mut() {
            node.start(fleet.truth.clone(), &mut fleet.air);
        }
        fleet
    }

    /// Of these members, who have not started.
    fn of(ids: &[NodeId], mut rng: StdRng, setting: Setting<'_>) -> Self {
        let skew_ms = |rng: &mut StdRng| match F::SKEW_MS_MAX {
            0 => 0,
            most_ms if rng.random_ratio(1, 2) => most_ms,
            most_ms => -most_ms,
        };
        let nodes = ids.iter().map(|id| (*id, Node::new(*id, skew_ms(&mut rng)))).collect();
        let outside = F::outside(ids, &mut rng);
        Self {
            air: Air::new(setting, rng, F::IS_PUSHED, outside),
            nodes,
            truth: roster(ids),
            doomed: BTreeMap::new(),
        }
    }

    fn run(mut self) -> Tally {
        let faults_ms = self.air.times.faults_ms;
        while self.advance() {
            if self.air.faults.darkness {
                self.darken(|_| true);
            }
            if self.air.now_ms < faults_ms && self.air.now_ms % TROUBLE_MS == 0 {
                self.make_trouble();
            }
            self.step();
        }
        self.check();
        self.air.tally
    }

    /// To the next step, if there is one.
    fn advance(&mut self) -> bool {
        let is_over = self.air.now_ms >= self.air.times.end_ms || self.is_done();
        self.air.now_ms += F::STEP_MS;
        !is_over
    }

    fn step(&mut self) {
        let mut is_news = self.declare_deaths();
        is_news |= self.let_leavers_go();
        is_news |= self.bring_back();
        if is_news {
            self.spread_news();
        }
        self.deliver();
        let nodes = &self.nodes;
        F::step_outside(&mut self.air, &|id| nodes.get(&id).is_some_and(Node::is_up));
        for node in self.nodes.values_mut().filter(|node| node.is_up()) {
            node.step(&mut self.air);
        }
    }

    fn make_trouble(&mut self) {
        let Air { rng, now_ms, faults, destinations, cuts, .. } = &mut self.air;
        let (now_ms, faults, size) = (*now_ms, *faults, self.nodes.len());
        let at = rng.random_range(0..size);
        let (id, node) = self.nodes.iter_mut().nth(at).expect("it is one of them");
        let id = *id;
        if faults.full_disks && rng.random_ratio(1, 50) {
            node.room = [Room::Ample, Room::Reserve, Room::None][rng.random_range(0..3)];
        }
        if faults.outages && rng.random_ratio(1, 80) {
            let until_ms = now_ms + rng.random_range(500..15_000);
            let which = rng.random_range(0..destinations.len());
            let destination = destinations.values_mut().nth(which);
            destination.expect("it is one of them").down_until_ms = until_ms;
        }
        if faults.cuts && rng.random_ratio(1, 60) {
            let until_ms = (now_ms + rng.random_range(500..12_000)).min(TIMES.faults_ms);
            let other = rng.random_range(0..size);
            let other = *self.truth.members.keys().nth(other).expect("it is one of them");
            cuts.insert((id, other), until_ms);
            if rng.random_ratio(1, 2) {
                cuts.insert((other, id), until_ms);
            }
        }
        if self.may_leave(id) && self.air.rng.random_ratio(1, 40) {
            self.leave(id);
        } else if faults.crashes && self.nodes[&id].is_up() && self.air.rng.random_ratio(1, 60) {
            let back_ms = now_ms + self.air.rng.random_range(300..12_000);
            self.crash(id).back_ms = Some(back_ms);
        }
    }

    /// It is up, has its share and keeps it, and somebody is there to take it.
    fn may_leave(&self, id: NodeId) -> bool {
        let (now_ms, member) = (self.air.now_ms, &self.truth.members[&id]);
        let is_steady = member.is_active_at(now_ms) && member.is_active_at(now_ms + SETTLE_MS);
        let has_others = self.truth.active_at(now_ms + SETTLE_MS).count() > 1;
        self.nodes[&id].is_up() && is_steady && has_others
    }

    fn leave(&mut self, id: NodeId) {
        self.nodes.get_mut(&id).expect("all are members").is_leaving = true;
        let member = self.truth.members.get_mut(&id).expect("all are members");
        let last = member.intervals.last_mut().expect("it is active");
        last.until_ms = Some(self.air.now_ms + SETTLE_MS);
        self.spread_news();
    }

    fn crash(&mut self, id: NodeId) -> &mut Node<F> {
        let node = self.nodes.get_mut(&id).expect("all are members");
        node.crash(&mut self.air);
        self.doomed.insert(id, self.air.now_ms + DETECTION_MS);
        node
    }

    /// While it is dark, destinations are down until what lay on the disks of those that crashed lies
    /// with its owners.
    fn darken(&mut self, is_dark: impl Fn(&str) -> bool) {
        let now_ms = self.air.now_ms;
        if now_ms <= self.air.times.faults_ms + LOOK_MS || !self.is_calm() {
            for (name, destination) in &mut self.air.destinations {
                if is_dark(name) {
                    destination.down_until_ms = now_ms + 1;
                }
            }
        }
    }

    fn declare_deaths(&mut self) -> bool {
        let now_ms = self.air.now_ms;
        let mut is_news = false;
        for (id, at_ms) in self.doomed.extract_if(.., |_, at_ms| *at_ms <= now_ms) {
            let member = self.truth.members.get_mut(&id).expect("all are members");
            member.state = MemberState::Dead;
            if let Some(last) = member.intervals.last_mut() {
                last.until_ms = Some(last.until_ms.map_or(at_ms, |until_ms| until_ms.min(at_ms)));
            }
            is_news = true;
        }
        is_news
    }

    fn let_leavers_go(&mut self) -> bool {
        let now_ms = self.air.now_ms;
        let mut is_news = false;
        for (id, node) in &mut self.nodes {
            let member = self.truth.members.get_mut(id).expect("all are members");
            let until_ms = member.intervals.last().and_then(|last| last.until_ms);
            // A step or two, as it may only just have heard itself.
            let has_ended = until_ms.is_some_and(|until_ms| until_ms + 3 * TROUBLE_MS < now_ms);
            if has_ended && node.may_go() {
                node.go();
                node.back_ms = Some(now_ms + self.air.rng.random_range(500..10_000));
                member.state = MemberState::Left;
                is_news = true;
            }
        }
        is_news
    }

    fn bring_back(&mut self) -> bool {
        let (now_ms, faults_ms) = (self.air.now_ms, self.air.times.faults_ms);
        let mut is_news = false;
        for (id, node) in &mut self.nodes {
            if now_ms == faults_ms {
                node.room = Room::Ample;
            }
            let is_time = node.back_ms.is_some_and(|back_ms| back_ms <= now_ms);
            if node.is_up() || !(is_time || now_ms == faults_ms) {
                continue;
            }
            self.doomed.remove(id);
            let member = self.truth.members.get_mut(id).expect("all are members");
            member.state = MemberState::Alive;
            // One that nobody missed goes on as it was; one that was declared dead, or had left, or was
            // never there, begins anew.
            if member.intervals.last().is_none_or(|last| last.until_ms.is_some()) {
                let from_ms = now_ms + SETTLE_MS;
                member.intervals.push(Interval { from_ms, until_ms: None });
                is_news = true;
            }
            node.start(self.truth.clone(), &mut self.air);
        }
        is_news
    }

    /// Planned changes are heard of before they take effect, and deaths when they are.
    fn spread_news(&mut self) {
        for id in self.nodes.keys() {
            self.air.news(*id, SETTLE_MS - 2 * TROUBLE_MS);
        }
    }

    fn deliver(&mut self) {
        for event in self.air.due() {
            let to = match &event {
                Event::Message { to, .. } | Event::News { to } => *to,
            };
            let node = self.nodes.get_mut(&to).expect("members talk to members");
            if !node.is_up() {
                continue;
            }
            match event {
                Event::News { .. } => node.learn_roster(self.truth.clone(), &mut self.air),
                Event::Message { from, message, .. } => node.hear(from, message, &mut self.air),
            }
        }
    }

    fn is_done(&self) -> bool {
        let is_time =
            self.air.now_ms > self.air.times.samples_ms + 1_000 && self.air.now_ms % LOOK_MS == 0;
        is_time && F::is_done(&self.air.outside) && self.is_calm() && self.missing().is_none()
    }

    fn is_calm(&self) -> bool {
        self.nodes.values().all(Node::is_calm)
    }

    /// Something that is expected, and is not at a destination nor named as lost there.
    fn missing(&self) -> Option<(&str, Point)> {
        self.air.destinations.iter().find_map(|(name, destination)| {
            let is_known = |point: &&Point| {
                destination.stored.contains(*point) || destination.lost.contains(*point)
            };
            let point = self.air.expected.iter().find(|point| !is_known(point))?;
            Some((&**name, *point))
        })
    }

    fn check(&self) {
        let seed = self.air.seed;
        assert!(F::is_done(&self.air.outside), "seed {seed}: not all has come");
        if let Some((destination, point)) = self.missing() {
            let held = |node: &Node<F>| node.held(destination, point, &self.air);
            let held: Vec<String> = self.nodes.values().flat_map(held).collect();
            panic!("seed {seed}: {point:?} is not at {destination}: {held:#?}");
        }
        for (id, node) in &self.nodes {
            assert!(node.is_calm(), "seed {seed}: {id} is not done");
        }
    }
}

fn roster(ids: &[NodeId]) -> Roster {
    let member = |id: &NodeId| Member {
        id: *id,
        name: String::new(),
        api_address: String::new(),
        weight: 100,
        zone: String::new(),
        state: MemberState::Alive,
        intervals: vec![Interval { from_ms: 0, until_ms: None }],
    };
    Roster { members: ids.iter().map(|id| (*id, member(id))).collect(), version: 0 }
}

/// All that fail are told, not the first.
pub(crate) fn run<F: Feed>(seeds: u64, faults: Faults) -> Tally {
    let seeds = match number("STARLING_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("STARLING_SEEDS").unwrap_or(seeds),
    };
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    for seed in seeds {
        match std::panic::catch_unwind(|| Fleet::<F>::new(seed, faults).run()) {
            Ok(of_seed) => tally.add(of_seed),
            Err(_) => failed.push(seed),
        }
    }
    assert!(failed.is_empty(), "failed with the seeds {failed:?}");
    tally
}

/// What was asked for, if anything was.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn members_that_come_and_go_lose_nothing_and_mix_up_nothing() {
    let tally = run::<Scrapes>(SEEDS, Faults::default());
    assert!(tally.handed_over > 0, "{tally:?}");
    assert_eq!((tally.late, tally.out_of_order, tally.repeats), (0, 0, 0), "{tally:?}");
}

#[test]
fn nor_do_they_with_links_cut_and_bad_and_destinations_down_and_disks_full() {
    let tally = run::<Scrapes>(SEEDS, Faults { crashes: false, ..Faults::all() });
    assert!(tally.handed_over > 0 && tally.refused > 0 && tally.repeats > 0, "{tally:?}");
    assert_eq!((tally.bets, tally.late, tally.out_of_order), (0, 0, 0), "{tally:?}");
}

/// Order may break where a death was bet on, and samples may be late there; nowhere else, and little.
#[test]
fn after_a_crash_what_is_lost_is_named() {
    let tally = run::<Scrapes>(SEEDS, Faults::all());
    assert!(tally.handed_over > 0 && tally.bets > 0, "{tally:?}");
    assert!(tally.out_of_order * 25 < tally.samples, "{tally:?}");
}
