//! How each target fares, for those who look in.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{broadcast, watch};

use crate::{
    model::target::{Target, TargetId},
    ownership::{balance::Loads, shares::Duties},
    scrape::{desk::Desk, duties, metadata::Told, meters::Meters},
};

/// Durations of scrapes that are kept of each target; older ones are forgotten.
pub(super) const DURATIONS_MAX: usize = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    Up,
    Down,
}

impl Health {
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A target and its last scrape.
#[derive(Clone, Debug)]
pub struct TargetStatus {
    pub target: Arc<Target>,
    pub health: Health,
    pub last_error: Option<String>,
    /// When it started, in milliseconds since the Unix epoch; 0 before the first.
    pub last_scrape_ms: i64,
    pub duration: Duration,
    /// Of the last scrape, after relabelling.
    pub samples: usize,
    /// In the last scrape that was kept.
    pub series: usize,
}

/// A target with a loop here, and when that loop scrapes it.
#[derive(Clone, Debug)]
pub struct Scraped {
    pub status: TargetStatus,
    /// Of the last scrapes, the latest last; at most `DURATIONS_MAX`.
    pub durations: Vec<Duration>,
    duties: Duties,
    is_at_work: bool,
}

impl Scraped {
    pub fn is_divided(&self) -> bool {
        duties::is_divided(&self.duties)
    }

    /// Whether a tick at that instant of fleet time is truly taken here: it is this member's, and
    /// there is a loop that takes it.
    pub fn is_scraped_at(&self, at_ms: i64) -> bool {
        self.is_at_work && self.duties.iter().any(|duty| duty.contains(at_ms))
    }
}

/// A target that was up is down, or the other way round; or its first scrape here has failed.
#[derive(Clone, Debug)]
pub struct HealthChange {
    pub target: Arc<Target>,
    pub is_up: bool,
    pub error: Option<String>,
    /// When the scrape started.
    pub at_ms: i64,
}

/// Changes that a listener has not taken yet; of more he misses the oldest, and is told how many.
const CHANGES_MAX: usize = 4_096;

/// Where boards tell of changes; it never waits for who listens.
pub(super) type Changes = broadcast::Sender<Arc<HealthChange>>;

pub(super) fn changes() -> Changes {
    broadcast::Sender::new(CHANGES_MAX)
}

/// Looks in. Cloned freely; a look costs a lock a target.
#[derive(Clone)]
pub struct Handle {
    boards: watch::Receiver<Arc<Boards>>,
    loads: watch::Receiver<Arc<Loads>>,
    changes: Changes,
}

pub(super) type Boards = BTreeMap<(TargetId, Arc<str>), Arc<Board>>;

impl Handle {
    pub(super) fn new(
        boards: watch::Receiver<Arc<Boards>>,
        loads: watch::Receiver<Arc<Loads>>,
        changes: Changes,
    ) -> Self {
        Self { boards, loads, changes }
    }

    /// Changes of health from now on.
    pub fn changes(&self) -> broadcast::Receiver<Arc<HealthChange>> {
        self.changes.subscribe()
    }

    /// How busy the slots are of what is scraped here and divided.
    pub fn loads(&self) -> watch::Receiver<Arc<Loads>> {
        self.loads.clone()
    }

    /// All targets that are scraped, by id.
    pub fn targets(&self) -> Vec<TargetStatus> {
        let boards = Arc::clone(&self.boards.borrow());
        boards.values().map(|board| board.lock().status.clone()).collect()
    }

    /// The same with what their loops are about.
    pub fn scraped(&self) -> Vec<Scraped> {
        let boards = Arc::clone(&self.boards.borrow());
        boards.values().map(|board| board.scraped()).collect()
    }

    /// `None` where it is not known, or not scraped yet.
    pub fn status(&self, id: TargetId) -> Option<TargetStatus> {
        let status = self.board(id)?.lock().status.clone();
        (status.health != Health::Unknown).then_some(status)
    }

    /// What the target said of its metrics in its last good scrape.
    pub fn metadata(&self, id: TargetId) -> Arc<[Told]> {
        self.board(id).map_or_else(Arc::default, |board| Arc::clone(&board.lock().metadata))
    }

    fn board(&self, id: TargetId) -> Option<Arc<Board>> {
        let boards = Arc::clone(&self.boards.borrow());
        let from = (id, Arc::from(""));
        let (_, board) = boards.range(from..).next().filter(|((found, _), _)| *found == id)?;
        Some(Arc::clone(board))
    }
}

/// Where one loop writes how its target fares.
pub(super) struct Board {
    desk: Arc<Desk>,
    content: Mutex<Content>,
    /// The loops that write here: one, or none while it is begun anew.
    loops: AtomicUsize,
    meters: Meters,
    changes: Changes,
}

/// A loop writes on the board as long as this lives.
pub(super) struct Attended(Arc<Board>);

pub(super) struct Content {
    pub(super) status: TargetStatus,
    /// What one scrape of the target brings, as far as is known; those that failed a while ago or
    /// were another member's count.
    pub(super) samples_expected: Option<usize>,
    pub(super) metadata: Arc<[Told]>,
    /// Of the last scrapes, the latest last, in microseconds: there are as many of these as targets.
    durations_us: VecDeque<u32>,
}

impl Board {
    pub(super) fn new(desk: Arc<Desk>, meters: Meters, changes: Changes) -> Self {
        meters.targets_of(Health::Unknown).inc();
        let status = TargetStatus {
            target: desk.setup().target,
            health: Health::Unknown,
            last_error: None,
            last_scrape_ms: 0,
            duration: Duration::ZERO,
            samples: 0,
            series: 0,
        };
        Self {
            desk,
            content: Mutex::new(Content {
                status,
                samples_expected: None,
                metadata: Arc::default(),
                durations_us: VecDeque::new(),
            }),
            loops: AtomicUsize::new(0),
            meters,
            changes,
        }
    }

    pub(super) fn attend(self: &Arc<Self>) -> Attended {
        self.loops.fetch_add(1, Ordering::Relaxed);
        Attended(Arc::clone(self))
    }

    fn scraped(&self) -> Scraped {
        let (duties, is_on_hold) = (self.desk.duties(), self.desk.is_on_hold());
        let content = self.lock();
        Scraped {
            status: content.status.clone(),
            durations: content
                .durations_us
                .iter()
                .map(|us| Duration::from_micros(u64::from(*us)))
                .collect(),
            is_at_work: self.loops.load(Ordering::Relaxed) > 0
                && !(is_on_hold && duties::is_divided(&duties)),
            duties,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_target(&self, target: Arc<Target>) {
        self.lock().status.target = target;
    }

    /// The target keeps what is not of the last scrape alone.
    pub(super) fn write(&self, status: TargetStatus) {
        let mut content = self.lock();
        if content.status.health != status.health {
            self.meters.targets_of(content.status.health).dec();
            self.meters.targets_of(status.health).inc();
            self.tell(content.status.health, &status);
        }
        if content.durations_us.len() == DURATIONS_MAX {
            content.durations_us.pop_front();
        }
        let duration_us = status.duration.as_micros();
        content.durations_us.push_back(u32::try_from(duration_us).unwrap_or(u32::MAX));
        content.status = status;
    }

    /// That a target is up as it should be is no news where nothing was known of it: each that
    /// moves here would be.
    fn tell(&self, before: Health, now: &TargetStatus) {
        let is_up = now.health == Health::Up;
        if before == Health::Unknown && is_up {
            return;
        }
        let change = HealthChange {
            target: Arc::clone(&now.target),
            is_up,
            error: now.last_error.clone(),
            at_ms: now.last_scrape_ms,
        };
        // Nobody may be listening.
        let _ = self.changes.send(Arc::new(change));
    }

    pub(super) fn expect_samples(&self, samples: usize) {
        self.lock().samples_expected = Some(samples);
    }

    pub(super) fn samples_expected(&self) -> Option<usize> {
        self.lock().samples_expected
    }

    pub(super) fn set_metadata(&self, metadata: Arc<[Told]>) {
        self.lock().metadata = metadata;
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.0.loops.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let health = self.lock().status.health;
        self.meters.targets_of(health).dec();
    }
}
