//! Bodies in, samples out: the rules over samples, series and limits, scrape after scrape.

mod handed_over;
mod native;
mod runs;

use std::fmt::Write;

use super::*;
use crate::{
    model::sample::is_stale_marker,
    scrape::test_job::{job, rules, sent, shapings, shown, target},
};

/// One target, scraped each second from second 1 on.
struct Bench {
    reader: Reader,
    second: i64,
    format: Format,
}

/// What a scrape brought.
#[derive(Debug)]
struct Scraped {
    /// `name{labels} value@timestamp` of all but the report, a line each.
    samples: String,
    counts: Counts,
    failure: Option<Failure>,
    report: Vec<Reported>,
}

type Reported = (String, f64);

impl Bench {
    fn new(job: Job) -> Self {
        Self::with(job, &[])
    }

    fn with(job: Job, labels: &[(&str, &str)]) -> Self {
        let reader =
            Reader::new(Arc::new(job), &target(labels), shapings(&[]), LineLists::default());
        Self { reader, second: 0, format: Format::PrometheusText }
    }

    fn change(&mut self, job: Job, external_labels: &[(&str, &str)]) {
        self.reader.change(Arc::new(job), &target(&[]), shapings(external_labels));
    }

    fn moment(&mut self) -> Moment {
        self.second += 1;
        let timestamp_ms = self.second * 1000;
        Moment { timestamp_ms, now_ms: timestamp_ms + 1, since_ms: None }
    }

    fn scrape(&mut self, body: &str) -> Scraped {
        let moment = self.moment();
        let (counts, outcome) = self.reader.read(self.format, body.as_bytes(), moment);
        self.finish(counts, outcome.err(), body.len(), moment)
    }

    fn fail(&mut self) -> Scraped {
        let moment = self.moment();
        self.reader.begin(moment);
        self.finish(Counts::default(), Some(Failure::Redirects), 0, moment)
    }

    fn finish(
        &mut self,
        counts: Counts,
        failure: Option<Failure>,
        body_bytes: usize,
        moment: Moment,
    ) -> Scraped {
        let report = Report {
            failure: failure.as_ref(),
            duration_seconds: 0.25,
            counts,
            timeout_seconds: 0.5,
            body_bytes,
        };
        let packed = self.reader.finish(&report, moment);
        let (samples, report) = split(&packed);
        Scraped { samples, counts, failure, report }
    }

    /// The samples of each body in turn.
    fn check(&mut self, bodies: &[(&str, &str)]) {
        for (body, expected) in bodies {
            let scraped = self.scrape(body);
            assert_eq!(scraped.samples, *expected, "second {}: {:?}", self.second, scraped.failure);
        }
    }
}

fn split(packed: &[Packed]) -> (String, Vec<Reported>) {
    let (mut samples, mut report) = (String::new(), Vec::new());
    for series in sent(packed) {
        let name = series.labels.get("__name__").to_owned();
        if report::names().any(|own| own == name) {
            report.push((name, series.samples[0].value));
            continue;
        }
        let labels: Vec<String> = series
            .labels
            .iter()
            .filter(|(label, _)| *label != "__name__")
            .map(|(label, value)| format!("{label}={value:?}"))
            .collect();
        let sample = shown(series.samples[0]);
        writeln!(samples, "{name}{{{}}} {sample}", labels.join(",")).unwrap();
    }
    (samples, report)
}

#[test]
fn known_lines_and_new_ones_in_any_order() {
    let mut bench = Bench::new(job());
    bench.check(&[
        ("a 1\nb{x=\"1\"} 2\nc 3\n", "a{} 1@1000\nb{x=\"1\"} 2@1000\nc{} 3@1000\n"),
        ("a 4\nb{x=\"1\"} 5\nc 6\n", "a{} 4@2000\nb{x=\"1\"} 5@2000\nc{} 6@2000\n"),
        // One more between the known ones, then other orders.
        (
            "a 4\nnew 7\nb{x=\"1\"} 5\nc 6\n",
            "a{} 4@3000\nnew{} 7@3000\nb{x=\"1\"} 5@3000\nc{} 6@3000\n",
        ),
        (
            "c 1\nb{x=\"1\"} 2\nnew 3\na 4\n",
            "c{} 1@4000\nb{x=\"1\"} 2@4000\nnew{} 3@4000\na{} 4@4000\n",
        ),
        // A text that another begins with.
        (
            "c 1\nb{x=\"1\"} 2\nb{x=\"12\"} 2\nnew 3\na 4\naa 4\n",
            "c{} 1@5000\nb{x=\"1\"} 2@5000\nb{x=\"12\"} 2@5000\nnew{} 3@5000\na{} 4@5000\naa{} 4@5000\n",
        ),
    ]);
}

#[test]
fn the_kind_of_a_family_decides_the_labels() {
    let mut bench = Bench::new(job());
    bench.check(&[
        ("# TYPE h histogram\nh_bucket{le=\"1\"} 1\n", "h_bucket{le=\"1.0\"} 1@1000\n"),
        ("# TYPE h histogram\nh_bucket{le=\"1\"} 1\n", "h_bucket{le=\"1.0\"} 1@2000\n"),
        ("h_bucket{le=\"1\"} 1\n", "h_bucket{le=\"1\"} 1@3000\nh_bucket{le=\"1.0\"} S@3000\n"),
    ]);
}

#[test]
fn a_series_is_its_labels_and_not_its_text() {
    let mut bench = Bench::new(job());
    bench.check(&[
        ("m{a=\"1\",b=\"2\"} 1\n", "m{a=\"1\",b=\"2\"} 1@1000\n"),
        ("m{b=\"2\",a=\"1\"} 2\n", "m{a=\"1\",b=\"2\"} 2@2000\n"),
        ("m{ b=\"2\", a=\"1\" , c=\"\"} 3\n", "m{a=\"1\",b=\"2\"} 3@3000\n"),
        ("{\"m\",b=\"2\", a=\"1\"} 4\n", "m{a=\"1\",b=\"2\"} 4@4000\n"),
        ("\n", "m{a=\"1\",b=\"2\"} S@5000\n"),
    ]);
}

#[test]
fn the_first_of_two_samples_of_a_series_counts() {
    let mut bench = Bench::new(job());
    for _ in 0..2 {
        let scraped = bench.scrape("m 1\nm 2\nm{a=\"\"} 3\nn 4\n");
        let at = bench.second * 1000;
        assert_eq!(scraped.samples, format!("m{{}} 1@{at}\nn{{}} 4@{at}\n"));
        assert_eq!(scraped.failure, None);
        assert_eq!((scraped.counts.scraped, scraped.counts.relabelled), (4, 4));
    }
    // Series that a rule makes one.
    let metric_relabel = rules("- {regex: a, action: labeldrop}");
    let mut bench = Bench::new(Job { metric_relabel, ..job() });
    for _ in 0..2 {
        let scraped = bench.scrape("m{a=\"1\"} 1\nm{a=\"2\"} 2\n");
        assert_eq!(scraped.samples, format!("m{{}} 1@{}\n", bench.second * 1000));
    }
}

#[test]
fn timestamps_of_the_target() {
    let mut bench = Bench::new(job());
    bench.check(&[
        ("m 1 900\nn 1\n", "m{} 1@900\nn{} 1@1000\n"),
        // The same sample again, then an older one: no receiver takes either.
        ("m 1 900\nn 1\n", "n{} 1@2000\n"),
        ("m 1 899\nn 1\n", "n{} 1@3000\n"),
        // Several of one series, in and out of order.
        ("m 1 901\nm 2 903\nm 3 902\nm 4 904\n", "m{} 1@901\nn{} S@4000\nm{} 2@903\nm{} 4@904\n"),
        // It ends without a marker.
        ("n 1\n", "n{} 1@5000\n"),
        // Ten minutes ahead and a little more.
        ("m 1 606001\n", "m{} 1@606001\nn{} S@6000\n"),
        ("k 1 607002\nl 1\n", "l{} 1@7000\n"),
    ]);

    let mut bench = Bench::new(Job { honor_timestamps: false, ..job() });
    bench.check(&[("m 1 900\n", "m{} 1@1000\n"), ("", "m{} S@2000\n")]);

    let mut bench = Bench::new(Job { track_timestamps_staleness: true, ..job() });
    bench.check(&[("m 1 900\n", "m{} 1@900\n"), ("", "m{} S@2000\n"), ("", "")]);
}

#[test]
fn a_sample_of_a_discarded_scrape_may_come_again() {
    let mut bench = Bench::new(job());
    bench.check(&[
        ("m 1 900\n", "m{} 1@900\n"),
        ("m 2 1900\nbroken{\n", ""),
        ("m 2 1900\n", "m{} 2@1900\n"),
    ]);
}

#[test]
fn no_target_can_forge_a_marker() {
    let mut bench = Bench::new(job());
    let moment = bench.moment();
    let (_, outcome) = bench.reader.read(Format::PrometheusText, b"m NaN\n", moment);
    outcome.unwrap();
    let report = Report {
        failure: None,
        duration_seconds: 0.0,
        counts: Counts::default(),
        timeout_seconds: 0.0,
        body_bytes: 0,
    };
    let packed = bench.reader.finish(&report, moment);
    assert_eq!(sent(&packed)[0].samples[0].value.to_bits(), 0x7ff8_0000_0000_0001);
}

#[test]
fn a_failed_scrape_ends_every_series_once() {
    for broken in ["a 5\nb{\n", "a 5\nb{x=\"1\",x=\"2\"} 1\n", "a 5\n\u{1}\n"] {
        let mut bench = Bench::new(job());
        bench.check(&[
            ("a 1\nb 2\n", "a{} 1@1000\nb{} 2@1000\n"),
            (broken, "a{} S@2000\nb{} S@2000\n"),
            (broken, ""),
            ("a 1\nb 2\n", "a{} 1@4000\nb{} 2@4000\n"),
        ]);
        assert_eq!(bench.fail().samples, "a{} S@5000\nb{} S@5000\n");
        assert_eq!(bench.fail().samples, "");
        bench.check(&[("b 1\n", "b{} 1@7000\n"), ("", "b{} S@8000\n")]);
    }
}

#[test]
fn every_series_ends_when_the_target_is_gone() {
    let mut bench = Bench::new(job());
    bench.check(&[("a 1\nt 1 5\n", "a{} 1@1000\nt{} 1@5\n")]);
    let moment = bench.moment();
    let (samples, report) = split(&bench.reader.end(moment));
    assert_eq!(samples, "a{} S@2000\n");
    let names: Vec<&str> = report.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, report::names().take(5).collect::<Vec<_>>());
    assert!(report.iter().all(|(_, value)| is_stale_marker(*value)));
    // Once.
    let moment = bench.moment();
    assert!(bench.reader.end(moment).iter().all(Packed::is_empty));
    // A target that was never scraped ends without a word.
    let mut bench = Bench::new(job());
    let moment = bench.moment();
    assert!(bench.reader.end(moment).iter().all(Packed::is_empty));
}

#[test]
fn too_many_samples_are_no_samples() {
    let limits = Limits { samples_max: 2, ..Limits::default() };
    let mut bench = Bench::new(Job { limits, ..job() });
    let first = bench.scrape("a 1\nb 1\n");
    assert_eq!(first.samples, "a{} 1@1000\nb{} 1@1000\n");
    let over = bench.scrape("a 1\nc 1\nb 1\nd 1\n# TYPE x counter\n");
    assert_eq!(over.samples, "");
    assert_eq!(over.failure, Some(Failure::SampleLimit { samples_max: 2 }));
    let Counts { scraped, relabelled, added, .. } = over.counts;
    assert_eq!((scraped, relabelled, added), (4, 4, 1));
    assert_eq!(over.report[0], ("up".to_owned(), 0.0));
    // The same again: what is known is no longer new.
    assert_eq!(bench.scrape("a 1\nc 1\nb 1\nd 1\n").counts.added, 0);
    bench.check(&[("a 1\nb 1\nb 2\n", "a{} 1@4000\nb{} 1@4000\n")]);
    assert_eq!(bench.fail().samples, "a{} S@5000\nb{} S@5000\n");

    // Dropped samples do not count, repeated ones neither.
    let metric_relabel = rules("- {source_labels: [__name__], regex: drop.*, action: drop}");
    let mut bench = Bench::new(Job { limits, metric_relabel, ..job() });
    for _ in 0..2 {
        let scraped = bench.scrape("drop1 1\na 1\na 2\ndrop2 1\nb 1\ndrop3 1\n");
        assert_eq!(scraped.failure, None);
        assert_eq!((scraped.counts.scraped, scraped.counts.relabelled), (6, 3));
    }
}

#[test]
fn series_beyond_the_limit_are_left_out_and_told() {
    let limits = Limits { series_max: 2, ..Limits::default() };
    let mut bench = Bench::new(Job { limits, ..job() });
    let check = |bench: &mut Bench, body: &str, samples: &str, report: [f64; 3]| {
        let scraped = bench.scrape(body);
        assert_eq!(scraped.failure, None);
        assert_eq!(scraped.samples, samples);
        let names = ["current", "limit", "limit_samples_dropped"];
        let expected = names.iter().zip(report).map(|(n, v)| (format!("scrape_series_{n}"), v));
        assert_eq!(scraped.report[5..], expected.collect::<Vec<_>>());
        assert_eq!(scraped.counts.relabelled, body.lines().count());
    };
    check(&mut bench, "a 1\n", "a{} 1@1000\n", [1.0, 2.0, 0.0]);
    for second in 2..5 {
        let expected = format!("a{{}} 1@{second}000\nb{{}} 1@{second}000\n");
        check(&mut bench, "a 1\nb 1\nc 1\nd 1\n", &expected, [2.0, 2.0, 2.0]);
    }
    // What has gone leaves no room for a day; then it does, for what is there no longer.
    check(&mut bench, "a 1\nc 1\n", "a{} 1@5000\nb{} S@5000\n", [2.0, 2.0, 1.0]);
    bench.second += 24 * 3600;
    let scraped = bench.scrape("a 1\nc 1\nd 1\n");
    assert_eq!(scraped.samples, "a{} 1@86406000\nc{} 1@86406000\n");
    // Without a limit the three end, and all series are there.
    bench.change(job(), &[]);
    let scraped = bench.scrape("d 1\n");
    assert_eq!(scraped.report.len(), 8);
    assert!(scraped.report[5..].iter().all(|(_, value)| is_stale_marker(*value)));
    assert_eq!(bench.scrape("d 1\n").report.len(), 5);
}

#[test]
fn one_label_too_many_discards_the_scrape() {
    let limits = Limits { labels_max: 2, ..Limits::default() };
    let mut bench = Bench::new(Job { limits, ..job() });
    bench.check(&[("a 1\n", "a{} 1@1000\n")]);
    let scraped = bench.scrape("a 1\nb{x=\"1\",y=\"2\"} 1\nc 1\n");
    assert_eq!(scraped.failure.as_ref().map(Failure::kind), Some("label_limit"));
    assert_eq!(scraped.samples, "a{} S@2000\n");
    assert_eq!(scraped.report[0], ("up".to_owned(), 0.0));
}

#[test]
fn new_series_are_counted() {
    let mut bench = Bench::new(job());
    for (body, added) in
        [("a 1\nb 1\n", 2), ("a 1\nb 1\n", 0), ("a 1\nc 1\n", 1), ("a 1\nb 1\n", 1), ("", 0)]
    {
        assert_eq!(bench.scrape(body).counts.added, added, "second {}", bench.second);
    }
    // A failed scrape between two does not make them new.
    bench.scrape("a 1\n");
    bench.fail();
    assert_eq!(bench.scrape("a 1\n").counts.added, 0);
}

#[test]
fn the_report_comes_last_and_in_order() {
    let mut bench = Bench::with(job(), &[("n", "v")]);
    let scraped = bench.scrape("a 1\nup 3\n");
    let values = [1.0, 0.25, 2.0, 2.0, 2.0];
    let expected: Vec<(String, f64)> =
        report::names().zip(values).map(|(name, value)| (name.to_owned(), value)).collect();
    // A series that the target itself calls `up` is another one only by other labels.
    assert_eq!(scraped.report[1..], expected);

    let limits = Limits { samples_max: 7, ..Limits::default() };
    let mut bench = Bench::new(Job { extra_scrape_metrics: true, limits, ..job() });
    let scraped = bench.scrape("a 1\n");
    let extra = ["scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes"];
    let expected: Vec<(String, f64)> = extra
        .iter()
        .zip([0.5, 7.0, 4.0])
        .map(|(name, value)| ((*name).to_owned(), value))
        .collect();
    assert_eq!(scraped.report[5..], expected);
    // They end when they are not asked for any more.
    bench.change(job(), &[]);
    let report = bench.scrape("a 1\n").report;
    assert_eq!(report.len(), 8);
    assert!(report[5..].iter().all(|(_, value)| is_stale_marker(*value)));
    assert_eq!(bench.scrape("a 1\n").report.len(), 5);
}

#[test]
fn the_size_of_a_body_over_its_limit_is_minus_one() {
    let mut bench = Bench::new(Job { extra_scrape_metrics: true, ..job() });
    let moment = bench.moment();
    bench.reader.begin(moment);
    let failure = Failure::BodySize { bytes_max: 15 };
    let scraped = bench.finish(Counts::default(), Some(failure), 0, moment);
    assert_eq!(scraped.report[7], ("scrape_body_size_bytes".to_owned(), -1.0));
    assert_eq!(scraped.report[0], ("up".to_owned(), 0.0));
}

#[test]
fn new_rules_go_on_with_what_they_still_give() {
    let mut bench = Bench::new(job());
    bench.check(&[("a 1\nb 1\nc 1\n", "a{} 1@1000\nb{} 1@1000\nc{} 1@1000\n")]);
    let metric_relabel = rules("- {source_labels: [__name__], regex: b, action: drop}");
    bench.change(Job { metric_relabel, ..job() }, &[]);
    let scraped = bench.scrape("a 1\nb 1\nc 1\n");
    // Markers of another packing, so they come first or last, but at the same time.
    assert_eq!(scraped.samples, "b{} S@2000\na{} 1@2000\nc{} 1@2000\n");
    assert_eq!(scraped.counts.added, 0);
    bench.check(&[("a 1\nb 1\n", "a{} 1@3000\nc{} S@3000\n")]);

    // Other external labels alone: the same series of this target, under other names elsewhere.
    bench.change(job(), &[("dc", "1")]);
    bench.check(&[("a 1\n", "a{dc=\"1\"} 1@4000\n"), ("", "a{dc=\"1\"} S@5000\n")]);

    // Two changes between two scrapes, and a failed scrape after them.
    bench.check(&[("a 1\n", "a{dc=\"1\"} 1@6000\n")]);
    bench.change(job(), &[("dc", "2")]);
    bench.change(job(), &[("dc", "3")]);
    assert_eq!(bench.fail().samples, "a{dc=\"1\"} S@7000\n");
    assert_eq!(bench.fail().samples, "");
}

#[test]
fn exemplars_are_taken_where_they_are_wanted() {
    let mut bench = Bench::new(job());
    bench.format = Format::OpenMetricsText;
    let body =
        "# TYPE a counter\na_total 1 # {id=\"x\"} 0.5\na_total{b=\"1\"} 1 # {} 2 7.5\n# EOF\n";
    let moment = bench.moment();
    bench.reader.read(Format::OpenMetricsText, body.as_bytes(), moment).1.unwrap();
    let series = sent(&[bench.reader.packer.finish()]);
    let exemplar = &series[0].exemplars[0];
    assert_eq!((exemplar.labels.get("id"), exemplar.value), ("x", 0.5));
    assert_eq!(exemplar.timestamp_ms, Some(1000));
    assert_eq!(series[1].exemplars[0].timestamp_ms, Some(7500));
}

#[test]
fn what_a_target_stopped_exposing_is_forgotten() {
    let mut bench = Bench::new(job());
    let body = |n: usize| -> String {
        (0..100)
            .fold("steady 1\n".to_owned(), |body, m| format!("{body}m{{n=\"{n}\",m=\"{m}\"}} 1\n"))
    };
    for n in 0..50 {
        let scraped = bench.scrape(&body(n));
        assert_eq!(scraped.samples.matches("S@").count(), if n == 0 { 0 } else { 100 });
        let (texts, series, _) = bench.reader.known.sizes();
        assert!(texts <= 500 && series <= 500, "{texts} {series}");
    }
    // After the clearances everything is still recognised.
    let scraped = bench.scrape(&body(49));
    assert_eq!(scraped.counts.added, 0);
    assert_eq!(scraped.samples.matches("S@").count(), 0);
    // A target over its limit with ever new series leaves nothing behind but what fits.
    let limits = Limits { samples_max: 10, ..Limits::default() };
    bench.change(Job { limits, ..job() }, &[]);
    for n in 100..150 {
        bench.scrape(&body(n));
        let (texts, series, _) = bench.reader.known.sizes();
        assert!(texts <= 100 && series <= 100, "{texts} {series}");
    }
}

/// The cache against a reader without one, over random bodies.
#[test]
fn remembers_nothing_wrong() {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    for seed in 0..20 {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut bench = Bench::new(job());
        let mut before: Vec<String> = Vec::new();
        for _ in 0..60 {
            let mut names: Vec<String> = (0..40)
                .filter(|_| chance.random_range(0..10) < 8)
                .map(|n| format!("m{{n=\"{n}\"}}"))
                .collect();
            for _ in 0..chance.random_range(0..4) {
                let (one, two) =
                    (chance.random_range(0..names.len()), chance.random_range(0..names.len()));
                names.swap(one, two);
            }
            let body: String = names
                .iter()
                .enumerate()
                .fold(String::new(), |body, (n, name)| body + &format!("{name} {n}\n"));
            let scraped = bench.scrape(&body);
            let at = bench.second * 1000;
            let mut expected: Vec<String> =
                names.iter().enumerate().map(|(n, name)| format!("{name} {n}@{at}")).collect();
            expected.extend(
                before.iter().filter(|name| !names.contains(name)).map(|n| format!("{n} S@{at}")),
            );
            let mut found: Vec<&str> = scraped.samples.lines().collect();
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected, "seed {seed}, second {}", bench.second);
            before = names;
        }
    }
}
