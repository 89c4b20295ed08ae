//! The series that tell of the scrape itself: which, in which order, with which value. Pure.

use crate::{
    config::{Job, Limits},
    scrape::{failure::Failure, read::Counts},
    wire::{MetricKind, remote_write::Metadata},
};

/// A name, what it tells, and its unit.
type Named = (&'static str, &'static str, &'static str);

const ALWAYS: [Named; 5] = [
    ("up", "Whether the last scrape succeeded", ""),
    ("scrape_duration_seconds", "How long the last scrape took", "seconds"),
    ("scrape_samples_scraped", "Samples that the target exposed", ""),
    ("scrape_samples_post_metric_relabeling", "Samples that metric relabelling left", ""),
    ("scrape_series_added", "Series that were new in the last scrape", ""),
];
/// With `extra_scrape_metrics`.
const EXTRA: [Named; 3] = [
    ("scrape_timeout_seconds", "How long a scrape of the target may take", "seconds"),
    ("scrape_sample_limit", "How many samples a scrape may bring; 0 is no limit", ""),
    ("scrape_body_size_bytes", "Size of the last body; -1 where it was over its limit", "bytes"),
];
/// With a limit of series; named as vmagent names them.
const OF_SERIES_LIMIT: [Named; 3] = [
    ("scrape_series_current", "Series that the limit of series has let in", ""),
    ("scrape_series_limit", "How many series the target may have in a day", ""),
    ("scrape_series_limit_samples_dropped", "Samples of series beyond that limit", ""),
];

pub(super) const COUNT: usize = ALWAYS.len() + EXTRA.len() + OF_SERIES_LIMIT.len();

/// Which of `all` there are.
pub(super) type Written = [bool; COUNT];

/// All of them, in the order in which they leave, with what is said of them.
pub(super) fn all() -> impl Iterator<Item = (&'static str, Metadata<'static>)> {
    let all = ALWAYS.into_iter().chain(EXTRA).chain(OF_SERIES_LIMIT);
    all.map(|(name, help, unit)| {
        (name, Metadata { kind: MetricKind::Gauge, help: help.into(), unit: unit.into() })
    })
}

#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    all().map(|(name, _)| name)
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
    /// In the order of `all`. `series` is how many the limit of series has let through.
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
