//! Properties of balancing, and a simulated fleet whose targets differ in size as real ones do.

use std::sync::Arc;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::model::member::{Interval, Member};

const NOW: i64 = 1_000_000;

fn roster(rng: &mut StdRng, size: usize) -> Roster {
    let member = |_| Member {
        id: NodeId(rng.random()),
        name: String::new(),
        api_address: String::new(),
        weight: 100,
        zone: String::new(),
        state: MemberState::Alive,
        intervals: vec![Interval { from_ms: 0, until_ms: None }],
    };
    let members = (0..size).map(member).map(|member| (member.id, member)).collect();
    Roster { members, version: 0 }
}

fn homes(roster: &Roster) -> Table {
    Table::new(NOW, roster, &Overrides::default())
}

fn imbalance(owners: &Table, roster: &Roster, loads: &Loads) -> f64 {
    super::imbalance(&loads.by_owner(owners), roster)
}

/// The owners with `moves` in effect.
fn owners(roster: &Roster, moves: &BTreeMap<Slot, NodeId>) -> Table {
    let stamp = Stamp { version: 1, publisher: NodeId(0) };
    let map = OverrideMap { stamp, from_ms: 0, moves: moves.clone() };
    Table::new(NOW, roster, &Overrides::default().followed_by(map))
}

/// Sizes as measured fleets have them: log-normal, so that a few targets have most of the samples.
fn heavy_tail(rng: &mut StdRng, targets: usize, sigma: f64) -> Loads {
    let mut by_slot = vec![0.0; usize::from(SLOTS)];
    for _ in 0..targets {
        let normal: f64 = (0..12).map(|_| rng.random_range(0.0..1.0)).sum::<f64>() - 6.0;
        by_slot[rng.random_range(0..usize::from(SLOTS))] += (normal * sigma).exp() * 20.0;
    }
    // As members hear it: through one byte.
    Loads::from_fn(|slot| decode_load(encode_load(by_slot[usize::from(slot.number())])))
}

#[test]
fn a_byte_tells_a_load_to_five_percent() {
    for load in [1.0 / 64.0, 0.3, 1.0, 77.0, 12_345.0, 5e7] {
        let told = decode_load(encode_load(load));
        assert!((told / load - 1.0).abs() < 0.05, "{load}: {told}");
    }
    for (load, byte) in [(0.0, 0), (-1.0, 0), (f64::NAN, 0), (1e-9, 1), (f64::INFINITY, 255)] {
        assert_eq!(encode_load(load), byte);
    }
    for byte in 0..=u8::MAX {
        assert_eq!(encode_load(decode_load(byte)), byte);
    }
}

/// The bound of bounded load, whatever the fleet: above it is only who can't be helped, as its
/// smallest slot would be too much for the coolest one.
#[test]
fn nobody_stays_hot_that_can_be_helped() {
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let size = rng.random_range(1..=12);
        let mut fleet = roster(&mut rng, size);
        for member in fleet.members.values_mut() {
            member.weight = [50, 100, 100, 300][rng.random_range(0..4)];
        }
        let (targets, sigma) = (rng.random_range(0..600), rng.random_range(0.0..2.5));
        let loads = heavy_tail(&mut rng, targets, sigma);
        let homes = homes(&fleet);
        let Some(moves) = rebalance(&homes, &fleet, &loads, &BTreeMap::new()) else {
            continue;
        };
        let scales = Scales::new(&homes, &fleet, &loads, &moves);
        let coolest = |but: NodeId| {
            let others = scales.pans.iter().filter(|pan| pan.id != but);
            others.max_by(|a, b| a.room().total_cmp(&b.room())).unwrap()
        };
        for pan in scales.pans.iter().filter(|pan| pan.load > pan.limit(ACT_ABOVE)) {
            let smallest = pan.slots.last().unwrap().0;
            let to = coolest(pan.id);
            let worse = (to.load + smallest) / to.share >= pan.load / pan.share * (1.0 - 1e-9);
            assert!(worse, "seed {seed}: {} of {}", pan.load, pan.share);
        }
        let before = imbalance(&homes, &fleet, &loads);
        let after = imbalance(&owners(&fleet, &moves), &fleet, &loads);
        assert!(after <= before + 1e-9, "seed {seed}: {before} became {after}");
        for (slot, to) in &moves {
            assert_ne!(homes.owner(*slot), Some(*to), "seed {seed}: a move to where it is");
        }
        // What is balanced is left alone.
        if after <= ACT_ABOVE {
            assert_eq!(rebalance(&homes, &fleet, &loads, &moves), None, "seed {seed}");
        }
    }
}

#[test]
fn a_load_that_breathes_moves_nothing() {
    let mut rng = StdRng::seed_from_u64(3);
    let fleet = roster(&mut rng, 5);
    let homes = homes(&fleet);
    let loads = heavy_tail(&mut rng, 2_000, 1.0);
    let moves = rebalance(&homes, &fleet, &loads, &BTreeMap::new()).unwrap();
    for _ in 0..200 {
        let breathing = Loads::from_fn(|slot| loads.of(slot) * rng.random_range(0.9..1.1));
        assert_eq!(rebalance(&homes, &fleet, &breathing, &moves), None);
    }
}

#[test]
fn a_map_is_published_by_the_lowest_when_all_has_settled() {
    let mut rng = StdRng::seed_from_u64(5);
    let fleet = roster(&mut rng, 4);
    let loads = heavy_tail(&mut rng, 100, 1.5);
    let ids: Vec<NodeId> = fleet.members.keys().copied().collect();
    let stamp = |version| Stamp { version, publisher: ids[1] };
    let map =
        |version, from_ms| OverrideMap { stamp: stamp(version), from_ms, moves: BTreeMap::new() };
    let check = |me, held: Option<OverrideMap>, forked, expected: Option<u64>| {
        let overrides =
            held.map_or_else(Overrides::default, |m| Overrides::default().followed_by(m));
        let mut placement = Placement::new(Arc::new(fleet.clone()), overrides);
        let found = next_map(me, &mut placement, &loads, forked, NOW);
        assert_eq!(found.as_ref().map(|map| map.stamp.version), expected);
        found
    };
    let first = check(ids[0], None, false, Some(1)).unwrap();
    assert_eq!((first.from_ms, first.stamp.publisher), (NOW + NOTICE_MS, ids[0]));
    check(ids[1], None, false, None);
    check(ids[0], Some(map(7, NOW - SETTLE_MS)), false, Some(8));
    check(ids[0], Some(map(7, NOW - SETTLE_MS + 1)), false, None);
    check(ids[0], Some(map(7, NOW - SETTLE_MS + 1)), true, Some(8));
    check(ids[0], Some(map(7, NOW + 1)), true, None);
}

struct Figures {
    plain: Vec<f64>,
    bounded: Vec<f64>,
    /// Slots moved by members that came and went, balancing included, beside those that placement
    /// alone would have moved.
    moved: f64,
}

/// Fleets of `size` members with `targets` targets; in each, members go and come by turns.
fn simulate(size: usize, targets: usize) -> Figures {
    let mut figures = Figures { plain: vec![], bounded: vec![], moved: 0.0 };
    let (mut moved, mut least) = (0_u32, 0_u32);
    for seed in 0..5 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut fleet = roster(&mut rng, size);
        let loads = heavy_tail(&mut rng, targets, 1.5);
        let mut overridden = BTreeMap::new();
        for step in 0..6 {
            let (home_before, before) = (homes(&fleet), owners(&fleet, &overridden));
            if step % 2 == 1 {
                let gone = *fleet.members.keys().nth(rng.random_range(0..size)).unwrap();
                fleet.members.remove(&gone);
            } else if step > 0 {
                fleet.members.extend(roster(&mut rng, 1).members);
            }
            let home = homes(&fleet);
            if let Some(better) = rebalance(&home, &fleet, &loads, &overridden) {
                overridden = better;
            }
            let after = owners(&fleet, &overridden);
            if step > 0 {
                let busy = |slot: &Slot| loads.of(*slot) > 0.0;
                let count = |a: &Table, b: &Table| {
                    let moved = slots().filter(busy).filter(|s| a.owner(*s) != b.owner(*s)).count();
                    u32::try_from(moved).unwrap()
                };
                moved += count(&before, &after);
                least += count(&home_before, &home);
            }
            figures.plain.push(imbalance(&home, &fleet, &loads));
            figures.bounded.push(imbalance(&after, &fleet, &loads));
        }
    }
    figures.plain.sort_by(f64::total_cmp);
    figures.bounded.sort_by(f64::total_cmp);
    figures.moved = f64::from(moved) / f64::from(least);
    figures
}

#[test]
fn a_heavy_tailed_fleet_is_evened_out() {
    let check = |size, targets, bounded_max: f64, moved_max: f64| {
        let figures = simulate(size, targets);
        let middle = figures.plain.len() / 2;
        let (plain, bounded) = (figures.plain[middle], figures.bounded[middle]);
        assert!(bounded <= bounded_max && bounded <= plain, "{size} {targets}: {plain} {bounded}");
        assert!(figures.moved <= moved_max, "{size} {targets}: {}", figures.moved);
    };
    check(3, 300, 1.10, 1.4);
    check(5, 1_000, 1.10, 1.4);
    check(10, 300, 1.10, 1.4);
    check(10, 1_000, 1.10, 1.4);
    check(20, 1_000, 1.10, 1.4);
}
