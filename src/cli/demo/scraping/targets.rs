//! The demo's example targets: real servers with lively metrics, some of them slow and some of them
//! down every other half minute.

use std::{
    fmt::Write,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use tokio::time::Instant;

use crate::{cli::demo::server, runtime::stop::Stop};

pub(super) struct Example {
    pub(super) address: String,
    pub(super) app: &'static str,
    pub(super) about: &'static str,
    scrapes: Arc<AtomicU32>,
}

impl Example {
    /// How often it was scraped, people's looks not counted.
    pub(super) fn scrapes(&self) -> u32 {
        self.scrapes.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Shop { busy: f64 },
    Batch,
    Flapping,
    Slow,
}

/// Each target counts how often it was scraped, so that the receiving end can tell what is missing.
pub(super) const SCRAPES_SERIES: &str = "demo_scrapes_total";
/// Agents say this, and people who look by hand do not.
const SCRAPE_HEADER: &str = "x-prometheus-scrape-timeout-seconds";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Up so long, then down so long.
const FLAP_SECONDS: u64 = 30;
/// Long, and still within the scrape's timeout of a second.
const SLOWNESS: Duration = Duration::from_millis(500);
/// Upper bounds of the histogram, in seconds, and the share of requests that stay below.
const BUCKETS: [(&str, f64); 5] =
    [("0.01", 0.35), ("0.05", 0.7), ("0.1", 0.88), ("0.5", 0.98), ("+Inf", 1.0)];

struct Group {
    count: usize,
    kind: Kind,
    app: &'static str,
    about: &'static str,
}

/// Many enough that each agent has some.
const GROUPS: [Group; 5] = [
    Group {
        count: 6,
        kind: Kind::Shop { busy: 120.0 },
        app: "shop",
        about: "counters that rise, a histogram",
    },
    Group { count: 6, kind: Kind::Shop { busy: 35.0 }, app: "kiosk", about: "the same, less busy" },
    Group { count: 6, kind: Kind::Batch, app: "batch", about: "speaks OpenMetrics" },
    Group {
        count: 3,
        kind: Kind::Flapping,
        app: "flapping",
        about: "up for half a minute, down for half a minute",
    },
    Group { count: 3, kind: Kind::Slow, app: "slow", about: "takes half a second to answer" },
];

pub(super) async fn start(stop: &Stop) -> io::Result<Vec<Example>> {
    let start = Instant::now();
    let mut examples = Vec::new();
    for Group { count, kind, app, about } in GROUPS {
        for _ in 0..count {
            let scrapes = Arc::new(AtomicU32::new(0));
            let counted = Arc::clone(&scrapes);
            let answer = move |request| answer(request, kind, start, Arc::clone(&counted));
            let address = server::serve(stop, answer).await?.to_string();
            examples.push(Example { address, app, about, scrapes });
        }
    }
    Ok(examples)
}

/// As a `file_sd` file: change it while the demo runs, and see the targets change.
pub(super) fn targets_json(examples: &[Example]) -> String {
    let groups: Vec<_> = examples
        .iter()
        .map(|example| json!({ "targets": [example.address], "labels": { "app": example.app } }))
        .collect();
    format!("{:#}\n", json!(groups))
}

async fn answer(
    request: Request<Incoming>,
    kind: Kind,
    start: Instant,
    scrapes: Arc<AtomicU32>,
) -> Response<Full<Bytes>> {
    let elapsed = start.elapsed();
    if let Kind::Slow = kind {
        tokio::time::sleep(SLOWNESS).await;
    }
    let is_down =
        matches!(kind, Kind::Flapping) && !(elapsed.as_secs() / FLAP_SECONDS).is_multiple_of(2);
    if is_down {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "down for half a minute, on purpose\n");
    }
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "see /metrics\n");
    }
    let scrape = u32::from(request.headers().contains_key(SCRAPE_HEADER));
    let count = scrapes.fetch_add(scrape, Ordering::Relaxed) + scrape;
    let (content_type, body) = metrics(kind, elapsed.as_secs_f64(), count);
    let answer = Response::builder().header(CONTENT_TYPE, content_type).body(body.into());
    answer.expect("a status and a header that are constants")
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(text.into());
    *answer.status_mut() = status;
    answer
}

fn metrics(kind: Kind, seconds: f64, scrapes: u32) -> (&'static str, String) {
    let (content_type, rest) = match kind {
        Kind::Shop { busy } => (TEXT, shop(busy, seconds)),
        Kind::Batch => (OPEN_METRICS, batch(seconds)),
        Kind::Flapping => (TEXT, shop(10.0, seconds)),
        Kind::Slow => (TEXT, shop(2.0, seconds)),
    };
    let family = match kind {
        Kind::Batch => SCRAPES_SERIES.trim_end_matches("_total"),
        Kind::Shop { .. } | Kind::Flapping | Kind::Slow => SCRAPES_SERIES,
    };
    (content_type, format!("# TYPE {family} counter\n{SCRAPES_SERIES} {scrapes}\n{rest}"))
}

/// `busy` requests a second, more by day and less by night; a day lasts a minute here.
fn shop(busy: f64, seconds: f64) -> String {
    let tide = (seconds / 60.0 * std::f64::consts::TAU).sin();
    let requests = busy * (seconds - 60.0 / std::f64::consts::TAU * 0.5 * (tide - 1.0)).max(0.0);
    let mut body = String::from(
        "# HELP http_requests_total Requests answered.\n# TYPE http_requests_total counter\n",
    );
    for (path, code, share) in
        [("/", 200, 0.6), ("/cart", 200, 0.3), ("/cart", 409, 0.02), ("/pay", 200, 0.08)]
    {
        let count = (requests * share).floor();
        line(
            &mut body,
            format_args!("http_requests_total{{path=\"{path}\",code=\"{code}\"}} {count}"),
        );
    }
    body.push_str(
        "# HELP http_request_duration_seconds Time to answer.\n\
         # TYPE http_request_duration_seconds histogram\n",
    );
    for (bound, share) in BUCKETS {
        let count = (requests * share).floor();
        line(
            &mut body,
            format_args!("http_request_duration_seconds_bucket{{le=\"{bound}\"}} {count}"),
        );
    }
    let (sum, count) = (requests * 0.043, requests.floor());
    line(&mut body, format_args!("http_request_duration_seconds_sum {sum}"));
    line(&mut body, format_args!("http_request_duration_seconds_count {count}"));
    body.push_str("# HELP carts Carts being filled.\n# TYPE carts gauge\n");
    line(&mut body, format_args!("carts {}", (busy * (1.0 + tide * 0.5)).round()));
    body
}

fn batch(seconds: f64) -> String {
    let mut body = String::from("# TYPE batch_jobs counter\n# HELP batch_jobs Jobs done.\n");
    for (queue, rate) in [("mail", 3.0), ("thumbnails", 11.0)] {
        line(
            &mut body,
            format_args!("batch_jobs_total{{queue=\"{queue}\"}} {}", (seconds * rate).floor()),
        );
    }
    body.push_str("# TYPE batch_backlog gauge\n# HELP batch_backlog Jobs that wait.\n");
    line(
        &mut body,
        format_args!("batch_backlog {}", (20.0 + 15.0 * (seconds / 7.0).sin()).round()),
    );
    body.push_str("# EOF\n");
    body
}

fn line(body: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(body, "{text}").expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_only_rise() {
        let count = |seconds: f64| -> f64 {
            let body = shop(100.0, seconds);
            let line = body
                .lines()
                .find_map(|line| line.strip_prefix("http_request_duration_seconds_count "));
            line.unwrap().parse().unwrap()
        };
        for second in 0..300 {
            let (now, next) = (count(f64::from(second)), count(f64::from(second + 1)));
            assert!(next > now, "{now} then {next} at {second} s");
        }
    }
}
