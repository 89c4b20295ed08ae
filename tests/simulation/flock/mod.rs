//! The whole in virtual time: real members that find each other, divide targets by the real rules,
//! scrape them by the real schedule and hand over by the real rules, over a network, outboxes and
//! destinations that are modelled, with seeded faults. Judged from what targets and destinations saw.

mod air;
mod judge;
mod member;
mod pool;
mod queue;
mod scenarios;

use std::{collections::BTreeMap, sync::Arc};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use starling::{
    fleet::{membership::Order, standing::Standing},
    model::{member::NodeId, target::Target},
};

use crate::{
    flock::{
        air::{Air, Post},
        member::{Member, Shown},
        queue::Disk,
    },
    membership::calm,
    world::World,
};

/// How finely the members' doings are told apart; datagrams and wakes have their own instants.
pub(crate) const STEP_MS: u64 = 20;
const DISCOVERY_MS: i64 = 5_000;

/// How large, and what is special about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) members: usize,
    pub(crate) targets: usize,
    pub(crate) destinations: usize,
    /// Targets also appear and vanish while all runs.
    pub(crate) is_lively: bool,
    pub(crate) overrides: bool,
    /// The whole lasts about so long.
    pub(crate) span_ms: i64,
}

pub(crate) struct Flock {
    pub(crate) world: World,
    pub(crate) air: Air,
    hosts: Vec<Host>,
    ids: BTreeMap<NodeId, usize>,
    size: Size,
    next_overrides_ms: i64,
    is_parted: bool,
}

#[derive(Default)]
struct Host {
    member: Option<Member>,
    born_us: u64,
    disk: Disk,
    /// How long its discovery takes, and what it will bring when.
    discovery_ms: i64,
    round: Option<Round>,
    next_round_ms: i64,
    is_ready: bool,
    /// When a process that has left may end.
    ends_ms: Option<i64>,
}

struct Round {
    began_ms: i64,
    due_ms: i64,
    found: Vec<usize>,
}

impl Flock {
    pub(crate) fn new(seed: u64, size: Size) -> Self {
        let mut world = World::new(seed, size.members, calm(0));
        world.is_ready_at_start = false;
        let rng = StdRng::seed_from_u64(seed ^ 0x5eed);
        let mut air = Air::new(rng, size.destinations);
        air.now_ms = world.true_ms();
        let now_ms = air.now_ms;
        for _ in 0..size.targets {
            let interval_ms = [1_000, 2_000, 5_000, 5_000, 10_000][air.rng.random_range(0..5)];
            let is_mortal = size.is_lively && air.rng.random_ratio(1, 5);
            let (mut from_ms, mut until_ms) = (i64::MIN, i64::MAX);
            if is_mortal {
                let at_ms = now_ms + air.rng.random_range(5_000..size.span_ms);
                if air.rng.random_bool(0.5) { from_ms = at_ms } else { until_ms = at_ms }
            }
            air.add_target(interval_ms, from_ms, until_ms, size.span_ms);
        }
        let hosts: Vec<Host> = (0..size.members).map(|_| Host::new()).collect();
        let ids = world.hosts.iter().enumerate().map(|(n, host)| (host.id, n)).collect();
        Self { world, air, hosts, ids, size, next_overrides_ms: now_ms + 8_000, is_parted: false }
    }

    pub(crate) fn members(&self) -> usize {
        self.hosts.len()
    }

    pub(crate) fn has_overrides(&self) -> bool {
        self.size.overrides
    }

    pub(crate) fn slow_discovery(&mut self, n: usize, takes_ms: i64) {
        self.hosts[n].discovery_ms = takes_ms;
    }

    pub(crate) fn is_running(&self, n: usize) -> bool {
        self.world.hosts[n].node.is_some()
    }

    /// That may be told to leave: it has a share, and is not leaving yet.
    pub(crate) fn is_active(&self, n: usize) -> bool {
        let node = self.world.hosts[n].node.as_ref();
        let standing = node.map(|node| node.membership.standing());
        let is_leaving = self.hosts[n].member.as_ref().is_some_and(|member| member.is_leaving);
        matches!(standing, Some(Standing::Active { .. })) && !self.world.is_hung(n) && !is_leaving
    }

    pub(crate) fn start(&mut self, n: usize) {
        self.end_process(n);
        let mut others = (0..self.hosts.len()).filter(|other| *other != n);
        let is_first = !others.any(|other| self.is_running(other));
        let finds_nobody = is_first && !self.air.appended.is_empty();
        self.air.were_strangers |= finds_nobody || self.is_parted;
        self.world.start(n);
    }

    pub(crate) fn kill(&mut self, n: usize) {
        self.air.kills.push((n, self.air.now_ms));
        self.end_process(n);
        self.world.kill(n);
    }

    /// As `systemctl stop`: it ends by itself when it has handed over.
    pub(crate) fn stop(&mut self, n: usize) {
        self.world.order(n, Order::Leave);
        if let Some(member) = &mut self.hosts[n].member {
            member.is_leaving = true;
        }
    }

    /// As `World::part`.
    pub(crate) fn part(&mut self, sides: &[bool], both_ways: bool) {
        let is_met = |n: &usize| {
            let member = self.hosts[*n].member.as_ref();
            !self.is_running(*n) || member.is_some_and(|member| member.is_met)
        };
        self.air.were_strangers |= !(0..self.hosts.len()).all(|n| is_met(&n));
        self.is_parted |= sides.iter().any(|side| *side != sides[0]);
        self.world.part(sides, both_ways);
    }

    pub(crate) fn mend(&mut self) {
        self.is_parted = false;
        self.world.mend();
    }

    fn end_process(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        (host.ends_ms, host.is_ready, host.round) = (None, false, None);
        if let Some(member) = host.member.take() {
            member.end(&mut host.disk, &mut self.air);
        }
    }

    pub(crate) fn run(&mut self, for_ms: u64) {
        for _ in 0..for_ms.div_ceil(STEP_MS) {
            self.world.run(STEP_MS, |_| {});
            self.air.now_ms = self.world.true_ms();
            self.deliver();
            for n in 0..self.hosts.len() {
                if self.is_running(n) && !self.world.is_hung(n) {
                    self.step(n);
                }
            }
        }
    }

    fn step(&mut self, n: usize) {
        if self.hosts[n].member.is_none() || self.hosts[n].born_us != self.world.hosts[n].born_us {
            let (host, me) = (&mut self.hosts[n], self.world.hosts[n].id);
            host.born_us = self.world.hosts[n].born_us;
            host.member = Some(Member::new(n, me, &mut host.disk, &self.air));
            host.next_round_ms = self.air.now_ms;
        }
        self.discover(n);
        let shown = self.shown(n);
        let host = &mut self.hosts[n];
        let member = host.member.as_mut().expect("it was made above");
        member.step(&shown, &mut host.disk, &mut self.air);
        if self.size.overrides && self.air.now_ms >= self.next_overrides_ms {
            let before = member.overrides.stamp();
            member.publish_overrides(shown.fleet_ms, &mut self.air);
            if member.overrides.stamp() != before {
                self.next_overrides_ms = self.air.now_ms + 15_000;
            }
        }
        self.flush(n, shown.fleet_ms);
        self.let_go(n, shown.fleet_ms);
    }

    fn shown(&mut self, n: usize) -> Shown {
        let (fleet_ms, mono_us) = (self.world.fleet_ms(n), self.world.now_us.cast_signed());
        let knows_time = self.world.knows_time(n);
        let node = self.world.hosts[n].node.as_mut().expect("it runs");
        let roster = node.membership.take_changed().then(|| node.membership.roster(0));
        let standing = node.membership.standing();
        Shown { fleet_ms, mono_us, knows_time, standing, roster }
    }

    fn flush(&mut self, n: usize, fleet_ms: i64) {
        let member = self.hosts[n].member.as_mut().expect("it runs");
        for (to, letter) in member.take_letters() {
            let to = self.ids[&to];
            let post = Post::Letter(letter);
            if to == n {
                // What is this member's again by now needs no channel.
                self.air.post_later(n, n, post, 0);
            } else {
                self.air.post(n, to, post);
            }
        }
        if let Some(overrides) = member.tells_overrides(fleet_ms) {
            for to in (0..self.hosts.len()).filter(|to| *to != n) {
                self.air.post(n, to, Post::Overrides(overrides.clone()));
            }
        }
    }

    /// The channel is TCP: a link that is cut in one direction carries nothing in the other.
    fn deliver(&mut self) {
        while let Some((from, to, post)) = self.air.arrived() {
            let [a, b] = [from, to].map(|n| self.world.hosts[n].address);
            let is_cut = self.world.network.is_cut(a, b) || self.world.network.is_cut(b, a);
            if !self.is_running(to) || is_cut {
                continue;
            }
            if self.world.is_hung(to) {
                self.air.post_later(from, to, post, 200);
                continue;
            }
            let fleet_ms = self.world.fleet_ms(to);
            let from = self.world.hosts[from].id;
            let host = &mut self.hosts[to];
            if let Some(member) = &mut host.member {
                member.hear(from, post, fleet_ms, &mut host.disk, &mut self.air);
            }
        }
    }

    fn discover(&mut self, n: usize) {
        let now_ms = self.air.now_ms;
        let fleet_ms = self.world.fleet_ms(n);
        let host = &mut self.hosts[n];
        let member = host.member.as_mut().expect("it runs");
        if host.round.is_none() && now_ms >= host.next_round_ms {
            let is_there = |(_, truth): &(usize, &air::Truth)| {
                truth.from_ms <= now_ms && now_ms < truth.until_ms
            };
            let found = self.air.truths.iter().enumerate().filter(is_there);
            let found = found.map(|(n, _)| n).collect();
            let due_ms = now_ms + if host.is_ready { host.discovery_ms } else { 100 };
            host.round = Some(Round { began_ms: fleet_ms, due_ms, found });
            host.next_round_ms = now_ms + DISCOVERY_MS;
        }
        if let Some(round) = host.round.take_if(|round| now_ms >= round.due_ms) {
            let target = |n: usize| Arc::clone(&self.air.truths[n].target);
            let found: Vec<Arc<Target>> = round.found.into_iter().map(target).collect();
            member.discovered(found.into(), round.began_ms, &mut self.air);
            if !host.is_ready {
                host.is_ready = true;
                self.world.order(n, Order::Ready);
            }
        }
    }

    /// Ends a process that has handed over.
    fn let_go(&mut self, n: usize, fleet_ms: i64) {
        let host = &mut self.hosts[n];
        let member = host.member.as_ref().expect("it runs");
        if !member.is_leaving {
            return;
        }
        match host.ends_ms {
            None if member.has_left(fleet_ms) => {
                host.ends_ms = Some(self.air.now_ms + 100);
                self.world.order(n, Order::Depart);
            }
            Some(ends_ms) if self.air.now_ms >= ends_ms => {
                self.end_process(n);
                self.world.kill(n);
            }
            None | Some(_) => {}
        }
    }
}

impl Host {
    fn new() -> Self {
        Self { discovery_ms: 50, ..Self::default() }
    }
}
