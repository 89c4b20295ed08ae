//! Any bytes as a request that somebody pushes, packed or not, of either version: what is kept of it
//! can be sent on by both.

#![no_main]

use starling::wire::remote_write::{
    Compressor, Counts, Packing, PushedValue, SeriesLimits, V1Writer, V2Writer, WriteVersion,
    decode, decode_v2, encode_pushed_labels, is_labels, push_kept, read_pushed, unpack,
};

const RAW_BYTES_MAX: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    push(body);
    for packing in [Packing::Snappy, Packing::Zstd, Packing::Gzip] {
        if let Ok(raw) = unpack(body, packing, RAW_BYTES_MAX) {
            assert!(raw.capacity() <= RAW_BYTES_MAX);
            push(&raw);
        }
    }
});

fn push(raw: &[u8]) {
    for version in [WriteVersion::V1, WriteVersion::V2] {
        if let Some((kept, counts)) = keep(raw, version) {
            check(&kept, &counts);
        }
    }
}

/// The series that may be kept, and how much of each kind they hold.
fn keep(raw: &[u8], version: WriteVersion) -> Option<(Vec<u8>, Counts)> {
    let (mut kept, mut blob, mut counts) = (Vec::new(), Vec::new(), Counts::default());
    let read = read_pushed(
        raw,
        version,
        |series| {
            if series.check(&SeriesLimits::default()).is_err() {
                return;
            }
            let labels = series.labels.iter().copied();
            encode_pushed_labels(&mut blob, labels, series.metadata.as_ref());
            assert!(is_labels(&blob));
            for point in &series.points {
                match point.value {
                    PushedValue::Float(_) => counts.samples += 1,
                    PushedValue::Histogram(_) => counts.histograms += 1,
                }
                push_kept(&mut kept, &blob, Some(point), &[]);
            }
            counts.exemplars += series.exemplars.count;
            push_kept(&mut kept, &blob, None, &series.exemplars.fields);
        },
        |_| {},
    );
    read.is_ok().then_some((kept, counts))
}

fn check(kept: &[u8], counts: &Counts) {
    let mut v2 = V2Writer::default();
    v2.add(kept).expect("it was read");
    let (raw, counted) = v2.finish();
    assert_eq!(counted, *counts);
    decode_v2(&Compressor::default().body(&raw)).expect("a request of 2.0");
    let mut v1 = V1Writer::default();
    v1.add(kept).expect("it was read");
    let (raw, counted) = v1.finish();
    assert_eq!(counted.histograms + counted.unsendable, counts.histograms);
    assert_eq!((counted.samples, counted.exemplars), (counts.samples, counts.exemplars));
    decode(&Compressor::default().body(&raw)).expect("a request of 1.0");
}
