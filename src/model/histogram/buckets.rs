//! The buckets of a histogram one by one, and their layout in spans: what makes it compact, and
//! what its other rules work on.

use super::{Counts, Histogram, Span};

/// A bucket by its index in the schema, with what it holds.
pub type Bucket<N> = (i64, N);

/// Spans, and what each bucket holds that they lay out.
type Layout<N> = (Vec<Span>, Vec<N>);

impl Histogram {
    /// Lays its buckets out anew without empty ones, but for up to `empty_max` in a row between
    /// others. One whose spans do not fit its counts is left as it is.
    pub fn compact(&mut self, empty_max: usize) {
        self.lay_out(
            |buckets| without_empty(buckets, empty_max, 0),
            |buckets| without_empty(buckets, empty_max, 0.0),
        );
    }

    /// Replaces the buckets of each side by what the change makes of them. Nothing is changed where
    /// spans and counts do not fit together.
    pub(super) fn lay_out(
        &mut self,
        integer: impl Fn(Vec<Bucket<i64>>) -> Vec<Bucket<i64>>,
        float: impl Fn(Vec<Bucket<f64>>) -> Vec<Bucket<f64>>,
    ) {
        let (positive, negative) = (&mut self.positive_spans, &mut self.negative_spans);
        match &mut self.counts {
            Counts::Integer { positive_deltas, negative_deltas, .. } => {
                for (spans, deltas) in [(positive, positive_deltas), (negative, negative_deltas)] {
                    if let Some((new_spans, counts)) =
                        one_by_one(spans, &absolute(deltas)).and_then(|old| spans_of(&integer(old)))
                    {
                        (*spans, *deltas) = (new_spans, to_deltas(&counts));
                    }
                }
            }
            Counts::Float { positive: more, negative: less, .. } => {
                for (spans, counts) in [(positive, more), (negative, less)] {
                    if let Some(new) =
                        one_by_one(spans, counts).and_then(|old| spans_of(&float(old)))
                    {
                        (*spans, *counts) = new;
                    }
                }
            }
        }
    }
}

/// What each bucket holds, of the differences from one to the next.
pub fn absolute(deltas: &[i64]) -> Vec<i64> {
    let mut count = 0_i64;
    deltas
        .iter()
        .map(|delta| {
            count = count.wrapping_add(*delta);
            count
        })
        .collect()
}

fn to_deltas(counts: &[i64]) -> Vec<i64> {
    let mut before = 0;
    counts.iter().map(|&count| count.wrapping_sub(std::mem::replace(&mut before, count))).collect()
}

/// The buckets that `spans` lay out; `None` where that is another number than there are counts.
pub fn one_by_one<N: Copy>(spans: &[Span], counts: &[N]) -> Option<Vec<Bucket<N>>> {
    let laid_out: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    if laid_out != counts.len() as u64 {
        return None;
    }
    let mut index = 0_i64;
    let mut counts = counts.iter();
    let mut buckets = Vec::with_capacity(counts.len());
    for span in spans {
        index += i64::from(span.offset);
        for count in counts.by_ref().take(span.length as usize) {
            buckets.push((index, *count));
            index += 1;
        }
    }
    Some(buckets)
}

/// The layout of buckets in rising order and the counts; `None` where a gap is too wide for it.
fn spans_of<N: Copy>(buckets: &[Bucket<N>]) -> Option<Layout<N>> {
    let mut spans: Vec<Span> = Vec::new();
    let mut expected = 0;
    for &(index, _) in buckets {
        match spans.last_mut() {
            Some(last) if index == expected => last.length += 1,
            _ => spans.push(Span { offset: i32::try_from(index - expected).ok()?, length: 1 }),
        }
        expected = index + 1;
    }
    Some((spans, buckets.iter().map(|&(_, count)| count).collect()))
}

fn without_empty<N: Copy + PartialEq>(
    buckets: Vec<Bucket<N>>,
    empty_max: usize,
    empty: N,
) -> Vec<Bucket<N>> {
    let mut kept: Vec<Bucket<N>> = Vec::new();
    for (index, count) in buckets.into_iter().filter(|&(_, count)| count != empty) {
        if let Some(&(last, _)) = kept.last() {
            let gap = usize::try_from(index - last - 1).unwrap_or(usize::MAX);
            if gap <= empty_max {
                kept.extend((last + 1..index).map(|index| (index, empty)));
            }
        }
        kept.push((index, count));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::ResetHint;

    fn histogram(spans: &[(i32, u32)], deltas: &[i64]) -> Histogram {
        Histogram {
            schema: 0,
            zero_threshold: 0.0,
            sum: 0.0,
            reset_hint: ResetHint::Unknown,
            positive_spans: spans.iter().map(|&(offset, length)| Span { offset, length }).collect(),
            negative_spans: Vec::new(),
            counts: Counts::Integer {
                count: 0,
                zero_count: 0,
                positive_deltas: deltas.to_vec(),
                negative_deltas: Vec::new(),
            },
            custom_bounds: Vec::new(),
        }
    }

    type Layout = (&'static [(i32, u32)], &'static [i64]);

    #[test]
    fn empty_buckets_go() {
        let cases: &[(Layout, usize, Layout)] = &[
            ((&[(0, 2)], &[1, 1]), 0, (&[(0, 2)], &[1, 1])),
            ((&[(0, 0)], &[]), 0, (&[], &[])),
            // 0 0 1 0 2 0
            ((&[(-3, 6)], &[0, 0, 1, -1, 2, -2]), 0, (&[(-1, 1), (1, 1)], &[1, 1])),
            ((&[(-3, 6)], &[0, 0, 1, -1, 2, -2]), 1, (&[(-1, 3)], &[1, -1, 2])),
            // Spans that touch, and one of no length.
            ((&[(5, 1), (0, 1), (2, 0), (1, 1)], &[3, 0, 1]), 0, (&[(5, 2), (3, 1)], &[3, 0, 1])),
            ((&[(5, 1), (2, 1)], &[3, 1]), 2, (&[(5, 4)], &[3, -3, 0, 4])),
            // Spans and counts that do not fit stay.
            ((&[(0, 9)], &[0]), 0, (&[(0, 9)], &[0])),
        ];
        for &((spans, deltas), empty_max, (expected_spans, expected_deltas)) in cases {
            let mut found = histogram(spans, deltas);
            found.compact(empty_max);
            assert_eq!(found, histogram(expected_spans, expected_deltas), "{spans:?} {deltas:?}");
        }
    }
}
