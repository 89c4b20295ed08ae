//! `sigv4` of a destination, and the same keys where a discovery asks AWS: who signs, and for what.

use std::collections::BTreeMap;

use crate::config::{
    SigV4, Source,
    decode::{Findings, Section, shown},
    yaml::Node,
};

/// As STS bounds them.
const SESSION_NAME_BYTES: std::ops::RangeInclusive<usize> = 2..=64;
const TAG_KEY_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;

/// What remote write is signed for: Amazon Managed Service for Prometheus.
const SERVICE: &str = "aps";

pub(in crate::config) fn sigv4(node: &Node, findings: &mut Findings) -> Option<SigV4> {
    let mut section = Section::open(node, "sigv4", findings)?;
    let mut sigv4 = aws(&mut section, SERVICE);
    sigv4.session_name = text(&mut section, "session_name");
    sigv4.tags = tags(&mut section);
    sigv4.use_fips_sts_endpoint = section.boolean("use_fips_sts_endpoint").unwrap_or(false);
    if let Some(service) = text(&mut section, "service_name") {
        sigv4.service = service;
    }
    check(&mut section, &sigv4);
    section.close();
    Some(sigv4)
}

/// The keys that every section for AWS has, among others of `section`.
pub(in crate::config) fn aws(section: &mut Section<'_, '_>, service: &str) -> SigV4 {
    let region = text(section, "region");
    let access_key = text(section, "access_key");
    let place = section.place_of("secret_key");
    let inline = section.secret("secret_key").map(Source::Inline);
    let file = section.file("secret_key_file").map(Source::File);
    if inline.is_some() && file.is_some() {
        section.problem(place, "only one of `secret_key` and `secret_key_file` may be set");
    }
    let secret_key = inline.or(file);
    if access_key.is_some() != secret_key.is_some() {
        let place =
            section.place_of(if access_key.is_some() { "access_key" } else { "secret_key" });
        section.problem(
            place,
            "must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the SigV4 config",
        );
    }
    SigV4 {
        service: service.to_owned(),
        region,
        access_key,
        secret_key,
        profile: text(section, "profile"),
        role_arn: text(section, "role_arn"),
        external_id: text(section, "external_id"),
        session_name: None,
        tags: BTreeMap::new(),
        use_fips_sts_endpoint: false,
    }
}

fn text(section: &mut Section<'_, '_>, key: &'static str) -> Option<String> {
    section.text(key).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn tags(section: &mut Section<'_, '_>) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    for (key, node) in section.mapping("tags") {
        let name = &key.text;
        let value = node.as_str().unwrap_or("");
        if name.is_empty() {
            section.problem(key.place, "tag key must not be empty");
        } else if name.chars().count() > TAG_KEY_CHARS_MAX {
            let message = format!("tag key {:?} exceeds maximum length of 128", shown(name));
            section.problem(key.place, message);
        }
        if value.chars().count() > TAG_VALUE_CHARS_MAX {
            let message =
                format!("tag value for key {:?} exceeds maximum length of 256", shown(name));
            section.problem(node.place, message);
        }
        if node.as_str().is_none() && !node.is_null() {
            section.problem(node.place, format!("`tags`: expected a text, found {}", node.kind()));
        }
        tags.insert(name.clone(), value.to_owned());
    }
    tags
}

fn check(section: &mut Section<'_, '_>, sigv4: &SigV4) {
    let has_role = sigv4.role_arn.is_some();
    for (key, is_set) in [
        ("external_id", sigv4.external_id.is_some()),
        ("session_name", sigv4.session_name.is_some()),
        ("tags", !sigv4.tags.is_empty()),
    ] {
        if is_set && !has_role {
            let place = section.place_of(key);
            section.problem(place, format!("{key} can only be used with role_arn"));
        }
    }
    let is_name = |name: &str| {
        SESSION_NAME_BYTES.contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
    };
    if sigv4.session_name.as_deref().is_some_and(|name| !is_name(name)) {
        let place = section.place_of("session_name");
        section.problem(
            place,
            "session_name must match ^[\\w+=,.@-]{2,64}$ (2-64 alphanumeric and +=,.@- characters)",
        );
    }
}
