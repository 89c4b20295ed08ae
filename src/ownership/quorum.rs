//! Whether this side of a split may go on, for `on_partition: minority_stops`. Pure.
//!
//! The base is the set of members that a majority is counted over. It is not "whoever is alive":
//! it changes only by joins, planned leaves, an operator's word, or a death that has lasted, and
//! only while this side has the majority, so that a minority can't shrink it until it is one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fleet::notice::Minority;
use crate::model::member::{Member, MemberState, NodeId, Roster};

/// A death that a majority has seen for so long is a member that will not come back.
const DEAD_MS_MAX: i64 = 3_600_000;

/// Kept on disk, and shown to joiners: a member that starts alone must know how many it was one of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// And since when this side has, with a majority, seen each one dead.
    members: BTreeMap<NodeId, Option<i64>>,
}

impl Base {
    pub fn of(members: impl IntoIterator<Item = NodeId>) -> Self {
        Self { members: members.into_iter().map(|id| (id, None)).collect() }
    }

    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        self.members.keys().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether this side goes on: more than half of the base is on it, or exactly half with the
    /// lowest id among them. A base of nobody has nothing to lose, so that a first start goes on.
    pub fn holds(&self, roster: &Roster) -> bool {
        match (2 * self.here(roster)).cmp(&self.members.len()) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => {
                self.members.keys().next().is_none_or(|id| is_member_here(roster, *id))
            }
            std::cmp::Ordering::Less => false,
        }
    }

    /// How many of the base are on this side.
    pub fn here(&self, roster: &Roster) -> usize {
        self.members.keys().filter(|id| is_member_here(roster, **id)).count()
    }

    /// What is to be said of this side, where it does not go on.
    pub fn minority(&self, roster: &Roster) -> Option<Minority> {
        let here = self.here(roster);
        (!self.holds(roster)).then_some(Minority { here, base: self.members.len() })
    }

    /// Takes in what the roster shows; to be called at each change of it and once a minute. Who
    /// leaves by plan is still counted while it does, so that one of two may go in peace.
    pub fn observe(&mut self, roster: &Roster, now_ms: i64) {
        if !self.holds(roster) {
            // Time that passes without a majority is nobody's evidence.
            self.members.values_mut().for_each(|dead_since| *dead_since = None);
            return;
        }
        self.members.retain(|id, dead_since| match roster.members.get(id).map(|m| m.state) {
            Some(MemberState::Alive | MemberState::Suspect) => {
                *dead_since = None;
                true
            }
            Some(MemberState::Left) => false,
            // One that nobody speaks of any more is as good as dead.
            Some(MemberState::Dead) | None => {
                now_ms - *dead_since.get_or_insert(now_ms) < DEAD_MS_MAX
            }
        });
        let joined = roster.members.values().filter(|member| has_joined(member));
        for member in joined {
            self.members.entry(member.id).or_default();
        }
    }

    /// `starling forget NODE`: works without a majority, as it is a person's word.
    pub fn forget(&mut self, node: NodeId) {
        self.members.remove(&node);
    }

    /// What a joiner takes over from the fleet it meets; its own memory, if any, is older.
    pub fn adopt(&mut self, heard: Self) {
        *self = heard;
    }
}

fn is_member_here(roster: &Roster, id: NodeId) -> bool {
    roster.members.get(&id).is_some_and(is_here)
}

fn is_here(member: &Member) -> bool {
    match member.state {
        MemberState::Alive | MemberState::Suspect | MemberState::Left => true,
        MemberState::Dead => false,
    }
}

/// One that only waits to take part is no voice yet.
fn has_joined(member: &Member) -> bool {
    let alive = match member.state {
        MemberState::Alive | MemberState::Suspect => true,
        MemberState::Left | MemberState::Dead => false,
    };
    alive && !member.intervals.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::member::Interval;

    /// `a` alive, `s` suspect, `l` left, `d` dead, `w` waiting to take part; ids from 1 on.
    fn roster(states: &str) -> Roster {
        let member = |(n, c)| Member {
            id: NodeId(n),
            name: format!("n{n}"),
            api_address: String::new(),
            weight: 100,
            zone: String::new(),
            state: match c {
                's' => MemberState::Suspect,
                'l' => MemberState::Left,
                'd' => MemberState::Dead,
                _ => MemberState::Alive,
            },
            intervals: match c {
                'w' => vec![],
                _ => vec![Interval { from_ms: 0, until_ms: None }],
            },
        };
        let members = (1..).zip(states.chars()).filter(|(_, c)| *c != '.').map(member);
        Roster { members: members.map(|m| (m.id, m)).collect(), version: 0 }
    }

    fn base(ids: &[u128]) -> Base {
        Base::of(ids.iter().map(|id| NodeId(*id)))
    }

    #[test]
    fn more_than_half_or_half_with_the_lowest() {
        let check = |ids: &[u128], states, expected| {
            assert_eq!(base(ids).holds(&roster(states)), expected, "{ids:?} {states}");
        };
        check(&[], "a", true);
        check(&[1], "a", true);
        check(&[1, 2], "ad", true);
        check(&[1, 2], "da", false);
        check(&[1, 2, 3], "aad", true);
        check(&[1, 2, 3], "asd", true);
        check(&[1, 2, 3], "add", false);
        check(&[1, 2, 3, 4], "ddaa", false);
        check(&[1, 2, 3, 4], "adda", true);
        // Unheard of is not here; newcomers are not in the base.
        check(&[1, 2, 3], "a..aa", false);
    }

    #[test]
    fn the_base_changes_only_while_it_holds() {
        let check = |ids: &[u128], states, expected: &[u128]| {
            let mut found = base(ids);
            found.observe(&roster(states), 0);
            assert_eq!(found.members().map(|id| id.0).collect::<Vec<_>>(), expected, "{states}");
        };
        check(&[], "aaw", &[1, 2]);
        check(&[1, 2], "aaa", &[1, 2, 3]);
        check(&[1, 2], "al", &[1]);
        check(&[1, 2], "la", &[2]);
        check(&[1, 2, 3], "aad", &[1, 2, 3]);
        // A minority neither grows nor shrinks it.
        check(&[1, 2, 3, 4, 5], "dddaaaaaa", &[1, 2, 3, 4, 5]);
        check(&[1, 2, 3, 4, 5], "dddal", &[1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_death_counts_after_an_hour_with_a_majority() {
        let mut found = base(&[1, 2, 3]);
        let mut check = |now_ms, states, members| {
            found.observe(&roster(states), now_ms);
            assert_eq!(found.members().count(), members, "at {now_ms}");
        };
        check(0, "aad", 3);
        check(DEAD_MS_MAX - 1, "aad", 3);
        // The majority is lost for a moment: the hour begins anew.
        check(DEAD_MS_MAX, "add", 3);
        check(DEAD_MS_MAX + 1, "aad", 3);
        check(2 * DEAD_MS_MAX, "aad", 3);
        check(2 * DEAD_MS_MAX + 1, "aad", 2);
    }

    /// Whatever happens on two sides of a split, not both go on.
    #[test]
    fn two_sides_never_both_hold() {
        for members in 1..=7_u32 {
            for cut in 0..1_u32 << members {
                let side = |bit: u32| -> String {
                    let here = |n| if cut >> n & 1 == bit { 'a' } else { 'd' };
                    (0..members).map(here).collect()
                };
                let all: Vec<u128> = (1..=u128::from(members)).collect();
                let (mut one, mut other) = (base(&all), base(&all));
                // Newcomers on both sides, and each side's last one leaves by plan.
                for (side_base, states) in [(&mut one, side(0)), (&mut other, side(1))] {
                    side_base.observe(&roster(&format!("{states}aaaaaaaa")), 0);
                    let last = states.rfind('a').unwrap_or(0);
                    let mut left = states;
                    left.replace_range(last..=last, "l");
                    side_base.observe(&roster(&left), 1);
                }
                let holds = [one.holds(&roster(&side(0))), other.holds(&roster(&side(1)))];
                assert!(holds != [true, true], "{members} {cut:b}");
            }
        }
    }
}
