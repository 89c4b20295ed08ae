//! Prometheus' shapes, to the letter, as its clients decode them.

use std::{collections::BTreeMap, time::Duration};

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::{
    admin::{
        Window,
        selector::Selector,
        view::{LabelMap, label_map},
    },
    config::units::print_duration,
    discovery::{JobTargets, Snapshot},
    model::{
        target::{DroppedTarget, SCRAPE_INTERVAL, SCRAPE_TIMEOUT, Target},
        time::{NEVER, rfc3339},
    },
    runtime::build as this_build,
    scrape::Health,
};

#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Success<T> {
    pub(in crate::admin) status: &'static str,
    pub(in crate::admin) data: T,
}

impl<T> Success<T> {
    pub(in crate::admin) fn of(data: T) -> Self {
        Self { status: "success", data }
    }
}

/// What Prometheus' paths answer to a question that can't be answered.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Failure<'a> {
    status: &'static str,
    #[serde(rename = "errorType")]
    error_type: &'static str,
    error: &'a str,
}

impl<'a> Failure<'a> {
    pub(in crate::admin) fn new(error_type: &'static str, error: &'a str) -> Self {
        Self { status: "error", error_type, error }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are Prometheus'")]
pub(in crate::admin) struct Targets<'a> {
    #[schema(value_type = Vec<ActiveTarget>)]
    active_targets: Each<'a, ActiveTarget>,
    #[schema(value_type = Vec<Dropped>)]
    dropped_targets: Each<'a, Dropped>,
    /// `null` where dropped targets are not asked for.
    dropped_target_counts: Option<BTreeMap<String, usize>>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ActiveTarget {
    discovered_labels: LabelMap,
    labels: LabelMap,
    scrape_pool: String,
    scrape_url: String,
    global_url: String,
    last_error: String,
    last_scrape: String,
    last_scrape_duration: f64,
    health: &'static str,
    scrape_interval: String,
    scrape_timeout: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Dropped {
    discovered_labels: LabelMap,
    scrape_pool: String,
    /// Not Prometheus': why it is no target, where no rule dropped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Made one by one, while they are written.
struct Each<'a, T>(Box<dyn Fn() -> Items<'a, T> + 'a>);

type Items<'a, T> = Box<dyn Iterator<Item = T> + 'a>;

impl<T: Serialize> Serialize for Each<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

pub(in crate::admin) fn targets<'a>(
    jobs: impl Iterator<Item = &'a JobTargets> + Clone + 'a,
    window: &'a Window,
    active: bool,
    dropped: bool,
) -> Targets<'a> {
    let listed = jobs.clone().filter(move |_| active).flat_map(|found| found.active.iter());
    let active_targets = move || {
        Box::new(listed.clone().map(|target| active_target(target, window))) as Items<'a, _>
    };
    let of_job =
        |found: &'a JobTargets| found.dropped.iter().map(|target| dropped_target(found, target));
    let listed = jobs.clone().filter(move |_| dropped).flat_map(of_job);
    Targets {
        active_targets: Each(Box::new(active_targets)),
        dropped_targets: Each(Box::new(move || Box::new(listed.clone()))),
        dropped_target_counts: dropped.then(|| {
            jobs.map(|found| (found.job.job_name.to_string(), found.dropped_total)).collect()
        }),
    }
}

fn active_target(target: &Target, window: &Window) -> ActiveTarget {
    let status = window.sources.scrape.status(target.id);
    let said = |label: &str, duration: Duration| match target.labels.get(label) {
        "" => print_duration(duration),
        said => said.to_owned(),
    };
    let url = target.shown_url();
    ActiveTarget {
        discovered_labels: label_map(&target.discovered),
        labels: label_map(&target.public_labels()),
        scrape_pool: target.job.to_string(),
        global_url: global_url(&url, &window.hostname),
        scrape_url: url.into_owned(),
        last_error: status.as_ref().and_then(|s| s.last_error.clone()).unwrap_or_default(),
        last_scrape: status
            .as_ref()
            .map_or_else(|| NEVER.to_owned(), |s| rfc3339(s.last_scrape_ms)),
        last_scrape_duration: status.as_ref().map_or(0.0, |s| s.duration.as_secs_f64()),
        health: status.map_or(Health::Unknown, |status| status.health).name(),
        scrape_interval: said(SCRAPE_INTERVAL, target.interval),
        scrape_timeout: said(SCRAPE_TIMEOUT, target.timeout),
    }
}

fn dropped_target(found: &JobTargets, target: &DroppedTarget) -> Dropped {
    Dropped {
        discovered_labels: label_map(&target.discovered),
        scrape_pool: found.job.job_name.to_string(),
        error: target.error.clone(),
    }
}

/// The target's URL as others reach it: this machine's name in place of one that is itself only
/// to itself.
pub(in crate::admin) fn global_url(url: &str, hostname: &str) -> String {
    let Ok(mut parsed) = url::Url::parse(url) else { return url.to_owned() };
    let is_local = matches!(parsed.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if !is_local || parsed.set_host(Some(hostname)).is_err() {
        return url.to_owned();
    }
    parsed.into()
}

#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Metadata {
    target: LabelMap,
    /// Left out where the question named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
    help: String,
    unit: String,
}

/// Of every selected target: what it says of `metric`, or of all its metrics where that is empty.
pub(in crate::admin) fn metadata(
    window: &Window,
    selector: &Selector,
    metric: &str,
    limit: usize,
) -> Vec<Metadata> {
    let targets = window.sources.targets.borrow().clone();
    let mut found = Vec::new();
    for target in targets.jobs.iter().flat_map(|found| found.active.iter()) {
        let labels = target.public_labels();
        if !selector.selects(&labels) {
            continue;
        }
        for told in window.sources.scrape.metadata(target.id).iter() {
            if found.len() >= limit {
                return found;
            }
            if metric.is_empty() || told.metric == metric {
                found.push(Metadata {
                    target: label_map(&labels),
                    metric: metric.is_empty().then(|| told.metric.clone()),
                    kind: told.kind.name(),
                    help: told.help.clone(),
                    unit: told.unit.clone(),
                });
            }
        }
    }
    found
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct ScrapePools {
    scrape_pools: Vec<String>,
}

pub(in crate::admin) fn scrape_pools(snapshot: &Snapshot) -> ScrapePools {
    let mut scrape_pools: Vec<String> =
        snapshot.jobs.iter().map(|found| found.job.job_name.to_string()).collect();
    scrape_pools.sort_unstable();
    ScrapePools { scrape_pools }
}

#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct StatusConfig {
    pub(in crate::admin) yaml: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct RuntimeInfo {
    start_time: String,
    server_time: String,
    #[serde(rename = "CWD")]
    directory: String,
    hostname: String,
    reload_config_success: bool,
    /// Of the configuration in force.
    last_config_time: String,
    /// Not Prometheus': why the last reload was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reload_config_error: Option<String>,
    storage_retention: String,
    /// The nearest thing to goroutines: tasks alive.
    goroutine_count: usize,
    #[serde(rename = "GOMAXPROCS")]
    threads: usize,
}

pub(in crate::admin) fn runtime(window: &Window, now_ms: i64) -> RuntimeInfo {
    let state = window.sources.config.borrow().clone();
    let metrics = window.runtime.metrics();
    let age_max = state.config.outbox.age_max;
    RuntimeInfo {
        start_time: rfc3339(window.sources.started_ms),
        server_time: rfc3339(now_ms),
        directory: std::env::current_dir()
            .map_or_else(|_| String::new(), |at| at.display().to_string()),
        hostname: window.hostname.clone(),
        reload_config_success: state.refused.is_none(),
        last_config_time: rfc3339(state.loaded_ms),
        reload_config_error: state.refused.clone(),
        storage_retention: if age_max.is_zero() { String::new() } else { print_duration(age_max) },
        goroutine_count: metrics.num_alive_tasks(),
        threads: metrics.num_workers(),
    }
}

/// `version` is Starling's; clients that ask for features by Prometheus' version find `application`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct BuildInfo {
    application: &'static str,
    version: &'static str,
    revision: &'static str,
    branch: &'static str,
    build_user: &'static str,
    build_date: &'static str,
    go_version: &'static str,
}

pub(in crate::admin) fn build() -> BuildInfo {
    BuildInfo {
        application: "Starling",
        version: this_build::VERSION,
        revision: this_build::REVISION,
        branch: "",
        build_user: "",
        build_date: "",
        go_version: "",
    }
}
