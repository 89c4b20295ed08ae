//! A member whose fleet and pool are played, with a real outbox and a real channel.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    config,
    discovery::Snapshot,
    fleet::{
        Facts, Status,
        channel::{self, Channel, ChannelSettings, Topic},
        seal::Secret,
        standing::Standing,
    },
    model::member::{Interval, Member, MemberState, NodeId, Roster},
    outbox::{Node, Outbox},
    ownership::{
        self, Links, Ownership, Settings,
        balance::Loads,
        letter::{Letter, pack, unpack},
        orders::{Orders, Report, Task},
        view::View,
    },
    runtime::{config_state::ConfigState, stop::Stop, tasks},
};

pub(super) const DESTINATION: &str = "main";
const PATIENCE: Duration = Duration::from_secs(20);

/// A member and its share.
pub(super) type Shown = (NodeId, i64, Option<i64>);

pub(super) struct TestMember {
    id: NodeId,
    address: SocketAddr,
    roster: watch::Sender<Arc<Roster>>,
    status: watch::Sender<Arc<Status>>,
    handle: ownership::Handle,
    pub(super) pool: PlayedPool,
    stop: Stop,
    _found: watch::Sender<Arc<Snapshot>>,
    _config: watch::Sender<Arc<ConfigState>>,
    _loads: watch::Sender<Arc<Loads>>,
    _directory: tempfile::TempDir,
}

/// What a pool hears and says.
pub(super) struct PlayedPool {
    orders: mpsc::Receiver<Orders>,
    reports: mpsc::Sender<Report>,
    tasks: VecDeque<Task>,
}

impl TestMember {
    pub(super) async fn start(id: NodeId) -> Self {
        let text = format!("remote_write: [{{name: {DESTINATION}, url: 'http://127.0.0.1:1/'}}]");
        let config = Arc::new(config::parse(Path::new(""), &text, &|_| None).unwrap());
        let directory = tempfile::tempdir().unwrap();
        let mut registry = Registry::default();
        let stop = Stop::new();
        let storage = directory.path().join("outbox");
        let (outbox, outbox_part) = Outbox::new(
            Node::alone(id),
            &config.outbox,
            &config.destinations,
            &storage,
            &mut registry,
        )
        .unwrap();
        let (status, status_seen) = watch::channel(Arc::new(status(Standing::Seeking, 0)));
        let (channel, inbox, address) = channel_of(id, status_seen.clone(), &stop).await;
        let (roster, roster_seen) = watch::channel(Arc::default());
        let (found, found_seen) = watch::channel(Arc::default());
        let state = ConfigState {
            config,
            loaded_ms: 0,
            refused: None,
            cause: crate::runtime::config_state::Cause::Start,
        };
        let (config, config_seen) = watch::channel(Arc::new(state));
        let (pool, orders) = mpsc::channel(4);
        let (reports, reported) = mpsc::channel(4);
        let (loads, weighed) = watch::channel(Arc::default());
        let links = Links {
            roster: roster_seen,
            status: status_seen,
            time: crate::runtime::clock::FleetTime::default(),
            fleet: None,
            peers: Some((channel, inbox)),
            found: found_seen,
            config: config_seen,
            outbox,
            pool,
            reports: reported,
            pushed: weighed.clone(),
            loads: weighed,
            intake: None,
        };
        let settings = Settings {
            me: id,
            folder: directory.path().join("ownership"),
            fence_max: Duration::from_secs(300),
            on_partition: config::OnPartition::ScrapeAll,
            reload_grace: Duration::from_secs(60),
        };
        let (handle, part) = Ownership::new(settings, links, &mut registry);
        drop(tasks::spawn("outbox", outbox_part.run(stop.clone())));
        drop(tasks::spawn("ownership", part.run(stop.clone())));
        Self {
            id,
            address,
            roster,
            status,
            handle,
            pool: PlayedPool { orders, reports, tasks: VecDeque::new() },
            stop,
            _found: found,
            _config: config,
            _loads: loads,
            _directory: directory,
        }
    }

    /// These members, all alive, with their shares.
    pub(super) fn sees(&self, members: &[Shown]) {
        let member = |&(id, from_ms, until_ms): &Shown| Member {
            id,
            name: id.to_string(),
            api_address: String::new(),
            weight: 100,
            zone: String::new(),
            state: MemberState::Alive,
            intervals: vec![Interval { from_ms, until_ms }],
        };
        let version = self.roster.borrow().version + 1;
        let members = members.iter().map(|one| (one.0, member(one))).collect();
        self.roster.send_replace(Arc::new(Roster { members, version }));
    }

    pub(super) fn stands(&self, standing: Standing, generation: u64) {
        self.status.send_modify(|status| {
            *status = Arc::new(Status { standing, generation, ..(**status).clone() });
        });
    }

    pub(super) fn view(&self) -> Arc<View> {
        self.handle.view().borrow().clone()
    }

    pub(super) async fn until_view(&self, what: &str, is_so: impl Fn(&View) -> bool) {
        let mut view = self.handle.view();
        let waiting = timeout(PATIENCE, view.wait_for(|view| is_so(view))).await;
        assert!(waiting.is_ok(), "{what}: {:?}", self.view());
    }

    pub(super) async fn leave(self) {
        timeout(PATIENCE, self.handle.leave()).await.unwrap();
    }

    /// Where its channel finds the others, from now on.
    fn finds(&self, others: &[(NodeId, SocketAddr)]) {
        let facts = facts(others);
        self.status
            .send_modify(|status| *status = Arc::new(Status { facts, ..(**status).clone() }));
    }
}

impl Drop for TestMember {
    fn drop(&mut self) {
        self.stop.raise();
    }
}

impl PlayedPool {
    pub(super) async fn task(&mut self) -> Task {
        self.next(Some).await
    }

    /// The next one that `shown` knows.
    pub(super) async fn next<T>(&mut self, shown: impl Fn(Task) -> Option<T>) -> T {
        loop {
            while let Some(task) = self.tasks.pop_front() {
                if let Some(shown) = shown(task) {
                    return shown;
                }
            }
            let orders = timeout(PATIENCE, self.orders.recv()).await.expect("an order");
            self.tasks.extend(orders.expect("ownership lives").tasks);
        }
    }

    pub(super) async fn report(&self, report: Report) {
        self.reports.send(report).await.unwrap();
    }
}

pub(super) fn introduce(members: &[&TestMember]) {
    for member in members {
        let others = members.iter().filter(|other| other.id != member.id);
        let others: Vec<_> = others.map(|other| (other.id, other.address)).collect();
        member.finds(&others);
    }
}

/// Another member, of which only the channel is there: the test says what it says.
pub(super) struct Peer {
    id: NodeId,
    address: SocketAddr,
    channel: channel::Handle,
    inbox: channel::Inbox,
    status: watch::Sender<Arc<Status>>,
    talks_to: NodeId,
    stop: Stop,
}

impl Peer {
    pub(super) async fn start(id: NodeId) -> Self {
        let (status, seen) = watch::channel(Arc::new(status(Standing::Seeking, 0)));
        let stop = Stop::new();
        let (channel, inbox, address) = channel_of(id, seen, &stop).await;
        Self { id, address, channel, inbox, status, talks_to: id, stop }
    }

    pub(super) fn meets(&mut self, member: &TestMember) {
        self.talks_to = member.id;
        member.finds(&[(self.id, self.address)]);
        let facts = facts(&[(member.id, member.address)]);
        self.status
            .send_modify(|status| *status = Arc::new(Status { facts, ..(**status).clone() }));
    }

    pub(super) fn says(&self, bundle: &Bytes) {
        self.channel.send(self.talks_to, Topic::Ownership, bundle.clone());
    }

    /// Says it again and again, as the rules do, until something comes that `answer` knows.
    pub(super) async fn ask<T>(
        &mut self,
        letter: Letter,
        answer: impl Fn(Letter) -> Option<T>,
    ) -> T {
        let bundle = pack([letter]).remove(0);
        let asking = async {
            loop {
                self.channel.send(self.talks_to, Topic::Ownership, bundle.clone());
                let heard = timeout(Duration::from_millis(300), self.inbox.receive()).await;
                let Ok(heard) = heard else { continue };
                let letters = unpack(&heard.expect("the channel lives").1).unwrap();
                if let Some(found) = letters.into_iter().find_map(&answer) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, asking).await.expect("an answer")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.raise();
    }
}

async fn channel_of(
    me: NodeId,
    status: watch::Receiver<Arc<Status>>,
    stop: &Stop,
) -> (channel::Handle, channel::Inbox, SocketAddr) {
    let settings = ChannelSettings {
        cluster: "c".to_owned(),
        me,
        listen: "127.0.0.1:0".parse().unwrap(),
        secrets: vec![Secret::new("s")],
    };
    let (handle, inboxes, part) =
        Channel::new(settings, status, &mut Registry::default()).await.unwrap();
    let address = part.local_address();
    drop(tasks::spawn("channel", part.run(stop.clone())));
    (handle, inboxes.letters, address)
}

fn status(standing: Standing, generation: u64) -> Status {
    let (notices, facts) = (Vec::new(), facts(&[]));
    Status { standing, fleet_offset_ms: 0, notices, facts, generation }
}

fn facts(members: &[(NodeId, SocketAddr)]) -> BTreeMap<NodeId, Facts> {
    let facts = |&(id, address): &(NodeId, SocketAddr)| (id, Facts::at(address));
    members.iter().map(facts).collect()
}
