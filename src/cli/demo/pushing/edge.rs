//! One of the demo's edges: a sample of each of its series at an interval, pushed to the gateways in
//! turn, one push at a time, and the same one again until a gateway has acknowledged it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use reqwest::Method;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    cli::demo::{agent, pushing::ledger::Ledger, receiver::Shared},
    config::HttpClient,
    model::{
        labels::{Labels, METRIC_NAME},
        sample::{Point, PointValue},
    },
    runtime::{clock, http::Caller, stop::Stop},
    wire::remote_write::{Compressor, encode_labels, push_series},
};

/// Of an edge. The books have a bit for each.
pub(super) const SERIES: usize = 40;
pub(super) const EDGE_LABEL: &str = "edge";
pub(super) const SERIES_LABEL: &str = "series";

const NAME: &str = "demo_level";
const EDGE_PREFIX: &str = "edge-";
const REMOTE_WRITE_VERSION: &str = "0.1.0";
/// Then the next gateway is asked, as senders do.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Before the next gateway is asked, where none says for how long.
const PAUSE: Duration = Duration::from_millis(100);
/// More is not waited for, whatever a gateway says.
const RETRY_AFTER_SECONDS_MAX: u64 = 30;
/// Of a refusal, in letters.
const REASON_MAX: usize = 200;

pub(super) struct Edge {
    number: usize,
    interval: Duration,
    /// Where can be pushed to, by gateway.
    gateways: Vec<String>,
    /// How many tries were made: each goes to the next gateway.
    turn: usize,
    caller: Caller,
    /// By series, as they are sent.
    labels: Vec<Vec<u8>>,
    compressor: Compressor,
    ledger: Shared<Ledger>,
}

/// What is done after a try.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Next,
    /// The same push, to the next gateway.
    Again(Duration),
    /// No gateway will ever take it.
    GiveUp,
}

pub(super) fn edge_of(name: &str) -> Option<usize> {
    name.strip_prefix(EDGE_PREFIX)?.parse::<usize>().ok()?.checked_sub(1)
}

pub(super) fn labels_of(edge: usize, series: usize) -> Labels {
    let (edge, series) = (format!("{EDGE_PREFIX}{}", edge + 1), series.to_string());
    [(METRIC_NAME, NAME), (EDGE_LABEL, &*edge), (SERIES_LABEL, &*series)].into_iter().collect()
}

impl Edge {
    pub(super) fn new(
        number: usize,
        interval: Duration,
        gateways: Vec<String>,
        ledger: Shared<Ledger>,
    ) -> Self {
        let labels = |series| encode_labels(&labels_of(number, series), None);
        Self {
            number,
            interval,
            gateways,
            turn: number,
            caller: Caller::new(&HttpClient::default()),
            labels: (0..SERIES).map(labels).collect(),
            compressor: Compressor::default(),
            ledger,
        }
    }

    /// The first push is due after `delay`. What is due while another waits follows it at once.
    pub(super) async fn run(mut self, delay: Duration, stop: Stop) {
        let mut due = Instant::now() + delay;
        let mut at_ms = clock::now_ms() + ms(delay);
        loop {
            tokio::select! {
                () = stop.raised() => return,
                () = sleep_until(due) => {}
            }
            let body = self.body(at_ms);
            self.ledger.lock().pushing(self.number, at_ms, clock::now_ms());
            tokio::select! {
                () = stop.raised() => return,
                () = self.bring_in(body) => {}
            }
            due += self.interval;
            at_ms += ms(self.interval);
        }
    }

    async fn bring_in(&mut self, body: Bytes) {
        loop {
            let gateway = self.turn % self.gateways.len();
            self.turn += 1;
            let (step, reason) = self.push(gateway, body.clone()).await;
            match step {
                Step::Next => {
                    self.ledger.lock().acknowledged(self.number, gateway, clock::now_ms());
                    return;
                }
                Step::GiveUp => {
                    self.ledger.lock().refused(&agent::name_of(gateway), &reason);
                    return;
                }
                Step::Again(wait) => {
                    self.ledger.lock().passed_on(self.number, gateway);
                    sleep(wait).await;
                }
            }
        }
    }

    /// What to do next, and why where it is to give up.
    async fn push(&self, gateway: usize, body: Bytes) -> (Step, String) {
        let call = self.caller.request(Method::POST, &self.gateways[gateway]);
        let call = call
            .expect("it is made of an address")
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(CONTENT_ENCODING, "snappy")
            .header("X-Prometheus-Remote-Write-Version", REMOTE_WRITE_VERSION)
            .body(body)
            .timeout(ANSWER_WAIT);
        let Ok(answer) = call.send().await else { return (step(None, None), String::new()) };
        let status = answer.status();
        let retry_after = answer.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok());
        let step = step(Some(status.as_u16()), retry_after);
        // Also where nobody reads it: the connection is used again.
        let reason = answer.text().await.unwrap_or_default();
        let reason: String = reason.trim().chars().take(REASON_MAX).collect();
        (step, format!("{status}: {reason}"))
    }

    fn body(&mut self, at_ms: i64) -> Bytes {
        let mut raw = Vec::new();
        for (series, labels) in (0_u32..).zip(&self.labels) {
            let point = Point {
                value: PointValue::Float(level(at_ms, series)),
                timestamp_ms: at_ms,
                start_ms: None,
                exemplars: &[],
            };
            push_series(&mut raw, labels, &point);
        }
        self.compressor.body(&raw)
    }
}

/// `None` where there is no answer.
fn step(status: Option<u16>, retry_after: Option<&str>) -> Step {
    match status {
        Some(200..=299) => Step::Next,
        Some(429 | 500..=599) => {
            let seconds = retry_after.and_then(|text| text.trim().parse::<u64>().ok());
            let wait = |seconds: u64| Duration::from_secs(seconds.min(RETRY_AFTER_SECONDS_MAX));
            Step::Again(seconds.map_or(PAUSE, wait))
        }
        None => Step::Again(PAUSE),
        Some(_) => Step::GiveUp,
    }
}

/// A wave a minute, another one for each series.
fn level(at_ms: i64, series: u32) -> f64 {
    let in_a_minute = f64::from(u32::try_from(at_ms.rem_euclid(60_000)).unwrap_or(0)) / 60_000.0;
    let wave = (std::f64::consts::TAU * in_a_minute + f64::from(series)).sin();
    (50.0 + 40.0 * wave).round()
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::remote_write;

    #[test]
    fn the_same_push_goes_on_until_it_is_acknowledged() {
        let check = |status, retry_after, expected| {
            assert_eq!(step(status, retry_after), expected, "{status:?} {retry_after:?}");
        };
        check(Some(204), None, Step::Next);
        check(Some(202), Some("9"), Step::Next);
        check(Some(503), Some("2"), Step::Again(Duration::from_secs(2)));
        check(Some(429), Some(" 7 "), Step::Again(Duration::from_secs(7)));
        check(Some(503), Some("999999"), Step::Again(Duration::from_secs(30)));
        check(Some(500), Some("tomorrow"), Step::Again(PAUSE));
        check(Some(500), None, Step::Again(PAUSE));
        check(None, None, Step::Again(PAUSE));
        check(Some(400), None, Step::GiveUp);
        check(Some(404), Some("1"), Step::GiveUp);
    }

    #[test]
    fn a_body_has_a_sample_of_each_series() {
        let ledger = Shared::new(Ledger::new(3, 1));
        let mut edge = Edge::new(2, Duration::from_secs(1), Vec::new(), ledger);
        let received = remote_write::decode(&edge.body(1_234)).unwrap();
        assert_eq!(received.len(), SERIES);
        for (number, series) in received.iter().enumerate() {
            assert_eq!(series.labels, labels_of(2, number));
            assert_eq!(edge_of(series.labels.get(EDGE_LABEL)), Some(2));
            let [sample] = series.samples[..] else { panic!("one sample: {series:?}") };
            assert_eq!(sample.timestamp_ms, 1_234);
        }
    }
}
