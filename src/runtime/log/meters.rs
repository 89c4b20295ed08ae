//! Lines of the log in numbers. There is one log a process, so there is one count, and all agents of the
//! process show the same.

use std::sync::LazyLock;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tracing::Level;

const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

static OF_THIS_PROCESS: LazyLock<Counted> = LazyLock::new(Counted::default);

/// For `/metrics`.
pub fn register(registry: &mut Registry) {
    let counted = of_this_process();
    let registry = registry.sub_registry_with_prefix("starling_log");
    registry.register("lines", "Lines of the log, by level", counted.told);
    let help = "Lines that were left out of the log, as too many came from one place in the code";
    registry.register("left_out_lines", help, counted.left_out);
}

pub(super) fn of_this_process() -> Counted {
    OF_THIS_PROCESS.clone()
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLevel {
    level: &'static str,
}

impl OfLevel {
    fn new(level: Level) -> Self {
        let level = match level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            _ => "trace",
        };
        Self { level }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Counted {
    told: Family<OfLevel, Counter>,
    left_out: Family<OfLevel, Counter>,
}

impl Default for Counted {
    /// An alert can only see a count rise that was there before as a 0.
    fn default() -> Self {
        let counted = Self { told: Family::default(), left_out: Family::default() };
        for level in LEVELS.map(OfLevel::new) {
            counted.told.get_or_create(&level).inc_by(0);
            counted.left_out.get_or_create(&level).inc_by(0);
        }
        counted
    }
}

impl Counted {
    pub(super) fn told(&self, level: Level) {
        self.told.get_or_create(&OfLevel::new(level)).inc();
    }

    pub(super) fn left_out(&self, level: Level) {
        self.left_out.get_or_create(&OfLevel::new(level)).inc();
    }

    #[cfg(test)]
    pub(super) fn of(&self, level: Level) -> (u64, u64) {
        let level = OfLevel::new(level);
        (self.told.get_or_create(&level).get(), self.left_out.get_or_create(&level).get())
    }
}
