//! The shell of assignment: brings the rules what discovery and the fleet say, and turns what they
//! decide into orders for the pool and news for hand-over.

use std::sync::Arc;

use tracing::info;

use crate::{
    discovery::Snapshot,
    model::{
        member::{MemberState, NodeId, Roster},
        overrides::Overrides,
        slot::Slot,
    },
    ownership::{
        assign::{Adopted, Assign, Effect, JobShare, Previous, Settings},
        exchange::Present,
        moves::{Move, Why},
        orders::{Knowledge, Orders, Task},
        placement::{Placement, slots},
        shares::Shares,
    },
};

/// What is news for hand-over.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    Gained { slot: Slot, from_ms: i64, previous: Vec<Previous> },
    Lost { slot: Slot, until_ms: i64 },
}

pub(super) struct Division {
    assign: Assign,
    roster: Arc<Roster>,
    found: Arc<Snapshot>,
    tasks: Vec<Task>,
    /// The pool has not seen `found` yet.
    is_news: bool,
    changes: Vec<Change>,
    moves: Vec<Move>,
    /// Of the slots that were taken over from the dead.
    gaps_ms: Vec<i64>,
}

impl Division {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            assign: Assign::new(settings),
            roster: Arc::default(),
            found: Arc::default(),
            tasks: Vec::new(),
            is_news: false,
            changes: Vec::new(),
            moves: Vec::new(),
            gaps_ms: Vec::new(),
        }
    }

    pub(super) fn placement(&mut self) -> &mut Placement {
        self.assign.placement()
    }

    /// Who does what at that instant of fleet time.
    pub(super) fn present(&mut self, now_ms: i64) -> Present {
        let table = self.assign.placement().table_at(now_ms);
        Present { now_ms, roster: Arc::clone(&self.roster), table }
    }

    pub(super) fn placed(&mut self, roster: Arc<Roster>, overrides: Overrides, now_ms: i64) {
        self.roster = Arc::clone(&roster);
        let effects = self.assign.placed(roster, overrides, now_ms);
        self.take(effects);
    }

    pub(super) fn passed(&mut self, now_ms: i64) {
        let effects = self.assign.passed(now_ms);
        self.take(effects);
    }

    /// Discovery goes by this host's clock, fences by the fleet's, which is ahead by `offset_ms`.
    pub(super) fn found(&mut self, found: Arc<Snapshot>, offset_ms: i64) {
        let share = |targets: &crate::discovery::JobTargets| JobShare {
            name: Arc::clone(&targets.job.job_name),
            clustering: targets.job.clustering.clone(),
            targets: Arc::clone(&targets.active),
            refreshed_ms: targets.refreshed_ms.saturating_add(offset_ms),
        };
        let jobs: Vec<JobShare> = found.jobs.iter().map(share).collect();
        self.found = found;
        self.is_news = true;
        let effects = self.assign.discovered(&jobs);
        self.take(effects);
    }

    /// Targets that were this member's all the time while it was down.
    pub(super) fn resumed(&mut self, stopped_ms: i64, now_ms: i64) {
        let effects = self.assign.resumed(stopped_ms, now_ms);
        self.take(effects);
    }

    /// Whether that changes anything.
    pub(super) fn hold(&mut self, on_hold: bool) -> bool {
        let effect = self.assign.hold(on_hold);
        let changes = effect.is_some();
        self.take(effect.into_iter().collect());
        changes
    }

    pub(super) fn adopt(&mut self, knowledge: Knowledge, fence_ms: i64) {
        let adopted = self.assign.adopt(&knowledge.target, knowledge.seen_ms(fence_ms));
        let knowledge = Arc::new(knowledge);
        match adopted {
            Adopted::Known => self.tasks.push(Task::Adopt(knowledge)),
            Adopted::Orphan(effects) => {
                self.take(effects);
                self.tasks.push(Task::Adopt(knowledge));
            }
            Adopted::Gone => self.tasks.push(Task::End(knowledge)),
        }
    }

    pub(super) fn seal(&mut self, seals: Vec<(Slot, i64)>) {
        self.tasks.extend(seals.into_iter().map(|(slot, until_ms)| Task::Seal { slot, until_ms }));
    }

    pub(super) fn grant(&mut self, generation: u64) {
        self.tasks.push(Task::Grant(generation));
    }

    pub(super) fn has_orders(&self) -> bool {
        self.is_news || !self.tasks.is_empty()
    }

    pub(super) fn take_orders(&mut self) -> Orders {
        self.is_news = false;
        Orders { found: Arc::clone(&self.found), tasks: std::mem::take(&mut self.tasks) }
    }

    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    pub(super) fn take_moves(&mut self) -> Vec<Move> {
        std::mem::take(&mut self.moves)
    }

    pub(super) fn take_gaps_ms(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.gaps_ms)
    }

    pub(super) fn next_wake_ms(&self, now_ms: i64) -> Option<i64> {
        self.assign.next_wake_ms(now_ms)
    }

    /// When each slot is this member's.
    pub(super) fn shares(&self) -> &Shares {
        self.assign.all_shares()
    }

    /// The slots that are this member's, and since when.
    pub(super) fn mine(&self, now_ms: i64) -> Vec<(Slot, i64)> {
        let since = |slot| Some((slot, self.assign.mine_since_ms(slot, now_ms)?));
        slots().filter_map(since).collect()
    }

    /// Nobody else is there that could take anything over.
    pub(super) fn is_alone(&self, me: NodeId, now_ms: i64) -> bool {
        let mut others = self.roster.active_at(now_ms).filter(|member| member.id != me);
        others.all(|member| member.state != MemberState::Alive)
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Run { target, duties } => self.tasks.push(Task::Run { target, duties }),
                Effect::Stop { target, ending } => self.tasks.push(Task::Stop { target, ending }),
                Effect::CatchUp { target, at_ms } => {
                    self.tasks.push(Task::CatchUp { target, at_ms });
                }
                Effect::Gap { ms } => self.gaps_ms.push(ms),
                Effect::Hold(on_hold) => self.tasks.push(Task::Hold(on_hold)),
                Effect::Gained { slot, from_ms, previous } => {
                    self.changes.push(Change::Gained { slot, from_ms, previous });
                }
                Effect::Lost { slot, until_ms } => {
                    self.changes.push(Change::Lost { slot, until_ms });
                }
                Effect::Moved(moves) => {
                    tell_moves(&moves);
                    self.moves.extend(moves);
                }
            }
        }
    }
}

/// One line for each reason: a join moves thousands of slots.
fn tell_moves(moves: &[Move]) {
    for why in Why::ALL {
        let of_it: Vec<&Move> = moves.iter().filter(|change| change.why == why).collect();
        let Some(first) = of_it.first() else { continue };
        let late = of_it.iter().filter(|change| change.is_late).count();
        info!(
            reason = why.name(),
            slots = of_it.len(),
            at_ms = first.at_ms,
            late,
            "slots changed owners"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        config,
        discovery::{JobTargets, resolve::resolve},
        model::target::{ADDRESS, TargetGroup},
    };

    fn found(addresses: &[&str], refreshed_ms: i64) -> Snapshot {
        let text = "scrape_configs: [{job_name: j, clustering: {enabled: true}}]";
        let config = config::parse(Path::new(""), text, &|_| None).unwrap();
        let targets = addresses.iter().map(|address| [(ADDRESS, *address)].into_iter().collect());
        let group = TargetGroup { targets: targets.collect(), ..TargetGroup::default() };
        let job = |job| JobTargets { refreshed_ms, ..resolve(job, "", [&group], None) };
        Snapshot { jobs: config.jobs.iter().map(job).collect() }
    }

    /// A target that discovery here has not found is handed over, with its fence at 1,400 of the
    /// fleet's time, 500 of which this member's clock is behind.
    #[test]
    fn a_refresh_counts_by_the_time_of_the_fleet() {
        let orphan = Arc::clone(&found(&["b:1"], 0).jobs[0].active[0]);
        let check = |refreshed_ms, is_gone: bool| {
            let me = NodeId(1);
            let mut division = Division::new(Settings { me, detection_ms: 5_000 });
            division.found(Arc::new(found(&["a:1"], refreshed_ms)), 500);
            let series = bytes::Bytes::new();
            let target = Arc::clone(&orphan);
            division.adopt(Knowledge { target, last_tick_ms: Some(1_300), series }, 1_400);
            let tasks = division.take_orders().tasks;
            let ends = tasks.iter().any(|task| matches!(task, Task::End(_)));
            let adopts = tasks.iter().any(|task| matches!(task, Task::Adopt(_)));
            assert_eq!((ends, adopts), (is_gone, !is_gone), "{refreshed_ms}: {tasks:?}");
        };
        check(900, false);
        check(901, true);
        check(i64::MIN, false);
    }
}
