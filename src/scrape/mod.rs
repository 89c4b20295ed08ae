//! Fetches samples: one loop a target, started, changed and ended as ownership orders it.
//! `loops` → `target_loop` → `fetch` → `read` → the outbox.

mod admission;
mod agreed;
#[cfg(test)]
mod alone;
mod course;
mod desk;
pub mod duties;
mod ended;
mod exemplars;
mod failure;
mod failure_log;
#[cfg(test)]
mod fake_target;
mod fetch;
mod gap;
mod handover;
mod inventory;
mod known;
mod loads;
mod loops;
mod metadata;
mod meters;
pub mod past;
mod read;
mod report;
pub mod schedule;
pub mod seals;
mod shape;
mod staleness;
mod status;
mod target_loop;
#[cfg(test)]
mod test_job;
#[cfg(test)]
mod tests;
mod waiting;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};

pub use crate::scrape::{
    failure_log::shown_url,
    metadata::Told,
    status::{Handle, Health, HealthChange, Scraped, TargetStatus},
};
use crate::{
    outbox,
    ownership::{
        balance::Loads,
        orders::{Orders, Report},
    },
    runtime::{clock::FleetTime, lease::Lease, stop::Stop, tasks},
    scrape::{
        ended::Ended,
        failure_log::{FailureLog, FailureWriter},
        fetch::Shared,
        known::LineLists,
        loops::Loops,
        metadata::Library,
        meters::Meters,
        target_loop::Context,
    },
};

/// Loops that have something to tell wait while so many are unheard.
const ENDED_MAX: usize = 1024;
/// While so many reports wait to be heard no loop is: those that have ended wait with what they
/// know, and those that scrape go on. Slots that are sealed by an order alone come on top.
const REPORTS_MAX: usize = 64;
/// How often the slots are weighed.
const WEIGHING: Duration = Duration::from_secs(10);

/// The part: obeys what ownership orders, and sees its loops through to their end.
pub struct Pool {
    loops: Loops,
    ended: mpsc::Receiver<Ended>,
    loads: watch::Sender<Arc<Loads>>,
    reports: mpsc::Sender<Report>,
    failures: FailureWriter,
}

impl Pool {
    pub fn new(
        outbox: outbox::Handle,
        reports: mpsc::Sender<Report>,
        lease: Lease,
        time: FleetTime,
        registry: &mut Registry,
    ) -> (Handle, Self) {
        let meters = Meters::new(registry);
        let (log, failures) = FailureLog::new(meters.unwritten_failures.clone());
        let (boards, seen) = watch::channel(Arc::default());
        let (sender, ended) = mpsc::channel(ENDED_MAX);
        let (loads, weighed) = watch::channel(Arc::default());
        let changes = status::changes();
        let library = Library::new(outbox.families().clone());
        let context = Context {
            outbox,
            fetch: Arc::new(Shared::new()),
            lists: LineLists::default(),
            library,
            meters,
            changes: changes.clone(),
            failures: log,
            lease,
            time,
        };
        let loops = Loops::new(Arc::new(context), boards, sender);
        (Handle::new(seen, weighed, changes), Self { loops, ended, loads, reports, failures })
    }

    /// Returns when no scrape is under way any more and what they brought is in the outbox.
    pub async fn run(self, mut orders: mpsc::Receiver<Orders>, stop: Stop) {
        let Self { mut loops, mut ended, loads, reports, failures } = self;
        let logging = tasks::spawn("scrape failure log", failures.run());
        let mut is_ordered = true;
        let mut waiting = VecDeque::new();
        let mut weighing = interval(WEIGHING);
        weighing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.raised() => break,
                given = orders.recv(), if is_ordered => match given {
                    Some(given) => waiting.extend(loops.obey(given, &stop)),
                    // Who orders has ended before us; what was ordered last is done on.
                    None => is_ordered = false,
                },
                room = reports.reserve(), if !waiting.is_empty() => match room {
                    Ok(room) => room.send(waiting.pop_front().expect("there are some")),
                    Err(_) => waiting.clear(),
                },
                _ = weighing.tick() => drop(loads.send_replace(Arc::new(loops.loads()))),
                Some(ended) = ended.recv(), if waiting.len() < REPORTS_MAX => {
                    waiting.extend(loops.hear(ended, &stop));
                }
            }
        }
        // Loops that are told to end do not wait until they are heard.
        drop(ended);
        loops.finish().await;
        // A panic was told where it happened.
        let _ = logging.await;
    }
}
