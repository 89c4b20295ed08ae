//! Members that are killed and do not come back take nothing with them that was acknowledged, where
//! pushes are replicated, though the backend was away all the while; nor do those that go after them.

use std::{fs, path::Path, time::Duration};

use futures_util::future::join_all;
use rustix::process::Signal;

use crate::{
    backend::Prometheus,
    eventually,
    gateway::{body, edges::sum, senders::prometheus},
    process::{Agent, free_port, post_body},
    target::Target,
};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);
const SERIES: usize = 60;
/// Samples of each that are pushed by hand.
const ROUNDS: i64 = 20;
const ALL: u64 = SERIES as u64 * ROUNDS as u64;
/// These are of an instant some hours ago.
const RANGE: &str = "48h";
/// Scrapes of a second each that are pushed while the backend is away.
const AWAY: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn who_dies_for_good_takes_nothing_along() {
    let directory = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let folder = directory.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let mut backend = Prometheus::start(&folder("backend")).await;
    let (mut members, listen) = three(directory.path(), &backend, |config| config).await;
    let target = Target::start(SERIES).await;
    let gateway = format!("http://127.0.0.1:{listen}/api/v1/write");
    let _sender = prometheus(&folder("sender"), &target.address, &gateway);
    until_whole(&backend, 4).await;
    while members.len() > 1 {
        backend.stop().await;
        let until = target.scrapes() + AWAY;
        let passed = || async { (target.scrapes() >= until).then_some(()) };
        eventually("scrapes were pushed", PATIENCE, passed).await;
        let mut killed = members.pop().expect("there are two at least");
        killed.process.signal(Signal::KILL);
        killed.process.ended().await;
        backend.start_again().await;
        until_whole(&backend, target.scrapes() + 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_member_had_is_on_two_disks_again() {
    copied_again_after(Signal::KILL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_gave_as_it_left_is_on_two_disks_again() {
    copied_again_after(Signal::TERM).await;
}

/// Two of three go for good, one after the other, and all that they were given is unsent.
async fn copied_again_after(first: Signal) {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("backend");
    fs::create_dir(&folder).unwrap();
    let mut backend = Prometheus::start(&folder).await;
    let (mut members, listen) = three(directory.path(), &backend, |config| config).await;
    for member in &members {
        eventually("all are there", PATIENCE, || async {
            (sum(member, "starling_cluster_members{state=\"alive\"").await == 3).then_some(())
        })
        .await;
    }
    backend.stop().await;
    let gateway = format!("http://127.0.0.1:{listen}/api/v1/write");
    let names: Vec<String> = (0..SERIES).map(|number| format!("unsent_{number}")).collect();
    for round in 1..=ROUNDS {
        let samples: Vec<_> = names.iter().map(|name| (&**name, round)).collect();
        let pushed = body(&samples);
        eventually("it is acknowledged", PATIENCE, || async {
            let (status, _) = post_body(&gateway, pushed.clone()).await?;
            (status < 300).then_some(())
        })
        .await;
    }
    for signal in [first, Signal::KILL] {
        let mut gone = members.pop().expect("there are two at least");
        gone.process.signal(signal);
        gone.process.ended().await;
        if members.len() == 1 {
            break;
        }
        for member in &members {
            eventually("each of two has all", PATIENCE, || async {
                (sum(member, "starling_outbox_samples{").await == ALL).then_some(())
            })
            .await;
        }
    }
    backend.start_again().await;
    let selector = format!("{{__name__=~\"unsent_.*\"}}[{RANGE}]");
    let each = usize::try_from(ROUNDS).unwrap();
    eventually("all are stored", PATIENCE, || async {
        let stored = backend.samples(&selector).await;
        let is_whole = stored.len() == SERIES && stored.iter().all(|one| one.len() == each);
        is_whole.then_some(())
    })
    .await;
}

/// A fleet that replicates, each in a folder of its own, and the port at which the first is pushed to.
/// `change` may want it otherwise.
pub(super) async fn three(
    directory: &Path,
    backend: &Prometheus,
    change: impl Fn(String) -> String,
) -> (Vec<Agent>, u16) {
    let ports = [free_port(), free_port(), free_port()];
    let listen = free_port();
    let members = ["a", "b", "c"].into_iter().enumerate().map(|(number, name)| {
        let gateway = if number == 0 { listen } else { free_port() };
        let config = change(config(name, number, ports, gateway, &backend.write_url()));
        let folder = directory.join(name);
        async move {
            fs::create_dir(&folder).unwrap();
            let secret = "a secret that all of them have, and nobody else";
            fs::write(folder.join("secret"), secret).unwrap();
            Agent::start(&folder, &config).await
        }
    });
    (join_all(members).await, listen)
}

fn config(name: &str, number: usize, ports: [u16; 3], gateway: u16, backend: &str) -> String {
    let peers = ports.iter().map(|port| format!("'127.0.0.1:{port}'")).collect::<Vec<_>>();
    format!(
        "cluster: {{ enabled: true, node_name: {name}, secret_file: secret, \
         listen_address: '127.0.0.1:{}', peers: [{}] }}\n\
         gateway: {{ metrics: {{ listen_address: '127.0.0.1:{gateway}', ack: replicated }} }}\n\
         remote_write: [{{ name: backend, url: '{backend}' }}]\n",
        ports[number],
        peers.join(", "),
    )
}

/// Of each series every scrape is there, up to that one at least.
pub(super) async fn until_whole(backend: &Prometheus, last: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a test makes few scrapes")]
    let last = last as f64;
    let all = eventually("scrapes were stored", PATIENCE, || async {
        let all = backend.samples("filler[10m]").await;
        let newest = |samples: &Vec<(i64, f64)>| samples.last().is_some_and(|(_, n)| *n >= last);
        (all.len() == SERIES && all.iter().all(newest)).then_some(all)
    })
    .await;
    for samples in all {
        let counts: Vec<f64> = samples.iter().map(|(_, count)| *count).collect();
        let is_whole = counts.windows(2).all(|pair| (pair[1] - pair[0] - 1.0).abs() < 1e-9);
        assert!(is_whole, "{counts:?}");
    }
}
