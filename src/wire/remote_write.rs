//! Remote write 1.0: series to bytes, bytes to compressed fragments, fragments to a request body.
//! Only the sample is encoded anew each time; the labels of a series are encoded once.

use bytes::Bytes;

use crate::{
    model::{
        labels::Labels,
        sample::{Exemplar, Sample},
    },
    wire::protobuf::{
        FieldValue, Fields, WireFault, bytes_tag, fixed64_tag, push_bytes, push_varint,
        varint_length, varint_tag,
    },
};

/// What a body or a fragment may unpack to. More is refused before anything is allocated: snappy
/// packs zeros 20 to 1, and nobody sends or keeps requests near as large as this.
pub const RAW_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A field of `WriteRequest`.
const TIMESERIES: u64 = 1;

/// The fields of `TimeSeries`.
const LABELS: u64 = 1;
const SAMPLES: u64 = 2;
const EXEMPLARS: u64 = 3;

/// The fields of `Label`.
const LABEL_NAME: u64 = 1;
const LABEL_VALUE: u64 = 2;

/// The fields of `Sample`.
const SAMPLE_VALUE: u64 = 1;
const SAMPLE_TIMESTAMP: u64 = 2;

/// The fields of `Exemplar`.
const EXEMPLAR_LABELS: u64 = 1;
const EXEMPLAR_VALUE: u64 = 2;
const EXEMPLAR_TIMESTAMP: u64 = 3;

/// The `labels` fields of a `TimeSeries`, in the order of the names, as the protocol demands.
pub fn encode_labels(labels: &Labels) -> Vec<u8> {
    let mut blob = Vec::new();
    push_labels(&mut blob, LABELS, labels);
    blob
}

/// Whether `encode_labels` may have made these bytes, which came from elsewhere.
pub fn is_labels(blob: &[u8]) -> bool {
    let is_label = |field| match field {
        Ok((LABELS, FieldValue::Bytes(label))) => decode_label(label).is_ok(),
        Ok(_) | Err(_) => false,
    };
    Fields::of(blob).all(is_label)
}

/// Appends one `WriteRequest.timeseries` field: labels that `encode_labels` made, and one sample.
#[inline]
pub fn push_series(out: &mut Vec<u8>, label_blob: &[u8], sample: Sample, exemplars: &[Exemplar]) {
    let exemplars = encode_exemplars(exemplars);
    let sample_length = POINT_VALUE_LENGTH + 1 + varint_length(bits(sample.timestamp_ms));
    // A sample takes at most 20 bytes, so its length takes one.
    let length = label_blob.len() + 2 + sample_length + exemplars.len();
    push_varint(out, bytes_tag(TIMESERIES));
    push_varint(out, length as u64);
    out.extend_from_slice(label_blob);
    push_varint(out, bytes_tag(SAMPLES));
    push_varint(out, sample_length as u64);
    push_value(out, SAMPLE_VALUE, sample.value);
    push_varint(out, varint_tag(SAMPLE_TIMESTAMP));
    push_varint(out, bits(sample.timestamp_ms));
    out.extend_from_slice(&exemplars);
}

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
        self.scratch.resize(snap::raw::max_compress_len(raw.len()), 0);
        let length = self
            .encoder
            .compress(raw, &mut self.scratch)
            .expect("`raw` is below snappy's 4 GiB, and the buffer has room for the worst case");
        let preamble = varint_length(raw.len() as u64);
        Fragment {
            bytes: Bytes::copy_from_slice(&self.scratch[preamble..length]),
            raw_length: u32::try_from(raw.len()).expect("snappy took it, so it is below 4 GiB"),
        }
    }
}

/// The body of one request.
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
    let raw = unpack(&join([fragment]))?;
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
    let raw = unpack(&join([fragment]))?;
    let mut samples = 0;
    for field in Fields::of(&raw) {
        if let (TIMESERIES, FieldValue::Bytes(series)) = field? {
            samples += count_samples(series)?;
        }
    }
    Ok(samples)
}

/// What a receiver reads of a body.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeSeries {
    pub labels: Labels,
    pub samples: Vec<Sample>,
    pub exemplars: Vec<Exemplar>,
}

/// Reads a request body. Fields that are not known (metadata, histograms) are passed over.
pub fn decode(body: &[u8]) -> Result<Vec<TimeSeries>, DecodeError> {
    let raw = unpack(body)?;
    let mut all = Vec::new();
    for field in Fields::of(&raw) {
        if let (TIMESERIES, FieldValue::Bytes(series)) = field? {
            all.push(decode_series(series)?);
        }
    }
    Ok(all)
}

/// Why a body cannot be read. No repetition makes it better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    Snappy(snap::Error),
    TooLarge(usize),
    Protobuf(WireFault),
    NotUtf8,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Snappy(fault) => write!(f, "not a snappy block: {fault}"),
            Self::TooLarge(length) => {
                write!(f, "unpacks to {length} bytes, more than {RAW_BYTES_MAX}")
            }
            Self::Protobuf(fault) => write!(f, "not a write request: {fault}"),
            Self::NotUtf8 => f.write_str("a label is not UTF-8"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<WireFault> for DecodeError {
    fn from(fault: WireFault) -> Self {
        Self::Protobuf(fault)
    }
}

fn unpack(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let length = snap::raw::decompress_len(body).map_err(DecodeError::Snappy)?;
    if length > RAW_BYTES_MAX {
        return Err(DecodeError::TooLarge(length));
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(DecodeError::Snappy)
}

fn count_samples(series: &[u8]) -> Result<u32, WireFault> {
    let mut samples = 0;
    for field in Fields::of(series) {
        samples += u32::from(field?.0 == SAMPLES);
    }
    Ok(samples)
}

fn decode_series(message: &[u8]) -> Result<TimeSeries, DecodeError> {
    let mut labels = Vec::new();
    let mut samples = Vec::new();
    let mut exemplars = Vec::new();
    for field in Fields::of(message) {
        match field? {
            (LABELS, FieldValue::Bytes(label)) => labels.push(decode_label(label)?),
            (SAMPLES, FieldValue::Bytes(sample)) => samples.push(decode_sample(sample)?),
            (EXEMPLARS, FieldValue::Bytes(exemplar)) => exemplars.push(decode_exemplar(exemplar)?),
            _ => {}
        }
    }
    // In order, so that a great many labels do not make the set slow to build.
    labels.sort_unstable();
    Ok(TimeSeries { labels: labels.into_iter().collect(), samples, exemplars })
}

fn decode_label(message: &[u8]) -> Result<(&str, &str), DecodeError> {
    let mut label = ("", "");
    for field in Fields::of(message) {
        match field? {
            (LABEL_NAME, FieldValue::Bytes(name)) => label.0 = text(name)?,
            (LABEL_VALUE, FieldValue::Bytes(value)) => label.1 = text(value)?,
            _ => {}
        }
    }
    Ok(label)
}

fn decode_sample(message: &[u8]) -> Result<Sample, DecodeError> {
    let mut sample = Sample { value: 0.0, timestamp_ms: 0 };
    for field in Fields::of(message) {
        match field? {
            (SAMPLE_VALUE, FieldValue::Fixed64(bits)) => sample.value = f64::from_bits(bits),
            (SAMPLE_TIMESTAMP, FieldValue::Varint(bits)) => {
                sample.timestamp_ms = bits.cast_signed();
            }
            _ => {}
        }
    }
    Ok(sample)
}

fn decode_exemplar(message: &[u8]) -> Result<Exemplar, DecodeError> {
    let mut labels = Vec::new();
    let mut value = 0.0;
    let mut timestamp_ms = None;
    for field in Fields::of(message) {
        match field? {
            (EXEMPLAR_LABELS, FieldValue::Bytes(label)) => labels.push(decode_label(label)?),
            (EXEMPLAR_VALUE, FieldValue::Fixed64(bits)) => value = f64::from_bits(bits),
            (EXEMPLAR_TIMESTAMP, FieldValue::Varint(bits)) => {
                timestamp_ms = Some(bits.cast_signed());
            }
            _ => {}
        }
    }
    labels.sort_unstable();
    Ok(Exemplar { labels: labels.into_iter().collect(), value, timestamp_ms })
}

fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8)
}

/// The tag and the eight bytes of a `double`. Zero is written too, so that each value has its
/// place.
const POINT_VALUE_LENGTH: usize = 9;

#[inline]
fn push_value(out: &mut Vec<u8>, field: u64, value: f64) {
    push_varint(out, fixed64_tag(field));
    out.extend_from_slice(&value.to_le_bytes());
}

fn push_labels(out: &mut Vec<u8>, field: u64, labels: &Labels) {
    for (name, value) in labels.iter() {
        let length = 2
            + varint_length(name.len() as u64)
            + name.len()
            + varint_length(value.len() as u64)
            + value.len();
        push_varint(out, bytes_tag(field));
        push_varint(out, length as u64);
        push_bytes(out, LABEL_NAME, name.as_bytes());
        push_bytes(out, LABEL_VALUE, value.as_bytes());
    }
}

fn encode_exemplars(exemplars: &[Exemplar]) -> Vec<u8> {
    let mut all = Vec::new();
    for exemplar in exemplars {
        let mut message = Vec::new();
        push_labels(&mut message, EXEMPLAR_LABELS, &exemplar.labels);
        push_value(&mut message, EXEMPLAR_VALUE, exemplar.value);
        if let Some(timestamp_ms) = exemplar.timestamp_ms {
            push_varint(&mut message, varint_tag(EXEMPLAR_TIMESTAMP));
            push_varint(&mut message, bits(timestamp_ms));
        }
        push_bytes(&mut all, EXEMPLARS, &message);
    }
    all
}

/// A signed number takes ten bytes when it is negative, as protobuf's `int64` does.
#[inline]
fn bits(timestamp_ms: i64) -> u64 {
    timestamp_ms.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn any_labels() -> impl Strategy<Value = Labels> {
        vec(("[a-z_]{1,8}", "[a-zé]{1,40}"), 0..6).prop_map(|pairs| pairs.into_iter().collect())
    }

    fn any_series() -> impl Strategy<Value = TimeSeries> {
        let sample = (any::<f64>(), any::<i64>())
            .prop_map(|(value, timestamp_ms)| Sample { value, timestamp_ms });
        let exemplar = (any_labels(), any::<f64>(), any::<Option<i64>>())
            .prop_map(|(labels, value, timestamp_ms)| Exemplar { labels, value, timestamp_ms });
        (any_labels(), sample, vec(exemplar, 0..3)).prop_map(|(labels, sample, exemplars)| {
            TimeSeries { labels, samples: vec![sample], exemplars }
        })
    }

    fn encode(all: &[TimeSeries]) -> Vec<u8> {
        let mut raw = Vec::new();
        for series in all {
            let blob = encode_labels(&series.labels);
            push_series(&mut raw, &blob, series.samples[0], &series.exemplars);
        }
        raw
    }

    proptest! {
        #[test]
        fn what_is_joined_decodes(all in vec(vec(any_series(), 0..20), 0..6)) {
            let mut compressor = Compressor::default();
            let raws: Vec<_> = all.iter().map(|part| encode(part)).collect();
            let fragments: Vec<_> = raws.iter().map(|raw| compressor.compress(raw)).collect();
            let body = join(&fragments);
            let unpacked = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
            prop_assert_eq!(unpacked, raws.concat());
            prop_assert_eq!(decode(&body), Ok(all.concat()));
            for (fragment, part) in fragments.iter().zip(&all) {
                prop_assert_eq!(sample_count(fragment).unwrap() as usize, part.len());
            }
        }

        #[test]
        fn what_is_split_is_the_same_joined(all in vec(any_series(), 0..40), samples_max in 1..9_u32) {
            let mut compressor = Compressor::default();
            let fragment = compressor.compress(&encode(&all));
            let pieces = split(&fragment, samples_max, &mut compressor).unwrap();
            prop_assert_eq!(pieces.len(), all.len().div_ceil(samples_max as usize));
            for piece in &pieces {
                prop_assert!(piece.samples <= samples_max);
                prop_assert_eq!(sample_count(&piece.fragment), Ok(piece.samples));
            }
            let body = join(pieces.iter().map(|piece| &piece.fragment));
            prop_assert_eq!(decode(&body), Ok(all));
        }

        #[test]
        fn garbage_is_refused_quietly(bytes in vec(any::<u8>(), 0..100)) {
            _ = decode(&bytes);
            let raw_length = u32::try_from(bytes.len()).unwrap();
            let fragment = Fragment { bytes: bytes.into(), raw_length };
            _ = split(&fragment, 1, &mut Compressor::default());
            _ = sample_count(&fragment);
        }
    }

    /// Longer than snappy's own blocks of 64 KiB.
    #[test]
    fn large_fragments_join() {
        let mut compressor = Compressor::default();
        let labels: Labels = [("__name__", "m")].into_iter().collect();
        let series = |n| TimeSeries {
            labels: labels.clone(),
            samples: vec![Sample { value: f64::from(n), timestamp_ms: 1 << 40 }],
            exemplars: Vec::new(),
        };
        let halves = [(0..9_000).map(series).collect(), (9_000..18_000).map(series).collect()];
        let fragments = halves.each_ref().map(|half: &Vec<_>| compressor.compress(&encode(half)));
        assert!(fragments.iter().all(|fragment| fragment.raw_length > 128 * 1024));
        assert_eq!(decode(&join(&fragments)), Ok(halves.concat()));
    }

    #[test]
    fn bytes_are_those_of_the_protocol() {
        let labels: Labels = [("__name__", "up"), ("a", "b")].into_iter().collect();
        let mut raw = Vec::new();
        let sample = Sample { value: 1.0, timestamp_ms: -1 };
        push_series(&mut raw, &encode_labels(&labels), sample, &[]);
        let expected: &[u8] = &[
            &[0x0a, 0x2e][..],
            &[0x0a, 0x0e, 0x0a, 0x08],
            b"__name__",
            &[0x12, 0x02],
            b"up",
            &[0x0a, 0x06, 0x0a, 0x01, b'a', 0x12, 0x01, b'b'],
            &[0x12, 0x14, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f],
            &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ]
        .concat();
        assert_eq!(raw, expected);
    }

    #[test]
    fn bodies_are_bounded_before_they_are_unpacked() {
        let mut body = Vec::new();
        push_varint(&mut body, 1 << 31);
        assert_eq!(decode(&body), Err(DecodeError::TooLarge(1 << 31)));
        let fragment = Fragment { bytes: Bytes::new(), raw_length: u32::MAX };
        assert!(matches!(sample_count(&fragment), Err(DecodeError::TooLarge(_))));
    }

    #[test]
    fn bad_bodies_are_named() {
        for (raw, expected) in [
            (&[0x0a, 0x05, 0x00][..], "not a write request: a field is longer than its message"),
            (&[0x0a, 0x02, 0x0a, 0x09], "not a write request: a field is longer than its message"),
            (&[0x0a, 0x05, 0x0a, 0x03, 0x0a, 0x01, 0xff], "a label is not UTF-8"),
        ] {
            let fragment = Compressor::default().compress(raw);
            assert_eq!(decode(&join([&fragment])).unwrap_err().to_string(), expected);
        }
        assert!(decode(b"").unwrap_err().to_string().starts_with("not a snappy block: "));
        assert!(decode(&[5, 0]).unwrap_err().to_string().starts_with("not a snappy block: "));
    }
}
