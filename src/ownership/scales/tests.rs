//! A small fleet in virtual time: real scales and placement, letters that are late or lost, gossip
//! that takes a second, and a load with a heavy tail.

use std::{collections::BTreeSet, sync::Arc};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    model::member::{Interval, Member},
    ownership::placement::slots,
};

const STEP_MS: i64 = 500;
const MINUTE_MS: i64 = 60_000;
/// Hysteresis begins at 1.10; a byte tells a load to 4 %, and loads breathe.
const EVEN_MAX: f64 = 1.13;

struct Node {
    scales: Scales,
    placement: Placement,
    /// 0 for those on the one side of a split, 1 for the others.
    side: usize,
    is_running: bool,
}

struct World {
    seed: u64,
    rng: StdRng,
    now_ms: i64,
    nodes: BTreeMap<NodeId, Node>,
    /// As each side sees it.
    rosters: [Roster; 2],
    /// What the gossip has of each.
    shown: BTreeMap<NodeId, Facts>,
    loads: Vec<f64>,
    post: Vec<(i64, NodeId, NodeId, Letter)>,
    /// When which map was published.
    published: Vec<(i64, NodeId)>,
    is_split: bool,
}

impl World {
    fn new(seed: u64, size: u128) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut loads = vec![0.0; usize::from(SLOTS)];
        for number in 0..400 {
            let load = if number % 10 == 0 { 50.0 } else { rng.random_range(0.8..1.2) };
            loads[rng.random_range(0..usize::from(SLOTS))] += load;
        }
        let mut world = Self {
            seed,
            rng,
            now_ms: 0,
            nodes: BTreeMap::new(),
            rosters: [Roster::default(), Roster::default()],
            shown: BTreeMap::new(),
            loads,
            post: Vec::new(),
            published: Vec::new(),
            is_split: false,
        };
        (1..=size).for_each(|id| world.join(id));
        world
    }

    fn join(&mut self, id: u128) {
        let id = NodeId(id);
        let scales = Scales::new(id, Overrides::default());
        let placement = Placement::default();
        self.nodes.insert(id, Node { scales, placement, side: 0, is_running: true });
        let member = Member {
            id,
            name: String::new(),
            api_address: String::new(),
            weight: 100,
            zone: String::new(),
            state: MemberState::Alive,
            intervals: vec![Interval { from_ms: self.now_ms + 2_000, until_ms: None }],
        };
        for roster in &mut self.rosters {
            roster.members.insert(id, member.clone());
        }
    }

    /// All others notice it after a while, so that the ticks until then are lost with it.
    fn crash(&mut self, id: u128) {
        self.nodes.get_mut(&NodeId(id)).unwrap().is_running = false;
        self.run(4_000);
        (0..2).for_each(|side| self.bury(side, NodeId(id)));
    }

    fn bury(&mut self, side: usize, id: NodeId) {
        let member = self.rosters[side].members.get_mut(&id).unwrap();
        member.state = MemberState::Dead;
        member.intervals.last_mut().unwrap().until_ms = Some(self.now_ms);
    }

    /// Each side takes the other for dead.
    fn split(&mut self, others: &[u128]) {
        self.is_split = true;
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            let side = usize::from(others.contains(&id.0));
            self.nodes.get_mut(&id).unwrap().side = side;
            self.bury(1 - side, id);
        }
    }

    fn heal(&mut self) {
        self.is_split = false;
        let from_ms = self.now_ms + 2_000;
        for node in self.nodes.values_mut() {
            node.side = 0;
        }
        for member in self.rosters[0].members.values_mut() {
            if member.state == MemberState::Dead {
                member.state = MemberState::Alive;
                member.intervals.push(Interval { from_ms, until_ms: None });
            }
        }
        self.rosters[1] = self.rosters[0].clone();
    }

    fn run(&mut self, span_ms: i64) {
        let end_ms = self.now_ms + span_ms;
        while self.now_ms < end_ms {
            self.now_ms += STEP_MS;
            self.deliver();
            let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            for id in ids {
                self.step(id);
            }
            if self.now_ms % 1_000 == 0 {
                self.gossip();
            }
        }
    }

    fn step(&mut self, id: NodeId) {
        let Self { nodes, rosters, shown, rng, loads, now_ms, .. } = self;
        let node = nodes.get_mut(&id).unwrap();
        if !node.is_running {
            return;
        }
        let now_ms = *now_ms;
        let roster = &rosters[node.side];
        place(node, roster);
        let owners = node.placement.table_at(now_ms);
        if now_ms % 10_000 == 0 {
            let breathing = Loads::from_fn(|slot| {
                loads[usize::from(slot.number())] * rng.random_range(0.96..1.04)
            });
            node.scales.measured(&breathing, &owners, now_ms);
        }
        let at = Sight { now_ms, roster, facts: shown };
        node.scales.tick(at);
        if node.scales.publish(&mut node.placement, at) {
            self.published.push((now_ms, id));
        }
        place(node, roster);
        for (to, letter) in node.scales.take_letters() {
            if rng.random_range(0..10) > 1 {
                self.post.push((now_ms + rng.random_range(0..900), id, to, letter));
            }
        }
    }

    fn deliver(&mut self) {
        let now_ms = self.now_ms;
        let due: Vec<_> = self.post.extract_if(.., |(at_ms, ..)| *at_ms <= now_ms).collect();
        for (_, from, to, letter) in due {
            if self.is_split && self.nodes[&from].side != self.nodes[&to].side {
                continue;
            }
            let node = self.nodes.get_mut(&to).unwrap();
            let at = Sight { now_ms, roster: &self.rosters[node.side], facts: &self.shown };
            match letter {
                Letter::AskLoads => node.scales.asked_for_loads(from),
                Letter::Loads { version, vector } => {
                    node.scales.heard_loads(from, version, vector);
                }
                Letter::AskOverrides => node.scales.asked_for_overrides(from),
                Letter::Overrides(overrides) => {
                    node.scales.heard_overrides(from, overrides, at);
                }
                Letter::Handoff { .. }
                | Letter::Knowledge { .. }
                | Letter::Noted { .. }
                | Letter::AskDifference { .. }
                | Letter::Difference { .. } => {
                    panic!("{letter:?}")
                }
            }
        }
    }

    fn gossip(&mut self) {
        for (id, node) in self.nodes.iter().filter(|(_, node)| node.is_running) {
            let (loads, overrides) = node.scales.tags();
            let facts = Facts {
                address: "127.0.0.1:1".parse().unwrap(),
                generation: 1,
                config_digest: 0,
                targets_digest: 0,
                loads,
                overrides,
                clock_ahead_ms: None,
            };
            self.shown.insert(*id, facts);
        }
    }

    /// All that run know the same owner of each slot, and there is one.
    fn owners(&mut self) -> Arc<Table> {
        let (now_ms, seed) = (self.now_ms, self.seed);
        let running = self.nodes.values_mut().filter(|node| node.is_running);
        let mut tables = running.map(|node| node.placement.table_at(now_ms));
        let first = tables.next().unwrap();
        assert!(tables.all(|table| table == first), "seed {seed}: not one view at {now_ms}");
        let roster = &self.rosters[0];
        for slot in slots() {
            let owner = first.owner(slot).expect("somebody is there");
            assert!(roster.members[&owner].is_active_at(now_ms), "seed {seed}: orphaned {slot:?}");
        }
        first
    }

    fn imbalance(&mut self) -> f64 {
        let owners = self.owners();
        let loads = Loads::from_fn(|slot| self.loads[usize::from(slot.number())]);
        balance::imbalance(&loads.by_owner(&owners), &self.rosters[0])
    }

    fn check_even(&mut self) {
        let (seed, hottest) = (self.seed, self.imbalance());
        assert!(hottest <= EVEN_MAX, "seed {seed}: {hottest} after {:?}", self.published);
    }
}

fn place(node: &mut Node, roster: &Roster) {
    let overrides = node.scales.overrides();
    if node.placement.roster().members != roster.members || node.placement.overrides() != overrides
    {
        let placement = std::mem::take(&mut node.placement);
        node.placement = placement.renewed(Arc::new(roster.clone()), overrides.clone());
    }
}

#[test]
fn a_heavy_load_is_evened_out_and_then_left_alone() {
    let mut was_uneven = 0;
    for seed in 0..6 {
        let mut world = World::new(seed, 3 + u128::from(seed % 3));
        world.run(30_000);
        was_uneven += usize::from(world.imbalance() > EVEN_MAX);
        // Maps are known long before they hold, so that all switch at one instant.
        for _ in 0..5 * 60 {
            world.run(1_000);
            world.owners();
        }
        world.check_even();
        let maps = world.published.len();
        assert!(maps <= 3, "seed {seed}: {:?}", world.published);
        world.run(15 * MINUTE_MS);
        assert_eq!(world.published.len(), maps, "seed {seed}: {:?}", world.published);
        let apart = world.published.windows(2).map(|two| two[1].0 - two[0].0);
        assert!(apart.min().is_none_or(|ms| ms >= MINUTE_MS), "{:?}", world.published);
    }
    assert!(was_uneven >= 3, "{was_uneven}");
}

#[test]
fn after_a_crash_of_the_publisher_the_next_one_goes_on() {
    for seed in 0..4 {
        let mut world = World::new(seed, 4);
        world.run(4 * MINUTE_MS);
        world.crash(1);
        let buried_ms = world.now_ms;
        world.run(5 * MINUTE_MS);
        world.check_even();
        let since: Vec<_> = world.published.iter().filter(|one| one.0 >= buried_ms).collect();
        assert!(since.iter().all(|one| one.1 == NodeId(2)), "seed {seed}: {since:?}");
    }
}

/// It has nothing on its disk, and must not take for its own what overrides give to others.
#[test]
fn a_newcomer_has_the_overrides_before_its_share_begins() {
    let mut world = World::new(1, 3);
    world.run(3 * MINUTE_MS);
    assert!(!world.published.is_empty());
    world.join(9);
    let newcomer = &world.nodes[&NodeId(9)];
    let at = Sight { now_ms: world.now_ms, roster: &world.rosters[0], facts: &world.shown };
    assert!(newcomer.scales.is_behind(at));
    world.run(30_000);
    let stamps: Vec<_> = world.nodes.values().map(|node| node.scales.overrides().stamp()).collect();
    assert!(stamps.iter().all(|stamp| *stamp == stamps[0] && stamp.is_some()), "{stamps:?}");
    world.owners();
    // The lowest of all takes the duty over.
    world.join(0);
    world.run(5 * MINUTE_MS);
    world.check_even();
}

#[test]
fn after_a_split_one_map_is_published_for_all() {
    let mut forks = 0;
    for seed in 0..4 {
        let mut world = World::new(seed, 6);
        world.run(3 * MINUTE_MS);
        world.split(&[4, 5, 6]);
        let before = world.published.len();
        world.run(4 * MINUTE_MS);
        let sides: BTreeSet<_> = world.published[before..].iter().map(|one| one.1.0 > 3).collect();
        let is_forked = sides.len() == 2;
        forks += usize::from(is_forked);
        world.heal();
        let healed_ms = world.now_ms;
        world.run(5 * MINUTE_MS);
        world.check_even();
        let after: Vec<_> = world.published.iter().filter(|one| one.0 > healed_ms).collect();
        assert!(after.iter().all(|one| one.1 == NodeId(1)), "seed {seed}: {after:?}");
        let conflicts: u64 = world.nodes.values().map(|node| node.scales.conflicts()).sum();
        assert_eq!(conflicts > 0, is_forked, "seed {seed}: {:?}", world.published);
        assert!(!is_forked || !after.is_empty(), "seed {seed}: {:?}", world.published);
    }
    assert!(forks > 0);
}

#[test]
fn a_member_that_has_not_told_is_not_idle() {
    let mut world = World::new(2, 3);
    world.run(9_000);
    for node in world.nodes.values_mut() {
        node.scales.told = Told::default();
    }
    // The third one's pool measures nothing any more.
    let silent = world.nodes.remove(&NodeId(3)).unwrap();
    assert_eq!(silent.scales.tags().0, LoadsTag::default());
    world.run(5 * MINUTE_MS);
    assert_eq!(world.published, []);
}

#[test]
fn what_breathes_is_no_news() {
    let check = |before: &[u8], after: &[u8], expected| {
        assert_eq!(is_news(before, after), expected, "{before:?} {after:?}");
    };
    check(&[5, 6, 0], &[5, 6, 0], false);
    check(&[5, 6, 0], &[6, 5, 0], false);
    check(&[5, 6, 0], &[7, 6, 0], true);
    check(&[5, 6, 0], &[5, 6, 1], true);
    check(&[1, 6, 0], &[0, 6, 0], true);
    check(&[], &[0], true);
}

#[test]
fn a_vector_of_another_length_is_none() {
    let mut scales = Scales::new(NodeId(1), Overrides::default());
    scales.heard_loads(NodeId(2), 1, Bytes::from_static(&[0; 9]));
    assert!(scales.heard.is_empty());
}
