//! One member as a process: this very test executable, started again, with its orders in the
//! environment; it prints what it sees of the fleet, line by line.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use prometheus_client::registry::Registry;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use starling::{
    fleet::{
        Fleet, FleetSettings, Interfaces, membership::Order, node_id, peers::Peer, seal::Secret,
    },
    model::member::NodeId,
    runtime::{meters::Exposition, stop::Stop, tasks},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::interval,
};

const SETTINGS: &str = "STARLING_FLEET_MEMBER";
const MARK: &str = "MEMBER ";
const LOOK: Duration = Duration::from_millis(100);
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a member is started with; as JSON it goes through the environment.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) name: String,
    pub(crate) id: NodeId,
    pub(crate) listen: String,
    pub(crate) advertise: Option<SocketAddr>,
    pub(crate) secret: String,
    pub(crate) peers: Vec<String>,
    pub(crate) mdns: bool,
    /// Where; empty is everywhere but on the loopback.
    pub(crate) interfaces: Vec<String>,
}

impl Orders {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            id: NodeId(u128::from_be_bytes(node_id::chance())),
            listen: "127.0.0.1:0".to_owned(),
            advertise: None,
            secret: "secret".to_owned(),
            peers: Vec::new(),
            mdns: false,
            interfaces: Vec::new(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name, "id": self.id.to_string(), "listen": self.listen,
            "advertise": self.advertise.map(|address| address.to_string()),
            "secret": self.secret, "peers": self.peers, "mdns": self.mdns,
            "interfaces": self.interfaces,
        })
    }
}

fn settings(orders: &Value) -> FleetSettings {
    let text = |key: &str| orders[key].as_str().unwrap().to_owned();
    let peers = orders["peers"].as_array().unwrap().iter();
    let interfaces = orders["interfaces"].as_array().unwrap().iter();
    let interfaces: Vec<String> =
        interfaces.map(|name| name.as_str().unwrap().to_owned()).collect();
    let interfaces =
        if interfaces.is_empty() { Interfaces::Outward } else { Interfaces::Named(interfaces) };
    FleetSettings {
        cluster: "test".to_owned(),
        id: NodeId(u128::from_str_radix(&text("id"), 16).unwrap()),
        name: text("name"),
        listen: text("listen").parse().unwrap(),
        advertise: orders["advertise"].as_str().map(|address| address.parse().unwrap()),
        api_address: "127.0.0.1:9733".to_owned(),
        weight: 100,
        zone: String::new(),
        secrets: vec![Secret::new(text("secret"))],
        peers: peers.map(|peer| Peer::parse(peer.as_str().unwrap(), 9734).unwrap()).collect(),
        mdns: (orders["mdns"] == true).then_some(interfaces),
        settle: Duration::from_millis(500),
        wait_for_size: 1,
        wait_timeout: Duration::from_secs(60),
    }
}

/// Not a test: what a member's process runs.
#[test]
fn runs_when_told_to() {
    let Ok(orders) = env::var(SETTINGS) else { return };
    let orders: Value = serde_json::from_str(&orders).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(run(settings(&orders)));
}

/// Until told to end by SIGTERM, which is when it says goodbye.
async fn run(settings: FleetSettings) {
    let mut registry = Registry::default();
    let (handle, part) = Fleet::new(settings, &mut registry).await.unwrap();
    let stop = Stop::new();
    let task = tasks::spawn("fleet", part.run(stop.clone()));
    handle.order(Order::Ready).await;
    let (roster, status) = (handle.roster(), handle.status());
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let mut look = interval(LOOK);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            _ = terminate.recv() => break,
        }
        let (roster, status) = (roster.borrow().clone(), status.borrow().clone());
        let member = |member: &starling::model::member::Member| {
            let is_active = member.intervals.last().is_some_and(|last| last.until_ms.is_none());
            let intervals = format!("{:?}", member.intervals);
            let state = format!("{:?}", member.state);
            json!({ "id": member.id.to_string(), "state": state, "intervals": intervals,
                "active": is_active })
        };
        let members: Vec<(String, Value)> =
            roster.members.values().map(|one| (one.name.clone(), member(one))).collect();
        let notices: Vec<&str> = status.notices.iter().map(|notice| notice.notice.kind()).collect();
        let line = json!({
            "local": handle.local_address().to_string(), "version": roster.version,
            "members": members, "notices": notices, "memory_kib": memory_kib(),
            "metrics": Exposition::Text.encode(&registry).unwrap(),
        });
        println!("{MARK}{line}");
    }
    stop.raise();
    task.await.unwrap();
}

fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What a member last said of the fleet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) local: Option<SocketAddr>,
    pub(crate) version: u64,
    /// As they are shown, by id.
    pub(crate) members: BTreeMap<String, Value>,
    /// Names of those who have a share.
    pub(crate) active: Vec<String>,
    pub(crate) notices: Vec<String>,
    pub(crate) memory_kib: u64,
    pub(crate) metrics: String,
}

impl Seen {
    fn of(line: &Value) -> Self {
        let mut active = Vec::new();
        let mut members = BTreeMap::new();
        for one in line["members"].as_array().unwrap() {
            let is_here = ["Alive", "Suspect"].contains(&one[1]["state"].as_str().unwrap());
            if is_here && one[1]["active"] == true {
                active.push(one[0].as_str().unwrap().to_owned());
            }
            members.insert(one[1]["id"].as_str().unwrap().to_owned(), one[1].clone());
        }
        active.sort();
        let notices = line["notices"].as_array().unwrap().iter();
        Self {
            local: line["local"].as_str().map(|address| address.parse().unwrap()),
            version: line["version"].as_u64().unwrap(),
            members,
            active,
            notices: notices.map(|kind| kind.as_str().unwrap().to_owned()).collect(),
            memory_kib: line["memory_kib"].as_u64().unwrap(),
            metrics: line["metrics"].as_str().unwrap().to_owned(),
        }
    }

    /// The sum of a metric's samples, of any labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let values = self.metrics.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            (labels.is_empty() || labels.starts_with('{')).then(|| value.parse::<u64>().unwrap())
        });
        values.sum()
    }
}

type Shared = Arc<(Mutex<(u64, Seen)>, Condvar)>;

/// A member's process; it ends with its guard.
pub(crate) struct Member {
    name: String,
    child: Child,
    seen: Shared,
}

impl Member {
    /// `place` runs what follows it elsewhere, as in a network namespace; empty is here.
    pub(crate) fn start(orders: &Orders, place: &[String]) -> Self {
        let this = env::current_exe().unwrap().into_os_string().into_string().unwrap();
        let words = ["--exact", "member::runs_when_told_to", "--nocapture"].map(str::to_owned);
        let words: Vec<String> = place.iter().cloned().chain([this]).chain(words).collect();
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .env(SETTINGS, orders.json().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {words:?}: {error}"));
        let seen = Shared::default();
        let (lines, shown) = (BufReader::new(child.stdout.take().unwrap()), Arc::clone(&seen));
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let Some((_, line)) = line.split_once(MARK) else { continue };
                let mut latest = shown.0.lock().unwrap();
                *latest = (latest.0 + 1, Seen::of(&serde_json::from_str(line).unwrap()));
                shown.1.notify_all();
            }
        });
        Self { name: orders.name.clone(), child, seen }
    }

    /// What it says from now on, once that is so.
    pub(crate) fn sees(&self, what: &str, is_so: impl Fn(&Seen) -> bool) -> Seen {
        let latest = self.seen.0.lock().unwrap();
        let before = latest.0;
        let waits = |latest: &mut (u64, Seen)| latest.0 <= before + 1 || !is_so(&latest.1);
        let (latest, timeout) = self.seen.1.wait_timeout_while(latest, PATIENCE, waits).unwrap();
        let seen = latest.1.clone();
        drop(latest);
        assert!(!timeout.timed_out(), "{}: {what}, in vain: {seen:#?}", self.name);
        seen
    }

    pub(crate) fn sees_active(&self, names: &[&str]) -> Seen {
        self.sees(&format!("sees {names:?}"), |seen| seen.active == names)
    }

    /// Looks again and again for so long, and panics where it is once not so.
    pub(crate) fn sees_only(&self, what: &str, time: Duration, is_so: impl Fn(&Seen) -> bool) {
        let latest = self.seen.0.lock().unwrap();
        let (latest, timeout) =
            self.seen.1.wait_timeout_while(latest, time, |latest| is_so(&latest.1)).unwrap();
        let seen = latest.1.clone();
        drop(latest);
        assert!(timeout.timed_out(), "{}: {what}, and once not: {seen:#?}", self.name);
    }

    /// What it said last.
    pub(crate) fn latest(&self) -> Seen {
        self.seen.0.lock().unwrap().1.clone()
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.sees("listens", |seen| seen.local.is_some()).local.unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it say goodbye.
    pub(crate) fn leave(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{}: {status}", self.name);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
