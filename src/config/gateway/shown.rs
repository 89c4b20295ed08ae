//! The `gateway` section as the effective configuration shows it: neither tokens nor hashes are.

use crate::{
    config::{
        GatewaySettings,
        gateway::{
            ACKS, MetricsGateway, PushAuth, Replicas,
            limits::{Limits, TenantLimits},
            tenants::{KINDS, TenantFrom, Tenants},
        },
        show::{Field, bytes, duration, rules, some_list, word},
        tokens, web,
        yaml_out::{Shown, flag, list, map, number, text},
    },
    model::hidden::SECRET,
};

/// Where something is set.
pub(in crate::config) fn show(settings: &GatewaySettings) -> Option<Shown> {
    let metrics = settings.metrics.as_deref()?;
    Some(map([("metrics", Some(show_metrics(metrics)))]))
}

fn show_metrics(settings: &MetricsGateway) -> Shown {
    map([
        ("listen_address", Some(text(&*settings.listen_address))),
        ("advertise_url", settings.advertise_url.as_deref().map(text)),
        ("tls", settings.tls.as_ref().map(web::show_tls)),
        ("auth", show_auth(&settings.auth)),
        ("tenants", Some(show_tenants(&settings.tenants))),
        ("limits", Some(show_limits(&settings.limits))),
        ("relabel_configs", rules(&settings.relabel)),
        ("ack", word(&ACKS, &settings.ack)),
        ("ha", settings.replicas.as_ref().map(show_replicas)),
    ])
}

fn show_auth(auth: &PushAuth) -> Option<Shown> {
    if *auth == PushAuth::default() {
        return None;
    }
    let users = auth.users.keys().map(|name| (name.clone(), text(SECRET)));
    let tokens = auth.tokens.iter().map(|token| {
        map([
            ("name", Some(text(&*token.name))),
            ("tenant", token.tenant.as_deref().map(text)),
            tokens::show(&token.source),
        ])
    });
    Some(map([
        ("basic_auth_users", (!auth.users.is_empty()).then(|| Shown::Map(users.collect()))),
        ("bearer_tokens", some_list(tokens.collect())),
    ]))
}

fn show_tenants(tenants: &Tenants) -> Shown {
    let [from, name] = show_source(&tenants.from);
    let allow = tenants.allow.as_ref();
    map([
        from,
        name,
        ("default", tenants.default.as_deref().map(text)),
        ("required", Some(flag(tenants.required))),
        ("allow", allow.map(|allow| list(allow.iter().map(|name| text(&**name))))),
    ])
}

/// What names a tenant, and by which header or label.
pub(in crate::config) fn show_source(from: &TenantFrom) -> [Field; 2] {
    let name = match from {
        TenantFrom::Header(header) => ("header", Some(text(&**header))),
        TenantFrom::Label(label) => ("label", Some(text(&**label))),
        TenantFrom::User | TenantFrom::Token | TenantFrom::Certificate => ("header", None),
    };
    [("from", word(&KINDS, &from.kind())), name]
}

fn show_limits(limits: &TenantLimits) -> Shown {
    let mut fields = show_fields(&limits.all);
    let overrides = limits.overrides.iter();
    let overrides = overrides.map(|(name, own)| ((**name).to_owned(), map(show_fields(own))));
    let has_some = !limits.overrides.is_empty();
    fields.push(("overrides", has_some.then(|| Shown::Map(overrides.collect()))));
    map(fields)
}

fn show_fields(limits: &Limits) -> Vec<Field> {
    vec![
        ("max_body_bytes", Some(bytes(limits.body_bytes_max))),
        ("max_decoded_bytes", Some(bytes(limits.decoded_bytes_max))),
        ("max_series", Some(number(limits.series_max))),
        ("max_samples", Some(number(limits.samples_max))),
        ("max_labels", Some(number(limits.labels_max))),
        ("max_label_name_bytes", Some(number(limits.label_name_bytes_max))),
        ("max_label_value_bytes", Some(number(limits.label_value_bytes_max))),
        ("samples_per_second", Some(number(limits.samples_per_second))),
        ("burst", Some(number(limits.burst))),
        ("max_active_series", Some(number(limits.active_series_max))),
        ("max_age", Some(duration(limits.age_max))),
        ("max_ahead", Some(duration(limits.ahead_max))),
    ]
}

fn show_replicas(replicas: &Replicas) -> Shown {
    map([
        ("cluster_label", Some(text(&*replicas.cluster_label))),
        ("replica_label", Some(text(&*replicas.replica_label))),
        ("failover", Some(duration(replicas.failover))),
    ])
}
