//! What the owner of the slots has a queue do with its lines: what may leave is in the lanes, what
//! may not is held outside, so that no other slot waits for it. Part of `queue`; `line_work` brings
//! the orders, and waits where this says that something is under way.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hashbrown::HashMap;

use crate::{
    model::{
        batch::Batch,
        member::NodeId,
        record::{Original, RecordName, Sent},
        slot::{Slot, StreamKey},
        tenant::is_tenant,
    },
    outbox::{
        entry::{Entry, LaneKey, Place},
        frame::{FRAME_BYTES_MAX, Record, frame_bytes},
        held::{StandsStill, Waiting},
        lane::Lane,
        lines::{Extracted, Look, Numbered, Stored},
        loss::Reason,
        queue::{Queue, Settled},
    },
};

/// Records that are taken over: to be written, and in their places when they are.
#[derive(Debug)]
pub(in crate::outbox) struct Planned {
    pub(super) entries: Vec<PlannedEntry>,
    /// For the disk.
    pub(in crate::outbox) records: Vec<Record>,
    late_samples: u64,
    gone: Vec<RecordName>,
    sent: Vec<Sent>,
}

#[derive(Debug)]
pub(super) struct PlannedEntry {
    pub(super) lane: usize,
    name: RecordName,
    pub(super) entry: Entry,
    copy_of: Option<Original>,
}

/// Samples that came from other members, and that went to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::outbox) struct Handed {
    pub(in crate::outbox) taken: u64,
    pub(in crate::outbox) given: u64,
}

impl Queue {
    pub(in crate::outbox) fn open(&mut self, slot: Slot, before_ms: i64) {
        let narrows = self.held.open(slot, before_ms);
        if narrows || self.held.has_admitted(slot) {
            self.settle(slot);
        }
    }

    /// In one pass over each lane, however many slots there are.
    pub(in crate::outbox) fn close(&mut self, slots: &BTreeSet<Slot>) {
        let mut lanes = BTreeSet::new();
        // Of one that was closed before, no more is in a lane than what is on its way.
        for slot in slots.iter().filter(|slot| self.held.close(**slot)) {
            lanes.extend(self.progress.lanes_of(*slot));
        }
        for number in lanes {
            self.pull(number, |entry| slots.contains(&entry.slot()));
        }
    }

    /// `true`: nothing divided leaves any more, whichever lines are open.
    pub(in crate::outbox) fn hold_all(&mut self, by_order: bool) {
        self.stand_still(StandsStill { by_order, ..self.held.stands_still() });
    }

    /// The same, as the right to send has run out.
    pub(in crate::outbox) fn lapse(&mut self, by_lease: bool) {
        self.stand_still(StandsStill { by_lease, ..self.held.stands_still() });
    }

    fn stand_still(&mut self, stands_still: StandsStill) {
        if stands_still == self.held.stands_still() {
            return;
        }
        if self.held.stand_still(stands_still) {
            for number in 0..self.lanes.len() {
                self.pull(number, |_| true);
            }
            return;
        }
        for slot in self.held.slots().collect::<Vec<_>>() {
            self.admit(slot);
        }
    }

    /// Nobody knows yet what becomes of some of the slot's records.
    pub(in crate::outbox) fn is_under_way(&self, slot: Slot) -> bool {
        let number = slot.number() % self.limits.lanes.max(1);
        let mut own = self.lanes.iter().filter(|(key, _)| key.number == number);
        own.any(|(_, lane)| lane.is_under_way(slot))
    }

    /// Sets aside what is left of a slot that is closed.
    pub(in crate::outbox) fn extract(&mut self, slot: Slot) -> Extracted {
        let records = self.held.set_aside(slot);
        Extracted { records, sent: self.sent.of_slot(slot) }
    }

    pub(in crate::outbox) fn put_back(&mut self, slot: Slot) {
        self.held.put_back(slot);
        self.settle(slot);
    }

    /// The line's position on disk is as good as a tombstone, unless something with a smaller number
    /// stays. A record that comes back by that, after a crash, is offered again to the taker, who
    /// knows it by its name, or has sent past it and counts it as late.
    pub(in crate::outbox) fn bury(&mut self, slot: Slot, names: &[RecordName]) {
        for name in names {
            if let Some(waiting) = self.take_named(slot, name) {
                self.handed.given += u64::from(waiting.entry.samples);
            }
        }
    }

    pub(in crate::outbox) fn look(&self, streams: &[StreamKey]) -> Look {
        // Pieces of one round share an instant and leave one after the other, so what is of that
        // instant is not late: it is no stream's sample twice.
        let sent = |stream: &StreamKey| {
            let newest_ms = self.sent.of(*stream)?.saturating_sub(1);
            Some(Sent { stream: *stream, newest_ms })
        };
        let fits = |bytes_max: u64| {
            self.unsent.bytes + self.handover_bytes() <= bytes_max
                && self.unsent.records < self.limits.records_max
        };
        Look {
            has_room: fits(self.own_bytes_max()),
            has_reserve: fits(self.limits.bytes_max),
            window_ms: self.limits.late_ms_max,
            sent: streams.iter().filter_map(sent).collect(),
        }
    }

    /// What is to be written of what is taken over. Nothing has changed before `stored`, but that the
    /// positions wait for these numbers.
    pub(in crate::outbox) fn plan(&mut self, slot: Slot, stored: Stored, now_ms: i64) -> Planned {
        let Stored { records, late_samples, gone, sent } = stored;
        let mut planned = Planned::new(late_samples, gone, sent);
        let mut known: BTreeSet<RecordName> = self.names_in_lanes(slot);
        for (name, batch) in records {
            if let Some(reason) = why_not(slot, &name, &batch) {
                self.losses.add(reason, u64::from(batch.samples), batch.oldest_ms);
            } else if self.held.sequence_of(slot, &name).is_none() && known.insert(name) {
                self.plan_one(name, None, batch, now_ms, &mut planned);
            }
        }
        planned
    }

    /// The same of copies of what the owner has. One that is here as a copy of what another had before
    /// is written anew: whoever has it now is asked for it.
    pub(in crate::outbox) fn plan_copies(
        &mut self,
        slot: Slot,
        owner: NodeId,
        records: Vec<Numbered>,
        now_ms: i64,
    ) -> Planned {
        let mut planned = Planned::new(0, Vec::new(), Vec::new());
        let mut known: BTreeSet<RecordName> = self.names_in_lanes(slot);
        for Numbered { number, name, batch } in records {
            let original = Some(Original { owner, number });
            let is_known = self.held.original_of(&name) == original
                || self.held.sequence_of(slot, &name).is_some();
            // Whoever made it has it, and counts it if it is lost there.
            if why_not(slot, &name, &batch).is_none() && !is_known && known.insert(name) {
                self.plan_one(name, original, batch, now_ms, &mut planned);
            }
        }
        planned
    }

    fn plan_one(
        &mut self,
        name: RecordName,
        copy_of: Option<Original>,
        batch: Batch,
        now_ms: i64,
        planned: &mut Planned,
    ) {
        let slot = batch.stream.slot();
        let key = LaneKey::of(batch.signal, &batch.tenant, slot, self.limits.lanes);
        let lane = self.lane_of(&key);
        // When it came to its first owner is not said; its round began a little earlier.
        let appended_ms = batch.round.min(now_ms);
        let entry = Entry::of(&batch, self.next_sequence, appended_ms);
        self.next_sequence += 1;
        self.progress.pin(lane, &entry);
        planned.entries.push(PlannedEntry { lane, name, entry, copy_of });
        let (sequence, name) = (entry.sequence, Some(name));
        planned.records.push(Record { sequence, appended_ms, name, copy_of, batch });
    }

    /// The planned records lie at `places`, in that order.
    pub(in crate::outbox) fn stored(
        &mut self,
        slot: Slot,
        planned: Planned,
        places: &[Place],
        now_ms: i64,
    ) {
        let Planned { entries, late_samples, gone, sent, records: _ } = planned;
        self.pull_slot(slot);
        for (PlannedEntry { lane, name, mut entry, copy_of }, place) in
            entries.into_iter().zip(places)
        {
            entry.place = Some(*place);
            self.held.learn_name(entry.sequence, name);
            // Given by its owner, it is a copy no more; or it is the copy of another one now.
            self.forget_copy(self.held.copy_of(&name));
            let is_new = match copy_of {
                Some(original) => self.held.add_copy(lane, entry, original),
                None => self.held.add(lane, entry, false),
            };
            if is_new {
                self.unsent.add(&entry);
                if copy_of.is_none() {
                    self.handed.taken += u64::from(entry.samples);
                    self.looked = None;
                }
            } else {
                self.progress.unpin(lane, &entry);
                self.held.forget_name(entry.sequence);
                self.released.push((entry.sequence, *place));
            }
        }
        for name in &gone {
            self.take_named(slot, name);
            self.forget_copy(self.held.copy_of(name));
        }
        self.losses.add(Reason::Late, late_samples, now_ms);
        self.learn(slot, &sent);
        self.admit(slot);
    }

    /// The disk did not take them.
    pub(in crate::outbox) fn not_stored(&mut self, planned: &Planned) {
        for PlannedEntry { lane, entry, .. } in &planned.entries {
            self.progress.unpin(*lane, entry);
        }
    }

    pub(in crate::outbox) fn forget_streams(&mut self, slot: Slot) {
        self.sent.forget(slot);
    }

    /// The slots that have divided records here, in order.
    pub(in crate::outbox) fn slots(&self) -> Vec<Slot> {
        let slots: BTreeSet<Slot> = self.held.slots().chain(self.progress.slots()).collect();
        slots.into_iter().collect()
    }

    /// Of a record that is held.
    pub(in crate::outbox) fn held_sequence(&self, slot: Slot, name: &RecordName) -> Option<u64> {
        self.held.sequence_of(slot, name)
    }

    /// What a record is called, and where it lies, whether it is held or in its lane.
    pub(in crate::outbox) fn named_place(
        &self,
        slot: Slot,
        sequence: u64,
    ) -> Option<(RecordName, Option<Place>)> {
        let (_, entry) = self.in_line(slot, sequence)?;
        Some((self.held.name_of(entry)?, entry.place))
    }

    pub(in crate::outbox) fn batch_of(
        &self,
        slot: Slot,
        sequence: u64,
        bytes: Bytes,
    ) -> Option<Batch> {
        let (lane, entry) = self.in_line(slot, sequence)?;
        Some(self.batch(lane, entry, bytes))
    }

    /// A divided record of the slot, with its lane.
    pub(super) fn in_line(&self, slot: Slot, sequence: u64) -> Option<(usize, &Entry)> {
        let of_slot = |entry: &Entry| entry.slot() == slot;
        if let Some(waiting) = self.held.waiting(sequence).filter(|one| of_slot(&one.entry)) {
            return Some((waiting.lane, &waiting.entry));
        }
        let mut lanes = self.progress.lanes_of(slot);
        let in_lane = |number: usize| self.lanes[number].1.entry(sequence).filter(|e| of_slot(e));
        lanes.find_map(|number| Some((number, in_lane(number)?)))
    }

    pub(in crate::outbox) fn lose_unreadable(&mut self, sequence: u64) {
        self.drop_held(sequence, Reason::Corrupt);
    }

    pub(in crate::outbox) fn held_records(&self) -> usize {
        self.held.len()
    }

    pub(in crate::outbox) fn held_bytes(&self) -> u64 {
        self.held.bytes()
    }

    pub(in crate::outbox) fn take_handed(&mut self) -> Handed {
        std::mem::take(&mut self.handed)
    }

    /// After the answer to a lane's request: slots that were closed, or got records, meanwhile.
    pub(super) fn settle_lane(&mut self, number: usize) {
        let Some(slots) = self.unsettled.remove(&number) else { return };
        self.pull(number, |entry| slots.contains(&entry.slot()));
        for slot in slots {
            self.admit(slot);
        }
    }

    /// What the slot has in lanes and may leave is in order of name again, and what may not is out.
    pub(super) fn settle(&mut self, slot: Slot) {
        self.pull_slot(slot);
        self.admit(slot);
    }

    fn pull_slot(&mut self, slot: Slot) {
        for number in self.progress.lanes_of(slot).collect::<Vec<_>>() {
            self.pull(number, |entry| entry.slot() == slot);
        }
    }

    /// Out of a lane and into the hold; but what is on its way stays until it is answered.
    fn pull(&mut self, number: usize, concerns: impl Fn(&Entry) -> bool) {
        let leaves = |entry: &Entry| entry.is_divided() && concerns(entry);
        let lane = &mut self.lanes[number].1;
        let pulled = lane.pull(leaves, &self.rules);
        for entry in pulled {
            self.progress.left(number, &entry);
            self.progress.pin(number, &entry);
            let is_new = self.held.add(number, entry, lane.expects_repeats());
            debug_assert!(is_new, "a name is in one place");
        }
        let on_its_way = lane.on_its_way().filter(|entry| leaves(entry)).map(Entry::slot);
        let on_its_way: Vec<Slot> = on_its_way.collect();
        if !on_its_way.is_empty() {
            self.unsettled.entry(number).or_default().extend(on_its_way);
        }
    }

    /// What is held and may leave enters its lane, in order of name, where all that the slot has
    /// there follows it or is on its way.
    fn admit(&mut self, slot: Slot) {
        let mut by_lane: BTreeMap<usize, Vec<Entry>> = BTreeMap::new();
        for Waiting { lane, entry, may_repeat, .. } in self.held.take_admitted(slot) {
            if may_repeat {
                self.lanes[lane].1.expect_repeats();
            }
            self.progress.entered(lane, &entry);
            by_lane.entry(lane).or_default().push(entry);
        }
        for (number, entries) in by_lane {
            let lane = &mut self.lanes[number].1;
            lane.push_late(&entries, &mut self.next_order, &self.rules);
        }
    }

    /// Out of the hold, and forgotten without being a loss.
    fn take_named(&mut self, slot: Slot, name: &RecordName) -> Option<Waiting> {
        let sequence = self.held.sequence_of(slot, name)?;
        let waiting = self.held.remove(sequence)?;
        self.progress.unpin(waiting.lane, &waiting.entry);
        self.forget(&waiting.entry, Settled::Safe);
        Some(waiting)
    }

    fn names_in_lanes(&self, slot: Slot) -> BTreeSet<RecordName> {
        let lanes = self.progress.lanes_of(slot).map(|number| &self.lanes[number].1);
        let entries = lanes.flat_map(Lane::entries);
        let own = entries.filter(|entry| entry.slot() == slot);
        own.filter_map(|entry| self.held.name_of(entry)).collect()
    }

    /// What others have sent: what is here and older than that is late.
    fn learn(&mut self, slot: Slot, sent: &[Sent]) {
        let newest: HashMap<StreamKey, i64> =
            sent.iter().map(|sent| (sent.stream, sent.newest_ms)).collect();
        let late_ms_max = self.limits.late_ms_max;
        let is_late = |entry: &Entry| {
            let newest_ms = newest.get(&entry.stream);
            !entry.is_pushed()
                && newest_ms.is_some_and(|newest_ms| entry.oldest_ms < newest_ms - late_ms_max)
        };
        let waiting = self.held.of_slot(slot).map(|waiting| &waiting.entry);
        let late: Vec<u64> = waiting.filter(|e| is_late(e)).map(|e| e.sequence).collect();
        for sequence in late {
            self.drop_held(sequence, Reason::Late);
        }
        for sent in sent {
            self.sent.note(sent.stream, sent.newest_ms);
        }
    }
}

impl Planned {
    fn new(late_samples: u64, gone: Vec<RecordName>, sent: Vec<Sent>) -> Self {
        Self { entries: Vec::new(), records: Vec::new(), late_samples, gone, sent }
    }
}

/// What can't be one of the slot's records, though another member says so.
fn why_not(slot: Slot, name: &RecordName, batch: &Batch) -> Option<Reason> {
    if frame_bytes(&batch.tenant, batch.bytes.len()) > FRAME_BYTES_MAX {
        return Some(Reason::TooLarge);
    }
    let fits = batch.stream.slot() == slot
        && batch.since_ms == Some(name.interval_ms)
        && (batch.tenant.is_empty() || is_tenant(batch.tenant.as_bytes()));
    (!fits).then_some(Reason::Corrupt)
}
