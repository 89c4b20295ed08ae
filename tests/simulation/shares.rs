//! What the fences are for: on planned changes every tick is done once, on the others the hole and
//! the overlap are bounded.

use rand::RngExt;
use starling::fleet::membership::Order;

use crate::{
    ledger::{Judgement, Ledger},
    membership::{AGREE_MS_MAX, calm, for_seeds, settle, start_all},
    world::{SETTLE_MS, World},
};

const SEEDS: u64 = 10;

/// Five members in calm, with clocks as far apart as `skew_ms`.
fn fleet(seed: u64, loss_percent: u32, skew_ms: i64) -> Result<(World, Ledger), String> {
    let mut world = World::new(seed, 5, calm(loss_percent));
    for n in 0..5 {
        world.hosts[n].skew_ms = world.rng.random_range(-skew_ms..=skew_ms);
    }
    start_all(&mut world);
    settle(&mut world, AGREE_MS_MAX)?;
    let mut ledger = Ledger::default();
    ledger.run(&mut world, 6000);
    Ok((world, ledger))
}

fn expect(judgement: &Judgement, missed_ms_max: i64, doubled_ms_max: i64) -> Result<(), String> {
    let Judgement { missed_ms, doubled_ms } = judgement;
    if *missed_ms > missed_ms_max || *doubled_ms > doubled_ms_max {
        return Err(format!("{judgement:?}, at most {missed_ms_max} and {doubled_ms_max}"));
    }
    Ok(())
}

#[test]
fn a_rolling_restart_misses_nothing_and_doubles_nothing() {
    for_seeds(SEEDS, |seed| {
        let skew_ms = if seed % 2 == 0 { 0 } else { 2000 };
        let (mut world, mut ledger) = fleet(seed, (seed % 3) as u32, skew_ms)?;
        let begin = world.fleet_ms(0);
        for n in 0..5 {
            world.order(n, Order::Leave);
            ledger.run(&mut world, SETTLE_MS as u64 + 200);
            world.order(n, Order::Depart);
            ledger.run(&mut world, 100);
            world.kill(n);
            ledger.run(&mut world, 700);
            world.start(n);
            ledger.run(&mut world, 5000);
        }
        expect(&ledger.judge(begin, world.fleet_ms(0) - 1000), 0, 0)
    });
}

#[test]
fn a_cold_start_begins_at_one_instant() {
    for_seeds(SEEDS, |seed| {
        let mut world = World::new(seed, 6, calm(2));
        let mut ledger = Ledger::default();
        for n in 0..6 {
            world.start(n);
            let pause_ms = world.rng.random_range(0..700);
            ledger.run(&mut world, pause_ms);
        }
        ledger.run(&mut world, 5000);
        settle(&mut world, 0)?;
        let froms = |n: usize| world.member(0, n).map(|m| m.intervals[0].from_ms);
        if (1..6).any(|n| froms(n) != froms(0)) {
            let froms: Vec<_> = (0..6).map(froms).collect();
            return Err(format!("not one beginning: {froms:?}"));
        }
        let from = froms(0).unwrap();
        ledger.run(&mut world, 4000);
        expect(&ledger.judge(from, world.fleet_ms(0) - 1000), 0, 0)
    });
}

#[test]
fn a_quick_restart_moves_nothing() {
    for_seeds(SEEDS, |seed| {
        let (mut world, mut ledger) = fleet(seed, 0, 0)?;
        let before = world.member(0, 3).unwrap().intervals;
        let begin = world.fleet_ms(0);
        world.kill(3);
        ledger.run(&mut world, 800);
        world.start(3);
        ledger.run(&mut world, 6000);
        let after = world.member(0, 3).unwrap().intervals;
        if before != after {
            return Err(format!("{before:?} became {after:?}"));
        }
        expect(&ledger.judge(begin, world.fleet_ms(0) - 1000), 1500, 0)
    });
}

/// Killed or stopped in peace, it comes back with another weight: its share ends and begins anew at
/// instants that all know before, and until then all count with the weight that it had.
#[test]
fn another_weight_takes_effect_at_a_fence() {
    for_seeds(SEEDS, |seed| {
        let (mut world, mut ledger) = fleet(seed, (seed % 3) as u32 * 10, 0)?;
        let begin = world.fleet_ms(0);
        let is_planned = seed % 2 == 0;
        if is_planned {
            world.order(3, Order::Leave);
            // Now and then it does not wait for the end of its share.
            let patience_ms = if seed % 4 == 0 { SETTLE_MS as u64 + 200 } else { 900 };
            ledger.run(&mut world, patience_ms);
        }
        world.kill(3);
        ledger.run(&mut world, 500);
        world.hosts[3].weight = 300;
        world.start(3);
        ledger.run(&mut world, 15_000);
        settle(&mut world, AGREE_MS_MAX)?;
        for n in 0..5 {
            let member = world.member(n, 3).unwrap();
            let is_new = member.intervals.last().unwrap().from_ms > begin;
            if member.weight != 300 || !is_new {
                return Err(format!("{n} sees {member:?}"));
            }
        }
        // Only what it was down for is missed.
        expect(&ledger.judge(begin, world.fleet_ms(0) - 1000), 1500, 0)
    });
}

#[test]
fn one_that_hangs_comes_back_in_order() {
    for_seeds(SEEDS, |seed| {
        let (mut world, mut ledger) = fleet(seed, 1, 0)?;
        let begin = world.fleet_ms(0);
        let for_ms = world.rng.random_range(500..9000);
        world.hang(2, for_ms * 1000);
        ledger.run(&mut world, for_ms + 8000);
        let missed_ms_max = (i64::try_from(for_ms).unwrap() + 600).min(5000);
        expect(&ledger.judge(begin, world.fleet_ms(0) - 1000), missed_ms_max, 300)
    });
}

#[test]
fn a_healed_partition_leaves_no_hole() {
    for_seeds(SEEDS, |seed| {
        let (mut world, mut ledger) = fleet(seed, 0, 0)?;
        let sides: Vec<bool> = (0..5).map(|n| n < 1 + seed % 4).collect();
        world.part(&sides, true);
        ledger.run(&mut world, 12_000);
        let healing = world.fleet_ms(0);
        world.mend();
        ledger.run(&mut world, 10_000);
        expect(&ledger.judge(healing, world.fleet_ms(0) - 1000), 200, 4000)?;
        settle(&mut world, 0).map(|_| ())
    });
}

#[test]
fn a_link_that_is_cut_in_one_direction_leaves_no_hole() {
    for_seeds(SEEDS, |seed| {
        let (mut world, mut ledger) = fleet(seed, 0, 0)?;
        let begin = world.fleet_ms(0);
        let sides: Vec<bool> = (0..5).map(|n| n < 1 + seed % 4).collect();
        world.part(&sides, false);
        ledger.run(&mut world, 12_000);
        let healing = world.fleet_ms(0);
        world.mend();
        ledger.run(&mut world, 10_000);
        let end = world.fleet_ms(0) - 1000;
        expect(&ledger.judge(begin, healing), 5000, 12_000)?;
        expect(&ledger.judge(healing, end), 1000, 4000)?;
        settle(&mut world, 0).map(|_| ())
    });
}
