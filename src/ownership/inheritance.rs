//! Copies of what others have accepted, that lie in this member's outbox for the case that they die:
//! when they are a dead member's, and so to be sent from here, or no use any more. Pure.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    model::member::{MemberState, NodeId, Roster},
    outbox::lines::{Heirloom, Inherited},
};

/// How often destinations are told, also when nobody has died: a copy may have come late.
const TELL_MS: i64 = 1_000;
/// Dead members whose copies are known to be this member's own; the oldest go first.
const KEPT_MAX: usize = 256;

/// A member was dead when a destination's last record had this number.
pub(super) type Death = (Arc<str>, NodeId, u64);

#[derive(Debug, Default)]
pub(super) struct Inheritance {
    told: Option<(i64, BTreeSet<NodeId>)>,
    deaths: Vec<Death>,
    is_unsaved: bool,
}

impl Inheritance {
    /// `deaths` is what was kept on disk.
    pub(super) fn new(deaths: Vec<Death>) -> Self {
        Self { deaths, ..Self::default() }
    }

    /// Whether the destinations are to be told now who lives: before any line opens for a death.
    pub(super) fn is_due(&mut self, roster: &Roster, now_ms: i64) -> bool {
        let living = living(roster);
        let is_told = self.told.as_ref().is_some_and(|(told_ms, told)| {
            *told == living && (0..TELL_MS).contains(&(now_ms - told_ms))
        });
        if !is_told {
            self.told = Some((now_ms, living));
        }
        !is_told
    }

    pub(super) fn heirloom(&self, destination: &str, roster: &Roster) -> Heirloom {
        let members = roster.members.values();
        let left = members.filter(|member| member.state == MemberState::Left);
        let own = self.deaths.iter().filter(|(name, ..)| **name == *destination);
        Heirloom {
            living: living(roster),
            left: left.map(|member| member.id).collect(),
            were_dead: own.map(|(_, node, last)| (*node, *last)).collect(),
        }
    }

    /// A member that comes back takes back none of these: others may have been told that they are kept.
    pub(super) fn inherited(&mut self, destination: &Arc<str>, inherited: &Inherited) {
        for owner in &inherited.dead {
            self.deaths.retain(|(name, node, _)| (name, node) != (destination, owner));
            self.deaths.push((Arc::clone(destination), *owner, inherited.last));
            self.is_unsaved = true;
        }
        let excess = self.deaths.len().saturating_sub(KEPT_MAX);
        self.deaths.drain(..excess);
    }

    /// What is to be kept on disk, where that has changed.
    pub(super) fn take_unsaved(&mut self) -> Option<&[Death]> {
        std::mem::take(&mut self.is_unsaved).then_some(&*self.deaths)
    }
}

fn living(roster: &Roster) -> BTreeSet<NodeId> {
    let lives = |state: MemberState| match state {
        MemberState::Alive | MemberState::Suspect => true,
        MemberState::Left | MemberState::Dead => false,
    };
    roster.members.values().filter(|member| lives(member.state)).map(|member| member.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::member::Member;

    fn roster(states: &[MemberState]) -> Roster {
        let member = |(id, state): (u128, &MemberState)| Member {
            id: NodeId(id),
            name: id.to_string(),
            api_address: String::new(),
            weight: 100,
            zone: String::new(),
            state: *state,
            intervals: Vec::new(),
        };
        let members = (1..).zip(states).map(member).map(|member| (member.id, member));
        Roster { members: members.collect(), version: 1 }
    }

    #[test]
    fn a_death_is_told_at_once_and_all_else_now_and_then() {
        use MemberState::{Alive, Dead, Suspect};
        let mut inheritance = Inheritance::default();
        let mut check = |states: &[MemberState], now_ms, expected| {
            assert_eq!(inheritance.is_due(&roster(states), now_ms), expected, "at {now_ms}");
        };
        check(&[Alive, Alive], 0, true);
        check(&[Alive, Suspect], 500, false);
        check(&[Alive, Dead], 501, true);
        check(&[Alive, Dead], 502, false);
        check(&[Alive, Dead], 1_501, true);
        check(&[Alive, Dead], 3, true);
    }

    #[test]
    fn who_was_dead_once_is_remembered_by_destination() {
        use MemberState::{Alive, Left};
        let inherited = |dead: &[u128], last| {
            let dead = dead.iter().map(|node| NodeId(*node)).collect();
            Inherited { names: Vec::new(), dead, last }
        };
        let mut inheritance = Inheritance::default();
        inheritance.inherited(&"a".into(), &inherited(&[], 5));
        assert_eq!(inheritance.take_unsaved(), None);
        inheritance.inherited(&"a".into(), &inherited(&[2], 5));
        inheritance.inherited(&"a".into(), &inherited(&[2, 3], 9));
        inheritance.inherited(&"b".into(), &inherited(&[2], 1));
        let deaths = inheritance.take_unsaved().unwrap().to_vec();
        assert_eq!(inheritance.take_unsaved(), None);

        let heirloom = Inheritance::new(deaths).heirloom("a", &roster(&[Alive, Left]));
        assert_eq!(heirloom.living, BTreeSet::from([NodeId(1)]));
        assert_eq!(heirloom.left, BTreeSet::from([NodeId(2)]));
        assert_eq!(heirloom.were_dead, [(NodeId(2), 9), (NodeId(3), 9)]);
    }
}
