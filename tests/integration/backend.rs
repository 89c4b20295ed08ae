//! Prometheus as a receiver without an out-of-order window: the strictest one there is. Debian's own
//! unless another is asked for.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    eventually,
    process::{Process, free_port, json, status},
};

pub(crate) struct Prometheus {
    process: Option<Process>,
    program: PathBuf,
    flags: &'static [&'static str],
    directory: PathBuf,
    port: u16,
    config: String,
}

impl Prometheus {
    pub(crate) async fn start(directory: &Path) -> Self {
        Self::start_with(directory, "global: {}\n").await
    }

    pub(crate) async fn start_with(directory: &Path, config: &str) -> Self {
        Self::start_program("prometheus".into(), &[], directory, |_| config.to_owned()).await
    }

    /// `config` is made for the address that it will listen at.
    pub(crate) async fn start_program(
        program: PathBuf,
        flags: &'static [&'static str],
        directory: &Path,
        config: impl Fn(&str) -> String,
    ) -> Self {
        let port = free_port();
        let config = config(&format!("127.0.0.1:{port}"));
        let directory = directory.to_owned();
        let mut backend = Self { process: None, program, flags, directory, port, config };
        backend.start_again().await;
        backend
    }

    pub(crate) async fn start_again(&mut self) {
        let config = self.directory.join("prometheus.yml");
        std::fs::write(&config, &self.config).unwrap();
        let mut command = Command::new(&self.program);
        command
            .args(self.flags)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", self.directory.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
            .arg("--web.enable-remote-write-receiver");
        self.process = Some(Process::start(&mut command, &self.directory.join("prometheus.log")));
        let ready = self.url("/-/ready");
        eventually("Prometheus was ready", Duration::from_secs(30), || async {
            (status(&ready).await == Some(200)).then_some(())
        })
        .await;
    }

    pub(crate) async fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        process.signal(Signal::TERM);
        process.ended().await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn write_url(&self) -> String {
        self.url("/api/v1/write")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("prometheus.log")).unwrap()
    }

    /// The result of an instant query: one entry a series, labels and value as text.
    pub(crate) async fn query(&self, expression: &str) -> Vec<(BTreeMap<String, String>, String)> {
        let series = self.result(expression).await;
        let entry = |one: &Value| (labels(one), one["value"][1].as_str().unwrap().to_owned());
        series.iter().map(entry).collect()
    }

    /// The stored samples of a range selector: timestamps in milliseconds, and values.
    pub(crate) async fn samples(&self, selector: &str) -> Vec<Vec<(i64, f64)>> {
        let series = self.result(selector).await;
        series
            .iter()
            .map(|one| {
                let samples = one["values"].as_array().unwrap();
                samples.iter().map(sample).collect()
            })
            .collect()
    }

    /// The result of a query, as it is answered.
    pub(crate) async fn result(&self, expression: &str) -> Vec<Value> {
        let mut url = reqwest::Url::parse(&self.url("/api/v1/query")).unwrap();
        url.query_pairs_mut().append_pair("query", expression);
        let answer = json(url.as_str()).await.unwrap();
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }
}

fn labels(series: &Value) -> BTreeMap<String, String> {
    let labels = series["metric"].as_object().unwrap();
    labels.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds of this age fit")]
fn sample(pair: &Value) -> (i64, f64) {
    let at_ms = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
    (at_ms, pair[1].as_str().unwrap().parse().unwrap())
}
