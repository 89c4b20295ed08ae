//! Receivers that do not keep to HTTP: whatever they say, what they did not take comes again, in
//! order, and the agent lives.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    config::WriteMessage,
    outbox::tests::{
        Running, Target, destination,
        receiver::{Receiver, Reply},
    },
};

/// The first answers are `said`, and the connection is closed behind each; then all is well.
async fn check(what: &str, message: WriteMessage, said: Vec<u8>) {
    const TIMES: usize = 2;
    let directory = tempfile::tempdir().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let receiver = Receiver::start(move |request| {
        if counted.fetch_add(1, Ordering::Relaxed) < TIMES {
            return Reply::raw(said.clone());
        }
        let samples = request.series.len().to_string();
        Reply::status(204).header("X-Prometheus-Remote-Write-Samples-Written", &samples)
    })
    .await;
    let mut destination = destination("main", &receiver.url());
    destination.message = message;
    let outbox = Running::start(directory.path(), &[Arc::new(destination)]);
    let mut target = Target::new("a", 3);
    for _ in 0..4 {
        outbox.scrape(&mut target).await;
    }
    receiver.until_stored(3 * 4).await;
    target.assert_stored_once_in_order(&receiver);
    for reason in ["rejected", "refused", "maybe_stored", "not_written"] {
        assert_eq!(outbox.dropped(reason), 0, "{what}: {reason}");
    }
    assert!(requests.load(Ordering::Relaxed) > TIMES, "{what}");
    outbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_that_is_none_costs_a_sample() {
    let long = |head: &str, part: &str, end: &str| {
        [head.as_bytes(), &part.as_bytes().repeat(1 << 18), end.as_bytes()].concat()
    };
    let cases: [(&str, Vec<u8>); 12] = [
        ("nothing at all", Vec::new()),
        ("not HTTP", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ("zeros", vec![0; 4096]),
        ("half a status", b"HTTP/1.1 20".to_vec()),
        ("no status", b"HTTP/1.1 abc OK\r\n\r\n".to_vec()),
        ("a status beyond all", b"HTTP/1.1 99999 x\r\n\r\n".to_vec()),
        ("nothing but what comes before", b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        ("a header without end", long("HTTP/1.1 204 x\r\nx-a: ", "abc", "")),
        ("headers without end", long("HTTP/1.1 204 x\r\n", "x-a: b\r\n", "\r\n")),
        ("an error with a long text", long("HTTP/1.1 500 x\r\n\r\n", "why not? ", "")),
        (
            "an error in odd chunks",
            b"HTTP/1.1 503 x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n".to_vec(),
        ),
        (
            "an error with odd headers",
            b"HTTP/1.1 502 x\r\nretry-after: \xff\xfe\r\nx-server-hostname: \xff\r\n\
              x-prometheus-remote-write-samples-written: -1\r\ncontent-length: 0\r\n\r\n"
                .to_vec(),
        ),
    ];
    for (what, said) in cases {
        for message in [WriteMessage::V1, WriteMessage::V2] {
            check(what, message, said.clone()).await;
        }
    }
}
