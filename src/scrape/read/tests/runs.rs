//! Runs against lines that are known one by one: the same bodies, the same samples.

use proptest::prelude::*;

use super::*;
use crate::wire::remote_write::TimeSeries;

/// What may become of a target between two scrapes, and of the scrape.
#[derive(Clone, Debug)]
enum Step {
    /// The same lines, other values.
    Again,
    Insert(usize, usize),
    Remove(usize),
    Swap(usize, usize),
    Repeat(usize),
    /// A sample of the line has a timestamp of its own, once.
    Timed(usize, i64),
    /// This line is broken, so that nothing is kept.
    Broken(usize),
    Down,
    Empty,
    /// Nothing between the lines is as it was: comments, blank lines, the text of a `# HELP`.
    Comment(usize, usize),
    ClockBack(i64),
    Limit(usize),
    HandOver,
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    let at = || 0_usize..40;
    prop_oneof![
        8 => Just(Step::Again),
        2 => (at(), at()).prop_map(|(at, name)| Step::Insert(at, name)),
        2 => at().prop_map(Step::Remove),
        1 => (at(), at()).prop_map(|(one, other)| Step::Swap(one, other)),
        1 => at().prop_map(Step::Repeat),
        1 => (at(), -3_i64..3).prop_map(|(at, seconds)| Step::Timed(at, seconds)),
        1 => at().prop_map(Step::Broken),
        1 => Just(Step::Down),
        1 => Just(Step::Empty),
        1 => (at(), 0_usize..6).prop_map(|(at, kind)| Step::Comment(at, kind)),
        1 => (0_i64..5).prop_map(Step::ClockBack),
        1 => (0_usize..60).prop_map(Step::Limit),
        1 => Just(Step::HandOver),
        1 => Just(Step::Reload),
    ]
}

fn line(name: usize) -> String {
    match name % 8 {
        0 => format!("# HELP f{name} Text {name}.\n# TYPE f{name} histogram"),
        1 => format!("f{}_bucket{{le=\"1\"}}", name - 1),
        2 => format!("m{{n=\"{name}\",escaped=\"a\\\\\\\"\\n\"}}"),
        // The same labels as another text.
        3 => format!("m{{escaped=\"a\\\\\\\"\\n\",n=\"{}\"}}", name - 1),
        4 => format!("dropped_{name}"),
        5 => format!("# TYPE g{name} gauge"),
        _ => format!("g{name}"),
    }
}

fn body(lines: &[String], second: i64, timed: Option<(usize, i64)>) -> String {
    let mut body = String::new();
    for (n, line) in lines.iter().enumerate() {
        let value = if n.is_multiple_of(3) { "NaN".to_owned() } else { (second % 7).to_string() };
        match timed {
            _ if line.starts_with('#') || line.is_empty() => body.push_str(line),
            Some((at, ms)) if at == n => write!(body, "{line} {value} {ms}").unwrap(),
            _ => write!(body, "{line} {value}").unwrap(),
        }
        body.push('\n');
    }
    body
}

/// In order, but for the markers: which of them comes first says nothing.
fn told(packed: &[Packed]) -> Vec<String> {
    let show = |series: &TimeSeries| format!("{} {}", series.labels, shown(series.samples[0]));
    let (mut markers, values): (Vec<_>, Vec<_>) = sent(packed)
        .iter()
        .map(|s| (is_stale_marker(s.samples[0].value), show(s)))
        .partition(|(is_marker, _)| *is_marker);
    markers.sort();
    values.into_iter().chain(markers).map(|(_, text)| text).collect()
}

/// The samples, what was counted, and how many series there are.
type Brought = (Vec<String>, Counts, usize);

/// One reader keeps runs, and the other never does.
struct Pair {
    readers: [Reader; 2],
    job: Job,
    second: i64,
}

impl Pair {
    fn new() -> Self {
        let metric_relabel =
            rules("- {source_labels: [__name__], regex: dropped_.*, action: drop}");
        let job = Job { metric_relabel, ..job() };
        Self { readers: Self::readers(&job), job, second: 1_700_000_000 }
    }

    fn readers(job: &Job) -> [Reader; 2] {
        let new = || {
            Reader::new(
                Arc::new(job.clone()),
                &target(&[]),
                shapings(&[("dc", "x")]),
                LineLists::default(),
            )
        };
        let mut readers = [new(), new()];
        readers[1].known.stays_loose = true;
        readers
    }

    fn both<T>(&mut self, mut each: impl FnMut(&mut Reader) -> T) -> [T; 2] {
        let [one, other] = &mut self.readers;
        [each(one), each(other)]
    }

    /// `None`: the target is down.
    fn scrape(&mut self, body: Option<&str>) -> [Brought; 2] {
        self.second += 1;
        let timestamp_ms = self.second * 1000;
        let moment = Moment { timestamp_ms, now_ms: timestamp_ms + 1, since_ms: None };
        self.both(|reader| {
            let (counts, outcome) = if let Some(body) = body {
                reader.read(Format::PrometheusText, body.as_bytes(), moment)
            } else {
                reader.begin(moment);
                (Counts::default(), Err(Failure::Redirects))
            };
            let failure = outcome.err();
            let report = Report {
                failure: failure.as_ref(),
                duration_seconds: 0.25,
                counts,
                timeout_seconds: 0.5,
                body_bytes: 1,
            };
            (told(&reader.finish(&report, moment)), counts, reader.series_count())
        })
    }

    fn hand_over(&mut self) {
        let second = self.second;
        let packed = self.both(|reader| reader.pack().0);
        let mut next = Self::readers(&self.job);
        for (reader, packed) in next.iter_mut().zip(packed) {
            let inventory = Inventory::unpack(&packed, reader.shapings()).unwrap();
            reader.adopt(inventory, second * 1000);
        }
        self.readers = next;
    }
}

fn check(names: &[usize], steps: &[Step]) -> Result<(), TestCaseError> {
    let mut pair = Pair::new();
    let mut lines: Vec<String> = names.iter().map(|name| line(*name)).collect();
    for (n, step) in steps.iter().enumerate() {
        let count = lines.len().max(1);
        let (mut timed, mut is_broken, mut is_down, mut is_empty) = (None, None, false, false);
        let mut limit = 0;
        match step.clone() {
            Step::Insert(at, name) => lines.insert(at % count, line(name)),
            Step::Remove(at) if !lines.is_empty() => drop(lines.remove(at % count)),
            Step::Swap(one, other) if !lines.is_empty() => lines.swap(one % count, other % count),
            Step::Repeat(at) if !lines.is_empty() => lines.push(lines[at % count].clone()),
            Step::Again | Step::Remove(_) | Step::Swap(..) | Step::Repeat(_) => {}
            Step::Timed(at, seconds) => timed = Some((at % count, (pair.second + seconds) * 1000)),
            Step::Broken(at) => is_broken = Some(at % count),
            Step::Down => is_down = true,
            Step::Empty => is_empty = true,
            Step::Comment(at, kind) => {
                let comment =
                    ["", "# nothing", "# HELP f0 Another text.", "# TYPE x summary", "#", " "];
                lines.insert(at % count, comment[kind].trim().to_owned());
            }
            Step::ClockBack(seconds) => {
                pair.second -= seconds;
                let at = pair.second * 1000;
                pair.both(|reader| reader.set_clock_back(at));
            }
            Step::Limit(samples_max) => limit = samples_max,
            Step::HandOver => pair.hand_over(),
            Step::Reload => {
                let job = Arc::new(pair.job.clone());
                pair.both(|r| r.change(Arc::clone(&job), &target(&[]), shapings(&[("dc", "y")])));
            }
        }
        pair.both(|reader| reader.limits.samples_max = limit);
        let mut text = body(if is_empty { &[] } else { &lines }, pair.second, timed);
        if let Some(at) = is_broken {
            let line =
                text.lines().nth(at).map_or(0, |line| line.as_ptr().addr() - text.as_ptr().addr());
            text.insert_str(line, "broken{\n");
        }
        let [ours, reference] = pair.scrape((!is_down).then_some(text.as_str()));
        prop_assert_eq!(&ours, &reference, "step {}: {:?}\n{}", n, step, text);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 150 } else { 4000 }))]
    #[test]
    fn the_same_samples_leave_whatever_becomes_of_the_lines(
        names in prop::collection::vec(0_usize..80, 0..60),
        steps in prop::collection::vec(step(), 1..25),
    ) {
        check(&names, &steps)?;
    }
}

/// Timestamps of the first seconds after the epoch grow longer, which no run outlives.
const DAY: i64 = 86_400;

fn metrics(range: std::ops::Range<usize>) -> String {
    let metric = |n| format!("# HELP m{n} What it is.\n# TYPE m{n} gauge\nm{n}{{a=\"{n}\"}} {n}\n");
    range.map(metric).collect()
}

#[test]
fn lines_that_stay_are_runs_from_the_first_scrape_on() {
    let mut bench = Bench { second: DAY, ..Bench::new(job()) };
    for _ in 0..3 {
        bench.scrape(&metrics(0..1000));
        assert_eq!(bench.reader.known.sizes(), (0, 1000, 1000));
    }
    // One comes in between: its run alone comes apart.
    let body = metrics(0..500) + "new 1\n" + &metrics(500..1000);
    let scraped = bench.scrape(&body);
    assert_eq!(scraped.counts.added, 1);
    let (_, all, in_runs) = bench.reader.known.sizes();
    assert_eq!(all, 1001);
    assert!((600..1000).contains(&in_runs), "{in_runs}");
    // It stays, and after a while it is one of them.
    for _ in 0..20 {
        bench.scrape(&body);
    }
    // A few may be left that are too few for a run.
    let (_, all, in_runs) = bench.reader.known.sizes();
    assert_eq!(all, 1001);
    assert!(in_runs > 990, "{in_runs}");
}

#[test]
fn what_changes_all_the_time_is_left_apart() {
    let mut bench = Bench { second: DAY, ..Bench::new(job()) };
    let mut rounds_with_runs = 0;
    for round in 0..100_usize {
        let line = |n: usize| if n.is_multiple_of(5) { round * 1000 + n } else { n };
        let mut body = String::new();
        for n in 0..200 {
            writeln!(body, "m{{n=\"{}\"}} 1", line(n)).unwrap();
        }
        bench.scrape(&body);
        rounds_with_runs += usize::from(bench.reader.known.sizes().2 > 0);
    }
    assert!(rounds_with_runs < 10, "{rounds_with_runs}");
}
