//! The API's answers, as far as they are shown. What a newer agent adds is passed over; what an
//! older one lacks is told by its name.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Node {
    /// `None`: it would join, or no cluster is configured.
    pub(super) id: Option<String>,
    pub(super) name: String,
}

/// How one member took a question to all.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) answered: bool,
    pub(super) error: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Fleet {
    pub(super) node: Here,
    pub(super) members: Vec<Member>,
    pub(super) division: Division,
    pub(super) hand_over: HandOver,
    pub(super) warnings: Vec<Warning>,
}

/// The member that answers.
#[derive(Debug, Deserialize)]
pub(super) struct Here {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) cluster: Option<String>,
    pub(super) standing: String,
    pub(super) drain: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Member {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) state: String,
    pub(super) api_address: String,
    pub(super) weight: u32,
    pub(super) zone: String,
    pub(super) slots: usize,
    pub(super) share: f64,
    pub(super) samples_per_second: Option<f64>,
    pub(super) config_digest: Option<String>,
    pub(super) targets_digest: Option<String>,
    pub(super) clock_ahead_ms: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Division {
    pub(super) on_hold: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct HandOver {
    pub(super) taking: usize,
    pub(super) giving: usize,
    pub(super) longest_wait_seconds: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Warning {
    pub(super) message: String,
    pub(super) since: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Targets {
    pub(super) items: Vec<Target>,
    pub(super) total: usize,
    pub(super) counts: Counts,
    pub(super) asked: Vec<Asked>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Counts {
    pub(super) up: usize,
    pub(super) down: usize,
    pub(super) unknown: usize,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Target {
    pub(super) id: String,
    pub(super) job: String,
    pub(super) url: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) divided: bool,
    pub(super) owner: Option<Node>,
    pub(super) others: Vec<Node>,
    pub(super) health: String,
    pub(super) last_scrape: Option<String>,
    pub(super) last_duration_seconds: Option<f64>,
    pub(super) last_error: Option<String>,
    pub(super) samples: Option<u64>,
    pub(super) last_move: Option<LastMove>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct LastMove {
    pub(super) at: String,
    pub(super) from: Option<Node>,
    pub(super) to: Option<Node>,
    pub(super) reason: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct DroppedTargets {
    pub(super) items: Vec<Dropped>,
    pub(super) total: usize,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Dropped {
    pub(super) id: String,
    pub(super) job: String,
    pub(super) discovered_labels: BTreeMap<String, String>,
    pub(super) error: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TargetRef {
    pub(super) id: String,
    pub(super) job: String,
    pub(super) url: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Verdict {
    pub(super) ok: bool,
    pub(super) targets: usize,
    pub(super) members: Vec<Judged>,
    pub(super) unowned: Vec<TargetRef>,
    pub(super) unowned_total: usize,
    pub(super) doubled: Vec<Doubled>,
    pub(super) doubled_total: usize,
    pub(super) disagreements: Vec<Disagreement>,
    pub(super) unanswered: Vec<Node>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Judged {
    pub(super) name: String,
    pub(super) answered: bool,
    pub(super) error: Option<String>,
    pub(super) scrapes: Option<usize>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Doubled {
    pub(super) target: TargetRef,
    pub(super) by: Vec<Node>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Disagreement {
    pub(super) kind: String,
    pub(super) node: Node,
    pub(super) detail: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Plan {
    pub(super) slots_moved: usize,
    pub(super) targets_moved: usize,
    pub(super) targets_total: usize,
    pub(super) samples_per_second_moved: Option<f64>,
    pub(super) members: Vec<Planned>,
    pub(super) moves: Vec<PlannedMoves>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) weight_before: Option<u32>,
    pub(super) weight_after: Option<u32>,
    pub(super) slots_before: usize,
    pub(super) slots_after: usize,
    pub(super) targets_before: usize,
    pub(super) targets_after: usize,
    pub(super) samples_per_second_before: Option<f64>,
    pub(super) samples_per_second_after: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PlannedMoves {
    /// `None`: nobody has them now.
    pub(super) from: Option<Node>,
    pub(super) to: Node,
    pub(super) slots: usize,
    pub(super) targets: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct Queues {
    pub(super) destinations: Vec<Queue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FleetQueues {
    pub(super) members: Vec<MemberQueues>,
    pub(super) asked: Vec<Asked>,
}

#[derive(Debug, Deserialize)]
pub(super) struct MemberQueues {
    pub(super) name: String,
    /// `None`: it did not answer.
    pub(super) destinations: Option<Vec<Queue>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) samples: u64,
    pub(super) oldest_age_seconds: Option<f64>,
    pub(super) sent_samples: u64,
    pub(super) dropped_samples: BTreeMap<String, u64>,
    pub(super) last_answer: Option<LastAnswer>,
    pub(super) disk: Disk,
    pub(super) lanes: Vec<Lane>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LastAnswer {
    pub(super) text: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Disk {
    pub(super) fault: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Lane {
    pub(super) state: String,
    pub(super) reason: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Explained {
    pub(super) id: String,
    pub(super) job: String,
    pub(super) outcome: String,
    pub(super) reason: String,
    pub(super) discovered_labels: BTreeMap<String, String>,
    pub(super) steps: Vec<Step>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) url: Option<String>,
    pub(super) divided: bool,
    pub(super) placement: Option<Placement>,
    pub(super) schedule: Option<Schedule>,
    pub(super) status: Option<Target>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Step {
    pub(super) number: usize,
    pub(super) rule: Rule,
    pub(super) before: BTreeMap<String, String>,
    pub(super) after: BTreeMap<String, String>,
    pub(super) kept: bool,
}

/// Only what the file says.
#[derive(Debug, Deserialize)]
pub(super) struct Rule {
    pub(super) action: Option<String>,
    pub(super) source_labels: Option<Vec<String>>,
    pub(super) separator: Option<String>,
    pub(super) regex: Option<String>,
    pub(super) modulus: Option<u64>,
    pub(super) target_label: Option<String>,
    pub(super) replacement: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Placement {
    pub(super) slot: u16,
    pub(super) would: bool,
    pub(super) ranking: Vec<Ranked>,
    pub(super) owner: Option<Node>,
    pub(super) overridden: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Ranked {
    pub(super) name: String,
    pub(super) weight: u32,
    pub(super) state: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Schedule {
    pub(super) interval_seconds: f64,
    pub(super) timeout_seconds: f64,
    pub(super) next_tick: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Events {
    pub(super) items: Vec<Event>,
    pub(super) next: Option<String>,
    pub(super) store: Store,
}

#[derive(Debug, Deserialize)]
pub(super) struct Event {
    pub(super) at: String,
    pub(super) kind: String,
    pub(super) summary: String,
}

/// The file that history is kept in.
#[derive(Debug, Deserialize)]
pub(super) struct Store {
    pub(super) fault: Option<String>,
    pub(super) bytes: u64,
    pub(super) oldest: Option<String>,
}

/// The fleet as it was at an instant.
#[derive(Debug, Deserialize)]
pub(super) struct Past {
    pub(super) at: String,
    pub(super) members: Vec<PastMember>,
    pub(super) items: Vec<PastTarget>,
    pub(super) total: Option<usize>,
    pub(super) store: Store,
}

#[derive(Debug, Deserialize)]
pub(super) struct PastMember {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) slots: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct PastTarget {
    pub(super) target: TargetRef,
    pub(super) owner: Option<Node>,
}

/// Who had one target, and how it fared.
#[derive(Debug, Deserialize)]
pub(super) struct Timeline {
    pub(super) target: TargetRef,
    pub(super) spans: Vec<Span>,
    pub(super) changes: Vec<Event>,
    pub(super) unwatched: Vec<Unwatched>,
    pub(super) asked: Vec<Asked>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Span {
    pub(super) owner: Option<Node>,
    pub(super) from: String,
    pub(super) until: Option<String>,
    pub(super) reason: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Unwatched {
    pub(super) from: String,
    pub(super) until: Option<String>,
}

/// Prometheus' envelope.
#[derive(Debug, Deserialize)]
pub(super) struct Success<T> {
    pub(super) data: T,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuntimeInfo {
    pub(super) start_time: String,
    pub(super) last_config_time: String,
    pub(super) reload_config_success: bool,
    pub(super) reload_config_error: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Drain {
    pub(super) state: String,
}
