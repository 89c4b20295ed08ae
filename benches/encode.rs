//! What a sample costs on its way into a request: encode, compress, join.

#![allow(missing_docs, reason = "criterion's macros write functions without")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use starling::{
    model::{
        labels::Labels,
        sample::{Point, PointValue},
    },
    wire::remote_write::{Compressor, encode_labels, join, push_series},
};

const SERIES: u64 = 2_000;

fn label_blobs() -> Vec<Vec<u8>> {
    (0..SERIES)
        .map(|n| {
            let labels: Labels = [
                ("__name__", format!("node_network_receive_{}_bytes_total", n / 10)),
                ("device", format!("veth{n:06x}")),
                ("address", format!("02:42:ac:11:00:{:02x}", n % 10)),
                ("instance", "10.0.12.34:9100".to_owned()),
                ("job", "node".to_owned()),
            ]
            .into_iter()
            .collect();
            encode_labels(&labels, None)
        })
        .collect()
}

fn push_all(out: &mut Vec<u8>, blobs: &[Vec<u8>]) {
    out.clear();
    let mut value = 0.0;
    for blob in blobs {
        value += 17.25;
        let (value, timestamp_ms) = (PointValue::Float(value), 1_763_700_000_000);
        push_series(out, blob, &Point { value, timestamp_ms, start_ms: None, exemplars: &[] });
    }
}

fn encode(criterion: &mut Criterion) {
    let blobs = label_blobs();
    let mut raw = Vec::new();
    push_all(&mut raw, &blobs);
    let mut compressor = Compressor::default();
    let fragments: Vec<_> = raw.chunks(32 * 1024).map(|part| compressor.compress(part)).collect();

    let mut group = criterion.benchmark_group("remote_write");
    group.throughput(Throughput::Elements(SERIES));
    group.bench_function("push_series", |bencher| {
        let mut out = Vec::new();
        bencher.iter(|| push_all(black_box(&mut out), &blobs));
    });
    group.bench_function("compress", |bencher| {
        bencher.iter(|| compressor.compress(black_box(&raw)));
    });
    group.bench_function("join", |bencher| bencher.iter(|| join(black_box(&fragments))));
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
