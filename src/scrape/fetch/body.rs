//! The bytes of an answer: kept packed as they came until they are read, then unpacked in one go,
//! never beyond a limit, into buffers that all targets share.
//!
//! So of bodies no more are in memory unpacked than there are threads that read them, however many
//! arrive at the same time and however slowly: none waits for another's end.

use std::sync::{Mutex, PoisonError};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use crate::scrape::failure::Failure;

/// No body grows beyond this, whatever `body_size_limit` says: some five times what the largest
/// exporters that are known of expose (kube-state-metrics of a huge cluster), and little enough for
/// a gzip bomb to be refused before the machine runs out of memory.
pub(super) const BODY_BYTES_MAX: u64 = 512 << 20;

/// What waits for the next body; what is larger goes back to the allocator.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// More threads than this that read at once make their own.
const KEPT_BUFFERS_MAX: usize = 8;

/// As much as is taken from a socket at once: more than most bodies are, packed.
const READ_BYTES: usize = 64 << 10;

/// So much is unpacked in one go: what was just written is checked while the cache has it.
const ROOM_BYTES_MAX: usize = 256 << 10;
/// A body that is longer than it says grows by at least this much.
const GROWTH_BYTES: usize = 16 << 10;
/// Of its length, what room has to spare for the next one that is a little longer.
const SPARE_PART: usize = 16;
/// It is believed to be as long as it says up to so many times what it is packed: deflate can't do
/// better.
const RATIO_MAX: usize = 1032;

/// Buffers for what a socket has, each in use only while it is emptied.
#[derive(Debug, Default)]
pub(super) struct ReadBuffers(Mutex<Vec<Box<[u8]>>>);

impl ReadBuffers {
    pub(super) fn take(&self) -> Box<[u8]> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| vec![0; READ_BYTES].into_boxed_slice())
    }

    pub(super) fn give_back(&self, buffer: Box<[u8]>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_BUFFERS_MAX {
            kept.push(buffer);
        }
    }
}

/// What unpacks bodies, while none is unpacked.
#[derive(Debug, Default)]
pub(in crate::scrape) struct Unpackers(Mutex<Vec<Unpacker>>);

/// Unpacks one body after the other, into the same room.
#[derive(Debug)]
pub(in crate::scrape) struct Unpacker {
    state: Decompress,
    /// Its bytes are all written to, so that none must be before they are unpacked into.
    room: Vec<u8>,
}

impl Unpackers {
    /// One with room for `bytes`, if there is one; else the one that has to grow least, so that pages
    /// which grow from scrape to scrape leave no room behind that is too small for them.
    pub(in crate::scrape) fn take(&self, bytes: usize) -> Unpacker {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = |at: &usize| kept[*at].room.len();
        let fitting = (0..kept.len()).filter(|at| room(at) >= bytes).min_by_key(room);
        let best = fitting.or_else(|| (0..kept.len()).max_by_key(room));
        best.map(|at| kept.swap_remove(at)).unwrap_or_default()
    }

    pub(in crate::scrape) fn give_back(&self, unpacker: Unpacker) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: usize = kept.iter().map(|one| one.room.len()).sum();
        if bytes + unpacker.room.len() > KEPT_BYTES_MAX {
            return;
        }
        if kept.len() == KEPT_BUFFERS_MAX {
            // The smallest is the least use to all.
            let Some(smallest) = kept.iter_mut().min_by_key(|one| one.room.len()) else { return };
            if smallest.room.len() < unpacker.room.len() {
                *smallest = unpacker;
            }
            return;
        }
        kept.push(unpacker);
    }
}

impl Default for Unpacker {
    fn default() -> Self {
        Self { state: Decompress::new(false), room: Vec::new() }
    }
}

/// How the answer's body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// By the value of `Content-Encoding`.
    pub(super) fn named(header: Option<&[u8]>) -> Result<Self, Failure> {
        let name = header.unwrap_or_default().trim_ascii();
        if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
            Ok(Self::Identity)
        } else if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
            Ok(Self::Gzip)
        } else {
            let name = name.escape_ascii();
            Err(Failure::Encoding(format!("received Content-Encoding `{name}`, expected gzip")))
        }
    }

    /// How long a body may be as it comes that may have `bytes_max` unpacked. What can't be packed
    /// is a little longer packed.
    pub(super) fn packed_bytes_max(self, bytes_max: u64) -> u64 {
        match self {
            Self::Identity => bytes_max,
            Self::Gzip => bytes_max.saturating_add(bytes_max / 1000 + (64 << 10)),
        }
    }
}

/// A body as it came.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) bytes: Vec<u8>,
    pub(super) encoding: Encoding,
    /// Of what is unpacked.
    pub(super) bytes_max: u64,
}

impl Packed {
    /// About how long it will be.
    pub(super) fn bytes_expected(&self) -> usize {
        let packed = self.bytes.len();
        match (self.encoding, self.bytes.last_chunk::<4>()) {
            (Encoding::Identity, _) | (Encoding::Gzip, None) => packed,
            (Encoding::Gzip, Some(length)) => {
                let told = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
                let limit = usize::try_from(self.bytes_max).unwrap_or(usize::MAX);
                told.min(packed.saturating_mul(RATIO_MAX)).min(limit)
            }
        }
    }

    pub(super) fn unpack<'a>(&'a self, unpacker: &'a mut Unpacker) -> Result<&'a [u8], Failure> {
        match self.encoding {
            Encoding::Identity => Ok(&self.bytes),
            Encoding::Gzip => {
                let expected = self.bytes_expected();
                unpacker.gunzip(&self.bytes, expected, self.bytes_max)
            }
        }
    }
}

impl Unpacker {
    /// Of several members that may follow each other (RFC 1952, 2.2).
    fn gunzip(&mut self, packed: &[u8], expected: usize, max: u64) -> Result<&[u8], Failure> {
        let too_large = Failure::BodySize { bytes_max: max };
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        // One byte more, so that the end is seen without another look.
        if self.room.len() <= expected {
            // What was there is not wanted any more: it goes before the new comes.
            self.room = Vec::new();
            self.room = vec![0; (expected + expected / SPARE_PART).min(max) + 1];
        }
        let (mut rest, mut full) = (packed, 0);
        loop {
            rest = behind_header(rest).ok_or_else(|| corrupt("no header"))?;
            let (used, length, checksum) = self.inflate(rest, full, max)?;
            if full + length > max {
                return Err(too_large);
            }
            full += length;
            let Some((trailer, behind)) = rest[used..].split_first_chunk::<8>() else {
                return Err(corrupt("it ends before its end"));
            };
            let (sum, told) = trailer.split_first_chunk::<4>().expect("4 of 8 bytes");
            let length = u32::try_from(length & 0xffff_ffff).expect("32 bits");
            if u32::from_le_bytes(*sum) != checksum || *told != length.to_le_bytes() {
                return Err(corrupt("its checksum is wrong"));
            }
            rest = behind;
            if rest.is_empty() {
                return Ok(&self.room[..full]);
            }
        }
    }

    /// One member, behind the `full` bytes of those before it, until it ends or there is more than
    /// `max`; tells what it used, its length and its checksum.
    fn inflate(
        &mut self,
        packed: &[u8],
        full: usize,
        max: usize,
    ) -> Result<(usize, usize, u32), Failure> {
        let (mut used, mut end, mut checksum) = (0, full, Crc::new());
        self.state.reset(false);
        loop {
            if end == self.room.len() {
                let bytes = end + end.min(max.saturating_sub(end)) + GROWTH_BYTES;
                self.room.reserve_exact(bytes - end);
                self.room.resize(bytes, 0);
            }
            let room = (self.room.len() - end).min(ROOM_BYTES_MAX);
            let room = &mut self.room[end..end + room];
            let before = (self.state.total_in(), self.state.total_out());
            // To be told that it is the last piece spares a copy of what may be referred to later.
            let status = self
                .state
                .decompress(&packed[used..], room, FlushDecompress::Finish)
                .map_err(|e| corrupt(&e.to_string()))?;
            let taken = usize::try_from(self.state.total_in() - before.0).expect("of a slice");
            let made = usize::try_from(self.state.total_out() - before.1).expect("of a slice");
            checksum.update(&room[..made]);
            used += taken;
            end += made;
            match status {
                Status::StreamEnd => return Ok((used, end - full, checksum.sum())),
                Status::Ok | Status::BufError if end > max => {
                    return Ok((used, end - full, checksum.sum()));
                }
                // With room left, all there was to unpack is unpacked.
                Status::Ok | Status::BufError if made < room.len() => {
                    return Err(corrupt("it ends before its end"));
                }
                Status::Ok | Status::BufError => {}
            }
        }
    }
}

/// `None`: that is no header of a member of gzip (RFC 1952, 2.3).
fn behind_header(packed: &[u8]) -> Option<&[u8]> {
    const CHECKSUM: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let ([31, 139, 8, flags, ..], mut rest) = packed.split_first_chunk::<10>()? else {
        return None;
    };
    if flags & !(1 | CHECKSUM | EXTRA | NAME | COMMENT) != 0 {
        return None;
    }
    if flags & EXTRA != 0 {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = memchr::memchr(0, rest)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & CHECKSUM != 0 { rest.get(2..) } else { Some(rest) }
}

fn corrupt(reason: &str) -> Failure {
    Failure::Encoding(format!("gzip: invalid body: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, GzBuilder, write::GzEncoder};

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(encoding: Encoding, packed: &[u8], max: u64) -> Result<Vec<u8>, Failure> {
        let packed = Packed { bytes: packed.to_vec(), encoding, bytes_max: max };
        packed.unpack(&mut Unpacker::default()).map(<[u8]>::to_vec)
    }

    fn plain() -> Vec<u8> {
        (0..200_000_u32).flat_map(|n| (n.wrapping_mul(n) % 997).to_le_bytes()).collect()
    }

    #[test]
    fn unpacks_one_body_after_the_other() {
        let plain = plain();
        let named = GzBuilder::new()
            .filename("a")
            .comment("b")
            .extra("cd")
            .write(Vec::new(), Compression::fast());
        let finish = |mut encoder: GzEncoder<Vec<u8>>, plain: &[u8]| {
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        };
        // The last one tells a length that is not that of all.
        let two_members = [gzip(&plain), gzip(b"and more")].concat();
        let both = [&plain[..], b"and more"].concat();
        let mut unpacker = Unpacker::default();
        for (packed, expected) in [
            (gzip(b""), &b""[..]),
            (gzip(&plain), &plain[..]),
            (gzip(b"short"), b"short"),
            (two_members, &both),
            (gzip(&plain), &plain),
            (finish(named, b"named"), b"named"),
        ] {
            let packed = Packed { bytes: packed, encoding: Encoding::Gzip, bytes_max: u64::MAX };
            assert_eq!(packed.unpack(&mut unpacker).unwrap(), expected);
        }
        assert_eq!(unpack(Encoding::Identity, &plain, u64::MAX).unwrap(), plain);
        assert_eq!(unpack(Encoding::Identity, b"", 0).unwrap(), b"");
        assert_eq!(unpack(Encoding::Gzip, &gzip(b""), 0).unwrap(), b"");
    }

    #[test]
    fn the_limit_counts_what_is_unpacked() {
        let plain = vec![b'x'; 1_000_000];
        for packed in [gzip(&plain), [gzip(&plain[..999_000]), gzip(&plain[..1000])].concat()] {
            assert_eq!(unpack(Encoding::Gzip, &packed, 1_000_000).unwrap(), plain);
            let too_large = Err(Failure::BodySize { bytes_max: 999_999 });
            assert_eq!(unpack(Encoding::Gzip, &packed, 999_999), too_large);
        }
    }

    #[test]
    fn a_bomb_stops_growing_at_the_limit() {
        let mut bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 100_000);
        for told in [64 << 20, 5_u32, u32::MAX] {
            let end = bomb.len() - 4;
            bomb[end..].copy_from_slice(&told.to_le_bytes());
            let mut unpacker = Unpacker::default();
            let packed =
                Packed { bytes: bomb.clone(), encoding: Encoding::Gzip, bytes_max: 1 << 20 };
            let failure = packed.unpack(&mut unpacker).unwrap_err();
            assert_eq!(failure, Failure::BodySize { bytes_max: 1 << 20 });
            let held = unpacker.room.capacity();
            assert!(held <= (1 << 20) + 2 * GROWTH_BYTES, "{held}");
        }
    }

    #[test]
    fn damage_is_told() {
        let good = gzip(&[b'y'; 5000]);
        let mut flipped = good.clone();
        flipped[12] ^= 0xff;
        let mut checksum = good.clone();
        let at = checksum.len() - 6;
        checksum[at] ^= 1;
        let trailing = [&good[..], b"junk"].concat();
        for bad in [&good[..good.len() - 1], &flipped, &checksum, &trailing, b"", b"no gzip"] {
            let failure = unpack(Encoding::Gzip, bad, u64::MAX).unwrap_err();
            assert_eq!(failure.kind(), "encoding", "{failure}");
        }
    }

    #[test]
    fn encodings_by_name() {
        for (header, expected) in [
            (None, Some(Encoding::Identity)),
            (Some(&b""[..]), Some(Encoding::Identity)),
            (Some(b"identity"), Some(Encoding::Identity)),
            (Some(b"GZIP"), Some(Encoding::Gzip)),
            (Some(b"br"), None),
            (Some(b"gzip, gzip"), None),
        ] {
            assert_eq!(Encoding::named(header).ok(), expected);
        }
    }

    #[test]
    fn room_is_kept_up_to_a_bound() {
        let unpackers = Unpackers::default();
        let with = |bytes| Unpacker { room: vec![0; bytes], ..Unpacker::default() };
        unpackers.give_back(with(100));
        unpackers.give_back(with(10 << 20));
        assert_eq!(unpackers.take(1 << 20).room.len(), 10 << 20);
        assert_eq!(unpackers.take(1).room.len(), 100);
        // The next page is a little longer, again and again: one room grows.
        for length in [1_000, 1_040, 1_300, 1_301] {
            let mut unpacker = unpackers.take(length);
            assert_eq!(
                unpacker.gunzip(&gzip(&vec![b'x'; length]), length, 9_999).unwrap().len(),
                length
            );
            unpackers.give_back(unpacker);
            assert_eq!(unpackers.0.lock().unwrap().len(), 1);
        }
        unpackers.0.lock().unwrap().clear();
        for _ in 0..100 {
            unpackers.give_back(with(1 << 10));
            unpackers.give_back(with(1 << 20));
            unpackers.give_back(with(KEPT_BYTES_MAX + 1));
        }
        let kept = unpackers.0.lock().unwrap();
        assert!(kept.iter().all(|one| one.room.len() == 1 << 20));
        assert_eq!(kept.len(), KEPT_BUFFERS_MAX);
    }
}
