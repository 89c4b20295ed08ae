//! Starling's own endpoints, through real requests: what they answer, and how they refuse.

use std::collections::BTreeSet;

use super::{
    fleet::{T0_MS, member, open, status},
    *,
};
use crate::{
    discovery::resolve::resolve,
    fleet::standing::Standing,
    history::{
        Entry, Reason,
        entry::{TargetSeen, TargetsChange},
    },
    model::{
        member::MemberState,
        slot::Slot,
        target::{ADDRESS, TargetGroup},
    },
};

const PROBLEM: &str = "application/problem+json";
const RULES: &str = "relabel_configs: [
    {source_labels: [__meta_zone], target_label: zone},
    {source_labels: [zone], regex: far, action: drop},
    {target_label: late, replacement: x}]";

/// Of the division of two, where the second is dead.
fn fleet_house() -> House {
    open(status(Standing::Active { from_ms: T0_MS }, Vec::new()))
}

/// The settings of a job, and the addresses and zones of what it finds.
type Found<'a> = (&'a str, &'a [(&'a str, &'a str)]);

impl House {
    /// What discovery has found.
    fn find(&self, jobs: &[Found<'_>]) {
        let found = jobs.iter().map(|(settings, targets)| {
            let text = format!("scrape_configs: [{{{settings}}}]");
            let config = config::parse(Path::new("test.yml"), &text, &|_| None).unwrap();
            let labels = |(address, zone): &(&str, &str)| {
                [(ADDRESS, *address), ("__meta_zone", *zone)].into_iter().collect()
            };
            let group = TargetGroup {
                targets: targets.iter().map(labels).collect(),
                ..TargetGroup::default()
            };
            resolve(&config.jobs[0], "", [&group], None)
        });
        self.targets.send_replace(Arc::new(Snapshot { jobs: found.collect() }));
    }

    async fn refused(&self, path: &str, status: u16, part: &str) {
        let answer = self.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (status, PROBLEM), "{path}");
        let problem = answer.json();
        assert_eq!((&problem["type"], &problem["status"]), (&json!("about:blank"), &json!(status)));
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(part), "{path}: {detail}");
    }

    async fn post(&self, path: &str, content_type: &str, body: String) -> Answer {
        let caller = Caller::new(&HttpClient::default());
        let request = caller.request(Method::POST, &format!("{}{path}", self.url)).unwrap();
        let request = request.header("content-type", content_type).body(body);
        let answer = request.send().await.unwrap();
        Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.bytes().await.unwrap().to_vec(),
        }
    }
}

fn divided() -> String {
    format!("job_name: j, clustering: {{enabled: true}}, {RULES}")
}

fn ids(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_target_is_explained_step_by_step() {
    let house = fleet_house();
    house.find(&[(&divided(), &[("a:1", "near")])]);
    let id = &ids(&house.get("/api/v1/fleet/targets").await.json())[0];
    let told = house.get(&format!("/api/v1/targets/{id}/explain")).await.json();
    assert_eq!((&told["outcome"], &told["job"]), (&json!("kept"), &json!("j")), "{told:#}");
    assert_eq!(
        told["labels"],
        json!({ "instance": "a:1", "job": "j", "late": "x", "zone": "near" })
    );
    let steps = told["steps"].as_array().unwrap();
    let numbers: Vec<&Value> = steps.iter().map(|step| &step["number"]).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(steps[0]["before"]["zone"], Value::Null);
    assert_eq!(steps[0]["after"]["zone"], "near");
    assert_eq!(steps[0]["before"], told["discovered_labels"]);
    for pair in steps.windows(2) {
        assert_eq!(pair[0]["after"], pair[1]["before"]);
    }
    assert_eq!(
        steps[1]["rule"],
        json!({ "action": "drop", "source_labels": ["zone"], "regex": "far" })
    );
    let placement = &told["placement"];
    let key = u64::from_str_radix(placement["key"].as_str().unwrap(), 16).unwrap();
    assert_eq!(placement["slot"], json!(key >> 52));
    let one = json!({ "id": format!("{:032x}", 1), "name": "n1" });
    assert_eq!((&placement["owner"], &placement["would"]), (&one, &json!(false)));
    // The dead one takes no part any more.
    assert_eq!(placement["ranking"].as_array().unwrap().len(), 1);
    assert_eq!(placement["ranking"][0]["weight"], 100);
    let schedule = &told["schedule"];
    assert_eq!(schedule["interval_seconds"], 60.0);
    let phase_ms = key % 60_000 / 100 * 100;
    #[expect(clippy::cast_precision_loss, reason = "below a minute")]
    let phase = phase_ms as f64 / 1000.0;
    assert_eq!(schedule["phase_seconds"], json!(phase));
    assert!(schedule["next_tick"].as_str().unwrap().ends_with('Z'));
    assert_eq!(told["status"]["id"], **id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dropped_or_is_invalid_is_explained_as_well() {
    let house = fleet_house();
    house.find(&[(&divided(), &[("a:1", "far"), ("no/host", "near"), ("b:1", "near")])]);
    let list = house.get("/api/v1/fleet/targets?state=dropped").await.json();
    assert_eq!(list["total"], 2, "{list:#}");
    for item in list["items"].as_array().unwrap() {
        let id = item["id"].as_str().unwrap();
        let told = house.get(&format!("/api/v1/targets/{id}/explain")).await.json();
        assert_eq!(told["discovered_labels"], item["discovered_labels"]);
        assert_eq!((&told["schedule"], &told["status"]), (&Value::Null, &Value::Null));
        if item["error"].is_null() {
            assert_eq!(
                (&told["outcome"], &told["url"]),
                (&json!("dropped"), &json!("http://a:1/metrics"))
            );
            assert_eq!(told["reason"], "rule 2 (`drop`) drops it");
            assert_eq!(told["steps"].as_array().unwrap().len(), 2);
            assert_eq!(told["steps"][1]["kept"], false);
            // Before the rule that dropped it: all of them.
            assert_eq!(told["labels"]["zone"], "far");
            assert_eq!(told["labels"][ADDRESS], "a:1");
            assert_eq!(told["placement"]["would"], true);
            assert_eq!(told["placement"]["owner"]["name"], "n1");
        } else {
            assert_eq!((&told["outcome"], &told["placement"]), (&json!("invalid"), &Value::Null));
            assert!(told["reason"].as_str().unwrap().contains("not a valid hostname"), "{told:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_has_to_be_there_and_to_be_one() {
    let house = House::open();
    let explain = |id: &str| format!("/api/v1/targets/{id}/explain");
    house.refused(&explain("0000000000000009"), 404, "no target of id `0000000000000009`").await;
    house.refused(&explain("7"), 400, "`id`: expected 16 hexadecimal digits").await;
    house.refused(&explain("000000000000000A"), 400, "lower case").await;
    let ok = house.get(&explain("0000000000000007")).await.json();
    assert_eq!((&ok["divided"], &ok["placement"]), (&json!(false), &Value::Null));
    // Another job with a target of the same id.
    house.targets.send_modify(|found| {
        let mut twice = Snapshot::clone(found);
        let text = "scrape_configs: [{job_name: other}]";
        let config = config::parse(Path::new("test.yml"), text, &|_| None).unwrap();
        twice.jobs.push(JobTargets { job: config.jobs[0].clone(), ..twice.jobs[0].clone() });
        *found = Arc::new(twice);
    });
    house.refused(&explain("0000000000000007"), 409, "node, other").await;
    let chosen = house.get(&format!("{}?job=other", explain("0000000000000007"))).await.json();
    assert_eq!(chosen["job"], "other");
    house.refused(&format!("{}?job=no", explain("0000000000000007")), 404, "no target").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_of_the_fleet_come_in_pages() {
    let house = fleet_house();
    let addresses: Vec<String> = (0..250).map(|number| format!("h{number}:1")).collect();
    let targets: Vec<(&str, &str)> = addresses.iter().map(|one| (one.as_str(), "near")).collect();
    house.find(&[(&divided(), &targets)]);
    let path = "/api/v1/fleet/targets?sort=url";
    let first = house.get(path).await;
    let page = first.json();
    assert_eq!((ids(&page).len(), &page["total"]), (100, &json!(250)));
    assert_eq!(page["counts"], json!({ "up": 0, "down": 0, "unknown": 250 }));
    assert_eq!(page["jobs"], json!(["j"]));
    assert_eq!(page["asked"][0]["answered"], true);
    let row = &page["items"][0];
    assert_eq!(
        (&row["health"], &row["owner"], &row["divided"]),
        (&json!("unknown"), &Value::Null, &json!(true))
    );
    let mut seen = ids(&page);
    let mut next = page["next"].as_str().map(str::to_owned);
    while let Some(cursor) = next {
        let page = house.get(&format!("{path}&cursor={cursor}")).await.json();
        seen.extend(ids(&page));
        next = page["next"].as_str().map(str::to_owned);
    }
    let all: BTreeSet<&String> = seen.iter().collect();
    assert_eq!((seen.len(), all.len()), (250, 250), "each once");

    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with("W/\"") && first.header("cache-control").contains("no-cache"));
    let again = house.ask(Method::GET, path, &[("if-none-match", &tag)]).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let other =
        house.ask(Method::GET, &format!("{path}&limit=3"), &[("if-none-match", &tag)]).await;
    assert_eq!((other.status, ids(&other.json()).len()), (200, 3));

    let found = house.get("/api/v1/fleet/targets?q=H24%20Near").await.json();
    assert_eq!(found["total"], 11, "h24 and h240 to h249");
    assert_eq!(house.get("/api/v1/fleet/targets?job=no").await.json()["total"], 0);
    assert_eq!(house.get("/api/v1/fleet/targets?owner=n1&health=up").await.json()["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_read_strictly_and_all_that_is_wrong_with_it_told() {
    let house = fleet_house();
    let targets = "/api/v1/fleet/targets";
    for (question, part) in [
        ("limit=0", "`limit`: expected a number from 1 to 1000, found `0`"),
        ("limit=1001", "found `1001`"),
        ("limit=", "found ``"),
        ("health=good", "`health`: expected one of `up`, `down`, `unknown`, found `good`"),
        ("sort=size", "`sort`: expected one of"),
        ("state=any", "`state`: expected one of `active`, `dropped`"),
        ("colour=red", "`colour`: no such parameter, expected `job`, `owner`"),
        ("q=a&q=b", "`q`: expected once"),
        ("cursor=nonsense", "`cursor`: expected what an answer"),
        ("owner=nobody", "`owner`: expected an id of 32 hexadecimal digits, or one of `n1`, `n2`"),
        ("limit=x&health=y", "`health`"),
        ("limit=x&health=y", "`limit`"),
    ] {
        house.refused(&format!("{targets}?{question}"), 400, part).await;
    }
    let cursor = {
        house.find(&[(&divided(), &[("a:1", "far"), ("b:1", "far")])]);
        let page = house.get(&format!("{targets}?state=dropped&limit=1")).await.json();
        page["next"].as_str().unwrap().to_owned()
    };
    let second =
        house.get(&format!("{targets}?state=dropped&limit=1&cursor={cursor}")).await.json();
    assert_eq!((ids(&second).len(), &second["next"]), (1, &Value::Null));
    house.refused(&format!("{targets}?cursor={cursor}"), 400, "of the same `state`").await;
    for path in ["/api/v1/fleet", "/api/v1/queues", "/api/v1/fleet/verify", "/api/openapi.json"] {
        house.refused(&format!("{path}?x=1"), 400, "`x`: no such parameter, expected none").await;
    }
    for (question, part) in [
        ("at=yesterday", "`at`: expected a time as in"),
        ("at=2026-11-21T10:00:00Z&kind=member", "`kind`: expected it not to be together with `at`"),
        ("kind=weather", "`kind`: expected one of `member`, `moves`"),
        ("target=1", "`target`: expected 16"),
        ("node=nobody", "`node`: expected an id"),
        ("cursor=AA", "`cursor`"),
    ] {
        house.refused(&format!("/api/v1/history?{question}"), 400, part).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_scrapes_is_found() {
    let house = fleet_house();
    house.find(&[
        (&divided(), &[("a:1", "near"), ("b:1", "near")]),
        ("job_name: own", &[("c:1", "")]),
    ]);
    let told = house.get("/api/v1/fleet/verify").await.json();
    assert_eq!((&told["ok"], &told["targets"]), (&json!(false), &json!(2)), "{told:#}");
    assert_eq!((&told["unowned_total"], &told["doubled_total"]), (&json!(2), &json!(0)));
    assert_eq!(told["unowned"][0]["job"], "j");
    assert_eq!(
        (&told["members"][0]["answered"], &told["members"][0]["scrapes"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(told["unanswered"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_would_move() {
    let house = fleet_house();
    let addresses: Vec<String> = (0..100).map(|number| format!("h{number}:1")).collect();
    let targets: Vec<(&str, &str)> = addresses.iter().map(|one| (one.as_str(), "near")).collect();
    house.find(&[(&divided(), &targets)]);
    let path = "/api/v1/fleet/plan";
    let json = "application/json";
    let plan = house.post(path, json, r#"{"join": [{"name": "n9"}]}"#.to_owned()).await;
    assert_eq!(plan.status, 200, "{}", plan.text());
    let plan = plan.json();
    let (moved, total) = (plan["targets_moved"].as_u64().unwrap(), &plan["targets_total"]);
    assert!((20..80).contains(&moved), "about a half: {moved}");
    assert_eq!((total, plan["targets"].as_array().unwrap().len() as u64), (&json!(100), moved));
    assert_eq!(plan["moves"][0]["to"], json!({ "id": null, "name": "n9" }));
    let joined =
        plan["members"].as_array().unwrap().iter().find(|one| one["name"] == "n9").unwrap();
    assert_eq!((&joined["weight_before"], &joined["weight_after"]), (&Value::Null, &json!(100)));
    assert_eq!(joined["targets_after"], json!(moved));

    for (content_type, body, status, part) in [
        (json, r#"{"leave": ["n7"]}"#.to_owned(), 400, "n7"),
        (json, r#"{"leave": ["n1"]}"#.to_owned(), 400, "nobody would be left"),
        (json, r#"{"leaves": []}"#.to_owned(), 400, "unknown field `leaves`"),
        (json, "{".to_owned(), 400, "the body can't be read"),
        ("text/plain", "{}".to_owned(), 415, "application/json"),
        (json, " ".repeat((64 << 10) + 1), 413, "65536"),
    ] {
        let answer = house.post(path, content_type, body).await;
        assert_eq!((answer.status, answer.header("content-type")), (status, PROBLEM));
        assert!(answer.text().contains(part), "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_and_configurations_are_shown_of_all_members() {
    let house = fleet_house();
    let queues = house.get("/api/v1/fleet/queues").await.json();
    assert_eq!(queues["members"][0]["name"], "n1");
    assert_eq!(queues["members"][0]["destinations"][0]["name"], "far");
    assert_eq!(queues["asked"][0]["answered"], true);
    let answer = house.get("/api/v1/fleet/config").await;
    let config = &answer.json()["members"][0];
    assert!(config["yaml"].as_str().unwrap().contains("job_name: node"));
    assert!(!answer.text().contains("hunter2"));
    assert_eq!((&config["differs"], &config["refused"]), (&json!(false), &Value::Null));
    assert_eq!(config["loaded_at"], "2023-11-14T22:13:20.123Z");
    let tag = answer.header("etag").to_owned();
    let again = house.ask(Method::GET, "/api/v1/fleet/config", &[("if-none-match", &tag)]).await;
    assert_eq!(again.status, 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_is_told() {
    let house = fleet_house();
    let id = TargetId(0xabc);
    let came = TargetsChange {
        at_ms: T0_MS,
        job: "j".into(),
        came: true,
        reason: Reason::Discovered,
        targets: vec![TargetSeen {
            id,
            url: "http://a:1/metrics".to_owned(),
            labels: vec![("job".to_owned(), "j".to_owned())],
            slot: Slot::new(7),
        }],
    };
    house.history.record(Entry::Targets(came));
    let of_target = format!("/api/v1/history?target={id}");
    let patience = tokio::time::Instant::now() + Duration::from_secs(30);
    let told = loop {
        let told = house.get(&of_target).await.json();
        if told["items"].as_array().is_some_and(|items| !items.is_empty()) {
            break told;
        }
        assert!(tokio::time::Instant::now() < patience, "it is written: {told}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let event = &told["items"][0];
    assert_eq!((&event["kind"], &event["reason"]), (&json!("target"), &json!("discovered")));
    assert_eq!((&event["at"], &event["slots"]), (&json!("2023-11-14T22:13:20.000Z"), &Value::Null));
    assert_eq!(told["store"]["fault"], Value::Null);
    let none = house.get(&format!("{of_target}&kind=drop")).await.json();
    assert_eq!((&none["items"], &none["next"]), (&json!([]), &Value::Null));

    let past = house.get(&format!("/api/v1/targets/{id}/history")).await.json();
    let named = json!({ "id": id.to_string(), "job": "j", "url": "http://a:1/metrics" });
    assert_eq!((&past["target"], &past["changes"][0]["kind"]), (&named, &json!("target")));
    assert_eq!(past["asked"][0]["answered"], true);
    let unknown = "/api/v1/targets/00000000000000ff/history";
    house.refused(unknown, 404, "history knows no target of id").await;
    house.refused(&format!("{unknown}?from=x"), 400, "`from`: expected a time").await;

    let then =
        house.get(&format!("/api/v1/history?at=2023-11-14T22:13:21Z&target={id}")).await.json();
    assert_eq!(
        (&then["at"], &then["items"][0]["target"]),
        (&json!("2023-11-14T22:13:21.000Z"), &named)
    );
    let before =
        house.get(&format!("/api/v1/history?at=2023-11-14T22:13:19Z&target={id}")).await.json();
    assert_eq!(before["items"], json!([]));
}

/// The events of a stream, until it is silent for a moment.
async fn listen(house: &House, last: Option<&str>) -> Vec<String> {
    let last = last.map_or_else(String::new, |last| format!("last-event-id: {last}\r\n"));
    let request = format!(
        "GET /api/v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\naccept-encoding: gzip\r\n{last}\r\n"
    );
    let mut stream = TcpStream::connect(&house.url["http://".len()..]).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let silence = Duration::from_millis(500);
    while let Ok(Ok(1..)) = tokio::time::timeout(silence, stream.read_buf(&mut said)).await {}
    let said = String::from_utf8(said).expect("it is not compressed");
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert!(said.contains("content-type: text/event-stream"), "{said}");
    said.lines().filter(|line| line.starts_with("event: ")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_is_greeted_and_who_comes_too_late_told() {
    let house = fleet_house();
    assert_eq!(listen(&house, None).await[0], "event: hello");
    for last in ["1-1", "nonsense", "9223372036854775807-18446744073709551615"] {
        let said = listen(&house, Some(last)).await;
        assert_eq!(said[..2], ["event: hello", "event: reset"], "{last}");
    }
    let head = house.ask(Method::HEAD, "/api/v1/events", &[]).await;
    assert_eq!((head.status, head.header("content-type")), (200, "text/event-stream"));
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_may_listen_and_all_are_let_go_at_the_end() {
    let house = fleet_house();
    let caller = Caller::new(&HttpClient::default());
    let url = format!("{}/api/v1/events", house.url);
    let mut listeners = Vec::new();
    for _ in 0..api::events::LISTENERS_MAX {
        let mut answer = caller.request(Method::GET, &url).unwrap().send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.chunk().await.unwrap().is_some(), "it is greeted");
        listeners.push(answer);
    }
    house.refused("/api/v1/events", 503, "64 clients listen already").await;
    house.stop.raise();
    let ended = tokio::time::timeout(Duration::from_secs(SHUTDOWN_SECONDS_MAX), async {
        for listener in &mut listeners {
            while let Ok(Some(_)) = listener.chunk().await {}
        }
    });
    ended.await.expect("no stream outlives the window");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_whole() {
    let house = House::open();
    let answer = house.get("/api/openapi.json").await;
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let asked = path.replace("{id}", "0000000000000007");
        for (method, operation) in item.as_object().unwrap() {
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()));
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{path}");
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let said = answer["description"].as_str().unwrap_or_default();
                assert!(!said.is_empty(), "{method} {path} {status}");
            }
            for status in ["400", "401", "403", "405", "421", "429", "500", "503"] {
                let content = &operation["responses"][status]["content"];
                assert!(content[PROBLEM].is_object(), "{method} {path} {status}");
            }
        }
        let wrong = house.ask(Method::DELETE, &asked, &[]).await;
        let allowed = if item["get"].is_object() { "GET" } else { "POST" };
        assert_eq!((wrong.status, wrong.header("content-type")), (405, PROBLEM), "{path}");
        assert!(wrong.header("allow").starts_with(allowed), "{path}");
    }
    // What is pointed at is there.
    let text = answer.text();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    let tag = answer.header("etag").to_owned();
    let again = house.ask(Method::GET, "/api/openapi.json", &[("if-none-match", &tag)]).await;
    assert_eq!(again.status, 304);
}

#[test]
fn a_member_is_named_by_its_id_or_its_name() {
    let mut dead = member(1, MemberState::Dead, Some(T0_MS));
    dead.name = "n2".to_owned();
    let roster = [dead, member(2, MemberState::Alive, None)];
    let roster =
        Roster { members: roster.into_iter().map(|one| (one.id, one)).collect(), version: 1 };
    let check = |text: &str, expected: Option<u128>| {
        let found = api::node_id(text, &roster).ok();
        assert_eq!(found, expected.map(NodeId), "{text}");
    };
    check("n2", Some(2));
    check(&format!("{:032x}", 1), Some(1));
    // It may be forgotten by all but history.
    check(&format!("{:032x}", 77), Some(77));
    check("n1", None);
    check("", None);
}
