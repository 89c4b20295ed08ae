//! Batches that are in memory: those that are not on disk yet, and as many of the others as the
//! bound allows. Pure; part of `queue`.

use std::collections::VecDeque;

use bytes::Bytes;
use hashbrown::HashMap;

use crate::outbox::progress::Line;

/// What is not acknowledged by then is written to disk, which leaves the disk as much time as makes a
/// second. Longer than a request waits for company and its answer takes, or all would be written.
pub(super) const WRITE_AFTER_MS: i64 = 700;
/// What is younger waits for the next write, as its acknowledgement may spare it the disk.
const WRITE_AGE_MS_MIN: i64 = 100;
/// What one write takes of either kind; the rest follows in the next.
const WRITE_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Default)]
pub(super) struct Fresh {
    bodies: HashMap<u64, Bytes>,
    bytes: u64,
    /// In order of sequence. Who has no body any more has left meanwhile.
    unwritten: VecDeque<Unwritten>,
    /// The same, of those that somebody waits for.
    urgent: VecDeque<Unwritten>,
    unwritten_bytes: u64,
    writing: Vec<Unwritten>,
}

/// A record that is in memory alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unwritten {
    pub(super) sequence: u64,
    pub(super) line: Line,
    pub(super) appended_ms: i64,
    /// To be written as soon as the disk is free, however young it is.
    pub(super) urgent: bool,
}

impl Fresh {
    pub(super) fn add(&mut self, unwritten: Unwritten, body: Bytes) {
        self.bytes += body.len() as u64;
        self.unwritten_bytes += body.len() as u64;
        self.bodies.insert(unwritten.sequence, body);
        self.queue_of(&unwritten).push_back(unwritten);
    }

    pub(super) fn body(&self, sequence: u64) -> Option<&Bytes> {
        self.bodies.get(&sequence)
    }

    pub(super) fn unwritten_bytes(&self) -> u64 {
        self.unwritten_bytes
    }

    pub(super) fn is_all_written(&mut self) -> bool {
        self.skip_gone();
        self.unwritten.is_empty() && self.urgent.is_empty() && self.writing.is_empty()
    }

    /// The record has left the queue.
    pub(super) fn forget(&mut self, sequence: u64, was_written: bool) {
        if let Some(body) = self.bodies.remove(&sequence) {
            self.bytes -= body.len() as u64;
            if !was_written {
                self.unwritten_bytes -= body.len() as u64;
            }
        }
    }

    /// When the next write is due.
    pub(super) fn due_ms(&self) -> Option<i64> {
        if self.urgent.is_empty() { self.aged_due_ms() } else { Some(i64::MIN) }
    }

    /// What is to be written now: what is urgent; of the rest nothing before the oldest is due, then
    /// all but the youngest; or everything where `all`. In order of sequence.
    pub(super) fn take_due(&mut self, now_ms: i64, all: bool) -> &[Unwritten] {
        self.skip_gone();
        if all || self.aged_due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            let is_aged = |one: &Unwritten| all || now_ms - one.appended_ms >= WRITE_AGE_MS_MIN;
            take(&mut self.unwritten, &self.bodies, &mut self.writing, is_aged);
        }
        take(&mut self.urgent, &self.bodies, &mut self.writing, |_| true);
        self.writing.sort_unstable_by_key(|unwritten| unwritten.sequence);
        &self.writing
    }

    /// What was last taken is on disk, and comes back here. Of it, memory keeps what `bytes_max`
    /// allows: the oldest stay, as they leave first; what comes later is read back.
    pub(super) fn written(&mut self, bytes_max: u64) -> Vec<Unwritten> {
        let written = std::mem::take(&mut self.writing);
        for record in &written {
            let body = self.bodies.get(&record.sequence);
            self.unwritten_bytes -= body.map_or(0, |body| body.len() as u64);
        }
        for record in written.iter().rev() {
            if self.bytes - self.unwritten_bytes <= bytes_max {
                break;
            }
            let body = self.bodies.remove(&record.sequence);
            self.bytes -= body.map_or(0, |body| body.len() as u64);
        }
        written
    }

    /// What was last taken is not on disk.
    pub(super) fn not_written(&mut self) {
        for record in std::mem::take(&mut self.writing).into_iter().rev() {
            self.queue_of(&record).push_front(record);
        }
    }

    /// The oldest that is in memory alone, and is not being written.
    pub(super) fn oldest_unwritten(&mut self) -> Option<Unwritten> {
        self.skip_gone();
        let firsts = [self.unwritten.front(), self.urgent.front()].into_iter().flatten();
        firsts.min_by_key(|first| first.sequence).copied()
    }

    fn aged_due_ms(&self) -> Option<i64> {
        self.unwritten.front().map(|oldest| oldest.appended_ms + WRITE_AFTER_MS)
    }

    fn queue_of(&mut self, unwritten: &Unwritten) -> &mut VecDeque<Unwritten> {
        if unwritten.urgent { &mut self.urgent } else { &mut self.unwritten }
    }

    fn skip_gone(&mut self) {
        for queue in [&mut self.unwritten, &mut self.urgent] {
            while let Some(first) = queue.front()
                && !self.bodies.contains_key(&first.sequence)
            {
                queue.pop_front();
            }
        }
    }
}

/// The first of `queue`, as far as one write takes them.
fn take(
    queue: &mut VecDeque<Unwritten>,
    bodies: &HashMap<u64, Bytes>,
    writing: &mut Vec<Unwritten>,
    is_due: impl Fn(&Unwritten) -> bool,
) {
    let mut bytes = 0;
    while let Some(next) = queue.front().copied()
        && bytes < WRITE_BYTES_MAX
        && is_due(&next)
    {
        queue.pop_front();
        if let Some(body) = bodies.get(&next.sequence) {
            bytes += body.len();
            writing.push(next);
        }
    }
}
