//! A native histogram as a sample of a series: sparse buckets whose bounds follow from a schema, or
//! are listed (custom buckets). The shape is that of Prometheus' `prompb.Histogram`.

mod buckets;
mod resolution;
mod valid;

pub use self::{
    buckets::{Bucket, absolute, one_by_one},
    resolution::schema_for_factor,
    valid::HistogramFault,
};

/// The least and the greatest resolution of buckets whose bounds follow from a schema.
pub const SCHEMA_MIN: i32 = -4;
pub const SCHEMA_MAX: i32 = 8;
/// Finer ones up to this are known, and are taken at the greatest resolution.
pub const SCHEMA_KNOWN_MAX: i32 = 52;

/// The schema of histograms whose bounds are listed (Prometheus `histogram.CustomBucketsSchema`).
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// `-4..=8`: each bound is `2^(2^-schema)` times the one before; or `CUSTOM_BUCKETS_SCHEMA`.
    pub schema: i32,
    /// Observations of at most this magnitude are in the zero bucket.
    pub zero_threshold: f64,
    /// Of all observations. The stale marker of a histogram is one with the stale NaN here.
    pub sum: f64,
    pub reset_hint: ResetHint,
    pub positive_spans: Vec<Span>,
    pub negative_spans: Vec<Span>,
    pub counts: Counts,
    /// Upper bounds in rising order, `+Inf` left out; empty unless the schema is that of custom
    /// buckets.
    pub custom_bounds: Vec<f64>,
}

/// Observations: in all, in the zero bucket, and in the buckets that the spans lay out.
#[derive(Clone, Debug, PartialEq)]
pub enum Counts {
    Integer {
        count: u64,
        zero_count: u64,
        /// The first is a count, each other what it differs by from the one before.
        positive_deltas: Vec<i64>,
        negative_deltas: Vec<i64>,
    },
    Float {
        count: f64,
        zero_count: f64,
        positive: Vec<f64>,
        negative: Vec<f64>,
    },
}

/// So many buckets in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Of the first span the index of its first bucket, of each other the gap to the one before.
    pub offset: i32,
    pub length: u32,
}

/// Whether counts may have gone back since the sample before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetHint {
    #[default]
    Unknown,
    Yes,
    No,
    /// A gauge histogram: going back means nothing.
    Gauge,
}

impl Histogram {
    /// Whether bounds follow from the schema, so that buckets can be merged.
    pub fn is_exponential(&self) -> bool {
        (SCHEMA_MIN..=SCHEMA_KNOWN_MAX).contains(&self.schema)
    }

    /// Buckets that are laid out, empty ones among them; the zero bucket is none of them.
    pub fn bucket_count(&self) -> usize {
        match &self.counts {
            Counts::Integer { positive_deltas, negative_deltas, .. } => {
                positive_deltas.len() + negative_deltas.len()
            }
            Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
        }
    }

    /// What it holds beside itself.
    pub fn heap_bytes(&self) -> usize {
        let spans = self.positive_spans.capacity() + self.negative_spans.capacity();
        let counts = match &self.counts {
            Counts::Integer { positive_deltas, negative_deltas, .. } => {
                positive_deltas.capacity() + negative_deltas.capacity()
            }
            Counts::Float { positive, negative, .. } => positive.capacity() + negative.capacity(),
        };
        spans * size_of::<Span>() + (counts + self.custom_bounds.capacity()) * size_of::<f64>()
    }
}
