//! When each slot is mine: the stretches of fleet time, from the one that runs now on. Pure.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    model::{
        member::{Interval, NodeId},
        slot::{SLOTS, Slot},
    },
    ownership::placement::{Placement, Table, slots},
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
pub struct Shares(Arc<[Duties]>);

impl Default for Shares {
    fn default() -> Self {
        Self(vec![never(); usize::from(SLOTS)].into())
    }
}

impl Shares {
    pub fn of(&self, slot: Slot) -> &Duties {
        &self.0[usize::from(slot.number())]
    }

    /// Whether both are of one look.
    pub fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub fn changed_since(&self, before: &Self) -> impl Iterator<Item = Slot> {
        slots().filter(|slot| !Arc::ptr_eq(self.of(*slot), before.of(*slot)))
    }

    /// The shares of `me` from `now_ms` on. A stretch that goes on keeps its beginning, however many
    /// borders it has passed: others' comings and goings are no news to a slot that stays.
    /// `gained` tells when one began that is new.
    #[must_use]
    pub fn advance(
        &self,
        placement: &mut Placement,
        gained: &BTreeMap<Slot, i64>,
        me: NodeId,
        now_ms: i64,
    ) -> Self {
        let epochs = epochs_ahead(placement, now_ms);
        let mut mine: Vec<_> = epochs.iter().map(|epoch| epoch.table.owned_by(me)).collect();
        // One for all slots, as most have not changed and need no new one.
        let mut stretches: Vec<Interval> = Vec::new();
        let shares = slots().map(|slot| {
            stretches.clear();
            for (at, &Epoch { from_ms, until_ms, .. }) in epochs.iter().enumerate() {
                if mine[at].next() != Some(true) {
                    continue;
                }
                if let Some(last) =
                    stretches.last_mut().filter(|last| last.until_ms == Some(from_ms))
                {
                    last.until_ms = until_ms;
                    continue;
                }
                // What moved away and back since the last look has begun anew.
                let began_ms = || gained.get(&slot).copied().or_else(|| self.began(slot, from_ms));
                let from_ms = (at == 0).then(began_ms).flatten().unwrap_or(from_ms);
                stretches.push(Interval { from_ms, until_ms });
            }
            let old = self.of(slot);
            if **old == *stretches { Arc::clone(old) } else { Duties::from(&*stretches) }
        });
        Self(shares.collect())
    }

    /// When the stretch began that was mine right before `border_ms`, or begins there.
    fn began(&self, slot: Slot, border_ms: i64) -> Option<i64> {
        let reaches = |duty: &&Interval| {
            duty.from_ms <= border_ms && duty.until_ms.is_none_or(|until_ms| until_ms >= border_ms)
        };
        self.of(slot).iter().find(reaches).map(|duty| duty.from_ms)
    }
}

/// From when to when no owner changes.
struct Epoch {
    from_ms: i64,
    until_ms: Option<i64>,
    table: Arc<Table>,
}

/// The one that runs at `now_ms`, and all after it.
fn epochs_ahead(placement: &mut Placement, now_ms: i64) -> Vec<Epoch> {
    let mut epochs = Vec::new();
    let first_ms = placement.last_border(now_ms).unwrap_or(i64::MIN);
    let mut epoch = Some((first_ms, now_ms));
    while let Some((from_ms, within_ms)) = epoch {
        let (until_ms, table) = (placement.next_border(within_ms), placement.table_at(within_ms));
        epochs.push(Epoch { from_ms, until_ms, table });
        epoch = until_ms.map(|until_ms| (until_ms, until_ms));
    }
    epochs
}
