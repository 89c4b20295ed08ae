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

use crate::{
    model::record::{Original, RecordName},
    outbox::{
        cursors::Cursors,
        entry::{Entry, LineKey, Making, Place},
        frame::{self, Frame},
        log::{DiskError, Move, SEGMENT_MAGIC, Segment},
    },
};

#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// What is unsent, in order of sequence.
    pub(super) unsent: Vec<Unsent>,
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

/// A record that was not done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unsent {
    pub(super) key: LineKey,
    pub(super) name: Option<RecordName>,
    pub(super) copy_of: Option<Original>,
    pub(super) entry: Entry,
}

impl Recovery {
    pub(super) fn take_segment(
        &mut self,
        id: NonZeroU32,
        path: &Path,
        cursors: &Cursors,
    ) -> Segment {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) => {
                self.unreadable.push(format!("`{}`: {e}", path.display()));
                // Counted as live, so that it stays for a better day.
                return Segment { bytes: 1, live_bytes: 1, ..Segment::default() };
            }
        };
        let mut live_bytes = 0;
        let mut dead = Vec::new();
        let damage = frame::scan(&bytes, header_bytes(&bytes), |offset, length, frame| {
            let Some(place) = place_of(id, offset, length) else { return };
            self.last_sequence = self.last_sequence.max(frame.sequence);
            let key = self.key_of(&frame);
            if cursors.is_done(&key, frame.sequence) {
                dead.push(frame.sequence);
            } else {
                live_bytes += u64::from(place.length);
                let entry = entry_of(&frame, place);
                let Frame { name, copy_of, .. } = frame;
                self.unsent.push(Unsent { key, name, copy_of, entry });
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
        Segment { bytes: end, live_bytes, dead }
    }

    /// What is found twice is taken once: a write that failed and was made again stands in two
    /// segments. Gives back where the others lie.
    pub(super) fn finish(&mut self, last_used: u64) -> Vec<(u64, Place)> {
        self.next_sequence = self.last_sequence.max(last_used).saturating_add(1);
        self.unsent.sort_by_key(|unsent| unsent.entry.sequence);
        let mut again = Vec::new();
        self.unsent.dedup_by(|Unsent { entry: later, .. }, Unsent { entry: first, .. }| {
            let same = later.sequence == first.sequence;
            again.extend(later.place.filter(|_| same).map(|place| (later.sequence, place)));
            same
        });
        again
    }

    /// One shared name a tenant, however many records it has.
    fn key_of(&mut self, frame: &Frame<'_>) -> LineKey {
        let tenant = if let Some(known) = self.tenants.get(frame.tenant) {
            Arc::clone(known)
        } else {
            let new: Arc<str> = frame.tenant.into();
            self.tenants.insert(Arc::clone(&new));
            new
        };
        line_of(frame, tenant)
    }
}

/// What is left of a segment.
#[derive(Debug)]
pub(super) struct LiveCopy {
    pub(super) bytes: Vec<u8>,
    pub(super) moves: Vec<Move>,
}

/// The segment's bytes without the records of `dead`, and where the others then lie.
pub(super) fn live_copy(path: &Path, id: NonZeroU32, dead: &BTreeSet<u64>) -> io::Result<LiveCopy> {
    let bytes = fs::read(path)?;
    let mut copy = SEGMENT_MAGIC.to_vec();
    let mut moves = Vec::new();
    frame::scan(&bytes, header_bytes(&bytes), |offset, length, frame| {
        if !dead.contains(&frame.sequence)
            && let Some(place) = place_of(id, copy.len(), length)
        {
            copy.extend_from_slice(&bytes[offset..offset + length]);
            moves.push((line_of(&frame, frame.tenant.into()), frame.sequence, place));
        }
    });
    Ok(LiveCopy { bytes: copy, moves })
}

fn line_of(frame: &Frame<'_>, tenant: Arc<str>) -> LineKey {
    let divided = frame.name.is_some();
    LineKey { signal: frame.signal, tenant, slot: frame.stream.slot(), divided }
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
        making: Making::of(frame.name.map(|name| name.interval_ms), frame.pushed),
        oldest_ms: frame.oldest_ms,
        appended_ms: frame.appended_ms,
        bytes: u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX),
        raw_length: frame.raw_length,
        samples: frame.samples,
        place: Some(place),
    }
}
