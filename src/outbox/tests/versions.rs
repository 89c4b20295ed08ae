//! Which version of remote write a destination gets, and packed how: as configured, as its answers
//! show, and back again.

use std::{path::Path, sync::Arc};

use crate::{
    config::{Destination, WriteCompression, WriteMessage},
    outbox::tests::{
        HELP, Running, START_MS, Target, destination,
        receiver::{Receiver, Reply, Request},
    },
    wire::remote_write::Family,
};

const SAMPLES: &str = "X-Prometheus-Remote-Write-Samples-Written";
const HISTOGRAMS: &str = "X-Prometheus-Remote-Write-Histograms-Written";

fn start(directory: &Path, receiver: &Receiver, change: impl FnOnce(&mut Destination)) -> Running {
    let mut destination = destination("main", &receiver.url());
    change(&mut destination);
    Running::start(directory, &[Arc::new(destination)])
}

fn v2(destination: &mut Destination) {
    destination.message = WriteMessage::V2;
    destination.send_native_histograms = true;
}

/// As a receiver of 2.0 does; of each request it stores so many samples less.
fn written(request: &Request, less: usize) -> Reply {
    let samples: usize = request.series.iter().map(|series| series.samples.len()).sum();
    let histograms: usize = request.series.iter().map(|series| series.histograms.len()).sum();
    let samples = samples.saturating_sub(less).to_string();
    Reply::status(204).header(SAMPLES, &samples).header(HISTOGRAMS, &histograms.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn by_2_0_goes_all_that_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|request| written(request, 0)).await;
    let outbox = start(directory.path(), &receiver, v2);
    let mut target = Target { histogram: true, ..Target::new("a", 3) };
    outbox.scrape(&mut target).await;
    receiver.until_stored(3).await;
    let (request, _) = &receiver.requests()[0];
    let expected = [
        ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "2.0.0"),
    ];
    for (name, value) in expected {
        assert_eq!(request.header(name), value, "{name}");
    }
    let told = |n: usize| {
        let series = &request.series[n];
        (series.metadata.as_ref().map(|told| &*told.help), series.start_ms)
    };
    assert_eq!((told(0), told(2)), ((Some(HELP), Some(START_MS)), (Some(HELP), Some(START_MS))));
    assert_eq!(request.series[3].histograms.len(), 1);
    let spoken = outbox
        .until_view("sent", |view| (view.sent_samples == 4).then(|| view.protocol.to_string()));
    assert_eq!(spoken.await, "2.0");
    outbox.stop().await;
}

/// Who does not understand 2.0 gets 1.0 without a loss, but for what that can't say.
async fn check_fallback(answers: impl Fn(&Request) -> Reply + Send + 'static) {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(answers).await;
    let outbox = start(directory.path(), &receiver, v2);
    let mut target = Target { histogram: true, ..Target::new("a", 3) };
    for _ in 0..5 {
        outbox.scrape(&mut target).await;
    }
    let enough = |receiver: &Receiver| {
        let requests = receiver.requests();
        let v1 = requests.iter().filter(|(request, status)| !request.is_v2() && *status == 204);
        let samples: usize = v1.map(|(request, _)| request.series.len()).sum();
        (samples >= 15).then_some(())
    };
    receiver.until("all of it by 1.0", enough).await;
    let spoken = outbox.until_view("told", |view| {
        let is_done = view.sent_samples == 15 && view.samples == 0;
        is_done.then(|| (view.protocol.to_string(), view.dropped_samples.clone()))
    });
    let (protocol, dropped) = spoken.await;
    assert_eq!(protocol, "1.0 instead of 2.0");
    assert_eq!(dropped, [("unsendable".into(), 5)].into());
    let requests = receiver.requests();
    let v1: Vec<_> = requests.iter().filter(|(request, _)| !request.is_v2()).collect();
    for (request, _) in &v1 {
        assert_eq!(request.header("x-prometheus-remote-write-version"), "0.1.0");
        assert_eq!(request.header("retry-attempt"), "", "it is no repetition");
        let is_plain = |series: &crate::wire::remote_write::TimeSeries| {
            series.metadata.is_none() && series.start_ms.is_none() && series.histograms.is_empty()
        };
        assert!(request.series.iter().all(is_plain));
    }
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_415_is_answered_by_1_0() {
    check_fallback(|request| Reply::status(if request.is_v2() { 415 } else { 204 })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_what_was_written_gets_1_0() {
    check_fallback(|_| Reply::status(204)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_written_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|request| written(request, 2)).await;
    let outbox = start(directory.path(), &receiver, v2);
    outbox.scrape(&mut Target::new("a", 5)).await;
    let (sent, dropped) = outbox
        .until_view("answered", |view| {
            (view.samples == 0 && view.sent_samples > 0)
                .then(|| (view.sent_samples, view.dropped_samples.clone()))
        })
        .await;
    assert_eq!((sent, dropped), (3, [("not_written".into(), 2)].into()));
    assert_eq!(receiver.requests().len(), 1);
    outbox.stop().await;
}

/// One that takes Zstandard is found out by its own answers, and asked once; others never are.
#[tokio::test(flavor = "multi_thread")]
async fn zstd_goes_to_who_says_that_it_takes_it() {
    for (sign, expected) in [("x-server-hostname", "zstd"), ("server", "snappy")] {
        let directory = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(move |request| {
            let reply = Reply::status(if request.path.contains('?') { 200 } else { 204 });
            let text = if request.path.contains('?') { "1" } else { "" };
            Reply { text: text.to_owned(), ..reply.header(sign, "vm1") }
        })
        .await;
        let outbox = start(directory.path(), &receiver, |_| {});
        let mut target = Target::new("a", 3);
        for scrape in 1..=6 {
            outbox.scrape(&mut target).await;
            receiver.until_stored(3 * scrape).await;
            if scrape == 1 && expected == "zstd" {
                let asked = |receiver: &Receiver| {
                    let requests = receiver.requests();
                    let asked = |(r, _): &(Request, u16)| r.path == "/push?get_vm_proto_version=1";
                    requests.iter().any(asked).then_some(())
                };
                receiver.until("asked", asked).await;
                outbox
                    .until_view("zstd", |view| (view.protocol == "1.0, zstd").then_some(()))
                    .await;
            }
        }
        target.assert_stored_once_in_order(&receiver);
        let requests = receiver.requests();
        let (last, _) = requests.last().unwrap();
        assert_eq!(last.header("content-encoding"), expected);
        let version = if expected == "zstd" { "1" } else { "" };
        assert_eq!(last.header("x-victoriametrics-remote-write-version"), version);
        let questions = requests.iter().filter(|(request, _)| request.path.contains('?')).count();
        assert_eq!(questions, usize::from(expected == "zstd"));
        outbox.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_refuses_zstd_gets_snappy() {
    for status in [415, 400] {
        let directory = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(move |request| {
            let refuses = request.header("content-encoding") == "zstd";
            Reply::status(if refuses { status } else { 204 })
        })
        .await;
        let outbox = start(directory.path(), &receiver, |destination| {
            destination.compression = WriteCompression::Zstd;
        });
        let mut target = Target::new("a", 3);
        for _ in 0..5 {
            outbox.scrape(&mut target).await;
        }
        receiver.until_stored(15).await;
        target.assert_stored_once_in_order(&receiver);
        assert_eq!(outbox.dropped("rejected"), 0);
        outbox.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_goes_by_itself_and_delays_nothing() {
    for status in [204, 500] {
        let directory = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(move |request| {
            Reply::status(if request.families > 0 { status } else { 204 })
        })
        .await;
        let outbox = start(directory.path(), &receiver, |destination| {
            destination.metadata.interval = std::time::Duration::from_millis(200);
            destination.metadata.families_per_send_max = 2;
        });
        let family = |n: usize| Family { metric: format!("m{n}"), ..Family::default() };
        let set: Arc<[Family]> = (0..3).map(family).collect();
        outbox.handle.families().add(&"t".into(), &set);
        let told = |receiver: &Receiver| {
            let requests = receiver.requests();
            let told: Vec<usize> = requests.iter().map(|(r, _)| r.families).collect();
            (told.len() >= 4).then_some(told)
        };
        let told = receiver.until("two rounds of metadata", told).await;
        let expected = if status == 204 { [2, 1, 2, 1] } else { [2, 2, 2, 2] };
        assert_eq!(told[..4], expected);
        let is_anothers = |(request, _): &(Request, _)| request.header("x-scope-orgid") != "t";
        assert!(!receiver.requests().iter().any(is_anothers), "all was said by that tenant");
        let mut target = Target::new("a", 3);
        for _ in 0..5 {
            outbox.scrape(&mut target).await;
        }
        receiver.until_stored(15).await;
        target.assert_stored_once_in_order(&receiver);
        outbox.stop().await;
    }
}
