//! A gateway that finds itself on the smaller side of a split, with `minority_stops`: it takes what is
//! pushed, and sends none of it before the others are back.

use std::fs;

use rustix::process::Signal;

use crate::{
    backend::Prometheus,
    eventually,
    gateway::{
        edges::sum,
        replication::{PATIENCE, three, until_whole},
        senders::prometheus,
    },
    target::Target,
};

const SERIES: usize = 60;
/// Scrapes of a second each.
const HELD: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn below_a_quorum_pushes_are_held() {
    let directory = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let folder = directory.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let backend = Prometheus::start(&folder("backend")).await;
    let minority_stops = |config: String| {
        config
            .replace("ack: replicated", "ack: durable")
            .replace("enabled: true", "enabled: true, on_partition: minority_stops")
    };
    let (mut members, listen) = three(directory.path(), &backend, minority_stops).await;
    let target = Target::start(SERIES).await;
    let gateway = format!("http://127.0.0.1:{listen}/api/v1/write");
    let _sender = prometheus(&folder("sender"), &target.address, &gateway);
    until_whole(&backend, 4).await;

    for member in &mut members[1..] {
        member.process.signal(Signal::KILL);
        member.process.ended().await;
    }
    let alone = async |metric| sum(&members[0], metric).await;
    eventually("it knows that it is alone", PATIENCE, || async {
        (alone("starling_ownership_quorum_present_members").await == 1).then_some(())
    })
    .await;
    // What was under way has arrived by then.
    scrapes_pass(&target, 2).await;
    let stored = backend.samples("filler[10m]").await;
    let taken = alone("starling_gateway_kept_samples_total").await;
    scrapes_pass(&target, HELD).await;
    assert_eq!(backend.samples("filler[10m]").await, stored, "nothing is sent");
    assert!(alone("starling_gateway_kept_samples_total").await > taken, "all the same it is taken");

    for member in &mut members[1..] {
        member.restart().await;
    }
    until_whole(&backend, target.scrapes() + 3).await;
}

async fn scrapes_pass(target: &Target, count: u64) {
    let until = target.scrapes() + count;
    let passed = || async { (target.scrapes() >= until).then_some(()) };
    eventually("scrapes have passed", PATIENCE, passed).await;
}
