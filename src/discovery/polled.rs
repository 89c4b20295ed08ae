//! Discoveries that ask an API again and again. What each asks and what targets an answer makes stands
//! in a file of its own; when it is asked, and what happens when it fails, stands here.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use crate::{
    config::{HetznerRole, Polled, Provider},
    discovery::{
        azure::{self, Azure},
        consul,
        digitalocean::{self, DigitalOcean},
        docker::{self, Docker},
        ec2::{self, Ec2},
        gce::{self, Gce},
        hetzner::{self, Hetzner},
        nomad::{self, Nomad},
        openstack::{self, OpenStack},
        pace::Pace,
        provider::{Round, Rounds},
    },
    model::{labels::Labels, target::TargetGroup},
    runtime::clock,
};

/// A refresh, all its requests together, that has not ended by then has failed.
const REFRESH_SECONDS_MAX: u64 = 300;

pub(super) async fn run(polled: Polled, seed: u64, rounds: Rounds) {
    let Polled { provider, refresh_interval, client } = polled;
    let source = match provider {
        Provider::Azure(settings) => Source::Azure(Azure::new(settings, refresh_interval, &client)),
        Provider::Consul(settings) => {
            return consul::run(settings, refresh_interval, client, seed, rounds).await;
        }
        Provider::DigitalOcean(settings) => {
            Source::DigitalOcean(DigitalOcean::new(settings, refresh_interval, &client))
        }
        Provider::Docker(settings) => {
            Source::Docker(Docker::new(settings, refresh_interval, &client))
        }
        Provider::Ec2(settings) => Source::Ec2(Ec2::new(settings, refresh_interval, &client)),
        Provider::Gce(settings) => Source::Gce(Gce::new(settings, refresh_interval, &client)),
        Provider::Hetzner(settings) => {
            Source::Hetzner(Hetzner::new(settings, refresh_interval, &client))
        }
        Provider::Nomad(settings) => Source::Nomad(Nomad::new(settings, refresh_interval, &client)),
        Provider::OpenStack(settings) => {
            Source::OpenStack(OpenStack::new(settings, refresh_interval, &client))
        }
    };
    poll(source, Pace::new(refresh_interval, seed), rounds).await;
}

/// What is asked anew at each refresh.
#[expect(clippy::large_enum_variant, reason = "there is one for each provider that runs")]
enum Source {
    Azure(Azure),
    DigitalOcean(DigitalOcean),
    Docker(Docker),
    Ec2(Ec2),
    Gce(Gce),
    Hetzner(Hetzner),
    Nomad(Nomad),
    OpenStack(OpenStack),
}

impl Source {
    /// All that there is now.
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, String> {
        match self {
            Self::Azure(source) => source.refresh().await,
            Self::DigitalOcean(source) => source.refresh().await,
            Self::Docker(source) => source.refresh().await,
            Self::Ec2(source) => source.refresh().await,
            Self::Gce(source) => source.refresh().await,
            Self::Hetzner(source) => source.refresh().await,
            Self::Nomad(source) => source.refresh().await,
            Self::OpenStack(source) => source.refresh().await,
        }
    }
}

async fn poll(mut source: Source, mut pace: Pace, rounds: Rounds) {
    loop {
        let (began, began_ms) = (Instant::now(), clock::now_ms());
        let refresh = timeout(Duration::from_secs(REFRESH_SECONDS_MAX), source.refresh());
        let outcome = refresh.await.unwrap_or_else(|_| {
            Err(format!("not all was answered within {REFRESH_SECONDS_MAX} seconds"))
        });
        // What failed slowly is not asked again at once.
        let from = if outcome.is_ok() { began } else { Instant::now() };
        let due = from + pace.after(outcome.is_ok());
        rounds
            .tell(match outcome {
                Ok(groups) => Round { began_ms, groups: Some(groups), faults: Vec::new() },
                Err(fault) => Round::failed(began_ms, fault),
            })
            .await;
        sleep_until(due).await;
    }
}

/// The targets that an answer makes, whatever the settings: of the API with that number, as the fuzzer
/// asks for them. None of an answer that is refused.
pub fn decode(kind: u8, answer: &[u8]) -> Vec<Labels> {
    match kind % 10 {
        0 => consul::targets(answer, ",").unwrap_or_default(),
        1 => digitalocean::decode(answer),
        2 => docker::decode(answer),
        3 => hetzner::decode(HetznerRole::Cloud, answer),
        4 => hetzner::decode(HetznerRole::Robot, answer),
        5 => nomad::decode(answer),
        6 => ec2::decode(answer),
        7 => gce::decode(answer),
        8 => azure::decode(answer),
        _ => openstack::decode(answer),
    }
}
