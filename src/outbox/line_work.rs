//! Orders to lines on their way: of each slot one after the other, in the order in which they were
//! given; some wait for a request's answer or for the disk. Part of `destination`; `queue` decides.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    model::{record::RecordName, slot::Slot},
    outbox::{
        disk::Wanted,
        entry::Place,
        frame::Record,
        lines::{LineOrder, Numbered},
        log::{DiskError, Found},
        queue::{Planned, Queue},
    },
};

/// Orders that wait for those before them; who gives more waits.
const ORDERS_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct LineWork {
    /// The first of each slot is being carried out.
    slots: BTreeMap<Slot, VecDeque<Step>>,
    steps: usize,
    /// What the running job writes, with how many records each has.
    storing: Vec<(Slot, usize)>,
    /// What the running job reads.
    reading: BTreeMap<u64, Slot>,
}

#[derive(Debug)]
enum Step {
    Order(LineOrder),
    /// Waits for the next job of the disk, or the running one.
    Store {
        planned: Planned,
        answer: oneshot::Sender<bool>,
    },
    Read(Reading),
}

#[derive(Debug)]
struct Reading {
    records: Vec<Wish>,
    slot: Slot,
    answer: oneshot::Sender<Vec<Numbered>>,
}

/// A record to be read.
#[derive(Debug)]
struct Wish {
    name: RecordName,
    sequence: u64,
    body: Option<Bytes>,
}

impl LineWork {
    /// False: more orders have to wait.
    pub(super) fn has_room(&self) -> bool {
        self.steps < ORDERS_MAX
    }

    pub(super) fn take(&mut self, orders: Vec<LineOrder>, queue: &mut Queue, now_ms: i64) {
        queue.close(&self.closed_first(&orders));
        for order in orders {
            let slot = match order {
                LineOrder::Slots { answer } => {
                    // Who asked may have gone away, as after each answer.
                    let _ = answer.send(queue.slots());
                    continue;
                }
                LineOrder::Hold(holds_all) => {
                    queue.hold_all(holds_all);
                    continue;
                }
                LineOrder::Inherit { heirloom, answer } => {
                    let _ = answer.send(queue.inherit(&heirloom));
                    continue;
                }
                LineOrder::Copies { answer } => {
                    let _ = answer.send(queue.ask_about_copies());
                    continue;
                }
                LineOrder::Done { by, asked, answer } => {
                    let _ = answer.send(queue.done_of(by, &asked));
                    continue;
                }
                LineOrder::Copied { by, numbers } => {
                    queue.note_copied(by, &numbers);
                    continue;
                }
                LineOrder::Uncopied { keepers, answer } => {
                    let _ = answer.send(queue.uncopied(keepers, now_ms));
                    continue;
                }
                LineOrder::Discard { owner, numbers } => {
                    queue.discard(owner, Some(&numbers));
                    continue;
                }
                LineOrder::Open { slot, .. }
                | LineOrder::Close { slot }
                | LineOrder::Extract { slot, .. }
                | LineOrder::PutBack { slot }
                | LineOrder::Bury { slot, .. }
                | LineOrder::Read { slot, .. }
                | LineOrder::Look { slot, .. }
                | LineOrder::Store { slot, .. }
                | LineOrder::Keep { slot, .. }
                | LineOrder::Fetch { slot, .. }
                | LineOrder::Forget { slot } => slot,
            };
            self.slots.entry(slot).or_default().push_back(Step::Order(order));
            self.steps += 1;
            self.advance(slot, queue, now_ms);
        }
    }

    /// A request was answered: who waited for it may go on.
    pub(super) fn request_ended(&mut self, queue: &mut Queue, now_ms: i64) {
        for slot in self.slots.keys().copied().collect::<Vec<_>>() {
            self.advance(slot, queue, now_ms);
        }
    }

    /// What the next job of the disk is to write. Where it does not work, the answer is given at once.
    pub(super) fn take_stores(
        &mut self,
        is_writable: bool,
        queue: &mut Queue,
        now_ms: i64,
    ) -> Vec<Record> {
        let mut records = Vec::new();
        let mut refused = Vec::new();
        for (slot, steps) in &mut self.slots {
            let Some(Step::Store { planned, .. }) = steps.front_mut() else { continue };
            if is_writable {
                self.storing.push((*slot, planned.records.len()));
                records.append(&mut planned.records);
            } else {
                refused.push(*slot);
            }
        }
        for slot in refused {
            self.end_store(slot, None, queue, now_ms);
        }
        records
    }

    /// `stored` is what became of the records last taken, in that order.
    pub(super) fn stored(
        &mut self,
        stored: Option<&Result<Vec<Place>, DiskError>>,
        queue: &mut Queue,
        now_ms: i64,
    ) {
        let mut places = stored.and_then(|stored| stored.as_deref().ok());
        for (slot, count) in std::mem::take(&mut self.storing) {
            let own = places.and_then(|places| places.split_at_checked(count));
            places = own.map(|(_, rest)| rest);
            self.end_store(slot, own.map(|(own, _)| own), queue, now_ms);
        }
    }

    /// What the next job of the disk is to read.
    pub(super) fn take_wanted(&mut self, queue: &mut Queue) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for (slot, steps) in &mut self.slots {
            let Some(Step::Read(reading)) = steps.front_mut() else { continue };
            // Dropped since, by a bound.
            let place =
                |wish: &Wish| Some((wish.sequence, queue.named_place(*slot, wish.sequence)?.1?));
            reading.records.retain(|wish| wish.body.is_some() || place(wish).is_some());
            let missing = reading.records.iter().filter(|wish| wish.body.is_none());
            let records = missing.filter_map(place).collect();
            let ticket = queue.take_ticket();
            self.reading.insert(ticket, *slot);
            wanted.push(Wanted { ticket, records });
        }
        wanted
    }

    /// False: the ticket is not of a hand-over.
    pub(super) fn read(
        &mut self,
        ticket: u64,
        found: &[Found],
        queue: &mut Queue,
        now_ms: i64,
    ) -> bool {
        let Some(slot) = self.reading.remove(&ticket) else { return false };
        let Some(Step::Read(mut reading)) = self.pop(slot) else { return true };
        let missing = reading.records.iter_mut().filter(|wish| wish.body.is_none());
        for (wish, found) in missing.zip(found) {
            match found {
                Found::Batch(bytes) => wish.body = Some(bytes.clone()),
                Found::Lost => queue.lose_unreadable(wish.sequence),
                Found::NotNow(_) => {}
            }
        }
        reading.answer(queue);
        self.advance(slot, queue, now_ms);
        true
    }

    /// Slots that these orders close before they say anything else of them.
    fn closed_first(&self, orders: &[LineOrder]) -> BTreeSet<Slot> {
        let mut closed = BTreeSet::new();
        let mut others: BTreeSet<Slot> = self.slots.keys().copied().collect();
        for order in orders {
            match order {
                LineOrder::Close { slot }
                | LineOrder::Extract { slot, .. }
                | LineOrder::Look { slot, .. } => {
                    if !others.contains(slot) {
                        closed.insert(*slot);
                    }
                }
                LineOrder::Open { slot, .. }
                | LineOrder::PutBack { slot }
                | LineOrder::Bury { slot, .. }
                | LineOrder::Read { slot, .. }
                | LineOrder::Store { slot, .. }
                | LineOrder::Keep { slot, .. }
                | LineOrder::Fetch { slot, .. }
                | LineOrder::Forget { slot } => {
                    others.insert(*slot);
                }
                LineOrder::Slots { .. }
                | LineOrder::Hold(_)
                | LineOrder::Inherit { .. }
                | LineOrder::Copies { .. }
                | LineOrder::Done { .. }
                | LineOrder::Copied { .. }
                | LineOrder::Uncopied { .. }
                | LineOrder::Discard { .. } => {}
            }
        }
        closed
    }

    /// Carries out what does not have to wait.
    fn advance(&mut self, slot: Slot, queue: &mut Queue, now_ms: i64) {
        while let Some(Step::Order(order)) = self.slots.get_mut(&slot).and_then(|s| s.front_mut()) {
            if let LineOrder::Extract { .. } | LineOrder::Look { .. } = order {
                queue.close(&BTreeSet::from([slot]));
                if queue.is_under_way(slot) {
                    return;
                }
            }
            let Some(Step::Order(order)) = self.pop(slot) else { return };
            if let Some(step) = carry_out(order, queue, now_ms) {
                self.slots.entry(slot).or_default().push_front(step);
                self.steps += 1;
                return;
            }
        }
    }

    fn end_store(&mut self, slot: Slot, places: Option<&[Place]>, queue: &mut Queue, now_ms: i64) {
        if let Some(Step::Store { planned, answer }) = self.pop(slot) {
            let is_stored = places.is_some();
            match places {
                Some(places) => queue.stored(slot, planned, places, now_ms),
                None => queue.not_stored(&planned),
            }
            let _ = answer.send(is_stored);
        }
        self.advance(slot, queue, now_ms);
    }

    fn pop(&mut self, slot: Slot) -> Option<Step> {
        let steps = self.slots.get_mut(&slot)?;
        let step = steps.pop_front();
        self.steps -= usize::from(step.is_some());
        if steps.is_empty() {
            self.slots.remove(&slot);
        }
        step
    }
}

/// What is left to be done, where that waits for the disk.
fn carry_out(order: LineOrder, queue: &mut Queue, now_ms: i64) -> Option<Step> {
    match order {
        LineOrder::Open { slot, before_ms } => queue.open(slot, before_ms),
        LineOrder::Close { slot } => queue.close(&BTreeSet::from([slot])),
        LineOrder::Extract { slot, answer } => drop(answer.send(queue.extract(slot))),
        LineOrder::PutBack { slot } => queue.put_back(slot),
        LineOrder::Bury { slot, names } => queue.bury(slot, &names),
        LineOrder::Look { streams, answer, .. } => drop(answer.send(queue.look(&streams))),
        LineOrder::Forget { slot } => queue.forget_streams(slot),
        LineOrder::Read { slot, names, answer } => {
            let held = names.iter().filter_map(|name| queue.held_sequence(slot, name)).collect();
            return Reading::of(slot, held, answer, queue).begin(queue);
        }
        LineOrder::Fetch { slot, numbers, answer } => {
            return Reading::of(slot, numbers, answer, queue).begin(queue);
        }
        LineOrder::Store { slot, stored, answer } => {
            let planned = queue.plan(slot, stored, now_ms);
            return begin_to_store(slot, planned, answer, queue, now_ms);
        }
        LineOrder::Keep { slot, owner, records, answer } => {
            let planned = queue.plan_copies(slot, owner, records, now_ms);
            return begin_to_store(slot, planned, answer, queue, now_ms);
        }
        // Of no slot, and carried out as they came.
        LineOrder::Slots { .. }
        | LineOrder::Hold(_)
        | LineOrder::Inherit { .. }
        | LineOrder::Copies { .. }
        | LineOrder::Done { .. }
        | LineOrder::Copied { .. }
        | LineOrder::Uncopied { .. }
        | LineOrder::Discard { .. } => {}
    }
    None
}

fn begin_to_store(
    slot: Slot,
    planned: Planned,
    answer: oneshot::Sender<bool>,
    queue: &mut Queue,
    now_ms: i64,
) -> Option<Step> {
    if !planned.records.is_empty() {
        return Some(Step::Store { planned, answer });
    }
    queue.stored(slot, planned, &[], now_ms);
    let _ = answer.send(true);
    None
}

impl Reading {
    fn of(
        slot: Slot,
        numbers: Vec<u64>,
        answer: oneshot::Sender<Vec<Numbered>>,
        queue: &Queue,
    ) -> Self {
        let wish = |sequence: u64| {
            let (name, _) = queue.named_place(slot, sequence)?;
            Some(Wish { name, sequence, body: queue.body(sequence).cloned() })
        };
        Self { records: numbers.into_iter().filter_map(wish).collect(), slot, answer }
    }

    /// What is left to be done, where some of it has to be read from disk.
    fn begin(self, queue: &Queue) -> Option<Step> {
        if self.records.iter().any(|wish| wish.body.is_none()) {
            return Some(Step::Read(self));
        }
        self.answer(queue);
        None
    }

    fn answer(self, queue: &Queue) {
        let numbered = |Wish { name, sequence, body }: Wish| {
            let batch = queue.batch_of(self.slot, sequence, body?)?;
            Some(Numbered { number: sequence, name, batch })
        };
        let _ = self.answer.send(self.records.into_iter().filter_map(numbered).collect());
    }
}
