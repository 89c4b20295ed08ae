//! What is encoded is read again as it was, by both versions, whole or in pieces.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    model::{
        histogram::{self, CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, Span},
        labels::Labels,
        sample::{Exemplar, Point, PointValue, Sample},
    },
    wire::{MetricKind, protobuf::push_varint},
};

pub(super) fn any_labels() -> impl Strategy<Value = Labels> {
    vec(("[a-z_]{1,8}", "[a-zé]{1,40}"), 0..6).prop_map(|pairs| pairs.into_iter().collect())
}

fn any_counts() -> impl Strategy<Value = histogram::Counts> {
    let integer = (any::<u64>(), any::<u64>(), vec(any::<i64>(), 0..5), vec(any::<i64>(), 0..5))
        .prop_map(|(count, zero_count, positive_deltas, negative_deltas)| {
            histogram::Counts::Integer { count, zero_count, positive_deltas, negative_deltas }
        });
    let float = (any::<f64>(), any::<f64>(), vec(any::<f64>(), 0..5), vec(any::<f64>(), 0..5))
        .prop_map(|(count, zero_count, positive, negative)| histogram::Counts::Float {
            count,
            zero_count,
            positive,
            negative,
        });
    prop_oneof![integer, float]
}

fn any_histogram() -> impl Strategy<Value = Histogram> {
    let spans = || {
        let span =
            (any::<i32>(), any::<u32>()).prop_map(|(offset, length)| Span { offset, length });
        vec(span, 0..4)
    };
    let hint = prop_oneof![
        Just(ResetHint::Unknown),
        Just(ResetHint::Yes),
        Just(ResetHint::No),
        Just(ResetHint::Gauge)
    ];
    let schema = prop_oneof![-4..=8_i32, Just(CUSTOM_BUCKETS_SCHEMA)];
    let rest = (any::<f64>(), any::<f64>(), hint, vec(any::<f64>(), 0..4));
    (schema, spans(), spans(), any_counts(), rest).prop_map(
        |(schema, positive_spans, negative_spans, counts, rest)| {
            let (zero_threshold, sum, reset_hint, custom_bounds) = rest;
            Histogram {
                schema,
                zero_threshold,
                sum,
                reset_hint,
                positive_spans,
                negative_spans,
                counts,
                custom_bounds,
            }
        },
    )
}

fn any_metadata() -> impl Strategy<Value = Metadata<'static>> {
    let kind = prop_oneof![Just(MetricKind::Counter), Just(MetricKind::Unknown)];
    (kind, "[a-zé\\n]{0,20}", "[a-z]{0,5}").prop_map(|(kind, help, unit)| Metadata {
        kind,
        help: help.into(),
        unit: unit.into(),
    })
}

/// As the packer makes them: one value a series.
pub(super) fn any_series() -> impl Strategy<Value = TimeSeries> {
    let exemplar = (any_labels(), any::<f64>(), any::<Option<i64>>())
        .prop_map(|(labels, value, timestamp_ms)| Exemplar { labels, value, timestamp_ms });
    let value = prop_oneof![
        3 => any::<f64>().prop_map(Ok),
        1 => any_histogram().prop_map(Err),
    ];
    let start = proptest::option::of(any::<i64>().prop_filter("0 is none", |start| *start != 0));
    let metadata = proptest::option::of(any_metadata());
    (any_labels(), value, any::<i64>(), vec(exemplar, 0..3), metadata, start).prop_map(
        |(labels, value, timestamp_ms, exemplars, metadata, start_ms)| {
            let mut series =
                TimeSeries { labels, exemplars, metadata, start_ms, ..TimeSeries::default() };
            match value {
                Ok(value) => series.samples.push(Sample { value, timestamp_ms }),
                Err(histogram) => series.histograms.push(HistogramAt { timestamp_ms, histogram }),
            }
            series
        },
    )
}

pub(super) fn encode(all: &[TimeSeries]) -> Vec<u8> {
    let mut raw = Vec::new();
    for series in all {
        let blob = encode_labels(&series.labels, series.metadata.as_ref());
        let (value, timestamp_ms) = match (series.samples.first(), series.histograms.first()) {
            (Some(sample), _) => (PointValue::Float(sample.value), sample.timestamp_ms),
            (None, Some(at)) => (PointValue::Histogram(&at.histogram), at.timestamp_ms),
            (None, None) => panic!("a series without a value"),
        };
        let (start_ms, exemplars) = (series.start_ms, &*series.exemplars);
        push_series(&mut raw, &blob, &Point { value, timestamp_ms, start_ms, exemplars });
    }
    raw
}

fn counts(all: &[TimeSeries]) -> Counts {
    let sum = |of: fn(&TimeSeries) -> usize| u32::try_from(all.iter().map(of).sum::<usize>());
    Counts {
        samples: sum(|series| series.samples.len()).unwrap(),
        histograms: sum(|series| series.histograms.len()).unwrap(),
        exemplars: sum(|series| series.exemplars.len()).unwrap(),
        unsendable: 0,
    }
}

pub(super) fn is_sendable(series: &TimeSeries) -> bool {
    series.histograms.iter().all(|at| at.histogram.schema != CUSTOM_BUCKETS_SCHEMA)
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
    fn as_2_0_nothing_is_missing(all in vec(vec(any_series(), 0..20), 0..4)) {
        let raws: Vec<_> = all.iter().map(|part| encode(part)).collect();
        let mut writer = V2Writer::default();
        writer.add_in_turn(raws.iter().map(Vec::as_slice)).unwrap();
        let (raw, counted) = writer.finish();
        let body = Compressor::default().body(&raw);
        let turns = (0..20).flat_map(|n| all.iter().filter_map(move |part| part.get(n)));
        let all: Vec<TimeSeries> = turns.cloned().collect();
        prop_assert_eq!(counted, counts(&all));
        prop_assert_eq!(decode_v2(&body), Ok(all));
    }

    #[test]
    fn as_1_0_what_it_can_say_is_there(all in vec(any_series(), 0..40)) {
        let mut writer = V1Writer::default();
        writer.add(&encode(&all)).unwrap();
        let (raw, counted) = writer.finish();
        let body = Compressor::default().body(&raw);
        let plain = |series: &TimeSeries| {
            TimeSeries { metadata: None, start_ms: None, ..series.clone() }
        };
        let expected: Vec<_> = all.iter().filter(|s| is_sendable(s)).map(plain).collect();
        let unsendable = u32::try_from(all.len() - expected.len()).unwrap();
        prop_assert_eq!(counted, Counts { unsendable, ..counts(&expected) });
        prop_assert_eq!(decode(&body), Ok(expected));
    }

    #[test]
    fn garbage_is_refused_quietly(bytes in vec(any::<u8>(), 0..100)) {
        _ = decode(&bytes);
        _ = decode_v2(&bytes);
        _ = V1Writer::default().add(&bytes);
        _ = V2Writer::default().add(&bytes);
        _ = V2Writer::default().add_in_turn([&bytes, &[0x0a, 0x00][..], &bytes]);
        _ = is_labels(&bytes);
        let raw_length = u32::try_from(bytes.len()).unwrap();
        let fragment = Fragment { bytes: bytes.into(), raw_length };
        _ = split(&fragment, 1, &mut Compressor::default());
        _ = sample_count(&fragment);
    }
}

fn float(value: f64, timestamp_ms: i64) -> Point<'static> {
    Point { value: PointValue::Float(value), timestamp_ms, start_ms: None, exemplars: &[] }
}

/// Longer than snappy's own blocks of 64 KiB.
#[test]
fn large_fragments_join() {
    let mut compressor = Compressor::default();
    let labels: Labels = [("__name__", "m")].into_iter().collect();
    let series = |n| TimeSeries {
        labels: labels.clone(),
        samples: vec![Sample { value: f64::from(n), timestamp_ms: 1 << 40 }],
        ..TimeSeries::default()
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
    push_series(&mut raw, &encode_labels(&labels, None), &float(1.0, -1));
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
fn symbols_are_there_once_and_the_first_is_empty() {
    let mut raw = Vec::new();
    for value in ["b", "up", "é"] {
        let labels: Labels = [("__name__", "up"), ("a", value)].into_iter().collect();
        let metadata = Metadata { help: "up".into(), ..Metadata::default() };
        let point = Point { start_ms: Some(7), ..float(1.0, 9) };
        push_series(&mut raw, &encode_labels(&labels, Some(&metadata)), &point);
    }
    let mut writer = V2Writer::default();
    writer.add(&raw).unwrap();
    let (body, _) = writer.finish();
    let expected: &[u8] = &[
        &[0x22, 0x00, 0x22, 0x08][..],
        b"__name__",
        &[0x22, 0x02],
        b"up",
        &[0x22, 0x01, b'a', 0x22, 0x01, b'b', 0x22, 0x02],
        "é".as_bytes(),
        &series_of_2_0(4),
        &series_of_2_0(2),
        &series_of_2_0(5),
    ]
    .concat();
    assert_eq!(body, expected);
}

fn series_of_2_0(last: u8) -> Vec<u8> {
    [
        &[0x2a, 0x1d, 0x0a, 0x04, 0x01, 0x02, 0x03, last][..],
        &[0x12, 0x0d, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 0x09, 0x18, 0x07],
        &[0x2a, 0x06, 0x08, 0x00, 0x18, 0x02, 0x20, 0x00],
    ]
    .concat()
}

#[test]
fn a_request_of_metadata_is_that_of_the_protocol() {
    let family = Family {
        metric: "m".into(),
        kind: MetricKind::Gauge,
        help: "h".into(),
        unit: String::new(),
    };
    let expected = [
        &[0x1a, 0x0a, 0x08, 0x02, 0x12, 0x01, b'm', 0x22, 0x01, b'h', 0x2a, 0x00][..],
        &[0x1a, 0x08, 0x08, 0x00, 0x12, 0x00, 0x22, 0x00, 0x2a, 0x00],
    ];
    assert_eq!(metadata_request([&family, &Family::default()]), expected.concat());
}

#[test]
fn bodies_are_bounded_before_they_are_unpacked() {
    let mut body = Vec::new();
    push_varint(&mut body, 1 << 31);
    assert_eq!(decode(&body), Err(DecodeError::TooLarge(1 << 31)));
    assert_eq!(decode_v2(&body), Err(DecodeError::TooLarge(1 << 31)));
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
    for raw in [&[][..], &[0x22, 0x01, b'a'], &[0x22, 0x00, 0x2a, 0x04, 0x0a, 0x02, 0x00, 0x01]] {
        let body = Compressor::default().body(raw);
        assert_eq!(decode_v2(&body), Err(DecodeError::BadSymbols), "{raw:?}");
    }
}
