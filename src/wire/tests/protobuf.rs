//! The protobuf exposition: the same series as in text, what is taken of histograms, what is
//! refused, and that no bytes make it panic.

use std::fmt::Write;

use proptest::prelude::*;

use super::shown;
use crate::{
    model::sample::PointValue,
    wire::{
        Entry, Exposed, Format, ParseOptions, float, native,
        protobuf::{fixed64_tag, push_bytes, push_varint, varint_tag},
    },
};

/// A message that grows field by field.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(mut self, field: u64, value: u64) -> Self {
        push_varint(&mut self.0, varint_tag(field));
        push_varint(&mut self.0, value);
        self
    }

    fn signed(self, field: u64, value: i64) -> Self {
        self.varint(field, ((value << 1) ^ (value >> 63)).cast_unsigned())
    }

    fn double(mut self, field: u64, value: f64) -> Self {
        push_varint(&mut self.0, fixed64_tag(field));
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
        self
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        push_bytes(&mut self.0, field, bytes);
        self
    }

    fn message(self, field: u64, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    fn each<T>(self, items: &[T], add: impl Fn(Self, &T) -> Self) -> Self {
        items.iter().fold(self, add)
    }

    fn delimited(&self) -> Vec<u8> {
        let mut out = Vec::new();
        push_varint(&mut out, self.0.len() as u64);
        out.extend_from_slice(&self.0);
        out
    }
}

fn message() -> Message {
    Message::default()
}

fn family(name: &str, kind: u64, metric: &Message) -> Message {
    message().text(1, name).varint(3, kind).message(4, metric)
}

fn label(name: &str, value: &str) -> Message {
    message().text(1, name).text(2, value)
}

fn seconds(seconds: u64) -> Message {
    message().varint(1, seconds)
}

const ALL: ParseOptions = ParseOptions {
    native: true,
    classic: false,
    custom_buckets: false,
    starts: false,
    keeps_created: false,
    type_and_unit: false,
};

/// The entries, a line each; and what ended them.
fn read(body: &[u8], options: ParseOptions) -> (Vec<String>, Option<String>) {
    let exposed = Exposed::new(Format::Protobuf, body, options);
    let (mut entries, mut fault) = (Vec::new(), None);
    for entry in exposed.parser() {
        match entry {
            Ok(Entry::Series(series)) => {
                let value = match series.value {
                    PointValue::Float(value) => float::shortest(value),
                    PointValue::Histogram(histogram) => native::shown(histogram),
                };
                let mut line = format!("{} {value}", series.text);
                for exemplar in series.exemplars.decode() {
                    _ = write!(line, " # {} {}", exemplar.labels, exemplar.value);
                }
                entries.push(line);
            }
            Ok(Entry::Type { family, kind }) => entries.push(format!("{family}: {}", kind.name())),
            Ok(Entry::Help { .. } | Entry::Unit { .. } | Entry::Comment(_)) => {}
            Err(error) => fault = Some(error.to_string()),
        }
    }
    (entries, fault)
}

/// 2 in (1,2], 1 in (2,4], one in the zero bucket; classic at 1 and 4, with an exemplar each.
fn histogram() -> Message {
    let exemplar = |id: &str, at: Option<u64>| {
        let exemplar = message().message(1, &label("id", id)).double(2, 1.5);
        at.map_or(exemplar.clone(), |at| exemplar.message(3, &seconds(at)))
    };
    let bucket = |upper, count, exemplar: &Message| {
        message().varint(1, count).double(2, upper).message(3, exemplar)
    };
    message()
        .varint(1, 4)
        .double(2, 9.5)
        .message(3, &bucket(1.0, 1, &exemplar("a", Some(7))))
        .message(3, &bucket(4.0, 4, &exemplar("b", None)))
        .signed(5, 0)
        .double(6, 0.25)
        .varint(7, 1)
        .message(12, &message().signed(1, 1).varint(2, 2))
        .bytes(13, &[4, 1])
}

#[test]
fn histograms_are_native_or_classic_or_both() {
    const CLASSIC: [&str; 5] = [
        "h_count 4",
        "h_sum 9.5",
        "h_bucket{le=\"1.0\"} 1 # {id=\"a\"} 1.5",
        "h_bucket{le=\"4.0\"} 4 # {id=\"b\"} 1.5",
        "h_bucket{le=\"+Inf\"} 4",
    ];
    const NATIVE: &str = "h {count:4, sum:9.5, [-0.25,0.25]:1, (1,2]:2, (2,4]:1} # {id=\"a\"} 1.5";
    const CUSTOM: &str = "h {count:4, sum:9.5, [-Inf,1]:1, (1,4]:3} # {id=\"a\"} 1.5";
    let body = family("h", 4, &message().message(7, &histogram())).delimited();
    let ignored = ParseOptions { native: false, ..ALL };
    for (options, native, classic) in [
        (ALL, Some(NATIVE), false),
        (ParseOptions { classic: true, ..ALL }, Some(NATIVE), true),
        (ignored, None, true),
        (ParseOptions { classic: true, ..ignored }, None, true),
        (ParseOptions { custom_buckets: true, ..ignored }, Some(CUSTOM), false),
        (ParseOptions { custom_buckets: true, classic: true, ..ignored }, Some(CUSTOM), true),
        (ParseOptions { custom_buckets: true, ..ALL }, Some(NATIVE), false),
    ] {
        let mut expected = vec!["h: histogram"];
        expected.extend(native);
        expected.extend(CLASSIC.iter().filter(|_| classic));
        assert_eq!(read(&body, options), (expected.into_iter().map(str::to_owned).collect(), None));
    }
}

#[test]
fn counts_that_fall_are_no_custom_buckets_but_stay_classic() {
    let bucket = |upper, count| message().varint(1, count).double(2, upper);
    let histogram = message().varint(1, 2).message(3, &bucket(1.0, 3)).message(3, &bucket(2.0, 2));
    let body = family("h", 5, &message().message(7, &histogram)).delimited();
    let (entries, fault) = read(&body, ParseOptions { custom_buckets: true, ..ALL });
    assert_eq!(fault, None);
    assert_eq!(entries.len(), 1 + 5, "{entries:?}");
}

#[test]
fn floats_gauges_and_type_labels() {
    let histogram = message()
        .double(4, 2.5)
        .double(8, 0.5)
        .message(9, &message().signed(1, 0).varint(2, 1))
        .bytes(11, &1.5_f64.to_le_bytes())
        .message(12, &message().signed(1, -1).varint(2, 1))
        .double(14, 0.5);
    let metric = message().message(7, &histogram).message(1, &label("a.b", "c\"\n\\"));
    let body = family("h.x_seconds", 5, &metric).text(5, "seconds").delimited();
    let options = ParseOptions { type_and_unit: true, ..ALL };
    let (entries, fault) = read(&body, options);
    assert_eq!(fault, None);
    assert_eq!(
        entries[1],
        "{\"h.x_seconds\",\"a.b\"=\"c\\\"\\n\\\\\",__type__=\"gaugehistogram\",__unit__=\"seconds\"} \
         {count:2.5, sum:0, [-1,-0.5):1.5, [-0,0]:0.5, (0.25,0.5]:0.5}"
    );
}

#[test]
fn what_is_no_metric_family_is_refused() {
    let counter = message().message(3, &message().double(1, 1.0));
    let good = family("good", 0, &counter).delimited();
    let of = |metric: &Message| family("m", 0, metric);
    for (bad, expected) in [
        (vec![0x80], "the length of a metric family: a field is longer than its message"),
        (vec![9, 1], "a metric family of 9 bytes, found 1 until the end of the body"),
        (vec![1, 7], "MetricFamily: "),
        (family("", 0, &counter).delimited(), "`` is no metric name"),
        (family("a\0b", 0, &counter).delimited(), "`a\\x00b` is no metric name"),
        (
            message().bytes(1, b"\xff").message(4, &counter).delimited(),
            "metric `\\xff`: the name `\\xff` is not UTF-8",
        ),
        (of(&counter).bytes(2, b"\xff").delimited(), "metric `m`: the help `\\xff` is not UTF-8"),
        (family("m", 6, &counter).delimited(), "metric `m`: the type 6 is unknown"),
        (of(&counter).text(5, "s").delimited(), "the unit `s` is not a suffix of the name"),
        (of(&counter.clone().message(1, &label("", "x"))).delimited(), "`` is no label name"),
        (
            of(&counter.clone().message(1, &message().text(1, "a").bytes(2, b"\xff"))).delimited(),
            "metric `m`: the label value `\\xff` is not UTF-8",
        ),
        (
            of(&message().varint(3, 1)).delimited(),
            "metric `m`: Metric: the field 3 has another wire type than expected",
        ),
        (
            family("m", 4, &message().message(7, &message().bytes(14, &[0; 7]))).delimited(),
            "Histogram: the field 14 has another wire type than expected",
        ),
        (
            family("m", 4, &message().message(7, &message().bytes(13, &[0x80]))).delimited(),
            "Histogram: a field is longer than its message",
        ),
        (
            of(&counter.clone().message(1, &label("a", &"x".repeat(600_000)))).delimited(),
            "metric `m`: an entry is longer than 524288 bytes",
        ),
    ] {
        let (entries, fault) = read(&[&good[..], &bad].concat(), ALL);
        // What comes before it is told.
        assert_eq!(entries[..2], ["good: counter", "good 1"]);
        let fault = fault.unwrap();
        assert!(fault.starts_with(&format!("byte {}: ", good.len())), "{fault}");
        assert!(fault.contains(expected), "{fault}: {expected}");
    }
    // A family without metrics is passed over, whatever it says.
    assert_eq!(read(&message().delimited(), ALL), (Vec::new(), None));
}

/// A name of half a megabyte that a thousand buckets repeat.
#[test]
fn a_small_body_cannot_fill_the_memory() {
    let histogram = message().each(&[(); 1000], |histogram, ()| histogram.bytes(3, b""));
    let metric = message().message(7, &histogram);
    let body = family(&"n".repeat(500_000), 4, &metric).delimited();
    let exposed = Exposed::new(Format::Protobuf, &body, ALL);
    assert!(exposed.parser().count() < 600);
    let fault = exposed.parser().last().unwrap().unwrap_err();
    assert!(fault.message.ends_with("holds more than 256 MiB when it is put in full"));
}

/// One sample, in both formats.
#[derive(Clone, Debug)]
struct Metric {
    name: String,
    labels: Vec<(String, String)>,
    value: Simple,
    started: Option<u32>,
    exemplar: Option<(String, u32)>,
}

#[derive(Clone, Debug)]
enum Simple {
    Counter(f64),
    Gauge(f64),
    Summary { count: u32, sum: f64, quantiles: Vec<f64> },
    Histogram { count: u32, sum: f64, buckets: Vec<f64> },
}

fn metrics() -> impl Strategy<Value = Vec<Metric>> {
    let number = || any::<i32>().prop_map(|n| f64::from(n) / 8.0);
    let bounds = || proptest::collection::vec(number(), 0..4);
    let value =
        prop_oneof![
            number().prop_map(Simple::Counter),
            number().prop_map(Simple::Gauge),
            (any::<u32>(), number(), bounds())
                .prop_map(|(count, sum, quantiles)| Simple::Summary { count, sum, quantiles }),
            (any::<u32>(), number(), bounds())
                .prop_map(|(count, sum, buckets)| Simple::Histogram { count, sum, buckets }),
        ];
    let label = ("[a-d]|[a-d]\\.[a-d]", "[a-z\"\\\\\n é]{0,4}");
    let metric = (
        "[a-z]{1,4}|[a-z]\\.é",
        proptest::collection::vec(label, 0..3),
        value,
        proptest::option::of(1..u32::MAX),
        proptest::option::of(("[a-z\"]{0,3}", any::<u32>())),
    )
        .prop_map(|(name, labels, value, started, exemplar)| Metric {
            name,
            labels,
            value,
            started,
            exemplar,
        });
    proptest::collection::vec(metric, 0..6)
}

/// What OpenMetrics would say; the start stands behind the samples.
fn as_text(metrics: &[Metric]) -> String {
    let mut text = String::new();
    let escaped =
        |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    for metric in metrics {
        let quote = |name: &str| {
            if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() }
        };
        let Metric { name, labels, value, started, exemplar } = metric;
        let mut lines = String::new();
        let mut line = |suffix: &str, more: Option<(&str, f64)>, value: f64, exemplar: &str| {
            let name = format!("{name}{suffix}");
            let mut parts: Vec<String> = labels
                .iter()
                .map(|(name, value)| format!("{}=\"{}\"", quote(name), escaped(value)))
                .collect();
            parts.extend(more.map(|(name, at)| format!("{name}=\"{}\"", float::canonical(at))));
            let bare = quote(&name) == name;
            if !bare {
                parts.insert(0, quote(&name));
            }
            let block =
                if parts.is_empty() { String::new() } else { format!("{{{}}}", parts.join(",")) };
            let name = if bare { name.as_str() } else { "" };
            _ = writeln!(lines, "{name}{block} {value}{exemplar}");
        };
        let exemplar = exemplar
            .as_ref()
            .map_or(String::new(), |(id, at)| format!(" # {{id=\"{}\"}} 2.5 {at}", escaped(id)));
        let inf = f64::INFINITY;
        let kind = match value {
            Simple::Counter(value) => {
                line("", None, *value, &exemplar);
                "counter"
            }
            Simple::Gauge(value) => {
                line("", None, *value, "");
                "gauge"
            }
            Simple::Summary { count, sum, quantiles } => {
                line("_count", None, f64::from(*count), "");
                line("_sum", None, *sum, "");
                for quantile in quantiles {
                    line("", Some(("quantile", *quantile)), 1.0, "");
                }
                "summary"
            }
            Simple::Histogram { count, sum, buckets } => {
                line("_count", None, f64::from(*count), "");
                line("_sum", None, *sum, "");
                for le in buckets {
                    line("_bucket", Some(("le", *le)), 3.0, &exemplar);
                }
                line("_bucket", Some(("le", inf)), f64::from(*count), "");
                "histogram"
            }
        };
        if let (Some(at), true) = (started, kind != "gauge") {
            line("_created", None, f64::from(*at), "");
        }
        _ = write!(text, "# HELP {0} \n# TYPE {0} {kind}\n{lines}", quote(name));
    }
    text + "# EOF\n"
}

fn as_protobuf(metrics: &[Metric]) -> Vec<u8> {
    let mut body = Vec::new();
    for Metric { name, labels, value, started, exemplar } in metrics {
        let start = |to: Message, field| match started {
            Some(at) => to.message(field, &seconds(u64::from(*at))),
            None => to,
        };
        let exemplar = |to: Message, field| match exemplar {
            Some((id, at)) => {
                let exemplar = message().message(1, &label("id", id)).double(2, 2.5);
                to.message(field, &exemplar.message(3, &seconds(u64::from(*at))))
            }
            None => to,
        };
        let metric =
            message().each(labels, |metric, (name, value)| metric.message(1, &label(name, value)));
        let (kind, metric) = match value {
            Simple::Counter(value) => {
                let counter = start(exemplar(message().double(1, *value), 2), 3);
                (0, metric.message(3, &counter))
            }
            Simple::Gauge(value) => (1, metric.message(2, &message().double(1, *value))),
            Simple::Summary { count, sum, quantiles } => {
                let quantile = |at| message().double(1, at).double(2, 1.0);
                let summary = message()
                    .varint(1, u64::from(*count))
                    .double(2, *sum)
                    .each(quantiles, |summary, at| summary.message(3, &quantile(*at)));
                (2, metric.message(4, &start(summary, 4)))
            }
            Simple::Histogram { count, sum, buckets } => {
                let bucket = |le| exemplar(message().varint(1, 3).double(2, le), 3);
                let histogram = message()
                    .varint(1, u64::from(*count))
                    .double(2, *sum)
                    .each(buckets, |histogram, le| histogram.message(3, &bucket(*le)));
                (4, metric.message(7, &start(histogram, 15)))
            }
        };
        body.extend(family(name, kind, &metric).delimited());
    }
    body
}

/// All that is read, at first and as one does who knows the series.
fn everything(format: Format, body: &[u8], options: ParseOptions) -> Vec<String> {
    let exposed = Exposed::new(format, body, options);
    let mut again = exposed.parser();
    let mut found = Vec::new();
    for entry in exposed.parser() {
        if let Ok(Entry::Series(series)) = &entry
            && let Some(value) = again.next_known(series.text, series.context())
        {
            assert_eq!(format!("{value:?}"), format!("{:?}", series.facts()));
        } else {
            assert_eq!(format!("{:?}", again.next()), format!("{:?}", Some(&entry)));
        }
        found.push(match entry {
            Ok(Entry::Series(series)) => {
                format!(
                    "{} {:?} {}",
                    series.text,
                    series.start_ms,
                    shown(&Entry::Series(series.clone()))
                )
            }
            Ok(entry) => shown(&entry),
            Err(error) => error.message,
        });
    }
    assert_eq!(again.next(), None);
    found
}

proptest! {
    #[test]
    fn formats_say_the_same(metrics in metrics()) {
        let options = ParseOptions { starts: true, ..ALL };
        let text = as_text(&metrics);
        let expected = everything(Format::OpenMetricsText, text.as_bytes(), options);
        let body = as_protobuf(&metrics);
        prop_assert_eq!(everything(Format::Protobuf, &body, options), expected, "{}", text);
    }

    #[test]
    fn nothing_makes_it_panic(
        metrics in metrics(),
        native in any::<bool>(),
        bits in 0..64_u8,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut body = as_protobuf(&metrics);
        if native {
            body.extend(family("native", 4, &message().message(7, &histogram())).delimited());
        }
        for (at, byte) in changes {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        body.truncate(cut.index(body.len() + 1).max(body.len() / 2));
        let has = |bit: u8| bits & 1 << bit != 0;
        let options = ParseOptions {
            native: has(0),
            classic: has(1),
            custom_buckets: has(2),
            starts: has(3),
            keeps_created: has(5),
            type_and_unit: has(4),
        };
        everything(Format::Protobuf, &body, options);
    }
}
