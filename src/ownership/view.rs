//! What ownership shows of itself: plain values, filled by its shell and published by a watch.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    model::{
        member::{NodeId, Roster},
        overrides::Stamp,
        slot::SLOTS,
    },
    ownership::{
        balance::{self, Loads},
        handoff::{Line, Verdict},
        moves::{Move, Why},
        placement::Table,
        quorum::Base,
    },
};

/// Refused lines that are named; more are counted only.
const REFUSED_MAX: usize = 64;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// What each member that takes part has now.
    pub shares: BTreeMap<NodeId, Share>,
    pub imbalance: Imbalance,
    /// Slots that changed owners since the start, by reason; all that this member heard of.
    pub moves: BTreeMap<&'static str, u64>,
    /// News of a change that came after its instant, since the start.
    pub late_fences: u64,
    pub hand_over: HandOver,
    /// From a moved target's last scrape to its next one, by whomever.
    pub gaps: Spans,
    /// Nothing divided is scraped or sent until told otherwise.
    pub on_hold: bool,
    /// Where `on_partition` is `minority_stops`.
    pub quorum: Option<Quorum>,
    /// Of the overrides that are in force, or soon will be.
    pub overrides: Option<Stamp>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    pub slots: usize,
    /// Of all slots; 1 is all of them.
    pub part: f64,
    /// `None` until this member has told how busy its slots are.
    pub samples_per_second: Option<f64>,
}

/// What the hottest member has, as a multiple of its fair share by weight: 1 is perfect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Imbalance {
    pub by_slots: f64,
    /// `None` until all that have slots have told how busy they are.
    pub by_samples: Option<f64>,
}

impl Default for Imbalance {
    fn default() -> Self {
        Self { by_slots: 1.0, by_samples: None }
    }
}

/// Lines are counted: one is what one slot has for one destination.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HandOver {
    /// Of slots that came here: their samples wait for what the old owners still have.
    pub taking: usize,
    /// Of slots that went away: what is unsent of them is not yet given.
    pub giving: usize,
    /// How long the one that waits longest has waited, where any does.
    pub longest_wait_ms: Option<i64>,
    /// From the loss of a line until all of it was given, or from its gain until it was opened.
    pub took: Spans,
    /// Lines that stay on this disk because another member does not take them, by name.
    pub refused: Vec<Refused>,
    /// Those that found no place in `refused`.
    pub refused_unnamed: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub line: Line,
    pub by: NodeId,
    pub records: usize,
    pub why: Verdict,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Quorum {
    /// The members that a majority is counted over.
    pub base: Vec<NodeId>,
    /// How many of them are on this side.
    pub here: usize,
    /// This side goes on.
    pub holds: bool,
}

impl Quorum {
    pub fn of(base: &Base, roster: &Roster) -> Self {
        Self { base: base.members().collect(), here: base.here(roster), holds: base.holds(roster) }
    }
}

impl View {
    /// Who has what, and how evenly. `vectors` has what members told of their slots' load, a byte
    /// a slot.
    pub fn weigh(&mut self, owners: &Table, roster: &Roster, vectors: &BTreeMap<NodeId, Vec<u8>>) {
        let loads = Loads::gather(owners, vectors);
        let mut busy: BTreeMap<NodeId, f64> = BTreeMap::new();
        for (slot, owner) in owners.iter() {
            if let Some(owner) = owner {
                *busy.entry(owner).or_default() += loads.of(slot);
            }
        }
        let knows =
            |id: &NodeId| vectors.get(id).is_some_and(|told| told.len() == usize::from(SLOTS));
        let share = |(id, slots): (NodeId, usize)| {
            #[expect(clippy::cast_precision_loss, reason = "there are 4,096 slots")]
            let part = slots as f64 / f64::from(SLOTS);
            let load = busy.get(&id).copied().unwrap_or(0.0);
            (id, Share { slots, part, samples_per_second: knows(&id).then_some(load) })
        };
        self.shares = owners.counts().into_iter().map(share).collect();
        let is_known = self.shares.iter().all(|(id, share)| share.slots == 0 || knows(id));
        let even = Loads::from_fn(|_| 1.0);
        self.imbalance = Imbalance {
            by_slots: balance::imbalance(owners, roster, &even),
            by_samples: is_known.then(|| balance::imbalance(owners, roster, &loads)),
        };
    }

    /// Slots have changed owners. News of one instant is late once, however many slots it moves.
    pub fn moved(&mut self, moves: &[Move]) {
        for one in moves {
            *self.moves.entry(one.why.name()).or_default() += 1;
        }
        let mut late: Vec<i64> = moves.iter().filter(|m| m.is_late).map(|m| m.at_ms).collect();
        late.sort_unstable();
        late.dedup();
        self.late_fences += late.len() as u64;
    }
}

impl HandOver {
    /// A line stays here because `by` does not take it.
    pub fn refused(&mut self, refused: Refused) {
        if let Some(known) = self.refused.iter_mut().find(|known| known.line == refused.line) {
            *known = refused;
        } else if self.refused.len() < REFUSED_MAX {
            self.refused.push(refused);
        } else {
            self.refused_unnamed += 1;
        }
    }

    /// A line that was refused is given, or is to be sent from here after all.
    pub fn settled(&mut self, line: &Line) {
        self.refused.retain(|known| known.line != *line);
        if self.refused.is_empty() {
            self.refused_unnamed = 0;
        }
    }
}

/// How long something took, of late.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spans(VecDeque<i64>);

impl Spans {
    /// Older ones are forgotten.
    const COUNT_MAX: usize = 256;

    pub fn add(&mut self, ms: i64) {
        if self.0.len() == Self::COUNT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(ms);
    }

    pub fn last_ms(&self) -> Option<i64> {
        self.0.back().copied()
    }

    pub fn longest_ms(&self) -> Option<i64> {
        self.0.iter().max().copied()
    }
}

impl Why {
    pub const ALL: [Self; 6] =
        [Self::Start, Self::Join, Self::Leave, Self::Death, Self::Balance, Self::Weight];

    /// The name under which it is counted and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Death => "death",
            Self::Balance => "balance",
            Self::Weight => "weight",
        }
    }
}

impl Verdict {
    /// The name under which it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::NotYet => "not_yet",
            Self::NotOwner => "not_owner",
            Self::NoRoom => "no_room",
            Self::NoDestination => "no_destination",
        }
    }
}
