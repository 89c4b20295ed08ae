//! Plans beside the placement of the real change.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    model::{
        labels::Labels,
        overrides::{OverrideMap, Stamp},
        slot::StreamKey,
        target::TargetId,
    },
    ownership::placement::Placement,
};

const NOW_MS: i64 = 1_000_000;

fn member(id: u128, weight: u32) -> Member {
    let intervals = vec![Interval { from_ms: 0, until_ms: None }];
    Member { intervals, ..newcomer(NodeId(id), &format!("n{id}"), weight, 0) }
}

fn roster(weights: &[u32]) -> Roster {
    let members = (1..).zip(weights).map(|(id, weight)| (NodeId(id), member(id, *weight)));
    Roster { members: members.collect(), version: 1 }
}

fn targets(count: u64) -> Vec<Arc<Target>> {
    let target = |number: u64| Target {
        job: "job".into(),
        labels: Labels::new(),
        discovered: Labels::new(),
        id: TargetId(number),
        key: StreamKey::of([number.to_string().as_str()]),
        url: format!("http://{number}/metrics"),
        interval: Duration::from_secs(15),
        timeout: Duration::from_secs(10),
    };
    (0..count).map(|number| Arc::new(target(number))).collect()
}

fn loads() -> Loads {
    Loads::from_fn(|slot| f64::from(slot.number() % 7))
}

fn change(join: &[(&str, u32)], leave: &[&str], weights: &[(&str, u32)]) -> Change {
    let newcomer = |&(name, weight): &(&str, u32)| Newcomer { name: name.to_owned(), weight };
    Change {
        join: join.iter().map(newcomer).collect(),
        leave: leave.iter().map(|name| (*name).to_owned()).collect(),
        weights: weights.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect(),
    }
}

fn planned(roster: &Roster, overrides: &Overrides, change: &Change) -> Result<Plan, String> {
    let (targets, loads) = (targets(500), loads());
    let now =
        Division { roster, overrides, now_ms: NOW_MS, targets: &targets, loads: Some(&loads) };
    plan(&now, change)
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-6
}

/// Whatever moves has moved from one to another, and all is told of it.
fn check_sums(plan: &Plan) {
    let moved = plan.targets.len();
    assert_eq!(plan.targets_moved, moved);
    assert_eq!(plan.moves.iter().map(|flow| flow.targets).sum::<usize>(), moved);
    assert_eq!(plan.moves.iter().map(|flow| flow.slots).sum::<usize>(), plan.slots_moved);
    for of in [|planned: &Planned| planned.before, |planned: &Planned| planned.after] {
        let parts: Vec<Part> = plan.members.iter().map(of).collect();
        assert_eq!(parts.iter().map(|part| part.slots).sum::<usize>(), 4096);
        assert_eq!(parts.iter().map(|part| part.targets).sum::<usize>(), plan.targets_total);
        let load: f64 = parts.iter().map(|part| part.samples_per_second.unwrap()).sum();
        let all: f64 = slots().map(|slot| loads().of(slot)).sum();
        assert!(close(load, all), "{load} of {all}");
    }
    for planned in &plan.members {
        let flows = |is_of: &dyn Fn(&Flow) -> bool| -> usize {
            plan.moves.iter().filter(|flow| is_of(flow)).map(|flow| flow.slots).sum()
        };
        let lost = flows(&|flow| flow.from.as_ref() == Some(&planned.node));
        let gained = flows(&|flow| flow.to == planned.node);
        assert_eq!(planned.before.slots + gained - lost, planned.after.slots, "{planned:?}");
    }
}

#[test]
fn a_leaver_gives_all_and_the_others_nothing() {
    let roster = roster(&[100; 5]);
    let plan = planned(&roster, &Overrides::default(), &change(&[], &["n3"], &[])).unwrap();
    check_sums(&plan);
    let gone = plan.members.iter().find(|one| one.node.name == "n3").unwrap();
    assert_eq!((gone.weight_before, gone.weight_after), (Some(100), None));
    assert_eq!((gone.before.slots, gone.after.slots), (plan.slots_moved, 0));
    let from: BTreeSet<_> = plan.moves.iter().map(|flow| flow.from.clone().unwrap().id).collect();
    assert_eq!(from, [Some(NodeId(3))].into());
    assert!((700..950).contains(&plan.slots_moved), "a fifth: {}", plan.slots_moved);
}

#[test]
fn a_newcomer_takes_its_share_and_nothing_else_moves() {
    let roster = roster(&[100; 4]);
    let plan = planned(&roster, &Overrides::default(), &change(&[("new", 100)], &[], &[])).unwrap();
    check_sums(&plan);
    let to: BTreeSet<_> = plan.moves.iter().map(|flow| flow.to.clone()).collect();
    assert_eq!(to, [Node { id: None, name: "new".to_owned() }].into());
    let last = plan.members.last().unwrap();
    assert_eq!((last.node.id, last.weight_before, last.weight_after), (None, None, Some(100)));
    assert_eq!((last.before.slots, last.after.slots), (0, plan.slots_moved));
    assert!((700..950).contains(&plan.slots_moved), "a fifth: {}", plan.slots_moved);
}

#[test]
fn nothing_moves_where_nothing_changes() {
    let roster = roster(&[100, 50]);
    for same in [change(&[], &[], &[]), change(&[("idle", 0)], &[], &[("n2", 50)])] {
        let plan = planned(&roster, &Overrides::default(), &same).unwrap();
        check_sums(&plan);
        assert_eq!((plan.slots_moved, plan.moves.len()), (0, 0));
        assert!(close(plan.samples_per_second_moved.unwrap(), 0.0));
    }
}

#[test]
fn what_is_not_known_is_not_made_up() {
    let (roster, targets) = (roster(&[100; 3]), targets(9));
    let now = Division {
        roster: &roster,
        overrides: &Overrides::default(),
        now_ms: NOW_MS,
        targets: &targets,
        loads: None,
    };
    let plan = plan(&now, &change(&[], &["n1"], &[])).unwrap();
    assert_eq!(plan.samples_per_second_moved, None);
    assert!(plan.members.iter().all(|one| one.before.samples_per_second.is_none()));
    assert!(plan.members.iter().all(|one| one.after.samples_per_second.is_none()));
}

#[test]
fn what_can_not_be_is_refused_with_its_reason() {
    let mut roster = roster(&[100, 100, 100]);
    let twin = Member { name: "n2".to_owned(), ..member(9, 100) };
    roster.members.insert(NodeId(9), twin);
    let mut dead = member(8, 100);
    dead.state = MemberState::Dead;
    dead.intervals[0].until_ms = Some(5);
    roster.members.insert(NodeId(8), dead);
    let check = |change: Change, expected: &str| {
        let found = planned(&roster, &Overrides::default(), &change).unwrap_err();
        assert!(found.contains(expected), "{found}");
    };
    let id = NodeId(3).to_string();
    check(change(&[], &["nobody"], &[]), "`nobody` is neither the id nor the name");
    check(change(&[], &["n2"], &[]), "`n2` is the name of several members");
    check(change(&[], &["n3", &id], &[]), "is to leave twice");
    check(change(&[], &["n8"], &[]), "`n8` has no share that it could leave");
    check(change(&[], &["n3"], &[("n3", 5)]), "to leave and to have another weight");
    check(change(&[], &[], &[("n8", 5)]), "`n8` does not take part");
    check(change(&[], &[], &[("n1", 10_001)]), "weight 10001 of `n1`, expected 0 to 10000");
    check(change(&[("x", 10_001)], &[], &[]), "weight 10001 of `x`");
    check(change(&[("n1", 1)], &[], &[]), "`n1` is to join, and a member has that name already");
    check(change(&[("x", 1), ("x", 1)], &[], &[]), "`x` is to join, and a member has that name");
    check(change(&[("", 1)], &[], &[]), "needs a name");
    check(change(&[], &[], &[("n1", 0), ("n3", 0)]).also_leaving(&[2, 9]), "nobody would be left");
    let many = Change { leave: vec!["n1".to_owned(); CHANGES_MAX + 1], ..Change::default() };
    check(many, "257 changes at once, expected 256 at most");
    // Who was dead may come again, under its name.
    assert!(planned(&roster, &Overrides::default(), &change(&[("n8", 1)], &[], &[])).is_ok());
}

impl Change {
    fn also_leaving(mut self, ids: &[u128]) -> Self {
        self.leave.extend(ids.iter().map(|id| NodeId(*id).to_string()));
        self
    }
}

#[test]
fn a_change_that_is_under_way_counts_as_done() {
    let mut roster = roster(&[100, 100]);
    let mut third = member(3, 100);
    third.intervals[0].from_ms = NOW_MS + 2_000;
    roster.members.insert(NodeId(3), third);
    let plan = planned(&roster, &Overrides::default(), &change(&[], &["n3"], &[])).unwrap();
    check_sums(&plan);
    assert!(plan.slots_moved > 1000);
}

fn any_overrides() -> impl Strategy<Value = Overrides> {
    let moves = prop::collection::btree_map(0..4096_u16, 1..10_u128, 0..300);
    moves.prop_map(|moves| {
        let place = |(slot, id)| (Slot::new(slot).unwrap(), NodeId(id));
        let stamp = Stamp { version: 1, publisher: NodeId(1) };
        let moves = moves.into_iter().map(place).collect();
        Overrides::default().followed_by(OverrideMap { stamp, from_ms: 5, moves })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Members leave, come with the ids that the plan has given them, and change their weights: then
    /// placement says what the plan has said.
    #[test]
    fn the_plan_is_what_placement_says_after_the_change(
        weights in prop::collection::vec(1..400_u32, 3..9),
        overrides in any_overrides(),
        leavers in prop::collection::btree_set(1..3_u128, 0..2),
        joiners in prop::collection::vec(0..400_u32, 0..3),
        reweighed in prop::option::of(0..400_u32),
    ) {
        let before = roster(&weights);
        let names: Vec<String> = (0..joiners.len()).map(|n| format!("new{n}")).collect();
        let join: Vec<_> = names.iter().map(String::as_str).zip(joiners.iter().copied()).collect();
        let leave: Vec<String> = leavers.iter().map(|id| format!("n{id}")).collect();
        let leave: Vec<&str> = leave.iter().map(String::as_str).collect();
        let reweigh: Vec<_> = reweighed.map(|weight| ("n3", weight)).into_iter().collect();
        let plan = planned(&before, &overrides, &change(&join, &leave, &reweigh));
        let mut after = before.clone();
        for id in &leavers {
            let leaver = after.members.get_mut(&NodeId(*id)).unwrap();
            leaver.intervals[0].until_ms = Some(NOW_MS + 10);
        }
        for (name, weight) in &join {
            let id = NodeId(xxh3_128(name.as_bytes()));
            after.members.insert(id, newcomer(id, name, *weight, NOW_MS + 10));
        }
        if let Some(weight) = reweighed {
            after.members.get_mut(&NodeId(3)).unwrap().weight = weight;
        }
        let mut placed = [&before, &after]
            .map(|roster| Placement::new(Arc::new(roster.clone()), overrides.clone()));
        let [first, then] = &mut placed;
        let tables = [first.table_at(NOW_MS), then.table_at(NOW_MS + 10)];
        let owner = |slot: Slot| (tables[0].owner(slot), tables[1].owner(slot));
        let moved: Vec<Slot> = slots().filter(|slot| { let (a, b) = owner(*slot); a != b }).collect();
        let plan = match plan {
            Ok(plan) => plan,
            Err(reason) => {
                prop_assert_eq!(reason, "nobody would be left that takes part");
                return Ok(());
            }
        };
        check_sums(&plan);
        prop_assert_eq!(plan.slots_moved, moved.len());
        let load: f64 = moved.iter().map(|slot| loads().of(*slot)).sum();
        prop_assert!(close(plan.samples_per_second_moved.unwrap(), load));
        for planned in &plan.members {
            let id = planned.node.id.unwrap_or(NodeId(xxh3_128(planned.node.name.as_bytes())));
            let count = slots().filter(|slot| owner(*slot).1 == Some(id)).count();
            prop_assert_eq!(planned.after.slots, count);
        }
        for moved in &plan.targets {
            let (from, to) = owner(moved.target.key.slot());
            prop_assert_eq!(moved.from.as_ref().and_then(|node| node.id), from);
            prop_assert_eq!(moved.to.id.unwrap_or(NodeId(xxh3_128(moved.to.name.as_bytes()))), to.unwrap());
        }
    }
}
