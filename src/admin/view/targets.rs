//! The targets of the whole fleet as JSON: a row a target, or where it is not divided a row for each
//! member that scrapes it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::view::{LabelMap, Node};

#[derive(Serialize, ToSchema)]
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
    last_move: Option<LastMove>,
}

#[derive(Serialize, ToSchema)]
struct LastMove {
    at: String,
    from: Option<Node>,
    to: Option<Node>,
    reason: &'static str,
}
