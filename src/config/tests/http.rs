//! How servers are reached, as it is typed: credentials, headers, TLS, `oauth2`, proxies, `sigv4`.

use super::*;
use crate::config::{Grant, HttpClient, ProxyRoute};

fn client(fields: &str) -> HttpClient {
    job(&format!("  {}\n", fields.replace('\n', "\n  "))).http.clone()
}

/// `fields` stand from line 3 on.
fn faults(fields: &str, expected: &[&str]) {
    let fields = fields.replace('\n', "\n  ");
    check(&format!("scrape_configs:\n- job_name: a\n  {fields}\n"), expected);
}

#[test]
fn credentials_exclude_each_other() {
    check(
        "scrape_configs:\n- job_name: a\n  basic_auth: {username: u, password: p, password_file: f}\n  authorization: {type: Basic, credentials: x, credentials_file: y}\n  bearer_token: z\n  bearer_token_file: z\n  oauth2: {client_id: x}\n",
        &[
            "3:42: at most one of basic_auth password",
            "4:19: authorization type cannot be set to \"basic\"",
            "4:48: at most one of authorization credentials & credentials_file",
            "5:3: at most one of basic_auth, oauth2, bearer_token & bearer_token_file",
            "5:3: authorization is not compatible with bearer_token & bearer_token_file",
            "6:3: at most one of bearer_token & bearer_token_file must be configured",
            "7:3: at most one of basic_auth, oauth2 & authorization must be configured",
            "7:11: oauth2 token_url must be configured",
        ],
    );
    let job = job("  bearer_token: t\n");
    let authorization = job.http.authorization.as_ref().expect("a token authorizes");
    assert_eq!(authorization.scheme, "Bearer");
    assert_eq!(authorization.credentials, Some(Source::Inline(Secret::new("t"))));
}

#[test]
fn headers_and_tls_are_checked() {
    check(
        "scrape_configs:\n- job_name: a\n  http_headers:\n    Host: {values: [x]}\n    authorization: {values: [x]}\n    \"a b\": {values: [x]}\n    X-A: {values: [x], value: y}\n    x-a: {secrets: [x]}\n  tls_config: {cert_file: c, min_version: TLS9, max_version: TLS11}\n  proxy_url: http://\n  proxy_from_environment: false\n",
        &[
            "4:5: setting header \"Host\" is not allowed",
            "5:5: setting header \"authorization\" is not allowed",
            "6:5: `http_headers`: `a b` is no header name",
            "7:24: unknown key `value` in `http_headers entry`; did you mean `values`?",
            "8:5: header \"x-a\" is defined in multiple sections",
            "9:15: exactly one of key or key_file must be configured when a client certificate",
            "9:30: `min_version`: unknown TLS version: TLS9",
            "9:49: `max_version`: TLS 1.0 and 1.1 are not supported",
            "10:3: `proxy_url`: host is missing in URL",
        ],
    );
}

#[test]
fn oauth2_is_checked() {
    let good = client(
        "oauth2:\n  client_id: me\n  client_secret_file: s\n  scopes: [a, b]\n  token_url: https://h/t\n  endpoint_params: {x: y}\n  tls_config: {server_name: n}\n  proxy_url: http://p:1",
    );
    let oauth2 = good.oauth2.expect("it was typed");
    assert_eq!((&*oauth2.client_id, oauth2.scopes.len()), ("me", 2));
    assert!(matches!(&oauth2.grant, Grant::ClientCredentials { secret: Some(Source::File(_)) }));
    assert_eq!(oauth2.tls.server_name.as_deref(), Some("n"));
    assert!(oauth2.proxy.is_some() && good.proxy.is_none());

    faults(
        "oauth2: {client_secret: a, client_secret_file: b, token_url: x, clientid: c}",
        &[
            "3:11: oauth2 client_id must be configured",
            "3:30: at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be configured",
            "3:53: `token_url`: URL scheme must be 'http' or 'https'",
            "3:67: unknown key `clientid` in `oauth2`; did you mean `client_id`?",
        ],
    );
    let jwt = "grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer'";
    faults(
        &format!("oauth2: {{client_id: a, token_url: 'http://h', {jwt}}}"),
        &["3:49: `grant_type`: a token is asked for by a signature"],
    );
    faults(
        &format!(
            "oauth2: {{client_id: a, token_url: 'http://h', {jwt}, client_certificate_key: k, signature_algorithm: ES256}}"
        ),
        &["3:135: valid signature algorithms are RS256, RS384 and RS512"],
    );
    faults(
        "oauth2: {client_id: a, token_url: 'http://h', grant_type: password}",
        &["3:49: `grant_type`: expected `client_credentials` or"],
    );
    let signed = client(&format!(
        "oauth2: {{client_id: a, token_url: 'http://h', {jwt}, client_certificate_key: k, claims: {{n: 1, b: true, s: '1', l: [x]}}}}"
    ));
    let Grant::JwtBearer(assertion) = signed.oauth2.expect("it was typed").grant else {
        panic!("another grant")
    };
    let claims = serde_json::json!({ "n": 1, "b": true, "s": "1", "l": ["x"] });
    assert_eq!(serde_json::Value::Object(assertion.claims), claims);
}

#[test]
fn proxies_are_checked() {
    let proxy = |fields: &str| client(fields).proxy;
    assert_eq!(proxy("proxy_url: ''"), None);
    assert_eq!(proxy("proxy_from_environment: false"), None);
    let route = proxy("proxy_from_environment: true").expect("it was typed").route;
    assert_eq!(route, ProxyRoute::Environment);
    let typed = proxy("proxy_url: http://p\nno_proxy: a, b\nproxy_connect_header: {X-A: [b, c]}");
    let typed = typed.expect("it was typed");
    assert_eq!(typed.connect_header[0].1.len(), 2);
    assert!(matches!(&typed.route, ProxyRoute::Url { no_proxy, .. } if no_proxy == "a, b"));

    faults("no_proxy: a", &["3:3: if no_proxy is configured, proxy_url must also be configured"]);
    faults(
        "proxy_url: http://p\nproxy_from_environment: true\nno_proxy: a",
        &[
            "4:3: if proxy_from_environment is configured, proxy_url must not be configured",
            "5:3: if proxy_from_environment is configured, no_proxy must not be configured",
        ],
    );
    faults(
        "proxy_connect_header: {'a b': [x], c: y}",
        &[
            "3:3: if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
            "3:26: `proxy_connect_header`: `a b` is no header name",
            "3:41: `proxy_connect_header`: expected a list of values, found a single value",
        ],
    );
    for (url, expected) in [
        ("socks5://u:hunter2@p", "3:3: `proxy_url`: SOCKS proxies are not supported"),
        ("p:3128", "3:3: `proxy_url`: URL scheme must be 'http' or 'https'"),
        ("http://", "3:3: `proxy_url`: host is missing in URL"),
    ] {
        faults(&format!("proxy_url: '{url}'"), &[expected]);
    }
}

#[test]
fn signatures_are_checked() {
    let faults = |fields: &str, expected: &[&str]| {
        check(&format!("remote_write:\n- url: http://a\n  sigv4: {{{fields}}}\n"), expected);
    };
    faults(
        "access_key: a",
        &[
            "3:11: must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the SigV4 config",
        ],
    );
    faults(
        "secret_key: hunter2, secret_key_file: f, session_name: a b, external_id: x, tags: {'': a}",
        &[
            "3:11: only one of `secret_key` and `secret_key_file` may be set",
            "3:11: must provide a AWS SigV4 Access key and Secret Key",
            "3:52: session_name can only be used with role_arn",
            "3:52: session_name must match ^[\\w+=,.@-]{2,64}$",
            "3:71: external_id can only be used with role_arn",
            "3:87: tags can only be used with role_arn",
            "3:94: tag key must not be empty",
        ],
    );
    for key in ["azuread", "google_iam"] {
        check(
            &format!("remote_write:\n- url: http://a\n  {key}: {{x: y}}\n"),
            &[&format!("3:3: `{key}` is not supported")],
        );
    }
}

#[test]
fn what_is_shown_has_no_secret() {
    let text = "scrape_configs:
- job_name: a
  oauth2:
    client_id: me
    client_secret: hunter2
    token_url: 'http://u:hunter2@h/t?k=hunter2'
    endpoint_params: {audience: seen, api_key: hunter2}
    proxy_url: http://u:hunter2@p
  proxy_url: http://u:hunter2@p
  no_proxy: a.b
  proxy_connect_header: {X-A: [hunter2]}
- job_name: b
  oauth2:
    client_id: me
    grant_type: urn:ietf:params:oauth:grant-type:jwt-bearer
    client_certificate_key: hunter2
    claims: {a: hunter2}
    token_url: http://h
remote_write:
- url: http://a
  sigv4: {region: r, access_key: AK, secret_key: hunter2, role_arn: arn, external_id: hunter2}
";
    let config = parse(Path::new(""), text, &|_| None).expect("good");
    let shown = show::show(&config);
    assert!(!shown.contains("hunter2"), "{shown}");
    for part in [
        "client_secret: <secret>",
        "token_url: http://xxxxx@h/t?<secret>",
        "audience: seen",
        "api_key: <secret>",
        "proxy_url: http://xxxxx@p",
        "no_proxy: a.b",
        "client_certificate_key: <secret>",
        "access_key: AK",
        "secret_key: <secret>",
        "role_arn: arn",
    ] {
        assert!(shown.contains(part), "no `{part}` in {shown}");
    }
}

/// Whoever prints a configuration in a panic or a log tells no secret, wherever one may be typed.
#[test]
fn debug_of_a_configuration_tells_no_secret() {
    let text = "
global: {external_labels: {a: b}}
scrape_configs:
- job_name: j
  basic_auth: {username: u, password: SECRET}
  proxy_url: http://u:SECRET@proxy:1
  proxy_connect_header: {X: [SECRET]}
  static_configs: [{targets: ['a:1']}]
  http_sd_configs:
  - url: http://u:SECRET@h/sd?token=SECRET
    authorization: {credentials: SECRET}
  consul_sd_configs: [{server: 'u:SECRET@consul:8500', token: SECRET}]
  nomad_sd_configs: [{server: 'http://u:SECRET@nomad:4646'}]
  docker_sd_configs: [{host: 'http://u:SECRET@docker:2375'}]
  ec2_sd_configs: [{endpoint: 'http://u:SECRET@ec2/', access_key: k, secret_key: SECRET, region: r}]
  openstack_sd_configs:
  - identity_endpoint: http://u:SECRET@keystone/v3
    username: u
    password: SECRET
    domain_name: d
    project_name: p
    role: instance
    region: r
- job_name: k
  oauth2:
    client_id: c
    client_secret: SECRET
    token_url: https://u:SECRET@t/token
    endpoint_params: {a: SECRET}
  http_headers: {X: {secrets: [SECRET]}}
remote_write:
- url: https://u:SECRET@h/write?key=SECRET
  sigv4: {access_key: k, secret_key: SECRET, region: r}
";
    let config = read(text).expect("a good configuration");
    let shown = format!("{config:?}");
    let near = |at: usize| &shown[at.saturating_sub(100)..at];
    assert_eq!(shown.find("SECRET").map(near), None);
    for typed in ["xxxxx@h/sd", "xxxxx@nomad", "xxxxx@t/token", "xxxxx@h/write"] {
        assert!(shown.contains(typed), "{typed}: {shown}");
    }
}
