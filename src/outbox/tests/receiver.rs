//! A remote write receiver on a real socket: answers as the test says, and keeps what it accepted.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

use crate::{
    runtime::tasks,
    wire::{
        protobuf::{FieldValue, Fields},
        remote_write::{Compressor, TimeSeries, decode, decode_v2},
    },
};

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub path: String,
    pub headers: HashMap<String, String>,
    pub series: Vec<TimeSeries>,
    /// Families of metrics that are told of beside the series.
    pub families: usize,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(super) fn is_v2(&self) -> bool {
        self.header("content-type").ends_with("io.prometheus.write.v2.Request")
    }
}

#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
    /// Said as it is, in the place of all else; then the connection is closed.
    pub raw: Option<Vec<u8>>,
    pub delay: Duration,
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        let (headers, text) = (Vec::new(), String::new());
        Self { status, headers, text, raw: None, delay: Duration::ZERO }
    }

    /// Nothing is stored.
    pub(super) fn raw(bytes: Vec<u8>) -> Self {
        Self { raw: Some(bytes), ..Self::status(0) }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

type Script = Box<dyn FnMut(&Request) -> Reply + Send>;

pub(super) struct Receiver {
    pub address: String,
    shared: Arc<Shared>,
    task: JoinHandle<Option<()>>,
}

struct Shared {
    script: Mutex<Script>,
    /// All requests with the status they got, in the order of the answers.
    answered: Mutex<Vec<(Request, u16)>>,
    news: Notify,
}

impl Receiver {
    pub(super) async fn start(script: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        Self::start_at("127.0.0.1:0", script).await
    }

    pub(super) async fn start_at(
        address: &str,
        script: impl FnMut(&Request) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(script)),
            answered: Mutex::default(),
            news: Notify::new(),
        });
        let serving = Arc::clone(&shared);
        let task = tasks::spawn("receiver", async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let serving = Arc::clone(&serving);
                tasks::spawn("connection", async move {
                    let _ = serve(stream, &serving).await;
                });
            }
        });
        Self { address, shared, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/push", self.address)
    }

    pub(super) fn answer(&self, script: impl FnMut(&Request) -> Reply + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    pub(super) fn requests(&self) -> Vec<(Request, u16)> {
        self.shared.answered.lock().unwrap().clone()
    }

    /// The values of each series, in the order of acceptance.
    pub(super) fn stored(&self) -> HashMap<String, Vec<f64>> {
        let mut stored: HashMap<String, Vec<f64>> = HashMap::new();
        for (request, status) in self.requests() {
            for series in request.series.iter().filter(|_| status / 100 == 2) {
                let values = stored.entry(series.labels.get("n").to_owned()).or_default();
                values.extend(series.samples.iter().map(|sample| sample.value));
            }
        }
        stored
    }

    /// Waits until `check` gives something.
    pub(super) async fn until<T>(
        &self,
        what: &str,
        mut check: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let patience = tokio::time::sleep(Duration::from_secs(20));
        tokio::pin!(patience);
        loop {
            let news = self.shared.news.notified();
            if let Some(found) = check(self) {
                return found;
            }
            tokio::select! {
                () = news => {}
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
                () = &mut patience => panic!("not within 20 s: {what}; {:?}", self.stored()),
            }
        }
    }

    pub(super) async fn until_stored(&self, samples: usize) {
        self.until("all samples stored", |receiver| {
            (receiver.stored().values().map(Vec::len).sum::<usize>() >= samples).then_some(())
        })
        .await;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    let mut input = Vec::new();
    loop {
        let request = read_request(&mut stream, &mut input).await?;
        let reply = (shared.script.lock().unwrap())(&request);
        tokio::time::sleep(reply.delay).await;
        shared.answered.lock().unwrap().push((request, reply.status));
        shared.news.notify_waiters();
        if let Some(raw) = &reply.raw {
            let _ = stream.write_all(raw).await;
            let _ = stream.shutdown().await;
            return None;
        }
        // Status 0: the data is taken and the connection dropped, as a proxy that dies does.
        if reply.status == 0 {
            return None;
        }
        let mut headers = String::new();
        for (name, value) in &reply.headers {
            headers.extend([name, ": ", value, "\r\n"]);
        }
        let head = format!(
            "HTTP/1.1 {} x\r\n{headers}content-length: {}\r\n\r\n{}",
            reply.status,
            reply.text.len(),
            reply.text
        );
        stream.write_all(head.as_bytes()).await.ok()?;
    }
}

async fn read_request(stream: &mut TcpStream, input: &mut Vec<u8>) -> Option<Request> {
    let head_end = loop {
        if let Some(at) = memchr::memmem::find(input, b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(input).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(input[..head_end].to_vec()).unwrap();
    let mut lines = head.lines();
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    while input.len() < head_end + length {
        if stream.read_buf(input).await.ok()? == 0 {
            return None;
        }
    }
    let body = input[head_end..head_end + length].to_vec();
    input.drain(..head_end + length);
    let mut request = Request { path, headers, series: Vec::new(), families: 0 };
    if !body.is_empty() {
        request.read(&body);
    }
    Some(request)
}

impl Request {
    fn read(&mut self, body: &[u8]) {
        let body = match self.header("content-encoding") {
            "zstd" => {
                let raw = zstd::bulk::decompress(body, 1 << 24).expect("a body of zstd");
                Compressor::default().body(&raw)
            }
            _ => body.to_vec().into(),
        };
        if self.is_v2() {
            self.series = decode_v2(&body).expect("every body is a request of 2.0");
            return;
        }
        self.series = decode(&body).expect("every body is a write request");
        let raw = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let is_family = |field| matches!(field, Ok((3, FieldValue::Bytes(_))));
        self.families = Fields::of(&raw).filter(|field| is_family(*field)).count();
    }
}

/// Answers as Prometheus does: a request with a sample older than what its series has is refused
/// whole; the newest sample again is taken without a word.
pub(super) fn strict() -> impl FnMut(&Request) -> Reply + Send + 'static {
    let mut newest: HashMap<String, (i64, f64)> = HashMap::new();
    move |request| {
        let mut after = newest.clone();
        for series in &request.series {
            for sample in &series.samples {
                let now = (sample.timestamp_ms, sample.value);
                let old = after.entry(series.labels.to_string()).or_insert(now);
                if now.0 < old.0 || now.0 == old.0 && now.1.to_bits() != old.1.to_bits() {
                    let text = format!("out of order sample: {}", series.labels);
                    return Reply { text, ..Reply::status(400) };
                }
                *old = now;
            }
        }
        newest = after;
        Reply::status(204)
    }
}
