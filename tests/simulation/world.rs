//! Hosts, their clocks and their network, and one event after the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use starling::{
    fleet::{
        clock::Now,
        membership::{Event, Membership, MembershipSettings, Order},
        memory::{Delivery, Faults, Network},
        message::{About, LoadsTag, OverridesTag},
        node::Node,
        seal::{Sealer, Secret, Session},
        standing::Standing,
    },
    model::member::{Interval, Member, MemberState, NodeId},
    runtime::clock::Lead,
};

/// What a socket keeps for a process that does not read.
const SOCKET_DATAGRAMS_MAX: usize = 300;
/// The wall clock of the world when it begins.
const EPOCH_MS: i64 = 1_800_000_000_000;
pub(crate) const SETTLE_MS: i64 = 2000;

pub(crate) struct World {
    pub(crate) now_us: u64,
    pub(crate) network: Network,
    pub(crate) hosts: Vec<Host>,
    pub(crate) rng: StdRng,
    /// Addresses that every host starts with.
    pub(crate) seeds: usize,
    pub(crate) wait_for_size: usize,
    /// Else somebody says when.
    pub(crate) is_ready_at_start: bool,
    wakes: BTreeSet<(u64, usize)>,
    pub(crate) sent_bytes: u64,
    /// What an eavesdropper has written down.
    pub(crate) tape: Option<Vec<Delivery>>,
    pub(crate) story: bool,
}

pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) secret: &'static str,
    pub(crate) cluster: &'static str,
    pub(crate) node: Option<Node>,
    /// Its process stands still until then.
    hung_until_us: Option<u64>,
    inbox: VecDeque<Delivery>,
    pub(crate) skew_ms: i64,
    /// What its process is configured with when it starts next.
    pub(crate) weight: u32,
    wake_us: Option<u64>,
    /// Since the process has looked at its clocks for the first time.
    lead: Option<Lead>,
    /// When its process started.
    pub(crate) born_us: u64,
}

/// What two nodes should agree on about a member.
pub(crate) type View = BTreeMap<NodeId, (bool, Vec<Interval>)>;

impl World {
    pub(crate) fn new(seed: u64, hosts: usize, faults: Faults) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let network = Network::new(rng.random(), faults);
        let hosts = (0..hosts).map(|n| Host::new(n, rng.random())).collect();
        Self {
            now_us: 0,
            network,
            hosts,
            rng,
            seeds: 3,
            wait_for_size: 1,
            is_ready_at_start: true,
            wakes: BTreeSet::new(),
            sent_bytes: 0,
            tape: None,
            story: std::env::var("STARLING_SEED").is_ok(),
        }
    }

    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.story {
            println!("{:>9.3} s  {}", self.now_us as f64 / 1e6, what());
        }
    }

    /// Starts the process of `n`, with the id that it always had.
    pub(crate) fn start(&mut self, n: usize) {
        self.tell(|| format!("{n} starts"));
        let now = self.now(n);
        let candidates: BTreeSet<SocketAddr> =
            self.hosts.iter().take(self.seeds).map(|host| host.address).collect();
        let configured_peers = candidates.len();
        let host = &self.hosts[n];
        let about = About {
            name: host.name.clone(),
            address: host.address,
            api_address: host.address.to_string(),
            weight: host.weight,
            zone: String::new(),
            started_ms: now.wall_ms,
            config_digest: 1,
            targets_digest: 1,
            jobs: Vec::new(),
            loads: LoadsTag::default(),
            overrides: OverridesTag::default(),
        };
        let settings = MembershipSettings {
            id: host.id,
            about,
            configured_peers,
            seeks_peers: true,
            settle_ms: SETTLE_MS,
            wait_for_size: self.wait_for_size,
            wait_timeout_ms: 60_000,
        };
        let mut session = [0; 16];
        self.rng.fill(&mut session);
        let secret = Secret::new(host.secret);
        let sealer = Sealer::new(&[secret], host.cluster, Session(session)).unwrap();
        let node = Node::new(Membership::new(settings, self.rng.random()), sealer);
        let host = &mut self.hosts[n];
        host.node = Some(node);
        host.lead = None;
        host.born_us = self.now_us;
        host.inbox.clear();
        host.hung_until_us = None;
        self.event(n, Event::Candidates(candidates));
        if self.is_ready_at_start {
            self.event(n, Event::Order(Order::Ready));
        }
    }

    pub(crate) fn kill(&mut self, n: usize) {
        self.tell(|| format!("{n} is killed"));
        let host = &mut self.hosts[n];
        host.node = None;
        host.hung_until_us = None;
        host.inbox.clear();
        if let Some(at) = host.wake_us.take() {
            self.wakes.remove(&(at, n));
        }
    }

    pub(crate) fn hang(&mut self, n: usize, for_us: u64) {
        self.tell(|| format!("{n} hangs for {} ms", for_us / 1000));
        let until = self.now_us + for_us;
        self.hosts[n].hung_until_us = Some(until);
        self.schedule(n, until);
    }

    pub(crate) fn wake_up(&mut self, n: usize) {
        self.schedule(n, self.now_us);
    }

    /// Nothing passes from one side to the other, nor back where `both_ways`.
    pub(crate) fn part(&mut self, sides: &[bool], both_ways: bool) {
        self.tell(|| format!("parted, both ways {both_ways}: {sides:?}"));
        for (a, _) in sides.iter().enumerate().filter(|side| *side.1) {
            for (b, _) in sides.iter().enumerate().filter(|side| !side.1) {
                let (a, b) = (self.hosts[a].address, self.hosts[b].address);
                self.network.cut(a, b);
                if both_ways {
                    self.network.cut(b, a);
                }
            }
        }
    }

    pub(crate) fn mend(&mut self) {
        self.tell(|| "mended".to_owned());
        self.network.mend();
    }

    pub(crate) fn order(&mut self, n: usize, order: Order) {
        self.tell(|| format!("{n} is told {order:?}"));
        self.event(n, Event::Order(order));
    }

    pub(crate) fn event(&mut self, n: usize, event: Event) {
        let now = self.now(n);
        if let Some(node) = &mut self.hosts[n].node {
            node.event(event, now);
            self.flush(n);
        }
    }

    /// Lets `for_ms` pass, and calls `look` after each event.
    pub(crate) fn run(&mut self, for_ms: u64, mut look: impl FnMut(&mut Self)) {
        let end = self.now_us + for_ms * 1000;
        loop {
            let wake = self.wakes.first().map(|&(at, _)| at);
            let arrival = self.network.next_arrival_us();
            let next = wake.into_iter().chain(arrival).min().filter(|&at| at <= end);
            let Some(next) = next else { break };
            self.now_us = next;
            if let Some(delivery) = self.network.arrive(next) {
                self.deliver(delivery);
            } else if let Some((_, n)) = self.wakes.pop_first() {
                self.hosts[n].wake_us = None;
                self.wake(n);
            }
            look(self);
        }
        self.now_us = end;
    }

    fn deliver(&mut self, delivery: Delivery) {
        let found = self.hosts.iter().position(|host| host.address == delivery.to);
        let Some(n) = found.filter(|&n| self.hosts[n].node.is_some()) else { return };
        if self.hosts[n].hung_until_us.is_some() {
            if self.hosts[n].inbox.len() < SOCKET_DATAGRAMS_MAX {
                self.hosts[n].inbox.push_back(delivery);
            }
            return;
        }
        self.read(n, delivery);
    }

    fn read(&mut self, n: usize, mut delivery: Delivery) {
        let now = self.now(n);
        if let Some(node) = &mut self.hosts[n].node {
            let _ = node.receive(delivery.from, &mut delivery.datagram, now);
            self.flush(n);
        }
    }

    fn wake(&mut self, n: usize) {
        if self.hosts[n].hung_until_us.take().is_some() {
            self.tell(|| format!("{n} wakes"));
            // Which of the two a waking process sees first is chance.
            if self.rng.random_bool(0.5) {
                self.step(n);
            }
            while let Some(delivery) = self.hosts[n].inbox.pop_front() {
                self.read(n, delivery);
            }
        }
        self.step(n);
    }

    fn step(&mut self, n: usize) {
        let now = self.now(n);
        if let Some(node) = &mut self.hosts[n].node {
            node.wake(now);
            self.flush(n);
        }
    }

    fn flush(&mut self, n: usize) {
        let from = self.hosts[n].address;
        let (mono_us, wall_us) = self.clocks_us(n);
        let Some(node) = &mut self.hosts[n].node else { return };
        let lead = Lead::new(mono_us, wall_us, node.membership.fleet_offset_ms());
        let next_wake_us = self.now_us + node.next_wake_ms() * 1000;
        for (to, datagram) in node.take_datagrams() {
            // 28: what UDP and IPv4 add.
            self.sent_bytes += datagram.len() as u64 + 28;
            if to == from {
                continue;
            }
            let delivery = Delivery { from, to, datagram };
            if let Some(tape) = &mut self.tape {
                tape.push(delivery.clone());
            }
            self.network.send(self.now_us, &delivery);
        }
        self.hosts[n].lead = Some(lead);
        if self.hosts[n].hung_until_us.is_none() {
            self.schedule(n, next_wake_us);
        }
    }

    fn schedule(&mut self, n: usize, at: u64) {
        if let Some(before) = self.hosts[n].wake_us.replace(at) {
            self.wakes.remove(&(before, n));
        }
        self.wakes.insert((at, n));
    }

    fn now(&self, n: usize) -> Now {
        let ms = self.now_us / 1000;
        Now { mono_ms: ms, wall_ms: EPOCH_MS + ms as i64 + self.hosts[n].skew_ms }
    }

    pub(crate) fn true_ms(&self) -> i64 {
        EPOCH_MS + (self.now_us / 1000) as i64
    }

    /// What `n` takes for the time of the fleet.
    pub(crate) fn fleet_ms(&self, n: usize) -> i64 {
        let (mono_us, wall_us) = self.clocks_us(n);
        self.hosts[n].lead.map_or(wall_us, |lead| lead.at_us(mono_us, wall_us)).div_euclid(1000)
    }

    /// Whether `n` knows it.
    pub(crate) fn knows_time(&self, n: usize) -> bool {
        let (mono_us, wall_us) = self.clocks_us(n);
        self.hosts[n].lead.is_none_or(|lead| lead.is_known(mono_us, wall_us))
    }

    /// The monotonic clock and the wall clock.
    fn clocks_us(&self, n: usize) -> (i64, i64) {
        let Now { mono_ms, wall_ms } = self.now(n);
        (mono_ms as i64 * 1000, wall_ms * 1000)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = (usize, &Node)> {
        let running = |(n, host): (usize, &'_ Host)| host.node.as_ref().map(|_| n);
        let indices: Vec<usize> = self.hosts.iter().enumerate().filter_map(running).collect();
        indices.into_iter().map(|n| (n, self.hosts[n].node.as_ref().unwrap()))
    }

    pub(crate) fn is_hung(&self, n: usize) -> bool {
        self.hosts[n].hung_until_us.is_some()
    }

    pub(crate) fn member(&self, viewer: usize, of: usize) -> Option<Member> {
        self.hosts[viewer].node.as_ref()?.membership.member(self.hosts[of].id)
    }

    pub(crate) fn sees_dead(&self, viewer: usize, of: usize) -> bool {
        self.member(viewer, of).is_some_and(|m| m.state == MemberState::Dead)
    }

    /// Whether all running nodes see the same, and in it all running nodes with an open interval.
    pub(crate) fn disagreement(&self) -> Option<String> {
        let views: Vec<(usize, View)> = self.running().map(|(n, node)| (n, view(node))).collect();
        let (first, expected) = views.first()?;
        for (n, found) in &views {
            if found != expected {
                let differs = expected
                    .iter()
                    .find(|(id, one)| found.get(id) != Some(one))
                    .map(|(id, one)| (self.index(*id), one.clone(), found.get(id).cloned()))
                    .map_or_else(|| "more members".to_owned(), |found| format!("{found:?}"));
                return Some(format!("{first} and {n} see different rosters: {differs}"));
            }
        }
        for (n, node) in self.running() {
            let standing = node.membership.standing();
            let Some((is_here, intervals)) = expected.get(&self.hosts[n].id) else {
                return Some(format!("{n} is not in the roster; it is {standing:?}"));
            };
            let is_leaving = matches!(standing, Standing::Leaving { .. });
            let is_open = intervals.last().is_some_and(|last| last.until_ms.is_none());
            if !is_here || is_open == is_leaving {
                return Some(format!("{n} is {standing:?} and shown with {intervals:?}"));
            }
            if !is_leaving && !matches!(standing, Standing::Active { .. }) {
                return Some(format!("{n} is {standing:?}"));
            }
        }
        for (n, host) in self.hosts.iter().enumerate() {
            if host.node.is_none() && expected.get(&host.id).is_some_and(|one| one.0) {
                return Some(format!("{n} does not run and is shown as here"));
            }
        }
        None
    }

    fn index(&self, id: NodeId) -> usize {
        self.hosts.iter().position(|host| host.id == id).unwrap()
    }
}

impl Host {
    fn new(n: usize, id: u128) -> Self {
        Self {
            address: SocketAddr::from(([10, 0, (n / 250) as u8, (n % 250) as u8 + 1], 9734)),
            id: NodeId(id),
            name: format!("node-{n}"),
            secret: "secret",
            cluster: "simulated",
            node: None,
            hung_until_us: None,
            inbox: VecDeque::new(),
            skew_ms: 0,
            weight: 100,
            wake_us: None,
            lead: None,
            born_us: 0,
        }
    }
}

fn view(node: &Node) -> View {
    let roster = node.membership.roster(0);
    let of = |(id, member): (NodeId, Member)| {
        let is_here = matches!(member.state, MemberState::Alive | MemberState::Suspect);
        (id, (is_here, member.intervals))
    };
    roster.members.into_iter().map(of).collect()
}
