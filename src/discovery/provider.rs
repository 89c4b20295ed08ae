//! Every kind of discovery behind one shape: a task that tells, round after round, which groups it
//! has found. A new kind is an arm here, its settings in `config`, and a file of its own.

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::mpsc;

use crate::{
    config::Discovery,
    discovery::{dns, file, http, polled, static_list},
    model::target::TargetGroup,
    runtime::stop::Stop,
};

/// What one refresh brought.
#[derive(Debug, Default, PartialEq)]
pub struct Round {
    /// When the refresh began: what changed before is in it. In milliseconds since the Unix epoch.
    pub began_ms: i64,
    /// All groups of the provider; `None`: those of the round before.
    pub groups: Option<Vec<TargetGroup>>,
    /// What went wrong with all or a part of it. What is affected keeps its groups.
    pub faults: Vec<String>,
}

impl Round {
    pub fn failed(began_ms: i64, fault: String) -> Self {
        Self { began_ms, groups: None, faults: vec![fault] }
    }
}

/// How a provider fares.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderState {
    pub kind: &'static str,
    /// Those that hang on it, in their order.
    pub jobs: Vec<Arc<str>>,
    /// Before relabelling.
    pub targets: usize,
    /// When its latest round without a fault began, in milliseconds since the Unix epoch.
    pub refreshed_ms: Option<i64>,
    /// When the first failure was heard of that no good round came after.
    pub failing_since_ms: Option<i64>,
    /// Of its latest round.
    pub faults: Vec<String>,
}

/// Names a running provider. A number is never used again, so that a late round of one that was
/// stopped is known for what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProviderId(pub u64);

/// Where a provider's rounds go. The channel is bounded: a provider waits until it is heard.
pub struct Rounds {
    pub id: ProviderId,
    pub sender: mpsc::Sender<(ProviderId, Round)>,
}

impl Rounds {
    pub async fn tell(&self, round: Round) {
        // Nobody listens only when discovery has ended, and then this task is about to, too.
        let _ = self.sender.send((self.id, round)).await;
    }
}

/// Which servers are asked for names.
#[derive(Clone, Debug, Default)]
pub enum Nameservers {
    /// Those of `/etc/resolv.conf`, read again for each refresh.
    #[default]
    System,
    Fixed {
        servers: Vec<SocketAddr>,
        /// Tried behind names that do not end in a dot.
        search: Vec<String>,
    },
}

/// Ends when `stop` is raised or nobody listens, whatever it is waiting for; a provider holds
/// nothing that must be put away. `seed` is for when to try again.
pub async fn run(
    settings: Discovery,
    nameservers: Nameservers,
    seed: u64,
    rounds: Rounds,
    stop: Stop,
) {
    let listener = rounds.sender.clone();
    let providing = async {
        match settings {
            Discovery::Static(groups) => static_list::run(groups, rounds).await,
            Discovery::File { files, refresh_interval } => {
                file::run(files, refresh_interval, rounds).await;
            }
            Discovery::Http { url, refresh_interval, client } => {
                http::run(url.expose().to_owned(), refresh_interval, client, rounds).await;
            }
            Discovery::Dns { names, record, port, refresh_interval } => {
                let asked = dns::Asked { names, record, port };
                dns::run(asked, refresh_interval, nameservers, rounds).await;
            }
            Discovery::Polled(polled) => polled::run(*polled, seed, rounds).await,
        }
    };
    tokio::select! {
        () = stop.raised() => {}
        () = listener.closed() => {}
        () = providing => {}
    }
}
