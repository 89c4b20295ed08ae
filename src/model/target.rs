//! A scrape target, as relabelling left it.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::model::{hidden, labels::Labels, slot::StreamKey};

/// Host and port, or what relabelling makes of them; each discovered target has it.
pub const ADDRESS: &str = "__address__";
pub const SCHEME: &str = "__scheme__";
pub const METRICS_PATH: &str = "__metrics_path__";
pub const SCRAPE_INTERVAL: &str = "__scrape_interval__";
pub const SCRAPE_TIMEOUT: &str = "__scrape_timeout__";
/// `true` or `false`, for this one target.
pub const SCRAPE_NATIVE_HISTOGRAMS: &str = "__scrape_native_histograms__";
pub const ALWAYS_SCRAPE_CLASSIC_HISTOGRAMS: &str = "__always_scrape_classic_histograms__";
pub const CONVERT_CLASSIC_HISTOGRAMS: &str = "__convert_classic_histograms_to_nhcb__";
/// Limits of this one target, in the place of its job's.
pub const SAMPLE_LIMIT: &str = "__sample_limit__";
pub const LABEL_LIMIT: &str = "__label_limit__";
pub const SERIES_LIMIT: &str = "__series_limit__";
/// Where within its interval it is scraped; an offset wins.
pub const SCRAPE_OFFSET: &str = "__scrape_offset__";
pub const SCRAPE_ALIGN_INTERVAL: &str = "__scrape_align_interval__";
/// With the name of an URL parameter behind it: the first value of that parameter.
pub const PARAM_PREFIX: &str = "__param_";
/// What discovery knows about a target: there for relabelling, and gone after it.
pub const META_PREFIX: &str = "__meta_";
/// The name of the host that scrapes it, on targets of jobs that are not divided: so one file says
/// `instance` for every host. A divided target has none, as its labels must not tell who owns it.
pub const HOST: &str = "__meta_starling_host";
pub const JOB: &str = "job";
pub const INSTANCE: &str = "instance";

/// Targets as a discovery provider found them, before any relabelling.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetGroup {
    /// Names the group among those of its provider: a later group of that source replaces it.
    pub source: String,
    /// Each has at least `__address__`.
    pub targets: Vec<Labels>,
    /// Given to each target that has not got that label itself.
    pub labels: Labels,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub job: Arc<str>,
    /// After relabelling, without `__meta_*`; `__*` labels are identity, never on samples.
    pub labels: Labels,
    /// Before relabelling, with `__meta_*`: for the eyes only.
    pub discovered: Labels,
    /// Hash of all labels and the URL: two targets of one id are one target.
    pub id: TargetId,
    /// Hash of job, scheme, address, path and parameters: what phase and ownership hang on.
    pub key: StreamKey,
    /// Scheme, host, path, sorted and form-encoded query.
    pub url: String,
    pub interval: Duration,
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TargetId(pub u64);

/// Names a scraped target, by job as well: two jobs may have a target in common and both scrape it.
pub type TargetName = (TargetId, Arc<str>);

impl std::fmt::Display for TargetId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Target {
    /// The URL for people: without what is secret in it.
    pub fn shown_url(&self) -> std::borrow::Cow<'_, str> {
        hidden::url(&self.url)
    }

    /// The labels that its samples get: all but `__*`.
    pub fn public_labels(&self) -> Labels {
        self.labels.iter().filter(|(name, _)| !name.starts_with("__")).collect()
    }
}

/// A target that relabelling dropped, or that could not be made one.
#[derive(Clone, Debug, PartialEq)]
pub struct DroppedTarget {
    pub discovered: Labels,
    /// `None`: a rule dropped it. Otherwise what is wrong with it.
    pub error: Option<String>,
}

impl DroppedTarget {
    /// By which it can be asked for, though it has no identity as a target.
    pub fn id(&self, job: &str) -> TargetId {
        let mut hasher = Xxh3::new();
        hasher.update(job.as_bytes());
        hasher.update(&[0xff]);
        hasher.update(&self.discovered.hash().to_le_bytes());
        TargetId(hasher.digest())
    }
}
