//! Pushed to: by the senders that there are, into real backends, with real faults between.

mod attack;
mod conformance;
mod edges;
mod partition;
mod replication;
mod senders;

use std::path::Path;

use crate::process::{Agent, free_port};

/// An agent that takes pushes, and where.
struct Gateway {
    agent: Agent,
    address: String,
}

impl Gateway {
    /// `metrics` is more of the section of that name, in YAML's flow style.
    async fn start(directory: &Path, backend: &str, metrics: &str) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let config = config(&address, backend, metrics);
        Self { agent: Agent::start(directory, &config).await, address }
    }

    fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }
}

fn config(address: &str, backend: &str, metrics: &str) -> String {
    format!(
        "gateway: {{ metrics: {{ listen_address: '{address}'{metrics} }} }}\n\
         remote_write:\n  - url: {backend}\n    send_exemplars: true\n    \
         send_native_histograms: true\n"
    )
}
