//! A world of members, targets and a backend.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use starling::runtime::tasks;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{
    Timeline,
    agent::{Agent, Clock},
    backend::Backend,
    farm,
    judge::{Judge, Size, among},
    watch::{Members, Watch},
    wires::{Wires, watch_address},
};

pub(crate) struct World {
    pub(crate) size: Size,
    pub(crate) agents: Vec<Agent>,
    pub(crate) judge: Judge,
    directory: PathBuf,
    _directory: Option<TempDir>,
    _wires: Wires,
}

impl World {
    /// All have met and have their shares, and each target was scraped.
    pub(crate) async fn start(size: Size) -> Self {
        let kept = env::var_os("STARLING_KEEP").map(PathBuf::from);
        let temporary = kept.is_none().then(|| tempfile::tempdir().unwrap());
        let directory = kept.unwrap_or_else(|| temporary.as_ref().unwrap().path().to_owned());
        fs::create_dir_all(&directory).unwrap();
        let timeline = Timeline(Instant::now());
        let wires = Wires::lay(size.members);
        let watch = Watch::default();
        for member in 1..=size.members {
            let url = format!("http://{}:9733", watch_address(member));
            tasks::spawn("watch", watch.clone().look(member, url, timeline));
        }
        let judge = Judge::start(size, watch, timeline, &directory).await;
        write_configuration(&directory, size);
        let agents = (1..=size.members)
            .map(|n| Agent::new(n, wires.place(n), size.members, &directory))
            .collect();
        let mut world =
            Self { size, agents, judge, directory, _directory: temporary, _wires: wires };
        let all = world.all();
        for &member in &all {
            world.agent(member).start(Clock::default());
        }
        assert!(world.judge.until_calm(&among(&all)).await, "the fleet does not form");
        sleep(size.interval * 2).await;
        world
    }

    pub(crate) fn all(&self) -> Members {
        (1..=self.size.members).collect()
    }

    pub(crate) fn agent(&mut self, member: usize) -> &mut Agent {
        &mut self.agents[member - 1]
    }

    pub(crate) fn signal(&mut self, members: &Members, signal: Signal) {
        for &member in members {
            self.agent(member).signal(signal);
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

fn write_configuration(directory: &Path, size: Size) {
    let targets: Vec<_> = (0..size.targets).map(farm::address).collect();
    let targets = serde_json::json!([{ "targets": targets }]);
    fs::write(directory.join("targets.json"), targets.to_string()).unwrap();
    fs::write(directory.join("secret"), "a secret that only this fleet has").unwrap();
    let (interval_ms, url) = (size.interval_ms(), Backend::write_url());
    let configuration = format!(
        "global:
  scrape_interval: {interval_ms}ms
  scrape_timeout: {interval_ms}ms
  clustering: {{ enabled: true }}
remote_write:
  - name: judge
    url: {url}
scrape_configs:
  - job_name: farm
    file_sd_configs: [{{ files: [targets.json] }}]
"
    );
    fs::write(directory.join("starling.yml"), configuration).unwrap();
}
