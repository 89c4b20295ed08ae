//! Those who do not belong: recordings, garbage, copied disks, taken names.

use rand::RngExt;
use starling::fleet::{membership::Order, memory::Delivery, notice::Notice, standing::Standing};

use crate::{
    membership::{AGREE_MS_MAX, calm, for_seeds, settle, start_all},
    world::World,
};

fn fleet(seed: u64, hosts: usize) -> Result<World, String> {
    let mut world = World::new(seed, hosts, calm(0));
    start_all(&mut world);
    world.run(4000, |_| {});
    settle(&mut world, AGREE_MS_MAX)?;
    Ok(world)
}

fn rosters(world: &World) -> Vec<String> {
    let text =
        |n: usize| format!("{:?}", world.hosts[n].node.as_ref().map(|n| n.membership.roster(0)));
    (0..world.hosts.len()).map(text).collect()
}

#[test]
fn recordings_and_garbage_change_nothing() {
    for_seeds(5, |seed| {
        let mut world = fleet(seed, 4)?;
        world.tape = Some(Vec::new());
        // Joins, a goodbye and a death are on the tape.
        world.order(3, Order::Depart);
        world.run(1000, |_| {});
        world.kill(3);
        world.start(3);
        world.run(5000, |_| {});
        world.kill(2);
        world.run(6000, |_| {});
        world.start(2);
        world.run(6000, |_| {});
        // One that has forgotten what it heard.
        world.kill(0);
        world.start(0);
        world.run(8000, |_| {});
        settle(&mut world, AGREE_MS_MAX)?;
        let before = rosters(&world);
        let tape = world.tape.take().unwrap();
        for recorded in tape.iter().rev().chain(&tape) {
            world.network.send(world.now_us, recorded);
            let mut forged = recorded.clone();
            let at = world.rng.random_range(0..forged.datagram.len());
            forged.datagram[at] ^= 1 << world.rng.random_range(0..8);
            world.network.send(world.now_us, &forged);
            let mut garbage = vec![0; world.rng.random_range(0..1500)];
            world.rng.fill(garbage.as_mut_slice());
            world.network.send(world.now_us, &Delivery { datagram: garbage, ..recorded.clone() });
            if world.rng.random_ratio(1, 20) {
                world.run(1, |_| {});
            }
        }
        world.run(5000, |_| {});
        if rosters(&world) == before { Ok(()) } else { Err(format!("{before:#?} changed")) }
    });
}

/// What `n` is shown as, and whether it says why.
fn expect_refused(world: &World, n: usize, is_why: fn(&Notice) -> bool) -> Result<(), String> {
    let membership = &world.hosts[n].node.as_ref().unwrap().membership;
    let (standing, says_why) = (membership.standing(), membership.notices().any(is_why));
    if standing == Standing::Refused && says_why {
        return Ok(());
    }
    Err(format!("{n} is {standing:?} and says why: {says_why}"))
}

#[test]
fn a_copied_disk_does_not_take_the_place_of_the_first() {
    for_seeds(10, |seed| {
        let mut world = fleet(seed, 4)?;
        world.kill(3);
        world.run(8000, |_| {});
        world.hosts[3].id = world.hosts[1].id;
        world.start(3);
        world.run(5000, |_| {});
        expect_refused(&world, 3, |notice| matches!(notice, Notice::IdClash { .. }))?;
        let first = world.hosts[1].node.as_ref().unwrap().membership.standing();
        if !matches!(first, Standing::Active { .. }) {
            return Err(format!("the first is {first:?}"));
        }
        world.kill(1);
        // The checker knows hosts by their ids.
        world.hosts[1].id = starling::model::member::NodeId(1);
        world.run(9000, |_| {});
        settle(&mut world, 0).map(|_| ())
    });
}

#[test]
fn of_two_with_one_name_the_later_stays_out() {
    for_seeds(10, |seed| {
        let mut world = World::new(seed, 5, calm(0));
        world.hosts[4].name = world.hosts[2].name.clone();
        for n in 0..5 {
            world.start(n);
            let pause_ms = world.rng.random_range(1..400);
            world.run(pause_ms, |_| {});
        }
        world.run(6000, |_| {});
        expect_refused(&world, 4, |notice| matches!(notice, Notice::NameClash { .. }))?;
        world.kill(2);
        world.run(9000, |_| {});
        settle(&mut world, 0).map(|_| ())
    });
}

fn standing(world: &World, n: usize) -> Standing {
    world.hosts[n].node.as_ref().unwrap().membership.standing()
}

/// It would do the fleet's work a second time. But those who stay out keep nobody out.
#[test]
fn who_has_another_secret_stays_out_while_the_fleet_works() {
    for_seeds(10, |seed| {
        let mut world = World::new(seed, 4, calm(0));
        // Others find it, as they would by a list or by mDNS.
        world.seeds = 4;
        world.hosts[3].secret = "another";
        let is_why = |notice: &Notice| matches!(notice, Notice::WrongSecret { .. });
        for n in 0..3 {
            world.start(n);
        }
        world.run(9000, |_| {});
        world.start(3);
        for _ in 0..30 {
            world.run(1000, |_| {});
            if !matches!(standing(&world, 3), Standing::Seeking | Standing::Refused) {
                return Err(format!("the stranger is {:?}", standing(&world, 3)));
            }
        }
        expect_refused(&world, 3, is_why)?;
        for n in 0..3 {
            world.kill(n);
        }
        // Nobody works now, so the first to come back does, though the stranger greets it.
        world.start(0);
        world.run(8000, |_| {});
        if !matches!(standing(&world, 0), Standing::Active { .. }) {
            return Err(format!("the one that came back is {:?}", standing(&world, 0)));
        }
        expect_refused(&world, 3, is_why)?;
        world.kill(0);
        world.run(20_000, |_| {});
        match standing(&world, 3) {
            Standing::Active { .. } => Ok(()),
            other => Err(format!("with nobody else there, the stranger is {other:?}")),
        }
    });
}

/// They greet in step, and an answer to one is none to the others.
#[test]
fn of_several_strangers_each_learns_why_it_stays_out() {
    for_seeds(10, |seed| {
        let mut world = World::new(seed, 5, calm(0));
        world.seeds = 5;
        world.start(0);
        world.run(9000, |_| {});
        for (n, secret) in [(1, "one"), (2, "two"), (3, "three"), (4, "four")] {
            world.hosts[n].secret = secret;
            world.start(n);
        }
        world.run(12_000, |_| {});
        let is_why = |notice: &Notice| matches!(notice, Notice::WrongSecret { .. });
        (1..5).try_for_each(|n| expect_refused(&world, n, is_why))
    });
}
