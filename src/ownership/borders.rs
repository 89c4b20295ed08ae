//! What is done where a slot comes to this member or goes from it. Part of the shell in `mod`.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    model::slot::Slot,
    ownership::{Ownership, division::Change, exchange::Present},
};

/// The slots that were given up.
#[derive(Default)]
pub(super) struct GivenUp {
    /// Since when each is another's, or nobody's.
    until_ms: BTreeMap<Slot, i64>,
    /// Those that nobody has taken, as all members leave, or the only one does: there is nobody
    /// whose samples could overtake, so what is unsent still leaves from here.
    unclaimed: BTreeMap<Slot, i64>,
}

impl GivenUp {
    pub(super) fn until_ms(&self, slot: Slot) -> Option<i64> {
        self.until_ms.get(&slot).copied()
    }

    fn add(&mut self, slot: Slot, until_ms: i64) {
        self.until_ms.insert(slot, until_ms);
        self.unclaimed.insert(slot, until_ms);
    }

    /// It is this member's again. `Some`: nobody had it in between.
    fn regained(&mut self, slot: Slot) -> Option<i64> {
        self.until_ms.remove(&slot);
        self.unclaimed.remove(&slot)
    }

    fn take_claimed(&mut self, is_claimed: impl Fn(Slot) -> bool) -> Vec<(Slot, i64)> {
        let claimed = self.unclaimed.iter().filter(|(slot, _)| is_claimed(**slot));
        let claimed: Vec<(Slot, i64)> =
            claimed.map(|(slot, until_ms)| (*slot, *until_ms)).collect();
        for (slot, _) in &claimed {
            self.unclaimed.remove(slot);
        }
        claimed
    }
}

impl Ownership {
    pub(super) fn cross_borders(&mut self, present: &Present) {
        if self.is_met {
            // What a dead owner had sent here for safety goes before all that this member then sends.
            self.exchange.inherit(present);
        }
        let destinations = self.links.outbox.destinations();
        for change in self.division.take_changes() {
            match change {
                Change::Gained { slot, from_ms, previous } => {
                    if let Some(until_ms) = self.given_up.regained(slot) {
                        self.hand_over(slot, until_ms, &destinations, present);
                    }
                    self.showing.began(slot, &destinations, present.now_ms);
                    self.exchange.gained(slot, from_ms, &previous, present);
                }
                Change::Lost { slot, until_ms } => self.given_up.add(slot, until_ms),
            }
        }
        let is_claimed = |slot| present.table.owner(slot).is_some();
        for (slot, until_ms) in self.given_up.take_claimed(is_claimed) {
            self.hand_over(slot, until_ms, &destinations, present);
        }
    }

    fn hand_over(
        &mut self,
        slot: Slot,
        until_ms: i64,
        destinations: &[Arc<str>],
        present: &Present,
    ) {
        self.showing.began(slot, destinations, present.now_ms);
        self.exchange.lost(slot, until_ms, present);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_claims_is_kept_until_somebody_does() {
        let [one, two] = [1, 2].map(|number| Slot::new(number).unwrap());
        let mut given_up = GivenUp::default();
        given_up.add(one, 100);
        given_up.add(two, 100);
        assert_eq!(given_up.take_claimed(|_| false), []);
        assert_eq!(given_up.take_claimed(|slot| slot == one), [(one, 100)]);
        assert_eq!(given_up.take_claimed(|slot| slot == one), []);
        assert_eq!((given_up.regained(one), given_up.regained(two)), (None, Some(100)));
        assert_eq!((given_up.until_ms(one), given_up.take_claimed(|_| true)), (None, vec![]));
    }
}
