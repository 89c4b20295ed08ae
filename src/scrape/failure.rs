//! Why a scrape gave nothing: one name for each way it can fail, in Prometheus' words where it has
//! some, so that searches and dashboards go on to find them.

use std::{fmt, io, time::Duration};

use http::StatusCode;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Failure {
    /// Of this agent, not of the target: a credentials file, a certificate, the address itself.
    Settings(String),
    Lookup {
        host: String,
        reason: String,
    },
    Connect {
        address: String,
        reason: String,
    },
    Tls(String),
    /// Of the proxy, on the way to the target.
    Proxy(String),
    Timeout {
        after: Duration,
        stage: Stage,
    },
    Redirects,
    /// The answer is no HTTP, or broke off.
    Http(String),
    Status(StatusCode),
    /// Of `Content-Encoding`, or what it was to say.
    Encoding(String),
    BodySize {
        bytes_max: u64,
    },
    ContentType(String),
    /// A body that breaks its grammar, or a sample that no rule allows.
    Parse(String),
    SampleLimit {
        samples_max: usize,
    },
    /// A native histogram has more buckets than it may, and merging them does not help.
    BucketLimit {
        buckets_max: usize,
    },
    LabelLimit(String),
    TargetLimit {
        targets_max: usize,
    },
}

/// How far a scrape had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    #[default]
    Credentials,
    Lookup,
    Proxy,
    Connect,
    Handshake,
    Answer,
    Body,
}

impl Failure {
    /// For metrics, and to tell whether a target fails as it did before.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Settings(_) => "settings",
            Self::Lookup { .. } => "dns",
            Self::Connect { .. } => "connect",
            Self::Tls(_) => "tls",
            Self::Proxy(_) => "proxy",
            Self::Timeout { .. } => "timeout",
            Self::Redirects => "redirects",
            Self::Http(_) => "http",
            Self::Status(_) => "status",
            Self::Encoding(_) => "encoding",
            Self::BodySize { .. } => "body_size",
            Self::ContentType(_) => "content_type",
            Self::Parse(_) => "parse",
            Self::SampleLimit { .. } => "sample_limit",
            Self::BucketLimit { .. } => "bucket_limit",
            Self::LabelLimit(_) => "label_limit",
            Self::TargetLimit { .. } => "target_limit",
        }
    }

    /// Whether the scrape brought too much: nothing of it is kept, and nothing has ended either.
    pub(super) fn is_over_limit(&self) -> bool {
        matches!(self, Self::SampleLimit { .. } | Self::BucketLimit { .. })
    }

    /// Whether to log again: the same trouble with other figures in its sentence is no news.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Status(one), Self::Status(two)) => one == two,
            _ => self.kind() == other.kind(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lookup { host, reason } => write!(f, "dial tcp: lookup {host}: {reason}"),
            Self::Connect { address, reason } => {
                write!(f, "dial tcp {address}: connect: {reason}")
            }
            Self::Tls(reason) => write!(f, "tls: {reason}"),
            Self::Timeout { after, stage } => {
                write!(f, "context deadline exceeded: {stage} within {after:?}")
            }
            Self::Redirects => f.write_str("stopped after 10 redirects"),
            Self::Status(status) => write!(f, "server returned HTTP status {status}"),
            Self::BodySize { bytes_max } => {
                write!(f, "body size limit exceeded: more than {bytes_max} bytes uncompressed")
            }
            Self::SampleLimit { samples_max } => {
                write!(f, "sample limit exceeded: more than {samples_max} samples")
            }
            Self::BucketLimit { buckets_max } => {
                write!(f, "histogram bucket limit exceeded: more than {buckets_max} buckets")
            }
            Self::TargetLimit { targets_max } => {
                write!(f, "target_limit exceeded: more than {targets_max} targets")
            }
            Self::Settings(text)
            | Self::Proxy(text)
            | Self::Http(text)
            | Self::Encoding(text)
            | Self::ContentType(text)
            | Self::Parse(text)
            | Self::LabelLimit(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Credentials => "no credentials were given out",
            Self::Lookup => "the name was not resolved",
            Self::Proxy => "the proxy opened no way",
            Self::Connect => "no connection came about",
            Self::Handshake => "the TLS handshake did not end",
            Self::Answer => "no answer came",
            Self::Body => "the body did not end",
        })
    }
}

/// What the operating system says, without its number and in the case of a sentence's middle.
pub(super) fn io_reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => "no reason given".to_owned(),
    }
}
