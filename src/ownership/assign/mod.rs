//! My share: which targets of which jobs I scrape, from which tick to which, and what changes hands.
//! Pure. The pool obeys `Run`, `Stop`, `CatchUp` and `Hold`; hand-over obeys `Gained` and `Lost`.

mod hole;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    config::Clustering,
    model::{
        member::{Interval, NodeId, Roster},
        overrides::Overrides,
        slot::Slot,
        target::{Target, TargetId, TargetName},
    },
    ownership::{
        assign::hole::{Hole, Silent},
        key::keyed,
        moves::{self, History, Move, Trail, Why},
        placement::Placement,
        shares::{Duties, Shares, always, never},
    },
};

/// What assignment must know of a job.
#[derive(Clone, Debug)]
pub struct JobShare {
    pub name: Arc<str>,
    pub clustering: Clustering,
    pub targets: Arc<[Arc<Target>]>,
    /// When the discovery began of which `targets` are the outcome (fleet time).
    pub refreshed_ms: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Scrape this target at those of its ticks that lie in `duties`; new, or with other duties.
    Run { target: Arc<Target>, duties: Duties },
    /// No more ticks; a scrape under way, or due before now, is still finished.
    Stop { target: TargetName, ending: Ending },
    /// Scrape once, off the ticks.
    CatchUp { target: TargetName, at_ms: i64 },
    /// A slot was taken over from a dead member; none of its targets goes without a scrape for longer.
    Gap { ms: i64 },
    /// `true`: scrape nothing and send nothing until told otherwise.
    Hold(bool),
    /// The slot is mine from `from_ms` on. `previous` had it before: the latest first. When this member
    /// starts, it is told of all that are its own.
    Gained { slot: Slot, from_ms: i64, previous: Vec<Previous> },
    /// The slot was mine until `until_ms`.
    Lost { slot: Slot, until_ms: i64 },
    /// For history and meters: all changes of owners since this member started, its own or not.
    Moved(Vec<Move>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Another member goes on with it: no stale markers.
    Moved,
    /// It left discovery: stale markers for all that it had.
    Gone,
}

/// What a target is here that was handed over.
#[derive(Clone, Debug, PartialEq)]
pub enum Adopted {
    /// Discovery here has found it too.
    Known,
    /// Not yet: it is scraped until discovery here, begun after the fence, has ended without it.
    Orphan(Vec<Effect>),
    /// Discovery here has looked since, or does not look for its job at all: write its markers.
    Gone,
}

/// Who had a slot, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    pub node: NodeId,
    pub until_ms: i64,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub me: NodeId,
    /// How long a member may be dead before it is declared so: how far before its declared death
    /// ticks may be missing.
    pub detection_ms: i64,
}

#[derive(Debug)]
pub struct Assign {
    settings: Settings,
    placement: Placement,
    shares: Shares,
    trail: Trail,
    targets: BTreeMap<TargetName, Known>,
    by_slot: BTreeMap<Slot, BTreeSet<TargetName>>,
    jobs: BTreeMap<Arc<str>, Job>,
    silent: Silent,
    on_hold: bool,
}

/// As discovery told it last; a job of which it tells the same costs nothing.
#[derive(Debug)]
struct Job {
    share: JobShare,
    /// Its targets that were handed over and are not discovered here, with the fence of each.
    orphans: BTreeMap<TargetId, i64>,
}

#[derive(Debug)]
struct Known {
    target: Arc<Target>,
    /// `None` for a job whose targets are not divided.
    slot: Option<Slot>,
    /// What the pool was told last; empty where it was told nothing.
    duties: Duties,
}

/// A target, its slot (`None` for a job whose targets are not divided), and what of it is mine.
pub type Share<'a> = (&'a Arc<Target>, Option<Slot>, &'a Duties);

impl Assign {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            placement: Placement::default(),
            shares: Shares::default(),
            trail: Trail::default(),
            targets: BTreeMap::new(),
            by_slot: BTreeMap::new(),
            jobs: BTreeMap::new(),
            silent: Silent::default(),
            on_hold: false,
        }
    }

    pub fn placement(&mut self) -> &mut Placement {
        &mut self.placement
    }

    /// When each slot is mine.
    pub fn all_shares(&self) -> &Shares {
        &self.shares
    }

    /// Since when the slot has been mine, if it is: the interval that its samples are filed under.
    pub fn mine_since_ms(&self, slot: Slot, instant_ms: i64) -> Option<i64> {
        let duty = self.shares.of(slot).iter().find(|duty| duty.contains(instant_ms))?;
        Some(duty.from_ms)
    }

    pub fn share(&self, target: &TargetName) -> Option<Share<'_>> {
        self.targets.get(target).map(Known::share)
    }

    /// Of all targets that are known here, mine or not; orphans as well.
    pub fn shares(&self) -> impl Iterator<Item = Share<'_>> {
        self.targets.values().map(Known::share)
    }

    /// When `passed` must be called next, at the latest.
    pub fn next_wake_ms(&self, now_ms: i64) -> Option<i64> {
        self.placement.next_border(now_ms)
    }

    /// What is known of the members, or of overrides, has changed.
    pub fn placed(
        &mut self,
        roster: Arc<Roster>,
        overrides: Overrides,
        now_ms: i64,
    ) -> Vec<Effect> {
        self.silent.observe(&roster, now_ms);
        if !self.trail.has_begun() {
            self.placement = Placement::new(roster, overrides);
            return self.begin(now_ms);
        }
        // What was known to come by now comes first, so that only the rest counts as late.
        let mut effects = self.advance(now_ms, false);
        let known = &self.placement;
        if known.roster().members != roster.members || *known.overrides() != overrides {
            self.placement = std::mem::take(&mut self.placement).renewed(roster, overrides);
            effects.extend(self.advance(now_ms, true));
        }
        effects
    }

    /// A border has passed.
    pub fn passed(&mut self, now_ms: i64) -> Vec<Effect> {
        self.advance(now_ms, false)
    }

    /// Discovery has found these; all jobs, each time.
    pub fn discovered(&mut self, jobs: &[JobShare]) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut before = std::mem::take(&mut self.jobs);
        for share in jobs {
            let job = self.follow(share, before.remove(&share.name), &mut effects);
            self.jobs.insert(Arc::clone(&share.name), job);
        }
        for job in before.into_values() {
            let ids = job.share.targets.iter().map(|target| target.id);
            for id in ids.chain(job.orphans.into_keys()) {
                effects.extend(self.forget(&(id, Arc::clone(&job.share.name)), Ending::Gone));
            }
        }
        effects
    }

    /// A target was handed over, and its fence was at `fence_ms`.
    pub fn adopt(&mut self, target: &Arc<Target>, fence_ms: i64) -> Adopted {
        if self.targets.contains_key(&name_of(target)) {
            return Adopted::Known;
        }
        let Some(job) = self.jobs.get_mut(&target.job).filter(|job| job.may_yet_find(fence_ms))
        else {
            return Adopted::Gone;
        };
        job.orphans.insert(target.id, fence_ms);
        let mut effects = Vec::new();
        self.know(Arc::clone(target), Some(target.key.slot()), &mut effects);
        Adopted::Orphan(effects)
    }

    /// This member was thought dead, stood still, or is on the losing side of a split; or no more.
    pub fn hold(&mut self, on_hold: bool) -> Option<Effect> {
        let changed = self.on_hold != on_hold;
        self.on_hold = on_hold;
        changed.then_some(Effect::Hold(on_hold))
    }

    /// This member was down since `stopped_ms` and kept its share: it catches up for itself.
    pub fn resumed(&self, stopped_ms: i64, now_ms: i64) -> Vec<Effect> {
        let mine = |known: &&Known| known.duties.iter().any(|duty| duty.contains(now_ms));
        self.targets
            .values()
            .filter(mine)
            .filter_map(|known| catch_up(&known.target, Hole::sure(stopped_ms), now_ms))
            .collect()
    }

    /// What is this member's when it starts. What came and went before is nothing to act on any more:
    /// if there is something left of it on the disk, the shell finds it there.
    fn begin(&mut self, now_ms: i64) -> Vec<Effect> {
        self.trail.begin(&mut self.placement, now_ms);
        let me = self.settings.me;
        let mine = moves::held_since(&mut self.placement, me, now_ms);
        let shares = self.shares.advance(&mut self.placement, &mine, me, now_ms);
        let mut effects = self.share_out(shares);
        let history = History::new(&mut self.placement, now_ms);
        let found = mine.into_iter().map(|(slot, from_ms)| {
            let previous = history.previous(slot, from_ms, me);
            Effect::Gained { slot, from_ms, previous }
        });
        effects.extend(found);
        effects
    }

    fn advance(&mut self, now_ms: i64, is_news: bool) -> Vec<Effect> {
        let moves = self.trail.advance(&mut self.placement, now_ms, is_news);
        let Some(moves) = moves else { return Vec::new() };
        let me = self.settings.me;
        let mut gained = BTreeMap::new();
        for change in &moves {
            if change.to == Some(me) {
                gained.insert(change.slot, change.at_ms);
            } else {
                gained.remove(&change.slot);
            }
        }
        let before = self.shares.clone();
        let shares = before.advance(&mut self.placement, &gained, me, now_ms);
        let mut effects = self.share_out(shares);
        let history = (!gained.is_empty()).then(|| History::new(&mut self.placement, now_ms));
        for change in &moves {
            let &Move { slot, at_ms, .. } = change;
            if change.from == Some(me) {
                effects.push(Effect::Lost { slot, until_ms: at_ms });
            }
            if change.to == Some(me) {
                let previous = history.as_ref().map(|history| history.previous(slot, at_ms, me));
                let previous = previous.unwrap_or_default();
                effects.push(Effect::Gained { slot, from_ms: at_ms, previous });
                effects.extend(self.fill_hole(change, &before, now_ms));
            }
        }
        if !moves.is_empty() {
            effects.push(Effect::Moved(moves));
        }
        effects
    }

    fn share_out(&mut self, shares: Shares) -> Vec<Effect> {
        let mut effects = Vec::new();
        for slot in shares.changed_since(&self.shares) {
            for name in self.by_slot.get(&slot).into_iter().flatten() {
                let known = self.targets.get_mut(name).expect("slots hold known targets");
                effects.extend(known.assign(shares.of(slot)));
            }
        }
        self.shares = shares;
        effects
    }

    /// Ticks that nobody did: those around a death, and those between a fence and late news of it.
    fn fill_hole(&self, change: &Move, before: &Shares, now_ms: i64) -> Vec<Effect> {
        let hole = match (change.why, change.from) {
            (Why::Death, Some(dead)) => {
                self.silent.hole(dead, change.at_ms, self.settings.detection_ms)
            }
            // At a first start nobody is missed.
            (Why::Start, _) | (Why::Death, None) => return Vec::new(),
            (Why::Join | Why::Leave | Why::Balance | Why::Weight, _) => Hole::sure(change.at_ms),
        };
        let was_told = before.of(change.slot).iter().any(|duty| duty.contains(change.at_ms));
        if was_told {
            return Vec::new();
        }
        let names = self.by_slot.get(&change.slot).into_iter().flatten();
        let targets: Vec<&Target> = names.map(|name| &*self.targets[name].target).collect();
        let longest = targets.iter().map(|target| hole.longest_gap_ms(target, now_ms)).max();
        let gap = longest.filter(|_| change.why == Why::Death).map(|ms| Effect::Gap { ms });
        let catch_ups = targets.iter().filter_map(|target| catch_up(target, hole, now_ms));
        catch_ups.chain(gap).collect()
    }

    /// What a job's targets are now, told apart from what they were.
    fn follow(&mut self, share: &JobShare, before: Option<Job>, effects: &mut Vec<Effect>) -> Job {
        let orphans = before.as_ref().map_or_else(BTreeMap::new, |job| job.orphans.clone());
        let mut job = Job { share: share.clone(), orphans };
        let before = before.map(|job| job.share);
        let is_same = before.as_ref().is_some_and(|before| {
            Arc::ptr_eq(&before.targets, &share.targets) && before.clustering == share.clustering
        });
        if !is_same {
            let mut seen = BTreeSet::new();
            for target in share.targets.iter() {
                let target = keyed(target, &share.clustering);
                seen.insert(target.id);
                job.orphans.remove(&target.id);
                let slot = share.clustering.enabled.then(|| target.key.slot());
                self.know(target, slot, effects);
            }
            let before = before.iter().flat_map(|before| before.targets.iter());
            for target in before.filter(|target| !seen.contains(&target.id)) {
                effects.extend(self.forget(&name_of(target), Ending::Gone));
            }
        }
        let waits = |fence_ms| job.may_yet_find(fence_ms);
        let given_up = job.orphans.iter().filter(|(_, fence_ms)| !waits(**fence_ms));
        for id in given_up.map(|(id, _)| *id).collect::<Vec<_>>() {
            job.orphans.remove(&id);
            effects.extend(self.forget(&(id, Arc::clone(&share.name)), Ending::Gone));
        }
        job
    }

    fn know(&mut self, target: Arc<Target>, slot: Option<Slot>, effects: &mut Vec<Effect>) {
        let name = name_of(&target);
        let duties = slot.map_or_else(always, |slot| self.shares.of(slot).clone());
        if let Some(known) = self.targets.get_mut(&name) {
            if known.target.key == target.key && known.slot == slot {
                // Of one id and key but for its timeout, or for what was discovered.
                let changed = !Arc::ptr_eq(&known.target, &target) && known.target != target;
                known.target = target;
                if changed && !known.duties.is_empty() {
                    effects.push(known.run());
                }
                return;
            }
            // It goes on in another slot, here or elsewhere.
            effects.extend(self.forget(&name, Ending::Moved));
        }
        if let Some(slot) = slot {
            self.by_slot.entry(slot).or_default().insert(name.clone());
        }
        let mut known = Known { target, slot, duties: never() };
        effects.extend(known.assign(&duties));
        self.targets.insert(name, known);
    }

    fn forget(&mut self, name: &TargetName, ending: Ending) -> Option<Effect> {
        let known = self.targets.remove(name)?;
        if let Some(slot) = known.slot
            && let Some(names) = self.by_slot.get_mut(&slot)
        {
            names.remove(name);
            if names.is_empty() {
                self.by_slot.remove(&slot);
            }
        }
        let stop = Effect::Stop { target: name.clone(), ending };
        (!known.duties.is_empty()).then_some(stop)
    }
}

impl Job {
    /// Whether a target that was handed over at the fence may still be found by discovery here.
    fn may_yet_find(&self, fence_ms: i64) -> bool {
        self.share.clustering.enabled && self.share.refreshed_ms <= fence_ms
    }
}

fn name_of(target: &Target) -> TargetName {
    (target.id, Arc::clone(&target.job))
}

impl Known {
    fn assign(&mut self, duties: &Duties) -> Option<Effect> {
        if self.duties == *duties {
            return None;
        }
        self.duties = Arc::clone(duties);
        if self.duties.is_empty() {
            return Some(Effect::Stop { target: name_of(&self.target), ending: Ending::Moved });
        }
        Some(self.run())
    }

    fn share(&self) -> Share<'_> {
        (&self.target, self.slot, &self.duties)
    }

    fn run(&self) -> Effect {
        let (target, duties) = (Arc::clone(&self.target), Arc::clone(&self.duties));
        Effect::Run { target, duties }
    }
}

fn catch_up(target: &Target, hole: Hole, now_ms: i64) -> Option<Effect> {
    let at_ms = hole.catch_up_ms(target, now_ms)?;
    Some(Effect::CatchUp { target: name_of(target), at_ms })
}

/// Whether `instant_ms` lies in one of `duties`.
pub fn is_due(duties: &[Interval], instant_ms: i64) -> bool {
    duties.iter().any(|duty| duty.contains(instant_ms))
}

#[cfg(test)]
mod tests;
