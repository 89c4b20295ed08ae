//! How each target fares, for those who look in.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{broadcast, watch};

use crate::{
    model::target::{Target, TargetId},
    ownership::balance::Loads,
    scrape::{metadata::Told, meters::Meters},
};

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
#[derive(Debug)]
pub(super) struct Board {
    content: Mutex<Content>,
    meters: Meters,
    changes: Changes,
}

#[derive(Debug)]
pub(super) struct Content {
    pub(super) status: TargetStatus,
    /// What one scrape of the target brings, as far as is known; those that failed a while ago or
    /// were another member's count.
    pub(super) samples_expected: Option<usize>,
    pub(super) metadata: Arc<[Told]>,
}

impl Board {
    pub(super) fn new(target: Arc<Target>, meters: Meters, changes: Changes) -> Self {
        meters.targets_of(Health::Unknown).inc();
        let status = TargetStatus {
            target,
            health: Health::Unknown,
            last_error: None,
            last_scrape_ms: 0,
            duration: Duration::ZERO,
            samples: 0,
            series: 0,
        };
        Self {
            content: Mutex::new(Content {
                status,
                samples_expected: None,
                metadata: Arc::default(),
            }),
            meters,
            changes,
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

impl Drop for Board {
    fn drop(&mut self) {
        let health = self.lock().status.health;
        self.meters.targets_of(health).dec();
    }
}
