//! A connection that one target is asked over, time and again: HTTP/1.1, or HTTP/2 where the server of a
//! TLS connection has chosen it.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header::PROXY_AUTHORIZATION};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::{Frame, Incoming},
    client::conn::{http1, http2},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use url::{Position, Url};

use crate::{
    runtime::tasks,
    scrape::{
        failure::Failure,
        fetch::connect::{Origin, Stream},
    },
};

/// hyper keeps its read buffer as large as it ever was, and it stays with the idle connection: of
/// this size it costs 40 KB a target, against 270 KB after one body of 200 KB, and reads as fast.
const READ_BUFFER_BYTES: usize = 32 << 10;

/// What a server of HTTP/2 may send before it waits for us: no more than that is held a target,
/// however slow we are, where hyper's own measure would be megabytes.
const WINDOW_BYTES: u32 = 256 << 10;

type Exchange = http1::Connection<TokioIo<Stream>, Empty<Bytes>>;

pub(super) struct Connection {
    origin: Origin,
    /// Of the TLS settings that it was made with; `None` in the clear.
    tls: Option<u64>,
    form: Form,
    spoken: Spoken,
}

/// How the request's line is written.
pub(super) enum Form {
    Origin,
    /// To a proxy that passes on plain HTTP, with what it is to be shown.
    Absolute(Option<HeaderValue>),
    /// The URL makes the pseudo-headers of HTTP/2.
    Pseudo,
}

enum Spoken {
    /// There is no task behind it: it moves only while one of its own functions is awaited, which
    /// spares a wake-up for each piece of a body.
    Http1 { sender: http1::SendRequest<Empty<Bytes>>, driver: Driver },
    /// Its task also answers what the server asks meanwhile.
    Http2(http2::SendRequest<Empty<Bytes>>),
}

/// `None` once the connection has ended: only its drop tells those who wait for it.
struct Driver(Option<Pin<Box<Exchange>>>);

impl Connection {
    pub(super) async fn plain(
        origin: &Origin,
        form: Form,
        stream: Stream,
    ) -> Result<Self, Failure> {
        Ok(Self { origin: origin.clone(), tls: None, form, spoken: http1(stream).await? })
    }

    pub(super) async fn secure(
        origin: &Origin,
        tls: u64,
        stream: TlsStream<Stream>,
    ) -> Result<Self, Failure> {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream: Stream = Either::Right(Box::new(stream));
        let (form, spoken) = if is_http2 {
            (Form::Pseudo, http2(stream).await?)
        } else {
            (Form::Origin, http1(stream).await?)
        };
        Ok(Self { origin: origin.clone(), tls: Some(tls), form, spoken })
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// `None` in the clear.
    pub(super) fn tls(&self) -> Option<u64> {
        self.tls
    }

    /// Whether another request may be sent, as far as this side knows.
    pub(super) async fn is_ready(&mut self) -> bool {
        match &mut self.spoken {
            Spoken::Http1 { sender, driver } => driver.drive(sender.ready()).await.is_ok(),
            Spoken::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    pub(super) async fn send(
        &mut self,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<hyper::Result<Response<Incoming>>, Failure> {
        let request = self.request(url, headers)?;
        Ok(match &mut self.spoken {
            Spoken::Http1 { sender, driver } => driver.drive(sender.send_request(request)).await,
            Spoken::Http2(sender) => sender.send_request(request).await,
        })
    }

    /// The next piece of the body of the last answer.
    pub(super) async fn frame(
        &mut self,
        body: &mut Incoming,
    ) -> Option<hyper::Result<Frame<Bytes>>> {
        match &mut self.spoken {
            Spoken::Http1 { driver, .. } => driver.drive(body.frame()).await,
            Spoken::Http2(_) => body.frame().await,
        }
    }

    fn request(&self, url: &Url, headers: &HeaderMap) -> Result<Request<Empty<Bytes>>, Failure> {
        let path = &url[Position::BeforePath..Position::AfterQuery];
        let full = || {
            // Not the user that it may have: that is in a header.
            let host = &url[Position::BeforeHost..Position::AfterPort];
            format!("{}://{host}{path}", url.scheme())
        };
        let request = match &self.form {
            Form::Origin => Request::get(path),
            Form::Absolute(_) | Form::Pseudo => Request::get(full()),
        };
        let mut request = request
            .body(Empty::new())
            .map_err(|e| Failure::Http(format!("invalid request: {e}")))?;
        headers.clone_into(request.headers_mut());
        match &self.form {
            Form::Origin | Form::Absolute(None) => {}
            Form::Absolute(Some(shown)) => {
                request.headers_mut().insert(PROXY_AUTHORIZATION, shown.clone());
            }
            Form::Pseudo => {
                request.headers_mut().remove(http::header::HOST);
            }
        }
        Ok(request)
    }
}

async fn http1(stream: Stream) -> Result<Spoken, Failure> {
    let (sender, driver) = http1::Builder::new()
        .read_buf_exact_size(Some(READ_BUFFER_BYTES))
        // Exporters on small devices are known to look for headers as the RFCs print them.
        .title_case_headers(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| Failure::Http(e.to_string()))?;
    Ok(Spoken::Http1 { sender, driver: Driver(Some(Box::pin(driver))) })
}

async fn http2(stream: Stream) -> Result<Spoken, Failure> {
    let (sender, driver) = http2::Builder::new(Spawner)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| Failure::Http(e.to_string()))?;
    tasks::spawn("http2", async move {
        // How it ended also reaches who waits for an answer, and nobody else asks.
        let _ = driver.await;
    });
    Ok(Spoken::Http2(sender))
}

#[derive(Clone)]
struct Spawner;

impl<F> Executor<F> for Spawner
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, part: F) {
        tasks::spawn("http2", part);
    }
}

impl Driver {
    async fn drive<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|cx| {
            // How it ended also reaches `future`, which has the better words for it.
            if let Some(connection) = &mut self.0
                && connection.as_mut().poll(cx).is_ready()
            {
                self.0 = None;
            }
            future.as_mut().poll(cx)
        })
        .await
    }
}
