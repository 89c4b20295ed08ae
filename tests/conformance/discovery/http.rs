//! `http_sd` against a real server.

use starling::discovery::provider::Nameservers;

use crate::discovery::{
    agent::Agent,
    web_server::{Answer, WebServer, json},
};

fn start(server: &WebServer, settings: &str) -> Agent {
    let url = server.url();
    Agent::start(
        &format!(
            "- job_name: j\n  http_sd_configs: [{{url: '{url}', refresh_interval: 100ms{settings}}}]"
        ),
        Nameservers::System,
    )
}

#[tokio::test]
async fn the_sequences_of_prometheus_hold() {
    let Some(data) = crate::conformance("discovery") else { return };
    for case in crate::cases(&data, "http_sequences.json") {
        let responses = case["responses"].as_array().unwrap();
        let mut server = WebServer::start(json(responses[0].as_str().unwrap())).await;
        let agent = start(&server, "");
        let url = server.url();
        for (n, groups) in case["expected_groups_after_each"].as_array().unwrap().iter().enumerate()
        {
            server.answer(json(responses[n].as_str().unwrap()));
            // A group without targets is how Prometheus says that one is gone.
            let expected: Vec<String> = groups
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|group| {
                    let url = url.clone();
                    group["targets"].as_array().unwrap().iter().map(move |target| {
                        let address = target["__address__"].as_str().unwrap();
                        let own = group["labels"]["k"].as_str().unwrap();
                        format!("{address} __meta_url={url} k={own}")
                    })
                })
                .collect();
            agent.shows(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
            server.asked_again().await;
            agent.shows(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
    }
}

#[tokio::test]
async fn content_types_are_judged_as_in_prometheus() {
    let Some(data) = crate::conformance("discovery") else { return };
    let list = std::fs::read_to_string(data.join("http_sd.good.json")).unwrap();
    for case in crate::cases(&data, "http_content_type.json") {
        let content_type = case["content_type"].as_str().unwrap().to_owned();
        let headers = vec![("Content-Type", content_type)];
        let server = WebServer::start(Answer { headers, ..json(&list) }).await;
        let agent = start(&server, "");
        let url = server.url();
        if case["accepted"].as_bool().unwrap() {
            let expected = format!("127.0.0.1:9090 __meta_datacenter=bru1 __meta_url={url}");
            agent.shows(&[&expected]).await;
        } else {
            agent.failures("http", 1).await;
            agent.shows(&[]).await;
        }
    }
}

#[tokio::test]
async fn the_request_says_who_asks_and_how_often() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "t1\n").unwrap();
    let mut server = WebServer::start(json("[]")).await;
    let settings = format!(
        ", authorization: {{credentials_file: '{}'}}, http_headers: {{X-Own: {{values: [v]}}}}",
        token.display()
    );
    let _agent = start(&server, &settings);
    let head = server.asked(1).await.remove(0).to_lowercase();
    for expected in [
        "get /sd http/1.1\r\n",
        "accept: application/json\r\n",
        "x-prometheus-refresh-interval-seconds: 0.1\r\n",
        "user-agent: starling/",
        "authorization: bearer t1\r\n",
        "x-own: v\r\n",
    ] {
        assert!(head.contains(expected), "{expected} in {head}");
    }
    std::fs::write(&token, "t2").unwrap();
    let head = server.asked_again().await;
    assert!(head.contains("Bearer t2") || head.contains("bearer t2"), "{head}");
}

#[tokio::test]
async fn an_unchanged_list_is_not_sent_again() {
    let etag = |tag: &str| ("ETag", tag.to_owned());
    let mut good = json(r#"[{"targets":["a"]}]"#);
    good.headers.push(etag("\"one\""));
    let mut server = WebServer::start(good).await;
    let agent = start(&server, "");
    let shown = format!("a __meta_url={}", server.url());
    agent.shows(&[&shown]).await;
    server.answer(Answer { status: "304 Not Modified", headers: vec![], body: String::new() });
    assert!(server.asked_again().await.to_lowercase().contains("if-none-match: \"one\"\r\n"));
    agent.shows(&[&shown]).await;
    assert_eq!(agent.metric("starling_discovery_refresh_failures_total{kind=\"http\"}"), 0);
}

#[tokio::test]
async fn the_last_good_list_stays_whatever_goes_wrong() {
    let mut server = WebServer::start(json(r#"[{"targets":["a"]}]"#)).await;
    let agent = start(&server, "");
    let shown = format!("a __meta_url={}", server.url());
    agent.shows(&[&shown]).await;
    let failed = Answer { status: "500 Internal Server Error", ..json("[]") };
    let wrong_type =
        Answer { headers: vec![("Content-Type", "text/plain".to_owned())], ..json("[]") };
    for bad in [failed, wrong_type, json("[{}"), json("[null]"), json(r#"[{"target":[]}]"#)] {
        server.answer(bad.clone());
        server.asked_again().await;
        assert_eq!(
            crate::discovery::agent::shown(&agent.now().jobs[0]),
            [shown.as_str()],
            "{bad:?}"
        );
    }
    agent.failures("http", 5).await;
    server.answer(json("[]"));
    agent.shows(&[]).await;
}
