//! A series as the outbox keeps it, taken apart and put together with other labels. What is not
//! labels goes through as the bytes that it is: a NaN, or a histogram, is the same behind it.

use std::ops::Range;

use crate::{
    model::labels::Labels,
    wire::{
        protobuf::{FieldValue, Fields, bytes_tag, push_varint},
        remote_write::{
            EXEMPLARS, HISTOGRAMS, LABELS, METADATA, Metadata, SAMPLES, START, TIMESERIES, decode,
        },
    },
};

/// A `timeseries` field, taken apart. Kept from one series to the next for its room.
#[derive(Debug, Default)]
pub struct KeptParts {
    labels: Labels,
    /// Of the field, where its metadata stands.
    metadata: Option<Range<usize>>,
    /// The fields of each kind with their tags, one behind the other.
    samples: Vec<u8>,
    histograms: Vec<u8>,
    exemplars: Vec<u8>,
    start: Vec<u8>,
}

/// What is to be put together again, besides the labels and a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptTakes {
    pub histograms: bool,
    pub exemplars: bool,
    pub start: bool,
}

impl KeptParts {
    /// `field` is to be one whole `timeseries` field; false where it is none.
    pub fn read(&mut self, field: &[u8]) -> bool {
        self.take_apart(field).is_some()
    }

    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// `field` is what was read.
    pub fn metadata<'a>(&self, field: &'a [u8]) -> Option<Metadata<'a>> {
        let metadata = field.get(self.metadata.clone()?)?;
        Metadata::decode(metadata).ok()
    }

    /// Appends the field with these labels, which `encode_labels` made; false, and nothing appended,
    /// where nothing is left of it but them.
    pub fn push(&self, out: &mut Vec<u8>, label_blob: &[u8], takes: KeptTakes) -> bool {
        let histograms: &[u8] = if takes.histograms { &self.histograms } else { &[] };
        let has_point = !self.samples.is_empty() || !histograms.is_empty();
        // Exemplars of a histogram that does not go there have nothing to stand beside.
        let stands_alone = !has_point && !self.histograms.is_empty();
        let takes_exemplars = takes.exemplars && !stands_alone;
        let exemplars: &[u8] = if takes_exemplars { &self.exemplars } else { &[] };
        if !has_point && exemplars.is_empty() {
            return false;
        }
        let start: &[u8] = if takes.start { &self.start } else { &[] };
        let pieces = [label_blob, &self.samples, histograms, exemplars, start];
        push_varint(out, bytes_tag(TIMESERIES));
        push_varint(out, pieces.iter().map(|piece| piece.len() as u64).sum());
        for piece in pieces {
            out.extend_from_slice(piece);
        }
        true
    }

    fn take_apart(&mut self, field: &[u8]) -> Option<()> {
        let series = series_of(field)?;
        for bytes in [&mut self.samples, &mut self.histograms, &mut self.exemplars, &mut self.start]
        {
            bytes.clear();
        }
        self.metadata = None;
        let base = field.len() - series.len();
        let mut labels = Vec::new();
        let mut fields = Fields::of(series);
        let mut at = 0;
        while let Some(read) = fields.next() {
            let (number, value) = read.ok()?;
            let end = series.len() - fields.rest().len();
            let whole = &series[at..end];
            at = end;
            match (number, value) {
                (LABELS, FieldValue::Bytes(label)) => labels.push(decode::label(label).ok()?),
                (METADATA, FieldValue::Bytes(metadata)) => {
                    self.metadata = Some(base + end - metadata.len()..base + end);
                }
                (SAMPLES, _) => self.samples.extend_from_slice(whole),
                (HISTOGRAMS, _) => self.histograms.extend_from_slice(whole),
                (EXEMPLARS, _) => self.exemplars.extend_from_slice(whole),
                (START, _) => self.start.extend_from_slice(whole),
                _ => {}
            }
        }
        let is_sorted = labels.is_sorted_by(|(one, _), (next, _)| one < next);
        self.labels =
            if is_sorted { Labels::of_sorted(&labels) } else { labels.into_iter().collect() };
        Some(())
    }
}

/// Whether the `timeseries` field has what 1.0 has no place for: metadata, or a start.
pub fn tells_more_than_1_0(field: &[u8]) -> bool {
    let Some(series) = series_of(field) else { return false };
    Fields::of(series).any(|field| matches!(field, Ok((METADATA | START, _))))
}

fn series_of(field: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields::of(field);
    match fields.next() {
        Some(Ok((TIMESERIES, FieldValue::Bytes(series)))) if fields.rest().is_empty() => {
            Some(series)
        }
        Some(Ok(_) | Err(_)) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::sample::{Exemplar, Point, PointValue},
        wire::remote_write::{encode_labels, push_series},
    };

    const ALL: KeptTakes = KeptTakes { histograms: true, exemplars: true, start: true };

    fn labels(n: &str) -> Labels {
        [("__name__", "m"), ("n", n)].into_iter().collect()
    }

    fn field(value: f64) -> Vec<u8> {
        let exemplar = Exemplar { labels: labels("e"), value, timestamp_ms: Some(3) };
        let metadata = Metadata { help: "what it is".into(), ..Metadata::default() };
        let point = Point {
            value: PointValue::Float(value),
            timestamp_ms: -7,
            start_ms: Some(5),
            exemplars: &[exemplar],
        };
        let mut field = Vec::new();
        push_series(&mut field, &encode_labels(&labels("1"), Some(&metadata)), &point);
        field
    }

    #[test]
    fn what_is_put_together_with_the_same_labels_is_the_same() {
        for bits in [0, 0x7ff0_0000_0000_0002, 0xfff8_dead_beef_0001] {
            let field = field(f64::from_bits(bits));
            let mut parts = KeptParts::default();
            parts.read(&field);
            assert_eq!(parts.labels(), &labels("1"));
            let metadata = parts.metadata(&field).unwrap();
            assert_eq!(metadata.help, "what it is");
            let mut again = Vec::new();
            assert!(parts.push(&mut again, &encode_labels(parts.labels(), Some(&metadata)), ALL));
            assert_eq!(again, field);
        }
    }

    #[test]
    fn what_1_0_has_no_place_for_is_seen_and_left_out() {
        let field = field(1.0);
        assert!(tells_more_than_1_0(&field));
        let mut parts = KeptParts::default();
        parts.read(&field);
        let mut less = Vec::new();
        let takes = KeptTakes { start: false, ..ALL };
        assert!(parts.push(&mut less, &encode_labels(parts.labels(), None), takes));
        assert!(!tells_more_than_1_0(&less));
    }

    #[test]
    fn what_is_no_series_is_not_read() {
        let good = field(1.0);
        let two = [good.clone(), good.clone()].concat();
        for bad in [&good[..good.len() - 1], &good[2..], &two, b"", b"\x18\x01"] {
            assert!(!KeptParts::default().read(bad), "{bad:?}");
        }
    }
}
