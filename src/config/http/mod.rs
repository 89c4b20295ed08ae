//! How an HTTP server is reached: credentials, proxy, TLS, headers, redirects. The same keys stand
//! inline in a job, a discovery and a destination.

pub(super) mod oauth2;
mod proxy;
pub(super) mod shown;
pub(super) mod sigv4;

use std::path::PathBuf;

use crate::config::{
    Authorization, BasicAuth, HttpClient, OAuth2, Secret, Source, Tls, TlsVersion,
    decode::{Findings, Section, shown},
    problem::Place,
    yaml::Node,
};

/// What a request sets itself, or its connection; Prometheus refuses the same ones.
const RESERVED_HEADERS: [&str; 17] = [
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

/// More are refused: no request can carry them.
const HEADERS_MAX: usize = 100;

/// The keys of a client among the other keys of `section`.
pub(super) fn client(section: &mut Section<'_, '_>, enable_http2: bool) -> HttpClient {
    let credentials = Credentials::read(section);
    let Checked { basic_auth, authorization, oauth2 } = credentials.checked(section);
    let tls = section.get("tls_config").and_then(|node| tls(node, section.findings));
    HttpClient {
        basic_auth,
        authorization,
        oauth2,
        // Of destinations only, which read it themselves.
        sigv4: None,
        proxy: proxy::proxy(section),
        tls: tls.unwrap_or_default(),
        follow_redirects: section.boolean("follow_redirects").unwrap_or(true),
        enable_http2: section.boolean("enable_http2").unwrap_or(enable_http2),
        headers: http_headers(section),
    }
}

/// `Some`: why a header with this name can't be set by hand.
pub(super) fn reserved(header: &str) -> Option<String> {
    let lower = header.to_ascii_lowercase();
    RESERVED_HEADERS
        .contains(&lower.as_str())
        .then(|| format!("{} is a reserved header. It must not be changed", shown(header)))
}

/// The letters that a header name may have (RFC 9110, "token").
pub(super) fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Where credentials were typed, so that two kinds at once are told.
struct Credentials {
    basic: Option<(Place, Option<BasicAuth>)>,
    authorization: Option<(Place, Option<Authorization>)>,
    oauth2: Option<(Place, Option<OAuth2>)>,
    token: Option<(Place, Secret)>,
    token_file: Option<(Place, PathBuf)>,
}

/// At most one of them, where nothing was wrong.
struct Checked {
    basic_auth: Option<BasicAuth>,
    authorization: Option<Authorization>,
    oauth2: Option<Box<OAuth2>>,
}

impl Credentials {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let at = |section: &Section<'_, '_>, key| section.place_of(key);
        let basic = section.get("basic_auth").map(|node| {
            let basic = basic_auth(node, section.findings);
            (at(section, "basic_auth"), basic)
        });
        let authorized = section.get("authorization").map(|node| {
            let authorization = authorization(node, section.findings);
            (at(section, "authorization"), authorization)
        });
        let oauth2 = section.get("oauth2").map(|node| {
            let oauth2 = oauth2::oauth2(node, section.findings);
            (at(section, "oauth2"), oauth2)
        });
        let token = section.secret("bearer_token");
        let token_file = section.file("bearer_token_file");
        Self {
            basic,
            authorization: authorized,
            oauth2,
            token: token.map(|token| (at(section, "bearer_token"), token)),
            token_file: token_file.map(|path| (at(section, "bearer_token_file"), path)),
        }
    }

    fn checked(self, section: &mut Section<'_, '_>) -> Checked {
        let token = self.token.as_ref().map(|(place, _)| *place);
        let token_file = self.token_file.as_ref().map(|(place, _)| *place);
        let authorization = self.authorization.as_ref().map(|(place, _)| *place);
        let oauth2 = self.oauth2.as_ref().map(|(place, _)| *place);
        let basic_or_oauth2 = self.basic.as_ref().map(|(place, _)| *place).or(oauth2);
        let any_token = token.or(token_file);

        if let (Some(_), Some(place)) = (token, token_file) {
            section.problem(
                place,
                "at most one of bearer_token & bearer_token_file must be configured",
            );
        }
        if let (Some(place), Some(_)) = (any_token, basic_or_oauth2) {
            section.problem(
                place,
                "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
            );
        }
        if let (Some(place), Some(_)) = (any_token, authorization) {
            section.problem(
                place,
                "authorization is not compatible with bearer_token & bearer_token_file",
            );
        }
        let both = self.basic.as_ref().and(oauth2);
        if let Some(place) = both.or_else(|| authorization.filter(|_| basic_or_oauth2.is_some())) {
            section.problem(
                place,
                "at most one of basic_auth, oauth2 & authorization must be configured",
            );
        }

        let token = self.token.map(|(_, token)| Source::Inline(token));
        let token = token.or(self.token_file.map(|(_, path)| Source::File(path)));
        let bearer = token.map(|credentials| Authorization {
            scheme: "Bearer".into(),
            credentials: Some(credentials),
        });
        let authorization = self.authorization.and_then(|(_, authorization)| authorization);
        Checked {
            basic_auth: self.basic.and_then(|(_, basic)| basic),
            authorization: authorization.or(bearer),
            oauth2: self.oauth2.and_then(|(_, oauth2)| oauth2).map(Box::new),
        }
    }
}

fn basic_auth(node: &Node, findings: &mut Findings) -> Option<BasicAuth> {
    let mut section = Section::open(node, "basic_auth", findings)?;
    let username = section.source(
        ["username", "username_file", "username_ref"],
        "at most one of basic_auth username, username_file & username_ref must be configured",
    );
    let password = section.source(
        ["password", "password_file", "password_ref"],
        "at most one of basic_auth password, password_file & password_ref must be configured",
    );
    section.close();
    let username = username.unwrap_or_else(|| Source::Inline(Secret::new("")));
    Some(BasicAuth { username, password })
}

fn authorization(node: &Node, findings: &mut Findings) -> Option<Authorization> {
    let mut section = Section::open(node, "authorization", findings)?;
    let scheme = section.text("type").map_or("", str::trim);
    if scheme.eq_ignore_ascii_case("basic") {
        let place = section.place_of("type");
        section.problem(
            place,
            r#"authorization type cannot be set to "basic", use "basic_auth" instead"#,
        );
    }
    let credentials = section.source(
        ["credentials", "credentials_file", "credentials_ref"],
        "at most one of authorization credentials & credentials_file must be configured",
    );
    section.close();
    let scheme = if scheme.is_empty() { "Bearer" } else { scheme };
    Some(Authorization { scheme: scheme.into(), credentials })
}

pub(super) fn tls(node: &Node, findings: &mut Findings) -> Option<Tls> {
    let mut section = Section::open(node, "tls_config", findings)?;
    let tls = Tls {
        ca: section.source(
            ["ca", "ca_file", "ca_ref"],
            "at most one of ca, ca_file & ca_ref must be configured",
        ),
        cert: section.source(
            ["cert", "cert_file", "cert_ref"],
            "at most one of cert, cert_file & cert_ref must be configured",
        ),
        key: section.source(
            ["key", "key_file", "key_ref"],
            "at most one of key and key_file must be configured",
        ),
        server_name: section.text("server_name").map(str::to_owned),
        insecure_skip_verify: section.boolean("insecure_skip_verify").unwrap_or(false),
        min_version: None,
        max_version: None,
    };
    match (&tls.cert, &tls.key) {
        (Some(_), None) => section.problem(
            node.place,
            "exactly one of key or key_file must be configured when a client certificate is configured",
        ),
        (None, Some(_)) => section.problem(
            node.place,
            "exactly one of cert or cert_file must be configured when a client key is configured",
        ),
        (Some(_), Some(_)) | (None, None) => {}
    }
    let (min_version, max_version) = tls_versions(&mut section);
    section.close();
    Some(Tls { min_version, max_version, ..tls })
}

/// `min_version` and `max_version` of a client's or a server's TLS.
pub(super) fn tls_versions(
    section: &mut Section<'_, '_>,
) -> (Option<TlsVersion>, Option<TlsVersion>) {
    let min = tls_version(section, "min_version");
    let max = tls_version(section, "max_version");
    check_versions(section, min, max);
    (min, max)
}

fn tls_version(section: &mut Section<'_, '_>, key: &'static str) -> Option<TlsVersion> {
    const VERSIONS: [(&str, TlsVersion); 4] = [
        ("TLS13", TlsVersion::Tls13),
        ("TLS12", TlsVersion::Tls12),
        ("TLS11", TlsVersion::Tls11),
        ("TLS10", TlsVersion::Tls10),
    ];
    let text = section.text(key)?;
    let known = VERSIONS.iter().find(|(name, _)| *name == text).map(|(_, version)| *version);
    if known.is_none() {
        let place = section.place_of(key);
        let text = shown(text);
        section.problem(
            place,
            format!("`{key}`: unknown TLS version: {text}; expected TLS10, TLS11, TLS12 or TLS13"),
        );
    }
    known
}

/// TLS 1.0 and 1.1 are not spoken: as a least version they change nothing, as a greatest one they
/// leave nothing.
fn check_versions(section: &mut Section<'_, '_>, min: Option<TlsVersion>, max: Option<TlsVersion>) {
    if max.is_some_and(|version| version < TlsVersion::Tls12) {
        let place = section.place_of("max_version");
        section.problem(
            place,
            "`max_version`: TLS 1.0 and 1.1 are not supported; expected TLS12 or TLS13",
        );
    } else if min.is_some() && max < min && max.is_some() {
        let place = section.place_of("min_version");
        section.problem(place, "`min_version` is above `max_version`: no connection could be made");
    } else if min.is_some_and(|version| version < TlsVersion::Tls12) {
        let place = section.place_of("min_version");
        section.findings.warning(place, "`min_version`: the least version spoken is TLS 1.2");
    }
}

fn http_headers(section: &mut Section<'_, '_>) -> Vec<(String, Vec<Source>)> {
    let entries = section.mapping("http_headers");
    if entries.len() > HEADERS_MAX {
        let place = section.place_of("http_headers");
        section.problem(place, format!("`http_headers`: more than {HEADERS_MAX} headers"));
        return Vec::new();
    }
    let mut headers: Vec<(String, Vec<Source>)> = Vec::new();
    for (key, node) in entries {
        let name = &key.text;
        if reserved(name).is_some() || name.eq_ignore_ascii_case("authorization") {
            section.problem(key.place, format!("setting header {:?} is not allowed", shown(name)));
        } else if !is_header_name(name) {
            let message = format!("`http_headers`: `{}` is no header name", shown(name));
            section.problem(key.place, message);
        } else if headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            let message = format!("header {:?} is defined in multiple sections", shown(name));
            section.problem(key.place, message);
        }
        let Some(mut header) = Section::open(node, "http_headers entry", section.findings) else {
            continue;
        };
        let mut sources = Vec::new();
        for key in ["values", "secrets"] {
            let nodes = header.list(key);
            sources.extend(
                header
                    .all_texts(key, nodes)
                    .into_iter()
                    .map(|(text, _)| Source::Inline(Secret::new(text))),
            );
        }
        for (text, place) in header.texts("files") {
            sources.push(Source::File(header.name_file("http_headers.files", text, place)));
        }
        header.close();
        headers.push((name.clone(), sources));
    }
    headers
}
