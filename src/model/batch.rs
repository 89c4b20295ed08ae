//! What the outbox carries: bytes that are ready to be sent, and what it must know to order them.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::slot::StreamKey;

/// What kind of telemetry the bytes are; the codec that can split and merge them hangs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Signal {
    Metrics,
}

/// An encoded piece of one stream, of one round: for metrics at most one sample a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    pub signal: Signal,
    /// Empty where there is no tenancy.
    pub tenant: Arc<str>,
    pub stream: StreamKey,
    /// Rises with each scrape of the stream (the scheduled instant, in milliseconds). Pieces of one
    /// round hold different series and may share a request; pieces of two rounds may not.
    pub round: i64,
    /// When the ownership of the slot began during which this was made (fleet time, in
    /// milliseconds). `None` for what is not divided: it never changes hands.
    pub since_ms: Option<i64>,
    /// Of many series of many clients, which are not in step: the stream has no newest instant that
    /// an older batch would be late beside.
    pub pushed: bool,
    /// Samples within; what limits and losses are counted in.
    pub samples: u32,
    /// The oldest sample's timestamp, in milliseconds since the Unix epoch.
    pub oldest_ms: i64,
    /// Length of `bytes` after decompression.
    pub raw_length: u32,
    /// For metrics: a snappy block without its length preamble, of `WriteRequest.timeseries`
    /// fields. Such pieces can be joined to a request body without being compressed again.
    pub bytes: Bytes,
}
