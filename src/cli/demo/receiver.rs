//! The demo's receiving end: a remote-write server that keeps nothing but the books.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;

use crate::{
    cli::demo::{agent, server},
    runtime::{clock, stop::Stop},
    wire::remote_write::{self, DecodeError, TimeSeries},
};

/// A larger request is answered 413.
const BODY_BYTES_MAX: usize = 32 << 20;

/// What is made of all that is received.
pub(super) trait Ledger: Send + 'static {
    /// `sender` is one of the agents.
    fn take(&mut self, sender: usize, received: &[TimeSeries], now_ms: i64);

    fn unreadable(&mut self, fault: &DecodeError);
}

/// A ledger that several write.
pub(super) struct Shared<L>(Arc<Mutex<L>>);

impl<L> Shared<L> {
    pub(super) fn new(ledger: L) -> Self {
        Self(Arc::new(Mutex::new(ledger)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, L> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L> Clone for Shared<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Where it listens.
pub(super) async fn start<L: Ledger>(
    ledger: &Shared<L>,
    agents: usize,
    stop: &Stop,
) -> io::Result<SocketAddr> {
    let ledger = ledger.clone();
    server::serve(stop, move |request| answer(request, agents, ledger.clone())).await
}

async fn answer<L: Ledger>(
    request: Request<Incoming>,
    agents: usize,
    ledger: Shared<L>,
) -> Response<Full<Bytes>> {
    let sender = (0..agents).find(|agent| request.uri().path() == path(*agent));
    let status = match sender {
        Some(sender) if request.method() == Method::POST => receive(request, sender, &ledger).await,
        Some(_) | None => StatusCode::NOT_FOUND,
    };
    let mut answer = Response::default();
    *answer.status_mut() = status;
    answer
}

/// Each agent has its own, so that a sample tells who sent it.
pub(super) fn path(agent: usize) -> String {
    format!("/{}/api/v1/write", agent::name_of(agent))
}

async fn receive<L: Ledger>(
    request: Request<Incoming>,
    sender: usize,
    ledger: &Shared<L>,
) -> StatusCode {
    let Ok(body) = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await else {
        return StatusCode::PAYLOAD_TOO_LARGE;
    };
    let decoded = remote_write::decode(&body.to_bytes());
    let mut ledger = ledger.lock();
    match decoded {
        Ok(received) => {
            ledger.take(sender, &received, clock::now_ms());
            StatusCode::NO_CONTENT
        }
        Err(fault) => {
            ledger.unreadable(&fault);
            StatusCode::BAD_REQUEST
        }
    }
}
