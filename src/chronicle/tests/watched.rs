//! The part itself, with everything that it watches in hand.

use std::path::Path;

use super::*;
use crate::{
    config as configuration,
    discovery::{Discovery, provider::Nameservers},
    fleet::alone,
    history::{EventFilter, Kind},
    model::{
        labels::Labels,
        member::{Interval, Member, MemberState},
        overrides::Overrides,
        slot::{SLOTS, Slot, StreamKey},
        target::{ADDRESS, Target, TargetGroup, TargetId},
    },
    outbox::Outbox,
    ownership::{moves::Why, placement::Table},
    runtime::{clock, config_state::Cause},
};

/// A chronicle of an agent that is alone, with everything that it watches in hand.
struct Watched {
    book: Book,
    handle: Handle,
    moves: broadcast::Sender<Arc<[Move]>>,
    owners: watch::Sender<Arc<view::Owners>>,
    config: watch::Sender<Arc<ConfigState>>,
    health: broadcast::Sender<Arc<scrape::HealthChange>>,
    stop: Stop,
    task: Option<JoinHandle<Option<()>>>,
    part: Option<Chronicle>,
    _folder: TempDir,
}

const ME: NodeId = NodeId(1);

impl Watched {
    fn new(folder: TempDir, count: usize) -> Self {
        let mut registry = Registry::default();
        let stop = Stop::new();
        let text = "scrape_configs: [{job_name: j, clustering: {enabled: true}}]";
        let mut config = configuration::parse(Path::new(""), text, &|_| None).unwrap();
        let address = |n| -> Labels { [(ADDRESS, format!("h{n}:1"))].into_iter().collect() };
        let group = TargetGroup { targets: (0..count).map(address).collect(), ..<_>::default() };
        let job = Arc::make_mut(&mut config.jobs[0]);
        job.discovery = vec![configuration::Discovery::Static(vec![group])];
        let (discovery, part) =
            Discovery::new(config.jobs.clone(), Nameservers::System, String::new(), &mut registry);
        drop(tasks::spawn("discovery", part.run(stop.clone())));
        let storage = tempfile::tempdir().unwrap();
        let (outbox, _) = Outbox::new(
            outbox::Node::alone(ME),
            &config.outbox,
            &config.destinations,
            &storage.path().join("outbox"),
            &mut registry,
        )
        .unwrap();
        let (roster, status) = alone::alone(ME, "n1".into(), String::new());
        let table = Arc::new(Table::new(0, &roster.borrow(), &Overrides::default()));
        let owners = view::Owners { since_ms: clock::now_ms(), table: Some(table) };
        let (owners, owners_seen) = watch::channel(Arc::new(owners));
        let moves = broadcast::Sender::new(256);
        let health = broadcast::Sender::new(4_096);
        let state = ConfigState {
            config: Arc::new(config),
            loaded_ms: 0,
            refused: None,
            cause: Cause::Start,
        };
        let (config, config_seen) = watch::channel(Arc::new(state));
        let book = Book::over(folder);
        let (handle, part) = Chronicle::new(Links {
            me: ME,
            name: "n1".into(),
            time: FleetTime::default(),
            roster,
            status,
            discovery,
            config: config_seen,
            owners: owners_seen,
            moves: moves.subscribe(),
            health: health.subscribe(),
            outbox,
            history: book.handle.clone(),
        });
        let part = Some(part);
        Self {
            book,
            handle,
            moves,
            owners,
            config,
            health,
            stop,
            task: None,
            part,
            _folder: storage,
        }
    }

    fn start(&mut self) {
        let part = self.part.take().unwrap();
        self.task = Some(tasks::spawn("chronicle", part.run(self.stop.clone())));
    }

    async fn eventually(&self, filter: EventFilter, is_so: impl Fn(&[Event]) -> bool) {
        let give_up = Instant::now() + Duration::from_secs(60);
        loop {
            let page = self.book.handle.events(filter.clone(), None, 1_000).await.unwrap();
            if is_so(&page.items) {
                return;
            }
            assert!(Instant::now() < give_up, "it has not come to that: {:?}", page.items.first());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stop(self) -> TempDir {
        self.stop.raise();
        if let Some(task) = self.task {
            task.await.unwrap().unwrap();
        }
        self.book.stop().await
    }
}

fn moved(slot: u16, at_ms: i64, from: u128, to: u128) -> Move {
    Move {
        slot: Slot::new(slot).unwrap(),
        at_ms,
        from: Some(NodeId(from)),
        to: Some(NodeId(to)),
        why: Why::Death,
        is_late: false,
    }
}

fn of_kind(kind: Kind) -> EventFilter {
    EventFilter { kind: Some(kind), ..EventFilter::default() }
}

/// All slots, with 100,000 targets on them, move ten times: that is 4,096 rows each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_moves_is_kept_whole_and_nobody_waits() {
    let mut watched = Watched::new(tempfile::tempdir().unwrap(), 100_000);
    watched.book.handle.gave_up();
    watched.start();
    let all =
        |events: &[Event]| events.iter().filter_map(|event| event.targets).sum::<u64>() == 100_000;
    watched.eventually(of_kind(Kind::Target), all).await;
    let start_ms = clock::now_ms();
    for n in 0..10 {
        // There and back again.
        let (from, to) = if n % 2 == 0 { (1, 2) } else { (2, 1) };
        let all = (0..SLOTS).map(|slot| moved(slot, start_ms + n, from, to));
        watched.moves.send(all.collect()).unwrap();
    }
    let whole = |events: &[Event]| {
        let burst = events.iter().filter(|event| event.at_ms >= start_ms);
        let burst: Vec<_> = burst.map(|event| (event.slots, event.targets)).collect();
        burst == [(Some(4_096), Some(100_000)); 10]
    };
    watched.eventually(of_kind(Kind::Moves), whole).await;
    let found = watched.book.handle.owners_at(start_ms + 10).await.unwrap();
    assert!(found.iter().all(|owner| *owner == Some(ME)));
    assert_eq!(watched.book.handle.store().fault, None);
    let book = Book::over(watched.stop().await);
    let (mut after, mut rows) = (None, 0);
    loop {
        let page = book.handle.since(0, i64::MAX, after, 1_000).await.unwrap();
        rows += page
            .rows
            .iter()
            .map(|row| if let Entry::Moves(m) = row { m.slots.len() } else { 0 })
            .sum::<usize>();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(rows, 11 * usize::from(SLOTS), "the first owners, and ten moves of each");
}

/// More looks than are kept for who listens: the owners are looked up.
#[tokio::test]
async fn moves_that_were_missed_are_found_by_the_owners() {
    let mut watched = Watched::new(tempfile::tempdir().unwrap(), 10);
    watched.book.handle.gave_up();
    watched.start();
    watched.eventually(of_kind(Kind::Moves), |events| events.len() == 1).await;
    let start_ms = clock::now_ms() + 1_000;
    let two = Roster {
        members: [Member { id: NodeId(2), ..some_member() }].map(|m| (m.id, m)).into(),
        version: 2,
    };
    let table = Some(Arc::new(Table::new(start_ms, &two, &Overrides::default())));
    watched.owners.send_replace(Arc::new(view::Owners { since_ms: start_ms + 5, table }));
    // Nobody gets to listen in between, and only the last 256 are kept.
    for slot in 0..1_000 {
        watched.moves.send([moved(slot, start_ms + 1, 1, 2)].into()).unwrap();
    }
    let is_all = |events: &[Event]| {
        let unseen = |event: &&Event| event.reason.as_deref() == Some("unseen");
        events.iter().filter(unseen).any(|event| event.slots == Some(4_096 - 256))
    };
    watched.eventually(of_kind(Kind::Moves), is_all).await;
    let owners = watched.book.handle.owners_at(start_ms + 10).await.unwrap();
    assert!(owners.iter().all(|owner| *owner == Some(NodeId(2))));
    watched.stop().await;
}

fn some_member() -> Member {
    Member {
        id: ME,
        name: "n2".into(),
        api_address: String::new(),
        weight: 100,
        zone: String::new(),
        state: MemberState::Alive,
        intervals: vec![Interval { from_ms: 0, until_ms: None }],
    }
}

/// What changed while it was down is told as that, and what did not is not told again.
#[tokio::test]
async fn a_restart_tells_what_nobody_saw() {
    let mut watched = Watched::new(tempfile::tempdir().unwrap(), 30);
    watched.book.handle.gave_up();
    watched.start();
    watched.eventually(of_kind(Kind::Target), |events| events.len() == 1).await;
    watched.eventually(of_kind(Kind::Moves), |events| events.len() == 1).await;
    let folder = watched.stop().await;

    // Its clock does not tell two starts within a millisecond apart.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let mut watched = Watched::new(folder, 20);
    watched.start();
    // It waits for who could tell it more.
    watched.eventually(of_kind(Kind::Config), |events| events.len() == 1).await;
    watched.book.handle.caught_up();
    let told = |events: &[Event]| {
        let told: Vec<_> =
            events.iter().map(|e| (e.reason.as_deref().unwrap(), e.targets)).collect();
        told == [("unseen", Some(10)), ("discovered", Some(30))]
    };
    watched.eventually(of_kind(Kind::Target), told).await;
    watched.eventually(of_kind(Kind::Moves), |events| events.len() == 1).await;
    watched.eventually(of_kind(Kind::Member), |events| events.len() == 1).await;
    watched.stop().await;
}

fn goes_down_with_secrets() -> scrape::HealthChange {
    let target = Target {
        job: "k".into(),
        labels: [("__param_token", "hunter2"), ("instance", "h:1")].into_iter().collect(),
        discovered: Labels::new(),
        id: TargetId(7),
        key: StreamKey(7),
        url: "http://user:hunter2@h:1/metrics?token=hunter2".into(),
        interval: Duration::from_secs(15),
        timeout: Duration::from_secs(10),
    };
    scrape::HealthChange {
        target: Arc::new(target),
        is_up: false,
        error: Some("connection refused".into()),
        at_ms: clock::now_ms(),
    }
}

#[tokio::test]
async fn what_happens_is_told_as_it_happens() {
    let mut watched = Watched::new(tempfile::tempdir().unwrap(), 2);
    watched.book.handle.gave_up();
    let mut live = watched.handle.subscribe(None);
    assert_eq!(live.replay, Replay::Complete);
    watched.start();
    let next = async |live: &mut Subscription, kind| loop {
        match live.next().await {
            Some(Next::Event(live)) if live.event.kind == kind => return live,
            Some(Next::Event(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    let first = next(&mut live, Kind::Config).await;
    assert_eq!(first.event.summary, "n1 runs a configuration (start)");

    let state = Arc::clone(&watched.config.borrow());
    let text = "scrape_configs: [{job_name: k, basic_auth: {username: u, password: hunter2}}]";
    let config = configuration::parse(Path::new(""), text, &|_| None).unwrap();
    let new = ConfigState { config: Arc::new(config), cause: Cause::Signal, ..(*state).clone() };
    watched.config.send_replace(Arc::new(new.clone()));
    let second = next(&mut live, Kind::Config).await;
    assert!(second.event.summary.contains("new configuration (signal): "), "{second:?}");
    let refused = ConfigState { refused: Some("1:1: no".into()), cause: Cause::Order, ..new };
    watched.config.send_replace(Arc::new(refused));
    let third = next(&mut live, Kind::Config).await;
    assert_eq!(third.event.error.as_deref(), Some("1:1: no"));

    watched.health.send(Arc::new(goes_down_with_secrets())).unwrap();
    let health = next(&mut live, Kind::Health).await;
    assert_eq!(
        health.event.summary,
        "http://xxxxx@h:1/metrics?token=xxxxx of `k` is down: connection refused"
    );

    // Who comes back is told what came since.
    let mut again = watched.handle.subscribe(Some(second.id));
    assert_eq!(again.replay, Replay::Complete);
    // Other kinds come when their parts are ready, also between those two.
    assert_eq!(next(&mut again, Kind::Config).await, third);
    let other_run = EventId { start_ms: 5, ..second.id };
    assert_eq!(watched.handle.subscribe(Some(other_run)).replay, Replay::Reset);
    let future = EventId { number: 1_000_000, ..second.id };
    assert_eq!(watched.handle.subscribe(Some(future)).replay, Replay::Reset);

    watched.eventually(of_kind(Kind::Health), |events| events.len() == 1).await;
    let folder = watched.stop().await;
    assert_eq!(live.next().await, None, "the agent has ended");
    for file in ["history.db", "history.db-wal"] {
        let bytes = std::fs::read(folder.path().join(file)).unwrap_or_default();
        assert!(!bytes.windows(7).any(|some| some == b"hunter2"), "a secret is in `{file}`");
    }
    let book = Book::over(folder);
    let page = book.handle.since(0, i64::MAX, None, 1_000).await.unwrap();
    let changes = page.rows.iter().find_map(|row| match row {
        Entry::Config(version) if version.cause == "signal" => Some(version.changes.clone()),
        _ => None,
    });
    let changes = changes.unwrap();
    assert!(
        changes.contains("-- job_name: j\n") && changes.contains("+- job_name: k\n"),
        "{changes}"
    );
    assert!(changes.contains("<secret>"), "{changes}");
}
