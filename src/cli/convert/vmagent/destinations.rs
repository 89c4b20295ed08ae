//! `-remoteWrite.*` into entries of `remote_write` and the `outbox` section.

use std::path::Path;

use crate::{
    cli::convert::{
        World, plain,
        told::Notes,
        tree::{At, Tree},
        vmagent::{
            flags::{Flags, is_true},
            relabel,
            scrapes::expanded,
        },
    },
    config::{units, yaml},
};

/// Keys of an entry, one value for each URL.
const FIELDS: [(&str, &[&str]); 20] = [
    ("sendTimeout", &["remote_timeout"]),
    ("proxyURL", &["proxy_url"]),
    ("basicAuth.username", &["basic_auth", "username"]),
    ("basicAuth.usernameFile", &["basic_auth", "username_file"]),
    ("basicAuth.password", &["basic_auth", "password"]),
    ("basicAuth.passwordFile", &["basic_auth", "password_file"]),
    ("bearerToken", &["authorization", "credentials"]),
    ("bearerTokenFile", &["authorization", "credentials_file"]),
    ("oauth2.clientID", &["oauth2", "client_id"]),
    ("oauth2.clientSecret", &["oauth2", "client_secret"]),
    ("oauth2.clientSecretFile", &["oauth2", "client_secret_file"]),
    ("oauth2.tokenUrl", &["oauth2", "token_url"]),
    ("tlsCAFile", &["tls_config", "ca_file"]),
    ("tlsCertFile", &["tls_config", "cert_file"]),
    ("tlsKeyFile", &["tls_config", "key_file"]),
    ("tlsServerName", &["tls_config", "server_name"]),
    ("aws.region", &["sigv4", "region"]),
    ("aws.accessKey", &["sigv4", "access_key"]),
    ("aws.secretKey", &["sigv4", "secret_key"]),
    ("aws.roleARN", &["sigv4", "role_arn"]),
];

/// Of all URLs alike, within `queue_config`.
const QUEUE: [(&str, &str); 5] = [
    ("flushInterval", "batch_send_deadline"),
    ("maxRowsPerBlock", "max_samples_per_send"),
    ("retryMinInterval", "min_backoff"),
    ("retryMaxInterval", "max_backoff"),
    ("retryMaxTime", "max_backoff"),
];

const LANES_MAX: u32 = 64;
const LANES: u32 = 16;
const IN_FLIGHT_MAX: u32 = 1_024;

pub(super) fn entries(flags: &mut Flags, world: &World<'_>, notes: &mut Notes) -> Vec<Tree> {
    let shared = flags
        .one("remoteWrite.relabelConfig")
        .map(|(path, at)| rules_of("-remoteWrite.relabelConfig", &path, &at, world, notes))
        .unwrap_or_default();
    let urls = flags.many("remoteWrite.url");
    let mut entries = Vec::new();
    for (n, (url, at)) in urls.into_iter().enumerate() {
        let url = Tree::text(&at, expanded(&url, &at, world, notes));
        let mut entry = Tree::map(&at, [("url", url)]);
        for (flag, path) in FIELDS {
            if let Some((value, at)) = flags.for_url(&format!("remoteWrite.{flag}"), n) {
                let value = expanded(&value, &at, world, notes);
                set(&mut entry, path, Tree::text(&at, value));
            }
        }
        let insecure = flags.for_url("remoteWrite.tlsInsecureSkipVerify", n);
        if let Some((_, at)) = insecure.filter(|(value, _)| is_true(value)) {
            set(&mut entry, &["tls_config", "insecure_skip_verify"], Tree::word(&at, true));
        }
        if !flags.for_url("remoteWrite.aws.useSigv4", n).is_some_and(|(value, _)| is_true(&value)) {
            entry.take("sigv4");
        }
        oauth2(flags, n, &mut entry);
        headers(flags, n, &mut entry);
        let mut rules = shared.clone();
        if let Some((path, at)) = flags.for_url("remoteWrite.urlRelabelConfig", n) {
            rules.extend(rules_of("-remoteWrite.urlRelabelConfig", &path, &at, world, notes));
        }
        entry.append("write_relabel_configs", rules);
        queue(flags, &mut entry);
        entries.push(entry);
    }
    entries
}

fn set(entry: &mut Tree, path: &[&str], value: Tree) {
    match path {
        [section, key] => {
            let at = value.at.clone();
            let mut inner = entry.take(section).unwrap_or_else(|| Tree::map::<String>(&at, []));
            inner.set(key, value);
            entry.set(section, inner);
        }
        [key] => entry.set(key, value),
        _ => {}
    }
}

/// Scopes are parted by `;`, further parameters are JSON.
fn oauth2(flags: &mut Flags, n: usize, entry: &mut Tree) {
    if let Some((scopes, at)) = flags.for_url("remoteWrite.oauth2.scopes", n) {
        let scopes = scopes.split(';').map(|scope| Tree::text(&at, scope)).collect();
        set(entry, &["oauth2", "scopes"], Tree::list(&at, scopes));
    }
    if let Some((json, at)) = flags.for_url("remoteWrite.oauth2.endpointParams", n)
        && let Ok(node) = yaml::parse(&json)
    {
        let params = Tree { at: at.clone(), ..Tree::of(&node, &at.file) };
        set(entry, &["oauth2", "endpoint_params"], params);
    }
}

/// `name:value^^name:value`.
fn headers(flags: &mut Flags, n: usize, entry: &mut Tree) {
    let Some((text, at)) = flags.for_url("remoteWrite.headers", n) else { return };
    let mut headers = Tree::map::<String>(&at, []);
    for (name, value) in text.split("^^").filter_map(|header| header.split_once(':')) {
        headers.set(name.trim(), Tree::text(&at, value.trim()));
    }
    entry.set("headers", headers);
}

fn queue(flags: &mut Flags, entry: &mut Tree) {
    for (flag, key) in QUEUE {
        if let Some((value, at)) = flags.one(&format!("remoteWrite.{flag}")) {
            set(entry, &["queue_config", key], Tree::word(&at, value));
        }
    }
}

/// The rules in the file at `path`.
fn rules_of(flag: &str, path: &str, at: &At, world: &World<'_>, notes: &mut Notes) -> Vec<Tree> {
    let folder = Path::new(&*at.file).parent().unwrap_or(Path::new(""));
    let path = folder.join(path);
    let name = path.display().to_string();
    let text = match (world.read)(&path) {
        Ok(text) => text,
        Err(reason) => {
            notes.lost(at, format!("`{flag}`: `{name}`: {reason}"));
            return Vec::new();
        }
    };
    match yaml::parse(&text) {
        Ok(node) => relabel::rules(Tree::of(&node, &name.into()), notes),
        Err(problem) => {
            notes.lost(at, format!("`{flag}`: `{name}`: {}", problem.message));
            Vec::new()
        }
    }
}

/// The bounds of what waits, which are the same for all destinations.
pub(super) fn outbox(flags: &mut Flags, notes: &mut Notes) -> Option<Tree> {
    let mut fields = Vec::new();
    let limits = flags.many("remoteWrite.maxDiskUsagePerURL");
    let sizes: Vec<(u64, &At)> = limits
        .iter()
        .filter_map(|(text, at)| Some((plain::size(text).filter(|bytes| *bytes > 0)?, at)))
        .collect();
    if let Some((most, at)) = sizes.iter().max_by_key(|(bytes, _)| *bytes) {
        fields.push(("max_bytes", Tree::text(at, units::print_bytes(*most))));
        if sizes.iter().any(|(bytes, _)| bytes != most) {
            notes.differs(at, "`-remoteWrite.maxDiskUsagePerURL`: all destinations have one bound: the greatest was taken");
        }
    }
    if let Some((text, at)) = flags.one("remoteWrite.queues")
        && let Ok(queues) = text.parse::<u32>()
        && queues > 0
    {
        if queues > LANES {
            fields.push(("lanes", Tree::word(&at, queues.min(LANES_MAX))));
        }
        fields.push(("max_in_flight", Tree::word(&at, queues.min(IN_FLIGHT_MAX))));
    }
    let at = fields.first().map(|(_, tree)| tree.at.clone())?;
    Some(Tree::map(&at, fields))
}
