//! When each slot is mine: the stretches of fleet time, from the one that runs now on. Pure.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    model::{
        member::{Interval, NodeId},
        slot::{SLOTS, Slot},
    },
    ownership::{
        moves::Move,
        placement::{Placement, slots},
    },
};

/// Stretches in order of time, the last of which may have no end. Ticks within are mine.
pub type Duties = Arc<[Interval]>;

/// For targets that are not divided.
pub fn always() -> Duties {
    Arc::new([Interval { from_ms: i64::MIN, until_ms: None }])
}

pub fn never() -> Duties {
    Arc::new([])
}

#[derive(Clone, Debug)]
pub struct Shares(Vec<Duties>);

impl Default for Shares {
    fn default() -> Self {
        Self(vec![never(); usize::from(SLOTS)])
    }
}

impl Shares {
    pub fn of(&self, slot: Slot) -> &Duties {
        &self.0[usize::from(slot.number())]
    }

    pub fn changed_since(&self, before: &Self) -> impl Iterator<Item = Slot> {
        slots().filter(|slot| self.of(*slot) != before.of(*slot))
    }

    /// The shares of `me` from `now_ms` on. A stretch that goes on keeps its beginning, however many
    /// borders it has passed: others' comings and goings are no news to a slot that stays.
    /// `moves` tell when one began that was not known of.
    #[must_use]
    pub fn advance(
        &self,
        placement: &mut Placement,
        moves: &[Move],
        me: NodeId,
        now_ms: i64,
    ) -> Self {
        let mut gained: BTreeMap<Slot, i64> = BTreeMap::new();
        for change in moves {
            if change.to == Some(me) {
                gained.insert(change.slot, change.at_ms);
            } else {
                gained.remove(&change.slot);
            }
        }
        let first_ms = placement.last_border(now_ms).unwrap_or(i64::MIN);
        let mut stretches: Vec<Vec<Interval>> = vec![Vec::new(); usize::from(SLOTS)];
        let mut epoch = Some((first_ms, now_ms));
        while let Some((from_ms, within_ms)) = epoch {
            let next_ms = placement.next_border(within_ms);
            let table = placement.table_at(within_ms);
            for (slot, _) in table.iter().filter(|(_, owner)| *owner == Some(me)) {
                let stretches = &mut stretches[usize::from(slot.number())];
                if let Some(last) =
                    stretches.last_mut().filter(|last| last.until_ms == Some(from_ms))
                {
                    last.until_ms = next_ms;
                    continue;
                }
                // What moved away and back since the last look has begun anew.
                let began_ms = || gained.get(&slot).copied().or_else(|| self.began(slot, from_ms));
                let is_first = from_ms == first_ms;
                let from_ms = is_first.then(began_ms).flatten().unwrap_or(from_ms);
                stretches.push(Interval { from_ms, until_ms: next_ms });
            }
            epoch = next_ms.map(|next_ms| (next_ms, next_ms));
        }
        let kept = |(old, new): (&Duties, Vec<Interval>)| {
            if **old == *new { Arc::clone(old) } else { Duties::from(new) }
        };
        Self(self.0.iter().zip(stretches).map(kept).collect())
    }

    /// When the stretch began that was mine right before `border_ms`, or begins there.
    fn began(&self, slot: Slot, border_ms: i64) -> Option<i64> {
        let reaches = |duty: &&Interval| {
            duty.from_ms <= border_ms && duty.until_ms.is_none_or(|until_ms| until_ms >= border_ms)
        };
        self.of(slot).iter().find(reaches).map(|duty| duty.from_ms)
    }
}
