//! A Starling outside of the fleet sends each series to the gateway that owns it: nothing is sent on
//! between gateways while all is calm, and nothing is lost while they come and go.

use std::{fs, path::Path, time::Duration};

use futures_util::future::join_all;
use rustix::process::Signal;

use crate::{
    backend::Prometheus,
    eventually,
    gateway::replication::{config, start, until_whole},
    process::{Agent, free_port, get},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(90);
const SERIES: usize = 60;
/// Scrapes of a second each.
const CALM: u64 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_sends_to_owners_whoever_leaves_or_dies() {
    let directory = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let folder = directory.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let backend = Prometheus::start(&folder("backend")).await;
    let ports = [free_port(), free_port(), free_port()];
    let configured = free_port();
    let gateways = ["a", "b", "c"].into_iter().enumerate().map(|(number, name)| {
        let listen = if number == 0 { configured } else { free_port() };
        let config = config(name, number, ports, listen, &backend.write_url());
        let folder = folder(name);
        async move { start(&folder, &config).await }
    });
    let mut gateways = join_all(gateways).await;
    let target = Target::start(SERIES).await;
    let edge = edge(&folder("edge"), &target.address, configured).await;

    until_whole(&backend, 4).await;
    until_calm(&target, &gateways).await;
    assert!(sum(&edge, "starling_outbox_straight_parts_total").await >= 3, "in three parts");

    let mut leaving = gateways.remove(1);
    leaving.process.signal(Signal::TERM);
    leaving.process.ended().await;
    until_whole(&backend, target.scrapes() + 3).await;
    until_calm(&target, &gateways).await;

    // The one that the edge is told to ask.
    gateways[0].process.signal(Signal::KILL);
    gateways[0].process.ended().await;
    until_whole(&backend, target.scrapes() + 3).await;
    gateways[0].restart().await;
    until_whole(&backend, target.scrapes() + 3).await;
    until_calm(&target, &gateways).await;
    assert_eq!(sum(&edge, "starling_outbox_dropped_samples_total").await, 0);
}

async fn edge(folder: &Path, target: &str, gateway: u16) -> Agent {
    let config = format!(
        "global: {{ scrape_interval: 1s }}\n\
         remote_write: [{{ name: gateway, placement: true, \
         url: 'http://127.0.0.1:{gateway}/api/v1/write' }}]\n\
         scrape_configs: [{{ job_name: edge, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
    );
    Agent::start(folder, &config).await
}

/// Until some scrapes have come in a row of which nothing was sent on. Slots may still be evened out.
async fn until_calm(target: &Target, gateways: &[Agent]) {
    let sent_on = || async {
        let sums = gateways.iter().map(|one| sum(one, "starling_gateway_forwarded_samples_total"));
        join_all(sums).await.into_iter().sum::<u64>()
    };
    eventually("nothing was sent on", PATIENCE, || async {
        let before = sent_on().await;
        let until = target.scrapes() + CALM;
        let passed = || async { (target.scrapes() >= until).then_some(()) };
        eventually("scrapes have passed", PATIENCE, passed).await;
        (sent_on().await == before).then_some(())
    })
    .await;
}

/// Of all series of a metric.
async fn sum(agent: &Agent, metric: &str) -> u64 {
    let (_, metrics) = get(&format!("{}/metrics", agent.url)).await.expect("it answers");
    let lines = metrics.lines().filter(|line| line.starts_with(metric));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    values.sum()
}
