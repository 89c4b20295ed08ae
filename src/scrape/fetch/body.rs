//! The bytes of an answer: unpacked as they arrive, never beyond a limit, in buffers that all
//! targets share.

use std::sync::{Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};

use crate::scrape::failure::Failure;

/// No body grows beyond this, whatever `body_size_limit` says: some five times what the largest
/// exporters that are known of expose (kube-state-metrics of a huge cluster), and little enough for
/// a gzip bomb to be refused before the machine runs out of memory.
pub(super) const BODY_BYTES_MAX: u64 = 512 << 20;

/// What waits for the next scrape in buffers; what is larger goes back to the allocator. A thousand
/// targets that take turns need a handful of buffers, not a thousand.
const KEPT_BYTES_MAX: usize = 32 << 20;
const KEPT_BUFFERS_MAX: usize = 16;

/// A body grows by at least this much at a time.
const GROWTH_BYTES: usize = 16 << 10;
/// So much is unpacked in one go.
const ROOM_BYTES_MAX: usize = 64 << 10;

/// Buffers that are not in use.
#[derive(Debug, Default)]
pub(in crate::scrape) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// An empty buffer that holds `bytes` without growing.
    pub(in crate::scrape) fn take(&self, bytes: usize) -> Vec<u8> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = kept
            .iter()
            .enumerate()
            .filter(|(_, buffer)| buffer.capacity() >= bytes)
            .min_by_key(|(_, buffer)| buffer.capacity());
        match fitting {
            Some((at, _)) => kept.swap_remove(at),
            None => Vec::with_capacity(bytes),
        }
    }

    pub(in crate::scrape) fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: usize = kept.iter().map(Vec::capacity).sum();
        if kept.len() < KEPT_BUFFERS_MAX && bytes + buffer.capacity() <= KEPT_BYTES_MAX {
            kept.push(buffer);
        }
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
}

/// Takes a body's pieces as they come.
pub(super) struct Unpacker {
    out: Vec<u8>,
    bytes_max: u64,
    /// `None`: the pieces are the body.
    gzip: Option<Gzip>,
}

struct Gzip {
    state: Decompress,
    /// A member has begun and not ended. Several may follow each other (RFC 1952, 2.2).
    inside: bool,
    begun: bool,
}

impl Unpacker {
    /// Appends to `out`, until it holds `bytes_max`.
    pub(super) fn new(out: Vec<u8>, encoding: Encoding, bytes_max: u64) -> Self {
        let gzip = match encoding {
            Encoding::Identity => None,
            Encoding::Gzip => Some(Gzip { state: new_member(), inside: false, begun: false }),
        };
        Self { out, bytes_max, gzip }
    }

    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let too_large = Failure::BodySize { bytes_max: self.bytes_max };
        let room = self.bytes_max.saturating_sub(self.out.len() as u64);
        let Some(gzip) = &mut self.gzip else {
            if piece.len() as u64 > room {
                return Err(too_large);
            }
            self.out.extend_from_slice(piece);
            return Ok(());
        };
        let mut rest = piece;
        while !rest.is_empty() {
            if gzip.begun && !gzip.inside {
                gzip.state = new_member();
            }
            (gzip.begun, gzip.inside) = (true, true);
            let used = gzip.inflate(rest, &mut self.out, self.bytes_max)?;
            if self.out.len() as u64 > self.bytes_max {
                return Err(too_large);
            }
            rest = &rest[used..];
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Vec<u8>, Failure> {
        match self.gzip {
            Some(Gzip { begun: false, .. } | Gzip { inside: true, .. }) => {
                Err(corrupt("it ends before its end"))
            }
            Some(_) | None => Ok(self.out),
        }
    }
}

impl Gzip {
    /// Unpacks `input` until it or the member ends, or one byte more than `bytes_max` is out; tells
    /// how much of it was used.
    fn inflate(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        bytes_max: u64,
    ) -> Result<usize, Failure> {
        let before = self.state.total_in();
        loop {
            let used = usize::try_from(self.state.total_in() - before).expect("a part of a slice");
            if out.len() as u64 > bytes_max {
                return Ok(used);
            }
            if out.capacity() - out.len() < GROWTH_BYTES / 2 {
                out.reserve_exact(growth(out.len(), bytes_max));
            }
            // A slice, and a short one: `decompress_vec` writes zeros over all the room there is,
            // each time, before it unpacks into it.
            let (full, unpacked) = (out.len(), self.state.total_out());
            let room = (out.capacity() - full).min(ROOM_BYTES_MAX);
            out.resize(full + room, 0);
            let status = self
                .state
                .decompress(&input[used..], &mut out[full..], FlushDecompress::None)
                .map_err(|e| corrupt(&e.to_string()))?;
            let used = usize::try_from(self.state.total_in() - before).expect("a part of a slice");
            let made = usize::try_from(self.state.total_out() - unpacked).expect("within the room");
            out.truncate(full + made);
            match status {
                Status::StreamEnd => {
                    self.inside = false;
                    return Ok(used);
                }
                // With room left, all there was to unpack is unpacked.
                Status::Ok | Status::BufError if used == input.len() && made < room => {
                    return Ok(used);
                }
                Status::Ok | Status::BufError => {}
            }
        }
    }
}

/// By how much a body of `bytes` grows: to twice its size, but never far beyond `bytes_max`.
fn growth(bytes: usize, bytes_max: u64) -> usize {
    let rest = usize::try_from(bytes_max).unwrap_or(usize::MAX).saturating_sub(bytes);
    bytes.min(rest) + GROWTH_BYTES
}

fn new_member() -> Decompress {
    Decompress::new_gzip(15)
}

fn corrupt(reason: &str) -> Failure {
    Failure::Encoding(format!("gzip: invalid body: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(
        encoding: Encoding,
        packed: &[u8],
        piece: usize,
        max: u64,
    ) -> Result<Vec<u8>, Failure> {
        let mut unpacker = Unpacker::new(Vec::new(), encoding, max);
        for piece in packed.chunks(piece) {
            unpacker.push(piece)?;
        }
        unpacker.finish()
    }

    #[test]
    fn unpacks_in_pieces_of_any_size() {
        let plain: Vec<u8> =
            (0..60_000_u32).flat_map(|n| (n.wrapping_mul(n) % 997).to_le_bytes()).collect();
        let two_members = [gzip(&plain), gzip(b"and more")].concat();
        let both = [&plain[..], b"and more"].concat();
        for piece in [1, 7, 1000, usize::MAX] {
            assert_eq!(unpack(Encoding::Gzip, &gzip(&plain), piece, u64::MAX).unwrap(), plain);
            assert_eq!(unpack(Encoding::Gzip, &two_members, piece, u64::MAX).unwrap(), both);
            assert_eq!(unpack(Encoding::Identity, &plain, piece, u64::MAX).unwrap(), plain);
        }
        assert_eq!(unpack(Encoding::Gzip, &gzip(b""), 1, 0).unwrap(), b"");
        assert_eq!(unpack(Encoding::Identity, b"", 1, 0).unwrap(), b"");
    }

    #[test]
    fn the_limit_counts_what_is_unpacked() {
        let plain = vec![b'x'; 100_000];
        let too_large = Err(Failure::BodySize { bytes_max: 99_999 });
        for encoding in [Encoding::Identity, Encoding::Gzip] {
            let packed = if encoding == Encoding::Gzip { gzip(&plain) } else { plain.clone() };
            for piece in [1, 50, usize::MAX] {
                assert_eq!(unpack(encoding, &packed, piece, 100_000).unwrap(), plain);
                assert_eq!(unpack(encoding, &packed, piece, 99_999), too_large);
            }
        }
    }

    #[test]
    fn a_bomb_stops_growing_at_the_limit() {
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 100_000);
        let mut unpacker = Unpacker::new(Vec::new(), Encoding::Gzip, 1 << 20);
        assert_eq!(unpacker.push(&bomb), Err(Failure::BodySize { bytes_max: 1 << 20 }));
        let held = (unpacker.out.len(), unpacker.out.capacity());
        assert!(held.0 <= (1 << 20) + ROOM_BYTES_MAX, "{held:?}");
        assert!(held.1 <= (1 << 20) + 2 * GROWTH_BYTES, "{held:?}");
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
            let failure = unpack(Encoding::Gzip, bad, 100, u64::MAX).unwrap_err();
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
    fn buffers_are_kept_up_to_a_bound() {
        let buffers = Buffers::default();
        let small = buffers.take(100);
        let large = buffers.take(10 << 20);
        buffers.give_back(small);
        buffers.give_back(large);
        assert!(buffers.take(1 << 20).capacity() >= 10 << 20);
        assert!(buffers.take(1).capacity() < 1 << 20);
        for _ in 0..100 {
            buffers.give_back(Vec::with_capacity(1 << 20));
            buffers.give_back(Vec::with_capacity(KEPT_BYTES_MAX + 1));
        }
        assert_eq!(buffers.0.lock().unwrap().len(), KEPT_BUFFERS_MAX);
    }
}
