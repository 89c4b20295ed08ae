//! Who means it ill: bodies that are not what they say, and connections by the thousand that say
//! nothing. Each gets a plain answer or none, memory stays, and the others are served as before.

use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Resource, getrlimit, setrlimit};
use starling::{
    model::{
        labels::Labels,
        sample::{Point, PointValue},
    },
    wire::remote_write::{Compressor, encode_labels, push_series},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::gateway::{Gateway, body};

const NOWHERE: &str = "http://127.0.0.1:1/api/v1/write";
const PATIENCE: Duration = Duration::from_secs(10);
/// And as many file descriptors again, in the agent.
const CONNECTIONS_MAX: u64 = 10_000;
const GROWTH_KB_MAX: u64 = 160 << 10;
/// Pushes that would take 900 MB if each was held as it is read.
const AT_ONCE: usize = 32;
const GROWTH_AT_ONCE_KB_MAX: u64 = 600 << 10;

/// What it is, headers, the body, and the status that it is answered with.
type Case = (&'static str, &'static str, Vec<u8>, u16);

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_lie_are_answered_and_cost_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(directory.path(), NOWHERE, "").await;
    let before_kb = memory_kb(&gateway);
    let good = body(&[("up", 1)]);
    let declares = |bytes: u64| [varint(bytes), b"\x00A".to_vec()].concat();
    let cases: [Case; 11] = [
        ("a bomb of 4 GiB", "", declares((1 << 32) - 1), 413),
        ("a bomb of 1 GiB", "", declares(1 << 30), 413),
        ("zeros", "", Compressor::default().body(&vec![0; 40 << 20]).to_vec(), 413),
        ("zeros by zstd", "Content-Encoding: zstd\r\n", zstd_of(&vec![0; 40 << 20]), 413),
        ("cut off", "", good[..good.len() - 3].to_vec(), 400),
        ("no snappy", "", b"\x05garbage".repeat(9), 400),
        (
            "no protobuf",
            "",
            Compressor::default().body(b"\x0a\xff\xff\xff\xff\x0fxxx").to_vec(),
            400,
        ),
        ("empty", "", Vec::new(), 400),
        ("another type", "Content-Type: application/json\r\n", good.clone(), 415),
        ("another packing", "Content-Encoding: br\r\n", good.clone(), 415),
        ("a tenant that is none", "X-Scope-OrgID: a/b\r\n", good.clone(), 400),
    ];
    for (what, headers, body, expected) in cases {
        for _ in 0..3 {
            let request = request(headers, body.len(), &body);
            assert_eq!(ask(&gateway, &request).await, Some(expected), "{what}");
        }
    }
    let claims = request("", 10 << 30, b"x");
    assert_eq!(ask(&gateway, &claims).await, Some(413), "a claim of 10 GiB");
    let long = format!("X-Long: {}\r\n", "h".repeat(2 << 20));
    let refused = ask(&gateway, &request(&long, good.len(), &good)).await;
    assert!(refused.is_none_or(|status| (400..500).contains(&status)), "{refused:?}");
    assert_eq!(ask(&gateway, b"GET /api/v1/write HTTP/1.1\r\nHost: x\r\n\r\n").await, Some(405));
    assert_eq!(ask(&gateway, b"POST /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n").await, Some(404));
    let mut lied = good.clone();
    for at in 0..lied.len() {
        lied[at] ^= 0x5a;
        let answer = ask(&gateway, &request("", lied.len(), &lied)).await;
        assert!(answer.is_some_and(|status| status != 503), "byte {at}: {answer:?}");
        lied[at] ^= 0x5a;
    }
    // Of a series of its own: some of those were pushes, if other ones than they began as.
    let other = body(&[("down", 1)]);
    assert_eq!(ask(&gateway, &request("", other.len(), &other)).await, Some(204));
    let grown_kb = memory_kb(&gateway).saturating_sub(before_kb);
    assert!(grown_kb < GROWTH_KB_MAX, "{grown_kb} KB more");
    assert!(!gateway.agent.process.log().contains("panicked"), "{}", gateway.agent.process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_keep_nobody_out() {
    let count = connections();
    let directory = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(directory.path(), NOWHERE, "").await;
    let before_kb = memory_kb(&gateway);
    let mut held = Vec::new();
    for number in 0..count {
        let Ok(mut stream) = TcpStream::connect(&gateway.address).await else { break };
        // A third says nothing, a third begins, and a third promises a body.
        let said: &[u8] = match number % 3 {
            0 => b"",
            1 => b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nX-Slow: a",
            _ => b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
        };
        stream.write_all(said).await.unwrap();
        held.push(stream);
        if number % (count / 5) == 0 {
            let body = body(&[("up", i64::try_from(number).unwrap())]);
            let answer = ask(&gateway, &request("", body.len(), &body)).await;
            assert_eq!(answer, Some(204), "beside {number} connections");
        }
    }
    assert_eq!(held.len() as u64, count);
    let body = body(&[("up", 1_000_000)]);
    assert_eq!(ask(&gateway, &request("", body.len(), &body)).await, Some(204));
    let grown_kb = memory_kb(&gateway).saturating_sub(before_kb);
    assert!(grown_kb < GROWTH_KB_MAX, "{grown_kb} KB more for {count} connections");
}

/// Bodies of a few kilobytes that are all good, and some hundred times as long when they are read.
#[tokio::test(flavor = "multi_thread")]
async fn much_that_comes_at_once_in_little_is_put_off() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(directory.path(), NOWHERE, "").await;
    let before_kb = memory_kb(&gateway);
    let bodies: Vec<Vec<u8>> = (0..AT_ONCE).map(long).collect();
    let pushed = bodies.iter().map(|body| async {
        ask(&gateway, &request("Content-Encoding: zstd\r\n", body.len(), body)).await
    });
    let answers = join_all(pushed).await;
    let count = |status| answers.iter().filter(|answer| **answer == Some(status)).count();
    assert!(count(204) > 0 && count(204) + count(503) == AT_ONCE, "{answers:?}");
    let grown_kb = memory_kb(&gateway).saturating_sub(before_kb);
    assert!(grown_kb < GROWTH_AT_ONCE_KB_MAX, "{grown_kb} KB more");
    let other = body(&[("up", 1)]);
    assert_eq!(ask(&gateway, &request("", other.len(), &other)).await, Some(204));
}

/// Series with all that the limits allow, 28 MB of them.
fn long(number: usize) -> Vec<u8> {
    let mut raw = Vec::new();
    let timestamp_ms = starling::runtime::clock::now_ms();
    let value = "v".repeat(8_000);
    for series in 0..60 {
        let names = (0..58).map(|n| (format!("l{n:02}"), value.clone()));
        let own = [("__name__", "long".to_owned()), ("n", format!("{number}-{series}"))];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let labels: Labels = own.into_iter().chain(names).collect();
        let value = PointValue::Float(1.0);
        let point = Point { value, timestamp_ms, start_ms: None, exemplars: &[] };
        push_series(&mut raw, &encode_labels(&labels, None), &point);
    }
    zstd_of(&raw)
}

/// As many as two processes may hold here.
fn connections() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, raised).unwrap();
    let most = raised.current.unwrap_or(u64::MAX).saturating_sub(500);
    most.min(CONNECTIONS_MAX)
}

async fn ask(gateway: &Gateway, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(&gateway.address).await.unwrap();
    let asking = async {
        // A server that has heard enough may close while it is still told.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            let mut part = [0; 4096];
            match stream.read(&mut part).await {
                Ok(0) | Err(_) => break,
                Ok(read) => answer.extend_from_slice(&part[..read]),
            }
        }
        String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
    };
    timeout(PATIENCE, asking).await.expect("an answer, or the end of the connection")
}

fn request(headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /api/v1/write HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn zstd_of(raw: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(raw, 3).unwrap()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
    out
}

/// What it has had at most.
fn memory_kb(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.agent.process.id()));
    let status = status.unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
