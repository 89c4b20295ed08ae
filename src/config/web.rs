//! The file of `--web.config.file`, in the format that Prometheus and its exporters share: TLS, client
//! certificates, users with bcrypt passwords, extra headers. Pure: whoever calls has read it.

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use crate::config::{
    Secret, Source, TlsVersion,
    decode::{Findings, NamedFile, Section, shown},
    http,
    problem::{Problem, Problems},
    show::{some_list, some_texts, source, word},
    yaml::{self, Node},
    yaml_out::{Shown, flag, map, text},
};

/// More are refused: this is no directory of people.
const USERS_MAX: usize = 1_024;
const SANS_MAX: usize = 1_024;
/// Each step doubles the time of a check: at 16 it is seconds, and a few clients would keep all of a
/// small machine busy.
const BCRYPT_COST_MAX: u32 = 16;
/// What the format knows, and nothing that an answer sets itself.
const HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "X-Frame-Options",
    "X-Content-Type-Options",
    "X-XSS-Protection",
    "Strict-Transport-Security",
];
const CLIENT_AUTH: [(&str, ClientAuth); 6] = [
    ("NoClientCert", ClientAuth::None),
    ("RequestClientCert", ClientAuth::Request),
    ("RequireAnyClientCert", ClientAuth::RequireAny),
    ("RequireClientCert", ClientAuth::RequireAny),
    ("VerifyClientCertIfGiven", ClientAuth::VerifyIfGiven),
    ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerify),
];
const CURVES: [(&str, Curve); 3] =
    [("X25519", Curve::X25519), ("CurveP256", Curve::P256), ("CurveP384", Curve::P384)];
const CURVES_NOT_SPOKEN: [&str; 4] =
    ["CurveP521", "X25519MLKEM768", "SecP256r1MLKEM768", "SecP384r1MLKEM1024"];
/// Of TLS 1.2; those of 1.3 are always on, as in Go.
const SUITES: [&str; 6] = [
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];
const SUITES_OF_TLS13: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// The whole file. The default, and an empty file, is plain HTTP for everyone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Web {
    pub tls: Option<WebTls>,
    /// Names and bcrypt hashes.
    pub users: BTreeMap<String, Secret>,
    /// Set on every answer.
    pub headers: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct WebTls {
    pub cert: Source,
    pub key: Source,
    pub client_ca: Option<Source>,
    pub client_auth: ClientAuth,
    /// DNS names, URIs or addresses, one of which a client's certificate must have; empty: any.
    pub client_allowed_sans: Vec<String>,
    /// Of TLS 1.2, best first; empty: all that are spoken.
    pub cipher_suites: Vec<String>,
    /// Best first; empty: all that are spoken.
    pub curves: Vec<Curve>,
    pub prefer_server_cipher_suites: bool,
    pub min_version: Option<TlsVersion>,
    pub max_version: Option<TlsVersion>,
}

/// What is asked of a client's certificate, as Go names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    None,
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    X25519,
    P256,
    P384,
}

/// What differs and takes effect at the next start only.
pub fn web_keys_that_need_a_restart(old: &Web, new: &Web) -> Vec<&'static str> {
    tls_keys_that_need_a_restart(old.tls.as_ref(), new.tls.as_ref(), "tls_server_config")
}

/// The same of any server's TLS; `whole` is the key that turns it on.
pub(super) fn tls_keys_that_need_a_restart(
    old: Option<&WebTls>,
    new: Option<&WebTls>,
    whole: &'static str,
) -> Vec<&'static str> {
    let (old, new) = match (old, new) {
        (None, None) => return Vec::new(),
        (Some(old), Some(new)) => (old, new),
        (None, Some(_)) | (Some(_), None) => return vec![whole],
    };
    let differs = [
        ("client_auth_type", old.client_auth != new.client_auth),
        ("cipher_suites", old.cipher_suites != new.cipher_suites),
        ("curve_preferences", old.curves != new.curves),
        (
            "prefer_server_cipher_suites",
            old.prefer_server_cipher_suites != new.prefer_server_cipher_suites,
        ),
        ("min_version", old.min_version != new.min_version),
        ("max_version", old.max_version != new.max_version),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

/// What is read from a file, and what the loader still looks after.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) web: Web,
    pub(super) warnings: Vec<String>,
    pub(super) named_files: Vec<NamedFile>,
}

pub(super) fn parse(path: &Path, text: &str) -> Result<Parsed, Problems> {
    let mut findings = Findings::of(path);
    let (root, problems) = yaml::read(text);
    let file = findings.file.clone();
    let named = problems.into_iter().map(|problem| Problem { file: file.clone(), ..problem });
    findings.problems.extend(named);
    let web = root.map(|root| web(&root, &mut findings)).unwrap_or_default();
    let Findings { mut problems, mut warnings, named_files, .. } = findings;
    if !problems.is_empty() {
        problems.sort_by_key(|problem| problem.place);
        return Err(Problems(problems));
    }
    warnings.sort_by_key(|warning| warning.place);
    Ok(Parsed { web, warnings: warnings.iter().map(ToString::to_string).collect(), named_files })
}

fn web(root: &Node, findings: &mut Findings) -> Web {
    let Some(mut section) = Section::open(root, "", findings) else { return Web::default() };
    let tls = section.get("tls_server_config");
    let tls = tls.and_then(|node| tls_of(node, "tls_server_config", false, section.findings));
    let headers = section.get("http_server_config").map(|node| http_server(node, section.findings));
    let users = users(&mut section);
    if section.get("rate_limit").is_some() {
        let place = section.place_of("rate_limit");
        section.problem(
            place,
            "`rate_limit` is not here: set `requests_per_second` and `burst` of `admin`",
        );
    }
    section.close();
    Web { tls, users, headers: headers.unwrap_or_default() }
}

/// The section `name` of a server's TLS. Where it is not `is_needed`, one without certificates is none.
pub(super) fn tls_of(
    node: &Node,
    name: &'static str,
    is_needed: bool,
    findings: &mut Findings,
) -> Option<WebTls> {
    let mut section = Section::open(node, name, findings)?;
    let mut one_of = |keys: [&'static str; 2]| {
        let place = section.place_of(keys[1]);
        let inline = section.secret(keys[0]).map(Source::Inline);
        let file = section.file(keys[1]).map(Source::File);
        if inline.is_some() && file.is_some() {
            let [inline, file] = keys;
            section.problem(place, format!("only one of `{inline}` and `{file}` may be set"));
        }
        inline.or(file)
    };
    let cert = one_of(["cert", "cert_file"]);
    let key = one_of(["key", "key_file"]);
    let client_ca = one_of(["client_ca", "client_ca_file"]);
    let client_auth = section.text("client_auth_type").filter(|text| !text.is_empty());
    let client_auth = client_auth.and_then(|_| section.word("client_auth_type", &CLIENT_AUTH));
    let client_allowed_sans = sans(&mut section);
    let (min_version, max_version) = http::tls_versions(&mut section);
    let cipher_suites = suites(&mut section);
    let curves = curves(&mut section);
    let prefer = section.boolean("prefer_server_cipher_suites").unwrap_or(true);
    let is_set = is_needed
        || cert.is_some()
        || key.is_some()
        || client_ca.is_some()
        || client_auth.is_some();
    for (found, keys) in [(&cert, "`cert` or `cert_file`"), (&key, "`key` or `key_file`")] {
        if is_set && found.is_none() {
            section.problem(node.place, format!("`{name}`: {keys} is missing"));
        }
    }
    let client_auth = client_auth.unwrap_or(ClientAuth::None);
    check_clients(&mut section, client_auth, client_ca.is_some(), !client_allowed_sans.is_empty());
    section.close();
    Some(WebTls {
        cert: cert?,
        key: key?,
        client_ca,
        client_auth,
        client_allowed_sans,
        cipher_suites,
        curves,
        prefer_server_cipher_suites: prefer,
        min_version,
        max_version,
    })
}

fn check_clients(
    section: &mut Section<'_, '_>,
    client_auth: ClientAuth,
    has_ca: bool,
    has_sans: bool,
) {
    let verifies = matches!(client_auth, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify);
    let place = section.place_of("client_auth_type");
    if has_ca && client_auth == ClientAuth::None {
        let message = "`client_ca_file` is set and `client_auth_type` asks for no certificate: \
             expected `RequireAndVerifyClientCert` or `VerifyClientCertIfGiven`";
        section.problem(section.place_of("client_ca_file"), message);
    }
    if verifies && !has_ca {
        let message = "`client_auth_type` verifies certificates: `client_ca_file` must say whose";
        section.problem(place, message);
    }
    if has_sans && !verifies {
        let message = "`client_allowed_sans` holds only for certificates that `client_auth_type` \
             verifies: expected `RequireAndVerifyClientCert` or `VerifyClientCertIfGiven`";
        section.problem(section.place_of("client_allowed_sans"), message);
    }
    if matches!(client_auth, ClientAuth::Request | ClientAuth::RequireAny) {
        let message = "`client_auth_type`: a certificate that nobody verifies proves nothing, and \
             lets nobody in";
        section.findings.warning(place, message);
    }
}

fn sans(section: &mut Section<'_, '_>) -> Vec<String> {
    let found = section.texts("client_allowed_sans");
    let place = section.place_of("client_allowed_sans");
    if found.len() > SANS_MAX {
        let message = format!("`client_allowed_sans`: more than {SANS_MAX}");
        section.problem(place, message);
        return Vec::new();
    }
    let mut sans = Vec::new();
    for (text, place) in found {
        let is_address = text.parse::<IpAddr>().is_ok() || text.contains("://");
        if text.is_empty() || (text.contains('@') && !is_address) {
            let message = format!(
                "`client_allowed_sans`: expected a DNS name, an IP address or a URI, found `{}`",
                shown(text)
            );
            section.problem(place, message);
        }
        sans.push(text.to_owned());
    }
    sans
}

fn suites(section: &mut Section<'_, '_>) -> Vec<String> {
    let mut suites = Vec::new();
    for (text, place) in section.texts("cipher_suites") {
        // Two of Go's names lack their end.
        let full = format!("{text}_SHA256");
        let name = if SUITES.contains(&full.as_str()) { &full } else { text };
        if SUITES.contains(&name) {
            suites.push(name.to_owned());
        } else if !SUITES_OF_TLS13.contains(&name) {
            let message = format!(
                "`cipher_suites`: `{}` is unknown or too weak to be spoken; expected some of {}",
                shown(text),
                SUITES.join(", ")
            );
            section.problem(place, message);
        }
    }
    suites
}

fn curves(section: &mut Section<'_, '_>) -> Vec<Curve> {
    let mut curves = Vec::new();
    for (text, place) in section.texts("curve_preferences") {
        if let Some((_, curve)) = CURVES.iter().find(|(name, _)| *name == text) {
            curves.push(*curve);
            continue;
        }
        let is_known = CURVES_NOT_SPOKEN.contains(&text);
        let message = format!(
            "`curve_preferences`: `{}` is {}; expected X25519, CurveP256 or CurveP384",
            shown(text),
            if is_known { "not spoken" } else { "unknown" }
        );
        section.problem(place, message);
    }
    curves
}

fn http_server(node: &Node, findings: &mut Findings) -> Vec<(String, String)> {
    let Some(mut section) = Section::open(node, "http_server_config", findings) else {
        return Vec::new();
    };
    if section.boolean("http2") == Some(false) {
        let place = section.place_of("http2");
        section.findings.warning(
            place,
            "`http2` can't be turned off: over TLS, whoever asks for HTTP/2 gets it",
        );
    }
    let mut headers = Vec::new();
    for (key, node) in section.mapping("headers") {
        let Some(name) = HEADERS.iter().find(|name| name.eq_ignore_ascii_case(&key.text)) else {
            let message = format!(
                "`headers`: `{}` can't be set here; expected some of {}",
                shown(&key.text),
                HEADERS.join(", ")
            );
            section.problem(key.place, message);
            continue;
        };
        match node.as_str() {
            Some(text) if text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) => {
                if !text.is_empty() {
                    headers.push(((*name).to_owned(), text.to_owned()));
                }
            }
            Some(_) => section.problem(node.place, format!("`{name}`: expected plain text")),
            None if node.is_null() => {}
            None => {
                let message = format!("`{name}`: expected a text, found {}", node.kind());
                section.problem(node.place, message);
            }
        }
    }
    section.close();
    headers
}

pub(super) fn users(section: &mut Section<'_, '_>) -> BTreeMap<String, Secret> {
    let entries = section.mapping("basic_auth_users");
    if entries.len() > USERS_MAX {
        let place = section.place_of("basic_auth_users");
        section.problem(place, format!("`basic_auth_users`: more than {USERS_MAX} users"));
        return BTreeMap::new();
    }
    let mut users = BTreeMap::new();
    for (key, node) in entries {
        let name = &key.text;
        if name.contains(':') || name.contains(char::is_control) {
            let message = format!("`basic_auth_users`: `{}` is no user name", shown(name));
            section.problem(key.place, message);
        }
        // The text is as good as a secret, and a password that was typed here is one.
        match bcrypt_cost(node.as_str().unwrap_or("")) {
            None => {
                let message = format!(
                    "`basic_auth_users`: expected a bcrypt hash for `{}`, such as `htpasswd -nB` makes",
                    shown(name)
                );
                section.problem(node.place, message);
            }
            Some(cost) if cost > BCRYPT_COST_MAX => {
                let message = format!(
                    "`basic_auth_users`: the hash of `{}` has cost {cost}; expected at most {BCRYPT_COST_MAX}",
                    shown(name)
                );
                section.problem(node.place, message);
            }
            Some(_) => {}
        }
        users.insert(name.clone(), Secret::new(node.as_str().unwrap_or("")));
    }
    users
}

/// A server's TLS as the effective configuration shows it.
pub(super) fn show_tls(tls: &WebTls) -> Shown {
    let client_auth = CLIENT_AUTH.iter().find(|(_, own)| *own == tls.client_auth);
    let curves = tls.curves.iter().filter_map(|curve| word(&CURVES, curve));
    let mut fields = Vec::new();
    fields.extend(source(Some(&tls.cert), ["cert", "cert_file"]));
    fields.extend(source(Some(&tls.key), ["key", "key_file"]));
    fields.extend(source(tls.client_ca.as_ref(), ["client_ca", "client_ca_file"]));
    fields.extend([
        ("client_auth_type", client_auth.map(|(name, _)| text(*name))),
        ("client_allowed_sans", some_texts(&tls.client_allowed_sans)),
        ("cipher_suites", some_texts(&tls.cipher_suites)),
        ("curve_preferences", some_list(curves.collect())),
        ("prefer_server_cipher_suites", Some(flag(tls.prefer_server_cipher_suites))),
        ("min_version", tls.min_version.map(http::shown::tls_version)),
        ("max_version", tls.max_version.map(http::shown::tls_version)),
    ]);
    map(fields)
}

/// `None` where `text` is no bcrypt hash.
fn bcrypt_cost(text: &str) -> Option<u32> {
    let rest = ["$2a$", "$2b$", "$2x$", "$2y$"].iter().find_map(|kind| text.strip_prefix(kind))?;
    let (cost, hash) = rest.split_once('$')?;
    let is_hash = hash.len() == 53
        && hash.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/'));
    let cost: u32 = cost.parse().ok().filter(|_| cost.len() == 2)?;
    (is_hash && cost >= 4).then_some(cost)
}
