//! A client's settings as the effective configuration shows them: no secret is.

use crate::{
    config::{
        Assertion, BasicAuth, Grant, HttpClient, OAuth2, Proxy, ProxyRoute, SigV4, Source, Tls,
        TlsVersion, discovery,
        http::oauth2::ALGORITHMS,
        show::{Field, path, secret, some_list, some_text, some_texts, source},
        yaml_out::{Shown, flag, list, map, text},
    },
    model::hidden::{self, SECRET},
};

pub(in crate::config) fn client(client: &HttpClient) -> Vec<Field> {
    let authorization = client.authorization.as_ref().map(|authorization| {
        let credentials = authorization.credentials.as_ref();
        let mut fields = vec![("type", Some(text(&*authorization.scheme)))];
        fields.extend(source(credentials, ["credentials", "credentials_file"]));
        map(fields)
    });
    let mut fields = vec![
        ("basic_auth", client.basic_auth.as_ref().map(basic_auth)),
        ("authorization", authorization),
        ("oauth2", client.oauth2.as_deref().map(oauth2)),
        ("sigv4", client.sigv4.as_deref().map(|settings| map(aws(settings)))),
    ];
    fields.extend(proxy(client.proxy.as_ref()));
    fields.extend([
        ("tls_config", tls(&client.tls)),
        ("follow_redirects", Some(flag(client.follow_redirects))),
        ("enable_http2", Some(flag(client.enable_http2))),
        ("http_headers", headers(&client.headers)),
    ]);
    fields
}

/// Also of a discovery that asks AWS.
pub(in crate::config) fn aws(settings: &SigV4) -> Vec<Field> {
    let own = |setting: &Option<String>| setting.as_deref().map(text);
    let mut fields =
        vec![("region", own(&settings.region)), ("access_key", own(&settings.access_key))];
    fields.extend(source(settings.secret_key.as_ref(), ["secret_key", "secret_key_file"]));
    let tags = settings.tags.iter().map(|(name, value)| (name.clone(), text(&**value)));
    fields.extend([
        ("profile", own(&settings.profile)),
        ("role_arn", own(&settings.role_arn)),
        ("external_id", settings.external_id.as_ref().map(|_| text(SECRET))),
        ("session_name", own(&settings.session_name)),
        ("tags", (!settings.tags.is_empty()).then(|| Shown::Map(tags.collect()))),
        ("use_fips_sts_endpoint", settings.use_fips_sts_endpoint.then(|| flag(true))),
        ("service_name", (settings.service != "aps").then(|| text(&*settings.service))),
    ]);
    fields
}

fn basic_auth(basic: &BasicAuth) -> Shown {
    let mut fields = match &basic.username {
        Source::Inline(name) => vec![("username", Some(text(name.expose())))],
        Source::File(file) => vec![("username_file", Some(path(file)))],
    };
    fields.extend(source(basic.password.as_ref(), ["password", "password_file"]));
    map(fields)
}

fn oauth2(settings: &OAuth2) -> Shown {
    let mut fields = vec![("client_id", Some(text(&*settings.client_id)))];
    match &settings.grant {
        Grant::ClientCredentials { secret } => {
            fields.extend(source(secret.as_ref(), ["client_secret", "client_secret_file"]));
        }
        Grant::JwtBearer(own) => fields.extend(assertion(own)),
    }
    let params = settings.endpoint_params.iter().map(|(name, value)| {
        let is_secret = hidden::is_secret(name);
        (name.clone(), text(if is_secret { SECRET } else { value.expose() }))
    });
    let token_url = settings.token_url.shown();
    fields.extend([
        ("scopes", some_texts(&settings.scopes)),
        ("token_url", Some(text(token_url))),
        (
            "endpoint_params",
            (!settings.endpoint_params.is_empty()).then(|| Shown::Map(params.collect())),
        ),
        ("tls_config", tls(&settings.tls)),
    ]);
    fields.extend(proxy(settings.proxy.as_ref()));
    map(fields)
}

fn assertion(settings: &Assertion) -> Vec<Field> {
    let algorithm = ALGORITHMS.iter().find(|(_, own)| *own == settings.algorithm);
    let claims = settings.claims.keys().map(|name| (name.clone(), text(SECRET))).collect();
    let mut fields =
        vec![("grant_type", Some(text("urn:ietf:params:oauth:grant-type:jwt-bearer")))];
    fields.extend(source(
        Some(&settings.key),
        ["client_certificate_key", "client_certificate_key_file"],
    ));
    fields.extend([
        ("client_certificate_key_id", settings.key_id.as_deref().map(text)),
        ("signature_algorithm", algorithm.map(|(name, _)| text(*name))),
        ("iss", settings.issuer.as_deref().map(text)),
        ("audience", settings.audience.as_deref().map(text)),
        ("claims", (!settings.claims.is_empty()).then_some(Shown::Map(claims))),
    ]);
    fields
}

fn proxy(proxy: Option<&Proxy>) -> Vec<Field> {
    let Some(proxy) = proxy else { return Vec::new() };
    let mut fields = match &proxy.route {
        ProxyRoute::Url { url, no_proxy } => vec![
            ("proxy_url", Some(text(discovery::without_credentials(url.expose())))),
            ("no_proxy", some_text(no_proxy)),
        ],
        ProxyRoute::Environment => vec![("proxy_from_environment", Some(flag(true)))],
    };
    let headers = proxy
        .connect_header
        .iter()
        .map(|(name, values)| (name.clone(), list(values.iter().map(|_| text(SECRET)))));
    fields.push((
        "proxy_connect_header",
        (!proxy.connect_header.is_empty()).then(|| Shown::Map(headers.collect())),
    ));
    fields
}

fn tls(tls: &Tls) -> Option<Shown> {
    if *tls == Tls::default() {
        return None;
    }
    let mut fields = Vec::new();
    fields.extend(source(tls.ca.as_ref(), ["ca", "ca_file"]));
    fields.extend(source(tls.cert.as_ref(), ["cert", "cert_file"]));
    fields.extend(source(tls.key.as_ref(), ["key", "key_file"]));
    fields.extend([
        ("server_name", tls.server_name.as_deref().map(text)),
        ("insecure_skip_verify", Some(flag(tls.insecure_skip_verify))),
        ("min_version", tls.min_version.map(tls_version)),
        ("max_version", tls.max_version.map(tls_version)),
    ]);
    Some(map(fields))
}

pub(in crate::config) fn tls_version(version: TlsVersion) -> Shown {
    text(match version {
        TlsVersion::Tls10 => "TLS10",
        TlsVersion::Tls11 => "TLS11",
        TlsVersion::Tls12 => "TLS12",
        TlsVersion::Tls13 => "TLS13",
    })
}

/// Which inline values are secret is not kept, so none is shown.
fn headers(headers: &[(String, Vec<Source>)]) -> Option<Shown> {
    let shown = headers.iter().map(|(name, sources)| {
        let mut secrets = Vec::new();
        let mut files = Vec::new();
        for source in sources {
            match source {
                Source::Inline(_) => secrets.push(secret(source)),
                Source::File(file) => files.push(path(file)),
            }
        }
        (name.clone(), map([("secrets", some_list(secrets)), ("files", some_list(files))]))
    });
    (!headers.is_empty()).then(|| Shown::Map(shown.collect()))
}
