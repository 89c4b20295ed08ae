//! One entry of `scrape_configs`, with `global` applied.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    config::{
        Global, Job, Limits, NativeHistograms, Phase, Scheme, clustering,
        decode::{Findings, Section, shown},
        discovery, http, relabel,
        units::print_duration,
        yaml::Node,
    },
    model::{
        protocol::{Escaping, ScrapeProtocol},
        relabel::NameValidation,
    },
};

/// In the order in which Prometheus lists what it supports.
const PROTOCOLS: [(&str, ScrapeProtocol); 5] = [
    ("OpenMetricsText0.0.1", ScrapeProtocol::OpenMetricsText0_0_1),
    ("OpenMetricsText1.0.0", ScrapeProtocol::OpenMetricsText1_0_0),
    ("PrometheusProto", ScrapeProtocol::PrometheusProto),
    ("PrometheusText0.0.4", ScrapeProtocol::PrometheusText0_0_4),
    ("PrometheusText1.0.0", ScrapeProtocol::PrometheusText1_0_0),
];

const PROTOCOLS_UNSET: [ScrapeProtocol; 5] = [
    ScrapeProtocol::PrometheusProto,
    ScrapeProtocol::OpenMetricsText1_0_0,
    ScrapeProtocol::OpenMetricsText0_0_1,
    ScrapeProtocol::PrometheusText1_0_0,
    ScrapeProtocol::PrometheusText0_0_4,
];

const ESCAPINGS: [(&str, Escaping); 4] = [
    ("allow-utf-8", Escaping::AllowUtf8),
    ("underscores", Escaping::Underscores),
    ("dots", Escaping::Dots),
    ("values", Escaping::Values),
];

pub(super) const START_TIMESTAMP_ZEROS: &str = "x_start_timestamp_zero_ingestion";
pub(super) const TYPE_AND_UNIT_LABELS: &str = "x_type_and_unit_labels";
pub(super) const SERIES_LIMIT: &str = "x_series_limit";
pub(super) const OFFSET: &str = "x_scrape_offset";
pub(super) const ALIGN_INTERVAL: &str = "x_scrape_align_interval";

/// `None`: it can't even be read as far as its name.
pub(super) fn job(node: &Node, global: &Global, findings: &mut Findings) -> Option<Job> {
    let mut section = Section::open(node, "scrape_configs", findings)?;
    let name = job_name(&mut section);
    let (scrape_interval, scrape_timeout) = times(&mut section, &name, global);
    let (validation, escaping) = naming(&mut section, global);
    let native = section.boolean("scrape_native_histograms");
    let native = native.unwrap_or(global.scrape_native_histograms);
    let relabel = relabel::rules(
        &mut section,
        "relabel_configs",
        validation,
        "empty or null target relabeling rule in scrape config",
    );
    let discovery = discovery::discoveries(&mut section);
    if section.peek("relabel_configs").is_empty() {
        discovery::check_addresses(&mut section);
    }
    let job = Job {
        job_name: Arc::from(name.as_str()),
        scrape_interval,
        scrape_timeout,
        scrape_protocols: job_protocols(&mut section, &name, native, global),
        fallback_scrape_protocol: fallback(&mut section, &name),
        scrape_native_histograms: native,
        always_scrape_classic_histograms: section
            .boolean("always_scrape_classic_histograms")
            .unwrap_or(global.always_scrape_classic_histograms),
        convert_classic_histograms_to_nhcb: section
            .boolean("convert_classic_histograms_to_nhcb")
            .unwrap_or(global.convert_classic_histograms_to_nhcb),
        metrics_path: section.text("metrics_path").unwrap_or("/metrics").to_owned(),
        scheme: section
            .word("scheme", &[("http", Scheme::Http), ("https", Scheme::Https)])
            .unwrap_or(Scheme::Http),
        params: params(&mut section),
        honor_labels: section.boolean("honor_labels").unwrap_or(false),
        honor_timestamps: section.boolean("honor_timestamps").unwrap_or(true),
        track_timestamps_staleness: section.boolean("track_timestamps_staleness").unwrap_or(false),
        enable_compression: section.boolean("enable_compression").unwrap_or(true),
        extra_scrape_metrics: section
            .boolean("extra_scrape_metrics")
            .unwrap_or(global.extra_scrape_metrics),
        start_timestamp_zeros: section
            .boolean(START_TIMESTAMP_ZEROS)
            .unwrap_or(global.start_timestamp_zeros),
        type_and_unit_labels: section
            .boolean(TYPE_AND_UNIT_LABELS)
            .unwrap_or(global.type_and_unit_labels),
        metric_name_validation: validation,
        metric_name_escaping: escaping,
        limits: inherited(limits(&mut section), global.limits),
        native_histograms: native_histograms(&mut section),
        phase: phase(&mut section, scrape_interval),
        keep_dropped_targets: keep_dropped(&mut section).unwrap_or(global.keep_dropped_targets),
        scrape_failure_log_file: failure_log(&mut section)
            .or_else(|| global.scrape_failure_log_file.clone()),
        timestamp_tolerance: global.scrape_timestamp_tolerance.min(scrape_interval / 100),
        http: http::client(&mut section, true),
        discovery,
        relabel,
        metric_relabel: relabel::rules(
            &mut section,
            "metric_relabel_configs",
            validation,
            "empty or null metric relabeling rule in scrape config",
        ),
        clustering: clustering::clustering(&mut section, &global.clustering),
    };
    section.close();
    Some(job)
}

fn job_name(section: &mut Section<'_, '_>) -> String {
    let name = section.text("job_name").unwrap_or("").to_owned();
    if name.is_empty() {
        let place = section.place_of("job_name");
        section.problem(place, "job_name is empty");
    }
    name
}

/// The keys that `global` and jobs have in common.
pub(super) fn limits(section: &mut Section<'_, '_>) -> Limits {
    const MOST: i128 = u32::MAX as i128;

    Limits {
        body_bytes_max: section.bytes("body_size_limit").unwrap_or(0),
        samples_max: section.number("sample_limit", 0..=MOST).unwrap_or(0),
        targets_max: section.number("target_limit", 0..=MOST).unwrap_or(0),
        labels_max: section.number("label_limit", 0..=MOST).unwrap_or(0),
        label_name_bytes_max: section.number("label_name_length_limit", 0..=MOST).unwrap_or(0),
        label_value_bytes_max: section.number("label_value_length_limit", 0..=MOST).unwrap_or(0),
        series_max: section.number(SERIES_LIMIT, 0..=MOST).unwrap_or(0),
    }
}

pub(super) fn keep_dropped(section: &mut Section<'_, '_>) -> Option<usize> {
    let kept = section.number("keep_dropped_targets", 0..=i128::from(u32::MAX));
    kept.filter(|kept| *kept > 0)
}

pub(super) fn failure_log(section: &mut Section<'_, '_>) -> Option<std::path::PathBuf> {
    let text = section.text("scrape_failure_log_file").filter(|text| !text.is_empty())?;
    Some(section.findings.path(text))
}

pub(super) fn validation(section: &mut Section<'_, '_>) -> Option<NameValidation> {
    let text = section.text("metric_name_validation_scheme").filter(|text| !text.is_empty())?;
    match text {
        "utf8" => Some(NameValidation::Utf8),
        "legacy" => Some(NameValidation::Legacy),
        _ => {
            let place = section.place_of("metric_name_validation_scheme");
            let message = format!(
                "unrecognized ValidationScheme: {:?}; `metric_name_validation_scheme` is `utf8` or `legacy`",
                shown(text)
            );
            section.problem(place, message);
            None
        }
    }
}

/// `whose`: `global` or `scrape config`, for the message.
pub(super) fn escaping(section: &mut Section<'_, '_>, whose: &str) -> Option<Escaping> {
    let text = section.text("metric_name_escaping_scheme").filter(|text| !text.is_empty())?;
    let known = ESCAPINGS.iter().find(|(name, _)| *name == text).map(|(_, escaping)| *escaping);
    if known.is_none() {
        let place = section.place_of("metric_name_escaping_scheme");
        let message = format!(
            "unknown {whose} name escaping method specified, must be one of 'allow-utf-8', 'underscores', 'dots', or 'values', got {:?}",
            shown(text)
        );
        section.problem(place, message);
    }
    known
}

pub(super) fn escaping_name(escaping: Escaping) -> &'static str {
    let named = ESCAPINGS.iter().find(|(_, own)| *own == escaping);
    named.map(|(name, _)| *name).expect("every escaping has a name")
}

pub(super) fn escaping_unset(validation: NameValidation) -> Escaping {
    match validation {
        NameValidation::Utf8 => Escaping::AllowUtf8,
        NameValidation::Legacy => Escaping::Underscores,
    }
}

/// `None` where nothing is typed. `whose` ends the message, as Prometheus writes it.
pub(super) fn protocols(section: &mut Section<'_, '_>, whose: &str) -> Option<Vec<ScrapeProtocol>> {
    section.get("scrape_protocols")?;
    let texts = section.texts("scrape_protocols");
    let place = section.place_of("scrape_protocols");
    if texts.is_empty() {
        section.problem(place, format!("scrape_protocols cannot be empty for {whose}"));
        return None;
    }
    let mut protocols = Vec::new();
    for (n, (text, place)) in texts.iter().enumerate() {
        match protocol(text) {
            Ok(protocol) => protocols.push(protocol),
            Err(message) => {
                section.problem(*place, format!("scrape_protocols: {message} for {whose}"));
            }
        }
        if texts[..n].iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(text)) {
            let all: Vec<_> = texts.iter().map(|(text, _)| shown(text)).collect();
            let message = format!(
                "duplicated protocol in scrape_protocols, got [{}] for {whose}",
                all.join(" ")
            );
            section.problem(*place, message);
        }
    }
    Some(protocols)
}

pub(super) fn protocol_name(protocol: ScrapeProtocol) -> &'static str {
    let named = PROTOCOLS.iter().find(|(_, own)| *own == protocol);
    named.map(|(name, _)| *name).expect("every protocol has a name")
}

fn protocol(text: &str) -> Result<ScrapeProtocol, String> {
    let known = PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, protocol)| *protocol);
    known.ok_or_else(|| {
        let names: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
        format!("unknown scrape protocol {}, supported: [{}]", shown(text), names.join(" "))
    })
}

fn job_protocols(
    section: &mut Section<'_, '_>,
    name: &str,
    native: bool,
    global: &Global,
) -> Vec<ScrapeProtocol> {
    let whose = format!("scrape config with job name {:?}", shown(name));
    protocols(section, &whose)
        .or_else(|| global.scrape_protocols.clone())
        .unwrap_or_else(|| PROTOCOLS_UNSET[usize::from(!native)..].to_vec())
}

fn fallback(section: &mut Section<'_, '_>, name: &str) -> Option<ScrapeProtocol> {
    let text = section.text("fallback_scrape_protocol").filter(|text| !text.is_empty())?;
    let place = section.place_of("fallback_scrape_protocol");
    match protocol(text) {
        Ok(protocol) => Some(protocol),
        Err(reason) => {
            let message = format!(
                "invalid fallback_scrape_protocol for scrape config with job name {:?}: {reason}",
                shown(name)
            );
            section.problem(place, message);
            None
        }
    }
}

fn times(section: &mut Section<'_, '_>, name: &str, global: &Global) -> (Duration, Duration) {
    let set = |duration: Option<Duration>| duration.filter(|duration| !duration.is_zero());
    let interval = set(section.duration("scrape_interval")).unwrap_or(global.scrape_interval);
    let timeout = set(section.duration("scrape_timeout"));
    if timeout.is_some_and(|timeout| timeout > interval) {
        let place = section.place_of("scrape_timeout");
        let message = format!(
            "scrape timeout greater than scrape interval for scrape config with job name {:?}",
            shown(name)
        );
        section.problem(place, message);
    }
    (interval, timeout.unwrap_or(global.scrape_timeout.min(interval)))
}

fn naming(section: &mut Section<'_, '_>, global: &Global) -> (NameValidation, Escaping) {
    let own = validation(section);
    let validation = own.unwrap_or(global.metric_name_validation);
    let inferred = match own {
        None => global.metric_name_escaping,
        Some(own) => escaping_unset(own),
    };
    let escaping = escaping(section, "scrape config").unwrap_or(inferred);
    if (validation, escaping) == (NameValidation::Legacy, Escaping::AllowUtf8) {
        let place = section.place_of("metric_name_escaping_scheme");
        section
            .problem(place, "utf8 metric names requested but validation scheme is not set to UTF8");
    }
    (validation, escaping)
}

/// A job's own limit, where it has one.
fn inherited(own: Limits, global: Limits) -> Limits {
    let or = |own, global| if own == 0 { global } else { own };
    Limits {
        body_bytes_max: if own.body_bytes_max == 0 {
            global.body_bytes_max
        } else {
            own.body_bytes_max
        },
        samples_max: or(own.samples_max, global.samples_max),
        targets_max: or(own.targets_max, global.targets_max),
        labels_max: or(own.labels_max, global.labels_max),
        label_name_bytes_max: or(own.label_name_bytes_max, global.label_name_bytes_max),
        label_value_bytes_max: or(own.label_value_bytes_max, global.label_value_bytes_max),
        series_max: or(own.series_max, global.series_max),
    }
}

fn native_histograms(section: &mut Section<'_, '_>) -> NativeHistograms {
    let buckets_max = section.number("native_histogram_bucket_limit", 0..=i128::from(u32::MAX));
    let factor = section.float("native_histogram_min_bucket_factor");
    NativeHistograms {
        buckets_max: buckets_max.unwrap_or(0),
        bucket_factor_min: factor.unwrap_or(0.0),
    }
}

/// vmagent takes the offset where both are there, so that its files go on to mean the same.
fn phase(section: &mut Section<'_, '_>, interval: Duration) -> Phase {
    let set = |duration: Option<Duration>| duration.filter(|duration| !duration.is_zero());
    let align = set(section.duration(ALIGN_INTERVAL));
    if let Some(offset) = set(section.duration(OFFSET)) {
        if align.is_some() {
            let place = section.place_of(ALIGN_INTERVAL);
            let message = format!("`{ALIGN_INTERVAL}` has no effect beside `{OFFSET}`");
            section.findings.warning(place, message);
        }
        return Phase::Offset(offset);
    }
    let Some(align) = align else { return Phase::Spread };
    let (ms, interval_ms) = (align.as_millis(), interval.as_millis());
    if !interval_ms.is_multiple_of(ms) && !ms.is_multiple_of(interval_ms) {
        let place = section.place_of(ALIGN_INTERVAL);
        let (align, interval) = (print_duration(align), print_duration(interval));
        let message = format!(
            "`{ALIGN_INTERVAL}`: expected a part or a multiple of the scrape interval {interval}, found {align}"
        );
        section.problem(place, message);
    }
    Phase::Aligned(align)
}

fn params(section: &mut Section<'_, '_>) -> BTreeMap<String, Vec<String>> {
    let mut params = BTreeMap::new();
    for (key, node) in section.mapping("params") {
        let values = match node.as_seq() {
            Some(nodes) => section.all_texts("params", nodes),
            None if node.is_null() => Vec::new(),
            None => {
                let message = format!(
                    "`params`: expected a list of values for `{}`, found {}",
                    shown(&key.text),
                    node.kind()
                );
                section.problem(node.place, message);
                continue;
            }
        };
        let values = values.into_iter().map(|(value, _)| value.to_owned()).collect();
        params.insert(key.text.clone(), values);
    }
    params
}
