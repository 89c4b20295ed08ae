//! The body of a pushed request, as it came, to the message in it. Nothing is allocated for what a
//! body only claims: its claim is held against the limit, and against what so many bytes can hold.

use std::{
    fmt,
    io::{self, Read},
};

use flate2::bufread::MultiGzDecoder;
use zstd::{stream::read::Decoder, zstd_safe::get_frame_content_size};

/// A copy of snappy makes 64 bytes of three.
const SNAPPY_RATIO_MAX: usize = 22;
/// A block of Zstandard makes 128 KiB of four bytes.
const ZSTD_RATIO_MAX: usize = 32 << 10;
/// What any reader of Zstandard should take (RFC 8878, 3.1.1.1.2). A frame that tells its length
/// is unpacked in one go, and needs no window.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// How much longer a message probably is than its body, where the body does not tell.
const RATIO_EXPECTED: usize = 4;
const GROWTH_BYTES_MIN: usize = 16 << 10;

/// How the body of a pushed request is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Snappy,
    Zstd,
    Gzip,
}

/// Why a body cannot be unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnpackError {
    /// It holds, or says that it holds, more bytes than that.
    TooLarge {
        max: usize,
    },
    Broken(String),
}

impl Packing {
    /// By the value of `Content-Encoding`; `None` is one that nobody sends. Old clients send none
    /// with their snappy blocks.
    pub fn of(content_encoding: Option<&str>) -> Option<Self> {
        let name = content_encoding.unwrap_or_default().trim_ascii();
        if name.is_empty() || name.eq_ignore_ascii_case("snappy") {
            Some(Self::Snappy)
        } else if name.eq_ignore_ascii_case("zstd") {
            Some(Self::Zstd)
        } else if name.eq_ignore_ascii_case("gzip") {
            Some(Self::Gzip)
        } else {
            None
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Snappy => "snappy block",
            Self::Zstd => "zstd frame",
            Self::Gzip => "gzip stream",
        }
    }
}

/// The message that `packed` holds, and nothing else, of at most `raw_bytes_max`.
pub fn unpack(
    packed: &[u8],
    packing: Packing,
    raw_bytes_max: usize,
) -> Result<Vec<u8>, UnpackError> {
    let unpacking = Unpacking { packing, raw_bytes_max };
    if packed.is_empty() {
        return Err(unpacking.broken("it is empty"));
    }
    let expected = packed.len().saturating_mul(RATIO_EXPECTED);
    match packing {
        Packing::Snappy => {
            let claimed =
                snap::raw::decompress_len(packed).map_err(|fault| unpacking.broken(fault))?;
            unpacking.hold(claimed as u64, packed.len(), SNAPPY_RATIO_MAX)?;
            let unpacked = snap::raw::Decoder::new().decompress_vec(packed);
            unpacked.map_err(|fault| unpacking.broken(fault))
        }
        Packing::Zstd => {
            let claimed =
                get_frame_content_size(packed).map_err(|_| unpacking.broken("no frame"))?;
            let expected = match claimed {
                Some(claimed) => unpacking.hold(claimed, packed.len(), ZSTD_RATIO_MAX)?,
                None => expected,
            };
            let decoder = Decoder::with_buffer(packed).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Ok(decoder)
            });
            unpacking.read(decoder.map_err(|fault| unpacking.broken(fault))?, expected)
        }
        Packing::Gzip => unpacking.read(MultiGzDecoder::new(packed), expected),
    }
}

impl fmt::Display for UnpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { max } => write!(f, "the body unpacks to more than {max} bytes"),
            Self::Broken(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for UnpackError {}

#[derive(Clone, Copy)]
struct Unpacking {
    packing: Packing,
    raw_bytes_max: usize,
}

impl Unpacking {
    /// The claimed length, where so many bytes can hold it and it is allowed.
    fn hold(self, claimed: u64, packed: usize, ratio_max: usize) -> Result<usize, UnpackError> {
        let claimed = usize::try_from(claimed).unwrap_or(usize::MAX);
        if claimed > self.raw_bytes_max {
            return Err(UnpackError::TooLarge { max: self.raw_bytes_max });
        }
        if claimed > packed.saturating_mul(ratio_max) {
            return Err(self.broken(format!("{packed} bytes cannot hold {claimed}")));
        }
        Ok(claimed)
    }

    /// All that comes, into room that grows no further than to the limit.
    fn read(self, mut from: impl Read, expected: usize) -> Result<Vec<u8>, UnpackError> {
        let mut raw = vec![0; expected.min(self.raw_bytes_max)];
        let mut full = 0;
        loop {
            while full < raw.len() {
                match self.read_some(&mut from, &mut raw[full..])? {
                    0 => {
                        raw.truncate(full);
                        return Ok(raw);
                    }
                    more => full += more,
                }
            }
            // Most end here: a body is seldom longer than it said.
            let mut behind = [0; 64];
            let more = self.read_some(&mut from, &mut behind)?;
            if more == 0 {
                return Ok(raw);
            }
            if full + more > self.raw_bytes_max {
                return Err(UnpackError::TooLarge { max: self.raw_bytes_max });
            }
            let length = (full + full.max(GROWTH_BYTES_MIN)).min(self.raw_bytes_max);
            raw.reserve_exact(length - full);
            raw.extend_from_slice(&behind[..more]);
            full = raw.len();
            raw.resize(length, 0);
        }
    }

    fn read_some(self, from: &mut impl Read, room: &mut [u8]) -> Result<usize, UnpackError> {
        loop {
            match from.read(room) {
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map_err(|fault| self.broken(fault)),
            }
        }
    }

    fn broken(self, reason: impl fmt::Display) -> UnpackError {
        UnpackError::Broken(format!("not a {}: {reason}", self.packing.name()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::wire::protobuf::push_varint;

    const ALL: [Packing; 3] = [Packing::Snappy, Packing::Zstd, Packing::Gzip];

    fn pack(raw: &[u8], packing: Packing) -> Vec<u8> {
        match packing {
            Packing::Snappy => snap::raw::Encoder::new().compress_vec(raw).unwrap(),
            Packing::Zstd => zstd::bulk::compress(raw, 1).unwrap(),
            Packing::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(raw).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    /// A frame that does not tell its length.
    fn stream(raw: &[u8], window_log: u32) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(raw).unwrap();
        encoder.finish().unwrap()
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn packings_by_name() {
        for (header, expected) in [
            (None, Some(Packing::Snappy)),
            (Some(""), Some(Packing::Snappy)),
            (Some("Snappy"), Some(Packing::Snappy)),
            (Some(" zstd "), Some(Packing::Zstd)),
            (Some("GZIP"), Some(Packing::Gzip)),
            (Some("identity"), None),
            (Some("deflate"), None),
            (Some("snappy, gzip"), None),
        ] {
            assert_eq!(Packing::of(header), expected, "{header:?}");
        }
    }

    #[test]
    fn what_is_packed_comes_back_up_to_the_limit() {
        for raw in [noise(0), noise(1), noise(70_000), vec![7; 1 << 20]] {
            for packing in ALL {
                let packed = pack(&raw, packing);
                let unpacked = unpack(&packed, packing, raw.len()).unwrap();
                assert_eq!(unpacked, raw);
                assert!(unpacked.capacity() <= raw.len(), "{packing:?}: {}", unpacked.capacity());
                if let Some(max) = raw.len().checked_sub(1) {
                    assert_eq!(unpack(&packed, packing, max), Err(UnpackError::TooLarge { max }));
                }
            }
            let unpacked = unpack(&stream(&raw, 20), Packing::Zstd, 1 << 20).unwrap();
            assert_eq!(unpacked, raw);
            assert!(unpacked.capacity() <= 1 << 20);
        }
        let halves = [pack(b"one", Packing::Zstd), stream(b" and more", 10)].concat();
        assert_eq!(unpack(&halves, Packing::Zstd, 12).unwrap(), b"one and more");
        let halves = [pack(b"one", Packing::Gzip), pack(b" and more", Packing::Gzip)].concat();
        assert_eq!(unpack(&halves, Packing::Gzip, 12).unwrap(), b"one and more");
    }

    #[test]
    fn bombs_do_not_go_off() {
        let max = 1 << 20;
        let too_large = Err(UnpackError::TooLarge { max });
        let zeros = vec![0; 64 << 20];
        for bomb in [pack(&zeros, Packing::Zstd), stream(&zeros, 20)] {
            assert!(bomb.len() < 10_000);
            assert_eq!(unpack(&bomb, Packing::Zstd, max), too_large);
        }
        assert_eq!(unpack(&pack(&zeros, Packing::Gzip), Packing::Gzip, max), too_large);
        for claimed in [u64::from(u32::MAX), max as u64 + 1] {
            let mut claim = Vec::new();
            push_varint(&mut claim, claimed);
            claim.extend_from_slice(&[0; 20]);
            assert_eq!(unpack(&claim, Packing::Snappy, max), too_large);
        }
    }

    #[test]
    fn claims_that_so_few_bytes_cannot_hold_are_broken() {
        let mut snappy = Vec::new();
        push_varint(&mut snappy, 1 << 20);
        snappy.push(0);
        // One segment, eight bytes of length, and a block of which nothing comes.
        let zstd =
            [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &(1_u64 << 30).to_le_bytes(), &[1]].concat();
        for (claim, packing) in [(snappy, Packing::Snappy), (zstd, Packing::Zstd)] {
            let error = unpack(&claim, packing, usize::MAX).unwrap_err().to_string();
            assert!(error.contains(" bytes cannot hold "), "{error}");
        }
    }

    #[test]
    fn a_window_has_a_limit() {
        let noise = noise(10 << 20);
        assert_eq!(unpack(&stream(&noise, 23), Packing::Zstd, 10 << 20).unwrap(), noise);
        let error = unpack(&stream(&noise, 24), Packing::Zstd, 10 << 20).unwrap_err();
        assert!(matches!(error, UnpackError::Broken(_)), "{error}");
        // In one go there is none.
        assert_eq!(unpack(&pack(&noise, Packing::Zstd), Packing::Zstd, 10 << 20).unwrap(), noise);
    }

    #[test]
    fn damage_is_told() {
        for packing in ALL {
            let good = pack(&noise(5000), packing);
            let trailing = [&good[..], b"x"].concat();
            for bad in [&good[..good.len() - 1], &trailing, b"", b"\xff\xff\xff\xff\xff\xff"] {
                let error = unpack(bad, packing, 1 << 20).unwrap_err();
                assert!(matches!(error, UnpackError::Broken(_)), "{packing:?}: {error}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_body_takes_more_than_the_limit(
            mut bytes in vec(any::<u8>(), 0..300),
            raw in vec(0..3_u8, 0..5000),
            at in any::<usize>(),
            max in 0..6000_usize,
        ) {
            for packing in ALL {
                let mut spoilt = pack(&raw, packing);
                let at = at % spoilt.len();
                spoilt[at] ^= 1 << (max % 8);
                for body in [&bytes, &spoilt] {
                    if let Ok(unpacked) = unpack(body, packing, max) {
                        prop_assert!(unpacked.capacity() <= max);
                    }
                }
            }
            bytes.splice(0..0, [0x28, 0xb5, 0x2f, 0xfd]);
            _ = unpack(&bytes, Packing::Zstd, max);
        }
    }
}
