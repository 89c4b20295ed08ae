//! The gateway in numbers: what was pushed, what became of it, and how long its senders waited.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tokio::time::Duration;

use crate::gateway::parcel::{Kind, Unwanted};

/// What is answered. An alert can only see a count rise that was there before as a 0.
const STATUSES: [u16; 10] = [200, 204, 400, 401, 403, 408, 413, 415, 429, 503];
/// From a sync of a good disk to a sender that gives up.
const SECONDS: [f64; 11] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStatus {
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    reason: &'static str,
}

#[derive(Clone, Debug)]
pub(super) struct Meters {
    requests: Family<OfStatus, Counter>,
    bytes: Counter,
    samples: Family<OfKind, Counter>,
    refused: Family<OfReason, Counter>,
    repeats: Counter,
    replicas: Counter,
    forwarded: Counter,
    unreplicated: Counter,
    /// Samples.
    pub(super) uncopied: Gauge,
    pub(super) series: Gauge,
    seconds: Histogram,
}

/// Why a sample, or a series, was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Invalid,
    Late,
    Conflict,
    Rate,
    Series,
}

impl Reason {
    const ALL: [Self; 5] = [Self::Invalid, Self::Late, Self::Conflict, Self::Rate, Self::Series];

    fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Late => "late",
            Self::Conflict => "conflict",
            Self::Rate => "rate",
            Self::Series => "active_series",
        }
    }
}

impl From<Unwanted> for Reason {
    fn from(why: Unwanted) -> Self {
        match why {
            Unwanted::Late => Self::Late,
            Unwanted::Conflict => Self::Conflict,
            Unwanted::Limit => Self::Series,
        }
    }
}

impl Meters {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let meters = Self {
            requests: Family::default(),
            bytes: Counter::default(),
            samples: Family::default(),
            refused: Family::default(),
            repeats: Counter::default(),
            replicas: Counter::default(),
            forwarded: Counter::default(),
            unreplicated: Counter::default(),
            uncopied: Gauge::default(),
            series: Gauge::default(),
            seconds: Histogram::new(SECONDS),
        };
        for status in STATUSES {
            drop(meters.requests.get_or_create(&OfStatus { status }));
        }
        for kind in [Kind::Float, Kind::Histogram, Kind::Exemplars] {
            meters.kept(kind, 0);
        }
        for reason in Reason::ALL {
            meters.refused(reason, 0);
        }
        let registry = registry.sub_registry_with_prefix("starling_gateway");
        let requests = meters.requests.clone();
        registry.register("requests", "Pushes that were answered, by status", requests);
        registry.register("received_bytes", "Bodies of pushes, as they came", meters.bytes.clone());
        let help =
            "What pushes brought and owners have kept, by kind; on the member it was pushed to";
        registry.register("kept_samples", help, meters.samples.clone());
        let help = "Samples, and series that are malformed, that were not taken, by reason";
        registry.register("refused_samples", help, meters.refused.clone());
        let help = "Samples that this member, as their owner, had already";
        registry.register("repeated_samples", help, meters.repeats.clone());
        let help = "Samples of replicas that were not the elected ones, on their owner";
        registry.register("replica_samples", help, meters.replicas.clone());
        let help = "Samples that were sent on to another member, as their owner";
        registry.register("forwarded_samples", help, meters.forwarded.clone());
        let help = "Samples that were to be replicated and are on one disk alone, for want of a member that could have them, too";
        registry.register("unreplicated_samples", help, meters.unreplicated.clone());
        let help = "Samples that are to be replicated, unsent, and on this disk alone: they are copied next";
        registry.register("uncopied_samples", help, meters.uncopied.clone());
        let help = "Series pushed within the last hour that this member owns";
        registry.register("active_series", help, meters.series.clone());
        let help = "From the head of a push to its acknowledgement";
        registry.register("acknowledgement_seconds", help, meters.seconds.clone());
        meters
    }

    pub(super) fn answered(&self, status: u16) {
        self.requests.get_or_create(&OfStatus { status }).inc();
    }

    pub(super) fn received(&self, bytes: usize) {
        self.bytes.inc_by(bytes as u64);
    }

    pub(super) fn kept(&self, kind: Kind, samples: u64) {
        let kind = match kind {
            Kind::Float => "float",
            Kind::Histogram => "histogram",
            Kind::Exemplars => "exemplars",
        };
        self.samples.get_or_create(&OfKind { kind }).inc_by(samples);
    }

    pub(super) fn refused(&self, reason: Reason, samples: u64) {
        self.refused.get_or_create(&OfReason { reason: reason.name() }).inc_by(samples);
    }

    pub(super) fn repeated(&self, samples: u64) {
        self.repeats.inc_by(samples);
    }

    pub(super) fn of_other_replicas(&self, samples: u64) {
        self.replicas.inc_by(samples);
    }

    pub(super) fn forwarded(&self, samples: usize) {
        self.forwarded.inc_by(samples as u64);
    }

    pub(super) fn unreplicated(&self, samples: u64) {
        self.unreplicated.inc_by(samples);
    }

    pub(super) fn acknowledged(&self, took: Duration) {
        self.seconds.observe(took.as_secs_f64());
    }
}
