//! The `history` section: whether what happens is kept, for how long, and in how many bytes.

use std::time::Duration;

use crate::config::{
    HistorySettings,
    decode::{Findings, Section},
    yaml::Node,
};

/// With less there is no room for a log of changes beside the tables.
const BYTES_MIN: u64 = 32 << 20;

impl Default for HistorySettings {
    fn default() -> Self {
        Self { enabled: true, age_max: Duration::from_secs(90 * 24 * 3_600), bytes_max: 512 << 20 }
    }
}

pub(super) fn history(node: &Node, findings: &mut Findings) -> HistorySettings {
    let unset = HistorySettings::default();
    let Some(mut section) = Section::open(node, "history", findings) else { return unset };
    let bytes_max = section.bytes("max_bytes");
    if bytes_max.is_some_and(|bytes| bytes < BYTES_MIN) {
        let place = section.place_of("max_bytes");
        section.problem(
            place,
            "`max_bytes` must be at least 32MiB; to keep no history, say `enabled: false`",
        );
    }
    let age_max = section.duration("max_age");
    if age_max == Some(Duration::ZERO) {
        let place = section.place_of("max_age");
        section.problem(
            place,
            "`max_age` must be more than 0; to keep no history, say `enabled: false`",
        );
    }
    let settings = HistorySettings {
        enabled: section.boolean("enabled").unwrap_or(unset.enabled),
        age_max: age_max.unwrap_or(unset.age_max),
        bytes_max: bytes_max.unwrap_or(unset.bytes_max),
    };
    section.close();
    settings
}
