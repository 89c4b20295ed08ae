//! From a pushed series to the form in which the outbox keeps it: its labels once, then a field for
//! each of its points. Values, histograms and exemplars go through bit by bit.

use super::{PushedPoint, PushedValue};
use crate::wire::{
    protobuf::{bytes_tag, fixed64_tag, push_bytes, push_varint, varint_length, varint_tag},
    remote_write::{
        HISTOGRAMS, LABELS, METADATA, Metadata, SAMPLE_TIMESTAMP, SAMPLE_VALUE, SAMPLES, START,
        TIMESERIES, bits,
        encode::{POINT_VALUE_LENGTH, START_TAG_LENGTH, push_labels},
    },
};

/// The same bytes as `encode_labels`, in room that is used again; how many of them are of the labels. These
/// are in order of their names.
pub fn encode_pushed_labels<'l>(
    label_blob: &mut Vec<u8>,
    labels: impl Iterator<Item = (&'l str, &'l str)>,
    metadata: Option<&Metadata<'_>>,
) -> usize {
    label_blob.clear();
    push_labels(label_blob, LABELS, labels);
    let labels_length = label_blob.len();
    if let Some(metadata) = metadata {
        push_bytes(label_blob, METADATA, &metadata.encode());
    }
    labels_length
}

/// Appends one `timeseries` field with one point, and the fields of `PushedExemplars`: those of
/// a series ride with its last point, or alone where it has none. Of neither, nothing is kept.
#[inline]
pub fn push_kept(
    out: &mut Vec<u8>,
    label_blob: &[u8],
    point: Option<&PushedPoint<'_>>,
    exemplar_fields: &[u8],
) {
    let around_length = label_blob.len() + exemplar_fields.len();
    let Some(point) = point else {
        if !exemplar_fields.is_empty() {
            push_head(out, around_length);
            out.extend_from_slice(label_blob);
            out.extend_from_slice(exemplar_fields);
        }
        return;
    };
    let start_length = point.start_ms.map_or(0, |ms| START_TAG_LENGTH + varint_length(bits(ms)));
    let rest_length = around_length + start_length;
    match &point.value {
        PushedValue::Float(value) => {
            // A sample takes at most 20 bytes, so its length takes one.
            let sample_length = POINT_VALUE_LENGTH + 1 + varint_length(bits(point.timestamp_ms));
            push_head(out, rest_length + 2 + sample_length);
            out.extend_from_slice(label_blob);
            push_varint(out, bytes_tag(SAMPLES));
            push_varint(out, sample_length as u64);
            push_varint(out, fixed64_tag(SAMPLE_VALUE));
            out.extend_from_slice(&value.to_le_bytes());
            push_varint(out, varint_tag(SAMPLE_TIMESTAMP));
            push_varint(out, bits(point.timestamp_ms));
        }
        PushedValue::Histogram(message) => {
            let length = 1 + varint_length(message.len() as u64) + message.len();
            push_head(out, rest_length + length);
            out.extend_from_slice(label_blob);
            push_bytes(out, HISTOGRAMS, message);
        }
    }
    out.extend_from_slice(exemplar_fields);
    if let Some(start_ms) = point.start_ms {
        push_varint(out, varint_tag(START));
        push_varint(out, bits(start_ms));
    }
}

fn push_head(out: &mut Vec<u8>, length: usize) {
    push_varint(out, bytes_tag(TIMESERIES));
    push_varint(out, length as u64);
}
