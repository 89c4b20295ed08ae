//! Records that another member has as well, and sends itself: kept here for the case that it dies.
//! Its questions and answers, and what becomes of copies then. Part of `queue`.

use std::collections::BTreeSet;

use crate::{
    model::member::NodeId,
    outbox::{
        entry::Entry,
        lines::{CopiesOf, CopyNumber, Heirloom, Inherited, Uncopied},
        queue::{Queue, Settled},
    },
};

/// Of one owner, that are asked about at once.
const ASKED_MAX: usize = 4_096;
/// Of what has no copy, that are told at once.
const UNCOPIED_MAX: usize = 65_536;
/// Whoever takes a push has it copied by himself until then.
const YOUNG_MS: i64 = 10_000;
/// Where nobody has come or gone and nothing was taken over: all is looked at, and that may be much.
const LOOK_MS: i64 = 5_000;

/// When everything had a copy.
#[derive(Debug)]
pub(super) struct Looked {
    at_ms: i64,
    keepers: BTreeSet<NodeId>,
}

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
        self.looked = self.looked.take().filter(|_| names.is_empty());
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
    pub(in crate::outbox) fn done_of(&mut self, by: NodeId, asked: &[CopyNumber]) -> Vec<u64> {
        self.note_copied(by, asked);
        let is_done = |copy: &CopyNumber| {
            copy.1 < self.next_sequence && self.in_line(copy.0, copy.1).is_none()
        };
        asked.iter().filter(|copy| is_done(copy)).map(|(_, sequence)| *sequence).collect()
    }

    pub(in crate::outbox) fn note_copied(&mut self, by: NodeId, numbers: &[CopyNumber]) {
        for (slot, sequence) in numbers {
            if self.in_line(*slot, *sequence).is_some() {
                self.copied.insert(*sequence, by);
            }
        }
    }

    /// Nothing, where it was looked for a little earlier and can't have become less.
    pub(in crate::outbox) fn uncopied(
        &mut self,
        keepers: BTreeSet<NodeId>,
        now_ms: i64,
    ) -> Uncopied {
        let is_calm = self.looked.as_ref().is_some_and(|looked| {
            looked.keepers == keepers && (0..LOOK_MS).contains(&(now_ms - looked.at_ms))
        });
        if is_calm {
            return Uncopied::default();
        }
        let is_alone = |entry: &&Entry| {
            let is_young =
                entry.appended_ms > now_ms - YOUNG_MS && self.held.was_made_here(entry.sequence);
            let keeper = self.copied.get(&entry.sequence);
            entry.is_pushed()
                && entry.is_divided()
                && !is_young
                && keeper.is_none_or(|keeper| !keepers.contains(keeper))
        };
        let in_lanes = self.lanes.iter().flat_map(|(_, lane)| lane.entries());
        let held = self.held.records().filter(|waiting| waiting.copy_of.is_none());
        let mut uncopied = Uncopied::default();
        for entry in in_lanes.chain(held.map(|waiting| &waiting.entry)).filter(is_alone) {
            uncopied.samples += u64::from(entry.samples);
            if uncopied.next.len() < UNCOPIED_MAX {
                uncopied.next.push(((entry.slot(), entry.sequence), entry.bytes));
            }
        }
        let has_all = uncopied.samples == 0;
        self.looked = has_all.then_some(Looked { at_ms: now_ms, keepers });
        uncopied
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
