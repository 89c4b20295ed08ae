//! The targets' loops: which run, which are on their way out, and what becomes of them by an order or
//! by their own end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tracing::{info, warn};

use crate::{
    discovery::Snapshot,
    model::{
        slot::{Slot, StreamKey},
        target::{Target, TargetName},
    },
    ownership::{
        assign::Ending,
        balance::Loads,
        orders::{Knowledge, Orders, Report, Task},
        shares::Duties,
    },
    runtime::{stop::Stop, tasks},
    scrape::{
        agreed::Agreed,
        desk::{self, Course, Desk, Setup},
        duties,
        ended::Ended,
        handover::end_of,
        loads::{Weight, weigh},
        past::Past,
        seals::Seals,
        status::{Board, Boards},
        target_loop::{Context, TargetLoop},
    },
};

pub(super) struct Loops {
    context: Arc<Context>,
    boards: watch::Sender<Arc<Boards>>,
    ended: mpsc::Sender<Ended>,
    found: Arc<Snapshot>,
    jobs: BTreeMap<Arc<str>, Agreed>,
    on_hold: bool,
    active: BTreeMap<TargetName, Running>,
    /// To be scraped by the orders that are being obeyed, and without a loop yet.
    fresh: BTreeMap<TargetName, desk::Orders>,
    /// By the number of their leaving: those that have something to end yet.
    leaving: BTreeMap<u64, Leaving>,
    /// Of each target among these the last leaving.
    last_leaving: BTreeMap<TargetName, u64>,
    /// By such a number: markers that are being written for what was scraped elsewhere.
    endings: BTreeMap<u64, Writing>,
    seals: Seals,
    past: Past,
    next_number: u64,
}

struct Running {
    number: u64,
    desk: Arc<Desk>,
    board: Arc<Board>,
    task: JoinHandle<Option<()>>,
}

struct Leaving {
    name: TargetName,
    ending: Ending,
    /// Of a target that is divided.
    slot: Option<Slot>,
    running: Running,
}

struct Writing {
    slot: Slot,
    task: JoinHandle<Option<()>>,
}

/// How orders changed what is scraped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Changes {
    started: usize,
    changed: usize,
    /// Under another identity, with the same series; or back before its series had ended.
    renamed: usize,
    gone: usize,
    moved: usize,
}

impl Loops {
    pub(super) fn new(
        context: Arc<Context>,
        boards: watch::Sender<Arc<Boards>>,
        ended: mpsc::Sender<Ended>,
    ) -> Self {
        Self {
            context,
            boards,
            ended,
            found: Arc::default(),
            jobs: BTreeMap::new(),
            on_hold: false,
            active: BTreeMap::new(),
            fresh: BTreeMap::new(),
            leaving: BTreeMap::new(),
            last_leaving: BTreeMap::new(),
            endings: BTreeMap::new(),
            seals: Seals::default(),
            past: Past::default(),
            next_number: 0,
        }
    }

    pub(super) fn obey(&mut self, orders: Orders, stop: &Stop) -> Vec<Report> {
        let mut reports = Vec::new();
        let now_ms = self.context.time.now_ms();
        let mut changes = Changes::default();
        self.agree(orders.found, &mut changes);
        // These come last: what leaves by these orders is to be sealed as well.
        let mut seals = BTreeMap::new();
        for task in orders.tasks {
            match task {
                Task::Run { target, duties } => self.run(target, duties, now_ms, &mut changes),
                Task::Stop { target, ending } => {
                    self.stop(target, ending, now_ms, stop, &mut changes);
                }
                Task::CatchUp { target, at_ms } => {
                    self.order(&target, |orders| orders.catch_up_ms = Some(at_ms));
                }
                Task::Hold(on_hold) => self.hold(on_hold),
                Task::Grant(generation) => self.context.lease.grant(generation),
                Task::Seal { slot, until_ms } => drop(seals.insert(slot, until_ms)),
                Task::Adopt(knowledge) => {
                    // Its loop has left before it came: whoever has the target now is to have it.
                    let is_taken = self.adopt(&knowledge);
                    reports.extend((!is_taken).then(|| passed_on(knowledge)));
                }
                Task::End(knowledge) => self.end(knowledge),
            }
        }
        self.start_or_rename(&seals.keys().copied().collect(), stop, &mut changes);
        if changes != Changes::default() {
            let Changes { started, changed, renamed, gone, moved } = changes;
            let active = self.active.len();
            info!(started, changed, renamed, gone, moved, active, "targets changed");
            self.publish();
        }
        reports.extend(seals.into_iter().filter_map(|(slot, until_ms)| self.seal(slot, until_ms)));
        reports
    }

    pub(super) fn hear(&mut self, ended: Ended, stop: &Stop) -> Vec<Report> {
        match ended {
            Ended::Gone { leaving: number, at_ms } => {
                if let Some(Writing { slot, .. }) = self.endings.remove(&number) {
                    return Vec::from_iter(self.sealed_by(slot, number));
                }
                // One that was called back meanwhile is not here.
                let Some(left) = self.let_go(number) else { return Vec::new() };
                left.running.order(|orders| orders.course = Course::Dismissed);
                if let Some(at_ms) = at_ms {
                    self.past.add(left.name, at_ms, self.context.time.now_ms());
                }
                left.slot.and_then(|slot| self.sealed_by(slot, number)).into_iter().collect()
            }
            Ended::Moved(number, knowledge) => {
                let left = self.let_go(number);
                let mut reports = vec![Report::Left(knowledge)];
                // What was handed over while it packed goes on to the next owner as it came.
                let missed = left.as_ref().map(|left| left.running.desk.take_adopted());
                reports.extend(missed.into_iter().flatten().map(passed_on));
                reports.extend(left.and_then(|left| self.sealed_by(left.slot?, number)));
                reports
            }
            Ended::Gap(ms) => vec![Report::Gap { ms }],
            Ended::Panicked(number) => self.hear_panic(number, stop).into_iter().collect(),
        }
    }

    pub(super) fn loads(&self) -> Loads {
        let divided = self.active.values().filter(|r| duties::is_divided(&r.desk.duties()));
        let weights = divided.map(|running| {
            let target = running.desk.setup().target;
            let (slot, interval) = (target.key.slot(), target.interval);
            Weight { slot, interval, samples: running.board.samples_expected() }
        });
        weigh(&weights.collect::<Vec<_>>())
    }

    /// The loops have been told to stop; what they have under way comes to its end.
    pub(super) async fn finish(self) {
        let leaving = self.leaving.into_values().map(|left| left.running);
        let loops = self.active.into_values().chain(leaving).map(|running| running.task);
        for task in loops.chain(self.endings.into_values().map(|writing| writing.task)) {
            // A panic was told where it happened.
            let _ = task.await;
        }
    }

    /// The same terms for a job that has not changed, so that its loops need not look at it.
    fn agree(&mut self, found: Arc<Snapshot>, changes: &mut Changes) {
        if Arc::ptr_eq(&found, &self.found) {
            return;
        }
        let mut before = std::mem::take(&mut self.jobs);
        let mut renewed = BTreeSet::new();
        for found in &found.jobs {
            let (name, limit_exceeded) = (Arc::clone(&found.job.job_name), found.limit_exceeded);
            let known = before.remove(&name).filter(|agreed| agreed.job == found.job);
            if known.as_ref().is_none_or(|agreed| agreed.limit_exceeded != limit_exceeded) {
                renewed.insert(Arc::clone(&name));
            }
            let agreed = known.unwrap_or_else(|| {
                let job = Arc::clone(&found.job);
                let terms = Arc::new(self.context.fetch.terms(Arc::clone(&job)));
                Agreed { job, terms, limit_exceeded }
            });
            self.jobs.insert(name, Agreed { limit_exceeded, ..agreed });
        }
        self.found = found;
        for ((_, job), running) in self.active.iter().filter(|_| !renewed.is_empty()) {
            if let Some(agreed) = self.jobs.get(job).filter(|_| renewed.contains(job)) {
                let setup = agreed.setup(running.desk.setup().target);
                changes.changed += usize::from(running.give(setup, running.desk.duties()));
            }
        }
    }

    fn run(&mut self, target: Arc<Target>, duties: Duties, now_ms: i64, changes: &mut Changes) {
        let Some(agreed) = self.jobs.get(&target.job) else {
            warn!(
                job = &*target.job,
                url = &*target.shown_url(),
                "a target of an unknown job is not scraped"
            );
            return;
        };
        let setup = agreed.setup(target);
        let name = setup.name();
        if let Some(running) = self.active.remove(&name) {
            if !duties::is_return(&running.desk.duties(), &duties, now_ms) {
                changes.changed += usize::from(running.give(setup, duties));
                self.active.insert(name, running);
                return;
            }
            self.leave(name.clone(), running, Ending::Moved, now_ms);
            changes.moved += 1;
        }
        match self.fresh.get_mut(&name) {
            Some(fresh) => (fresh.setup, fresh.duties) = (setup, duties),
            None => drop(self.fresh.insert(name, desk::Orders::new(setup, duties, self.on_hold))),
        }
    }

    fn stop(
        &mut self,
        name: TargetName,
        ending: Ending,
        now_ms: i64,
        stop: &Stop,
        changes: &mut Changes,
    ) {
        let running = match (self.active.remove(&name), self.fresh.remove(&name)) {
            (Some(running), _) => running,
            // Something may have been handed over to it already.
            (None, Some(orders)) => self.start(orders, stop),
            (None, None) => return,
        };
        self.leave(name, running, ending, now_ms);
        match ending {
            Ending::Gone => changes.gone += 1,
            Ending::Moved => changes.moved += 1,
        }
    }

    fn leave(&mut self, name: TargetName, running: Running, ending: Ending, now_ms: i64) {
        let number = self.number();
        let mut slot = None;
        running.order(|orders| {
            orders.course = Course::Leave(ending, number);
            if duties::is_divided(&orders.duties) {
                slot = Some(orders.setup.target.key.slot());
            }
            if ending == Ending::Moved {
                orders.duties = duties::ended(&orders.duties, now_ms);
            }
        });
        if let Some(slot) = slot {
            self.seals.begin(slot, number);
        }
        self.last_leaving.insert(name.clone(), number);
        self.leaving.insert(number, Leaving { name, ending, slot, running });
    }

    fn let_go(&mut self, number: u64) -> Option<Leaving> {
        let left = self.leaving.remove(&number)?;
        if self.last_leaving.get(&left.name) == Some(&number) {
            self.last_leaving.remove(&left.name);
        }
        Some(left)
    }

    /// A target that is new by its identity, but gives the series of one that is just leaving (its
    /// interval has changed, its path, a hidden label), is that one's loop with other settings: the
    /// series go on, and no marker of the one falls between the samples of the other. Not where a
    /// slot is to be sealed: nothing of it may come any more.
    fn start_or_rename(&mut self, sealed: &BTreeSet<Slot>, stop: &Stop, changes: &mut Changes) {
        let fresh = std::mem::take(&mut self.fresh);
        let mut gone: BTreeMap<_, Vec<(StreamKey, u64)>> = BTreeMap::new();
        for (number, left) in self.leaving.iter().filter(|_| !fresh.is_empty()) {
            let is_sealed = |slot: &Slot| sealed.contains(slot) || self.seals.is_asked(*slot);
            if left.ending == Ending::Gone && !left.slot.as_ref().is_some_and(is_sealed) {
                let setup = left.running.desk.setup();
                gone.entry(setup.series()).or_default().push((setup.target.key, *number));
            }
        }
        for (name, orders) in fresh {
            let alike = if gone.is_empty() { None } else { gone.get_mut(&orders.setup.series()) };
            let number = alike.filter(|alike| !alike.is_empty()).map(|alike| {
                let key = orders.setup.target.key;
                let same_key = alike.iter().position(|(own, _)| *own == key);
                alike.swap_remove(same_key.unwrap_or(0)).1
            });
            let running = if let Some(running) = number.and_then(|number| self.call_back(number)) {
                running.resume(orders);
                changes.renamed += 1;
                running
            } else {
                changes.started += 1;
                self.start(orders, stop)
            };
            self.active.insert(name, running);
        }
    }

    fn call_back(&mut self, number: u64) -> Option<Running> {
        let left = self.let_go(number)?;
        if let Some(slot) = left.slot {
            // Nobody waits for the slot, or it would not be called back.
            self.seals.end(slot, number);
        }
        (!left.running.task.is_finished()).then_some(left.running)
    }

    fn start(&mut self, orders: desk::Orders, stop: &Stop) -> Running {
        let desk = Arc::new(Desk::new(orders));
        let (meters, changes) = (self.context.meters.clone(), self.context.changes.clone());
        let board = Arc::new(Board::new(Arc::clone(&desk), meters, changes));
        self.start_again(desk, board, stop)
    }

    fn start_again(&mut self, desk: Arc<Desk>, board: Arc<Board>, stop: &Stop) -> Running {
        let number = self.number();
        let target_loop = TargetLoop::new(
            number,
            Arc::clone(&self.context),
            Arc::clone(&desk),
            self.ended.clone(),
            Arc::clone(&board),
        );
        let running = Box::new(target_loop).run(stop.clone());
        let task = tasks::spawn("target", running);
        Running { number, desk, board, task }
    }

    fn hear_panic(&mut self, number: u64, stop: &Stop) -> Option<Report> {
        let leaving = self.leaving.iter().find(|(_, left)| left.running.number == number);
        if let Some(leaving) = leaving.map(|(leaving, _)| *leaving) {
            let slot = self.let_go(leaving)?.slot?;
            return self.sealed_by(slot, leaving);
        }
        let active = self.active.iter().find(|(_, running)| running.number == number);
        let name = active.map(|(name, _)| name.clone())?;
        let Running { desk, board, .. } = self.active.remove(&name)?;
        // The new loop has to hear what the old one had heard.
        desk.change(|_| true);
        let running = self.start_again(desk, board, stop);
        self.active.insert(name, running);
        None
    }

    /// Wherever the target's loop stands; `false` where there is none.
    fn order(&mut self, name: &TargetName, change: impl FnOnce(&mut desk::Orders)) -> bool {
        let leaving = || self.leaving.get(self.last_leaving.get(name)?).map(|left| &left.running);
        if let Some(fresh) = self.fresh.get_mut(name) {
            change(fresh);
        } else if let Some(running) = self.active.get(name).or_else(leaving) {
            running.order(change);
        } else {
            return false;
        }
        true
    }

    fn adopt(&mut self, knowledge: &Arc<Knowledge>) -> bool {
        let name = (knowledge.target.id, Arc::clone(&knowledge.target.job));
        self.order(&name, |orders| orders.adopted.push(Arc::clone(knowledge)))
    }

    /// A loop that the target still has here knows better what has ended when.
    fn end(&mut self, knowledge: Arc<Knowledge>) {
        let name = (knowledge.target.id, Arc::clone(&knowledge.target.job));
        let last_ms = knowledge.last_tick_ms.unwrap_or(i64::MIN);
        if self.adopt(&knowledge) || self.past.has_ended_after(&name, last_ms) {
            return;
        }
        self.past.add(name, last_ms.saturating_add(1), self.context.time.now_ms());
        let (number, slot) = (self.number(), knowledge.target.key.slot());
        let (context, ended) = (Arc::clone(&self.context), self.ended.clone());
        let task = tasks::spawn("end of a target", async move {
            // After a panic, too, nothing more of it comes.
            let _ = tasks::spawn("markers", end_of(context, knowledge)).await;
            // Nobody listens only when the pool has ended.
            let _ = ended.send(Ended::Gone { leaving: number, at_ms: None }).await;
        });
        self.seals.begin(slot, number);
        self.endings.insert(number, Writing { slot, task });
    }

    fn hold(&mut self, on_hold: bool) {
        self.on_hold = on_hold;
        self.fresh.values_mut().for_each(|orders| orders.on_hold = on_hold);
        let leaving = self.leaving.values().map(|left| &left.running);
        for running in self.active.values().chain(leaving) {
            running.order(|orders| orders.on_hold = on_hold);
        }
    }

    fn seal(&mut self, slot: Slot, until_ms: i64) -> Option<Report> {
        let leaving = self.seals.leaving(slot).filter_map(|number| self.leaving.get(&number));
        for left in leaving {
            left.running.order(|orders| orders.duties = duties::before(&orders.duties, until_ms));
        }
        self.seals.ask(slot).then(|| self.sealed(slot))
    }

    /// What left by that number has left.
    fn sealed_by(&mut self, slot: Slot, number: u64) -> Option<Report> {
        self.seals.end(slot, number).then(|| self.sealed(slot))
    }

    fn sealed(&self, slot: Slot) -> Report {
        self.context.meters.slots_sealed.inc();
        Report::Sealed { slot }
    }

    fn publish(&self) {
        let boards =
            self.active.iter().map(|(name, running)| (name.clone(), Arc::clone(&running.board)));
        self.boards.send_replace(Arc::new(boards.collect()));
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

/// What is known of a target that is another member's already.
fn passed_on(knowledge: Arc<Knowledge>) -> Report {
    Report::Left(Arc::unwrap_or_clone(knowledge))
}

impl Running {
    /// Whether that changes anything.
    fn give(&self, setup: Setup, duties: Duties) -> bool {
        self.desk.change(|orders| {
            let changes = !orders.setup.is_same_as(&setup) || orders.duties != duties;
            if changes {
                self.board.set_target(Arc::clone(&setup.target));
                (orders.setup, orders.duties) = (setup, duties);
            }
            changes
        })
    }

    /// After it was to leave. What was handed over to it meanwhile stays.
    fn resume(&self, orders: desk::Orders) {
        self.board.set_target(Arc::clone(&orders.setup.target));
        self.order(|own| {
            let mut adopted = std::mem::take(&mut own.adopted);
            adopted.extend(orders.adopted);
            *own = desk::Orders { adopted, ..orders };
        });
    }

    fn order(&self, change: impl FnOnce(&mut desk::Orders)) {
        self.desk.change(|orders| {
            change(orders);
            true
        });
    }
}
