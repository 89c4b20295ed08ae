//! The `gateway` section as data.

use super::*;

const HASH: &str = "$2y$10$4vWKQ6jE6WCgbSLDkPeYaO9qVgHtjdmBe1bzEEG.ydzZvV5dTUr0m";

fn metrics(fields: &str) -> Arc<MetricsGateway> {
    let text = format!("gateway:\n  metrics:\n    listen_address: ':9735'\n{fields}");
    read(&text).unwrap_or_else(|problems| panic!("{problems}")).gateway.metrics.expect("is there")
}

/// Of what stands behind `listen_address` in `metrics`.
#[track_caller]
fn check_metrics(fields: &str, expected: &[&str]) {
    check(&format!("gateway: {{metrics: {{listen_address: ':1', {fields}}}}}\n"), expected);
}

#[track_caller]
fn check_doubts(fields: &str, expected: &[&str]) {
    let text = format!(
        "gateway: {{metrics: {{listen_address: ':1', {fields}}}}}\nremote_write: [{{url: 'http://a'}}]\n"
    );
    check_warnings(&text, expected);
}

#[test]
fn a_gateway_is_off_or_has_its_defaults() {
    for text in ["", "gateway:\n", "gateway: {}\n", "gateway: {metrics: }\n"] {
        assert_eq!(read(text).expect("good").gateway, GatewaySettings::default(), "{text}");
    }
    let metrics = metrics("");
    assert_eq!((&*metrics.listen_address, metrics.ack), (":9735", Ack::Durable));
    assert_eq!(metrics.tenants.from, TenantFrom::Header("X-Scope-OrgID".to_owned()));
    let limits = metrics.limits.of("any");
    assert_eq!((limits.body_bytes_max, limits.decoded_bytes_max), (16 << 20, 32 << 20));
    assert_eq!(limits.ahead_max, Duration::from_mins(10));
    assert!(metrics.tls.is_none() && metrics.replicas.is_none() && metrics.relabel.is_empty());
}

#[test]
fn all_that_can_be_said_is_read_and_shown_without_a_secret() {
    let text = format!(
        "gateway:
  metrics:
    listen_address: gateway.example:9735
    advertise_url: https://gateway.example/api/v1/write
    tls: {{cert_file: c.pem, key: hunter2, client_ca_file: ca.pem, client_auth_type: VerifyClientCertIfGiven, curve_preferences: [X25519], min_version: TLS13}}
    auth:
      basic_auth_users: {{alice: {HASH}}}
      bearer_tokens:
      - {{name: old, tenant: edge, token: hunter2}}
      - {{name: edge, token_file: edge.token}}
    tenants: {{from: token, default: edge, allow: [edge, b]}}
    limits:
      max_body_bytes: 1MiB
      samples_per_second: 500
      max_age: 0
      overrides: {{edge: {{max_labels: 7, max_age: 1h}}, b: }}
    relabel_configs: [{{target_label: a, replacement: b}}]
    ack: memory
    ha: {{replica_label: replica}}
remote_write: [{{url: 'http://a'}}]
"
    );
    let config = read(&text).expect("good");
    assert_eq!(config.warnings, [""; 0]);
    let metrics = config.gateway.metrics.as_deref().expect("is there");
    let tenants: Vec<_> = metrics.auth.tokens.iter().map(|t| t.tenant.as_deref()).collect();
    assert_eq!(tenants, [Some("edge"), None]);
    let (edge, other) = (metrics.limits.of("edge"), metrics.limits.of("b"));
    assert_eq!((edge.labels_max, edge.samples_per_second), (7, 500));
    assert_eq!((edge.age_max, other.age_max), (Duration::from_hours(1), Duration::ZERO));
    assert_eq!(*other, metrics.limits.all);
    let replicas = metrics.replicas.as_ref().expect("is there");
    assert_eq!((&*replicas.cluster_label, &*replicas.replica_label), ("cluster", "replica"));
    assert_eq!((replicas.failover, metrics.ack), (Duration::from_secs(30), Ack::Memory));

    let shown = show::show(&config);
    for secret in ["hunter2", HASH] {
        assert!(!shown.contains(secret) && !format!("{config:?}").contains(secret), "{shown}");
    }
    // A hash that is hidden is none, and all else reads back.
    let again = read(&shown.replace("alice: <secret>", &format!("alice: {HASH}")));
    let again = again.unwrap_or_else(|problems| panic!("{problems}\n{shown}")).gateway;
    let again = again.metrics.as_deref().expect("is shown").clone();
    let expected = MetricsGateway {
        tls: again.tls.clone(),
        auth: again.auth.clone(),
        relabel: again.relabel.clone(),
        ..metrics.clone()
    };
    assert_eq!(again, expected);
    assert_eq!(again.tls.expect("is shown").client_auth, ClientAuth::VerifyIfGiven);
    assert_eq!((again.auth.users.len(), again.auth.tokens.len()), (1, 2));
}

#[test]
fn the_manuals_example_is_accepted() {
    let manual = include_str!("../../../docs/gateway.md");
    let example = manual.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let config = read(example.expect("it has one")).expect("good");
    assert_eq!(config.warnings, [""; 0]);
    let metrics = config.gateway.metrics.expect("is there");
    let shop = metrics.limits.of("shop");
    assert_eq!((shop.samples_per_second, shop.labels_max), (1_000_000, 40));
    assert_eq!(metrics.replicas, Some(Replicas::default()));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    check(
        "gateway: {metric: {}, logs: {}}\n",
        &[
            "1:11: unknown key `metric` in `gateway`; did you mean `metrics`?",
            "1:23: unknown key `logs` in `gateway`",
        ],
    );
    check(
        "gateway: {metrics: {listen_adress: ':1'}}\n",
        &[
            "1:20: `metrics` needs a `listen_address`",
            "1:21: unknown key `listen_adress` in `metrics`; did you mean `listen_address`?",
        ],
    );
    for address in ["'9735'", "'a:b'", "'a:70000'", "'a b:1'", "'::1:x'", "'[::1]'", "'a:+1'"] {
        let text = format!("gateway: {{metrics: {{listen_address: {address}}}}}\n");
        check(&text, &["1:21: `listen_address`: expected an address and a port"]);
    }
    for address in ["'[::1]:9735'", "0.0.0.0:9735", "'localhost:0'", "'[::]:1'"] {
        check(&format!("gateway: {{metrics: {{listen_address: {address}}}}}\n"), &[]);
    }
    for (url, fault) in [
        ("gateway:9735", "URL scheme must be"),
        ("ftp://gateway/", "URL scheme must be"),
        ("http:///write", "host is missing"),
        ("https://me@gateway/write", "expected one without credentials"),
        (&*format!("http://gateway/{}", "x".repeat(500)), "it is too long"),
    ] {
        let expected = format!("`advertise_url`: {fault}");
        check_metrics(&format!("advertise_url: '{url}'"), &[&format!("1:43: {expected}")]);
    }
    check_metrics(
        "ack: disk, relabel_configs: [{action: nope}]",
        &[
            "1:48: `ack`: expected `durable`, `memory`, `replicated`, found `disk`",
            "1:73: unknown relabel action \"nope\"",
        ],
    );
    check_metrics(
        "tls: {}",
        &["1:48: `tls`: `cert` or `cert_file`", "1:48: `tls`: `key` or `key_file`"],
    );
    check_metrics(
        "ha: {cluster_label: __name__, replica_label: cluster, failover: 0}",
        &[
            "1:48: `cluster_label`: \"__name__\" is not a valid label name",
            "1:73: `replica_label` and `cluster_label` must be two labels",
            "1:97: `failover`: expected from 1s to 1d",
        ],
    );
    check_metrics(
        "limits: {max_body_bytes: 0, max_decoded_bytes: 2GiB, max_series: -1, overrides: {a b: {max_lables: 1}}}",
        &[
            "1:52: `max_body_bytes`: expected more than 0 and at most 1GiB",
            "1:71: `max_decoded_bytes`: expected more than 0 and at most 1GiB",
            "1:108: `max_series`: expected a whole number from 0, found `-1`",
            "1:124: `overrides`: expected 1 to 150 letters",
            "1:130: unknown key `max_lables` in `overrides entry`; did you mean `max_labels`?",
        ],
    );
}

#[test]
fn what_names_a_tenant_must_be_there() {
    check_metrics(
        "tenants: {from: cookie, header: 'a b', label: '', default: a|b, allow: ['', a/b]}",
        &[
            "1:59: `from`: expected `header`, `label`, `user`, `token`, `certificate`, found `cookie`",
            "1:67: `header`: expected a header such as `X-Scope-OrgID`, found `a b`",
            "1:82: `label`: \"\" is not a valid label name",
            "1:93: `default`: expected 1 to 150 letters, digits",
            "1:115: `allow`: expected 1 to 150 letters",
            "1:119: `allow`: expected 1 to 150 letters",
        ],
    );
    check_metrics("tenants: {default: a, allow: [b]}", &["1:53: `default`: `a` is not in `allow`"]);
    check_metrics("tenants: {from: user}", &["1:43: `from: user` needs `basic_auth_users`"]);
    check_metrics("tenants: {from: token}", &["1:43: `from: token` needs `bearer_tokens`"]);
    check_metrics(
        "tenants: {from: certificate}, tls: {cert_file: c, key_file: k}",
        &["1:43: `from: certificate` needs a `client_auth_type`"],
    );
    check_metrics(
        &format!("tenants: {{from: user}}, auth: {{basic_auth_users: {{a/b: '{HASH}'}}}}"),
        &["1:73: `basic_auth_users`: `a/b` is to be a tenant"],
    );
    check_metrics(
        "tenants: {from: token}, auth: {bearer_tokens: [{name: a b, token: x}, {name: b c, token: y, tenant: d}, {token: z}, {name: d}]}",
        &[
            "1:91: `name`: `a b` is to be a tenant",
            "1:147: a token has no `name`: who pushes is told by it",
            "1:159: a token needs one of `token` and `token_file`",
        ],
    );
}

#[test]
fn doubtful_gateways_get_a_warning() {
    check_warnings(
        "gateway: {metrics: {listen_address: ':1'}}\n",
        &["1:11: `metrics` takes pushes and `remote_write` names no destination"],
    );
    check_doubts("ack: memory", &[]);
    check_doubts("tenants: {label: a}", &["1:53: `label` has no effect without `from: label`"]);
    check_doubts(
        "tenants: {from: label, header: a}",
        &["1:66: `header` has no effect without `from: header`"],
    );
    check_doubts(
        "tenants: {required: true, default: a}",
        &["1:53: `required` has no effect beside `default`"],
    );
    check_doubts(
        "auth: {bearer_tokens: [{name: a, token: x, tenant: b}]}",
        &["1:86: `tenant` of a token has no effect without `from: token`"],
    );
}

#[test]
fn tokens_are_read_from_files_that_are_watched() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path
    };
    let main = file(
        "starling.yml",
        "remote_write: [{url: 'http://a'}]\ngateway:\n  metrics:\n    listen_address: ':1'\n    tls: {cert_file: c, key_file: k}\n    auth: {bearer_tokens: [{name: a, token_file: a}, {name: b, token: short}]}\n",
    );
    let load = || load(&main, &TypedCluster::default(), &|_| None).expect("good");
    let mut config = load();
    let missing = unlock(&mut config).expect_err("no token");
    assert!(missing.starts_with("the token `a` in `") && !missing.contains('\n'), "{missing}");
    let path = file("a", "0123456789abcdef\n");
    let mut config = load();
    unlock(&mut config).expect("all are there");
    let tokens = &config.gateway.metrics.as_ref().expect("is there").auth.tokens;
    assert_eq!(tokens[0].key.as_ref().map(Secret::expose), Some("0123456789abcdef"));
    for file in [&path, &folder.path().join("c"), &folder.path().join("k")] {
        assert!(config.files.contains(file), "a change of it is a reload: {:?}", config.files);
    }
    assert_eq!(config.warnings.len(), 3, "{:?}", config.warnings);
    assert!(config.warnings[2].starts_with("the token `b` is shorter"), "{:?}", config.warnings);
}

#[test]
fn what_listens_goes_on_where_only_files_and_rules_are_new() {
    let of = |fields: &str| {
        let text = format!("gateway: {{metrics: {{listen_address: {fields}}}}}\n");
        read(&text).expect("good").gateway.metrics.expect("is there")
    };
    let old = of("':1', tls: {cert_file: c, key_file: k}");
    for (new, expected) in [
        ("':1'", false),
        ("':2', tls: {cert_file: c, key_file: k}", false),
        ("':1', tls: {cert_file: c, key_file: k, min_version: TLS13}", false),
        ("':1', tls: {cert_file: d, key_file: k}, ack: memory, ha: {}", true),
    ] {
        assert_eq!(old.listens_as(&of(new)), expected, "{new}");
    }
}
