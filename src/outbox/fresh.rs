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
/// What one write takes; the rest follows in the next.
const WRITE_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Default)]
pub(super) struct Fresh {
    bodies: HashMap<u64, Bytes>,
    bytes: u64,
    /// In order of sequence. Who has no body any more has left meanwhile.
    unwritten: VecDeque<Unwritten>,
    unwritten_bytes: u64,
    writing: Vec<Unwritten>,
}

/// A record that is in memory alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unwritten {
    pub(super) sequence: u64,
    pub(super) line: Line,
    pub(super) appended_ms: i64,
}

impl Fresh {
    pub(super) fn add(&mut self, unwritten: Unwritten, body: Bytes) {
        self.bytes += body.len() as u64;
        self.unwritten_bytes += body.len() as u64;
        self.bodies.insert(unwritten.sequence, body);
        self.unwritten.push_back(unwritten);
    }

    pub(super) fn body(&self, sequence: u64) -> Option<&Bytes> {
        self.bodies.get(&sequence)
    }

    pub(super) fn unwritten_bytes(&self) -> u64 {
        self.unwritten_bytes
    }

    pub(super) fn is_all_written(&mut self) -> bool {
        self.skip_gone();
        self.unwritten.is_empty() && self.writing.is_empty()
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
        self.unwritten.front().map(|oldest| oldest.appended_ms + WRITE_AFTER_MS)
    }

    /// What is to be written now: nothing before the oldest is due, then all but the youngest; or
    /// everything where `all`.
    pub(super) fn take_due(&mut self, now_ms: i64, all: bool) -> &[Unwritten] {
        self.skip_gone();
        if !all && self.due_ms().is_none_or(|due_ms| due_ms > now_ms) {
            return &[];
        }
        let mut bytes = 0;
        while let Some(next) = self.unwritten.front().copied()
            && bytes < WRITE_BYTES_MAX
            && (all || now_ms - next.appended_ms >= WRITE_AGE_MS_MIN)
        {
            self.unwritten.pop_front();
            if let Some(body) = self.bodies.get(&next.sequence) {
                bytes += body.len();
                self.writing.push(next);
            }
        }
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
        for record in self.writing.drain(..).rev() {
            self.unwritten.push_front(record);
        }
    }

    /// The oldest that is in memory alone, and is not being written.
    pub(super) fn oldest_unwritten(&mut self) -> Option<Unwritten> {
        self.skip_gone();
        self.unwritten.front().copied()
    }

    fn skip_gone(&mut self) {
        while let Some(first) = self.unwritten.front()
            && !self.bodies.contains_key(&first.sequence)
        {
            self.unwritten.pop_front();
        }
    }
}
