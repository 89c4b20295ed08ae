//! The effective configuration as YAML: what is run, after all defaults, in the shape in which
//! Prometheus shows its own. Secrets are `<secret>`; what has no effect here is not shown.

use std::collections::BTreeMap;

use crate::{
    config::{
        Cluster, Clustering, Config, Destination, Discovery, DnsRecord, Global, HistorySettings,
        Job, Limits, MetadataSending, NativeHistograms, OutboxSettings, Phase, Scheme, Source,
        WriteCompression, admin, cluster, discovery, gateway,
        http::shown::client,
        outbox, remote_write, scrape, units,
        yaml_out::{Shown, flag, list, map, number, text},
    },
    model::{
        hidden::{self, SECRET},
        labels::Labels,
        protocol::{Escaping, ScrapeProtocol},
        relabel::{NameValidation, Rule},
        target::TargetGroup,
    },
};

pub fn show(config: &Config) -> String {
    let jobs = config.jobs.iter().map(|job| show_job(job, &config.global)).collect();
    let destinations = config.destinations.iter().map(|d| destination(d)).collect();
    map([
        ("global", Some(global(&config.global))),
        ("scrape_configs", Some(Shown::List(jobs))),
        ("remote_write", Some(Shown::List(destinations))),
        ("outbox", Some(outbox_settings(&config.outbox))),
        ("history", Some(history_settings(&config.history))),
        ("cluster", show_cluster(&config.cluster)),
        ("admin", admin::show(&config.admin)),
        ("gateway", gateway::show(&config.gateway)),
    ])
    .to_yaml()
}

fn global(global: &Global) -> Shown {
    let external_labels = &global.external_labels;
    let mut fields = vec![
        ("scrape_interval", Some(duration(global.scrape_interval))),
        ("scrape_timeout", Some(duration(global.scrape_timeout))),
        ("scrape_timestamp_tolerance", Some(duration(global.scrape_timestamp_tolerance))),
        ("scrape_protocols", global.scrape_protocols.as_deref().map(protocols)),
        ("external_labels", (!external_labels.is_empty()).then(|| labels(external_labels))),
        ("scrape_failure_log_file", global.scrape_failure_log_file.as_deref().map(path)),
    ];
    fields.extend(limits(&global.limits, global.keep_dropped_targets));
    fields.extend([
        ("metric_name_validation_scheme", Some(validation(global.metric_name_validation))),
        ("metric_name_escaping_scheme", Some(escaping(global.metric_name_escaping))),
        ("scrape_native_histograms", Some(flag(global.scrape_native_histograms))),
        ("always_scrape_classic_histograms", set(global.always_scrape_classic_histograms)),
        ("convert_classic_histograms_to_nhcb", set(global.convert_classic_histograms_to_nhcb)),
        ("extra_scrape_metrics", Some(flag(global.extra_scrape_metrics))),
        (scrape::START_TIMESTAMP_ZEROS, set(global.start_timestamp_zeros)),
        (scrape::TYPE_AND_UNIT_LABELS, set(global.type_and_unit_labels)),
        (
            "clustering",
            (global.clustering != Clustering::default()).then(|| clustering(&global.clustering)),
        ),
    ]);
    map(fields)
}

fn show_job(job: &Job, global: &Global) -> Shown {
    let params = job.params.iter().map(|(name, values)| {
        let is_secret = hidden::is_secret(name);
        let values = values.iter().map(|own| text(if is_secret { SECRET } else { own }));
        (name.clone(), list(values))
    });
    let params: Vec<_> = params.collect();
    let none = Clustering::default();
    let is_clustered = [&job.clustering, &global.clustering].iter().any(|own| **own != none);
    let mut fields = vec![
        ("job_name", Some(text(&*job.job_name))),
        ("honor_labels", set(job.honor_labels)),
        ("honor_timestamps", Some(flag(job.honor_timestamps))),
        ("track_timestamps_staleness", Some(flag(job.track_timestamps_staleness))),
        ("params", (!params.is_empty()).then_some(Shown::Map(params))),
        ("scrape_interval", Some(duration(job.scrape_interval))),
        ("scrape_timeout", Some(duration(job.scrape_timeout))),
        ("scrape_protocols", Some(protocols(&job.scrape_protocols))),
        (
            "fallback_scrape_protocol",
            job.fallback_scrape_protocol.map(|protocol| text(scrape::protocol_name(protocol))),
        ),
        ("scrape_native_histograms", Some(flag(job.scrape_native_histograms))),
        ("always_scrape_classic_histograms", Some(flag(job.always_scrape_classic_histograms))),
        ("convert_classic_histograms_to_nhcb", Some(flag(job.convert_classic_histograms_to_nhcb))),
        ("scrape_failure_log_file", job.scrape_failure_log_file.as_deref().map(path)),
        ("metrics_path", Some(text(&*job.metrics_path))),
        ("scheme", Some(scheme(job.scheme))),
        ("enable_compression", Some(flag(job.enable_compression))),
    ];
    fields.extend(limits(&job.limits, job.keep_dropped_targets));
    fields.extend(native_histograms(job.native_histograms));
    fields.extend(phase(job.phase));
    fields.extend([
        ("metric_name_validation_scheme", Some(validation(job.metric_name_validation))),
        ("metric_name_escaping_scheme", Some(escaping(job.metric_name_escaping))),
        ("extra_scrape_metrics", Some(flag(job.extra_scrape_metrics))),
        // Also where a job says no to what `global` says.
        (
            scrape::START_TIMESTAMP_ZEROS,
            either(job.start_timestamp_zeros, global.start_timestamp_zeros),
        ),
        (
            scrape::TYPE_AND_UNIT_LABELS,
            either(job.type_and_unit_labels, global.type_and_unit_labels),
        ),
        // Also where a job says no to what `global` says.
        ("clustering", is_clustered.then(|| clustering(&job.clustering))),
    ]);
    fields.extend(client(&job.http));
    fields.push(("relabel_configs", rules(&job.relabel)));
    fields.push(("metric_relabel_configs", rules(&job.metric_relabel)));
    fields.extend(discoveries(&job.discovery));
    map(fields)
}

fn destination(destination: &Destination) -> Shown {
    let queue = &destination.queue;
    let age = (!queue.sample_age_limit.is_zero()).then(|| duration(queue.sample_age_limit));
    let queue = map([
        ("max_samples_per_send", Some(number(queue.samples_per_send_max))),
        ("batch_send_deadline", Some(duration(queue.batch_send_deadline))),
        ("min_backoff", Some(duration(queue.min_backoff))),
        ("max_backoff", Some(duration(queue.max_backoff))),
        ("sample_age_limit", age),
    ]);
    let window = destination.out_of_order_window;
    let is_told = destination.compression != WriteCompression::default();
    let compression = is_told.then(|| word(&remote_write::COMPRESSIONS, &destination.compression));
    let compression = compression.flatten();
    let mut fields = vec![
        ("url", Some(text(destination.shown_url()))),
        ("remote_timeout", Some(duration(destination.timeout))),
        ("write_relabel_configs", rules(&destination.write_relabel)),
        ("name", Some(text(&*destination.name))),
        ("send_exemplars", set(destination.send_exemplars)),
        ("out_of_order_window", (!window.is_zero()).then(|| duration(window))),
        ("send_native_histograms", set(destination.send_native_histograms)),
        ("round_robin_dns", set(destination.round_robin_dns)),
        ("placement", set(destination.placement)),
        ("protobuf_message", word(&remote_write::MESSAGES, &destination.message)),
        ("x_compression", compression),
    ];
    fields.extend(client(&destination.http));
    fields.push(("queue_config", Some(queue)));
    fields.push(("metadata_config", Some(metadata(&destination.metadata))));
    map(fields)
}

fn metadata(metadata: &MetadataSending) -> Shown {
    map([
        ("send", Some(flag(metadata.enabled))),
        ("send_interval", Some(duration(metadata.interval))),
        ("max_samples_per_send", Some(number(metadata.families_per_send_max))),
    ])
}

/// The name of `value` in the file.
pub(super) fn word<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> Option<Shown> {
    names.iter().find(|(_, own)| own == value).map(|(name, _)| text(*name))
}

fn outbox_settings(settings: &OutboxSettings) -> Shown {
    let when_full = outbox::WHEN_FULL.iter().find(|(_, value)| *value == settings.when_full);
    map([
        ("max_bytes", Some(bytes(settings.bytes_max))),
        ("max_age", Some(duration(settings.age_max))),
        ("lanes", Some(number(settings.lanes))),
        ("max_in_flight", Some(number(settings.in_flight_max))),
        ("min_free_disk", Some(bytes(settings.free_disk_bytes_min))),
        ("when_full", when_full.map(|(name, _)| text(*name))),
    ])
}

fn history_settings(settings: &HistorySettings) -> Shown {
    map([
        ("enabled", Some(flag(settings.enabled))),
        ("max_age", Some(duration(settings.age_max))),
        ("max_bytes", Some(bytes(settings.bytes_max))),
    ])
}

/// Where something is set; the whole then, as it is in force.
fn show_cluster(settings: &Cluster) -> Option<Shown> {
    if *settings == Cluster::default() {
        return None;
    }
    let on_partition =
        cluster::ON_PARTITION.iter().find(|(_, value)| *value == settings.on_partition);
    let advertise = settings.advertise_address.map(|address| text(address.to_string()));
    let mut fields = vec![
        ("enabled", Some(flag(settings.enabled))),
        ("name", Some(text(&*settings.name))),
        ("node_name", settings.node_name.as_deref().map(text)),
        ("peers", Some(texts(&settings.peers))),
        ("mdns", Some(flag(settings.mdns))),
        ("mdns_interfaces", some_texts(&settings.mdns_interfaces)),
        ("listen_address", Some(text(settings.listen_address.to_string()))),
        ("advertise_address", advertise),
    ];
    fields.push(match &settings.secrets[..] {
        [] => ("secret", None),
        [one] => source(Some(one), ["secret", "secret_file"]).expect("there is one"),
        several => ("secret_files", Some(list(several.iter().map(secret)))),
    });
    fields.extend([
        ("insecure", Some(flag(settings.insecure))),
        ("wait_for_size", Some(number(settings.wait_for_size))),
        ("wait_timeout", Some(duration(settings.wait_timeout))),
        ("settle", Some(duration(settings.settle))),
        ("weight", Some(number(settings.weight))),
        ("zone", some_text(&settings.zone)),
        ("on_partition", on_partition.map(|(name, _)| text(*name))),
        ("reload_grace", Some(duration(settings.reload_grace))),
        ("fence_max", Some(duration(settings.fence_max))),
    ]);
    Some(map(fields))
}

pub(super) fn clustering(clustering: &Clustering) -> Shown {
    map([
        ("enabled", Some(flag(clustering.enabled))),
        ("key_include", Some(texts(&clustering.key_include))),
        ("key_exclude", Some(texts(&clustering.key_exclude))),
    ])
}

pub(super) type Field = (&'static str, Option<Shown>);

pub(super) fn secret(source: &Source) -> Shown {
    match source {
        Source::Inline(_) => text(SECRET),
        Source::File(file) => path(file),
    }
}

pub(super) fn source(source: Option<&Source>, [inline, file]: [&'static str; 2]) -> Option<Field> {
    Some(match source? {
        Source::Inline(_) => (inline, Some(text(SECRET))),
        Source::File(named) => (file, Some(path(named))),
    })
}

/// In the order of the keys; several entries of one kind make one list.
fn discoveries(found: &[Discovery]) -> Vec<Field> {
    let mut lists: BTreeMap<&'static str, Vec<Shown>> = BTreeMap::new();
    for found in found {
        let (key, shown) = match found {
            Discovery::Static(found) => {
                lists.entry("static_configs").or_default().extend(found.iter().map(group));
                continue;
            }
            Discovery::File { files: paths, refresh_interval } => (
                "file_sd_configs",
                map([
                    ("files", Some(texts(paths))),
                    ("refresh_interval", Some(duration(*refresh_interval))),
                ]),
            ),
            Discovery::Http { url: at, refresh_interval, client: settings } => {
                let mut fields = client(settings);
                fields.push(("refresh_interval", Some(duration(*refresh_interval))));
                fields.push(("url", Some(url(at.expose()))));
                ("http_sd_configs", map(fields))
            }
            Discovery::Dns { names, record, port, refresh_interval } => (
                "dns_sd_configs",
                map([
                    ("names", Some(texts(names))),
                    ("refresh_interval", Some(duration(*refresh_interval))),
                    ("type", Some(text(record_name(*record)))),
                    ("port", Some(number(*port))),
                ]),
            ),
            Discovery::Polled(polled) => discovery::show(polled),
        };
        lists.entry(key).or_default().push(shown);
    }
    lists.into_iter().map(|(key, entries)| (key, some_list(entries))).collect()
}

fn group(group: &TargetGroup) -> Shown {
    let targets = group
        .targets
        .iter()
        .map(|labels| text(hidden::value("__address__", labels.get("__address__"))));
    map([
        ("targets", Some(list(targets))),
        ("labels", (!group.labels.is_empty()).then(|| labels(&group.labels))),
    ])
}

/// With the defaults that Prometheus shows: all but the regular expression.
pub(super) fn rules(rules: &[Rule]) -> Option<Shown> {
    let shown = rules.iter().map(|rule| {
        let spec = rule.spec();
        let separator = spec.separator.as_deref().unwrap_or(";");
        let replacement = hidden::replacement(spec).unwrap_or("$1".into());
        let target = spec.target_label.as_deref().unwrap_or("");
        let modulus = spec.modulus.filter(|modulus| *modulus > 0);
        map([
            ("source_labels", spec.source_labels.as_deref().map(texts)),
            ("separator", some_text(separator)),
            ("regex", spec.regex.as_deref().map(text)),
            ("modulus", modulus.map(number)),
            ("target_label", some_text(target)),
            ("replacement", some_text(&replacement)),
            ("action", Some(text(spec.action.unwrap_or_default().name()))),
        ])
    });
    some_list(shown.collect())
}

pub(super) fn limits(limits: &Limits, keep_dropped_targets: usize) -> Vec<Field> {
    let some = |limit: usize| (limit > 0).then(|| number(limit));
    vec![
        ("body_size_limit", (limits.body_bytes_max > 0).then(|| bytes(limits.body_bytes_max))),
        ("sample_limit", some(limits.samples_max)),
        ("target_limit", some(limits.targets_max)),
        ("label_limit", some(limits.labels_max)),
        ("label_name_length_limit", some(limits.label_name_bytes_max)),
        ("label_value_length_limit", some(limits.label_value_bytes_max)),
        ("keep_dropped_targets", some(keep_dropped_targets)),
        (scrape::SERIES_LIMIT, some(limits.series_max)),
    ]
}

pub(super) fn native_histograms(settings: NativeHistograms) -> [Field; 2] {
    let NativeHistograms { buckets_max, bucket_factor_min } = settings;
    [
        ("native_histogram_bucket_limit", (buckets_max > 0).then(|| number(buckets_max))),
        (
            "native_histogram_min_bucket_factor",
            (bucket_factor_min != 0.0).then(|| number(bucket_factor_min)),
        ),
    ]
}

pub(super) fn phase(phase: Phase) -> Option<Field> {
    match phase {
        Phase::Spread => None,
        Phase::Offset(offset) => Some((scrape::OFFSET, Some(duration(offset)))),
        Phase::Aligned(align) => Some((scrape::ALIGN_INTERVAL, Some(duration(align)))),
    }
}

pub(super) fn labels(labels: &Labels) -> Shown {
    let shown = |(name, value)| (String::from(name), text(hidden::value(name, value)));
    Shown::Map(labels.iter().map(shown).collect())
}

fn protocols(protocols: &[ScrapeProtocol]) -> Shown {
    list(protocols.iter().map(|protocol| text(scrape::protocol_name(*protocol))))
}

pub(super) fn validation(validation: NameValidation) -> Shown {
    text(match validation {
        NameValidation::Utf8 => "utf8",
        NameValidation::Legacy => "legacy",
    })
}

pub(super) fn escaping(escaping: Escaping) -> Shown {
    text(scrape::escaping_name(escaping))
}

pub(super) fn scheme(scheme: Scheme) -> Shown {
    text(match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    })
}

fn record_name(record: DnsRecord) -> &'static str {
    match record {
        DnsRecord::A => "A",
        DnsRecord::Aaaa => "AAAA",
        DnsRecord::Srv => "SRV",
        DnsRecord::Mx => "MX",
        DnsRecord::Ns => "NS",
    }
}

pub(super) fn duration(duration: std::time::Duration) -> Shown {
    text(units::print_duration(duration))
}

pub(super) fn bytes(bytes: u64) -> Shown {
    text(units::print_bytes(bytes))
}

pub(super) fn path(path: &std::path::Path) -> Shown {
    text(path.display().to_string())
}

pub(super) fn url(url: &str) -> Shown {
    text(discovery::without_credentials(url))
}

pub(super) fn texts(texts: &[String]) -> Shown {
    list(texts.iter().map(|own| text(&**own)))
}

pub(super) fn some_texts(own: &[String]) -> Option<Shown> {
    (!own.is_empty()).then(|| texts(own))
}

pub(super) fn some_list(entries: Vec<Shown>) -> Option<Shown> {
    (!entries.is_empty()).then_some(Shown::List(entries))
}

pub(super) fn some_text(own: &str) -> Option<Shown> {
    (!own.is_empty()).then(|| text(own))
}

/// Shown where it is set here or above.
fn either(own: bool, above: bool) -> Option<Shown> {
    (own || above).then(|| flag(own))
}

/// Shown only where it is set.
pub(super) fn set(boolean: bool) -> Option<Shown> {
    boolean.then(|| flag(true))
}
