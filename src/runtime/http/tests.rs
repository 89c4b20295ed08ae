//! A caller against real servers: what a destination and a discovery see of it, through proxies, over
//! TLS that rotates, with tokens and signatures.

use std::{path::Path, time::Duration};

use http::Version;
use reqwest::Method;

use super::{
    fake::{Authority, FakeProxy, Manner, Reply, Seen, Server, reply},
    *,
};
use crate::config::{Authorization, Grant, HttpClient, OAuth2, Proxy, ProxyRoute, Secret, Tls};

const PATIENCE: Duration = Duration::from_secs(10);

fn inline(text: &str) -> Source {
    Source::Inline(Secret::new(text))
}

#[expect(clippy::unnecessary_wraps, reason = "the setting that it stands for may be none")]
fn through(url: &str, no_proxy: &str) -> Option<Proxy> {
    let route = ProxyRoute::Url { url: Secret::new(url), no_proxy: no_proxy.to_owned() };
    let connect_header = vec![("X-Via".to_owned(), vec![Secret::new("hunter2")])];
    Some(Proxy { route, connect_header })
}

fn trusting(authority: &Authority) -> Tls {
    Tls { ca: authority.source(), ..Tls::default() }
}

fn with_tokens(server: &Server) -> OAuth2 {
    OAuth2 {
        client_id: "me".to_owned(),
        grant: Grant::ClientCredentials { secret: Some(inline("hunter 2")) },
        scopes: vec!["read".to_owned(), "write".to_owned()],
        token_url: crate::config::TypedUrl::new(server.url("/token")),
        endpoint_params: [("tenant".to_owned(), Secret::new("t"))].into(),
        tls: Tls::default(),
        proxy: None,
    }
}

fn client(oauth2: OAuth2) -> HttpClient {
    HttpClient { oauth2: Some(Box::new(oauth2)), ..HttpClient::default() }
}

/// Status and body of the answer to a POST, or why there is none.
async fn post(caller: &Caller, url: &str) -> Result<(u16, String), String> {
    let request = caller.request(Method::POST, url).unwrap().body("payload").timeout(PATIENCE);
    let answer = request.send().await.map_err(|fault| fault.to_string())?;
    Ok((answer.status().as_u16(), answer.text().await.unwrap()))
}

async fn check(settings: &HttpClient, url: &str, expected: Result<u16, &str>) {
    let outcome = post(&Caller::new(settings), url).await.map(|(status, _)| status);
    match (&outcome, expected) {
        (Ok(status), Ok(expected)) => assert_eq!(*status, expected, "{url}"),
        (Err(fault), Err(part)) => assert!(fault.contains(part), "`{fault}` has no `{part}`"),
        (outcome, expected) => panic!("{url}: {outcome:?} instead of {expected:?}"),
    }
    if let Err(fault) = outcome {
        assert!(!fault.contains("hunter"), "{fault}");
    }
}

async fn answering() -> Server {
    Server::start(None, |_, _| reply(200, &[], "ok")).await
}

#[tokio::test]
async fn what_is_in_the_clear_is_passed_on_by_a_proxy() {
    let server = answering().await;
    let shown = "Basic bWU6aHVudGVyMg==";
    let proxy = FakeProxy::start(Manner::Demands(shown), None).await;
    let of = |user: &str| HttpClient {
        proxy: through(&format!("http://{user}{}", proxy.address), ""),
        ..HttpClient::default()
    };
    check(&of("me:hunter2@"), &server.url("/x?y"), Ok(200)).await;
    check(&of(""), &server.url("/x?y"), Ok(407)).await;
    let head = &proxy.heads()[0];
    assert!(head.starts_with(&format!("POST {} ", server.url("/x?y"))), "{head}");
    // It is for the proxy alone, and this one would pass it on.
    assert!(!head.to_lowercase().contains("x-via"), "{head}");
    assert_eq!((proxy.tunnels(), server.seen().len()), (0, 1));

    let past = HttpClient {
        proxy: through(&format!("http://{}", proxy.address), "10.0.0.0/8"),
        ..HttpClient::default()
    };
    check(&past, &server.url("/"), Ok(200)).await;
    assert_eq!(proxy.heads().len(), 2, "this host needs none to reach itself");
}

#[tokio::test]
async fn tls_goes_through_a_tunnel() {
    let directory = tempfile::tempdir().unwrap();
    let ours = Authority::new(directory.path(), "ours");
    let acceptor = ours.acceptor(&["h2", "http/1.1"]);
    let server = Server::start(Some(acceptor), |_, _| reply(200, &[], "ok")).await;
    let shown = "Basic bWU6aHVudGVyMg==";
    for (is_https, enable_http2) in [(false, false), (true, false), (false, true)] {
        let tls = is_https.then(|| ours.acceptor(&[]));
        let proxy = FakeProxy::start(Manner::Demands(shown), tls).await;
        let scheme = if is_https { "https" } else { "http" };
        let settings = HttpClient {
            proxy: through(&format!("{scheme}://me:hunter2@{}", proxy.address), ""),
            tls: trusting(&ours),
            enable_http2,
            ..HttpClient::default()
        };
        check(&settings, &server.url("/"), Ok(200)).await;
        let head = &proxy.heads()[0].to_lowercase();
        assert!(head.starts_with(&format!("connect {} http/1.1", server.address)), "{head}");
        assert!(head.contains("x-via: hunter2"), "{head}");
        let seen = server.seen().pop().unwrap();
        assert_eq!(seen.headers.get("x-via"), None);
        assert_eq!(seen.headers.get("proxy-authorization"), None);
    }
    let refused = FakeProxy::start(Manner::Says("HTTP/1.1 403 No\r\n\r\n"), None).await;
    let settings = HttpClient {
        proxy: through(&format!("http://me:hunter2@{}", refused.address), ""),
        tls: trusting(&ours),
        ..HttpClient::default()
    };
    check(&settings, &server.url("/"), Err("tunnel")).await;
}

#[tokio::test]
async fn http2_is_spoken_where_both_want_it() {
    let directory = tempfile::tempdir().unwrap();
    let ours = Authority::new(directory.path(), "ours");
    for (offered, enable_http2, expected) in [
        (&["h2", "http/1.1"][..], true, Version::HTTP_2),
        (&["h2", "http/1.1"], false, Version::HTTP_11),
        (&["http/1.1"], true, Version::HTTP_11),
        (&[], true, Version::HTTP_11),
    ] {
        let acceptor = ours.acceptor(offered);
        let server = Server::start(Some(acceptor), |_, _| reply(200, &[], "ok")).await;
        let settings = HttpClient { tls: trusting(&ours), enable_http2, ..HttpClient::default() };
        check(&settings, &server.url("/"), Ok(200)).await;
        assert_eq!(server.seen()[0].version, expected, "{offered:?}, {enable_http2}");
    }
}

#[tokio::test]
async fn a_rotated_authority_is_believed_from_the_next_connection_on() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) =
        (Authority::new(directory.path(), "ours"), Authority::new(directory.path(), "theirs"));
    let believed = directory.path().join("believed.pem");
    std::fs::copy(&ours.path, &believed).unwrap();
    let close = [("connection", "close")];
    let server =
        Server::start(Some(ours.acceptor(&[])), move |_, _| reply(200, &close, "ok")).await;
    let tls = Tls { ca: Some(Source::File(believed.clone())), ..Tls::default() };
    let caller = Caller::new(&HttpClient { tls, ..HttpClient::default() });
    let url = server.url("/");
    assert!(post(&caller, &url).await.is_ok());
    server.rotate(theirs.acceptor(&[]));
    let fault = post(&caller, &url).await.unwrap_err();
    assert!(fault.contains("certificate"), "{fault}");
    std::fs::copy(&theirs.path, &believed).unwrap();
    assert!(post(&caller, &url).await.is_ok());
    std::fs::remove_file(&believed).unwrap();
    let fault = post(&caller, &url).await.unwrap_err();
    assert!(fault.contains("believed.pem"), "{fault}");
}

#[tokio::test]
async fn redirects_lead_on_and_secrets_stay_with_their_host() {
    let other = Server::start(None, |_, _| reply(200, &[], "other")).await;
    // The same port under another name is another host.
    let elsewhere = other.url("/next").replace("127.0.0.1", "localhost");
    let server = Server::start(None, move |_, seen: &Seen| match seen.uri.path() {
        "/away" => reply(307, &[("location", &elsewhere)], ""),
        "/see" => reply(303, &[("location", "/end")], ""),
        "/again" => reply(308, &[("location", "end?x")], ""),
        "/round" => reply(302, &[("location", "/round")], ""),
        _ => reply(200, &[], "end"),
    })
    .await;
    let settings = HttpClient {
        authorization: Some(Authorization {
            scheme: "Bearer".to_owned(),
            credentials: Some(inline("secret")),
        }),
        headers: vec![("X-Key".to_owned(), vec![inline("secret")])],
        follow_redirects: true,
        ..HttpClient::default()
    };
    let of = |seen: &Seen| {
        let is_known = seen.headers.contains_key("authorization");
        assert_eq!(is_known, seen.headers.contains_key("x-key"));
        (seen.method.clone(), seen.text(), is_known)
    };
    check(&settings, &server.url("/see"), Ok(200)).await;
    assert_eq!(of(&server.seen()[1]), (Method::GET, String::new(), true));
    check(&settings, &server.url("/again"), Ok(200)).await;
    assert_eq!(of(&server.seen()[3]), (Method::POST, "payload".to_owned(), true));
    check(&settings, &server.url("/away"), Ok(200)).await;
    assert_eq!(of(&other.seen()[0]), (Method::POST, "payload".to_owned(), false));
    check(&settings, &server.url("/round"), Err("stopped after 10 redirects")).await;
    let stays = HttpClient { follow_redirects: false, ..settings };
    check(&stays, &server.url("/see"), Ok(303)).await;
}

const TOKEN: &str = r#"{"access_token":"first","token_type":"bearer","expires_in":3600}"#;

#[tokio::test]
async fn a_token_is_asked_for_once_and_shown() {
    let server = answering().await;
    let tokens = Server::start(None, |_, _| reply(200, &[], TOKEN)).await;
    let settings = client(with_tokens(&tokens));
    let caller = Caller::new(&settings);
    let url = server.url("/");
    let all = futures_util::future::join_all((0..20).map(|_| post(&caller, &url))).await;
    assert!(all.iter().all(|outcome| matches!(outcome, Ok((200, _)))), "{all:?}");
    assert!(server.seen().iter().all(|seen| seen.header("authorization") == "Bearer first"));
    let asked = tokens.seen();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), "Basic bWU6aHVudGVyKzI=");
    assert_eq!(asked[0].text(), "grant_type=client_credentials&scope=read+write&tenant=t");
}

#[tokio::test]
async fn a_server_that_takes_no_header_is_asked_in_the_form_from_then_on() {
    let server = Server::start(None, |_, _| reply(401, &[], "")).await;
    let tokens = Server::start(None, |_, seen: &Seen| match seen.header("authorization") {
        "" => reply(200, &[], TOKEN),
        _ => reply(400, &[], r#"{"error":"invalid_request"}"#),
    })
    .await;
    let settings = client(with_tokens(&tokens));
    check(&settings, &server.url("/"), Ok(401)).await;
    let asked: Vec<bool> =
        tokens.seen().iter().map(|seen| seen.text().contains("client_secret=hunter+2")).collect();
    // Refused by the header, then given; and once more, as the first token was refused.
    assert_eq!(asked, [false, true, true]);
    assert_eq!(server.seen().len(), 2, "it was asked once more with the second token");
}

#[tokio::test]
async fn a_refused_token_is_thrown_away_once() {
    let server = Server::start(None, |_, seen: &Seen| match seen.header("authorization") {
        "Bearer 1" => reply(200, &[], "ok"),
        _ => reply(401, &[], ""),
    })
    .await;
    let tokens = Server::start(None, |number, _| {
        reply(200, &[], &format!(r#"{{"access_token":"{number}"}}"#))
    })
    .await;
    let caller = Caller::new(&client(with_tokens(&tokens)));
    let status = |outcome: Result<(u16, String), String>| outcome.unwrap().0;
    assert_eq!(status(post(&caller, &server.url("/")).await), 200);
    assert_eq!((tokens.seen().len(), server.seen().len()), (2, 2));

    // Whatever it is shown: one more try, and then the token stays what it is.
    let never = Server::start(None, |_, _| reply(401, &[], "")).await;
    let caller = Caller::new(&client(with_tokens(&tokens)));
    for _ in 0..5 {
        assert_eq!(status(post(&caller, &never.url("/")).await), 401);
    }
    assert_eq!((tokens.seen().len(), never.seen().len()), (4, 6));
}

#[tokio::test]
async fn whatever_a_token_server_says_no_secret_is_told() {
    let url = answering().await;
    let huge = "x".repeat((1 << 20) + 1);
    let cases: Vec<(u16, String, &str)> = vec![
        (
            401,
            r#"{"error":"invalid_client","error_description":"hunter2"}"#.to_owned(),
            "HTTP status 401 Unauthorized: invalid_client",
        ),
        (
            400,
            r#"{"error":"The secret hunter2 is wrong"}"#.to_owned(),
            "HTTP status 400 Bad Request",
        ),
        (503, "hunter2".to_owned(), "HTTP status 503 Service Unavailable"),
        (200, "<html>hunter2".to_owned(), "the answer is no JSON"),
        (200, r#"{"token":"hunter2"}"#.to_owned(), "the answer has no `access_token`"),
        (200, huge, "the answer is larger than 1048576 bytes"),
        (302, String::new(), "HTTP status 302 Found"),
    ];
    for (status, body, expected) in cases {
        let tokens = Server::start(None, move |_, _| reply(status, &[], &body)).await;
        let expected = format!(
            "oauth2: cannot fetch token: {}",
            if expected.starts_with("HTTP") {
                format!("server returned {expected}")
            } else {
                expected.to_owned()
            }
        );
        let fault = post(&Caller::new(&client(with_tokens(&tokens))), &url.url("/")).await;
        let fault = fault.unwrap_err();
        assert!(fault.starts_with(&expected) && !fault.contains("hunter2"), "{fault}");
    }
    let silent = Server::start(None, |_, _| None).await;
    let caller = Caller::new(&client(with_tokens(&silent)));
    let request = caller.request(Method::GET, &url.url("/")).unwrap();
    let fault = request.timeout(Duration::from_millis(50)).send().await.unwrap_err();
    assert!(matches!(&fault, Fault::NotNow(text) if text == "no answer within 50ms"), "{fault}");
    assert!(url.seen().is_empty(), "without a token nothing is sent");
}

#[tokio::test]
async fn a_token_server_is_reached_by_ways_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let theirs = Authority::new(directory.path(), "theirs");
    let tokens = Server::start(Some(theirs.acceptor(&[])), |_, _| reply(200, &[], TOKEN)).await;
    let (server, proxy) = (answering().await, FakeProxy::start(Manner::Serves, None).await);
    let oauth2 = OAuth2 {
        tls: trusting(&theirs),
        proxy: through(&format!("http://{}", proxy.address), ""),
        ..with_tokens(&tokens)
    };
    check(&client(oauth2.clone()), &server.url("/"), Ok(200)).await;
    assert_eq!((proxy.tunnels(), proxy.heads().len()), (1, 1));
    let unknown = OAuth2 { tls: Tls::default(), ..oauth2 };
    check(&client(unknown), &server.url("/"), Err("oauth2: cannot fetch token: ")).await;
}

#[tokio::test]
async fn equal_settings_on_one_keyring_have_one_token() {
    let tokens = Server::start(None, |_, _| reply(200, &[], TOKEN)).await;
    let (keyring, settings) = (Keyring::default(), client(with_tokens(&tokens)));
    let other = client(OAuth2 { scopes: Vec::new(), ..with_tokens(&tokens) });
    for (settings, asked) in [(&settings, 1), (&settings, 1), (&other, 2)] {
        let access = Access::with(settings, &keyring);
        // Held, or its tokens would go with it.
        std::mem::forget(Access::with(settings, &keyring));
        access.pass().await.unwrap();
        assert_eq!(tokens.seen().len(), asked);
    }
}

#[tokio::test]
async fn an_assertion_is_signed_and_sent() {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key.pem");
    if !rsa_key(&key) {
        return;
    }
    let server = answering().await;
    let tokens = Server::start(None, |_, _| reply(200, &[], TOKEN)).await;
    let assertion = crate::config::Assertion {
        key: Source::File(key),
        key_id: Some("k1".to_owned()),
        algorithm: crate::config::SignatureAlgorithm::Rs384,
        issuer: None,
        audience: Some("them".to_owned()),
        claims: serde_json::json!({ "own": 1 }).as_object().unwrap().clone(),
    };
    let grant = Grant::JwtBearer(Box::new(assertion));
    check(&client(OAuth2 { grant, ..with_tokens(&tokens) }), &server.url("/"), Ok(200)).await;
    let text = tokens.seen()[0].text();
    let pairs: std::collections::BTreeMap<_, _> =
        url::form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    assert_eq!(pairs["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let parts: Vec<&str> = pairs["assertion"].split('.').collect();
    let json = |part: &str| -> serde_json::Value {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let (header, claims) = (json(parts[0]), json(parts[1]));
    assert_eq!((&header["alg"], &header["kid"]), (&"RS384".into(), &"k1".into()));
    for (name, value) in [("iss", "me"), ("sub", "me"), ("aud", "them"), ("scope", "read write")] {
        assert_eq!(claims[name], value, "{claims}");
    }
    assert_eq!(claims["own"], 1);
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);
    assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(parts[2]).unwrap().len(), 256);
}

/// Whether there is one now.
#[expect(clippy::print_stdout, reason = "who runs the tests should see what was not tested")]
fn rsa_key(path: &Path) -> bool {
    let made = std::process::Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"])
        .arg(path)
        .output();
    let is_made = made.is_ok_and(|output| output.status.success());
    if !is_made {
        println!("skipped: no openssl to make an RSA key with");
    }
    is_made
}

#[test]
fn only_an_rsa_key_signs() {
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let claims = serde_json::Map::new();
    let algorithm = crate::config::SignatureAlgorithm::Rs256;
    for (key, expected) in [(key.as_str(), "holds no RSA key"), ("hunter2", "no PEM private key")] {
        let fault = jwt::sign(&inline(key), algorithm, None, &claims).unwrap_err();
        assert!(fault.contains(expected) && !fault.contains("hunter2"), "{fault}");
    }
}

/// For the tests of signatures.
pub(super) fn signed_reply(_: usize, seen: &Seen) -> Reply {
    if seen.header("authorization").starts_with("AWS4-HMAC-SHA256 ") {
        reply(200, &[], "ok")
    } else {
        reply(403, &[], "")
    }
}
