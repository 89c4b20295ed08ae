//! Why a target is what it is, as JSON: each relabel step, who scrapes it by which rule, and when.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    admin::view::{LabelMap, Node, label_map, seconds, state_name, targets::TargetRow},
    config::Job,
    discovery::resolve::{self, Explained},
    model::{
        hidden,
        labels::Labels,
        member::{NodeId, Roster},
        overrides::Overrides,
        relabel::{RuleSpec, Traced},
        target::{Target, TargetId},
        time::rfc3339,
    },
    ownership::{key::stream_key, placement},
    scrape::schedule::Grid,
};

#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Explanation {
    id: String,
    job: String,
    /// `kept`, `dropped` (by a rule) or `invalid` (it can't be scraped).
    outcome: &'static str,
    /// A sentence.
    reason: String,
    discovered_labels: LabelMap,
    steps: Vec<Step>,
    /// Of its samples. Of one that was dropped: all, before the rule that dropped it.
    labels: Option<LabelMap>,
    url: Option<String>,
    /// Whether the members divide the targets of this job.
    divided: bool,
    /// `null` where they do not.
    placement: Option<Placement>,
    /// `null` where it is not scraped.
    schedule: Option<Schedule>,
    /// As the fleet sees it; `null` where nobody says.
    status: Option<TargetRow>,
}

#[derive(Serialize, ToSchema)]
struct Step {
    /// From 1 on.
    number: usize,
    rule: Rule,
    before: LabelMap,
    after: LabelMap,
    /// `false`: this rule dropped it.
    kept: bool,
}

/// As it was typed; what was not said has its default.
#[derive(Serialize, ToSchema)]
struct Rule {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_labels: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    separator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    regex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modulus: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replacement: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Placement {
    slot: u16,
    /// What the division hangs on; its top twelve bits are the slot.
    key: String,
    /// It was dropped: this is where it would go.
    would: bool,
    /// All that could have it, the best first.
    ranking: Vec<Ranked>,
    owner: Option<Node>,
    /// The owner is another than the ranking says, to even out the load.
    overridden: bool,
}

#[derive(Serialize, ToSchema)]
struct Ranked {
    id: String,
    name: String,
    weight: u32,
    state: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Schedule {
    interval_seconds: f64,
    timeout_seconds: f64,
    /// How long after each multiple of the interval since the Unix epoch it is due.
    phase_seconds: f64,
    next_tick: String,
}

/// What the fleet goes by at one instant of its time.
pub(in crate::admin) struct Division<'a> {
    pub(in crate::admin) roster: &'a Roster,
    pub(in crate::admin) overrides: &'a Overrides,
    pub(in crate::admin) now_ms: i64,
}

pub(in crate::admin) fn explanation(
    id: TargetId,
    job: &Job,
    discovered: &Labels,
    division: &Division<'_>,
    status: Option<TargetRow>,
) -> Explanation {
    let explained = resolve::explain(job, discovered.clone());
    let target = explained.outcome.as_ref().ok();
    let placed = target.or(explained.otherwise.as_ref()).filter(|_| job.clustering.enabled);
    let labels = target.map_or_else(|| explained.labels.clone(), Target::public_labels);
    let (outcome, reason) = judged(&explained);
    Explanation {
        id: id.to_string(),
        job: job.job_name.to_string(),
        outcome,
        reason,
        discovered_labels: label_map(discovered),
        steps: steps(discovered, &explained.steps),
        labels: Some(label_map(&labels)),
        url: target.or(explained.otherwise.as_ref()).map(|target| target.shown_url().into_owned()),
        divided: job.clustering.enabled,
        placement: placed.map(|one| placement(one, job, target.is_none(), division)),
        schedule: target.map(|target| schedule(target, job, division.now_ms)),
        status,
    }
}

fn judged(explained: &Explained<'_>) -> (&'static str, String) {
    let number = explained.steps.len();
    let error = match &explained.outcome {
        Ok(_) if number == 0 => return ("kept", "its job has no rules".to_owned()),
        Ok(_) => return ("kept", format!("all rules of its job keep it; there are {number}")),
        Err(dropped) => &dropped.error,
    };
    if let Some(error) = error {
        return ("invalid", format!("it can't be scraped: {error}"));
    }
    let action = explained.steps.last().map_or("", |step| action(step.rule.spec()));
    ("dropped", format!("rule {number} (`{action}`) drops it"))
}

fn steps(discovered: &Labels, traced: &[Traced<'_>]) -> Vec<Step> {
    let befores = std::iter::once(discovered).chain(traced.iter().map(|step| &step.labels));
    let step = |(at, (before, step)): (usize, (&Labels, &Traced<'_>))| Step {
        number: at + 1,
        rule: rule(step.rule.spec()),
        before: label_map(before),
        after: label_map(&step.labels),
        kept: step.kept,
    };
    befores.zip(traced).enumerate().map(step).collect()
}

fn rule(spec: &RuleSpec) -> Rule {
    Rule {
        action: action(spec),
        source_labels: spec.source_labels.clone(),
        separator: spec.separator.clone(),
        regex: spec.regex.clone(),
        modulus: spec.modulus,
        target_label: spec.target_label.clone(),
        replacement: hidden::replacement(spec).map(Into::into),
    }
}

fn action(spec: &RuleSpec) -> &'static str {
    spec.action.unwrap_or_default().name()
}

fn placement(target: &Target, job: &Job, would: bool, division: &Division<'_>) -> Placement {
    let Division { roster, overrides, now_ms } = *division;
    let key = stream_key(target, &job.clustering);
    let slot = key.slot();
    let ranking = placement::ranking(slot, now_ms, roster);
    let owner = placement::owner(slot, now_ms, roster, overrides);
    let ranked = |id: &NodeId| {
        let member = roster.members.get(id)?;
        let (name, state) = (member.name.clone(), state_name(member.state));
        Some(Ranked { id: id.to_string(), name, weight: member.weight, state })
    };
    Placement {
        slot: slot.number(),
        key: format!("{:016x}", key.0),
        would,
        ranking: ranking.iter().filter_map(ranked).collect(),
        owner: owner.map(|id| Node::of(id, roster)),
        overridden: owner != ranking.first().copied(),
    }
}

fn schedule(target: &Target, job: &Job, now_ms: i64) -> Schedule {
    let key = stream_key(target, &job.clustering);
    let grid = Grid::keyed(target, key);
    Schedule {
        interval_seconds: target.interval.as_secs_f64(),
        timeout_seconds: target.timeout.as_secs_f64(),
        phase_seconds: seconds(grid.phase_ms()),
        next_tick: rfc3339(grid.first_after(now_ms)),
    }
}
