//! The series that tell of the scrape itself: which, in which order, with which value. Pure.

use crate::{
    config::{Job, Limits},
    scrape::{failure::Failure, read::Counts},
};

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
/// With a limit of series; named as vmagent names them.
const OF_SERIES_LIMIT: [&str; 3] =
    ["scrape_series_current", "scrape_series_limit", "scrape_series_limit_samples_dropped"];

pub(super) const COUNT: usize = ALWAYS.len() + EXTRA.len() + OF_SERIES_LIMIT.len();

/// Which of `names` there are.
pub(super) type Written = [bool; COUNT];

/// All of them, in the order in which they leave.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ALWAYS.into_iter().chain(EXTRA).chain(OF_SERIES_LIMIT)
}

/// Those that a target has.
pub(super) fn written(job: &Job, limits: &Limits) -> Written {
    let extra = ALWAYS.len()..ALWAYS.len() + EXTRA.len();
    std::array::from_fn(|n| match n {
        n if n < extra.start => true,
        n if n < extra.end => job.extra_scrape_metrics,
        _ => limits.series_max > 0,
    })
}

/// What there is to tell of one scrape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report<'a> {
    pub(super) failure: Option<&'a Failure>,
    pub(super) duration_seconds: f64,
    pub(super) counts: Counts,
    pub(super) timeout_seconds: f64,
    pub(super) body_bytes: usize,
}

impl Report<'_> {
    /// In the order of `names`. `series` is how many the limit of series has let through.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub(super) fn values(&self, limits: &Limits, series: usize) -> [f64; COUNT] {
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
            limits.samples_max as f64,
            body_bytes,
            series as f64,
            limits.series_max as f64,
            self.counts.excluded as f64,
        ]
    }
}
