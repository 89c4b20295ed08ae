//! What targets say of their metrics, on its way: with each series in 2.0, in requests of its own
//! in 1.0.

use std::borrow::Cow;

use crate::wire::{
    MetricKind,
    protobuf::{FieldValue, Fields, push_bytes, push_varint, varint_tag},
    remote_write::{DecodeError, METADATA_HELP, METADATA_TYPE, METADATA_UNIT, decode::text},
};

/// A field of `WriteRequest`, and those of its `MetricMetadata`.
pub(super) const REQUEST_METADATA: u64 = 3;
const FAMILY_TYPE: u64 = 1;
const FAMILY_NAME: u64 = 2;
const FAMILY_HELP: u64 = 4;
const FAMILY_UNIT: u64 = 5;

/// What a target says of a series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata<'a> {
    pub kind: MetricKind,
    pub help: Cow<'a, str>,
    pub unit: Cow<'a, str>,
}

/// What a target says of one family of its metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Family {
    pub metric: String,
    pub kind: MetricKind,
    pub help: String,
    pub unit: String,
}

/// The raw body of a request of 1.0 that has no samples.
pub fn metadata_request<'a>(families: impl IntoIterator<Item = &'a Family>) -> Vec<u8> {
    let mut out = Vec::new();
    for family in families {
        let mut message = Vec::new();
        push_varint(&mut message, varint_tag(FAMILY_TYPE));
        push_varint(&mut message, kind_number(family.kind));
        push_bytes(&mut message, FAMILY_NAME, family.metric.as_bytes());
        push_bytes(&mut message, FAMILY_HELP, family.help.as_bytes());
        push_bytes(&mut message, FAMILY_UNIT, family.unit.as_bytes());
        push_bytes(&mut out, REQUEST_METADATA, &message);
    }
    out
}

impl Family {
    pub(super) fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        let mut family = Self::default();
        for field in Fields::of(message) {
            match field? {
                (FAMILY_TYPE, FieldValue::Varint(number)) => family.kind = kind(number),
                (FAMILY_NAME, FieldValue::Bytes(name)) => family.metric = text(name)?.into(),
                (FAMILY_HELP, FieldValue::Bytes(help)) => family.help = text(help)?.into(),
                (FAMILY_UNIT, FieldValue::Bytes(unit)) => family.unit = text(unit)?.into(),
                _ => {}
            }
        }
        Ok(family)
    }
}

impl Metadata<'_> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.help.len() + self.unit.len() + 10);
        push_varint(&mut message, varint_tag(METADATA_TYPE));
        push_varint(&mut message, kind_number(self.kind));
        push_bytes(&mut message, METADATA_HELP, self.help.as_bytes());
        push_bytes(&mut message, METADATA_UNIT, self.unit.as_bytes());
        message
    }

    pub(super) fn decode(message: &[u8]) -> Result<Metadata<'_>, DecodeError> {
        let mut metadata = Metadata::default();
        for field in Fields::of(message) {
            match field? {
                (METADATA_TYPE, FieldValue::Varint(number)) => metadata.kind = kind(number),
                (METADATA_HELP, FieldValue::Bytes(help)) => metadata.help = text(help)?.into(),
                (METADATA_UNIT, FieldValue::Bytes(unit)) => metadata.unit = text(unit)?.into(),
                _ => {}
            }
        }
        Ok(metadata)
    }

    pub(super) fn into_owned(self) -> Metadata<'static> {
        Metadata {
            kind: self.kind,
            help: self.help.into_owned().into(),
            unit: self.unit.into_owned().into(),
        }
    }
}

/// The same in both versions.
fn kind_number(kind: MetricKind) -> u64 {
    match kind {
        MetricKind::Unknown => 0,
        MetricKind::Counter => 1,
        MetricKind::Gauge => 2,
        MetricKind::Histogram => 3,
        MetricKind::GaugeHistogram => 4,
        MetricKind::Summary => 5,
        MetricKind::Info => 6,
        MetricKind::StateSet => 7,
    }
}

pub(super) fn kind(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}
