//! The `cluster` section: who the other members are and how this one behaves among them. Flags are
//! read by the same rules and lie over what the file says.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    config::{
        Secret, Source,
        decode::{Findings, Section, shown},
        problem::{Place, Problems},
        yaml::{Key, Node, Value},
    },
    model::peer::Peer,
};

/// UDP for gossip and TCP for what is larger.
pub const PORT: u16 = 9734;

/// Longer cluster names are refused: multicast DNS carries `cluster=` and the name in 255 bytes.
const NAME_BYTES_MAX: usize = 247;
/// Of a node's name; longer ones are refused, as each datagram must hold it.
const TEXT_BYTES_MAX: usize = 255;
/// Of its zone, for the same reason.
const ZONE_BYTES_MAX: usize = 64;
/// More are refused: each name among them is asked for again every few seconds.
const PEERS_MAX: usize = 1_024;
/// More are refused: a datagram may be sealed with any of them.
const SECRETS_MAX: usize = 8;
/// More are refused.
const INTERFACES_MAX: usize = 64;
/// More members than that do not know each other, so nobody waits for more.
const WAIT_FOR_SIZE_MAX: i128 = 1_024;
/// A hundred times the default: a host that much larger than its neighbours is a typing error.
pub const WEIGHT_MAX: u32 = 10_000;
/// Less than that is no time for the news to reach all members.
const SETTLE_MIN: Duration = Duration::from_millis(200);
/// Longer than that no service manager waits for a process to end.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// How to get one, for who has none.
pub(super) const MAKE_A_SECRET: &str = "make one: `openssl rand -hex 32`";

/// The `cluster` section with the flags over it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Otherwise this agent is a cluster of one, and nothing below has an effect.
    pub enabled: bool,
    /// Keeps clusters on one network apart.
    pub name: String,
    /// `None`: the name of the host.
    pub node_name: Option<String>,
    /// As typed; `peers` reads them.
    pub peers: Vec<String>,
    /// Whether to announce this node and to look for others by multicast DNS.
    pub mdns: bool,
    /// Where to do so; empty is every interface but the loopback.
    pub mdns_interfaces: Vec<String>,
    pub listen_address: SocketAddr,
    pub advertise_address: Option<AdvertiseAddress>,
    /// The first seals, all open.
    pub secrets: Vec<Source>,
    /// What `secrets` hold, in their order, once `unlock` has read them; never empty then where the
    /// cluster is enabled, as an insecure one has a secret that everybody knows.
    pub keys: Vec<Secret>,
    /// May run without a secret of its own.
    pub insecure: bool,
    /// The first share begins when so many members are here …
    pub wait_for_size: usize,
    /// … or after so long.
    pub wait_timeout: Duration,
    /// How far ahead joins and leaves are announced.
    pub settle: Duration,
    /// This member's share beside the others'; 0 takes none.
    pub weight: u32,
    pub zone: String,
    pub on_partition: OnPartition,
    /// How long a changed job waits for the other members to have it, too.
    pub reload_grace: Duration,
    /// How long a new owner waits for the word of the former one.
    pub fence_max: Duration,
}

/// What a side of a split does that has not the majority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPartition {
    ScrapeAll,
    MinorityStops,
}

/// Where others reach this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvertiseAddress {
    pub ip: IpAddr,
    /// `None`: the one it listens on.
    pub port: Option<u16>,
}

/// What was said of a cluster in one place: in the file, or by flags and the environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TypedCluster {
    pub enabled: Option<bool>,
    pub name: Option<String>,
    pub node_name: Option<String>,
    pub peers: Option<Vec<String>>,
    pub mdns: Option<bool>,
    pub mdns_interfaces: Option<Vec<String>>,
    pub listen_address: Option<SocketAddr>,
    pub advertise_address: Option<AdvertiseAddress>,
    pub secrets: Option<Vec<Source>>,
    pub insecure: Option<bool>,
    pub wait_for_size: Option<usize>,
    pub wait_timeout: Option<Duration>,
    pub settle: Option<Duration>,
    pub weight: Option<u32>,
    pub zone: Option<String>,
    pub on_partition: Option<OnPartition>,
    pub reload_grace: Option<Duration>,
    pub fence_max: Option<Duration>,
    /// The secret of one that has said of none where it is: a credential of the service manager.
    pub credential: Option<PathBuf>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            enabled: false,
            name: "default".to_owned(),
            node_name: None,
            peers: Vec::new(),
            mdns: false,
            mdns_interfaces: Vec::new(),
            listen_address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
            advertise_address: None,
            secrets: Vec::new(),
            keys: Vec::new(),
            insecure: false,
            wait_for_size: 0,
            wait_timeout: Duration::from_secs(60),
            settle: Duration::from_secs(2),
            weight: 100,
            zone: String::new(),
            on_partition: OnPartition::ScrapeAll,
            reload_grace: Duration::from_secs(60),
            fence_max: Duration::from_secs(300),
        }
    }
}

impl Cluster {
    /// `typed` wins over what is here.
    #[must_use]
    pub fn with(self, typed: TypedCluster) -> Self {
        Self {
            enabled: typed.enabled.unwrap_or(self.enabled),
            name: typed.name.unwrap_or(self.name),
            node_name: typed.node_name.or(self.node_name),
            peers: typed.peers.unwrap_or(self.peers),
            mdns: typed.mdns.unwrap_or(self.mdns),
            mdns_interfaces: typed.mdns_interfaces.unwrap_or(self.mdns_interfaces),
            listen_address: typed.listen_address.unwrap_or(self.listen_address),
            advertise_address: typed.advertise_address.or(self.advertise_address),
            secrets: typed.secrets.unwrap_or(self.secrets),
            keys: self.keys,
            insecure: typed.insecure.unwrap_or(self.insecure),
            wait_for_size: typed.wait_for_size.unwrap_or(self.wait_for_size),
            wait_timeout: typed.wait_timeout.unwrap_or(self.wait_timeout),
            settle: typed.settle.unwrap_or(self.settle),
            weight: typed.weight.unwrap_or(self.weight),
            zone: typed.zone.unwrap_or(self.zone),
            on_partition: typed.on_partition.unwrap_or(self.on_partition),
            reload_grace: typed.reload_grace.unwrap_or(self.reload_grace),
            fence_max: typed.fence_max.unwrap_or(self.fence_max),
        }
    }

    /// A peer without a port listens where this node does.
    pub fn peers(&self) -> Vec<Peer> {
        let port = self.default_port();
        self.peers.iter().filter_map(|peer| Peer::parse(peer, port).ok()).collect()
    }

    /// Where others are told to reach this node; `None` leaves it to the route to a peer.
    pub fn advertise(&self) -> Option<SocketAddr> {
        let AdvertiseAddress { ip, port } = self.advertise_address?;
        Some(SocketAddr::new(ip, port.unwrap_or(self.default_port())))
    }

    pub fn secret_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.secrets.iter().filter_map(|secret| match secret {
            Source::File(path) => Some(path),
            Source::Inline(_) => None,
        })
    }

    /// A port that the system is to choose is nowhere else's.
    fn default_port(&self) -> u16 {
        Some(self.listen_address.port()).filter(|port| *port != 0).unwrap_or(PORT)
    }
}

/// The keys of the section that differ and take effect only at the next start.
pub fn cluster_keys_that_need_a_restart(old: &Cluster, new: &Cluster) -> Vec<&'static str> {
    let differs = [
        ("enabled", old.enabled != new.enabled),
        ("name", old.name != new.name),
        ("node_name", old.node_name != new.node_name),
        ("peers", old.peers != new.peers),
        ("mdns", old.mdns != new.mdns),
        ("mdns_interfaces", old.mdns_interfaces != new.mdns_interfaces),
        ("listen_address", old.listen_address != new.listen_address),
        ("advertise_address", old.advertise_address != new.advertise_address),
        ("wait_for_size", old.wait_for_size != new.wait_for_size),
        ("wait_timeout", old.wait_timeout != new.wait_timeout),
        ("settle", old.settle != new.settle),
        ("weight", old.weight != new.weight),
        ("zone", old.zone != new.zone),
        ("on_partition", old.on_partition != new.on_partition),
        ("fence_max", old.fence_max != new.fence_max),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

impl TypedCluster {
    /// What flags say, each under the name that it has as a key, lists in pieces. Paths are taken
    /// as they are.
    ///
    /// # Errors
    /// Every problem, as those of a file, and without a place.
    pub fn read(fields: Vec<(&'static str, Vec<String>)>) -> Result<Self, Problems> {
        let entries = fields.into_iter().map(|(key, texts)| {
            let value = match (is_list(key), <[String; 1]>::try_from(texts)) {
                (false, Ok([text])) => scalar(text),
                (_, texts) => {
                    let texts = texts.map_or_else(|texts| texts, Vec::from);
                    let value = Value::Sequence(texts.into_iter().map(scalar).collect());
                    Node { place: Place::default(), value }
                }
            };
            (Key { place: Place::default(), text: key.to_owned() }, value)
        });
        let node = Node { place: Place::default(), value: Value::Mapping(entries.collect()) };
        let mut findings = Findings::of(Path::new(""));
        findings.file = "`--cluster.*`".into();
        let typed = typed(&node, &mut findings);
        if findings.problems.is_empty() { Ok(typed) } else { Err(Problems(findings.problems)) }
    }
}

impl AdvertiseAddress {
    fn parse(text: &str) -> Option<Self> {
        let (ip, port) = ip_and_port(text)?;
        (!ip.is_unspecified() && port != Some(0)).then_some(Self { ip, port })
    }
}

impl fmt::Display for AdvertiseAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

pub(super) const ON_PARTITION: [(&str, OnPartition); 2] =
    [("scrape_all", OnPartition::ScrapeAll), ("minority_stops", OnPartition::MinorityStops)];

/// The section of the file with `flags` over it, checked as a whole.
pub(super) fn cluster(top: &mut Section<'_, '_>, flags: &TypedCluster) -> Cluster {
    let own = top.get("cluster").map(|node| typed(node, top.findings)).unwrap_or_default();
    let mut cluster = Cluster::default().with(own).with(flags.clone());
    if cluster.secrets.is_empty() {
        cluster.secrets.extend(flags.credential.clone().map(Source::File));
    }
    if cluster.enabled {
        // What is wrong with flags alone has no place in the file.
        let place = if top.has("cluster") { top.place_of("cluster") } else { Place::default() };
        check(&cluster, place, top.findings);
    }
    cluster
}

/// What only the whole tells: keys that need each other.
fn check(cluster: &Cluster, place: Place, findings: &mut Findings) {
    if cluster.secrets.is_empty() && !cluster.insecure {
        let message = format!(
            "`cluster` is enabled and has no secret, so any host could join it: {MAKE_A_SECRET}, put it into a file on every member and name that by `secret_file` (`--cluster.secret-file`), or give it to the service as the credential `starling.cluster-secret`; or say `insecure: true` where you trust the network"
        );
        findings.problem(place, message);
    }
    if cluster.secrets.is_empty() && cluster.insecure {
        let message = format!(
            "`insecure: true` and no secret: whoever reaches the cluster port can join, and be given targets and unsent samples; where that is not a network of your own, {MAKE_A_SECRET}, and set `secret_file` on every member"
        );
        findings.warning(place, message);
    }
    if cluster.peers.is_empty() && !cluster.mdns {
        findings.warning(
            place,
            "`cluster` is enabled and has neither `peers` nor `mdns`: this member finds nobody and, unless others find it, is a cluster of one",
        );
    }
    let is_two = cluster.wait_for_size == 2 || (cluster.peers.len() == 2 && !cluster.mdns);
    if cluster.on_partition == OnPartition::MinorityStops && is_two {
        findings.warning(
            place,
            "`on_partition: minority_stops` in a cluster of two: when one member is lost, the other may stop as well; have three, or `scrape_all`",
        );
    }
}

fn typed(node: &Node, findings: &mut Findings) -> TypedCluster {
    let Some(mut section) = Section::open(node, "cluster", findings) else {
        return TypedCluster::default();
    };
    let typed = TypedCluster {
        enabled: section.boolean("enabled"),
        name: name(&mut section, "name", NAME_BYTES_MAX),
        node_name: name(&mut section, "node_name", TEXT_BYTES_MAX),
        peers: peers(&mut section),
        mdns: section.boolean("mdns"),
        mdns_interfaces: interfaces(&mut section),
        listen_address: listen_address(&mut section),
        advertise_address: advertise_address(&mut section),
        secrets: secrets(&mut section),
        insecure: section.boolean("insecure"),
        wait_for_size: section.number("wait_for_size", 0..=WAIT_FOR_SIZE_MAX),
        wait_timeout: section.duration("wait_timeout"),
        settle: settle(&mut section),
        weight: section.number("weight", 0..=i128::from(WEIGHT_MAX)),
        zone: name(&mut section, "zone", ZONE_BYTES_MAX),
        on_partition: section.word("on_partition", &ON_PARTITION),
        reload_grace: section.duration("reload_grace"),
        fence_max: section.duration("fence_max"),
        credential: None,
    };
    section.close();
    typed
}

/// An empty one is none.
fn name(section: &mut Section<'_, '_>, key: &'static str, bytes_max: usize) -> Option<String> {
    let text = section.text(key).filter(|text| !text.is_empty())?;
    if text.len() > bytes_max || text.contains(char::is_control) {
        let place = section.place_of(key);
        let message = format!(
            "`{key}`: expected at most {bytes_max} bytes on one line, found `{}`",
            shown(text)
        );
        section.problem(place, message);
        return None;
    }
    Some(text.to_owned())
}

fn peers(section: &mut Section<'_, '_>) -> Option<Vec<String>> {
    let peers = list(section, "peers", PEERS_MAX)?;
    for (text, place) in &peers {
        if let Err(reason) = Peer::parse(text, PORT) {
            section.problem(*place, format!("`peers`: {}", shown(&reason)));
        }
    }
    Some(peers.into_iter().map(|(text, _)| text.trim().to_owned()).collect())
}

fn interfaces(section: &mut Section<'_, '_>) -> Option<Vec<String>> {
    let interfaces = list(section, "mdns_interfaces", INTERFACES_MAX)?;
    for (text, place) in &interfaces {
        if text.is_empty() {
            section.problem(*place, "`mdns_interfaces`: an entry is empty");
        }
    }
    Some(interfaces.into_iter().map(|(text, _)| text.to_owned()).collect())
}

/// `None` where the key is absent, or its list too long.
fn list<'n>(
    section: &mut Section<'n, '_>,
    key: &'static str,
    entries_max: usize,
) -> Option<Vec<(&'n str, Place)>> {
    let texts = section.texts(key);
    if texts.len() > entries_max {
        let place = section.place_of(key);
        let count = texts.len();
        section.problem(place, format!("`{key}`: expected at most {entries_max}, found {count}"));
        return None;
    }
    section.has(key).then_some(texts)
}

fn listen_address(section: &mut Section<'_, '_>) -> Option<SocketAddr> {
    const EXPECTED: &str = "an IP address and a port such as `0.0.0.0:9734` or `[::]:9734`";

    let text = section.text("listen_address").filter(|text| !text.is_empty())?;
    let all = text.strip_prefix(':').and_then(|port| port.parse().ok());
    let all = all.map(|port| (Ipv4Addr::UNSPECIFIED.into(), Some(port)));
    let address = all.or_else(|| ip_and_port(text));
    if address.is_none() {
        wrong(section, "listen_address", EXPECTED, text);
    }
    address.map(|(ip, port)| SocketAddr::new(ip, port.unwrap_or(PORT)))
}

fn advertise_address(section: &mut Section<'_, '_>) -> Option<AdvertiseAddress> {
    const EXPECTED: &str =
        "an IP address at which other hosts reach this one, with or without a port";

    let text = section.text("advertise_address").filter(|text| !text.is_empty())?;
    let address = AdvertiseAddress::parse(text);
    if address.is_none() {
        wrong(section, "advertise_address", EXPECTED, text);
    }
    address
}

fn wrong(section: &mut Section<'_, '_>, key: &'static str, expected: &str, found: &str) {
    let place = section.place_of(key);
    section.problem(place, format!("`{key}`: expected {expected}, found `{}`", shown(found)));
}

/// `IP`, `IP:port`, `[IPv6]` or `[IPv6]:port`.
fn ip_and_port(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip(), Some(address.port())));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(text).parse().ok().map(|ip| (ip, None))
}

/// One key of three. A list is for rotation: in one with two secrets the new one may come last until
/// every member has it, and first from then on.
fn secrets(section: &mut Section<'_, '_>) -> Option<Vec<Source>> {
    let inline = section.secret("secret").map(Source::Inline);
    let file = section.file("secret_file").map(Source::File);
    let mut listed = Vec::new();
    for (text, place) in list(section, "secret_files", SECRETS_MAX).unwrap_or_default() {
        if text.is_empty() {
            section.problem(place, "`secret_files`: an entry is empty");
        } else {
            listed.push(Source::File(section.name_file("secret_files", text, place)));
        }
    }
    let ways = [inline.is_some(), file.is_some(), !listed.is_empty()];
    if ways.iter().filter(|used| **used).count() > 1 {
        let place =
            section.place_of(if listed.is_empty() { "secret_file" } else { "secret_files" });
        let message = "at most one of secret, secret_file & secret_files must be configured";
        section.problem(place, message);
    }
    let secrets: Vec<Source> = inline.into_iter().chain(file).chain(listed).collect();
    (!secrets.is_empty()).then_some(secrets)
}

fn settle(section: &mut Section<'_, '_>) -> Option<Duration> {
    let settle = section.duration("settle")?;
    if !(SETTLE_MIN..=SETTLE_MAX).contains(&settle) {
        let place = section.place_of("settle");
        section.problem(place, "`settle`: expected from 200ms to 1m");
        return None;
    }
    Some(settle)
}

fn is_list(key: &str) -> bool {
    matches!(key, "peers" | "mdns_interfaces" | "secret_files")
}

/// A plain one, so that it may be a number or a boolean.
fn scalar(text: String) -> Node {
    // `null` on a command line is a text like others.
    let is_null = text == "~" || text.eq_ignore_ascii_case("null");
    Node { place: Place::default(), value: Value::Scalar { text, plain: !is_null } }
}
