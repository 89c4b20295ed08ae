//! A record as memory knows it, and what it belongs to: the lane that it leaves by, and the line
//! whose order it keeps. Plain values, for `queue` and `log`.

use std::{num::NonZeroU32, sync::Arc};

use crate::model::{
    batch::{Batch, Signal},
    slot::{Slot, StreamKey},
};

/// Whose order is kept: records of one lane leave one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LaneKey {
    pub(super) signal: Signal,
    pub(super) tenant: Arc<str>,
    pub(super) number: u16,
}

impl LaneKey {
    pub(super) fn of(signal: Signal, tenant: &Arc<str>, slot: Slot, lanes: u16) -> Self {
        Self { signal, tenant: Arc::clone(tenant), number: slot.number() % lanes.max(1) }
    }
}

/// Whose position is kept on disk: what one slot has in a lane. Where a slot waits for another
/// member, it pins no other, and another number of lanes changes nothing that lies on disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LineKey {
    pub(super) signal: Signal,
    pub(super) tenant: Arc<str>,
    pub(super) slot: Slot,
    /// Its records may change hands; the others of the slot never wait for that.
    pub(super) divided: bool,
}

impl LineKey {
    pub(super) fn lane(&self, lanes: u16) -> LaneKey {
        LaneKey::of(self.signal, &self.tenant, self.slot, lanes)
    }
}

/// Where a record lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: NonZeroU32,
    pub(super) offset: u32,
    /// Of the whole frame.
    pub(super) length: u32,
}

/// A record as memory knows it: 80 bytes, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) sequence: u64,
    pub(super) stream: StreamKey,
    pub(super) round: i64,
    pub(super) making: Making,
    pub(super) oldest_ms: i64,
    pub(super) appended_ms: i64,
    /// Of the batch, compressed.
    pub(super) bytes: u32,
    pub(super) raw_length: u32,
    pub(super) samples: u32,
    pub(super) place: Option<Place>,
}

/// How a record came to be; in the 16 bytes that an instant or none would take alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Making {
    /// Not divided.
    Whole { pushed: bool },
    /// `since_ms`: when the ownership began in which it was made.
    Divided { since_ms: i64, pushed: bool },
}

impl Making {
    pub(super) fn of(since_ms: Option<i64>, pushed: bool) -> Self {
        since_ms.map_or(Self::Whole { pushed }, |since_ms| Self::Divided { since_ms, pushed })
    }
}

impl Entry {
    pub(super) fn of(batch: &Batch, sequence: u64, appended_ms: i64) -> Self {
        Self {
            sequence,
            stream: batch.stream,
            round: batch.round,
            making: Making::of(batch.since_ms, batch.pushed),
            oldest_ms: batch.oldest_ms,
            appended_ms,
            bytes: u32::try_from(batch.bytes.len()).unwrap_or(u32::MAX),
            raw_length: batch.raw_length,
            samples: batch.samples,
            place: None,
        }
    }

    pub(super) fn slot(&self) -> Slot {
        self.stream.slot()
    }

    /// When the ownership began in which it was made; `None` where it is not divided.
    pub(super) fn since_ms(&self) -> Option<i64> {
        match self.making {
            Making::Whole { .. } => None,
            Making::Divided { since_ms, .. } => Some(since_ms),
        }
    }

    pub(super) fn is_divided(&self) -> bool {
        self.since_ms().is_some()
    }

    pub(super) fn is_pushed(&self) -> bool {
        match self.making {
            Making::Whole { pushed } | Making::Divided { pushed, .. } => pushed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_takes_80_bytes() {
        assert_eq!(size_of::<Entry>(), 80);
    }
}
