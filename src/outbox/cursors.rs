//! How far each line has come, on disk: an append-only file of checksummed entries, written anew
//! when it has grown. A torn or damaged tail costs repetitions, never a record.
//!
//! ```text
//! file:  magic 8 | entries
//! entry: crc32c 4 | kind 1 | signal 1 | slot 2 | value 8 | tenant length 2 | tenant
//! ```

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    model::slot::Slot,
    outbox::{
        entry::LineKey,
        frame::{signal_number, signal_of},
    },
};

const FILE_NAME: &str = "cursors";
const MAGIC: [u8; 8] = *b"STLCURS2";
const ENTRY_BYTES: usize = 18;
/// A larger file is written anew, unless that would not make it much smaller; one position a line is
/// all that it then holds.
const FILE_BYTES_MAX: usize = 1 << 20;
/// Sequence numbers are set aside in such steps, so that none is used twice even if the record that
/// had it never came to disk.
const RESERVE_STEP: u64 = 1 << 20;

const KIND_RESERVED: u8 = 1;
const KIND_UNDIVIDED: u8 = 2;
const KIND_DIVIDED: u8 = 3;

#[derive(Debug)]
pub(super) struct Cursors {
    path: PathBuf,
    file: Option<File>,
    bytes: usize,
    /// When it was last written anew.
    bytes_then: usize,
    /// Written and not synced.
    unsynced: bool,
    state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    reserved: u64,
    positions: BTreeMap<LineKey, u64>,
}

impl Cursors {
    /// What `directory` holds, and whether a part of it could not be understood.
    pub(super) fn load(directory: &Path) -> io::Result<(Self, bool)> {
        let path = directory.join(FILE_NAME);
        let (state, damaged) = match std::fs::read(&path) {
            Ok(bytes) => parse(&bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => (State::default(), false),
            Err(e) => return Err(e),
        };
        Ok((Self { path, file: None, bytes: 0, bytes_then: 0, unsynced: false, state }, damaged))
    }

    /// There was no file, or nothing in it that could be understood.
    pub(super) fn are_missing(&self) -> bool {
        self.state == State::default()
    }

    /// No sequence number above this was ever used.
    pub(super) fn last_sequence(&self) -> u64 {
        let positions = self.state.positions.values().copied().max().unwrap_or_default();
        self.state.reserved.max(positions)
    }

    pub(super) fn is_done(&self, key: &LineKey, sequence: u64) -> bool {
        self.state.positions.get(key).is_some_and(|position| sequence <= *position)
    }

    /// Sequence numbers up to well above `next` are ours.
    pub(super) fn reserve(&mut self, next: u64) -> io::Result<()> {
        if next + RESERVE_STEP / 2 <= self.state.reserved {
            return Ok(());
        }
        self.state.reserved = next + RESERVE_STEP;
        let mut entries = Vec::new();
        push_entry(&mut entries, KIND_RESERVED, None, self.state.reserved);
        self.append(&entries)?;
        self.sync()
    }

    pub(super) fn advance(&mut self, positions: &[(LineKey, u64)]) -> io::Result<()> {
        let mut entries = Vec::new();
        for (key, position) in positions {
            self.state.positions.insert(key.clone(), *position);
            push_entry(&mut entries, kind_of(key), Some(key), *position);
        }
        self.append(&entries)
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.as_ref().filter(|_| self.unsynced) {
            // Of a failed sync nobody knows what it left: the file is written anew.
            file.sync_data().inspect_err(|_| self.file = None)?;
            self.unsynced = false;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn is_synced(&self) -> bool {
        !self.unsynced
    }

    /// Everything known, in a new file that takes the place of the old.
    pub(super) fn rewrite(&mut self) -> io::Result<()> {
        let mut bytes = MAGIC.to_vec();
        push_entry(&mut bytes, KIND_RESERVED, None, self.state.reserved);
        for (key, position) in &self.state.positions {
            push_entry(&mut bytes, kind_of(key), Some(key), *position);
        }
        self.file = None;
        let temporary = self.path.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        std::fs::rename(&temporary, &self.path)?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        self.file = Some(OpenOptions::new().append(true).open(&self.path)?);
        (self.bytes, self.bytes_then) = (bytes.len(), bytes.len());
        self.unsynced = false;
        Ok(())
    }

    fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        let is_small = self.bytes < FILE_BYTES_MAX.max(2 * self.bytes_then);
        let Some(file) = self.file.as_mut().filter(|_| is_small) else {
            return self.rewrite();
        };
        // What stands behind a half-written entry is not read: the next write begins a new file.
        file.write_all(entries).inspect_err(|_| self.file = None)?;
        self.bytes += entries.len();
        self.unsynced = true;
        Ok(())
    }
}

fn kind_of(key: &LineKey) -> u8 {
    if key.divided { KIND_DIVIDED } else { KIND_UNDIVIDED }
}

fn push_entry(out: &mut Vec<u8>, kind: u8, key: Option<&LineKey>, value: u64) {
    let (signal, slot, tenant) =
        key.map_or((0, 0, ""), |key| (signal_number(key.signal), key.slot.number(), &*key.tenant));
    // A record with a longer tenant is not written, so no position of one is asked for.
    let tenant_bytes = u16::try_from(tenant.len()).unwrap_or_default();
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[kind, signal]);
    out.extend_from_slice(&slot.to_le_bytes());
    out.extend_from_slice(&value.to_le_bytes());
    out.extend_from_slice(&tenant_bytes.to_le_bytes());
    out.extend_from_slice(&tenant.as_bytes()[..usize::from(tenant_bytes)]);
    let checksum = crc32c::crc32c(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
}

/// Up to the first entry that is not whole; true where there was one.
fn parse(bytes: &[u8]) -> (State, bool) {
    let mut state = State::default();
    let Some(mut rest) = bytes.strip_prefix(&MAGIC) else { return (state, true) };
    while !rest.is_empty() {
        let Some(used) = parse_entry(rest, &mut state) else { return (state, true) };
        rest = &rest[used..];
    }
    (state, false)
}

fn parse_entry(bytes: &[u8], state: &mut State) -> Option<usize> {
    let (head, rest) = bytes.split_first_chunk::<ENTRY_BYTES>()?;
    let tenant_bytes = u16::from_le_bytes([head[16], head[17]]);
    let tenant = rest.get(..usize::from(tenant_bytes))?;
    let used = ENTRY_BYTES + tenant.len();
    let checksum = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    if crc32c::crc32c(&bytes[4..used]) != checksum {
        return None;
    }
    let number = u16::from_le_bytes([head[6], head[7]]);
    let (_, value) = head[..16].split_last_chunk::<8>()?;
    let value = u64::from_le_bytes(*value);
    match head[4] {
        KIND_RESERVED => state.reserved = value,
        kind @ (KIND_UNDIVIDED | KIND_DIVIDED) => {
            let signal = signal_of(head[5])?;
            let tenant = std::str::from_utf8(tenant).ok()?.into();
            let divided = kind == KIND_DIVIDED;
            let key = LineKey { signal, tenant, slot: Slot::new(number)?, divided };
            state.positions.insert(key, value);
        }
        _ => return None,
    }
    Some(used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batch::Signal;

    fn key(tenant: &str, slot: u16) -> LineKey {
        let slot = Slot::new(slot).unwrap();
        LineKey { signal: Signal::Metrics, tenant: tenant.into(), slot, divided: slot.number() > 3 }
    }

    fn loaded(directory: &Path) -> Cursors {
        Cursors::load(directory).unwrap().0
    }

    #[test]
    fn what_was_written_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut cursors = loaded(directory.path());
        assert!(cursors.are_missing() && cursors.last_sequence() == 0);
        cursors.advance(&[(key("", 3), 7), (key("team", 4095), 9)]).unwrap();
        cursors.advance(&[(key("", 3), 8)]).unwrap();
        let again = loaded(directory.path());
        assert_eq!(again.state, cursors.state);
        assert!(again.is_done(&key("", 3), 8) && !again.is_done(&key("", 3), 9));
        let undivided = LineKey { divided: false, ..key("team", 4095) };
        assert!(!again.is_done(&undivided, 1));
        assert!(again.is_done(&key("team", 4095), 9) && !again.is_done(&key("", 4), 1));

        cursors.reserve(10).unwrap();
        assert!(loaded(directory.path()).last_sequence() >= 10);
    }

    #[test]
    fn a_cut_or_damaged_tail_leaves_what_stood_before() {
        let directory = tempfile::tempdir().unwrap();
        let mut cursors = loaded(directory.path());
        cursors.rewrite().unwrap();
        let path = directory.path().join(FILE_NAME);
        let before = std::fs::read(&path).unwrap().len();
        for n in 1..=3 {
            cursors.advance(&[(key("t", 0), n)]).unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        let entry = (whole.len() - before) / 3;
        for cut in before..=whole.len() {
            let (state, damaged) = parse(&whole[..cut]);
            let entries = (cut - before) / entry;
            let position = state.positions.get(&key("t", 0)).copied().unwrap_or_default();
            assert_eq!(position, entries as u64, "cut at {cut}");
            assert_eq!(!damaged, (cut - before).is_multiple_of(entry), "cut at {cut}");
        }
        for bit in 0..whole.len() * 8 {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bad).1, "bit {bit}");
        }
    }

    #[test]
    fn the_file_does_not_grow_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let mut cursors = loaded(directory.path());
        cursors.rewrite().unwrap();
        let many: Vec<(LineKey, u64)> = (0..1000).map(|n| (key("", 0), n)).collect();
        for _ in 0..200 {
            cursors.advance(&many).unwrap();
        }
        let length = std::fs::metadata(directory.path().join(FILE_NAME)).unwrap().len();
        assert!(length < 2 * FILE_BYTES_MAX as u64, "{length}");
        assert!(loaded(directory.path()).is_done(&key("", 0), 999));
    }
}
