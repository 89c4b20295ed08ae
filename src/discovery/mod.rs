//! Which targets exist: providers find groups, `resolve` makes targets of them, job by job, and
//! `catalogue` knows which job hangs on which provider.

mod api;
mod azure;
mod bearer;
mod catalogue;
mod consul;
pub mod digest;
mod digitalocean;
mod dns;
mod docker;
mod ec2;
#[cfg(test)]
mod fake_cloud;
mod file;
mod gce;
pub mod group;
mod hetzner;
mod http;
mod lent;
mod meta;
mod nomad;
mod openstack;
mod pace;
pub mod per_target;
pub mod polled;
pub mod provider;
pub mod resolve;
mod static_list;
#[cfg(test)]
mod tests;
mod url;

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tracing::{info, warn};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    config::Job,
    discovery::{
        catalogue::{Catalogue, Changes},
        provider::{Nameservers, ProviderId, ProviderState, Round, Rounds},
    },
    model::target::{DroppedTarget, Target},
    runtime::{clock, stop::Stop, tasks},
};

/// The targets of all jobs at one moment, in the order of the jobs.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub jobs: Vec<JobTargets>,
}

#[derive(Clone, Debug)]
pub struct JobTargets {
    pub job: Arc<Job>,
    /// When the discovery began of which `active` is the outcome, in milliseconds since the Unix
    /// epoch: of each of the job's providers the latest round without a fault, of these the oldest.
    /// `i64::MIN` before. A target that is not among `active` was not there at this time.
    pub refreshed_ms: i64,
    /// The same `Arc` as in the snapshot before where nothing in it has changed. Each id once. Also filled when `limit_exceeded`: such targets report `up` 0 unscraped.
    pub active: Arc<[Arc<Target>]>,
    /// As many as `keep_dropped_targets` allows.
    pub dropped: Arc<[DroppedTarget]>,
    pub dropped_total: usize,
    /// More targets than `target_limit`.
    pub limit_exceeded: bool,
}

/// New lists of jobs beyond that many wait at the sender.
const ORDERS_MAX: usize = 4;
/// Rounds that wait to be heard; beyond that many, providers wait.
const ROUNDS_MAX: usize = 64;
/// What changes within so short a time is published at once.
const COALESCE: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub struct Handle {
    targets: watch::Receiver<Arc<Snapshot>>,
    providers: watch::Receiver<Arc<[ProviderState]>>,
    complete: watch::Receiver<bool>,
    orders: mpsc::Sender<Vec<Arc<Job>>>,
}

impl Handle {
    pub fn targets(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.targets.clone()
    }

    /// Where targets are looked for, but for those that stand in the configuration itself.
    pub fn providers(&self) -> watch::Receiver<Arc<[ProviderState]>> {
        self.providers.clone()
    }

    /// From now on these jobs. What did not change goes on as it is.
    pub async fn apply(&self, jobs: Vec<Arc<Job>>) {
        // Nobody listens only when discovery has ended, and the agent with it.
        let _ = self.orders.send(jobs).await;
    }

    /// Resolves when each provider has answered or failed once, and what they found is published.
    pub fn first_round(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut complete = self.complete.clone();
        async move {
            if complete.wait_for(|complete| *complete).await.is_err() {
                // Discovery ended before; nobody shall take that for readiness.
                std::future::pending::<()>().await;
            }
        }
    }
}

pub struct Discovery {
    catalogue: Catalogue,
    running: BTreeMap<ProviderId, Stop>,
    nameservers: Nameservers,
    /// Another one on each host, so that they do not all try again at once.
    seed: u64,
    jobs: Vec<Arc<Job>>,
    orders: mpsc::Receiver<Vec<Arc<Job>>>,
    rounds: mpsc::Receiver<(ProviderId, Round)>,
    round_sender: mpsc::Sender<(ProviderId, Round)>,
    targets: watch::Sender<Arc<Snapshot>>,
    providers: watch::Sender<Arc<[ProviderState]>>,
    complete: watch::Sender<bool>,
    /// When to publish what has changed.
    due: Option<Instant>,
    meters: Meters,
}

impl Discovery {
    /// `host` is the name of the one that this runs on.
    pub fn new(
        jobs: Vec<Arc<Job>>,
        nameservers: Nameservers,
        host: String,
        registry: &mut Registry,
    ) -> (Handle, Self) {
        let (targets, targets_seen) = watch::channel(Arc::default());
        let (providers, providers_seen) = watch::channel(Arc::default());
        let (complete, complete_seen) = watch::channel(false);
        let (order_sender, orders) = mpsc::channel(ORDERS_MAX);
        let (round_sender, rounds) = mpsc::channel(ROUNDS_MAX);
        let part = Self {
            seed: xxh3_64(host.as_bytes()),
            catalogue: Catalogue::new(host),
            running: BTreeMap::new(),
            nameservers,
            jobs,
            orders,
            rounds,
            round_sender,
            targets,
            providers,
            complete,
            due: None,
            meters: Meters::new(registry),
        };
        let handle = Handle {
            targets: targets_seen,
            providers: providers_seen,
            complete: complete_seen,
            orders: order_sender,
        };
        (handle, part)
    }

    pub async fn run(mut self, stop: Stop) {
        let jobs = std::mem::take(&mut self.jobs);
        self.apply(jobs, &stop);
        loop {
            let due = self.due;
            tokio::select! {
                () = stop.raised() => return,
                Some(jobs) = self.orders.recv() => self.apply(jobs, &stop),
                Some((id, round)) = self.rounds.recv() => self.learn(id, round),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.publish().await;
                }
            }
        }
    }

    fn apply(&mut self, jobs: Vec<Arc<Job>>, stop: &Stop) {
        let Changes { start, stop: ended } = self.catalogue.apply(jobs);
        for id in ended {
            if let Some(provider) = self.running.remove(&id) {
                provider.raise();
            }
        }
        for (id, settings) in start {
            let own_stop = stop.child();
            self.running.insert(id, own_stop.clone());
            let rounds = Rounds { id, sender: self.round_sender.clone() };
            let nameservers = self.nameservers.clone();
            tasks::spawn(
                "discovery provider",
                provider::run(settings, nameservers, self.seed ^ id.0, rounds, own_stop),
            );
        }
        // Also where no job is stale: one may have gone.
        self.publish_soon();
    }

    fn learn(&mut self, id: ProviderId, round: Round) {
        let now_ms = clock::now_ms();
        let Some(learned) = self.catalogue.learn(id, round, now_ms) else { return };
        let kind = learned.settings.kind();
        self.meters.refreshed(kind, learned.faults.len());
        if let Some(before) = &learned.faults_before {
            for fault in learned.faults.iter().filter(|fault| !before.contains(fault)) {
                warn!(kind, error = fault, "discovery failed, what it found before stays");
            }
            if learned.faults.is_empty() {
                info!(kind, "discovery works again");
            }
        }
        let is_news = learned.refreshed || learned.faults_before.is_some();
        if is_news || self.catalogue.is_stale() || !*self.complete.borrow() {
            self.publish_soon();
        }
    }

    fn publish_soon(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + COALESCE);
    }

    async fn publish(&mut self) {
        self.due = None;
        while let Some((before, now)) = self.catalogue.resolve_next() {
            tell_changes(before.as_ref(), now);
            // A job of many thousand targets takes its time; others on this thread go in between.
            tokio::task::yield_now().await;
        }
        let snapshot = self.catalogue.snapshot(clock::now_ms());
        self.meters.published(&snapshot);
        self.targets.send_replace(Arc::new(snapshot));
        self.providers.send_replace(self.catalogue.providers());
        if self.catalogue.all_answered() {
            self.complete.send_replace(true);
        }
    }
}

fn tell_changes(before: Option<&JobTargets>, now: &JobTargets) {
    let job = &*now.job.job_name;
    let unchanged = match before {
        Some(before) => Arc::ptr_eq(&before.active, &now.active),
        // No provider has answered yet.
        None => now.active.is_empty() && now.dropped_total == 0,
    };
    if !unchanged {
        info!(job, targets = now.active.len(), dropped = now.dropped_total, "targets changed");
    }
    if now.limit_exceeded && before.is_none_or(|before| !before.limit_exceeded) {
        let limit = now.job.limits.targets_max;
        warn!(
            job,
            targets = now.active.len(),
            limit,
            "more targets than `target_limit`, none is scraped"
        );
    }
    let error =
        |targets: &JobTargets| targets.dropped.first().and_then(|first| first.error.clone());
    if let Some(error) = error(now).filter(|now| before.and_then(error).as_ref() != Some(now)) {
        warn!(job, error, "a discovered target can't be scraped");
    }
}

struct Meters {
    targets: Family<JobLabel, Gauge>,
    dropped: Family<JobLabel, Gauge>,
    failures: Family<KindLabel, Counter>,
    last_refresh: Family<KindLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabel {
    job: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

impl Meters {
    fn new(registry: &mut Registry) -> Self {
        let meters = Self {
            targets: Family::default(),
            dropped: Family::default(),
            failures: Family::default(),
            last_refresh: Family::default(),
        };
        registry.register(
            "starling_discovery_targets",
            "Targets that discovery and relabelling left",
            meters.targets.clone(),
        );
        registry.register(
            "starling_discovery_dropped_targets",
            "Discovered targets that relabelling dropped, or that can't be scraped",
            meters.dropped.clone(),
        );
        registry.register(
            "starling_discovery_refresh_failures",
            "Files, names and servers that could not be read or asked",
            meters.failures.clone(),
        );
        registry.register(
            "starling_discovery_last_refresh_timestamp_seconds",
            "When a provider of this kind last refreshed without a failure",
            meters.last_refresh.clone(),
        );
        meters
    }

    fn refreshed(&self, kind: &'static str, faults: usize) {
        let label = KindLabel { kind };
        self.failures.get_or_create(&label).inc_by(faults as u64);
        if faults == 0 {
            self.last_refresh.get_or_create(&label).set(clock::now_ms() / 1000);
        }
    }

    fn published(&self, snapshot: &Snapshot) {
        // Also forgets the jobs that are gone.
        self.targets.clear();
        self.dropped.clear();
        for targets in &snapshot.jobs {
            let label = JobLabel { job: targets.job.job_name.to_string() };
            let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            self.targets.get_or_create(&label).set(count(targets.active.len()));
            self.dropped.get_or_create(&label).set(count(targets.dropped_total));
        }
    }
}
