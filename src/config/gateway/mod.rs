//! The `gateway` section: where pushes are taken, from whom, for which tenant, how much of them, and what
//! becomes of their series. What holds a request up against it is in `gateway`.

mod limits;
mod shown;
mod tenants;

use std::{collections::BTreeMap, io, path::Path, sync::Arc, time::Duration};

pub(super) use crate::config::gateway::shown::{show, show_source};
pub use crate::config::gateway::{
    limits::{Limits as PushLimits, TenantLimits},
    tenants::{TenantFrom, Tenants},
};
use crate::{
    config::{
        Secret, Source, WebTls,
        decode::{Findings, Section, shown as told},
        discovery, labels, relabel,
        tokens::{self, Locked, Unlocked},
        web,
        yaml::Node,
    },
    model::{
        labels::METRIC_NAME,
        member::PUSH_URL_BYTES_MAX,
        relabel::{NameValidation, Rule},
        tenant::{TENANT_EXPECTED, is_tenant},
    },
};

/// More are refused: each push is compared with all of them.
const TOKENS_MAX: usize = 1_024;
/// Longer host names do not exist.
const HOST_BYTES_MAX: usize = 253;
/// Who is silent for so long is not gone for a moment.
const FAILOVER_MAX: Duration = Duration::from_secs(24 * 3_600);
const ACKS: [(&str, Ack); 3] =
    [("durable", Ack::Durable), ("memory", Ack::Memory), ("replicated", Ack::Replicated)];

/// The `gateway` section: a part for each signal that is taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GatewaySettings {
    pub metrics: Option<Arc<MetricsGateway>>,
}

/// `gateway.metrics`: Prometheus remote write is taken, 1.0 and 2.0.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsGateway {
    /// `host:port`, or `:port` for every address of this host.
    pub listen_address: String,
    /// Where others are to push to this member; `None`: at the address that the fleet knows it by.
    pub advertise_url: Option<String>,
    /// `None`: plain HTTP.
    pub tls: Option<WebTls>,
    pub auth: PushAuth,
    pub tenants: Tenants,
    pub limits: TenantLimits,
    /// For each series, once its tenant and its replica are known.
    pub relabel: Vec<Rule>,
    pub ack: Ack,
    /// `None`: what each replica pushes is sent.
    pub replicas: Option<Replicas>,
}

/// Who may push. Where nothing is set, and no certificate is verified, anyone may.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PushAuth {
    /// Names and bcrypt hashes.
    pub users: BTreeMap<String, Secret>,
    pub tokens: Vec<PushToken>,
}

/// Who has it may push.
#[derive(Clone, Debug, PartialEq)]
pub struct PushToken {
    /// For the log, and with `from: token` the tenant where `tenant` says no other.
    pub name: Arc<str>,
    /// So that two tokens may be one tenant's while one takes the place of the other.
    pub tenant: Option<Arc<str>>,
    pub source: Source,
    /// What `source` holds; of a file `None` until `unlock` has read it.
    pub key: Option<Secret>,
}

/// When a push is answered with success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// When it is on the disk of each owner, or sent.
    #[default]
    Durable,
    /// When each owner has it in memory; a crash loses what was not written yet.
    Memory,
    /// When it is on the disk of each owner, and of who would follow the owner if it died.
    Replicated,
}

/// `ha`: of replicas that push the same, one is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// The label that replicas of one cluster have in common.
    pub cluster_label: String,
    /// The label that tells them apart, and is removed.
    pub replica_label: String,
    /// Who has pushed nothing for so long is replaced by the next that does.
    pub failover: Duration,
}

impl Default for Replicas {
    fn default() -> Self {
        Self {
            cluster_label: "cluster".to_owned(),
            replica_label: "__replica__".to_owned(),
            failover: Duration::from_secs(30),
        }
    }
}

impl MetricsGateway {
    /// Whether what listens for the one may go on for the other.
    pub fn listens_as(&self, other: &Self) -> bool {
        let (old, new) = (self.tls.as_ref(), other.tls.as_ref());
        self.listen_address == other.listen_address
            && web::tls_keys_that_need_a_restart(old, new, "tls").is_empty()
    }
}

/// Whether what is taken is sent anywhere is `has_destinations`.
pub(super) fn gateway(
    node: &Node,
    validation: NameValidation,
    has_destinations: bool,
    findings: &mut Findings,
) -> GatewaySettings {
    let Some(mut section) = Section::open(node, "gateway", findings) else {
        return GatewaySettings::default();
    };
    let found = section.get("metrics");
    let metrics = found.and_then(|node| metrics(node, validation, section.findings));
    if metrics.is_some() && !has_destinations {
        let place = section.place_of("metrics");
        let message = "`metrics` takes pushes and `remote_write` names no destination: they would be acknowledged and dropped";
        section.findings.warning(place, message);
    }
    section.close();
    GatewaySettings { metrics: metrics.map(Arc::new) }
}

fn metrics(
    node: &Node,
    validation: NameValidation,
    findings: &mut Findings,
) -> Option<MetricsGateway> {
    let mut section = Section::open(node, "metrics", findings)?;
    let listen_address = listen_address(&mut section);
    let advertise_url = advertise_url(&mut section);
    let tls = section.get("tls").and_then(|node| web::tls_of(node, "tls", true, section.findings));
    let tenants = section.get("tenants");
    let tenants = tenants.map(|node| tenants::tenants(node, validation, section.findings));
    let tenants = tenants.unwrap_or_default();
    let auth = section.get("auth").map(|node| auth(node, &tenants.from, section.findings));
    let auth = auth.unwrap_or_default();
    let place = section.place_of("tenants");
    if let Err(message) = tenants::check_source(&tenants.from, &auth, tls.as_ref()) {
        section.problem(place, message);
    }
    let limits = section.get("limits").map(|node| limits::limits(node, section.findings));
    let relabel = relabel::rules(
        &mut section,
        "relabel_configs",
        validation,
        "empty or null relabeling rule of the gateway",
    );
    let ack = section.word("ack", &ACKS).unwrap_or_default();
    let replicas = section.get("ha");
    let replicas = replicas.and_then(|node| replicas_of(node, validation, section.findings));
    section.close();
    Some(MetricsGateway {
        listen_address: listen_address?,
        advertise_url,
        tls,
        auth,
        tenants,
        limits: limits.unwrap_or_default(),
        relabel,
        ack,
        replicas,
    })
}

/// Host names are not asked for here: they may lead somewhere later.
fn listen_address(section: &mut Section<'_, '_>) -> Option<String> {
    const EXPECTED: &str = "an address and a port such as `0.0.0.0:9735` or `:9735`";

    let place = section.place_of("listen_address");
    let Some(text) = section.text("listen_address").filter(|text| !text.is_empty()) else {
        section.problem(place, format!("`metrics` needs a `listen_address`: {EXPECTED}"));
        return None;
    };
    let is_good = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
        is_port && (text.parse::<std::net::SocketAddr>().is_ok() || is_host(host))
    });
    if !is_good {
        let message = format!("`listen_address`: expected {EXPECTED}, found `{}`", told(text));
        section.problem(place, message);
        return None;
    }
    Some(text.to_owned())
}

/// It is told to whoever may push, so nothing in it may be a secret.
fn advertise_url(section: &mut Section<'_, '_>) -> Option<String> {
    let text = section.text("advertise_url")?;
    let has_credentials = |text: &str| {
        url::Url::parse(text)
            .is_ok_and(|url| !url.username().is_empty() || url.password().is_some())
    };
    let fault = match discovery::url_fault(text) {
        Some(fault) => fault,
        None if text.len() > PUSH_URL_BYTES_MAX => "it is too long",
        None if has_credentials(text) => "expected one without credentials",
        None => return Some(text.to_owned()),
    };
    let place = section.place_of("advertise_url");
    section.problem(place, format!("`advertise_url`: {fault}"));
    None
}

/// An empty one is every address.
fn is_host(host: &str) -> bool {
    host.len() <= HOST_BYTES_MAX
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

fn auth(node: &Node, from: &TenantFrom, findings: &mut Findings) -> PushAuth {
    let Some(mut section) = Section::open(node, "auth", findings) else {
        return PushAuth::default();
    };
    let users = web::users(&mut section);
    if *from == TenantFrom::User {
        let place = section.place_of("basic_auth_users");
        for name in users.keys().filter(|name| !is_tenant(name.as_bytes())) {
            let message = format!(
                "`basic_auth_users`: `{}` is to be a tenant (`from: user`): expected {TENANT_EXPECTED}",
                told(name)
            );
            section.problem(place, message);
        }
    }
    let tokens = tokens::list(&mut section, "bearer_tokens", TOKENS_MAX, |node, findings| {
        token(node, from, findings)
    });
    section.close();
    PushAuth { users, tokens: tokens.into_iter().map(|(_, token)| token).collect() }
}

fn token(node: &Node, from: &TenantFrom, findings: &mut Findings) -> Option<(Arc<str>, PushToken)> {
    let mut section = Section::open(node, "bearer_tokens entry", findings)?;
    let name = tokens::name(&mut section, "who pushes is told by it");
    let tenant = tenants::tenant(&mut section, "tenant");
    let place = section.place_of("tenant");
    if *from != TenantFrom::Token {
        if tenant.is_some() {
            let message = "`tenant` of a token has no effect without `from: token` in `tenants`";
            section.findings.warning(place, message);
        }
    } else if tenant.is_none() && !name.is_empty() && !is_tenant(name.as_bytes()) {
        let message = format!(
            "`name`: `{}` is to be a tenant (`from: token`): expected {TENANT_EXPECTED}, or a `tenant` beside it",
            told(&name)
        );
        section.problem(section.place_of("name"), message);
    }
    let (source, key) = tokens::key(section)?;
    Some((name.clone(), PushToken { name, tenant, source, key }))
}

fn replicas_of(
    node: &Node,
    validation: NameValidation,
    findings: &mut Findings,
) -> Option<Replicas> {
    let unset = Replicas::default();
    let mut section = Section::open(node, "ha", findings)?;
    let replicas = Replicas {
        cluster_label: label(&mut section, "cluster_label", validation)
            .unwrap_or(unset.cluster_label),
        replica_label: label(&mut section, "replica_label", validation)
            .unwrap_or(unset.replica_label),
        failover: section.duration("failover").unwrap_or(unset.failover),
    };
    if replicas.cluster_label == replicas.replica_label {
        let place = section.place_of("replica_label");
        section.problem(place, "`replica_label` and `cluster_label` must be two labels");
    }
    if !(Duration::from_secs(1)..=FAILOVER_MAX).contains(&replicas.failover) {
        let place = section.place_of("failover");
        section.problem(place, "`failover`: expected from 1s to 1d");
    }
    section.close();
    Some(replicas)
}

/// A label's name, and not that of the metric.
fn label(
    section: &mut Section<'_, '_>,
    key: &'static str,
    validation: NameValidation,
) -> Option<String> {
    let text = section.text(key)?;
    if validation.allows_label(text) && text != METRIC_NAME {
        return Some(text.to_owned());
    }
    let place = section.place_of(key);
    let name = labels::quoted(text);
    section.problem(place, format!("`{key}`: {name} is not a valid label name"));
    None
}

/// Fills in the tokens that stand in files, by `read`, and looks at all of them.
pub(super) fn unlock(
    settings: &mut GatewaySettings,
    read: impl Fn(&Path) -> io::Result<Secret>,
) -> Unlocked {
    let Some(metrics) = &mut settings.metrics else { return Unlocked::default() };
    let tokens = &mut Arc::make_mut(metrics).auth.tokens;
    let locked = tokens.iter_mut().map(|token| Locked {
        name: &token.name,
        source: &token.source,
        key: &mut token.key,
    });
    tokens::unlock(locked.collect(), read)
}

impl GatewaySettings {
    /// The files of tokens, which must be there when the configuration comes into force.
    pub(super) fn token_files(&self) -> impl Iterator<Item = &std::path::PathBuf> {
        let metrics = self.metrics.iter();
        metrics.flat_map(|metrics| &metrics.auth.tokens).filter_map(|token| token.source.file())
    }
}
