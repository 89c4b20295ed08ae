//! A target or a receiver for tests: a real server on a free port that answers as it is told, byte
//! for byte.

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream},
    net::TcpListener,
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

use crate::runtime::{stop::Stop, tasks};

#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// And wait for the next request on the same connection.
    Keep(Vec<u8>),
    /// And close the connection.
    Close(Vec<u8>),
    /// Byte by byte, and wait for the next request.
    Slow(Vec<u8>),
    /// And, when the first one was sent, the second without being asked.
    Late(Vec<u8>, Vec<u8>),
    /// And say nothing more.
    Hang(Vec<u8>),
    /// And then the second one over and over.
    Endless(Vec<u8>, Vec<u8>),
}

/// Answers until it is dropped.
pub(super) struct FakeTarget {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    asked: Arc<Notify>,
    connections: Arc<AtomicUsize>,
    stop: Stop,
}

impl Drop for FakeTarget {
    fn drop(&mut self) {
        self.stop.raise();
    }
}

impl FakeTarget {
    /// `reply` is told the number of the request (from 0) and its head.
    pub(super) async fn start(
        reply: impl Fn(usize, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_at("127.0.0.1:0", None, reply).await
    }

    pub(super) async fn start_at(
        address: &str,
        tls: Option<TlsAcceptor>,
        reply: impl Fn(usize, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let target = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            bodies: Arc::default(),
            asked: Arc::default(),
            connections: Arc::default(),
            stop: Stop::new(),
        };
        let (reply, stop) = (Arc::new(reply), target.stop.clone());
        let noted = Noted {
            seen: Arc::clone(&target.seen),
            bodies: Arc::clone(&target.bodies),
            asked: Arc::clone(&target.asked),
        };
        let connections = Arc::clone(&target.connections);
        tasks::spawn("fake target", async move {
            loop {
                let stream = tokio::select! {
                    () = stop.raised() => return,
                    accepted = listener.accept() => accepted.unwrap().0,
                };
                connections.fetch_add(1, Ordering::SeqCst);
                let (noted, reply, stop) = (noted.clone(), Arc::clone(&reply), stop.clone());
                let tls = tls.clone();
                tasks::spawn("fake target's connection", async move {
                    let answering = async {
                        match tls {
                            Some(tls) => {
                                if let Ok(stream) = tls.accept(stream).await {
                                    answer(stream, &noted, &*reply).await;
                                }
                            }
                            None => answer(stream, &noted, &*reply).await,
                        }
                    };
                    tokio::select! { () = stop.raised() => {}, () = answering => {} }
                });
            }
        });
        target
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The heads of all requests so far.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// The bodies of all requests that had one.
    pub(super) fn bodies(&self) -> Vec<Vec<u8>> {
        self.bodies.lock().unwrap().clone()
    }

    /// Resolves with the next request that comes, or has come since the last call.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Noted {
    seen: Arc<Mutex<Vec<String>>>,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    asked: Arc<Notify>,
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    noted: &Noted,
    reply: &(impl Fn(usize, &str) -> Reply + ?Sized),
) {
    let mut stream = BufStream::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.to_lowercase().lines().find_map(|line| {
            line.strip_prefix("content-length:").and_then(|value| value.trim().parse().ok())
        });
        if let Some(length) = length {
            let mut body = vec![0; length];
            if stream.read_exact(&mut body).await.is_err() {
                return;
            }
            noted.bodies.lock().unwrap().push(body);
        }
        let number = {
            let mut seen = noted.seen.lock().unwrap();
            seen.push(head.clone());
            seen.len() - 1
        };
        noted.asked.notify_one();
        match reply(number, &head) {
            Reply::Keep(bytes) => {
                if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
            Reply::Slow(bytes) => {
                for byte in bytes {
                    if stream.write_u8(byte).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            }
            Reply::Late(bytes, more) => {
                for bytes in [bytes, more] {
                    if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                }
            }
            Reply::Close(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Reply::Hang(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
                std::future::pending::<()>().await;
            }
            Reply::Endless(bytes, piece) => {
                let _ = stream.write_all(&bytes).await;
                while stream.write_all(&piece).await.is_ok() {}
                return;
            }
        }
    }
}

/// A complete 200 of text format 0.0.4.
pub(super) fn metrics(body: &str) -> Vec<u8> {
    response("200 OK", "Content-Type: text/plain; version=0.0.4\r\n", body.as_bytes())
}

pub(super) fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

pub(super) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}
