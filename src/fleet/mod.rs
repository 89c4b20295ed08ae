//! Who is here, and when each takes its share. `peers` and `mdns` say where others may be;
//! datagrams come through `transport` and `seal` into `membership`, whose roster all decisions rest
//! on. This file is the loop around it, which decides nothing.

pub mod alone;
pub mod channel;
pub mod clock;
pub mod drift;
mod exchange;
pub mod gossip;
mod hold;
mod mdns;
pub mod membership;
pub mod memory;
pub mod message;
mod meters;
pub mod node;
pub mod node_id;
pub mod notice;
mod outlook;
pub mod peers;
pub mod records;
pub mod seal;
mod seek;
pub mod settings;
pub mod standing;
mod tell;
pub mod transport;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, poll_fn},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use prometheus_client::registry::Registry;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tracing::info;

use crate::{
    config::SECRET_KNOWN_TO_ALL,
    model::member::{NodeId, Roster},
    runtime::{clock as wall, lease::Lease, stop::Stop, tasks},
};

use self::{
    clock::Now,
    mdns::MdnsSettings,
    membership::{Event, Membership, MembershipSettings, Order, STALL_MS},
    message::{About, LoadsTag, OverridesTag, TEXT_BYTES_MAX, ZONE_BYTES_MAX},
    meters::Meters,
    node::Node,
    notice::Raised,
    peers::Peer,
    seal::{FRAME_BYTES_MAX, Sealer, Secret, Session},
    standing::Standing,
    tell::{tell_changes, tell_status},
    transport::{Transport, Udp, interface_address, route_source},
};
pub use self::{mdns::Interfaces, outlook::Facts, settings::FleetSettings};

/// Orders beyond that many wait at the sender.
const ORDERS_MAX: usize = 16;
/// How often the status is looked at where nothing else asks for it.
const STATUS: Duration = Duration::from_secs(1);
/// How often a node that found no address to be reached at looks for one again.
const ADVERTISE: Duration = Duration::from_secs(5);
/// A goodbye is repeated for so long, as datagrams get lost.
const GOODBYE: Duration = Duration::from_millis(300);

/// How late the loop may look at the clock and still vouch for what it knows.
const FRESH: Duration = Duration::from_millis(100);

/// What a node shows of itself and of its peers, beside the roster.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub standing: Standing,
    /// To add to this host's clock for the time of the fleet.
    pub fleet_offset_ms: i64,
    /// What someone should look at, now, in order of kind.
    pub notices: Vec<Raised>,
    pub facts: BTreeMap<NodeId, Facts>,
    /// Of the lease: who has acted on this status may grant it.
    pub generation: u64,
}

type Candidates = watch::Receiver<BTreeSet<SocketAddr>>;

enum Command {
    Order(Order),
    Secrets(Vec<Secret>),
}

#[derive(Clone)]
pub struct Handle {
    roster: watch::Receiver<Arc<Roster>>,
    status: watch::Receiver<Arc<Status>>,
    commands: mpsc::Sender<Command>,
    local: SocketAddr,
    lease: Lease,
    time: wall::FleetTime,
}

impl Handle {
    pub fn roster(&self) -> watch::Receiver<Arc<Roster>> {
        self.roster.clone()
    }

    pub fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// Valid while this node may do what is its share.
    pub fn lease(&self) -> Lease {
        self.lease.clone()
    }

    /// What all members call now.
    pub fn time(&self) -> wall::FleetTime {
        self.time.clone()
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    pub async fn order(&self, order: Order) {
        // Nobody listens only when the fleet has ended, and the agent with it.
        let _ = self.commands.send(Command::Order(order)).await;
    }

    /// From now on seals with the first of these and opens with any.
    pub async fn set_secrets(&self, secrets: Vec<Secret>) {
        let _ = self.commands.send(Command::Secrets(secrets)).await;
    }
}

pub struct Fleet {
    settings: FleetSettings,
    node: Node,
    transport: Box<dyn Transport>,
    address: watch::Sender<SocketAddr>,
    commands: mpsc::Receiver<Command>,
    roster: watch::Sender<Arc<Roster>>,
    status: watch::Sender<Arc<Status>>,
    started: Instant,
    /// What the node was last told the time is.
    told: wall::Reading,
    lease: Lease,
    time: wall::FleetTime,
    meters: Meters,
}

impl Fleet {
    pub async fn new(
        settings: FleetSettings,
        registry: &mut Registry,
    ) -> Result<(Handle, Self), String> {
        let udp = Udp::bind(settings.listen).await.map_err(|error| {
            format!("cluster address `{}` can't be listened on: {error}", settings.listen)
        })?;
        Self::over(Box::new(udp), settings, registry)
    }

    /// Over any network.
    pub fn over(
        transport: Box<dyn Transport>,
        settings: FleetSettings,
        registry: &mut Registry,
    ) -> Result<(Handle, Self), String> {
        for (what, text, bytes_max) in [
            ("name", &settings.name, TEXT_BYTES_MAX),
            ("zone", &settings.zone, ZONE_BYTES_MAX),
            ("API address", &settings.api_address, TEXT_BYTES_MAX),
        ] {
            if text.len() > bytes_max {
                return Err(format!("node {what} `{text}` is longer than {bytes_max} bytes"));
            }
        }
        let local = transport.local_address();
        let candidates = settings.peers.iter().filter_map(|peer| match peer {
            Peer::Address(address) => Some(*address),
            Peer::Name(..) | Peer::Service(_) => None,
        });
        let address = settings.advertise.unwrap_or_else(|| advertised(local, candidates));
        let session = Session(node_id::chance());
        let sealer = Sealer::new(&settings.secrets, &settings.cluster, session)
            .ok_or("a cluster needs a secret: set `--cluster.secret-file`")?;
        let membership = Membership::new(
            membership_settings(&settings, address),
            u64::from_be_bytes(node_id::chance()),
        );
        let mut node = Node::new(membership, sealer);
        node.event(insecurity(&settings.secrets), Now { mono_ms: 0, wall_ms: wall::now_ms() });
        let (roster, roster_seen) = watch::channel(Arc::default());
        let (lease, time) = (Lease::new(), wall::FleetTime::default());
        let status = status_of(&node, &[], lease.generation());
        let (status, status_seen) = watch::channel(Arc::new(status));
        let (command_sender, commands) = mpsc::channel(ORDERS_MAX);
        let handle = Handle {
            roster: roster_seen,
            status: status_seen,
            commands: command_sender,
            local,
            lease: lease.clone(),
            time: time.clone(),
        };
        let told = wall::Reading::now();
        let part = Self {
            settings,
            node,
            transport,
            address: watch::channel(address).0,
            commands,
            roster,
            status,
            started: told.at,
            told,
            lease,
            time,
            meters: Meters::new(registry),
        };
        Ok((handle, part))
    }

    /// Gossips until told to stop, and says goodbye.
    pub async fn run(mut self, stop: Stop) {
        // The search for peers ends with this part, also when it ends early.
        let searching = stop.child();
        let (mut listed, mut browsed) = self.search(&searching);
        let mut buffer = vec![0; FRAME_BYTES_MAX + 1];
        let mut status_due = Instant::now() + STATUS;
        let mut advertise_due = Instant::now() + ADVERTISE;
        while !stop.is_raised() {
            let wake = self.wake_at();
            tokio::select! {
                received = receive(self.transport.as_ref(), &mut buffer) => {
                    self.received(&mut buffer, received);
                }
                () = tokio::time::sleep_until(wake) => {
                    let now = self.now();
                    self.node.wake(now);
                }
                Some(command) = self.commands.recv() => self.command(command),
                Ok(()) = listed.changed() => self.candidates(&mut listed, &mut browsed),
                Ok(()) = browsed.changed() => self.candidates(&mut listed, &mut browsed),
                () = tokio::time::sleep_until(advertise_due) => {
                    advertise_due = Instant::now() + ADVERTISE;
                    let all = listed.borrow().union(&browsed.borrow()).copied().collect();
                    self.readvertise(&all);
                }
                () = stop.raised() => {}
            }
            self.flush();
            self.vouch();
            self.publish(&mut status_due);
        }
        self.say_goodbye(&mut buffer).await;
        searching.raise();
    }

    fn search(&self, stop: &Stop) -> (Candidates, Candidates) {
        let (listed, listed_seen) = watch::channel(BTreeSet::new());
        let (browsed, browsed_seen) = watch::channel(BTreeSet::new());
        if !self.settings.peers.is_empty() {
            let peers = self.settings.peers.clone();
            tasks::spawn("peers", peers::run(peers, listed, stop.clone()));
        }
        if let Some(interfaces) = self.settings.mdns.clone() {
            let (cluster, id) = (self.settings.cluster.clone(), self.settings.id);
            let settings = MdnsSettings { cluster, id, interfaces };
            let address = self.address.subscribe();
            tasks::spawn("mdns", mdns::run(settings, address, browsed, stop.clone()));
        }
        (listed_seen, browsed_seen)
    }

    fn received(&mut self, buffer: &mut [u8], received: (usize, SocketAddr)) {
        let (bytes, from) = received;
        let now = self.now();
        let outcome = self.node.receive(from, &mut buffer[..bytes], now);
        self.meters.received(bytes, outcome);
    }

    fn command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Order(order) => self.node.event(Event::Order(order), now),
            Command::Secrets(secrets) => {
                self.node.set_secrets(&secrets);
                self.node.event(insecurity(&secrets), now);
            }
        }
    }

    fn candidates(&mut self, listed: &mut Candidates, browsed: &mut Candidates) {
        let mut all = listed.borrow_and_update().clone();
        all.extend(browsed.borrow_and_update().iter());
        self.readvertise(&all);
        let now = self.now();
        self.node.event(Event::Candidates(all), now);
    }

    /// An address of its own that no other host reaches is worth another look: at the first one
    /// the network may not have been up, or the peers' names not resolved.
    fn readvertise(&mut self, candidates: &BTreeSet<SocketAddr>) {
        let before = *self.address.borrow();
        if self.settings.advertise.is_some() || !before.ip().is_loopback() {
            return;
        }
        let address = advertised(self.transport.local_address(), candidates.iter().copied());
        if address != before {
            info!(%address, "others reach this node there from now on");
            self.address.send_replace(address);
            let now = self.now();
            self.node.event(Event::Order(Order::Advertise(address)), now);
        }
    }

    fn now(&mut self) -> Now {
        self.told = wall::Reading::now();
        let mono = self.told.at.saturating_duration_since(self.started);
        let mono_ms = u64::try_from(mono.as_millis()).expect("a process does not run for ever");
        Now { mono_ms, wall_ms: self.told.wall_us.div_euclid(1000) }
    }

    fn wake_at(&self) -> Instant {
        self.told.at + Duration::from_millis(self.node.next_wake_ms().max(1))
    }

    fn flush(&mut self) {
        for (to, datagram) in self.node.take_datagrams() {
            self.transport.send(to, &datagram);
            self.meters.sent(datagram.len());
        }
    }

    fn publish(&mut self, status_due: &mut Instant) {
        let membership = &mut self.node.membership;
        self.time.lead(self.told, membership.fleet_offset_ms());
        let is_new = membership.take_changed() && {
            let before = self.roster.borrow().clone();
            let roster = membership.roster(before.version + 1);
            let is_new = roster.members != before.members;
            if is_new {
                tell_changes(&before, &roster);
                self.meters.roster(&roster);
                self.roster.send_replace(Arc::new(roster));
            }
            is_new
        };
        let standing = membership.standing();
        if is_new || standing != self.status.borrow().standing || Instant::now() >= *status_due {
            *status_due = Instant::now() + STATUS;
            let generation = self.lease.generation();
            let status = status_of(&self.node, &self.status.borrow().notices, generation);
            if status != **self.status.borrow() {
                tell_status(&self.status.borrow(), &status);
                self.meters.status(&status);
                self.status.send_replace(Arc::new(status));
            }
        }
    }

    /// For what this node may do, as far as the last look at the clock has shown.
    fn vouch(&self) {
        match self.node.membership.standing() {
            Standing::Active { .. } | Standing::Leaving { .. } => {
                if self.told.at.elapsed() < FRESH {
                    self.lease.renew(Duration::from_millis(STALL_MS));
                }
            }
            Standing::Seeking
            | Standing::Waiting
            | Standing::Holding
            | Standing::Refused
            | Standing::Gone => self.lease.revoke(),
        }
    }

    async fn say_goodbye(&mut self, buffer: &mut [u8]) {
        self.command(Command::Order(Order::Depart));
        self.flush();
        let end = Instant::now() + GOODBYE;
        while Instant::now() < end {
            tokio::select! {
                received = receive(self.transport.as_ref(), buffer) => {
                    self.received(buffer, received);
                }
                () = tokio::time::sleep_until(self.wake_at().min(end)) => {
                    let now = self.now();
                    self.node.wake(now);
                }
            }
            self.flush();
        }
        self.publish(&mut Instant::now());
    }
}

/// The next datagram. A socket's error is of one datagram, and the next one may be well.
fn receive<'b>(
    transport: &'b dyn Transport,
    buffer: &'b mut [u8],
) -> impl Future<Output = (usize, SocketAddr)> + 'b {
    poll_fn(move |context| {
        transport.poll_receive(context, buffer).map(|received| match received {
            Ok(received) => received,
            Err(_) => (0, transport.local_address()),
        })
    })
}

fn membership_settings(settings: &FleetSettings, address: SocketAddr) -> MembershipSettings {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    MembershipSettings {
        id: settings.id,
        about: About {
            name: settings.name.clone(),
            address,
            api_address: settings.api_address.clone(),
            weight: settings.weight,
            zone: settings.zone.clone(),
            started_ms: wall::now_ms(),
            config_digest: 0,
            targets_digest: 0,
            jobs: Vec::new(),
            loads: LoadsTag::default(),
            overrides: OverridesTag::default(),
        },
        configured_peers: settings.peers.len(),
        seeks_peers: !settings.peers.is_empty() || settings.mdns.is_some(),
        settle_ms: i64::try_from(millis(settings.settle)).unwrap_or(i64::MAX),
        wait_for_size: settings.wait_for_size,
        wait_timeout_ms: millis(settings.wait_timeout),
    }
}

/// The address that others are told, where none is configured.
fn advertised(local: SocketAddr, mut candidates: impl Iterator<Item = SocketAddr>) -> SocketAddr {
    if !local.ip().is_unspecified() {
        return local;
    }
    let is_elsewhere = |peer: &SocketAddr| !peer.ip().is_loopback();
    let source = candidates.find(is_elsewhere).and_then(|peer| route_source(Some(peer)));
    let loopback = std::net::Ipv4Addr::LOCALHOST.into();
    let ip = source.or_else(|| route_source(None)).or_else(|| interface_address(local));
    let ip = ip.unwrap_or(loopback);
    SocketAddr::new(ip, local.port())
}

/// One that everybody knows opens the door, whichever others there are.
fn insecurity(secrets: &[Secret]) -> Event {
    let is_known = |secret: &Secret| *secret == Secret::new(SECRET_KNOWN_TO_ALL);
    Event::Order(Order::Insecure(secrets.iter().any(is_known)))
}

fn status_of(node: &Node, raised: &[Raised], generation: u64) -> Status {
    let membership = &node.membership;
    Status {
        standing: membership.standing(),
        fleet_offset_ms: membership.fleet_offset_ms(),
        notices: notice::raise(raised, membership.notices(), wall::now_ms()),
        facts: membership.facts(),
        generation,
    }
}

/// What `/metrics` shows of `status`.
#[cfg(test)]
pub(crate) fn metrics_of(status: &Status) -> String {
    let mut registry = Registry::default();
    Meters::new(&mut registry).status(status);
    crate::runtime::meters::Exposition::Text.encode(&registry).unwrap()
}

#[cfg(test)]
mod tests;
