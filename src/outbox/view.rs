//! What a queue shows of itself: plain values, published twice a second.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

/// One destination's queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueView {
    /// The destination's.
    pub name: Arc<str>,
    /// The version of remote write that it is sent, and how packed where that is not snappy.
    pub protocol: Cow<'static, str>,
    /// Unsent, as are the samples and records.
    pub bytes: u64,
    pub samples: u64,
    pub records: u64,
    /// Of these, what waits for another member, or is on its way to one.
    pub held_records: u64,
    pub held_bytes: u64,
    /// The age of the oldest unsent sample.
    pub oldest_age_ms: Option<i64>,
    pub in_flight: usize,
    /// The destination takes what it is sent: its last answer was no failure.
    pub accepts: bool,
    /// What the destination last said, in words.
    pub last_answer: Option<String>,
    pub last_answer_ms: Option<i64>,
    /// By the reason's name; a member of another version may have one that is not known here.
    pub dropped_samples: BTreeMap<Cow<'static, str>, u64>,
    pub sent_samples: u64,
    pub lanes: Vec<LaneView>,
    pub disk: DiskView,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaneView {
    pub tenant: Arc<str>,
    pub number: u16,
    /// The sequence number of the last record that is done with.
    pub position: u64,
    pub records: usize,
    pub state: LaneState,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LaneState {
    /// Nothing to send, or waiting for company.
    Idle,
    InFlight,
    /// Waiting after a failure.
    BackingOff,
    /// The destination refuses the tenant, for this reason.
    Held(String),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskView {
    /// `None`: it works. Else what is wrong; the queue lives in memory meanwhile.
    pub fault: Option<String>,
    pub segments: usize,
    /// Of all segments, sent parts that still lie in them included.
    pub bytes: u64,
}
