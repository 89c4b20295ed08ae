//! The bounds of a queue: what has waited too long, or is too much, goes, the oldest first, and is
//! counted. Where it waits, in a lane or held outside of it, makes no difference. Part of `queue`.

use crate::outbox::{
    entry::{Entry, Place},
    held::Waiting,
    loss::Reason,
    queue::{Queue, Settled},
};

/// Of the bound of bytes, what this member's own samples leave free: a part of what another hands
/// over has room then, or a line that waits for it would hold, and drop, for want of it.
const HANDOVER_BYTES: u64 = 1 << 20;
/// But not more than this share of the bound.
const HANDOVER_SHARE: u64 = 8;

/// Where the oldest record waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oldest {
    First { lane: usize },
    Held { sequence: u64 },
}

impl Queue {
    /// Of unsent bytes, in memory or on disk.
    pub(in crate::outbox) fn bytes_max(&self) -> u64 {
        self.limits.bytes_max
    }

    /// Drops what has waited longer than it may. What was taken over is as old as its round; where it
    /// stands behind what is younger it may stay until that goes.
    pub(in crate::outbox) fn expire(&mut self, now_ms: i64) {
        let limits = [
            (self.limits.age_ms_max, Reason::Age),
            (self.limits.sample_age_ms_max, Reason::SampleAge),
        ];
        let over = |entry: &Entry| {
            let age_ms = now_ms - entry.appended_ms;
            limits.iter().find(|(max_ms, _)| *max_ms > 0 && age_ms > *max_ms).map(|(_, r)| *r)
        };
        for number in 0..self.lanes.len() {
            while let Some(first) = self.lanes[number].1.first()
                && let Some(reason) = over(first)
            {
                self.drop_first(number, reason);
            }
        }
        while let Some(&Waiting { entry, .. }) = self.held.first()
            && let Some(reason) = over(&entry)
        {
            self.drop_held(entry.sequence, reason);
        }
    }

    /// The records last taken are not on disk. Beyond the bound of memory the oldest goes: where
    /// the disk is `full`, what lies in its oldest segment; else what is in memory alone.
    pub(in crate::outbox) fn not_written(&mut self, full: bool) {
        self.fresh.not_written();
        let bytes_max = self.limits.memory_bytes_max;
        if !self.limits.drops_oldest || self.fresh.unwritten_bytes() <= bytes_max {
            return;
        }
        if !full {
            self.shed_memory(bytes_max, Reason::Memory);
        } else if !self.drop_oldest_segment() {
            self.shed_memory(bytes_max, Reason::DiskFull);
        }
    }

    /// What is handed over may take as much more.
    pub(super) fn handover_bytes(&self) -> u64 {
        HANDOVER_BYTES.min(self.limits.bytes_max / HANDOVER_SHARE)
    }

    /// What this member appends itself stays below it.
    pub(super) fn own_bytes_max(&self) -> u64 {
        self.limits.bytes_max - self.handover_bytes()
    }

    pub(super) fn make_room(&mut self, bytes: u64) {
        if !self.limits.drops_oldest {
            return;
        }
        while self.unsent.records > 0 {
            let reason = if self.unsent.bytes + bytes > self.own_bytes_max() {
                Reason::Bytes
            } else if self.unsent.records >= self.limits.records_max {
                Reason::Records
            } else {
                return;
            };
            let Some((oldest, _)) = self.oldest() else { return };
            self.drop_oldest(oldest, reason);
        }
    }

    pub(super) fn shed_memory(&mut self, bytes_max: u64, reason: Reason) {
        while self.limits.drops_oldest && self.fresh.unwritten_bytes() > bytes_max {
            let Some(oldest) = self.fresh.oldest_unwritten() else { return };
            self.remove(oldest.line.lane, oldest.sequence, reason);
        }
    }

    pub(super) fn remove(&mut self, number: usize, sequence: u64, reason: Reason) {
        if let Some(entry) = self.lanes[number].1.remove(sequence, &self.rules) {
            self.progress.left(number, &entry);
            self.progress.unpin(number, &entry);
            self.lose(&entry, reason);
        } else {
            self.drop_held(sequence, reason);
        }
    }

    pub(super) fn drop_held(&mut self, sequence: u64, reason: Reason) {
        if let Some(waiting) = self.held.remove(sequence) {
            self.progress.unpin(waiting.lane, &waiting.entry);
            if waiting.copy_of.is_some() {
                // Whoever made it has it, and counts it if it is lost there.
                self.forget(&waiting.entry, Settled::Safe);
            } else {
                self.lose(&waiting.entry, reason);
            }
        }
    }

    fn drop_oldest(&mut self, oldest: Oldest, reason: Reason) {
        match oldest {
            Oldest::First { lane } => self.drop_first(lane, reason),
            Oldest::Held { sequence } => self.drop_held(sequence, reason),
        }
    }

    fn drop_first(&mut self, number: usize, reason: Reason) {
        if let Some(entry) = self.lanes[number].1.drop_first(&self.rules) {
            self.progress.left_first(number, &entry);
            self.lose(&entry, reason);
        }
    }

    /// The oldest record by the order in which they came here, and where it lies.
    fn oldest(&self) -> Option<(Oldest, Option<Place>)> {
        let firsts = self.lanes.iter().enumerate().filter_map(|(lane, (_, in_lane))| {
            in_lane.first().map(|entry| (entry, Oldest::First { lane }))
        });
        let held = self.held.first().map(|waiting| {
            let entry = &waiting.entry;
            (entry, Oldest::Held { sequence: entry.sequence })
        });
        let oldest = firsts.chain(held).min_by_key(|(entry, _)| entry.sequence);
        oldest.map(|(entry, oldest)| (oldest, entry.place))
    }

    fn drop_oldest_segment(&mut self) -> bool {
        let Some((_, Some(Place { segment, .. }))) = self.oldest() else { return false };
        while let Some((oldest, Some(place))) = self.oldest()
            && place.segment <= segment
        {
            self.drop_oldest(oldest, Reason::DiskFull);
        }
        true
    }

    fn lose(&mut self, entry: &Entry, reason: Reason) {
        self.losses.add(reason, u64::from(entry.samples), entry.oldest_ms);
        self.forget(entry, Settled::Lost);
    }
}
