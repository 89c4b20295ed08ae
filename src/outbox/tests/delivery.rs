//! What arrives: order, once, and in spite of every answer a receiver can give.

use std::{collections::HashSet, sync::Arc, time::Duration};

use crate::outbox::{
    LaneState, QueueView,
    tests::{
        Running, Target, destination, one,
        receiver::{Receiver, Reply, Request, strict},
    },
};

fn ok(_: &Request) -> Reply {
    Reply::status(204)
}

fn holds(request: &Request, series: &str) -> bool {
    request.series.iter().any(|one| one.labels.get("n") == series)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_says_what_remote_write_demands() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(ok).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut target = Target::new("a", 3);
    outbox.scrape(&mut target).await;
    receiver.until_stored(3).await;
    let (request, _) = &receiver.requests()[0];
    let expected = [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "0.1.0"),
        ("user-agent", concat!("starling/", env!("CARGO_PKG_VERSION"))),
    ];
    for (name, value) in expected {
        assert_eq!(request.headers.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(!request.headers.contains_key("retry-attempt"));
    assert_eq!(request.path, "/push");
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_everything_arrives_once_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|_| Reply::status(503)).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut targets: Vec<Target> = (0..10).map(|n| Target::new(&format!("t{n}"), 5)).collect();
    for _ in 0..20 {
        for target in &mut targets {
            outbox.scrape(target).await;
        }
    }
    receiver
        .until("repeats", |receiver| {
            receiver
                .requests()
                .iter()
                .any(|(r, _)| r.headers.get("retry-attempt").is_some_and(|n| n == "2"))
                .then_some(())
        })
        .await;
    receiver.answer(strict());
    receiver.until_stored(10 * 5 * 20).await;
    for target in &targets {
        target.assert_stored_once_in_order(&receiver);
    }
    for (request, _) in receiver.requests() {
        let names: HashSet<&str> = request.series.iter().map(|s| s.labels.get("n")).collect();
        assert_eq!(names.len(), request.series.len(), "a request repeats a series");
    }
    outbox.stop().await;
}

/// The answer to a stored request is lost: it comes again, and a strict receiver takes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_costs_nothing_at_a_strict_receiver() {
    let directory = tempfile::tempdir().unwrap();
    let mut strictly = strict();
    let mut requests = 0;
    let receiver = Receiver::start(move |request| {
        requests += 1;
        let reply = strictly(request);
        if requests % 3 == 1 && reply.status == 204 { Reply::status(0) } else { reply }
    })
    .await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut target = Target::new("a", 3);
    for _ in 0..12 {
        outbox.scrape(&mut target).await;
    }
    receiver
        .until("the last scrape stored", |receiver| {
            receiver.stored().get("a-0").is_some_and(|values| values.contains(&11.0)).then_some(())
        })
        .await;
    assert!(receiver.requests().iter().all(|(_, status)| *status != 400));
    for reason in ["rejected", "maybe_stored", "rejected_unresolved"] {
        assert_eq!(outbox.dropped(reason), 0, "{reason}");
    }
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_sample_costs_one_sample() {
    let directory = tempfile::tempdir().unwrap();
    let bad = |request: &Request| if holds(request, "a-617") { 400 } else { 204 };
    let receiver = Receiver::start(move |request| Reply::status(bad(request))).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    outbox.scrape(&mut Target::new("a", 1000)).await;
    outbox.scrape(&mut Target::new("b", 500)).await;
    receiver.until_stored(1499).await;
    outbox
        .until_view("one rejected", |view| {
            (view.dropped_samples.get("rejected") == Some(&1)).then_some(())
        })
        .await;
    assert!(!receiver.stored().contains_key("a-617"));
    assert!(receiver.stored().values().all(|values| values.len() == 1));
    assert!(receiver.requests().len() < 40, "{} requests", receiver.requests().len());
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hopeless_batch_costs_a_bounded_number_of_requests() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|_| Reply::status(400)).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    outbox.scrape(&mut Target::new("a", 1000)).await;
    outbox
        .until_view("all given up", |view| {
            (view.dropped_samples.values().sum::<u64>() == 1000).then_some(())
        })
        .await;
    assert_eq!(receiver.requests().len(), 128);
    assert!(outbox.dropped("rejected_unresolved") > 900);
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_too_large_is_split_and_the_size_learned() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|request| {
        Reply::status(if request.series.len() > 100 { 413 } else { 204 })
    })
    .await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut targets: Vec<Target> = (0..40).map(|n| Target::new(&format!("t{n}"), 60)).collect();
    for target in &mut targets {
        outbox.scrape(target).await;
    }
    receiver.until_stored(40 * 60).await;
    let refused = || receiver.requests().iter().filter(|(_, status)| *status == 413).count();
    assert!(refused() > 0);
    let before = refused();
    for target in &mut targets {
        outbox.scrape(target).await;
    }
    receiver.until_stored(2 * 40 * 60).await;
    assert!(refused() <= before + 4, "{} refused, then {}", before, refused());
    for target in &targets {
        target.assert_stored_once_in_order(&receiver);
    }
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_nothing_helps_against_drops_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = true;
    let receiver = Receiver::start(move |_| Reply {
        text: "never".into(),
        ..Reply::status(if std::mem::take(&mut first) { 300 } else { 204 })
    })
    .await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut target = Target::new("a", 3);
    outbox.scrape(&mut target).await;
    outbox
        .until_view("refused", |view| {
            (view.dropped_samples.get("refused") == Some(&3)).then_some(())
        })
        .await;
    outbox.scrape(&mut target).await;
    receiver.until_stored(3).await;
    assert_eq!(receiver.stored()["a-0"], [1.0]);
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_keeps_everything_and_asks_slowly() {
    let directory = tempfile::tempdir().unwrap();
    let receiver =
        Receiver::start(|_| Reply { text: "no such tenant".into(), ..Reply::status(403) }).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut targets: Vec<Target> = (0..20).map(|n| Target::new(&format!("t{n}"), 2)).collect();
    for target in &mut targets {
        outbox.scrape(target).await;
    }
    let reason = outbox.until_view("held", held).await;
    assert!(reason.contains("403") && reason.contains("no such tenant"), "{reason}");
    receiver.answer(ok);
    receiver.until_stored(40).await;
    for target in &targets {
        target.assert_stored_once_in_order(&receiver);
    }
    let refused = receiver.requests().iter().filter(|(_, status)| *status == 403).count();
    assert!(refused <= 8, "{refused} requests while held");
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_obeyed() {
    let directory = tempfile::tempdir().unwrap();
    let started = Arc::new(std::sync::Mutex::new(Vec::new()));
    let times = Arc::clone(&started);
    let receiver = Receiver::start(move |_| {
        let mut times = times.lock().unwrap();
        times.push(tokio::time::Instant::now());
        if times.len() == 1 {
            Reply::status(429).header("Retry-After", "1")
        } else {
            Reply::status(204)
        }
    })
    .await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    outbox.scrape(&mut Target::new("a", 1)).await;
    receiver.until_stored(1).await;
    let times = started.lock().unwrap().clone();
    let waited = times[1] - times[0];
    assert!(
        (Duration::from_millis(990)..Duration::from_millis(1900)).contains(&waited),
        "{waited:?}"
    );
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_delays_nobody_who_appends() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|_| Reply::status(204).after(Duration::from_millis(300))).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut target = Target::new("a", 10);
    let started = tokio::time::Instant::now();
    for _ in 0..10 {
        outbox.scrape(&mut target).await;
    }
    assert!(started.elapsed() < Duration::from_millis(200));
    receiver.until_stored(100).await;
    target.assert_stored_once_in_order(&receiver);
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_destination_does_not_hold_up_another() {
    let directory = tempfile::tempdir().unwrap();
    let dead = Receiver::start(|_| Reply::status(503)).await;
    let alive = Receiver::start(ok).await;
    let mut external = destination("alive", &alive.url());
    external.external_labels = [("dc", "x"), ("n", "not me")].into_iter().collect();
    let destinations = [Arc::new(destination("dead", &dead.url())), Arc::new(external)];
    let outbox = Running::start(directory.path(), &destinations);
    let mut target = Target::new("a", 10);
    for _ in 0..200 {
        outbox.scrape(&mut target).await;
    }
    alive.until_stored(2000).await;
    target.assert_stored_once_in_order(&alive);
    assert!(
        alive.requests().iter().all(|(r, _)| r.series.iter().all(|s| s.labels.get("dc") == "x"))
    );
    dead.answer(ok);
    dead.until_stored(2000).await;
    target.assert_stored_once_in_order(&dead);
    assert!(
        dead.requests().iter().all(|(r, _)| r.series.iter().all(|s| s.labels.get("dc").is_empty()))
    );
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_sends_what_still_waited_for_company() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(ok).await;
    let mut patient = destination("main", &receiver.url());
    patient.queue.batch_send_deadline = Duration::from_secs(3600);
    let outbox = Running::start(directory.path(), &[Arc::new(patient)]);
    let mut target = Target::new("a", 10);
    outbox.scrape(&mut target).await;
    assert!(receiver.requests().is_empty());
    outbox.stop().await;
    target.assert_stored_once_in_order(&receiver);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_does_not_wait_for_a_dead_destination() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|_| Reply::status(503).header("Retry-After", "60")).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut target = Target::new("a", 10);
    outbox.scrape(&mut target).await;
    receiver.until("an attempt", |r| (!r.requests().is_empty()).then_some(())).await;
    let started = tokio::time::Instant::now();
    outbox.stop().await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());

    receiver.answer(strict());
    let outbox = Running::start(directory.path(), &one(&receiver));
    receiver.until_stored(10).await;
    target.assert_stored_once_in_order(&receiver);
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_receiver_is_followed_as_a_post() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|request| {
        if request.path == "/push" {
            Reply::status(301).header("Location", "/elsewhere")
        } else {
            Reply::status(204)
        }
    })
    .await;
    let mut follows = destination("main", &receiver.url());
    follows.http.follow_redirects = true;
    let outbox = Running::start(directory.path(), &[Arc::new(follows)]);
    let mut target = Target::new("a", 2);
    outbox.scrape(&mut target).await;
    receiver.until_stored(2).await;
    target.assert_stored_once_in_order(&receiver);
    outbox.stop().await;
}

/// What redirects elsewhere is a mistake of the configuration: it is said, and costs nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_that_is_not_followed_keeps_everything() {
    let abroad = "http://abroad.example/push?key=secret";
    let cases = [
        (302, "/elsewhere", false, "`follow_redirects` is off"),
        (303, "/elsewhere", true, "not as a POST"),
        (307, abroad, true, "gets no credentials"),
    ];
    for (status, location, follows, expected) in cases {
        let directory = tempfile::tempdir().unwrap();
        let receiver =
            Receiver::start(move |_| Reply::status(status).header("Location", location)).await;
        let mut destination = destination("main", &receiver.url());
        destination.http.follow_redirects = follows;
        destination.http.headers.push(("X-Key".to_owned(), Vec::new()));
        let outbox = Running::start(directory.path(), &[Arc::new(destination)]);
        let mut target = Target::new("a", 3);
        outbox.scrape(&mut target).await;
        let reason = outbox.until_view("held", held).await;
        assert!(reason.contains(expected) && !reason.contains("secret"), "{status}: {reason}");
        receiver.answer(ok);
        receiver.until_stored(3).await;
        target.assert_stored_once_in_order(&receiver);
        outbox.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_what_waits() {
    let directory = tempfile::tempdir().unwrap();
    let wrong = Receiver::start(|_| Reply::status(503)).await;
    let right = Receiver::start(strict()).await;
    let outbox = Running::start(directory.path(), &one(&wrong));
    let mut target = Target::new("a", 4);
    for _ in 0..5 {
        outbox.scrape(&mut target).await;
    }
    let packed_before = target.scrape(&outbox.handle);
    let mut settings = super::settings();
    settings.lanes = 7;
    let mut moved = destination("main", &right.url());
    moved.external_labels = [("dc", "x")].into_iter().collect();
    let second = destination("second", &right.url().replace("/push", "/second"));
    outbox.handle.apply(settings.clone(), vec![Arc::new(moved), Arc::new(second)]).await.unwrap();
    outbox.handle.append(packed_before).await;
    right.until_stored(4 * 6).await;
    target.assert_stored_once_in_order(&right);
    assert_eq!(outbox.handle.queues().len(), 2);

    outbox.handle.apply(settings, Vec::new()).await.unwrap();
    assert!(outbox.handle.queues().is_empty());
    outbox.stop().await;
}

/// Why a lane is held.
fn held(view: &QueueView) -> Option<String> {
    view.lanes.iter().find_map(|lane| match &lane.state {
        LaneState::Held(reason) => Some(reason.clone()),
        LaneState::Idle | LaneState::InFlight | LaneState::BackingOff => None,
    })
}
