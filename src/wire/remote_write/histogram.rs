//! Native histograms to bytes and back: `prompb.Histogram`, which both versions share.

use crate::{
    model::histogram::{CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, ResetHint, Span},
    wire::{
        protobuf::{
            FieldValue, Fields, WireFault, bytes_tag, push_bytes, push_varint, varint_length,
            varint_tag,
        },
        remote_write::{
            DecodeError, HistogramAt, bits, encode::push_double, histogram_field as field,
        },
    },
};

/// The fields of `BucketSpan`.
const SPAN_OFFSET: u64 = 1;
const SPAN_LENGTH: u64 = 2;

pub(super) fn encode(histogram: &Histogram, timestamp_ms: i64) -> Vec<u8> {
    let mut out = Vec::new();
    match &histogram.counts {
        Counts::Integer { count, .. } => push_number(&mut out, field::COUNT_INT, *count),
        Counts::Float { count, .. } => push_double(&mut out, field::COUNT_FLOAT, *count),
    }
    push_double(&mut out, field::SUM, histogram.sum);
    push_number(&mut out, field::SCHEMA, zigzag(i64::from(histogram.schema)));
    push_double(&mut out, field::ZERO_THRESHOLD, histogram.zero_threshold);
    match &histogram.counts {
        Counts::Integer { zero_count, .. } => {
            push_number(&mut out, field::ZERO_COUNT_INT, *zero_count);
        }
        Counts::Float { zero_count, .. } => {
            push_double(&mut out, field::ZERO_COUNT_FLOAT, *zero_count);
        }
    }
    push_spans(&mut out, field::NEGATIVE_SPANS, &histogram.negative_spans);
    match &histogram.counts {
        Counts::Integer { negative_deltas, .. } => {
            push_deltas(&mut out, field::NEGATIVE_DELTAS, negative_deltas);
        }
        Counts::Float { negative, .. } => push_doubles(&mut out, field::NEGATIVE_COUNTS, negative),
    }
    push_spans(&mut out, field::POSITIVE_SPANS, &histogram.positive_spans);
    match &histogram.counts {
        Counts::Integer { positive_deltas, .. } => {
            push_deltas(&mut out, field::POSITIVE_DELTAS, positive_deltas);
        }
        Counts::Float { positive, .. } => push_doubles(&mut out, field::POSITIVE_COUNTS, positive),
    }
    push_number(&mut out, field::RESET_HINT, reset_hint_number(histogram.reset_hint));
    push_number(&mut out, field::TIMESTAMP, bits(timestamp_ms));
    push_doubles(&mut out, field::CUSTOM_VALUES, &histogram.custom_bounds);
    out
}

/// Whether these are the bytes of a histogram whose bounds are listed.
pub(super) fn has_custom_buckets(message: &[u8]) -> Result<bool, WireFault> {
    for found in Fields::of(message) {
        if let (field::SCHEMA, FieldValue::Varint(schema)) = found? {
            return Ok(unzigzag(schema) == i64::from(CUSTOM_BUCKETS_SCHEMA));
        }
    }
    Ok(false)
}

/// Also the start, where there is one (0 is none).
pub(super) fn decode(message: &[u8]) -> Result<(HistogramAt, Option<i64>), DecodeError> {
    let mut read = Read::default();
    for found in Fields::of(message) {
        let (number, value) = found?;
        read.take(number, value)?;
    }
    let Read { is_float, timestamp_ms, start_ms, .. } = read;
    let counts = if is_float {
        Counts::Float {
            count: read.count_float,
            zero_count: read.zero_count_float,
            positive: read.positive_counts,
            negative: read.negative_counts,
        }
    } else {
        Counts::Integer {
            count: read.count,
            zero_count: read.zero_count,
            positive_deltas: read.positive_deltas,
            negative_deltas: read.negative_deltas,
        }
    };
    let histogram = Histogram {
        schema: read.schema,
        zero_threshold: read.zero_threshold,
        sum: read.sum,
        reset_hint: read.reset_hint,
        positive_spans: read.positive_spans,
        negative_spans: read.negative_spans,
        counts,
        custom_bounds: read.custom_bounds,
    };
    Ok((HistogramAt { timestamp_ms, histogram }, start_ms))
}

/// A message as far as it has been read.
#[derive(Default)]
struct Read {
    is_float: bool,
    count: u64,
    count_float: f64,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    negative_spans: Vec<Span>,
    negative_deltas: Vec<i64>,
    negative_counts: Vec<f64>,
    positive_spans: Vec<Span>,
    positive_deltas: Vec<i64>,
    positive_counts: Vec<f64>,
    reset_hint: ResetHint,
    timestamp_ms: i64,
    custom_bounds: Vec<f64>,
    start_ms: Option<i64>,
}

impl Read {
    fn take(&mut self, number: u64, value: FieldValue<'_>) -> Result<(), DecodeError> {
        use FieldValue::{Bytes, Fixed64, Varint};
        match (number, value) {
            (field::COUNT_INT, Varint(count)) => self.count = count,
            (field::COUNT_FLOAT, Fixed64(bits)) => {
                self.is_float = true;
                self.count_float = f64::from_bits(bits);
            }
            (field::SUM, Fixed64(bits)) => self.sum = f64::from_bits(bits),
            (field::SCHEMA, Varint(number)) => {
                self.schema =
                    i32::try_from(unzigzag(number)).map_err(|_| DecodeError::OutOfRange)?;
            }
            (field::ZERO_THRESHOLD, Fixed64(bits)) => self.zero_threshold = f64::from_bits(bits),
            (field::ZERO_COUNT_INT, Varint(count)) => self.zero_count = count,
            (field::ZERO_COUNT_FLOAT, Fixed64(bits)) => {
                self.zero_count_float = f64::from_bits(bits);
            }
            (field::NEGATIVE_SPANS, Bytes(span)) => self.negative_spans.push(decode_span(span)?),
            (field::NEGATIVE_DELTAS, value) => take_deltas(&mut self.negative_deltas, value)?,
            (field::NEGATIVE_COUNTS, value) => take_doubles(&mut self.negative_counts, value)?,
            (field::POSITIVE_SPANS, Bytes(span)) => self.positive_spans.push(decode_span(span)?),
            (field::POSITIVE_DELTAS, value) => take_deltas(&mut self.positive_deltas, value)?,
            (field::POSITIVE_COUNTS, value) => take_doubles(&mut self.positive_counts, value)?,
            (field::RESET_HINT, Varint(number)) => self.reset_hint = reset_hint(number),
            (field::TIMESTAMP, Varint(number)) => self.timestamp_ms = number.cast_signed(),
            (field::CUSTOM_VALUES, value) => take_doubles(&mut self.custom_bounds, value)?,
            (field::START, Varint(number)) => {
                self.start_ms = (number != 0).then_some(number.cast_signed());
            }
            _ => {}
        }
        Ok(())
    }
}

fn push_number(out: &mut Vec<u8>, field: u64, number: u64) {
    push_varint(out, varint_tag(field));
    push_varint(out, number);
}

fn push_spans(out: &mut Vec<u8>, field: u64, spans: &[Span]) {
    for span in spans {
        let mut message = Vec::with_capacity(12);
        push_number(&mut message, SPAN_OFFSET, zigzag(i64::from(span.offset)));
        push_number(&mut message, SPAN_LENGTH, u64::from(span.length));
        push_bytes(out, field, &message);
    }
}

fn push_deltas(out: &mut Vec<u8>, field: u64, deltas: &[i64]) {
    if deltas.is_empty() {
        return;
    }
    let length: usize = deltas.iter().map(|delta| varint_length(zigzag(*delta))).sum();
    push_varint(out, bytes_tag(field));
    push_varint(out, length as u64);
    for delta in deltas {
        push_varint(out, zigzag(*delta));
    }
}

fn push_doubles(out: &mut Vec<u8>, field: u64, values: &[f64]) {
    if values.is_empty() {
        return;
    }
    push_varint(out, bytes_tag(field));
    push_varint(out, 8 * values.len() as u64);
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn decode_span(message: &[u8]) -> Result<Span, DecodeError> {
    let mut span = Span { offset: 0, length: 0 };
    for found in Fields::of(message) {
        match found? {
            (SPAN_OFFSET, FieldValue::Varint(number)) => {
                let offset = i32::try_from(unzigzag(number));
                span.offset = offset.map_err(|_| DecodeError::OutOfRange)?;
            }
            (SPAN_LENGTH, FieldValue::Varint(number)) => {
                span.length = u32::try_from(number).map_err(|_| DecodeError::OutOfRange)?;
            }
            _ => {}
        }
    }
    Ok(span)
}

/// Numbers in a row come packed or one field each; a reader takes both.
fn take_deltas(deltas: &mut Vec<i64>, value: FieldValue<'_>) -> Result<(), DecodeError> {
    match value {
        FieldValue::Varint(number) => deltas.push(unzigzag(number)),
        FieldValue::Bytes(packed) => {
            for number in super::decode::packed(packed) {
                deltas.push(unzigzag(number?));
            }
        }
        FieldValue::Fixed64(_) | FieldValue::Fixed32(_) => {}
    }
    Ok(())
}

fn take_doubles(doubles: &mut Vec<f64>, value: FieldValue<'_>) -> Result<(), DecodeError> {
    match value {
        FieldValue::Fixed64(bits) => doubles.push(f64::from_bits(bits)),
        FieldValue::Bytes(packed) => {
            let (values, rest) = packed.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(WireFault::Truncated.into());
            }
            doubles.extend(values.iter().map(|bytes| f64::from_le_bytes(*bytes)));
        }
        FieldValue::Varint(_) | FieldValue::Fixed32(_) => {}
    }
    Ok(())
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

fn reset_hint_number(hint: ResetHint) -> u64 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Yes => 1,
        ResetHint::No => 2,
        ResetHint::Gauge => 3,
    }
}

fn reset_hint(number: u64) -> ResetHint {
    match number {
        1 => ResetHint::Yes,
        2 => ResetHint::No,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}
