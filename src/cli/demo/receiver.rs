//! The demo's receiving end: a remote-write server that keeps nothing but the books.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;

use crate::{
    cli::demo::{agent, ledger::Ledger, server},
    runtime::{clock, stop::Stop},
    wire::remote_write,
};

/// A larger request is answered 413.
const BODY_BYTES_MAX: usize = 32 << 20;

pub(super) struct Receiver {
    address: SocketAddr,
    ledger: Arc<Mutex<Ledger>>,
}

impl Receiver {
    pub(super) async fn start(interval: Duration, agents: usize, stop: &Stop) -> io::Result<Self> {
        let ledger = Arc::new(Mutex::new(Ledger::new(interval, agents)));
        let books = Arc::clone(&ledger);
        let address =
            server::serve(stop, move |request| answer(request, agents, Arc::clone(&books))).await?;
        Ok(Self { address, ledger })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(
    request: Request<Incoming>,
    agents: usize,
    ledger: Arc<Mutex<Ledger>>,
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

async fn receive(request: Request<Incoming>, sender: usize, ledger: &Mutex<Ledger>) -> StatusCode {
    let Ok(body) = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await else {
        return StatusCode::PAYLOAD_TOO_LARGE;
    };
    let decoded = remote_write::decode(&body.to_bytes());
    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
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
