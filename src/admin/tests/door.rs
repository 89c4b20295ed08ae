//! Who is let in, through real requests: over every endpoint that the document names, so that a new
//! one is asked as well.

use super::*;
use crate::config::Secret;

const PROBLEM: &str = "application/problem+json";
const TOKENS: &str = "admin:\n  tokens:\n  - {name: boss, role: admin, token: boss-token-0123456789}\n  - {name: eye, role: read_only, token: eye-token-01234567890}\n";
const BOSS: (&str, &str) = ("authorization", "Bearer boss-token-0123456789");
const EYE: (&str, &str) = ("authorization", "Bearer eye-token-01234567890");
const NO_BODY: &str = "";

impl House {
    /// As a reload would: `admin` is the section, `users` what a web configuration says.
    fn admit(&self, admin: &str, users: &[(&str, &str)]) {
        let text = format!("{CONFIG}{admin}");
        let mut config = config::parse(Path::new("starling.yml"), &text, &|_| None).unwrap();
        for (name, password) in users {
            // The least that bcrypt takes: a test has no secret to keep.
            let hash = bcrypt::hash(password, 4).unwrap();
            config.web.users.insert((*name).to_owned(), Secret::new(hash));
        }
        let config = Arc::new(config);
        self.config.send_modify(|state| {
            *state = Arc::new(ConfigState { config, ..(**state).clone() });
        });
    }

    /// Method and path of everything that is answered, as the running agent describes itself, and what
    /// it describes not: the page's files, and a path that is none.
    async fn endpoints(&self) -> Vec<(Method, String)> {
        let document = self.ask(Method::GET, "/api/openapi.json", &[BOSS]).await.json();
        let mut endpoints = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            let path: String = path
                .split('/')
                .map(|part| if part.starts_with('{') { "0000000000000007" } else { part })
                .collect::<Vec<_>>()
                .join("/");
            for method in item.as_object().unwrap().keys() {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                endpoints.push((method, path.clone()));
            }
        }
        for path in web::paths().chain(["/nothing"]) {
            endpoints.push((Method::GET, path.to_owned()));
            endpoints.push((Method::POST, path.to_owned()));
        }
        let has = |method, path: &str| endpoints.contains(&(method, path.to_owned()));
        assert!(has(Method::POST, "/-/reload") && has(Method::GET, "/metrics"), "{endpoints:?}");
        assert!(has(Method::POST, "/api/v1/drain") && has(Method::GET, "/"), "{endpoints:?}");
        endpoints
    }

    /// Status and body of a request as it is written.
    async fn said(&self, request: &str) -> (u16, String) {
        let answer = String::from_utf8(self.raw(request).await).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }
}

/// Whether what might have been ordered was: nothing is.
fn nothing_happened(house: &mut House) -> bool {
    !house.quit.is_raised() && house.orders.try_recv().is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_refuses_without_credentials() {
    let mut house = House::open();
    house.admit(&format!("{TOKENS}  burst: 100000\n"), &[("alice", "secret of alice")]);
    let basic = ("authorization", "Basic YWxpY2U6c2VjcmV0IG9mIGJvYg==");
    for (method, path) in house.endpoints().await {
        let bare = house.ask(method.clone(), &path, &[]).await;
        assert_eq!((bare.status, bare.header("content-type")), (401, PROBLEM), "{method} {path}");
        assert_eq!(bare.header("www-authenticate"), r#"Basic realm="starling""#);
        assert_eq!(bare.header("cache-control"), "no-store", "{method} {path}");
        // After a few of them nobody looks at them any more.
        for wrong in [("authorization", "Bearer boss-token-012345678"), basic] {
            let status = house.ask(method.clone(), &path, &[wrong]).await.status;
            assert!(matches!(status, 401 | 429), "{method} {path}: {status}");
        }
    }
    assert!(nothing_happened(&mut house));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_role_changes_nothing() {
    let mut house = House::open();
    house.admit(
        &format!("{TOKENS}  read_only_users: [alice]\n  burst: 100000\n"),
        &[("alice", "password"), ("bob", "password")],
    );
    let alice = ("authorization", "Basic YWxpY2U6cGFzc3dvcmQ=");
    for (method, path) in house.endpoints().await {
        if method == Method::GET {
            continue;
        }
        for reader in [EYE, alice] {
            let answer = house.ask(method.clone(), &path, &[reader]).await;
            let found = (answer.status, answer.header("content-type"));
            assert_eq!(found, (403, PROBLEM), "{method} {path}");
        }
    }
    assert!(nothing_happened(&mut house));
    for reader in [EYE, alice] {
        assert_eq!(house.ask(Method::GET, "/api/v1/status/config", &[reader]).await.status, 200);
    }
    let bob = ("authorization", "Basic Ym9iOnBhc3N3b3Jk");
    assert_eq!(house.ask(Method::POST, "/-/quit", &[bob]).await.status, 200);
    assert!(house.quit.is_raised());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_taken_as_a_password_and_a_reload_changes_who_may() {
    let house = House::open();
    let check = async |headers: &[(&str, &str)], status: u16| {
        let answer = house.ask(Method::GET, "/metrics", headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
    };
    check(&[], 200).await;
    house.admit(TOKENS, &[]);
    check(&[], 401).await;
    check(&[BOSS], 200).await;
    check(&[("authorization", "bearer eye-token-01234567890")], 200).await;
    // Any name, and none, before the token.
    check(&[("authorization", "Basic YW55OmJvc3MtdG9rZW4tMDEyMzQ1Njc4OQ==")], 200).await;
    check(&[("authorization", "Basic OmV5ZS10b2tlbi0wMTIzNDU2Nzg5MA==")], 200).await;
    for wrong in ["Bearer", "Bearer ", "Basic", "Basic !", "Digest x", "boss-token-0123456789", ""]
    {
        check(&[("authorization", wrong)], 401).await;
    }
    house.admit(&TOKENS.replace("boss-token", "new-token"), &[]);
    check(&[BOSS], 401).await;
    check(&[("authorization", "Bearer new-token-0123456789")], 200).await;
    house.admit("", &[]);
    check(&[], 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_is_not_looked_at_any_more() {
    let house = House::open();
    house.admit(TOKENS, &[("alice", "password")]);
    let guess = [("authorization", "Basic YWxpY2U6Z3Vlc3M=")];
    let mut refused = 0;
    let waiting = loop {
        let answer = house.ask(Method::GET, "/metrics", &guess).await;
        if answer.status == 429 {
            break answer;
        }
        assert_eq!(answer.status, 401);
        refused += 1;
        assert!(refused < 100, "guessing goes on");
    };
    assert!(refused >= 10, "{refused}");
    assert_eq!((waiting.header("retry-after"), waiting.header("content-type")), ("1", PROBLEM));
    // A right guess looks no different, and who shows nothing is only asked for something.
    assert_eq!(house.ask(Method::GET, "/metrics", &[BOSS]).await.status, 429);
    assert_eq!(house.get("/metrics").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_too_often_waits() {
    let house = House::open();
    house.admit("admin: {requests_per_second: 1, burst: 3}\n", &[]);
    let mut passed = 0;
    let waiting = loop {
        let answer = house.get("/-/healthy").await;
        if answer.status == 429 {
            break answer;
        }
        assert_eq!(answer.status, 200);
        passed += 1;
        assert!(passed < 100, "it goes on");
    };
    assert!(passed >= 3, "{passed}");
    assert_eq!((waiting.header("retry-after"), waiting.header("content-type")), ("1", PROBLEM));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_not_taken_from_a_page_of_another_site() {
    let mut house = House::open();
    for (name, value) in [
        ("origin", "https://example.org"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let answer = house.ask(Method::POST, "/-/quit", &[(name, value)]).await;
        assert_eq!((answer.status, answer.header("content-type")), (403, PROBLEM), "{name}");
    }
    // The page of a name that was made to lead here: same origin, and still not ours.
    let post = |headers: &str, body: &str| {
        format!("POST /-/quit HTTP/1.1\r\nconnection: close\r\n{headers}\r\n{body}")
    };
    let rebound = post("host: evil.example\r\norigin: http://evil.example\r\n", NO_BODY);
    let (status, text) = house.said(&rebound).await;
    assert!(status == 421 && text.contains("`hosts` of `admin`"), "{text}");
    let (status, _) = house
        .said("GET http://evil.example/metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await;
    assert_eq!(status, 421, "the request's line counts before the header");

    let form = post("host: localhost\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n", "{}");
    assert_eq!(house.said(&form).await.0, 415);
    let json = "host: localhost\r\ncontent-type: application/json\r\n";
    let large = post(&format!("{json}content-length: 65537\r\n"), NO_BODY);
    assert_eq!(house.said(&large).await.0, 413);
    let chunk = "x".repeat(0x8000);
    let chunks = format!("8000\r\n{chunk}\r\n8000\r\n{chunk}\r\n1\r\nx\r\n0\r\n\r\n");
    let large = post(&format!("{json}transfer-encoding: chunked\r\n"), &chunks);
    assert_eq!(house.said(&large).await.0, 413, "however it is sent");
    let head = format!("host: localhost\r\nx-own: {}\r\n", "x".repeat(40_000));
    assert_eq!(house.said(&post(&head, NO_BODY)).await.0, 431);
    assert!(nothing_happened(&mut house));

    let (status, _) = house.said(&post(&format!("{json}content-length: 2\r\n"), "{}")).await;
    assert_eq!(status, 200);
    assert!(house.quit.is_raised());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_how_it_may_be_used() {
    let house = House::open();
    let mut config = config::parse(Path::new("starling.yml"), CONFIG, &|_| None).unwrap();
    let headers = [("Strict-Transport-Security", "max-age=9"), ("Content-Security-Policy", "x")];
    config.web.headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let config = Arc::new(config);
    house.config.send_modify(|state| {
        *state = Arc::new(ConfigState { config, ..(**state).clone() });
    });
    for (path, cache) in [
        ("/", "no-cache"),
        ("/api/v1/queues", "no-store"),
        ("/metrics", "no-store"),
        ("/no", "no-store"),
    ] {
        let answer = house.get(path).await;
        assert_eq!(answer.header("cache-control"), cache, "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("strict-transport-security"), "max-age=9", "{path}");
        let policies = answer.headers.get_all("content-security-policy").iter();
        let policies: Vec<&str> = policies.map(|value| value.to_str().unwrap()).collect();
        assert_eq!(policies.last(), Some(&"x"), "{path}");
        assert_eq!(policies.len(), if path == "/" { 2 } else { 1 }, "the page keeps its own");
    }
}
