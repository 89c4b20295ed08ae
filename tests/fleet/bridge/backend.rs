//! Debian's Prometheus without an out-of-order window, as the judge of order and of what arrived.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::{
    eventually,
    process::{Process, json, status},
};

use super::wires::HUB;

const PORT: u16 = 9090;

pub(crate) struct Backend {
    _process: Process,
    log_file: PathBuf,
}

/// Scrapes by number, and the times of their samples.
pub(crate) type Stored = BTreeMap<u64, i64>;

/// Samples that it refused, each counted once however often it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) order: BTreeSet<String>,
    /// Another value at the same time.
    pub(crate) duplicate: BTreeSet<String>,
    pub(crate) other: Vec<String>,
}

impl Backend {
    pub(crate) async fn start(directory: &Path) -> Self {
        let config = directory.join("prometheus.yml");
        fs::write(&config, "global: {}\n").unwrap();
        let log_file = directory.join("prometheus.log");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "prometheus", "--web.enable-remote-write-receiver"])
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("tsdb").display()))
            .arg(format!("--web.listen-address={HUB}:{PORT}"));
        let process = Process::start(&mut command, &log_file);
        let ready = format!("http://{HUB}:{PORT}/-/ready");
        eventually("Prometheus was ready", Duration::from_secs(30), || async {
            (status(&ready).await == Some(200)).then_some(())
        })
        .await;
        Self { _process: process, log_file }
    }

    pub(crate) fn write_url() -> String {
        format!("http://{HUB}:{PORT}/api/v1/write")
    }

    /// How much it has said so far.
    pub(crate) fn mark(&self) -> usize {
        fs::read(&self.log_file).unwrap().len()
    }

    /// It says each refused sample with its reason, series and time.
    pub(crate) fn refused(&self, marks: Range<usize>) -> Refused {
        let log = fs::read(&self.log_file).unwrap();
        let log = String::from_utf8_lossy(&log[marks]).into_owned();
        let mut refused = Refused::default();
        for line in log.lines().filter(|line| line.contains("component=web")) {
            let Some((_, sample)) = line.split_once(" series=") else {
                if line.contains("level=error") || line.contains("level=warn") {
                    refused.other.push(line.to_owned());
                }
                continue;
            };
            if line.contains("err=\"out of order sample\"") {
                refused.order.insert(sample.to_owned());
            } else if line.contains("err=\"duplicate sample for timestamp\"") {
                refused.duplicate.insert(sample.to_owned());
            } else {
                refused.other.push(line.to_owned());
            }
        }
        refused
    }

    /// The scrapes of the last `seconds` that it has.
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of this age fit")]
    pub(crate) async fn stored(&self, seconds: i64) -> Stored {
        let mut stored = Stored::new();
        for series in Self::asked(&format!("scrape_number[{seconds}s]")).await {
            for sample in series["values"].as_array().unwrap() {
                let at_ms = (sample[0].as_f64().unwrap() * 1000.0).round() as i64;
                stored.insert(sample[1].as_str().unwrap().parse().unwrap(), at_ms);
            }
        }
        stored
    }

    /// The series that an instant query finds.
    pub(crate) async fn asked(query: &str) -> Vec<Value> {
        let mut url = reqwest::Url::parse(&format!("http://{HUB}:{PORT}/api/v1/query")).unwrap();
        url.query_pairs_mut().append_pair("query", query);
        let mut answer = json(url.as_str()).await.unwrap();
        match answer["data"]["result"].take() {
            Value::Array(series) => series,
            other => panic!("`{query}`: {other}"),
        }
    }
}
