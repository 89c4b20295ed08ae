//! The outbox in numbers, for `/metrics`.

use std::sync::Arc;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::outbox::{loss::Reason, recovery::Recovery};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDestination {
    destination: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    destination: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCode {
    destination: String,
    code: String,
}

type Counters = Family<OfDestination, Counter>;
type Gauges = Family<OfDestination, Gauge>;

#[derive(Clone, Debug)]
pub(super) struct Meters {
    bytes: Gauges,
    max_bytes: Gauges,
    refused: Gauges,
    samples: Gauges,
    records: Gauges,
    held_records: Gauges,
    held_bytes: Gauges,
    oldest_seconds: Gauges,
    in_flight: Gauges,
    disk_bytes: Gauges,
    disk_works: Gauges,
    full: Gauges,
    appended: Counters,
    sent: Counters,
    taken: Counters,
    given: Counters,
    metadata: Counters,
    metadata_failures: Counters,
    retries: Counters,
    straight: Counters,
    whole: Counters,
    disk_errors: Counters,
    torn: Counters,
    corrupt: Counters,
    dropped: Family<OfReason, Counter>,
    requests: Family<OfCode, Counter>,
    request_seconds: Family<OfDestination, Histogram>,
}

/// Those of one destination.
#[derive(Clone, Debug)]
pub(super) struct DestinationMeters {
    all: Meters,
    name: Arc<str>,
    pub(super) bytes: Gauge,
    pub(super) max_bytes: Gauge,
    pub(super) refused: Gauge,
    pub(super) samples: Gauge,
    pub(super) records: Gauge,
    pub(super) held_records: Gauge,
    pub(super) held_bytes: Gauge,
    pub(super) oldest_seconds: Gauge,
    pub(super) in_flight: Gauge,
    pub(super) disk_bytes: Gauge,
    pub(super) disk_works: Gauge,
    pub(super) full: Gauge,
    pub(super) appended: Counter,
    pub(super) sent: Counter,
    pub(super) taken: Counter,
    pub(super) given: Counter,
    pub(super) metadata: Counter,
    pub(super) metadata_failures: Counter,
    pub(super) retries: Counter,
    pub(super) straight: Counter,
    pub(super) whole: Counter,
    pub(super) disk_errors: Counter,
    pub(super) request_seconds: Histogram,
}

impl Meters {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let meters = Self {
            bytes: Family::default(),
            max_bytes: Family::default(),
            refused: Family::default(),
            samples: Family::default(),
            records: Family::default(),
            held_records: Family::default(),
            held_bytes: Family::default(),
            oldest_seconds: Family::default(),
            in_flight: Family::default(),
            disk_bytes: Family::default(),
            disk_works: Family::default(),
            full: Family::default(),
            appended: Family::default(),
            sent: Family::default(),
            taken: Family::default(),
            given: Family::default(),
            metadata: Family::default(),
            metadata_failures: Family::default(),
            retries: Family::default(),
            straight: Family::default(),
            whole: Family::default(),
            disk_errors: Family::default(),
            torn: Family::default(),
            corrupt: Family::default(),
            dropped: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
        };
        meters.register(registry.sub_registry_with_prefix("starling_outbox"));
        meters
    }

    pub(super) fn of(&self, name: &Arc<str>) -> DestinationMeters {
        let key = OfDestination { destination: name.to_string() };
        for reason in Reason::ALL {
            self.dropped_of(name, reason);
        }
        DestinationMeters {
            all: self.clone(),
            name: Arc::clone(name),
            bytes: self.bytes.get_or_create_owned(&key),
            max_bytes: self.max_bytes.get_or_create_owned(&key),
            refused: self.refused.get_or_create_owned(&key),
            samples: self.samples.get_or_create_owned(&key),
            records: self.records.get_or_create_owned(&key),
            held_records: self.held_records.get_or_create_owned(&key),
            held_bytes: self.held_bytes.get_or_create_owned(&key),
            oldest_seconds: self.oldest_seconds.get_or_create_owned(&key),
            in_flight: self.in_flight.get_or_create_owned(&key),
            disk_bytes: self.disk_bytes.get_or_create_owned(&key),
            disk_works: self.disk_works.get_or_create_owned(&key),
            full: self.full.get_or_create_owned(&key),
            appended: self.appended.get_or_create_owned(&key),
            sent: self.sent.get_or_create_owned(&key),
            taken: self.taken.get_or_create_owned(&key),
            given: self.given.get_or_create_owned(&key),
            metadata: self.metadata.get_or_create_owned(&key),
            metadata_failures: self.metadata_failures.get_or_create_owned(&key),
            retries: self.retries.get_or_create_owned(&key),
            straight: self.straight.get_or_create_owned(&key),
            whole: self.whole.get_or_create_owned(&key),
            disk_errors: self.disk_errors.get_or_create_owned(&key),
            request_seconds: self.request_seconds.get_or_create_owned(&key),
        }
    }

    fn dropped_of(&self, name: &str, reason: Reason) -> Counter {
        let reason = reason.name().to_owned();
        self.dropped.get_or_create_owned(&OfReason { destination: name.to_owned(), reason })
    }

    fn register(&self, registry: &mut Registry) {
        let mut gauge = |name: &str, help: &str, gauges: &Gauges| {
            registry.register(name, help, gauges.clone());
        };
        gauge("bytes", "Unsent bytes, compressed", &self.bytes);
        gauge("max_bytes", "Unsent bytes that there is room for", &self.max_bytes);
        let refused = "Whether the destination refuses the account or the address (401, 403, 404, …), so that all is kept";
        gauge("refused", refused, &self.refused);
        gauge("samples", "Unsent samples", &self.samples);
        gauge("records", "Unsent records", &self.records);
        let held = "Unsent records that wait for another member, or are on their way to one";
        gauge("held_records", held, &self.held_records);
        gauge("held_bytes", "Bytes of the held records, compressed", &self.held_bytes);
        gauge("oldest_sample_age_seconds", "Age of the oldest unsent sample", &self.oldest_seconds);
        gauge("requests_in_flight", "Requests on their way", &self.in_flight);
        gauge("disk_bytes", "Bytes of all segments on disk", &self.disk_bytes);
        gauge("disk_works", "Whether the last write to disk succeeded", &self.disk_works);
        gauge("full", "Whether scrapes wait for room, where `when_full` pushes back", &self.full);
        let mut counter = |name: &str, help: &str, counters: &Counters| {
            registry.register(name, help, counters.clone());
        };
        counter("appended_samples", "Samples that came in", &self.appended);
        counter("sent_samples", "Samples that the destination has stored", &self.sent);
        counter("taken_samples", "Unsent samples taken over from other members", &self.taken);
        counter("given_samples", "Unsent samples handed over to other members", &self.given);
        let metadata =
            "Descriptions of metrics that the destination has taken in requests of their own";
        counter("sent_metadata", metadata, &self.metadata);
        let failures = "Rounds of such requests that the destination did not take whole";
        counter("metadata_failures", failures, &self.metadata_failures);
        counter("retries", "Requests that were made again", &self.retries);
        let straight = "Parts of requests that a gateway which owns their series has answered";
        counter("straight_parts", straight, &self.straight);
        let whole = "Requests that went to the configured URL as one, where `placement` is on";
        counter("whole_requests", whole, &self.whole);
        counter("disk_errors", "Writes to disk that failed", &self.disk_errors);
        counter("torn_segments", "Segments found with a torn tail", &self.torn);
        counter("corrupt_places", "Damaged places found in segments", &self.corrupt);
        registry.register("dropped_samples", "Samples given up", self.dropped.clone());
        registry.register("requests", "Requests by answer", self.requests.clone());
        registry.register(
            "request_duration_seconds",
            "From the request to its answer",
            self.request_seconds.clone(),
        );
    }
}

impl DestinationMeters {
    pub(super) fn dropped(&self, reason: Reason) -> Counter {
        self.all.dropped_of(&self.name, reason)
    }

    pub(super) fn request(&self, code: String) {
        let key = OfCode { destination: self.name.to_string(), code };
        self.all.requests.get_or_create(&key).inc();
    }

    pub(super) fn recovered(&self, recovery: &Recovery) {
        self.all.torn.get_or_create(&self.key()).inc_by(recovery.torn_segments);
        self.all.corrupt.get_or_create(&self.key()).inc_by(recovery.corrupt_places);
    }

    pub(super) fn corrupt(&self, records: usize) {
        self.all.corrupt.get_or_create(&self.key()).inc_by(records as u64);
    }

    /// The destination is no longer configured: what it holds now is nobody's. Counters stay.
    pub(super) fn retire(&self) {
        let all = &self.all;
        let gauges = [
            &all.bytes,
            &all.max_bytes,
            &all.refused,
            &all.samples,
            &all.records,
            &all.held_records,
            &all.held_bytes,
            &all.oldest_seconds,
            &all.in_flight,
            &all.disk_bytes,
            &all.disk_works,
            &all.full,
        ];
        for gauge in gauges {
            gauge.remove(&self.key());
        }
    }

    fn key(&self) -> OfDestination {
        OfDestination { destination: self.name.to_string() }
    }
}

/// 5 ms to 40 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 14))
}
