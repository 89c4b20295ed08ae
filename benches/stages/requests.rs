//! From values to what lies on disk, and from there to the body of a request.

use std::{hint::black_box, sync::Arc};

use crate::{
    Round,
    model::{
        batch::{Batch, Signal},
        labels::Labels,
        sample::{Point, PointValue},
        slot::StreamKey,
    },
    outbox::frame,
    wire::remote_write::{
        Compressor, Fragment, Packing, RAW_BYTES_MAX, SeriesLimits, V2Writer, WriteVersion,
        encode_labels, encode_pushed_labels, join, push_kept, push_series, read_pushed, unpack,
        unpack_all,
    },
};

/// What a target brings at once.
const SAMPLES_A_SCRAPE: usize = 1_000;

pub fn encode(samples: usize) -> Round {
    let blobs = blobs(samples);
    let (mut out, mut timestamp_ms) = (Vec::new(), 1_795_255_200_000);
    Box::new(move || {
        timestamp_ms += 5_000;
        push_all(&mut out, &blobs, timestamp_ms);
        black_box(&out);
    })
}

pub fn snappy(samples: usize) -> Round {
    let mut raw = Vec::new();
    push_all(&mut raw, &blobs(samples), 1_795_255_200_000);
    let mut compressor = Compressor::default();
    Box::new(move || drop(black_box(compressor.compress(&raw))))
}

/// A record of the outbox.
pub fn frame(samples: usize) -> Round {
    let Fragment { bytes, raw_length } = scrapes(samples).remove(0);
    let batch = Batch {
        signal: Signal::Metrics,
        tenant: Arc::from(""),
        stream: StreamKey(7),
        round: 1_795_255_200_000,
        since_ms: None,
        pushed: false,
        samples: u32::try_from(samples).expect("few"),
        oldest_ms: 1_795_255_200_000,
        raw_length,
        bytes,
    };
    let record = frame::Record { sequence: 1, appended_ms: 0, name: None, copy_of: None, batch };
    let mut out = Vec::new();
    Box::new(move || {
        out.clear();
        black_box(frame::encode(&record, &mut out));
    })
}

/// A request of remote write 1.0: stored pieces as they lie there.
pub fn join_scrapes(samples: usize) -> Round {
    let fragments = scrapes(samples);
    Box::new(move || drop(black_box(join(&fragments))))
}

pub fn zstd(samples: usize) -> Round {
    let fragments = scrapes(samples);
    Box::new(move || {
        let mut raw = Vec::new();
        for fragment in &fragments {
            raw.extend_from_slice(&unpack_all([fragment]).expect("packed above"));
        }
        black_box(zstd::bulk::compress(&raw, 1).expect("there is memory"));
    })
}

pub fn version_2(samples: usize) -> Round {
    let fragments = scrapes(samples);
    let mut compressor = Compressor::default();
    Box::new(move || {
        let raws: Vec<Vec<u8>> = fragments
            .iter()
            .map(|fragment| unpack_all([fragment]).expect("packed above"))
            .collect();
        let mut writer = V2Writer::default();
        writer.add_in_turn(raws.iter().map(Vec::as_slice)).expect("encoded above");
        black_box(compressor.body(&writer.finish().0));
    })
}

pub fn pushed(samples: usize) -> Round {
    keep(WriteVersion::V1, join(&scrapes(samples)))
}

pub fn pushed_2(samples: usize) -> Round {
    let raw = unpack_all(&scrapes(samples)).expect("packed above");
    let mut writer = V2Writer::default();
    writer.add(&raw).expect("encoded above");
    keep(WriteVersion::V2, Compressor::default().body(&writer.finish().0).to_vec())
}

/// From the body of a request that somebody pushes to what is kept of it.
fn keep(version: WriteVersion, body: Vec<u8>) -> Round {
    let limits = SeriesLimits { labels_max: 30, name_bytes_max: 1024, value_bytes_max: 2048 };
    let (mut kept, mut blob) = (Vec::new(), Vec::new());
    Box::new(move || {
        kept.clear();
        let raw = unpack(&body, Packing::Snappy, RAW_BYTES_MAX).expect("packed above");
        let read = read_pushed(
            &raw,
            version,
            |series| {
                series.check(&limits).expect("good labels");
                let labels = if let Some(encoded) = series.encoded_labels {
                    encoded
                } else {
                    encode_pushed_labels(&mut blob, series.labels.iter().copied(), None);
                    blob.as_slice()
                };
                push_kept(&mut kept, labels, series.points.first(), &[]);
            },
            |_| {},
        );
        read.expect("encoded above");
        black_box(&kept);
    })
}

fn scrapes(samples: usize) -> Vec<Fragment> {
    let mut compressor = Compressor::default();
    let mut raw = Vec::new();
    blobs(samples)
        .chunks(SAMPLES_A_SCRAPE)
        .map(|blobs| {
            push_all(&mut raw, blobs, 1_795_255_200_000);
            compressor.compress(&raw)
        })
        .collect()
}

fn blobs(samples: usize) -> Vec<Vec<u8>> {
    (0..samples)
        .map(|n| {
            let labels: Labels = [
                (
                    "__name__",
                    format!("node_network_receive_{}_packets_total", n % SAMPLES_A_SCRAPE / 5),
                ),
                ("device", format!("veth{:06x}", n % SAMPLES_A_SCRAPE)),
                ("instance", format!("10.0.12.{}:9100", n / SAMPLES_A_SCRAPE)),
                ("job", "node".to_owned()),
                ("region", "eu-central".to_owned()),
            ]
            .into_iter()
            .collect();
            encode_labels(&labels, None)
        })
        .collect()
}

fn push_all(out: &mut Vec<u8>, blobs: &[Vec<u8>], timestamp_ms: i64) {
    out.clear();
    for (n, blob) in blobs.iter().enumerate() {
        let value = PointValue::Float(n as f64 * 17.25);
        push_series(out, blob, &Point { value, timestamp_ms, start_ms: None, exemplars: &[] });
    }
}
