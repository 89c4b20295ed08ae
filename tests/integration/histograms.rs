//! A target that speaks protobuf, through the agent, to a receiver: native histograms, exemplars, and
//! the end of a series.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use starling::{
    model::{histogram::Counts, sample::STALE_NAN_BITS},
    runtime::tasks,
    wire::{
        protobuf::{fixed64_tag, push_bytes, push_varint, varint_tag},
        remote_write::{TimeSeries, decode},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{eventually, process::Agent};

const PATIENCE: Duration = Duration::from_secs(30);

/// Answers each request by its body; those who ask with GET have none.
async fn serve(
    answer: impl Fn(&str, &[u8]) -> (String, Vec<u8>) + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    tasks::spawn("server", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tasks::spawn("server connection", async move {
                talk(stream, &*answer).await;
            });
        }
    });
    address
}

async fn talk(mut stream: TcpStream, answer: &(impl Fn(&str, &[u8]) -> (String, Vec<u8>) + Sync)) {
    let mut read = Vec::new();
    loop {
        let head_length = loop {
            if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            match stream.read_buf(&mut read).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        let head = String::from_utf8_lossy(&read[..head_length]).to_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        while read.len() < head_length + length {
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let (kind, body) = answer(&head, &read[head_length..head_length + length]);
        read.drain(..head_length + length);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
            return;
        }
    }
}

fn message(fields: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut message = Vec::new();
    fields(&mut message);
    message
}

fn varint(out: &mut Vec<u8>, field: u64, value: u64) {
    push_varint(out, varint_tag(field));
    push_varint(out, value);
}

fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    push_varint(out, fixed64_tag(field));
    out.extend_from_slice(&value.to_le_bytes());
}

/// A family of one native histogram with an exemplar, behind its length.
fn family() -> Vec<u8> {
    let exemplar = message(|out| {
        let label = message(|out| {
            push_bytes(out, 1, b"trace_id");
            push_bytes(out, 2, b"abc");
        });
        push_bytes(out, 1, &label);
        double(out, 2, 1.5);
        push_bytes(out, 3, &message(|out| varint(out, 1, 1_700_000_000)));
    });
    let histogram = message(|out| {
        varint(out, 1, 3);
        double(out, 2, 4.5);
        // A schema of 1, as a zigzag.
        varint(out, 5, 2);
        double(out, 6, 0.001);
        // One bucket, the third, with all of the observations.
        push_bytes(
            out,
            12,
            &message(|out| {
                varint(out, 1, 4);
                varint(out, 2, 1);
            }),
        );
        varint(out, 13, 6);
        push_bytes(out, 16, &exemplar);
    });
    let family = message(|out| {
        push_bytes(out, 1, b"work_seconds");
        push_bytes(out, 2, b"How long work takes");
        varint(out, 3, 4);
        push_bytes(out, 4, &message(|out| push_bytes(out, 7, &histogram)));
    });
    message(|out| {
        push_varint(out, family.len() as u64);
        out.extend_from_slice(&family);
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn native_histograms_go_all_the_way_and_end_as_such() {
    const KIND: &str = "application/vnd.google.protobuf; \
        proto=io.prometheus.client.MetricFamily; encoding=delimited";
    let is_gone = Arc::new(AtomicBool::new(false));
    let accepted = Arc::new(Mutex::new(String::new()));
    let (gone, asked) = (Arc::clone(&is_gone), Arc::clone(&accepted));
    let target = serve(move |head, _| {
        head.clone_into(&mut asked.lock().unwrap());
        let body = if gone.load(Ordering::SeqCst) { Vec::new() } else { family() };
        (KIND.to_owned(), body)
    })
    .await;
    let received: Arc<Mutex<Vec<TimeSeries>>> = Arc::default();
    let store = Arc::clone(&received);
    let backend = serve(move |_, body| {
        // It is asked once whether it takes another compression, and says nothing to it.
        if body.is_empty() {
            return ("text/plain".to_owned(), Vec::new());
        }
        let series = decode(body).unwrap();
        let of_work = |one: &TimeSeries| one.labels.get("__name__").starts_with("work_seconds");
        store.lock().unwrap().extend(series.into_iter().filter(of_work));
        ("text/plain".to_owned(), Vec::new())
    })
    .await;

    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "global: {{ scrape_interval: 1s }}\nremote_write:\n  - url: http://{backend}/write\n    \
         send_native_histograms: true\n    send_exemplars: true\nscrape_configs:\n  \
         - job_name: native\n    scrape_native_histograms: true\n    \
         static_configs: [{{ targets: ['{target}'] }}]\n"
    );
    let _agent = Agent::start(directory.path(), &config).await;
    eventually("two histograms arrived", PATIENCE, || async {
        (received.lock().unwrap().len() >= 2).then_some(())
    })
    .await;
    assert!(accepted.lock().unwrap().contains("accept: application/vnd.google.protobuf"));
    {
        let received = received.lock().unwrap();
        let histogram = &received[0].histograms[0].histogram;
        assert_eq!((histogram.schema, histogram.sum.to_bits()), (1, 4.5_f64.to_bits()));
        let Counts::Integer { count, positive_deltas, .. } = &histogram.counts else {
            panic!("its counts are whole: {histogram:?}");
        };
        assert_eq!((*count, positive_deltas.as_slice()), (3, &[3][..]));
        let exemplars: Vec<usize> = received.iter().map(|one| one.exemplars.len()).collect();
        assert_eq!(exemplars[..2], [1, 0], "an exemplar goes once");
        assert_eq!(received[0].exemplars[0].labels.get("trace_id"), "abc");
        assert_eq!(received[0].exemplars[0].timestamp_ms, Some(1_700_000_000_000));
        assert!(received.iter().all(|one| one.samples.is_empty()), "it is no float: {received:?}");
    }

    is_gone.store(true, Ordering::SeqCst);
    eventually("the marker arrived", PATIENCE, || async {
        let received = received.lock().unwrap();
        let last = &received.last()?.histograms.first()?.histogram;
        (last.sum.to_bits() == STALE_NAN_BITS).then_some(())
    })
    .await;
}
