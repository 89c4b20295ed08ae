//! What fragments unpack to, series by series: for those who send one here and the next there.

use crate::wire::{
    protobuf::{FieldValue, Fields},
    remote_write::{DecodeError, LABELS, TIMESERIES, decode, fragment::count_samples},
};

/// A `timeseries` field, with what stands before it.
#[derive(Debug)]
pub struct SeriesField<'a> {
    pub bytes: &'a [u8],
    /// How many samples it counts for.
    pub samples: u32,
}

/// Hands out each series of `raw` with its labels, in order.
///
/// # Errors
/// Something in it is no series; what stands before it was handed out.
pub fn each_series<'a>(
    raw: &'a [u8],
    mut take: impl FnMut(SeriesField<'a>, &[(&'a str, &'a str)]),
) -> Result<(), DecodeError> {
    let mut labels = Vec::new();
    let mut fields = Fields::of(raw);
    let mut rest = raw;
    while let Some(field) = fields.next() {
        let (number, value) = field?;
        let bytes = &rest[..rest.len() - fields.rest().len()];
        rest = fields.rest();
        let (TIMESERIES, FieldValue::Bytes(series)) = (number, value) else { continue };
        labels.clear();
        for field in Fields::of(series) {
            if let (LABELS, FieldValue::Bytes(label)) = field? {
                labels.push(decode::label(label)?);
            }
        }
        let samples = count_samples(series)?;
        take(SeriesField { bytes, samples }, &labels);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::labels::Labels;
    use crate::wire::remote_write::tests::{any_series, encode};

    proptest! {
        #[test]
        fn all_of_it_is_handed_out_in_order(
            all in prop::collection::vec(any_series(), 0..8)
        ) {
            let raw = encode(&all);
            let (mut bytes, mut found) = (Vec::new(), Vec::<Labels>::new());
            each_series(&raw, |field, labels| {
                bytes.extend_from_slice(field.bytes);
                found.push(labels.iter().copied().collect());
            }).unwrap();
            prop_assert_eq!(bytes, raw);
            let expected: Vec<_> = all.into_iter().map(|series| series.labels).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn garbage_does_no_harm(raw in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = each_series(&raw, |_, _| {});
        }
    }
}
