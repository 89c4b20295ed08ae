//! One destination's loop: takes batches in, has the disk keep them, makes requests and hears the
//! answers. A shell: `queue` decides; `disk` and `requests` do.

use std::sync::Arc;

use rand::{SeedableRng, rngs::StdRng};
use tokio::{
    sync::{mpsc, watch},
    time::{Duration, sleep_until, timeout},
};

use crate::{
    config::{Destination, MetadataSending},
    model::{batch::Batch, member::NodeId},
    outbox::{
        APPENDS_MAX, PUSHES_MAX,
        disk::{Disk, Done, Job},
        families::Families,
        keeping::Keeping,
        line_work::LineWork,
        lines::LineOrder,
        log::{DiskError, Log},
        meters::DestinationMeters,
        push::Pushed,
        queue::Queue,
        recovery::Recovery,
        reporter::Reporter,
        requests::{Ended, Failed, Posted, Requests},
        room::Room,
        settings::{Settings, ms},
        steady::SteadyClock,
        verdict::{Verdict, judge},
        view::QueueView,
    },
    runtime::{clock, lease::Lease, stop::Stop},
};

/// How often expiry, metrics, views and the sync of positions are seen to.
const TICK_MS: i64 = 500;
/// How long a read that did not work now is put off.
const READ_RETRY_MS: i64 = 1000;
/// At the end, a disk that hangs gets so much more time than the destination.
const DISK_GRACE_MS: i64 = 5000;
/// How often is looked whether the right to send has come back.
const LEASE_MS: i64 = 50;
/// What is taken from the channel at once, before anything else has its turn.
const APPENDS_AT_ONCE_MAX: usize = APPENDS_MAX;

/// What one scrape has for this destination.
pub(super) type Appended = Vec<Batch>;

/// An order to a running destination.
pub(super) enum Order {
    Change(Arc<Destination>, Settings),
    /// It is no longer configured: write everything, send nothing, end.
    Retire,
}

/// What a destination is started with.
pub(super) struct Setup {
    pub(super) me: NodeId,
    pub(super) destination: Arc<Destination>,
    pub(super) settings: Settings,
    pub(super) log: Log,
    pub(super) recovery: Recovery,
    pub(super) families: Families,
    pub(super) lease: Lease,
    pub(super) appends: mpsc::Receiver<Appended>,
    pub(super) pushes: mpsc::Receiver<Pushed>,
    pub(super) room: Arc<Room>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) lines: mpsc::Receiver<Vec<LineOrder>>,
    pub(super) view: watch::Sender<Arc<QueueView>>,
    pub(super) meters: DestinationMeters,
}

pub(super) struct DestinationLoop {
    settings: Settings,
    queue: Queue,
    disk: Disk,
    requests: Requests,
    reporter: Reporter,
    families: Families,
    metadata: MetadataSending,
    next_metadata_ms: i64,
    lease: Lease,
    /// The right to send what is divided has run out.
    is_lapsed: bool,
    appends: mpsc::Receiver<Appended>,
    pushes: mpsc::Receiver<Pushed>,
    keeping: Keeping,
    room: Arc<Room>,
    orders: mpsc::Receiver<Order>,
    lines: mpsc::Receiver<Vec<LineOrder>>,
    line_work: LineWork,
    chance: StdRng,
    clock: SteadyClock,
    next_tick_ms: i64,
    /// Positions were written since the last sync.
    unsynced: bool,
    /// `None` while the agent runs.
    ending: Option<Ending>,
}

/// The agent stops, or the destination is no longer configured.
#[derive(Clone, Copy, Debug)]
struct Ending {
    /// When it is time to go, sent or not.
    until_ms: i64,
    sends: bool,
}

/// What a destination has when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) samples: u64,
    pub(super) bytes: u64,
}

impl DestinationLoop {
    pub(super) fn new(setup: Setup) -> Self {
        let Setup {
            me,
            destination,
            settings,
            log,
            recovery,
            families,
            lease,
            appends,
            pushes,
            room,
            orders,
            lines,
            view,
            meters,
        } = setup;
        let clock = SteadyClock::new(clock::now_ms());
        let now_ms = clock.now_ms();
        let (limits, rules) = (settings.limits.clone(), settings.rules.clone());
        let mut queue = Queue::new(limits, rules, me, recovery.next_sequence);
        for mut unsent in recovery.unsent {
            // Written by a clock that stood ahead of ours.
            unsent.entry.appended_ms = unsent.entry.appended_ms.min(now_ms);
            queue.restore(unsent);
        }
        room.know(queue.lanes().map(|(key, _)| &key.tenant));
        let mut disk = Disk::new(log);
        let mut reporter = Reporter::new(Arc::clone(&destination.name), view, meters);
        if let Some(fault) = &recovery.fault {
            reporter.disk_changed(disk.broke(fault, true, now_ms).as_ref());
        }
        let requests = Requests::new(&destination);
        reporter.tick(&mut queue, &disk, requests.dialect(), now_ms);
        room.tell(queue.free(), queue.drops_oldest(), disk.refuses(now_ms));
        Self {
            settings,
            queue,
            disk,
            requests,
            reporter,
            families,
            metadata: destination.metadata.clone(),
            next_metadata_ms: now_ms.saturating_add(ms(destination.metadata.interval)),
            lease,
            is_lapsed: false,
            appends,
            pushes,
            keeping: Keeping::default(),
            room,
            orders,
            lines,
            line_work: LineWork::default(),
            chance: StdRng::from_rng(&mut rand::rng()),
            clock,
            next_tick_ms: now_ms,
            unsynced: false,
            ending: None,
        }
    }

    /// Ends when `stop` is raised, everything is on disk, and what the destination takes at once is
    /// sent.
    pub(super) async fn run(mut self, stop: Stop) -> Left {
        loop {
            let now_ms = self.clock.now_ms();
            self.step(now_ms);
            if self.is_over(now_ms) {
                break;
            }
            let wake = self.clock.at(self.due_ms(now_ms));
            let takes = self.ending.is_none() && self.queue.has_room();
            tokio::select! {
                Some(batches) = self.appends.recv(), if takes => self.append(batches),
                Some(pushed) = self.pushes.recv(), if self.keeping.has_room() => self.push(pushed),
                ended = self.requests.next() => self.ended(ended),
                done = self.disk.done() => self.job_done(done),
                // What closes a line comes before what might be sent of it.
                Some(orders) = self.lines.recv(), if self.line_work.has_room() => self.order(orders),
                Some(order) = self.orders.recv() => self.obey(order),
                () = stop.raised(), if self.ending.is_none() => self.end(self.settings.grace, true),
                () = sleep_until(wake) => {}
            }
        }
        stop.during(Box::pin(self.close())).await
    }

    /// Whatever is due now.
    fn step(&mut self, now_ms: i64) {
        self.is_lapsed = !self.lease.is_valid();
        self.queue.lapse(self.is_lapsed);
        if self.sends() {
            self.requests.look(now_ms);
            let at_once = self.ending.is_some();
            for start in self.queue.start(now_ms, at_once) {
                if let Err(failed) = self.requests.begin(start, &self.queue, now_ms) {
                    self.failed(&failed, now_ms);
                }
            }
        }
        let ticks = now_ms >= self.next_tick_ms;
        if ticks {
            self.next_tick_ms = now_ms + TICK_MS;
            self.queue.expire(now_ms);
            self.tell_metadata(now_ms);
        }
        if self.disk.is_idle() {
            self.start_job(now_ms, ticks);
        }
        self.settle_pushes(now_ms);
        if ticks {
            self.reporter.tick(&mut self.queue, &self.disk, self.requests.dialect(), now_ms);
        }
    }

    /// A destination that refuses us, or is not ours to send to any more, need not hear it.
    fn tell_metadata(&mut self, now_ms: i64) {
        if now_ms < self.next_metadata_ms || self.ending.is_some() {
            return;
        }
        self.next_metadata_ms = now_ms.saturating_add(ms(self.metadata.interval));
        let tells = self.metadata.enabled && self.requests.dialect().tells_apart();
        if tells && !self.queue.is_refused() {
            self.requests.tell(self.families.clone(), self.metadata.families_per_send_max);
        }
    }

    fn start_job(&mut self, now_ms: i64, ticks: bool) {
        let (reads, dropped) = self.requests.take_wanted(&self.queue);
        for failed in dropped {
            self.failed(&failed, now_ms);
        }
        let mut job = Job {
            reads,
            next_sequence: self.queue.next_sequence(),
            free_bytes_min: self.settings.free_bytes_min,
            ..Job::default()
        };
        job.reads.extend(self.line_work.take_wanted(&mut self.queue));
        let mut due = !job.reads.is_empty();
        // A disk that does not work is read from, and otherwise left alone for a while.
        let is_writable = self.disk.writable_ms().is_some_and(|writable_ms| writable_ms <= now_ms);
        job.stores = self.line_work.take_stores(is_writable, &mut self.queue, now_ms);
        if is_writable {
            job.writes = self.queue.take_writes(now_ms, self.ending.is_some());
            job.positions = self.queue.take_positions();
            job.released = self.queue.take_released();
            self.unsynced |= !job.positions.is_empty();
            job.sync = self.unsynced && (ticks || self.ending.is_some());
            self.unsynced &= !job.sync;
            due |= !job.writes.is_empty() || !job.released.is_empty() || job.sync;
            due |= !job.positions.is_empty() || !job.stores.is_empty();
        }
        if due {
            self.disk.start(job);
        }
    }

    fn due_ms(&self, now_ms: i64) -> i64 {
        let at_once = self.ending.is_some();
        let start_ms = self.queue.start_due_ms(now_ms, at_once).filter(|_| self.sends());
        let writable_ms = self.disk.writable_ms();
        let write_ms = self.queue.write_due_ms().zip(writable_ms).map(|(due, may)| due.max(may));
        let end_ms = self.ending.map(|ending| ending.until_ms).filter(|end_ms| *end_ms > now_ms);
        let lease_ms = self.is_lapsed.then_some(now_ms + LEASE_MS);
        let dues = [start_ms, write_ms, end_ms, lease_ms].into_iter().flatten();
        dues.fold(self.next_tick_ms, i64::min)
    }

    /// A destination that is no longer configured gets nothing.
    fn sends(&self) -> bool {
        self.ending.is_none_or(|ending| ending.sends)
    }

    fn append(&mut self, batches: Appended) {
        let now_ms = self.clock.now_ms();
        self.append_all(batches, now_ms);
        for _ in 1..APPENDS_AT_ONCE_MAX {
            if !self.queue.has_room() {
                return;
            }
            let Ok(batches) = self.appends.try_recv() else { return };
            self.append_all(batches, now_ms);
        }
    }

    fn append_all(&mut self, batches: Appended, now_ms: i64) {
        for batch in batches {
            self.reporter.appended(&batch);
            self.queue.append(batch, now_ms);
        }
    }

    fn push(&mut self, pushed: Pushed) {
        let now_ms = self.clock.now_ms();
        self.keeping.take(pushed, self.disk.refuses(now_ms), &mut self.queue, now_ms);
        for _ in 1..PUSHES_MAX {
            let Ok(pushed) = self.pushes.try_recv() else { return };
            self.keeping.take(pushed, self.disk.refuses(now_ms), &mut self.queue, now_ms);
        }
    }

    /// Who waits hears of what has happened, and who comes of the room that there is.
    fn settle_pushes(&mut self, now_ms: i64) {
        self.keeping.settle(&mut self.queue);
        self.reporter.pushed(self.keeping.take_samples());
        let fault = self.disk.refuses(now_ms);
        self.room.tell(self.queue.free(), self.queue.drops_oldest(), fault);
    }

    fn ended(&mut self, ended: Ended) {
        let now_ms = self.clock.now_ms();
        match ended {
            Ended::Posted(posted) => self.answered(&posted),
            Ended::Asked(takes) => {
                let turn = self.requests.asked(takes, now_ms);
                self.reporter.turned(turn);
            }
            Ended::Told(told) => {
                self.requests.told();
                self.reporter.told(&told);
            }
            Ended::Placed { told, changes } => {
                let change = self.requests.placed(told, changes, now_ms, &mut self.chance);
                self.reporter.placed(change);
            }
        }
    }

    fn answered(&mut self, posted: &Posted) {
        let now_ms = self.clock.now_ms();
        let verdict = judge(&posted.answer, &posted.sent, clock::now_ms());
        let turn = self.requests.heard(posted, verdict, now_ms);
        self.reporter.turned(turn);
        let Posted { ticket, request_bytes, .. } = *posted;
        let answered = self.queue.answer(ticket, verdict, request_bytes, now_ms, &mut self.chance);
        self.reporter.answered(posted, verdict, &answered);
        self.line_work.request_ended(&mut self.queue, now_ms);
    }

    fn failed(&mut self, failed: &Failed, now_ms: i64) {
        self.reporter.unreadable(failed);
        if failed.not_now.is_some() {
            let later = Verdict::Retry { wait_ms: Some(READ_RETRY_MS), maybe_stored: false };
            self.queue.answer(failed.ticket, later, 0, now_ms, &mut self.chance);
        } else {
            self.queue.take_back(failed.ticket, &failed.lost);
        }
        self.line_work.request_ended(&mut self.queue, now_ms);
    }

    fn job_done(&mut self, done: Done) {
        let now_ms = self.clock.now_ms();
        let change = self.disk.judge(&done, now_ms);
        self.reporter.job_done(&done, change.as_ref());
        if let Some(Ok(places)) = &done.written {
            self.queue.written(places);
        }
        self.keeping.settle(&mut self.queue);
        // Before anything has to go for want of memory.
        if let Some(fault) = self.disk.refuses(now_ms) {
            self.keeping.refuse_all(fault, &mut self.queue);
        }
        if let Some(Err(error)) = &done.written {
            self.queue.not_written(matches!(error, DiskError::Full(_)));
        }
        self.line_work.stored(done.stored.as_ref(), &mut self.queue, now_ms);
        self.queue.moved(&done.moves);
        for (ticket, found) in done.reads {
            if self.line_work.read(ticket, &found, &mut self.queue, now_ms) {
                continue;
            }
            if let Err(failed) = self.requests.read(ticket, found, now_ms) {
                self.failed(&failed, now_ms);
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Change(destination, settings) => {
                let now_ms = self.clock.now_ms();
                self.requests.change(&destination);
                self.metadata = destination.metadata.clone();
                let in_an_interval = now_ms.saturating_add(ms(self.metadata.interval));
                self.next_metadata_ms = self.next_metadata_ms.min(in_an_interval);
                self.queue.change(&settings.limits, &settings.rules, now_ms);
                self.settings = settings;
            }
            Order::Retire => self.end(Duration::ZERO, false),
        }
    }

    fn order(&mut self, orders: Vec<LineOrder>) {
        let now_ms = self.clock.now_ms();
        if orders.iter().any(|order| matches!(order, LineOrder::Extract { .. })) {
            // As much as the channel holds: what was appended before the order is part of it.
            for _ in 0..APPENDS_AT_ONCE_MAX {
                let Ok(batches) = self.appends.try_recv() else { break };
                self.append_all(batches, now_ms);
            }
            if let Ok(pushed) = self.pushes.try_recv() {
                self.push(pushed);
            }
        }
        self.line_work.take(orders, &mut self.queue, now_ms);
    }

    /// Everything that was handed over is taken in, written at once, and sent as far as it goes.
    fn end(&mut self, grace: Duration, sends: bool) {
        let now_ms = self.clock.now_ms();
        let until_ms = now_ms + i64::try_from(grace.as_millis()).expect("the grace is seconds");
        self.ending = Some(Ending { until_ms, sends });
        self.disk.retry_at_once();
        self.appends.close();
        while let Ok(batches) = self.appends.try_recv() {
            self.append_all(batches, now_ms);
        }
        self.pushes.close();
        while let Ok(pushed) = self.pushes.try_recv() {
            self.push(pushed);
        }
        while let Ok(orders) = self.lines.try_recv() {
            self.order(orders);
        }
    }

    fn is_over(&mut self, now_ms: i64) -> bool {
        let Some(ending) = self.ending else { return false };
        let sent = self.queue.unsent().records == 0
            || now_ms >= ending.until_ms
            || self.queue.is_stuck(now_ms);
        let written = self.queue.is_all_written() || self.disk.is_broken();
        let hangs = now_ms >= ending.until_ms + DISK_GRACE_MS;
        sent && (hangs || written && self.disk.is_idle())
    }

    /// The last positions go to disk; what is not there by then is told.
    async fn close(mut self) -> Left {
        let now_ms = self.clock.now_ms();
        if self.disk.is_idle() {
            let positions = self.queue.take_positions();
            let released = self.queue.take_released();
            let free_bytes_min = self.settings.free_bytes_min;
            let next_sequence = self.queue.next_sequence();
            self.disk.start(Job {
                positions,
                released,
                next_sequence,
                sync: true,
                free_bytes_min,
                ..Job::default()
            });
            let patience = Duration::from_millis(DISK_GRACE_MS.unsigned_abs());
            if let Ok(done) = timeout(patience, self.disk.done()).await {
                let change = self.disk.judge(&done, now_ms);
                self.reporter.job_done(&done, change.as_ref());
            }
        }
        self.reporter.tick(&mut self.queue, &self.disk, self.requests.dialect(), now_ms);
        let unsent = self.queue.unsent();
        self.reporter.closed(unsent, self.queue.unwritten_samples());
        Left { samples: unsent.samples, bytes: unsent.bytes }
    }
}
