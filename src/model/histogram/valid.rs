//! What a native histogram must be like to be stored: the rules of Prometheus'
//! `Histogram.Validate` and `FloatHistogram.Validate`.

use std::fmt;

use super::{CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, SCHEMA_MAX, SCHEMA_MIN, Span, buckets};

/// Why a histogram is none.
#[derive(Clone, Debug, PartialEq)]
pub enum HistogramFault {
    Schema(i32),
    /// A span behind the first goes back.
    SpanGoesBack,
    /// Spans lay out another number of buckets than there are.
    Buckets {
        laid_out: u64,
        found: usize,
    },
    NegativeBucket,
    NegativeCount,
    /// Observations in all, and those in buckets.
    Count {
        count: u64,
        in_buckets: u64,
    },
    /// Bounds are NaN, do not rise, or end with `+Inf`.
    CustomBounds,
    /// Fewer bounds than the buckets need.
    TooFewBounds,
    /// With custom buckets there is no zero bucket and no negative one.
    NotOfCustomBuckets,
    /// Bounds are listed, but follow from the schema.
    BoundsOfSchema,
}

impl fmt::Display for HistogramFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schema(schema) => write!(
                f,
                "the schema {schema} of a native histogram is unknown; expected {SCHEMA_MIN} to \
                 {SCHEMA_MAX}, or {CUSTOM_BUCKETS_SCHEMA} for custom buckets"
            ),
            Self::SpanGoesBack => f.write_str("a span of a native histogram goes back"),
            Self::Buckets { laid_out, found } => write!(
                f,
                "the spans of a native histogram lay out {laid_out} buckets, found {found}"
            ),
            Self::NegativeBucket => f.write_str("a bucket of a native histogram is negative"),
            Self::NegativeCount => f.write_str("the count of a native histogram is negative"),
            Self::Count { count, in_buckets } => write!(
                f,
                "the buckets of a native histogram hold {in_buckets} observations, but its count \
                 is {count}"
            ),
            Self::CustomBounds => {
                f.write_str("custom bounds of a native histogram must be finite and rise")
            }
            Self::TooFewBounds => {
                f.write_str("a native histogram has more buckets than custom bounds")
            }
            Self::NotOfCustomBuckets => f.write_str(
                "a native histogram of custom buckets has a zero bucket or negative buckets",
            ),
            Self::BoundsOfSchema => f.write_str(
                "a native histogram has custom bounds, but its schema is not of custom buckets",
            ),
        }
    }
}

impl std::error::Error for HistogramFault {}

impl Histogram {
    pub fn validate(&self) -> Result<(), HistogramFault> {
        match self.schema {
            CUSTOM_BUCKETS_SCHEMA => self.check_custom()?,
            SCHEMA_MIN..=SCHEMA_MAX if self.custom_bounds.is_empty() => {}
            SCHEMA_MIN..=SCHEMA_MAX => return Err(HistogramFault::BoundsOfSchema),
            schema => return Err(HistogramFault::Schema(schema)),
        }
        match &self.counts {
            Counts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
                check_spans(&self.positive_spans, positive_deltas.len())?;
                check_spans(&self.negative_spans, negative_deltas.len())?;
                let mut in_buckets = *zero_count;
                for deltas in [positive_deltas, negative_deltas] {
                    for here in buckets::absolute(deltas) {
                        let here =
                            u64::try_from(here).map_err(|_| HistogramFault::NegativeBucket)?;
                        in_buckets = in_buckets.saturating_add(here);
                    }
                }
                // A NaN is observed, but is in no bucket.
                let fits =
                    if self.sum.is_nan() { in_buckets <= *count } else { in_buckets == *count };
                fits.then_some(()).ok_or(HistogramFault::Count { count: *count, in_buckets })
            }
            // Of floats the sum need not be exact, so the count is not held against it.
            Counts::Float { count, zero_count, positive, negative } => {
                check_spans(&self.positive_spans, positive.len())?;
                check_spans(&self.negative_spans, negative.len())?;
                if positive.iter().chain(negative).chain([zero_count]).any(|&count| count < 0.0) {
                    return Err(HistogramFault::NegativeBucket);
                }
                if *count < 0.0 { Err(HistogramFault::NegativeCount) } else { Ok(()) }
            }
        }
    }

    fn check_custom(&self) -> Result<(), HistogramFault> {
        let bounds = &self.custom_bounds;
        let rises = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        let is_bound = |bound: &f64| !bound.is_nan() && *bound < f64::INFINITY;
        if !rises || !bounds.iter().all(is_bound) {
            return Err(HistogramFault::CustomBounds);
        }
        let (has_zero, has_negative) = match &self.counts {
            Counts::Integer { zero_count, negative_deltas, .. } => {
                (*zero_count != 0, !negative_deltas.is_empty())
            }
            Counts::Float { zero_count, negative, .. } => {
                (*zero_count != 0.0, !negative.is_empty())
            }
        };
        let has_threshold = self.zero_threshold != 0.0;
        if has_zero || has_threshold || has_negative || !self.negative_spans.is_empty() {
            return Err(HistogramFault::NotOfCustomBuckets);
        }
        if self.positive_spans.iter().any(|span| span.offset < 0) {
            return Err(HistogramFault::SpanGoesBack);
        }
        let covered: u64 = self
            .positive_spans
            .iter()
            .map(|span| u64::from(span.length) + u64::from(span.offset.unsigned_abs()))
            .sum();
        if covered > bounds.len() as u64 + 1 { Err(HistogramFault::TooFewBounds) } else { Ok(()) }
    }
}

fn check_spans(spans: &[Span], found: usize) -> Result<(), HistogramFault> {
    if spans.iter().skip(1).any(|span| span.offset < 0) {
        return Err(HistogramFault::SpanGoesBack);
    }
    let laid_out: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    if laid_out != found as u64 {
        return Err(HistogramFault::Buckets { laid_out, found });
    }
    Ok(())
}
