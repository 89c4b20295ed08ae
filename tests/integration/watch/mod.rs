//! The examples for Prometheus and Grafana, beside what a flock of two really shows of itself, as
//! Debian's Prometheus has scraped it.

mod dashboard;
mod queries;
mod rules;

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    backend::Prometheus,
    eventually,
    process::{self, Agent, free_port},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// The agents, as the packaged configuration names the job that scrapes them.
const JOB: &str = "starling";

fn example(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flock_of_two_shows_all_that_is_asked_and_alerts_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let flock = Flock::start(directory.path()).await;
    rules::ask_the_same_as_is_shown(&flock).await;
    dashboard::shows_something(&flock).await;
    rules::are_silent(&flock).await;
}

struct Flock {
    prometheus: Prometheus,
    _agents: [Agent; 2],
    _targets: Vec<Target>,
}

impl Flock {
    /// Each agent writes to the Prometheus that scrapes them both.
    async fn start(directory: &Path) -> Self {
        let agents_file = directory.join("agents.json");
        let rules =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/prometheus/starling.rules.yml");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n  - job_name: {JOB}\n    file_sd_configs: [{{ files: ['{}'] }}]\n",
            rules.display(),
            agents_file.display()
        );
        let prometheus = Prometheus::start_with(directory, &config).await;
        let mut targets = Vec::new();
        for _ in 0..8 {
            targets.push(Target::start(5).await);
        }
        let addresses: Vec<String> =
            targets.iter().map(|target| format!("'{}'", target.address)).collect();
        let ports = [free_port(), free_port()];
        let start = |number: usize, name: &'static str| {
            let folder = directory.join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("secret"), "a secret that both of them have, and nobody else")
                .unwrap();
            let config = format!(
                "global: {{ scrape_interval: 1s, clustering: {{ enabled: true }} }}\n\
                 cluster: {{ enabled: true, node_name: {name}, secret_file: secret, \
                 listen_address: '127.0.0.1:{}', peers: ['127.0.0.1:{}'] }}\n\
                 scrape_configs: [{{ job_name: work, static_configs: [{{ targets: [{}] }}] }}]\n\
                 remote_write: [{{ name: backend, url: '{}' }}]\n",
                ports[number],
                ports[1 - number],
                addresses.join(", "),
                prometheus.write_url()
            );
            async move { Agent::start(&folder, &config).await }
        };
        let (one, other) = tokio::join!(start(0, "one"), start(1, "other"));
        let urls = [&one, &other].map(|agent| agent.url.trim_start_matches("http://").to_owned());
        fs::write(agents_file, json!([{ "targets": urls }]).to_string()).unwrap();
        let flock = Self { prometheus, _agents: [one, other], _targets: targets };
        let active = r#"count(starling_cluster_members{state="alive"} == 2) == 2"#;
        flock.find("both were scraped and knew each other", active).await;
        flock
    }

    /// What `expression` finds, as soon as it finds something.
    async fn find(&self, what: &str, expression: &str) -> Vec<Value> {
        eventually(what, PATIENCE, || async {
            let found = self.ask(expression).await;
            (!found.is_empty()).then_some(found)
        })
        .await
    }

    async fn ask(&self, expression: &str) -> Vec<Value> {
        let mut url = reqwest::Url::parse(&self.prometheus.url("/api/v1/query")).unwrap();
        url.query_pairs_mut().append_pair("query", expression);
        let answer = process::json(url.as_str()).await.unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// Holds each selector of `expression` to the metrics and labels that there are.
    async fn has_all_that_is_named_in(&self, expression: &str) {
        for selector in queries::selectors(expression) {
            self.find(&format!("there was `{selector}` of `{expression}`"), &selector).await;
        }
    }
}
