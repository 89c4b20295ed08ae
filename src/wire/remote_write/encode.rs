//! Series to the form in which the outbox keeps them: labels once, then a value each scrape.

use crate::{
    model::{
        labels::Labels,
        sample::{Exemplar, Point, PointValue},
    },
    wire::{
        protobuf::{
            FieldValue, Fields, bytes_tag, fixed64_tag, push_bytes, push_varint, varint_length,
            varint_tag,
        },
        remote_write::{
            EXEMPLAR_LABELS, EXEMPLAR_TIMESTAMP, EXEMPLAR_VALUE, EXEMPLARS, HISTOGRAMS, LABEL_NAME,
            LABEL_VALUE, LABELS, METADATA, Metadata, SAMPLE_TIMESTAMP, SAMPLE_VALUE, SAMPLES,
            START, TIMESERIES, bits, decode, histogram,
        },
    },
};

/// The tag and the eight bytes of a `double`. Zero is written too, so that each value has its
/// place.
pub(super) const POINT_VALUE_LENGTH: usize = 9;
/// What stands before a label, its name and its value, unless they are very long.
const LABEL_HEADS_LENGTH: usize = 8;
/// Of the field that tells the start: its tag takes two bytes.
pub(super) const START_TAG_LENGTH: usize = 2;

/// The `labels` fields of a `TimeSeries`, in the order of the names, as the protocol demands; and
/// behind them the metadata, where the destination wants it with each series.
pub fn encode_labels(labels: &Labels, metadata: Option<&Metadata<'_>>) -> Vec<u8> {
    let length: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    let mut blob = Vec::with_capacity(length + LABEL_HEADS_LENGTH * labels.len());
    push_labels(&mut blob, LABELS, labels.iter());
    if let Some(metadata) = metadata {
        push_bytes(&mut blob, METADATA, &metadata.encode());
    }
    blob
}

/// Whether `encode_labels` may have made these bytes, which came from elsewhere.
pub fn is_labels(blob: &[u8]) -> bool {
    Fields::of(blob).all(|field| match field {
        Ok((LABELS, FieldValue::Bytes(label))) => decode::label(label).is_ok(),
        Ok((METADATA, FieldValue::Bytes(metadata))) => Metadata::decode(metadata).is_ok(),
        Ok(_) | Err(_) => false,
    })
}

/// Appends one `WriteRequest.timeseries` field: labels that `encode_labels` made, and one value.
#[inline]
pub fn push_series(out: &mut Vec<u8>, label_blob: &[u8], point: &Point<'_>) {
    let exemplars = encode_exemplars(point.exemplars);
    let start_length = point.start_ms.map_or(0, |ms| START_TAG_LENGTH + varint_length(bits(ms)));
    let rest_length = label_blob.len() + exemplars.len() + start_length;
    match point.value {
        PointValue::Float(value) => {
            // A sample takes at most 20 bytes, so its length takes one.
            let sample_length = POINT_VALUE_LENGTH + 1 + varint_length(bits(point.timestamp_ms));
            push_varint(out, bytes_tag(TIMESERIES));
            push_varint(out, (rest_length + 2 + sample_length) as u64);
            out.extend_from_slice(label_blob);
            push_varint(out, bytes_tag(SAMPLES));
            push_varint(out, sample_length as u64);
            push_double(out, SAMPLE_VALUE, value);
            push_varint(out, varint_tag(SAMPLE_TIMESTAMP));
            push_varint(out, bits(point.timestamp_ms));
        }
        PointValue::Histogram(histogram) => {
            let message = histogram::encode(histogram, point.timestamp_ms);
            let length = 1 + varint_length(message.len() as u64) + message.len();
            push_varint(out, bytes_tag(TIMESERIES));
            push_varint(out, (rest_length + length) as u64);
            out.extend_from_slice(label_blob);
            push_bytes(out, HISTOGRAMS, &message);
        }
    }
    out.extend_from_slice(&exemplars);
    if let Some(start_ms) = point.start_ms {
        push_varint(out, varint_tag(START));
        push_varint(out, bits(start_ms));
    }
}

#[inline]
pub(super) fn push_double(out: &mut Vec<u8>, field: u64, value: f64) {
    push_varint(out, fixed64_tag(field));
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn push_labels<'l>(
    out: &mut Vec<u8>,
    field: u64,
    labels: impl Iterator<Item = (&'l str, &'l str)>,
) {
    for (name, value) in labels {
        let length = label_length(name, value);
        out.reserve(LABEL_HEADS_LENGTH + length);
        push_varint(out, bytes_tag(field));
        push_varint(out, length as u64);
        push_bytes(out, LABEL_NAME, name.as_bytes());
        push_bytes(out, LABEL_VALUE, value.as_bytes());
    }
}

/// Of the message of a label.
pub(super) fn label_length(name: &str, value: &str) -> usize {
    2 + varint_length(name.len() as u64)
        + name.len()
        + varint_length(value.len() as u64)
        + value.len()
}

/// Of its whole field, by the length of the message.
pub(super) fn label_field_length(length: usize) -> usize {
    1 + varint_length(length as u64) + length
}

fn encode_exemplars(exemplars: &[Exemplar]) -> Vec<u8> {
    let mut all = Vec::new();
    for exemplar in exemplars {
        let mut message = Vec::new();
        push_labels(&mut message, EXEMPLAR_LABELS, exemplar.labels.iter());
        push_double(&mut message, EXEMPLAR_VALUE, exemplar.value);
        if let Some(timestamp_ms) = exemplar.timestamp_ms {
            push_varint(&mut message, varint_tag(EXEMPLAR_TIMESTAMP));
            push_varint(&mut message, bits(timestamp_ms));
        }
        push_bytes(&mut all, EXEMPLARS, &message);
    }
    all
}
