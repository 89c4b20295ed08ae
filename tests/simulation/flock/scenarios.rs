//! What a flock goes through, and what has to be so then. The bounds are those of docs/clustering.md.

use rand::RngExt;
use starling::fleet::memory::Faults;

use crate::{
    flock::{Flock, Size},
    membership::{calm, for_seeds},
    world::SETTLE_MS,
};

const AGREE_MS_MAX: u64 = 10_000;
const DETECT_MS_MAX: i64 = 5_000;
/// How late a tick may be of a host whose clock was set: until it knows that it was not suspended.
const STEPPED_MS_MAX: i64 = 500;
/// By then all that can be sent has been sent.
const DRAIN_MS_MAX: u64 = 120_000;

/// Between two and ten members, and some hundred targets.
fn some(seed: u64, span_ms: i64) -> Flock {
    Flock::new(seed, some_size(seed, span_ms))
}

fn some_size(seed: u64, span_ms: i64) -> Size {
    use rand::{SeedableRng, rngs::StdRng};
    let mut rng = StdRng::seed_from_u64(seed ^ 0x51ce);
    Size {
        members: rng.random_range(2..=10),
        targets: rng.random_range(20..300),
        destinations: rng.random_range(1..=2),
        is_lively: rng.random_bool(0.5),
        overrides: rng.random_ratio(1, 3),
        span_ms,
    }
}

/// Clocks as far apart as `skew_ms`, one slow to discover, and all started together.
fn formed(flock: &mut Flock, skew_ms: i64, loss_percent: u32) -> Result<(), String> {
    flock.world.network.faults = calm(loss_percent);
    for n in 0..flock.members() {
        if flock.air.rng.random_bool(0.5) {
            flock.world.hosts[n].skew_ms = flock.air.rng.random_range(-skew_ms..=skew_ms);
        }
    }
    if flock.air.rng.random_bool(0.5) {
        flock.slow_discovery(0, 8_000);
    }
    for n in 0..flock.members() {
        flock.start(n);
    }
    agree(flock, AGREE_MS_MAX)?;
    flock.run(SETTLE_MS as u64 + 2_000);
    Ok(())
}

/// Until the views are the same; how long that took.
fn agree(flock: &mut Flock, ms_max: u64) -> Result<u64, String> {
    let begin_ms = flock.air.now_ms;
    while let Some(why) = flock.disagreement() {
        let waited = (flock.air.now_ms - begin_ms).unsigned_abs();
        if waited >= ms_max {
            return Err(format!("no agreement after {waited} ms: {why}"));
        }
        flock.run(100);
    }
    Ok((flock.air.now_ms - begin_ms).unsigned_abs())
}

fn drained(flock: &mut Flock) -> Result<(), String> {
    let end_ms = flock.air.now_ms + DRAIN_MS_MAX as i64;
    // What is scraped meanwhile is on its way as well.
    let appended = flock.air.appended.clone();
    let later = |flock: &mut Flock| std::mem::replace(&mut flock.air.appended, appended.clone());
    loop {
        flock.run(1_000);
        let all = later(flock);
        let delivered = flock.expect_delivered();
        flock.air.appended = all;
        if delivered.is_ok() || flock.air.now_ms > end_ms {
            return delivered;
        }
    }
}

fn finish(flock: &mut Flock) -> Result<(), String> {
    let delivered = drained(flock);
    flock.expect_no_fault()?;
    delivered?;
    flock.expect_markers()
}

/// Only a split, or what looks like one, has two members send the same.
fn no_double(flock: &Flock) -> Result<(), String> {
    flock.air.first_double.clone().map_or(Ok(()), Err)
}

/// Ticks up to here have been done wherever they are done at all.
fn done_ms(flock: &Flock) -> i64 {
    flock.air.now_ms - 2_500
}

#[test]
fn planned_changes_miss_nothing_and_double_nothing() {
    for_seeds(10, |seed| {
        let mut flock = some(seed, 60_000);
        let skew_ms = [0, 400, 900][flock.air.rng.random_range(0..3)];
        let loss_percent = [0, 0, 5][flock.air.rng.random_range(0..3)];
        formed(&mut flock, skew_ms, loss_percent)?;
        let begin_ms = flock.air.now_ms + 1_500;
        for _ in 0..flock.air.rng.random_range(2..8) {
            let n = flock.air.rng.random_range(0..flock.members());
            // One of those that a newcomer asks for the others stays.
            let asked = 0..flock.world.seeds.min(flock.members());
            let stays = asked.filter(|asked| *asked != n).any(|asked| flock.is_active(asked));
            if flock.is_active(n) && stays {
                flock.stop(n);
            } else if !flock.is_running(n) {
                flock.start(n);
            }
            let pause_ms = flock.air.rng.random_range(0..6_000);
            flock.run(pause_ms);
        }
        flock.run(8_000);
        agree(&mut flock, 0)?;
        flock.expect_exact(begin_ms, done_ms(&flock))?;
        finish(&mut flock)?;
        // One that starts hears of overrides that hold already.
        let late_fences = if flock.has_overrides() { 0 } else { flock.air.tally.late_fences };
        if flock.air.tally.bets + late_fences > 0 {
            return Err(format!("{:?}", flock.air.tally));
        }
        no_double(&flock)
    });
}

#[test]
fn a_rolling_restart_is_not_noticed() {
    for_seeds(3, |seed| {
        let mut flock = some(seed, 60_000);
        formed(&mut flock, 300, 2)?;
        let begin_ms = flock.air.now_ms + 1_500;
        for n in 0..flock.members() {
            flock.stop(n);
            let mut patience = 0;
            while flock.is_running(n) {
                flock.run(100);
                patience += 1;
                if patience > 300 {
                    return Err(format!("{n} does not end"));
                }
            }
            let pause_ms = flock.air.rng.random_range(0..2_000);
            flock.run(pause_ms);
            flock.start(n);
            let pause_ms = flock.air.rng.random_range(3_000..6_000);
            flock.run(pause_ms);
        }
        flock.run(6_000);
        agree(&mut flock, 0)?;
        flock.expect_exact(begin_ms, done_ms(&flock))?;
        finish(&mut flock)?;
        no_double(&flock)
    });
}

/// Where nothing is wrong but that someone sets a host's clock, by up to an hour, again and again.
#[test]
fn a_clock_that_is_set_moves_no_tick() {
    for_seeds(10, |seed| {
        let size = Size {
            members: 3 + (seed % 4) as usize,
            is_lively: false,
            overrides: false,
            ..some_size(seed, 200_000)
        };
        let mut flock = Flock::new(seed, size);
        formed(&mut flock, 0, 0)?;
        let host = flock.members() - 1;
        let begin_ms = flock.air.now_ms + 1_500;
        flock.run(2_000);
        for _ in 0..40 {
            flock.world.hosts[host].skew_ms = flock.air.rng.random_range(-3_600_000..=3_600_000);
            let pause_ms = flock.air.rng.random_range(100..6_000);
            flock.run(pause_ms);
        }
        flock.run(8_000);
        agree(&mut flock, 0)?;
        flock.expect_exact(begin_ms, done_ms(&flock))?;
        let (judgement, _) = flock.judge(begin_ms, done_ms(&flock));
        if judgement.beyond_interval_ms > STEPPED_MS_MAX {
            return Err(format!("{judgement:?}"));
        }
        finish(&mut flock)?;
        no_double(&flock)
    });
}

#[test]
fn after_a_crash_the_gap_is_an_interval_and_five_seconds() {
    for_seeds(10, |seed| {
        let mut flock = some(seed, 40_000);
        formed(&mut flock, 50, 2)?;
        let begin_ms = flock.air.now_ms;
        let hang = seed % 2 == 0;
        let members = flock.members();
        let falling = if members == 10 { 3 } else { 1 };
        for n in 0..falling {
            if hang { flock.world.hang(n, 20_000_000) } else { flock.kill(n) }
        }
        flock.run(DETECT_MS_MAX as u64);
        for viewer in falling..members {
            if let Some(of) = (0..falling).find(|of| !flock.world.sees_dead(viewer, *of)) {
                return Err(format!("{viewer} does not see the death of {of}"));
            }
            if let Some(of) = (falling..members).find(|of| flock.world.sees_dead(viewer, *of)) {
                return Err(format!("{viewer} holds the healthy {of} for dead"));
            }
        }
        flock.run(12_000);
        let (judgement, _) = flock.judge(begin_ms, done_ms(&flock));
        if judgement.beyond_interval_ms > DETECT_MS_MAX {
            return Err(format!("{judgement:?}"));
        }
        flock.expect_exact(begin_ms + DETECT_MS_MAX + 1_000, done_ms(&flock))?;
        if hang {
            flock.run(20_000);
        } else {
            (0..falling).for_each(|n| flock.start(n));
        }
        agree(&mut flock, AGREE_MS_MAX)?;
        finish(&mut flock)
    });
}

#[test]
fn both_sides_of_a_split_scrape_and_it_heals() {
    for_seeds(8, |seed| {
        let mut flock = some(seed, 60_000);
        formed(&mut flock, 50, 1)?;
        let members = flock.members();
        let cut = flock.air.rng.random_range(1..members);
        let sides: Vec<bool> = (0..members).map(|n| n < cut).collect();
        let both_ways = flock.air.rng.random_ratio(2, 3);
        flock.part(&sides, both_ways);
        flock.run(15_000);
        let healed_ms = flock.air.now_ms;
        flock.mend();
        flock.run(10_000);
        agree(&mut flock, 0)?;
        flock.run(8_000);
        flock.expect_exact(healed_ms + 10_000, done_ms(&flock))?;
        finish(&mut flock)
    });
}

#[test]
fn after_any_trouble_all_is_well_again() {
    for_seeds(8, |seed| {
        let mut flock = some(seed, 90_000);
        let members = flock.members();
        let loss_percent = [0, 2, 10, 30][flock.air.rng.random_range(0..4)];
        flock.world.network.faults =
            Faults { loss_percent, doubled_percent: 5, delay_us: 50..=30_000 };
        flock.air.loss_percent = loss_percent / 3;
        for n in 0..members {
            if flock.air.rng.random_ratio(1, 4) {
                flock.world.hosts[n].skew_ms = flock.air.rng.random_range(-2_000..=2_000);
            }
            flock.start(n);
            let pause_ms = flock.air.rng.random_range(0..1_000);
            flock.run(pause_ms);
        }
        for _ in 0..flock.air.rng.random_range(3..15) {
            trouble(&mut flock);
            let pause_ms = flock.air.rng.random_range(0..6_000);
            flock.run(pause_ms);
        }
        flock.world.tell(|| "calm".to_owned());
        flock.mend();
        flock.world.network.faults = calm(0);
        flock.air.loss_percent = 0;
        for n in 0..members {
            flock.world.hosts[n].skew_ms = 0;
            if flock.world.is_hung(n) {
                flock.world.wake_up(n);
            }
            if !flock.is_running(n) {
                flock.start(n);
            }
        }
        flock.run(10_000);
        // One that leaves ends first.
        for n in 0..members {
            if !flock.is_running(n) {
                flock.start(n);
            }
        }
        agree(&mut flock, AGREE_MS_MAX)?;
        flock.run(12_000);
        let calm_ms = flock.air.now_ms;
        flock.run(15_000);
        agree(&mut flock, 0)?;
        flock.expect_exact(calm_ms, done_ms(&flock))?;
        finish(&mut flock)
    });
}

fn trouble(flock: &mut Flock) {
    let n = flock.air.rng.random_range(0..flock.members());
    let is_running = flock.is_running(n);
    match flock.air.rng.random_range(0..12) {
        0 if is_running => flock.kill(n),
        0..=2 => {
            flock.kill(n);
            flock.start(n);
        }
        3 if is_running && !flock.world.is_hung(n) => {
            let for_us = flock.air.rng.random_range(300_000..15_000_000);
            flock.world.hang(n, for_us);
        }
        kind @ (4 | 5 | 10) => {
            let sides: Vec<bool> =
                (0..flock.members()).map(|_| flock.air.rng.random_bool(0.5)).collect();
            flock.part(&sides, kind != 5);
        }
        6 => flock.mend(),
        7 | 8 if flock.is_active(n) => flock.stop(n),
        9 => {
            let until_ms = flock.air.now_ms + flock.air.rng.random_range(500..15_000);
            let destination = flock.air.destinations.values_mut().next().unwrap();
            destination.down_until_ms = until_ms;
        }
        11 => {
            flock.world.hosts[n].skew_ms += flock.air.rng.random_range(-500..=500);
        }
        _ => {}
    }
}

#[test]
#[ignore = "it takes minutes in a debug build"]
fn a_hundred_members_and_ten_thousand_targets() {
    for_seeds(1, |seed| {
        let size = Size {
            members: 100,
            targets: 10_000,
            destinations: 1,
            is_lively: false,
            overrides: false,
            span_ms: 60_000,
        };
        let mut flock = Flock::new(seed, size);
        formed(&mut flock, 100, 1)?;
        let begin_ms = flock.air.now_ms + 1_500;
        flock.stop(1);
        flock.stop(2);
        flock.run(8_000);
        flock.start(1);
        flock.start(2);
        flock.run(8_000);
        flock.expect_exact(begin_ms, done_ms(&flock))?;
        let begin_ms = flock.air.now_ms;
        for n in 3..8 {
            flock.kill(n);
        }
        flock.run(12_000);
        let (judgement, _) = flock.judge(begin_ms, done_ms(&flock));
        // The bound of five seconds is one of up to twenty members.
        if judgement.beyond_interval_ms > DETECT_MS_MAX + 1_000 {
            return Err(format!("{judgement:?}"));
        }
        agree(&mut flock, 0)?;
        // What the dead had on their disks comes with them.
        for n in 3..8 {
            flock.start(n);
        }
        finish(&mut flock)
    });
}
