//! A Starling outside of the fleet sends each series to the gateway that owns it: nothing is sent on
//! between gateways while all is calm, and nothing is lost while they come and go.

use std::{fs, path::Path, time::Duration};

use futures_util::future::join_all;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::Value;
use starling::runtime::http::Caller;

use crate::{
    backend::Prometheus,
    door::bearer,
    eventually,
    gateway::{
        Gateway,
        replication::{three, until_whole},
    },
    process::{Agent, get},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(90);
const SERIES: usize = 60;
/// Scrapes of a second each.
const CALM: u64 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_sends_to_owners_whoever_leaves_or_dies() {
    let directory = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let folder = directory.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let backend = Prometheus::start(&folder("backend")).await;
    let (mut gateways, configured) = three(directory.path(), &backend, |config| config).await;
    let target = Target::start(SERIES).await;
    let edge = edge(&folder("edge"), &target.address, configured).await;

    until_whole(&backend, 4).await;
    until_calm(&target, &gateways).await;
    assert!(sum(&edge, "starling_outbox_straight_parts_total").await >= 3, "in three parts");

    let mut leaving = gateways.remove(1);
    leaving.process.signal(Signal::TERM);
    leaving.process.ended().await;
    until_whole(&backend, target.scrapes() + 3).await;
    until_calm(&target, &gateways).await;

    // The one that the edge is told to ask.
    gateways[0].process.signal(Signal::KILL);
    gateways[0].process.ended().await;
    until_whole(&backend, target.scrapes() + 3).await;
    gateways[0].restart().await;
    until_whole(&backend, target.scrapes() + 3).await;
    until_calm(&target, &gateways).await;
    assert_eq!(sum(&edge, "starling_outbox_dropped_samples_total").await, 0);
}

/// It is for those who may push, as the tenant that they push as, and told once.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_push_is_told_who_owns_what() {
    let directory = tempfile::tempdir().unwrap();
    let more = ", auth: { bearer_tokens: [{ name: edge, token: a-token-of-an-edge }] }";
    let gateway = Gateway::start(directory.path(), "http://127.0.0.1:1/", more).await;
    let url = format!("http://{}/api/v1/placement", gateway.address);
    let ask = async |token: &str, method: Method, headers: &[(&str, &str)]| {
        let caller = Caller::new(&bearer((!token.is_empty()).then_some(token)));
        let request = caller.request(method, &url).unwrap();
        let request = headers.iter().fold(request, |all, (name, value)| all.header(*name, *value));
        let answer = request.send().await.unwrap();
        let version = answer.headers().get("etag").map(|etag| etag.to_str().unwrap().to_owned());
        (answer.status().as_u16(), version, answer.text().await.unwrap())
    };
    let token = "a-token-of-an-edge";
    let tenant = [("X-Scope-OrgID", "shop")];
    let (status, version, told) = ask(token, Method::GET, &tenant).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((status, &told["tenant"], &told["straight"]), (200, &"shop".into(), &true.into()));
    assert_eq!(told["owners"].as_array().map(Vec::len), Some(128));
    assert_eq!(told["members"][0]["url"], gateway.url());
    let version = version.expect("it has one");
    let known = [tenant[0], ("If-None-Match", &version)];
    assert_eq!(ask(token, Method::GET, &known).await, (304, Some(version.clone()), String::new()));
    let (status, other, _) = ask(token, Method::GET, &known[1..]).await;
    assert_eq!((status, other == Some(version)), (200, false), "of no tenant");
    assert_eq!(ask("", Method::GET, &tenant).await.0, 401);
    assert_eq!(ask(token, Method::GET, &[("X-Scope-OrgID", "a b")]).await.0, 400);
    assert_eq!(ask(token, Method::POST, &tenant).await.0, 405);
}

async fn edge(folder: &Path, target: &str, gateway: u16) -> Agent {
    let config = format!(
        "global: {{ scrape_interval: 1s }}\n\
         remote_write: [{{ name: gateway, placement: true, \
         url: 'http://127.0.0.1:{gateway}/api/v1/write' }}]\n\
         scrape_configs: [{{ job_name: edge, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
    );
    Agent::start(folder, &config).await
}

/// Until some scrapes have come in a row of which nothing was sent on. Slots may still be evened out.
async fn until_calm(target: &Target, gateways: &[Agent]) {
    let sent_on = || async {
        let sums = gateways.iter().map(|one| sum(one, "starling_gateway_forwarded_samples_total"));
        join_all(sums).await.into_iter().sum::<u64>()
    };
    eventually("nothing was sent on", PATIENCE, || async {
        let before = sent_on().await;
        let until = target.scrapes() + CALM;
        let passed = || async { (target.scrapes() >= until).then_some(()) };
        eventually("scrapes have passed", PATIENCE, passed).await;
        (sent_on().await == before).then_some(())
    })
    .await;
}

/// Of all series of a metric.
pub(super) async fn sum(agent: &Agent, metric: &str) -> u64 {
    let (_, metrics) = get(&format!("{}/metrics", agent.url)).await.expect("it answers");
    let lines = metrics.lines().filter(|line| line.starts_with(metric));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    values.sum()
}
