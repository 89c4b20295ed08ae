//! The one wiring diagram: what an agent is made of, in the order it starts; it stops in the order
//! of the data, so that what is whose is handed over, what was scraped is packed, and what was packed
//! is written or sent.

mod fare;
mod members;
mod readiness;
mod running;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::{info, warn};

use crate::{
    admin::{self, Admin, Listening, Readiness},
    app::{
        fare::Fare,
        members::Members,
        readiness::is_ready,
        running::{Parts, Running},
    },
    chronicle::{self, Chronicle},
    config::{Cluster, Config},
    discovery::{Discovery, provider::Nameservers},
    fleet::node_id,
    gateway::{self, Gateway},
    history::{self, History},
    model::member::NodeId,
    outbox::{self, Outbox},
    ownership::{self, Links, Ownership},
    reload::{self, Listeners, Reload},
    runtime::{
        build, clock,
        files::FileWatch,
        host, meters,
        pulse::Pulses,
        service::{self, Inherited, Patience, Service, Stage},
        stop::Stop,
    },
    scrape::Pool,
    survey::{self, Survey},
};

/// Orders that the pool has not seen yet; more are gathered into one.
const ORDERS_MAX: usize = 4;
/// What the pool has to tell ownership; it keeps the rest.
const REPORTS_MAX: usize = 1_024;
/// How often is looked how far a hand-over is.
const LEAVE_LOOK: Duration = Duration::from_millis(500);

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
/// `hangups` brings one message for each SIGHUP, `inherited` is what the service manager gave.
///
/// # Errors
/// Why it could not start, or which part ended: one sentence, or one line a problem of the file.
pub async fn run(
    settings: Settings,
    inherited: Inherited,
    hangups: mpsc::Receiver<()>,
    stop: Stop,
) -> Result<(), String> {
    let pulses = Pulses::default();
    let parts = Parts::watched_by(&pulses);
    let Inherited { manager, watchdog, sockets } = inherited;
    let (service, telling) = Service::new(manager, watchdog, pulses);
    // First and last: it has a say as long as there is anything to tell.
    let telling = parts.start("service", |stop| telling.run(stop));
    let listening = Listening::open(&settings.listen_address, sockets)?;
    let mut agent =
        Box::pin(Agent::start(settings, listening, hangups, &stop, (&parts, service))).await?;
    let ended = tokio::select! {
        () = stop.raised() => None,
        part = agent.any_ended() => Some(part),
    };
    Box::pin(agent.stop()).await;
    telling.stop().await;
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
    gateway: Running,
    discovery: Running,
    chronicle: Running,
    history: Running,
    reload: Running,
    survey: Running,
    admin: Running,
    division: ownership::Handle,
    ready: Pin<Box<dyn Future<Output = ()> + Send>>,
    readiness: watch::Sender<Readiness>,
    fare: Fare,
    service: service::Handle,
}

impl Agent {
    #[expect(clippy::too_many_lines, reason = "a list of parts, in the order in which they start")]
    async fn start(
        settings: Settings,
        listening: Listening,
        hangups: mpsc::Receiver<()>,
        stop: &Stop,
        (parts, service): (&Parts, service::Handle),
    ) -> Result<Self, String> {
        let (config, files) = load(&settings.sources).await?;
        let mut registry = meters::registry();
        let me = node_id::load_or_create(&settings.storage_path)?;

        let api_address = listening.shown(&settings.listen_address);
        let (mut members, peers) = Members::meet(me, api_address, &config, &mut registry).await?;
        service.stage(Stage::Starting { does: "opens its history and its queues", goes_on: true });
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
            Discovery::new(config.jobs.clone(), Nameservers::System, host::name(), &mut registry);
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let (reports, reported) = mpsc::channel(REPORTS_MAX);
        let (seals, sealed) = mpsc::channel(gateway::SEALS_MAX);
        let (pushed_loads, pushed) = watch::channel(Arc::default());
        let (scrape, scrape_part) = Pool::new(
            outbox.clone(),
            reports.clone(),
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
            service: service.clone(),
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
            pushed,
            intake: Some(seals),
        };
        let (division, ownership_part) = Ownership::new(
            division_of(me, &settings.storage_path, &config.cluster),
            links,
            &mut registry,
        );
        let gateway_part = Gateway::new(
            gateway::Links {
                me,
                time: members.time.clone(),
                lease: members.lease.clone(),
                roster: members.roster.clone(),
                status: members.status.clone(),
                owners: division.owners(),
                shares: division.shares(),
                config: reload.state(),
                outbox: outbox.clone(),
                peers: peers.pushes,
                seals: sealed,
                reports,
                loads: pushed_loads,
                first_number: u64::from_ne_bytes(node_id::chance()),
            },
            &mut registry,
        )?;
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
        let fare = Fare {
            is_cluster: members.fleet.is_some(),
            roster: members.roster.clone(),
            status: members.status.clone(),
            ownership: division.view(),
            scrape: scrape.clone(),
            outbox: outbox.clone(),
        };
        let shown = fare.clone();
        service.look(Box::new(move || shown.facts())).await;
        let (readiness, ready) = watch::channel(Readiness::Starting);
        let node = members.shown(me, &config.cluster, &division);
        let sources = admin::Sources {
            meters: admin::Meters::new(&mut registry, ready.clone(), &node),
            config: reload.state(),
            reload: reload.orders(),
            targets: discovery.targets(),
            providers: discovery.providers(),
            scrape,
            outbox,
            fleet: node,
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
        let addresses = listening.addresses().to_vec();
        let admin_part = Admin::new(listening, sources)?;
        let (fleet, status) = (members.fleet.clone(), members.status.clone());
        let ready = is_ready(admin_part.answers(), discovery, fleet, status, service.clone());

        members.start(parts);
        let agent = Self {
            // Apart: what was scraped leaves before more is scraped, also where that is too much.
            outbox: parts.start_apart("outbox", |stop| outbox_part.run(stop)),
            scrape: parts.start("scrape", |stop| scrape_part.run(ordered, stop)),
            ownership: parts.start("ownership", |stop| ownership_part.run(stop)),
            gateway: parts.start("gateway", |stop| gateway_part.run(stop)),
            discovery: parts.start("discovery", |stop| discovery_part.run(stop)),
            chronicle: parts.start("chronicle", |stop| chronicle_part.run(stop)),
            history: parts.start("history", |stop| history_part.run(stop)),
            reload: parts.start("reload", |stop| reload_part.run(stop)),
            survey: parts.start("survey", |stop| survey_part.run(stop)),
            admin: parts.start("admin", |stop| admin_part.run(stop)),
            ready: Box::pin(ready),
            division,
            readiness,
            fare,
            service,
            members,
        };
        info!(
            version = build::VERSION, listen = ?addresses,
            node = agent.members.name, node_id = %me,
            cluster = agent.members.fleet.is_some().then_some(&*config.cluster.name),
            jobs = config.jobs.len(), destinations = config.destinations.len(),
            "starling runs"
        );
        Ok(agent)
    }

    /// Says so when the agent is ready; resolves when a part ends although nobody asked it to.
    async fn any_ended(&mut self) -> &'static str {
        let ready = async {
            self.ready.as_mut().await;
            self.readiness.send_replace(Readiness::Ready);
            self.service.stage(Stage::Ready);
            std::future::pending().await
        };
        tokio::select! {
            name = ready => name,
            name = self.members.ended() => name,
            name = self.outbox.ended() => name,
            name = self.scrape.ended() => name,
            name = self.ownership.ended() => name,
            name = self.gateway.ended() => name,
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
            self.leave().await;
        }
        self.service.stage(Stage::Stopping);
        // While this member is one, it may send.
        let sources = [self.reload, self.discovery, self.scrape, self.gateway];
        for part in sources.into_iter().chain([self.ownership, self.outbox]) {
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

    /// Hands this member's share over, for as long as that gets on.
    async fn leave(&self) {
        let began = Instant::now();
        let mut patience = Patience::new(began);
        let mut looks = interval(LEAVE_LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let leaving = self.division.leave();
        tokio::pin!(leaving);
        // What is shown of it may be of a moment before.
        let lines = loop {
            tokio::select! {
                lines = &mut leaving => break lines,
                _ = looks.tick() => {
                    let left = self.fare.left();
                    self.service.stage(Stage::Leaving(left));
                    if let Err(reason) = patience.look(left, Instant::now()) {
                        warn!(
                            %reason,
                            bytes = left.bytes,
                            lines = left.lines,
                            "not all of this member's share was handed over; what is unsent of it stays on this disk"
                        );
                        return;
                    }
                }
            }
        };
        let seconds = began.elapsed().as_secs();
        if lines > 0 {
            warn!(
                lines,
                "no other member was there to take this member's share; what is unsent of it stays on this disk"
            );
        } else {
            info!(seconds, "this member's share is handed over");
        }
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
