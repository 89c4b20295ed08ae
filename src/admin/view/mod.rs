//! All JSON that the API speaks, and nothing else does: each room has its shapes here, made of what the
//! parts publish. What is not known is `null`, and never left out.

mod discovery;
mod explain;
mod fleet;
mod history;
mod plan;
mod prometheus;
mod queues;
mod rounds;
mod targets;

use std::{collections::BTreeMap, time::Duration};

use actix_web::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    model::{
        hidden,
        labels::Labels,
        member::{MemberState, NodeId, Roster},
    },
    survey::Asked,
};

pub(super) use self::{
    discovery::{Providers, providers},
    explain::{Division, Explanation, explanation},
    fleet::{DrainState, FleetShown, fleet},
    history::{EventsOrFleet, Hello, TargetHistory, event, events, fleet_then, target_history},
    plan::{Plan, PlanShown, plan},
    prometheus::*,
    queues::{Queues, queues},
    rounds::{
        FleetConfigsShown, FleetQueuesShown, VerifiedShown, fleet_configs, fleet_queues, verified,
    },
    targets::{TargetList, Telling, dropped_list, target_list, target_row},
};

/// An error of one of Starling's own paths (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(super) struct Problem<'a> {
    /// `about:blank`: the title says what the status does.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    /// What was found, and what was expected.
    detail: &'a str,
}

impl<'a> Problem<'a> {
    pub(super) fn new(status: StatusCode, detail: &'a str) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { kind: "about:blank", title, status: status.as_u16(), detail }
    }
}

/// Values by names.
#[derive(Serialize, ToSchema)]
#[serde(transparent)]
struct LabelMap(BTreeMap<String, String>);

fn label_map(labels: &Labels) -> LabelMap {
    let shown = |(name, value): (&str, &str)| (name.to_owned(), hidden::value(name, value).into());
    LabelMap(labels.iter().map(shown).collect())
}

/// A member, by its id and by the name that people know.
#[derive(Clone, Serialize, ToSchema)]
pub(super) struct Node {
    /// `null` of one that is not there yet.
    id: Option<String>,
    name: String,
}

impl Node {
    pub(super) fn new(id: NodeId, name: &str) -> Self {
        Self { id: Some(id.to_string()), name: name.to_owned() }
    }

    /// By its id where nobody knows the name any more.
    fn of(id: NodeId, roster: &Roster) -> Self {
        Self { id: Some(id.to_string()), name: name_of(id, roster) }
    }
}

/// What became of asking a member.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = Asked)]
pub(super) struct AskedShown {
    id: String,
    name: String,
    answered: bool,
    /// Why it did not.
    error: Option<String>,
    took_seconds: f64,
}

fn asked(asked: &[Asked]) -> Vec<AskedShown> {
    asked.iter().map(asked_one).collect()
}

fn asked_one(asked: &Asked) -> AskedShown {
    AskedShown {
        id: asked.id.to_string(),
        name: asked.name.clone(),
        answered: asked.answered,
        error: asked.error.clone(),
        took_seconds: asked.took.as_secs_f64(),
    }
}

impl AskedShown {
    /// What is told of how long it took, taken out.
    pub(super) fn take_time(&mut self) -> f64 {
        std::mem::take(&mut self.took_seconds)
    }

    pub(super) fn set_time(&mut self, seconds: f64) {
        self.took_seconds = seconds;
    }
}

pub(super) fn name_of(id: NodeId, roster: &Roster) -> String {
    roster.members.get(&id).map_or_else(|| id.to_string(), |member| member.name.clone())
}

fn state_name(state: MemberState) -> &'static str {
    match state {
        MemberState::Alive => "alive",
        MemberState::Suspect => "suspect",
        MemberState::Left => "left",
        MemberState::Dead => "dead",
    }
}

fn seconds(ms: i64) -> f64 {
    Duration::from_millis(u64::try_from(ms).unwrap_or_default()).as_secs_f64()
}
