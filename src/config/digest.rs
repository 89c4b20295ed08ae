//! What all members must have alike, as numbers that they compare: what decides which targets there
//! are, whose they are and what their series are called. Neither credentials, nor files, nor where
//! discovery asks and destinations are: these may differ from host to host.

use xxhash_rust::xxh3::xxh3_64;

use crate::config::{
    Config, Job, MetricsGateway, gateway, scrape, show,
    yaml_out::{Shown, flag, map, text},
};

/// Of the jobs that are divided, in any order, and of what is done to all series. A job that each
/// member scrapes for itself is its own affair.
pub fn digest(config: &Config) -> u64 {
    let mut jobs: Vec<&Job> =
        config.jobs.iter().map(|job| &**job).filter(|job| job.clustering.enabled).collect();
    jobs.sort_by(|one, other| one.job_name.cmp(&other.job_name));
    let jobs = jobs.into_iter().map(|job| text(format!("{:016x}", job_digest(job))));
    let writes = config.destinations.iter().filter_map(|each| show::rules(&each.write_relabel));
    hash(&map([
        ("jobs", Some(Shown::List(jobs.collect()))),
        ("external_labels", Some(show::labels(&config.global.external_labels))),
        ("write_relabel_configs", Some(Shown::List(writes.collect()))),
    ]))
}

/// Of one job. Its discovery is not in it: members compare what they find.
pub fn job_digest(job: &Job) -> u64 {
    let params = job.params.iter().map(|(name, values)| (name.clone(), show::texts(values)));
    let mut fields = vec![
        ("job_name", Some(text(&*job.job_name))),
        ("scrape_interval", Some(show::duration(job.scrape_interval))),
        ("scrape_timeout", Some(show::duration(job.scrape_timeout))),
        ("scrape_timestamp_tolerance", Some(show::duration(job.timestamp_tolerance))),
        ("scheme", Some(show::scheme(job.scheme))),
        ("metrics_path", Some(text(&*job.metrics_path))),
        ("params", Some(Shown::Map(params.collect()))),
        ("honor_labels", Some(flag(job.honor_labels))),
        ("honor_timestamps", Some(flag(job.honor_timestamps))),
        ("track_timestamps_staleness", Some(flag(job.track_timestamps_staleness))),
        ("extra_scrape_metrics", Some(flag(job.extra_scrape_metrics))),
        ("metric_name_validation_scheme", Some(show::validation(job.metric_name_validation))),
        ("metric_name_escaping_scheme", Some(show::escaping(job.metric_name_escaping))),
        ("relabel_configs", show::rules(&job.relabel)),
        ("metric_relabel_configs", show::rules(&job.metric_relabel)),
        ("clustering", Some(show::clustering(&job.clustering))),
    ];
    // How many dropped ones are listed changes no target.
    fields.extend(show::limits(&job.limits, 0));
    fields.extend(show::native_histograms(job.native_histograms));
    fields.extend(show::phase(job.phase));
    let switched_on = [
        ("scrape_native_histograms", job.scrape_native_histograms),
        ("always_scrape_classic_histograms", job.always_scrape_classic_histograms),
        ("convert_classic_histograms_to_nhcb", job.convert_classic_histograms_to_nhcb),
        (scrape::START_TIMESTAMP_ZEROS, job.start_timestamp_zeros),
        (scrape::TYPE_AND_UNIT_LABELS, job.type_and_unit_labels),
    ];
    let switched_on = switched_on.into_iter().filter(|(_, is_on)| *is_on);
    fields.extend(switched_on.map(|(key, is_on)| (key, Some(flag(is_on)))));
    hash(&map(fields))
}

impl MetricsGateway {
    /// What decides whose a pushed series is and what it is called. Members that differ in it would send
    /// one series by two names, or two owners the same. Who may push how much is each one's own affair.
    pub fn pipeline_digest(&self) -> u64 {
        let [from, name] = gateway::show_source(&self.tenants.from);
        let replicas = self.replicas.as_ref().map(|replicas| {
            show::texts(&[replicas.cluster_label.clone(), replicas.replica_label.clone()])
        });
        hash(&map([
            from,
            name,
            ("default", self.tenants.default.as_deref().map(text)),
            ("relabel_configs", show::rules(&self.relabel)),
            ("ha", replicas),
        ]))
    }
}

/// The same on every host and in every version: what is added later must be left out where it has
/// its default, or a fleet would differ for as long as it is being upgraded.
fn hash(shown: &Shown) -> u64 {
    xxh3_64(shown.to_yaml().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    fn read(text: &str) -> Config {
        parse(Path::new(""), text, &|_| None).expect("good")
    }

    const DIVIDED: &str = "job_name: a, clustering: {enabled: true}";

    #[test]
    fn what_may_differ_and_what_may_not() {
        let plain = job_digest(&read(&format!("scrape_configs: [{{{DIVIDED}}}]")).jobs[0]);
        let check = |fields: &str, same: bool| {
            let config = read(&format!("scrape_configs: [{{{DIVIDED}, {fields}}}]"));
            assert_eq!(job_digest(&config.jobs[0]) == plain, same, "{fields}");
        };
        for fields in [
            "basic_auth: {username: u, password: p}",
            "tls_config: {ca_file: /a}",
            "file_sd_configs: [{files: [/a.json]}]",
            "http_sd_configs: [{url: 'http://localhost/'}]",
            "static_configs: [{targets: ['h:1']}]",
            "scrape_failure_log_file: /a",
            "keep_dropped_targets: 5",
        ] {
            check(fields, true);
        }
        for fields in [
            "scrape_interval: 15s",
            "scheme: https",
            "metrics_path: /x",
            "params: {module: [x]}",
            "honor_labels: true",
            "sample_limit: 5",
            "x_series_limit: 5",
            "x_scrape_offset: 5s",
            "x_scrape_align_interval: 5s",
            "scrape_native_histograms: true",
            "native_histogram_bucket_limit: 5",
            "native_histogram_min_bucket_factor: 1.1",
            "x_start_timestamp_zero_ingestion: true",
            "x_type_and_unit_labels: true",
            "relabel_configs: [{target_label: b, replacement: c}]",
            "metric_relabel_configs: [{target_label: b, replacement: c}]",
            "metric_name_validation_scheme: legacy",
        ] {
            check(fields, false);
        }
    }

    #[test]
    fn a_whole_is_its_divided_jobs_and_what_is_done_to_series() {
        let b = "job_name: b, clustering: {enabled: true, key_include: [x]}";
        let of =
            |jobs: &str, rest: &str| digest(&read(&format!("scrape_configs: [{jobs}]\n{rest}")));
        let both = of(&format!("{{{DIVIDED}}}, {{{b}}}"), "");
        let check = |jobs: &str, rest: &str, same: bool| {
            assert_eq!(of(jobs, rest) == both, same, "{jobs}\n{rest}");
        };
        let pair = format!("{{{b}}}, {{{DIVIDED}}}");
        check(&pair, "", true);
        check(&format!("{pair}, {{job_name: own}}"), "", true);
        check(&format!("{{{b}}}"), "", false);
        check(&pair, "global: {external_labels: {a: b}}", false);
        check(&pair, "remote_write: [{url: 'http://a/'}]", true);
        check(&pair, "cluster: {zone: x}", true);
        let rules = "write_relabel_configs: [{target_label: a}]";
        check(&pair, &format!("remote_write: [{{url: 'http://a/', {rules}}}]"), false);
    }

    #[test]
    fn a_pipeline_is_what_names_a_series_and_its_tenant() {
        let of = |fields: &str| {
            let text = format!("gateway: {{metrics: {{listen_address: ':1'{fields}}}}}");
            read(&text).gateway.metrics.expect("there is one").pipeline_digest()
        };
        let check = |fields: &str, same: bool| assert_eq!(of(fields) == of(""), same, "{fields}");
        for fields in [
            ", limits: {max_labels: 5, overrides: {a: {burst: 5}}}",
            ", auth: {bearer_tokens: [{name: a, token: b}]}",
            ", tenants: {required: true, allow: [a]}",
            ", tenants: {from: header, header: X-Scope-OrgID}",
            ", tls: {cert_file: a, key_file: b}",
            ", ack: memory",
            ", relabel_configs: []",
        ] {
            check(fields, true);
        }
        for fields in [
            ", tenants: {header: X-Tenant}",
            ", tenants: {from: label}",
            ", tenants: {default: a}",
            ", relabel_configs: [{target_label: a, replacement: b}]",
            ", ha: {}",
        ] {
            check(fields, false);
        }
        assert_eq!(of(", ha: {}"), of(", ha: {failover: 5s}"));
        assert_ne!(of(", ha: {}"), of(", ha: {cluster_label: x}"));
        assert_ne!(of(", tenants: {from: label}"), of(", tenants: {from: label, label: x}"));
        assert_eq!(of(", ha: {}"), 18_005_842_405_991_576_997);
    }

    /// Members of two versions compare them: when this fails, a rolling upgrade will show drift.
    #[test]
    fn digests_stay_as_they_are() {
        let text = "global: {external_labels: {a: b}}\nscrape_configs: [{job_name: a, scrape_interval: 15s, params: {m: [x]}, sample_limit: 5, relabel_configs: [{source_labels: [a], regex: b, action: keep}], clustering: {enabled: true, key_exclude: [__param_m]}}]\n";
        let config = read(text);
        assert_eq!(
            (job_digest(&config.jobs[0]), digest(&config)),
            (13_932_373_744_017_562_425, 15_701_438_283_141_355_661)
        );
    }
}
