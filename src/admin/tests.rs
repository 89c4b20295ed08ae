//! Real requests against a window whose sources are made by hand.

use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;
use crate::{
    config::{self, HttpClient},
    discovery::JobTargets,
    model::{
        slot::StreamKey,
        target::{DroppedTarget, Target, TargetId},
    },
    runtime::{clock, http::Caller, meters, tasks},
};

/// A running window, and the other ends of its sources.
struct House {
    url: String,
    ready: watch::Sender<Readiness>,
    config: watch::Sender<Arc<ConfigState>>,
    orders: mpsc::Receiver<ReloadOrder>,
    stop: Stop,
    quit: Stop,
    task: JoinHandle<Option<()>>,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

const CONFIG: &str = "scrape_configs:\n  - job_name: node\n    basic_auth: { username: me, \
    password: hunter2 }\n    static_configs: [{ targets: ['127.0.0.1:9100'] }]\n";

fn loaded(text: &str) -> Arc<config::Config> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("starling.yml");
    std::fs::write(&path, text).unwrap();
    Arc::new(config::load(&path, &|_| None).unwrap())
}

fn snapshot(config: &config::Config) -> Snapshot {
    let target = Target {
        job: "node".into(),
        labels: [("__address__", "127.0.0.1:9100"), ("__scrape_interval__", "1m"), ("instance", "127.0.0.1:9100"), ("job", "node")]
            .into_iter()
            .collect(),
        discovered: [("__address__", "127.0.0.1:9100"), ("__meta_zone", "a"), ("job", "node")].into_iter().collect(),
        id: TargetId(7),
        key: StreamKey(7),
        url: "http://127.0.0.1:9100/metrics".into(),
        interval: Duration::from_secs(60),
        timeout: Duration::from_secs(10),
        ..TARGET_REST
    };
    let dropped = DroppedTarget {
        discovered: [("__address__", "b:1")].into_iter().collect(),
        error: None,
    };
    Snapshot {
        jobs: vec![JobTargets {
            job: config.jobs[0].clone(),
            active: [Arc::new(target)].into(),
            dropped: [dropped].into(),
            dropped_total: 5,
            limit_exceeded: false,
        }],
    }
}
