//! The queues as JSON: what has not left yet, destination by destination.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    admin::view::seconds,
    model::time::rfc3339,
    outbox::{LaneState, LaneView, QueueView},
};

#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Queues {
    destinations: Vec<Queue>,
}

/// Of one destination. Bytes, samples and records are those not sent yet.
#[derive(Serialize, ToSchema)]
pub(super) struct Queue {
    name: String,
    /// The version of remote write, and the packing where that is not snappy.
    protocol: Cow<'static, str>,
    bytes: u64,
    samples: u64,
    records: u64,
    /// `null` where nothing waits.
    oldest_age_seconds: Option<f64>,
    in_flight: usize,
    sent_samples: u64,
    dropped_samples: BTreeMap<Cow<'static, str>, u64>,
    last_answer: Option<LastAnswer>,
    disk: Disk,
    lanes: Vec<LaneShown>,
}

#[derive(Serialize, ToSchema)]
struct LastAnswer {
    text: String,
    time: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Disk {
    /// `null`: it works. Otherwise the queue lives in memory meanwhile.
    fault: Option<String>,
    segments: usize,
    bytes: u64,
}

#[derive(Serialize, ToSchema)]
struct LaneShown {
    tenant: String,
    number: u16,
    position: u64,
    records: usize,
    state: &'static str,
    /// Why it is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(in crate::admin) fn queues(queues: &[Arc<QueueView>]) -> Queues {
    Queues { destinations: queues.iter().map(|view| queue(view)).collect() }
}

pub(super) fn queue(queue: &QueueView) -> Queue {
    Queue {
        name: queue.name.to_string(),
        protocol: queue.protocol.clone(),
        bytes: queue.bytes,
        samples: queue.samples,
        records: queue.records,
        oldest_age_seconds: queue.oldest_age_ms.map(seconds),
        in_flight: queue.in_flight,
        sent_samples: queue.sent_samples,
        dropped_samples: queue.dropped_samples.clone(),
        last_answer: queue
            .last_answer
            .clone()
            .map(|text| LastAnswer { text, time: queue.last_answer_ms.map(rfc3339) }),
        disk: Disk {
            fault: queue.disk.fault.clone(),
            segments: queue.disk.segments,
            bytes: queue.disk.bytes,
        },
        lanes: queue.lanes.iter().map(lane).collect(),
    }
}

fn lane(lane: &LaneView) -> LaneShown {
    let (state, reason) = match &lane.state {
        LaneState::Idle => ("idle", None),
        LaneState::InFlight => ("in_flight", None),
        LaneState::BackingOff => ("backing_off", None),
        LaneState::Held(reason) => ("held", Some(reason.clone())),
    };
    LaneShown {
        tenant: lane.tenant.to_string(),
        number: lane.number,
        position: lane.position,
        records: lane.records,
        state,
        reason,
    }
}
