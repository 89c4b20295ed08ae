//! What the file means: every setting with its default applied, checked as a whole.

mod admin;
pub mod cluster;
mod clustering;
mod decode;
mod digest;
mod discovery;
mod document;
mod gateway;
mod glob;
mod global;
mod history;
mod http;
mod job;
mod labels;
mod load;
mod outbox;
pub mod problem;
mod relabel;
mod remote_write;
mod scrape;
mod server_only;
pub mod show;
#[cfg(test)]
mod tests;
mod tokens;
pub mod units;
mod web;
pub mod yaml;
pub mod yaml_out;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use crate::config::{
    admin::{AdminSettings, Token},
    cluster::{
        AdvertiseAddress, Cluster, OnPartition, TypedCluster, WEIGHT_MAX,
        cluster_keys_that_need_a_restart,
    },
    digest::{digest, job_digest},
    discovery::{
        Azure, AzureAuthentication, AzureEnvironment, Consul, DigitalOcean, Docker, DockerDoor,
        Ec2, Ec2Filter, Gce, Hetzner, HetznerRole, Nomad, OpenStack, OpenStackAvailability,
        OpenStackIdentity, OpenStackRole, Polled, Provider,
    },
    gateway::{
        Ack, GatewaySettings, MetricsGateway, PushAuth, PushLimits, PushToken, Replicas,
        TenantFrom, TenantLimits, Tenants,
    },
    global::Environment,
    job::{Clustering, Job, Limits, NativeHistograms, Phase, Scheme},
    load::{
        LoadedWeb, SECRET_BYTES_MAX, SECRET_BYTES_MIN, SECRET_KNOWN_TO_ALL, load, load_all,
        load_web, unlock,
    },
    problem::{Problem, Problems},
    web::{ClientAuth, Curve, Web, WebTls, web_keys_that_need_a_restart},
};

use crate::model::{
    labels::Labels,
    protocol::{Escaping, ScrapeProtocol},
    relabel::{NameValidation, Rule},
    target::TargetGroup,
};

/// Checks `text` as if it stood in the file `path`, of which only the name is used: no file is read,
/// and `scrape_config_files` match none.
pub fn parse(path: &Path, text: &str, environment: Environment<'_>) -> Result<Config, Problems> {
    let main = document::Document::read(path, text);
    let decoded = document::decode(main, Vec::new(), &TypedCluster::default(), environment);
    decoded.map(|decoded| decoded.config)
}

/// A bare list of relabelling rules.
pub fn relabel_rules(text: &str, validation: NameValidation) -> Result<Vec<Rule>, Problems> {
    relabel::list(text, validation)
}

/// A whole configuration. Parts compare their own section with the one they run.
/// The default is what an empty file means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub global: Global,
    /// In the order of the files; names are unique.
    pub jobs: Vec<Arc<Job>>,
    pub destinations: Vec<Arc<Destination>>,
    pub outbox: OutboxSettings,
    pub history: HistorySettings,
    pub cluster: Cluster,
    pub admin: AdminSettings,
    pub gateway: GatewaySettings,
    /// The file of `--web.config.file`.
    pub web: Web,
    /// Every file whose change means a reload: the file itself, `scrape_config_files` and the
    /// folders of their patterns, secrets, credentials, certificates and keys. (`file_sd` files are watched by their provider.)
    pub files: Vec<PathBuf>,
    /// For a person: what is accepted and has no effect, with its place.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the file has as many")]
pub struct Global {
    pub scrape_interval: Duration,
    pub scrape_timeout: Duration,
    pub external_labels: Labels,
    /// Starling's own key; for a flag of Prometheus.
    pub scrape_timestamp_tolerance: Duration,
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    pub scrape_native_histograms: bool,
    pub always_scrape_classic_histograms: bool,
    pub convert_classic_histograms_to_nhcb: bool,
    pub extra_scrape_metrics: bool,
    /// Starling's own keys; each for a feature flag of Prometheus.
    pub start_timestamp_zeros: bool,
    pub type_and_unit_labels: bool,
    pub metric_name_validation: NameValidation,
    pub metric_name_escaping: Escaping,
    pub limits: Limits,
    pub keep_dropped_targets: usize,
    pub scrape_failure_log_file: Option<PathBuf>,
    pub clustering: Clustering,
}

/// How to reach an HTTP server: scrapes, discovery and destinations alike.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpClient {
    pub basic_auth: Option<BasicAuth>,
    pub authorization: Option<Authorization>,
    pub oauth2: Option<Box<OAuth2>>,
    /// Of destinations, and of discovery that asks AWS.
    pub sigv4: Option<Box<SigV4>>,
    pub proxy: Option<Proxy>,
    pub tls: Tls,
    pub follow_redirects: bool,
    pub enable_http2: bool,
    /// `http_headers` (or a destination's `headers`), in the order of the file.
    pub headers: Vec<(String, Vec<Source>)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BasicAuth {
    pub username: Source,
    /// `None` is the empty password.
    pub password: Option<Source>,
}

/// `Authorization: <scheme> <credentials>`; a bearer token is one with scheme `Bearer`.
#[derive(Clone, Debug, PartialEq)]
pub struct Authorization {
    pub scheme: String,
    pub credentials: Option<Source>,
}

/// `oauth2`: requests carry a token that a server gives out.
#[derive(Clone, Debug, PartialEq)]
pub struct OAuth2 {
    pub client_id: String,
    pub grant: Grant,
    pub scopes: Vec<String>,
    pub token_url: TypedUrl,
    /// Sent along with each request for a token.
    pub endpoint_params: BTreeMap<String, Secret>,
    pub tls: Tls,
    pub proxy: Option<Proxy>,
}

/// By what a token is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Grant {
    /// `None` is the empty secret.
    ClientCredentials {
        secret: Option<Source>,
    },
    JwtBearer(Box<Assertion>),
}

/// What is signed to get a token (RFC 7523).
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    /// An RSA key in PEM.
    pub key: Source,
    pub key_id: Option<String>,
    pub algorithm: SignatureAlgorithm,
    /// `None`: the client's id.
    pub issuer: Option<String>,
    /// `None`: the token's URL.
    pub audience: Option<String>,
    pub claims: serde_json::Map<String, serde_json::Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    Rs256,
    Rs384,
    Rs512,
}

/// `sigv4`: requests are signed as AWS asks for it. What is not set comes from the environment, the
/// files that AWS' tools share, or the instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SigV4 {
    /// What the signature is for: `aps`, `ec2`, `sts`.
    pub service: String,
    pub region: Option<String>,
    /// There is none without `secret_key`, and the other way round.
    pub access_key: Option<String>,
    pub secret_key: Option<Source>,
    pub profile: Option<String>,
    /// Taken on with those credentials, through STS.
    pub role_arn: Option<String>,
    pub external_id: Option<String>,
    pub session_name: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub use_fips_sts_endpoint: bool,
}

/// Between the agent and a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    pub route: ProxyRoute,
    /// For the proxy alone, when it is asked for a tunnel.
    pub connect_header: Vec<(String, Vec<Secret>)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ProxyRoute {
    /// A password may stand in it.
    Url { url: Secret, no_proxy: String },
    /// `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, as of the agent's start.
    Environment,
}

/// A value in the file, or a file that holds it and is read again each time it is needed.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Inline(Secret),
    File(PathBuf),
}

impl Source {
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Inline(_) => None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    pub ca: Option<Source>,
    pub cert: Option<Source>,
    pub key: Option<Source>,
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
    pub min_version: Option<TlsVersion>,
    pub max_version: Option<TlsVersion>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

/// What a credential lets its holder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// May look at everything and change nothing.
    ReadOnly,
    Admin,
}

/// A text that shows itself to nobody who does not ask for it by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

/// A URL as typed. Users and passwords may stand in it, and tokens in its query.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TypedUrl(String);

impl TypedUrl {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// For whoever asks there.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// For a log or a view: without the credentials that may stand in it.
    pub fn shown(&self) -> String {
        discovery::without_credentials(&self.0)
    }
}

impl std::fmt::Debug for TypedUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.shown(), f)
    }
}

/// Where a job's targets come from. Equal settings are run once, whichever jobs name them.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a job has a handful")]
pub enum Discovery {
    Static(Vec<TargetGroup>),
    File {
        files: Vec<String>,
        refresh_interval: Duration,
    },
    Http {
        url: TypedUrl,
        refresh_interval: Duration,
        client: HttpClient,
    },
    Dns {
        names: Vec<String>,
        record: DnsRecord,
        port: u16,
        refresh_interval: Duration,
    },
    /// An API that is asked again and again.
    Polled(Box<Polled>),
}

impl Discovery {
    /// As metrics and logs call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Static(_) => "static",
            Self::File { .. } => "file",
            Self::Http { .. } => "http",
            Self::Dns { .. } => "dns",
            Self::Polled(polled) => polled.provider.kind(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsRecord {
    A,
    Aaaa,
    Srv,
    Mx,
    Ns,
}

/// One entry of `remote_write`.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the file has as many")]
pub struct Destination {
    /// As typed, else the first six hex digits of a hash of the entry, as Prometheus does.
    pub name: Arc<str>,
    /// What the members of a fleet call it among themselves, as its URL may differ from host to host:
    /// the name as typed, else its place among those without one, as `#1`.
    pub fleet_name: Arc<str>,
    pub url: TypedUrl,
    pub timeout: Duration,
    pub http: HttpClient,
    pub external_labels: Labels,
    pub write_relabel: Vec<Rule>,
    pub send_exemplars: bool,
    pub send_native_histograms: bool,
    pub message: WriteMessage,
    pub compression: WriteCompression,
    pub metadata: MetadataSending,
    /// Each new connection goes to the next address of the host name.
    pub round_robin_dns: bool,
    /// It is a gateway of Starling's: it is asked who owns which series, and each goes there at once.
    pub placement: bool,
    /// How much older than the newest sample of its series one may be that the receiver still takes.
    pub out_of_order_window: Duration,
    pub queue: Queue,
}

/// `protobuf_message`: the version of remote write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteMessage {
    #[default]
    V1,
    V2,
}

/// `x_compression`, Starling's own key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteCompression {
    /// Zstandard where the destination says of itself that it takes it, else snappy.
    #[default]
    Auto,
    Snappy,
    Zstd,
}

/// `metadata_config`: what targets say of their metrics, in requests of their own. Only for 1.0, as
/// 2.0 has it with each series.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataSending {
    pub enabled: bool,
    pub interval: Duration,
    /// Families in one request.
    pub families_per_send_max: usize,
}

impl Destination {
    /// The URL for a log or a view: without the credentials that may stand in it.
    pub fn shown_url(&self) -> String {
        self.url.shown()
    }
}

/// What of `queue_config` the outbox has.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    pub samples_per_send_max: usize,
    /// How long a sample may wait for company.
    pub batch_send_deadline: Duration,
    pub min_backoff: Duration,
    pub max_backoff: Duration,
    /// Samples older than this are dropped; zero keeps them.
    pub sample_age_limit: Duration,
}

/// The `history` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// Otherwise nothing is kept, and a file that is there is left alone.
    pub enabled: bool,
    /// What happened longer ago is forgotten.
    pub age_max: Duration,
    /// Of the file and the log of changes beside it; the oldest makes room.
    pub bytes_max: u64,
}

/// The `outbox` section; each destination has its own queue with these bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxSettings {
    /// Unsent bytes of one destination.
    pub bytes_max: u64,
    /// Unsent data older than this is dropped; zero keeps it.
    pub age_max: Duration,
    /// Ordered lanes of one destination and tenant.
    pub lanes: u16,
    /// Requests of one destination on their way at once.
    pub in_flight_max: usize,
    /// The outbox grows no further when the file system has less free bytes than this.
    pub free_disk_bytes_min: u64,
    pub when_full: WhenFull,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    DropOldest,
    PushBack,
}
