//! Orders in, remote write out: real targets, a real outbox, a real receiver.

mod holds;
mod moves;
mod world;

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use crate::{
    config::{Job, Limits},
    discovery::{JobTargets, per_target::phase_ms},
    model::{
        sample::is_stale_marker,
        slot::StreamKey,
        target::{Target, TargetId},
    },
    runtime::clock,
    scrape::{
        Health,
        fake_target::{FakeTarget, Reply, metrics, response},
        test_job::rules,
        tests::world::{
            INTERVAL_MS, Series, WAIT_MAX, World, at, count, due_behind, ends, found, markers,
            named, quick_job,
        },
    },
};

#[tokio::test]
async fn samples_arrive_at_their_instants() {
    let server = FakeTarget::start(|number, _| {
        Reply::Keep(metrics(&format!("# TYPE n counter\n# HELP n of requests\nn {number}\n")))
    })
    .await;
    let world = World::start().await;
    let labels = [("job", "test"), ("instance", "x")];
    let id = 3;
    let target = at(server.url("/metrics"), id, &labels);
    let phase_ms = phase_ms(&target, target.key);
    world.show(vec![found(&Arc::new(quick_job()), vec![target])]);
    let (n, up) = (named("n", &labels), named("up", &labels));
    let received = world.until("five samples", |all| count(all, &n) >= 5).await;
    let status = world.handle.status(TargetId(id)).unwrap();
    assert_eq!((status.health, status.last_error, status.samples), (Health::Up, None, 1));
    let told = world.handle.metadata(TargetId(id));
    assert_eq!((told[0].metric.as_str(), told[0].help.as_str()), ("n", "of requests"));
    assert_eq!(world.handle.targets().len(), 1);

    assert_eq!(received.len(), 6, "{received:#?}");
    let mut tick_before = i64::MIN;
    for (n, (value, timestamp_ms)) in received[&n].iter().enumerate() {
        // A busy machine may miss ticks, but takes none twice.
        let tick = (timestamp_ms - phase_ms).div_euclid(INTERVAL_MS);
        assert!(tick > tick_before, "{received:#?}");
        tick_before = tick;
        assert!((value - f64::from(u32::try_from(n).unwrap())).abs() < f64::EPSILON);
    }
    for series in received.values() {
        let times = |s: &Vec<(f64, i64)>| s.iter().map(|(_, at)| *at).collect::<Vec<_>>();
        assert_eq!(times(series), times(&received[&up]));
    }
    let received = world.stop().await;
    assert_eq!(markers(&received), 0, "an agent that stops ends no series");
}

#[tokio::test]
async fn a_target_that_is_gone_ends_at_its_first_missed_tick() {
    let server = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\n"))).await;
    let world = World::start().await;
    let job = Arc::new(quick_job());
    let target = at(server.url("/"), 1, &[]);
    world.show(vec![found(&job, vec![target.clone()])]);
    let (a, up) = (named("a", &[]), named("up", &[]));
    world.until("a sample", |all| count(all, &a) >= 2).await;
    world.show(vec![found(&job, vec![])]);
    let received = world.until("the markers", |all| ends(all, &a) && ends(all, &up)).await;
    assert_eq!(markers(&received), 6);
    let requests = server.seen().len();
    for series in received.values() {
        let [.., (_, last), (marker, end)] = series[..] else { panic!("{series:?}") };
        assert!(is_stale_marker(marker));
        assert!((1..=INTERVAL_MS).contains(&(end - last)), "{series:?}");
        assert!(end <= clock::now_ms());
    }
    assert!(world.handle.targets().is_empty());

    // It comes back: later samples, nothing at the marker's instant.
    world.show(vec![found(&job, vec![target])]);
    let received = world.until("new samples", |all| !ends(all, &a)).await;
    assert!(server.seen().len() > requests);
    assert_eq!(markers(&received), 6);
    // Its job goes: the same.
    world.show(Vec::new());
    let received = world.until("the markers", |all| ends(all, &a) && ends(all, &up)).await;
    assert_eq!(markers(&received), 12);
    world.stop().await;
}

#[tokio::test]
async fn a_target_that_was_away_for_a_moment_is_not_ended() {
    let server = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\n"))).await;
    let world = World::start().await;
    let job = Arc::new(quick_job());
    let target = at(server.url("/"), 1, &[]);
    let a = named("a", &[]);
    world.show(vec![found(&job, vec![target.clone()])]);
    world.until("a sample", |all| count(all, &a) >= 1).await;
    // Right behind a sample, so that the next tick is not missed.
    world.show(vec![found(&job, vec![])]);
    tokio::task::yield_now().await;
    world.show(vec![found(&job, vec![target.clone()])]);
    let seen = server.seen().len();
    world.until("more samples", |all| count(all, &a) >= 4).await;
    assert!(server.seen().len() > seen);
    // Under another identity, with another interval, and the same series.
    let slower = Target { id: TargetId(77), interval: 2 * target.interval, ..target };
    world.show(vec![found(&job, vec![slower])]);
    let before = count(&world.received(), &a);
    world.until("samples of the other", |all| count(all, &a) >= before + 3).await;
    assert_eq!(world.handle.targets()[0].target.id, TargetId(77));
    let received = world.stop().await;
    assert_eq!(markers(&received), 0, "{received:#?}");
    assert_eq!(server.connections(), 1, "the loop went on with its connection");
}

#[tokio::test]
async fn new_settings_of_a_job_keep_schedule_and_series() {
    let server = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\nb 1\n"))).await;
    let world = World::start().await;
    let target = at(server.url("/"), 1, &[]);
    let (a, b) = (named("a", &[]), named("b", &[]));
    world.show(vec![found(&Arc::new(quick_job()), vec![target.clone()])]);
    world.until("samples", |all| count(all, &a) >= 2).await;
    let metric_relabel = rules("- {source_labels: [__name__], regex: b, action: drop}");
    let changed = Arc::new(Job { metric_relabel, ..quick_job() });
    world.show(vec![found(&changed, vec![target])]);
    let received = world.until("the end of b", |all| ends(all, &b)).await;
    let after = count(&received, &a);
    let received = world.until("more of a", |all| count(all, &a) >= after + 2).await;
    assert_eq!(markers(&received), 1);
    let times: Vec<i64> = received[&a].iter().map(|(_, at)| *at).collect();
    for pair in times.windows(2) {
        let apart = pair[1] - pair[0];
        assert!((INTERVAL_MS / 2..INTERVAL_MS * 3 / 2).contains(&apart), "{times:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn targets_beyond_their_limit_are_down_and_left_alone() {
    let server = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\n"))).await;
    let world = World::start().await;
    let limits = Limits { targets_max: 1, ..Limits::default() };
    let job = Arc::new(Job { limits, ..quick_job() });
    let one = at(server.url("/1"), 1, &[("n", "1")]);
    let two = at(server.url("/2"), 2, &[("n", "2")]);
    let (up1, up2) = (named("up", &[("n", "1")]), named("up", &[("n", "2")]));
    let a = named("a", &[("n", "1")]);
    world.show(vec![found(&job, vec![one.clone()])]);
    world.until("a sample", |all| count(all, &a) >= 1).await;
    let both = JobTargets { limit_exceeded: true, ..found(&job, vec![one.clone(), two]) };
    world.show(vec![both]);
    let is_down = |all: &Series, name: &str| {
        all.get(name).and_then(|s| s.last()).is_some_and(|(value, _)| *value == 0.0)
    };
    world.until("both down", |all| is_down(all, &up1) && is_down(all, &up2)).await;
    world.until("the end of a", |all| ends(all, &a)).await;
    assert!(!server.seen().iter().any(|head| head.contains("/2")));
    let status = world.handle.status(TargetId(2)).unwrap();
    assert_eq!(status.health, Health::Down);
    assert!(status.last_error.unwrap().starts_with("target_limit exceeded"));
    world.show(vec![found(&job, vec![one])]);
    world.until("it is back", |all| !ends(all, &a) && !is_down(all, &up1)).await;
    world.stop().await;
}

#[tokio::test]
async fn a_target_that_hangs_costs_only_itself() {
    let hung = FakeTarget::start(|_, _| Reply::Hang(Vec::new())).await;
    let well = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\n"))).await;
    let world = World::start().await;
    let job = Arc::new(quick_job());
    world.show(vec![found(
        &job,
        vec![at(hung.url("/"), 1, &[("n", "hung")]), at(well.url("/"), 2, &[("n", "well")])],
    )]);
    let (hung_up, well_up) = (named("up", &[("n", "hung")]), named("up", &[("n", "well")]));
    let received = world.until("scrapes", |all| count(all, &hung_up) >= 5).await;
    for (series, expected) in [(&hung_up, 0.0), (&well_up, 1.0)] {
        let is_expected = |value: f64| (value - expected).abs() < f64::EPSILON;
        assert!(received[series].iter().all(|(value, _)| is_expected(*value)));
        // Its timeout is the whole interval, and yet it does not miss every other tick.
        let times: Vec<i64> = received[series].iter().map(|(_, at)| *at).collect();
        let mut apart: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        apart.sort_unstable();
        assert!(apart[apart.len() / 2] < INTERVAL_MS * 3 / 2, "{apart:?}");
    }
    let error = world.handle.status(TargetId(1)).unwrap().last_error.unwrap();
    assert!(error.starts_with("context deadline exceeded"), "{error}");
    world.stop().await;
}

#[tokio::test]
async fn a_target_that_fails_is_down_and_its_series_end() {
    let server = FakeTarget::start(|number, _| match number {
        0 => Reply::Keep(metrics("a 1\n")),
        1 => Reply::Keep(response("500 Internal Server Error", "", b"x")),
        2 => Reply::Keep(response("200 OK", "Content-Type: text/html\r\n", b"<html>")),
        3 => Reply::Keep(metrics("\u{1}\u{2}garbage")),
        4 => Reply::Keep(response("200 OK", "Content-Type: text/plain\r\n", b"a{b=\"\xff\"} 1\n")),
        5 => Reply::Keep(metrics(&format!("a{{b=\"{}\"}} 1\n", "x".repeat(1 << 20)))),
        // Of an empty body the type does not matter.
        _ => Reply::Keep(response("200 OK", "", b"")),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("failures");
    let job = Job { scrape_failure_log_file: Some(file.clone()), ..quick_job() };
    let world = World::start().await;
    world.show(vec![found(&Arc::new(job), vec![at(server.url("/"), 1, &[])])]);
    let up = named("up", &[]);
    let received = world.until("seven scrapes", |all| count(all, &up) >= 7).await;
    let values: Vec<f64> = received[&up].iter().map(|(value, _)| *value).take(7).collect();
    assert_eq!(values, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!(count(&received, &named("a", &[])), 2);
    assert_eq!(markers(&received), 1);
    world.stop().await;
    let log = std::fs::read_to_string(&file).unwrap();
    let reasons = ["HTTP status 500", "unsupported Content-Type", "line 1", "UTF-8", "longer than"];
    assert_eq!(log.lines().count(), reasons.len(), "{log}");
    for (line, reason) in log.lines().zip(reasons) {
        assert!(line.contains(reason), "`{reason}` is not in {line}");
    }
}

#[tokio::test]
async fn a_scrape_under_way_is_finished_when_the_agent_stops() {
    let server = FakeTarget::start(|_, _| Reply::Hang(b"HTTP/1.1 200 OK\r\n".to_vec())).await;
    let slow = FakeTarget::start(|_, _| {
        std::thread::sleep(Duration::from_millis(50));
        Reply::Keep(metrics("a 1\n"))
    })
    .await;
    let world = World::start().await;
    let job = Arc::new(quick_job());
    let long = Duration::from_secs(60);
    let hung = Target { timeout: long, interval: long, ..at(server.url("/"), 1, &[("n", "1")]) };
    // Due at once: its phase is where the clock stands.
    let (_, key) = due_behind(clock::now_ms() + 100, 60_000);
    let hung = Target { key, ..hung };
    let slow_target = Target { key, interval: long, timeout: long, ..at(slow.url("/"), 2, &[]) };
    world.show(vec![found(&job, vec![hung, slow_target])]);
    timeout(WAIT_MAX, async {
        slow.asked().await;
        server.asked().await;
    })
    .await
    .unwrap();
    let started = Instant::now();
    let received = world.stop().await;
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(count(&received, &named("a", &[])), 1);
    assert!(!received.contains_key(&named("up", &[("n", "1")])), "nobody knows whether it is up");
    assert_eq!(markers(&received), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_targets_without_a_thread_each() {
    const TARGETS: u64 = 1000;
    let server = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\nb 2\n"))).await;
    let world = World::start().await;
    let job = Arc::new(quick_job());
    let targets = (0..TARGETS).map(|n| {
        let interval = Duration::from_secs(2);
        let labels = [("n", &*n.to_string())];
        Target { interval, timeout: interval, ..at(server.url("/metrics"), n, &labels) }
    });
    let before_ms = clock::now_ms();
    world.show(vec![found(&job, targets.collect())]);
    let received = world
        .until("two samples of each", |all| {
            all.values().filter(|samples| samples.len() >= 2).count() == 7 * 1000
        })
        .await;
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    assert!(threads < 200, "{threads} threads");
    assert_eq!(server.connections(), 1000, "one connection a target");
    // No herd: the first scrapes are spread over the interval.
    let mut firsts: Vec<i64> = received.values().map(|samples| samples[0].1 - before_ms).collect();
    firsts.sort_unstable();
    let in_first_half = firsts.iter().filter(|ms| **ms < 1000).count() * 100 / firsts.len();
    assert!((30..70).contains(&in_first_half), "{in_first_half} %");
    assert!(world.handle.targets().iter().all(|status| status.health == Health::Up));
    world.stop().await;
}
