//! Three agents and their targets on this machine, as a fleet.

use std::{fs, process::Command, time::Duration};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    eventually,
    process::{Process, free_port, json},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(60);
const TARGETS: usize = 12;

pub(crate) struct Flock {
    pub(crate) members: Vec<Member>,
    _targets: Vec<Target>,
    _folder: TempDir,
}

pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) url: String,
    process: Process,
}

impl Flock {
    /// Returns when every target has one owner and all members say so.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut targets = Vec::new();
        for _ in 0..TARGETS {
            targets.push(Target::start(3).await);
        }
        let ports: Vec<(u16, u16)> = (0..3).map(|_| (free_port(), free_port())).collect();
        let peers: Vec<String> =
            ports.iter().map(|(_, peer)| format!("127.0.0.1:{peer}")).collect();
        fs::write(folder.path().join("secret"), "for this test alone, and long enough").unwrap();
        let mut members = Vec::new();
        for (number, (admin, peer)) in ports.iter().enumerate() {
            let name = format!("n{}", number + 1);
            let home = folder.path().join(&name);
            fs::create_dir(&home).unwrap();
            let config = home.join("starling.yml");
            fs::write(&config, yaml(&name, *peer, &peers, &targets)).unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
            command
                .arg("run")
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.path={}", home.join("storage").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{admin}"));
            let process = Process::start(&mut command, &home.join("starling.log"));
            members.push(Member { name, url: format!("http://127.0.0.1:{admin}"), process });
        }
        let flock = Self { members, _targets: targets, _folder: folder };
        for member in &flock.members {
            eventually("all targets had one owner", PATIENCE, || async {
                let verified = member.json("/api/v1/fleet/verify").await?;
                let members = verified["members"].as_array()?.len();
                (verified["ok"] == true && members == 3 && verified["targets"] == TARGETS)
                    .then_some(())
            })
            .await;
        }
        flock
    }
}

impl Member {
    pub(crate) async fn json(&self, path: &str) -> Option<Value> {
        json(&format!("{}{path}", self.url)).await
    }

    pub(crate) fn kill(&self) {
        self.process.signal(Signal::KILL);
    }
}

/// Divided targets, one job of each member's own, one target that nobody answers for, one that a rule
/// drops and one that can't be scraped.
fn yaml(name: &str, peer: u16, peers: &[String], targets: &[Target]) -> String {
    let targets: Vec<String> = targets.iter().map(|one| format!("'{}'", one.address)).collect();
    let (divided, own) = targets.split_at(TARGETS - 1);
    format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 500ms }}
cluster:
  enabled: true
  name: api
  node_name: {name}
  listen_address: 127.0.0.1:{peer}
  peers: [{peers}]
  mdns: false
  settle: 1s
  secret_file: ../secret
admin: {{ requests_per_second: 10000, burst: 10000 }}
scrape_configs:
  - job_name: divided
    clustering: {{ enabled: true }}
    static_configs: [{{ targets: [{divided}, '127.0.0.1:1', 'dropped:1', 'no/host'] }}]
    relabel_configs:
      - {{ source_labels: [__address__], regex: 'dropped.*', action: drop }}
      - {{ target_label: team, replacement: night }}
  - job_name: own
    static_configs: [{{ targets: [{own}] }}]
",
        peers = peers.join(", "),
        divided = divided.join(", "),
        own = own.join(", "),
    )
}
