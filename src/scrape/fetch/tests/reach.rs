//! By which way a target is reached: through proxies, over HTTP/2, with tokens, and with certificates
//! that change.

use http::Version;

use super::*;
use crate::{
    config::{Grant, HttpClient, OAuth2, Proxy, ProxyRoute},
    runtime::http::fake::{Authority, FakeProxy, Manner, Seen, Server, reply},
};

const PLAIN: &[(&str, &str)] = &[("content-type", "text/plain; version=0.0.4")];

fn with(http: HttpClient) -> Job {
    Job { http, ..job() }
}

#[expect(clippy::unnecessary_wraps, reason = "the setting that it stands for may be none")]
fn through(url: String) -> Option<Proxy> {
    let route = ProxyRoute::Url { url: Secret::new(url), no_proxy: String::new() };
    let connect_header = vec![("X-Via".to_owned(), vec![Secret::new("hunter2")])];
    Some(Proxy { route, connect_header })
}

fn trusting(authority: &Authority) -> Tls {
    Tls { ca: authority.source(), ..Tls::default() }
}

async fn target(tls: Option<TlsAcceptor>) -> Server {
    Server::start(tls, |_, _| reply(200, PLAIN, "a 1\n")).await
}

async fn scrape(server: &Server, http: HttpClient) -> Result<Vec<u8>, String> {
    let outcome = fetch(&server.url("/metrics?a=b"), with(http), 10 * SECOND).await;
    outcome.map(|page| page.body).map_err(|failure| {
        let text = failure.to_string();
        assert!(!text.contains("hunter"), "{text}");
        text
    })
}

#[tokio::test]
async fn in_the_clear_the_proxy_is_asked_for_the_whole_url() {
    let server = target(None).await;
    let shown = "Basic bWU6aHVudGVyMg==";
    let proxy = FakeProxy::start(Manner::Demands(shown), None).await;
    let of = |user: &str| HttpClient {
        proxy: through(format!("http://{user}{}", proxy.address)),
        ..HttpClient::default()
    };
    assert_eq!(scrape(&server, of("me:hunter2@")).await, Ok(b"a 1\n".to_vec()));
    let head = proxy.heads().remove(0);
    assert!(
        head.starts_with(&format!("GET {} HTTP/1.1\r\n", server.url("/metrics?a=b"))),
        "{head}"
    );
    let (head, host) = (head.to_lowercase(), server.address);
    assert!(head.contains(&format!("host: {host}\r\n")) && !head.contains("x-via"), "{head}");
    let fault = scrape(&server, of("")).await.unwrap_err();
    assert_eq!(fault, "server returned HTTP status 407 Proxy Authentication Required");
    assert_eq!((proxy.tunnels(), server.seen().len()), (0, 1));
}

#[tokio::test]
async fn one_tunnel_serves_many_scrapes() {
    let directory = tempfile::tempdir().unwrap();
    let ours = Authority::new(directory.path(), "ours");
    for (is_https, offered, version) in [
        (false, &["http/1.1"][..], Version::HTTP_11),
        (true, &["http/1.1"], Version::HTTP_11),
        (false, &["h2"], Version::HTTP_2),
    ] {
        let server = target(Some(ours.acceptor(offered))).await;
        let tls = is_https.then(|| ours.acceptor(&[]));
        let proxy = FakeProxy::start(Manner::Demands("Basic bWU6aHVudGVyMg=="), tls).await;
        let scheme = if is_https { "https" } else { "http" };
        let terms = Terms::new(Arc::new(with(HttpClient {
            proxy: through(format!("{scheme}://me:hunter2@{}", proxy.address)),
            tls: trusting(&ours),
            enable_http2: true,
            ..HttpClient::default()
        })));
        let mut fetcher = fetcher();
        for _ in 0..3 {
            let page =
                fetcher.fetch_whole(&server.url("/"), &terms, SECOND, 10 * SECOND).await.unwrap();
            assert_eq!(page.body, b"a 1\n");
        }
        assert_eq!((proxy.tunnels(), proxy.heads().len(), server.seen().len()), (1, 1, 3));
        let (head, host) = (proxy.heads().remove(0).to_lowercase(), server.address);
        assert!(
            head.starts_with(&format!("connect {host} http/1.1\r\nhost: {host}\r\n")),
            "{head}"
        );
        assert!(head.contains("x-via: hunter2"), "{head}");
        for seen in server.seen() {
            assert_eq!((seen.version, seen.header("x-via")), (version, ""));
            assert_eq!(seen.header("proxy-authorization"), "");
        }
    }
}

#[tokio::test]
async fn a_proxy_that_opens_no_tunnel_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let ours = Authority::new(directory.path(), "ours");
    let server = target(Some(ours.acceptor(&[]))).await;
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = |address| HttpClient {
        proxy: through(format!("http://me:hunter2@{address}")),
        tls: trusting(&ours),
        ..HttpClient::default()
    };
    let refused = format!("proxyconnect tcp: dial tcp {closed}: connect: connection refused");
    assert_eq!(scrape(&server, settings(closed)).await, Err(refused));
    for (manner, expected) in [
        (Manner::Demands("Basic other"), "HTTP status 407 Proxy Authentication Required"),
        (Manner::Says("HTTP/1.1 502 x\r\n\r\n"), "it opens no tunnel: HTTP status 502 Bad Gateway"),
        (Manner::Says("garbage\r\n\r\n"), "its answer is no HTTP"),
        (Manner::Says("HTTP/1.1 200 x\r\n\r\nbody"), "its answer to CONNECT has a body"),
        (Manner::Says(""), "unexpected EOF"),
    ] {
        let proxy = FakeProxy::start(manner, None).await;
        let fault = scrape(&server, settings(proxy.address)).await.unwrap_err();
        assert!(fault.starts_with(&format!("proxy {}: ", proxy.address)), "{fault}");
        assert!(fault.contains(expected), "`{fault}` has no `{expected}`");
    }
    let silent = FakeProxy::start(Manner::Hangs, None).await;
    let timeout = Duration::from_millis(50);
    let outcome = fetch(&server.url("/"), with(settings(silent.address)), timeout).await;
    assert_eq!(outcome.unwrap_err(), Failure::Timeout { after: timeout, stage: Stage::Proxy });
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn http2_keeps_one_connection_and_its_large_bodies() {
    let directory = tempfile::tempdir().unwrap();
    let ours = Authority::new(directory.path(), "ours");
    // Many windows long.
    let body = "x".repeat(3 << 20);
    let (sent, acceptor) = (body.clone(), ours.acceptor(&["h2", "http/1.1"]));
    let server = Server::start(Some(acceptor), move |number, _| match number {
        1 => reply(302, &[("location", "/elsewhere")], ""),
        3 => reply(500, &[], "broken"),
        _ => reply(200, PLAIN, &sent),
    })
    .await;
    let terms = |enable_http2| {
        let http = HttpClient {
            tls: trusting(&ours),
            enable_http2,
            follow_redirects: true,
            ..HttpClient::default()
        };
        Terms::new(Arc::new(with(http)))
    };
    let (mut fetcher, http2) = (fetcher(), terms(true));
    for expected in [Ok(body.len()), Ok(body.len()), Err("500"), Ok(body.len())] {
        let outcome = fetcher.fetch_whole(&server.url("/a?b"), &http2, SECOND, 10 * SECOND).await;
        match (outcome, expected) {
            (Ok(page), Ok(length)) => assert_eq!(page.body.len(), length),
            (Err(failure), Err(part)) => assert!(failure.to_string().contains(part), "{failure}"),
            (outcome, expected) => panic!("{outcome:?} instead of {expected:?}"),
        }
    }
    let seen = server.seen();
    assert_eq!((server.connections(), seen.len()), (1, 5));
    for one in &seen {
        assert_eq!(one.version, Version::HTTP_2);
        assert_eq!(one.uri.authority().unwrap().as_str(), server.address.to_string());
        assert!(one.headers.get("host").is_none() && one.header("accept-encoding") == "gzip");
    }
    assert_eq!((seen[0].uri.path(), seen[2].uri.path()), ("/a", "/elsewhere"));
    // Turned off, it is not even offered.
    fetcher.connection = None;
    fetcher.fetch_whole(&server.url("/"), &terms(false), SECOND, 10 * SECOND).await.unwrap();
    assert_eq!(server.seen().pop().unwrap().version, Version::HTTP_11);
}

#[tokio::test]
async fn a_kept_connection_ends_when_its_certificates_change() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) =
        (Authority::new(directory.path(), "ours"), Authority::new(directory.path(), "theirs"));
    let believed = directory.path().join("believed.pem");
    std::fs::copy(&ours.path, &believed).unwrap();
    let server = target(Some(ours.acceptor(&["h2"]))).await;
    let tls = Tls { ca: Some(Source::File(believed.clone())), ..Tls::default() };
    let http = HttpClient { tls, enable_http2: true, ..HttpClient::default() };
    let (mut fetcher, terms) = (fetcher(), Terms::new(Arc::new(with(http))));
    let mut scrape = async || {
        let outcome = fetcher.fetch_whole(&server.url("/"), &terms, SECOND, 10 * SECOND).await;
        outcome.map(|_| server.connections()).map_err(|failure| failure.kind())
    };
    assert_eq!(scrape().await, Ok(1));
    // While it can't be read what is open is used on.
    std::fs::remove_file(&believed).unwrap();
    assert_eq!(scrape().await, Ok(1));
    std::fs::copy(&theirs.path, &believed).unwrap();
    assert_eq!(scrape().await, Err("tls"));
    server.rotate(theirs.acceptor(&["h2"]));
    assert_eq!(scrape().await, Ok(3));
    assert_eq!(scrape().await, Ok(3));
}

fn with_tokens(tokens: &Server) -> HttpClient {
    let oauth2 = OAuth2 {
        client_id: "me".to_owned(),
        grant: Grant::ClientCredentials { secret: Some(Source::Inline(Secret::new("hunter2"))) },
        scopes: Vec::new(),
        token_url: crate::config::TypedUrl::new(tokens.url("/token")),
        endpoint_params: std::collections::BTreeMap::default(),
        tls: Tls::default(),
        proxy: None,
    };
    HttpClient { oauth2: Some(Box::new(oauth2)), follow_redirects: true, ..HttpClient::default() }
}

#[tokio::test]
async fn a_token_is_shown_and_a_refused_one_replaced_within_the_scrape() {
    let other = target(None).await;
    let elsewhere = other.url("/").replace("127.0.0.1", "localhost");
    let server = Server::start(None, move |_, seen: &Seen| match seen.header("authorization") {
        "Bearer 1" if seen.uri.path() == "/away" => reply(307, &[("location", &elsewhere)], ""),
        "Bearer 1" => reply(200, PLAIN, "a 1\n"),
        _ => reply(401, &[], "who are you"),
    })
    .await;
    let tokens = Server::start(None, |number, _| {
        reply(200, &[], &format!(r#"{{"access_token":"{number}","expires_in":3600}}"#))
    })
    .await;
    let shared = Arc::new(Shared::new());
    // Two jobs with the same settings, two targets each.
    for _ in 0..2 {
        let terms = shared.terms(Arc::new(with(with_tokens(&tokens))));
        for _ in 0..2 {
            let mut fetcher = Fetcher::new(Arc::clone(&shared));
            let page = fetcher.fetch_whole(&server.url("/"), &terms, SECOND, 10 * SECOND).await;
            assert_eq!(page.unwrap().body, b"a 1\n");
            let away = fetcher.fetch_whole(&server.url("/away"), &terms, SECOND, 10 * SECOND).await;
            assert_eq!(away.unwrap().body, b"a 1\n");
        }
        std::mem::forget(terms);
    }
    assert_eq!(tokens.seen().len(), 2, "the first, and one in place of the refused");
    assert_eq!((server.seen().len(), server.connections()), (9, 4));
    assert!(other.seen().iter().all(|seen| seen.header("authorization").is_empty()));
}

#[tokio::test]
async fn without_a_token_no_target_is_asked() {
    let server = target(None).await;
    let refusing = Server::start(None, |_, _| {
        reply(401, &[], r#"{"error":"invalid_client","error_description":"hunter2"}"#)
    })
    .await;
    let fault = scrape(&server, with_tokens(&refusing)).await.unwrap_err();
    let expected =
        "oauth2: cannot fetch token: server returned HTTP status 401 Unauthorized: invalid_client";
    assert_eq!(fault, expected);
    let silent = Server::start(None, |_, _| None).await;
    let timeout = Duration::from_millis(50);
    let outcome = fetch(&server.url("/"), with(with_tokens(&silent)), timeout).await;
    let expected = Failure::Timeout { after: timeout, stage: Stage::Credentials };
    assert_eq!(outcome.unwrap_err(), expected);
    assert!(server.seen().is_empty());
}
