//! Members come, hang, fall, part and return; the checkers look at their rosters only.

use rand::RngExt;
use starling::fleet::{
    gossip::SUSPICION_MS, membership::Order, memory::Faults, standing::Standing,
};

use crate::world::{SETTLE_MS, World};

/// How many seeds of the wild scenario are run.
const SEEDS: u64 = 60;
pub(crate) const AGREE_MS_MAX: u64 = 10_000;
const DETECT_MS_MAX: u64 = 5000;

pub(crate) fn calm(loss_percent: u32) -> Faults {
    Faults { loss_percent, ..Faults::calm() }
}

/// Runs `scenario` for each seed, or for the one that is asked for, and names those that fail.
pub(crate) fn for_seeds(count: u64, scenario: impl Fn(u64) -> Result<(), String>) {
    let asked = |name: &str| std::env::var(name).ok();
    let number = |text: &str| text.parse::<u64>().unwrap();
    let seeds = match (asked("STARLING_SEED"), asked("STARLING_SEEDS")) {
        (Some(seed), _) => number(&seed)..number(&seed) + 1,
        (None, Some(seeds)) => match seeds.split_once("..") {
            Some((first, end)) => number(first)..number(end),
            None => 0..number(&seeds),
        },
        (None, None) => 0..count,
    };
    let mut failed = Vec::new();
    for seed in seeds {
        if let Err(fault) = scenario(seed) {
            println!("STARLING_SEED={seed}: {fault}");
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "failed with STARLING_SEED={failed:?}");
}

pub(crate) fn start_all(world: &mut World) {
    for n in 0..world.hosts.len() {
        world.start(n);
    }
}

/// Until the rosters agree; how long that took.
pub(crate) fn settle(world: &mut World, ms_max: u64) -> Result<u64, String> {
    let begin = world.now_us;
    while let Some(why) = world.disagreement() {
        let waited = (world.now_us - begin) / 1000;
        if waited >= ms_max {
            return Err(format!("no agreement after {waited} ms: {why}"));
        }
        world.run(20, |_| {});
    }
    Ok((world.now_us - begin) / 1000)
}

/// Calm for `ms`: nobody who runs is shown as dead to anyone, nor doubts itself.
fn expect_no_deaths(world: &mut World, ms: u64) -> Result<(), String> {
    let running: Vec<usize> = world.running().map(|(n, _)| n).collect();
    let standing = |world: &World| -> Vec<Standing> {
        world.running().map(|(_, node)| node.membership.standing()).collect()
    };
    let before = standing(world);
    for _ in 0..ms / 100 {
        world.run(100, |_| {});
        let after = standing(world);
        if after != before {
            return Err(format!("{before:?} became {after:?}"));
        }
        for &viewer in &running {
            if let Some(of) = running.iter().find(|&&of| world.sees_dead(viewer, of)) {
                return Err(format!("{viewer} holds the healthy {of} for dead"));
            }
        }
    }
    Ok(())
}

/// Kills, and tells after how long all others show it as dead.
fn detect(world: &mut World, dying: &[usize], hang: bool) -> Result<u64, String> {
    for &n in dying {
        if hang { world.hang(n, 60_000_000) } else { world.kill(n) }
    }
    let begin = world.now_us;
    loop {
        world.run(20, |_| {});
        let waited = (world.now_us - begin) / 1000;
        let viewers: Vec<usize> =
            world.running().map(|(n, _)| n).filter(|n| !dying.contains(n)).collect();
        let blind = viewers.iter().find(|&&v| dying.iter().any(|&of| !world.sees_dead(v, of)));
        let Some(blind) = blind else { return Ok(waited) };
        if waited > 20_000 {
            return Err(format!("{blind} does not see the death after {waited} ms"));
        }
    }
}

pub(crate) fn summary(mut figures: Vec<u64>) -> String {
    figures.sort_unstable();
    let at = |percent: usize| figures[(figures.len() - 1) * percent / 100];
    format!("median {} p95 {} max {}", at(50), at(95), at(100))
}

#[test]
fn a_crash_is_seen_by_all_within_five_seconds() {
    for (hosts, loss) in [(3, 0), (3, 5), (5, 5), (10, 0), (10, 5), (20, 0), (20, 5)] {
        let figures = std::cell::RefCell::new(Vec::new());
        for_seeds(8, |seed| {
            let mut world = World::new(seed, hosts, calm(loss));
            start_all(&mut world);
            // The common start is found, and lies behind.
            world.run(4000, |_| {});
            settle(&mut world, AGREE_MS_MAX)?;
            expect_no_deaths(&mut world, 5000)?;
            let dying = if hosts >= 10 && seed % 2 == 1 { vec![1, 2, 3] } else { vec![1] };
            let took = detect(&mut world, &dying, seed % 4 >= 2)?;
            figures.borrow_mut().push(took);
            if took > DETECT_MS_MAX {
                return Err(format!("{took} ms until all saw the death"));
            }
            expect_no_deaths_but(&mut world, &dying, 3000)
        });
        println!(
            "{hosts} members, {loss} % loss: death seen by all, ms: {}",
            summary(figures.into_inner())
        );
    }
}

fn expect_no_deaths_but(world: &mut World, dying: &[usize], ms: u64) -> Result<(), String> {
    for &n in dying {
        world.kill(n);
    }
    expect_no_deaths(world, ms)
}

#[test]
fn after_any_trouble_the_rosters_agree_within_ten_seconds_of_calm() {
    let figures = std::cell::RefCell::new(Vec::new());
    for_seeds(SEEDS, |seed| {
        let mut world = World::new(seed, 0, calm(0));
        let hosts = match seed % 30 {
            29 => 40,
            _ => world.rng.random_range(2..=10),
        };
        let loss = [0, 2, 10, 30][world.rng.random_range(0..4)];
        let mut world = World::new(
            seed,
            hosts,
            Faults { loss_percent: loss, doubled_percent: 5, delay_us: 50..=30_000 },
        );
        for n in 0..hosts {
            if world.rng.random_ratio(1, 4) {
                world.hosts[n].skew_ms = world.rng.random_range(-3000..=3000);
            }
            world.start(n);
            let pause_ms = world.rng.random_range(0..1500);
            world.run(pause_ms, |_| {});
        }
        for _ in 0..world.rng.random_range(3..20) {
            trouble(&mut world);
            let pause_ms = world.rng.random_range(0..6000);
            world.run(pause_ms, |_| {});
        }
        world.tell(|| "calm".to_owned());
        world.network.mend();
        world.network.faults = calm(0);
        for n in 0..hosts {
            if world.is_hung(n) {
                world.wake_up(n);
            }
        }
        let was_one = world.disagreement().is_none();
        let took = settle(&mut world, AGREE_MS_MAX)?;
        if !was_one {
            figures.borrow_mut().push(took);
        }
        // Who was suspected when it became calm may still fall, and comes back.
        world.run(SUSPICION_MS + 500, |_| {});
        settle(&mut world, AGREE_MS_MAX.saturating_sub(took + SUSPICION_MS + 500))?;
        world.run(SETTLE_MS as u64, |_| {});
        world.network.faults = calm(2);
        expect_no_deaths(&mut world, 5000)?;
        world.disagreement().map_or(Ok(()), |why| Err(format!("agreed, and no more: {why}")))
    });
    let figures = figures.into_inner();
    println!("{} times apart, rosters agree after ms: {}", figures.len(), summary(figures));
}

/// Something goes wrong, or somebody does something.
fn trouble(world: &mut World) {
    let n = world.rng.random_range(0..world.hosts.len());
    let is_running = world.hosts[n].node.is_some();
    match world.rng.random_range(0..12) {
        0 if is_running => world.kill(n),
        0..=2 => {
            world.kill(n);
            world.start(n);
        }
        3 if is_running && !world.is_hung(n) => {
            let for_us = world.rng.random_range(300_000..15_000_000);
            world.hang(n, for_us);
        }
        4 | 9 | 10 => part(world, true),
        5 | 11 => part(world, false),
        6 => world.mend(),
        7 if is_running && !world.is_hung(n) => {
            world.order(n, Order::Leave);
            if world.rng.random_bool(0.5) {
                world.run(SETTLE_MS as u64 + 100, |_| {});
                world.order(n, Order::Depart);
                world.run(100, |_| {});
                world.kill(n);
            } else {
                world.order(n, Order::Ready);
            }
        }
        8 => {
            world.hosts[n].skew_ms += world.rng.random_range(-2000..=2000);
            world.tell(|| format!("the clock of {n} is set"));
        }
        _ => {}
    }
}

/// Cuts the hosts in two, for both directions or for one.
fn part(world: &mut World, both_ways: bool) {
    let sides: Vec<bool> = (0..world.hosts.len()).map(|_| world.rng.random_bool(0.5)).collect();
    world.part(&sides, both_ways);
}

#[test]
fn nobody_healthy_falls_in_calm() {
    for (hosts, loss) in [(3, 5), (5, 5), (20, 5), (3, 10), (5, 20), (20, 20)] {
        for_seeds(5, |seed| {
            let mut world = World::new(seed, hosts, calm(loss));
            start_all(&mut world);
            // The common start is found, and lies behind.
            world.run(4000, |_| {});
            settle(&mut world, AGREE_MS_MAX)?;
            expect_no_deaths(&mut world, 60_000)
        });
    }
}

#[test]
fn gossip_costs_little() {
    for (hosts, bytes_max) in [(3, 2500), (20, 2500), (100, 3000)] {
        let mut world = World::new(1, hosts, calm(0));
        start_all(&mut world);
        world.run(8000, |_| {});
        let forming = world.sent_bytes / hosts as u64;
        let took = settle(&mut world, AGREE_MS_MAX).unwrap();
        world.run(20_000, |_| {});
        let before = world.sent_bytes;
        world.run(20_000, |_| {});
        let bytes = (world.sent_bytes - before) / hosts as u64 / 20;
        println!(
            "{hosts} members: {bytes} bytes a member a second; forming took each {forming}, and {took} ms after 8 s"
        );
        assert!(bytes < bytes_max, "{bytes}");
    }
}

#[test]
fn a_hundred_members_agree_on_what_fell() {
    let figures = std::cell::RefCell::new(Vec::new());
    for_seeds(1, |seed| {
        let mut world = World::new(seed, 100, calm(2));
        start_all(&mut world);
        world.run(8000, |_| {});
        settle(&mut world, AGREE_MS_MAX)?;
        expect_no_deaths(&mut world, 5000)?;
        figures.borrow_mut().push(detect(&mut world, &[7, 8, 9, 50, 99], false)?);
        settle(&mut world, AGREE_MS_MAX).map(|_| ())
    });
    println!("100 members, 5 fall: seen by all, ms: {}", summary(figures.into_inner()));
}
