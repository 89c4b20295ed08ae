//! Prometheus' paths: its shapes, to the letter.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn targets_have_prometheus_shape() {
    let house = House::open();
    let active = json!([{
        "discoveredLabels": { "__address__": "10.0.0.1:9100", "__meta_zone": "a" },
        "labels": { "instance": "10.0.0.1:9100", "job": "node" },
        "scrapePool": "node",
        "scrapeUrl": "http://10.0.0.1:9100/metrics",
        "globalUrl": "http://10.0.0.1:9100/metrics",
        "lastError": "",
        "lastScrape": "0001-01-01T00:00:00Z",
        "lastScrapeDuration": 0.0,
        "health": "unknown",
        "scrapeInterval": "1m",
        "scrapeTimeout": "10s",
    }]);
    let dropped = json!([{ "discoveredLabels": { "__address__": "b:1" }, "scrapePool": "node" }]);
    let counts = json!({ "node": 5 });
    let cases = [
        ("", active.clone(), dropped.clone(), counts.clone()),
        ("?state=any", active.clone(), dropped.clone(), counts.clone()),
        ("?state=Active", active.clone(), json!([]), Value::Null),
        ("?state=dropped", json!([]), dropped.clone(), counts.clone()),
        ("?state=active&scrapePool=node", active, json!([]), Value::Null),
        ("?scrapePool=other", json!([]), json!([]), json!({})),
    ];
    for (question, active, dropped, counts) in cases {
        let answer = house.get(&format!("/api/v1/targets{question}")).await;
        let expected = json!({ "status": "success", "data": {
            "activeTargets": active, "droppedTargets": dropped, "droppedTargetCounts": counts,
        }});
        assert_eq!(answer.json(), expected, "{question}");
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_has_prometheus_shapes_and_no_secret() {
    let house = House::open();
    let data = |answer: &Answer| {
        assert_eq!(answer.json()["status"], "success");
        answer.json()["data"].clone()
    };
    let config = data(&house.get("/api/v1/status/config").await);
    let yaml = config["yaml"].as_str().unwrap();
    assert!(yaml.contains("job_name: node") && yaml.contains("<secret>"), "{yaml}");
    assert!(!yaml.contains("hunter2"), "{yaml}");

    let flags = data(&house.get("/api/v1/status/flags").await);
    assert_eq!(flags, json!({ "config.file": "starling.yml" }));
    let pools = data(&house.get("/api/v1/scrape_pools").await);
    assert_eq!(pools, json!({ "scrapePools": ["node"] }));
    let build = data(&house.get("/api/v1/status/buildinfo").await);
    assert_eq!(build["version"], env!("CARGO_PKG_VERSION"));

    let runtime = data(&house.get("/api/v1/status/runtimeinfo").await);
    assert_eq!(runtime["startTime"], "2023-11-14T22:13:20.000Z");
    assert_eq!(runtime["lastConfigTime"], "2023-11-14T22:13:20.123Z");
    assert_eq!(runtime["reloadConfigSuccess"], true);
    house.config.send_modify(|state| {
        *state =
            Arc::new(ConfigState { refused: Some("a.yml:1:2: no".into()), ..(**state).clone() });
    });
    let runtime = data(&house.get("/api/v1/status/runtimeinfo").await);
    assert_eq!(runtime["reloadConfigSuccess"], false);
    assert_eq!(runtime["reloadConfigError"], "a.yml:1:2: no");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_speak_the_format_asked_for() {
    let house = House::open();
    let text = house.get("/metrics").await;
    assert_eq!(text.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(text.text().contains("# TYPE process_cpu_seconds_total counter\n"), "{}", text.text());
    let accept = [("accept", "application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1")];
    let open_metrics = house.ask(Method::GET, "/metrics", &accept).await;
    assert!(open_metrics.header("content-type").starts_with("application/openmetrics-text"));
    assert!(open_metrics.text().ends_with("# EOF\n"));
}

#[test]
fn a_local_target_is_known_to_others_by_the_machine_s_name() {
    let check = |url: &str, expected: &str| assert_eq!(view::global_url(url, "vm7"), expected);
    check("http://localhost:9100/metrics?a=b", "http://vm7:9100/metrics?a=b");
    check("https://[::1]:1/m", "https://vm7:1/m");
    check("http://10.0.0.1:9100/metrics", "http://10.0.0.1:9100/metrics");
}
