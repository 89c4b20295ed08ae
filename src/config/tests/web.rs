//! The file of `--web.config.file` as data.

use super::*;
use crate::config::web;

const HASH: &str = "$2y$10$4vWKQ6jE6WCgbSLDkPeYaO9qVgHtjdmBe1bzEEG.ydzZvV5dTUr0m";

/// Problems where there are some, else warnings.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let found = match web::parse(Path::new(""), text) {
        Ok(parsed) => parsed.warnings,
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    };
    compare(&found, expected);
}

#[track_caller]
fn parse(text: &str) -> Web {
    web::parse(Path::new("/etc/web.yml"), text).expect("good").web
}

#[test]
fn what_exporters_take_is_taken() {
    assert_eq!(parse(""), Web::default());
    assert_eq!(parse("tls_server_config: {}\n"), Web::default(), "nothing set is no TLS");
    let web = parse(&format!(
        "tls_server_config:\n  cert_file: a.crt\n  key_file: /b.key\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [a.example, 10.0.0.1, 'spiffe://a/b']\n  cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305]\n  min_version: TLS12\n  max_version: TLS13\n  curve_preferences: [X25519, CurveP256]\n  prefer_server_cipher_suites: false\nhttp_server_config:\n  http2: false\n  headers: {{strict-transport-security: max-age=1, X-Frame-Options: ''}}\nbasic_auth_users:\n  alice: {HASH}\n"
    ));
    let tls = web.tls.expect("TLS is set");
    assert_eq!(tls.cert, Source::File("/etc/a.crt".into()));
    assert_eq!(tls.key, Source::File("/b.key".into()));
    assert_eq!(tls.client_auth, ClientAuth::RequireAndVerify);
    assert_eq!(tls.cipher_suites, ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]);
    assert_eq!(tls.curves, [Curve::X25519, Curve::P256]);
    assert!(!tls.prefer_server_cipher_suites);
    let header = ("Strict-Transport-Security".to_owned(), "max-age=1".to_owned());
    assert_eq!(web.headers, [header]);
    assert_eq!(web.users["alice"].expose(), HASH);
}

#[test]
fn every_problem_is_told_and_no_password() {
    check(
        "tls_server_config: {cert_file: a}\nhttp_server_config: {headers: {X-Own: a}, http3: true}\nbasic_auth_users: {alice: hunter2, 'b:c': hunter2}\nrate_limit: {interval: 1s}\ntls: {}\n",
        &[
            "1:20: `tls_server_config`: `key` or `key_file` is missing",
            "2:32: `headers`: `X-Own` can't be set here; expected some of Content-Security-Policy,",
            "2:43: unknown key `http3` in `http_server_config`",
            "3:27: `basic_auth_users`: expected a bcrypt hash for `alice`",
            "3:36: `basic_auth_users`: `b:c` is no user name",
            "3:43: `basic_auth_users`: expected a bcrypt hash for `b:c`",
            "4:1: `rate_limit` is not here",
            "5:1: unknown key `tls` at the top level",
        ],
    );
    let problems = web::parse(Path::new(""), "basic_auth_users: {a: hunter2}\n").expect_err("bad");
    assert!(!problems.to_string().contains("hunter2"));
    let slow = HASH.replace("$10$", "$17$");
    check(
        &format!("basic_auth_users: {{a: {slow}}}\n"),
        &["1:23: `basic_auth_users`: the hash of `a` has cost 17; expected at most 16"],
    );
}

#[test]
fn tls_that_is_not_spoken_is_refused_by_name() {
    let files = "cert_file: a, key_file: b";
    let tls = |fields: &str, expected: &[&str]| {
        check(&format!("tls_server_config: {{{files}, {fields}}}\n"), expected);
    };
    tls(
        "cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]",
        &["1:64: `cipher_suites`: `TLS_RSA_WITH_AES_128_CBC_SHA` is unknown or too weak"],
    );
    tls(
        "curve_preferences: [CurveP521, x]",
        &[
            "1:68: `curve_preferences`: `CurveP521` is not spoken",
            "1:79: `curve_preferences`: `x` is unknown",
        ],
    );
    tls("min_version: TLS14", &["1:48: `min_version`: unknown TLS version"]);
    tls("max_version: TLS11", &["1:48: `max_version`: TLS 1.0 and 1.1 are not supported"]);
    tls("min_version: TLS11", &["1:48: `min_version`: the least version spoken is TLS 1.2"]);
    tls("client_auth_type: Always", &["1:66: `client_auth_type`: expected `NoClientCert`"]);
    tls(
        "client_auth_type: RequireAndVerifyClientCert",
        &["1:48: `client_auth_type` verifies certificates: `client_ca_file` must say whose"],
    );
    tls(
        "client_auth_type: RequireAnyClientCert",
        &["1:48: `client_auth_type`: a certificate that nobody verifies"],
    );
    tls(
        "client_ca_file: c",
        &["1:48: `client_ca_file` is set and `client_auth_type` asks for no certificate"],
    );
    tls("client_allowed_sans: [a]", &["1:48: `client_allowed_sans` holds only for certificates"]);
    tls(
        "client_auth_type: VerifyClientCertIfGiven, client_ca_file: c, client_allowed_sans: [a@b]",
        &["1:132: `client_allowed_sans`: expected a DNS name"],
    );
    tls("key: x", &["1:35: only one of `key` and `key_file` may be set"]);
}
