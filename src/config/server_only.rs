//! What only a Prometheus server does: accepted, checked as far as a slip would show, one warning a
//! section. A file that serves both a server and this agent stays one file.

use crate::{
    config::{
        decode::{Findings, Section, shown},
        discovery, http,
        problem::Place,
        relabel,
        yaml::Node,
    },
    model::relabel::NameValidation,
};

/// Reads all such sections of the file's top.
pub(super) fn sections(top: &mut Section<'_, '_>, validation: NameValidation) {
    let rules = top.texts("rule_files");
    for (pattern, place) in &rules {
        if !is_pattern(pattern) {
            let message =
                format!("invalid rule file path {:?}; `*` only in its last part", shown(pattern));
            top.problem(*place, message);
        }
    }
    not_here(top, "rule_files", "rules are evaluated by a server");
    section(top, "alerting", "alerts are sent by a server", |node, findings| {
        alerting(node, validation, findings);
    });
    remote_read(top);
    not_here(top, "remote_read", "queries are answered by a server");
    section(top, "storage", "nothing is stored here but what waits in the `outbox`", storage);
    section(top, "otlp", "OTLP is received by a server", |node, findings| {
        otlp(node, validation, findings);
    });
    section(top, "tracing", "no traces of its own are sent", tracing);
    section(top, "runtime", "there is no Go runtime to tune", |node, findings| {
        let Some(mut section) = Section::open(node, "runtime", findings) else { return };
        let _: Option<i64> = section.number("gogc", i128::from(i32::MIN)..=i128::from(i32::MAX));
        section.close();
    });
}

/// A glob as Prometheus allows it: `*` only in the last part of the path.
pub(super) fn is_pattern(pattern: &str) -> bool {
    pattern.split_once('*').is_none_or(|(_, after)| !after.contains('/'))
}

fn section(
    top: &mut Section<'_, '_>,
    key: &'static str,
    reason: &str,
    read: impl FnOnce(&Node, &mut Findings),
) {
    if let Some(node) = top.get(key) {
        read(node, top.findings);
        not_here(top, key, reason);
    }
}

fn not_here(top: &mut Section<'_, '_>, key: &'static str, reason: &str) {
    if let Some(node) = top.get(key)
        && node.as_seq().is_none_or(|entries| !entries.is_empty())
    {
        let place = top.place_of(key);
        top.findings
            .warning(place, format!("`{key}` is not an agent's work: {reason}; it has no effect"));
    }
}

fn alerting(node: &Node, validation: NameValidation, findings: &mut Findings) {
    let Some(mut section) = Section::open(node, "alerting", findings) else { return };
    relabel::rules(
        &mut section,
        "alert_relabel_configs",
        validation,
        "empty or null alert relabeling rule",
    );
    let managers = section.entries("alertmanagers", "empty or null section in alertmanagers");
    for node in managers {
        alertmanager(node, validation, section.findings);
    }
    section.close();
}

fn alertmanager(node: &Node, validation: NameValidation, findings: &mut Findings) {
    let Some(mut section) = Section::open(node, "alertmanagers", findings) else { return };
    if let Some(version) = section.text("api_version").filter(|version| *version != "v2") {
        let place = section.place_of("api_version");
        let message = format!(
            "expected Alertmanager api version to be one of [v2] but got {}",
            shown(version)
        );
        section.problem(place, message);
    }
    section.text("scheme");
    section.text("path_prefix");
    section.duration("timeout");
    section.get("sigv4");
    muted(&mut section, |section| {
        http::client(section, true);
        discovery::discoveries(section);
    });
    relabel::rules(
        &mut section,
        "relabel_configs",
        validation,
        "empty or null Alertmanager target relabeling rule",
    );
    relabel::rules(
        &mut section,
        "alert_relabel_configs",
        validation,
        "empty or null Alertmanager alert relabeling rule",
    );
    if section.peek("relabel_configs").is_empty() {
        discovery::check_addresses(&mut section);
    }
    section.close();
}

/// What is not supported, watched or worth a warning elsewhere does not matter where it has no
/// effect anyway.
fn muted(section: &mut Section<'_, '_>, read: impl FnOnce(&mut Section<'_, '_>)) {
    let problems = section.findings.problems.len();
    let warnings = section.findings.warnings.len();
    let files = section.findings.named_files.len();
    read(section);
    let told = section.findings.problems.split_off(problems);
    let kept = told.into_iter().filter(|problem| !problem.message.contains("not supported yet"));
    section.findings.problems.extend(kept);
    section.findings.warnings.truncate(warnings);
    section.findings.named_files.truncate(files);
}

fn remote_read(top: &mut Section<'_, '_>) {
    let nodes = top.entries("remote_read", "empty or null remote read config section");
    let mut names: Vec<&str> = Vec::new();
    for node in nodes {
        let Some(mut section) = Section::open(node, "remote_read", top.findings) else { continue };
        if section.text("url").is_none_or(str::is_empty) {
            let place = section.place_of("url");
            section.problem(place, "url for remote_read is empty");
        }
        let name = section.text("name").unwrap_or("");
        if !name.is_empty() && names.contains(&name) {
            let message =
                format!("found multiple remote read configs with job name {:?}", shown(name));
            section.problem(node.place, message);
        }
        names.push(name);
        section.duration("remote_timeout");
        section.get("chunked_read_limit");
        section.boolean("read_recent");
        section.boolean("filter_external_labels");
        section.mapping("required_matchers");
        check_headers(
            &mut section,
            "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or google_iam parameter",
        );
        muted(&mut section, |section| {
            http::client(section, true);
        });
        section.close();
    }
}

fn check_headers(section: &mut Section<'_, '_>, authorization: &str) {
    for (key, _) in section.mapping("headers") {
        if key.text.eq_ignore_ascii_case("authorization") {
            section.problem(key.place, authorization);
        } else if let Some(message) = http::reserved(&key.text) {
            section.problem(key.place, message);
        }
    }
}

fn storage(node: &Node, findings: &mut Findings) {
    let Some(mut section) = Section::open(node, "storage", findings) else { return };
    if let Some(node) = section.get("tsdb") {
        tsdb(node, section.findings);
    }
    if let Some(node) = section.get("exemplars")
        && let Some(mut exemplars) = Section::open(node, "exemplars", section.findings)
    {
        let _: Option<i64> =
            exemplars.number("max_exemplars", i128::from(i64::MIN)..=i128::from(i64::MAX));
        exemplars.close();
    }
    section.close();
}

fn tsdb(node: &Node, findings: &mut Findings) {
    let Some(mut section) = Section::open(node, "tsdb", findings) else { return };
    section.duration("out_of_order_time_window");
    if section.float("stale_series_compaction_threshold").is_some_and(|f| !(0.0..=1.0).contains(&f))
    {
        let place = section.place_of("stale_series_compaction_threshold");
        section.problem(
            place,
            "'storage.tsdb.stale_series_compaction_threshold' must be in the range [0, 1]",
        );
    }
    if let Some(node) = section.get("retention")
        && let Some(mut retention) = Section::open(node, "retention", section.findings)
    {
        retention.duration("time");
        retention.bytes("size");
        if let Some(percentage) = retention.float("percentage")
            && !(0.0..=100.0).contains(&percentage)
        {
            let place = retention.place_of("percentage");
            retention.problem(
                place,
                format!("'storage.tsdb.retention.percentage' must be in the range [0, 100], got {percentage}"),
            );
        }
        retention.close();
    }
    if let Some(node) = section.get("chunk_encoding")
        && let Some(mut encoding) = Section::open(node, "chunk_encoding", section.findings)
    {
        if let Some(floats) = encoding.text("floats").filter(|f| !["xor", "xor2"].contains(f)) {
            let place = encoding.place_of("floats");
            let message = format!(
                "'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must be omitted entirely, got {:?}",
                shown(floats)
            );
            encoding.problem(place, message);
        }
        encoding.close();
    }
    section.close();
}

fn otlp(node: &Node, validation: NameValidation, findings: &mut Findings) {
    let Some(mut section) = Section::open(node, "otlp", findings) else { return };
    for key in [
        "keep_identifying_resource_attributes",
        "convert_histograms_to_nhcb",
        "promote_scope_metadata",
        "label_name_underscore_sanitization",
        "label_name_preserve_multiple_underscores",
    ] {
        section.boolean(key);
    }
    let promotes_all = section.boolean("promote_all_resource_attributes") == Some(true);
    let promoted = section.texts("promote_resource_attributes");
    let ignored = section.texts("ignore_resource_attributes");
    if promotes_all {
        if let Some((_, place)) = promoted.first() {
            section.problem(*place, "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously");
        }
        attributes(&mut section, "ignore_resource_attributes", "ignored", &ignored);
    } else {
        if let Some((_, place)) = ignored.first() {
            section.problem(*place, "'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true");
        }
        attributes(&mut section, "promote_resource_attributes", "promoted", &promoted);
    }
    translation(&mut section, validation);
    section.close();
}

fn attributes(
    section: &mut Section<'_, '_>,
    key: &str,
    adjective: &str,
    attributes: &[(&str, Place)],
) {
    for (n, (attribute, place)) in attributes.iter().enumerate() {
        let attribute = attribute.trim();
        if attribute.is_empty() {
            let message = format!("invalid '{key}': empty {adjective} OTel resource attribute");
            section.problem(*place, message);
        } else if attributes[..n].iter().any(|(earlier, _)| earlier.trim() == attribute) {
            let message = format!(
                "invalid '{key}': duplicated {adjective} OTel resource attribute {:?}",
                shown(attribute)
            );
            section.problem(*place, message);
        }
    }
}

fn translation(section: &mut Section<'_, '_>, validation: NameValidation) {
    let Some(strategy) = section.text("translation_strategy").filter(|s| !s.is_empty()) else {
        return;
    };
    let place = section.place_of("translation_strategy");
    match (strategy, validation) {
        ("UnderscoreEscapingWithSuffixes" | "UnderscoreEscapingWithoutSuffixes", _)
        | ("NoTranslation" | "NoUTF8EscapingWithSuffixes", NameValidation::Utf8) => {}
        ("NoTranslation" | "NoUTF8EscapingWithSuffixes", NameValidation::Legacy) => section
            .problem(
                place,
                format!(
                    "OTLP translation strategy {strategy:?} is not allowed when UTF8 is disabled"
                ),
            ),
        _ => section
            .problem(place, format!("unsupported OTLP translation strategy {:?}", shown(strategy))),
    }
}

fn tracing(node: &Node, findings: &mut Findings) {
    let Some(mut section) = Section::open(node, "tracing", findings) else { return };
    check_headers(&mut section, "custom authorization header configuration is not yet supported");
    if section.text("endpoint").is_none_or(str::is_empty) {
        let place = section.place_of("endpoint");
        section.problem(place, "tracing endpoint must be set");
    }
    if let Some(kind) = section.text("client_type").filter(|kind| !["http", "grpc"].contains(kind))
    {
        let place = section.place_of("client_type");
        let message = format!(
            "expected tracing client type to be to be http or grpc, but got {}",
            shown(kind)
        );
        section.problem(place, message);
    }
    if let Some(compression) = section.text("compression").filter(|c| !["", "gzip"].contains(c)) {
        let place = section.place_of("compression");
        let message = format!(
            "invalid compression type {} provided, valid options: gzip",
            shown(compression)
        );
        section.problem(place, message);
    }
    section.float("sampling_fraction");
    section.boolean("insecure");
    section.duration("timeout");
    muted(&mut section, |section| {
        if let Some(node) = section.get("tls_config") {
            http::tls(node, section.findings);
        }
    });
    section.close();
}
