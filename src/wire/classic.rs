//! A classic histogram, gathered from its series, as a native one with custom buckets: the rules of
//! `convert_classic_histograms_to_nhcb`.

use crate::model::histogram::{CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, ResetHint, Span};

/// Up to so many empty buckets in a row are kept, as a span costs as much.
const EMPTY_BUCKETS_MAX: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Classic {
    /// By bound, each once; the counts are cumulative.
    buckets: Vec<Bucket>,
    count: Option<f64>,
    sum: f64,
    /// A count is negative, or smaller than one before it: it is no histogram.
    is_faulty: bool,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    upper: f64,
    cumulative: f64,
}

impl Classic {
    /// Of a bound that comes twice, the first counts.
    pub(super) fn set_bucket(&mut self, upper: f64, cumulative: f64) {
        let at = self.buckets.partition_point(|bucket| bucket.upper < upper);
        if self.buckets.get(at).is_some_and(|bucket| bucket.upper <= upper) {
            return;
        }
        let falls = at > 0 && cumulative < self.buckets[at - 1].cumulative;
        let rises = self.buckets.get(at).is_some_and(|next| cumulative > next.cumulative);
        self.is_faulty |= upper.is_nan() || cumulative < 0.0 || falls || rises;
        self.buckets.insert(at, Bucket { upper, cumulative });
    }

    pub(super) fn set_count(&mut self, count: f64) {
        self.is_faulty |= count < 0.0;
        self.count = Some(count);
    }

    pub(super) fn set_sum(&mut self, sum: f64) {
        self.sum = sum;
    }

    /// `None` where what was gathered is no histogram.
    pub(super) fn convert(mut self, reset_hint: ResetHint) -> Option<Histogram> {
        let highest = self.buckets.last().map(|bucket| bucket.cumulative);
        let count = self.count.or(highest).filter(|_| !self.is_faulty)?;
        if self.buckets.last().is_none_or(|bucket| bucket.upper < f64::INFINITY) {
            self.buckets.push(Bucket { upper: f64::INFINITY, cumulative: count });
        }
        // It has one bucket at least; a NaN is equal to nothing.
        #[expect(clippy::float_cmp, reason = "both are the same count, or it is no histogram")]
        if self.buckets.last().is_none_or(|bucket| bucket.cumulative != count) {
            return None;
        }
        let finite = &self.buckets[..self.buckets.len() - 1];
        let mut histogram = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            zero_threshold: 0.0,
            sum: self.sum,
            reset_hint,
            positive_spans: vec![Span {
                offset: 0,
                length: u32::try_from(self.buckets.len()).ok()?,
            }],
            negative_spans: Vec::new(),
            custom_bounds: finite.iter().map(|bucket| bucket.upper).collect(),
            counts: self.counts(count),
        };
        let is_integer = matches!(histogram.counts, Counts::Integer { .. });
        histogram.compact(if is_integer { EMPTY_BUCKETS_MAX } else { 0 });
        histogram.validate().is_ok().then_some(histogram)
    }

    /// What each bucket holds beyond the one before.
    fn counts(&self, count: f64) -> Counts {
        let whole: Option<Vec<i64>> =
            self.buckets.iter().map(|bucket| whole(bucket.cumulative)).collect();
        if let (Some(cumulative), Some(count)) = (whole, whole_count(count)) {
            let (mut before, mut delta_before) = (0, 0);
            let positive_deltas = cumulative.into_iter().map(|cumulative| {
                let here = cumulative - before;
                let delta = here - delta_before;
                (before, delta_before) = (cumulative, here);
                delta
            });
            return Counts::Integer {
                count,
                zero_count: 0,
                positive_deltas: positive_deltas.collect(),
                negative_deltas: Vec::new(),
            };
        }
        let mut before = 0.0;
        let positive = self.buckets.iter().map(|bucket| {
            let here = bucket.cumulative - before;
            before = bucket.cumulative;
            here
        });
        Counts::Float { count, zero_count: 0.0, positive: positive.collect(), negative: Vec::new() }
    }
}

fn whole_count(count: f64) -> Option<u64> {
    whole(count).and_then(|count| u64::try_from(count).ok())
}

/// A count that a 64-bit integer holds exactly.
fn whole(count: f64) -> Option<i64> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and within the bounds")]
    let cast = count as i64;
    (count.fract() == 0.0 && count.abs() < BEYOND).then_some(cast)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::native;

    fn gathered(buckets: &[(f64, f64)], count: Option<f64>) -> Option<Histogram> {
        let mut classic = Classic::default();
        classic.set_sum(7.0);
        for &(upper, cumulative) in buckets {
            classic.set_bucket(upper, cumulative);
        }
        if let Some(count) = count {
            classic.set_count(count);
        }
        classic.convert(ResetHint::Unknown)
    }

    #[test]
    fn buckets_become_custom_ones() {
        const INF: f64 = f64::INFINITY;
        for (buckets, count, expected) in [
            (&[(1.0, 2.0), (INF, 5.0)][..], Some(5.0), "{count:5, sum:7, [-Inf,1]:2, (1,+Inf]:3}"),
            // In any order, a bound twice, the last one left out.
            (
                &[(2.0, 3.0), (1.0, 2.0), (2.0, 9.0)],
                Some(3.0),
                "{count:3, sum:7, [-Inf,1]:2, (1,2]:1}",
            ),
            (&[(1.0, 2.0)], None, "{count:2, sum:7, [-Inf,1]:2}"),
            (&[], Some(4.0), "{count:4, sum:7, [-Inf,+Inf]:4}"),
            (&[(1.0, 0.5), (INF, 2.0)], Some(2.0), "{count:2, sum:7, [-Inf,1]:0.5, (1,+Inf]:1.5}"),
            (
                &[(-1.0, 1.0), (0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (INF, 2.0)],
                Some(2.0),
                "{count:2, sum:7, [-Inf,-1]:1, (2,+Inf]:1}",
            ),
        ] {
            let found = gathered(buckets, count).map(|histogram| native::shown(&histogram));
            assert_eq!(found.as_deref(), Some(expected), "{buckets:?}");
        }
    }

    #[test]
    fn what_is_no_histogram_is_none() {
        for (buckets, count) in [
            (&[][..], None),
            (&[(1.0, 2.0), (2.0, 1.0)], Some(2.0)),
            (&[(2.0, 1.0), (1.0, 2.0)], Some(2.0)),
            (&[(1.0, -1.0)], Some(2.0)),
            (&[(1.0, 1.0)], Some(-2.0)),
            (&[(1.0, 1.0), (f64::INFINITY, 3.0)], Some(2.0)),
            (&[(1.0, 3.0)], Some(2.0)),
            (&[(f64::NAN, 3.0)], Some(3.0)),
            (&[(1.0, f64::NAN)], Some(f64::NAN)),
        ] {
            assert_eq!(gathered(buckets, count), None, "{buckets:?}");
        }
    }
}
