//! The life of one target: waits for its tick, fetches, reads, packs, appends, tells. Decides
//! nothing itself; `schedule`, `read` and `staleness` do.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{mpsc, watch},
    task::block_in_place,
    time::{Instant, sleep},
};
use tracing::{info, warn};
use url::Url;

use crate::{
    config::Job,
    model::target::Target,
    outbox::{self, Packed, Shapings},
    runtime::{clock, stop::Stop},
    scrape::{
        failure::Failure,
        failure_log::{FailureLog, Line, LogBudget},
        fetch::{Fetcher, Page, Shared, Terms},
        metadata::{Fingerprint, Library},
        meters::Meters,
        read::{Counts, Moment, Reader},
        report::Report,
        schedule::{Schedule, Tick, Turn},
        status::{Board, Health, TargetStatus},
    },
    wire::content_type,
};

/// A scrape that is under way when the agent stops may take so long to end, or it never was.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// A body of this size takes some 0.2 ms to read; a larger one is read where other tasks can leave
/// the thread.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// After so many failures in a row what is known of the target's series is forgotten: they have all
/// ended, and who is down for long should cost nothing.
const FAILURES_REMEMBERED_MAX: u32 = 10;

/// What all loops share.
pub(super) struct Context {
    pub(super) outbox: outbox::Handle,
    pub(super) fetch: Arc<Shared>,
    pub(super) library: Library,
    pub(super) meters: Meters,
    pub(super) budget: LogBudget,
    pub(super) failures: FailureLog,
}

/// What one target is scraped by. A change takes effect at its next tick.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) job: Arc<Job>,
    pub(super) terms: Arc<Terms>,
    pub(super) target: Arc<Target>,
    /// Its job has more targets than it may: none is scraped, and all are down.
    pub(super) limit_exceeded: bool,
}

impl Setup {
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.terms, &other.terms)
            && self.target == other.target
            && self.limit_exceeded == other.limit_exceeded
    }
}

#[derive(Clone)]
pub(super) struct Orders {
    pub(super) setup: Setup,
    /// The target is gone: its series end at its first missed tick, unless it comes back before.
    pub(super) leaving: bool,
}

/// What a loop tells its pool, by the number that it got there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ended {
    /// Its series have ended; it waits to be let go, or to be called back.
    Gone(u64),
    Panicked(u64),
}

pub(super) struct TargetLoop {
    number: u64,
    context: Arc<Context>,
    orders: watch::Receiver<Orders>,
    ended: mpsc::Sender<Ended>,
    board: Arc<Board>,
    setup: Setup,
    schedule: Schedule,
    fetcher: Fetcher,
    reader: Reader,
    shapings: watch::Receiver<Arc<Shapings>>,
    last_timestamp_ms: i64,
    failures: u32,
    failure: Option<Failure>,
    metadata: Fingerprint,
}

/// What came of one tick.
struct Outcome {
    counts: Counts,
    failure: Option<Failure>,
    body_bytes: usize,
    took: Duration,
    packed: Vec<Packed>,
}

impl TargetLoop {
    pub(super) fn new(
        number: u64,
        context: Arc<Context>,
        orders: watch::Receiver<Orders>,
        ended: mpsc::Sender<Ended>,
        board: Arc<Board>,
    ) -> Self {
        let setup = orders.borrow().setup.clone();
        let shapings = context.outbox.shapings();
        let current = Arc::clone(&shapings.borrow());
        Self {
            number,
            orders,
            ended,
            board,
            schedule: schedule(&setup, clock::now_ms()),
            fetcher: Fetcher::new(Arc::clone(&context.fetch)),
            reader: Reader::new(Arc::clone(&setup.job), &setup.target, current),
            context,
            setup,
            shapings,
            last_timestamp_ms: i64::MIN,
            failures: 0,
            failure: None,
            metadata: Fingerprint::default(),
        }
    }

    /// Ends when the agent stops, without a marker; or when its pool lets it go.
    pub(super) async fn run(mut self, stop: Stop) {
        let _guard = PanicGuard { number: self.number, ended: self.ended.clone() };
        loop {
            let leaving = self.take_orders();
            let first_missed_ms = self.schedule.first_missed_ms();
            tokio::select! {
                biased;
                () = stop.raised() => return,
                changed = self.orders.changed() => match changed {
                    Ok(()) => {}
                    Err(_) => return,
                },
                tick = next_tick(&mut self.schedule) => {
                    let work = async {
                        if leaving { self.leave(first_missed_ms).await } else { self.tick(tick).await }
                    };
                    tokio::select! {
                        () = grace(&stop) => return,
                        () = work => {}
                    }
                    if leaving && self.wait_for_orders(&stop).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn take_orders(&mut self) -> bool {
        let Orders { setup, leaving } = self.orders.borrow_and_update().clone();
        if !setup.is_same_as(&self.setup) {
            let now_ms = clock::now_ms();
            self.schedule = retuned(&self.schedule, &setup, now_ms);
            let before = std::mem::replace(&mut self.setup, setup);
            let (old, new) = (&before.target, &self.setup.target);
            if before.job != self.setup.job || old.public_labels() != new.public_labels() {
                self.change_reader();
            }
        }
        leaving
    }

    fn change_reader(&mut self) {
        let shapings = Arc::clone(&self.shapings.borrow_and_update());
        self.reader.change(Arc::clone(&self.setup.job), &self.setup.target, shapings);
    }

    async fn tick(&mut self, tick: Tick) {
        let (started, started_us) = (Instant::now(), clock::now_us());
        let late_us = u64::try_from(started_us - tick.due_ms * 1000).unwrap_or(0);
        self.context.meters.started(Duration::from_micros(late_us));
        self.context.meters.ticks_missed.inc_by(tick.missed);

        let timestamp_ms = self.schedule.timestamp_ms(tick.due_ms, started_us);
        let now_ms = started_us.div_euclid(1000);
        let moment = Moment { timestamp_ms, now_ms };
        if timestamp_ms <= self.last_timestamp_ms {
            self.reader.set_clock_back(timestamp_ms);
        }
        self.last_timestamp_ms = timestamp_ms;
        if !Arc::ptr_eq(self.reader.shapings(), &self.shapings.borrow()) {
            self.change_reader();
        }

        let page = self.fetch().await;
        let mut outcome = self.take(page, started, moment);
        let packed = std::mem::take(&mut outcome.packed);
        self.tell(outcome, now_ms);
        for packed in packed {
            self.context.outbox.append(packed).await;
        }
    }

    async fn fetch(&mut self) -> Result<Page, Failure> {
        let Setup { job, terms, target, limit_exceeded } = &self.setup;
        if *limit_exceeded {
            return Err(Failure::TargetLimit { targets_max: job.limits.targets_max });
        }
        let timeout = self.schedule.budget(target.timeout);
        self.fetcher.fetch(&target.url, terms, target.timeout, timeout).await
    }

    fn take(&mut self, page: Result<Page, Failure>, started: Instant, moment: Moment) -> Outcome {
        let (body_bytes, counts, failure) = match page {
            Ok(page) => {
                let bytes = page.body.len();
                let (counts, outcome) = beside_others(bytes, || self.read(&page, moment));
                self.context.fetch.buffers.give_back(page.body);
                (bytes, counts, outcome.err())
            }
            Err(failure) => {
                self.reader.begin(moment);
                (0, Counts::default(), Some(failure))
            }
        };
        let took = started.elapsed();
        let report = Report {
            failure: failure.as_ref(),
            duration_seconds: took.as_secs_f64(),
            counts,
            timeout_seconds: self.setup.target.timeout.as_secs_f64(),
            samples_max: self.setup.job.limits.samples_max,
            body_bytes,
        };
        let packed = self.reader.finish(&report, moment);
        self.failures = if failure.is_some() { self.failures.saturating_add(1) } else { 0 };
        let over_limit = matches!(failure, Some(Failure::SampleLimit { .. }));
        if self.failures == FAILURES_REMEMBERED_MAX && !over_limit {
            self.reader.forget();
        }
        Outcome { counts, failure, body_bytes, took, packed }
    }

    fn read(&mut self, page: &Page, moment: Moment) -> (Counts, Result<(), Failure>) {
        let fallback = self.setup.job.fallback_scrape_protocol;
        let format = match content_type::parser_for(page.content_type.as_deref(), fallback) {
            Ok(format) => format,
            // Of nothing there is nothing to read, whatever it calls itself.
            Err(_) if page.body.is_empty() => content_type::Format::PrometheusText,
            Err(reason) => {
                self.reader.begin(moment);
                return (Counts::default(), Err(Failure::ContentType(reason)));
            }
        };
        let format =
            if page.body.is_empty() { content_type::Format::PrometheusText } else { format };
        let (counts, outcome) = self.reader.read(format, &page.body, moment);
        if outcome.is_ok() && counts.metadata != self.metadata {
            self.metadata = counts.metadata;
            let told = self.context.library.get(counts.metadata, format, &page.body);
            self.board.set_metadata(told);
        }
        (counts, outcome)
    }

    fn tell(&mut self, outcome: Outcome, now_ms: i64) {
        let Outcome { counts, failure, body_bytes, took, .. } = outcome;
        let meters = &self.context.meters;
        let kind = failure.as_ref().map_or("ok", Failure::kind);
        meters.scraped(kind, took, counts, body_bytes);
        if failure.is_none() {
            meters.took(counts.relabelled);
        }
        let last_error = failure.as_ref().map(ToString::to_string);
        self.log(failure.as_ref(), last_error.as_deref(), now_ms);
        self.board.write(TargetStatus {
            target: Arc::clone(&self.setup.target),
            health: if failure.is_none() { Health::Up } else { Health::Down },
            last_error,
            last_scrape_ms: now_ms,
            duration: took,
            samples: counts.relabelled,
            series: self.reader.series_count(),
        });
        self.failure = failure;
    }

    /// On change: a target that goes on failing as it did is no news.
    fn log(&self, failure: Option<&Failure>, text: Option<&str>, now_ms: i64) {
        let target = &self.setup.target;
        if let (Some(file), Some(text)) = (&self.setup.job.scrape_failure_log_file, text) {
            let line = Line::new(file, target, &shown_url(target), text, now_ms);
            self.context.failures.write(line);
        }
        let is_news = match (&self.failure, failure) {
            (None, None) => false,
            (Some(before), Some(now)) => !before.is_like(now),
            (None, Some(_)) | (Some(_), None) => true,
        };
        if !is_news {
            return;
        }
        let Some(suppressed) = self.context.budget.take(Instant::now()) else { return };
        let (job, url) = (&*target.job, shown_url(target));
        match text {
            Some(error) => warn!(job, url, error, suppressed, "scrape failed"),
            None => info!(job, url, suppressed, "scrape succeeds again"),
        }
    }

    async fn leave(&mut self, timestamp_ms: i64) {
        let moment = Moment { timestamp_ms, now_ms: clock::now_ms() };
        for packed in self.reader.end(moment) {
            self.context.outbox.append(packed).await;
        }
        // Nobody listens only when the pool has ended.
        let _ = self.ended.send(Ended::Gone(self.number)).await;
    }

    async fn wait_for_orders(&mut self, stop: &Stop) -> Result<(), ()> {
        tokio::select! {
            () = stop.raised() => Err(()),
            changed = self.orders.changed() => changed.map_err(drop),
        }
    }
}

struct PanicGuard {
    number: u64,
    ended: mpsc::Sender<Ended>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Where the pool has no room for the news, it sees at its next change that the task
            // has ended.
            let _ = self.ended.try_send(Ended::Panicked(self.number));
        }
    }
}

fn schedule(setup: &Setup, now_ms: i64) -> Schedule {
    let Setup { job, target, .. } = setup;
    Schedule::new(target.key, target.interval, job.timestamp_tolerance, now_ms)
}

fn retuned(before: &Schedule, setup: &Setup, now_ms: i64) -> Schedule {
    let Setup { job, target, .. } = setup;
    before.retuned(target.key, target.interval, job.timestamp_tolerance, now_ms)
}

async fn next_tick(schedule: &mut Schedule) -> Tick {
    loop {
        match schedule.turn(clock::now_us()) {
            Turn::Take(tick) => return tick,
            Turn::Sleep(wait) => sleep(wait).await,
        }
    }
}

async fn grace(stop: &Stop) {
    stop.raised().await;
    sleep(STOP_GRACE).await;
}

/// Runs what takes long without holding up the tasks that wait for this thread.
fn beside_others<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let may_leave = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    if bytes > INLINE_BYTES_MAX && may_leave { block_in_place(work) } else { work() }
}

/// Without what may be secret in it.
fn shown_url(target: &Target) -> String {
    let Ok(mut url) = Url::parse(&target.url) else { return String::new() };
    url.set_query(None);
    // Neither can fail for a URL with a host, and one without has none to show.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}
