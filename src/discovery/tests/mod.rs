//! Providers as they run, against APIs on loopback that answer in the shape that the real ones document.

mod consul;
mod digitalocean;
mod docker;
mod fake_api;
mod hetzner;
mod nomad;
mod pace;
mod rounds;

use std::{path::Path, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::{
    config::{self, Discovery, Polled, Provider},
    discovery::{
        polled,
        provider::{ProviderId, Round, Rounds},
    },
    model::{labels::Labels, target::TargetGroup},
    runtime::tasks,
};

/// Far beyond anything that is waited for: only a failing test gets there.
const PATIENCE: Duration = Duration::from_secs(20);

/// The settings of the first discovery in `text`, the inside of a job.
fn settings(text: &str) -> Polled {
    let text = format!("scrape_configs: [{{job_name: j, {text}}}]");
    let config = config::parse(Path::new("test.yml"), &text, &|_| None).expect("good settings");
    let Discovery::Polled(polled) = &config.jobs[0].discovery[0] else { panic!("not polled") };
    (**polled).clone()
}

/// As `settings`, of a kind whose API has a name of its own: found at `endpoint` here.
fn settings_at(endpoint: String, text: &str) -> Polled {
    let mut polled = settings(text);
    match &mut polled.provider {
        Provider::DigitalOcean(settings) => settings.endpoint = endpoint,
        Provider::Hetzner(settings) => settings.endpoint = endpoint,
        Provider::Consul(_) | Provider::Docker(_) | Provider::Nomad(_) => panic!("it has a key"),
        Provider::Azure(_) | Provider::Ec2(_) | Provider::Gce(_) | Provider::OpenStack(_) => {
            panic!("it has tests beside it")
        }
    }
    polled
}

/// A provider that runs until it is dropped.
struct Running {
    rounds: mpsc::Receiver<(ProviderId, Round)>,
    task: JoinHandle<Option<()>>,
}

impl Running {
    fn start(polled: Polled) -> Self {
        let (sender, rounds) = mpsc::channel(1);
        let told = Rounds { id: ProviderId(1), sender };
        Self { rounds, task: tasks::spawn("provider", polled::run(polled, 7, told)) }
    }

    async fn round(&mut self) -> Round {
        let next = timeout(PATIENCE, self.rounds.recv()).await;
        next.expect("a round in time").expect("the provider runs").1
    }

    /// The next round that fits, among the next few.
    async fn round_where(&mut self, fits: impl Fn(&Round) -> bool) -> Round {
        let mut seen = Vec::new();
        for _ in 0..50 {
            let round = self.round().await;
            if fits(&round) {
                return round;
            }
            seen.push(round);
        }
        panic!("none of {seen:#?}");
    }

    /// Of the next round that has any.
    async fn groups(&mut self) -> Vec<TargetGroup> {
        self.round_where(|round| round.groups.is_some()).await.groups.expect("groups")
    }

    /// Waits for a fault with that text in it.
    async fn fault(&mut self, text: &str) -> String {
        let has = |round: &Round| round.faults.iter().any(|fault| fault.contains(text));
        self.round_where(has).await.faults.remove(0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The targets of the one group of a first round that must be good.
async fn targets(polled: Polled) -> Vec<Labels> {
    let round = Running::start(polled).round().await;
    assert_eq!(round.faults, Vec::<String>::new());
    let mut groups = round.groups.expect("groups");
    assert_eq!(groups.len(), 1);
    groups.remove(0).targets
}

/// `target` has these labels, all that begin with `__meta_` and the address, and no others.
#[track_caller]
fn check(target: &Labels, expected: &[(&str, &str)]) {
    let mut expected: Vec<(&str, &str)> = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(target.iter().collect::<Vec<_>>(), expected);
}

fn addresses(targets: &[Labels]) -> Vec<&str> {
    targets.iter().map(|target| target.get("__address__")).collect()
}
