//! The series that tell of the scrape itself: which, in which order, with which value. Pure.

use crate::scrape::{failure::Failure, read::Counts};

const ALWAYS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];
/// With `extra_scrape_metrics`.
const EXTRA: [&str; 3] =
    ["scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes"];

/// All of them; the extra ones come last.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ALWAYS.into_iter().chain(EXTRA)
}

/// How many of `names` a job has.
pub(super) fn count(extra: bool) -> usize {
    ALWAYS.len() + if extra { EXTRA.len() } else { 0 }
}

/// What there is to tell of one scrape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report<'a> {
    pub(super) failure: Option<&'a Failure>,
    pub(super) duration_seconds: f64,
    pub(super) counts: Counts,
    pub(super) timeout_seconds: f64,
    pub(super) samples_max: usize,
    pub(super) body_bytes: usize,
}

impl Report<'_> {
    /// In the order of `names`.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub(super) fn values(&self) -> [f64; ALWAYS.len() + EXTRA.len()] {
        let body_bytes = match self.failure {
            Some(Failure::BodySize { .. }) => -1.0,
            Some(_) | None => self.body_bytes as f64,
        };
        [
            f64::from(u8::from(self.failure.is_none())),
            self.duration_seconds,
            self.counts.scraped as f64,
            self.counts.relabelled as f64,
            self.counts.added as f64,
            self.timeout_seconds,
            self.samples_max as f64,
            body_bytes,
        ]
    }
}
