//! One entry of `remote_write`: where samples go, how, and what of Prometheus' queue the outbox has.

use std::{sync::Arc, time::Duration};

use crate::{
    config::{
        Destination, Global, HttpClient, MetadataSending, Queue, Secret, Source, TypedUrl,
        WriteCompression, WriteMessage,
        decode::{Findings, Section, shown},
        discovery, http,
        problem::Place,
        relabel,
        yaml::Node,
    },
    model::relabel::Rule,
};

/// What `protobuf_message` is called in the file.
pub(super) const MESSAGES: [(&str, WriteMessage); 2] = [
    ("prometheus.WriteRequest", WriteMessage::V1),
    ("io.prometheus.write.v2.Request", WriteMessage::V2),
];
pub(super) const COMPRESSIONS: [(&str, WriteCompression); 3] = [
    ("auto", WriteCompression::Auto),
    ("snappy", WriteCompression::Snappy),
    ("zstd", WriteCompression::Zstd),
];

/// Hex digits of a hash that name a destination without a name.
const NAME_DIGITS: usize = 6;

/// Samples in one request; beyond this a receiver's own limit refuses them anyway.
const SAMPLES_PER_SEND_MAX: i128 = 1_000_000;

/// What an entry and its place became.
pub(super) struct Placed {
    pub(super) destination: Destination,
    pub(super) place: Place,
    pub(super) is_named: bool,
}

pub(super) fn destinations(
    section: &mut Section<'_, '_>,
    global: &Global,
) -> Vec<Arc<Destination>> {
    let nodes = section.entries("remote_write", "empty or null remote write config section");
    let placed: Vec<Placed> =
        nodes.into_iter().filter_map(|node| destination(node, global, section.findings)).collect();
    for (n, later) in placed.iter().enumerate() {
        let name = &later.destination.name;
        if !placed[..n].iter().any(|earlier| earlier.destination.name == *name) {
            continue;
        }
        let message = if later.is_named {
            format!("found multiple remote write configs with job name {:?}", shown(name))
        } else {
            "duplicate remote write configs are not allowed; give each entry for this URL a `name`"
                .to_owned()
        };
        section.problem(later.place, message);
    }
    let mut unnamed = 0;
    let with_fleet_name = |Placed { mut destination, is_named, .. }: Placed| {
        if !is_named {
            unnamed += 1;
            destination.fleet_name = format!("#{unnamed}").into();
        }
        Arc::new(destination)
    };
    placed.into_iter().map(with_fleet_name).collect()
}

fn destination(node: &Node, global: &Global, findings: &mut Findings) -> Option<Placed> {
    let mut section = Section::open(node, "remote_write", findings)?;
    let url = url(&mut section);
    let name = section.text("name").unwrap_or("").to_owned();
    let timeout = section.duration("remote_timeout").unwrap_or(Duration::from_secs(30));
    let mut http = http::client(&mut section, false);
    headers(&mut section, &mut http);
    let write_relabel = relabel::rules(
        &mut section,
        "write_relabel_configs",
        global.metric_name_validation,
        "empty or null relabeling rule in remote write config",
    );
    let message = message(&mut section);
    cloud_credentials(&mut section, &mut http);
    let destination = Destination {
        fleet_name: name.as_str().into(),
        name: if name.is_empty() {
            unnamed(&url, &http, &write_relabel).into()
        } else {
            name.as_str().into()
        },
        url: TypedUrl::new(url),
        timeout,
        http,
        external_labels: global.external_labels.clone(),
        write_relabel,
        send_exemplars: section.boolean("send_exemplars").unwrap_or(false),
        send_native_histograms: section.boolean("send_native_histograms").unwrap_or(false),
        message,
        compression: compression(&mut section, message),
        metadata: metadata(&mut section),
        round_robin_dns: section.boolean("round_robin_dns").unwrap_or(false),
        placement: section.boolean("placement").unwrap_or(false),
        out_of_order_window: section.duration("out_of_order_window").unwrap_or_default(),
        queue: queue(&mut section),
    };
    section.close();
    Some(Placed { destination, place: node.place, is_named: !name.is_empty() })
}

fn url(section: &mut Section<'_, '_>) -> String {
    let url = section.text("url").unwrap_or("").to_owned();
    let place = section.place_of("url");
    if url.is_empty() {
        section.problem(place, "url for remote_write is empty");
    } else if let Some(fault) = discovery::url_fault(&url) {
        section.problem(place, format!("`url`: {fault}"));
    }
    url
}

/// `headers` go on the request like `http_headers`, which may come from files.
fn headers(section: &mut Section<'_, '_>, http: &mut HttpClient) {
    for (key, node) in section.mapping("headers") {
        let name = &key.text;
        if name.eq_ignore_ascii_case("authorization") {
            section.problem(
                key.place,
                "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or google_iam parameter",
            );
        } else if let Some(message) = http::reserved(name) {
            section.problem(key.place, message);
        } else if !http::is_header_name(name) {
            section.problem(key.place, format!("`headers`: `{}` is no header name", shown(name)));
        } else if http.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            section.problem(
                key.place,
                format!("header {:?} is defined in multiple sections", shown(name)),
            );
        }
        match node.as_str() {
            Some(text) => {
                http.headers.push((name.clone(), vec![Source::Inline(Secret::new(text))]));
            }
            None if node.is_null() => {}
            None => {
                let message = format!("`headers`: expected a text, found {}", node.kind());
                section.problem(node.place, message);
            }
        }
    }
}

fn message(section: &mut Section<'_, '_>) -> WriteMessage {
    let Some(text) = section.text("protobuf_message") else { return WriteMessage::default() };
    let place = section.place_of("protobuf_message");
    if let Some((_, message)) = MESSAGES.iter().find(|(name, _)| *name == text) {
        return *message;
    }
    let known = MESSAGES.map(|(name, _)| name).join(", ");
    let message = format!(
        "invalid protobuf_message value: unknown type for remote write protobuf message {}, supported: {known}",
        shown(text)
    );
    section.problem(place, message);
    WriteMessage::default()
}

fn compression(section: &mut Section<'_, '_>, message: WriteMessage) -> WriteCompression {
    let typed = section.word("x_compression", &COMPRESSIONS).unwrap_or_default();
    if typed == WriteCompression::Zstd && message == WriteMessage::V2 {
        let place = section.place_of("x_compression");
        let text = "`x_compression: zstd` has no effect with remote write 2.0, which is snappy";
        section.findings.warning(place, text);
    }
    typed
}

fn cloud_credentials(section: &mut Section<'_, '_>, http: &mut HttpClient) {
    let mut configured = Vec::new();
    configured.extend(http.basic_auth.is_some().then_some("basic_auth"));
    configured.extend(http.authorization.is_some().then_some("authorization"));
    configured.extend(section.has("oauth2").then_some("oauth2"));
    if let Some(node) = section.get("sigv4") {
        configured.push("sigv4");
        http.sigv4 = http::sigv4::sigv4(node, section.findings).map(Box::new);
    }
    for key in ["azuread", "google_iam"] {
        configured.extend(section.unsupported(key).then_some(key));
    }
    if configured.len() > 1 {
        let message = format!(
            "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must be configured. Currently configured: [{}]",
            configured.join(" ")
        );
        section.problem(section.place, message);
    }
}

impl Default for MetadataSending {
    fn default() -> Self {
        Self { enabled: true, interval: Duration::from_secs(60), families_per_send_max: 2_000 }
    }
}

fn metadata(section: &mut Section<'_, '_>) -> MetadataSending {
    let mut metadata = MetadataSending::default();
    let Some(node) = section.get("metadata_config") else { return metadata };
    let Some(mut section) = Section::open(node, "metadata_config", section.findings) else {
        return metadata;
    };
    metadata.enabled = section.boolean("send").unwrap_or(metadata.enabled);
    match section.duration("send_interval") {
        Some(Duration::ZERO) => {
            let place = section.place_of("send_interval");
            section.problem(place, "remote write metadata send_interval must be positive");
        }
        Some(typed) => metadata.interval = typed,
        None => {}
    }
    let families = positive(&mut section, "max_samples_per_send", SAMPLES_PER_SEND_MAX);
    metadata.families_per_send_max = families.unwrap_or(metadata.families_per_send_max);
    section.close();
    metadata
}

fn queue(section: &mut Section<'_, '_>) -> Queue {
    let mut queue = Queue {
        samples_per_send_max: 10_000,
        // With this and an answer of as long, a sample is through before it must be on disk.
        batch_send_deadline: Duration::from_millis(300),
        min_backoff: Duration::from_millis(30),
        max_backoff: Duration::from_secs(5),
        sample_age_limit: Duration::ZERO,
    };
    let Some(node) = section.get("queue_config") else { return queue };
    let Some(mut section) = Section::open(node, "queue_config", section.findings) else {
        return queue;
    };
    let samples = positive(&mut section, "max_samples_per_send", SAMPLES_PER_SEND_MAX);
    queue.samples_per_send_max = samples.unwrap_or(queue.samples_per_send_max);
    for (key, field) in [
        ("batch_send_deadline", &mut queue.batch_send_deadline),
        ("min_backoff", &mut queue.min_backoff),
        ("max_backoff", &mut queue.max_backoff),
    ] {
        match section.duration(key) {
            Some(Duration::ZERO) => {
                let place = section.place_of(key);
                section.problem(place, format!("remote write queue {key} must be positive"));
            }
            Some(typed) => *field = typed,
            None => {}
        }
    }
    if queue.min_backoff > queue.max_backoff {
        let place = section.place_of("min_backoff");
        section
            .problem(place, "remote write queue min_backoff must not be greater than max_backoff");
    }
    queue.sample_age_limit = section.duration("sample_age_limit").unwrap_or_default();
    foreign_queue(&mut section);
    section.close();
    queue
}

/// What steers Prometheus' shards and has no counterpart: lanes are fixed, and data waits on disk.
fn foreign_queue(section: &mut Section<'_, '_>) {
    let most = i128::from(u32::MAX);
    let capacity = positive(section, "capacity", most);
    let most_shards = positive(section, "max_shards", most);
    let least_shards = positive(section, "min_shards", most);
    if least_shards.unwrap_or(1) > most_shards.unwrap_or(50) {
        let place = section.place_of("min_shards");
        section.problem(place, "remote write queue min_shards must not be greater than max_shards");
    }
    let retry = section.boolean("retry_on_http_429");
    let told: Vec<(&str, &str)> = [
        ("capacity", capacity.is_some(), "unsent data waits on disk, up to `outbox.max_bytes`"),
        (
            "max_shards",
            most_shards.is_some(),
            "set `outbox.lanes` and `outbox.max_in_flight` instead",
        ),
        ("min_shards", least_shards.is_some_and(|least| least > 1), "set `outbox.lanes` instead"),
        ("retry_on_http_429", retry == Some(false), "a 429 is always retried"),
    ]
    .into_iter()
    .filter(|(_, set, _)| *set)
    .map(|(key, _, instead)| (key, instead))
    .collect();
    let Some((first, _)) = told.first() else { return };
    let all: Vec<String> =
        told.iter().map(|(key, instead)| format!("`{key}` ({instead})")).collect();
    let place = section.place_of(first);
    section.findings.warning(place, format!("`queue_config`: without effect: {}", all.join(", ")));
}

fn positive(section: &mut Section<'_, '_>, key: &'static str, most: i128) -> Option<usize> {
    let number: Option<i128> = section.number(key, i128::from(i32::MIN)..=most);
    if number.is_some_and(|number| number <= 0) {
        let place = section.place_of(key);
        section.problem(place, format!("remote write queue {key} must be positive"));
        return None;
    }
    number.and_then(|number| usize::try_from(number).ok())
}

/// Of what tells destinations apart and seldom changes: a queue is kept under this name, so neither
/// a rotated password nor a tuned queue may change it.
fn unnamed(url: &str, http: &HttpClient, write_relabel: &[Rule]) -> String {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    let mut add = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    add(url);
    for (name, values) in &http.headers {
        add(name);
        for value in values {
            match value {
                Source::Inline(text) => add(text.expose()),
                Source::File(path) => add(&path.display().to_string()),
            }
        }
    }
    if let Some(basic) = &http.basic_auth
        && let Source::Inline(username) = &basic.username
    {
        add(username.expose());
    }
    for rule in write_relabel {
        add(&format!("{:?}", rule.spec()));
    }
    format!("{:016x}", hasher.digest())[..NAME_DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config;

    #[test]
    fn a_gateway_is_asked_for_the_placement_where_that_is_said() {
        for (fields, expected) in [("", false), (", placement: true", true)] {
            let text = format!("remote_write: [{{url: 'http://a/'{fields}}}]\n");
            let config = config::parse(Path::new(""), &text, &|_| None).expect("good");
            assert_eq!(config.destinations[0].placement, expected);
            assert_eq!(config::show::show(&config).contains("placement: true"), expected);
        }
    }

    #[test]
    fn a_destination_has_the_window_that_it_is_told() {
        let window = |fields: &str| {
            let text = format!("remote_write: [{{url: 'http://a/'{fields}}}]\n");
            let config = config::parse(Path::new(""), &text, &|_| None).expect("good");
            let shown = config::show::show(&config);
            assert_eq!(
                shown.contains("out_of_order_window: 10m"),
                fields.contains("10m"),
                "{shown}"
            );
            config.destinations[0].out_of_order_window.as_secs()
        };
        assert_eq!((window(""), window(", out_of_order_window: 10m")), (0, 600));
    }
}
