//! Divided targets that must not be scraped for a while, and news of one that come when it is over.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{
    moves::{assert_no_gap, duties, left, lose, merged, run, sleep_until, slow, stop},
    *,
};
use crate::{
    model::slot::Slot,
    ownership::{
        assign::Ending,
        orders::{Report, Task},
        shares::always,
    },
    runtime::lease::Lease,
};

/// What each member scrapes for itself goes on.
#[tokio::test]
async fn nothing_that_is_divided_is_scraped_on_hold() {
    let server = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\n"))).await;
    let own_server = FakeTarget::start(|_, _| Reply::Keep(metrics("b 1\n"))).await;
    let mut world = World::start().await;
    let job = Arc::new(quick_job());
    let target = Arc::new(at(server.url("/"), 1, &[]));
    let late = Arc::new(at(server.url("/late"), 2, &[("n", "late")]));
    let own = Arc::new(at(own_server.url("/"), 3, &[("n", "own")]));
    let mine = duties(clock::now_ms() - 1, None);
    let a = named("a", &[]);
    world.order(&job, vec![run(&target, &mine), run(&own, &always())]);
    world.until("samples", |all| count(all, &a) >= 2).await;
    let slot = Slot::new(7).unwrap();
    let at_ms = clock::now_ms();
    let name = (target.id, Arc::clone(&target.job));
    world.order(
        &job,
        vec![
            Task::Hold(true),
            Task::CatchUp { target: name, at_ms },
            run(&late, &mine),
            Task::Seal { slot, until_ms: 0 },
        ],
    );
    world.report().await;
    // A scrape may be under way still.
    sleep_until(clock::now_ms() + INTERVAL_MS).await;
    let (held, own_held) = (server.seen().len(), own_server.seen().len());
    sleep_until(clock::now_ms() + 5 * INTERVAL_MS).await;
    assert_eq!(server.seen().len(), held, "{:?}", server.seen());
    assert!(own_server.seen().len() >= own_held + 3, "{own_held}");
    world.order(&job, vec![Task::Hold(false)]);
    let before = count(&world.received(), &a);
    let up = named("up", &[("n", "late")]);
    let all =
        world.until("samples of both", |all| count(all, &a) > before && count(all, &up) >= 1).await;
    assert_eq!(markers(&all), 0);
    assert!(world.meter("starling_scrape_ticks_missed_total") >= 4.0);
    world.stop().await;
}

/// The fleet takes the right away, and gives it back when this member has acted on the news.
#[tokio::test]
async fn without_the_lease_nothing_that_is_divided_is_scraped() {
    let server = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\n"))).await;
    let own_server = FakeTarget::start(|_, _| Reply::Keep(metrics("b 1\n"))).await;
    let lease = Lease::new();
    let world = World::with(lease.clone()).await;
    let job = Arc::new(quick_job());
    let target = Arc::new(at(server.url("/"), 1, &[]));
    let own = Arc::new(at(own_server.url("/"), 3, &[("n", "own")]));
    let (a, b) = (named("a", &[]), named("b", &[("n", "own")]));
    world.order(&job, vec![run(&target, &duties(clock::now_ms() - 1, None)), run(&own, &always())]);
    let all = world.until("its own", |all| count(all, &b) >= 3).await;
    assert_eq!(count(&all, &a), 0, "nobody has granted it yet");
    lease.renew(WAIT_MAX);
    world.order(&job, vec![Task::Grant(lease.generation())]);
    world.until("samples", |all| count(all, &a) >= 2).await;
    lease.revoke();
    sleep_until(clock::now_ms() + INTERVAL_MS).await;
    let (held, own_held) = (server.seen().len(), own_server.seen().len());
    sleep_until(clock::now_ms() + 5 * INTERVAL_MS).await;
    assert_eq!(server.seen().len(), held, "{:?}", server.seen());
    assert!(own_server.seen().len() >= own_held + 3, "{own_held}");
    lease.renew(WAIT_MAX);
    world.order(&job, vec![Task::Grant(lease.generation())]);
    let before = count(&world.received(), &a);
    world.until("more", |all| count(all, &a) > before).await;
    world.stop().await;
}

/// From A over B to C: what A knew comes to B when the loop there has left already.
#[tokio::test]
async fn what_comes_too_late_is_passed_on() {
    let has_moved = Arc::new(AtomicBool::new(false));
    let moved = Arc::clone(&has_moved);
    let server = FakeTarget::start(move |_, _| {
        let moved = moved.load(Ordering::SeqCst);
        Reply::Keep(metrics(if moved { "a 1\n" } else { "a 1\nb 1\n" }))
    })
    .await;
    let (mut first, mut middle, last) =
        (World::start().await, World::start().await, World::start().await);
    let job = Arc::new(quick_job());
    let target = slow(server.url("/"), 1, &[]);
    let (a, b) = (named("a", &[]), named("b", &[]));
    first.order(&job, vec![run(&target, &duties(clock::now_ms() - 1, None))]);
    first.until("samples", |all| count(all, &b) >= 2).await;
    let knowledge = lose(&mut first, &job, &target, clock::now_ms()).await;
    has_moved.store(true, Ordering::SeqCst);
    // Its stretch is over before its first tick.
    let border_ms = clock::now_ms();
    middle.order(&job, vec![run(&target, &duties(border_ms - 1, Some(border_ms)))]);
    let empty = lose(&mut middle, &job, &target, border_ms).await;
    assert_eq!(empty.last_tick_ms, None);
    middle.order(&job, vec![Task::Adopt(Arc::clone(&knowledge))]);
    let passed_on = left(middle.report().await);
    assert_eq!(passed_on, knowledge);
    let mine = duties(border_ms, None);
    last.order(&job, vec![run(&target, &mine), Task::Adopt(empty), Task::Adopt(passed_on)]);
    last.until("the marker", |all| ends(all, &b)).await;
    let after = last.stop().await;
    assert!(middle.stop().await.is_empty());
    let all = merged(first.stop().await, after);
    assert_eq!(markers(&all), 1, "{all:#?}");
    assert_no_gap(&target, &all[&a]);
}

/// A strict receiver would refuse markers that are older than what it has.
#[tokio::test]
async fn what_has_ended_here_is_not_ended_earlier() {
    let server = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\nb 1\n"))).await;
    let (mut old, mut new) = (World::start().await, World::start().await);
    let job = Arc::new(quick_job());
    let target = Arc::new(at(server.url("/"), 1, &[]));
    let (a, b) = (named("a", &[]), named("b", &[]));
    old.order(&job, vec![run(&target, &duties(clock::now_ms() - 1, None))]);
    old.until("samples", |all| count(all, &a) >= 2).await;
    let border_ms = clock::now_ms();
    let knowledge = lose(&mut old, &job, &target, border_ms).await;
    new.order(&job, vec![run(&target, &duties(border_ms, None))]);
    new.until("samples", |all| count(all, &a) >= 2).await;
    new.order(&job, vec![stop(&target, Ending::Gone)]);
    new.until("the markers", |all| ends(all, &b)).await;
    let slot = target.key.slot();
    // Twice, as the first answer may be lost.
    let end = || Task::End(Arc::clone(&knowledge));
    new.order(&job, vec![end(), end(), Task::Seal { slot, until_ms: border_ms }]);
    let Report::Sealed { .. } = new.report().await else { panic!("no seal") };
    let ended = new.stop().await;
    assert_eq!(markers(&ended), 7, "{ended:#?}");
    let all = merged(old.stop().await, ended);
    assert!(ends(&all, &a) && ends(&all, &b));
}
