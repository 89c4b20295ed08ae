//! Any bytes as what the outbox keeps: a rotten disk, or a member of another version, may hand over
//! what nobody has made. Both versions of remote write are made of it.

#![no_main]

use starling::wire::remote_write::{
    Compressor, DecodeError, V1Writer, V2Writer, decode, decode_v2, is_labels,
};

libfuzzer_sys::fuzz_target!(|raw: &[u8]| {
    _ = is_labels(raw);
    let mut v1 = V1Writer::default();
    if v1.add(raw).is_ok() {
        let (body, counts) = v1.finish();
        check(&decode(&Compressor::default().body(&body)), counts.samples, counts.histograms);
    }
    let mut v2 = V2Writer::default();
    if v2.add(raw).is_ok() {
        let (body, counts) = v2.finish();
        check(&decode_v2(&Compressor::default().body(&body)), counts.samples, counts.histograms);
    }
});

/// What is sent can be read, or the fault was there before: in the texts and numbers, which are
/// taken over as they are.
fn check(
    read: &Result<Vec<starling::wire::remote_write::TimeSeries>, DecodeError>,
    samples: u32,
    histograms: u32,
) {
    match read {
        Ok(all) => {
            let of = |count: fn(&starling::wire::remote_write::TimeSeries) -> usize| -> usize {
                all.iter().map(count).sum()
            };
            assert_eq!(of(|series| series.samples.len()), samples as usize);
            assert_eq!(of(|series| series.histograms.len()), histograms as usize);
        }
        Err(
            DecodeError::Snappy(_)
            | DecodeError::BadSymbols
            | DecodeError::TooLarge(_)
            | DecodeError::TooMany(_),
        ) => {
            panic!("a body that is none: {read:?}")
        }
        Err(DecodeError::Protobuf(_) | DecodeError::NotUtf8 | DecodeError::OutOfRange) => {}
    }
}
