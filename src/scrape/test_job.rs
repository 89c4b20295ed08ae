//! A job for tests: what the defaults of a configuration file give.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    config::{HttpClient, Job, Limits, Scheme},
    model::{
        protocol::{Escaping, ScrapeProtocol},
        relabel::NameValidation,
    },
};

pub(super) fn job() -> Job {
    Job {
        job_name: "test".into(),
        scrape_interval: Duration::from_secs(1),
        scrape_timeout: Duration::from_secs(1),
        scrape_protocols: vec![
            ScrapeProtocol::OpenMetricsText1_0_0,
            ScrapeProtocol::PrometheusText0_0_4,
        ],
        fallback_scrape_protocol: None,
        scrape_native_histograms: false,
        always_scrape_classic_histograms: false,
        convert_classic_histograms_to_nhcb: false,
        metrics_path: "/metrics".to_owned(),
        scheme: Scheme::Http,
        params: BTreeMap::new(),
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        enable_compression: true,
        extra_scrape_metrics: false,
        metric_name_validation: NameValidation::Utf8,
        metric_name_escaping: Escaping::AllowUtf8,
        limits: Limits::default(),
        keep_dropped_targets: 0,
        scrape_failure_log_file: None,
        timestamp_tolerance: Duration::from_millis(2),
        http: HttpClient { follow_redirects: true, ..HttpClient::default() },
        discovery: Vec::new(),
        relabel: Vec::new(),
        metric_relabel: Vec::new(),
    }
}
