//! How a slot changes hands: the old owner gives what it has not sent, the new one holds its own
//! samples until it has taken that, so that a destination sees each series in order. Pure.
//!
//! Order is kept in lines: what one slot has for one destination. The unsent records of a line are
//! sorted by their names, first by the interval: the instant from which whoever made them owned the
//! slot. Only those of intervals before the line's fence are sent. While several old owners may have
//! something, the fence is closed, and what arrives in whatever order falls into its place; while it
//! is one, who gives in order, its records are sent as they come; when all have said that they have
//! no more, the fence opens. Messages may be lost, doubled or late: the giver offers again until it
//! has an answer, the taker knows each record by its name, and a taker that hears nothing asks.

mod give;
mod message;
mod take;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

pub use crate::ownership::handoff::{
    message::{Answer, Ask, Give, Line, Message, Names, Verdict},
    take::Saved,
};
use crate::{
    model::{
        member::{Member, MemberState, NodeId, Roster},
        record::{Record, RecordName, Sent},
        slot::Slot,
    },
    ownership::{
        assign::Previous,
        handoff::{give::Giver, take::Taker},
    },
};

#[derive(Clone, Debug)]
pub struct Settings {
    pub me: NodeId,
    /// So long a fence stays closed while its destination accepts; then the order is given up.
    pub fence_ms_max: i64,
    /// Of one message; what is more follows in the next.
    pub part_records_max: usize,
    pub part_bytes_max: u64,
}

/// What is known at the moment of an event.
pub struct World<'a> {
    pub now_ms: i64,
    pub roster: &'a Roster,
    /// The owner of a slot now.
    pub owner: &'a dyn Fn(Slot) -> Option<NodeId>,
}

impl World<'_> {
    fn is_dead(&self, node: NodeId) -> bool {
        self.roster.members.get(&node).is_none_or(|member| member.state == MemberState::Dead)
    }

    /// It has handed over what it had.
    fn has_left(&self, node: NodeId) -> bool {
        let has_left = |member: &Member| member.state == MemberState::Left;
        self.roster.members.get(&node).is_some_and(has_left)
    }
}

/// The newest instant that was sent of a record's stream, if any was.
pub type SentMs<'a> = &'a dyn Fn(&Record) -> Option<i64>;

/// What the outbox has to say about a message that brings records.
pub struct Outlook<'a> {
    pub has_room: bool,
    /// A part of a hand-over still fits into what the outbox keeps free for givers whom a closed line
    /// waits for, when its own samples, the held ones among them, have filled the rest. Without it a
    /// taker could be too full for the very records that would let its hold leave, and only the end
    /// of the fence's time would free it.
    pub has_reserve: bool,
    /// How much older than the newest a sample may be that the destination still takes.
    pub window_ms: i64,
    /// The newest instant of a stream that the destination has, or may have, from here or by word of
    /// those before.
    pub sent_ms: SentMs<'a>,
}

/// The outbox does these in this order. With `Seal`, `Bury`, `Given`, `Store` and `Open` the shell
/// also writes to disk what `Handoff::saved` says of the lines, before anything is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Let scrapes of ticks before `until_ms` end; then say `sealed`.
    Seal {
        slot: Slot,
        until_ms: i64,
    },
    /// Let the request under way come to its end, make no other, set aside what is left, and say
    /// what it is: `extracted`.
    Extract {
        line: Line,
    },
    /// What was set aside, or was to be, is to be sent from here after all.
    PutBack {
        line: Line,
    },
    Send {
        to: NodeId,
        message: Message,
    },
    /// Write on disk that these were handed over, then delete them.
    Bury {
        line: Line,
        names: Vec<RecordName>,
    },
    /// Write these to disk, each into its place, unless one of its name is there; then answer. What
    /// is `late` is not written but counted as lost. What is `gone` was sent by another: delete it
    /// if it is there. And what is there of the streams in `sent`, and too old beside them, is late.
    Store {
        line: Line,
        records: Vec<RecordName>,
        late: Vec<RecordName>,
        gone: Vec<RecordName>,
        sent: Vec<Sent>,
        to: NodeId,
        answer: Message,
    },
    /// Records of intervals before `before_ms` may be sent; others are held. Until it is said of a
    /// line, all of it is held.
    Open {
        line: Line,
        before_ms: i64,
    },
    /// The order within the line was given up.
    Bet {
        line: Line,
        on: NodeId,
        why: Bet,
    },
    /// All of the line was given.
    Given {
        line: Line,
    },
    /// It stays on this disk until it is taken; to be named.
    Refused {
        line: Line,
        by: NodeId,
        records: usize,
        why: Verdict,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bet {
    /// The old owner is dead, and so may be who had it before: what they had may come later, or never.
    Death,
    /// The old owner gave nothing for `fence_ms_max`, or there was no room for it.
    Timeout,
}

/// Both sides of one member.
#[derive(Debug)]
pub struct Handoff {
    destinations: Vec<Arc<str>>,
    giver: Giver,
    taker: Taker,
}

impl Handoff {
    /// `saved` is what was written with `Effect::Store` and `Effect::Open` before a restart.
    pub fn new(
        settings: &Settings,
        destinations: Vec<Arc<str>>,
        saved: BTreeMap<Line, Saved>,
    ) -> Self {
        let mut taker = Taker::new(settings, saved);
        taker.keep_destinations(&destinations);
        Self { destinations, giver: Giver::new(settings), taker }
    }

    /// The destinations are these from now on, of all slots that are `mine`, and since when each is.
    /// Of new ones no one has anything yet, so that their lines open at once; what was to be given or
    /// taken for those that are gone is forgotten with their queues.
    pub fn set_destinations(
        &mut self,
        destinations: Vec<Arc<str>>,
        mine: &[(Slot, i64)],
    ) -> Vec<Effect> {
        self.giver.keep_destinations(&destinations);
        self.taker.keep_destinations(&destinations);
        let before = std::mem::replace(&mut self.destinations, destinations);
        let mut effects = Vec::new();
        for destination in self.destinations.iter().filter(|new| !before.contains(new)) {
            for &(slot, from_ms) in mine {
                let line = Line { slot, destination: Arc::clone(destination) };
                self.taker.began(&line, from_ms, &mut effects);
            }
        }
        effects
    }

    /// The slot is mine since `from_ms`; `previous` had it of late, the latest first.
    pub fn gained(
        &mut self,
        slot: Slot,
        from_ms: i64,
        previous: &[Previous],
        world: &World<'_>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        for line in self.lines(slot) {
            let cancelled = self.giver.cancel(&line);
            let put_back = cancelled.is_some().then(|| Effect::PutBack { line: line.clone() });
            self.taker.gained(&line, from_ms, previous, cancelled, world, &mut effects);
            effects.extend(put_back);
        }
        effects
    }

    /// The slot was mine until `until_ms`.
    pub fn lost(&mut self, slot: Slot, until_ms: i64) -> Vec<Effect> {
        for line in self.lines(slot) {
            let awaits = self.taker.lost(&line);
            self.giver.begin(line, until_ms, awaits);
        }
        vec![Effect::Seal { slot, until_ms }]
    }

    /// No more samples of the slot will come from this member's scrapes.
    pub fn sealed(&mut self, slot: Slot) -> Vec<Effect> {
        self.lines(slot).into_iter().filter_map(|line| self.giver.sealed(line)).collect()
    }

    /// A line that is on this disk, or of which something was saved, though its slot is another's: to
    /// be said of each after a restart or a heal.
    pub fn left_over(&mut self, line: Line, until_ms: i64) -> Effect {
        let awaits = self.taker.lost(&line);
        self.giver.left_over(line, until_ms, awaits)
    }

    /// What the outbox still has of a line, sorted by name, and what it has sent.
    pub fn extracted(
        &mut self,
        line: &Line,
        records: VecDeque<Record>,
        sent: Vec<Sent>,
        world: &World<'_>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let names = self.taker.names(line);
        self.giver.extracted(line, records, names, sent, world, &mut effects);
        effects
    }

    pub fn heard(
        &mut self,
        from: NodeId,
        message: Message,
        outlook: &Outlook<'_>,
        world: &World<'_>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        match message {
            Message::Give(give) => {
                let is_known = self.destinations.contains(&give.line.destination);
                let outlook = is_known.then_some(outlook);
                self.taker.given(from, give, outlook, world, &mut effects);
            }
            Message::Ask(Ask { line, until_ms }) => {
                // What is still mine here will be lost, and sealed, before it is given.
                if !self.taker.is_mine(&line) {
                    effects.extend(self.giver.ask(&line, until_ms, world.now_ms));
                }
            }
            Message::Answer(answer) => {
                self.giver.answered(from, &answer, world, &mut effects);
                for effect in &effects {
                    if let Effect::Bury { line, names } = effect {
                        self.taker.forget(line, names);
                    } else if let Effect::Given { line } = effect {
                        self.taker.passed_on(line);
                    }
                }
            }
        }
        effects
    }

    /// To be called when a member dies, and every half second or so; `accepts` tells whether a
    /// destination takes what it is sent.
    pub fn tick(&mut self, accepts: &dyn Fn(&str) -> bool, world: &World<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.taker.tick(accepts, world, &mut effects);
        self.giver.tick(world, &mut effects);
        effects
    }

    /// What must survive a restart, if anything: of a line that changed hands in the last minutes.
    pub fn saved(&self, line: &Line) -> Option<&Saved> {
        self.taker.saved(line)
    }

    /// All of that, so that the shell may keep it in one file. A line of which nothing is remembered
    /// is asked about after a restart only if its slot was gained just then, and opens at once
    /// otherwise; so the lines of slots that rest are not in it.
    pub fn all_saved(&self) -> impl Iterator<Item = (&Line, &Saved)> {
        self.taker.all_saved()
    }

    /// What `Effect::Store` was to write is not on disk: offered again, it is taken again.
    pub fn not_stored(&mut self, line: &Line, names: &[RecordName]) {
        self.taker.forget(line, names);
    }

    /// These are here, though nobody gave them: should their maker come back and offer them, they are
    /// known. `false` where the line is another's, who is to be offered them.
    pub fn inherited(&mut self, line: &Line, names: &[RecordName], now_ms: i64) -> bool {
        self.taker.inherited(line, names, now_ms)
    }

    /// How far a line is open, where its slot is mine: as the last `Effect::Open` of it said.
    pub fn open_before_ms(&self, line: &Line) -> Option<i64> {
        self.taker.open_before_ms(line)
    }

    /// Whether the line waits for what somebody else may have of it.
    pub fn is_waiting(&self, line: &Line) -> bool {
        self.taker.is_waiting(line)
    }

    pub fn is_giving(&self, line: &Line) -> bool {
        self.giver.has(line)
    }

    /// Lines that are still to be given: a member that leaves goes when there are none.
    pub fn unfinished(&self) -> usize {
        self.giver.len()
    }

    /// Lines whose fence is closed.
    pub fn closed(&self) -> usize {
        self.taker.closed()
    }

    fn lines(&self, slot: Slot) -> Vec<Line> {
        let line = |destination: &Arc<str>| Line { slot, destination: Arc::clone(destination) };
        self.destinations.iter().map(line).collect()
    }
}

#[cfg(test)]
pub(crate) mod simulation;
#[cfg(test)]
mod tests;
