//! Bytes to compressed fragments, fragments to a body, and apart again between two series.

use bytes::Bytes;

use crate::wire::{
    protobuf::{FieldValue, Fields, WireFault, push_varint, varint_length},
    remote_write::{DecodeError, HISTOGRAMS, RAW_BYTES_MAX, SAMPLES, TIMESERIES},
};

/// A snappy block without the length that it opens with. Its copies reach back within itself, so
/// fragments in a row are a block again once a common length stands before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    pub bytes: Bytes,
    /// In bytes, unpacked.
    pub raw_length: u32,
}

/// Keeps the tables and the buffer of the compression from one fragment to the next.
pub struct Compressor {
    encoder: snap::raw::Encoder,
    scratch: Vec<u8>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self { encoder: snap::raw::Encoder::new(), scratch: Vec::new() }
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    /// `raw` is `timeseries` fields. More than `RAW_BYTES_MAX` of them could not be split again.
    pub fn compress(&mut self, raw: &[u8]) -> Fragment {
        let length = self.pack(raw);
        let preamble = varint_length(raw.len() as u64);
        Fragment {
            bytes: Bytes::copy_from_slice(&self.scratch[preamble..length]),
            raw_length: u32::try_from(raw.len()).expect("snappy took it, so it is below 4 GiB"),
        }
    }

    /// The same behind what `out` has already.
    pub fn append(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        let length = self.pack(raw);
        let preamble = varint_length(raw.len() as u64);
        out.extend_from_slice(&self.scratch[preamble..length]);
    }

    /// A body of its own: `raw` is a whole message, of whatever version.
    pub fn body(&mut self, raw: &[u8]) -> Bytes {
        let length = self.pack(raw);
        Bytes::copy_from_slice(&self.scratch[..length])
    }

    fn pack(&mut self, raw: &[u8]) -> usize {
        self.scratch.resize(snap::raw::max_compress_len(raw.len()), 0);
        self.encoder
            .compress(raw, &mut self.scratch)
            .expect("`raw` is below snappy's 4 GiB, and the buffer has room for the worst case")
    }
}

/// The body of one request of 1.0.
pub fn join<'a>(fragments: impl IntoIterator<Item = &'a Fragment, IntoIter: Clone>) -> Vec<u8> {
    let fragments = fragments.into_iter();
    let raw_length: u64 = fragments.clone().map(|fragment| u64::from(fragment.raw_length)).sum();
    let length: usize = fragments.clone().map(|fragment| fragment.bytes.len()).sum();
    let mut body = Vec::with_capacity(varint_length(raw_length) + length);
    push_varint(&mut body, raw_length);
    for fragment in fragments {
        body.extend_from_slice(&fragment.bytes);
    }
    body
}

/// The `timeseries` fields of a fragment.
fn unpack(fragment: &Fragment) -> Result<Vec<u8>, DecodeError> {
    unpack_all([fragment])
}

/// The `timeseries` fields of all of them.
pub fn unpack_all<'a>(
    fragments: impl IntoIterator<Item = &'a Fragment, IntoIter: Clone>,
) -> Result<Vec<u8>, DecodeError> {
    unpack_body(&join(fragments))
}

/// A fragment and how many samples it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub fragment: Fragment,
    pub samples: u32,
}

/// Cuts between series, in order, into pieces of at most `samples_max` samples. A series that has
/// more itself is a piece of its own.
pub fn split(
    fragment: &Fragment,
    samples_max: u32,
    compressor: &mut Compressor,
) -> Result<Vec<Piece>, DecodeError> {
    let raw = unpack(fragment)?;
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut samples = 0;
    let mut fields = Fields::of(&raw);
    let mut end = 0;
    while let Some(field) = fields.next() {
        let more = match field? {
            (TIMESERIES, FieldValue::Bytes(series)) => count_samples(series)?,
            _ => 0,
        };
        if samples + more > samples_max && end > start {
            pieces.push(Piece { fragment: compressor.compress(&raw[start..end]), samples });
            start = end;
            samples = 0;
        }
        samples += more;
        end = raw.len() - fields.rest().len();
    }
    if end > start {
        pieces.push(Piece { fragment: compressor.compress(&raw[start..end]), samples });
    }
    Ok(pieces)
}

pub fn sample_count(fragment: &Fragment) -> Result<u32, DecodeError> {
    let raw = unpack(fragment)?;
    let mut samples = 0;
    for field in Fields::of(&raw) {
        if let (TIMESERIES, FieldValue::Bytes(series)) = field? {
            samples += count_samples(series)?;
        }
    }
    Ok(samples)
}

pub(super) fn unpack_body(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let length = snap::raw::decompress_len(body).map_err(DecodeError::Snappy)?;
    if length > RAW_BYTES_MAX {
        return Err(DecodeError::TooLarge(length));
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(DecodeError::Snappy)
}

/// Histograms are samples too. A series of neither has exemplars alone: it counts as well, so that it
/// belongs to a piece.
pub(super) fn count_samples(series: &[u8]) -> Result<u32, WireFault> {
    let mut samples = 0;
    for field in Fields::of(series) {
        samples += u32::from(matches!(field?.0, SAMPLES | HISTOGRAMS));
    }
    Ok(samples.max(1))
}
