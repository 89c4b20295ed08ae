//! What stays: restarts, crashes, damage, and disks that do not work.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use crate::{
    model::member::NodeId,
    outbox::{
        Outbox,
        tests::{
            Running, Target, destination, one,
            receiver::{Receiver, Reply, Request, strict},
            settings,
        },
    },
};

fn unavailable(_: &Request) -> Reply {
    Reply::status(503)
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("main")).unwrap();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .collect();
    paths.sort();
    paths
}

async fn written(outbox: &Running, bytes: u64) {
    outbox.until_view("on disk", |view| (view.disk.bytes >= bytes).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_at_once_never_touches_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(strict()).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut target = Target::new("a", 10);
    for n in 1..=10 {
        outbox.scrape(&mut target).await;
        receiver.until_stored(n * 10).await;
    }
    assert!(segments(directory.path()).is_empty());
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_goes_on_where_it_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut answers = 0;
    let mut strictly = strict();
    // Half of it is taken, then the receiver is gone.
    let receiver = Receiver::start(move |request| {
        answers += 1;
        if answers > 4 { Reply::status(503) } else { strictly(request) }
    })
    .await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut targets: Vec<Target> = (0..8).map(|n| Target::new(&format!("t{n}"), 3)).collect();
    for _ in 0..10 {
        for target in &mut targets {
            outbox.scrape(target).await;
        }
    }
    outbox
        .until_view("on disk and stuck", |view| {
            (view.disk.bytes > 0
                && view.samples > 0
                && view.lanes.iter().all(|lane| lane.records > 0))
            .then_some(())
        })
        .await;
    // What is appended within the last half second is not promised.
    tokio::time::sleep(Duration::from_secs(1)).await;
    outbox.kill().await;

    receiver.answer(|_| Reply::status(204));
    let outbox = Running::start(directory.path(), &one(&receiver));
    receiver.until_stored(8 * 3 * 10).await;
    for target in &targets {
        target.assert_stored_once_in_order(&receiver);
    }
    outbox.stop().await;
    assert!(segments(directory.path()).is_empty(), "what is sent is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_lanes_keeps_position_and_order() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(unavailable).await;
    let mut targets: Vec<Target> = (0..12).map(|n| Target::new(&format!("t{n}"), 2)).collect();
    let mut total = 0;
    for lanes in [4, 3, 16, 1] {
        let mut settings = settings();
        settings.lanes = lanes;
        let outbox = Running::start_with(&settings, directory.path(), &one(&receiver));
        for _ in 0..4 {
            for target in &mut targets {
                outbox.scrape(target).await;
            }
        }
        total += 4 * 12 * 2;
        written(&outbox, 1).await;
        let mut left = 6;
        receiver.answer(move |_| {
            left -= 1;
            Reply::status(if left > 0 { 204 } else { 503 })
        });
        outbox.until_view("some are sent", |view| (view.sent_samples > 0).then_some(())).await;
        outbox.stop().await;
    }
    receiver.answer(|_| Reply::status(204));
    let outbox = Running::start(directory.path(), &one(&receiver));
    receiver.until_stored(total).await;
    for target in &targets {
        target.assert_stored_once_in_order(&receiver);
    }
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_costs_what_it_hit_and_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(unavailable).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut target = Target::new("a", 5);
    for _ in 0..50 {
        outbox.scrape(&mut target).await;
    }
    outbox.stop().await;

    let path = segments(directory.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    bytes.truncate(bytes.len() - 3);
    fs::write(&path, bytes).unwrap();

    receiver.answer(strict());
    let outbox = Running::start(directory.path(), &one(&receiver));
    receiver.until_stored(48 * 5).await;
    let stored = receiver.stored()["a-0"].clone();
    assert_eq!(stored.len(), 48);
    assert!(stored.is_sorted() && !stored.contains(&49.0));
    outbox.until_view("all answers heard", |view| (view.samples == 0).then_some(())).await;
    let metrics = outbox.metrics();
    for line in [
        "starling_outbox_torn_segments_total{destination=\"main\"} 1",
        "starling_outbox_corrupt_places_total{destination=\"main\"} 1",
        "starling_outbox_sent_samples_total{destination=\"main\"} 240",
    ] {
        assert!(metrics.contains(line), "no `{line}` in {metrics}");
    }
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_outbox_on_the_same_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(unavailable).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut registry = prometheus_client::registry::Registry::default();
    let second = Outbox::new(
        crate::outbox::Node::alone(NodeId(1)),
        &settings(),
        &one(&receiver),
        directory.path(),
        &mut registry,
    );
    let message = second.err().unwrap();
    assert!(message.contains("in use by another process"), "{message}");
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_bytes_the_oldest_goes_and_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(unavailable).await;
    let mut settings = settings();
    settings.bytes_max = 4000;
    settings.lanes = 1;
    let outbox = Running::start_with(&settings, directory.path(), &one(&receiver));
    let mut target = Target::new("a", 20);
    for _ in 0..200 {
        outbox.scrape(&mut target).await;
    }
    let lost = outbox
        .until_view("losses", |view| {
            let lost = view.dropped_samples.get("max_bytes").copied()?;
            (view.samples + lost == 4000 && view.bytes <= 4000).then_some(lost)
        })
        .await;
    receiver.answer(strict());
    receiver.until_stored(4000 - usize::try_from(lost).unwrap()).await;
    let stored = receiver.stored()["a-0"].clone();
    assert_eq!(stored.last(), Some(&199.0), "the newest stay");
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_push_back_it_makes_scrapes_wait_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(unavailable).await;
    let mut settings = settings();
    settings.bytes_max = 2000;
    settings.when_full = crate::config::WhenFull::PushBack;
    let outbox = Running::start_with(&settings, directory.path(), &one(&receiver));
    let mut target = Target::new("a", 20);
    {
        let all = async {
            for _ in 0..300 {
                outbox.scrape(&mut target).await;
            }
        };
        tokio::pin!(all);
        tokio::time::timeout(Duration::from_secs(2), &mut all).await.expect_err("it has to wait");
        let metrics = outbox.metrics();
        assert!(metrics.contains("starling_outbox_full{destination=\"main\"} 1\n"), "{metrics}");
        receiver.answer(strict());
        all.await;
    }
    receiver.until_stored(300 * 20).await;
    target.assert_stored_once_in_order(&receiver);
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_goes() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(unavailable).await;
    let mut aged = destination("main", &receiver.url());
    aged.queue.sample_age_limit = Duration::from_millis(300);
    let outbox = Running::start(directory.path(), &[Arc::new(aged)]);
    outbox.scrape(&mut Target::new("a", 7)).await;
    outbox
        .until_view("aged", |view| {
            (view.dropped_samples.get("sample_age_limit") == Some(&7) && view.samples == 0)
                .then_some(())
        })
        .await;
    outbox.stop().await;
}

/// A mount that ends with the test; `None` without the right to make one.
struct Mounted(PathBuf);

impl Mounted {
    #[expect(clippy::print_stdout, reason = "a skipped test must say so")]
    fn tmpfs(path: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mounted = Self::run(&["-t", "tmpfs", "-o", options, "tmpfs"], path);
        if !mounted {
            println!("skipped: no right to mount a tmpfs");
        }
        mounted.then(|| Self(path.to_owned()))
    }

    fn remount(&self, options: &str) {
        assert!(Self::run(&["-o", &format!("remount,{options}")], &self.0));
    }

    fn run(arguments: &[&str], path: &Path) -> bool {
        let mut mount = Command::new("mount");
        let status = mount.args(arguments).arg(path).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_lived_through_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let Some(_mounted) = Mounted::tmpfs(directory.path(), "size=1m") else { return };
    let receiver = Receiver::start(unavailable).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let ballast = directory.path().join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    let mut target = Target::new("a", 10);
    for _ in 0..20 {
        outbox.scrape(&mut target).await;
    }
    outbox.until_view("told", |view| view.disk.fault.clone()).await;
    fs::remove_file(ballast).unwrap();
    outbox
        .until_view("well again", |view| {
            (view.disk.fault.is_none() && view.disk.bytes > 0).then_some(())
        })
        .await;
    outbox.kill().await;

    receiver.answer(strict());
    let outbox = Running::start(directory.path(), &one(&receiver));
    receiver.until_stored(200).await;
    target.assert_stored_once_in_order(&receiver);
    outbox.stop().await;
}

/// Not even the directory can be created: the agent scrapes and sends all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_from_the_start_keeps_nobody_from_sending() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::tmpfs(directory.path(), "size=1m,nr_inodes=2") else { return };
    fs::write(directory.path().join("ballast"), "").unwrap();
    let receiver = Receiver::start(unavailable).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut target = Target::new("a", 10);
    outbox.scrape(&mut target).await;
    outbox.until_view("told", |view| view.disk.fault.clone()).await;
    mounted.remount("size=1m,nr_inodes=100");
    written(&outbox, 1).await;
    outbox.kill().await;

    receiver.answer(strict());
    let outbox = Running::start(directory.path(), &one(&receiver));
    receiver.until_stored(10).await;
    target.assert_stored_once_in_order(&receiver);
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn less_free_space_than_wanted_is_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(unavailable).await;
    let mut settings = settings();
    settings.free_disk_bytes_min = u64::MAX;
    let outbox = Running::start_with(&settings, directory.path(), &one(&receiver));
    let mut target = Target::new("a", 10);
    outbox.scrape(&mut target).await;
    let fault = outbox.until_view("told", |view| view.disk.fault.clone()).await;
    assert!(fault.contains("space") && fault.contains("free"), "{fault}");
    assert!(segments(directory.path()).is_empty());
    receiver.answer(strict());
    receiver.until_stored(10).await;
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_read_and_sent_from() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::tmpfs(directory.path(), "size=4m") else { return };
    let receiver = Receiver::start(unavailable).await;
    let mut target = Target::new("a", 10);
    let outbox = Running::start(directory.path(), &one(&receiver));
    for _ in 0..5 {
        outbox.scrape(&mut target).await;
    }
    outbox.stop().await;

    mounted.remount("ro");
    let outbox = Running::start(directory.path(), &one(&receiver));
    let fault = outbox.until_view("told", |view| view.disk.fault.clone()).await;
    assert!(fault.contains("ead-only"), "{fault}");
    for _ in 0..5 {
        outbox.scrape(&mut target).await;
    }
    receiver.answer(strict());
    receiver.until_stored(100).await;
    target.assert_stored_once_in_order(&receiver);
    mounted.remount("rw");
    receiver.answer(unavailable);
    outbox.scrape(&mut target).await;
    outbox.until_view("well again", |view| view.disk.fault.is_none().then_some(())).await;
    outbox.stop().await;
}
