//! The life of one target: waits for its tick, fetches, reads, packs, appends, tells. Decides
//! nothing itself; `schedule`, `read` and `staleness` do.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    outbox::{self, Packed, Shapings},
    ownership::{assign::Ending, orders::Knowledge},
    runtime::{clock::FleetTime, lease::Lease, stop::Stop, tasks::beside_others},
    scrape::{
        course::Step,
        desk::{Course, Desk, Orders, Setup},
        duties::{is_divided, next_since_ms},
        ended::{Ended, PanicGuard},
        failure::Failure,
        failure_log::FailureLog,
        fetch::{Fetcher, Page, Shared},
        gap::Gap,
        handover::unpack,
        known::LineLists,
        metadata::{Fingerprint, Library},
        meters::Meters,
        read::{Counts, Moment, Reader},
        report::Report,
        schedule::{Schedule, Tick},
        status::{Board, Changes, Health, TargetStatus},
        waiting::next_step,
    },
    wire::content_type,
};

/// A scrape that is under way when the agent stops may take so long to end, or it never was.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Of a series, when what is known of a target is packed: so long does it take.
const SERIES_PACKED_BYTES: usize = 128;

/// After so many failures in a row what is known of the target's series is forgotten: they have all
/// ended, and who is down for long should cost nothing.
const FAILURES_REMEMBERED_MAX: u32 = 10;

/// What all loops share.
pub(super) struct Context {
    pub(super) outbox: outbox::Handle,
    pub(super) fetch: Arc<Shared>,
    pub(super) lists: LineLists,
    pub(super) library: Library,
    pub(super) meters: Meters,
    pub(super) changes: Changes,
    pub(super) failures: FailureLog,
    pub(super) lease: Lease,
    pub(super) time: FleetTime,
}

pub(super) struct TargetLoop {
    number: u64,
    context: Arc<Context>,
    desk: Arc<Desk>,
    ended: mpsc::Sender<Ended>,
    board: Arc<Board>,
    setup: Setup,
    course: Course,
    on_hold: bool,
    /// The leaving at which all series were ended.
    ended_at: Option<u64>,
    schedule: Schedule,
    fetcher: Fetcher,
    reader: Reader,
    shapings: watch::Receiver<Arc<Shapings>>,
    last_timestamp_ms: i64,
    /// Of the last scrape, unless it was over a limit: such a one ends no series.
    last_moment: Option<Moment>,
    /// What its last samples were filed under.
    since_ms: Option<i64>,
    gap: Gap,
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
        desk: Arc<Desk>,
        ended: mpsc::Sender<Ended>,
        board: Arc<Board>,
    ) -> Self {
        let setup = desk.setup();
        let shapings = context.outbox.shapings();
        let current = Arc::clone(&shapings.borrow());
        Self {
            number,
            ended,
            board,
            course: Course::Scrape,
            on_hold: false,
            ended_at: None,
            schedule: setup.schedule(desk.duties(), context.time.now_ms()),
            desk,
            fetcher: Fetcher::new(Arc::clone(&context.fetch)),
            reader: Reader::new(
                Arc::clone(&setup.job),
                &setup.target,
                current,
                context.lists.clone(),
            ),
            context,
            setup,
            shapings,
            last_timestamp_ms: i64::MIN,
            last_moment: None,
            since_ms: None,
            gap: Gap::default(),
            failures: 0,
            failure: None,
            metadata: Fingerprint::default(),
        }
    }

    /// Ends when the agent stops, without a marker where its target is not gone; or when its pool
    /// lets it go. Boxed, as a future holds what it takes by value twice.
    pub(super) async fn run(mut self: Box<Self>, stop: Stop) {
        let _guard = PanicGuard::new(self.number, &self.ended);
        let _attended = self.board.attend();
        let desk = Arc::clone(&self.desk);
        // Once for all scrapes: who waits for it anew stands in a line that all loops share.
        let mut raised = pin!(stop.raised());
        loop {
            let late_markers = self.take_orders();
            if !late_markers.is_empty() {
                tokio::select! {
                    () = grace(&stop, raised.as_mut()) => return,
                    () = self.append(late_markers) => {}
                }
            }
            if stop.is_raised() {
                return self.stop().await;
            }
            tokio::select! {
                biased;
                () = &mut raised => return self.stop().await,
                () = desk.news() => {}
                next = next_step(
                    &self.context, self.course, self.on_hold, self.ended_at, &mut self.schedule,
                ) => {
                    let is_last = tokio::select! {
                        () = grace(&stop, raised.as_mut()) => true,
                        is_last = self.make(next) => is_last,
                    };
                    if is_last {
                        return;
                    }
                }
            }
        }
    }

    /// Returns the markers that are due by what came with them.
    fn take_orders(&mut self) -> Vec<Packed> {
        let Some(orders) = self.desk.take() else { return Vec::new() };
        let Orders { setup, duties, course, on_hold, catch_up_ms, adopted } = orders;
        if !setup.is_same_as(&self.setup) {
            self.schedule = setup.retuned(&self.schedule, self.context.time.now_ms());
            let before = std::mem::replace(&mut self.setup, setup);
            let (old, new) = (&before.target, &self.setup.target);
            let is_same_stream = old.key == new.key && old.public_labels() == new.public_labels();
            if before.job != self.setup.job || !is_same_stream {
                self.change_reader();
            }
        }
        // What each member scrapes for itself is nobody else's by then.
        let on_hold = on_hold && is_divided(&duties);
        if on_hold {
            self.schedule.hold();
        }
        self.schedule.set_duties(duties);
        if !on_hold {
            self.schedule.resume();
        }
        match course {
            Course::Scrape if catch_up_ms.is_some() => self.schedule.set_catch_up(catch_up_ms),
            Course::Scrape => {}
            Course::Leave(..) | Course::Dismissed => self.schedule.set_catch_up(None),
        }
        (self.course, self.on_hold) = (course, on_hold);
        adopted.iter().flat_map(|knowledge| self.adopt(knowledge)).collect()
    }

    /// Where it comes after the first scrape here, what that one lacked ends with it, and not an
    /// interval later.
    fn adopt(&mut self, knowledge: &Knowledge) -> Vec<Packed> {
        self.context.meters.targets_adopted.inc();
        let last_ms = knowledge.last_tick_ms.unwrap_or(i64::MIN);
        if knowledge.last_tick_ms.is_some() {
            self.schedule.pass(last_ms);
            self.last_timestamp_ms = self.last_timestamp_ms.max(last_ms);
            let gap_ms = self.gap.adopted(last_ms);
            self.tell_gap(gap_ms);
        }
        let (reader, board) = (&mut self.reader, &self.board);
        beside_others(knowledge.series.len(), || {
            if let Some(inventory) = unpack(knowledge, reader.shapings()) {
                if board.samples_expected().is_none() {
                    board.expect_samples(inventory.series.len() + inventory.reports.len());
                }
                reader.adopt(inventory, last_ms);
            }
        });
        let missed = self.last_moment.filter(|moment| moment.timestamp_ms > last_ms);
        missed.map_or_else(Vec::new, |moment| self.reader.end_former(moment))
    }

    fn file_under(&mut self, instant_ms: i64) -> Option<i64> {
        self.since_ms = next_since_ms(self.schedule.duties(), instant_ms, self.since_ms);
        self.since_ms
    }

    async fn append(&self, packed: Vec<Packed>) {
        for packed in packed {
            self.context.outbox.append(packed).await;
        }
    }

    fn tell_gap(&self, gap_ms: Option<i64>) {
        if let Some(gap_ms) = gap_ms {
            // A figure is not worth waiting for.
            let _ = self.ended.try_send(Ended::Gap(gap_ms));
        }
    }

    fn change_reader(&mut self) {
        let shapings = Arc::clone(&self.shapings.borrow_and_update());
        self.reader.change(Arc::clone(&self.setup.job), &self.setup.target, shapings);
    }

    /// Whether that was the last thing to do.
    async fn make(&mut self, step: Step) -> bool {
        match step {
            Step::Scrape(tick) => self.tick(tick).await,
            Step::CatchUp => self.catch_up().await,
            Step::EndSeries { leaving, at_ms } => {
                let has_series = self.last_timestamp_ms > i64::MIN;
                self.end_series(at_ms).await;
                self.ended_at = Some(leaving);
                let at_ms = has_series.then_some(at_ms);
                // Nobody listens only when the pool has ended.
                let _ = self.ended.send(Ended::Gone { leaving, at_ms }).await;
            }
            Step::Depart { leaving } => {
                self.depart(leaving).await;
                return true;
            }
            Step::Return => return true,
            Step::Sleep(_) | Step::Wait => {}
        }
        false
    }

    async fn tick(&mut self, tick: Tick) {
        let (started, started_us) = (Instant::now(), self.context.time.now_us());
        let late_us = u64::try_from(started_us - tick.due_ms * 1000).unwrap_or(0);
        self.context.meters.started(Duration::from_micros(late_us));
        self.context.meters.ticks_missed.inc_by(tick.missed);

        let timestamp_ms = self.schedule.timestamp_ms(tick.due_ms, started_us);
        if timestamp_ms <= self.last_timestamp_ms {
            self.reader.set_clock_back(timestamp_ms);
        }
        let moment = Moment {
            timestamp_ms,
            now_ms: started_us.div_euclid(1000),
            since_ms: self.file_under(tick.due_ms),
        };
        let page = self.fetch(self.schedule.budget(self.setup.target.timeout)).await;
        self.scraped(page, started, moment).await;
    }

    /// In the place of a tick that nobody took; it must not cost the next one.
    async fn catch_up(&mut self) {
        let (started, started_us) = (Instant::now(), self.context.time.now_us());
        let now_ms = started_us.div_euclid(1000);
        if now_ms <= self.last_timestamp_ms {
            return;
        }
        let timeout = self.setup.target.timeout;
        let budget = self.schedule.budget_before_tick(timeout, started_us);
        let page = self.fetch(budget).await;
        if budget < timeout && matches!(page, Err(Failure::Timeout { .. })) {
            // It may be well: it had less time than it may take. The tick will tell.
            return;
        }
        self.context.meters.catch_ups.inc();
        let since_ms = self.file_under(now_ms);
        self.scraped(page, started, Moment { timestamp_ms: now_ms, now_ms, since_ms }).await;
    }

    async fn scraped(&mut self, page: Result<Page, Failure>, started: Instant, moment: Moment) {
        self.last_timestamp_ms = moment.timestamp_ms;
        let gap_ms = self.gap.scraped(moment.timestamp_ms);
        self.tell_gap(gap_ms);
        if !Arc::ptr_eq(self.reader.shapings(), &self.shapings.borrow()) {
            self.change_reader();
        }
        let fetch = Arc::clone(&self.context.fetch);
        let turn = fetch.turn(page.as_ref().ok()).await;
        let mut outcome = self.take(page, started, moment);
        drop(turn);
        let packed = std::mem::take(&mut outcome.packed);
        let ends_series = !outcome.failure.as_ref().is_some_and(Failure::is_over_limit);
        self.last_moment = ends_series.then_some(moment);
        self.tell(outcome, moment.now_ms);
        self.append(packed).await;
    }

    async fn fetch(&mut self, timeout: Duration) -> Result<Page, Failure> {
        let Setup { job, terms, target, limit_exceeded } = &self.setup;
        if *limit_exceeded {
            return Err(Failure::TargetLimit { targets_max: job.limits.targets_max });
        }
        self.fetcher.fetch(&target.url, terms, target.timeout, timeout).await
    }

    fn take(&mut self, page: Result<Page, Failure>, started: Instant, moment: Moment) -> Outcome {
        let (body_bytes, counts, failure) = match page {
            Ok(page) => beside_others(page.bytes_expected(), || self.open(&page, moment)),
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
            body_bytes,
        };
        let packed = self.reader.finish(&report, moment);
        self.failures = if failure.is_some() { self.failures.saturating_add(1) } else { 0 };
        let over_limit = failure.as_ref().is_some_and(Failure::is_over_limit);
        if self.failures == FAILURES_REMEMBERED_MAX && !over_limit {
            self.reader.forget();
        }
        Outcome { counts, failure, body_bytes, took, packed }
    }

    /// Also tells how long the body is.
    fn open(&mut self, page: &Page, moment: Moment) -> (usize, Counts, Option<Failure>) {
        let unpackers = &Arc::clone(&self.context).fetch.unpackers;
        let mut unpacker = unpackers.take(page.bytes_expected());
        let (bytes, (counts, outcome)) = match page.body(&mut unpacker) {
            Ok(body) => (body.len(), self.read(page.content_type.as_deref(), body, moment)),
            Err(failure) => {
                self.reader.begin(moment);
                (0, (Counts::default(), Err(failure)))
            }
        };
        unpackers.give_back(unpacker);
        (bytes, counts, outcome.err())
    }

    fn read(
        &mut self,
        content_type: Option<&str>,
        body: &[u8],
        moment: Moment,
    ) -> (Counts, Result<(), Failure>) {
        let fallback = self.setup.job.fallback_scrape_protocol;
        let format = match content_type::parser_for(content_type, fallback) {
            // Of nothing there is nothing to read, whatever it calls itself.
            _ if body.is_empty() => content_type::Format::PrometheusText,
            Ok(format) => format,
            Err(reason) => {
                self.reader.begin(moment);
                return (Counts::default(), Err(Failure::ContentType(reason)));
            }
        };
        let (counts, outcome) = self.reader.read(format, body, moment);
        if outcome.is_ok() && counts.metadata != self.metadata {
            self.metadata = counts.metadata;
            let told = self.context.library.get(counts.metadata, format, body);
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
        self.expect(counts.relabelled, failure.is_some());
        let last_error = failure.as_ref().map(ToString::to_string);
        let change = (self.failure.as_ref(), failure.as_ref());
        let target = &self.setup.target;
        self.context.failures.tell(&self.setup.job, target, change, last_error.as_deref(), now_ms);
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

    /// What the next scrape will bring: of one that fails for a while still what it brought before.
    fn expect(&self, samples: usize, has_failed: bool) {
        let is_passing = has_failed && self.failures < FAILURES_REMEMBERED_MAX;
        if !is_passing || self.board.samples_expected().is_none() {
            let reports = self.reader.report_count();
            self.board.expect_samples(reports + if has_failed { 0 } else { samples });
        }
    }

    async fn end_series(&mut self, at_ms: i64) {
        self.schedule.pass(at_ms);
        let since_ms = self.file_under(at_ms);
        let moment = Moment { timestamp_ms: at_ms, now_ms: self.context.time.now_ms(), since_ms };
        let packed = self.reader.end(moment);
        self.append(packed).await;
    }

    /// Another member goes on: without markers, but with what it must know to write them.
    async fn depart(&mut self, leaving: u64) {
        // Room first, so that of many that leave at once few are packed and wait in memory. Nobody
        // listens only when the pool has ended.
        let Ok(room) = self.ended.reserve().await else { return };
        let reader = &self.reader;
        let series = reader.series_count();
        let (series, left_out) = beside_others(series * SERIES_PACKED_BYTES, || reader.pack());
        self.context.meters.series_left_out.inc_by(left_out as u64);
        let target = Arc::clone(&self.setup.target);
        let last_tick_ms = self.schedule.last_ms();
        room.send(Ended::Moved(leaving, Knowledge { target, last_tick_ms, series }));
    }

    /// The agent stops: a target that is gone ends at the tick that it would have waited for.
    async fn stop(&mut self) {
        let is_gone = match self.course {
            Course::Leave(Ending::Gone, leaving) => self.ended_at != Some(leaving),
            Course::Leave(Ending::Moved, _) | Course::Scrape | Course::Dismissed => false,
        };
        if is_gone {
            let at_ms = self.schedule.end_ms();
            // The outbox may take nothing any more.
            let _ = timeout(STOP_GRACE, self.end_series(at_ms)).await;
        }
    }
}

/// `raised` may have resolved before.
async fn grace(stop: &Stop, raised: Pin<&mut impl Future<Output = ()>>) {
    if !stop.is_raised() {
        raised.await;
    }
    sleep(STOP_GRACE).await;
}
