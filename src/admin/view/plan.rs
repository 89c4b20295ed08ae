//! What would move, as JSON: what is asked, and what it would come to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    admin::view::Node,
    ownership::plan::{self, Change, Flow, Moved, Newcomer, Part, Planned},
};

/// Targets that are named; more are counted.
const TARGETS_MAX: usize = 100;

/// What would change. A member is named by its id or its name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Plan {
    #[serde(default)]
    join: Vec<Joining>,
    #[serde(default)]
    leave: Vec<String>,
    /// New weights by members.
    #[serde(default)]
    weights: BTreeMap<String, u32>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Joining {
    name: String,
    #[serde(default = "usual_weight")]
    #[schema(default = 100)]
    weight: u32,
}

fn usual_weight() -> u32 {
    100
}

impl Plan {
    pub(in crate::admin) fn change(self) -> Change {
        let join = self.join.into_iter();
        Change {
            join: join.map(|Joining { name, weight }| Newcomer { name, weight }).collect(),
            leave: self.leave,
            weights: self.weights,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct PlanShown {
    slots_moved: usize,
    targets_moved: usize,
    targets_total: usize,
    /// `null` where not all members have told how busy they are.
    samples_per_second_moved: Option<f64>,
    members: Vec<PlannedShown>,
    moves: Vec<FlowShown>,
    /// At most 100.
    targets: Vec<MovedShown>,
}

/// `null` before is one that would join, `null` after one that would leave.
#[derive(Serialize, ToSchema)]
struct PlannedShown {
    id: Option<String>,
    name: String,
    weight_before: Option<u32>,
    weight_after: Option<u32>,
    slots_before: usize,
    slots_after: usize,
    targets_before: usize,
    targets_after: usize,
    samples_per_second_before: Option<f64>,
    samples_per_second_after: Option<f64>,
}

#[derive(Serialize, ToSchema)]
struct FlowShown {
    /// `null`: nobody had it.
    from: Option<Node>,
    to: Node,
    slots: usize,
    targets: usize,
}

#[derive(Serialize, ToSchema)]
struct MovedShown {
    target: MovedTarget,
    from: Option<Node>,
    to: Node,
}

#[derive(Serialize, ToSchema)]
struct MovedTarget {
    id: String,
    job: String,
    url: String,
}

pub(in crate::admin) fn plan(plan: &plan::Plan) -> PlanShown {
    PlanShown {
        slots_moved: plan.slots_moved,
        targets_moved: plan.targets_moved,
        targets_total: plan.targets_total,
        samples_per_second_moved: plan.samples_per_second_moved,
        members: plan.members.iter().map(planned).collect(),
        moves: plan.moves.iter().map(flow).collect(),
        targets: plan.targets.iter().take(TARGETS_MAX).map(moved).collect(),
    }
}

fn planned(planned: &Planned) -> PlannedShown {
    let Planned { node, weight_before, weight_after, before, after } = planned;
    let Part { slots, targets, samples_per_second } = *before;
    PlannedShown {
        id: node.id.map(|id| id.to_string()),
        name: node.name.clone(),
        weight_before: *weight_before,
        weight_after: *weight_after,
        slots_before: slots,
        slots_after: after.slots,
        targets_before: targets,
        targets_after: after.targets,
        samples_per_second_before: samples_per_second,
        samples_per_second_after: after.samples_per_second,
    }
}

fn flow(flow: &Flow) -> FlowShown {
    FlowShown {
        from: flow.from.as_ref().map(node),
        to: node(&flow.to),
        slots: flow.slots,
        targets: flow.targets,
    }
}

fn moved(moved: &Moved) -> MovedShown {
    let target = &moved.target;
    MovedShown {
        target: MovedTarget {
            id: target.id.to_string(),
            job: target.job.to_string(),
            url: target.shown_url().into_owned(),
        },
        from: moved.from.as_ref().map(node),
        to: node(&moved.to),
    }
}

fn node(node: &plan::Node) -> Node {
    Node { id: node.id.map(|id| id.to_string()), name: node.name.clone() }
}
