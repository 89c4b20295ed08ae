//! A small HTTP server on a port that the system chooses: what the demo's targets and its receiving
//! end stand on.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::runtime::{stop::Stop, tasks};

/// More wait until one of them ends.
const CONNECTIONS_MAX: usize = 128;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

pub(in crate::cli) async fn serve<F, A>(stop: &Stop, answer: F) -> io::Result<SocketAddr>
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tasks::spawn("demo server", accept(listener, stop.clone(), answer));
    Ok(address)
}

async fn accept<F, A>(listener: TcpListener, stop: Stop, answer: F)
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            () = stop.raised() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, or the client is gone already.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let answer = answer.clone();
        let service = service_fn(move |request| {
            let answering = answer(request);
            async move { Ok::<_, Infallible>(answering.await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let stop = stop.clone();
        tasks::spawn("demo connection", async move {
            let _place = place;
            tokio::select! {
                () = stop.raised() => {}
                // How a client leaves is its own affair.
                _ = connection => {}
            }
        });
    }
}
