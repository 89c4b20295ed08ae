//! Remote write: series to bytes, bytes to compressed fragments, fragments to the body of a request
//! of version 1.0 or 2.0. Only the value is encoded anew each time; the labels of a series are
//! encoded once.
//!
//! What lies in the outbox is of one form, whatever it is sent as: the `timeseries` of a 1.0 request
//! and, where a destination speaks 2.0, what that has besides in fields of our own. A receiver of
//! 1.0 passes over those, as over all fields that it does not know.

mod apart;
mod decode;
mod encode;
mod fragment;
mod histogram;
mod kept;
mod metadata;
mod pushed;
mod skeleton;
#[cfg(test)]
mod tests;
mod unpack;
mod v1;
mod v2;

pub use self::{
    apart::{SeriesField, each_series},
    decode::{DecodeError, HistogramAt, TimeSeries, decode, decode_v2},
    encode::{encode_labels, is_labels, push_series},
    fragment::{Compressor, Fragment, Piece, join, sample_count, split, unpack_all},
    kept::{KeptParts, KeptTakes, tells_more_than_1_0},
    metadata::{Family, Metadata, metadata_request},
    pushed::{
        PUSHED_LABELS_MAX, PushedExemplars, PushedLabel, PushedPoint, PushedSeries, PushedValue,
        SeriesFault, SeriesLimits, WriteVersion, check_labels, encode_pushed_labels, push_kept,
        read_pushed,
    },
    skeleton::{SKELETON_LABELS_MAX, SKELETON_LENGTH_MAX, Skeleton},
    unpack::{Packing, UnpackError, unpack},
    v1::V1Writer,
    v2::V2Writer,
};

/// What a body or a fragment may unpack to. More is refused before anything is allocated: snappy
/// packs zeros 20 to 1, and nobody sends or keeps requests near as large as this.
pub const RAW_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How much of each kind a request holds: what its receiver should say it has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub samples: u32,
    pub histograms: u32,
    pub exemplars: u32,
    /// Left out, as this version has no way to say them: histograms with custom buckets in 1.0.
    pub unsendable: u32,
}

impl Counts {
    pub fn is_empty(&self) -> bool {
        self.samples + self.histograms + self.exemplars == 0
    }
}

/// A field of `WriteRequest`.
const TIMESERIES: u64 = 1;

/// The fields of `TimeSeries`.
const LABELS: u64 = 1;
const SAMPLES: u64 = 2;
const EXEMPLARS: u64 = 3;
const HISTOGRAMS: u64 = 4;
/// Our own, far from what the protocol may come to use: what the series' target says of it, as
/// `Metadata` of 2.0 with the texts in the place of their references.
const METADATA: u64 = 101;
/// Our own: since when the series has counted.
const START: u64 = 102;

/// The fields of `Label`.
const LABEL_NAME: u64 = 1;
const LABEL_VALUE: u64 = 2;

/// The fields of `Sample`; the third is of 2.0.
const SAMPLE_VALUE: u64 = 1;
const SAMPLE_TIMESTAMP: u64 = 2;
const SAMPLE_START: u64 = 3;

/// The fields of `Exemplar`.
const EXEMPLAR_LABELS: u64 = 1;
const EXEMPLAR_VALUE: u64 = 2;
const EXEMPLAR_TIMESTAMP: u64 = 3;

/// The fields of `Metadata` in 2.0; here and there the texts or references to them.
const METADATA_TYPE: u64 = 1;
const METADATA_HELP: u64 = 3;
const METADATA_UNIT: u64 = 4;

/// The fields of `Histogram`, the same in both versions, but that the last is of 2.0.
mod histogram_field {
    pub(super) const COUNT_INT: u64 = 1;
    pub(super) const COUNT_FLOAT: u64 = 2;
    pub(super) const SUM: u64 = 3;
    pub(super) const SCHEMA: u64 = 4;
    pub(super) const ZERO_THRESHOLD: u64 = 5;
    pub(super) const ZERO_COUNT_INT: u64 = 6;
    pub(super) const ZERO_COUNT_FLOAT: u64 = 7;
    pub(super) const NEGATIVE_SPANS: u64 = 8;
    pub(super) const NEGATIVE_DELTAS: u64 = 9;
    pub(super) const NEGATIVE_COUNTS: u64 = 10;
    pub(super) const POSITIVE_SPANS: u64 = 11;
    pub(super) const POSITIVE_DELTAS: u64 = 12;
    pub(super) const POSITIVE_COUNTS: u64 = 13;
    pub(super) const RESET_HINT: u64 = 14;
    pub(super) const TIMESTAMP: u64 = 15;
    pub(super) const CUSTOM_VALUES: u64 = 16;
    pub(super) const START: u64 = 17;
}

/// The fields of `Request`, the message of 2.0, and of its `TimeSeries`.
mod v2_field {
    pub(super) const SYMBOLS: u64 = 4;
    pub(super) const TIMESERIES: u64 = 5;

    pub(super) const LABEL_REFS: u64 = 1;
    pub(super) const SAMPLES: u64 = 2;
    pub(super) const HISTOGRAMS: u64 = 3;
    pub(super) const EXEMPLARS: u64 = 4;
    pub(super) const METADATA: u64 = 5;
}

/// A signed number takes ten bytes when it is negative, as protobuf's `int64` does.
#[inline]
fn bits(timestamp_ms: i64) -> u64 {
    timestamp_ms.cast_unsigned()
}
