//! Prometheus, vmagent and OpenTelemetry's exporter push through a gateway into a Prometheus; what they
//! have scraped or counted is there, also when the gateway is killed in between.

use std::{path::Path, process::Command, time::Duration};

use rustix::process::Signal;

use crate::{
    backend::Prometheus,
    eventually,
    gateway::Gateway,
    process::{Process, free_port},
    python::{environment, succeed},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(40);
const EXPORTS: u32 = 20;

/// Each sender scrapes a target that counts its scrapes, so that a lost sample is a hole in the count.
#[tokio::test(flavor = "multi_thread")]
async fn what_prometheus_and_vmagent_push_is_stored_whole_also_over_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let folder = directory.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        folder
    };
    let backend = Prometheus::start(&folder("backend")).await;
    let mut gateway = Gateway::start(&folder("gateway"), &backend.write_url(), "").await;
    let targets = [Target::start(50).await, Target::start(50).await];
    let _prometheus = prometheus(&folder("prometheus"), &targets[0].address, &gateway.url());
    let _vmagent = vmagent(&folder("vmagent"), &targets[1].address, &gateway.url());
    let scrapes = |job: &'static str, least: usize| {
        let (backend, selector) = (&backend, format!("scrapes_total{{job=\"{job}\"}}[10m]"));
        eventually("scrapes were stored", PATIENCE, move || {
            let selector = selector.clone();
            async move {
                let samples = backend.samples(&selector).await.into_iter().next()?;
                (samples.len() >= least).then_some(samples)
            }
        })
    };
    for job in ["prometheus", "vmagent"] {
        scrapes(job, 4).await;
    }
    gateway.agent.process.signal(Signal::KILL);
    gateway.agent.process.ended().await;
    gateway.agent.restart().await;
    for job in ["prometheus", "vmagent"] {
        let before = scrapes(job, 1).await.len();
        let samples = scrapes(job, before + 8).await;
        let counts: Vec<f64> = samples.iter().map(|(_, count)| *count).collect();
        let whole = counts.windows(2).all(|pair| (pair[1] - pair[0] - 1.0).abs() < 1e-9);
        assert!(whole, "{job}: {counts:?}\n{}", gateway.agent.process.log());
    }
}

/// An SDK exports with names and types of its own making, and one message at a time.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_exporter_of_opentelemetry_pushes_is_stored() {
    let requirements = "tests/integration/gateway/requirements.txt";
    let home = tokio::task::spawn_blocking(|| environment("opentelemetry", requirements));
    let home = home.await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("backend");
    std::fs::create_dir(&folder).unwrap();
    let backend = Prometheus::start(&folder).await;
    let gateway = Gateway::start(directory.path(), &backend.write_url(), "").await;
    let mut sender = Command::new(home.join("bin/python"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/gateway/otel.py");
    sender.arg(script).arg(gateway.url()).arg(EXPORTS.to_string());
    let said = tokio::task::spawn_blocking(move || succeed(&mut sender)).await.unwrap();
    assert_eq!(said, "", "nothing was refused");
    let expected: Vec<f64> = (1..=EXPORTS).map(f64::from).collect();
    for name in ["otel_counts{kind=\"kind's\"}", "otel_size_count"] {
        let stored = eventually("exports were stored", PATIENCE, || async {
            let samples = backend.samples(&format!("{name}[10m]")).await.into_iter().next()?;
            (samples.len() >= expected.len()).then_some(samples)
        });
        let counts: Vec<f64> = stored.await.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, expected, "{name}");
    }
}

pub(super) fn prometheus(directory: &Path, target: &str, gateway: &str) -> Process {
    let config = format!(
        "global: {{scrape_interval: 1s}}\n\
         remote_write: [{{url: '{gateway}', queue_config: {{batch_send_deadline: 500ms}}}}]\n\
         scrape_configs: [{{job_name: prometheus, static_configs: [{{targets: ['{target}']}}]}}]\n"
    );
    let file = directory.join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("prometheus");
    command
        .arg("--enable-feature=agent")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.agent.path={}", directory.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{}", free_port()));
    Process::start(&mut command, &directory.join("log"))
}

/// Its blocks go out one after the other: with more queues it would itself change their order.
fn vmagent(directory: &Path, target: &str, gateway: &str) -> Process {
    let config = format!(
        "global: {{scrape_interval: 1s}}\n\
         scrape_configs: [{{job_name: vmagent, static_configs: [{{targets: ['{target}']}}]}}]\n"
    );
    let file = directory.join("scrape.yml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(crate::newer::servers().join("usr/bin/vmagent"));
    command
        .env("LD_LIBRARY_PATH", crate::newer::libraries())
        .arg(format!("-promscrape.config={}", file.display()))
        .arg(format!("-remoteWrite.url={gateway}"))
        .arg("-remoteWrite.queues=1")
        .arg(format!("-remoteWrite.tmpDataPath={}", directory.join("data").display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{}", free_port()));
    Process::start(&mut command, &directory.join("log"))
}
