//! The queue of one destination on disk: segments of frames, and the cursors. Blocking; `disk` calls
//! it from a thread that may wait, and is its only owner.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock, statvfs};

use crate::outbox::{
    cursors::Cursors,
    frame::{self, Record},
    lane::{LaneKey, Place},
    recovery::{self, Recovery},
};

pub(super) const SEGMENT_MAGIC: [u8; 8] = *b"STLSEGM1";
const EXTENSION: &str = "segment";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogSettings {
    pub(super) directory: PathBuf,
    /// A segment that has reached it is finished, and a new one begun.
    pub(super) segment_bytes_max: u64,
    /// The log grows no further while the file system has less.
    pub(super) free_bytes_min: u64,
    pub(super) lanes: u16,
}

#[derive(Debug)]
pub(super) struct Log {
    settings: LogSettings,
    /// The directory itself; the lock on it ends with the process.
    _lock: File,
    segments: BTreeMap<NonZeroU32, Segment>,
    next_segment: NonZeroU32,
    writer: Option<Writer>,
    cursors: Cursors,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) bytes: u64,
    /// Of records that are not done with.
    pub(super) live_bytes: u64,
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
pub(super) type Move = (LaneKey, u64, Place);

impl Log {
    /// Opens or creates the directory, and finds what is unsent in it. Trouble with the disk is told
    /// in the recovery; an error is what the operator must see to before the agent can start.
    pub(super) fn open(settings: LogSettings) -> Result<(Self, Recovery), String> {
        let at = settings.directory.display().to_string();
        fs::create_dir_all(&settings.directory)
            .map_err(|e| format!("can't create the outbox directory `{at}`: {e}"))?;
        let lock = File::open(&settings.directory)
            .map_err(|e| format!("can't open the outbox directory `{at}`: {e}"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| format!("the outbox directory `{at}` is in use by another process"))?;
        let ids = segment_ids(&settings.directory)
            .map_err(|e| format!("can't list the outbox directory `{at}`: {e}"))?;
        let (cursors, cursors_damaged) = Cursors::load(&settings.directory)
            .map_err(|e| format!("can't read the cursors in `{at}`: {e}"))?;
        let mut log = Self {
            settings,
            _lock: lock,
            next_segment: ids.iter().max().map_or(NonZeroU32::MIN, |id| id.saturating_add(1)),
            segments: ids.into_iter().map(|id| (id, Segment::default())).collect(),
            writer: None,
            cursors,
        };
        let mut recovery = log.recover();
        recovery.cursors_damaged = cursors_damaged;
        recovery.fault = log.settle(&mut recovery).err();
        Ok((log, recovery))
    }

    pub(super) fn lanes(&self) -> u16 {
        self.settings.lanes
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = Segment> {
        self.segments.values().copied()
    }

    pub(super) fn set_free_bytes_min(&mut self, free_bytes_min: u64) {
        self.settings.free_bytes_min = free_bytes_min;
    }

    /// Writes and syncs. On an error none of `records` counts as written; what of them came to disk
    /// all the same is found twice after a crash, and then taken once.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<Vec<Place>, DiskError> {
        self.check_free()?;
        let mut places = Vec::with_capacity(records.len());
        let mut buffer = Vec::new();
        for record in records {
            self.begin_segment_if_full(&mut buffer)?;
            let writer = self.writer.as_mut().expect("a segment has just been begun");
            let length = frame::encode(record, &mut buffer).expect("the queue takes no larger one");
            let offset = u32::try_from(writer.bytes).expect("a full segment is not written to");
            let length = u32::try_from(length).expect("a frame is smaller than a segment");
            writer.bytes += u64::from(length);
            places.push(Place { segment: writer.segment, offset, length });
        }
        self.flush(&mut buffer)?;
        for place in &places {
            let segment = self.segments.entry(place.segment).or_default();
            segment.live_bytes += u64::from(place.length);
        }
        Ok(places)
    }

    pub(super) fn read(&self, wanted: &[(u64, Place)]) -> Vec<Found> {
        let mut open: Option<(NonZeroU32, File)> = None;
        wanted.iter().map(|(sequence, place)| self.read_one(*sequence, *place, &mut open)).collect()
    }

    /// Persists positions, then lets go of what is done with. What is released is gone in any case:
    /// a position that can't be written costs repetitions after a crash, and space may be what helps.
    pub(super) fn confirm(
        &mut self,
        positions: &[(LaneKey, u64)],
        released: &[Place],
    ) -> Result<(), DiskError> {
        let mut outcome = if positions.is_empty() {
            Ok(())
        } else {
            self.cursors.advance(positions).map_err(|e| self.error("can't write the cursors", &e))
        };
        for place in released {
            if let Some(segment) = self.segments.get_mut(&place.segment) {
                segment.live_bytes = segment.live_bytes.saturating_sub(u64::from(place.length));
            }
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

    fn recover(&mut self) -> Recovery {
        // Positions of a file that does not say how many lanes it is for can't be there either.
        let lanes = match self.cursors.lanes() {
            0 => self.settings.lanes,
            lanes => lanes,
        };
        let mut recovery = Recovery::default();
        for (id, segment) in &mut self.segments {
            let path = path_of(&self.settings.directory, *id);
            *segment = recovery.take_segment(*id, &path, lanes, &self.cursors);
        }
        for again in recovery.finish(self.cursors.last_sequence()) {
            if let Some(segment) = self.segments.get_mut(&again.segment) {
                segment.live_bytes -= u64::from(again.length);
            }
        }
        recovery
    }

    /// Brings the directory into the form that this run writes.
    fn settle(&mut self, recovery: &mut Recovery) -> Result<(), DiskError> {
        let before = self.cursors.lanes();
        if before != 0 && before != self.settings.lanes && !recovery.entries.is_empty() {
            let wanted = std::mem::replace(&mut self.settings.lanes, before);
            // In this order: until the last step the old positions hold for all that is left.
            for id in self.segments.keys().copied().collect::<Vec<_>>() {
                let moves = self.rewrite(id)?;
                recovery.relocate(&moves);
            }
            self.cursors
                .start_over(wanted)
                .map_err(|e| self.error("can't write the cursors", &e))?;
            self.settings.lanes = wanted;
            recovery.divide(wanted);
        } else if before == self.settings.lanes {
            self.cursors.rewrite().map_err(|e| self.error("can't write the cursors", &e))?;
        } else {
            let lanes = self.settings.lanes;
            self.cursors
                .start_over(lanes)
                .map_err(|e| self.error("can't write the cursors", &e))?;
        }
        self.reserve(recovery.next_sequence)?;
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
        let segment = self.next_segment;
        // Whatever becomes of it, this number is taken.
        self.next_segment = segment.saturating_add(1);
        let path = path_of(&self.settings.directory, segment);
        let bytes = SEGMENT_MAGIC.len() as u64;
        self.segments.insert(segment, Segment { bytes, live_bytes: 0 });
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

    /// After an error the file is left as it is: a sync that has failed once says nothing any more.
    fn flush(&mut self, buffer: &mut Vec<u8>) -> Result<(), DiskError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let written = writer.file.write_all(buffer).and_then(|()| writer.file.sync_data());
        buffer.clear();
        if let Err(e) = written {
            self.abandon_segment();
            return Err(self.error("can't write a segment", &e));
        }
        if let Some(segment) = self.segments.get_mut(&writer.segment) {
            segment.bytes = writer.bytes;
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
        let rewriting = || -> io::Result<(Vec<Move>, u64)> {
            let (copy, moves) = recovery::live_copy(&path, id, self.settings.lanes, &self.cursors)?;
            let mut file = File::create(&temporary)?;
            file.write_all(&copy)?;
            file.sync_data()?;
            fs::rename(&temporary, &path)?;
            sync_directory(&self.settings.directory)?;
            Ok((moves, copy.len() as u64))
        };
        let (moves, bytes) = rewriting().map_err(|e| {
            // What it leaves is removed at the next opening at the latest.
            let _ = fs::remove_file(&temporary);
            self.error("can't rewrite a segment", &e)
        })?;
        let live_bytes = moves.iter().map(|(.., place)| u64::from(place.length)).sum();
        self.segments.insert(id, Segment { bytes, live_bytes });
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

fn path_of(directory: &Path, segment: NonZeroU32) -> PathBuf {
    directory.join(format!("{segment:010}.{EXTENSION}"))
}

/// The segments of `directory`; what an interrupted rewrite has left is removed.
fn segment_ids(directory: &Path) -> io::Result<Vec<NonZeroU32>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(directory)? {
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
    use rustix::io::Errno;
    let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR, Errno::AGAIN];
    e.raw_os_error().is_some_and(|code| passing.iter().any(|errno| errno.raw_os_error() == code))
}
