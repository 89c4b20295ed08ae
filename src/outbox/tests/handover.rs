//! Records on their way from the outbox of one member to that of another.

use std::time::Duration;

use crate::{
    config::OutboxSettings,
    model::{
        batch::Batch,
        member::NodeId,
        record::{RecordName, Sent},
        slot::Slot,
    },
    outbox::{
        lines::{Extracted, LineOrder, Stored},
        tests::{
            Running, Target, destination,
            lines::EVER,
            one,
            receiver::{Receiver, Reply, strict},
            settings,
        },
    },
};

/// Two members with one destination, and a target that changes hands.
struct Pair {
    directory: tempfile::TempDir,
    receiver: Receiver,
    old: Running,
    new: Running,
    target: Target,
}

impl Pair {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(|_| Reply::status(503)).await;
        let start = |member: u128| {
            let place = directory.path().join(member.to_string());
            Running::start_as(NodeId(member), &one_lane(), &place, &one(&receiver))
        };
        let (old, new) = (start(1), start(2));
        let target = Target::divided("a", 3, 50);
        old.open(target.slot(), EVER).await;
        Self { directory, receiver, old, new, target }
    }

    fn slot(&self) -> Slot {
        self.target.slot()
    }

    async fn restart_new(&mut self) {
        let place = self.directory.path().join("2");
        let destinations = one(&self.receiver);
        // The first is dropped by its death; what replaces it meanwhile has a place of its own.
        let idle = Running::start(&self.directory.path().join("idle"), &destinations);
        std::mem::replace(&mut self.new, idle).kill().await;
        let again = Running::start_as(NodeId(2), &one_lane(), &place, &destinations);
        std::mem::replace(&mut self.new, again).stop().await;
    }

    async fn scrape_old(&mut self, times: usize) {
        for _ in 0..times {
            self.old.scrape(&mut self.target).await;
        }
    }

    /// From now on it is the new one's.
    async fn scrape_new(&mut self, times: usize) {
        self.target.since_ms = Some(100);
        for _ in 0..times {
            self.new.scrape(&mut self.target).await;
        }
    }

    async fn give(&self) -> (Vec<(RecordName, Batch)>, Vec<Sent>) {
        let Extracted { records, sent } = self.old.extract(self.slot()).await;
        assert!(records.is_sorted_by_key(|record| record.name));
        let names: Vec<RecordName> = records.iter().map(|record| record.name).collect();
        let batches = self.old.read(self.slot(), names.clone()).await;
        assert_eq!(batches.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
        (batches, sent)
    }

    async fn take(&self, records: Vec<(RecordName, Batch)>) {
        let stored = Stored { records, ..Stored::default() };
        assert!(self.new.store(self.slot(), stored).await);
    }

    async fn until_all_arrived(&self) {
        self.receiver.answer(strict());
        let scrapes = usize::try_from(self.target.scrapes).unwrap();
        self.receiver.until_stored(3 * scrapes).await;
        self.target.assert_stored_once_in_order(&self.receiver);
    }

    async fn stop(self) {
        self.old.stop().await;
        self.new.stop().await;
    }
}

fn one_lane() -> OutboxSettings {
    OutboxSettings { lanes: 1, ..settings() }
}

/// The destination takes nothing, the old owner goes, and a strict receiver sees one order.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_could_not_send_the_other_sends_before_its_own() {
    let mut pair = Pair::new().await;
    pair.scrape_old(10).await;
    pair.scrape_new(10).await;
    let (batches, sent) = pair.give().await;
    assert_eq!((batches.len(), sent), (10, vec![]));
    let names: Vec<RecordName> = batches.iter().map(|(name, _)| *name).collect();
    let mut parts = batches.into_iter();
    let first: Vec<_> = parts.by_ref().take(4).collect();
    pair.take(first).await;
    pair.take(parts.collect()).await;
    pair.old.order(vec![LineOrder::Bury { slot: pair.slot(), names }]).await;
    pair.new.open(pair.slot(), EVER).await;
    pair.until_all_arrived().await;
    assert_eq!(pair.old.slots().await, []);
    pair.old.until_metric("starling_outbox_given_samples_total{destination=\"main\"} 30").await;
    pair.new.until_metric("starling_outbox_taken_samples_total{destination=\"main\"} 30").await;
    pair.stop().await;
}

/// The line was open, and own samples had failed already.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_over_goes_before_what_is_being_tried() {
    let mut pair = Pair::new().await;
    pair.scrape_old(5).await;
    let (batches, _) = pair.give().await;
    pair.new.open(pair.slot(), EVER).await;
    pair.scrape_new(5).await;
    pair.new.until_view("it fails", |view| (!view.accepts).then_some(())).await;
    // Comes to its end first, and is not made again.
    let look = pair.new.look(pair.slot(), vec![pair.target.stream]).await;
    assert!(look.has_room && look.sent.is_empty());
    let before = pair.receiver.requests().len();
    pair.take(batches).await;
    pair.receiver.answer(strict());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(pair.receiver.requests().len(), before, "the line is quiet");
    pair.new.open(pair.slot(), EVER).await;
    pair.until_all_arrived().await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_there_after_a_crash_in_its_place() {
    let mut pair = Pair::new().await;
    pair.scrape_old(5).await;
    pair.scrape_new(5).await;
    let (batches, _) = pair.give().await;
    pair.new.until_view("on disk", |view| (view.disk.bytes > 0).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    pair.take(batches.clone()).await;
    pair.restart_new().await;
    pair.new.until_held(10).await;
    // The answer was lost, so it is offered again.
    pair.take(batches).await;
    assert_eq!(pair.new.extract(pair.slot()).await.records.len(), 10);
    pair.new.order(vec![LineOrder::PutBack { slot: pair.slot() }]).await;
    pair.new.open(pair.slot(), EVER).await;
    pair.until_all_arrived().await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_comes_to_its_end_before_anything_is_given() {
    let mut pair = Pair::new().await;
    let mut strictly = strict();
    pair.receiver.answer(move |request| strictly(request).after(Duration::from_millis(700)));
    pair.scrape_old(1).await;
    pair.old.until_view("in flight", |view| (view.in_flight > 0).then_some(())).await;
    pair.scrape_old(3).await;
    let (batches, sent) = pair.give().await;
    assert_eq!(batches.len(), 3, "the first has arrived");
    let newest_ms = batches[0].1.oldest_ms - 1000;
    assert_eq!(sent, [Sent { stream: pair.target.stream, newest_ms }]);
    assert_eq!(pair.receiver.requests().len(), 1);
    let stored = Stored { records: batches, sent, ..Stored::default() };
    assert!(pair.new.store(pair.slot(), stored).await);
    pair.scrape_new(2).await;
    pair.new.open(pair.slot(), EVER).await;
    pair.until_all_arrived().await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_buried_stays_away_and_the_rest_is_there_after_a_crash() {
    let mut pair = Pair::new().await;
    pair.scrape_old(6).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let (batches, _) = pair.give().await;
    let names: Vec<RecordName> = batches.iter().take(4).map(|(name, _)| *name).collect();
    pair.old.order(vec![LineOrder::Bury { slot: pair.slot(), names }]).await;
    pair.old.until_view("buried", |view| (view.records == 2).then_some(())).await;
    let Pair { directory, receiver, old, new, target } = pair;
    // Positions are written with the next job, and a kill leaves what was written.
    tokio::time::sleep(Duration::from_millis(700)).await;
    old.kill().await;

    let place = directory.path().join("1");
    let old = Running::start_as(NodeId(1), &one_lane(), &place, &one(&receiver));
    let left = old.extract(target.slot()).await.records;
    let expected: Vec<RecordName> = batches.iter().skip(4).map(|(name, _)| *name).collect();
    assert_eq!(left.iter().map(|record| record.name).collect::<Vec<_>>(), expected);
    // From the disk now.
    let read = old.read(target.slot(), expected).await;
    assert_eq!(read, batches[4..]);
    old.stop().await;
    new.stop().await;
}

/// A strict receiver would refuse what is older than what it has.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_destination_has_newer_samples_of_is_late() {
    let mut pair = Pair::new().await;
    pair.scrape_old(3).await;
    pair.receiver.answer(strict());
    pair.receiver.until_stored(9).await;
    pair.old.until_view("answered", |view| (view.samples == 0).then_some(())).await;
    let (batches, sent) = pair.give().await;
    assert_eq!((batches.len(), sent.len()), (0, 1));
    // From a third member, that was cut off.
    let mut stray = Target::divided("a", 3, 40);
    pair.new.scrape(&mut stray).await;
    pair.new.until_held(1).await;
    let late_samples = 4;
    assert!(pair.new.store(pair.slot(), Stored { late_samples, sent, ..Stored::default() }).await);
    pair.new
        .until_view("late", |view| (view.dropped_samples.get("late") == Some(&7)).then_some(()))
        .await;
    pair.new.open(pair.slot(), EVER).await;
    pair.scrape_new(2).await;
    pair.until_all_arrived().await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_nothing_takes_nothing_over() {
    let pair = Pair::new().await;
    let mut full = settings();
    full.free_disk_bytes_min = u64::MAX;
    let place = pair.directory.path().join("full");
    let receiver = &pair.receiver;
    let destinations = [std::sync::Arc::new(destination("main", &receiver.url()))];
    let outbox = Running::start_as(NodeId(3), &full, &place, &destinations);
    let mut pair_target = Target::divided("a", 3, 50);
    pair.old.scrape(&mut pair_target).await;
    let (batches, _) = pair.give().await;
    for _ in 0..2 {
        let stored = Stored { records: batches.clone(), late_samples: 9, ..Stored::default() };
        assert!(!outbox.store(pair.slot(), stored).await);
    }
    assert_eq!(outbox.slots().await, []);
    assert_eq!(outbox.dropped("late"), 0, "nothing has changed");
    outbox.stop().await;
    pair.stop().await;
}
