//! Where the pool leaves what it wants of one loop, and the loop takes it when it can.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::{
    config::Job,
    model::target::{Target, TargetName},
    ownership::{assign::Ending, orders::Knowledge, shares::Duties},
    scrape::{
        fetch::Terms,
        schedule::{Grid, Schedule},
    },
};

/// What one target is scraped by. A change takes effect at its next tick.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) job: Arc<Job>,
    pub(super) terms: Arc<Terms>,
    pub(super) target: Arc<Target>,
    /// Its job has more targets than it may: none is scraped, and all are down.
    pub(super) limit_exceeded: bool,
}

#[derive(Clone)]
pub(super) struct Orders {
    pub(super) setup: Setup,
    pub(super) duties: Duties,
    pub(super) course: Course,
    /// No scrape starts.
    pub(super) on_hold: bool,
    pub(super) catch_up_ms: Option<i64>,
    /// What others knew of the target.
    pub(super) adopted: Vec<Arc<Knowledge>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    Scrape,
    /// `Gone`: its series end at its first missed tick, unless it comes back before. `Moved`: it
    /// ends with its duties. The number is told when that is done.
    Leave(Ending, u64),
    /// The loop ends, and nothing more is to be done.
    Dismissed,
}

pub(super) struct Desk {
    content: Mutex<Content>,
    news: Notify,
}

struct Content {
    orders: Orders,
    is_news: bool,
}

impl Setup {
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.terms, &other.terms)
            && (Arc::ptr_eq(&self.target, &other.target) || self.target == other.target)
            && self.limit_exceeded == other.limit_exceeded
    }

    pub(super) fn schedule(&self, duties: Duties, now_ms: i64) -> Schedule {
        let Self { job, target, .. } = self;
        Schedule::new(Grid::of(target), job.timestamp_tolerance, duties, now_ms)
    }

    /// The schedule of the same target under these settings.
    pub(super) fn retuned(&self, before: &Schedule, now_ms: i64) -> Schedule {
        let Self { job, target, .. } = self;
        before.retuned(Grid::of(target), job.timestamp_tolerance, now_ms)
    }

    pub(super) fn name(&self) -> TargetName {
        (self.target.id, Arc::clone(&self.target.job))
    }

    /// What is the same for targets that give the same series.
    pub(super) fn series(&self) -> (Arc<str>, u128) {
        (Arc::clone(&self.job.job_name), self.target.public_labels().hash())
    }
}

impl Orders {
    pub(super) fn new(setup: Setup, duties: Duties, on_hold: bool) -> Self {
        let course = Course::Scrape;
        Self { setup, duties, course, on_hold, catch_up_ms: None, adopted: Vec::new() }
    }
}

impl Desk {
    /// With something on it, for a loop that is about to begin.
    pub(super) fn new(orders: Orders) -> Self {
        Self { content: Mutex::new(Content { orders, is_news: true }), news: Notify::new() }
    }

    pub(super) fn setup(&self) -> Setup {
        self.lock().orders.setup.clone()
    }

    pub(super) fn duties(&self) -> Duties {
        Arc::clone(&self.lock().orders.duties)
    }

    /// Nothing divided is scraped for now.
    pub(super) fn is_on_hold(&self) -> bool {
        self.lock().orders.on_hold
    }

    /// `change` tells whether it changes anything.
    pub(super) fn change(&self, change: impl FnOnce(&mut Orders) -> bool) -> bool {
        let mut content = self.lock();
        let changed = change(&mut content.orders);
        content.is_news |= changed;
        drop(content);
        if changed {
            self.news.notify_one();
        }
        changed
    }

    /// What is new since the last time, if anything is. What is to be done once is handed out once.
    pub(super) fn take(&self) -> Option<Orders> {
        let mut content = self.lock();
        if !std::mem::take(&mut content.is_news) {
            return None;
        }
        let adopted = std::mem::take(&mut content.orders.adopted);
        let catch_up_ms = content.orders.catch_up_ms.take();
        Some(Orders { catch_up_ms, adopted, ..content.orders.clone() })
    }

    /// What nobody has taken, of a loop that has ended.
    pub(super) fn take_adopted(&self) -> Vec<Arc<Knowledge>> {
        std::mem::take(&mut self.lock().orders.adopted)
    }

    /// Resolves when something was left here since the last time that it did.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
