//! What is pushed, by either version, is kept and sent on as it was; what is wrong is told apart: of
//! the request, or of one series.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    model::{labels::Labels, sample::STALE_NAN_BITS},
    wire::{
        MetricKind,
        protobuf::{bytes_tag, fixed64_tag, push_bytes, push_varint, varint_tag},
        remote_write::{
            Compressor, Counts, DecodeError, EXEMPLARS, Family, HISTOGRAMS, LABELS, SAMPLES,
            TIMESERIES, TimeSeries, V1Writer, V2Writer, decode, decode_v2, metadata_request,
            sample_count, split,
            tests::{any_labels, any_series, is_sendable},
            v2_field,
        },
    },
};

/// The protobuf of a message, field by field.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(mut self, field: u64, number: u64) -> Self {
        push_varint(&mut self.0, varint_tag(field));
        push_varint(&mut self.0, number);
        self
    }

    fn fixed(mut self, field: u64, bits: u64) -> Self {
        push_varint(&mut self.0, fixed64_tag(field));
        self.0.extend_from_slice(&bits.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, bytes: impl AsRef<[u8]>) -> Self {
        push_bytes(&mut self.0, field, bytes.as_ref());
        self
    }

    fn label(self, name: &str, value: &str) -> Self {
        self.bytes(LABELS, Self::default().bytes(1, name).bytes(2, value).0)
    }

    fn sample(self, bits: u64, timestamp_ms: u64) -> Self {
        self.bytes(SAMPLES, Self::default().fixed(1, bits).number(2, timestamp_ms).0)
    }
}

fn message() -> Message {
    Message::default()
}

/// A request of 1.0 with these series.
fn v1(all: &[Message]) -> Vec<u8> {
    all.iter().fold(message(), |raw, series| raw.bytes(TIMESERIES, &series.0)).0
}

/// What the owner of the series keeps.
fn keep(raw: &[u8], version: WriteVersion) -> Result<Vec<u8>, DecodeError> {
    let (mut kept, mut blob) = (Vec::new(), Vec::new());
    let each = |series: &PushedSeries<'_>| {
        let labels = series.labels.iter().copied();
        let length = encode_pushed_labels(&mut blob, labels, series.metadata.as_ref());
        assert!(series.encoded_labels.is_none_or(|encoded| encoded == &blob[..length]));
        let Some((last, before)) = series.points.split_last() else {
            return push_kept(&mut kept, &blob, None, &series.exemplars.fields);
        };
        for point in before {
            push_kept(&mut kept, &blob, Some(point), &[]);
        }
        push_kept(&mut kept, &blob, Some(last), &series.exemplars.fields);
    };
    read_pushed(raw, version, each, |_| {})?;
    Ok(kept)
}

/// Each series of a request, and what there is to say against it.
fn faults(raw: &[u8], version: WriteVersion, limits: &SeriesLimits) -> Vec<Option<SeriesFault>> {
    let mut all = Vec::new();
    read_pushed(raw, version, |series| all.push(series.check(limits).err()), |_| {}).unwrap();
    all
}

fn as_v1(kept: &[u8]) -> (Vec<TimeSeries>, Counts) {
    let mut writer = V1Writer::default();
    writer.add(kept).unwrap();
    let (raw, counts) = writer.finish();
    (decode(&Compressor::default().body(&raw)).unwrap(), counts)
}

fn as_v2(kept: &[u8]) -> (Vec<TimeSeries>, Counts) {
    let mut writer = V2Writer::default();
    writer.add(kept).unwrap();
    let (raw, counts) = writer.finish();
    (decode_v2(&Compressor::default().body(&raw)).unwrap(), counts)
}

/// What a sender of 1.0 or 2.0 makes of series in the kept form.
fn sent(all: &[TimeSeries], version: WriteVersion) -> Vec<u8> {
    let kept = crate::wire::remote_write::tests::encode(all);
    match version {
        WriteVersion::V1 => {
            let mut writer = V1Writer::default();
            writer.add(&kept).unwrap();
            writer.finish().0
        }
        WriteVersion::V2 => {
            let mut writer = V2Writer::default();
            writer.add(&kept).unwrap();
            writer.finish().0
        }
    }
}

/// As the reader has it: nothing said of it is no metadata.
fn told(mut series: TimeSeries) -> TimeSeries {
    series.metadata = series.metadata.filter(|metadata| *metadata != Metadata::default());
    series
}

proptest! {
    #[test]
    fn what_comes_by_2_0_leaves_as_it_came(all in vec(any_series(), 0..20)) {
        let kept = keep(&sent(&all, WriteVersion::V2), WriteVersion::V2).unwrap();
        let expected: Vec<_> = all.into_iter().map(told).collect();
        prop_assert_eq!(as_v2(&kept).0, expected.clone());
        let (plain, counts) = as_v1(&kept);
        let sendable = expected.into_iter().filter(is_sendable);
        let sendable: Vec<_> = sendable
            .map(|series| TimeSeries { metadata: None, start_ms: None, ..series })
            .collect();
        let exemplars: usize = sendable.iter().map(|series| series.exemplars.len()).sum();
        prop_assert_eq!(counts.exemplars as usize, exemplars);
        prop_assert_eq!(plain, sendable);
    }

    #[test]
    fn what_comes_by_1_0_leaves_as_it_came(all in vec(any_series(), 0..20)) {
        let kept = keep(&sent(&all, WriteVersion::V1), WriteVersion::V1).unwrap();
        let expected: Vec<_> = all
            .into_iter()
            .filter(is_sendable)
            .map(|series| TimeSeries { metadata: None, start_ms: None, ..series })
            .collect();
        prop_assert_eq!(as_v1(&kept).0, expected.clone());
        prop_assert_eq!(as_v2(&kept).0, expected);
    }

    #[test]
    fn any_order_of_labels_is_put_right(labels in any_labels(), turns in 0..6_usize) {
        let mut pairs: Vec<_> = labels.iter().collect();
        let length = pairs.len();
        pairs.rotate_left(turns % length.max(1));
        let series = pairs.iter().fold(message(), |series, (name, value)| series.label(name, value));
        let kept = keep(&v1(&[series.label("empty", "").sample(0, 1)]), WriteVersion::V1).unwrap();
        prop_assert_eq!(as_v1(&kept).0[0].labels.clone(), labels);
    }

    #[test]
    fn no_bytes_are_too_bad(bytes in vec(any::<u8>(), 0..200), spoilt in any_series(), at in any::<usize>()) {
        for version in [WriteVersion::V1, WriteVersion::V2] {
            _ = keep(&bytes, version);
            let mut raw = sent(std::slice::from_ref(&spoilt), version);
            if let Some(byte) = raw.len().checked_sub(1).map(|last| at % (last + 1)) {
                raw[byte] ^= 1 << (at % 8);
            }
            if keep(&raw, version).is_ok() {
                faults(&raw, version, &SeriesLimits::default());
            }
        }
    }
}

#[test]
fn labels_that_came_as_they_are_kept_are_not_encoded_again() {
    let check = |what, series: Message, expected| {
        let raw = v1(&[message().label("z", "z"), series]);
        let mut are_encoded = Vec::new();
        let each = |one: &PushedSeries<'_>| are_encoded.push(one.encoded_labels.is_some());
        read_pushed(&raw, WriteVersion::V1, each, |_| {}).unwrap();
        assert_eq!(are_encoded, [true, expected], "{what}");
    };
    let usual = || message().label("__name__", "m").label("long", &"v".repeat(300));
    let value = || message().bytes(2, "v").0;
    check("usual", usual().sample(1, 2), true);
    check("none", message().sample(1, 2), true);
    check("out of order", message().label("b", "1").label("a", "1"), false);
    check("an empty one", usual().label("z", ""), false);
    check("behind a sample", message().sample(1, 2).label("a", "1"), false);
    check("around a sample", usual().sample(1, 2).label("z", "1"), false);
    check("the value first", message().bytes(LABELS, Message(value()).bytes(1, "n").0), false);
    let name_twice = message().bytes(1, "n").bytes(1, "n").0;
    check("a name twice", message().bytes(LABELS, [name_twice, value()].concat()), false);
    check(
        "something more",
        message().bytes(LABELS, message().bytes(1, "n").bytes(2, "v").number(3, 1).0),
        false,
    );
    // A length of two bytes where one is enough, and the same of a tag.
    check("a long length", message().bytes(LABELS, [b"\x0a\x81\x00n", &*value()].concat()), false);
    let long_tag = [b"\x8a\x00\x06\x0a\x01n", &*value()].concat();
    check("a long tag", Message(long_tag), false);
}

#[test]
fn every_nan_survives() {
    for bits in
        [STALE_NAN_BITS, 0x7ff8_0000_0000_0001, 0xfff8_0000_0000_0000, 0x7ff0_0000_0000_dead]
    {
        let raw = v1(&[message().label("__name__", "up").sample(bits, 5)]);
        let kept = keep(&raw, WriteVersion::V1).unwrap();
        assert_eq!(kept, raw, "what comes in the order of the protocol is kept as it is");
        for all in [as_v1(&kept).0, as_v2(&kept).0] {
            assert_eq!(all[0].samples[0].value.to_bits(), bits);
        }
    }
}

#[test]
fn a_series_of_many_points_becomes_as_many() {
    let exemplar = message().fixed(2, 7).number(3, 9).0;
    let series = message().label("__name__", "m").label("a", "b").sample(1, 1).sample(2, 2);
    let series = series.bytes(EXEMPLARS, &exemplar).sample(3, 3);
    let kept = keep(&v1(&[series]), WriteVersion::V1).unwrap();
    let (all, counts) = as_v1(&kept);
    assert_eq!(all.len(), 3);
    assert_eq!(counts, Counts { samples: 3, exemplars: 1, ..Counts::default() });
    let with_exemplars: Vec<_> = all.iter().map(|series| series.exemplars.len()).collect();
    assert_eq!(with_exemplars, [0, 0, 1]);
}

#[test]
fn exemplars_that_come_alone_go_on_alone() {
    let exemplar = message().bytes(1, message().bytes(1, "trace_id").bytes(2, "x").0).fixed(2, 7);
    let alone = message().label("__name__", "m").bytes(EXEMPLARS, &exemplar.0);
    let other = message().label("__name__", "n").sample(1, 1);
    let nothing = message().label("__name__", "o");
    let raw = v1(&[alone.clone(), other.clone(), alone.clone(), nothing]);
    let kept = keep(&raw, WriteVersion::V1).unwrap();
    assert_eq!(kept, v1(&[alone.clone(), other, alone]));
    let expected = Counts { samples: 1, exemplars: 2, ..Counts::default() };
    for (all, counts) in [as_v1(&kept), as_v2(&kept)] {
        assert_eq!(counts, expected);
        let exemplars: Vec<_> = all.iter().map(|series| series.exemplars.len()).collect();
        assert_eq!(exemplars, [1, 0, 1]);
    }
    let mut compressor = Compressor::default();
    let fragment = compressor.compress(&kept);
    assert_eq!(sample_count(&fragment), Ok(3));
    let pieces = split(&fragment, 1, &mut compressor).unwrap();
    assert_eq!(pieces.iter().map(|piece| piece.samples).collect::<Vec<_>>(), [1, 1, 1]);
}

/// Of integers, with counts in both buckets of one span; `fields` come behind.
fn histogram(fields: impl FnOnce(Message) -> Message) -> Vec<u8> {
    let span = message().number(1, 0).number(2, 2).0;
    let head = message().number(1, 5).fixed(3, 1.0_f64.to_bits()).number(6, 1);
    fields(head.bytes(11, span).bytes(12, [4, 0]).number(15, 1000)).0
}

fn with_histogram(histogram: &[u8]) -> Message {
    message().label("__name__", "h").bytes(HISTOGRAMS, histogram)
}

#[test]
fn the_start_of_a_histogram_stands_beside_it() {
    let plain = histogram(|message| message);
    let last = histogram(|message| message.number(17, 99));
    let first = [&message().number(17, 99).0[..], &plain].concat();
    let between = [&plain[..], &message().number(17, 99).number(30, 1).0].concat();
    let twice = [&message().number(17, 1).0[..], &last].concat();
    let between_kept = [&plain[..], &message().number(30, 1).0].concat();
    for (came, kept, start_ms) in [
        (&plain, &plain, None),
        (&last, &plain, Some(99)),
        (&first, &plain, Some(99)),
        (&twice, &plain, Some(99)),
        (&between, &between_kept, Some(99)),
    ] {
        let raw = v1(&[with_histogram(came)]);
        let check = |series: &PushedSeries<'_>| {
            let value = PushedValue::Histogram(Cow::Borrowed(kept));
            assert_eq!(series.points, [PushedPoint { timestamp_ms: 1000, start_ms, value }]);
        };
        read_pushed(&raw, WriteVersion::V1, check, |_| {}).unwrap();
        let all = as_v2(&keep(&raw, WriteVersion::V1).unwrap()).0;
        assert_eq!((all[0].start_ms, all[0].histograms.len()), (start_ms, 1));
    }
}

#[test]
fn histograms_that_no_store_takes_are_told() {
    let span = |offset, length| message().number(1, offset).number(2, length).0;
    let double = f64::to_bits;
    let integer = message().number(1, 5).number(6, 1).bytes(11, span(0, 2));
    let float = message().fixed(2, double(5.0)).bytes(11, span(0, 2));
    let pair = |one: f64, two: f64| [one.to_le_bytes(), two.to_le_bytes()].concat();
    let custom = message().number(1, 5).number(4, 105).bytes(11, span(0, 2)).bytes(12, [4, 2]);
    for (histogram, expected) in [
        (histogram(|message| message), Ok(())),
        (message().0, Ok(())),
        (message().fixed(3, STALE_NAN_BITS).number(15, 1).0, Ok(())),
        (float.clone().bytes(13, pair(2.0, 3.0)).0, Ok(())),
        (custom.clone().bytes(16, pair(1.0, 2.0)).0, Ok(())),
        // A schema of 20, which is merged where it is stored; and 60.
        (integer.clone().bytes(12, [4, 0]).number(4, 40).0, Ok(())),
        (integer.clone().bytes(12, [4, 0]).number(4, 120).0, Err("the schema 60")),
        (integer.clone().bytes(12, [4]).0, Err("lay out 2 buckets, found 1")),
        (integer.clone().bytes(12, [4, 7]).0, Err("a bucket of a native histogram is negative")),
        (integer.clone().bytes(12, [4, 4]).0, Err("hold 7 observations, but its count is 5")),
        (integer.clone().bytes(12, [4, 0x80]).0, Err("a field is longer than its message")),
        (float.clone().bytes(13, pair(2.0, -3.0)).0, Err("is negative")),
        (float.bytes(13, [0; 15]).0, Err("a field is longer than its message")),
        (message().fixed(2, double(-1.0)).0, Err("the count of a native histogram is negative")),
        (custom.clone().bytes(16, pair(2.0, 1.0)).0, Err("must be finite and rise")),
        (custom.bytes(12, [0]).0, Err("more buckets than custom bounds")),
    ] {
        let raw = v1(&[with_histogram(&histogram)]);
        let fault = faults(&raw, WriteVersion::V1, &SeriesLimits::default()).remove(0);
        match (&fault, expected) {
            (None, Ok(())) => {}
            (Some(SeriesFault::BadHistogram(reason)), Err(part)) if reason.contains(part) => {}
            _ => panic!("found {fault:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn series_are_held_against_rules_and_limits() {
    let limits = SeriesLimits { labels_max: 3, name_bytes_max: 8, value_bytes_max: 4 };
    let check = |labels: &[(&str, &str)], expected: Option<SeriesFault>| {
        let labels = labels.iter().fold(message(), |series, (n, v)| series.label(n, v));
        let raw = v1(&[labels.sample(0, 1)]);
        assert_eq!(faults(&raw, WriteVersion::V1, &limits), [expected]);
    };
    let name = ("__name__", "up");
    check(&[name], None);
    check(&[("a", "1"), name, ("empty", "")], None);
    check(&[], Some(SeriesFault::NoName));
    check(&[("__name__", ""), ("job", "x")], Some(SeriesFault::NoName));
    check(&[("job", "x")], Some(SeriesFault::NoName));
    check(&[name, ("", "x")], Some(SeriesFault::EmptyLabelName));
    check(&[name, ("", "")], None);
    check(&[("a", "1"), name, ("a", "2")], Some(SeriesFault::DuplicateLabel("a".into())));
    check(&[name, name], Some(SeriesFault::DuplicateLabel("__name__".into())));
    check(
        &[name, ("a", "1"), ("b", "1"), ("c", "1")],
        Some(SeriesFault::TooManyLabels { found: 4, max: 3 }),
    );
    check(&[name, ("a_long_one", "1")], Some(SeriesFault::LabelNameTooLong { bytes: 10, max: 8 }));
    check(
        &[name, ("a", "12345")],
        Some(SeriesFault::LabelValueTooLong { name: "a".into(), bytes: 5, max: 4 }),
    );
}

#[test]
fn the_reader_has_limits_of_its_own() {
    let limits = SeriesLimits::default();
    let long = "x".repeat(1 << 20);
    assert_eq!(
        faults(&v1(&[message().label("__name__", &long)]), WriteVersion::V1, &limits),
        [None]
    );
    let labels = |count| {
        let more = (1..count).fold(message(), |series, n| series.label(&format!("l{n:06}"), "v"));
        faults(&v1(&[more.label("__name__", "m")]), WriteVersion::V1, &limits).remove(0)
    };
    let max = PUSHED_LABELS_MAX;
    assert_eq!(labels(max), None);
    for count in [max + 1, max + 2] {
        assert_eq!(labels(count), Some(SeriesFault::TooManyLabels { found: max + 1, max }));
    }
    // What refers to a long text, or repeats it, again and again.
    let symbols = message().bytes(v2_field::SYMBOLS, "").bytes(v2_field::SYMBOLS, &long);
    let label = message().bytes(v2_field::LABEL_REFS, [1, 1]).0;
    let many = (0..40).fold(symbols.clone(), |raw, _| raw.bytes(v2_field::TIMESERIES, &label));
    let too_large =
        |raw: &[u8], version| matches!(keep(raw, version), Err(DecodeError::TooLarge(_)));
    assert!(too_large(&many.0, WriteVersion::V2));
    let exemplar = message().bytes(1, [1; 80]).0;
    let series = message().bytes(v2_field::EXEMPLARS, exemplar).0;
    assert!(too_large(&symbols.bytes(v2_field::TIMESERIES, series).0, WriteVersion::V2));
    let points = (0..80).fold(message().label("__name__", &long), |series, n| series.sample(0, n));
    assert!(too_large(&v1(&[points]), WriteVersion::V1));
    let points = message()
        .bytes(TIMESERIES, [bytes_tag(SAMPLES).to_le_bytes()[0], 0].repeat((1 << 18) + 1))
        .0;
    assert_eq!(keep(&points, WriteVersion::V1), Err(DecodeError::TooMany("samples of one series")));
}

#[test]
fn symbols_may_come_last() {
    let sample = message().fixed(1, 1.0_f64.to_bits()).number(2, 5).number(3, 2).0;
    let metadata = message().number(1, 2).number(3, 4).0;
    let series = message().bytes(v2_field::METADATA, metadata).bytes(v2_field::SAMPLES, sample);
    // Not packed.
    let series = series.number(1, 3).number(1, 2).number(1, 1).number(1, 2);
    let raw = message().bytes(v2_field::TIMESERIES, series.0);
    let symbols = ["", "__name__", "up", "job", "Is up."];
    let raw = symbols.iter().fold(raw, |raw, text| raw.bytes(v2_field::SYMBOLS, text)).0;
    let all = as_v2(&keep(&raw, WriteVersion::V2).unwrap()).0;
    let labels: Labels = [("__name__", "up"), ("job", "up")].into_iter().collect();
    assert_eq!(all[0].labels, labels);
    assert_eq!(all[0].start_ms, Some(2));
    let metadata = all[0].metadata.clone().unwrap();
    assert_eq!((metadata.kind, &*metadata.help), (MetricKind::Gauge, "Is up."));
}

#[test]
fn families_come_by_themselves() {
    let family = Family {
        metric: "m".into(),
        kind: MetricKind::Counter,
        help: "é".into(),
        unit: "s".into(),
    };
    let mut found = Vec::new();
    let raw = metadata_request([&family]);
    let none = |_: &PushedSeries<'_>| panic!("there is no series");
    read_pushed(&raw, WriteVersion::V1, none, |family| found.push(family)).unwrap();
    assert_eq!(found, [family]);
}

#[test]
fn bad_requests_are_refused_whole() {
    let series = |refs: &[u8]| message().bytes(v2_field::LABEL_REFS, refs).0;
    let symbols = message().bytes(v2_field::SYMBOLS, "").bytes(v2_field::SYMBOLS, "a");
    for (raw, version, expected) in [
        (vec![], WriteVersion::V1, None),
        (vec![], WriteVersion::V2, None),
        (v1(&[message().label("a", "b").bytes(99, "x")]), WriteVersion::V1, None),
        (
            v1(&[message().bytes(LABELS, message().bytes(1, [0xff]).0)]),
            WriteVersion::V1,
            Some(DecodeError::NotUtf8),
        ),
        (
            v1(&[message().bytes(EXEMPLARS, message().bytes(1, message().bytes(2, [0xff]).0).0)]),
            WriteVersion::V1,
            Some(DecodeError::NotUtf8),
        ),
        (
            message().bytes(v2_field::SYMBOLS, "a").0,
            WriteVersion::V2,
            Some(DecodeError::BadSymbols),
        ),
        (
            symbols.clone().bytes(v2_field::SYMBOLS, [0xc3]).0,
            WriteVersion::V2,
            Some(DecodeError::NotUtf8),
        ),
        (
            symbols.clone().bytes(v2_field::TIMESERIES, series(&[1])).0,
            WriteVersion::V2,
            Some(DecodeError::BadSymbols),
        ),
        (
            symbols.bytes(v2_field::TIMESERIES, series(&[1, 2])).0,
            WriteVersion::V2,
            Some(DecodeError::BadSymbols),
        ),
    ] {
        assert_eq!(keep(&raw, version).err(), expected, "{raw:?}");
    }
}

#[test]
fn values_and_digests_are_equal_alike() {
    let point = |value| PushedPoint { timestamp_ms: 1, start_ms: None, value };
    let float = |value: f64| point(PushedValue::Float(value.to_bits())).digest();
    assert_eq!(float(1.0), float(1.0));
    assert_ne!(float(0.0), float(-0.0));
    let one = histogram(|message| message);
    let digest =
        |message: &[u8]| point(PushedValue::Histogram(Cow::Owned(message.to_vec()))).digest();
    assert_eq!(digest(&one), digest(&one.clone()));
    assert_ne!(digest(&one), digest(&one[1..]));
}
