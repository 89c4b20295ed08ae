//! Ownership in numbers, for `/metrics`.

use std::sync::atomic::AtomicU64;

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

use crate::{
    model::member::NodeId,
    ownership::{moves::Why, view::View},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    by: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

type Ratio = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug)]
pub struct Meters {
    slots: Gauge,
    samples_per_second: Ratio,
    imbalance: Family<By, Ratio>,
    moves: Family<OfReason, Counter>,
    on_hold: Gauge,
    quorum_base: Gauge,
    quorum_here: Gauge,
    overrides: Gauge,
    overridden: Gauge,
    override_conflicts: Counter,
    gap: Histogram,
    fence_late: Counter,
    fence_lateness: Histogram,
    lines: Family<Direction, Gauge>,
    refused_lines: Gauge,
    longest_wait: Ratio,
    handed_over: Histogram,
}

impl Meters {
    pub fn new(registry: &mut Registry) -> Self {
        let meters = Self {
            slots: Gauge::default(),
            samples_per_second: Ratio::default(),
            imbalance: Family::default(),
            moves: Family::default(),
            on_hold: Gauge::default(),
            quorum_base: Gauge::default(),
            quorum_here: Gauge::default(),
            overrides: Gauge::default(),
            overridden: Gauge::default(),
            override_conflicts: Counter::default(),
            gap: seconds(),
            fence_late: Counter::default(),
            fence_lateness: seconds(),
            lines: Family::default(),
            refused_lines: Gauge::default(),
            longest_wait: Ratio::default(),
            handed_over: seconds(),
        };
        for why in Why::ALL {
            meters.moved(why, 0);
        }
        for direction in ["in", "out"] {
            meters.lines.get_or_create(&Direction { direction }).set(0);
        }
        meters.register_division(registry.sub_registry_with_prefix("starling_ownership"));
        meters.register_hand_over(registry.sub_registry_with_prefix("starling"));
        meters
    }

    /// So many slots have changed owners, whoever these are.
    pub fn moved(&self, why: Why, slots: usize) {
        self.moves.get_or_create(&OfReason { reason: why.name() }).inc_by(slots as u64);
    }

    /// News of a change came so long after its instant.
    pub fn fence_late(&self, late_ms: i64) {
        self.fence_late.inc();
        self.fence_lateness.observe(in_seconds(late_ms));
    }

    /// A line was given to the end, or opened, so long after its slot changed owners.
    pub fn handed_over(&self, seconds: f64) {
        self.handed_over.observe(seconds);
    }

    /// A target that moved here was scraped so long after its last scrape there, or at the longest.
    pub fn gap(&self, seconds: f64) {
        self.gap.observe(seconds);
    }

    pub fn set(&self, view: &View, me: NodeId) {
        let mine = view.shares.get(&me);
        self.slots.set(count(mine.map_or(0, |share| share.slots)));
        let busy = mine.and_then(|share| share.samples_per_second);
        self.samples_per_second.set(busy.unwrap_or(0.0));
        let by_slots = Some(view.imbalance.by_slots);
        for (by, value) in [("slots", by_slots), ("samples", view.imbalance.by_samples)] {
            match value {
                Some(value) => {
                    self.imbalance.get_or_create(&By { by }).set(value);
                }
                // A number that is not known is not shown as one.
                None => {
                    self.imbalance.remove(&By { by });
                }
            }
        }
        self.on_hold.set(i64::from(view.on_hold));
        self.quorum_base.set(count(view.quorum.as_ref().map_or(0, |quorum| quorum.base.len())));
        self.quorum_here.set(count(view.quorum.as_ref().map_or(0, |quorum| quorum.here)));
        let version = view.overrides.map_or(0, |stamp| stamp.version);
        self.overrides.set(i64::try_from(version).unwrap_or(i64::MAX));
        self.overridden.set(count(view.overridden));
        let counted = self.override_conflicts.get();
        self.override_conflicts.inc_by(view.override_conflicts.saturating_sub(counted));
        let hand_over = &view.hand_over;
        for (direction, lines) in [("in", hand_over.taking), ("out", hand_over.giving)] {
            self.lines.get_or_create(&Direction { direction }).set(count(lines));
        }
        let unnamed = i64::try_from(hand_over.refused_unnamed).unwrap_or(i64::MAX);
        self.refused_lines.set(count(hand_over.refused.len()).saturating_add(unnamed));
        self.longest_wait.set(hand_over.longest_wait_ms.map_or(0.0, in_seconds));
    }

    fn register_division(&self, registry: &mut Registry) {
        registry.register("slots", "Slots that this member owns, of 4096", self.slots.clone());
        registry.register(
            "samples_per_second",
            "What the slots of this member bring, where it is known; else 0",
            self.samples_per_second.clone(),
        );
        registry.register(
            "imbalance_ratio",
            "What the hottest member has, as a multiple of its fair share",
            self.imbalance.clone(),
        );
        registry.register(
            "slot_moves",
            "Slots that changed owners, by reason, as this member heard of it",
            self.moves.clone(),
        );
        registry.register(
            "on_hold",
            "Whether this member scrapes and sends nothing that is divided",
            self.on_hold.clone(),
        );
        registry.register(
            "quorum_base_members",
            "Members that a majority is counted over; 0 unless a minority is to stop",
            self.quorum_base.clone(),
        );
        registry.register(
            "quorum_present_members",
            "Members of the base that are on this side",
            self.quorum_here.clone(),
        );
        registry.register(
            "override_version",
            "Version of the map of slots that were moved to even out the load; 0 without one",
            self.overrides.clone(),
        );
        registry.register(
            "overridden_slots",
            "Slots that the map names; those of members that are not active do not count",
            self.overridden.clone(),
        );
        registry.register(
            "override_conflicts",
            "How often two maps met of which neither followed the other, as after a split",
            self.override_conflicts.clone(),
        );
        registry.register(
            "gap_seconds",
            "From a moved target's last scrape by its old owner to its first one here; where that one \
             died, the longest that it can have been, once a slot",
            self.gap.clone(),
        );
    }

    fn register_hand_over(&self, registry: &mut Registry) {
        registry.register(
            "fence_late",
            "News of a change of owners that came after its instant",
            self.fence_late.clone(),
        );
        registry.register(
            "fence_lateness_seconds",
            "How long after its instant such news came",
            self.fence_lateness.clone(),
        );
        registry.register(
            "handover_lines",
            "Slots by destination that are being handed over, to this member and from it",
            self.lines.clone(),
        );
        registry.register(
            "handover_refused_lines",
            "Those of them that stay here because the new owner does not take them",
            self.refused_lines.clone(),
        );
        registry.register(
            "handover_longest_wait_seconds",
            "How long the one that waits longest has waited",
            self.longest_wait.clone(),
        );
        registry.register(
            "handover_duration_seconds",
            "From the change of owners until all was given, or could be sent",
            self.handed_over.clone(),
        );
    }
}

/// 10 ms to 5.5 minutes.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 2.0, 16))
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn in_seconds(ms: i64) -> f64 {
    std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::overrides::Stamp,
        ownership::view::{HandOver, Imbalance, Quorum, Share},
        runtime::meters::Exposition,
    };

    const ME: NodeId = NodeId(1);

    fn check(act: impl FnOnce(&Meters), expected: &[&str], absent: &[&str]) {
        let mut registry = Registry::default();
        act(&Meters::new(&mut registry));
        let text = Exposition::Text.encode(&registry).unwrap();
        for line in expected {
            assert!(text.lines().any(|found| found == *line), "{line} in {text}");
        }
        for part in absent {
            assert!(!text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn all_is_there_from_the_start() {
        check(
            |_| {},
            &[
                "starling_ownership_slot_moves_total{reason=\"start\"} 0",
                "starling_ownership_slot_moves_total{reason=\"join\"} 0",
                "starling_ownership_slot_moves_total{reason=\"leave\"} 0",
                "starling_ownership_slot_moves_total{reason=\"death\"} 0",
                "starling_ownership_slot_moves_total{reason=\"balance\"} 0",
                "starling_ownership_slot_moves_total{reason=\"weight\"} 0",
                "starling_fence_late_total 0",
                "starling_handover_lines{direction=\"in\"} 0",
                "starling_handover_lines{direction=\"out\"} 0",
            ],
            &[],
        );
    }

    #[test]
    fn what_happens_is_counted() {
        check(
            |meters| {
                meters.moved(Why::Join, 3);
                meters.moved(Why::Join, 4);
                meters.fence_late(250);
                meters.handed_over(0.5);
                meters.gap(5.0);
            },
            &[
                "starling_ownership_slot_moves_total{reason=\"join\"} 7",
                "starling_fence_late_total 1",
                "starling_fence_lateness_seconds_sum 0.25",
                "starling_handover_duration_seconds_sum 0.5",
                "starling_ownership_gap_seconds_count 1",
            ],
            &[],
        );
    }

    #[test]
    fn a_view_is_shown_and_what_is_unknown_is_not() {
        let share = Share { slots: 2000, part: 0.5, samples_per_second: Some(12.5) };
        let view = View {
            shares: [(ME, share)].into(),
            imbalance: Imbalance { by_slots: 1.5, by_samples: Some(2.5) },
            hand_over: HandOver {
                taking: 3,
                giving: 4,
                longest_wait_ms: Some(1500),
                refused_unnamed: 7,
                ..HandOver::default()
            },
            on_hold: true,
            quorum: Some(Quorum { base: vec![ME, NodeId(2)], here: 1, holds: true }),
            overrides: Some(Stamp { version: 9, publisher: ME }),
            overridden: 12,
            override_conflicts: 2,
            ..View::default()
        };
        check(
            |meters| meters.set(&view, ME),
            &[
                "starling_ownership_slots 2000",
                "starling_ownership_samples_per_second 12.5",
                "starling_ownership_imbalance_ratio{by=\"slots\"} 1.5",
                "starling_ownership_imbalance_ratio{by=\"samples\"} 2.5",
                "starling_ownership_on_hold 1",
                "starling_ownership_quorum_base_members 2",
                "starling_ownership_quorum_present_members 1",
                "starling_ownership_override_version 9",
                "starling_ownership_overridden_slots 12",
                "starling_ownership_override_conflicts_total 2",
                "starling_handover_lines{direction=\"in\"} 3",
                "starling_handover_lines{direction=\"out\"} 4",
                "starling_handover_refused_lines 7",
                "starling_handover_longest_wait_seconds 1.5",
            ],
            &[],
        );
        check(
            |meters| {
                meters.set(&view, ME);
                meters.set(&View::default(), ME);
            },
            &["starling_ownership_slots 0", "starling_ownership_quorum_base_members 0"],
            &["by=\"samples\""],
        );
    }
}
