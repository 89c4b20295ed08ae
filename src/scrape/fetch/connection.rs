//! A connection that one target is asked over, time and again: HTTP/1.1, or HTTP/2 where the server of a
//! TLS connection has chosen it.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http2, rt::Executor};
use hyper_util::rt::TokioIo;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::{
    runtime::tasks,
    scrape::{
        failure::Failure,
        fetch::{
            answer::Answer,
            body::ReadBuffers,
            connect::Stream,
            http1::Http1,
            place::{Form, Origin, Question},
        },
    },
};

/// What a server of HTTP/2 may send before it waits for us: no more than that is held a target,
/// however slow we are, where hyper's own measure would be megabytes.
const WINDOW_BYTES: u32 = 256 << 10;

pub(super) struct Connection {
    origin: Arc<Origin>,
    /// Of the TLS settings that it was made with; `None` in the clear.
    tls: Option<u64>,
    spoken: Spoken,
}

enum Spoken {
    Http1(Http1),
    /// Its task also answers what the server asks meanwhile.
    Http2 {
        sender: http2::SendRequest<Empty<Bytes>>,
        body: Option<Incoming>,
    },
}

impl Connection {
    pub(super) fn plain(origin: &Arc<Origin>, form: Form, stream: Stream) -> Self {
        let spoken = Spoken::Http1(Http1::new(stream, form));
        Self { origin: Arc::clone(origin), tls: None, spoken }
    }

    pub(super) async fn secure(
        origin: &Arc<Origin>,
        tls: u64,
        stream: TlsStream<Stream>,
    ) -> Result<Self, Failure> {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream: Stream = Either::Right(Box::new(stream));
        let spoken = if is_http2 {
            http2(stream).await?
        } else {
            Spoken::Http1(Http1::new(stream, Form::Origin))
        };
        Ok(Self { origin: Arc::clone(origin), tls: Some(tls), spoken })
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// `None` in the clear.
    pub(super) fn tls(&self) -> Option<u64> {
        self.tls
    }

    /// Whether another request may be sent, as far as this side knows.
    pub(super) async fn is_ready(&mut self, buffers: &ReadBuffers) -> bool {
        match &mut self.spoken {
            Spoken::Http1(http1) => http1.is_ready(buffers).await,
            Spoken::Http2 { sender, .. } => sender.ready().await.is_ok(),
        }
    }

    pub(super) async fn ask(
        &mut self,
        question: &Question<'_>,
        buffers: &ReadBuffers,
    ) -> Result<Answer, Failure> {
        match &mut self.spoken {
            Spoken::Http1(http1) => http1.ask(question, buffers).await,
            Spoken::Http2 { sender, body } => {
                let request = question.request()?;
                let answer = sender.send_request(request).await.map_err(|e| http2_failure(&e))?;
                let (head, incoming) = answer.into_parts();
                *body = Some(incoming);
                Ok(Answer::of_http2(head.status, &head.headers))
            }
        }
    }

    /// The whole body of the last answer. `None`: it is longer than `bytes_max`.
    pub(super) async fn body(
        &mut self,
        bytes_max: u64,
        buffers: &ReadBuffers,
    ) -> Result<Option<Vec<u8>>, Failure> {
        match &mut self.spoken {
            Spoken::Http1(http1) => http1.body(bytes_max, buffers).await,
            Spoken::Http2 { body, .. } => {
                let mut arrived = Vec::new();
                let Some(mut body) = body.take() else { return Ok(Some(arrived)) };
                while let Some(frame) = body.frame().await {
                    let frame = frame.map_err(|e| http2_failure(&e))?;
                    let piece = frame.data_ref().map_or(&b""[..], |piece| piece);
                    if (arrived.len() + piece.len()) as u64 > bytes_max {
                        return Ok(None);
                    }
                    arrived.extend_from_slice(piece);
                }
                Ok(Some(arrived))
            }
        }
    }

    /// Whether nothing stands in the way of another request, now that the body is read.
    pub(super) fn keeps(&self) -> bool {
        match &self.spoken {
            Spoken::Http1(http1) => http1.keeps(),
            Spoken::Http2 { .. } => true,
        }
    }
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
    Ok(Spoken::Http2 { sender, body: None })
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

fn http2_failure(error: &hyper::Error) -> Failure {
    let source = std::error::Error::source(error);
    let cut = source
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof);
    let text = match source {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let cut = cut || error.is_incomplete_message();
    Failure::Http(if cut { format!("unexpected EOF: {text}") } else { text })
}
