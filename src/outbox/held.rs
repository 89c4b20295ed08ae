//! Records that may not leave yet, or not from here: by slot, each in its place by name. And which
//! slots may send. Pure; part of `queue`.

use std::{collections::BTreeMap, ops::Range};

use hashbrown::HashMap;

use crate::{
    model::{
        member::NodeId,
        record::{Record, RecordName},
        slot::Slot,
    },
    outbox::entry::Entry,
};

#[derive(Debug)]
pub(super) struct Held {
    me: NodeId,
    gates: BTreeMap<Slot, Gate>,
    /// By sequence, and so in the order in which they came here.
    records: BTreeMap<u64, Waiting>,
    /// Who made what was taken over, and its number there; of all such records, held or in a lane.
    origins: HashMap<u64, (NodeId, u64)>,
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
        self.records.insert(entry.sequence, Waiting { lane, entry, aside: false, may_repeat });
        true
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<Waiting> {
        let waiting = self.records.remove(&sequence)?;
        self.bytes -= u64::from(waiting.entry.bytes);
        let slot = waiting.entry.slot();
        let name = self.name_of(&waiting.entry);
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
