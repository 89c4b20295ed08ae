//! The one wiring diagram: what an agent is made of, in the order it starts; it stops in the order
//! of the data, so that what is whose is handed over, what was scraped is packed, and what was packed
//! is written or sent.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use prometheus_client::registry::Registry;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tracing::{info, warn};

use crate::{
    admin::{self, Admin, FleetSources, Readiness},
    chronicle::{self, Chronicle},
    config::{self, Cluster, Config},
    discovery::{self, Discovery, provider::Nameservers},
    fleet::{
        self, Fleet, FleetSettings, alone,
        channel::{self, Channel, ChannelSettings},
        membership::Order,
        node_id,
        standing::Standing,
    },
    history::{self, History},
    model::member::{NodeId, Roster},
    outbox::{self, Outbox},
    ownership::{self, Links, Ownership},
    reload::{self, Listeners, Reload},
    runtime::{
        build,
        clock::{self, FleetTime},
        files::FileWatch,
        lease::Lease,
        meters,
        stop::Stop,
        tasks,
    },
    scrape::Pool,
    survey::{self, Survey},
};

/// Orders that the pool has not seen yet; more are gathered into one.
const ORDERS_MAX: usize = 4;
/// What the pool has to tell ownership; it keeps the rest.
const REPORTS_MAX: usize = 1_024;
/// A share that could not be handed over by then stays on this disk. It ends before a service manager
/// loses patience: systemd gives 90 s, and others 30.
const LEAVE_MAX: Duration = Duration::from_secs(20);

/// What can't change while the agent runs.
#[derive(Clone, Debug)]
pub struct Settings {
    pub sources: reload::Sources,
    pub storage_path: PathBuf,
    /// Host and port of the admin API.
    pub listen_address: String,
    /// Whether `POST /-/quit` ends the agent.
    pub enable_lifecycle: bool,
    /// All flags as they are in force, for `/api/v1/status/flags`.
    pub flags: BTreeMap<String, String>,
}

/// Runs an agent until `stop` is raised or a part of it ends on its own.
///
/// `hangups` brings one message for each SIGHUP.
///
/// # Errors
/// Why it could not start, or which part ended: one sentence, or one line a problem of the file.
pub async fn run(
    settings: Settings,
    hangups: mpsc::Receiver<()>,
    stop: Stop,
) -> Result<(), String> {
    let mut agent = Agent::start(settings, hangups, &stop).await?;
    let ended = tokio::select! {
        () = stop.raised() => None,
        part = agent.any_ended() => Some(part),
    };
    Box::pin(agent.stop()).await;
    match ended {
        Some(part) => Err(format!("`{part}` ended on its own; the lines before this say why")),
        None => Ok(()),
    }
}

/// All parts, running.
struct Agent {
    members: Members,
    outbox: Running,
    scrape: Running,
    ownership: Running,
    discovery: Running,
    chronicle: Running,
    history: Running,
    reload: Running,
    survey: Running,
    admin: Running,
    division: ownership::Handle,
    ready: Pin<Box<dyn Future<Output = ()> + Send>>,
    readiness: watch::Sender<Readiness>,
}

impl Agent {
    #[expect(clippy::too_many_lines, reason = "a list of parts, in the order in which they start")]
    async fn start(
        settings: Settings,
        hangups: mpsc::Receiver<()>,
        stop: &Stop,
    ) -> Result<Self, String> {
        let (config, files) = load(&settings.sources).await?;
        let mut registry = meters::registry();
        let me = node_id::load_or_create(&settings.storage_path)?;

        let (mut members, peers) = Members::meet(me, &settings, &config, &mut registry).await?;
        let (history, history_part) = History::new(
            history::Settings {
                file: settings.storage_path.join("history.db"),
                section: config.history.clone(),
                time: members.time.clone(),
            },
            &mut registry,
        );
        let storage = settings.storage_path.join("outbox");
        let (outbox, outbox_part) = Outbox::new(
            outbox::Node { me, lease: members.lease.clone() },
            &config.outbox,
            &config.destinations,
            &storage,
            &mut registry,
        )?;
        let (discovery, discovery_part) =
            Discovery::new(config.jobs.clone(), Nameservers::System, &mut registry);
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let (reports, reported) = mpsc::channel(REPORTS_MAX);
        let (scrape, scrape_part) = Pool::new(
            outbox.clone(),
            reports,
            members.lease.clone(),
            members.time.clone(),
            &mut registry,
        );
        let listeners = Listeners {
            outbox: outbox.clone(),
            discovery: discovery.clone(),
            history: history.clone(),
            fleet: members.fleet.clone(),
            channel: members.channel.clone(),
        };
        let (reload, reload_part) = Reload::new(
            settings.sources,
            Arc::clone(&config),
            listeners,
            files,
            hangups,
            &mut registry,
        );
        let links = Links {
            roster: members.roster.clone(),
            status: members.status.clone(),
            time: members.time.clone(),
            fleet: members.fleet.clone(),
            peers: peers.letters,
            found: discovery.targets(),
            config: reload.state(),
            outbox: outbox.clone(),
            pool: orders,
            reports: reported,
            loads: scrape.loads(),
        };
        let (division, ownership_part) = Ownership::new(
            division_of(me, &settings.storage_path, &config.cluster),
            links,
            &mut registry,
        );
        let surveyed = survey::Sources {
            me,
            name: members.name.clone(),
            roster: members.roster.clone(),
            time: members.time.clone(),
            found: discovery.targets(),
            config: reload.state(),
            ownership: division.view(),
            outbox: outbox.clone(),
            scrape: scrape.clone(),
            history: history.clone(),
            status: members.status.clone(),
        };
        let (survey, survey_part) = Survey::new(surveyed, peers.surveys);
        let (chronicle, chronicle_part) = Chronicle::new(chronicle::Links {
            me,
            name: members.name.clone(),
            time: members.time.clone(),
            roster: members.roster.clone(),
            status: members.status.clone(),
            discovery: discovery.clone(),
            config: reload.state(),
            owners: division.owners(),
            moves: division.moves(),
            health: scrape.changes(),
            outbox: outbox.clone(),
            history: history.clone(),
        });
        if members.fleet.is_none() {
            // There is nobody to ask.
            history.gave_up();
        }
        let (readiness, ready) = watch::channel(Readiness::Starting);
        let shown = members.shown(me, &config.cluster, &division);
        let sources = admin::Sources {
            meters: admin::Meters::new(&mut registry, ready.clone(), &shown),
            config: reload.state(),
            reload: reload.orders(),
            targets: discovery.targets(),
            scrape,
            outbox,
            fleet: shown,
            division: division.clone(),
            history: history.clone(),
            chronicle,
            survey,
            ready,
            registry: Arc::new(registry),
            flags: settings.flags,
            started_ms: clock::now_ms(),
            quit: settings.enable_lifecycle.then(|| stop.clone()),
        };
        let admin_part = Admin::new(&settings.listen_address, sources)?;

        members.start();
        let agent = Self {
            outbox: Running::start("outbox", |stop| outbox_part.run(stop)),
            scrape: Running::start("scrape", |stop| scrape_part.run(ordered, stop)),
            ownership: Running::start("ownership", |stop| ownership_part.run(stop)),
            discovery: Running::start("discovery", |stop| discovery_part.run(stop)),
            chronicle: Running::start("chronicle", |stop| chronicle_part.run(stop)),
            history: Running::start("history", |stop| history_part.run(stop)),
            reload: Running::start("reload", |stop| reload_part.run(stop)),
            survey: Running::start("survey", |stop| survey_part.run(stop)),
            admin: Running::start("admin", |stop| admin_part.run(stop)),
            ready: Box::pin(is_ready(discovery, members.fleet.clone(), members.status.clone())),
            division,
            readiness,
            members,
        };
        info!(
            version = build::VERSION, listen = settings.listen_address,
            node = agent.members.name, node_id = %me,
            cluster = agent.members.fleet.is_some().then_some(&*config.cluster.name),
            jobs = config.jobs.len(), destinations = config.destinations.len(),
            "starling runs"
        );
        Ok(agent)
    }

    /// Is ready when discovery has had its first round and the fleet was met or given up on; resolves
    /// when a part ends although nobody asked it to.
    async fn any_ended(&mut self) -> &'static str {
        let ready = async {
            self.ready.as_mut().await;
            self.readiness.send_replace(Readiness::Ready);
            std::future::pending().await
        };
        tokio::select! {
            name = ready => name,
            name = self.members.ended() => name,
            name = self.outbox.ended() => name,
            name = self.scrape.ended() => name,
            name = self.ownership.ended() => name,
            name = self.discovery.ended() => name,
            name = self.chronicle.ended() => name,
            name = self.history.ended() => name,
            name = self.reload.ended() => name,
            name = self.survey.ended() => name,
            name = self.admin.ended() => name,
        }
    }

    async fn stop(self) {
        info!("starling stops");
        self.readiness.send_replace(Readiness::Stopping);
        if self.members.fleet.is_some() {
            let left = timeout(LEAVE_MAX, self.division.leave()).await;
            if left.is_ok() {
                info!("this member's share is handed over");
            } else {
                warn!(
                    seconds = LEAVE_MAX.as_secs(),
                    "not all of this member's share was handed over in time; what is unsent of it stays on this disk"
                );
            }
        }
        // While this member is one, it may send.
        for part in [self.reload, self.discovery, self.scrape, self.ownership, self.outbox] {
            part.stop().await;
        }
        self.members.stop().await;
        // What the others have done to the end is history, too.
        for part in [self.chronicle, self.history] {
            part.stop().await;
        }
        self.admin.stop().await;
        self.survey.stop().await;
        info!("starling has stopped");
    }
}

async fn load(sources: &reload::Sources) -> Result<(Arc<Config>, FileWatch), String> {
    // The watch comes before the reading, so that a change in between is noticed.
    let files = FileWatch::new(sources.files());
    let config = reload::load(sources.clone()).await?;
    for warning in &config.warnings {
        warn!(warning, "configuration");
    }
    Ok((Arc::new(config), files))
}

fn division_of(me: NodeId, storage_path: &Path, cluster: &Cluster) -> ownership::Settings {
    ownership::Settings {
        me,
        folder: storage_path.join("ownership"),
        fence_max: cluster.fence_max,
        on_partition: cluster.on_partition,
        reload_grace: cluster.reload_grace,
    }
}

async fn is_ready(
    discovery: discovery::Handle,
    fleet: Option<fleet::Handle>,
    mut status: watch::Receiver<Arc<fleet::Status>>,
) {
    discovery.first_round().await;
    let Some(fleet) = fleet else { return };
    fleet.order(Order::Ready).await;
    let is_met = |status: &Arc<fleet::Status>| match status.standing {
        Standing::Seeking | Standing::Refused => false,
        Standing::Waiting
        | Standing::Active { .. }
        | Standing::Holding
        | Standing::Leaving { .. }
        | Standing::Gone => true,
    };
    if status.wait_for(is_met).await.is_err() {
        // The fleet has ended before; nobody shall take that for readiness.
        std::future::pending::<()>().await;
    }
}

/// The fleet and the channel between its members; of a cluster of one a roster alone.
struct Members {
    name: String,
    roster: watch::Receiver<Arc<Roster>>,
    status: watch::Receiver<Arc<fleet::Status>>,
    lease: Lease,
    time: FleetTime,
    fleet: Option<fleet::Handle>,
    channel: Option<channel::Handle>,
    parts: Option<(Fleet, Channel)>,
    running: Vec<Running>,
}

/// The ways to the other members; a node that is alone has none.
struct Peers {
    letters: Option<(channel::Handle, channel::Inbox)>,
    surveys: Option<(channel::Handle, channel::Inbox)>,
}

impl Members {
    async fn meet(
        me: NodeId,
        settings: &Settings,
        config: &Config,
        registry: &mut Registry,
    ) -> Result<(Self, Peers), String> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let cluster = &config.cluster;
        let name = cluster.node_name.clone().unwrap_or_else(|| host.clone());
        let api_address = settings.listen_address.clone();
        if !cluster.enabled {
            let (roster, status) = alone::alone(me, name.clone(), api_address);
            let members = Self {
                name,
                roster,
                status,
                lease: Lease::endless(),
                time: FleetTime::default(),
                fleet: None,
                channel: None,
                parts: None,
                running: Vec::new(),
            };
            return Ok((members, Peers { letters: None, surveys: None }));
        }
        let fleet_settings = FleetSettings::of(cluster, me, host, api_address);
        let secrets = fleet_settings.secrets.clone();
        let (fleet, fleet_part) = Fleet::new(fleet_settings, registry).await?;
        let channel_settings = ChannelSettings {
            cluster: cluster.name.clone(),
            me,
            listen: fleet.local_address(),
            secrets,
        };
        let (channel, inboxes, channel_part) =
            Channel::new(channel_settings, fleet.status(), registry).await?;
        let members = Self {
            name,
            roster: fleet.roster(),
            status: fleet.status(),
            lease: fleet.lease(),
            time: fleet.time(),
            fleet: Some(fleet),
            channel: Some(channel.clone()),
            parts: Some((fleet_part, channel_part)),
            running: Vec::new(),
        };
        let channel::Inboxes { letters, surveys } = inboxes;
        let peers =
            Peers { letters: Some((channel.clone(), letters)), surveys: Some((channel, surveys)) };
        Ok((members, peers))
    }

    fn shown(
        &self,
        me: NodeId,
        cluster: &config::Cluster,
        division: &ownership::Handle,
    ) -> FleetSources {
        FleetSources {
            me,
            name: self.name.clone(),
            cluster: self.fleet.is_some().then(|| cluster.name.clone()),
            roster: self.roster.clone(),
            status: self.status.clone(),
            ownership: division.view(),
            time: self.time.clone(),
        }
    }

    fn start(&mut self) {
        if let Some((fleet, channel)) = self.parts.take() {
            self.running.push(Running::start("channel", |stop| channel.run(stop)));
            self.running.push(Running::start("fleet", |stop| fleet.run(stop)));
        }
    }

    /// For ever where there are none.
    async fn ended(&mut self) -> &'static str {
        if self.running.is_empty() {
            return std::future::pending().await;
        }
        let ends = self.running.iter_mut().map(|running| Box::pin(running.ended()));
        futures_util::future::select_all(ends).await.0
    }

    async fn stop(self) {
        for part in self.running {
            part.stop().await;
        }
    }
}

/// A part on its way, and the flag that ends it alone.
struct Running {
    name: &'static str,
    stop: Stop,
    task: JoinHandle<Option<()>>,
}

impl Running {
    fn start<F>(name: &'static str, part: impl FnOnce(Stop) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = Stop::new();
        Self { name, task: tasks::spawn(name, part(stop.clone())), stop }
    }

    /// Resolves only when the part ends although nobody asked it to.
    async fn ended(&mut self) -> &'static str {
        // An error would mean that the task was aborted, which nothing here does.
        let _ = (&mut self.task).await;
        self.name
    }

    async fn stop(self) {
        self.stop.raise();
        if !self.task.is_finished() {
            let _ = self.task.await;
        }
    }
}
