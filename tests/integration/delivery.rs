//! From a target to a real Prometheus: what was said arrives, in order, also when things fall over.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use tokio::time::sleep;

use crate::{
    backend::Prometheus,
    eventually,
    process::{Agent, Process, free_port, get},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// The interval of every job here.
const INTERVAL_MS: i64 = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_has_what_node_exporter_said() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Prometheus::start(directory.path()).await;
    let port = free_port();
    let mut command = Command::new("prometheus-node-exporter");
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let _exporter = Process::start(&mut command, &directory.path().join("exporter.log"));
    let config = config("node", &format!("127.0.0.1:{port}"), &backend.write_url());
    let _agent = Agent::start(directory.path(), &config).await;

    eventually("the exporter's samples arrived", PATIENCE, || async {
        let up = backend.query(r#"up{job="node"} == 1"#).await;
        (!up.is_empty()).then_some(())
    })
    .await;

    let said = get(&format!("http://127.0.0.1:{port}/metrics")).await.unwrap().1;
    let said_names: BTreeSet<&str> = said
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let mut stored: BTreeMap<String, String> = BTreeMap::new();
    for (labels, value) in backend.query(r#"{job="node"}"#).await {
        stored.insert(labels["__name__"].clone(), value);
    }
    let lost: Vec<_> = said_names.iter().filter(|name| !stored.contains_key(**name)).collect();
    assert!(lost.is_empty(), "node_exporter said these, Prometheus has them not: {lost:?}");

    for constant in ["node_memory_MemTotal_bytes", "node_boot_time_seconds"] {
        let line = said.lines().find(|line| line.starts_with(constant)).unwrap();
        let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(
            stored[constant].parse::<f64>().unwrap().to_bits(),
            value.to_bits(),
            "{constant}"
        );
    }
}

/// The backend is away for 30 s; meanwhile the agent is killed, and started again. What was
/// scraped before, between and after is stored: each scrape once, in order, none refused.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_with_a_kill_within_leaves_no_gap() {
    let directory = tempfile::tempdir().unwrap();
    let mut backend = Prometheus::start(directory.path()).await;
    let target = Target::start(200).await;
    let config = config("counted", &target.address, &backend.write_url());
    let mut agent = Agent::start(directory.path(), &config).await;
    let stored = |backend: &Prometheus| {
        let query = backend.url("/api/v1/query?query=scrapes_total%5B10m%5D");
        async move { get(&query).await.is_some_and(|(_, body)| body.contains("values")) }
    };
    eventually("the first samples arrived", PATIENCE, || async {
        stored(&backend).await.then_some(())
    })
    .await;

    backend.stop().await;
    // The length of the outage is what is tested; no event ends it.
    sleep(Duration::from_secs(14)).await;
    let before_kill = target.scrapes();
    agent.process.signal(Signal::KILL);
    agent.process.ended().await;
    agent.restart().await;
    // As long again, with what was on the disk.
    sleep(Duration::from_secs(14)).await;
    backend.start_again().await;
    let after = target.scrapes();
    eventually("scrapes after the outage arrived", PATIENCE, || async {
        let series = backend.samples("scrapes_total[10m]").await;
        let last = series.first()?.last()?.1;
        (last > f64::from(u32::try_from(after).unwrap())).then_some(())
    })
    .await;
    agent.caught_up(PATIENCE).await;

    let series = backend.samples("scrapes_total[10m]").await;
    assert_eq!(series.len(), 1);
    let samples = &series[0];
    let values: BTreeSet<u64> = samples.iter().map(|(_, value)| whole(*value)).collect();
    assert_eq!(values.len(), samples.len(), "a scrape was stored twice");
    let last = *values.last().unwrap();
    let missing: Vec<u64> = (1..=last).filter(|scrape| !values.contains(scrape)).collect();
    // A killed process may take the last second of scrapes with it, here one or two of them.
    let excused = |scrape: &u64| (before_kill - 1..=before_kill + 1).contains(scrape);
    assert!(
        missing.len() <= 2 && missing.iter().all(excused),
        "lost {missing:?}, killed at {before_kill}"
    );

    let gaps: Vec<i64> = samples.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    // A scrape that was left out; one that was late on a busy machine is none.
    let irregular: Vec<_> = gaps.iter().filter(|gap| **gap > INTERVAL_MS * 3 / 2).collect();
    assert!(irregular.len() <= 1, "more than the kill left a gap: {irregular:?}");

    let log = backend.log().to_lowercase();
    for fault in ["out of order", "out-of-order", "duplicate sample", "too old"] {
        assert!(!log.contains(fault), "Prometheus complains of `{fault}`:\n{log}");
    }
    let queues = agent.json("/api/v1/queues").await;
    let dropped = queues["destinations"][0]["dropped_samples"].as_object().unwrap();
    assert!(dropped.values().all(|samples| samples == 0), "{queues}");
}

/// SIGTERM while the backend can be reached: everything scraped so far is there afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_stop_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Prometheus::start(directory.path()).await;
    let target = Target::start(10).await;
    let config = config("counted", &target.address, &backend.write_url());
    let mut agent = Agent::start(directory.path(), &config).await;
    eventually("three scrapes were made", PATIENCE, || async {
        (target.scrapes() >= 3).then_some(())
    })
    .await;

    agent.process.signal(Signal::TERM);
    let status = agent.process.ended().await;
    assert!(status.success(), "{status}");
    let series = backend.samples("scrapes_total[10m]").await;
    let last = series[0].last().unwrap().1;
    assert_eq!(whole(last), target.scrapes(), "the last scrape was not sent");
    let stale = backend.query("scrapes_total").await;
    assert!(!stale.is_empty(), "an orderly stop must not mark series stale");
}

/// One sample that the backend refuses costs that sample and no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_sample_costs_only_itself() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Prometheus::start(directory.path()).await;
    let body = "good 1\nold 1 1000000\nfine 1\n# TYPE scrapes_total counter\n";
    let page = directory.path().join("page");
    std::fs::create_dir(&page).unwrap();
    std::fs::write(page.join("metrics"), body).unwrap();
    let port = free_port();
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]);
    command.current_dir(&page);
    let _server = Process::start(&mut command, &directory.path().join("page.log"));
    let config = config("page", &format!("127.0.0.1:{port}"), &backend.write_url())
        + "    fallback_scrape_protocol: PrometheusText0.0.4\n";
    let agent = Agent::start(directory.path(), &config).await;

    for series in ["good", "fine", "up"] {
        let selector = format!("{series}{{job=\"page\"}}[1m]");
        eventually("three samples around the refused one were stored", PATIENCE, || async {
            let stored = backend.samples(&selector).await;
            (stored.first()?.len() >= 3).then_some(())
        })
        .await;
    }
    let queues = agent.json("/api/v1/queues").await;
    let dropped = &queues["destinations"][0]["dropped_samples"];
    assert!(dropped["rejected"].as_u64().is_some_and(|samples| samples > 0), "{queues}");
}

fn config(job: &str, target: &str, write_url: &str) -> String {
    format!(
        "global:\n  scrape_interval: 1s\nremote_write:\n  - url: {write_url}\n    name: backend\n    \
         queue_config: {{ max_backoff: 1s }}\nscrape_configs:\n  - job_name: {job}\n    \
         static_configs: [{{ targets: ['{target}'] }}]\n"
    )
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts scrapes")]
fn whole(value: f64) -> u64 {
    value as u64
}
