//! Records that another member has as well, and sends itself: kept here for the case that it dies.
//! Its questions and answers, and what becomes of copies then. Part of `queue`.

use std::collections::BTreeSet;

use crate::{
    model::member::NodeId,
    outbox::{
        lines::{CopiesOf, CopyNumber, Heirloom, Inherited},
        queue::{Queue, Settled},
    },
};

/// Of one owner, that are asked about at once.
const ASKED_MAX: usize = 4_096;

impl Queue {
    /// Copies of the dead enter their lines, each in its place by name; where that is open, they leave.
    pub(in crate::outbox) fn inherit(&mut self, heirloom: &Heirloom) -> Inherited {
        let Heirloom { living, left, were_dead } = heirloom;
        let (mut promoted, mut dead) = (Vec::new(), BTreeSet::new());
        for (owner, last) in were_dead {
            let copies = self.held.copies_of(*owner, None);
            promoted.extend(copies.into_iter().filter(|sequence| sequence <= last));
        }
        for owner in self.held.owners_of_copies() {
            if left.contains(&owner) {
                self.discard(owner, None);
            } else if !living.contains(&owner) {
                promoted.extend(self.held.copies_of(owner, None));
                dead.insert(owner);
            }
        }
        let promoted = promoted.into_iter().filter_map(|sequence| self.held.promote(sequence));
        let names: Vec<_> = promoted.collect();
        let slots: BTreeSet<_> = names.iter().map(|(slot, _)| *slot).collect();
        for slot in slots {
            self.settle(slot);
        }
        Inherited { names, dead, last: self.next_sequence - 1 }
    }

    pub(in crate::outbox) fn ask_about_copies(&mut self) -> Vec<CopiesOf> {
        self.held.ask_about_copies(ASKED_MAX)
    }

    /// A number that was not given away here is not done: who asks has it from a disk that is lost.
    pub(in crate::outbox) fn done_of(&self, asked: &[CopyNumber]) -> Vec<u64> {
        let is_here = |(slot, sequence): &CopyNumber| {
            let mut lanes = self.progress.lanes_of(*slot);
            self.held.get(*sequence).is_some()
                || lanes.any(|number| self.lanes[number].1.entry(*sequence).is_some())
        };
        let done = asked.iter().filter(|copy| copy.1 < self.next_sequence && !is_here(copy));
        done.map(|(_, sequence)| *sequence).collect()
    }

    /// `None`: all that there are of the owner.
    pub(in crate::outbox) fn discard(&mut self, owner: NodeId, numbers: Option<&[u64]>) {
        for sequence in self.held.copies_of(owner, numbers) {
            self.forget_copy(Some(sequence));
        }
    }

    pub(super) fn forget_copy(&mut self, sequence: Option<u64>) {
        if let Some(waiting) = sequence.and_then(|sequence| self.held.remove(sequence)) {
            self.progress.unpin(waiting.lane, &waiting.entry);
            self.forget(&waiting.entry, Settled::Safe);
        }
    }
}
