//! The `outbox` section: the bounds of what waits to be sent.

use std::time::Duration;

use crate::config::{
    OutboxSettings, WhenFull,
    decode::{Findings, Section},
    yaml::Node,
};

const LANES_MAX: i128 = 64;
/// More requests at once help no receiver, and each holds a body in memory.
const IN_FLIGHT_MAX: i128 = 1_024;

impl Default for OutboxSettings {
    fn default() -> Self {
        Self {
            bytes_max: 8 << 30,
            age_max: Duration::ZERO,
            lanes: 16,
            in_flight_max: 64,
            free_disk_bytes_min: 256 << 20,
            when_full: WhenFull::DropOldest,
        }
    }
}

pub(super) const WHEN_FULL: [(&str, WhenFull); 2] =
    [("drop_oldest", WhenFull::DropOldest), ("push_back", WhenFull::PushBack)];

pub(super) fn outbox(node: &Node, findings: &mut Findings) -> OutboxSettings {
    let unset = OutboxSettings::default();
    let Some(mut section) = Section::open(node, "outbox", findings) else { return unset };
    let bytes_max = section.bytes("max_bytes");
    if bytes_max == Some(0) {
        let place = section.place_of("max_bytes");
        section.problem(place, "`max_bytes` must be more than 0: the outbox has no use without");
    }
    let settings = OutboxSettings {
        bytes_max: bytes_max.unwrap_or(unset.bytes_max),
        age_max: section.duration("max_age").unwrap_or(unset.age_max),
        lanes: section.number("lanes", 1..=LANES_MAX).unwrap_or(unset.lanes),
        in_flight_max: section
            .number("max_in_flight", 1..=IN_FLIGHT_MAX)
            .unwrap_or(unset.in_flight_max),
        free_disk_bytes_min: section.bytes("min_free_disk").unwrap_or(unset.free_disk_bytes_min),
        when_full: section.word("when_full", &WHEN_FULL).unwrap_or(unset.when_full),
    };
    section.close();
    settings
}
