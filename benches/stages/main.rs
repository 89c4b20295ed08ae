//! The stages of a scrape, in the order in which a sample passes them. `cargo bench --bench stages`
//! times them; `stages count NAME ROUNDS` runs one so often and nothing else, so that its instructions
//! and allocations can be counted from outside (count.sh).
//!
//! The hot modules are compiled into this program, from where they lie: so they can be optimised
//! without optimising the rest, and what no other part may call can be measured.

#![allow(
    clippy::print_stdout,
    dead_code,
    missing_docs,
    unfulfilled_lint_expectations,
    unreachable_pub,
    unused_imports,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "of modules that are judged where they belong, a part; and it is a benchmark"
)]

mod bodies;
#[path = "../../src/config/mod.rs"]
mod config;
#[path = "../../src/discovery/mod.rs"]
mod discovery;
#[path = "../../src/model/mod.rs"]
mod model;
#[path = "../../src/outbox/mod.rs"]
mod outbox;
mod requests;
#[path = "../../src/runtime/mod.rs"]
mod runtime;
/// The part that makes samples of bodies, without the loops and the network around it.
#[path = "../../src/scrape"]
mod scrape {
    mod admission;
    mod exemplars;
    mod failure;
    mod inventory;
    mod known;
    mod metadata;
    mod read;
    mod report;
    mod shape;
    #[path = "../../benches/stages/scrape.rs"]
    mod stages;
    mod staleness;
    mod test_job;

    pub use self::stages::*;
}
#[path = "../../src/wire/mod.rs"]
mod wire;

use std::time::Duration;

use criterion::{Criterion, Throughput};

/// What a round of a stage does, on data that was made before.
type Round = Box<dyn FnMut()>;

/// A name, how many samples a round has, and what makes the round.
type Stage = (&'static str, usize, fn(usize) -> Round);

const STAGES: &[Stage] = &[
    ("inflate", 1_000, scrape::inflate),
    ("parse", 1_000, scrape::parse),
    ("parse-openmetrics", 1_000, scrape::parse_openmetrics),
    ("labels", 1_000, scrape::labels),
    ("scrape", 1_000, scrape::known),
    ("scrape-100", 100, scrape::known),
    ("scrape-10000", 10_000, scrape::known),
    ("scrape-uncommented", 1_000, scrape::uncommented),
    ("scrape-openmetrics", 1_000, scrape::known_openmetrics),
    ("scrape-relabelled", 1_000, scrape::relabelled),
    ("scrape-churning", 1_000, scrape::churning),
    ("scrape-first", 200, scrape::first),
    ("encode", 1_000, requests::encode),
    ("snappy", 1_000, requests::snappy),
    ("frame", 1_000, requests::frame),
    ("join", 10_000, requests::join_scrapes),
    ("zstd", 10_000, requests::zstd),
    ("remote-write-2", 10_000, requests::version_2),
    ("pushed", 10_000, requests::pushed),
    ("pushed-2", 10_000, requests::pushed_2),
];

/// Rounds before the first that counts: what is kept between scrapes has grown by then.
const WARM_ROUNDS: usize = 8;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => {
            for (name, samples, _) in STAGES {
                println!("{name} {samples}");
            }
        }
        ["count", name, rounds] => {
            let (_, samples, make) = STAGES.iter().find(|stage| stage.0 == name).expect(name);
            let mut round = make(*samples);
            for _ in 0..WARM_ROUNDS + rounds.parse::<usize>().expect("a number of rounds") {
                round();
            }
        }
        _ => time(),
    }
}

fn time() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("stages");
    for (name, samples, make) in STAGES {
        let mut round = make(*samples);
        group.throughput(Throughput::Elements(*samples as u64));
        group.bench_function(*name, |bencher| bencher.iter(&mut round));
    }
    group.finish();
    criterion.final_summary();
}
