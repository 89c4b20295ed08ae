//! The demo's receiving end: a remote-write server that keeps nothing but the books.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;

use crate::{
    cli::demo::{ledger::Ledger, server},
    runtime::stop::Stop,
    wire::remote_write,
};

/// A larger request is answered 413.
const BODY_BYTES_MAX: usize = 32 << 20;
const PATH: &str = "/api/v1/write";

pub(super) struct Receiver {
    address: SocketAddr,
    ledger: Arc<Mutex<Ledger>>,
}

impl Receiver {
    pub(super) async fn start(interval: Duration, stop: &Stop) -> io::Result<Self> {
        let ledger = Arc::new(Mutex::new(Ledger::new(interval)));
        let books = Arc::clone(&ledger);
        let address =
            server::serve(stop, move |request| answer(request, Arc::clone(&books))).await?;
        Ok(Self { address, ledger })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    pub(super) fn ledger(&self) -> Ledger {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(request: Request<Incoming>, ledger: Arc<Mutex<Ledger>>) -> Response<Full<Bytes>> {
    let status = if request.method() == Method::POST && request.uri().path() == PATH {
        receive(request, &ledger).await
    } else {
        StatusCode::NOT_FOUND
    };
    let mut answer = Response::default();
    *answer.status_mut() = status;
    answer
}

async fn receive(request: Request<Incoming>, ledger: &Mutex<Ledger>) -> StatusCode {
    let Ok(body) = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await else {
        return StatusCode::PAYLOAD_TOO_LARGE;
    };
    let decoded = remote_write::decode(&body.to_bytes());
    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    match decoded {
        Ok(received) => {
            ledger.take(&received);
            StatusCode::NO_CONTENT
        }
        Err(fault) => {
            ledger.unreadable(&fault);
            StatusCode::BAD_REQUEST
        }
    }
}
