//! One member's pool and outbox, where its samples go, and whoever orders it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use prometheus_client::registry::Registry;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::{
    config::{Job, OutboxSettings, WhenFull},
    discovery::{JobTargets, Snapshot},
    model::{
        labels::Labels,
        member::NodeId,
        sample::is_stale_marker,
        slot::{SLOTS, Slot, StreamKey},
        target::{Target, TargetId},
    },
    outbox::{Node, Outbox, lines::LineOrder},
    ownership::orders::{Orders, Report, Task},
    runtime::{clock::FleetTime, lease::Lease, meters::Exposition, stop::Stop, tasks},
    scrape::{
        Handle, Pool,
        alone::Alone,
        fake_target::{FakeTarget, Reply, response},
        test_job::{DESTINATION, destination, job, shown, target},
    },
    wire::remote_write,
};

pub(super) const INTERVAL_MS: i64 = 200;
pub(super) const WAIT_MAX: Duration = Duration::from_secs(20);

/// By labels, in order of arrival: value or marker, and timestamp.
pub(super) type Series = BTreeMap<String, Vec<(f64, i64)>>;

pub(super) struct World {
    orders: mpsc::Sender<Orders>,
    pub(super) reports: mpsc::Receiver<Report>,
    alone: Mutex<Alone>,
    pub(super) handle: Handle,
    receiver: FakeTarget,
    registry: Registry,
    stop_pool: Stop,
    stop_outbox: Stop,
    pool: Option<JoinHandle<Option<()>>>,
    outbox: Option<JoinHandle<Option<()>>>,
    /// Holds the outbox until the end.
    _directory: tempfile::TempDir,
}

impl World {
    pub(super) async fn start() -> Self {
        Self::with(Lease::endless()).await
    }

    /// Scrapes what is divided while that is valid.
    pub(super) async fn with(lease: Lease) -> Self {
        let receiver =
            FakeTarget::start(|_, _| Reply::Keep(response("204 No Content", "", b""))).await;
        let directory = tempfile::tempdir().unwrap();
        let settings = OutboxSettings {
            bytes_max: 1 << 30,
            age_max: Duration::ZERO,
            lanes: 4,
            in_flight_max: 4,
            free_disk_bytes_min: 0,
            when_full: WhenFull::DropOldest,
        };
        let mut registry = Registry::default();
        let destinations = [destination(&[], receiver.url("/write"))];
        let (outbox_handle, outbox) = Outbox::new(
            Node::alone(NodeId(1)),
            &settings,
            &destinations,
            directory.path(),
            &mut registry,
        )
        .unwrap();
        let open = |number| {
            let slot = Slot::new(number).unwrap();
            LineOrder::Open { slot, before_ms: i64::MAX }
        };
        assert!(outbox_handle.order(DESTINATION, (0..SLOTS).map(open).collect()).await);
        // So few reports at a time that the pool has to wait with them.
        let (reporting, reports) = mpsc::channel(1);
        let (handle, pool) =
            Pool::new(outbox_handle, reporting, lease, FleetTime::default(), &mut registry);
        let (orders, ordered) = mpsc::channel(64);
        let (stop_pool, stop_outbox) = (Stop::new(), Stop::new());
        let outbox = Some(tasks::spawn("outbox", outbox.run(stop_outbox.clone())));
        let pool = Some(tasks::spawn("pool", pool.run(ordered, stop_pool.clone())));
        Self {
            orders,
            reports,
            alone: Mutex::default(),
            handle,
            receiver,
            registry,
            stop_pool,
            stop_outbox,
            pool,
            outbox,
            _directory: directory,
        }
    }

    /// All of it is to be scraped here.
    pub(super) fn show(&self, jobs: Vec<JobTargets>) {
        let found = Arc::new(Snapshot { jobs });
        self.orders.try_send(self.alone.lock().unwrap().orders(&found)).unwrap();
    }

    /// Of a job that has these targets only what the tasks say.
    pub(super) fn order(&self, job: &Arc<Job>, tasks: Vec<Task>) {
        let found = Arc::new(Snapshot { jobs: vec![found(job, vec![])] });
        self.orders.try_send(Orders { found, tasks }).unwrap();
    }

    /// The next one that somebody waits for.
    pub(super) async fn report(&mut self) -> Report {
        loop {
            let report = timeout(WAIT_MAX, self.reports.recv()).await.expect("a report");
            match report.expect("the pool runs") {
                Report::Gap { .. } => {}
                report @ (Report::Sealed { .. } | Report::Left(_)) => return report,
            }
        }
    }

    /// The value of one of the agent's own metrics.
    pub(super) fn meter(&self, name: &str) -> f64 {
        let text = Exposition::Text.encode(&self.registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// What has arrived; each series strictly in order, or the test fails.
    pub(super) fn received(&self) -> Series {
        let mut all = Series::new();
        for body in self.receiver.bodies() {
            for series in remote_write::decode(&body).unwrap() {
                let samples = all.entry(series.labels.to_string()).or_default();
                for sample in series.samples {
                    let last = samples.last().map_or(i64::MIN, |(_, at)| *at);
                    assert!(
                        last < sample.timestamp_ms,
                        "{}: {} behind {last}",
                        series.labels,
                        shown(sample)
                    );
                    samples.push((sample.value, sample.timestamp_ms));
                }
            }
        }
        all
    }

    pub(super) async fn until(&self, what: &str, is_there: impl Fn(&Series) -> bool) -> Series {
        let waiting = async {
            loop {
                let received = self.received();
                if is_there(&received) {
                    return received;
                }
                self.receiver.asked().await;
            }
        };
        let received = timeout(WAIT_MAX, waiting).await;
        received.unwrap_or_else(|e| panic!("{what}: {e}: {:#?}", self.received()))
    }

    /// Everything that was scraped has arrived after it.
    pub(super) async fn stop(mut self) -> Series {
        self.stop_pool.raise();
        self.pool.take().unwrap().await.unwrap();
        self.stop_outbox.raise();
        self.outbox.take().unwrap().await.unwrap();
        self.received()
    }
}

pub(super) fn quick_job() -> Job {
    let interval = Duration::from_millis(INTERVAL_MS.unsigned_abs());
    Job { scrape_interval: interval, scrape_timeout: interval, ..job() }
}

pub(super) fn found(job: &Arc<Job>, targets: Vec<Target>) -> JobTargets {
    JobTargets {
        job: Arc::clone(job),
        active: targets.into_iter().map(Arc::new).collect(),
        dropped: Arc::default(),
        dropped_total: 0,
        limit_exceeded: false,
        refreshed_ms: 0,
    }
}

/// An instant within 100 ms behind this one, and the key of targets that are due at it.
pub(super) fn due_behind(instant_ms: i64, interval_ms: i64) -> (i64, StreamKey) {
    let due_ms = instant_ms - instant_ms.rem_euclid(100) + 100;
    (due_ms, StreamKey(due_ms.rem_euclid(interval_ms).unsigned_abs()))
}

/// A target of `quick_job` at that URL; `id` also makes its key.
pub(super) fn at(url: String, id: u64, labels: &[(&str, &str)]) -> Target {
    let interval = Duration::from_millis(INTERVAL_MS.unsigned_abs());
    Target {
        id: TargetId(id),
        key: StreamKey(id.wrapping_mul(7919)),
        url,
        interval,
        timeout: interval,
        ..target(labels)
    }
}

pub(super) fn named(name: &str, labels: &[(&str, &str)]) -> String {
    let labels: Labels = labels.iter().copied().chain([("__name__", name)]).collect();
    labels.to_string()
}

pub(super) fn ends(series: &Series, name: &str) -> bool {
    series.get(name).and_then(|s| s.last()).is_some_and(|(value, _)| is_stale_marker(*value))
}

pub(super) fn count(series: &Series, name: &str) -> usize {
    series.get(name).map_or(0, Vec::len)
}

pub(super) fn markers(series: &Series) -> usize {
    series.values().flatten().filter(|(value, _)| is_stale_marker(*value)).count()
}
