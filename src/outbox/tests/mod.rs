//! The outbox as a whole: real files, real sockets, a receiver that misbehaves.

mod delivery;
mod disk;
mod handover;
mod lines;
mod odd;
mod pushes;
mod receiver;
mod straight;
mod versions;

use std::{path::Path, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use tokio::{
    runtime::{Builder, Runtime},
    task::{JoinHandle, spawn_blocking},
};

use crate::{
    config::{
        Destination, HttpClient, MetadataSending, OutboxSettings, Queue, WhenFull,
        WriteCompression, WriteMessage,
    },
    model::{
        histogram::{CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, ResetHint},
        labels::Labels,
        member::NodeId,
        sample::{Point, PointValue},
        slot::{Slot, StreamKey},
    },
    outbox::{Handle, Node, Outbox, Packed, Packer, QueueView, tests::receiver::Receiver},
    runtime::stop::Stop,
    wire::remote_write::Metadata,
};

/// What every series is said to be, and since when it counts.
const HELP: &str = "what it is";
const START_MS: i64 = 1_795_255_100_000;

/// An outbox that runs.
struct Running {
    handle: Handle,
    stop: Stop,
    task: JoinHandle<()>,
    registry: Registry,
    /// Of its own, so that it can be killed with everything that it has spawned.
    runtime: Runtime,
}

impl Running {
    fn start(directory: &Path, destinations: &[Arc<Destination>]) -> Self {
        Self::start_with(&settings(), directory, destinations)
    }

    fn start_with(
        settings: &OutboxSettings,
        directory: &Path,
        destinations: &[Arc<Destination>],
    ) -> Self {
        Self::start_as(NodeId(1), settings, directory, destinations)
    }

    fn start_as(
        me: NodeId,
        settings: &OutboxSettings,
        directory: &Path,
        destinations: &[Arc<Destination>],
    ) -> Self {
        let mut registry = Registry::default();
        let (handle, part) =
            Outbox::new(Node::alone(me), settings, destinations, directory, &mut registry).unwrap();
        let stop = Stop::new();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let task = runtime.spawn(part.run(stop.clone()));
        Self { handle, stop, task, registry, runtime }
    }

    async fn stop(self) {
        self.stop.raise();
        self.task.await.unwrap();
        self.runtime.shutdown_background();
    }

    /// As SIGKILL does: nothing is written or sent any more.
    async fn kill(self) {
        let runtime = self.runtime;
        let ending = spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(10)));
        ending.await.unwrap();
    }

    async fn scrape(&self, target: &mut Target) {
        let packed = target.scrape(&self.handle);
        self.handle.append(packed).await;
    }

    async fn until_view<T>(&self, what: &str, check: impl Fn(&QueueView) -> Option<T>) -> T {
        for _ in 0..400 {
            if let Some(found) = self.handle.queues().iter().find_map(|view| check(view)) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not within 20 s: {what}; {:?}", self.handle.queues());
    }

    /// As `/metrics` shows them.
    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    async fn until_metric(&self, line: &str) {
        for _ in 0..400 {
            if self.metrics().lines().any(|other| other == line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not within 20 s: {line}; {}", self.metrics());
    }

    fn dropped(&self, reason: &str) -> u64 {
        let views = self.handle.queues();
        views.iter().filter_map(|view| view.dropped_samples.get(reason)).sum()
    }
}

/// A target of some series, whose values count the scrapes.
struct Target {
    stream: StreamKey,
    series: Vec<Labels>,
    /// When its present owner's time began; `None` where it is not divided.
    since_ms: Option<i64>,
    scrapes: i64,
    packer: Option<Packer>,
    /// Has a histogram besides, whose buckets are its own.
    histogram: bool,
}

impl Target {
    fn new(name: &str, series: usize) -> Self {
        let labels = |n: usize| {
            [("__name__", "m".to_owned()), ("n", format!("{name}-{n}"))].into_iter().collect()
        };
        Self {
            stream: StreamKey::of([name]),
            series: (0..series).map(labels).collect(),
            since_ms: None,
            scrapes: 0,
            packer: None,
            histogram: false,
        }
    }

    fn divided(name: &str, series: usize, since_ms: i64) -> Self {
        Self { since_ms: Some(since_ms), ..Self::new(name, series) }
    }

    fn slot(&self) -> Slot {
        self.stream.slot()
    }

    fn scrape(&mut self, handle: &Handle) -> Packed {
        let shapings = Arc::clone(&handle.shapings().borrow());
        let packer = self.packer.get_or_insert_with(|| Packer::new(Arc::clone(&shapings)));
        packer.set_shapings(Arc::clone(&shapings));
        let timestamp_ms = 1_795_255_200_000 + self.scrapes * 1000;
        packer.begin(self.stream, timestamp_ms, self.since_ms);
        #[expect(clippy::cast_precision_loss, reason = "a test makes few scrapes")]
        let value = PointValue::Float(self.scrapes as f64);
        let point = Point { value, timestamp_ms, start_ms: Some(START_MS), exemplars: &[] };
        let metadata = Metadata { help: HELP.into(), ..Metadata::default() };
        for labels in &self.series {
            packer.push(&shapings.encode(labels, Some(&metadata)), &point, 0);
        }
        if self.histogram {
            let labels: Labels = [("__name__", "h")].into_iter().collect();
            let histogram = custom_buckets();
            let value = PointValue::Histogram(&histogram);
            packer.push(&shapings.encode(&labels, None), &Point { value, ..point }, 0);
        }
        self.scrapes += 1;
        packer.finish()
    }

    /// Each series has each value once, in order.
    #[track_caller]
    fn assert_stored_once_in_order(&self, receiver: &Receiver) {
        let stored = receiver.stored();
        #[expect(clippy::cast_precision_loss, reason = "a test makes few scrapes")]
        let expected: Vec<f64> = (0..self.scrapes).map(|n| n as f64).collect();
        for labels in &self.series {
            assert_eq!(stored.get(labels.get("n")), Some(&expected), "{labels}");
        }
    }
}

fn settings() -> OutboxSettings {
    OutboxSettings {
        bytes_max: 1 << 30,
        age_max: Duration::ZERO,
        lanes: 4,
        in_flight_max: 64,
        free_disk_bytes_min: 0,
        when_full: WhenFull::DropOldest,
    }
}

pub(super) fn destination(name: &str, url: &str) -> Destination {
    Destination {
        name: name.into(),
        fleet_name: name.into(),
        url: crate::config::TypedUrl::new(url),
        timeout: Duration::from_secs(5),
        http: HttpClient::default(),
        external_labels: Labels::new(),
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
            batch_send_deadline: Duration::from_millis(20),
            min_backoff: Duration::from_millis(20),
            max_backoff: Duration::from_millis(100),
            sample_age_limit: Duration::ZERO,
        },
    }
}

fn custom_buckets() -> Histogram {
    Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        zero_threshold: 0.0,
        sum: 3.0,
        reset_hint: ResetHint::Unknown,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        counts: Counts::Integer {
            count: 2,
            zero_count: 0,
            positive_deltas: Vec::new(),
            negative_deltas: Vec::new(),
        },
        custom_bounds: vec![1.0, 2.0],
    }
}

fn one(receiver: &Receiver) -> Vec<Arc<Destination>> {
    vec![Arc::new(destination("main", &receiver.url()))]
}
