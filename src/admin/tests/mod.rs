//! Real requests against a window whose sources are made by hand.

mod discovery;
mod door;
mod fleet;
mod own;
mod prometheus;

use std::{path::Path, time::Duration};

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use super::*;
use crate::{
    config::{self, Config, HttpClient, OnPartition},
    discovery::{Discovery, JobTargets, provider::Nameservers},
    fleet::alone,
    model::{
        slot::StreamKey,
        target::{DroppedTarget, Target, TargetId},
    },
    outbox::Outbox,
    runtime::{http::Caller, meters, tasks},
    scrape::Pool,
};

/// Ownership at work, as far as it can be without peers.
fn started(config: &Arc<config::Config>) -> ConfigState {
    ConfigState {
        config: Arc::clone(config),
        loaded_ms: 1_700_000_000_123,
        refused: None,
        cause: crate::runtime::config_state::Cause::Start,
    }
}

fn divided(
    fleet: &FleetSources,
    outbox: &outbox::Handle,
    found: &watch::Receiver<Arc<Snapshot>>,
    config: &watch::Receiver<Arc<ConfigState>>,
    folder: &Path,
    stop: &Stop,
) -> ownership::Handle {
    let links = ownership::Links {
        roster: fleet.roster.clone(),
        status: fleet.status.clone(),
        time: fleet.time.clone(),
        fleet: None,
        peers: None,
        found: found.clone(),
        config: config.clone(),
        outbox: outbox.clone(),
        pool: mpsc::channel(1).0,
        reports: mpsc::channel(1).1,
        loads: watch::channel(Arc::default()).1,
        pushed: watch::channel(Arc::default()).1,
        intake: None,
    };
    let settings = ownership::Settings {
        me: fleet.me,
        folder: folder.join("ownership"),
        fence_max: Duration::from_secs(60),
        on_partition: OnPartition::ScrapeAll,
        reload_grace: Duration::from_secs(60),
    };
    let (handle, part) = ownership::Ownership::new(settings, links, &mut meters::registry());
    tasks::spawn("ownership", part.run(stop.clone()));
    handle
}

/// History at work, and who observes for it.
fn kept(
    fleet: &FleetSources,
    division: &ownership::Handle,
    scrape: &scrape::Handle,
    outbox: &outbox::Handle,
    config: &watch::Receiver<Arc<ConfigState>>,
    folder: &tempfile::TempDir,
    stop: &Stop,
) -> (history::Handle, chronicle::Handle) {
    let mut registry = meters::registry();
    let settings = history::Settings {
        file: folder.path().join("history.db"),
        section: config.borrow().config.history.clone(),
        time: fleet.time.clone(),
    };
    let (history, part) = history::History::new(settings, &mut registry);
    tasks::spawn("history", part.run(stop.clone()));
    let (discovery, _) =
        Discovery::new(Vec::new(), Nameservers::System, String::new(), &mut registry);
    let links = chronicle::Links {
        me: fleet.me,
        name: fleet.name.clone(),
        time: fleet.time.clone(),
        roster: fleet.roster.clone(),
        status: fleet.status.clone(),
        discovery,
        config: config.clone(),
        owners: division.owners(),
        moves: division.moves(),
        health: scrape.changes(),
        outbox: outbox.clone(),
        history: history.clone(),
    };
    let (chronicle, part) = chronicle::Chronicle::new(links);
    tasks::spawn("chronicle", part.run(stop.clone()));
    (history, chronicle)
}

/// What a member answers from that is asked by itself alone.
fn surveyed(
    fleet: &FleetSources,
    outbox: &outbox::Handle,
    scrape: &scrape::Handle,
    history: &history::Handle,
    found: &watch::Receiver<Arc<Snapshot>>,
    config: &watch::Receiver<Arc<ConfigState>>,
) -> survey::Sources {
    survey::Sources {
        me: fleet.me,
        name: fleet.name.clone(),
        roster: fleet.roster.clone(),
        time: fleet.time.clone(),
        found: found.clone(),
        config: config.clone(),
        ownership: fleet.ownership.clone(),
        outbox: outbox.clone(),
        scrape: scrape.clone(),
        history: history.clone(),
        status: fleet.status.clone(),
    }
}

/// A running window, and the other ends of its sources.
struct House {
    url: String,
    ready: watch::Sender<Readiness>,
    config: watch::Sender<Arc<ConfigState>>,
    orders: mpsc::Receiver<ReloadOrder>,
    targets: watch::Sender<Arc<Snapshot>>,
    history: history::Handle,
    stop: Stop,
    quit: Stop,
    task: JoinHandle<Option<()>>,
    /// Not running, but not gone either.
    _outbox: (Outbox, tempfile::TempDir),
}

const CONFIG: &str = "scrape_configs:\n  - job_name: node\n    basic_auth: { username: me, \
    password: hunter2 }\n    static_configs: [{ targets: ['127.0.0.1:9100'] }]\n\
    remote_write: [{ name: far, url: 'http://127.0.0.1:1/' }]\n";

impl House {
    fn open() -> Self {
        Self::open_with(true)
    }

    fn open_with(may_quit: bool) -> Self {
        Self::open_in(alone(), may_quit)
    }

    fn open_in(fleet: FleetSources, may_quit: bool) -> Self {
        let loaded = Arc::new(config::parse(Path::new("starling.yml"), CONFIG, &|_| None).unwrap());
        let (targets, seen_targets) = watch::channel(Arc::new(snapshot(&loaded)));
        let (_, seen_providers) = watch::channel(discovery::providers());
        let state = started(&loaded);
        let (config, seen_config) = watch::channel(Arc::new(state));
        let (reload, orders) = mpsc::channel(1);
        let (ready, seen_ready) = watch::channel(Readiness::Starting);
        let (stop, quit) = (Stop::new(), Stop::new());
        let mut registry = meters::registry();
        let folder = tempfile::tempdir().unwrap();
        let destinations = &loaded.destinations;
        let outbox = Outbox::new(
            outbox::Node::alone(crate::model::member::NodeId(1)),
            &loaded.outbox,
            destinations,
            folder.path(),
            &mut registry,
        );
        let (outbox, outbox_part) = outbox.unwrap();
        let (scrape, _) = Pool::new(
            outbox.clone(),
            mpsc::channel(1).0,
            crate::runtime::lease::Lease::endless(),
            crate::runtime::clock::FleetTime::default(),
            &mut registry,
        );
        let division = divided(&fleet, &outbox, &seen_targets, &seen_config, folder.path(), &stop);
        let (history, chronicle) =
            kept(&fleet, &division, &scrape, &outbox, &seen_config, &folder, &stop);
        let surveyed = surveyed(&fleet, &outbox, &scrape, &history, &seen_targets, &seen_config);
        let (survey, _) = survey::Survey::new(surveyed, None);
        let sources = Sources {
            meters: Meters::new(&mut registry, seen_ready.clone(), &fleet),
            survey,
            division,
            history: history.clone(),
            chronicle,
            config: seen_config,
            reload,
            targets: seen_targets,
            providers: seen_providers,
            scrape,
            outbox,
            fleet,
            ready: seen_ready,
            registry: Arc::new(registry),
            flags: [("config.file".to_owned(), "starling.yml".to_owned())].into(),
            started_ms: 1_700_000_000_000,
            quit: may_quit.then(|| quit.clone()),
        };
        let listening = Listening::open("127.0.0.1:0", Vec::new()).unwrap();
        let url = format!("http://{}", listening.addresses()[0]);
        let admin = Admin::new(listening, sources).unwrap();
        let task = tasks::spawn("admin", admin.run(stop.clone()));
        Self {
            url,
            ready,
            config,
            orders,
            targets,
            history,
            stop,
            quit,
            task,
            _outbox: (outbox_part, folder),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[]).await
    }

    /// Everything that comes back, as it comes.
    async fn raw(&self, request: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.url["http://".len()..]).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(&self.url, method, path, headers).await
    }
}

fn alone() -> FleetSources {
    let (roster, status) = alone::alone(NodeId(1), "n1".to_owned(), "127.0.0.1:9733".to_owned());
    FleetSources {
        me: NodeId(1),
        name: "n1".to_owned(),
        cluster: None,
        roster,
        status,
        ownership: watch::channel(Arc::default()).1,
        time: FleetTime::default(),
    }
}

async fn ask(url: &str, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let caller = Caller::new(&HttpClient::default());
    let mut request = caller.request(method, &format!("{url}{path}")).unwrap();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        body: answer.bytes().await.unwrap().to_vec(),
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn snapshot(config: &Config) -> Snapshot {
    let target = Target {
        job: "node".into(),
        labels: [
            ("__address__", "10.0.0.1:9100"),
            ("__scrape_interval__", "1m"),
            ("instance", "10.0.0.1:9100"),
            ("job", "node"),
        ]
        .into_iter()
        .collect(),
        discovered: [("__address__", "10.0.0.1:9100"), ("__meta_zone", "a")].into_iter().collect(),
        id: TargetId(7),
        key: StreamKey(7),
        url: "http://10.0.0.1:9100/metrics".into(),
        interval: Duration::from_secs(60),
        timeout: Duration::from_secs(10),
    };
    let dropped =
        DroppedTarget { discovered: [("__address__", "b:1")].into_iter().collect(), error: None };
    Snapshot {
        jobs: vec![JobTargets {
            refreshed_ms: 0,
            job: config.jobs[0].clone(),
            active: [Arc::new(target)].into(),
            dropped: [dropped].into(),
            dropped_total: 5,
            limit_exceeded: false,
        }],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_tell_what_waits_and_why() {
    let house = House::open();
    let queue = house.get("/api/v1/queues").await.json()["destinations"][0].clone();
    for (name, expected) in [
        ("name", json!("far")),
        ("protocol", json!("1.0")),
        ("samples", json!(0)),
        ("bytes", json!(0)),
        ("oldest_age_seconds", Value::Null),
        ("last_answer", Value::Null),
    ] {
        assert_eq!(queue[name], expected, "{name} in {queue}");
    }
    assert_eq!(queue["disk"]["fault"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_is_said_only_while_it_is_true() {
    let house = House::open();
    for (state, status, part) in [
        (Readiness::Starting, 503, "first round"),
        (Readiness::Ready, 200, "ready"),
        (Readiness::Stopping, 503, "stopping"),
    ] {
        house.ready.send_replace(state);
        let answer = house.get("/-/ready").await;
        assert_eq!(answer.status, status);
        assert!(answer.text().contains(part), "{}", answer.text());
        assert_eq!(house.get("/-/healthy").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_waited_for_and_answered() {
    let mut house = House::open();
    for (method, outcome, status, part) in [
        (Method::POST, Ok(()), 200, "in force"),
        (Method::PUT, Err("a.yml:3:1: unknown key `x`".to_owned()), 500, "a.yml:3:1: unknown"),
    ] {
        let asking = tasks::spawn("asking", {
            let url = house.url.clone();
            async move { ask(&url, method, "/-/reload", &[]).await }
        });
        house.orders.recv().await.unwrap().send(outcome).unwrap();
        let answer = asking.await.unwrap().unwrap();
        assert_eq!(answer.status, status);
        assert!(answer.text().contains(part), "{}", answer.text());
    }
    house.orders.close();
    assert_eq!(house.ask(Method::POST, "/-/reload", &[]).await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn quitting_has_to_be_allowed_and_nobody_else_s_page_may_order_it() {
    let house = House::open_with(false);
    assert_eq!(house.ask(Method::POST, "/-/quit", &[]).await.status, 403);

    let house = House::open_with(true);
    let foreign = [("origin", "https://example.org")];
    assert_eq!(house.ask(Method::POST, "/-/quit", &foreign).await.status, 403);
    assert_eq!(house.get("/-/quit").await.status, 405);
    assert!(!house.quit.is_raised());
    let own = [("origin", house.url.as_str())];
    assert_eq!(house.ask(Method::POST, "/-/quit", &own).await.status, 200);
    assert!(house.quit.is_raised());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_speak_the_language_of_their_path() {
    let house = House::open();
    let check = |answer: Answer, status: u16, content_type: &str, part: &str| {
        assert_eq!((answer.status, answer.header("content-type")), (status, content_type));
        assert!(answer.text().contains(part), "{}", answer.text());
    };
    let problem = "application/problem+json";
    check(house.get("/nothing").await, 404, problem, "/api/v1/targets");
    check(house.get("/api/v1/query?query=up").await, 404, problem, "remote_write");
    let answer = house.ask(Method::POST, "/api/v1/queues", &[]).await;
    assert_eq!(answer.header("allow"), "GET, HEAD");
    check(answer, 405, problem, "GET, HEAD");

    let metadata = "/api/v1/targets/metadata";
    let json = "application/json";
    check(house.get(metadata).await, 404, json, r#""errorType":"not_found""#);
    check(house.get(&format!("{metadata}?limit=x")).await, 400, json, "limit must be a number");
    check(house.get(&format!("{metadata}?match_target={{")).await, 400, json, "bad_data");
    check(house.get(&format!("{metadata}?metric=a&metric=b")).await, 400, json, "bad_data");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_cached_compressed_and_closed_to_the_world() {
    let house = House::open();
    for path in web::paths() {
        let page = house.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.header("content-security-policy").contains("default-src 'none'"));
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        let tag = page.header("etag").to_owned();
        let again = house.ask(Method::GET, path, &[("if-none-match", &tag)]).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        // The icon is too small to gain anything.
        for encoding in ["gzip", "zstd"].into_iter().filter(|_| path != "/icon.svg") {
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: localhost\r\naccept-encoding: {encoding}\r\n\
                 connection: close\r\n\r\n"
            );
            let packed = house.raw(&request).await;
            let end = packed.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
            let head = String::from_utf8_lossy(&packed[..end]).to_lowercase();
            assert!(head.contains(&format!("content-encoding: {encoding}")), "{head}");
            assert!(packed.len() - end < page.body.len(), "{path} {encoding}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_get_without_a_body() {
    let house = House::open();
    for path in
        ["/", "/metrics", "/-/healthy", "/api/v1/targets", "/api/v1/queues", "/api/v1/fleet"]
    {
        let head = house.ask(Method::HEAD, path, &[]).await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_told_even_with_a_client_that_stays() {
    let house = House::open();
    let _silent = TcpStream::connect(&house.url["http://".len()..]).await.unwrap();
    assert_eq!(house.get("/-/healthy").await.status, 200);
    house.stop.raise();
    let limit = Duration::from_secs(SHUTDOWN_SECONDS_MAX + 5);
    let ended = tokio::time::timeout(limit, house.task).await;
    assert_eq!(ended.unwrap().unwrap(), Some(()), "it ends in time and without a panic");
    drop(house.targets);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_nobody_would_take_is_not_given_up() {
    let house = House::open();
    let refused = house.ask(Method::POST, "/api/v1/drain", &[]).await;
    assert_eq!((refused.status, refused.header("content-type")), (409, "application/problem+json"));
    assert!(refused.text().contains("no cluster"), "{}", refused.text());
    let taken = house.ask(Method::POST, "/api/v1/undrain", &[]).await;
    assert_eq!((taken.status, taken.json()), (202, json!({ "state": "working" })));
}

#[test]
fn a_panic_costs_one_answer() {
    async fn fall() -> &'static str {
        panic!("on purpose")
    }
    actix_web::rt::System::new().block_on(async {
        let app = App::new().wrap(from_fn(guard)).route("/fall", actix_web::web::get().to(fall));
        let app = actix_web::test::init_service(app).await;
        let request = actix_web::test::TestRequest::get().uri("/fall").to_request();
        let outcome = actix_web::test::try_call_service(&app, request).await;
        let fault = outcome.err().expect("a panic is no answer");
        assert_eq!(fault.error_response().status(), 500);
    });
}
