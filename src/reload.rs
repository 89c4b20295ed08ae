//! Changes course: a changed file, a SIGHUP or an order loads the configuration again, checks all of
//! it, and hands it out whole; on any problem what runs stays as it is.

use std::{path::PathBuf, sync::Arc};

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
};
use tracing::{error, info, warn};

use crate::{
    config::{self, Config, TypedCluster},
    discovery,
    fleet::{self, channel, settings},
    history, outbox,
    runtime::{
        audit, clock,
        config_state::{Cause, ConfigState, ReloadOrder},
        files::FileWatch,
        http::ServerTls,
        service,
        stop::Stop,
    },
};

/// Orders beyond that many wait at the sender.
const ORDERS_MAX: usize = 4;

/// Who is told of a new configuration, in that order.
pub struct Listeners {
    pub outbox: outbox::Handle,
    pub discovery: discovery::Handle,
    pub history: history::Handle,
    /// `None` of a cluster of one, as is the channel.
    pub fleet: Option<fleet::Handle>,
    pub channel: Option<channel::Handle>,
    /// Told when it begins and when it is over.
    pub service: service::Handle,
}

/// What is loaded, and what flags say over it.
#[derive(Clone, Debug)]
pub struct Sources {
    pub config_file: PathBuf,
    /// The file of `--web.config.file`.
    pub web_config_file: Option<PathBuf>,
    pub cluster: TypedCluster,
}

impl Sources {
    /// Those that name the others.
    pub fn files(&self) -> Vec<PathBuf> {
        [&self.config_file].into_iter().chain(&self.web_config_file).cloned().collect()
    }
}

pub struct Reload {
    sources: Sources,
    listeners: Listeners,
    state: watch::Sender<Arc<ConfigState>>,
    orders: mpsc::Receiver<ReloadOrder>,
    hangups: mpsc::Receiver<()>,
    files: FileWatch,
    meters: Meters,
}

#[derive(Clone)]
pub struct Handle {
    state: watch::Receiver<Arc<ConfigState>>,
    orders: mpsc::Sender<ReloadOrder>,
}

impl Handle {
    pub fn state(&self) -> watch::Receiver<Arc<ConfigState>> {
        self.state.clone()
    }

    pub fn orders(&self) -> mpsc::Sender<ReloadOrder> {
        self.orders.clone()
    }
}

impl Reload {
    /// `config` is what the parts were started with, `files` a watch on the files of `sources` that
    /// was begun before they were read; `hangups` brings one message a SIGHUP.
    pub fn new(
        sources: Sources,
        config: Arc<Config>,
        listeners: Listeners,
        mut files: FileWatch,
        hangups: mpsc::Receiver<()>,
        registry: &mut Registry,
    ) -> (Handle, Self) {
        let meters = Meters::new(registry);
        let loaded_ms = clock::now_ms();
        meters.succeeded(loaded_ms);
        files.follow(config.files.clone());
        let (state, seen) = watch::channel(Arc::new(ConfigState {
            config,
            loaded_ms,
            refused: None,
            cause: Cause::Start,
        }));
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        let part = Self { sources, listeners, state, orders, hangups, files, meters };
        (Handle { state: seen, orders: sender }, part)
    }

    pub async fn run(mut self, stop: Stop) {
        loop {
            let (cause, answer) = tokio::select! {
                () = stop.raised() => return,
                () = self.files.changed() => (Cause::File, None),
                Some(()) = self.hangups.recv() => (Cause::Signal, None),
                Some(order) = self.orders.recv() => (Cause::Order, Some(order)),
            };
            self.listeners.service.reloading().await;
            // It reads files, and opens and closes queues.
            let outcome = stop.during(self.load_and_hand_out(cause)).await;
            self.listeners.service.reloaded().await;
            match cause {
                Cause::File => audit::on_this_host("reload", "a changed file", outcome.is_ok()),
                Cause::Signal => audit::on_this_host("reload", "SIGHUP", outcome.is_ok()),
                // Whoever ordered it is known at the door.
                Cause::Order | Cause::Start => {}
            }
            let files = self.state.borrow().config.files.clone();
            self.files.follow(files);
            self.meters.attempted(outcome.is_ok());
            if let Some(answer) = answer {
                // Who ordered may have gone away meanwhile; the outcome is in the state as well.
                let _ = answer.send(outcome);
            }
        }
    }

    async fn load_and_hand_out(&mut self, cause: Cause) -> Result<(), String> {
        let outcome = match load(self.sources.clone()).await {
            Ok(config) => self.hand_out(config).await,
            Err(problems) => Err(problems),
        };
        let before = Arc::clone(&self.state.borrow());
        let state = match &outcome {
            Ok(config) => {
                let loaded_ms = clock::now_ms();
                self.meters.succeeded(loaded_ms);
                ConfigState { config: Arc::clone(config), loaded_ms, refused: None, cause }
            }
            Err(reason) => {
                error!(file = %self.sources.config_file.display(), error = reason, "configuration refused, the running one stays");
                ConfigState { refused: Some(reason.clone()), cause, ..(*before).clone() }
            }
        };
        self.state.send_replace(Arc::new(state));
        outcome.map(drop)
    }

    /// The outbox goes first: it alone can refuse (a destination's directory that can't be opened),
    /// and when it does nothing has changed yet.
    async fn hand_out(&self, config: Config) -> Result<Arc<Config>, String> {
        let config = Arc::new(config);
        if config == self.state.borrow().config {
            info!(file = %self.sources.config_file.display(), "configuration loaded again, nothing in it has changed");
            return Ok(config);
        }
        for warning in &config.warnings {
            warn!(warning, "configuration");
        }
        let running = Arc::clone(&self.state.borrow().config);
        for key in config::cluster_keys_that_need_a_restart(&running.cluster, &config.cluster) {
            warn!(setting = key, "a change in `cluster` takes effect at the next start");
        }
        for key in config::web_keys_that_need_a_restart(&running.web, &config.web) {
            warn!(setting = key, "a change in `tls_server_config` takes effect at the next start");
        }
        self.listeners.outbox.apply(config.outbox.clone(), config.destinations.clone()).await?;
        self.listeners.discovery.apply(config.jobs.clone()).await;
        self.listeners.history.apply(config.history.clone());
        if running.cluster.keys != config.cluster.keys {
            self.change_secrets(&config).await;
        }
        info!(
            file = %self.sources.config_file.display(),
            jobs = config.jobs.len(),
            destinations = config.destinations.len(),
            "configuration in force"
        );
        Ok(config)
    }

    async fn change_secrets(&self, config: &Config) {
        let (Some(fleet), Some(channel)) = (&self.listeners.fleet, &self.listeners.channel) else {
            return;
        };
        let secrets = settings::secrets(&config.cluster);
        info!(secrets = secrets.len(), "the secrets of the cluster have changed");
        fleet.set_secrets(secrets.clone()).await;
        channel.set_secrets(secrets).await;
    }
}

/// Reads files, so off the threads that scrape.
///
/// # Errors
/// Every problem of the files, one a line.
pub async fn load(sources: Sources) -> Result<Config, String> {
    let environment = |name: &str| std::env::var(name).ok();
    let loading = spawn_blocking(move || {
        let Sources { config_file, web_config_file, cluster } = sources;
        let config =
            config::load_all(&config_file, web_config_file.as_deref(), &cluster, &environment);
        let mut config = config.map_err(|problems| problems.to_string())?;
        config::unlock(&mut config)?;
        if let Some(tls) = &config.web.tls {
            ServerTls::check(tls)?;
        }
        if let Some(tls) = config.gateway.metrics.as_ref().and_then(|own| own.tls.as_ref()) {
            ServerTls::check(tls).map_err(|reason| format!("`gateway.metrics.tls`: {reason}"))?;
        }
        Ok(config)
    });
    match loading.await {
        Ok(outcome) => outcome,
        Err(panic) => Err(format!("loading the configuration failed: {panic}")),
    }
}

struct Meters {
    successful: Gauge,
    success_seconds: Gauge,
}

impl Meters {
    fn new(registry: &mut Registry) -> Self {
        let (successful, success_seconds) = (Gauge::default(), Gauge::default());
        registry.register(
            "starling_config_last_reload_successful",
            "Whether the last attempt to load the configuration succeeded",
            successful.clone(),
        );
        registry.register(
            "starling_config_last_reload_success_timestamp_seconds",
            "When the configuration in force was loaded",
            success_seconds.clone(),
        );
        Self { successful, success_seconds }
    }

    fn attempted(&self, succeeded: bool) {
        self.successful.set(i64::from(succeeded));
    }

    fn succeeded(&self, now_ms: i64) {
        self.attempted(true);
        self.success_seconds.set(now_ms / 1000);
    }
}
