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

/// The beginning of a stretch is corrected by less than this. By more, the clock was set back.
const CORRECTED_MS_MAX: i64 = 60_000;

/// What samples of a stretch that began at `from_ms` are filed under, where the last ones of the same
/// stream or slot were under `before_ms`. A stretch may turn out to have begun a little earlier, as
/// after a death that others saw sooner; what comes later is never filed before what came first, or it
/// would overtake it.
pub fn filed_under_ms(from_ms: i64, before_ms: Option<i64>) -> i64 {
    let before_ms = before_ms.filter(|before_ms| before_ms - from_ms < CORRECTED_MS_MAX);
    before_ms.map_or(from_ms, |before_ms| before_ms.max(from_ms))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_later_is_not_filed_before_what_came_first() {
        for (before_ms, expected) in [
            (None, 300),
            (Some(100), 300),
            (Some(300), 300),
            (Some(305), 305),
            (Some(300 + CORRECTED_MS_MAX), 300),
        ] {
            assert_eq!(filed_under_ms(300, before_ms), expected, "{before_ms:?}");
        }
    }
}
