//! Who has which slot, and what moves make of it: rows that go together, and how many slots each
//! member has then. Pure.

use std::collections::BTreeMap;

use crate::{
    history::{
        Entry, Reason,
        entry::{Placement, SlotMoves},
    },
    model::{
        member::NodeId,
        slot::{SLOTS, Slot},
    },
    ownership::{
        moves::{Move, Why},
        placement::{Table, slots},
    },
};

/// The owners by all that was told.
#[derive(Clone, Debug)]
pub(super) struct Owners(Box<[Option<NodeId>]>);

impl Default for Owners {
    fn default() -> Self {
        Self(vec![None; usize::from(SLOTS)].into())
    }
}

/// How many targets hang on each slot.
#[derive(Clone, Debug)]
pub(super) struct SlotTargets(Box<[u64]>);

impl Default for SlotTargets {
    fn default() -> Self {
        Self(vec![0; usize::from(SLOTS)].into())
    }
}

impl SlotTargets {
    pub(super) fn add(&mut self, slot: Slot, came: bool) {
        let count = &mut self.0[usize::from(slot.number())];
        *count = if came { *count + 1 } else { count.saturating_sub(1) };
    }

    fn on(&self, slots: &[Slot]) -> u64 {
        slots.iter().map(|slot| self.0[usize::from(slot.number())]).sum()
    }
}

impl Owners {
    pub(super) fn of(table: &Table) -> Self {
        Self(table.iter().map(|(_, owner)| owner).collect())
    }

    /// What was known last, by slot number.
    pub(super) fn known(owners: &[Option<NodeId>]) -> Option<Self> {
        (owners.len() == usize::from(SLOTS)).then(|| Self(owners.into()))
    }

    pub(super) fn moved(&mut self, moves: &[Move]) {
        for one in moves {
            self.0[usize::from(one.slot.number())] = one.to;
        }
    }

    /// What brings these to `table`, where nobody has told why.
    pub(super) fn unseen(&self, table: &Table, at_ms: i64) -> Vec<Moved> {
        let differs = |slot: Slot| {
            let (from, to) = (self.0[usize::from(slot.number())], table.owner(slot));
            let reason = if from.is_none() { Reason::Start } else { Reason::Unseen };
            (from != to).then_some(Moved { slot, at_ms, from, to, reason })
        };
        slots().filter_map(differs).collect()
    }

    pub(super) fn placement(&self, at_ms: i64, reason: Reason) -> Entry {
        let mut shares: BTreeMap<NodeId, u16> = BTreeMap::new();
        for owner in self.0.iter().flatten() {
            *shares.entry(*owner).or_default() += 1;
        }
        Entry::Placement(Placement { at_ms, reason, shares: shares.into_iter().collect() })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moved {
    pub(super) slot: Slot,
    pub(super) at_ms: i64,
    pub(super) from: Option<NodeId>,
    pub(super) to: Option<NodeId>,
    pub(super) reason: Reason,
}

impl From<&Move> for Moved {
    fn from(one: &Move) -> Self {
        let Move { slot, at_ms, from, to, why, .. } = *one;
        Self { slot, at_ms, from, to, reason: reason(why) }
    }
}

/// All that went the same way at once for one reason is one entry, in the order of time.
pub(super) fn entries(moves: &[Moved], targets: &SlotTargets, recorded_ms: i64) -> Vec<Entry> {
    let mut groups: BTreeMap<_, Vec<Slot>> = BTreeMap::new();
    for one in moves {
        let group = (one.at_ms, one.reason, one.from, one.to);
        groups.entry(group).or_default().push(one.slot);
    }
    let entry = |((at_ms, reason, from, to), slots): ((i64, Reason, _, _), Vec<Slot>)| {
        let targets = Some(targets.on(&slots));
        Entry::Moves(SlotMoves { at_ms, recorded_ms, reason, from, to, slots, targets })
    };
    groups.into_iter().map(entry).collect()
}

fn reason(why: Why) -> Reason {
    match why {
        Why::Start => Reason::Start,
        Why::Join => Reason::Join,
        Why::Leave => Reason::Leave,
        Why::Death => Reason::Crash,
        Why::Balance => Reason::Rebalance,
        Why::Weight => Reason::Weight,
    }
}
