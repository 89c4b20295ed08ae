//! Requests that others push, of either version, series by series: read in place from the raw message,
//! held against the rules and the limits, and kept in the one form that the outbox knows.

mod fault;
mod keep;
mod read;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64;

pub use self::{
    fault::{SeriesFault, SeriesLimits, check_labels},
    keep::{encode_pushed_labels, push_kept},
    read::read_pushed,
};
use crate::wire::remote_write::Metadata;

/// Of one series, whatever the limits: two bytes of a request may be a label.
pub const PUSHED_LABELS_MAX: usize = 4096;

/// Name and value.
pub type PushedLabel<'a> = (&'a str, &'a str);

/// Which message a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteVersion {
    V1,
    V2,
}

/// One series of a request. The room that its parts take is used again for the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PushedSeries<'a> {
    /// In order of their names, without those that have no value: they are as good as absent. A name
    /// may be there twice, and there may be one more than `PUSHED_LABELS_MAX`.
    pub labels: Vec<PushedLabel<'a>>,
    /// The fields of just these labels, where they came as `encode_pushed_labels` writes them.
    pub encoded_labels: Option<&'a [u8]>,
    /// As they came.
    pub points: Vec<PushedPoint<'a>>,
    pub exemplars: PushedExemplars,
    /// In 2.0, where it says anything.
    pub metadata: Option<Metadata<'a>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PushedPoint<'a> {
    pub timestamp_ms: i64,
    /// Since when the series has counted, where its sender says so.
    pub start_ms: Option<i64>,
    pub value: PushedValue<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushedValue<'a> {
    /// The bits, as there are many NaNs and one of them means something.
    Float(u64),
    /// The message, without the start. Nearly always borrowed.
    Histogram(Cow<'a, [u8]>),
}

/// The exemplars of a series as they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushedExemplars {
    /// Whole fields of a `TimeSeries` of 1.0.
    pub fields: Vec<u8>,
    pub count: u32,
}

impl PushedPoint<'_> {
    /// Two points have the same value if they have the same digest.
    pub fn digest(&self) -> u64 {
        match &self.value {
            PushedValue::Float(bits) => *bits,
            PushedValue::Histogram(message) => xxh3_64(message),
        }
    }
}

impl PushedSeries<'_> {
    /// Whether it may be kept.
    pub fn check(&self, limits: &SeriesLimits) -> Result<(), SeriesFault> {
        check_labels(self.labels.iter().copied(), limits)?;
        self.points.iter().try_for_each(|point| match &point.value {
            PushedValue::Float(_) => Ok(()),
            PushedValue::Histogram(message) => fault::check_histogram(message),
        })
    }

    fn clear(&mut self) {
        self.labels.clear();
        self.encoded_labels = None;
        self.points.clear();
        self.exemplars.fields.clear();
        self.exemplars.count = 0;
        self.metadata = None;
    }
}
