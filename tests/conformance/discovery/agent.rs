//! A discovery that runs, and what it publishes.

use std::{fmt::Write, path::Path, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use starling::{
    config::{self, Job},
    discovery::{Discovery, Handle, JobTargets, Snapshot, provider::Nameservers},
    runtime::{stop::Stop, tasks},
};
use tokio::sync::watch;

/// Far beyond anything that is waited for: only a failing test gets there.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Agent {
    pub(crate) handle: Handle,
    pub(crate) registry: Registry,
    targets: watch::Receiver<Arc<Snapshot>>,
    stop: Stop,
}

impl Agent {
    /// Runs the jobs of `scrape_configs`, a YAML list.
    pub(crate) fn start(scrape_configs: &str, nameservers: Nameservers) -> Self {
        let mut registry = Registry::default();
        let (handle, part) =
            Discovery::new(jobs(scrape_configs), nameservers, String::new(), &mut registry);
        let stop = Stop::new();
        tasks::spawn("discovery", part.run(stop.clone()));
        Self { targets: handle.targets(), handle, registry, stop }
    }

    /// Resolves with the first snapshot that fits.
    pub(crate) async fn snapshot(&self, fits: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let mut targets = self.targets.clone();
        let waiting = targets.wait_for(|snapshot| fits(snapshot));
        let Ok(snapshot) = tokio::time::timeout(PATIENCE, waiting).await else {
            panic!("not published; last was {:#?}", self.now());
        };
        Arc::clone(&snapshot.unwrap())
    }

    /// Waits until the targets of the one job are `expected`, in `shown`'s form and any order.
    pub(crate) async fn shows(&self, expected: &[&str]) {
        let mut expected: Vec<String> = expected.iter().map(|&line| line.to_owned()).collect();
        expected.sort();
        self.snapshot(|snapshot| {
            snapshot.jobs.first().is_some_and(|job| {
                let mut found = shown(job);
                found.sort();
                found == expected
            })
        })
        .await;
    }

    pub(crate) async fn first_round(&self) {
        tokio::time::timeout(PATIENCE, self.handle.first_round()).await.expect("a first round");
    }

    /// Waits until `starling_discovery_refresh_failures_total` of `kind` is at least `count`.
    pub(crate) async fn failures(&self, kind: &str, count: u64) {
        let failed = async {
            loop {
                if self.metric(&format!(
                    "starling_discovery_refresh_failures_total{{kind=\"{kind}\"}}"
                )) >= count
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, failed).await.expect("the failure is counted");
    }

    pub(crate) fn metric(&self, series: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    pub(crate) fn now(&self) -> Arc<Snapshot> {
        Arc::clone(&self.targets.borrow())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.raise();
    }
}

pub(crate) fn jobs(scrape_configs: &str) -> Vec<Arc<Job>> {
    let text = format!("scrape_configs:\n{scrape_configs}");
    config::parse(Path::new("test.yml"), &text, &|_| None).unwrap().jobs
}

/// Each target as its address and those discovered labels that are not the job's defaults.
pub(crate) fn shown(targets: &JobTargets) -> Vec<String> {
    let defaults = ["__metrics_path__", "__scheme__", "__address__", "job", "__meta_filepath"];
    let lines = targets.active.iter().map(|target| {
        let mut line = target.labels.get("__address__").to_owned();
        for (name, value) in target.discovered.iter() {
            if !defaults.contains(&name) && !name.contains("scrape_") && !name.contains("_nhcb_") {
                write!(line, " {name}={value}").unwrap();
            }
        }
        line
    });
    lines.collect()
}
