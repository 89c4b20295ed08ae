//! Pushes: answered when they are on disk, refused when there is no room, sent as they came.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;

use crate::{
    config::{Destination, OutboxSettings, Secret, Source, WhenFull, WriteMessage},
    model::{
        labels::Labels,
        member::NodeId,
        record::Sent,
        sample::{Point, PointValue, STALE_NAN_BITS},
        slot::StreamKey,
    },
    outbox::{
        KeptSeries, NotKept, Packed, Press, PushOrigin,
        lines::{Extracted, Stored},
        tests::{
            Running, Target, destination,
            lines::EVER,
            one,
            receiver::{Receiver, Reply, Request, strict},
            settings,
        },
    },
    wire::remote_write::{encode_labels, push_series},
};

const START_MS: i64 = 1_795_255_200_000;

fn unavailable(_: &Request) -> Reply {
    Reply::status(503)
}

fn taken(_: &Request) -> Reply {
    Reply::status(204)
}

/// Who pushes: so many series, whose values count the pushes.
struct Pusher {
    name: String,
    tenant: Arc<str>,
    since_ms: Option<i64>,
    series: usize,
    pushes: i64,
}

impl Pusher {
    fn new(name: &str, tenant: &str, series: usize) -> Self {
        let (name, tenant) = (name.to_owned(), tenant.into());
        Self { name, tenant, since_ms: None, series, pushes: 0 }
    }

    fn stream(&self) -> StreamKey {
        StreamKey::of(["push", &self.name])
    }

    fn push(&mut self, outbox: &Running) -> Packed {
        #[expect(clippy::cast_precision_loss, reason = "a test makes few pushes")]
        let value = self.pushes as f64;
        self.push_of(outbox, value)
    }

    fn push_of(&mut self, outbox: &Running, value: f64) -> Packed {
        let mut press = Press::new(Arc::clone(&outbox.handle.shapings().borrow()));
        let timestamp_ms = START_MS + 1000 * self.pushes;
        let (tenant, stream) = (Arc::clone(&self.tenant), self.stream());
        press.begin(PushOrigin { tenant, stream, round: self.pushes, since_ms: self.since_ms });
        let value = PointValue::Float(value);
        let point = Point { value, timestamp_ms, start_ms: None, exemplars: &[] };
        for n in 0..self.series {
            let n = format!("{}-{n}", self.name);
            let labels: Labels = [("__name__", "m"), ("n", n.as_str())].into_iter().collect();
            let mut field = Vec::new();
            push_series(&mut field, &encode_labels(&labels, None), &point);
            press.add(KeptSeries { field: &field, timestamp_ms, is_plain: true });
        }
        self.pushes += 1;
        press.finish()
    }

    async fn keep(&mut self, outbox: &Running) -> Result<(), NotKept> {
        outbox.handle.keep(self.push(outbox)).await
    }

    /// Until that is the answer; how often it was taken before.
    async fn keep_until(&mut self, outbox: &Running, refusal: &NotKept) -> usize {
        for n in 0..10_000 {
            match self.keep(outbox).await {
                Ok(()) => {}
                Err(refused) if refused == *refusal => return n,
                Err(refused) => panic!("{refused:?}"),
            }
        }
        panic!("never {refusal:?}");
    }

    async fn keep_until_taken(&mut self, outbox: &Running) {
        for _ in 0..400 {
            if self.keep(outbox).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not taken within 20 s");
    }
}

fn small(when_full: WhenFull) -> OutboxSettings {
    OutboxSettings { bytes_max: 4000, when_full, ..settings() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_there_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(unavailable).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut pushers: Vec<Pusher> =
        (0..50).map(|n| Pusher::new(&format!("p{n}"), "team", 3)).collect();
    let kept = pushers.iter_mut().map(|pusher| pusher.keep(&outbox));
    assert!(join_all(kept).await.iter().all(Result::is_ok));
    outbox.kill().await;

    receiver.answer(strict());
    let outbox = Running::start(directory.path(), &one(&receiver));
    receiver.until_stored(150).await;
    assert!(
        receiver.requests().iter().all(|(request, _)| request.header("x-scope-orgid") == "team")
    );
    outbox.stop().await;
}

/// One after the other they would take as many syncs; the disk makes a few.
#[tokio::test(flavor = "multi_thread")]
async fn many_pushes_and_scrapes_share_the_disk_and_keep_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(strict()).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut pushers: Vec<Pusher> = (0..200).map(|n| Pusher::new(&format!("p{n}"), "", 2)).collect();
    let mut target = Target::new("scraped", 5);
    for _ in 0..5 {
        outbox.scrape(&mut target).await;
        let kept = pushers.iter_mut().map(|pusher| pusher.keep(&outbox));
        assert!(join_all(kept).await.iter().all(Result::is_ok));
    }
    receiver.until_stored(5 * (400 + 5)).await;
    target.assert_stored_once_in_order(&receiver);
    let stored = receiver.stored();
    assert!(
        pushers.iter().all(|pusher| stored[&format!("{}-1", pusher.name)] == [0., 1., 2., 3., 4.])
    );
    outbox.until_metric("starling_outbox_appended_samples_total{destination=\"main\"} 2025").await;
    outbox.until_metric("starling_outbox_sent_samples_total{destination=\"main\"} 2025").await;
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_full_refuses_and_loses_nothing_it_has_taken() {
    for when_full in [WhenFull::DropOldest, WhenFull::PushBack] {
        let directory = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(unavailable).await;
        let outbox = Running::start_with(&small(when_full), directory.path(), &one(&receiver));
        let mut pusher = Pusher::new("p", "", 5);
        let kept = pusher.keep_until(&outbox, &NotKept::Full).await;
        assert!(kept > 5, "{kept}");
        let many = (0..50).map(|_| outbox.handle.queue(pusher.push(&outbox)));
        assert!(join_all(many.collect::<Vec<_>>()).await.iter().all(|r| *r == Err(NotKept::Full)));
        receiver.answer(taken);
        receiver.until_stored(5 * kept).await;
        pusher.keep_until_taken(&outbox).await;
        receiver.until_stored(5 * kept + 5).await;
        assert_eq!(receiver.stored()["p-0"].len(), kept + 1);
        assert_eq!(outbox.dropped("max_bytes"), 0);
        outbox.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_destination_has_room_the_full_one_drops_its_oldest() {
    for when_full in [WhenFull::DropOldest, WhenFull::PushBack] {
        let directory = tempfile::tempdir().unwrap();
        let (down, up) = (Receiver::start(unavailable).await, Receiver::start(taken).await);
        let both =
            [Arc::new(destination("down", &down.url())), Arc::new(destination("up", &up.url()))];
        let outbox = Running::start_with(&small(when_full), directory.path(), &both);
        let mut pusher = Pusher::new("p", "", 5);
        match when_full {
            WhenFull::DropOldest => {
                for n in 0..60 {
                    pusher.keep(&outbox).await.unwrap();
                    up.until_stored(5 * n).await;
                }
                outbox
                    .until_view("dropped", |view| {
                        let dropped = view.dropped_samples.get("max_bytes").copied()?;
                        (dropped > 0 && dropped + view.samples == 300).then_some(())
                    })
                    .await;
            }
            WhenFull::PushBack => {
                let kept = pusher.keep_until(&outbox, &NotKept::Full).await;
                up.until_stored(5 * kept).await;
                assert_eq!(outbox.dropped("max_bytes"), 0);
            }
        }
        outbox.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_nothing_is_told_and_what_was_refused_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(unavailable).await;
    let full = OutboxSettings { free_disk_bytes_min: u64::MAX, ..settings() };
    let mut slow = destination("main", &receiver.url());
    // Nothing is on its way when the disk says no.
    slow.queue.batch_send_deadline = Duration::from_secs(30);
    let destinations = [Arc::new(slow)];
    let outbox = Running::start_with(&full, directory.path(), &destinations);
    let mut pusher = Pusher::new("p", "", 5);
    for _ in 0..3 {
        let refused = pusher.keep(&outbox).await.unwrap_err();
        assert!(matches!(&refused, NotKept::Disk(why) if why.contains("space")), "{refused:?}");
    }
    let view = outbox.handle.queues()[0].clone();
    assert_eq!((view.records, view.dropped_samples.values().sum::<u64>()), (0, 0));
    assert_eq!(outbox.handle.queue(pusher.push(&outbox)).await, Ok(()), "lives in memory");
    outbox.handle.apply(settings(), destinations.to_vec()).await.unwrap();
    pusher.keep_until_taken(&outbox).await;
    outbox.kill().await;

    receiver.answer(taken);
    let outbox = Running::start(directory.path(), &one(&receiver));
    receiver.until_stored(10).await;
    let stored = receiver.stored()["p-0"].clone();
    assert_eq!((stored.len(), stored[0]), (2, 3.0), "{stored:?}");
    outbox.stop().await;
}

/// The taker has sent much newer samples of the stream, as another client was ahead.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_pushed_is_handed_over_however_old() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(unavailable).await;
    let start = |member: u128| {
        let place = directory.path().join(member.to_string());
        Running::start_as(NodeId(member), &settings(), &place, &one(&receiver))
    };
    let (old, new) = (start(1), start(2));
    let mut behind = Pusher { since_ms: Some(50), ..Pusher::new("p", "team", 2) };
    let slot = behind.stream().slot();
    for _ in 0..3 {
        behind.keep(&old).await.unwrap();
    }
    let mut ahead = Pusher { since_ms: Some(100), pushes: 1000, ..Pusher::new("p", "team", 2) };
    receiver.answer(taken);
    new.open(slot, EVER).await;
    ahead.keep(&new).await.unwrap();
    receiver.until_stored(2).await;
    new.until_view("answered", |view| (view.samples == 0).then_some(())).await;

    let look = new.look(slot, vec![behind.stream()]).await;
    assert_eq!(look.sent, [], "nothing is late by it");
    let Extracted { records, sent } = old.extract(slot).await;
    assert!(records.iter().all(|record| record.pushed));
    let names = records.iter().map(|record| record.name).collect();
    let records = old.read(slot, names).await;
    assert_eq!((records.len(), sent), (3, vec![]));
    // Word of a scrape of that stream would make no difference.
    let sent = vec![Sent { stream: behind.stream(), newest_ms: i64::MAX }];
    assert!(new.store(slot, Stored { records, sent, ..Stored::default() }).await);
    new.until_held(3).await;
    new.open(slot, EVER).await;
    receiver.until_stored(8).await;
    assert_eq!((receiver.stored()["p-0"].len(), new.dropped("late")), (4, 0));
    old.stop().await;
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_hears_when_the_outbox_ends() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(taken).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    let mut pusher = Pusher::new("p", "", 1);
    let (handle, packed) = (outbox.handle.clone(), pusher.push(&outbox));
    outbox.stop().await;
    assert_eq!(handle.keep(packed).await, Err(NotKept::Ended));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_goes_with_its_own_and_in_the_place_of_what_is_configured() {
    for message in [WriteMessage::V1, WriteMessage::V2] {
        let directory = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(taken).await;
        let mut tenanted = destination("main", &receiver.url());
        tenanted.message = message;
        let base = Source::Inline(Secret::new("base"));
        tenanted.http.headers = vec![("x-SCOPE-orgid".to_owned(), vec![base])];
        let outbox = Running::start(directory.path(), &[Arc::new(tenanted)]);
        let mut pushers = [("p", "team-a"), ("q", "team-b"), ("r", "")]
            .map(|(name, tenant)| Pusher::new(name, tenant, 2));
        for pusher in &mut pushers {
            pusher.keep(&outbox).await.unwrap();
        }
        outbox.scrape(&mut Target::new("scraped", 1)).await;
        receiver.until_stored(7).await;
        for (request, _) in receiver.requests() {
            let tenant = request.header("x-scope-orgid");
            let expected = |name: &str| match name.split('-').next() {
                Some("p") => "team-a",
                Some("q") => "team-b",
                Some(_) | None => "base",
            };
            for series in &request.series {
                assert_eq!(tenant, expected(series.labels.get("n")), "{request:?}");
            }
        }
        outbox.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_no_tenant_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(taken).await;
    let outbox = Running::start(directory.path(), &one(&receiver));
    for tenant in ["a b", "a\r\nX-Evil: 1", "tenant/1"] {
        let refused = Pusher::new("p", tenant, 1).keep(&outbox).await;
        assert_eq!(refused, Err(NotKept::BadTenant), "{tenant}");
    }
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_arrive_bit_for_bit_under_the_labels_that_are_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(taken).await;
    let labelled = |d: &mut Destination| {
        d.external_labels = [("dc", "x")].into_iter().collect();
    };
    let plain = destination("plain", &receiver.url());
    let mut shaped = destination("shaped", &receiver.url());
    labelled(&mut shaped);
    let outbox = Running::start(directory.path(), &[Arc::new(plain), Arc::new(shaped)]);
    let mut pusher = Pusher::new("p", "", 1);
    let nans = [STALE_NAN_BITS, 0xfff8_0000_0000_beef, 0x7ff8_0000_0000_0001];
    for bits in nans {
        outbox.handle.keep(pusher.push_of(&outbox, f64::from_bits(bits))).await.unwrap();
    }
    receiver.until_stored(6).await;
    for dc in ["", "x"] {
        let requests = receiver.requests();
        let series = requests.iter().flat_map(|(request, _)| &request.series);
        let own = series.filter(|series| series.labels.get("dc") == dc);
        let stored: Vec<u64> =
            own.flat_map(|series| &series.samples).map(|sample| sample.value.to_bits()).collect();
        assert_eq!(stored, nans);
    }
    outbox.stop().await;
}
