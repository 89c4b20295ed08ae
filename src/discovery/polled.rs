//! Discoveries that ask an API again and again. What each asks and what targets an answer makes stands
//! in a file of its own; when it is asked, and what happens when it fails, stands here.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use crate::{
    config::{Polled, Provider},
    discovery::{
        azure::Azure,
        consul,
        digitalocean::DigitalOcean,
        docker::Docker,
        ec2::Ec2,
        gce::Gce,
        hetzner::Hetzner,
        nomad::Nomad,
        openstack::OpenStack,
        pace::Pace,
        provider::{Round, Rounds},
    },
    model::target::TargetGroup,
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
