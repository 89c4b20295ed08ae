//! All JSON that the API speaks, and nothing else does: each room has its shapes here, made of what the
//! parts publish. What is not known is `null`, and never left out.

mod fleet;
mod prometheus;
mod queues;

use std::{collections::BTreeMap, time::Duration};

use actix_web::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::model::labels::Labels;

pub(super) use self::{
    fleet::{FleetShown, fleet},
    prometheus::*,
    queues::{Queues, queues},
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

type LabelMap = BTreeMap<String, String>;

fn label_map(labels: &Labels) -> LabelMap {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn seconds(ms: i64) -> f64 {
    Duration::from_millis(u64::try_from(ms).unwrap_or_default()).as_secs_f64()
}
