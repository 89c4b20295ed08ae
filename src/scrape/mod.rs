//! Fetches samples: one loop a target, started, changed and ended here as discovery finds and loses
//! targets. `target_loop` → `fetch` → `read` → the outbox.

mod failure;
mod failure_log;
#[cfg(test)]
mod fake_target;
mod fetch;
mod known;
mod metadata;
mod meters;
mod read;
mod report;
mod schedule;
mod shape;
mod staleness;
mod status;
mod target_loop;
#[cfg(test)]
mod test_job;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use prometheus_client::registry::Registry;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tracing::info;

pub use crate::scrape::{
    metadata::Told,
    status::{Handle, Health, TargetStatus},
};
use crate::{
    config::Job,
    discovery::Snapshot,
    model::{slot::StreamKey, target::TargetId},
    outbox,
    runtime::{stop::Stop, tasks},
    scrape::{
        failure_log::{FailureLog, FailureWriter, LogBudget},
        fetch::{Shared, Terms},
        metadata::Library,
        meters::Meters,
        status::{Board, Boards},
        target_loop::{Context, Ended, Orders, Setup, TargetLoop},
    },
};

/// Loops that have something to tell wait while so many are unheard.
const ENDED_MAX: usize = 1024;

/// By job, as two jobs may have a target in common and both scrape it.
type Key = (TargetId, Arc<str>);

/// The part: hears what there is to scrape, and sees its loops through to their end.
pub struct Pool {
    loops: Loops,
    ended: mpsc::Receiver<Ended>,
    failures: FailureWriter,
}

/// The targets' loops.
struct Loops {
    context: Arc<Context>,
    boards: watch::Sender<Arc<Boards>>,
    ended: mpsc::Sender<Ended>,
    terms: BTreeMap<Arc<str>, (Arc<Job>, Arc<Terms>)>,
    active: BTreeMap<Key, Running>,
    /// Those whose series have not ended yet.
    leaving: BTreeMap<u64, Running>,
    next_number: u64,
}

struct Running {
    number: u64,
    orders: watch::Sender<Orders>,
    board: Arc<Board>,
    task: JoinHandle<Option<()>>,
}

/// How a snapshot changed what is scraped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Changes {
    started: usize,
    changed: usize,
    /// Under another identity, with the same series.
    renamed: usize,
    gone: usize,
}

impl Pool {
    pub fn new(outbox: outbox::Handle, registry: &mut Registry) -> (Handle, Self) {
        let meters = Meters::new(registry);
        let (log, failures) = FailureLog::new(meters.unwritten_failures.clone());
        let (boards, seen) = watch::channel(Arc::default());
        let (sender, ended) = mpsc::channel(ENDED_MAX);
        let context = Context {
            outbox,
            fetch: Arc::new(Shared::new()),
            library: Library::default(),
            meters,
            budget: LogBudget::new(Instant::now()),
            failures: log,
        };
        let loops = Loops {
            context: Arc::new(context),
            boards,
            ended: sender,
            terms: BTreeMap::new(),
            active: BTreeMap::new(),
            leaving: BTreeMap::new(),
            next_number: 0,
        };
        (Handle::new(seen), Self { loops, ended, failures })
    }

    /// Returns when no scrape is under way any more and what they brought is in the outbox.
    pub async fn run(self, mut targets: watch::Receiver<Arc<Snapshot>>, stop: Stop) {
        let Self { mut loops, mut ended, failures } = self;
        let writing = tasks::spawn("scrape failure log", failures.run());
        let mut is_fed = true;
        targets.mark_changed();
        loop {
            tokio::select! {
                () = stop.raised() => break,
                changed = targets.changed(), if is_fed => match changed {
                    Ok(()) => {
                        let snapshot = Arc::clone(&targets.borrow_and_update());
                        loops.follow(&snapshot, &stop);
                    }
                    // Discovery has ended before us; what it found last is scraped on.
                    Err(_) => is_fed = false,
                },
                Some(ended) = ended.recv() => loops.hear(ended, &stop),
            }
        }
        loops.finish().await;
        // A panic was told where it happened.
        let _ = writing.await;
    }
}

impl Loops {
    fn follow(&mut self, snapshot: &Snapshot, stop: &Stop) -> Changes {
        let mut changes = Changes::default();
        let mut before = std::mem::take(&mut self.active);
        let mut fresh = Vec::new();
        self.agree_terms(snapshot);
        for found in &snapshot.jobs {
            let (job, terms) = &self.terms[&found.job.job_name];
            for target in &*found.active {
                let setup = Setup {
                    job: Arc::clone(job),
                    terms: Arc::clone(terms),
                    target: Arc::clone(target),
                    limit_exceeded: found.limit_exceeded,
                };
                let key = (target.id, Arc::clone(&job.job_name));
                match before.remove(&key) {
                    Some(running) if !running.task.is_finished() => {
                        changes.changed += usize::from(running.give(setup));
                        self.active.insert(key, running);
                    }
                    Some(_) | None => fresh.push((key, setup)),
                }
            }
        }
        for running in before.into_values() {
            running.orders.send_modify(|orders| orders.leaving = true);
            self.leaving.insert(running.number, running);
            changes.gone += 1;
        }
        self.start_or_rename(fresh, stop, &mut changes);
        if changes != Changes::default() {
            let Changes { started, changed, renamed, gone } = changes;
            info!(started, changed, renamed, gone, active = self.active.len(), "targets changed");
            self.publish();
        }
        changes
    }

    /// A target that is new by its identity, but gives the series of one that is just leaving (its
    /// interval has changed, or a hidden label), is that one's loop with other settings: the series
    /// go on without a marker between.
    fn start_or_rename(&mut self, fresh: Vec<(Key, Setup)>, stop: &Stop, changes: &mut Changes) {
        let mut leaving: BTreeMap<_, u64> = if fresh.is_empty() {
            BTreeMap::new()
        } else {
            self.leaving.values().map(|running| (running.series(), running.number)).collect()
        };
        for (key, setup) in fresh {
            let number = leaving.remove(&series_of(&setup));
            let running = number
                .and_then(|number| self.leaving.remove(&number))
                .filter(|running| !running.task.is_finished());
            let running = if let Some(running) = running {
                running.give(setup);
                changes.renamed += 1;
                running
            } else {
                changes.started += 1;
                self.start(setup, stop)
            };
            self.active.insert(key, running);
        }
    }

    /// The same terms for a job that has not changed, so that its loops need not look at it.
    fn agree_terms(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.terms);
        for found in &snapshot.jobs {
            let name = Arc::clone(&found.job.job_name);
            let known = before.remove(&name).filter(|(job, _)| *job == found.job);
            let terms = known.unwrap_or_else(|| {
                let job = Arc::clone(&found.job);
                (Arc::clone(&job), Arc::new(Terms::new(job)))
            });
            self.terms.insert(name, terms);
        }
    }

    fn start(&mut self, setup: Setup, stop: &Stop) -> Running {
        let board = Arc::new(Board::new(Arc::clone(&setup.target), self.context.meters.clone()));
        let (orders, _) = watch::channel(Orders { setup, leaving: false });
        self.start_again(orders, board, stop)
    }

    fn start_again(
        &mut self,
        orders: watch::Sender<Orders>,
        board: Arc<Board>,
        stop: &Stop,
    ) -> Running {
        let number = self.next_number;
        self.next_number += 1;
        let target_loop = TargetLoop::new(
            number,
            Arc::clone(&self.context),
            orders.subscribe(),
            self.ended.clone(),
            Arc::clone(&board),
        );
        let task = tasks::spawn("target", target_loop.run(stop.clone()));
        Running { number, orders, board, task }
    }

    fn hear(&mut self, ended: Ended, stop: &Stop) {
        match ended {
            // Without its orders the loop ends. One that was called back meanwhile is not here.
            Ended::Gone(number) => drop(self.leaving.remove(&number)),
            Ended::Panicked(number) => {
                self.leaving.remove(&number);
                let key = self.active.iter().find(|(_, running)| running.number == number);
                let Some(key) = key.map(|(key, _)| key.clone()) else { return };
                if let Some(Running { orders, board, .. }) = self.active.remove(&key) {
                    let running = self.start_again(orders, board, stop);
                    self.active.insert(key, running);
                }
            }
        }
    }

    fn publish(&self) {
        let boards =
            self.active.iter().map(|(key, running)| (key.clone(), Arc::clone(&running.board)));
        self.boards.send_replace(Arc::new(boards.collect()));
    }

    /// The loops have been told to stop; what they have under way comes to its end.
    async fn finish(self) {
        for running in self.active.into_values().chain(self.leaving.into_values()) {
            // A panic was told where it happened.
            let _ = running.task.await;
        }
    }
}

impl Running {
    /// Whether that changes anything.
    fn give(&self, setup: Setup) -> bool {
        self.orders.send_if_modified(|orders| {
            let changes = orders.leaving || !orders.setup.is_same_as(&setup);
            if changes {
                self.board.set_target(Arc::clone(&setup.target));
                *orders = Orders { setup, leaving: false };
            }
            changes
        })
    }

    fn series(&self) -> (Arc<str>, StreamKey, u128) {
        series_of(&self.orders.borrow().setup)
    }
}

/// What is the same for targets that give the same series.
fn series_of(setup: &Setup) -> (Arc<str>, StreamKey, u128) {
    let Setup { job, target, .. } = setup;
    (Arc::clone(&job.job_name), target.key, target.public_labels().hash())
}
