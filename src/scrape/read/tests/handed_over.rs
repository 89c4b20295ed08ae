//! One reader's series, known and ended by the next.

use super::*;

/// Takes over from `former` when both have been scraped as often as they have.
fn hand_over(former: &Bench, bench: &mut Bench) {
    let (packed, left_out) = former.reader.pack();
    assert_eq!(left_out, 0);
    let inventory = Inventory::unpack(&packed, bench.reader.shapings()).unwrap();
    bench.reader.adopt(inventory, former.second * 1000);
}

#[test]
fn a_next_owner_ends_what_vanished_in_the_move() {
    let mut former = Bench::new(job());
    former.check(&[
        ("a 1\nb 1\nc 1\nt 1 5\n", "a{} 1@1000\nb{} 1@1000\nc{} 1@1000\nt{} 1@5\n"),
        ("a 1\nb 1\n", "a{} 1@2000\nb{} 1@2000\nc{} S@2000\n"),
    ]);
    // Before its first scrape, which may fail.
    for is_down in [false, true] {
        let mut bench = Bench { second: 2, ..Bench::new(job()) };
        hand_over(&former, &mut bench);
        if is_down {
            assert_eq!(bench.fail().samples, "b{} S@3000\na{} S@3000\n");
            bench.check(&[("a 1\n", "a{} 1@4000\n")]);
            continue;
        }
        let scraped = bench.scrape("a 1\nd 1\n");
        assert_eq!(scraped.samples, "b{} S@3000\na{} 1@3000\nd{} 1@3000\n");
        assert_eq!(scraped.counts.added, 1, "of the series `a` was there");
        bench.check(&[("d 1\n", "d{} 1@4000\na{} S@4000\n"), ("", "d{} S@5000\n")]);
    }
    // After it; told twice, and with rules that have changed meanwhile.
    let mut bench = Bench { second: 2, ..Bench::new(job()) };
    bench.check(&[("a 1\nd 1\n", "a{} 1@3000\nd{} 1@3000\n")]);
    hand_over(&former, &mut bench);
    hand_over(&former, &mut bench);
    let metric_relabel = rules("- {source_labels: [__name__], regex: d, action: drop}");
    bench.change(Job { metric_relabel, ..job() }, &[]);
    bench.check(&[
        ("a 1\nd 1\n", "b{} S@4000\nd{} S@4000\na{} 1@4000\n"),
        ("a 1\n", "a{} 1@5000\n"),
    ]);
    // It comes back before it was missed.
    let mut bench = Bench { second: 2, ..Bench::new(job()) };
    bench.check(&[("a 1\n", "a{} 1@3000\n")]);
    hand_over(&former, &mut bench);
    bench.check(&[("a 1\nb 1\n", "a{} 1@4000\nb{} 1@4000\n"), ("", "a{} S@5000\nb{} S@5000\n")]);
}

#[test]
fn what_was_handed_over_goes_on_to_the_next() {
    let mut first = Bench::new(job());
    first.check(&[("a 1\nb 1\n", "a{} 1@1000\nb{} 1@1000\n")]);
    let mut second = Bench { second: 1, ..Bench::new(job()) };
    hand_over(&first, &mut second);
    let mut third = Bench { second: 1, ..Bench::new(job()) };
    hand_over(&second, &mut third);
    third.check(&[("b 1\n", "a{} S@2000\nb{} 1@2000\n")]);
    // One that has ended its series leaves none.
    second.fail();
    let (packed, _) = second.reader.pack();
    let inventory = Inventory::unpack(&packed, second.reader.shapings()).unwrap();
    assert!(inventory.series.is_empty());
}

#[test]
fn all_series_of_a_target_that_is_gone_end_by_what_is_known() {
    let mut former = Bench::new(job());
    former.check(&[("a 1\nt 1 5\n", "a{} 1@1000\nt{} 1@5\n")]);
    let shapings = Arc::clone(former.reader.shapings());
    let inventory = Inventory::unpack(&former.reader.pack().0, &shapings).unwrap();
    let moment = Moment { timestamp_ms: 2000, now_ms: 9000, since_ms: Some(1001) };
    let packed = end_all(&inventory, shapings, StreamKey(1), moment);
    assert_eq!(packed.batches_for("sink")[0].since_ms, Some(1001));
    let (samples, report) = split(&[packed]);
    assert_eq!(samples, "a{} S@2000\n");
    assert_eq!(report.len(), 5);
    // A report with more in it than this job's ends as well.
    let limits = Limits { series_max: 5, ..Limits::default() };
    for (wide, first) in [
        (Job { extra_scrape_metrics: true, ..job() }, "scrape_timeout_seconds"),
        (Job { limits, ..job() }, "scrape_series_current"),
    ] {
        let mut wide = Bench::new(wide);
        wide.scrape("a 1\n");
        let mut bench = Bench { second: 1, ..Bench::new(job()) };
        hand_over(&wide, &mut bench);
        let report = bench.scrape("a 1\n").report;
        assert_eq!((report.len(), report[5].0.as_str()), (8, first));
        assert!(report[5..].iter().all(|(_, value)| is_stale_marker(*value)));
    }
}

#[test]
fn samples_and_markers_are_filed_under_their_ownership() {
    let since = |packed: &[Packed]| -> Vec<Option<i64>> {
        packed.iter().flat_map(|packed| packed.batches_for("sink")).map(|b| b.since_ms).collect()
    };
    let mut bench = Bench::new(job());
    let report = Report {
        failure: None,
        duration_seconds: 0.0,
        counts: Counts::default(),
        timeout_seconds: 0.0,
        body_bytes: 0,
    };
    for (since_ms, body) in [(None, "a 1\n"), (Some(500), "a 1\nb 1\n"), (Some(700), "b 1\n")] {
        let moment = Moment { since_ms, ..bench.moment() };
        bench.reader.read(Format::PrometheusText, body.as_bytes(), moment).1.unwrap();
        assert_eq!(since(&bench.reader.finish(&report, moment)), [since_ms]);
    }
    // Markers of series under former rules as well.
    bench.change(job(), &[("dc", "1")]);
    let moment = Moment { since_ms: Some(900), ..bench.moment() };
    assert_eq!(since(&bench.reader.end(moment)), [Some(900); 2]);
}
