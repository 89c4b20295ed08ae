//! Three agents on this machine that share a long list of targets, of which one answers.

use std::{cell::Cell, fmt::Write, fs, path::Path, process::Command, time::Duration};

use serde_json::Value;

use tokio::{
    sync::{Mutex, MutexGuard},
    time::sleep,
};

use crate::{
    eventually,
    process::{Process, free_port, get, json, status},
    target::Target,
};

pub(crate) const NAMES: [&str; 3] = ["avocet", "bittern", "curlew"];
/// In the configuration, and nowhere on the page.
pub(crate) const SECRET: &str = "heron-under-the-bridge";
const START_MAX: Duration = Duration::from_secs(120);
/// The flock is calm when a member hears no more messages than that in this time.
const CALM: Duration = Duration::from_secs(1);
const CALM_MESSAGES_MAX: f64 = 50.0;
const HEARD: &str = "starling_cluster_channel_messages_total{direction=\"in\"}";

/// Three agents and a browser are as much as a small machine carries.
static MACHINE: Mutex<()> = Mutex::const_new(());

pub(crate) struct Flock {
    /// `None` once it was killed.
    members: Vec<Option<Process>>,
    pub(crate) urls: Vec<String>,
    pub(crate) directory: tempfile::TempDir,
    _machine: MutexGuard<'static, ()>,
}

impl Flock {
    /// With `silent` targets beside the one that answers; each has a loopback address of its own
    /// at which nobody listens.
    pub(crate) async fn start(silent: usize) -> Self {
        let machine = MACHINE.lock().await;
        let directory = tempfile::tempdir().unwrap();
        let answering = Target::start(3).await;
        fs::write(directory.path().join("starling.yml"), config(&answering.address, silent))
            .unwrap();
        fs::write(directory.path().join("secret"), "0123456789abcdef0123456789abcdef").unwrap();
        let ports = NAMES.map(|_| (free_port(), free_port()));
        let peers = ports.map(|(_, cluster)| format!("127.0.0.1:{cluster}")).join(",");
        let members = NAMES
            .into_iter()
            .zip(ports)
            .map(|(name, ports)| Some(member(directory.path(), name, ports, &peers)))
            .collect();
        let urls = ports.map(|(admin, _)| format!("http://127.0.0.1:{admin}")).to_vec();
        let flock = Self { members, urls, directory, _machine: machine };
        flock.divided().await;
        flock.calm().await;
        flock
    }

    /// At once, as by `kill -9`.
    pub(crate) fn kill(&mut self, member: usize) {
        self.members[member] = None;
    }

    /// Until each knows that each has a share.
    async fn divided(&self) {
        for url in &self.urls {
            eventually("the flock had divided the work", START_MAX, || async {
                if status(&format!("{url}/-/ready")).await != Some(200) {
                    return None;
                }
                let fleet = json(&format!("{url}/api/v1/fleet")).await?;
                let members = fleet["members"].as_array()?;
                let shares = members.iter().filter(|one| one["slots"].as_u64() > Some(0));
                (shares.count() == NAMES.len()).then_some(())
            })
            .await;
        }
    }

    /// Until all answer the first member, and have little else to tell it: those that have just met
    /// tell each other what each slot has, and questions wait behind that.
    async fn calm(&self) {
        let heard = Cell::new(f64::MAX);
        eventually("the flock was calm", START_MAX, || async {
            sleep(CALM).await;
            let (metrics, before) =
                (get(&format!("{}/metrics", self.urls[0])).await?.1, heard.get());
            let counted = metrics.lines().find_map(|line| line.strip_prefix(HEARD))?;
            heard.set(counted.trim().parse().ok()?);
            let queues = self.json("/api/v1/fleet/queues").await;
            let mut asked = queues["asked"].as_array()?.iter();
            let is_calm = (0.0..CALM_MESSAGES_MAX).contains(&(heard.get() - before));
            (is_calm && asked.all(|one| one["answered"] == true)).then_some(())
        })
        .await;
    }

    /// As the first member tells it.
    pub(crate) async fn json(&self, path: &str) -> Value {
        json(&format!("{}{path}", self.urls[0])).await.unwrap()
    }
}

fn member(directory: &Path, name: &str, (admin, cluster): (u16, u16), peers: &str) -> Process {
    let at = directory.display();
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    command.arg("run").args([
        format!("--config.file={at}/starling.yml"),
        format!("--storage.path={at}/{name}"),
        format!("--web.listen-address=127.0.0.1:{admin}"),
        "--cluster.enabled".to_owned(),
        format!("--cluster.node-name={name}"),
        format!("--cluster.peers={peers}"),
        format!("--cluster.listen-address=127.0.0.1:{cluster}"),
        format!("--cluster.secret-file={at}/secret"),
        // Or the first one would take all, and hand most of it over.
        format!("--cluster.wait-for-size={}", NAMES.len()),
    ]);
    Process::start(&mut command, &directory.join(format!("{name}.log")))
}

fn config(answering: &str, silent: usize) -> String {
    let mut config = format!(
        "global: {{ scrape_interval: 1h, clustering: {{ enabled: true }} }}\n\
         scrape_configs:\n\
         - job_name: answering\n  scrape_interval: 1s\n\
         \x20 static_configs: [{{ targets: ['{answering}'] }}]\n\
         - job_name: silent\n  basic_auth: {{ username: starling, password: {SECRET} }}\n\
         \x20 relabel_configs:\n\
         \x20 - {{ source_labels: [__address__], regex: '127\\.1\\.0\\.[0-4]:9', action: drop }}\n\
         \x20 - {{ source_labels: [rack], target_label: shelf, replacement: 'shelf-$1' }}\n\
         \x20 - {{ regex: rack, action: labeldrop }}\n\
         \x20 static_configs:\n\
         \x20 - labels: {{ rack: r7 }}\n    targets:\n"
    );
    for n in 0..silent {
        writeln!(config, "    - 127.1.{}.{}:9", n / 250, n % 250).unwrap();
    }
    writeln!(
        config,
        "remote_write:\n- name: nowhere\n  url: http://127.0.0.1:1/\n  authorization: {{ credentials: {SECRET} }}"
    )
    .unwrap();
    config
}
