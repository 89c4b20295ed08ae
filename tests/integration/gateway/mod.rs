//! Pushed to: by the senders that there are, into real backends, with real faults between.

mod attack;
mod conformance;
mod edges;
mod partition;
mod replication;
mod senders;

use std::path::Path;

use starling::{
    model::{
        labels::Labels,
        sample::{Point, PointValue},
    },
    wire::remote_write::{Compressor, encode_labels, push_series},
};

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

/// One sample of each name, at so many milliseconds after a moment of today.
fn body(samples: &[(&str, i64)]) -> Vec<u8> {
    let mut raw = Vec::new();
    let now_ms = starling::runtime::clock::now_ms() - 100_000_000;
    for (name, after_ms) in samples {
        let labels: Labels = [("__name__", *name)].into_iter().collect();
        let point = Point {
            value: PointValue::Float(1.0),
            timestamp_ms: now_ms + after_ms,
            start_ms: None,
            exemplars: &[],
        };
        push_series(&mut raw, &encode_labels(&labels, None), &point);
    }
    Compressor::default().body(&raw).to_vec()
}
