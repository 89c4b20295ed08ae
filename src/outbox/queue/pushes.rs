//! What is pushed: somebody waits for it, so that it is written at once, and what can't be is taken
//! out again as if it had never come. Part of `queue`; `keeping` knows who waits.

use std::ops::Range;

use crate::{
    model::batch::Batch,
    outbox::{entry::Entry, queue::Queue},
};

/// What has become of a pushed record that was in memory alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::outbox) enum Settled {
    /// On disk, at the destination, refused by it, or with another member.
    Safe,
    /// Dropped by a bound.
    Lost,
}

/// What there is room for, within the bounds that keep what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::outbox) struct Free {
    pub(in crate::outbox) bytes: u64,
    pub(in crate::outbox) records: usize,
    /// In memory alone.
    pub(in crate::outbox) memory_bytes: u64,
}

impl Queue {
    /// As `append`; and it is written as soon as the disk is free.
    pub(in crate::outbox) fn append_urgent(&mut self, batch: Batch, now_ms: i64) {
        self.add(batch, true, now_ms);
    }

    /// Of records that were pushed, by sequence; also of such that nobody waits for.
    pub(in crate::outbox) fn take_settled(&mut self) -> Vec<(u64, Settled)> {
        std::mem::take(&mut self.settled)
    }

    pub(in crate::outbox) fn free(&self) -> Free {
        let unwritten_bytes = self.fresh.unwritten_bytes();
        Free {
            bytes: self.own_bytes_max().saturating_sub(self.unsent.bytes),
            records: self.limits.records_max.saturating_sub(self.unsent.records),
            memory_bytes: self.limits.memory_bytes_max.saturating_sub(unwritten_bytes),
        }
    }

    pub(in crate::outbox) fn drops_oldest(&self) -> bool {
        self.limits.drops_oldest
    }

    /// Records of these numbers, in order, leave without being a loss; but those on their way to the
    /// destination, or to another member, stay.
    pub(in crate::outbox) fn withdraw(&mut self, refused: &[Range<u64>]) {
        let leaves = |entry: &Entry| {
            let after = refused.partition_point(|range| range.end <= entry.sequence);
            refused.get(after).is_some_and(|range| range.contains(&entry.sequence))
        };
        for number in 0..self.lanes.len() {
            for entry in self.lanes[number].1.withdraw(leaves, &self.rules) {
                self.progress.left(number, &entry);
                self.progress.unpin(number, &entry);
                self.forget(&entry, Settled::Lost);
            }
        }
        let held = refused.iter().flat_map(|range| self.held.here_within(range.clone()));
        for sequence in held.collect::<Vec<_>>() {
            if let Some(waiting) = self.held.remove(sequence) {
                self.progress.unpin(waiting.lane, &waiting.entry);
                self.forget(&waiting.entry, Settled::Lost);
            }
        }
    }
}
