//! The newest instant of each stream that the destination has: what is older and comes late, it
//! would refuse. Pure; part of `queue`.
//!
//! A batch counts by its oldest sample, here and where it is compared. So a target that gives its
//! samples instants of their own, some of them hours old, is compared with its own earlier rounds.

use std::collections::BTreeMap;

use crate::model::{
    record::Sent,
    slot::{Slot, StreamKey},
};

/// Streams that are remembered. Of those beyond, nothing is known: what comes late is sent, and
/// refused by the destination instead.
const STREAMS_MAX: usize = 1 << 18;
const STREAM_BITS: u32 = 52;

#[derive(Debug, Default)]
pub(super) struct SentInstants(BTreeMap<StreamKey, i64>);

impl SentInstants {
    pub(super) fn note(&mut self, stream: StreamKey, instant_ms: i64) {
        if let Some(newest_ms) = self.0.get_mut(&stream) {
            *newest_ms = instant_ms.max(*newest_ms);
        } else if self.0.len() < STREAMS_MAX {
            self.0.insert(stream, instant_ms);
        }
    }

    pub(super) fn of(&self, stream: StreamKey) -> Option<i64> {
        self.0.get(&stream).copied()
    }

    pub(super) fn of_slot(&self, slot: Slot) -> Vec<Sent> {
        let known = self.0.range(streams_of(slot));
        known.map(|(stream, ms)| Sent { stream: *stream, newest_ms: *ms }).collect()
    }

    pub(super) fn forget(&mut self, slot: Slot) {
        let streams: Vec<StreamKey> = self.0.range(streams_of(slot)).map(|(s, _)| *s).collect();
        for stream in streams {
            self.0.remove(&stream);
        }
    }
}

fn streams_of(slot: Slot) -> std::ops::RangeInclusive<StreamKey> {
    let first = u64::from(slot.number()) << STREAM_BITS;
    StreamKey(first)..=StreamKey(first | ((1 << STREAM_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_kept_apart_and_forgotten_whole() {
        let mut sent = SentInstants::default();
        let last = StreamKey((8 << STREAM_BITS) - 1);
        for (stream, instant_ms) in
            [(StreamKey(7 << STREAM_BITS), 5), (last, 6), (last, 4), (StreamKey(8 << 52), 9)]
        {
            sent.note(stream, instant_ms);
        }
        let slot = |number| Slot::new(number).unwrap();
        let known = |sent: &SentInstants, number| -> Vec<i64> {
            sent.of_slot(slot(number)).iter().map(|sent| sent.newest_ms).collect()
        };
        assert_eq!((known(&sent, 7), known(&sent, 8)), (vec![5, 6], vec![9]));
        sent.forget(slot(7));
        assert_eq!((known(&sent, 7), known(&sent, 8)), (vec![], vec![9]));
    }
}
