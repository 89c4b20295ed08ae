//! Configurations as data: a text, and every problem or warning that it must be told of.

mod admin;
mod clouds;
mod cluster;
mod discovery;
mod gateway;
mod history;
mod http;
mod random;
mod web;
mod write;

use std::{fs, path::Path, time::Duration};

use super::*;

/// Each of `expected` is how a line begins: `line:column: text`. All problems, in order.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let found = match read(text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    };
    compare(&found, expected);
}

#[track_caller]
fn check_warnings(text: &str, expected: &[&str]) {
    compare(&read(text).expect("only warnings").warnings, expected);
}

#[track_caller]
fn compare(found: &[String], expected: &[&str]) {
    let matches = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected));
    assert!(matches, "\nfound\n  {}\nexpected\n  {}", found.join("\n  "), expected.join("\n  "));
}

fn read(text: &str) -> Result<Config, Problems> {
    parse(Path::new(""), text, &|name| (name == "HOST").then(|| "a1".to_owned()))
}

/// The only job of a text that begins within its entry.
#[track_caller]
fn job(fields: &str) -> Arc<Job> {
    let text = format!("scrape_configs:\n- job_name: j\n{fields}");
    Arc::clone(&read(&text).expect("a good job").jobs[0])
}

#[test]
fn an_empty_file_is_a_configuration() {
    for text in ["", "# nothing\n", "---\n", "global:\nscrape_configs:\nremote_write:\n"] {
        assert_eq!(read(text).expect("empty is fine"), Config::default(), "{text:?}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    check(
        "global:\n  scrape_interval: 1x\n  nope: 1\nscrape_configs:\n- job_name: a\n  sample_limit: -1\n- {}\n-\nremote_write:\n- name: x\n",
        &[
            "2:20: `scrape_interval`: unknown unit \"x\" in duration \"1x\"",
            "3:3: unknown key `nope` in `global`",
            "6:17: `sample_limit`: expected a whole number from 0, found `-1`",
            "7:3: job_name is empty",
            "8:2: empty or null scrape config section",
            "10:3: url for remote_write is empty",
        ],
    );
}

#[test]
fn yaml_is_checked_for_itself() {
    check("a: [1\n", &["2:1: yaml: "]);
    check("global: {}\nglobal: {}\n", &["2:1: key `global` appears twice, first in line 1"]);
    check("global: {}\n---\nglobal: {}\n", &["2:1: a second document begins"]);
    check("[a]: 1\n", &["1:1: expected a text as key, found a list"]);
    check("- 1\n", &["1:1: expected a mapping, found a list"]);
    check("global: *a\n", &["1:9: yaml: "]);
    check("x: &a [*a]\n", &["1:8: an alias stands within"]);
    check(&"[".repeat(200), &["1:101: nested deeper than 100 levels"]);
    let bomb = (1..30).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
        let refers = format!("*a{}, ", n - 1).repeat(9);
        text + &format!("a{n}: &a{n} [{refers}]\n")
    });
    assert!(read(&bomb).expect_err("a bomb").to_string().contains("aliases make more than"));
}

#[test]
fn anchors_and_merge_keys_work() {
    let config = read(
        "scrape_configs:\n- &base\n  job_name: a\n  scrape_interval: 5s\n  metrics_path: /a\n- <<: *base\n  job_name: b\n  metrics_path: /b\n",
    )
    .expect("merged");
    assert_eq!(&*config.jobs[1].job_name, "b");
    assert_eq!(config.jobs[1].metrics_path, "/b");
    assert_eq!(config.jobs[1].scrape_interval, Duration::from_secs(5));
}

#[test]
fn unknown_keys_name_the_nearest() {
    check(
        "scrape_configs:\n- job_name: a\n  metric_path: /x\n  scrape-interval: 5s\n  file_sd_config: []\n  consult_sd_configs: []\n  basic_auth: {user: x}\nremote_writes: []\n",
        &[
            "3:3: unknown key `metric_path` in `scrape_configs`; did you mean `metrics_path`?",
            "4:3: unknown key `scrape-interval` in `scrape_configs`; did you mean `scrape_interval`?",
            "5:3: unknown key `file_sd_config` in `scrape_configs`; did you mean `file_sd_configs`?",
            "6:3: unknown key `consult_sd_configs`; did you mean `consul_sd_configs`?",
            "7:16: unknown key `user` in `basic_auth`",
            "8:1: unknown key `remote_writes` at the top level; did you mean `remote_write`?",
        ],
    );
}

#[test]
fn types_are_checked() {
    check(
        "scrape_configs:\n- job_name: [a]\n  honor_labels: maybe\n  params: {x: y}\n  scheme: ftp\n  static_configs: {}\n  scrape_timeout: [1s]\n",
        &[
            "2:3: job_name is empty",
            "2:13: `job_name`: expected a text, found a list",
            "3:17: `honor_labels`: expected true or false, found `maybe`",
            "4:15: `params`: expected a list of values for `x`, found a single value",
            "5:11: `scheme`: expected `http`, `https`, found `ftp`",
            "6:19: `static_configs`: expected a list, found a mapping",
            "7:19: `scrape_timeout`: expected a duration such as `30s`, found a list",
        ],
    );
    let job =
        job("  honor_labels: yes\n  sample_limit: 1e3\n  label_limit: 0x10\n  metrics_path: 10\n");
    assert!(job.honor_labels);
    assert_eq!((job.limits.samples_max, job.limits.labels_max), (1000, 16));
    assert_eq!(job.metrics_path, "10");
    check("scrape_configs: [{job_name: a, honor_labels: \"yes\"}]\n", &["1:46: `honor_labels`"]);
}

#[test]
fn timeouts_follow_the_interval() {
    for (fields, seconds) in [
        ("", (60, 10)),
        ("  scrape_interval: 5s\n", (5, 5)),
        ("  scrape_timeout: 60s\n", (60, 60)),
        ("  scrape_interval: 0\n  scrape_timeout: 0s\n", (60, 10)),
    ] {
        let job = job(fields);
        let found = (job.scrape_interval.as_secs(), job.scrape_timeout.as_secs());
        assert_eq!(found, seconds, "{fields}");
    }
    check(
        "global: {scrape_interval: 5s, scrape_timeout: 6s}\nscrape_configs:\n- {job_name: a, scrape_timeout: 7s}\n",
        &[
            "1:31: global scrape timeout greater than scrape interval",
            "3:17: scrape timeout greater than scrape interval for scrape config with job name \"a\"",
        ],
    );
    assert_eq!(job("").timestamp_tolerance, Duration::from_millis(2));
    assert_eq!(job("  scrape_interval: 100ms\n").timestamp_tolerance, Duration::from_millis(1));
}

#[test]
fn names_follow_the_validation_scheme() {
    let labels = "  external_labels: {a.b: x, \"\": y}\n";
    check(&format!("global:\n{labels}"), &["2:29: \"\" is not a valid label name"]);
    check(
        &format!("global:\n{labels}  metric_name_validation_scheme: legacy\n"),
        &["2:21: \"a.b\" is not a valid label name", "2:29: \"\" is not a valid label name"],
    );
    check(
        "global: {metric_name_validation_scheme: x, metric_name_escaping_scheme: y}\nscrape_configs:\n- job_name: a\n  metric_name_validation_scheme: legacy\n  metric_name_escaping_scheme: allow-utf-8\n",
        &[
            "1:10: unrecognized ValidationScheme: \"x\"",
            "1:44: unknown global name escaping method specified, must be one of 'allow-utf-8'",
            "5:3: utf8 metric names requested but validation scheme is not set to UTF8",
        ],
    );
    let job = job("  metric_name_validation_scheme: legacy\n");
    assert_eq!(job.metric_name_escaping, Escaping::Underscores);
}

#[test]
fn only_external_labels_know_the_environment() {
    let text = "global:\n  external_labels: {a: $HOST, b: '${HOST}-x', c: $$HOST, d: x$NOPE}\nscrape_configs: [{job_name: $HOST}]\n";
    let config = read(text).expect("good");
    let labels = config.global.external_labels.to_string();
    assert_eq!(labels, r#"{a="a1", b="a1-x", c="$HOST", d="x"}"#);
    assert_eq!(&*config.jobs[0].job_name, "$HOST");
    check_warnings(text, &["2:61: `external_labels`: the environment variable `NOPE` is not set"]);
}

#[test]
fn relabelling_rules_are_placed() {
    check(
        "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - action: nope\n  - action:\n  - source_labels: x\n    target_label: y\n  - regex: '('\n    target_label: y\n  - regexp: x\n    target_label: y\n  metric_relabel_configs: [null]\n",
        &[
            "4:5: unknown relabel action \"nope\"",
            "5:5: relabel action cannot be empty",
            "6:20: `source_labels`: expected a list, found a single value",
            "8:12: error parsing regexp",
            "10:5: unknown key `regexp` in `relabel_configs`; did you mean `regex`?",
            "12:28: empty or null metric relabeling rule in scrape config",
        ],
    );
    assert_eq!(
        relabel_rules("- target_label: a\n- action: drop\n", NameValidation::Utf8)
            .map(|rules| rules.len()),
        Ok(2)
    );
    let problems = relabel_rules("a: b\n", NameValidation::Utf8).expect_err("no list");
    compare(
        &[problems.to_string()],
        &["1:1: expected a list of relabelling rules, found a mapping"],
    );
}

#[test]
fn destinations_are_checked() {
    check(
        "remote_write:\n- url: http://a\n  name: x\n  headers: {Authorization: t, User-Agent: t}\n  protobuf_message: io.prometheus.write.v2.Request\n  sigv4: {}\n  basic_auth: {username: u}\n- url: http://b\n  name: x\n  protobuf_message: y\n  queue_config: {max_shards: 0, min_backoff: 10s, capacity: -1}\n-\n",
        &[
            "2:3: at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam",
            "4:13: authorization header must be changed via the basic_auth",
            "4:31: User-Agent is a reserved header. It must not be changed",
            "8:3: found multiple remote write configs with job name \"x\"",
            "10:3: invalid protobuf_message value: unknown type for remote write protobuf message y",
            "11:18: remote write queue max_shards must be positive",
            "11:33: remote write queue min_backoff must not be greater than max_backoff",
            "11:51: remote write queue capacity must be positive",
            "12:2: empty or null remote write config section",
        ],
    );
}

#[test]
fn a_destinations_name_is_as_stable_as_its_queue() {
    let name = |fields: &str| {
        let config = read(&format!("remote_write:\n- url: http://a/\n{fields}")).expect("good");
        config.destinations[0].name.to_string()
    };
    let plain = name("");
    assert_eq!(plain.len(), 6);
    assert_eq!(plain, name("  tls_config: {insecure_skip_verify: true}\n"));
    assert_eq!(plain, name("  authorization: {credentials: rotated}\n"));
    assert_eq!(plain, name("  queue_config: {max_backoff: 7s}\n"));
    assert_ne!(plain, name("  headers: {X-Scope-OrgID: tenant}\n"));
    assert_ne!(plain, name("  write_relabel_configs: [{target_label: a}]\n"));
    assert_eq!(name("  name: own\n"), "own");
    check(
        "remote_write: [{url: 'http://a/'}, {url: 'http://a/'}]\n",
        &["1:36: duplicate remote write configs are not allowed"],
    );
}

#[test]
fn a_queue_has_its_defaults_and_tells_what_it_lacks() {
    let read_queue = |fields: &str| {
        let text = format!("remote_write: [{{url: 'http://a/', queue_config: {{{fields}}}}}]\n");
        read(&text).expect("good")
    };
    let queue = read_queue("max_backoff: 9s").destinations[0].queue.clone();
    assert_eq!(queue.samples_per_send_max, 10_000);
    assert_eq!(queue.batch_send_deadline, Duration::from_millis(300));
    assert_eq!(queue.min_backoff, Duration::from_millis(30));
    assert_eq!(queue.max_backoff, Duration::from_secs(9));
    assert_eq!(read_queue("retry_on_http_429: true").warnings.len(), 0);
    let warnings = read_queue("capacity: 5, max_shards: 7, retry_on_http_429: false").warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for word in ["`capacity`", "`outbox.max_bytes`", "`max_shards`", "`outbox.lanes`", "429"] {
        assert!(warnings[0].contains(word), "{word} is not in {warnings:?}");
    }
}

#[test]
fn the_outbox_is_bounded() {
    check(
        "outbox: {max_bytes: 0, lanes: 65, max_in_flight: 0, when_full: explode, max_age: 1}\n",
        &[
            "1:10: `max_bytes` must be more than 0",
            "1:31: `lanes`: expected a whole number from 1 to 64, found `65`",
            "1:50: `max_in_flight`: expected a whole number from 1 to 1024, found `0`",
            "1:64: `when_full`: expected `drop_oldest`, `push_back`, found `explode`",
            "1:82: `max_age`: not a valid duration string: \"1\"",
        ],
    );
    let text = "outbox: {max_bytes: 1GiB, max_age: 2d, lanes: 8, min_free_disk: 1MB, when_full: push_back}\n";
    let outbox = read(text).expect("good").outbox;
    assert_eq!((outbox.bytes_max, outbox.lanes, outbox.in_flight_max), (1 << 30, 8, 64));
    assert_eq!(outbox.age_max, Duration::from_secs(2 * 86_400));
    assert_eq!((outbox.free_disk_bytes_min, outbox.when_full), (1 << 20, WhenFull::PushBack));
}

#[test]
fn jobs_know_what_prometheus_has_flags_for_and_vmagent_has_keys_for() {
    let text = "global: {x_series_limit: 9, x_type_and_unit_labels: true}\nscrape_configs:\n- {job_name: a, x_scrape_offset: 5s, native_histogram_bucket_limit: 160}\n- {job_name: b, x_scrape_align_interval: 1h, x_series_limit: 3, x_type_and_unit_labels: false, x_start_timestamp_zero_ingestion: true}\n";
    let config = read(text).expect("good");
    let [a, b] = &config.jobs[..] else { panic!("there are two") };
    assert_eq!(
        (a.phase, b.phase),
        (Phase::Offset(Duration::from_secs(5)), Phase::Aligned(Duration::from_secs(3_600)))
    );
    assert_eq!((a.limits.series_max, b.limits.series_max), (9, 3));
    assert_eq!((a.type_and_unit_labels, b.type_and_unit_labels), (true, false));
    assert_eq!((a.start_timestamp_zeros, b.start_timestamp_zeros), (false, true));
    assert_eq!(a.native_histograms.buckets_max, 160);
    check_warnings(
        "scrape_configs:\n- job_name: a\n  x_scrape_offset: 5s\n  x_scrape_align_interval: 7s\n",
        &["4:3: `x_scrape_align_interval` has no effect beside `x_scrape_offset`"],
    );
    check(
        "scrape_configs:\n- job_name: a\n  x_scrape_align_interval: 7s\n  x_series_limit: -1\n",
        &[
            "3:3: `x_scrape_align_interval`: expected a part or a multiple of the scrape interval 1m, found 7s",
            "4:19: `x_series_limit`",
        ],
    );
}

#[test]
fn a_servers_sections_are_one_warning_each() {
    check_warnings(
        "rule_files: [a.yml, b.yml]\nalerting: {alertmanagers: [{consul_sd_configs: [{server: x}]}]}\nremote_read: [{url: 'http://a', proxy_url: 'http://b'}]\nstorage: {tsdb: {out_of_order_time_window: 10m}}\notlp: {promote_resource_attributes: [a]}\ntracing: {endpoint: x}\nruntime: {gogc: 50}\n",
        &[
            "1:1: `rule_files` is not an agent's work",
            "2:1: `alerting` is not an agent's work",
            "3:1: `remote_read` is not an agent's work",
            "4:1: `storage` is not an agent's work",
            "5:1: `otlp` is not an agent's work",
            "6:1: `tracing` is not an agent's work",
            "7:1: `runtime` is not an agent's work",
        ],
    );
    check(
        "tracing: {endpoint: '', compression: lz4, client_type: x}\nstorage: {nope: 1}\n",
        &[
            "1:11: tracing endpoint must be set",
            "1:25: invalid compression type lz4 provided, valid options: gzip",
            "1:43: expected tracing client type to be to be http or grpc, but got x",
            "2:11: unknown key `nope` in `storage`",
        ],
    );
}

#[test]
fn no_secret_is_told_or_shown() {
    let secret = "hunter2";
    let bad = format!(
        "scrape_configs:\n- job_name: a\n  basic_auth: {secret}\n  authorization: [{secret}]\n  bearer_token: [{secret}]\n  http_headers: {{x: {{secrets: {secret}, values: {secret}}}, y: {secret}}}\n  tls_config: {{key: {{a: {secret}}}}}\nremote_write:\n- url: http://u:{secret}@\n  headers: {{a: [{secret}], Authorization: {secret}}}\n- url: ftp://u:{secret}@h\n- url: 'http://u:{secret}@[h'\n  basic_auth: {{password: [{secret}], passwort: {secret}}}\n"
    );
    let problems = read(&bad).expect_err("all wrong");
    assert!(problems.0.len() > 10 && !problems.to_string().contains(secret), "{problems}");
    let syntax = format!("a:\n  password: {secret}\n   b: {{\n");
    assert!(!read(&syntax).expect_err("no YAML").to_string().contains(secret));

    let good = format!(
        "scrape_configs:\n- job_name: a\n  basic_auth: {{username: u, password: {secret}}}\n  http_headers: {{x: {{values: [{secret}]}}}}\n  tls_config: {{cert: c, key: {secret}}}\n  http_sd_configs: [{{url: 'http://u:{secret}@h/'}}]\n- job_name: b\n  bearer_token: {secret}\nremote_write:\n- url: http://u:{secret}@h\n  headers: {{t: {secret}}}\n"
    );
    let config = read(&good).expect("all good");
    let shown = show::show(&config);
    assert!(shown.contains("<secret>") && !shown.contains(secret), "{shown}");
    assert!(shown.contains("username: u"), "{shown}");
    let debug = format!("{:?}", config.jobs[1]);
    assert!(!debug.contains(secret), "{debug}");
}

#[test]
fn files_are_relative_to_who_names_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("inside")).expect("a folder");
        fs::write(path, text).expect("written");
    };
    write(
        "main.yml",
        "scrape_config_files: ['jobs/*.yml', none-*.yml]\nscrape_configs:\n- job_name: main\n  basic_auth: {password_file: secret}\n",
    );
    write(
        "jobs/a.yml",
        "scrape_configs:\n- job_name: a\n  tls_config: {ca_file: ../ca.pem}\n  file_sd_configs: [{files: [t.json]}]\n",
    );
    write("jobs/b.yml", "scrape_configs:\n- job_name: b\n");
    write("jobs/c.txt", "no YAML [");
    write("secret", "x");

    let config =
        load(&folder.path().join("main.yml"), &TypedCluster::default(), &|_| None).expect("good");
    let names: Vec<&str> = config.jobs.iter().map(|job| &*job.job_name).collect();
    assert_eq!(names, ["main", "a", "b"]);
    let files: Vec<String> = config
        .files
        .iter()
        .map(|file| file.strip_prefix(&folder).expect("inside").display().to_string())
        .collect();
    assert_eq!(files, ["main.yml", "jobs", "jobs/a.yml", "jobs/b.yml", "", "secret", "ca.pem"]);
    let Discovery::File { files, .. } = &config.jobs[1].discovery[0] else { panic!("no file_sd") };
    assert_eq!(Path::new(&files[0]), folder.path().join("jobs/t.json"));
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
    assert!(
        config.warnings[0].contains("main.yml:1:37: `scrape_config_files`: no file matches"),
        "{:?}",
        config.warnings
    );
    assert!(config.warnings[1].contains("jobs/a.yml:3:25: `ca_file`: "), "{:?}", config.warnings);

    write(
        "jobs/b.yml",
        "scrape_configs:\n- job_name: main\n- job_name: x\n  scheme: y\nglobal: {}\n",
    );
    let problems = load(&folder.path().join("main.yml"), &TypedCluster::default(), &|_| None)
        .expect_err("bad");
    let lines: Vec<String> = problems
        .to_string()
        .lines()
        .map(|line| line.replace(&format!("{}/", folder.path().display()), ""))
        .collect();
    compare(
        &lines,
        &[
            "jobs/b.yml:2:3: found multiple scrape configs with job name \"main\", first found in main.yml:3:3",
            "jobs/b.yml:4:11: `scheme`: expected `http`, `https`, found `y`",
            "jobs/b.yml:5:1: unknown key `global` at the top level",
        ],
    );
    let missing = load(&folder.path().join("nope.yml"), &TypedCluster::default(), &|_| None)
        .expect_err("missing");
    assert!(missing.to_string().contains("nope.yml: cannot be read: No such file"), "{missing}");
}
