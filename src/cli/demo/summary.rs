//! The demo's line: what the agents say by their API, and what the receiving end has counted.

use std::{fmt, time::Duration};

use http::Method;
use serde_json::{Value, json};

use crate::{
    cli::demo::ledger::{Ledger, Totals},
    config::HttpClient,
    runtime::http::Caller,
};

/// An agent that takes longer to answer is shown as it was.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(800);

pub(super) struct Summary {
    urls: Vec<String>,
    caller: Caller,
    elapsed: Duration,
    targets: usize,
    targets_up: usize,
    queue_bytes: u64,
    totals: Totals,
    series: usize,
    samples_per_second: f64,
}

impl Summary {
    /// `urls` are those of the agents.
    pub(super) fn new(urls: Vec<String>) -> Self {
        Self {
            urls,
            caller: Caller::new(&HttpClient::default()),
            elapsed: Duration::ZERO,
            targets: 0,
            targets_up: 0,
            queue_bytes: 0,
            totals: Totals::default(),
            series: 0,
            samples_per_second: 0.0,
        }
    }

    pub(super) async fn ask(&mut self, ledger: &Ledger, elapsed: Duration) {
        let since = elapsed.saturating_sub(self.elapsed).as_secs_f64();
        let arrived = ledger.totals().samples - self.totals.samples;
        if since > 0.0 {
            // A second's samples are far below what 32 bits hold.
            self.samples_per_second = f64::from(u32::try_from(arrived).unwrap_or(u32::MAX)) / since;
        }
        self.elapsed = elapsed;
        self.totals = ledger.totals();
        self.series = ledger.series();

        let (mut targets, mut up, mut bytes) = (0, 0, 0);
        for url in &self.urls {
            let Some(found) = self.answer(&format!("{url}/api/v1/targets?state=active")).await
            else {
                return;
            };
            let Some(queues) = self.answer(&format!("{url}/api/v1/queues")).await else { return };
            let active = found["data"]["activeTargets"].as_array().map_or(&[][..], Vec::as_slice);
            targets += active.len();
            up += active.iter().filter(|target| target["health"] == "up").count();
            let queues = queues["destinations"].as_array().into_iter().flatten();
            bytes += queues.filter_map(|queue| queue["bytes"].as_u64()).sum::<u64>();
        }
        (self.targets, self.targets_up, self.queue_bytes) = (targets, up, bytes);
    }

    async fn answer(&self, url: &str) -> Option<Value> {
        let request = self.caller.request(Method::GET, url).ok()?;
        request.timeout(ANSWER_TIMEOUT).send().await.ok()?.json().await.ok()
    }

    pub(super) fn seconds(&self) -> u64 {
        self.elapsed.as_secs()
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "seconds": self.seconds(), "targets": self.targets, "targets_up": self.targets_up,
            "samples_per_second": self.samples_per_second.round(), "received": self.totals.samples,
            "series": self.series, "gaps": self.totals.gaps, "duplicates": self.totals.duplicates,
            "out_of_order": self.totals.out_of_order, "queue_bytes": self.queue_bytes,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>4} s | {} of {} targets up | {:.0} samples/s | {} received | {} gaps | \
             {} duplicates | {} out of order | queue {} bytes",
            self.seconds(),
            self.targets_up,
            self.targets,
            self.samples_per_second,
            self.totals.samples,
            self.totals.gaps,
            self.totals.duplicates,
            self.totals.out_of_order,
            self.queue_bytes,
        )
    }
}
