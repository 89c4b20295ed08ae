//! Beside servers that are newer than this Debian's: a Prometheus that knows native histograms and
//! remote write 2.0, and a `VictoriaMetrics` that takes zstd and answers as only itself does.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::{
    backend::Prometheus,
    eventually,
    process::{Agent, Process, free_port, get, json, status},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(40);

/// Prometheus tells of itself, to itself and to the agent; what it stores of both is the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_prometheus_takes_all_that_it_exposes() {
    let directory = tempfile::tempdir().unwrap();
    let flags = &[
        "--enable-feature=native-histograms,exemplar-storage,metadata-wal-records",
        "--log.level=debug",
    ];
    let backend = Prometheus::start_program(
        servers().join("usr/bin/prometheus"),
        flags,
        directory.path(),
        |own| {
            format!(
                "global: {{scrape_interval: 1s, always_scrape_classic_histograms: true}}\n\
                 storage: {{exemplars: {{max_exemplars: 1000}}}}\n\
                 scrape_configs:\n  - job_name: own\n    static_configs: [{{targets: ['{own}']}}]\n"
            )
        },
    )
    .await;
    let (write_url, own) = (backend.write_url(), backend.url(""));
    let own = own.trim_start_matches("http://");
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_native_histograms: true, \
         always_scrape_classic_histograms: true}}\n\
         remote_write:\n  - url: {write_url}\n    protobuf_message: io.prometheus.write.v2.Request\n    \
         send_native_histograms: true\n    send_exemplars: true\n\
         scrape_configs:\n  - job_name: ours\n    static_configs: [{{targets: ['{own}']}}]\n"
    );
    let agent = Agent::start(directory.path(), &config).await;
    for job in ["own", "ours"] {
        let scraped = format!("count_over_time(up{{job=\"{job}\"}}[1m]) >= 3");
        eventually("both had scraped it", PATIENCE, || async {
            (!backend.query(&scraped).await.is_empty()).then_some(())
        })
        .await;
    }

    let kinds = async |job: &str| -> BTreeSet<(String, bool)> {
        let all = backend.result(&format!("{{job=\"{job}\"}}")).await;
        // Prometheus says more of a job when it is what scrapes it.
        let all = all.iter().filter(|one| !name(one).starts_with("scrape_"));
        all.map(|one| (name(one), one["histogram"].is_array())).collect()
    };
    // Some come with what it has done since it was scraped last.
    eventually("both had the same series", PATIENCE, || async {
        let (own, ours) = (kinds("own").await, kinds("ours").await);
        let has_histograms = own.iter().any(|(_, is_histogram)| *is_histogram);
        (has_histograms && own == ours).then_some(())
    })
    .await;

    // What nobody asks for any more does not change.
    let quiet = r#"{__name__="prometheus_http_request_duration_seconds",handler="/-/ready"}"#;
    let by_job: BTreeMap<String, Value> = backend
        .result(quiet)
        .await
        .iter()
        .map(|one| (label(one, "job"), one["histogram"][1].clone()))
        .collect();
    assert!(by_job["own"]["buckets"].is_array(), "{by_job:?}");
    assert_eq!(by_job["own"], by_job["ours"]);
    let log = backend.log().to_lowercase();
    for fault in ["out of order", "out-of-order", "duplicate sample", "error appending"] {
        assert!(!log.contains(fault), "Prometheus complains of `{fault}`:\n{log}");
    }
    nothing_is_dropped(&agent).await;
}

/// It takes zstd, stores its samples, and what it does not know costs nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn victoriametrics_takes_what_it_knows() {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::start(500).await;
    let (_server, url) = victoriametrics(&directory).await;
    // It exposes native histograms, and without `always_scrape_classic_histograms` nothing beside.
    let program = servers().join("usr/bin/prometheus");
    let flags = &["--enable-feature=native-histograms"];
    let exposes =
        Prometheus::start_program(program, flags, directory.path(), |_| "global: {}\n".into())
            .await;
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_native_histograms: true}}\n\
         remote_write:\n  - url: {url}/api/v1/write\n    send_native_histograms: true\n    \
         send_exemplars: true\n\
         scrape_configs:\n  - job_name: counted\n    static_configs: [{{targets: ['{}']}}]\n  \
         - job_name: native\n    static_configs: [{{targets: ['{}']}}]\n",
        target.address,
        exposes.url("").trim_start_matches("http://"),
    );
    let agent = Agent::start(directory.path(), &config).await;
    let last = format!("{url}/api/v1/query?query=scrapes_total&nocache=1");
    eventually("a scrape was stored", PATIENCE, || async {
        let answer = json(&last).await?;
        let value = answer["data"]["result"][0]["value"][1].as_str()?.parse::<f64>().ok()?;
        (value >= 3.0).then_some(())
    })
    .await;
    let native =
        format!("{url}/api/v1/query?query=count_over_time(up{{job=\"native\"}}[1m])&nocache=1");
    eventually("what it makes of native histograms costs nothing else", PATIENCE, || async {
        let answer = json(&native).await?;
        let value = answer["data"]["result"][0]["value"][1].as_str()?.parse::<f64>().ok()?;
        (value >= 3.0).then_some(())
    })
    .await;
    nothing_is_dropped(&agent).await;
    let queues = agent.json("/api/v1/queues").await;
    assert_eq!(queues["destinations"][0]["protocol"], "1.0, zstd", "{queues}");
    let (_, metrics) = get(&format!("{url}/metrics")).await.unwrap();
    let refused = metrics
        .lines()
        .filter(|line| line.starts_with("vm_http_request_errors_total{path=\"/api/v1/write\""));
    for line in refused {
        assert!(line.ends_with(" 0"), "{line}");
    }
}

async fn victoriametrics(directory: &tempfile::TempDir) -> (Process, String) {
    let servers = servers();
    let port = free_port();
    let mut command = Command::new(servers.join("usr/bin/victoria-metrics"));
    command
        .env("LD_LIBRARY_PATH", libraries())
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .arg(format!("-storageDataPath={}", directory.path().join("victoria").display()))
        .arg("-search.latencyOffset=0s")
        .arg("-selfScrapeInterval=0");
    let server = Process::start(&mut command, &directory.path().join("victoria.log"));
    let url = format!("http://127.0.0.1:{port}");
    let health = format!("{url}/health");
    eventually("VictoriaMetrics was ready", PATIENCE, || async {
        (status(&health).await == Some(200)).then_some(())
    })
    .await;
    (server, url)
}

async fn nothing_is_dropped(agent: &Agent) {
    let queues = agent.json("/api/v1/queues").await;
    let dropped = queues["destinations"][0]["dropped_samples"].as_object().unwrap();
    assert!(dropped.values().all(|samples| samples == 0), "{queues}");
}

/// Where `tests/setup.sh` has put them.
pub(crate) fn servers() -> PathBuf {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/servers"));
    assert!(folder.is_dir(), "{} is missing: run tests/servers.sh", folder.display());
    folder
}

/// What those servers are linked to.
pub(crate) fn libraries() -> PathBuf {
    servers().join("usr/lib/x86_64-linux-gnu")
}

fn name(series: &Value) -> String {
    label(series, "__name__")
}

fn label(series: &Value, name: &str) -> String {
    series["metric"][name].as_str().unwrap_or_default().to_owned()
}
