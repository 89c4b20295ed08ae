//! What a sample costs on its way into the outbox: encoding a series' labels (once), packing a
//! sample (each scrape), and writing a packed scrape to disk and reading it back.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot set up should panic")]

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use prometheus_client::registry::Registry;
use starling::{
    config::{
        Destination, HttpClient, MetadataSending, OutboxSettings, Queue, TypedUrl, WhenFull,
        WriteCompression, WriteMessage,
    },
    model::{
        labels::Labels,
        member::NodeId,
        sample::{Point, PointValue},
        slot::StreamKey,
    },
    outbox::{Outbox, Packer, SeriesBlobs, Shapings, frame},
    runtime::stop::Stop,
};

const SERIES: usize = 1000;

/// About what a node exporter has: 7 labels, 150 bytes encoded.
fn series(n: usize) -> Labels {
    [
        ("__name__", format!("node_some_subsystem_total_{}", n / 20)),
        ("cpu", (n % 20).to_string()),
        ("device", "nvme0n1".to_owned()),
        ("instance", "server-117.example.org:9100".to_owned()),
        ("job", "node".to_owned()),
        ("mode", "idle".to_owned()),
        ("region", "eu-central".to_owned()),
    ]
    .into_iter()
    .collect()
}

fn destination(name: &str) -> Arc<Destination> {
    Arc::new(Destination {
        name: name.into(),
        fleet_name: name.into(),
        // Nobody listens: what is measured stays in the outbox.
        url: TypedUrl::new("http://127.0.0.1:1/"),
        timeout: Duration::from_secs(1),
        http: HttpClient::default(),
        external_labels: [("replica", name)].into_iter().collect(),
        write_relabel: Vec::new(),
        send_exemplars: false,
        send_native_histograms: false,
        message: WriteMessage::V1,
        compression: WriteCompression::Auto,
        metadata: MetadataSending::default(),
        round_robin_dns: false,
        placement: false,
        out_of_order_window: Duration::ZERO,
        queue: Queue {
            samples_per_send_max: 2000,
            batch_send_deadline: Duration::from_secs(5),
            min_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(5),
            sample_age_limit: Duration::ZERO,
        },
    })
}

struct Scrapes {
    packer: Packer,
    blobs: Vec<SeriesBlobs>,
    round: i64,
}

impl Scrapes {
    fn new(shapings: &Arc<Shapings>) -> Self {
        let blobs = (0..SERIES).map(|n| shapings.encode(&series(n), None)).collect();
        Self { packer: Packer::new(Arc::clone(shapings)), blobs, round: 1_795_255_200_000 }
    }

    #[expect(clippy::cast_precision_loss, reason = "any number will do")]
    fn pack(&mut self) -> starling::outbox::Packed {
        self.round += 15_000;
        self.packer.begin(StreamKey(7), self.round, None);
        for (n, blobs) in self.blobs.iter().enumerate() {
            let value = PointValue::Float((n * 1000 + 17) as f64);
            let point = Point { value, timestamp_ms: self.round, start_ms: None, exemplars: &[] };
            self.packer.push(blobs, &point, 0);
        }
        self.packer.finish()
    }
}

fn pack(c: &mut Criterion) {
    let mut group = c.benchmark_group("pack");
    group.throughput(Throughput::Elements(SERIES as u64));
    for (name, destinations) in
        [("one shaping", vec![destination("a")]), ("two", vec![destination("a"), destination("b")])]
    {
        let shapings = Arc::new(Shapings::of(&destinations));
        let mut scrapes = Scrapes::new(&shapings);
        group.bench_function(name, |b| b.iter(|| black_box(scrapes.pack())));
    }
    let shapings = Shapings::of(&[destination("a")]);
    let labels: Vec<Labels> = (0..SERIES).map(series).collect();
    group.bench_function("labels of a new series", |b| {
        b.iter(|| labels.iter().map(|labels| shapings.encode(labels, None)).collect::<Vec<_>>());
    });
    group.finish();
}

/// A frame's way to the bytes of a segment and back.
fn frames(c: &mut Criterion) {
    let mut scrapes = Scrapes::new(&Arc::new(Shapings::of(&[destination("a")])));
    let batch = scrapes.pack().batches_for("a").remove(0);
    let record = frame::Record { sequence: 1, appended_ms: 0, name: None, copy_of: None, batch };
    let mut encoded = Vec::new();
    frame::encode(&record, &mut encoded).unwrap();
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Bytes(encoded.len() as u64));
    group.bench_function("encode", |b| {
        b.iter(|| {
            encoded.clear();
            frame::encode(black_box(&record), &mut encoded)
        });
    });
    group.bench_function("decode", |b| b.iter(|| frame::decode(black_box(&encoded)).is_ok()));
    group.finish();
}

/// Through the channel into the queue, with the writes to disk going on beside.
fn append(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let settings = OutboxSettings {
        bytes_max: 256 << 20,
        age_max: Duration::ZERO,
        lanes: 16,
        in_flight_max: 64,
        free_disk_bytes_min: 0,
        when_full: WhenFull::DropOldest,
    };
    let destinations = [destination("a")];
    let (handle, part) = Outbox::new(
        starling::outbox::Node::alone(NodeId(1)),
        &settings,
        &destinations,
        directory.path(),
        &mut Registry::default(),
    )
    .unwrap();
    let stop = Stop::new();
    let running = runtime.spawn(part.run(stop.clone()));
    let shapings = Arc::clone(&handle.shapings().borrow());
    let mut scrapes = Scrapes::new(&shapings);
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(SERIES as u64));
    group.bench_function("a packed scrape", |b| {
        b.iter_batched(
            || scrapes.pack(),
            |packed| runtime.block_on(handle.append(packed)),
            BatchSize::SmallInput,
        );
    });
    group.finish();
    stop.raise();
    runtime.block_on(running).unwrap();
}

criterion_group!(benches, pack, frames, append);
criterion_main!(benches);
