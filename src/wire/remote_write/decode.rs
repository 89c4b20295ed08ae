//! What a receiver reads of a body: for the tests, for the receiver of the demo, and to see that what
//! comes from elsewhere is what it claims to be.

use crate::{
    model::{
        histogram::Histogram,
        labels::Labels,
        sample::{Exemplar, Sample},
    },
    wire::{
        protobuf::{FieldValue, Fields, WireFault, take_varint},
        remote_write::{
            EXEMPLAR_LABELS, EXEMPLAR_TIMESTAMP, EXEMPLAR_VALUE, EXEMPLARS, HISTOGRAMS, LABEL_NAME,
            LABEL_VALUE, LABELS, METADATA, METADATA_HELP, METADATA_TYPE, METADATA_UNIT, Metadata,
            RAW_BYTES_MAX, SAMPLE_START, SAMPLE_TIMESTAMP, SAMPLE_VALUE, SAMPLES, START,
            TIMESERIES, fragment::unpack_body, histogram, metadata, v2_field,
        },
    },
};

/// One series of a body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeSeries {
    pub labels: Labels,
    pub samples: Vec<Sample>,
    pub histograms: Vec<HistogramAt>,
    pub exemplars: Vec<Exemplar>,
    pub metadata: Option<Metadata<'static>>,
    /// Since when it has counted.
    pub start_ms: Option<i64>,
}

/// A histogram as a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramAt {
    pub timestamp_ms: i64,
    pub histogram: Histogram,
}

/// Reads the body of a request of 1.0. Fields that are not known are passed over, as is metadata.
pub fn decode(body: &[u8]) -> Result<Vec<TimeSeries>, DecodeError> {
    let raw = unpack_body(body)?;
    let mut all = Vec::new();
    for field in Fields::of(&raw) {
        if let (TIMESERIES, FieldValue::Bytes(series)) = field? {
            all.push(decode_series(series)?);
        }
    }
    Ok(all)
}

/// Reads the body of a request of 2.0.
pub fn decode_v2(body: &[u8]) -> Result<Vec<TimeSeries>, DecodeError> {
    let raw = unpack_body(body)?;
    let mut symbols = Vec::new();
    let mut all = Vec::new();
    for field in Fields::of(&raw) {
        match field? {
            (v2_field::SYMBOLS, FieldValue::Bytes(symbol)) => symbols.push(text(symbol)?),
            (v2_field::TIMESERIES, FieldValue::Bytes(series)) => all.push(series),
            _ => {}
        }
    }
    if symbols.first().is_none_or(|first| !first.is_empty()) {
        return Err(DecodeError::BadSymbols);
    }
    all.into_iter().map(|series| decode_v2_series(series, &symbols)).collect()
}

/// Why a body cannot be read. No repetition makes it better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    Snappy(snap::Error),
    TooLarge(usize),
    Protobuf(WireFault),
    NotUtf8,
    /// A number that its field has no room for.
    OutOfRange,
    /// No empty symbol at the start, or a reference to none.
    BadSymbols,
    /// More of these than anybody sends.
    TooMany(&'static str),
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
            Self::OutOfRange => f.write_str("not a write request: a number is out of its range"),
            Self::BadSymbols => f.write_str("not a write request: its symbols are not all there"),
            Self::TooMany(what) => write!(f, "a request with too many {what}"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<WireFault> for DecodeError {
    fn from(fault: WireFault) -> Self {
        Self::Protobuf(fault)
    }
}

pub(super) fn label(message: &[u8]) -> Result<(&str, &str), DecodeError> {
    let (name, value) = label_bytes(message)?;
    Ok((text(name)?, text(value)?))
}

/// Name and value.
pub(super) type LabelBytes<'a> = (&'a [u8], &'a [u8]);

pub(super) fn label_bytes(message: &[u8]) -> Result<LabelBytes<'_>, WireFault> {
    let mut label: LabelBytes<'_> = (b"", b"");
    for field in Fields::of(message) {
        match field? {
            (LABEL_NAME, FieldValue::Bytes(name)) => label.0 = name,
            (LABEL_VALUE, FieldValue::Bytes(value)) => label.1 = value,
            _ => {}
        }
    }
    Ok(label)
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8)
}

/// The numbers of a packed field.
pub(super) fn packed(mut bytes: &[u8]) -> impl Iterator<Item = Result<u64, WireFault>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let number = take_varint(&mut bytes);
        if number.is_err() {
            bytes = &[];
        }
        Some(number)
    })
}

fn decode_series(message: &[u8]) -> Result<TimeSeries, DecodeError> {
    let mut labels = Vec::new();
    let mut series = TimeSeries::default();
    for field in Fields::of(message) {
        match field? {
            (LABELS, FieldValue::Bytes(bytes)) => labels.push(label(bytes)?),
            (SAMPLES, FieldValue::Bytes(sample)) => series.samples.push(decode_sample(sample)?.0),
            (EXEMPLARS, FieldValue::Bytes(exemplar)) => {
                series.exemplars.push(decode_exemplar(exemplar)?);
            }
            (HISTOGRAMS, FieldValue::Bytes(message)) => {
                series.histograms.push(histogram::decode(message)?.0);
            }
            (METADATA, FieldValue::Bytes(metadata)) => {
                series.metadata = Some(Metadata::decode(metadata)?.into_owned());
            }
            (START, FieldValue::Varint(bits)) => series.start_ms = Some(bits.cast_signed()),
            _ => {}
        }
    }
    // In order, so that a great many labels do not make the set slow to build.
    labels.sort_unstable();
    series.labels = labels.into_iter().collect();
    Ok(series)
}

fn decode_v2_series(message: &[u8], symbols: &[&str]) -> Result<TimeSeries, DecodeError> {
    let mut series = TimeSeries::default();
    let mut refs = Vec::new();
    for field in Fields::of(message) {
        match field? {
            (v2_field::LABEL_REFS, value) => take_refs(&mut refs, value)?,
            (v2_field::SAMPLES, FieldValue::Bytes(sample)) => {
                let (sample, start_ms) = decode_sample(sample)?;
                series.samples.push(sample);
                series.start_ms = series.start_ms.or(start_ms);
            }
            (v2_field::HISTOGRAMS, FieldValue::Bytes(message)) => {
                let (histogram, start_ms) = histogram::decode(message)?;
                series.histograms.push(histogram);
                series.start_ms = series.start_ms.or(start_ms);
            }
            (v2_field::EXEMPLARS, FieldValue::Bytes(exemplar)) => {
                series.exemplars.push(decode_v2_exemplar(exemplar, symbols)?);
            }
            (v2_field::METADATA, FieldValue::Bytes(metadata)) => {
                series.metadata = Some(decode_v2_metadata(metadata, symbols)?.into_owned());
            }
            _ => {}
        }
    }
    series.labels = resolve(&refs, symbols)?;
    Ok(series)
}

/// Also the start, which 1.0 has not (0 is none).
fn decode_sample(message: &[u8]) -> Result<(Sample, Option<i64>), DecodeError> {
    let mut sample = Sample { value: 0.0, timestamp_ms: 0 };
    let mut start_ms = None;
    for field in Fields::of(message) {
        match field? {
            (SAMPLE_VALUE, FieldValue::Fixed64(bits)) => sample.value = f64::from_bits(bits),
            (SAMPLE_TIMESTAMP, FieldValue::Varint(bits)) => {
                sample.timestamp_ms = bits.cast_signed();
            }
            (SAMPLE_START, FieldValue::Varint(bits)) => {
                start_ms = (bits != 0).then_some(bits.cast_signed());
            }
            _ => {}
        }
    }
    Ok((sample, start_ms))
}

fn decode_exemplar(message: &[u8]) -> Result<Exemplar, DecodeError> {
    let mut labels = Vec::new();
    let mut value = 0.0;
    let mut timestamp_ms = None;
    for field in Fields::of(message) {
        match field? {
            (EXEMPLAR_LABELS, FieldValue::Bytes(bytes)) => labels.push(label(bytes)?),
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

fn decode_v2_exemplar(message: &[u8], symbols: &[&str]) -> Result<Exemplar, DecodeError> {
    let mut refs = Vec::new();
    let mut value = 0.0;
    let mut timestamp_ms = None;
    for field in Fields::of(message) {
        match field? {
            (EXEMPLAR_LABELS, value) => take_refs(&mut refs, value)?,
            (EXEMPLAR_VALUE, FieldValue::Fixed64(bits)) => value = f64::from_bits(bits),
            (EXEMPLAR_TIMESTAMP, FieldValue::Varint(bits)) => {
                timestamp_ms = Some(bits.cast_signed());
            }
            _ => {}
        }
    }
    Ok(Exemplar { labels: resolve(&refs, symbols)?, value, timestamp_ms })
}

pub(super) fn decode_v2_metadata<'a>(
    message: &[u8],
    symbols: &[&'a str],
) -> Result<Metadata<'a>, DecodeError> {
    let mut metadata = Metadata::default();
    for field in Fields::of(message) {
        match field? {
            (METADATA_TYPE, FieldValue::Varint(number)) => metadata.kind = metadata::kind(number),
            (METADATA_HELP, FieldValue::Varint(at)) => {
                metadata.help = symbol(symbols, at)?.into();
            }
            (METADATA_UNIT, FieldValue::Varint(at)) => {
                metadata.unit = symbol(symbols, at)?.into();
            }
            _ => {}
        }
    }
    Ok(metadata)
}

fn take_refs(refs: &mut Vec<u64>, value: FieldValue<'_>) -> Result<(), DecodeError> {
    match value {
        FieldValue::Varint(at) => refs.push(at),
        FieldValue::Bytes(bytes) => {
            for at in packed(bytes) {
                refs.push(at?);
            }
        }
        FieldValue::Fixed64(_) | FieldValue::Fixed32(_) => {}
    }
    Ok(())
}

fn resolve(refs: &[u64], symbols: &[&str]) -> Result<Labels, DecodeError> {
    let (pairs, odd) = refs.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(DecodeError::BadSymbols);
    }
    let pair = |[name, value]: &[u64; 2]| Ok((symbol(symbols, *name)?, symbol(symbols, *value)?));
    let mut labels = pairs.iter().map(pair).collect::<Result<Vec<_>, DecodeError>>()?;
    labels.sort_unstable();
    Ok(labels.into_iter().collect())
}

pub(super) fn symbol<'a>(symbols: &[&'a str], at: u64) -> Result<&'a str, DecodeError> {
    let found = usize::try_from(at).ok().and_then(|at| symbols.get(at));
    found.copied().ok_or(DecodeError::BadSymbols)
}
