//! From an origin to a connection that requests go over: name, addresses, TLS, HTTP/1.1.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{
    net::{TcpStream, lookup_host},
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;
use url::{Host, Url};

use crate::{
    runtime::{http::TlsSource, tasks},
    scrape::failure::{Failure, Stage, io_reason},
};

/// Name lookups at once. Each holds a thread of the pool that also writes the outbox to disk, for
/// as long as the resolver takes, which may be far longer than the scrape waits: more wait in line.
const LOOKUPS_MAX: usize = 32;

/// Other addresses of a name are not tried.
const ADDRESSES_MAX: usize = 16;

/// hyper keeps its read buffer as large as it ever was, and it stays with the idle connection: of
/// this size it costs 40 KB a target, against 270 KB after one body of 200 KB, and reads as fast.
const READ_BUFFER_BYTES: usize = 32 << 10;

type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// What a connection belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    tls: bool,
    host: Host<String>,
    port: u16,
}

impl Origin {
    pub(super) fn of(url: &Url) -> Result<Self, Failure> {
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            other => return Err(Failure::Http(format!("unsupported protocol scheme `{other}`"))),
        };
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(Failure::Http("no host in request URL".to_owned()));
        };
        Ok(Self { tls, host: host.to_owned(), port })
    }

    /// Whether what is secret between us and `self` may be told to `other`: the same host, and not
    /// in the clear after TLS.
    pub(super) fn trusts(&self, other: &Self) -> bool {
        self.host == other.host && (other.tls || !self.tls)
    }
}

/// Makes connections for all targets.
#[derive(Debug)]
pub(super) struct Dialer {
    lookups: Arc<Semaphore>,
}

impl Dialer {
    pub(super) fn new() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }

    /// Notes in `stage` how far it has come, for the message if it is not let finish.
    pub(super) async fn connect(
        &self,
        origin: &Origin,
        tls: &TlsSource,
        deadline: Instant,
        stage: &mut Stage,
    ) -> Result<Connection, Failure> {
        *stage = Stage::Lookup;
        let addresses = self.addresses(origin).await?;
        *stage = Stage::Connect;
        let tcp = first_to_answer(&addresses, deadline).await?;
        // Without it the request may wait for an acknowledgement before it leaves.
        let _ = tcp.set_nodelay(true);
        let stream = if origin.tls {
            *stage = Stage::Handshake;
            Either::Right(Box::new(handshake(tcp, origin, tls).await?))
        } else {
            Either::Left(tcp)
        };
        let (sender, driver) = http1::Builder::new()
            .read_buf_exact_size(Some(READ_BUFFER_BYTES))
            // Exporters on small devices are known to look for headers as the RFCs print them.
            .title_case_headers(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| Failure::Http(e.to_string()))?;
        Ok(Connection { origin: origin.clone(), sender, driver: Driver(Some(Box::pin(driver))) })
    }

    async fn addresses(&self, origin: &Origin) -> Result<Vec<SocketAddr>, Failure> {
        let name = match &origin.host {
            Host::Ipv4(ip) => return Ok(vec![(*ip, origin.port).into()]),
            Host::Ipv6(ip) => return Ok(vec![(*ip, origin.port).into()]),
            Host::Domain(name) => name.clone(),
        };
        let failed = |reason: String| Failure::Lookup { host: name.clone(), reason };
        let permit = Arc::clone(&self.lookups).acquire_owned().await.expect("it is never closed");
        // A task of its own, as a lookup that nobody waits for any more goes on, and must go on
        // counting.
        let (host, port) = (name.clone(), origin.port);
        let lookup = tasks::spawn("name lookup", async move {
            let _permit = permit;
            let found = lookup_host((host.as_str(), port)).await?;
            Ok::<Vec<_>, io::Error>(found.take(ADDRESSES_MAX).collect())
        });
        match lookup.await {
            Ok(Some(Ok(addresses))) if addresses.is_empty() => Err(failed("no such host".into())),
            Ok(Some(Ok(addresses))) => Ok(addresses),
            Ok(Some(Err(error))) => Err(failed(lookup_reason(&error))),
            Ok(None) | Err(_) => Err(failed("the lookup was not finished".into())),
        }
    }
}

/// A connection and the state machine that drives it. There is no task behind it: it moves only
/// while one of its own functions is awaited, which spares a wake-up for each piece of a body.
pub(super) struct Connection {
    origin: Origin,
    sender: SendRequest<Empty<Bytes>>,
    driver: Driver,
}

/// `None` once the connection has ended: only its drop tells those who wait for it.
struct Driver(Option<Pin<Box<http1::Connection<TokioIo<Stream>, Empty<Bytes>>>>>);

impl Connection {
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether another request may be sent, as far as this side knows.
    pub(super) async fn is_ready(&mut self) -> bool {
        self.driver.drive(self.sender.ready()).await.is_ok()
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.driver.drive(self.sender.send_request(request)).await
    }

    /// The next piece of the body of the last answer.
    pub(super) async fn frame(
        &mut self,
        body: &mut Incoming,
    ) -> Option<hyper::Result<Frame<Bytes>>> {
        self.driver.drive(body.frame()).await
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

/// Tries the addresses one after the other, each for its share of the time that is left, so that
/// one that swallows packets does not cost those behind it their turn.
pub(super) async fn first_to_answer(
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<TcpStream, Failure> {
    let mut failure = None;
    for (n, &address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - n).expect("addresses are few");
        let reason = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => io_reason(&error),
            Err(_) => timed_out(share),
        };
        // The first address is the preferred one, so its trouble is the one to tell.
        failure.get_or_insert(Failure::Connect { address: address.to_string(), reason });
    }
    Err(failure.expect("a lookup without addresses is a failure"))
}

fn timed_out(after: Duration) -> String {
    format!("i/o timeout after {after:.1?}")
}

async fn handshake(
    tcp: TcpStream,
    origin: &Origin,
    tls: &TlsSource,
) -> Result<TlsStream<TcpStream>, Failure> {
    let (_, config) = tls.current().map_err(Failure::Settings)?;
    let name = match (tls.server_name(), &origin.host) {
        (Some(name), _) => server_name(name)?,
        (None, Host::Domain(name)) => server_name(name)?,
        (None, Host::Ipv4(ip)) => ServerName::from(std::net::IpAddr::V4(*ip)),
        (None, Host::Ipv6(ip)) => ServerName::from(std::net::IpAddr::V6(*ip)),
    };
    TlsConnector::from(config)
        .connect(name, tcp)
        .await
        .map_err(|error| Failure::Tls(tls_reason(&error)))
}

fn server_name(name: &str) -> Result<ServerName<'static>, Failure> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| Failure::Tls(format!("`{name}` is not a server name")))
}

fn tls_reason(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            format!("failed to verify certificate: {reason}")
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            "first record does not look like a TLS handshake".to_owned()
        }
        Some(_) | None => io_reason(error),
    }
}

fn lookup_reason(error: &io::Error) -> String {
    let text = error.to_string();
    let unknown = ["Name or service not known", "No address associated", "nodename nor servname"];
    if unknown.iter().any(|phrase| text.contains(phrase)) {
        "no such host".to_owned()
    } else {
        io_reason(error)
    }
}
