//! The queue of one destination on disk: segments of frames, and the cursors. Blocking; `disk` calls
//! it from a thread that may wait, and is its only owner.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rustix::{
    fs::{FlockOperation, flock, statvfs},
    io::Errno,
};

use crate::outbox::{
    cursors::Cursors,
    entry::{LineKey, Place},
    frame::{self, Record},
    recovery::{self, LiveCopy, Recovery},
};

pub(super) const SEGMENT_MAGIC: [u8; 8] = *b"STLSEGM2";
const EXTENSION: &str = "segment";
/// What is gathered before it is handed to the kernel; one sync follows for all.
const WRITE_BYTES: usize = 256 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogSettings {
    pub(super) directory: PathBuf,
    /// A segment that has reached it is finished, and a new one begun.
    pub(super) segment_bytes_max: u64,
    /// The log grows no further while the file system has less.
    pub(super) free_bytes_min: u64,
}

#[derive(Debug)]
pub(super) struct Log {
    settings: LogSettings,
    /// The directory itself; the lock on it ends with the process. `None`: the disk did not let us
    /// create it yet.
    lock: Option<Locked>,
    segments: BTreeMap<NonZeroU32, Segment>,
    next_segment: NonZeroU32,
    writer: Option<Writer>,
    cursors: Cursors,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) bytes: u64,
    /// Of records that are not done with.
    pub(super) live_bytes: u64,
    /// Records that are done with, by sequence. The positions do not tell of all of them: one that
    /// waits keeps its line's position back.
    pub(super) dead: Vec<u64>,
}

#[derive(Debug)]
struct Writer {
    segment: NonZeroU32,
    file: File,
    bytes: u64,
}

/// What the disk does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DiskError {
    /// No space left, or less than what is to stay free.
    Full(String),
    Failed(String),
}

/// What reading a record has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Batch(Bytes),
    /// It is damaged, or its file is gone.
    Lost,
    /// Another try may do better: too many open files, no memory.
    NotNow(String),
}

/// A record that lies elsewhere now.
pub(super) type Move = (LineKey, u64, Place);

impl Log {
    /// Opens or creates the directory, and finds what is unsent in it. Trouble with the disk is told
    /// in the recovery; an error is what the operator must see to before the agent can start.
    pub(super) fn open(settings: LogSettings) -> Result<(Self, Recovery), String> {
        let at = settings.directory.display().to_string();
        let lock = match lock(&settings.directory) {
            Ok(lock) => Some(lock),
            Err(e) if is_disk_trouble(&e) => None,
            Err(e) => return Err(format!("can't use the outbox directory `{at}`: {e}")),
        };
        let ids = segment_ids(&settings.directory)
            .map_err(|e| format!("can't list the outbox directory `{at}`: {e}"))?;
        let (cursors, cursors_damaged) = Cursors::load(&settings.directory)
            .map_err(|e| format!("can't read the cursors in `{at}`: {e}"))?;
        let mut log = Self {
            settings,
            lock,
            next_segment: ids.iter().max().map_or(NonZeroU32::MIN, |id| id.saturating_add(1)),
            segments: ids.into_iter().map(|id| (id, Segment::default())).collect(),
            writer: None,
            cursors,
        };
        let mut recovery = log.recover();
        // Segments without a word on how far they are sent.
        let cursors_gone = log.cursors.are_missing() && !log.segments.is_empty();
        recovery.cursors_damaged = cursors_damaged || cursors_gone;
        recovery.fault = log.settle(recovery.next_sequence).err();
        Ok((log, recovery))
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.values()
    }

    pub(super) fn set_free_bytes_min(&mut self, free_bytes_min: u64) {
        self.settings.free_bytes_min = free_bytes_min;
    }

    /// Writes and syncs. On an error none of `records` counts as written; what of them came to disk
    /// all the same is found twice after a crash, and then taken once.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<Vec<Place>, DiskError> {
        self.check_free()?;
        let mut places = Vec::with_capacity(records.len());
        let written = self.write(records, &mut places);
        for (record, place) in records.iter().zip(&places) {
            let segment = self.segments.entry(place.segment).or_default();
            match written {
                Ok(()) => segment.live_bytes += u64::from(place.length),
                Err(_) => segment.dead.push(record.sequence),
            }
        }
        written.map(|()| places)
    }

    pub(super) fn read(&self, wanted: &[(u64, Place)]) -> Vec<Found> {
        let mut open: Option<(NonZeroU32, File)> = None;
        wanted.iter().map(|(sequence, place)| self.read_one(*sequence, *place, &mut open)).collect()
    }

    /// Persists positions, then lets go of what is done with. What is released is gone in any case:
    /// a position that can't be written costs repetitions after a crash, and space may be what helps.
    pub(super) fn confirm(
        &mut self,
        positions: &[(LineKey, u64)],
        released: &[(u64, Place)],
    ) -> Result<(), DiskError> {
        let mut outcome = if positions.is_empty() {
            Ok(())
        } else {
            self.cursors.advance(positions).map_err(|e| self.error("can't write the cursors", &e))
        };
        for (sequence, place) in released {
            self.let_go(*sequence, *place);
        }
        let current = self.writer.as_ref().map(|writer| writer.segment);
        let done: Vec<NonZeroU32> = self
            .segments
            .iter()
            .filter(|(id, segment)| segment.live_bytes == 0 && Some(**id) != current)
            .map(|(id, _)| *id)
            .collect();
        if !done.is_empty() {
            outcome = outcome.and(self.sync_cursors());
        }
        for id in done {
            outcome = outcome.and(self.unlink(id));
        }
        outcome
    }

    pub(super) fn reserve(&mut self, next_sequence: u64) -> Result<(), DiskError> {
        self.cursors.reserve(next_sequence).map_err(|e| self.error("can't write the cursors", &e))
    }

    pub(super) fn sync_cursors(&mut self) -> Result<(), DiskError> {
        self.cursors.sync().map_err(|e| self.error("can't sync the cursors", &e))
    }

    /// Rewrites the segment that holds the most of what is sent, where that is more than what is not
    /// and more than a few segments: one stuck lane must not pin the rest.
    pub(super) fn compact(&mut self) -> Result<Vec<Move>, DiskError> {
        let all: u64 = self.segments.values().map(|segment| segment.bytes).sum();
        let live: u64 = self.segments.values().map(|segment| segment.live_bytes).sum();
        if all <= 2 * live + 4 * self.settings.segment_bytes_max {
            return Ok(Vec::new());
        }
        let current = self.writer.as_ref().map(|writer| writer.segment);
        let finished = self.segments.iter().filter(|(id, _)| Some(**id) != current);
        let most = finished
            .max_by_key(|(_, segment)| segment.bytes - segment.live_bytes.min(segment.bytes));
        let Some((&id, _)) = most else { return Ok(Vec::new()) };
        self.rewrite(id)
    }

    /// No segment is written to any more; the next record begins a new one.
    pub(super) fn abandon_segment(&mut self) {
        self.writer = None;
    }

    fn write(&mut self, records: &[Record], places: &mut Vec<Place>) -> Result<(), DiskError> {
        let mut buffer = Vec::new();
        for record in records {
            self.begin_segment_if_full(&mut buffer)?;
            let writer = self.writer.as_mut().expect("a segment has just been begun");
            let length = frame::encode(record, &mut buffer).expect("the queue takes no larger one");
            let offset = u32::try_from(writer.bytes).expect("a full segment is not written to");
            let length = u32::try_from(length).expect("a frame is smaller than a segment");
            writer.bytes += u64::from(length);
            places.push(Place { segment: writer.segment, offset, length });
            if buffer.len() >= WRITE_BYTES {
                self.hand_over(&mut buffer)?;
            }
        }
        self.flush(&mut buffer)
    }

    fn let_go(&mut self, sequence: u64, place: Place) {
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.live_bytes = segment.live_bytes.saturating_sub(u64::from(place.length));
            segment.dead.push(sequence);
        }
    }

    fn recover(&mut self) -> Recovery {
        let mut recovery = Recovery::default();
        for (id, segment) in &mut self.segments {
            let path = path_of(&self.settings.directory, *id);
            *segment = recovery.take_segment(*id, &path, &self.cursors);
        }
        for (sequence, place) in recovery.finish(self.cursors.last_sequence()) {
            self.let_go(sequence, place);
        }
        recovery
    }

    /// Brings the directory into the form that this run writes.
    fn settle(&mut self, next_sequence: u64) -> Result<(), DiskError> {
        self.cursors.rewrite().map_err(|e| self.error("can't write the cursors", &e))?;
        self.reserve(next_sequence)?;
        self.confirm(&[], &[])
    }

    fn begin_segment_if_full(&mut self, buffer: &mut Vec<u8>) -> Result<(), DiskError> {
        if let Some(writer) = &self.writer {
            if writer.bytes < self.settings.segment_bytes_max {
                return Ok(());
            }
            self.flush(buffer)?;
            self.writer = None;
        }
        self.take_directory()?;
        let segment = self.next_segment;
        // Whatever becomes of it, this number is taken.
        self.next_segment = segment.saturating_add(1);
        let path = path_of(&self.settings.directory, segment);
        let bytes = SEGMENT_MAGIC.len() as u64;
        self.segments.insert(segment, Segment { bytes, ..Segment::default() });
        let begin = || -> io::Result<File> {
            let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
            file.write_all(&SEGMENT_MAGIC)?;
            sync_directory(&self.settings.directory)?;
            Ok(file)
        };
        let file = begin().map_err(|e| self.error("can't begin a segment", &e))?;
        self.writer = Some(Writer { segment, file, bytes });
        Ok(())
    }

    /// What the disk did not allow at the start.
    fn take_directory(&mut self) -> Result<(), DiskError> {
        if self.lock.is_some() {
            return Ok(());
        }
        let directory = &self.settings.directory;
        let taken = lock(directory).and_then(|lock| {
            // A disk that was mounted late: what lies there belongs to the next start.
            let strange = holds_segments(directory);
            if strange {
                Err(io::Error::other("records of another run lie there"))
            } else {
                Ok(lock)
            }
        });
        self.lock = Some(taken.map_err(|e| self.error("can't create the directory", &e))?);
        Ok(())
    }

    fn flush(&mut self, buffer: &mut Vec<u8>) -> Result<(), DiskError> {
        self.hand_over(buffer)?;
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if let Err(e) = writer.file.sync_data() {
            self.abandon_segment();
            return Err(self.error("can't write a segment", &e));
        }
        if let Some(segment) = self.segments.get_mut(&writer.segment) {
            segment.bytes = writer.bytes;
        }
        Ok(())
    }

    /// After an error the file is left as it is: a sync that has failed once says nothing any more.
    fn hand_over(&mut self, buffer: &mut Vec<u8>) -> Result<(), DiskError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let written = writer.file.write_all(buffer);
        buffer.clear();
        if let Err(e) = written {
            self.abandon_segment();
            return Err(self.error("can't write a segment", &e));
        }
        Ok(())
    }

    fn read_one(
        &self,
        sequence: u64,
        place: Place,
        open: &mut Option<(NonZeroU32, File)>,
    ) -> Found {
        let mut read = || -> io::Result<Vec<u8>> {
            let file = match open {
                Some((id, file)) if *id == place.segment => file,
                Some(_) | None => {
                    let file = File::open(path_of(&self.settings.directory, place.segment))?;
                    &mut open.insert((place.segment, file)).1
                }
            };
            file.seek(SeekFrom::Start(u64::from(place.offset)))?;
            let mut bytes = Vec::new();
            file.take(u64::from(place.length)).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => match frame::decode(&bytes) {
                Ok((frame, used)) if frame.sequence == sequence && used == bytes.len() => {
                    let start = used - frame.bytes.len();
                    Found::Batch(Bytes::from(bytes).slice(start..))
                }
                Ok(_) | Err(_) => Found::Lost,
            },
            Err(e) if is_passing(&e) => Found::NotNow(e.to_string()),
            Err(_) => Found::Lost,
        }
    }

    /// A copy without what is done with takes the place of the segment.
    fn rewrite(&mut self, id: NonZeroU32) -> Result<Vec<Move>, DiskError> {
        let path = path_of(&self.settings.directory, id);
        let temporary = path.with_extension("tmp");
        let dead = self.segments.get(&id).map(|segment| segment.dead.iter().copied());
        let dead: BTreeSet<u64> = dead.into_iter().flatten().collect();
        let rewriting = || -> io::Result<(Vec<Move>, u64)> {
            let LiveCopy { bytes, moves } = recovery::live_copy(&path, id, &dead)?;
            let mut file = File::create(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_data()?;
            fs::rename(&temporary, &path)?;
            sync_directory(&self.settings.directory)?;
            Ok((moves, bytes.len() as u64))
        };
        let (moves, bytes) = rewriting().map_err(|e| {
            // What it leaves is removed at the next opening at the latest.
            let _ = fs::remove_file(&temporary);
            self.error("can't rewrite a segment", &e)
        })?;
        let live_bytes = moves.iter().map(|(.., place)| u64::from(place.length)).sum();
        self.segments.insert(id, Segment { bytes, live_bytes, dead: Vec::new() });
        Ok(moves)
    }

    fn unlink(&mut self, id: NonZeroU32) -> Result<(), DiskError> {
        match fs::remove_file(path_of(&self.settings.directory, id)) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(self.error("can't remove a segment", &e))
            }
            Ok(()) | Err(_) => {
                self.segments.remove(&id);
                Ok(())
            }
        }
    }

    fn check_free(&self) -> Result<(), DiskError> {
        let Ok(stat) = statvfs(&self.settings.directory) else { return Ok(()) };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let least = self.settings.free_bytes_min;
        if free >= least {
            return Ok(());
        }
        Err(DiskError::Full(format!(
            "{free} bytes of disk space are left, {least} are to stay free"
        )))
    }

    fn error(&self, what: &str, e: &io::Error) -> DiskError {
        let text = format!("{what} in `{}`: {e}", self.settings.directory.display());
        match e.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskError::Full(text),
            _ => DiskError::Failed(text),
        }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(text) | Self::Failed(text) => f.write_str(text),
        }
    }
}

/// Whether a log lies in `directory`, without opening it.
pub(super) fn holds_segments(directory: &Path) -> bool {
    let Ok(entries) = fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| entry.path().extension().is_some_and(|e| e == EXTENSION))
}

/// The directory, created where it is missing, and ours alone.
/// Keeps others away from a directory as long as it lives.
#[derive(Debug)]
struct Locked(File);

impl Drop for Locked {
    /// Closed only, it would still be locked while a child process of this moment has a copy of it.
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

fn lock(directory: &Path) -> io::Result<Locked> {
    fs::create_dir_all(directory)?;
    let lock = File::open(directory)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|e| match e {
        Errno::WOULDBLOCK => io::Error::other("it is in use by another process"),
        e => e.into(),
    })?;
    if let Some(parent) = directory.parent() {
        sync_directory(parent)?;
    }
    Ok(Locked(lock))
}

/// What passes without the operator, or at least must not keep the agent from scraping.
fn is_disk_trouble(e: &io::Error) -> bool {
    let kinds = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::ReadOnlyFilesystem];
    kinds.contains(&e.kind()) || e.raw_os_error() == Some(Errno::IO.raw_os_error())
}

fn path_of(directory: &Path, segment: NonZeroU32) -> PathBuf {
    directory.join(format!("{segment:010}.{EXTENSION}"))
}

/// The segments of `directory`; what an interrupted rewrite has left is removed.
fn segment_ids(directory: &Path) -> io::Result<Vec<NonZeroU32>> {
    let mut ids = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(ids),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let extension = path.extension().map(OsString::from).unwrap_or_default();
        if extension == "tmp" {
            // On a disk that can't be written to it does no harm either.
            let _ = fs::remove_file(&path);
        } else if extension == EXTENSION
            && let Some(id) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok())
        {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn is_passing(e: &io::Error) -> bool {
    let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR, Errno::AGAIN];
    e.raw_os_error().is_some_and(|code| passing.iter().any(|errno| errno.raw_os_error() == code))
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::Index};

    use super::*;
    use crate::{
        model::{
            batch::{Batch, Signal},
            member::NodeId,
            record::RecordName,
            slot::StreamKey,
        },
        outbox::{entry::Entry, recovery::Unsent},
    };

    const STREAMS: u64 = 7;

    #[derive(Clone, Debug)]
    enum Step {
        Append(Vec<(u64, usize)>),
        /// So many of a stream's line are acknowledged.
        Confirm(u64, usize),
        /// Any one of a stream's line is done with, while others of it wait.
        Release(u64, Index),
        SyncCursors,
        /// The process dies: of what was not synced a part is gone, and of a write that was being
        /// made a part is there.
        Crash {
            lost: Index,
            torn: Index,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        let record = (0..STREAMS, 0_usize..200);
        prop_oneof![
            5 => proptest::collection::vec(record, 1..6).prop_map(Step::Append),
            5 => (0..STREAMS, 1_usize..8).prop_map(|(stream, n)| Step::Confirm(stream, n)),
            2 => (0..STREAMS, any::<Index>()).prop_map(|(stream, at)| Step::Release(stream, at)),
            1 => Just(Step::SyncCursors),
            1 => (any::<Index>(), any::<Index>()).prop_map(|(lost, torn)| Step::Crash { lost, torn }),
        ]
    }

    /// A log beside what must be true of it.
    struct Judge {
        directory: tempfile::TempDir,
        log: Option<Log>,
        /// Written and not acknowledged.
        live: Vec<(LineKey, Entry)>,
        /// Done with, while something with a smaller number waits: after a crash it may be back.
        loose: Vec<(LineKey, u64)>,
        /// Acknowledged, and the position perhaps not on disk yet.
        unsynced: BTreeSet<u64>,
        /// Acknowledged, and the position on disk.
        gone: BTreeSet<u64>,
        next_sequence: u64,
        used: BTreeSet<u64>,
        cursor_bytes_synced: usize,
    }

    impl Judge {
        fn new() -> Self {
            let mut judge = Self {
                directory: tempfile::tempdir().unwrap(),
                log: None,
                live: Vec::new(),
                loose: Vec::new(),
                unsynced: BTreeSet::new(),
                gone: BTreeSet::new(),
                next_sequence: 0,
                used: BTreeSet::new(),
                cursor_bytes_synced: 0,
            };
            judge.open();
            judge
        }

        fn log(&mut self) -> &mut Log {
            self.log.as_mut().unwrap()
        }

        fn open(&mut self) {
            let settings = LogSettings {
                directory: self.directory.path().to_owned(),
                segment_bytes_max: 600,
                free_bytes_min: 0,
            };
            let (log, recovery) = Log::open(settings).unwrap();
            assert_eq!(recovery.fault, None);
            assert_eq!(recovery.corrupt_places, 0);
            assert!(!recovery.cursors_damaged || self.next_sequence > 0);
            self.next_sequence = recovery.next_sequence;
            self.log = Some(log);
            self.check(recovery.unsent);
        }

        fn check(&mut self, unsent: Vec<Unsent>) {
            assert!(unsent.iter().all(|unsent| unsent.name == name_of(&unsent.entry)));
            let found: Vec<(LineKey, Entry)> =
                unsent.into_iter().map(|unsent| (unsent.key, unsent.entry)).collect();
            let sequences: Vec<u64> = found.iter().map(|(_, entry)| entry.sequence).collect();
            assert!(sequences.is_sorted());
            let found_set: BTreeSet<u64> = sequences.iter().copied().collect();
            assert_eq!(found_set.len(), sequences.len(), "a record came twice");
            for (_, entry) in &self.live {
                assert!(found_set.contains(&entry.sequence), "{} is lost", entry.sequence);
            }
            for sequence in &found_set {
                assert!(!self.gone.contains(sequence), "{sequence} is back");
            }
            let next = self.next_sequence;
            assert!(self.used.last().is_none_or(|last| *last < next), "a number comes again");
            let wanted: Vec<(u64, Place)> =
                found.iter().map(|(_, entry)| (entry.sequence, entry.place.unwrap())).collect();
            for ((sequence, _), batch) in wanted.iter().zip(self.log().read(&wanted)) {
                let Found::Batch(bytes) = batch else { panic!("{sequence} can't be read") };
                assert!(bytes.iter().all(|byte| u64::from(*byte) == sequence % 251));
            }
            self.gone.append(&mut self.unsynced);
            self.gone.retain(|sequence| !found_set.contains(sequence));
            self.loose.clear();
            self.live = found;
        }

        fn record(&mut self, stream: u64, length: usize) -> Record {
            let sequence = self.next_sequence;
            self.next_sequence += 1;
            self.used.insert(sequence);
            let fill = u8::try_from(sequence % 251).unwrap();
            let batch = Batch {
                signal: Signal::Metrics,
                tenant: "".into(),
                stream: StreamKey(stream << 52),
                round: 0,
                since_ms: stream.is_multiple_of(2).then_some(5),
                pushed: false,
                samples: 1,
                oldest_ms: 0,
                raw_length: 0,
                bytes: vec![fill; length].into(),
            };
            let name = name_of(&Entry::of(&batch, sequence, 0));
            Record { sequence, appended_ms: 0, name, copy_of: None, batch }
        }

        fn append(&mut self, records: &[(u64, usize)]) {
            let records: Vec<Record> =
                records.iter().map(|(stream, length)| self.record(*stream, *length)).collect();
            let next = self.next_sequence;
            let places = self.log().append(&records).unwrap();
            self.log().reserve(next).unwrap();
            for (record, place) in records.iter().zip(places) {
                let entry = Entry::of(&record.batch, record.sequence, 0);
                let key = line_of(record.batch.stream);
                self.live.push((key, Entry { place: Some(place), ..entry }));
            }
        }

        fn confirm(&mut self, stream: u64, count: usize) {
            let key = line_of(StreamKey(stream << 52));
            let own = self.live.iter().filter(|(other, _)| *other == key).take(count);
            let done: Vec<Entry> = own.map(|(_, entry)| *entry).collect();
            self.done(&key, &done);
        }

        fn release(&mut self, stream: u64, at: Index) {
            let key = line_of(StreamKey(stream << 52));
            let own = self.live.iter().filter(|(other, _)| *other == key);
            let own: Vec<Entry> = own.map(|(_, entry)| *entry).collect();
            if !own.is_empty() {
                self.done(&key, &[*at.get(&own)]);
            }
        }

        fn done(&mut self, key: &LineKey, done: &[Entry]) {
            if done.is_empty() {
                return;
            }
            let released: Vec<(u64, Place)> =
                done.iter().filter_map(|entry| Some((entry.sequence, entry.place?))).collect();
            self.live.retain(|(_, entry)| !done.contains(entry));
            self.loose.extend(done.iter().map(|entry| (key.clone(), entry.sequence)));
            let first = self.live.iter().find(|(other, _)| other == key);
            let position = first.map_or(self.next_sequence, |(_, entry)| entry.sequence) - 1;
            let (passed, loose) = std::mem::take(&mut self.loose)
                .into_iter()
                .partition(|(other, sequence)| other == key && *sequence <= position);
            self.loose = loose;
            let passed: Vec<(LineKey, u64)> = passed;
            self.unsynced.extend(passed.into_iter().map(|(_, sequence)| sequence));
            self.log().confirm(&[(key.clone(), position)], &released).unwrap();
            for (key, sequence, place) in self.log().compact().unwrap() {
                let entry = self.live.iter_mut().find(|(_, entry)| entry.sequence == sequence);
                let entry = entry.expect("what is done with is not copied");
                assert_eq!(entry.0, key);
                entry.1.place = Some(place);
            }
        }

        /// What is synced now survives everything.
        fn note_synced(&mut self) {
            if self.log().cursors.is_synced() {
                self.cursor_bytes_synced = self.cursor_file().len();
                self.gone.append(&mut self.unsynced);
            }
        }

        fn cursor_file(&self) -> Vec<u8> {
            fs::read(self.directory.path().join("cursors")).unwrap()
        }

        fn crash(&mut self, lost: Index, torn: Index) {
            let record = self.record(0, 100);
            let writer = self.log().writer.as_ref().map(|writer| writer.segment);
            self.log = None;
            let mut cursors = self.cursor_file();
            cursors.truncate(
                self.cursor_bytes_synced + lost.index(cursors.len() - self.cursor_bytes_synced + 1),
            );
            fs::write(self.directory.path().join("cursors"), cursors).unwrap();
            if let Some(segment) = writer {
                let mut frame = Vec::new();
                frame::encode(&record, &mut frame).unwrap();
                frame.truncate(torn.index(frame.len()));
                let path = path_of(self.directory.path(), segment);
                OpenOptions::new().append(true).open(path).unwrap().write_all(&frame).unwrap();
            }
            self.open();
        }

        /// The files hold what lives and not much more.
        fn check_size(&mut self) {
            let live: u64 = self.live.iter().map(|(_, e)| u64::from(e.place.unwrap().length)).sum();
            let log = self.log();
            let (mut counted, mut bytes) = (0, 0);
            for segment in log.segments() {
                counted += segment.live_bytes;
                bytes += segment.bytes;
            }
            assert_eq!(counted, live);
            assert!(bytes <= 2 * live + 6 * 600 + 400, "{bytes} bytes for {live}");
        }
    }

    fn line_of(stream: StreamKey) -> LineKey {
        let slot = stream.slot();
        let divided = slot.number().is_multiple_of(2);
        LineKey { signal: Signal::Metrics, tenant: "".into(), slot, divided }
    }

    /// As if a half of it had been taken over from another member.
    fn name_of(entry: &Entry) -> Option<RecordName> {
        let sequence = entry.sequence;
        let node = NodeId(u128::from(sequence % 2));
        Some(RecordName { interval_ms: entry.since_ms()?, node, sequence: sequence / 2 })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn nothing_queued_is_lost_and_nothing_sent_returns(
            steps in proptest::collection::vec(step(), 1..80),
        ) {
            let mut judge = Judge::new();
            judge.note_synced();
            for step in steps {
                match step {
                    Step::Append(records) => judge.append(&records),
                    Step::Confirm(stream, count) => judge.confirm(stream, count),
                    Step::SyncCursors => judge.log().sync_cursors().unwrap(),
                    Step::Release(stream, at) => judge.release(stream, at),
                    Step::Crash { lost, torn } => judge.crash(lost, torn),
                }
                judge.note_synced();
                judge.check_size();
            }
        }
    }

    #[test]
    fn segments_without_cursors_are_told_of() {
        let mut judge = Judge::new();
        let damaged = |judge: &mut Judge| {
            judge.log = None;
            let settings = LogSettings {
                directory: judge.directory.path().to_owned(),
                segment_bytes_max: 600,
                free_bytes_min: 0,
            };
            let (log, recovery) = Log::open(settings).unwrap();
            judge.log = Some(log);
            recovery.cursors_damaged
        };
        fs::remove_file(judge.directory.path().join("cursors")).unwrap();
        assert!(!damaged(&mut judge), "there is nothing that they could tell of");
        let record = judge.record(1, 10);
        judge.log().append(&[record]).unwrap();
        assert!(!damaged(&mut judge));
        fs::remove_file(judge.directory.path().join("cursors")).unwrap();
        assert!(damaged(&mut judge));
    }
}
