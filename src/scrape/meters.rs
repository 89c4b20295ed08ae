//! Scraping in numbers, for `/metrics`.

use std::time::Duration;

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

use crate::scrape::{read::Counts, status::Health};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOutcome {
    /// `ok`, or the kind of the failure.
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfHealth {
    health: &'static str,
}

#[derive(Clone, Debug)]
pub(super) struct Meters {
    seconds: Histogram,
    lateness_seconds: Histogram,
    scrapes: Family<OfOutcome, Counter>,
    targets: Family<OfHealth, Gauge>,
    pub(super) ticks_missed: Counter,
    pub(super) catch_ups: Counter,
    pub(super) targets_adopted: Counter,
    pub(super) slots_sealed: Counter,
    pub(super) series_left_out: Counter,
    samples: Counter,
    samples_untimely: Counter,
    samples_excluded: Counter,
    series_added: Counter,
    body_bytes: Counter,
    pub(super) unwritten_failures: Counter,
}

impl Meters {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let meters = Self {
            // 1 ms to 33 s, and 0.1 ms to 6.5 s.
            seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            lateness_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 17)),
            scrapes: Family::default(),
            targets: Family::default(),
            ticks_missed: Counter::default(),
            catch_ups: Counter::default(),
            targets_adopted: Counter::default(),
            slots_sealed: Counter::default(),
            series_left_out: Counter::default(),
            samples: Counter::default(),
            samples_untimely: Counter::default(),
            samples_excluded: Counter::default(),
            series_added: Counter::default(),
            body_bytes: Counter::default(),
            unwritten_failures: Counter::default(),
        };
        meters.register(registry.sub_registry_with_prefix("starling_scrape"));
        for health in [Health::Unknown, Health::Up, Health::Down] {
            meters.targets_of(health).set(0);
        }
        meters
    }

    pub(super) fn started(&self, late: Duration) {
        self.lateness_seconds.observe(late.as_secs_f64());
    }

    pub(super) fn scraped(
        &self,
        outcome: &'static str,
        took: Duration,
        counts: Counts,
        body_bytes: usize,
    ) {
        self.scrapes.get_or_create(&OfOutcome { outcome }).inc();
        self.seconds.observe(took.as_secs_f64());
        self.samples_untimely.inc_by(counts.untimely as u64);
        self.samples_excluded.inc_by(counts.excluded as u64);
        self.series_added.inc_by(counts.added as u64);
        self.body_bytes.inc_by(body_bytes as u64);
    }

    pub(super) fn took(&self, samples: usize) {
        self.samples.inc_by(samples as u64);
    }

    pub(super) fn targets_of(&self, health: Health) -> Gauge {
        self.targets.get_or_create_owned(&OfHealth { health: health.name() })
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("duration_seconds", "Scrapes by duration", self.seconds.clone());
        registry.register(
            "lateness_seconds",
            "How long after their instant scrapes started",
            self.lateness_seconds.clone(),
        );
        registry.register("scrapes", "Scrapes by outcome", self.scrapes.clone());
        registry.register("targets", "Targets by health", self.targets.clone());
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counter("ticks_missed", "Scrapes that were due and not made", &self.ticks_missed);
        counter(
            "catch_ups",
            "Scrapes off the ticks, for ticks that a former owner did not make",
            &self.catch_ups,
        );
        counter(
            "targets_adopted",
            "Targets whose series a former owner has told of",
            &self.targets_adopted,
        );
        counter("slots_sealed", "Slots that were left with all scrapes ended", &self.slots_sealed);
        counter(
            "series_left_out",
            "Series that a next owner was not told of, for want of room",
            &self.series_left_out,
        );
        counter("samples", "Samples taken, after relabelling", &self.samples);
        counter(
            "samples_untimely",
            "Samples left out: not after the last one, or far in the future",
            &self.samples_untimely,
        );
        counter(
            "samples_excluded",
            "Samples left out: of series beyond the limit of series of their target",
            &self.samples_excluded,
        );
        counter("series_added", "Series that were new in their scrape", &self.series_added);
        counter("body_bytes", "Bytes of bodies, uncompressed", &self.body_bytes);
        counter(
            "unwritten_failures",
            "Failures that did not get into their scrape_failure_log_file",
            &self.unwritten_failures,
        );
    }
}
