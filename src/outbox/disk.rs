//! The log and the thread that may wait for it: one job at a time, off the threads that scrape and
//! send. Between `destination`, which says what is due, and `log`, which does it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::task::{JoinHandle, spawn_blocking};

use crate::outbox::{
    entry::{LineKey, Place},
    frame::Record,
    log::{DiskError, Found, Log, Move},
    view::DiskView,
};

/// How long a disk that does not work is left alone; it doubles with each failure.
const RETRY_MS_MIN: i64 = 1000;
const RETRY_MS_MAX: i64 = 30_000;

/// What the disk is to do, in this order.
#[derive(Debug, Default)]
pub(super) struct Job {
    pub(super) reads: Vec<Wanted>,
    pub(super) writes: Vec<Record>,
    /// What is taken over from other members: on disk whole, or not at all.
    pub(super) stores: Vec<Record>,
    pub(super) positions: Vec<(LineKey, u64)>,
    pub(super) released: Vec<(u64, Place)>,
    pub(super) next_sequence: u64,
    /// Bring the positions to the disk itself, not only to the kernel.
    pub(super) sync: bool,
    pub(super) free_bytes_min: u64,
}

/// Records that the attempt, or the hand-over, of that ticket needs.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) ticket: u64,
    pub(super) records: Vec<(u64, Place)>,
}

#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) reads: Vec<(u64, Vec<Found>)>,
    /// `None` where there was nothing to write.
    pub(super) written: Option<Result<Vec<Place>, DiskError>>,
    pub(super) stored: Option<Result<Vec<Place>, DiskError>>,
    pub(super) moves: Vec<Move>,
    /// Whatever else went wrong.
    pub(super) fault: Option<DiskError>,
}

#[derive(Debug)]
pub(super) struct Disk {
    /// Not here while a job runs.
    log: Option<Log>,
    running: Option<JoinHandle<(Log, Done)>>,
    fault_of_write: bool,
    retry_ms: i64,
    wait_ms: i64,
    view: DiskView,
}

/// How the disk's condition has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Broke(DiskError),
    Works,
}

impl Disk {
    pub(super) fn new(log: Log) -> Self {
        let view = view_of(&log);
        Self { log: Some(log), running: None, fault_of_write: false, retry_ms: 0, wait_ms: 0, view }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.log.is_some()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.view.fault.is_some()
    }

    /// When it may be written to again; `None` while a job runs.
    pub(super) fn writable_ms(&self) -> Option<i64> {
        self.is_idle().then(|| if self.is_broken() { self.retry_ms } else { i64::MIN })
    }

    /// Why it is left alone for now.
    pub(super) fn refuses(&self, now_ms: i64) -> Option<&str> {
        self.view.fault.as_deref().filter(|_| self.retry_ms > now_ms)
    }

    pub(super) fn start(&mut self, job: Job) {
        let Some(mut log) = self.log.take() else { return };
        self.running = Some(spawn_blocking(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut log, &job)));
            let done = outcome.unwrap_or_else(|_| {
                log.abandon_segment();
                let error = DiskError::Failed("writing the outbox panicked".to_owned());
                let failed = |records: &[Record]| (!records.is_empty()).then(|| Err(error.clone()));
                let (written, stored) = (failed(&job.writes), failed(&job.stores));
                let reads = job.reads.iter().map(not_now).collect();
                Done { reads, written, stored, moves: Vec::new(), fault: Some(error) }
            });
            (log, done)
        }));
    }

    /// Waits for the running job; for ever where there is none.
    pub(super) async fn done(&mut self) -> Done {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let (log, done) = running.await.expect("a job catches its panics and is never cancelled");
        self.running = None;
        self.view = DiskView { fault: self.view.fault.clone(), ..view_of(&log) };
        self.log = Some(log);
        done
    }

    /// Takes note of how the job went.
    pub(super) fn judge(&mut self, done: &Done, now_ms: i64) -> Option<Change> {
        let mut writes = done.written.iter().chain(&done.stored);
        if let Some(Err(fault)) = writes.clone().find(|write| write.is_err()) {
            return self.broke(fault, true, now_ms);
        }
        match &done.fault {
            Some(fault) => self.broke(fault, false, now_ms),
            // Reading and removing work on a full disk, too.
            None if self.fault_of_write && writes.next().is_none() => None,
            None => self.works(),
        }
    }

    /// `of_write`: only a write that succeeds is proof of the contrary.
    pub(super) fn broke(
        &mut self,
        fault: &DiskError,
        of_write: bool,
        now_ms: i64,
    ) -> Option<Change> {
        let was_broken = self.is_broken();
        self.wait_ms = match fault {
            // Space comes back at any moment, and looking costs nothing.
            DiskError::Full(_) => RETRY_MS_MIN,
            DiskError::Failed(_) => (self.wait_ms * 2).clamp(RETRY_MS_MIN, RETRY_MS_MAX),
        };
        self.retry_ms = now_ms + self.wait_ms;
        self.view.fault = Some(fault.to_string());
        self.fault_of_write |= of_write;
        (!was_broken).then(|| Change::Broke(fault.clone()))
    }

    /// The next job may try to write, whatever happened before.
    pub(super) fn retry_at_once(&mut self) {
        self.retry_ms = 0;
    }

    fn works(&mut self) -> Option<Change> {
        let was_broken = self.is_broken();
        self.view.fault = None;
        (self.wait_ms, self.fault_of_write) = (0, false);
        was_broken.then_some(Change::Works)
    }

    pub(super) fn view(&self) -> &DiskView {
        &self.view
    }
}

fn work(log: &mut Log, job: &Job) -> Done {
    let mut done = Done::default();
    for wanted in &job.reads {
        done.reads.push((wanted.ticket, log.read(&wanted.records)));
    }
    log.set_free_bytes_min(job.free_bytes_min);
    if !job.writes.is_empty() {
        done.written = Some(log.append(&job.writes));
    }
    if !job.stores.is_empty() {
        done.stored = Some(log.append(&job.stores));
    }
    let mut steps = || -> Result<(), DiskError> {
        log.confirm(&job.positions, &job.released)?;
        log.reserve(job.next_sequence)?;
        if job.sync {
            log.sync_cursors()?;
        }
        done.moves = log.compact()?;
        Ok(())
    };
    done.fault = steps().err();
    done
}

fn not_now(wanted: &Wanted) -> (u64, Vec<Found>) {
    let found = wanted.records.iter().map(|_| Found::NotNow("the job failed".to_owned()));
    (wanted.ticket, found.collect())
}

fn view_of(log: &Log) -> DiskView {
    let bytes = log.segments().map(|segment| segment.bytes).sum();
    DiskView { fault: None, segments: log.segments().count(), bytes }
}
