//! The one wiring diagram: what an agent is made of, in the order it starts; it stops in the order
//! of the data, so that what was scraped is packed and what was packed is written or sent.

use std::{collections::BTreeMap, path::PathBuf, pin::Pin, sync::Arc};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tracing::{info, warn};

use crate::{
    admin::{self, Admin, Readiness},
    discovery::{Discovery, provider::Nameservers},
    outbox::Outbox,
    reload::{self, Listeners, Reload},
    runtime::{build, clock, files::FileWatch, meters, stop::Stop, tasks},
    scrape::Pool,
};

/// What can't change while the agent runs.
#[derive(Clone, Debug)]
pub struct Settings {
    pub config_file: PathBuf,
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
    agent.stop().await;
    match ended {
        Some(part) => Err(format!("`{part}` ended on its own; the lines before this say why")),
        None => Ok(()),
    }
}

/// All parts, running.
struct Agent {
    outbox: Running,
    scrape: Running,
    discovery: Running,
    reload: Running,
    admin: Running,
    first_round: Pin<Box<dyn Future<Output = ()> + Send>>,
    readiness: watch::Sender<Readiness>,
}

impl Agent {
    async fn start(
        settings: Settings,
        hangups: mpsc::Receiver<()>,
        stop: &Stop,
    ) -> Result<Self, String> {
        // The watch comes before the reading, so that a change in between is noticed.
        let files = FileWatch::new(vec![settings.config_file.clone()]);
        let config = Arc::new(reload::load(settings.config_file.clone()).await?);
        for warning in &config.warnings {
            warn!(warning, "configuration");
        }
        let mut registry = meters::registry();

        let storage = settings.storage_path.join("outbox");
        let (outbox, outbox_part) = Outbox::new(
            crate::model::member::NodeId(1),
            &config.outbox,
            &config.destinations,
            &storage,
            &mut registry,
        )?;
        let (discovery, discovery_part) =
            Discovery::new(config.jobs.clone(), Nameservers::System, &mut registry);
        let (scrape, scrape_part) = Pool::new(outbox.clone(), &mut registry);
        let listeners = Listeners { outbox: outbox.clone(), discovery: discovery.clone() };
        let (reload, reload_part) = Reload::new(
            settings.config_file,
            Arc::clone(&config),
            listeners,
            files,
            hangups,
            &mut registry,
        );
        let (readiness, ready) = watch::channel(Readiness::Starting);
        let sources = admin::Sources {
            config: reload.state(),
            reload: reload.orders(),
            targets: discovery.targets(),
            scrape,
            outbox,
            ready,
            registry: Arc::new(registry),
            flags: settings.flags,
            started_ms: clock::now_ms(),
            quit: settings.enable_lifecycle.then(|| stop.clone()),
        };
        let admin_part = Admin::new(&settings.listen_address, sources)?;

        let targets = discovery.targets();
        let agent = Self {
            outbox: Running::start("outbox", |stop| outbox_part.run(stop)),
            scrape: Running::start("scrape", |stop| scrape_part.run(targets, stop)),
            discovery: Running::start("discovery", |stop| discovery_part.run(stop)),
            reload: Running::start("reload", |stop| reload_part.run(stop)),
            admin: Running::start("admin", |stop| admin_part.run(stop)),
            first_round: Box::pin(discovery.first_round()),
            readiness,
        };
        info!(
            version = build::VERSION,
            listen = settings.listen_address,
            jobs = config.jobs.len(),
            destinations = config.destinations.len(),
            "starling runs"
        );
        Ok(agent)
    }

    /// Is ready when discovery has had its first round; resolves when a part ends although nobody
    /// asked it to.
    async fn any_ended(&mut self) -> &'static str {
        let ready = async {
            self.first_round.as_mut().await;
            self.readiness.send_replace(Readiness::Ready);
            std::future::pending().await
        };
        tokio::select! {
            name = ready => name,
            name = self.outbox.ended() => name,
            name = self.scrape.ended() => name,
            name = self.discovery.ended() => name,
            name = self.reload.ended() => name,
            name = self.admin.ended() => name,
        }
    }

    async fn stop(self) {
        info!("starling stops");
        self.readiness.send_replace(Readiness::Stopping);
        for part in [self.reload, self.discovery, self.scrape, self.outbox, self.admin] {
            part.stop().await;
        }
        info!("starling has stopped");
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
