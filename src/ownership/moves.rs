//! What changes owners, when and why; and who had what a short while ago. Pure.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    model::{
        member::{MemberState, NodeId},
        slot::Slot,
    },
    ownership::{
        assign::Previous,
        placement::{Placement, Table, slots},
    },
};

/// So long an owner may still have to hand over what it had, and its successor asks for it.
const TRAIL_MS: i64 = 300_000;

/// So many epochs are looked back at most; of a fleet that changes faster, what was not handed over
/// comes as leftovers.
const EPOCHS_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub slot: Slot,
    pub at_ms: i64,
    pub from: Option<NodeId>,
    pub to: Option<NodeId>,
    pub why: Why,
    /// The news came after the instant, so that until now somebody else may have acted on the old
    /// state. A death always does, and is not called late.
    pub is_late: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nobody had it before.
    Start,
    /// The new owner came.
    Join,
    /// The old owner left as planned.
    Leave,
    /// The old owner was declared dead.
    Death,
    /// An override began or ended.
    Balance,
    /// A member's weight changed.
    Weight,
}

/// The owners that were last seen, and the instant that they were looked up for.
#[derive(Debug, Default)]
pub struct Trail(Option<(i64, Arc<Table>)>);

impl Trail {
    pub fn begin(&mut self, placement: &mut Placement, now_ms: i64) {
        self.0 = Some((now_ms, placement.table_at(now_ms)));
    }

    pub fn has_begun(&self) -> bool {
        self.0.is_some()
    }

    /// All moves since the last call, if there can be any: with news, what was seen a moment ago may
    /// have been wrong for a while already; without, owners change at borders alone.
    pub fn advance(
        &mut self,
        placement: &mut Placement,
        now_ms: i64,
        is_news: bool,
    ) -> Option<Vec<Move>> {
        let &(seen_ms, ref before) = self.0.as_ref()?;
        let mut before = Arc::clone(before);
        let mut instants: Vec<i64> = Vec::new();
        while let Some(border_ms) = placement.next_border(*instants.last().unwrap_or(&seen_ms)) {
            if border_ms > now_ms {
                break;
            }
            instants.push(border_ms);
        }
        if instants.is_empty() {
            if !is_news {
                return None;
            }
            instants.push(now_ms);
        }
        let mut moves = Vec::new();
        for instant_ms in instants {
            let after = placement.table_at(instant_ms);
            for slot in slots().filter(|_| !Arc::ptr_eq(&before, &after)) {
                let change = (slot, before.owner(slot), after.owner(slot));
                if change.1 != change.2 {
                    moves.push(explained(placement, change, instant_ms, is_news));
                }
            }
            before = after;
        }
        self.0 = Some((now_ms, before));
        Some(moves)
    }
}

/// The slots that are `node`'s at `now_ms`, and since when each is.
pub fn held_since(placement: &mut Placement, node: NodeId, now_ms: i64) -> BTreeMap<Slot, i64> {
    let table = placement.table_at(now_ms);
    let mine = table.iter().filter(|(_, owner)| *owner == Some(node));
    mine.map(|(slot, owner)| (slot, began_ms(placement, slot, owner, now_ms))).collect()
}

/// The owners of the last few epochs, as they are known now: what was believed at the time is of no
/// concern, as who owned a slot is who was told so in time, or nobody.
pub struct History(Vec<(i64, Arc<Table>)>);

impl History {
    pub fn new(placement: &mut Placement, now_ms: i64) -> Self {
        let mut epochs = Vec::new();
        let mut end = placement.last_border(now_ms);
        while let Some(until_ms) = end {
            if now_ms - until_ms > TRAIL_MS || epochs.len() >= EPOCHS_MAX {
                break;
            }
            epochs.push((until_ms, placement.table_at(until_ms - 1)));
            end = placement.last_border(until_ms - 1);
        }
        Self(epochs)
    }

    /// Who had `slot` before `instant_ms`, the latest first, each once, without `but`.
    pub fn previous(&self, slot: Slot, instant_ms: i64, but: NodeId) -> Vec<Previous> {
        let mut found: Vec<Previous> = Vec::new();
        for (until_ms, table) in self.0.iter().filter(|(until_ms, _)| *until_ms <= instant_ms) {
            let Some(node) = table.owner(slot).filter(|node| *node != but) else { continue };
            if !found.iter().any(|previous| previous.node == node) {
                found.push(Previous { node, until_ms: *until_ms });
            }
        }
        found
    }
}

/// Since when `to` has had the slot that is its own at `instant_ms`, as it is known now: where news
/// rewrote the past, that is the border which the news put there.
fn began_ms(placement: &mut Placement, slot: Slot, to: Option<NodeId>, instant_ms: i64) -> i64 {
    let (mut began_ms, mut look_ms) = (instant_ms, instant_ms);
    for _ in 0..EPOCHS_MAX {
        let Some(border_ms) = placement.last_border(look_ms) else { break };
        (began_ms, look_ms) = (border_ms, border_ms - 1);
        if placement.owner(slot, look_ms) != to {
            break;
        }
    }
    began_ms
}

fn explained(
    placement: &mut Placement,
    (slot, from, to): (Slot, Option<NodeId>, Option<NodeId>),
    instant_ms: i64,
    is_news: bool,
) -> Move {
    let began_ms = began_ms(placement, slot, to, instant_ms);
    let members = &placement.roster().members;
    // Of a member that nobody speaks of any more it is as if it had never been.
    let is_forgotten = from.is_some_and(|id| !members.contains_key(&id));
    let at_ms = if is_forgotten { instant_ms } else { began_ms };
    let old = from.map(|id| members.get(&id));
    let new = to.and_then(|id| members.get(&id));
    let ended = old.flatten().filter(|old| !old.is_active_at(instant_ms));
    let begins = |at| new.is_some_and(|new| new.intervals.iter().any(|i| i.from_ms == at));
    let why = match (from, ended) {
        (None, _) => Why::Start,
        (Some(_), Some(old)) if old.state == MemberState::Dead => Why::Death,
        (Some(_), Some(_)) => Why::Leave,
        // Nobody speaks of it any more.
        (Some(_), None) if old == Some(None) => Why::Death,
        (Some(_), None) if begins(at_ms) => Why::Join,
        (Some(_), None) if is_weight(placement, slot, instant_ms) => Why::Weight,
        (Some(_), None) => Why::Balance,
    };
    Move { slot, at_ms, from, to, why, is_late: is_news && why != Why::Death }
}

/// No override has to do with it, and nobody came or went: the scales themselves have changed.
fn is_weight(placement: &Placement, slot: Slot, instant_ms: i64) -> bool {
    let overrides = placement.overrides();
    let maps = [&overrides.latest, &overrides.predecessor];
    !maps
        .into_iter()
        .flatten()
        .any(|map| map.from_ms <= instant_ms && map.moves.contains_key(&slot))
}
