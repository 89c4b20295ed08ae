//! Properties of placement, over many fleets drawn from a seed.

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::model::{
    member::{Interval, MemberState},
    overrides::{OverrideMap, Stamp},
};

const NOW: i64 = 1_000_000;

fn member(id: u128, weight: u32, intervals: &[(i64, Option<i64>)]) -> Member {
    let intervals = intervals.iter().map(|&(from_ms, until_ms)| Interval { from_ms, until_ms });
    Member {
        id: NodeId(id),
        name: format!("n{id}"),
        api_address: String::new(),
        weight,
        zone: String::new(),
        state: MemberState::Alive,
        intervals: intervals.collect(),
    }
}

fn roster(members: impl IntoIterator<Item = Member>) -> Roster {
    let members = members.into_iter().map(|member| (member.id, member)).collect();
    Roster { members, version: 0 }
}

/// Members that are active at `NOW`, with ids and weights by chance.
fn some_fleet(rng: &mut impl Rng, size: usize) -> Roster {
    roster((0..size).map(|_| {
        let weight = *[100, 100, 100, 50, 200, 300].get(rng.random_range(0..6)).unwrap();
        member(rng.random(), weight, &[(0, None)])
    }))
}

fn table(roster: &Roster) -> Table {
    Table::new(NOW, roster, &Overrides::default())
}

/// Slot, owner before, owner after.
type Moved = (Slot, Option<NodeId>, Option<NodeId>);

/// Those that moved.
fn moved(before: &Table, after: &Table) -> Vec<Moved> {
    slots()
        .map(|slot| (slot, before.owner(slot), after.owner(slot)))
        .filter(|(_, before, after)| before != after)
        .collect()
}

fn weight_sum(roster: &Roster) -> f64 {
    roster.members.values().map(|member| f64::from(member.weight)).sum()
}

fn for_fleets(mut check: impl FnMut(&mut StdRng, Roster)) {
    for seed in 0..20 {
        let mut rng = StdRng::seed_from_u64(seed);
        let size = rng.random_range(1..=12);
        let fleet = some_fleet(&mut rng, size);
        check(&mut rng, fleet);
    }
}

/// Slots that a share of `part` of all comes to, and what chance may add: five standard deviations.
fn at_most(part: f64) -> f64 {
    let all = f64::from(SLOTS);
    all * part + 5.0 * (all * part * (1.0 - part)).sqrt() + 1.0
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "counts of slots are small")]
fn a_join_or_leave_moves_only_the_slots_of_the_one() {
    for_fleets(|rng, fleet| {
        let newcomer = member(rng.random(), 100, &[(0, None)]);
        let mut larger = fleet.clone();
        larger.members.insert(newcomer.id, newcomer.clone());
        let moves = moved(&table(&fleet), &table(&larger));
        assert!(moves.iter().all(|(_, _, after)| *after == Some(newcomer.id)));
        let part = 100.0 / weight_sum(&larger);
        assert!((moves.len() as f64) <= at_most(part), "{} of {part}", moves.len());
        // Leaving is the same seen backwards: each slot goes to the runner-up.
        for (slot, before, after) in moved(&table(&larger), &table(&fleet)).into_iter().take(64) {
            assert_eq!(before, Some(newcomer.id));
            assert_eq!(after, ranking(slot, NOW, &larger).get(1).copied());
        }
    });
}

#[test]
fn a_change_of_weight_moves_slots_one_way_only() {
    for_fleets(|rng, fleet| {
        let id = *fleet.members.keys().nth(rng.random_range(0..fleet.members.len())).unwrap();
        let mut heavier = fleet.clone();
        heavier.members.get_mut(&id).unwrap().weight *= 2;
        for (_, before, after) in moved(&table(&fleet), &table(&heavier)) {
            assert_eq!(after, Some(id));
            assert_ne!(before, Some(id));
        }
    });
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "counts of slots are small")]
fn shares_are_as_the_weights() {
    for_fleets(|_, fleet| {
        let sum = weight_sum(&fleet);
        let counts = table(&fleet).counts();
        assert_eq!(counts.values().sum::<usize>(), usize::from(SLOTS));
        for member in fleet.members.values() {
            let part = f64::from(member.weight) / sum;
            let count = counts[&member.id] as f64;
            let expected = f64::from(SLOTS) * part;
            assert!((count - expected).abs() <= at_most(part) - expected, "{count}, {expected}");
        }
    });
}

#[test]
fn table_owner_and_ranking_agree_with_overrides_or_without() {
    for_fleets(|rng, fleet| {
        let ids: Vec<NodeId> = fleet.members.keys().copied().chain([NodeId(1)]).collect();
        let moves = slots()
            .filter(|_| rng.random_ratio(1, 10))
            .map(|slot| (slot, ids[usize::from(slot.number()) % ids.len()]));
        let stamp = Stamp { version: 1, publisher: NodeId(0) };
        let map = OverrideMap { stamp, from_ms: NOW, moves: moves.collect() };
        let overrides = Overrides::default().followed_by(map.clone());
        let mut placement = Placement::new(Arc::new(fleet.clone()), overrides.clone());
        for instant in [NOW - 1, NOW] {
            let table = placement.table_at(instant);
            for slot in slots().step_by(16) {
                let owned = owner(slot, instant, &fleet, &overrides);
                assert_eq!(table.owner(slot), owned);
                let chosen = map.moves.get(&slot).filter(|id| fleet.members.contains_key(id));
                let ranked = ranking(slot, instant, &fleet).first().copied();
                let expected = chosen.copied().filter(|_| instant == NOW).or(ranked);
                assert_eq!(owned, expected);
            }
        }
    });
}

#[test]
fn someone_owns_each_slot_while_anyone_with_a_weight_is_active() {
    let check = |members: Vec<Member>, expected: Option<u128>| {
        let fleet = roster(members);
        let table = table(&fleet);
        for slot in slots() {
            assert_eq!(table.owner(slot), expected.map(NodeId));
        }
    };
    check(vec![], None);
    check(vec![member(1, 0, &[(0, None)])], None);
    check(vec![member(1, 100, &[(NOW + 1, None)])], None);
    check(vec![member(1, 100, &[(0, Some(NOW))])], None);
    check(vec![member(1, 100, &[(NOW, None)])], Some(1));
    check(vec![member(1, 100, &[(0, Some(NOW)), (NOW, None)])], Some(1));
    check(vec![member(1, 0, &[(0, None)]), member(2, 1, &[(0, None)])], Some(2));
}

#[test]
fn owners_change_at_borders_only() {
    let fleet = roster([
        member(1, 100, &[(0, Some(500)), (900, None)]),
        member(2, 100, &[(100, None)]),
        member(3, 100, &[(100, Some(700))]),
    ]);
    let mut placement = Placement::new(Arc::new(fleet), Overrides::default());
    let mut borders = vec![];
    while let Some(next) = placement.next_border(borders.last().copied().unwrap_or(i64::MIN)) {
        borders.push(next);
    }
    assert_eq!(borders, [0, 100, 500, 700, 900]);
    let mut check = |instant, nodes: &[u128]| {
        let nodes: Vec<NodeId> = nodes.iter().map(|id| NodeId(*id)).collect();
        assert_eq!(placement.table_at(instant).nodes(), nodes, "at {instant}");
    };
    check(-1, &[]);
    check(99, &[1]);
    check(100, &[1, 2, 3]);
    check(500, &[2, 3]);
    check(699, &[2, 3]);
    check(899, &[2]);
    check(900, &[1, 2]);
    check(i64::MAX, &[1, 2]);
}

/// A fleet that is upgraded member by member has both versions at once: these values are for ever.
#[test]
fn no_version_may_draw_otherwise() {
    let slot = |number| Slot::new(number).unwrap();
    let draws = [draw(NodeId(0), slot(0)), draw(NodeId(u128::MAX), slot(4095))];
    assert_eq!(draws, PINNED_DRAWS);
    let fleet = roster((1..=5).map(|id| member(id, 50 * u32::try_from(id).unwrap(), &[(0, None)])));
    let counts: Vec<usize> = table(&fleet).counts().into_values().collect();
    assert_eq!(counts, PINNED_COUNTS);
}

const PINNED_DRAWS: [u64; 2] = [18_408_500_714_112_733_216, 3_762_549_272_729_322_647];
const PINNED_COUNTS: [usize; 5] = [279, 529, 791, 1163, 1334];

#[test]
#[expect(clippy::cast_precision_loss, reason = "the test compares with floating point")]
fn the_logarithm_is_one() {
    let check = |hash: u64| {
        let expected = 64.0 - (hash as f64).log2();
        let found = minus_log2(hash) as f64 / (1_u64 << FRACTION_BITS) as f64;
        assert!((found - expected).abs() < 1e-9, "{hash}: {found}, not {expected}");
    };
    check(1);
    check(2);
    check(3);
    check(1 << 63);
    check(u64::MAX / 3);
    check(u64::MAX);
    let mut rng = StdRng::seed_from_u64(7);
    for _ in 0..1000 {
        check(rng.random());
    }
}
