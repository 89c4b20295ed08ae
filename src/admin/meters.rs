//! The window in numbers: whether the agent is ready, who it is, and who was not let in.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge, gauge::Gauge},
    registry::Registry,
};
use tokio::sync::watch;

use crate::admin::{FleetSources, Readiness};

/// What the door refuses with. An alert can only see a count rise that was there before as a 0.
const STATUSES: [u16; 9] = [400, 401, 403, 408, 413, 415, 421, 429, 431];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStatus {
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Who {
    name: String,
    id: String,
    cluster: String,
}

#[derive(Clone, Debug)]
pub struct Meters {
    refused: Family<OfStatus, Counter>,
}

impl Meters {
    pub fn new(
        registry: &mut Registry,
        ready: watch::Receiver<Readiness>,
        fleet: &FleetSources,
    ) -> Self {
        let refused = Family::default();
        let meters = Self { refused };
        for status in STATUSES {
            meters.refused(status, 0);
        }
        registry.register_collector(Box::new(Ready(ready)));
        let who = Family::<Who, Gauge>::default();
        who.get_or_create(&Who {
            name: fleet.name.clone(),
            id: fleet.me.to_string(),
            cluster: fleet.cluster.clone().unwrap_or_default(),
        })
        .set(1);
        registry.register("starling_node_info", "Which node this is; always 1", who);
        registry.register(
            "starling_admin_refused_requests",
            "Requests to the admin API that were not let in, by status",
            meters.refused.clone(),
        );
        meters
    }

    pub(super) fn refused(&self, status: u16, times: u64) {
        self.refused.get_or_create(&OfStatus { status }).inc_by(times);
    }
}

/// Read when scraped.
#[derive(Debug)]
struct Ready(watch::Receiver<Readiness>);

impl Collector for Ready {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let is_ready = match *self.0.borrow() {
            Readiness::Ready => 1_i64,
            Readiness::Starting | Readiness::Stopping => 0,
        };
        let gauge = ConstGauge::new(is_ready);
        let help = "Whether `/-/ready` says so: not while it starts, and not while it stops.";
        gauge.encode(encoder.encode_descriptor(
            "starling_ready",
            help,
            None,
            gauge.metric_type(),
        )?)
    }
}
