//! History in numbers, for `/metrics`.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

#[derive(Clone, Debug)]
pub(super) struct Meters {
    pub(super) entries: Counter,
    pub(super) lost: Counter,
    pub(super) set_aside: Counter,
    pub(super) works: Gauge,
    pub(super) bytes: Gauge,
}

impl Meters {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let meters = Self {
            entries: Counter::default(),
            lost: Counter::default(),
            set_aside: Counter::default(),
            works: Gauge::default(),
            bytes: Gauge::default(),
        };
        registry.register(
            "starling_history_entries",
            "What happened and was written to the history",
            meters.entries.clone(),
        );
        registry.register(
            "starling_history_lost_entries",
            "What happened and was not written, as the file did not serve or was too slow",
            meters.lost.clone(),
        );
        registry.register(
            "starling_history_set_aside_files",
            "History files that were damaged, or of a later version, and gave way to a new one",
            meters.set_aside.clone(),
        );
        registry.register(
            "starling_history_works",
            "Whether what happens is written: 0 with a fault, or where `history.enabled` is false",
            meters.works.clone(),
        );
        registry.register(
            "starling_history_bytes",
            "Of the history file and the log of changes beside it",
            meters.bytes.clone(),
        );
        meters
    }
}
