//! What is more than a float: native histograms, exemplars, starts, and what is said of a series.

use super::*;
use crate::{
    config::{Destination, NativeHistograms, WriteMessage},
    model::{histogram, sample::STALE_NAN_BITS},
    outbox::Shapings,
    scrape::test_job::destination,
    wire::{
        protobuf::{fixed64_tag, push_bytes, push_varint, varint_tag},
        remote_write::TimeSeries,
    },
};

/// In the order in which the samples leave.
fn scrape(bench: &mut Bench, body: impl AsRef<[u8]>) -> (Vec<TimeSeries>, Option<Failure>) {
    let moment = bench.moment();
    let (counts, outcome) = bench.reader.read(bench.format, body.as_ref(), moment);
    let failure = outcome.err();
    let report = Report {
        failure: failure.as_ref(),
        duration_seconds: 0.0,
        counts,
        timeout_seconds: 0.0,
        body_bytes: 0,
    };
    let packed = bench.reader.finish(&report, moment);
    let is_report =
        |series: &TimeSeries| report::names().any(|n| n == series.labels.get("__name__"));
    let sent = sent(&packed).into_iter().filter(|series| !is_report(series));
    (sent.collect(), failure)
}

/// `name value@ms`; of a histogram `name H<count>@ms`, of a marker `name HS@ms`.
fn told(series: &[TimeSeries]) -> String {
    let mut told = String::new();
    for one in series {
        let name = one.labels.get("__name__");
        for sample in &one.samples {
            writeln!(told, "{name} {}", shown(*sample)).unwrap();
        }
        for at in &one.histograms {
            let is_marker = at.histogram.sum.to_bits() == STALE_NAN_BITS;
            let count = match at.histogram.counts {
                histogram::Counts::Integer { count, .. } => count.to_string(),
                histogram::Counts::Float { count, .. } => count.to_string(),
            };
            let count = if is_marker { "S".to_owned() } else { count };
            writeln!(told, "{name} H{count}@{}", at.timestamp_ms).unwrap();
        }
    }
    told
}

fn classic(count: usize) -> String {
    format!(
        "# TYPE h histogram\nh_bucket{{le=\"1\"}} 1\nh_bucket{{le=\"2\"}} 2\n\
         h_bucket{{le=\"+Inf\"}} {count}\nh_sum 9\nh_count {count}\n"
    )
}

fn converting() -> Job {
    Job { convert_classic_histograms_to_nhcb: true, ..job() }
}

#[test]
fn a_histogram_is_one_sample_and_ends_as_one() {
    let mut bench = Bench::new(converting());
    for (body, expected) in [
        (classic(3) + "a 1\n", "h H3@1000\na 1@1000\n"),
        (classic(4) + "a 1\n", "h H4@2000\na 1@2000\n"),
        // The same series as a float.
        ("h 5\na 1\n".to_owned(), "h 5@3000\na 1@3000\n"),
        (classic(6) + "a 1\n", "h H6@4000\na 1@4000\n"),
        ("a 1\n".to_owned(), "a 1@5000\nh HS@5000\n"),
        (String::new(), "a S@6000\n"),
    ] {
        let (series, failure) = scrape(&mut bench, body);
        assert_eq!((told(&series).as_str(), failure), (expected, None));
    }
    // And where its next owner ends it.
    scrape(&mut bench, classic(7));
    let inventory = Inventory::unpack(&bench.reader.pack().0, bench.reader.shapings()).unwrap();
    let mut next = Bench { second: bench.second, ..Bench::new(converting()) };
    next.reader.adopt(inventory, 7000);
    assert_eq!(told(&scrape(&mut next, "").0), "h HS@8000\n");
}

#[test]
fn a_target_may_say_that_it_wants_none() {
    let labels = [("__convert_classic_histograms_to_nhcb__", "false")];
    let mut bench = Bench::with(converting(), &labels);
    let (series, _) = scrape(&mut bench, classic(3));
    assert_eq!(series.len(), 5);
}

#[test]
fn too_many_buckets_discard_the_scrape_and_end_nothing() {
    let native_histograms = NativeHistograms { buckets_max: 1, bucket_factor_min: 0.0 };
    let mut bench = Bench::new(Job { native_histograms, ..converting() });
    assert_eq!(told(&scrape(&mut bench, "a 1\n").0), "a 1@1000\n");
    let (series, failure) = scrape(&mut bench, &("a 2\n".to_owned() + &classic(3)));
    assert_eq!(series.len(), 0);
    assert_eq!(failure, Some(Failure::BucketLimit { buckets_max: 1 }));
    assert_eq!(told(&scrape(&mut bench, "a 3\n").0), "a 3@3000\n");
}

/// A family of one histogram in protobuf: of schema 1, with one observation in its first bucket and two
/// in its second.
fn native(count: u64, sum: f64) -> Vec<u8> {
    let message = |fields: &[(u64, u64)]| {
        let mut message = Vec::new();
        for (field, value) in fields {
            push_varint(&mut message, varint_tag(*field));
            push_varint(&mut message, *value);
        }
        message
    };
    // As zigzags: schema 1, offset 1, and a step of 1 up to each bucket.
    let mut histogram = message(&[(1, count), (5, 2)]);
    push_varint(&mut histogram, fixed64_tag(2));
    histogram.extend_from_slice(&sum.to_le_bytes());
    push_bytes(&mut histogram, 12, &message(&[(1, 2), (2, 2)]));
    push_bytes(&mut histogram, 13, &[2, 2]);
    let mut metric = Vec::new();
    push_bytes(&mut metric, 7, &histogram);
    let mut family = message(&[(3, 4)]);
    push_bytes(&mut family, 1, b"n");
    push_bytes(&mut family, 4, &metric);
    let mut body = Vec::new();
    push_varint(&mut body, family.len() as u64);
    body.extend(family);
    body
}

#[test]
fn native_histograms_are_held_to_their_rules_and_made_to_fit() {
    let bench = |buckets_max, bucket_factor_min| {
        let native_histograms = NativeHistograms { buckets_max, bucket_factor_min };
        let job = Job { scrape_native_histograms: true, native_histograms, ..job() };
        Bench { format: Format::Protobuf, ..Bench::new(job) }
    };
    for (buckets_max, factor, schema, buckets) in
        [(0, 0.0, 1, 2), (2, 1.1, 1, 2), (1, 0.0, 0, 1), (0, 2.0, 0, 1), (0, 4.0, -1, 1)]
    {
        let (series, failure) = scrape(&mut bench(buckets_max, factor), native(3, 4.5));
        assert_eq!(failure, None);
        let found = &series[0].histograms[0].histogram;
        let expected = (schema, buckets);
        assert_eq!((found.schema, found.bucket_count()), expected, "{buckets_max} {factor}");
    }
    let (series, failure) = scrape(&mut bench(0, 0.0), native(2, 4.5));
    assert_eq!((series.len(), failure.as_ref().map(Failure::kind)), (0, Some("parse")));
    // Nor can it forge a marker.
    let (series, _) = scrape(&mut bench(0, 0.0), native(3, f64::from_bits(STALE_NAN_BITS)));
    assert_eq!(told(&series), "n H3@1000\n");
}

#[test]
fn exemplars_go_once_and_again_if_they_were_not_kept() {
    let mut bench = Bench::new(job());
    bench.format = Format::OpenMetricsText;
    let body =
        |id: &str, end: &str| format!("# TYPE a counter\na_total 1 # {{id=\"{id}\"}} 0.5\n{end}");
    for (id, end, expected) in [
        ("x", "# EOF\n", &["x"][..]),
        ("x", "# EOF\n", &[]),
        ("y", "", &[]),
        ("y", "# EOF\n", &["y"]),
        ("y", "# EOF\n", &[]),
    ] {
        let (series, _) = scrape(&mut bench, body(id, end));
        let sent: Vec<&str> =
            series.iter().flat_map(|one| &one.exemplars).map(|e| e.labels.get("id")).collect();
        assert_eq!(sent, expected, "second {}", bench.second);
    }
}

#[test]
fn a_series_that_begins_is_zero_at_its_start() {
    let mut bench = Bench::new(Job { start_timestamp_zeros: true, ..job() });
    bench.format = Format::OpenMetricsText;
    let body = |created: &str| {
        format!("# TYPE a counter\na_total 7\na_created {created}\n# TYPE g gauge\ng 1\n# EOF\n")
    };
    for (created, expected) in [
        ("0.5", "a_total 0@500\na_total 7@1000\ng 1@1000\n"),
        ("0.5", "a_total 7@2000\ng 1@2000\n"),
        // It began anew; then it says so of a time that has passed, or that is to come.
        ("2.5", "a_total 0@2500\na_total 7@3000\ng 1@3000\n"),
        ("2.75", "a_total 7@4000\ng 1@4000\n"),
        ("9", "a_total 7@5000\ng 1@5000\n"),
    ] {
        let (series, failure) = scrape(&mut bench, body(created));
        assert_eq!((told(&series).as_str(), failure), (expected, None));
    }
}

#[test]
fn zeros_share_no_request_with_other_samples() {
    let mut bench = Bench::new(Job { start_timestamp_zeros: true, ..job() });
    let moment = bench.moment();
    let body = b"# TYPE a counter\na_total 7\na_created 0.5\n# TYPE g gauge\ng 1\n# EOF\n";
    bench.reader.read(Format::OpenMetricsText, body, moment).1.unwrap();
    let packed = bench.reader.packer.finish();
    let batches: Vec<_> =
        packed.batches_for("sink").iter().map(|batch| (batch.round, batch.samples)).collect();
    assert_eq!(batches, [(1000, 1), (1001, 2)]);
}

fn by_v2() -> Arc<Shapings> {
    let base = destination(&[], String::new());
    Arc::new(Shapings::of(&[Arc::new(Destination {
        message: WriteMessage::V2,
        ..(*base).clone()
    })]))
}

#[test]
fn a_series_goes_with_what_its_target_says_of_it() {
    let mut bench = Bench::new(job());
    bench.reader.change(Arc::new(job()), &target(&[]), by_v2());
    let body = |help: &str| {
        format!(
            "# HELP a {help}\n# TYPE a counter\na 1\nb 1\n# TYPE s summary\ns_sum 1\ns_other 1\n"
        )
    };
    let expected = |help: &str| format!("a counter {help}, b -, s_sum summary , s_other -");
    for (help, said) in [("x", "x"), ("x", "x"), ("y", "x"), ("y", "y"), ("y", "y")] {
        let (series, _) = scrape(&mut bench, body(help));
        let metadata = series.iter().map(|one| {
            let told = one.metadata.as_ref().map(|m| format!("{} {}", m.kind.name(), m.help));
            format!("{} {}", one.labels.get("__name__"), told.unwrap_or_else(|| "-".to_owned()))
        });
        assert_eq!(
            metadata.collect::<Vec<_>>().join(", "),
            expected(said),
            "second {}",
            bench.second
        );
        assert!(series.iter().all(|one| one.samples.len() == 1));
    }
}

#[test]
fn a_start_goes_with_its_series_and_takes_none_away() {
    let mut bench = Bench::new(job());
    bench.reader.change(Arc::new(job()), &target(&[]), by_v2());
    bench.format = Format::OpenMetricsText;
    let body = "# TYPE a counter\na_total 7\na_created 0.5\n# TYPE g gauge\ng 1\n# EOF\n";
    for _ in 0..3 {
        let (series, _) = scrape(&mut bench, body);
        let starts = series.iter().map(|one| (one.labels.get("__name__"), one.start_ms));
        let expected = [("a_total", Some(500)), ("a_created", None), ("g", None)];
        assert_eq!(starts.collect::<Vec<_>>(), expected, "second {}", bench.second);
    }
}

#[test]
fn types_and_units_are_labels_where_they_are_asked_for() {
    let mut bench = Bench::new(Job { type_and_unit_labels: true, ..job() });
    bench.format = Format::OpenMetricsText;
    let body = "# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total 1\n# EOF\n";
    for _ in 0..2 {
        let (series, _) = scrape(&mut bench, body);
        let labels = series[0].labels.to_string();
        assert_eq!(
            labels,
            r#"{__name__="a_seconds_total", __type__="counter", __unit__="seconds"}"#
        );
    }
}
