//! The shell of hand-over: brings the rules what the outbox and the peers say, and has done what they
//! decide. What is to be told to others is gathered here and leaves with `flush`.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use crate::{
    model::{
        batch::Batch,
        member::{NodeId, Roster},
        record::{Record, RecordName, Sent},
        slot::Slot,
    },
    outbox::{
        self,
        lines::{Extracted, Inherited, LineOrder, Look, Numbered, Stored},
    },
    ownership::{
        assign::Previous,
        handoff::{Effect, Give, Handoff, Line, Message, Outlook, Saved, World},
        inheritance::{Death, Inheritance},
        letter::Letter,
        placement::Table,
        view::Refused,
    },
};

/// What is known at the moment of an event.
pub(super) struct Present {
    /// Fleet time.
    pub now_ms: i64,
    pub roster: Arc<Roster>,
    pub table: Arc<Table>,
}

/// What the outbox has answered.
#[derive(Debug)]
pub(super) enum Answer {
    Slots { destination: Arc<str>, slots: Vec<Slot> },
    Inherited { destination: Arc<str>, inherited: Inherited },
    Extracted { line: Line, extracted: Extracted },
    Looked { from: NodeId, give: Give, batches: Vec<Option<Batch>>, look: Look },
    Read { to: NodeId, give: Give, found: Vec<Numbered> },
    Stored { line: Line, names: Vec<RecordName>, to: NodeId, answer: Message, is_stored: bool },
}

type Answers = FuturesUnordered<BoxFuture<'static, Option<Answer>>>;

/// The batches that came with a message, by name.
type Arrived = BTreeMap<RecordName, Batch>;

pub(super) struct Exchange {
    rules: Handoff,
    inheritance: Inheritance,
    outbox: outbox::Handle,
    orders: BTreeMap<Arc<str>, Vec<LineOrder>>,
    letters: Vec<(NodeId, Letter)>,
    /// For the pool: let scrapes of these slots' ticks end.
    seals: Vec<(Slot, i64)>,
    answers: Answers,
    /// What is kept on disk of the lines is not what is known.
    is_unsaved: bool,
    tally: Tally,
}

/// What has happened since it was last asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub handed_over_records: u64,
    pub taken_records: u64,
    pub late_records: u64,
    pub bets: u64,
    pub refused: Vec<Refused>,
    /// Given to the end, or open again.
    pub ended: Vec<Line>,
}

impl Exchange {
    pub(super) fn new(rules: Handoff, inheritance: Inheritance, outbox: outbox::Handle) -> Self {
        Self {
            rules,
            inheritance,
            outbox,
            orders: BTreeMap::new(),
            letters: Vec::new(),
            seals: Vec::new(),
            answers: Answers::new(),
            is_unsaved: false,
            tally: Tally::default(),
        }
    }

    pub(super) fn rules(&self) -> &Handoff {
        &self.rules
    }

    /// The slots of which a destination has something, answered as `Answer::Slots`.
    pub(super) fn look_for_leftovers(&mut self) {
        for destination in self.outbox.destinations() {
            let (answer, answered) = oneshot::channel();
            self.order(&destination, LineOrder::Slots { answer });
            self.expect(answered, move |slots| Answer::Slots { destination, slots });
        }
    }

    /// Of these slots something is here. What is another's is offered to it.
    pub(super) fn left_over(
        &mut self,
        destination: &Arc<str>,
        slots: Vec<Slot>,
        me: NodeId,
        present: &Present,
    ) {
        for slot in slots.into_iter().filter(|slot| present.table.owner(*slot) != Some(me)) {
            let line = Line { slot, destination: Arc::clone(destination) };
            if self.rules.is_giving(&line) || self.rules.open_before_ms(&line).is_some() {
                continue;
            }
            let effect = self.rules.left_over(line, present.now_ms);
            self.obey(vec![effect], Arrived::new(), present);
        }
    }

    /// Copies of members that are dead become this member's own, answered as `Answer::Inherited`.
    pub(super) fn inherit(&mut self, present: &Present) {
        if !self.inheritance.is_due(&present.roster, present.now_ms) {
            return;
        }
        for destination in self.outbox.destinations() {
            let (answer, answered) = oneshot::channel();
            let heirloom = self.inheritance.heirloom(&destination, &present.roster);
            self.order(&destination, LineOrder::Inherit { heirloom, answer });
            self.expect(answered, move |inherited| Answer::Inherited { destination, inherited });
        }
    }

    pub(super) fn take_deaths(&mut self) -> Option<Vec<Death>> {
        self.inheritance.take_unsaved().map(<[Death]>::to_vec)
    }

    pub(super) fn gained(
        &mut self,
        slot: Slot,
        from_ms: i64,
        previous: &[Previous],
        present: &Present,
    ) {
        let effects =
            self.decide(present, |rules, world| rules.gained(slot, from_ms, previous, world));
        self.obey(effects, Arrived::new(), present);
    }

    pub(super) fn lost(&mut self, slot: Slot, until_ms: i64, present: &Present) {
        let effects = self.rules.lost(slot, until_ms);
        self.obey(effects, Arrived::new(), present);
    }

    pub(super) fn sealed(&mut self, slot: Slot, present: &Present) {
        let effects = self.rules.sealed(slot);
        self.obey(effects, Arrived::new(), present);
    }

    pub(super) fn set_destinations(&mut self, mine: &[(Slot, i64)], present: &Present) {
        let effects = self.rules.set_destinations(self.outbox.destinations(), mine);
        self.obey(effects, Arrived::new(), present);
    }

    /// Nothing that is divided is sent, or it may go on.
    pub(super) fn hold(&mut self, on_hold: bool) {
        for destination in self.outbox.destinations() {
            self.order(&destination, LineOrder::Hold(on_hold));
        }
    }

    pub(super) fn tick(&mut self, present: &Present) {
        let outbox = self.outbox.clone();
        let effects =
            self.decide(present, |rules, world| rules.tick(&|name| outbox.accepts(name), world));
        self.obey(effects, Arrived::new(), present);
    }

    pub(super) fn heard(
        &mut self,
        from: NodeId,
        message: Message,
        batches: Vec<Option<Batch>>,
        present: &Present,
    ) {
        let Message::Give(give) = message else {
            self.decided_on(from, message, &Look::default(), Arrived::new(), present);
            return;
        };
        if give.records.is_empty() || !self.outbox.destinations().contains(&give.line.destination) {
            let look = Look { has_room: true, has_reserve: true, ..Look::default() };
            self.decided_on(from, Message::Give(give), &look, Arrived::new(), present);
            return;
        }
        let in_step = give.records.iter().filter(|record| !record.pushed);
        let mut streams: Vec<_> = in_step.map(|record| record.stream).collect();
        streams.sort_unstable();
        streams.dedup();
        let (answer, answered) = oneshot::channel();
        let line = give.line.clone();
        self.order(&line.destination, LineOrder::Look { slot: line.slot, streams, answer });
        self.expect(answered, move |look| Answer::Looked { from, give, batches, look });
    }

    /// The next answer of the outbox; for ever where none is awaited.
    pub(super) async fn answered(&mut self) -> Answer {
        loop {
            match self.answers.next().await {
                Some(Some(answer)) => return answer,
                // The destination was removed meanwhile.
                Some(None) => {}
                None => std::future::pending::<()>().await,
            }
        }
    }

    pub(super) fn take_in(&mut self, answer: Answer, me: NodeId, present: &Present) {
        match answer {
            Answer::Slots { destination, slots } => {
                self.left_over(&destination, slots, me, present);
            }
            Answer::Inherited { destination, inherited } => {
                self.inheritance.inherited(&destination, &inherited);
                let mut by_slot: BTreeMap<Slot, Vec<RecordName>> = BTreeMap::new();
                for (slot, name) in inherited.names {
                    by_slot.entry(slot).or_default().push(name);
                }
                for (slot, names) in &by_slot {
                    let line = Line { slot: *slot, destination: Arc::clone(&destination) };
                    self.is_unsaved |= self.rules.inherited(&line, names, present.now_ms);
                }
                let slots = by_slot.into_keys().collect();
                self.left_over(&destination, slots, me, present);
            }
            Answer::Extracted { line, extracted: Extracted { records, sent } } => {
                let effects = self.decide(present, |rules, world| {
                    rules.extracted(&line, records.into(), sent, world)
                });
                self.obey(effects, Arrived::new(), present);
            }
            Answer::Looked { from, give, batches, look } => {
                let line = give.line.clone();
                let arrived = arrived(&give.records, batches);
                let is_opened = self.decided_on(from, Message::Give(give), &look, arrived, present);
                if !is_opened && let Some(before_ms) = self.rules.open_before_ms(&line) {
                    self.order(&line.destination, LineOrder::Open { slot: line.slot, before_ms });
                }
            }
            Answer::Read { to, give, found } => {
                let named = found.into_iter().map(|record| (record.name, record.batch));
                let mut found: Arrived = named.collect();
                let batches =
                    give.records.iter().map(|record| found.remove(&record.name)).collect();
                self.letters.push((to, Letter::Handoff { message: Message::Give(give), batches }));
            }
            Answer::Stored { line, names, to, answer, is_stored } => {
                if is_stored {
                    self.send(to, answer);
                } else {
                    // It is offered again, and shall not be taken for known then.
                    self.rules.not_stored(&line, &names);
                }
                self.is_unsaved |= !names.is_empty();
            }
        }
    }

    /// Nothing is on its way between here and the outbox or the peers.
    pub(super) fn is_idle(&self) -> bool {
        self.rules.unfinished() == 0 && self.answers.is_empty() && self.letters.is_empty()
    }

    pub(super) fn take_seals(&mut self) -> Vec<(Slot, i64)> {
        std::mem::take(&mut self.seals)
    }

    pub(super) fn take_letters(&mut self) -> Vec<(NodeId, Letter)> {
        std::mem::take(&mut self.letters)
    }

    pub(super) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// What is to be kept on disk, where that has changed.
    pub(super) fn take_unsaved(&mut self) -> Option<Vec<(Line, Saved)>> {
        let is_unsaved = std::mem::take(&mut self.is_unsaved);
        is_unsaved.then(|| self.rules.all_saved().map(|(l, s)| (l.clone(), s.clone())).collect())
    }

    /// Gives the destinations their orders.
    pub(super) async fn flush(&mut self) {
        for (destination, orders) in std::mem::take(&mut self.orders) {
            // One that is gone needs none.
            self.outbox.order(&destination, orders).await;
        }
    }

    /// Whether the line was opened.
    fn decided_on(
        &mut self,
        from: NodeId,
        message: Message,
        look: &Look,
        arrived: Arrived,
        present: &Present,
    ) -> bool {
        let newest: BTreeMap<_, _> =
            look.sent.iter().map(|Sent { stream, newest_ms }| (*stream, *newest_ms)).collect();
        let sent_ms = |record: &Record| newest.get(&record.stream).copied();
        let Look { has_room, has_reserve, window_ms, .. } = *look;
        let outlook = Outlook { has_room, has_reserve, window_ms, sent_ms: &sent_ms };
        let effects =
            self.decide(present, |rules, world| rules.heard(from, message, &outlook, world));
        let is_opened = effects.iter().any(|effect| matches!(effect, Effect::Open { .. }));
        self.obey(effects, arrived, present);
        is_opened
    }

    fn decide<T>(
        &mut self,
        present: &Present,
        act: impl FnOnce(&mut Handoff, &World<'_>) -> T,
    ) -> T {
        let owner = |slot| present.table.owner(slot);
        let world = World { now_ms: present.now_ms, roster: &present.roster, owner: &owner };
        act(&mut self.rules, &world)
    }

    fn obey(&mut self, effects: Vec<Effect>, mut arrived: Arrived, present: &Present) {
        for effect in effects {
            match effect {
                Effect::Seal { slot, until_ms } => {
                    for destination in self.outbox.destinations() {
                        self.order(&destination, LineOrder::Close { slot });
                    }
                    self.seals.push((slot, until_ms));
                }
                Effect::Extract { line } => self.extract(line),
                Effect::PutBack { line } => {
                    self.order(&line.destination, LineOrder::PutBack { slot: line.slot });
                }
                Effect::Send { to, message: Message::Give(give) } => self.give(to, give),
                Effect::Send { to, message } => self.send(to, message),
                Effect::Bury { line, names } => {
                    self.is_unsaved = true;
                    self.tally.handed_over_records += names.len() as u64;
                    self.order(&line.destination, LineOrder::Bury { slot: line.slot, names });
                }
                Effect::Store { line, records, late, gone, sent, to, answer } => {
                    let late_samples = late.iter().filter_map(|name| arrived.get(name));
                    let late_samples = late_samples.map(|batch| u64::from(batch.samples)).sum();
                    self.tally.late_records += late.len() as u64;
                    let records: Vec<_> = records
                        .into_iter()
                        .filter_map(|name| Some((name, arrived.remove(&name)?)))
                        .collect();
                    let stored = Stored { records, late_samples, gone, sent };
                    self.store(line, stored, to, answer);
                }
                Effect::Open { line, before_ms } => {
                    self.order(&line.destination, LineOrder::Open { slot: line.slot, before_ms });
                    if !self.rules.is_waiting(&line) {
                        self.tally.ended.push(line);
                    }
                }
                Effect::Bet { line, on, why } => {
                    self.tally.bets += 1;
                    let slot = line.slot.number();
                    debug!(slot, destination = %line.destination, member_id = %on, reason = ?why, at_ms = present.now_ms,
                        "a line goes on without what its former owner may still have");
                }
                Effect::Given { line } => {
                    self.order(&line.destination, LineOrder::Forget { slot: line.slot });
                    self.tally.ended.push(line);
                }
                Effect::Refused { line, by, records, why } => {
                    let slot = line.slot.number();
                    warn!(slot, destination = %line.destination, member_id = %by, records, reason = ?why,
                        "a hand-over was refused, its records stay on this disk until they are taken");
                    self.tally.refused.push(Refused { line, by, records, why });
                }
            }
        }
    }

    fn extract(&mut self, line: Line) {
        let (answer, answered) = oneshot::channel();
        self.order(&line.destination, LineOrder::Extract { slot: line.slot, answer });
        self.expect(answered, move |extracted| Answer::Extracted { line, extracted });
    }

    fn give(&mut self, to: NodeId, give: Give) {
        if give.records.is_empty() {
            self.send(to, Message::Give(give));
            return;
        }
        let (answer, answered) = oneshot::channel();
        let names = give.records.iter().map(|record| record.name).collect();
        let line = give.line.clone();
        self.order(&line.destination, LineOrder::Read { slot: line.slot, names, answer });
        self.expect(answered, move |found| Answer::Read { to, give, found });
    }

    fn store(&mut self, line: Line, stored: Stored, to: NodeId, message: Message) {
        self.tally.taken_records += stored.records.len() as u64;
        if stored == Stored::default() {
            self.send(to, message);
            return;
        }
        let names: Vec<RecordName> = stored.records.iter().map(|(name, _)| *name).collect();
        let (answer, answered) = oneshot::channel();
        let (destination, slot) = (Arc::clone(&line.destination), line.slot);
        self.order(&destination, LineOrder::Store { slot, stored, answer });
        self.expect(answered, move |is_stored| Answer::Stored {
            line,
            names,
            to,
            answer: message,
            is_stored,
        });
    }

    fn send(&mut self, to: NodeId, message: Message) {
        self.letters.push((to, Letter::Handoff { message, batches: Vec::new() }));
    }

    fn order(&mut self, destination: &Arc<str>, order: LineOrder) {
        self.orders.entry(Arc::clone(destination)).or_default().push(order);
    }

    fn expect<T: Send + 'static>(
        &mut self,
        answered: oneshot::Receiver<T>,
        form: impl FnOnce(T) -> Answer + Send + 'static,
    ) {
        self.answers.push(Box::pin(async move { answered.await.ok().map(form) }));
    }
}

fn arrived(records: &[Record], batches: Vec<Option<Batch>>) -> Arrived {
    let named = records.iter().map(|record| record.name).zip(batches);
    named.filter_map(|(name, batch)| Some((name, batch?))).collect()
}
