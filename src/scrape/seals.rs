//! Which slots are to be sealed, and what of each is still under way. Pure.

use std::collections::BTreeSet;

use crate::model::slot::Slot;

#[derive(Debug, Default)]
pub struct Seals {
    /// What is leaving, by the number of its leaving.
    leaving: BTreeSet<(Slot, u64)>,
    asked: BTreeSet<Slot>,
}

impl Seals {
    /// Something of the slot is still to come.
    pub fn begin(&mut self, slot: Slot, number: u64) {
        self.leaving.insert((slot, number));
    }

    /// It has come, or comes no more. Whether the slot is sealed by that.
    pub fn end(&mut self, slot: Slot, number: u64) -> bool {
        self.leaving.remove(&(slot, number));
        self.is_calm(slot) && self.asked.remove(&slot)
    }

    /// Whether the slot is sealed already. Else `end` will tell.
    pub fn ask(&mut self, slot: Slot) -> bool {
        let is_calm = self.is_calm(slot);
        if !is_calm {
            self.asked.insert(slot);
        }
        is_calm
    }

    pub fn is_asked(&self, slot: Slot) -> bool {
        self.asked.contains(&slot)
    }

    pub fn leaving(&self, slot: Slot) -> impl Iterator<Item = u64> {
        self.leaving.range((slot, 0)..=(slot, u64::MAX)).map(|(_, number)| *number)
    }

    fn is_calm(&self, slot: Slot) -> bool {
        self.leaving(slot).next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_sealed_when_the_last_has_left() {
        let (one, two) = (Slot::new(1).unwrap(), Slot::new(2).unwrap());
        let mut seals = Seals::default();
        assert!(seals.ask(one), "nothing leaves");
        seals.begin(one, 7);
        seals.begin(one, 8);
        seals.begin(two, 9);
        assert!(!seals.end(two, 9), "nobody asked");
        assert!(!seals.ask(one) && seals.is_asked(one));
        assert!(!seals.end(one, 8));
        assert_eq!(seals.leaving(one).collect::<Vec<_>>(), [7]);
        assert!(!seals.end(two, 7), "of another slot");
        assert!(seals.end(one, 7));
        assert!(!seals.is_asked(one) && !seals.end(one, 7), "once");
    }
}
