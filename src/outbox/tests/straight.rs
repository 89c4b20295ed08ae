//! A destination that is a fleet of gateways: each series goes to the one that owns it, and all of them
//! the configured way where that can't be.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use crate::{
    config::{Authorization, Destination, Secret, Source, WriteMessage},
    model::identity::TENANT_SLOTS,
    outbox::tests::{
        Running, Target, destination,
        receiver::{Receiver, Reply, Request, strict},
    },
    wire::placement::{PlacedMember, Placement},
};

const SHOWN: &str = "Bearer s3cret";

/// What the configured gateway says; shared with its script.
type Word = Arc<Mutex<Option<Placement>>>;

struct Fleet {
    gateway: Receiver,
    members: [Receiver; 2],
    word: Word,
}

impl Fleet {
    /// The members answer by the scripts that `script` makes.
    async fn start<S>(script: impl Fn() -> S) -> Self
    where
        S: FnMut(&Request) -> Reply + Send + 'static,
    {
        let word = Word::default();
        let (told, mut stores) = (Arc::clone(&word), script());
        let gateway = Receiver::start(move |request| {
            if request.path != "/placement" {
                return stores(request);
            }
            match &*told.lock().unwrap() {
                Some(placement) => {
                    let text = String::from_utf8(placement.bytes()).unwrap();
                    Reply { text, ..Reply::status(200) }
                }
                None => Reply::status(404),
            }
        });
        let gateway = gateway.await;
        let members = [Receiver::start(script()).await, Receiver::start(script()).await];
        let fleet = Self { gateway, members, word };
        *fleet.word.lock().unwrap() = Some(fleet.placement());
        fleet
    }

    /// By turns, slot by slot.
    fn placement(&self) -> Placement {
        let member = |receiver: &Receiver| PlacedMember {
            name: receiver.address.clone(),
            url: Some(receiver.url()),
        };
        Placement {
            straight: true,
            members: self.members.iter().map(member).collect(),
            owners: (0..TENANT_SLOTS).map(|n| u16::try_from(n % 2).ok()).collect(),
            ..Placement::default()
        }
    }

    fn outbox(&self, directory: &Path, change: impl FnOnce(&mut Destination)) -> Running {
        let mut destination = destination("main", &self.gateway.url());
        destination.placement = true;
        change(&mut destination);
        Running::start(directory, &[Arc::new(destination)])
    }

    /// How many series each has stored: the configured gateway first.
    fn stored(&self) -> [usize; 3] {
        let [a, b] = &self.members;
        [&self.gateway, a, b].map(|receiver| receiver.stored().len())
    }

    fn questions(&self) -> usize {
        let is_question = |(request, _): &&(Request, u16)| request.path == "/placement";
        self.gateway.requests().iter().filter(is_question).count()
    }

    async fn until_asked(&self, times: usize) {
        self.gateway.until("asked", |_| (self.questions() >= times).then_some(())).await;
        // The answer is on its way.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

async fn check_each_goes_to_its_owner(message: WriteMessage) {
    let directory = tempfile::tempdir().unwrap();
    let script = || {
        |request: &Request| {
            let samples = request.series.len().to_string();
            Reply::status(204).header("X-Prometheus-Remote-Write-Samples-Written", &samples)
        }
    };
    let fleet = Fleet::start(script).await;
    let outbox = fleet.outbox(directory.path(), |destination| {
        destination.message = message;
        let credentials = Some(Source::Inline(Secret::new("s3cret")));
        let scheme = "Bearer".to_owned();
        destination.http.authorization = Some(Authorization { scheme, credentials });
    });
    fleet.until_asked(1).await;
    let mut target = Target::new("a", 60);
    for scrapes in 1..=3 {
        outbox.scrape(&mut target).await;
        outbox.until_metric(&sent(60 * scrapes)).await;
    }
    let [gateway, one, other] = fleet.stored();
    assert_eq!((gateway, one + other), (0, 60), "each series has one owner");
    assert!(one > 10 && other > 10, "{one} {other}");
    for member in &fleet.members {
        let in_order = |values: &Vec<f64>| *values == [0.0, 1.0, 2.0];
        assert!(member.stored().values().all(in_order), "{:?}", member.stored());
        let shows = |(request, _): &(Request, u16)| request.header("authorization") == SHOWN;
        assert!(member.requests().iter().all(shows), "who may push there may push here");
        assert!(fleet.gateway.requests().iter().all(shows));
    }
    assert!(
        outbox.metrics().contains("starling_outbox_straight_parts_total{destination=\"main\"} 6")
    );
    assert!(
        outbox.metrics().contains("starling_outbox_whole_requests_total{destination=\"main\"} 0")
    );
    outbox.stop().await;
}

fn sent(samples: usize) -> String {
    format!("starling_outbox_sent_samples_total{{destination=\"main\"}} {samples}")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_series_goes_to_its_owner_by_1_0() {
    check_each_goes_to_its_owner(WriteMessage::V1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_series_goes_to_its_owner_by_2_0() {
    check_each_goes_to_its_owner(WriteMessage::V2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_owner_does_not_take_goes_the_configured_way() {
    let directory = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(strict).await;
    // One is no gateway any more.
    fleet.members[1].answer(|_| Reply::status(404));
    let outbox = fleet.outbox(directory.path(), |_| {});
    fleet.until_asked(1).await;
    let mut target = Target::new("a", 60);
    for scrapes in 1..=3 {
        outbox.scrape(&mut target).await;
        outbox.until_metric(&sent(60 * scrapes)).await;
    }
    let [gateway, one, other] = fleet.stored();
    assert_eq!((gateway + one, other), (60, 0));
    assert!(gateway > 10 && one > 10, "{gateway} {one}");
    assert_eq!(fleet.members[1].requests().len(), 1, "it is passed over");
    fleet.until_asked(2).await;
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_says_who_owns_what_all_goes_the_configured_way() {
    let directory = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(strict).await;
    *fleet.word.lock().unwrap() = None;
    let outbox = fleet.outbox(directory.path(), |_| {});
    fleet.until_asked(1).await;
    let mut target = Target::new("a", 20);
    outbox.scrape(&mut target).await;
    outbox.until_metric(&sent(20)).await;
    assert_eq!(fleet.stored(), [20, 0, 0]);
    outbox.until_metric("starling_outbox_whole_requests_total{destination=\"main\"} 1").await;
    outbox.stop().await;
}

/// One that is late with its part holds up what is newer, and a repeat of the others is no harm.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_newer_leaves_before_all_parts_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(strict).await;
    let mut tries = 0;
    let mut stores = strict();
    fleet.members[1].answer(move |request| {
        tries += 1;
        if tries % 2 == 1 { Reply::status(503) } else { stores(request) }
    });
    let outbox = fleet.outbox(directory.path(), |destination| {
        destination.queue.max_backoff = std::time::Duration::from_millis(20);
    });
    fleet.until_asked(1).await;
    let mut target = Target::new("a", 40);
    for scrapes in 1..=4 {
        outbox.scrape(&mut target).await;
        outbox.until_metric(&sent(40 * scrapes)).await;
    }
    let receivers = [&fleet.gateway, &fleet.members[0], &fleet.members[1]];
    for values in receivers.iter().flat_map(|receiver| receiver.stored().into_values()) {
        assert!(values.is_sorted(), "{values:?}");
    }
    assert_eq!(outbox.dropped("rejected"), 0);
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_of_other_owners_has_them_asked_for_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(|| |_: &Request| Reply::status(204)).await;
    fleet.members[0].answer(|_| Reply::status(204).header("X-Starling-Forwarded", "3"));
    let outbox = fleet.outbox(directory.path(), |_| {});
    fleet.until_asked(1).await;
    let mut target = Target::new("a", 40);
    let began = tokio::time::Instant::now();
    outbox.scrape(&mut target).await;
    fleet.until_asked(2).await;
    assert!(began.elapsed() < std::time::Duration::from_secs(3), "{:?}", began.elapsed());
    outbox.stop().await;
}
