//! A job as it is run: one entry of `scrape_configs`, with `global` applied.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    config::{Discovery, HttpClient},
    model::{
        protocol::{Escaping, ScrapeProtocol},
        relabel::{NameValidation, Rule},
    },
};

#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the file has as many")]
pub struct Job {
    pub job_name: Arc<str>,
    pub scrape_interval: Duration,
    pub scrape_timeout: Duration,
    pub scrape_protocols: Vec<ScrapeProtocol>,
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    pub scrape_native_histograms: bool,
    pub always_scrape_classic_histograms: bool,
    pub convert_classic_histograms_to_nhcb: bool,
    pub metrics_path: String,
    pub scheme: Scheme,
    pub params: BTreeMap<String, Vec<String>>,
    pub honor_labels: bool,
    pub honor_timestamps: bool,
    pub track_timestamps_staleness: bool,
    pub enable_compression: bool,
    pub extra_scrape_metrics: bool,
    /// Starling's own key: a series that begins, or begins anew, gets a sample of zero at its start.
    pub start_timestamp_zeros: bool,
    /// Starling's own key: series get `__type__` and `__unit__`.
    pub type_and_unit_labels: bool,
    pub metric_name_validation: NameValidation,
    pub metric_name_escaping: Escaping,
    pub limits: Limits,
    pub native_histograms: NativeHistograms,
    pub phase: Phase,
    /// 0 is no limit, as in Prometheus. Bounds only what the API lists.
    pub keep_dropped_targets: usize,
    pub scrape_failure_log_file: Option<PathBuf>,
    pub timestamp_tolerance: Duration,
    pub http: HttpClient,
    pub discovery: Vec<Discovery>,
    pub relabel: Vec<Rule>,
    pub metric_relabel: Vec<Rule>,
    pub clustering: Clustering,
}

/// `clustering` of a job: whether its targets are divided among the members, and by what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clustering {
    /// Otherwise each member scrapes all of them.
    pub enabled: bool,
    /// Labels that count beside a target's identity (job, scheme, address, path, parameters).
    pub key_include: Vec<String>,
    /// What of the identity does not count: `__scheme__`, `__address__`, `__metrics_path__` or a
    /// `__param_<name>`, such as a signature that is new at each discovery.
    pub key_exclude: Vec<String>,
}

/// How finely a job's native histograms are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NativeHistograms {
    /// One with more buckets is made coarser; where that does not help its scrape fails. 0 is no limit.
    pub buckets_max: usize,
    /// Buckets that grow by less from one to the next are merged. 0: they are kept as they are.
    pub bucket_factor_min: f64,
}

/// Starling's own keys: where within its interval a target is scraped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Wherever its identity puts it, so that the targets of a job are spread over the interval.
    #[default]
    Spread,
    /// So long after each multiple of its interval.
    Offset(Duration),
    /// Spread over the multiples of this.
    Aligned(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// 0 is no limit, as in Prometheus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of the uncompressed body.
    pub body_bytes_max: u64,
    pub samples_max: usize,
    pub targets_max: usize,
    pub labels_max: usize,
    pub label_name_bytes_max: usize,
    pub label_value_bytes_max: usize,
    /// Starling's own key. Of one target in a day: samples of series beyond are dropped.
    pub series_max: usize,
}
