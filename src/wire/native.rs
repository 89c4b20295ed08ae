//! A native histogram as Prometheus prints it: the buckets that hold something, with their bounds.

use std::{f64::consts::LN_2, fmt::Write};

use crate::{
    model::histogram::{self, CUSTOM_BUCKETS_SCHEMA, Counts, Histogram},
    wire::float,
};

/// `{count:3, sum:4, [-1,1]:1, (1,2]:2}`
pub fn shown(histogram: &Histogram) -> String {
    let sum = float::shortest(histogram.sum);
    let Histogram { positive_spans, negative_spans, .. } = histogram;
    match &histogram.counts {
        Counts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
            let side = |spans, deltas: &[i64]| {
                let counts = histogram::absolute(deltas);
                histogram::one_by_one(spans, &counts).unwrap_or_default()
            };
            let negative = side(negative_spans, negative_deltas);
            let positive = side(positive_spans, positive_deltas);
            let zero = (*zero_count != 0).then(|| zero_count.to_string());
            let mut text = format!("{{count:{count}, sum:{sum}");
            put(&mut text, histogram, &counted(negative, 0), zero, &counted(positive, 0));
            text
        }
        Counts::Float { count, zero_count, positive, negative } => {
            let side = |spans, counts| histogram::one_by_one(spans, counts).unwrap_or_default();
            let negative = side(negative_spans, negative);
            let positive = side(positive_spans, positive);
            let zero = (*zero_count != 0.0).then(|| float::shortest(*zero_count));
            let mut text = format!("{{count:{}, sum:{sum}", float::shortest(*count));
            let shown = |buckets: Vec<(i64, f64)>| -> Vec<(i64, String)> {
                let filled = buckets.into_iter().filter(|(_, count)| *count != 0.0);
                filled.map(|(index, count)| (index, float::shortest(count))).collect()
            };
            put(&mut text, histogram, &shown(negative), zero, &shown(positive));
            text
        }
    }
}

fn counted(buckets: Vec<(i64, i64)>, empty: i64) -> Vec<(i64, String)> {
    let filled = buckets.into_iter().filter(|(_, count)| *count != empty);
    filled.map(|(index, count)| (index, count.to_string())).collect()
}

/// The buckets from the least to the greatest, and the closing brace.
fn put(
    text: &mut String,
    histogram: &Histogram,
    negative: &[(i64, String)],
    zero: Option<String>,
    positive: &[(i64, String)],
) {
    let is_custom = histogram.schema == CUSTOM_BUCKETS_SCHEMA;
    let bound = |index| bound(histogram, index);
    let mut write = |open, lower, upper, close, count: &str| {
        let (lower, upper) = (float::shortest(lower), float::shortest(upper));
        _ = write!(text, ", {open}{lower},{upper}{close}:{count}");
    };
    for (index, count) in negative.iter().rev() {
        write('[', -bound(*index), -bound(index - 1), ')', count);
    }
    if let Some(count) = zero {
        write('[', -histogram.zero_threshold, histogram.zero_threshold, ']', &count);
    }
    for (index, count) in positive {
        let open = if is_custom && *index == 0 { '[' } else { '(' };
        write(open, bound(index - 1), bound(*index), ']', count);
    }
    text.push('}');
}

/// The upper bound of the bucket of that index.
fn bound(histogram: &Histogram, index: i64) -> f64 {
    let Histogram { schema, custom_bounds, .. } = histogram;
    if *schema == CUSTOM_BUCKETS_SCHEMA {
        return match usize::try_from(index) {
            Ok(index) => custom_bounds.get(index).copied().unwrap_or(f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        };
    }
    if *schema < 0 {
        // Beyond this a bound is 0 or infinite at any rate.
        let exponent = index.clamp(-2000, 2000) << schema.unsigned_abs().min(32);
        return power(1.0, exponent);
    }
    let schema = schema.unsigned_abs().min(52);
    power(fraction(schema, index & ((1 << schema) - 1)), index >> schema)
}

/// Two to the power of `part` / 2^`schema`, in the steps in which client libraries reckon it, so
/// that the last digit is theirs: every other bound is that of a schema coarser, those between are
/// a factor above.
fn fraction(schema: u32, part: i64) -> f64 {
    match part {
        0 => 1.0,
        part if part % 2 == 0 => fraction(schema - 1, part / 2),
        part => fraction(schema - 1, part / 2) * (LN_2 * (-f64::from(schema)).exp2()).exp(),
    }
}

/// `fraction` (from 1 up to 2) times two to the power of `exponent`; what would be the first beyond
/// the greatest number is that number.
fn power(fraction: f64, exponent: i64) -> f64 {
    if exponent == 1024 && fraction <= 1.0 {
        return f64::MAX;
    }
    let exponent = i32::try_from(exponent.clamp(-1100, 1100)).expect("it is small");
    // In two steps, as a part alone may be beyond the numbers there are.
    let half = exponent / 2;
    fraction * 2_f64.powi(half) * 2_f64.powi(exponent - half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::{ResetHint, Span};

    #[test]
    fn bounds_are_those_of_prometheus() {
        let mut histogram = Histogram {
            schema: 0,
            zero_threshold: 0.0,
            sum: 0.0,
            reset_hint: ResetHint::Unknown,
            positive_spans: vec![Span { offset: 0, length: 1 }],
            negative_spans: Vec::new(),
            counts: Counts::Float {
                count: 1.0,
                zero_count: 0.0,
                positive: vec![1.0],
                negative: Vec::new(),
            },
            custom_bounds: Vec::new(),
        };
        for (schema, index, upper) in [
            (0, 0, 1.0),
            (0, -1074, f64::from_bits(1)),
            (0, -2000, 0.0),
            (0, 1023, 2_f64.powi(1023)),
            (0, 1024, f64::MAX),
            (0, 1025, f64::INFINITY),
            (-4, 64, f64::MAX),
            (-4, 1, 65_536.0),
            (-4, i64::from(i32::MAX), f64::INFINITY),
            (-4, i64::from(i32::MIN), 0.0),
            (3, 8, 2.0),
            (3, 7, 1.834_008_086_409_342_2),
            (3, -1, 0.917_004_043_204_671_1),
            (4, 15, 1.915_206_561_397_147),
            (8, 262_144, f64::MAX),
            (52, 1 << 40, 1.000_169_239_7),
        ] {
            histogram.schema = schema;
            let found = bound(&histogram, index);
            let fits =
                found.to_bits() == upper.to_bits() || schema == 52 && (found - upper).abs() < 1e-6;
            assert!(fits, "{schema} {index}: {found} {upper}");
        }
        histogram.schema = 0;
        assert_eq!(shown(&histogram), "{count:1, sum:0, (0.5,1]:1}");
        histogram.positive_spans.clear();
        assert_eq!(shown(&histogram), "{count:1, sum:0}", "a layout that does not fit");
    }
}
