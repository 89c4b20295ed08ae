//! From a compressed body to a packed scrape.

use std::{hint::black_box, io::Write, sync::Arc};

use flate2::{Compression, Decompress, FlushDecompress, write::GzEncoder};

use super::{
    known::LineLists,
    read::{Moment, Reader},
    report::Report,
    test_job,
};
use crate::{
    Round,
    bodies::{Kind, VARIANTS, bodies},
    config::{Destination, Job},
    outbox::{Packed, Shapings},
    wire::{Entry, Format, Parser},
};

/// More than the rounds after which a series that has gone is forgotten.
const CHURNING_VARIANTS: usize = 24;

const RULES: &str = r"
- source_labels: [__name__]
  regex: go_(gc|memstats)_.*
  action: drop
- source_labels: [device]
  regex: (veth).*
  target_label: kind
";

pub fn inflate(samples: usize) -> Round {
    let body = bodies(samples, Kind::default(), 1).remove(0);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body.as_bytes()).expect("memory takes all");
    let packed = encoder.finish().expect("memory takes all");
    let mut out = vec![0; body.len() + 1];
    Box::new(move || {
        let mut state = Decompress::new_gzip(15);
        black_box(
            state.decompress(&packed, &mut out, FlushDecompress::Finish).expect("packed above"),
        );
    })
}

/// Of lines that nothing is known of.
pub fn parse(samples: usize) -> Round {
    let body = bodies(samples, Kind::default(), 1).remove(0);
    Box::new(move || {
        black_box(Parser::new(Format::PrometheusText, body.as_bytes()).count());
    })
}

pub fn parse_openmetrics(samples: usize) -> Round {
    let body = bodies(samples, Kind { openmetrics: true, ..Kind::default() }, 1).remove(0);
    Box::new(move || {
        black_box(Parser::new(Format::OpenMetricsText, body.as_bytes()).count());
    })
}

/// Of such lines, with what they are called.
pub fn labels(samples: usize) -> Round {
    let body = bodies(samples, Kind::default(), 1).remove(0);
    Box::new(move || {
        let mut pairs = Vec::new();
        for entry in Parser::new(Format::PrometheusText, body.as_bytes()) {
            if let Ok(Entry::Series(series)) = entry {
                series.pairs(&mut pairs);
                black_box(&pairs);
            }
        }
    })
}

/// Scrape after scrape of the same series.
pub fn known(samples: usize) -> Round {
    scrapes(samples, Kind::default(), VARIANTS, test_job::job())
}

pub fn known_openmetrics(samples: usize) -> Round {
    scrapes(samples, Kind { openmetrics: true, ..Kind::default() }, VARIANTS, test_job::job())
}

pub fn uncommented(samples: usize) -> Round {
    scrapes(samples, Kind { uncommented: true, ..Kind::default() }, VARIANTS, test_job::job())
}

pub fn relabelled(samples: usize) -> Round {
    let job = Job { metric_relabel: test_job::rules(RULES), ..test_job::job() };
    scrapes(samples, Kind::default(), VARIANTS, job)
}

pub fn churning(samples: usize) -> Round {
    scrapes(samples, Kind { churn: 10, ..Kind::default() }, CHURNING_VARIANTS, test_job::job())
}

/// Of a target that nothing is known of.
pub fn first(samples: usize) -> Round {
    let body = bodies(samples, Kind::default(), 1).remove(0);
    // As in an agent, whose targets share them.
    let lists = LineLists::default();
    Box::new(move || {
        let mut target = Target::new(test_job::job(), lists.clone());
        drop(black_box(target.scrape(Format::PrometheusText, &body)))
    })
}

fn scrapes(samples: usize, kind: Kind, variants: usize, job: Job) -> Round {
    let format = if kind.openmetrics { Format::OpenMetricsText } else { Format::PrometheusText };
    let bodies = bodies(samples, kind, variants);
    let (mut target, mut number) = (Target::new(job, LineLists::default()), 0);
    Box::new(move || {
        number += 1;
        drop(black_box(target.scrape(format, &bodies[number % variants])));
    })
}

struct Target {
    reader: Reader,
    now_ms: i64,
}

impl Target {
    fn new(job: Job, lists: LineLists) -> Self {
        let labels = [("instance", "10.0.12.34:9100"), ("job", "node"), ("region", "eu-central")];
        // As a destination is by default.
        let mut destination = Destination {
            send_exemplars: false,
            send_native_histograms: false,
            ..(*test_job::destination(&[("cluster", "bench")], String::new())).clone()
        };
        destination.queue.samples_per_send_max = 5_000;
        let shapings = Arc::new(Shapings::of(&[Arc::new(destination)]));
        let reader = Reader::new(Arc::new(job), &test_job::target(&labels), shapings, lists);
        Self { reader, now_ms: 1_795_255_200_000 }
    }

    fn scrape(&mut self, format: Format, body: &str) -> Vec<Packed> {
        self.now_ms += 5_000;
        let moment = Moment { timestamp_ms: self.now_ms, now_ms: self.now_ms, since_ms: None };
        let (counts, outcome) = self.reader.read(format, body.as_bytes(), moment);
        outcome.expect("bodies that are valid");
        let report = Report {
            failure: None,
            duration_seconds: 0.25,
            counts,
            timeout_seconds: 5.0,
            body_bytes: body.len(),
        };
        self.reader.finish(&report, moment)
    }
}
