//! Whether every divided target has exactly one owner: judged from what the members say of one
//! instant of fleet time. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{member::NodeId, overrides::Stamp, target::TargetName};

/// What one member says of the instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// What it truly scrapes of the divided targets.
    pub scrapes: Vec<TargetName>,
    pub config_digest: u64,
    /// Of what its discovery has found.
    pub targets_digest: u64,
    /// Who takes part, with their weights.
    pub roster: Vec<(NodeId, u32)>,
    /// Of the overrides that hold.
    pub overrides: Option<Stamp>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// How many divided targets there are, scraped or not.
    pub targets: usize,
    pub unowned: BTreeSet<TargetName>,
    pub doubled: BTreeMap<TargetName, Vec<NodeId>>,
    pub disagreements: Vec<Disagreement>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Disagreement {
    pub about: About,
    /// Who differs from most of those who answered.
    pub node: NodeId,
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    Config,
    Targets,
    Roster,
    Overrides,
}

impl About {
    /// The name under which it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Targets => "targets",
            Self::Roster => "roster",
            Self::Overrides => "overrides",
        }
    }
}

impl Judgement {
    pub fn is_faultless(&self) -> bool {
        self.unowned.is_empty() && self.doubled.is_empty() && self.disagreements.is_empty()
    }

    /// The faults that are in both: what the news of a change brings about for a moment is not.
    #[must_use]
    pub fn lasting(self, earlier: &Self) -> Self {
        let was = |one: &Disagreement| {
            earlier.disagreements.iter().any(|o| (o.about, o.node) == (one.about, one.node))
        };
        Self {
            targets: self.targets,
            unowned: self.unowned.intersection(&earlier.unowned).cloned().collect(),
            doubled: self
                .doubled
                .into_iter()
                .filter(|(name, _)| earlier.doubled.contains_key(name))
                .collect(),
            disagreements: self.disagreements.into_iter().filter(was).collect(),
        }
    }
}

/// `found`: all divided targets that the discovery of any of them has found.
pub fn judge(said: &BTreeMap<NodeId, Said>, found: &BTreeSet<TargetName>) -> Judgement {
    let mut by: BTreeMap<&TargetName, Vec<NodeId>> =
        found.iter().map(|name| (name, Vec::new())).collect();
    for (id, said) in said {
        for name in &said.scrapes {
            by.entry(name).or_default().push(*id);
        }
    }
    let unowned = by.iter().filter(|(_, owners)| owners.is_empty());
    let doubled = by.iter().filter(|(_, owners)| owners.len() > 1);
    Judgement {
        targets: by.len(),
        unowned: unowned.map(|(name, _)| (*name).clone()).collect(),
        doubled: doubled.map(|(name, owners)| ((*name).clone(), owners.clone())).collect(),
        disagreements: disagreements(said),
    }
}

fn disagreements(said: &BTreeMap<NodeId, Said>) -> Vec<Disagreement> {
    let mut found = Vec::new();
    let digest = |what: &str, theirs: u64, most: u64| {
        format!("its {what} has the digest {theirs:016x}, that of most has {most:016x}")
    };
    differing(
        said,
        About::Config,
        |said| said.config_digest,
        &mut found,
        |theirs, most| digest("configuration of jobs", *theirs, *most),
    );
    differing(
        said,
        About::Targets,
        |said| said.targets_digest,
        &mut found,
        |theirs, most| digest("discovery of targets", *theirs, *most),
    );
    differing(
        said,
        About::Roster,
        |said| said.roster.clone(),
        &mut found,
        |theirs, most| roster_detail(theirs, most),
    );
    differing(
        said,
        About::Overrides,
        |said| said.overrides,
        &mut found,
        |theirs, most| {
            let shown = |stamp: &Option<Stamp>| match stamp {
                Some(Stamp { version, publisher }) => format!("version {version} by {publisher}"),
                None => "none".to_owned(),
            };
            format!("its overrides are {}, those of most are {}", shown(theirs), shown(most))
        },
    );
    found
}

/// Names those who differ from most; where as many say the one as the other, from the one that the
/// lowest id says.
fn differing<T: PartialEq>(
    said: &BTreeMap<NodeId, Said>,
    about: About,
    value: impl Fn(&Said) -> T,
    found: &mut Vec<Disagreement>,
    detail: impl Fn(&T, &T) -> String,
) {
    let values: Vec<(NodeId, T)> = said.iter().map(|(id, said)| (*id, value(said))).collect();
    let count = |at: usize| values.iter().filter(|(_, other)| *other == values[at].1).count();
    // Of several with the greatest count the first, so the lowest id.
    let most = (0..values.len()).rev().max_by_key(|&at| count(at));
    let Some((_, most)) = most.map(|at| &values[at]) else { return };
    for (node, theirs) in values.iter().filter(|(_, theirs)| theirs != most) {
        found.push(Disagreement { about, node: *node, detail: detail(theirs, most) });
    }
}

fn roster_detail(theirs: &[(NodeId, u32)], most: &[(NodeId, u32)]) -> String {
    let ids = |of: &[(NodeId, u32)]| of.iter().map(|(id, _)| *id).collect::<BTreeSet<NodeId>>();
    let (their_ids, most_ids) = (ids(theirs), ids(most));
    let listed = |ids: Vec<String>| ids.join(", ");
    let missing = listed(most_ids.difference(&their_ids).map(ToString::to_string).collect());
    let extra = listed(their_ids.difference(&most_ids).map(ToString::to_string).collect());
    match (missing.is_empty(), extra.is_empty()) {
        (false, true) => format!("for it these don't take part, for most they do: {missing}"),
        (true, false) => format!("for it these take part, for most they don't: {extra}"),
        (false, false) => format!(
            "for it these don't take part, for most they do: {missing}; and the other way round: {extra}"
        ),
        (true, true) => "it knows members by other weights than most".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::{
            member::{Interval, Member, MemberState, Roster},
            overrides::{OverrideMap, Overrides},
            slot::Slot,
            target::TargetId,
        },
        ownership::placement::{Placement, candidates},
    };

    fn name(number: u64) -> TargetName {
        (TargetId(number), Arc::from("job"))
    }

    /// Any slot; which one does not matter, as long as it is always the same.
    fn slot_of(name: &TargetName) -> Slot {
        Slot::new(u16::try_from(name.0.0 * 37 % 4096).unwrap()).unwrap()
    }

    fn member(id: u128, weight: u32, intervals: &[(i64, Option<i64>)]) -> Member {
        let interval = |&(from_ms, until_ms): &(i64, Option<i64>)| Interval { from_ms, until_ms };
        Member {
            id: NodeId(id),
            name: format!("n{id}"),
            api_address: String::new(),
            weight,
            zone: String::new(),
            state: MemberState::Alive,
            intervals: intervals.iter().map(interval).collect(),
        }
    }

    /// What the members of `roster` say that act on it as they should. Who has no share at the
    /// instant is asked as well.
    fn calm(
        roster: &Roster,
        overrides: &Overrides,
        found: &BTreeSet<TargetName>,
        at_ms: i64,
    ) -> BTreeMap<NodeId, Said> {
        let mut placement = Placement::new(Arc::new(roster.clone()), overrides.clone());
        let said = |id: &NodeId| Said {
            scrapes: found
                .iter()
                .filter(|name| placement.owner(slot_of(name), at_ms) == Some(*id))
                .cloned()
                .collect(),
            config_digest: 5,
            targets_digest: 6,
            roster: candidates(roster, at_ms).map(|one| (one.id, one.weight)).collect(),
            overrides: overrides.at(at_ms).map(|map| map.stamp),
        };
        let mut said = said;
        roster.members.keys().map(|id| (*id, said(id))).collect()
    }

    fn found(count: u64) -> BTreeSet<TargetName> {
        (0..count).map(name).collect()
    }

    fn any_roster() -> impl Strategy<Value = Roster> {
        let stretch =
            (0..50_i64, 1..50_i64, any::<bool>()).prop_map(|(from_ms, length, is_open)| {
                (from_ms, (!is_open).then_some(from_ms + length))
            });
        let member_of = (0..300_u32, stretch);
        // One at least is there all the time.
        prop::collection::vec(member_of, 0..12).prop_map(|members| {
            let members = (2..).zip(members).map(|(id, (weight, one))| member(id, weight, &[one]));
            let members = members.chain([member(1, 100, &[(0, None)])]);
            Roster { members: members.map(|one| (one.id, one)).collect(), version: 1 }
        })
    }

    fn any_overrides() -> impl Strategy<Value = Overrides> {
        let moves = prop::collection::btree_map(0..4096_u16, 1..14_u128, 0..200);
        (moves, 0..60_i64).prop_map(|(moves, from_ms)| {
            let place = |(slot, id)| (Slot::new(slot).unwrap(), NodeId(id));
            let stamp = Stamp { version: 1, publisher: NodeId(1) };
            let moves = moves.into_iter().map(place).collect();
            Overrides::default().followed_by(OverrideMap { stamp, from_ms, moves })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_fleet_of_one_mind_is_faultless_at_every_instant(
            roster in any_roster(), overrides in any_overrides(), at_ms in 0..110_i64,
        ) {
            let found = found(200);
            let judged = judge(&calm(&roster, &overrides, &found, at_ms), &found);
            prop_assert!(judged.is_faultless(), "{judged:?}");
            prop_assert_eq!(judged.targets, 200);
        }

        #[test]
        fn whoever_hides_or_takes_a_target_is_found(
            roster in any_roster(),
            at_ms in 0..110_i64,
            hidden in prop::collection::btree_set(0..200_u64, 0..20),
            taken in prop::collection::btree_set(200..400_u64, 0..20),
            thief in any::<prop::sample::Index>(),
        ) {
            let found = found(400);
            let mut said = calm(&roster, &Overrides::default(), &found, at_ms);
            let thief = *thief.get(&roster.members.keys().copied().collect::<Vec<_>>());
            for said in said.values_mut() {
                said.scrapes.retain(|name| !hidden.contains(&name.0.0));
            }
            let mut expected = BTreeMap::new();
            for name in taken.into_iter().map(name) {
                let owner = said.iter().find(|(_, said)| said.scrapes.contains(&name)).unwrap();
                let owner = *owner.0;
                if owner != thief {
                    let mut both = vec![owner, thief];
                    both.sort_unstable();
                    said.get_mut(&thief).unwrap().scrapes.push(name.clone());
                    expected.insert(name, both);
                }
            }
            let judged = judge(&said, &found);
            prop_assert_eq!(judged.unowned, hidden.into_iter().map(name).collect());
            prop_assert_eq!(judged.doubled, expected);
            prop_assert!(judged.disagreements.is_empty());
        }
    }

    #[test]
    fn what_nobody_has_found_and_somebody_scrapes_counts() {
        let said = |scrapes: &[u64]| Said {
            scrapes: scrapes.iter().copied().map(name).collect(),
            ..Said::default()
        };
        let said = [(NodeId(1), said(&[1, 9])), (NodeId(2), said(&[9]))].into();
        let judged = judge(&said, &found(3));
        assert_eq!(judged.targets, 4);
        assert_eq!(judged.unowned, [name(0), name(2)].into());
        assert_eq!(judged.doubled, [(name(9), vec![NodeId(1), NodeId(2)])].into());
    }

    #[test]
    fn whoever_differs_from_most_is_named() {
        let usual = Said {
            config_digest: 1,
            targets_digest: 2,
            roster: vec![(NodeId(1), 100), (NodeId(2), 100)],
            ..Said::default()
        };
        let check = |said: &[Said], expected: &[(u128, &str, &str)]| {
            let said = (1..).zip(said).map(|(id, said)| (NodeId(id), said.clone())).collect();
            let found = judge(&said, &BTreeSet::new()).disagreements;
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (found, &(id, about, detail)) in found.iter().zip(expected) {
                assert_eq!((found.node, found.about.name()), (NodeId(id), about));
                assert!(found.detail.contains(detail), "{found:?}");
            }
        };
        let config = Said { config_digest: 9, ..usual.clone() };
        let targets = Said { targets_digest: 9, ..usual.clone() };
        let blind = Said { roster: vec![(NodeId(1), 100)], ..usual.clone() };
        let sees = |id| Said { roster: vec![(NodeId(1), 100), (NodeId(id), 100)], ..usual.clone() };
        let weighs = Said { roster: vec![(NodeId(1), 100), (NodeId(2), 50)], ..usual.clone() };
        let stamp = Stamp { version: 3, publisher: NodeId(1) };
        let overridden = Said { overrides: Some(stamp), ..usual.clone() };
        check(&[], &[]);
        check(std::slice::from_ref(&usual), &[]);
        check(
            &[config.clone(), usual.clone(), usual.clone()],
            &[(1, "config", "0000000000000009")],
        );
        // One against one: the lower id's is taken for right.
        check(&[config.clone(), usual.clone()], &[(2, "config", "0000000000000001")]);
        check(
            &[usual.clone(), targets, config, usual.clone(), usual.clone()],
            &[(3, "config", "digest"), (2, "targets", "discovery")],
        );
        check(&[usual.clone(), usual.clone(), blind], &[(3, "roster", "for most they do")]);
        check(&[usual.clone(), usual.clone(), sees(3)], &[(3, "roster", "the other way round")]);
        check(&[usual.clone(), usual.clone(), weighs], &[(3, "roster", "other weights")]);
        check(&[usual.clone(), usual.clone(), overridden], &[(3, "overrides", "version 3")]);
    }

    #[test]
    fn a_fault_that_does_not_last_was_news_on_its_way() {
        let once = |unowned: &[u64], doubled: &[u64], nodes: &[u128]| Judgement {
            targets: 5,
            unowned: unowned.iter().copied().map(name).collect(),
            doubled: doubled
                .iter()
                .map(|number| (name(*number), vec![NodeId(1), NodeId(2)]))
                .collect(),
            disagreements: nodes
                .iter()
                .map(|id| Disagreement {
                    about: About::Roster,
                    node: NodeId(*id),
                    detail: String::new(),
                })
                .collect(),
        };
        let lasting = once(&[1, 2], &[3], &[7, 8]).lasting(&once(&[2, 4], &[4], &[8, 9]));
        assert_eq!(lasting, once(&[2], &[], &[8]));
        assert!(once(&[1], &[2], &[3]).lasting(&once(&[2], &[3], &[4])).is_faultless());
    }
}
