//! A whole member in this process, put together as the agent does it: real datagrams, connections,
//! scrapes and files. Only its configuration is handed in.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    config::{self, OnPartition},
    discovery::{Discovery, provider::Nameservers},
    fleet::{
        self, Fleet, FleetSettings, alone,
        channel::{Channel, ChannelSettings, Inboxes},
        membership::Order,
        peers::Peer,
        seal::Secret,
    },
    history::{self, History},
    model::member::NodeId,
    outbox::{Node, Outbox},
    ownership::{self, Links, Ownership, view::View},
    runtime::{
        clock::FleetTime,
        config_state::{Cause, ConfigState},
        lease::Lease,
        stop::Stop,
        tasks,
    },
    scrape::Pool,
    survey::{Handle, Sources, Survey, Verified},
};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_millis(400);

pub(super) struct TestMember {
    pub(super) id: NodeId,
    pub(super) address: SocketAddr,
    pub(super) survey: Handle,
    pub(super) division: ownership::Handle,
    pub(super) history: history::Handle,
    /// Ends what answers the others, and leaves the rest.
    pub(super) mute: Stop,
    stop: Stop,
    tasks: Vec<JoinHandle<Option<()>>>,
    _config: watch::Sender<Arc<ConfigState>>,
    _storage: TempDir,
}

impl Drop for TestMember {
    fn drop(&mut self) {
        self.stop.raise();
    }
}

impl TestMember {
    /// `text` is its configuration; the first of a fleet has no peers.
    pub(super) async fn start(id: u128, text: &str, peers: &[SocketAddr]) -> Self {
        Self::start_in(Some(peers), id, text).await
    }

    pub(super) async fn alone(id: u128, text: &str) -> Self {
        Self::start_in(None, id, text).await
    }

    #[expect(clippy::too_many_lines, reason = "a list of parts, as in the agent")]
    async fn start_in(peers: Option<&[SocketAddr]>, id: u128, text: &str) -> Self {
        let (me, name) = (NodeId(id), format!("n{id}"));
        let config = Arc::new(config::parse(Path::new(""), text, &|_| None).unwrap());
        let storage = tempfile::tempdir().unwrap();
        let mut registry = Registry::default();
        let (stop, mute) = (Stop::new(), Stop::new());
        let mut tasks = Vec::new();
        let (mut letters, mut surveys, mut fleet_handle) = (None, None, None);
        let (lease, time, address);
        let (roster, status) = if let Some(peers) = peers {
            let secrets = vec![Secret::new("s")];
            let (fleet, channel, listen, handle, inboxes) =
                meet(fleet_settings(me, &name, peers, secrets.clone()), &mut registry).await;
            (lease, time, address) = (fleet.lease(), fleet.time(), listen);
            let Inboxes { letters: letters_inbox, surveys: surveys_inbox, pushes: _ } = inboxes;
            letters = Some((handle.clone(), letters_inbox));
            surveys = Some((handle, surveys_inbox));
            tasks.push(tasks::spawn("channel", channel.1.run(stop.clone())));
            tasks.push(tasks::spawn("fleet", channel.0.run(stop.clone())));
            let seen = (fleet.roster(), fleet.status());
            fleet_handle = Some(fleet);
            seen
        } else {
            (lease, time, address) =
                (Lease::endless(), FleetTime::default(), "127.0.0.1:0".parse().unwrap());
            alone::alone(me, name.clone(), String::new())
        };
        let (outbox, outbox_part) = Outbox::new(
            Node { me, lease: lease.clone() },
            &config.outbox,
            &config.destinations,
            &storage.path().join("outbox"),
            &mut registry,
        )
        .unwrap();
        let (discovery, discovery_part) =
            Discovery::new(config.jobs.clone(), Nameservers::System, String::new(), &mut registry);
        let (orders, ordered) = mpsc::channel(4);
        let (reports, reported) = mpsc::channel(64);
        let (scrape, pool) = Pool::new(outbox.clone(), reports, lease, time.clone(), &mut registry);
        let state = ConfigState { config, loaded_ms: 7, refused: None, cause: Cause::Start };
        let (config, config_seen) = watch::channel(Arc::new(state));
        let links = Links {
            roster: roster.clone(),
            status: status.clone(),
            time: time.clone(),
            fleet: fleet_handle.clone(),
            peers: letters,
            found: discovery.targets(),
            config: config_seen.clone(),
            outbox: outbox.clone(),
            pool: orders,
            reports: reported,
            loads: scrape.loads(),
            pushed: scrape.loads(),
            intake: None,
        };
        let settings = ownership::Settings {
            me,
            folder: storage.path().join("ownership"),
            fence_max: Duration::from_secs(300),
            on_partition: OnPartition::ScrapeAll,
            reload_grace: Duration::from_secs(60),
        };
        let (division, ownership) = Ownership::new(settings, links, &mut registry);
        let settings = history::Settings {
            file: storage.path().join("history.db"),
            section: config::HistorySettings::default(),
            time: time.clone(),
        };
        let (history, history_part) = History::new(settings, &mut registry);
        let sources = Sources {
            me,
            name,
            roster,
            time,
            found: discovery.targets(),
            config: config_seen,
            ownership: division.view(),
            outbox,
            scrape,
            history: history.clone(),
            status,
        };
        let (survey, survey_part) = Survey::new(sources, surveys);
        tasks.push(tasks::spawn("outbox", outbox_part.run(stop.clone())));
        tasks.push(tasks::spawn("scrape", pool.run(ordered, stop.clone())));
        tasks.push(tasks::spawn("ownership", ownership.run(stop.clone())));
        tasks.push(tasks::spawn("discovery", discovery_part.run(stop.clone())));
        tasks.push(tasks::spawn("history", history_part.run(stop.clone())));
        tasks.push(tasks::spawn("survey", survey_part.run(mute.clone())));
        discovery.first_round().await;
        if let Some(fleet) = &fleet_handle {
            fleet.order(Order::Ready).await;
        }
        Self {
            id: me,
            address,
            survey,
            division,
            history,
            mute,
            stop,
            tasks,
            _config: config,
            _storage: storage,
        }
    }

    /// Waits until all of it has ended.
    pub(super) async fn end(mut self) {
        self.stop.raise();
        self.mute.raise();
        for task in std::mem::take(&mut self.tasks) {
            timeout(PATIENCE, task).await.unwrap().unwrap();
        }
    }

    pub(super) fn view(&self) -> Arc<View> {
        self.division.view().borrow().clone()
    }

    pub(super) async fn until_view(&self, what: &str, is_so: impl Fn(&View) -> bool) {
        let mut view = self.division.view();
        let waited = timeout(PATIENCE, view.wait_for(|view| is_so(view))).await;
        assert!(waited.is_ok(), "waited in vain for: {what}; {:#?}", self.view());
    }

    /// Asks again and again.
    pub(super) async fn until_verified(
        &self,
        what: &str,
        is_so: impl Fn(&Verified) -> bool,
    ) -> Arc<Verified> {
        let mut last = self.survey.verify().await;
        let asking = async {
            while !is_so(&last) {
                tokio::time::sleep(Duration::from_millis(100)).await;
                last = self.survey.verify().await;
            }
        };
        let waited = timeout(PATIENCE, asking).await;
        assert!(waited.is_ok(), "waited in vain for: {what}; {last:#?}");
        last
    }
}

type Parts = (Fleet, Channel);

async fn meet(
    settings: FleetSettings,
    registry: &mut Registry,
) -> (fleet::Handle, Parts, SocketAddr, crate::fleet::channel::Handle, Inboxes) {
    // The port that gossip was given may be taken for TCP; then another one is tried.
    loop {
        let mut own = Registry::default();
        let (fleet, part) = Fleet::new(settings.clone(), &mut own).await.unwrap();
        let listen = fleet.local_address();
        let channel_settings = ChannelSettings {
            cluster: settings.cluster.clone(),
            me: settings.id,
            listen,
            secrets: settings.secrets.clone(),
        };
        let channel = Channel::new(channel_settings, fleet.status(), registry).await;
        if let Ok((handle, inboxes, channel)) = channel {
            return (fleet, (part, channel), listen, handle, inboxes);
        }
    }
}

fn fleet_settings(
    id: NodeId,
    name: &str,
    peers: &[SocketAddr],
    secrets: Vec<Secret>,
) -> FleetSettings {
    FleetSettings {
        cluster: "test".to_owned(),
        id,
        name: name.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        advertise: None,
        api_address: String::new(),
        weight: 100,
        zone: String::new(),
        secrets,
        peers: peers.iter().map(|peer| Peer::Address(*peer)).collect(),
        mdns: None,
        settle: SETTLE,
        wait_for_size: 1,
        wait_timeout: Duration::from_secs(60),
    }
}

/// Answers scrapes on every address of the loopback until the test ends; one port serves as many
/// targets as there are addresses.
pub(super) async fn serve_metrics() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks::spawn("metrics", async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tasks::spawn("metrics", async move {
                let (reader, mut writer) = stream.into_split();
                let mut lines = BufReader::new(reader).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: 4\r\n\r\na 1\n";
                    if line.is_empty() && writer.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}
