//! What ownership shows of itself: plain values, filled by its shell and published by a watch.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::{
    model::{
        member::{NodeId, Roster},
        overrides::{Overrides, Stamp},
        slot::SLOTS,
    },
    ownership::{
        balance,
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
    /// Whether this member works, or was told to give up its share and stay.
    pub drain: Drain,
    /// Of the overrides that are in force, or soon will be.
    pub overrides: Option<Stamp>,
    /// The overrides themselves: with the roster, all that owners follow from.
    pub placed: Overrides,
    /// How many slots they name.
    pub overridden: usize,
    /// How often since the start two maps of them met of which neither followed the other.
    pub override_conflicts: u64,
}

/// What became of an order to give up this member's share and stay up. It is not kept: a member that
/// is started again works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drain {
    #[default]
    Working,
    /// Its share ends, or what it had of it is on its way to the new owners.
    Draining,
    /// The others have all that it had.
    Drained,
}

impl Drain {
    /// The name under which it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Draining => "draining",
            Self::Drained => "drained",
        }
    }
}

/// Who has which slot.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// When this member saw it so for the first time.
    pub since_ms: i64,
    /// `None` while the fleet is not yet met.
    pub table: Option<Arc<Table>>,
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
    /// Targets that went away, and of which the next owner has not yet noted what is known.
    pub passing: usize,
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
    /// Who has what, and how evenly. `told` has the samples per second of each member that has told.
    pub fn weigh(&mut self, owners: &Table, roster: &Roster, told: &BTreeMap<NodeId, f64>) {
        let share = |(id, slots): (NodeId, usize)| {
            #[expect(clippy::cast_precision_loss, reason = "there are 4,096 slots")]
            let part = slots as f64 / f64::from(SLOTS);
            (id, Share { slots, part, samples_per_second: told.get(&id).copied() })
        };
        self.shares = owners.counts().into_iter().map(share).collect();
        let slots = self.shares.iter().map(|(id, share)| (*id, share.part)).collect();
        let busy = self.shares.iter().map(|(id, share)| {
            let idle = (share.slots == 0).then_some(0.0);
            Some((*id, share.samples_per_second.or(idle)?))
        });
        let busy: Option<BTreeMap<NodeId, f64>> = busy.collect();
        self.imbalance = Imbalance {
            by_slots: balance::imbalance(&slots, roster),
            by_samples: busy.map(|busy| balance::imbalance(&busy, roster)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        member::{Interval, Member, MemberState},
        overrides::Overrides,
        slot::Slot,
    };

    fn roster(weights: &[u32]) -> Roster {
        let member = |(id, weight): (u128, &u32)| Member {
            id: NodeId(id),
            name: format!("n{id}"),
            api_address: String::new(),
            weight: *weight,
            zone: String::new(),
            state: MemberState::Alive,
            intervals: vec![Interval { from_ms: 0, until_ms: None }],
        };
        let members = (1..).zip(weights).map(member);
        Roster { members: members.map(|m| (m.id, m)).collect(), version: 0 }
    }

    fn weighed(weights: &[u32], told: &[(u128, f64)]) -> View {
        let roster = roster(weights);
        let owners = Table::new(0, &roster, &Overrides::default());
        let told = told.iter().map(|&(id, load)| (NodeId(id), load)).collect();
        let mut view = View::default();
        view.weigh(&owners, &roster, &told);
        view
    }

    #[test]
    fn shares_add_up_to_all() {
        let view = weighed(&[100, 300, 0], &[]);
        let slots: Vec<usize> = view.shares.values().map(|share| share.slots).collect();
        assert_eq!(slots.iter().sum::<usize>(), usize::from(SLOTS));
        assert!((900..1150).contains(&slots[0]) && view.shares.len() == 2, "{slots:?}");
        assert!((view.shares.values().map(|s| s.part).sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((1.0..1.1).contains(&view.imbalance.by_slots), "{view:?}");
        assert_eq!(view.imbalance.by_samples, None);
    }

    #[test]
    fn samples_are_known_where_they_were_told() {
        let view = weighed(&[100, 100], &[(1, 2.0)]);
        let busy = |id| view.shares[&NodeId(id)].samples_per_second;
        assert_eq!((busy(1), busy(2), view.imbalance.by_samples), (Some(2.0), None, None));

        // One is three times as busy: it has 1.5 of what it should.
        let view = weighed(&[100, 100], &[(1, 6.0), (2, 2.0)]);
        assert_eq!(view.imbalance.by_samples, Some(1.5));
        // Three times as busy, as it should be; and one that has left has told as well.
        let view = weighed(&[300, 100], &[(1, 6.0), (2, 2.0), (3, 9.0)]);
        assert_eq!(view.imbalance.by_samples, Some(1.0));
        let idle = weighed(&[100, 100], &[(1, 0.0), (2, 0.0)]);
        assert_eq!(idle.imbalance.by_samples, Some(1.0));
    }

    #[test]
    fn late_news_of_one_instant_is_late_once() {
        let mut view = View::default();
        let one = |number, at_ms, why, is_late| Move {
            slot: Slot::new(number).unwrap(),
            at_ms,
            from: Some(NodeId(1)),
            to: Some(NodeId(2)),
            why,
            is_late,
        };
        view.moved(&[
            one(1, 10, Why::Join, true),
            one(2, 10, Why::Join, true),
            one(3, 20, Why::Join, true),
            one(4, 30, Why::Death, false),
        ]);
        assert_eq!(view.moves, [("death", 1), ("join", 3)].into());
        assert_eq!(view.late_fences, 2);
    }

    #[test]
    fn refused_lines_are_named_up_to_a_bound_until_they_are_settled() {
        let line = |number| Line { slot: Slot::new(number).unwrap(), destination: "far".into() };
        let refuse = |number, records| Refused {
            line: line(number),
            by: NodeId(2),
            records,
            why: Verdict::NoRoom,
        };
        let mut found = HandOver::default();
        for number in 0..100 {
            found.refused(refuse(number, 1));
        }
        found.refused(refuse(0, 5));
        assert_eq!((found.refused.len(), found.refused_unnamed), (REFUSED_MAX, 36));
        assert_eq!(found.refused[0].records, 5);
        (0..64).for_each(|number| found.settled(&line(number)));
        assert_eq!((found.refused.len(), found.refused_unnamed), (0, 0));
    }

    #[test]
    fn only_the_latest_spans_are_kept() {
        let mut spans = Spans::default();
        assert_eq!((spans.last_ms(), spans.longest_ms()), (None, None));
        (0..1000).rev().for_each(|ms| spans.add(ms));
        assert_eq!((spans.last_ms(), spans.longest_ms()), (Some(0), Some(255)));
    }

    #[test]
    fn a_quorum_counts_who_is_here() {
        let base = Base::of([NodeId(1), NodeId(2), NodeId(9)]);
        let found = Quorum::of(&base, &roster(&[100, 100]));
        assert_eq!((found.here, found.holds, found.base.len()), (2, true, 3));
        let found = Quorum::of(&base, &roster(&[100]));
        assert_eq!((found.here, found.holds), (1, false));
    }
}
