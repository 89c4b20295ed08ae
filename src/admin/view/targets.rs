//! The targets of the whole fleet as JSON: a row a target, or where it is not divided a row for each
//! member that scrapes it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    admin::{
        listing::{Counts, Listed},
        view::{AskedShown, LabelMap, Node, asked, label_map},
    },
    history::LastMoves,
    model::{
        member::Roster,
        slot::Slot,
        target::{DroppedTarget, TargetId},
        time::rfc3339,
    },
    survey::{Fare, FleetTarget, FleetTargets},
};

#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct TargetList {
    items: Vec<TargetItem>,
    /// How many there are on all pages.
    total: usize,
    /// Of all that match, whatever health is asked for.
    counts: CountsShown,
    /// The names of all jobs.
    jobs: Vec<String>,
    /// `null` on the last page.
    next: Option<String>,
    asked: Vec<AskedShown>,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum TargetItem {
    Active(Box<TargetRow>),
    Dropped(DroppedRow),
}

#[derive(Serialize, ToSchema)]
struct CountsShown {
    up: usize,
    down: usize,
    unknown: usize,
}

/// A target that is scraped, or should be.
#[derive(Serialize, ToSchema)]
#[schema(as = Target)]
pub(in crate::admin) struct TargetRow {
    id: String,
    job: String,
    url: String,
    labels: LabelMap,
    divided: bool,
    slot: Option<u16>,
    /// Who scrapes it.
    owner: Option<Node>,
    /// Who scrapes it as well; of a divided target that should be nobody.
    others: Vec<Node>,
    /// `up`, `down` or `unknown`.
    health: &'static str,
    last_scrape: Option<String>,
    last_duration_seconds: Option<f64>,
    last_error: Option<String>,
    /// In the last scrape, after relabelling.
    samples: Option<u64>,
    interval_seconds: f64,
    /// Of the last scrapes, the oldest first.
    durations_seconds: Vec<f64>,
    /// When it last changed owners, as far as is known.
    last_move: Option<LastMoveShown>,
}

/// A target that a rule dropped, or that can't be scraped.
#[derive(Serialize, ToSchema)]
struct DroppedRow {
    id: String,
    job: String,
    discovered_labels: LabelMap,
    /// `null`: a rule dropped it.
    error: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct LastMoveShown {
    at: String,
    from: Option<Node>,
    to: Option<Node>,
    reason: &'static str,
}

/// What rows are told with.
pub(in crate::admin) struct Telling<'a> {
    pub(in crate::admin) roster: &'a Roster,
    pub(in crate::admin) moves: &'a LastMoves,
}

impl TargetList {
    /// Who was asked; how long that took is no part of what is listed.
    pub(in crate::admin) fn asked_mut(&mut self) -> &mut [AskedShown] {
        &mut self.asked
    }
}

pub(in crate::admin) fn target_list(
    listed: &Listed<'_>,
    fleet: &FleetTargets,
    next: Option<String>,
    telling: &Telling<'_>,
) -> TargetList {
    let Counts { up, down, unknown } = listed.counts;
    let mut jobs: Vec<String> = Vec::new();
    // They come in the order of their jobs.
    for row in &fleet.targets {
        if jobs.last().is_none_or(|last| **last != *row.target.job) {
            jobs.push(row.target.job.to_string());
        }
    }
    let items =
        listed.page.iter().map(|row| TargetItem::Active(Box::new(target_row(row, telling))));
    TargetList {
        items: items.collect(),
        total: listed.total,
        counts: CountsShown { up, down, unknown },
        jobs,
        next,
        asked: asked(&fleet.asked),
    }
}

pub(in crate::admin) fn dropped_list(
    page: &[(TargetId, &str, &DroppedTarget)],
    total: usize,
    jobs: Vec<String>,
    next: Option<String>,
) -> TargetList {
    let item = |(id, job, target): &(TargetId, &str, &DroppedTarget)| {
        TargetItem::Dropped(DroppedRow {
            id: id.to_string(),
            job: (*job).to_owned(),
            discovered_labels: label_map(&target.discovered),
            error: target.error.clone(),
        })
    };
    TargetList {
        items: page.iter().map(item).collect(),
        total,
        counts: CountsShown { up: 0, down: 0, unknown: 0 },
        jobs,
        next,
        asked: Vec::new(),
    }
}

pub(in crate::admin) fn target_row(row: &FleetTarget, telling: &Telling<'_>) -> TargetRow {
    let FleetTarget { target, is_divided, owner, others, fare } = row;
    let node = |id| Node::of(id, telling.roster);
    let slot = is_divided.then(|| target.key.slot());
    let scraped = fare.as_ref().filter(|fare| fare.last_scrape_ms.is_some());
    TargetRow {
        id: target.id.to_string(),
        job: target.job.to_string(),
        url: target.shown_url().into_owned(),
        labels: label_map(&target.public_labels()),
        divided: *is_divided,
        slot: slot.map(Slot::number),
        owner: owner.map(node),
        others: others.iter().map(|id| node(*id)).collect(),
        health: row.health().name(),
        last_scrape: scraped.and_then(|fare| fare.last_scrape_ms).map(rfc3339),
        last_duration_seconds: scraped.map(|fare| fare.duration.as_secs_f64()),
        last_error: scraped.and_then(|fare| fare.last_error.clone()),
        samples: scraped.map(|fare| fare.samples),
        interval_seconds: target.interval.as_secs_f64(),
        durations_seconds: fare.as_ref().map_or_else(Vec::new, durations),
        last_move: slot.and_then(|slot| last_move(slot, telling)),
    }
}

fn durations(fare: &Fare) -> Vec<f64> {
    fare.durations.iter().map(std::time::Duration::as_secs_f64).collect()
}

fn last_move(slot: Slot, telling: &Telling<'_>) -> Option<LastMoveShown> {
    let last = telling.moves.of(slot)?;
    let node = |id| Node::of(id, telling.roster);
    Some(LastMoveShown {
        at: rfc3339(last.at_ms),
        from: last.from.map(node),
        to: last.to.map(node),
        reason: last.reason.name(),
    })
}
