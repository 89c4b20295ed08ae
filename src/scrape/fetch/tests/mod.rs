//! Against real servers on loopback: what is asked, what is taken, and the name of each failure.

mod reach;

use std::{net::TcpListener, path::Path};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    config::{Authorization, Secret, Source, Tls},
    scrape::{
        fake_target::{FakeTarget, Reply, gzip, metrics, response},
        test_job::job,
    },
};

const SECOND: Duration = Duration::from_secs(1);

fn fetcher() -> Fetcher {
    Fetcher::new(Arc::new(Shared::new()))
}

#[derive(Debug)]
struct Whole {
    body: Vec<u8>,
    content_type: Option<Box<str>>,
}

impl Fetcher {
    async fn fetch_whole(
        &mut self,
        url: &str,
        terms: &Terms,
        announced: Duration,
        timeout: Duration,
    ) -> Result<Whole, Failure> {
        let page = self.fetch(url, terms, announced, timeout).await?;
        let body = page.body(&mut Unpacker::default())?.to_vec();
        Ok(Whole { body, content_type: page.content_type })
    }
}

async fn fetch(url: &str, job: Job, timeout: Duration) -> Result<Whole, Failure> {
    fetcher().fetch_whole(url, &Terms::new(Arc::new(job)), timeout, timeout).await
}

/// One fetch of a server that gives `reply`; `Ok` is the body, `Err` a part of the message.
async fn check(reply: Reply, job: Job, expected: Result<&[u8], &str>) {
    let target = FakeTarget::start(move |_, _| reply.clone()).await;
    let outcome = fetch(&target.url("/metrics"), job, SECOND).await;
    match (outcome, expected) {
        (Ok(page), Ok(body)) => assert_eq!(page.body, body),
        (Err(failure), Err(part)) => {
            assert!(failure.to_string().contains(part), "`{failure}` has no `{part}`");
        }
        (outcome, expected) => panic!("{outcome:?} instead of {expected:?}"),
    }
}

#[tokio::test]
async fn asks_as_prometheus_does() {
    let target = FakeTarget::start(|_, _| Reply::Keep(metrics("a 1\n"))).await;
    let mut job = job();
    job.http.headers = vec![("X-Extra".to_owned(), vec![Source::Inline(Secret::new("e")); 2])];
    let terms = Terms::new(Arc::new(job));
    let timeout = Duration::from_millis(750);
    let url = target.url("/metrics?a=b&c=%20d");
    let page = fetcher().fetch_whole(&url, &terms, timeout, SECOND).await.unwrap();
    assert_eq!(page.body, b"a 1\n");
    assert_eq!(page.content_type.as_deref(), Some("text/plain; version=0.0.4"));
    let head = target.seen()[0].to_lowercase();
    let lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines[0], "get /metrics?a=b&c=%20d http/1.1");
    for expected in [
        &format!("host: {}", target.address),
        "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
         text/plain;version=0.0.4;q=0.5,*/*;q=0.4",
        "accept-encoding: gzip",
        "x-prometheus-scrape-timeout-seconds: 0.75",
        concat!("user-agent: starling/", env!("CARGO_PKG_VERSION")),
        "x-extra: e",
    ] {
        assert!(lines.contains(&expected), "no `{expected}` in {lines:?}");
    }
    assert_eq!(lines.iter().filter(|line| **line == "x-extra: e").count(), 2);
}

#[tokio::test]
async fn takes_a_whole_answer_and_names_what_is_none() {
    let body = b"metric 1\n";
    let gzipped = |body: &[u8]| response("200 OK", "Content-Encoding: gzip\r\n", &gzip(body));
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nmetr\r\n5\r\nic 1\n\r\n0\r\n\r\n";
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nmetric 1\n";
    let old = b"HTTP/1.0 200 OK\r\n\r\nmetric 1\n";
    let broken_gzip = response("200 OK", "Content-Encoding: gzip\r\n", b"no gzip at all");
    let brotli = response("200 OK", "Content-Encoding: br\r\n", b"x");
    for (reply, expected) in [
        (Reply::Keep(metrics("metric 1\n")), Ok(&body[..])),
        (Reply::Keep(gzipped(body)), Ok(body)),
        (Reply::Keep(chunked.to_vec()), Ok(body)),
        (Reply::Close(old.to_vec()), Ok(body)),
        (Reply::Keep(metrics("")), Ok(b"")),
        (Reply::Close(cut.to_vec()), Err("unexpected EOF")),
        (Reply::Close(Vec::new()), Err("unexpected EOF")),
        (Reply::Close(b"\x16\x03\x01 garbage \xff\xfe\r\n\r\n".to_vec()), Err("HTTP")),
        (Reply::Keep(broken_gzip), Err("gzip: invalid body")),
        (Reply::Keep(brotli), Err("Content-Encoding `br`, expected gzip")),
        (
            Reply::Keep(response("503 Service Unavailable", "", b"")),
            Err("server returned HTTP status 503 Service Unavailable"),
        ),
        (Reply::Keep(response("204 No Content", "", b"")), Err("HTTP status 204 No Content")),
    ] {
        check(reply, job(), expected).await;
    }
}

#[tokio::test]
async fn bodies_end_at_their_limit() {
    let mut small = job();
    small.limits.body_bytes_max = 100;
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n".to_vec();
    let bomb = response("200 OK", "Content-Encoding: gzip\r\n", &gzip(&vec![b'0'; 50 << 20]));
    let too_large = Err("body size limit exceeded");
    check(Reply::Keep(metrics(&"x".repeat(100))), small.clone(), Ok(&[b'x'; 100])).await;
    for reply in [
        Reply::Keep(metrics(&"x".repeat(101))),
        Reply::Keep(bomb.clone()),
        Reply::Endless(head.clone(), vec![b'y'; 1000]),
    ] {
        check(reply, small.clone(), too_large).await;
    }
    // Without a limit of its own a body ends at the timeout or at the bound of all bodies.
    let piece = [b"400\r\n", &[b'z'; 0x400][..], b"\r\n"].concat();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let target =
        FakeTarget::start(move |_, _| Reply::Endless(chunked.clone(), piece.clone())).await;
    let timeout = Duration::from_millis(100);
    let failure = fetch(&target.url("/"), job(), timeout).await.unwrap_err();
    assert!(matches!(failure, Failure::Timeout { stage: Stage::Body, .. }), "{failure}");
}

#[tokio::test]
async fn a_timeout_tells_how_far_it_came() {
    let timeout = Duration::from_millis(50);
    for (reply, expected) in [
        (Reply::Hang(Vec::new()), "no answer came"),
        (Reply::Hang(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()), "no answer came"),
        (Reply::Hang(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nmet".to_vec()), "the body did"),
    ] {
        let target = FakeTarget::start(move |_, _| reply.clone()).await;
        let failure = fetch(&target.url("/"), job(), timeout).await.unwrap_err().to_string();
        assert!(failure.starts_with("context deadline exceeded: "), "{failure}");
        assert!(failure.contains(expected) && failure.ends_with("within 50ms"), "{failure}");
    }
    // A listener that nobody accepts from: the handshake is never answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", silent.local_addr().unwrap());
    let failure = fetch(&url, job(), timeout).await.unwrap_err().to_string();
    assert!(failure.contains("the TLS handshake did not end"), "{failure}");
}

#[tokio::test]
async fn one_connection_is_kept_and_replaced_when_it_was_closed() {
    let target = FakeTarget::start(|number, _| match number {
        // Closes after the answer without having said so.
        2 => Reply::Close(metrics("a 1\n")),
        _ => Reply::Keep(metrics("a 1\n")),
    })
    .await;
    let terms = Terms::new(Arc::new(job()));
    let mut fetcher = fetcher();
    for (number, connections) in [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2)] {
        let outcome = fetcher.fetch_whole(&target.url("/"), &terms, SECOND, SECOND).await;
        assert_eq!(outcome.unwrap().body, b"a 1\n", "{number}");
        assert_eq!(target.connections(), connections, "{number}");
    }
}

#[tokio::test]
async fn a_connection_that_dies_with_the_request_on_it_is_replaced() {
    let target = FakeTarget::start(|number, _| match number {
        // The request arrives, and the connection is closed instead of an answer.
        1 => Reply::Close(Vec::new()),
        _ => Reply::Keep(metrics("a 1\n")),
    })
    .await;
    let terms = Terms::new(Arc::new(job()));
    let mut fetcher = fetcher();
    for _ in 0..2 {
        fetcher.fetch_whole(&target.url("/"), &terms, SECOND, SECOND).await.unwrap();
    }
    assert_eq!((target.seen().len(), target.connections()), (3, 2));
}

/// A first answer, and over which connection the second request comes.
async fn check_reuse(first: Reply, body: &[u8], is_reused: bool) {
    let told = format!("{first:?}");
    let target = FakeTarget::start(move |number, _| match number {
        0 => first.clone(),
        _ => Reply::Keep(metrics("next 1\n")),
    })
    .await;
    let (mut fetcher, terms) = (fetcher(), Terms::new(Arc::new(job())));
    for expected in [body, b"next 1\n"] {
        let page = fetcher.fetch_whole(&target.url("/"), &terms, SECOND, 5 * SECOND).await;
        assert_eq!(page.unwrap().body, expected, "{told}");
    }
    assert_eq!(target.connections(), if is_reused { 1 } else { 2 }, "{told}");
}

#[tokio::test]
async fn only_a_connection_that_holds_nothing_more_is_used_again() {
    let with = |head: &str, body: &str| {
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{head}\r\n\r\n{body}").into_bytes()
    };
    let chunked = |body: &str| with("Transfer-Encoding: chunked", body);
    let waited = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
    for (reply, body, is_reused) in [
        (Reply::Keep(metrics("a 1\n")), "a 1\n", true),
        (Reply::Keep([waited, metrics("a 1\n")].concat()), "a 1\n", true),
        (Reply::Keep(chunked("4\r\na 1\n\r\n0\r\nA: b\r\n\r\n")), "a 1\n", true),
        (Reply::Slow(chunked("004;x=y\r\na 1\n\r\n0\r\n\r\n")), "a 1\n", true),
        (
            Reply::Slow(response("200 OK", "Content-Encoding: gzip\r\n", &gzip(b"a 1\n"))),
            "a 1\n",
            true,
        ),
        // Garbage, or another answer that nobody asked for.
        (Reply::Keep([metrics("a 1\n"), metrics("b 1\n")].concat()), "a 1\n", false),
        (Reply::Keep(chunked("4\r\na 1\n\r\n0\r\n\r\n\r\n")), "a 1\n", false),
        (Reply::Keep(with("Connection: close\r\nContent-Length: 4", "a 1\n")), "a 1\n", false),
        (Reply::Close(with("Server: x", "a 1\n")), "a 1\n", false),
    ] {
        check_reuse(reply, body.as_bytes(), is_reused).await;
    }
}

#[tokio::test]
async fn what_comes_while_nobody_asks_costs_the_connection() {
    let target = FakeTarget::start(|number, _| match number {
        0 => Reply::Late(metrics("a 1\n"), metrics("b 2\n")),
        _ => Reply::Keep(metrics("a 1\n")),
    })
    .await;
    let (mut fetcher, terms) = (fetcher(), Terms::new(Arc::new(job())));
    for _ in 0..2 {
        let page = fetcher.fetch_whole(&target.url("/"), &terms, SECOND, 5 * SECOND).await;
        assert_eq!(page.unwrap().body, b"a 1\n");
        let shared = Arc::clone(&fetcher.shared);
        while target.connections() == 1
            && let Some(connection) = &mut fetcher.connection
            && connection.is_ready(&shared.buffers).await
        {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(target.connections(), 2);
}

#[tokio::test]
async fn a_head_has_an_end() {
    let line = format!("A: {}\r\n", "x".repeat(1000));
    let head = b"HTTP/1.1 200 OK\r\n".to_vec();
    let waiting = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(10);
    for (reply, expected) in [
        (Reply::Endless(head.clone(), line.into_bytes()), "too many headers"),
        (Reply::Endless(head, b"x".repeat(1000)), "the head of the answer has no end"),
        (Reply::Endless(Vec::new(), waiting), "the head of the answer has no end"),
    ] {
        check(reply, job(), Err(expected)).await;
    }
}

#[tokio::test]
async fn an_unwanted_answer_does_not_cost_the_connection() {
    let target =
        FakeTarget::start(|_, _| Reply::Keep(response("500 Oops", "", &[b'e'; 5000]))).await;
    let terms = Terms::new(Arc::new(job()));
    let mut fetcher = fetcher();
    for _ in 0..3 {
        fetcher.fetch_whole(&target.url("/"), &terms, SECOND, SECOND).await.unwrap_err();
    }
    assert_eq!((target.seen().len(), target.connections()), (3, 1));
}

#[tokio::test]
async fn follows_redirects_ten_times_and_only_when_told() {
    fn counting(number: usize, to: usize) -> Reply {
        if number == to {
            return Reply::Keep(metrics("a 1\n"));
        }
        Reply::Keep(response("302 Found", &format!("Location: /{}\r\n", number + 1), b"gone"))
    }
    let target = FakeTarget::start(|number, _| counting(number, 10)).await;
    assert_eq!(fetch(&target.url("/0"), job(), SECOND).await.unwrap().body, b"a 1\n");
    assert_eq!((target.seen().len(), target.connections()), (11, 1));
    assert!(target.seen()[10].starts_with("GET /10 "));

    let endless = FakeTarget::start(|number, _| counting(number, usize::MAX)).await;
    let failure = fetch(&endless.url("/"), job(), SECOND).await.unwrap_err();
    assert_eq!(failure.to_string(), "stopped after 10 redirects");
    assert_eq!(endless.seen().len(), 11);

    let mut stays = job();
    stays.http.follow_redirects = false;
    let failure = fetch(&target.url("/"), stays, SECOND).await;
    // Request 11 of that server, so it redirects again.
    assert_eq!(failure.unwrap_err(), Failure::Status(StatusCode::FOUND));

    check(Reply::Keep(response("301 X", "", b"")), job(), Err("missing Location")).await;
    let elsewhere = response("302 X", "Location: ftp://a/b\r\n", b"");
    check(Reply::Keep(elsewhere), job(), Err("unsupported protocol scheme `ftp`")).await;
}

#[tokio::test]
async fn credentials_stay_with_their_host() {
    let other = FakeTarget::start_at("127.0.0.2:0", None, |_, _| Reply::Keep(metrics(""))).await;
    let same = FakeTarget::start(|_, _| Reply::Keep(metrics(""))).await;
    for (to, expected) in [(&other, false), (&same, true)] {
        let location = format!("Location: {}\r\n", to.url("/next"));
        let from =
            FakeTarget::start(move |_, _| Reply::Keep(response("307 X", &location, b""))).await;
        let mut job = job();
        let credentials = Some(Source::Inline(Secret::new("secret")));
        job.http.authorization = Some(Authorization { scheme: "Bearer".to_owned(), credentials });
        job.http.headers = vec![("X-Key".into(), vec![Source::Inline(Secret::new("secret"))])];
        fetch(&from.url("/"), job, SECOND).await.unwrap();
        assert_eq!(from.seen()[0].matches("secret").count(), 2);
        assert_eq!(to.seen()[0].contains("secret"), expected, "{}", to.seen()[0]);
        assert!(to.seen()[0].to_lowercase().contains("user-agent: starling"));
    }
}

#[tokio::test]
async fn credential_files_are_read_for_each_scrape() {
    let target = FakeTarget::start(|_, _| Reply::Keep(metrics(""))).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let mut job = job();
    let credentials = Some(Source::File(path.clone()));
    job.http.authorization = Some(Authorization { scheme: "Bearer".to_owned(), credentials });
    let terms = Terms::new(Arc::new(job));
    let mut fetcher = fetcher();
    let failure = fetcher.fetch_whole(&target.url("/"), &terms, SECOND, SECOND).await.unwrap_err();
    assert_eq!(failure.kind(), "settings", "{failure}");
    for token in ["one", "two"] {
        std::fs::write(&path, format!("{token}\n")).unwrap();
        fetcher.fetch_whole(&target.url("/"), &terms, SECOND, SECOND).await.unwrap();
        let head = target.seen().pop().unwrap();
        assert!(head.contains(&format!("Bearer {token}\r\n")), "{head}");
    }
}

#[tokio::test]
async fn names_and_addresses_that_lead_nowhere() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, expected) in [
        (format!("http://{closed}/"), format!("dial tcp {closed}: connect: connection refused")),
        ("http://nowhere.invalid/".to_owned(), "dial tcp: lookup nowhere.invalid: ".to_owned()),
        ("http://[::1/".to_owned(), "is no URL".to_owned()),
    ] {
        let failure = fetch(&url, job(), 5 * SECOND).await.unwrap_err().to_string();
        assert!(failure.contains(&expected), "{failure}");
    }
}

#[tokio::test]
async fn ipv6_and_names_with_several_addresses() {
    let Ok(probe) = TcpListener::bind("[::1]:0") else {
        return told_that_there_is_no_ipv6();
    };
    drop(probe);
    let v6 = FakeTarget::start_at("[::1]:0", None, |_, _| Reply::Keep(metrics("six 6\n"))).await;
    let page = fetch(&v6.url("/"), job(), SECOND).await.unwrap();
    assert_eq!(page.body, b"six 6\n");
    assert!(v6.seen()[0].to_lowercase().contains(&format!("host: {}", v6.address)));

    let v4 = FakeTarget::start(|_, _| Reply::Keep(metrics("four 4\n"))).await;
    let deadline = Instant::now() + SECOND;
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stream = connect::first_to_answer(&[refused, v4.address], deadline).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), v4.address);
}

#[expect(clippy::print_stdout, reason = "who runs the tests should see what was not tested")]
fn told_that_there_is_no_ipv6() {
    println!("skipped: no IPv6 on loopback");
}

/// With a certificate that it signed itself, as an authority or not.
fn acceptor(names: &[&str], is_ca: IsCa, certificate_file: &Path) -> TlsAcceptor {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut terms = CertificateParams::new(names).unwrap();
    terms.is_ca = is_ca;
    let key = KeyPair::generate().unwrap();
    let certificate = terms.self_signed(&key).unwrap();
    std::fs::write(certificate_file, certificate.pem()).unwrap();
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn tls_is_verified_unless_told_otherwise() {
    check_verification(IsCa::NoCa).await;
    // What `openssl req -x509` makes.
    check_verification(IsCa::Ca(BasicConstraints::Unconstrained)).await;
}

async fn check_verification(is_ca: IsCa) {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let acceptor = acceptor(&["localhost", "metrics.example"], is_ca, &ca);
    let reply = |_: usize, _: &str| Reply::Keep(metrics("tls 1\n"));
    let target = FakeTarget::start_at("127.0.0.1:0", Some(acceptor), reply).await;
    let port = target.address.port();
    let trusted = Tls { ca: Some(Source::File(ca)), ..Tls::default() };
    let named = |name: &str| Tls { server_name: Some(name.to_owned()), ..trusted.clone() };
    let skip = Tls { insecure_skip_verify: true, ..Tls::default() };
    for (host, tls, expected) in [
        ("localhost", trusted.clone(), Ok(())),
        ("127.0.0.1", named("metrics.example"), Ok(())),
        ("127.0.0.1", skip, Ok(())),
        ("localhost", Tls::default(), Err("tls: failed to verify certificate: ")),
        ("localhost", named("other.example"), Err("tls: failed to verify certificate: ")),
        ("127.0.0.1", trusted, Err("tls: failed to verify certificate: ")),
    ] {
        let mut job = job();
        job.http.tls = tls;
        let outcome = fetch(&format!("https://{host}:{port}/"), job, 5 * SECOND).await;
        match (outcome, expected) {
            (Ok(page), Ok(())) => assert_eq!(page.body, b"tls 1\n"),
            (Err(failure), Err(words)) => {
                assert!(failure.to_string().contains(words), "{host}: {failure}");
            }
            (outcome, expected) => panic!("{host}: {outcome:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn plain_http_where_tls_was_asked_for_is_named() {
    let target = FakeTarget::start(|_, _| Reply::Close(metrics(""))).await;
    // The first bytes of a handshake hold no end of a head, so the server only ever reads.
    let url = format!("https://{}/", target.address);
    let failure = fetch(&url, job(), Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(failure.kind(), "tls" | "timeout"), "{failure}");
}
