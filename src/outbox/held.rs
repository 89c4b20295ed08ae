//! Records that may not leave yet, or not from here: by slot, each in its place by name. And which
//! slots may send. Pure; part of `queue`.

use std::{collections::BTreeMap, ops::Range};

use hashbrown::HashMap;

use crate::{
    model::{
        member::NodeId,
        record::{Original, Record, RecordName},
        slot::Slot,
    },
    outbox::{
        entry::Entry,
        lines::{CopiesOf, CopyNumber},
    },
};

#[derive(Debug)]
pub(super) struct Held {
    me: NodeId,
    gates: BTreeMap<Slot, Gate>,
    /// By sequence, and so in the order in which they came here.
    records: BTreeMap<u64, Waiting>,
    /// Who made what was taken over, and its number there; of all such records, held or in a lane.
    origins: HashMap<u64, (NodeId, u64)>,
    /// What others have as well and send themselves, as long as they live: no line has these, and none
    /// of them leaves. By its number at the owner the one here; and the same by name.
    copies: BTreeMap<NodeId, Copies>,
    copy_names: HashMap<RecordName, u64>,
    bytes: u64,
    /// Nothing divided leaves at all: by order, or as the right to send has run out.
    stands_still: StandsStill,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StandsStill {
    pub(super) by_order: bool,
    pub(super) by_lease: bool,
}

impl StandsStill {
    fn any(self) -> bool {
        self.by_order || self.by_lease
    }
}

/// Of one owner.
#[derive(Debug, Default)]
struct Copies {
    here: BTreeMap<u64, u64>,
    /// The owner was asked as far as this what has become of them.
    asked: u64,
}

/// A record outside of its lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) lane: usize,
    pub(super) entry: Entry,
    /// On its way to another member.
    aside: bool,
    /// It may have been sent before: it was found on disk as the agent started, or nobody heard what
    /// became of it.
    pub(super) may_repeat: bool,
    pub(super) copy_of: Option<Original>,
}

#[derive(Debug, Default)]
struct Gate {
    /// Records of ownerships that began before may leave; of a closed one none.
    before_ms: Option<i64>,
    names: BTreeMap<RecordName, u64>,
}

impl Held {
    pub(super) fn new(me: NodeId) -> Self {
        Self {
            me,
            gates: BTreeMap::new(),
            records: BTreeMap::new(),
            origins: HashMap::new(),
            copies: BTreeMap::new(),
            copy_names: HashMap::new(),
            bytes: 0,
            stands_still: StandsStill::default(),
        }
    }

    /// Whether a record may go to its lane at once.
    pub(super) fn admits(&self, slot: Slot, since_ms: Option<i64>) -> bool {
        let Some(since_ms) = since_ms else { return true };
        let before_ms = self.gates.get(&slot).and_then(|gate| gate.before_ms);
        !self.stands_still.any() && before_ms.is_some_and(|before_ms| since_ms < before_ms)
    }

    /// True where less may leave than before.
    pub(super) fn open(&mut self, slot: Slot, before_ms: i64) -> bool {
        let gate = self.gates.entry(slot).or_default();
        gate.before_ms.replace(before_ms).is_some_and(|old_ms| before_ms < old_ms)
    }

    /// False where it was closed before.
    pub(super) fn close(&mut self, slot: Slot) -> bool {
        let Some(gate) = self.gates.get_mut(&slot) else { return false };
        let was_open = gate.before_ms.take().is_some();
        if gate.names.is_empty() {
            self.gates.remove(&slot);
        }
        was_open
    }

    pub(super) fn stands_still(&self) -> StandsStill {
        self.stands_still
    }

    /// Whether nothing divided leaves from now on.
    pub(super) fn stand_still(&mut self, stands_still: StandsStill) -> bool {
        self.stands_still = stands_still;
        stands_still.any()
    }

    /// What the record is called, if it is divided.
    pub(super) fn name_of(&self, entry: &Entry) -> Option<RecordName> {
        let interval_ms = entry.since_ms()?;
        let origin = self.origins.get(&entry.sequence);
        let (node, sequence) = origin.copied().unwrap_or((self.me, entry.sequence));
        Some(RecordName { interval_ms, node, sequence })
    }

    pub(super) fn learn_name(&mut self, sequence: u64, name: RecordName) {
        if (name.node, name.sequence) != (self.me, sequence) {
            self.origins.insert(sequence, (name.node, name.sequence));
        }
    }

    pub(super) fn forget_name(&mut self, sequence: u64) {
        self.origins.remove(&sequence);
    }

    /// Of a divided record; false where one of its name waits already.
    pub(super) fn add(&mut self, lane: usize, entry: Entry, may_repeat: bool) -> bool {
        let Some(name) = self.name_of(&entry) else { return false };
        let gate = self.gates.entry(entry.slot()).or_default();
        if gate.names.contains_key(&name) {
            return false;
        }
        gate.names.insert(name, entry.sequence);
        self.bytes += u64::from(entry.bytes);
        let waiting = Waiting { lane, entry, aside: false, may_repeat, copy_of: None };
        self.records.insert(entry.sequence, waiting);
        true
    }

    /// Of another member's record; false where it is here already.
    pub(super) fn add_copy(&mut self, lane: usize, entry: Entry, original: Original) -> bool {
        let Some(name) = self.name_of(&entry) else { return false };
        if self.sequence_of(entry.slot(), &name).is_some() || self.copy_of(&name).is_some() {
            return false;
        }
        let copies = self.copies.entry(original.owner).or_default();
        copies.here.insert(original.number, entry.sequence);
        self.copy_names.insert(name, entry.sequence);
        self.bytes += u64::from(entry.bytes);
        let copy_of = Some(original);
        let waiting = Waiting { lane, entry, aside: false, may_repeat: true, copy_of };
        self.records.insert(entry.sequence, waiting);
        true
    }

    /// Whose copies are here.
    pub(super) fn owners_of_copies(&self) -> Vec<NodeId> {
        self.copies.keys().copied().collect()
    }

    pub(super) fn copy_of(&self, name: &RecordName) -> Option<u64> {
        self.copy_names.get(name).copied()
    }

    /// Of a copy that is here.
    pub(super) fn original_of(&self, name: &RecordName) -> Option<Original> {
        self.records.get(self.copy_names.get(name)?)?.copy_of
    }

    /// It was not taken over from another member.
    pub(super) fn was_made_here(&self, sequence: u64) -> bool {
        !self.origins.contains_key(&sequence)
    }

    /// The numbers here of an owner's copies with these numbers there; of all of them for `None`.
    pub(super) fn copies_of(&self, owner: NodeId, there: Option<&[u64]>) -> Vec<u64> {
        let Some(copies) = self.copies.get(&owner) else { return Vec::new() };
        match there {
            Some(there) => there.iter().filter_map(|n| copies.here.get(n)).copied().collect(),
            None => copies.here.values().copied().collect(),
        }
    }

    /// What each owner is to be asked about next: of its copies at most so many, all in their turn, by
    /// slot and number there.
    pub(super) fn ask_about_copies(&mut self, count_max: usize) -> Vec<CopiesOf> {
        let records = &self.records;
        let ask = |(owner, copies): (&NodeId, &mut Copies)| {
            let next = copies.here.range(copies.asked.saturating_add(1)..).take(count_max);
            let slot = |here: &u64| records[here].entry.slot();
            let next: Vec<CopyNumber> = next.map(|(there, here)| (slot(here), *there)).collect();
            let is_last = next.len() < count_max;
            copies.asked = next.last().filter(|_| !is_last).map_or(0, |(_, there)| *there);
            (*owner, next)
        };
        self.copies.iter_mut().map(ask).filter(|(_, next)| !next.is_empty()).collect()
    }

    /// The owner is gone: the copy is a record of its slot like any other from now on.
    pub(super) fn promote(&mut self, sequence: u64) -> Option<(Slot, RecordName)> {
        let waiting = self.remove(sequence)?;
        let name = self.name_of(&waiting.entry)?;
        self.add(waiting.lane, waiting.entry, true);
        Some((waiting.entry.slot(), name))
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<Waiting> {
        let waiting = self.records.remove(&sequence)?;
        self.bytes -= u64::from(waiting.entry.bytes);
        let slot = waiting.entry.slot();
        let name = self.name_of(&waiting.entry);
        if let Some(Original { owner, number }) = waiting.copy_of {
            if let Some(name) = name {
                self.copy_names.remove(&name);
            }
            if let Some(copies) = self.copies.get_mut(&owner) {
                copies.here.remove(&number);
                if copies.here.is_empty() {
                    self.copies.remove(&owner);
                }
            }
            return Some(waiting);
        }
        if let (Some(name), Some(gate)) = (name, self.gates.get_mut(&slot)) {
            gate.names.remove(&name);
            if gate.names.is_empty() && gate.before_ms.is_none() {
                self.gates.remove(&slot);
            }
        }
        Some(waiting)
    }

    /// Something waits that may leave.
    pub(super) fn has_admitted(&self, slot: Slot) -> bool {
        let first = self.gates.get(&slot).and_then(|gate| gate.names.first_key_value());
        first.is_some_and(|(name, _)| self.admits(slot, Some(name.interval_ms)))
    }

    /// What may leave now, in order of name.
    pub(super) fn take_admitted(&mut self, slot: Slot) -> Vec<Waiting> {
        let Some(gate) = self.gates.get(&slot) else { return Vec::new() };
        let Some(before_ms) = gate.before_ms.filter(|_| !self.stands_still.any()) else {
            return Vec::new();
        };
        let admitted = gate.names.iter().take_while(|(name, _)| name.interval_ms < before_ms);
        let sequences = admitted.map(|(_, sequence)| *sequence);
        let stays = |sequence: &u64| !self.records[sequence].aside;
        let sequences: Vec<u64> = sequences.filter(stays).collect();
        sequences.into_iter().filter_map(|sequence| self.remove(sequence)).collect()
    }

    /// All that the slot has here is on its way to another member; sorted by name.
    pub(super) fn set_aside(&mut self, slot: Slot) -> Vec<Record> {
        let Some(gate) = self.gates.get(&slot) else { return Vec::new() };
        let mut records = Vec::with_capacity(gate.names.len());
        for (name, sequence) in &gate.names {
            let waiting = self.records.get_mut(sequence).expect("who has a name here is here");
            waiting.aside = true;
            let Entry { stream, oldest_ms, bytes, .. } = waiting.entry;
            let pushed = waiting.entry.is_pushed();
            records.push(Record { name: *name, stream, oldest_ms, bytes, pushed });
        }
        records
    }

    pub(super) fn put_back(&mut self, slot: Slot) {
        for sequence in self.gates.get(&slot).into_iter().flat_map(|gate| gate.names.values()) {
            if let Some(waiting) = self.records.get_mut(sequence) {
                waiting.aside = false;
            }
        }
    }

    pub(super) fn sequence_of(&self, slot: Slot, name: &RecordName) -> Option<u64> {
        self.gates.get(&slot)?.names.get(name).copied()
    }

    /// All of a slot, in order of name.
    pub(super) fn of_slot(&self, slot: Slot) -> impl Iterator<Item = &Waiting> {
        let names = self.gates.get(&slot).into_iter().flat_map(|gate| gate.names.values());
        names.filter_map(|sequence| self.records.get(sequence))
    }

    pub(super) fn waiting(&self, sequence: u64) -> Option<&Waiting> {
        self.records.get(&sequence)
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Entry> {
        self.waiting(sequence).map(|waiting| &waiting.entry)
    }

    pub(super) fn get_mut(&mut self, sequence: u64) -> Option<&mut Entry> {
        self.records.get_mut(&sequence).map(|waiting| &mut waiting.entry)
    }

    /// Those of these numbers that are not on their way to another member.
    pub(super) fn here_within(&self, sequences: Range<u64>) -> impl Iterator<Item = u64> {
        let within = self.records.range(sequences).filter(|(_, waiting)| !waiting.aside);
        within.map(|(sequence, _)| *sequence)
    }

    /// The one that came here first.
    pub(super) fn first(&self) -> Option<&Waiting> {
        self.records.first_key_value().map(|(_, waiting)| waiting)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Waiting> {
        self.records.values()
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The slots of which something waits.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.gates.iter().filter(|(_, gate)| !gate.names.is_empty()).map(|(slot, _)| *slot)
    }
}
