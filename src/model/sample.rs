//! One value of one series, and the two NaNs that mean something.

use crate::model::{histogram::Histogram, labels::Labels};

/// The NaN that says "this series has ended" (Prometheus `value.StaleNaN`).
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;
/// The NaN that an exposed `NaN` is stored as (Prometheus `value.NormalNaN`).
pub const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// `value` at `timestamp_ms` (milliseconds since the Unix epoch).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub value: f64,
    pub timestamp_ms: i64,
}

/// What a series has at one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PointValue<'a> {
    Float(f64),
    Histogram(&'a Histogram),
}

/// A sample with what belongs to it on its way to a destination.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point<'a> {
    pub value: PointValue<'a>,
    /// Milliseconds since the Unix epoch, as is the next.
    pub timestamp_ms: i64,
    /// Since when the series has counted, where its target says so.
    pub start_ms: Option<i64>,
    pub exemplars: &'a [Exemplar],
}

/// A single observation that a sample points to (OpenMetrics 1.0, "Exemplars").
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    pub labels: Labels,
    pub value: f64,
    pub timestamp_ms: Option<i64>,
}

pub fn stale_marker() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

pub fn is_stale_marker(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// Any NaN becomes the one normal NaN, so that no target can forge a stale marker.
pub fn normalise(value: f64) -> f64 {
    if value.is_nan() { f64::from_bits(NORMAL_NAN_BITS) } else { value }
}
