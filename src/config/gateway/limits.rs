//! `limits` of the gateway: how much one tenant may push, and what is different for some of them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    config::{
        decode::{Findings, Section, shown},
        yaml::Node,
    },
    model::tenant::{TENANT_EXPECTED, is_tenant},
};

/// More are refused: each is looked up with each push.
const OVERRIDES_MAX: usize = 10_000;
/// A body is in memory as a whole, so that there is no push without a bound.
const BYTES_MAX: u64 = 1 << 30;
/// More cannot be taken by any member, and what is counted with it stays within 64 bits.
const PER_SECOND_MAX: i128 = 1_000_000_000;
const COUNT_MAX: i128 = u32::MAX as i128;

/// What holds for all tenants, and for some alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantLimits {
    pub all: Limits,
    /// Whole: what an entry does not say is as in `all`.
    pub overrides: BTreeMap<Arc<str>, Limits>,
}

/// Of one tenant. Zero is no limit, but for the two sizes, which always have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A push as it comes.
    pub body_bytes_max: u64,
    /// The same, unpacked.
    pub decoded_bytes_max: u64,
    /// In one push.
    pub series_max: usize,
    /// In one push.
    pub samples_max: usize,
    /// Of one series.
    pub labels_max: usize,
    pub label_name_bytes_max: usize,
    pub label_value_bytes_max: usize,
    /// Of all members together.
    pub samples_per_second: u64,
    /// Samples that a tenant which was quiet may push at once; zero is ten seconds' worth.
    pub burst: u64,
    /// Series with a sample lately, of all members together.
    pub active_series_max: usize,
    /// Samples that are older are refused.
    pub age_max: Duration,
    /// Samples from further ahead are refused.
    pub ahead_max: Duration,
}

impl TenantLimits {
    pub fn of(&self, tenant: &str) -> &Limits {
        self.overrides.get(tenant).unwrap_or(&self.all)
    }
}

impl Default for Limits {
    /// Narrow enough to stop a client that runs away, and wide enough that nothing is refused here which
    /// backends take by default.
    fn default() -> Self {
        Self {
            body_bytes_max: 16 << 20,
            decoded_bytes_max: 32 << 20,
            series_max: 0,
            samples_max: 0,
            labels_max: 64,
            label_name_bytes_max: 1_024,
            label_value_bytes_max: 8_192,
            samples_per_second: 0,
            burst: 0,
            active_series_max: 0,
            age_max: Duration::from_secs(30 * 24 * 3_600),
            ahead_max: Duration::from_secs(600),
        }
    }
}

pub(super) fn limits(node: &Node, findings: &mut Findings) -> TenantLimits {
    let Some(mut section) = Section::open(node, "limits", findings) else {
        return TenantLimits::default();
    };
    let all = fields(&mut section, &Limits::default());
    let overrides = overrides(&mut section, &all);
    section.close();
    TenantLimits { all, overrides }
}

fn overrides(section: &mut Section<'_, '_>, all: &Limits) -> BTreeMap<Arc<str>, Limits> {
    let entries = section.mapping("overrides");
    if entries.len() > OVERRIDES_MAX {
        let (place, count) = (section.place_of("overrides"), entries.len());
        let message = format!("`overrides`: expected at most {OVERRIDES_MAX}, found {count}");
        section.problem(place, message);
        return BTreeMap::new();
    }
    let mut overrides = BTreeMap::new();
    for (key, node) in entries {
        if !is_tenant(key.text.as_bytes()) {
            let name = shown(&key.text);
            let message = format!("`overrides`: expected {TENANT_EXPECTED}, found `{name}`");
            section.problem(key.place, message);
        }
        let Some(mut own) = Section::open(node, "overrides entry", section.findings) else {
            continue;
        };
        overrides.insert(key.text.as_str().into(), fields(&mut own, all));
        own.close();
    }
    overrides
}

/// Each key that is absent is as in `unset`.
fn fields(section: &mut Section<'_, '_>, unset: &Limits) -> Limits {
    let mut count = |key, unset: usize| section.number(key, 0..=COUNT_MAX).unwrap_or(unset);
    let series_max = count("max_series", unset.series_max);
    let samples_max = count("max_samples", unset.samples_max);
    let labels_max = count("max_labels", unset.labels_max);
    let label_name_bytes_max = count("max_label_name_bytes", unset.label_name_bytes_max);
    let label_value_bytes_max = count("max_label_value_bytes", unset.label_value_bytes_max);
    let active_series_max = count("max_active_series", unset.active_series_max);
    Limits {
        body_bytes_max: bytes(section, "max_body_bytes", unset.body_bytes_max),
        decoded_bytes_max: bytes(section, "max_decoded_bytes", unset.decoded_bytes_max),
        series_max,
        samples_max,
        labels_max,
        label_name_bytes_max,
        label_value_bytes_max,
        samples_per_second: section
            .number("samples_per_second", 0..=PER_SECOND_MAX)
            .unwrap_or(unset.samples_per_second),
        burst: section.number("burst", 0..=PER_SECOND_MAX).unwrap_or(unset.burst),
        active_series_max,
        age_max: section.duration("max_age").unwrap_or(unset.age_max),
        ahead_max: section.duration("max_ahead").unwrap_or(unset.ahead_max),
    }
}

fn bytes(section: &mut Section<'_, '_>, key: &'static str, unset: u64) -> u64 {
    let Some(bytes) = section.bytes(key) else { return unset };
    if !(1..=BYTES_MAX).contains(&bytes) {
        let place = section.place_of(key);
        section.problem(place, format!("`{key}`: expected more than 0 and at most 1GiB"));
    }
    bytes
}
