//! A job and a target for tests: what the defaults of a configuration file give.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    config::{
        self, Clustering, Destination, HttpClient, Job, Limits, MetadataSending, NativeHistograms,
        Phase, Queue, Scheme, WriteCompression, WriteMessage,
    },
    model::{
        labels::Labels,
        protocol::{Escaping, ScrapeProtocol},
        relabel::{NameValidation, Rule},
        sample::{Sample, is_stale_marker},
        slot::StreamKey,
        target::{Target, TargetId},
    },
    outbox::{Packed, Shapings},
    wire::remote_write::{self, Fragment, TimeSeries},
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
        start_timestamp_zeros: false,
        type_and_unit_labels: false,
        metric_name_validation: NameValidation::Utf8,
        metric_name_escaping: Escaping::AllowUtf8,
        limits: Limits::default(),
        native_histograms: NativeHistograms::default(),
        phase: Phase::Spread,
        keep_dropped_targets: 0,
        scrape_failure_log_file: None,
        timestamp_tolerance: Duration::from_millis(2),
        http: HttpClient { follow_redirects: true, ..HttpClient::default() },
        discovery: Vec::new(),
        relabel: Vec::new(),
        metric_relabel: Vec::new(),
        clustering: Clustering::default(),
    }
}

pub(super) fn rules(yaml: &str) -> Vec<Rule> {
    config::relabel_rules(yaml, NameValidation::Utf8).unwrap()
}

/// A target of that job with these labels and no others, on no real address.
pub(super) fn target(labels: &[(&str, &str)]) -> Target {
    Target {
        job: "test".into(),
        labels: labels.iter().copied().collect(),
        discovered: Labels::new(),
        id: TargetId(1),
        key: StreamKey(1),
        url: "http://127.0.0.1:1/metrics".to_owned(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
    }
}

pub(super) fn destination(external_labels: &[(&str, &str)], url: String) -> Arc<Destination> {
    Arc::new(Destination {
        name: DESTINATION.into(),
        fleet_name: DESTINATION.into(),
        url: crate::config::TypedUrl::new(url),
        timeout: Duration::from_secs(5),
        http: HttpClient::default(),
        external_labels: external_labels.iter().copied().collect(),
        write_relabel: Vec::new(),
        send_exemplars: true,
        send_native_histograms: true,
        message: WriteMessage::V1,
        compression: WriteCompression::Auto,
        metadata: MetadataSending::default(),
        round_robin_dns: false,
        placement: false,
        out_of_order_window: Duration::ZERO,
        queue: Queue {
            samples_per_send_max: 1000,
            batch_send_deadline: Duration::from_millis(10),
            min_backoff: Duration::from_millis(10),
            max_backoff: Duration::from_millis(100),
            sample_age_limit: Duration::ZERO,
        },
    })
}

pub(super) fn shapings(external_labels: &[(&str, &str)]) -> Arc<Shapings> {
    Arc::new(Shapings::of(&[destination(external_labels, "http://127.0.0.1:1/".to_owned())]))
}

pub(super) const DESTINATION: &str = "sink";

/// What leaves for the destination, in order: series as `{…}`, then its samples.
pub(super) fn sent(packed: &[Packed]) -> Vec<TimeSeries> {
    let batches = packed.iter().flat_map(|packed| packed.batches_for(DESTINATION));
    let decoded = batches.flat_map(|batch| {
        let fragment = Fragment { bytes: batch.bytes.clone(), raw_length: batch.raw_length };
        remote_write::decode(&remote_write::join([&fragment])).unwrap()
    });
    decoded.collect()
}

/// `value@timestamp`, a marker as `S`.
pub(super) fn shown(sample: Sample) -> String {
    let Sample { value, timestamp_ms } = sample;
    if is_stale_marker(value) {
        format!("S@{timestamp_ms}")
    } else {
        format!("{value}@{timestamp_ms}")
    }
}
