//! The API of a cloud for tests: a real server on a free port that answers by a rule, and remembers
//! what it was asked, bodies too.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::runtime::{stop::Stop, tasks};

#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// With its query.
    pub(super) path: String,
    pub(super) headers: ::http::HeaderMap,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

pub(super) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Reply {
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

#[expect(clippy::needless_pass_by_value, reason = "a `json!` or a text, as it comes")]
pub(super) fn reply(status: u16, body: impl ToString) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

/// Answers until it is dropped.
pub(super) struct FakeCloud {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Stop,
}

impl Drop for FakeCloud {
    fn drop(&mut self) {
        self.stop.raise();
    }
}

type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

impl FakeCloud {
    pub(super) async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, stop) = (Arc::<Mutex<Vec<Asked>>>::default(), Stop::new());
        let answer: Arc<Answer> = Arc::new(answer);
        let serving = serve(listener, answer, Arc::clone(&asked), stop.clone());
        tasks::spawn("fake cloud", serving);
        Self { url, asked, stop }
    }

    /// All requests since this was last called.
    pub(super) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

async fn serve(
    listener: TcpListener,
    answer: Arc<Answer>,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Stop,
) {
    loop {
        let stream = tokio::select! {
            () = stop.raised() => return,
            accepted = listener.accept() => accepted.unwrap().0,
        };
        let (answer, asked, stop) = (Arc::clone(&answer), Arc::clone(&asked), stop.clone());
        tasks::spawn("fake cloud connection", async move {
            let service = service_fn(|request| respond(request, &*answer, &asked));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stop.raised() => {}
                _ = connection => {}
            }
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    answer: &Answer,
    seen: &Mutex<Vec<Asked>>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.to_string(),
        headers: head.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let reply = answer(&asked);
    seen.lock().unwrap().push(asked);
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(Bytes::from(reply.body))).unwrap())
}
