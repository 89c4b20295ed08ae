//! What each kind of answer, and each kind of silence, means to whoever asks.

use std::{
    fs,
    net::TcpListener,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use clap::Parser;
use http::header::AUTHORIZATION;
use http_body_util::Full;

use super::*;
use crate::{cli::demo::server::serve, runtime::stop::Stop};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    reach: Reach,
}

pub(in crate::cli::ask) fn agent(flags: &[&str]) -> Result<Agent, Fault> {
    Agent::new(&Line::try_parse_from([&["starling"], flags].concat()).unwrap().reach)
}

/// An agent that answers as it is told to, and keeps what it was asked.
pub(in crate::cli::ask) struct FakeAgent {
    pub(in crate::cli::ask) url: String,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Stop,
}

impl FakeAgent {
    /// `answer` gives a status and a body for a method and what follows it.
    pub(in crate::cli::ask) async fn start(
        answer: impl Fn(&str) -> (u16, String) + Clone + Send + Sync + 'static,
    ) -> Self {
        let stop = Stop::new();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        let address = serve(&stop, move |request| {
            let target = request.uri().path_and_query().unwrap().to_string();
            let mut question = format!("{} {target}", request.method());
            let (status, body) = answer(&question);
            if let Some(credentials) = request.headers().get(AUTHORIZATION) {
                question = format!("{question} {}", credentials.to_str().unwrap());
            }
            heard.lock().unwrap().push(question);
            let mut answer = http::Response::new(Full::new(Bytes::from(body)));
            *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
            answer.headers_mut().insert("location", "/elsewhere".parse().unwrap());
            async move { answer }
        })
        .await
        .unwrap();
        Self { url: format!("http://{address}"), asked, stop }
    }

    pub(in crate::cli::ask) fn agent(&self) -> Agent {
        agent(&["--url", &self.url]).unwrap()
    }

    pub(in crate::cli::ask) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.stop.raise();
    }
}

#[derive(Debug, Deserialize, PartialEq)]
struct Items {
    items: Vec<u32>,
    next: Option<String>,
}

#[test]
fn an_url_is_a_scheme_a_host_and_maybe_a_path() {
    let check = |url: &str, expected: Result<&str, &str>| match (base(url), expected) {
        (Ok(base), Ok(expected)) => assert_eq!(base, expected),
        (Err(fault), Err(part)) => {
            assert!(fault.contains(part), "{url}: {fault}");
            assert!(!fault.contains("hunter2"), "{fault}");
        }
        (found, expected) => panic!("{url}: {found:?}, expected {expected:?}"),
    };
    check("http://127.0.0.1:9733/", Ok("http://127.0.0.1:9733"));
    check("10.0.0.1:9733", Ok("http://10.0.0.1:9733"));
    check("", Ok(URL));
    check("https://h/starling/", Ok("https://h/starling"));
    check("http://me:hunter2@h:1", Err("`--user` and `--password-file`"));
    check("ftp://h:1", Err("begins with `ftp://`"));
    check("http://h:1/?a=b", Err("`?`"));
    check("http://", Err("is no URL"));
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    #[track_caller]
    fn judged(fault: &Fault, status: u16, kind: Kind, part: &str) {
        assert_eq!((fault.kind, fault.status), (kind, Some(status)), "{}", fault.reason);
        assert!(fault.reason.contains(part), "{}", fault.reason);
    }
    let fake = FakeAgent::start(|question| {
        let status: u16 = question.rsplit('/').next().unwrap().parse().unwrap();
        let body = match status {
            404 => r#"{"title":"Not Found","status":404,"detail":"no target has id `00`"}"#,
            410 => "gone for good",
            _ => r#"{"title":"x","status":1,"detail":"because"}"#,
        };
        (status, body.to_owned())
    })
    .await;
    let agent = fake.agent();
    for (status, kind, part) in [
        (400, Kind::Hopeless, "answers 400: because"),
        (401, Kind::Hopeless, "(because): `--token-file`"),
        (403, Kind::Hopeless, "does not allow this: because"),
        (404, Kind::No, "no target has id `00`"),
        (409, Kind::No, "because"),
        (410, Kind::Hopeless, "answers 410: gone for good"),
        (302, Kind::Hopeless, "answers 302"),
        (429, Kind::NotYet, "can't answer now (429): because"),
        (503, Kind::NotYet, "can't answer now (503): because"),
    ] {
        let answer = agent.get::<Items>(&format!("/{status}"), &Query::new()).await;
        judged(&answer.err().unwrap(), status, kind, part);
    }
}

#[tokio::test]
async fn an_older_agent_is_told_from_one_that_says_no() {
    let fake = FakeAgent::start(|_| {
        let detail = "nothing is at `/api/v1/new`; there are `/`, `/metrics`";
        (
            404,
            serde_json::json!({"title": "Not Found", "status": 404, "detail": detail}).to_string(),
        )
    })
    .await;
    let fault = fake.agent().get::<Items>("/api/v1/new", &Query::new()).await.err().unwrap();
    assert_eq!(fault.kind, Kind::Hopeless);
    assert!(fault.reason.contains("does not know /api/v1/new: an older Starling"), "{fault:?}");
}

#[tokio::test]
async fn what_is_missing_in_an_answer_is_named() {
    for (body, part) in [
        (r#"{"next": null}"#, "missing field `items`"),
        (r#"{"items": ["x"], "next": null}"#, "expected u32"),
        ("<html>", "is no JSON"),
    ] {
        let fake = FakeAgent::start(move |_| (200, body.to_owned())).await;
        let fault = fake.agent().get::<Items>("/", &Query::new()).await.err().unwrap();
        assert_eq!(fault.kind, Kind::Hopeless);
        assert!(fault.reason.contains(part), "{}", fault.reason);
    }
}

#[tokio::test]
async fn a_list_is_asked_for_page_by_page() {
    let check = async |limit: Option<usize>, items: usize, next: Option<&str>, asked: &[&str]| {
        let fake = FakeAgent::start(|question| {
            let from = if question.contains("cursor=b") { 1000 } else { 0 };
            let (_, limit) = question.split_once("limit=").unwrap();
            let limit: u32 = limit.split('&').next().unwrap().parse().unwrap();
            let items: Vec<u32> = (from..1500.min(from + limit)).collect();
            let next = (from + limit < 1500).then_some("b");
            (200, serde_json::json!({"items": items, "total": 1500, "next": next}).to_string())
        })
        .await;
        let query = vec![("q", "a b&c".to_owned())];
        let list = fake.agent().list::<Items>("/list", &query, limit).await.unwrap();
        let expected: Vec<u32> = (0..u32::try_from(items).unwrap()).collect();
        assert_eq!(list.value, Items { items: expected, next: next.map(str::to_owned) });
        assert_eq!(serde_json::from_str::<Items>(&list.text).unwrap(), list.value);
        assert_eq!(fake.asked(), asked);
    };
    let first = "GET /list?q=a+b%26c&limit=1000";
    check(None, 1500, None, &[first, "GET /list?q=a+b%26c&limit=1000&cursor=b"]).await;
    check(Some(1200), 1200, Some("b"), &[first, "GET /list?q=a+b%26c&limit=200&cursor=b"]).await;
    check(Some(3), 3, Some("b"), &["GET /list?q=a+b%26c&limit=3"]).await;
}

#[tokio::test]
async fn credentials_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("token"), "t0ken\n").unwrap();
    fs::write(path("password"), "hunter2\n").unwrap();
    let fake = FakeAgent::start(|_| (200, r#"{"items": [], "next": null}"#.to_owned())).await;
    let ask = async |flags: &[&str]| {
        let flags = [&["--url", &*fake.url], flags].concat();
        agent(&flags).unwrap().get::<Items>("/", &Query::new()).await.err()
    };
    assert!(ask(&["--token-file", &path("token")]).await.is_none());
    assert!(ask(&["--user", "me", "--password-file", &path("password")]).await.is_none());
    assert_eq!(fake.asked(), ["GET / Bearer t0ken", "GET / Basic bWU6aHVudGVyMg=="]);
    assert!(ask(&["--token-file", "", "--ca-file", ""]).await.is_none());
    assert_eq!(fake.asked().last().unwrap(), "GET /");
    let fault = ask(&["--token-file", &path("none")]).await.unwrap();
    assert!(fault.reason.contains("none`: No such file"), "{}", fault.reason);
}

#[tokio::test]
async fn silence_is_explained() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // It listens, and nobody ever takes the connection.
    let patient = agent(&["--url", &url, "--timeout", "50ms"]).unwrap();
    let fault = patient.get::<Items>("/", &Query::new()).await.err().unwrap();
    assert_eq!((fault.kind, fault.status), (Kind::NotYet, None));
    assert!(fault.reason.contains("within 50ms: `--timeout`"), "{}", fault.reason);

    drop(listener);
    let fault = agent(&["--url", &url]).unwrap().get::<Items>("/", &Query::new()).await;
    let fault = fault.err().unwrap();
    assert_eq!(fault.kind, Kind::NotYet);
    assert!(fault.reason.contains("is starling running there?"), "{}", fault.reason);

    // Plain HTTP where TLS is expected.
    let fake = FakeAgent::start(|_| (200, String::new())).await;
    let tls = agent(&["--url", &fake.url.replace("http", "https")]).unwrap();
    let fault = tls.get::<Items>("/", &Query::new()).await.err().unwrap();
    assert!(fault.reason.contains("serves no TLS"), "{}", fault.reason);
}
