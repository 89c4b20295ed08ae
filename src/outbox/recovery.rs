//! What a directory holds when it is opened: each segment is read once, the good records that are
//! not done with are taken, damage is counted and passed over. Blocking; part of `log`.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io,
    num::NonZeroU32,
    path::Path,
    sync::Arc,
};

use crate::outbox::{
    cursors::Cursors,
    frame::{self, Frame},
    lane::{Entry, LaneKey, Place},
    log::{DiskError, Move, SEGMENT_MAGIC, Segment},
};

#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// What is unsent, in order of sequence.
    pub(super) entries: Vec<(LaneKey, Entry)>,
    /// Above every number ever used.
    pub(super) next_sequence: u64,
    /// Bytes behind the last good record of a segment, and in how many segments.
    pub(super) torn_bytes: u64,
    pub(super) torn_segments: u64,
    /// Damaged places between good records.
    pub(super) corrupt_bytes: u64,
    pub(super) corrupt_places: u64,
    /// Segments that can't be read at all, with the reason.
    pub(super) unreadable: Vec<String>,
    pub(super) cursors_damaged: bool,
    /// The disk can be read, but not be written to.
    pub(super) fault: Option<DiskError>,
    tenants: BTreeSet<Arc<str>>,
    last_sequence: u64,
}

impl Recovery {
    pub(super) fn take_segment(
        &mut self,
        id: NonZeroU32,
        path: &Path,
        lanes: u16,
        cursors: &Cursors,
    ) -> Segment {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) => {
                self.unreadable.push(format!("`{}`: {e}", path.display()));
                // Counted as live, so that it stays for a better day.
                return Segment { bytes: 1, live_bytes: 1 };
            }
        };
        let mut live_bytes = 0;
        let damage = frame::scan(&bytes, header_bytes(&bytes), |offset, length, frame| {
            let Some(place) = place_of(id, offset, length) else { return };
            self.last_sequence = self.last_sequence.max(frame.sequence);
            let key = self.key_of(&frame, lanes);
            if !cursors.is_done(&key, frame.sequence) {
                live_bytes += u64::from(place.length);
                self.entries.push((key, entry_of(&frame, place)));
            }
        });
        self.corrupt_places += damage.corrupt.len() as u64;
        self.corrupt_bytes += damage.corrupt.iter().map(|hole| hole.len() as u64).sum::<u64>();
        let end = damage.torn.start as u64;
        if !damage.torn.is_empty() {
            self.torn_segments += 1;
            self.torn_bytes += damage.torn.len() as u64;
            // If it can't be cut, it is passed over again the next time.
            let _ = OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(end));
        }
        Segment { bytes: end, live_bytes }
    }

    /// What is found twice is taken once: a write that failed and was made again stands in two
    /// segments. Gives back where the others lie.
    pub(super) fn finish(&mut self, last_used: u64) -> Vec<Place> {
        self.next_sequence = self.last_sequence.max(last_used).saturating_add(1);
        self.entries.sort_by_key(|(_, entry)| entry.sequence);
        let mut again = Vec::new();
        self.entries.dedup_by(|(_, later), (_, first)| {
            let same = later.sequence == first.sequence;
            again.extend(later.place.filter(|_| same));
            same
        });
        again
    }

    /// A segment was rewritten.
    pub(super) fn relocate(&mut self, moves: &[Move]) {
        for (_, sequence, place) in moves {
            let found = self.entries.binary_search_by_key(sequence, |(_, entry)| entry.sequence);
            if let Ok(at) = found {
                self.entries[at].1.place = Some(*place);
            }
        }
    }

    /// The lanes are of another number from now on.
    pub(super) fn divide(&mut self, lanes: u16) {
        for (key, entry) in &mut self.entries {
            *key = LaneKey::of(key.signal, &key.tenant, entry.stream, lanes);
        }
    }

    /// One shared name a tenant, however many records it has.
    fn key_of(&mut self, frame: &Frame<'_>, lanes: u16) -> LaneKey {
        let tenant = if let Some(known) = self.tenants.get(frame.tenant) {
            Arc::clone(known)
        } else {
            let new: Arc<str> = frame.tenant.into();
            self.tenants.insert(Arc::clone(&new));
            new
        };
        LaneKey::of(frame.signal, &tenant, frame.stream, lanes)
    }
}

/// What is left of a segment.
#[derive(Debug)]
pub(super) struct LiveCopy {
    pub(super) bytes: Vec<u8>,
    pub(super) moves: Vec<Move>,
}

/// The segment's bytes without what is done with, and where its records then lie.
pub(super) fn live_copy(
    path: &Path,
    id: NonZeroU32,
    lanes: u16,
    cursors: &Cursors,
) -> io::Result<LiveCopy> {
    let bytes = fs::read(path)?;
    let mut copy = SEGMENT_MAGIC.to_vec();
    let mut moves = Vec::new();
    frame::scan(&bytes, header_bytes(&bytes), |offset, length, frame| {
        let key = LaneKey::of(frame.signal, &frame.tenant.into(), frame.stream, lanes);
        if !cursors.is_done(&key, frame.sequence)
            && let Some(place) = place_of(id, copy.len(), length)
        {
            copy.extend_from_slice(&bytes[offset..offset + length]);
            moves.push((key, frame.sequence, place));
        }
    });
    Ok(LiveCopy { bytes: copy, moves })
}

/// A damaged header costs nothing: the search for frames then begins at the first byte.
fn header_bytes(bytes: &[u8]) -> usize {
    if bytes.starts_with(&SEGMENT_MAGIC) { SEGMENT_MAGIC.len() } else { 0 }
}

fn place_of(segment: NonZeroU32, offset: usize, length: usize) -> Option<Place> {
    let offset = u32::try_from(offset).ok()?;
    Some(Place { segment, offset, length: u32::try_from(length).ok()? })
}

fn entry_of(frame: &Frame<'_>, place: Place) -> Entry {
    Entry {
        sequence: frame.sequence,
        stream: frame.stream,
        round: frame.round,
        oldest_ms: frame.oldest_ms,
        appended_ms: frame.appended_ms,
        bytes: u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX),
        raw_length: frame.raw_length,
        samples: frame.samples,
        place: Some(place),
    }
}
