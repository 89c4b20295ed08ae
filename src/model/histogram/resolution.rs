//! Fewer and wider buckets: what `native_histogram_bucket_limit` and
//! `native_histogram_min_bucket_factor` ask for. Each step merges two buckets into one.

use super::{Histogram, SCHEMA_MAX, SCHEMA_MIN, buckets::Bucket};

/// The finest schema whose buckets grow by `factor` or more, from 8 for the least down to -4.
pub fn schema_for_factor(factor: f64) -> i32 {
    // A factor of one or less is none, and as good as the least that can be asked for.
    const LEAST: f64 = 1.002_71;
    let factor = if factor > 1.0 { factor } else { LEAST };
    let schema = (-factor.log2().log2()).floor().clamp(SCHEMA_MIN.into(), SCHEMA_MAX.into());
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and between -4 and 8")]
    let schema = schema as i32;
    schema
}

impl Histogram {
    /// Takes buckets that are finer than `schema_max` together. What has custom buckets, or is no
    /// finer, stays as it is.
    pub fn reduce_to_schema(&mut self, schema_max: i32) {
        if !self.is_exponential() || self.schema <= schema_max {
            return;
        }
        let by = self.schema.abs_diff(schema_max);
        self.schema = schema_max;
        self.lay_out(
            |buckets| merged(buckets, by, i64::saturating_add),
            |buckets| merged(buckets, by, |a, b| a + b),
        );
    }

    /// Takes buckets together until there are no more than `buckets_max`. `false` where that cannot
    /// be: the bounds are listed, or the buckets are too many at any resolution.
    #[must_use]
    pub fn reduce_to_buckets(&mut self, buckets_max: usize) -> bool {
        while self.bucket_count() > buckets_max {
            if !self.is_exponential() || self.schema <= SCHEMA_MIN {
                return false;
            }
            self.reduce_to_schema(self.schema - 1);
        }
        true
    }
}

/// The buckets at a schema that is `by` less.
fn merged<N>(buckets: Vec<Bucket<N>>, by: u32, add: impl Fn(N, N) -> N) -> Vec<Bucket<N>>
where
    N: Copy,
{
    let mut wider: Vec<Bucket<N>> = Vec::new();
    for (index, count) in buckets {
        // An index is of its upper bound, which the wider bucket includes.
        let index = ((index - 1) >> by) + 1;
        match wider.last_mut() {
            Some((last, sum)) if *last == index => *sum = add(*sum, count),
            _ => wider.push((index, count)),
        }
    }
    wider
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::histogram::{Counts, HistogramFault, ResetHint, Span};

    fn of_counts(schema: i32, spans: Vec<Span>, positive: Vec<f64>) -> Histogram {
        Histogram {
            schema,
            zero_threshold: 0.0,
            sum: 0.0,
            reset_hint: ResetHint::Unknown,
            positive_spans: spans,
            negative_spans: Vec::new(),
            counts: Counts::Float {
                count: positive.iter().sum(),
                zero_count: 0.0,
                positive,
                negative: Vec::new(),
            },
            custom_bounds: Vec::new(),
        }
    }

    /// The same histogram with integer counts, each side alike.
    fn of_integers(schema: i32, spans: &[Span], counts: &[i64]) -> Histogram {
        let mut before = 0;
        let deltas: Vec<i64> =
            counts.iter().map(|&count| count - std::mem::replace(&mut before, count)).collect();
        Histogram {
            negative_spans: spans.to_vec(),
            counts: Counts::Integer {
                count: 2 * counts.iter().sum::<i64>().unsigned_abs(),
                zero_count: 0,
                positive_deltas: deltas.clone(),
                negative_deltas: deltas,
            },
            ..of_counts(schema, spans.to_vec(), Vec::new())
        }
    }

    #[test]
    fn factors_have_schemas() {
        for (factor, schema) in [
            (0.0, 8),
            (1.0, 8),
            (1.002, 8),
            (1.003, 7),
            (1.1, 2),
            (1.189, 2),
            (1.19, 1),
            (1.5, 0),
            (2.0, 0),
            (4.0, -1),
            (65_536.0, -4),
            (1e9, -4),
            (f64::INFINITY, -4),
            (f64::NAN, 8),
        ] {
            assert_eq!(schema_for_factor(factor), schema, "{factor}");
        }
    }

    #[test]
    fn two_buckets_become_one() {
        let span = |offset, length| Span { offset, length };
        let mut histogram = of_counts(0, vec![span(-1, 3), span(2, 1)], vec![1.0, 2.0, 4.0, 8.0]);
        histogram.reduce_to_schema(-1);
        // (¼,½] and (½,1] end within (¼,1]; (1,2] is the lower half of (1,4]; (8,16] of (4,16].
        let expected = of_counts(-1, vec![span(0, 3)], vec![3.0, 4.0, 8.0]);
        assert_eq!(histogram, expected);
        histogram.reduce_to_schema(0);
        assert_eq!(histogram, expected, "it does not become finer");
    }

    fn laid_out() -> impl Strategy<Value = (i32, Vec<Span>, Vec<i64>)> {
        let span = (0..9_i32, 0..6_u32).prop_map(|(offset, length)| Span { offset, length });
        let spans = proptest::collection::vec(span, 0..6);
        (-4..=8_i32, -40..40_i32, spans).prop_flat_map(|(schema, first, mut spans)| {
            if let Some(span) = spans.first_mut() {
                span.offset = first;
            }
            let buckets = spans.iter().map(|span| span.length as usize).sum::<usize>();
            (Just(schema), Just(spans), proptest::collection::vec(0..1000_i64, buckets))
        })
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_steps_do_not_matter((schema, spans, counts) in laid_out()) {
            let whole = of_integers(schema, &spans, &counts);
            prop_assert_eq!(whole.validate(), Ok(()));
            for target in SCHEMA_MIN..=schema {
                let mut at_once = whole.clone();
                at_once.reduce_to_schema(target);
                prop_assert_eq!(at_once.schema, target);
                prop_assert_eq!(at_once.validate(), Ok(()));
                let mut by_steps = whole.clone();
                for step in (target..schema).rev() {
                    by_steps.reduce_to_schema(step);
                }
                prop_assert_eq!(&at_once, &by_steps);
                prop_assert!(at_once.bucket_count() <= whole.bucket_count());
            }
        }

        #[test]
        fn floats_are_taken_together_as_integers_are((schema, spans, counts) in laid_out()) {
            let mut integers = of_integers(schema, &spans, &counts);
            #[expect(clippy::cast_precision_loss, reason = "they are small")]
            let floats = counts.iter().map(|&count| count as f64).collect();
            let mut floats = of_counts(schema, spans, floats);
            integers.reduce_to_schema(SCHEMA_MIN);
            floats.reduce_to_schema(SCHEMA_MIN);
            prop_assert_eq!(&integers.positive_spans, &floats.positive_spans);
            let (Counts::Integer { positive_deltas, .. }, Counts::Float { positive, .. }) =
                (&integers.counts, &floats.counts) else { unreachable!() };
            let mut sum = 0;
            for (delta, float) in positive_deltas.iter().zip(positive) {
                sum += delta;
                prop_assert_eq!(sum.to_string(), float.to_string());
            }
        }

        #[test]
        fn limits_hold_or_are_refused(
            (schema, spans, counts) in laid_out(),
            buckets_max in 0..20_usize,
        ) {
            let mut histogram = of_integers(schema, &spans, &counts);
            if histogram.reduce_to_buckets(buckets_max) {
                prop_assert!(histogram.bucket_count() <= buckets_max);
            } else {
                prop_assert_eq!(histogram.schema, SCHEMA_MIN);
            }
            prop_assert_eq!(histogram.validate(), Ok(()));
        }

        #[test]
        fn a_fault_is_found(
            (schema, spans, counts) in laid_out(),
            fault in 0..4_usize,
        ) {
            let mut histogram = of_integers(schema, &spans, &counts);
            let Counts::Integer { count, positive_deltas, .. } = &mut histogram.counts else {
                unreachable!()
            };
            match fault {
                0 => *count += 1,
                1 => positive_deltas.push(1),
                2 => histogram.positive_spans.push(Span { offset: 0, length: 1 }),
                _ => histogram.schema = 9,
            }
            prop_assert!(histogram.validate().is_err());
        }
    }

    #[test]
    fn custom_buckets_stay() {
        let custom = Histogram {
            schema: crate::model::histogram::CUSTOM_BUCKETS_SCHEMA,
            custom_bounds: vec![1.0, 2.0],
            ..of_counts(0, vec![Span { offset: 0, length: 3 }], vec![1.0, 2.0, 3.0])
        };
        let mut histogram = custom.clone();
        assert_eq!(histogram.validate(), Ok(()));
        assert!(histogram.reduce_to_buckets(3));
        assert!(!histogram.reduce_to_buckets(2));
        assert_eq!(histogram, custom);
        for (bounds, fault) in [
            (&[2.0, 1.0][..], HistogramFault::CustomBounds),
            (&[1.0, 1.0], HistogramFault::CustomBounds),
            (&[1.0, f64::NAN], HistogramFault::CustomBounds),
            (&[1.0, f64::INFINITY], HistogramFault::CustomBounds),
            (&[1.0], HistogramFault::TooFewBounds),
        ] {
            let histogram = Histogram { custom_bounds: bounds.to_vec(), ..custom.clone() };
            assert_eq!(histogram.validate(), Err(fault), "{bounds:?}");
        }
        let zero = Histogram { zero_threshold: 1.0, ..custom };
        assert_eq!(zero.validate(), Err(HistogramFault::NotOfCustomBuckets));
    }
}
