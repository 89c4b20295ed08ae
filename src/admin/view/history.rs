//! What has been, as JSON: events, who had what, and what this member did not see.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    admin::view::{AskedShown, Node, asked},
    history::{
        Event, EventPage, MemberAt, NodeRef, Span, StateAt, StoreState, TargetPast, TargetRef,
    },
    model::time::rfc3339,
    survey::Asked,
};

/// One thing that happened.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct EventShown {
    /// Of one that is kept; `null` of one that is told as it happens.
    id: Option<i64>,
    at: String,
    /// `member`, `moves`, `target`, `health`, `config`, `placement`, `notice` or `drop`.
    kind: &'static str,
    /// One line.
    summary: String,
    /// Whom it is about.
    node: Option<Node>,
    reason: Option<String>,
    from: Option<Node>,
    to: Option<Node>,
    slots: Option<u64>,
    targets: Option<u64>,
    target: Option<TargetNamed>,
    error: Option<String>,
}

/// A target, by what people know it by.
#[derive(Serialize, ToSchema)]
#[schema(as = TargetRef)]
pub(in crate::admin) struct TargetNamed {
    id: String,
    job: String,
    url: String,
}

/// How the file of the history fares.
#[derive(Serialize, ToSchema)]
struct StoreShown {
    /// `null`: it works.
    fault: Option<String>,
    bytes: u64,
    /// When the oldest that is kept happened.
    oldest: Option<String>,
}

/// What happened, the newest first.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Events {
    items: Vec<EventShown>,
    /// `null`: nobody has counted.
    total: Option<u64>,
    next: Option<String>,
    store: StoreShown,
}

/// What `/api/v1/history` answers: with `at` the fleet as it was, else what happened.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(in crate::admin) enum EventsOrFleet {
    Events(Events),
    FleetThen(FleetThen),
}

/// The fleet as it was at an instant.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct FleetThen {
    at: String,
    members: Vec<MemberThen>,
    items: Vec<OwnerThen>,
    /// `null`: nobody has counted.
    total: Option<u64>,
    next: Option<String>,
    store: StoreShown,
}

#[derive(Serialize, ToSchema)]
struct MemberThen {
    id: String,
    name: String,
    /// `null` where it is not known for then.
    state: Option<String>,
    slots: u64,
}

#[derive(Serialize, ToSchema)]
struct OwnerThen {
    target: TargetNamed,
    owner: Option<Node>,
}

/// What became of one target.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct TargetHistory {
    target: TargetNamed,
    /// Who had it, the oldest first. Of a target that is not divided the owners are unknown.
    spans: Vec<SpanShown>,
    /// The newest first.
    changes: Vec<EventShown>,
    /// When nobody whose history is here was looking.
    unwatched: Vec<Unwatched>,
    /// Who was asked for changes of its health.
    asked: Vec<AskedShown>,
}

#[derive(Serialize, ToSchema)]
struct SpanShown {
    owner: Option<Node>,
    from: String,
    /// `null`: until now.
    until: Option<String>,
    /// Why it began.
    reason: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Unwatched {
    from: String,
    until: String,
}

/// The first word to who listens to events.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Hello {
    pub(in crate::admin) node: Node,
    pub(in crate::admin) at: String,
}

pub(in crate::admin) fn events(
    page: &EventPage,
    next: Option<String>,
    store: &StoreState,
) -> EventsOrFleet {
    let items = page.items.iter().map(event).collect();
    EventsOrFleet::Events(Events { items, total: None, next, store: store_shown(store) })
}

pub(in crate::admin) fn fleet_then(
    state: &StateAt,
    next: Option<String>,
    store: &StoreState,
) -> EventsOrFleet {
    let member = |one: &MemberAt| MemberThen {
        id: one.node.id.to_string(),
        name: named(&one.node),
        state: one.state.clone(),
        slots: one.slots,
    };
    let item = |(target, owner): &(TargetRef, Option<NodeRef>)| OwnerThen {
        target: target_named(target),
        owner: owner.as_ref().map(node),
    };
    EventsOrFleet::FleetThen(FleetThen {
        at: rfc3339(state.at_ms),
        members: state.members.iter().map(member).collect(),
        items: state.items.iter().map(item).collect(),
        total: state.total,
        next,
        store: store_shown(store),
    })
}

pub(in crate::admin) fn target_history(
    past: &TargetPast,
    changes: &[Event],
    unwatched: &[(i64, i64)],
    told: &[Asked],
) -> TargetHistory {
    let span = |span: &Span| SpanShown {
        owner: span.owner.as_ref().map(node),
        from: rfc3339(span.from_ms),
        until: span.until_ms.map(rfc3339),
        reason: span.reason.name(),
    };
    let gap =
        |(from, until): &(i64, i64)| Unwatched { from: rfc3339(*from), until: rfc3339(*until) };
    TargetHistory {
        target: target_named(&past.target),
        spans: past.spans.iter().map(span).collect(),
        changes: changes.iter().map(event).collect(),
        unwatched: unwatched.iter().map(gap).collect(),
        asked: asked(told),
    }
}

pub(in crate::admin) fn event(event: &Event) -> EventShown {
    EventShown {
        id: event.id,
        at: rfc3339(event.at_ms),
        kind: event.kind.name(),
        summary: event.summary.clone(),
        node: event.node.as_ref().map(node),
        reason: event.reason.as_deref().map(str::to_owned),
        from: event.from.as_ref().map(node),
        to: event.to.as_ref().map(node),
        slots: event.slots,
        targets: event.targets,
        target: event.target.as_ref().map(target_named),
        error: event.error.clone(),
    }
}

fn target_named(target: &TargetRef) -> TargetNamed {
    TargetNamed { id: target.id.to_string(), job: target.job.to_string(), url: target.url.clone() }
}

fn node(node: &NodeRef) -> Node {
    Node { id: Some(node.id.to_string()), name: named(node) }
}

/// By its id where no name is known.
fn named(node: &NodeRef) -> String {
    if node.name.is_empty() { node.id.to_string() } else { node.name.clone() }
}

fn store_shown(store: &StoreState) -> StoreShown {
    StoreShown {
        fault: store.fault.clone(),
        bytes: store.bytes,
        oldest: store.oldest_ms.map(rfc3339),
    }
}
