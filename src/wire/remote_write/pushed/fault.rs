//! What may be wrong with a single series of a pushed request: a value, as the others are good.

use std::fmt;

use super::PUSHED_LABELS_MAX;
use crate::{
    model::{histogram::SCHEMA_MAX, labels::METRIC_NAME},
    wire::remote_write::histogram,
};

/// Of a name in a message.
const NAME_SHOWN_CHARS_MAX: usize = 100;

/// What a series may have; 0 is no limit but that of the reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeriesLimits {
    /// The name of the metric among them.
    pub labels_max: usize,
    pub name_bytes_max: usize,
    pub value_bytes_max: usize,
}

/// Why a series cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeriesFault {
    NoName,
    EmptyLabelName,
    DuplicateLabel(String),
    TooManyLabels { found: usize, max: usize },
    LabelNameTooLong { bytes: usize, max: usize },
    LabelValueTooLong { name: String, bytes: usize, max: usize },
    BadHistogram(String),
}

impl fmt::Display for SeriesFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoName => write!(f, "a series has no label `{METRIC_NAME}`"),
            Self::EmptyLabelName => f.write_str("a label has no name"),
            Self::DuplicateLabel(name) => write!(f, "the label `{name}` is there twice"),
            Self::TooManyLabels { found, max } => {
                write!(f, "found {found} labels, expected at most {max}")
            }
            Self::LabelNameTooLong { bytes, max } => {
                write!(f, "found a label name of {bytes} bytes, expected at most {max}")
            }
            Self::LabelValueTooLong { name, bytes, max } => {
                write!(f, "the value of label `{name}` has {bytes} bytes, expected at most {max}")
            }
            Self::BadHistogram(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for SeriesFault {}

/// Of labels in order of their names: those that came, or what relabelling has made of them.
pub fn check_labels<'a>(
    labels: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
    limits: &SeriesLimits,
) -> Result<(), SeriesFault> {
    let exceeds = |found: usize, max: usize| max != 0 && found > max;
    let SeriesLimits { labels_max, name_bytes_max, value_bytes_max } = *limits;
    let max = if labels_max == 0 { PUSHED_LABELS_MAX } else { labels_max.min(PUSHED_LABELS_MAX) };
    if labels.len() > max {
        return Err(SeriesFault::TooManyLabels { found: labels.len(), max });
    }
    let mut before = "";
    let mut has_name = false;
    for (name, value) in labels {
        if name.is_empty() {
            return Err(SeriesFault::EmptyLabelName);
        }
        if name == before {
            return Err(SeriesFault::DuplicateLabel(shown(name)));
        }
        if exceeds(name.len(), name_bytes_max) {
            return Err(SeriesFault::LabelNameTooLong { bytes: name.len(), max: name_bytes_max });
        }
        if exceeds(value.len(), value_bytes_max) {
            let (name, bytes) = (shown(name), value.len());
            return Err(SeriesFault::LabelValueTooLong { name, bytes, max: value_bytes_max });
        }
        has_name |= name == METRIC_NAME;
        before = name;
    }
    if has_name { Ok(()) } else { Err(SeriesFault::NoName) }
}

/// What no store would take. Finer buckets than are stored are no fault: they are merged there.
pub(super) fn check_histogram(message: &[u8]) -> Result<(), SeriesFault> {
    let bad = |reason: String| SeriesFault::BadHistogram(reason);
    let (mut at, _) = histogram::decode(message).map_err(|fault| bad(fault.to_string()))?;
    if at.histogram.is_exponential() {
        at.histogram.schema = at.histogram.schema.min(SCHEMA_MAX);
    }
    at.histogram.validate().map_err(|fault| bad(fault.to_string()))
}

fn shown(name: &str) -> String {
    name.chars().take(NAME_SHOWN_CHARS_MAX).collect()
}
