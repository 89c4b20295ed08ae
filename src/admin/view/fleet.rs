//! The fleet as JSON: who is here, what each has, what is being handed over, what needs a look.
//! All of it as this member knows it; it asks nobody.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    admin::{
        FleetSources, Window,
        view::{name_of, seconds, state_name},
    },
    fleet::{Facts, Status, notice::Raised, standing::Standing},
    model::{
        member::{Interval, Member, MemberState, NodeId, Roster},
        slot::SLOTS,
        time::rfc3339,
    },
    ownership::view::{Drain, HandOver, Quorum, Share, Spans, View},
};

#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct FleetShown {
    /// The one that answers.
    node: NodeShown,
    /// All that are known, of the last day's dead also; in order of their ids.
    members: Vec<MemberShown>,
    division: DivisionShown,
    hand_over: HandOverShown,
    warnings: Vec<Warning>,
}

#[derive(Serialize, ToSchema)]
struct NodeShown {
    /// `null` where no cluster is configured, as is `cluster`.
    id: Option<String>,
    name: String,
    cluster: Option<String>,
    standing: &'static str,
    /// From when on it is active, or until when, in fleet time; it may lie ahead.
    standing_at: Option<String>,
    /// `working`, or told to give up its share and stay: `draining`, then `drained`.
    drain: &'static str,
    /// What this node takes for the time of the fleet, and how far that is ahead of its clock.
    fleet_time: String,
    fleet_offset_ms: i64,
}

#[derive(Serialize, ToSchema)]
struct MemberShown {
    id: Option<String>,
    name: String,
    state: &'static str,
    api_address: String,
    /// `null` where nothing was heard of it yet.
    cluster_address: Option<String>,
    weight: u32,
    zone: String,
    /// When it takes its share, in fleet time; the last four.
    intervals: Vec<IntervalShown>,
    slots: usize,
    /// Of all slots.
    share: f64,
    /// `null` where it is not known.
    samples_per_second: Option<f64>,
    /// Members whose digests are equal run the same config, and see the same targets; `null` where
    /// one is not known.
    config_digest: Option<String>,
    targets_digest: Option<String>,
    /// How far its clock is ahead of this node's, where that was measured.
    clock_ahead_ms: Option<i64>,
    /// Greater after each restart.
    generation: Option<u64>,
}

#[derive(Serialize, ToSchema)]
struct IntervalShown {
    from: String,
    /// `null` while it means to stay.
    until: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct DivisionShown {
    slots: u16,
    imbalance: ImbalanceShown,
    /// Slots that changed owners since this process started, by reason.
    moves: BTreeMap<&'static str, u64>,
    late_fences: u64,
    /// Between the last scrape of a target by its old owner and the first one here.
    gap_seconds: SpansShown,
    on_hold: bool,
    /// `null` unless `on_partition` is `minority_stops`.
    quorum: Option<QuorumShown>,
    /// `null` where no slot was moved to even out the load.
    overrides: Option<OverridesShown>,
}

/// The hottest member's part as a multiple of its fair share.
#[derive(Serialize, ToSchema)]
struct ImbalanceShown {
    slots: f64,
    samples: Option<f64>,
}

/// What became of an order to drain.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct DrainState {
    /// As `drain` of the node in `/api/v1/fleet`.
    state: &'static str,
}

impl DrainState {
    pub(in crate::admin) fn of(drain: Drain) -> Self {
        Self { state: drain.name() }
    }
}

/// Of the last 256.
#[derive(Serialize, ToSchema)]
struct SpansShown {
    last: Option<f64>,
    longest: Option<f64>,
}

#[derive(Serialize, ToSchema)]
struct QuorumShown {
    holds: bool,
    here: usize,
    base: Vec<BaseMember>,
}

#[derive(Serialize, ToSchema)]
struct BaseMember {
    id: String,
    name: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct OverridesShown {
    version: u64,
    publisher: String,
    slots: usize,
    conflicts: u64,
}

/// Counted are lines: what one slot has for one destination.
#[derive(Serialize, ToSchema)]
struct HandOverShown {
    taking: usize,
    giving: usize,
    longest_wait_seconds: Option<f64>,
    took_seconds: SpansShown,
    refused: Vec<RefusedShown>,
    refused_unnamed: u64,
}

#[derive(Serialize, ToSchema)]
struct RefusedShown {
    slot: u16,
    destination: String,
    by: String,
    records: usize,
    reason: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Warning {
    kind: &'static str,
    /// A sentence that says what to do.
    message: String,
    since: String,
}

pub(in crate::admin) fn fleet(window: &Window, now_ms: i64) -> FleetShown {
    let sources = &window.sources.fleet;
    let Some(cluster) = &sources.cluster else { return alone(window, now_ms) };
    let (roster, status, ownership) = (
        sources.roster.borrow().clone(),
        sources.status.borrow().clone(),
        sources.ownership.borrow().clone(),
    );
    let members = roster.members.values();
    FleetShown {
        node: node(sources, cluster, &status, ownership.drain, now_ms),
        members: members
            .map(|one| member(one, status.facts.get(&one.id), ownership.shares.get(&one.id)))
            .collect(),
        division: division(&ownership, &roster),
        hand_over: hand_over(&ownership.hand_over, &roster),
        warnings: status.notices.iter().map(warning).collect(),
    }
}

/// Without a cluster, the agent is a fleet of one.
fn alone(window: &Window, now_ms: i64) -> FleetShown {
    let node = NodeShown {
        id: None,
        name: window.hostname.clone(),
        cluster: None,
        standing: "alone",
        standing_at: Some(rfc3339(window.sources.started_ms)),
        drain: Drain::Working.name(),
        fleet_time: rfc3339(now_ms),
        fleet_offset_ms: 0,
    };
    let member = MemberShown {
        id: None,
        name: window.hostname.clone(),
        state: state_name(MemberState::Alive),
        api_address: window.api_address.clone(),
        cluster_address: None,
        weight: 100,
        zone: String::new(),
        intervals: vec![IntervalShown { from: rfc3339(window.sources.started_ms), until: None }],
        slots: usize::from(SLOTS),
        share: 1.0,
        samples_per_second: None,
        config_digest: None,
        targets_digest: None,
        clock_ahead_ms: None,
        generation: None,
    };
    let (view, nobody) = (View::default(), Roster::default());
    FleetShown {
        node,
        members: vec![member],
        division: division(&view, &nobody),
        hand_over: hand_over(&view.hand_over, &nobody),
        warnings: Vec::new(),
    }
}

fn node(
    sources: &FleetSources,
    cluster: &str,
    status: &Status,
    drain: Drain,
    now_ms: i64,
) -> NodeShown {
    let (standing, at_ms) = match status.standing {
        Standing::Seeking => ("seeking", None),
        Standing::Waiting => ("waiting", None),
        Standing::Active { from_ms } => ("active", Some(from_ms)),
        Standing::Holding => ("holding", None),
        Standing::Refused => ("refused", None),
        Standing::Leaving { until_ms } => ("leaving", Some(until_ms)),
        Standing::Gone => ("gone", None),
    };
    NodeShown {
        id: Some(sources.me.to_string()),
        name: sources.name.clone(),
        cluster: Some(cluster.to_owned()),
        standing,
        standing_at: at_ms.map(rfc3339),
        drain: drain.name(),
        fleet_time: rfc3339(now_ms.saturating_add(status.fleet_offset_ms)),
        fleet_offset_ms: status.fleet_offset_ms,
    }
}

fn member(member: &Member, facts: Option<&Facts>, share: Option<&Share>) -> MemberShown {
    let known = |digest: u64| (digest != 0).then(|| format!("{digest:016x}"));
    MemberShown {
        id: Some(member.id.to_string()),
        name: member.name.clone(),
        state: state_name(member.state),
        api_address: member.api_address.clone(),
        cluster_address: facts.map(|facts| facts.address.to_string()),
        weight: member.weight,
        zone: member.zone.clone(),
        intervals: member.intervals.iter().map(interval).collect(),
        slots: share.map_or(0, |share| share.slots),
        share: share.map_or(0.0, |share| share.part),
        samples_per_second: share.and_then(|share| share.samples_per_second),
        config_digest: facts.and_then(|facts| known(facts.config_digest)),
        targets_digest: facts.and_then(|facts| known(facts.targets_digest)),
        clock_ahead_ms: facts.and_then(|facts| facts.clock_ahead_ms),
        generation: facts.map(|facts| facts.generation),
    }
}

fn interval(interval: &Interval) -> IntervalShown {
    IntervalShown { from: rfc3339(interval.from_ms), until: interval.until_ms.map(rfc3339) }
}

fn division(view: &View, roster: &Roster) -> DivisionShown {
    DivisionShown {
        slots: SLOTS,
        imbalance: ImbalanceShown {
            slots: view.imbalance.by_slots,
            samples: view.imbalance.by_samples,
        },
        moves: view.moves.clone(),
        late_fences: view.late_fences,
        gap_seconds: spans(&view.gaps),
        on_hold: view.on_hold,
        quorum: view.quorum.as_ref().map(|one| quorum(one, roster)),
        overrides: view.overrides.map(|stamp| OverridesShown {
            version: stamp.version,
            slots: view.overridden,
            conflicts: view.override_conflicts,
            publisher: name_of(stamp.publisher, roster),
        }),
    }
}

fn quorum(quorum: &Quorum, roster: &Roster) -> QuorumShown {
    let base = |id: &NodeId| BaseMember {
        id: id.to_string(),
        name: roster.members.get(id).map(|member| member.name.clone()),
    };
    QuorumShown {
        holds: quorum.holds,
        here: quorum.here,
        base: quorum.base.iter().map(base).collect(),
    }
}

fn hand_over(view: &HandOver, roster: &Roster) -> HandOverShown {
    let refused = view.refused.iter().map(|refused| RefusedShown {
        slot: refused.line.slot.number(),
        destination: refused.line.destination.to_string(),
        by: name_of(refused.by, roster),
        records: refused.records,
        reason: refused.why.name(),
    });
    HandOverShown {
        taking: view.taking,
        giving: view.giving,
        longest_wait_seconds: view.longest_wait_ms.map(seconds),
        took_seconds: spans(&view.took),
        refused: refused.collect(),
        refused_unnamed: view.refused_unnamed,
    }
}

fn spans(spans: &Spans) -> SpansShown {
    SpansShown { last: spans.last_ms().map(seconds), longest: spans.longest_ms().map(seconds) }
}

fn warning(raised: &Raised) -> Warning {
    Warning {
        kind: raised.notice.kind(),
        message: raised.notice.to_string(),
        since: rfc3339(raised.since_ms),
    }
}
