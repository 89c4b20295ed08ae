//! Which slots are being sealed, and by how many: who scrapes and who takes pushes both have to be
//! done with a slot before what it has is handed over. Pure.

use std::collections::BTreeMap;

use crate::model::slot::Slot;

#[derive(Debug, Default)]
pub(super) struct Sealing {
    /// How many have not said yet that they are done.
    awaited: BTreeMap<Slot, usize>,
    /// For who takes pushes.
    orders: Vec<Slot>,
}

impl Sealing {
    /// The pool is asked for the same.
    pub(super) fn ask(&mut self, seals: &[(Slot, i64)], takes_pushes: bool) {
        for (slot, _) in seals {
            *self.awaited.entry(*slot).or_default() += 1 + usize::from(takes_pushes);
            if takes_pushes {
                self.orders.push(*slot);
            }
        }
    }

    /// One of them is done. Whether all are.
    pub(super) fn sealed(&mut self, slot: Slot) -> bool {
        let Some(awaited) = self.awaited.get_mut(&slot) else { return true };
        *awaited -= 1;
        let is_last = *awaited == 0;
        if is_last {
            self.awaited.remove(&slot);
        }
        is_last
    }

    pub(super) fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    pub(super) fn take_orders(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.orders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_sealed_when_all_have_said_so() {
        let [one, two] = [1, 2].map(|number| Slot::new(number).unwrap());
        let mut sealing = Sealing::default();
        sealing.ask(&[(one, 100)], false);
        assert!(!sealing.has_orders());
        assert!(sealing.sealed(one), "the pool alone was asked");
        sealing.ask(&[(one, 200), (two, 200)], true);
        assert_eq!(sealing.take_orders(), [one, two]);
        assert!(!sealing.has_orders() && !sealing.sealed(one) && !sealing.sealed(two));
        // Lost, gained and lost again before anybody was done.
        sealing.ask(&[(one, 300)], true);
        assert!(!sealing.sealed(one) && !sealing.sealed(one) && sealing.sealed(one));
        assert!(sealing.sealed(two));
    }
}
