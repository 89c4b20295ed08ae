//! What may leave and what waits, as the owner of the slots orders it.

use std::{collections::BTreeSet, time::Duration};

use tokio::sync::oneshot;

use crate::{
    model::{
        batch::Batch,
        record::RecordName,
        slot::{Slot, StreamKey},
    },
    outbox::{
        lines::{Extracted, LineOrder, Look, Stored},
        tests::{
            Running, Target, destination, one,
            receiver::{Receiver, Reply, strict},
            settings,
        },
    },
};

pub(super) const EVER: i64 = i64::MAX;

/// The orders, as who hands slots over gives them.
impl Running {
    pub(super) async fn order(&self, orders: Vec<LineOrder>) {
        assert!(self.handle.order("main", orders).await);
    }

    pub(super) async fn open(&self, slot: Slot, before_ms: i64) {
        self.order(vec![LineOrder::Open { slot, before_ms }]).await;
    }

    pub(super) async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> LineOrder) -> T {
        let (answer, answered) = oneshot::channel();
        self.order(vec![order(answer)]).await;
        tokio::time::timeout(Duration::from_secs(20), answered).await.unwrap().unwrap()
    }

    pub(super) async fn extract(&self, slot: Slot) -> Extracted {
        self.ask(|answer| LineOrder::Extract { slot, answer }).await
    }

    pub(super) async fn look(&self, slot: Slot, streams: Vec<StreamKey>) -> Look {
        self.ask(|answer| LineOrder::Look { slot, streams, answer }).await
    }

    pub(super) async fn read(
        &self,
        slot: Slot,
        names: Vec<RecordName>,
    ) -> Vec<(RecordName, Batch)> {
        let read = self.ask(|answer| LineOrder::Read { slot, names, answer }).await;
        read.into_iter().map(|record| (record.name, record.batch)).collect()
    }

    pub(super) async fn store(&self, slot: Slot, stored: Stored) -> bool {
        self.ask(|answer| LineOrder::Store { slot, stored, answer }).await
    }

    pub(super) async fn slots(&self) -> Vec<Slot> {
        self.ask(|answer| LineOrder::Slots { answer }).await
    }

    pub(super) async fn until_held(&self, records: u64) {
        let is_held = |held: u64| (held == records).then_some(());
        self.until_view("held", |view| is_held(view.held_records)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_line_holds_up_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(strict()).await;
    let mut settings = settings();
    settings.lanes = 1;
    let outbox = Running::start_with(&settings, directory.path(), &one(&receiver));
    let mut closed = Target::divided("closed", 3, 50);
    let mut open = Target::divided("open", 3, 50);
    let mut undivided = Target::new("undivided", 3);
    outbox.open(open.slot(), EVER).await;
    for _ in 0..5 {
        for target in [&mut closed, &mut open, &mut undivided] {
            outbox.scrape(target).await;
        }
    }
    receiver.until_stored(2 * 5 * 3).await;
    open.assert_stored_once_in_order(&receiver);
    undivided.assert_stored_once_in_order(&receiver);
    outbox.until_held(5).await;
    assert_eq!(outbox.slots().await, [closed.slot()]);
    let metrics = outbox.metrics();
    assert!(
        metrics.contains("starling_outbox_held_records{destination=\"main\"} 5\n"),
        "{metrics}"
    );

    outbox.open(closed.slot(), 51).await;
    receiver.until_stored(3 * 5 * 3).await;
    closed.assert_stored_once_in_order(&receiver);
    outbox.until_held(0).await;
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_and_holding_stop_what_is_divided() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(strict()).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut target = Target::divided("a", 3, 50);
    let mut undivided = Target::new("b", 3);
    outbox.open(target.slot(), EVER).await;
    outbox.scrape(&mut target).await;
    receiver.until_stored(3).await;
    let mut stored = 3;
    let stops = [
        (LineOrder::Hold(true), LineOrder::Hold(false)),
        (
            LineOrder::Close { slot: target.slot() },
            LineOrder::Open { slot: target.slot(), before_ms: EVER },
        ),
    ];
    for (stop, go) in stops {
        outbox.order(vec![stop]).await;
        outbox.scrape(&mut target).await;
        outbox.scrape(&mut undivided).await;
        receiver.until_stored(stored + 3).await;
        outbox.until_held(1).await;
        outbox.order(vec![go]).await;
        stored += 6;
        receiver.until_stored(stored).await;
    }
    target.assert_stored_once_in_order(&receiver);
    undivided.assert_stored_once_in_order(&receiver);
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_survives_a_crash_though_others_are_sent() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|_| Reply::status(503)).await;
    let mut settings = settings();
    settings.lanes = 1;
    let outbox = Running::start_with(&settings, directory.path(), &one(&receiver));
    let mut closed = Target::divided("closed", 3, 50);
    let mut open = Target::divided("open", 3, 50);
    outbox.open(open.slot(), EVER).await;
    for _ in 0..10 {
        outbox.scrape(&mut closed).await;
        outbox.scrape(&mut open).await;
    }
    // What is appended within the last half second is not promised.
    tokio::time::sleep(Duration::from_secs(1)).await;
    receiver.answer(strict());
    receiver.until_stored(10 * 3).await;
    outbox.until_view("answered", |view| (view.sent_samples == 30).then_some(())).await;
    // Positions are synced twice a second, but a kill leaves what was written.
    tokio::time::sleep(Duration::from_millis(700)).await;
    outbox.kill().await;

    let outbox = Running::start_with(&settings, directory.path(), &one(&receiver));
    outbox.until_held(10).await;
    assert_eq!(outbox.slots().await, [closed.slot()]);
    outbox.open(open.slot(), EVER).await;
    outbox.open(closed.slot(), EVER).await;
    receiver.until_stored(2 * 10 * 3).await;
    closed.assert_stored_once_in_order(&receiver);
    open.assert_stored_once_in_order(&receiver);
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_keeps_what_is_held_and_does_not_wait_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(strict()).await;
    let mut target = Target::divided("a", 3, 50);
    for round in 1..=3 {
        let outbox = Running::start(directory.path(), &one(&receiver));
        outbox.scrape(&mut target).await;
        outbox.until_held(round).await;
        // Set aside or not is the same.
        assert_eq!(outbox.extract(target.slot()).await.records.len() as u64, round);
        let started = tokio::time::Instant::now();
        if round == 2 {
            outbox.handle.apply(settings(), Vec::new()).await.unwrap();
        }
        outbox.stop().await;
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    let outbox = Running::start(directory.path(), &one(&receiver));
    outbox.open(target.slot(), EVER).await;
    receiver.until_stored(3 * 3).await;
    target.assert_stored_once_in_order(&receiver);
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_a_reload_brings_waits_for_orders() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(strict()).await;
    let outbox = Running::start(directory.path(), &[]);
    let mut handle = outbox.handle.clone();
    let main = std::sync::Arc::new(destination("main", &receiver.url()));
    outbox.handle.apply(settings(), vec![main]).await.unwrap();
    handle.destinations_changed().await;
    assert_eq!(handle.destinations(), ["main".into()]);
    let mut target = Target::divided("a", 3, 50);
    outbox.scrape(&mut target).await;
    outbox.until_held(1).await;
    outbox.open(target.slot(), EVER).await;
    receiver.until_stored(3).await;
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_bytes_what_is_held_goes_too() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(strict()).await;
    let mut settings = settings();
    settings.bytes_max = 4000;
    let outbox = Running::start_with(&settings, directory.path(), &one(&receiver));
    let mut target = Target::divided("a", 20, 50);
    for _ in 0..200 {
        outbox.scrape(&mut target).await;
    }
    let lost = outbox
        .until_view("losses", |view| {
            let lost = view.dropped_samples.get("max_bytes").copied()?;
            (view.samples + lost == 4000 && view.held_bytes <= 4000).then_some(lost)
        })
        .await;
    assert!(receiver.requests().is_empty());
    outbox.open(target.slot(), EVER).await;
    receiver.until_stored(4000 - usize::try_from(lost).unwrap()).await;
    assert_eq!(receiver.stored()["a-0"].last(), Some(&199.0), "the newest stay");
    outbox.stop().await;
}

/// A part that is ordered is done before what is ordered after it, slot by slot.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_ordered_later_waits_for_what_was_ordered_before() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|_| Reply::status(204).after(Duration::from_millis(500))).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut target = Target::divided("a", 3, 50);
    let slot = target.slot();
    outbox.open(slot, EVER).await;
    outbox.scrape(&mut target).await;
    outbox.until_view("in flight", |view| (view.in_flight > 0).then_some(())).await;
    outbox.scrape(&mut target).await;
    let (answer, extracted) = oneshot::channel();
    let orders = vec![
        LineOrder::Extract { slot, answer },
        LineOrder::Open { slot, before_ms: EVER },
        LineOrder::PutBack { slot },
    ];
    outbox.order(orders).await;
    assert_eq!(extracted.await.unwrap().records.len(), 1);
    receiver.until_stored(6).await;
    target.assert_stored_once_in_order(&receiver);
    let times: BTreeSet<i64> = receiver
        .requests()
        .iter()
        .flat_map(|(request, _)| &request.series)
        .map(|series| series.samples[0].timestamp_ms)
        .collect();
    assert_eq!(times.len(), 2);
    outbox.stop().await;
}
