//! Targets that change their owner: two members that scrape and report, and a hand-over made by hand.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::{
    model::{member::Interval, slot::Slot},
    ownership::{
        assign::Ending,
        orders::{Knowledge, Report, Task},
        shares::{Duties, always},
    },
};

/// Long enough for a busy machine to make each tick.
const SLOW_MS: i64 = 500;

pub(super) fn slow(url: String, id: u64, labels: &[(&str, &str)]) -> Arc<Target> {
    with_interval(at(url, id, labels), SLOW_MS)
}

fn with_interval(target: Target, interval_ms: i64) -> Arc<Target> {
    let interval = Duration::from_millis(interval_ms.unsigned_abs());
    Arc::new(Target { interval, timeout: interval, ..target })
}

pub(super) fn duties(from_ms: i64, until_ms: Option<i64>) -> Duties {
    [Interval { from_ms, until_ms }].into()
}

pub(super) fn run(target: &Arc<Target>, duties: &Duties) -> Task {
    Task::Run { target: Arc::clone(target), duties: Arc::clone(duties) }
}

pub(super) fn stop(target: &Target, ending: Ending) -> Task {
    Task::Stop { target: (target.id, Arc::clone(&target.job)), ending }
}

/// The last tick at or before that instant.
fn tick_before(target: &Target, instant_ms: i64) -> i64 {
    let interval_ms = i64::try_from(target.interval.as_millis()).unwrap();
    instant_ms - (instant_ms - phase_ms(target, target.key)).rem_euclid(interval_ms)
}

pub(super) async fn sleep_until(instant_ms: i64) {
    let wait_ms = u64::try_from(instant_ms - clock::now_ms()).unwrap_or(0);
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
}

/// What two members sent, as a receiver has it in the end. No sample may have come from both.
pub(super) fn merged(one: Series, two: Series) -> Series {
    let mut all = one;
    for (name, samples) in two {
        let own = all.entry(name).or_default();
        own.extend(samples);
        own.sort_by_key(|(_, at)| *at);
        assert!(own.windows(2).all(|pair| pair[0].1 < pair[1].1), "{own:?}");
    }
    all
}

/// Each tick was taken, and once.
pub(super) fn assert_no_gap(target: &Target, samples: &[(f64, i64)]) {
    let ticks: Vec<i64> = samples.iter().map(|(_, at)| tick_before(target, *at)).collect();
    let interval_ms = i64::try_from(target.interval.as_millis()).unwrap();
    assert!(ticks.windows(2).all(|pair| pair[1] - pair[0] == interval_ms), "{samples:?}");
}

pub(super) fn left(report: Report) -> Arc<Knowledge> {
    let Report::Left(knowledge) = report else { panic!("{report:?}") };
    Arc::new(knowledge)
}

/// Tells the old owner that the border has passed; returns what it knows of its one target.
pub(super) async fn lose(
    world: &mut World,
    job: &Arc<Job>,
    target: &Target,
    until_ms: i64,
) -> Arc<Knowledge> {
    let slot = target.key.slot();
    world.order(job, vec![stop(target, Ending::Moved), Task::Seal { slot, until_ms }]);
    let knowledge = left(world.report().await);
    let Report::Sealed { slot: sealed } = world.report().await else { panic!("no seal") };
    assert_eq!((sealed, knowledge.target.id), (slot, target.id));
    knowledge
}

#[tokio::test]
async fn a_target_that_moves_has_no_gap_no_double_and_no_marker() {
    let server = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\n"))).await;
    let (mut old, new) = (World::start().await, World::start().await);
    let job = Arc::new(quick_job());
    let target = slow(server.url("/"), 1, &[]);
    let a = named("a", &[]);
    let now_ms = clock::now_ms();
    old.order(&job, vec![run(&target, &duties(now_ms - 10_000, None))]);
    old.until("samples", |all| count(all, &a) >= 2).await;
    // The border is told ahead.
    let border_ms = clock::now_ms() + 700;
    old.order(&job, vec![run(&target, &duties(now_ms - 10_000, Some(border_ms)))]);
    new.order(&job, vec![run(&target, &duties(border_ms, None))]);
    sleep_until(border_ms).await;
    let knowledge = lose(&mut old, &job, &target, border_ms).await;
    let last_ms = knowledge.last_tick_ms.unwrap();
    assert_eq!(last_ms, tick_before(&target, border_ms - 1));
    new.order(&job, vec![Task::Adopt(knowledge)]);
    new.until("samples", |all| count(all, &a) >= 3).await;
    assert!(old.handle.targets().is_empty());
    assert!((new.meter("starling_scrape_targets_adopted_total") - 1.0).abs() < 0.1);
    assert!((old.meter("starling_scrape_slots_sealed_total") - 1.0).abs() < 0.1);
    for world in [&old, &new] {
        assert!(world.meter("starling_scrape_ticks_missed_total") < 0.1);
    }
    let (before, after) = (old.stop().await, new.stop().await);
    assert!(before[&a].iter().all(|(_, at)| tick_before(&target, *at) < border_ms));
    assert!(after[&a].iter().all(|(_, at)| *at >= border_ms));
    let all = merged(before, after);
    assert_eq!((all.len(), markers(&all)), (6, 0));
    for samples in all.values() {
        assert_no_gap(&target, samples);
    }
    assert_eq!(server.seen().len(), all[&a].len());
}

#[tokio::test]
async fn a_series_that_vanishes_in_the_move_ends_once() {
    for is_told_before_the_first_scrape in [true, false] {
        let has_moved = Arc::new(AtomicBool::new(false));
        let moved = Arc::clone(&has_moved);
        let server = FakeTarget::start(move |_, _| {
            let moved = moved.load(Ordering::SeqCst);
            Reply::Keep(metrics(if moved { "a 1\nc 1\n" } else { "a 1\nb 1\n" }))
        })
        .await;
        let (mut old, new) = (World::start().await, World::start().await);
        let job = Arc::new(quick_job());
        let target = slow(server.url("/"), 1, &[]);
        let (a, b, c) = (named("a", &[]), named("b", &[]), named("c", &[]));
        let now_ms = clock::now_ms();
        // Right behind a tick, so that there is time until the next.
        let border_ms = tick_before(&target, now_ms) + 3 * SLOW_MS + 50;
        old.order(&job, vec![run(&target, &duties(now_ms - 10_000, Some(border_ms)))]);
        new.order(&job, vec![run(&target, &duties(border_ms, None))]);
        sleep_until(border_ms).await;
        has_moved.store(true, Ordering::SeqCst);
        let knowledge = lose(&mut old, &job, &target, border_ms).await;
        if !is_told_before_the_first_scrape {
            new.until("a sample", |all| count(all, &c) >= 1).await;
        }
        new.order(&job, vec![Task::Adopt(knowledge)]);
        new.until("the marker", |all| ends(all, &b)).await;
        new.until("more", |all| count(all, &c) >= 4).await;
        let all = merged(old.stop().await, new.stop().await);
        assert_eq!(markers(&all), 1, "{all:#?}");
        let marker_ms = tick_before(&target, all[&b].last().unwrap().1);
        let first_ms = tick_before(&target, all[&c][0].1);
        assert_eq!(marker_ms, first_ms);
        assert_no_gap(&target, &all[&a]);
    }
}

#[tokio::test]
async fn a_target_that_is_gone_while_it_moves_ends_at_once() {
    let server = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\n"))).await;
    let job = Arc::new(quick_job());
    let a = named("a", &[]);
    for is_lost_later in [false, true] {
        let mut world = World::start().await;
        let target = slow(server.url("/"), 1, &[]);
        let now_ms = clock::now_ms();
        let from_ms = now_ms - 10_000;
        let border_ms = tick_before(&target, now_ms) + 2 * SLOW_MS + 100;
        let until_ms = (!is_lost_later).then_some(border_ms);
        world.order(&job, vec![run(&target, &duties(from_ms, until_ms))]);
        world.until("a sample", |all| count(all, &a) >= 2).await;
        world.order(&job, vec![stop(&target, Ending::Gone)]);
        if is_lost_later {
            // It waits for the tick that it misses first, and that is another's by now.
            let slot = target.key.slot();
            world.order(&job, vec![Task::Seal { slot, until_ms: border_ms }]);
            let Report::Sealed { slot: sealed } = world.report().await else { panic!("no seal") };
            assert_eq!(sealed, slot);
        }
        let all = world.until("the markers", |all| ends(all, &a)).await;
        assert_eq!(markers(&all), 6);
        // The tick that is missed first is another's, who may take it.
        assert_eq!(all[&a].last().unwrap().1, border_ms - 1);
        world.stop().await;
    }
}

#[tokio::test]
async fn the_markers_of_a_target_that_is_gone_are_not_lost_when_the_agent_stops() {
    let server = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\n"))).await;
    let world = World::start().await;
    let job = Arc::new(quick_job());
    let minute_ms = 60_000;
    let (soon_ms, key) = due_behind(clock::now_ms() + 100, minute_ms);
    let target = with_interval(Target { key, ..at(server.url("/"), 1, &[]) }, minute_ms);
    let a = named("a", &[]);
    world.order(&job, vec![run(&target, &always())]);
    world.until("a sample", |all| count(all, &a) >= 1).await;
    world.order(&job, vec![stop(&target, Ending::Gone)]);
    // Behind this order that one was obeyed.
    let slot = Slot::new(7).unwrap();
    world.order(&job, vec![Task::Seal { slot, until_ms: 0 }]);
    let mut world = world;
    world.report().await;
    let all = world.stop().await;
    assert_eq!(markers(&all), 6);
    assert_eq!(all[&a].last().unwrap().1, soon_ms + minute_ms);
}

#[tokio::test]
async fn a_hole_is_filled_off_the_ticks() {
    let server = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\n"))).await;
    let world = World::start().await;
    let job = Arc::new(quick_job());
    let minute_ms = 60_000;
    let now_ms = clock::now_ms();
    let key = StreamKey((now_ms + 30_000).rem_euclid(minute_ms).unsigned_abs());
    let target = with_interval(Target { key, ..at(server.url("/"), 1, &[]) }, minute_ms);
    let name = (target.id, Arc::clone(&target.job));
    let at_ms = now_ms + 100;
    world.order(
        &job,
        vec![run(&target, &duties(now_ms - 1, None)), Task::CatchUp { target: name, at_ms }],
    );
    let a = named("a", &[]);
    let all = world.until("the scrape", |all| count(all, &a) >= 1).await;
    assert!((at_ms..at_ms + 20_000).contains(&all[&a][0].1), "{all:?}");
    assert!((world.meter("starling_scrape_catch_ups_total") - 1.0).abs() < 0.1);
    world.stop().await;
}

#[tokio::test]
async fn a_catch_up_costs_no_tick() {
    let hung = FakeTarget::start(|_, _| Reply::Hang(Vec::new())).await;
    let world = World::start().await;
    let job = Arc::new(quick_job());
    let now_ms = clock::now_ms();
    let (tick_ms, key) = due_behind(now_ms + 1_150, 2_000);
    // It may take 1.5 s: less than there is between two ticks, more than is left until the first.
    let (interval, timeout) = (Duration::from_secs(2), Duration::from_millis(1_500));
    let target = Arc::new(Target { key, interval, timeout, ..at(hung.url("/"), 1, &[]) });
    let name = (target.id, Arc::clone(&target.job));
    let catch_up = Task::CatchUp { target: name, at_ms: now_ms + 50 };
    world.order(&job, vec![run(&target, &duties(now_ms - 1, None)), catch_up]);
    let up = named("up", &[]);
    let all = world.until("a scrape", |all| count(all, &up) >= 1).await;
    // It had not the time that a scrape may take, so that it says nothing of the target.
    assert_eq!(tick_before(&target, all[&up][0].1), tick_ms);
    assert_eq!(hung.seen().len(), 2);
    assert!(world.meter("starling_scrape_catch_ups_total") < 0.1);
    world.stop().await;
}

#[tokio::test]
async fn a_slot_is_sealed_when_its_last_scrape_has_ended() {
    let well = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\n"))).await;
    let hung = FakeTarget::start(|_, _| Reply::Hang(Vec::new())).await;
    let mut world = World::start().await;
    let job = Arc::new(quick_job());
    let well_target = slow(well.url("/"), 1, &[("n", "well")]);
    let hung_target = slow(hung.url("/"), 2, &[("n", "hung")]);
    let slot = well_target.key.slot();
    assert_eq!(hung_target.key.slot(), slot);
    let other = Slot::new(99).unwrap();
    let mine = duties(clock::now_ms() - 1, None);
    world.order(&job, vec![run(&well_target, &mine), run(&hung_target, &mine)]);
    timeout(WAIT_MAX, async {
        well.asked().await;
        hung.asked().await;
    })
    .await
    .unwrap();
    let until_ms = clock::now_ms() + 1;
    world.order(
        &job,
        vec![
            Task::Seal { slot, until_ms },
            stop(&hung_target, Ending::Moved),
            stop(&well_target, Ending::Moved),
            Task::Seal { slot: other, until_ms },
        ],
    );
    let Report::Sealed { slot: first } = world.report().await else {
        panic!("nothing to wait for")
    };
    assert_eq!(first, other);
    let ids = [left(world.report().await).target.id, left(world.report().await).target.id];
    assert_eq!(ids, [well_target.id, hung_target.id]);
    let Report::Sealed { slot: last } = world.report().await else { panic!("no seal") };
    assert_eq!(last, slot);
    let all = world.stop().await;
    // The scrape that was under way came to its end, and was told.
    assert_eq!(all[&named("up", &[("n", "hung")])][0].0.total_cmp(&0.0), std::cmp::Ordering::Equal);
    assert_eq!(markers(&all), 0);
}

#[tokio::test]
async fn who_does_not_listen_holds_up_no_scrape() {
    const TARGETS: u64 = 300;
    let server = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\n"))).await;
    let mut world = World::start().await;
    let job = Arc::new(quick_job());
    let mine = duties(clock::now_ms() - 1, None);
    let stays = Arc::new(at(server.url("/"), 1 << 40, &[]));
    let targets: Vec<Arc<Target>> = (0..TARGETS)
        .map(|n| with_interval(at(server.url("/"), n, &[("n", &n.to_string())]), 60_000))
        .collect();
    let runs = targets.iter().map(|target| run(target, &mine));
    world.order(&job, runs.chain([run(&stays, &always())]).collect());
    let slot = targets[0].key.slot();
    let stops = targets.iter().map(|target| stop(target, Ending::Moved));
    let until_ms = clock::now_ms();
    world.order(&job, stops.chain([Task::Seal { slot, until_ms }]).collect());
    let a = named("a", &[]);
    world.until("samples", |all| count(all, &a) >= 3).await;
    let mut reported = 0;
    while let Report::Left(_) = world.report().await {
        reported += 1;
    }
    assert_eq!(reported, TARGETS, "the seal comes last");
    world.stop().await;
}

#[tokio::test]
async fn a_former_owner_s_target_that_is_gone_ends_by_what_it_knew() {
    let server = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\nb 1\n"))).await;
    let (mut old, mut new) = (World::start().await, World::start().await);
    let job = Arc::new(quick_job());
    let target = Arc::new(at(server.url("/"), 1, &[]));
    let (a, b) = (named("a", &[]), named("b", &[]));
    old.order(&job, vec![run(&target, &duties(clock::now_ms() - 1, None))]);
    old.until("samples", |all| count(all, &a) >= 2).await;
    let knowledge = lose(&mut old, &job, &target, clock::now_ms()).await;
    let slot = target.key.slot();
    let tasks = vec![Task::End(Arc::clone(&knowledge)), Task::Seal { slot, until_ms: 0 }];
    new.order(&job, tasks);
    let Report::Sealed { .. } = new.report().await else { panic!("no seal") };
    let ended = new.stop().await;
    assert_eq!((ended.len(), markers(&ended)), (7, 7));
    let all = merged(old.stop().await, ended);
    let expected_ms = knowledge.last_tick_ms.unwrap() + INTERVAL_MS;
    assert_eq!((all[&a].last().unwrap().1, all[&b].last().unwrap().1), (expected_ms, expected_ms));
}

#[tokio::test]
async fn a_target_that_comes_back_later_is_left_and_taken_up_anew() {
    let scrapes = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&scrapes);
    let server = FakeTarget::start(move |_, _| {
        seen.fetch_add(1, Ordering::SeqCst);
        Reply::Keep(metrics("a 1\n"))
    })
    .await;
    let mut world = World::start().await;
    let job = Arc::new(quick_job());
    let target = Arc::new(at(server.url("/"), 1, &[]));
    let a = named("a", &[]);
    let now_ms = clock::now_ms();
    let (border_ms, back_ms) = (now_ms + 500, now_ms + 1_500);
    let first = Interval { from_ms: now_ms - 1, until_ms: Some(border_ms) };
    let second = Interval { from_ms: back_ms, until_ms: None };
    world.order(&job, vec![run(&target, &[first, second].into())]);
    sleep_until(border_ms).await;
    let slot = target.key.slot();
    world.order(
        &job,
        vec![run(&target, &[second].into()), Task::Seal { slot, until_ms: border_ms }],
    );
    let knowledge = left(world.report().await);
    let Report::Sealed { .. } = world.report().await else { panic!("no seal") };
    assert!(knowledge.last_tick_ms.unwrap() < border_ms);
    let before = scrapes.load(Ordering::SeqCst);
    let all = world.until("samples", |all| count(all, &a) >= before + 2).await;
    assert!(all[&a][before].1 >= back_ms, "{all:?}");
    let all = world.stop().await;
    assert_eq!(markers(&all), 0);
}

#[tokio::test]
async fn a_job_that_is_divided_from_now_on_goes_on_without_a_break() {
    let server = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\n"))).await;
    let world = World::start().await;
    let job = Arc::new(quick_job());
    let target = slow(server.url("/"), 1, &[]);
    let divided = Arc::new(Target { key: StreamKey(target.key.0 + 5_000), ..(*target).clone() });
    let a = named("a", &[]);
    world.order(&job, vec![run(&target, &always())]);
    world.until("samples", |all| count(all, &a) >= 2).await;
    let mine = duties(clock::now_ms() - 1, None);
    world.order(&job, vec![stop(&target, Ending::Gone), run(&divided, &mine)]);
    world.until("more", |all| count(all, &a) >= 5).await;
    let all = world.stop().await;
    assert_eq!(markers(&all), 0);
    assert_no_gap(&target, &all[&a]);
    assert_eq!(server.connections(), 1, "the loop went on with its connection");
}
