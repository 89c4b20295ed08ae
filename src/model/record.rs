//! What is known of an unsent batch when a slot changes hands: its name, and what decides whether it
//! still can be sent.

use serde::{Deserialize, Serialize};

use crate::model::{member::NodeId, slot::StreamKey};

/// Names a record of a slot for ever, whoever passes it on; the order is the order of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordName {
    /// When the ownership began during which it was made (fleet time).
    pub interval_ms: i64,
    /// Whose outbox gave it its sequence number.
    pub node: NodeId,
    pub sequence: u64,
}

/// What a copy is of: who has the record and sends it, and its number there. Another than who made it
/// and what it was called, where it has changed hands since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original {
    pub owner: NodeId,
    pub number: u64,
}

/// What the rules must know of a record; its bytes travel beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub name: RecordName,
    pub stream: StreamKey,
    pub oldest_ms: i64,
    pub bytes: u32,
    /// As of its batch: never late by its stream.
    pub pushed: bool,
}

/// The newest instant of a stream that the destination has, or may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    pub stream: StreamKey,
    pub newest_ms: i64,
}
