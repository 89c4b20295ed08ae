//! From an origin to a connection that requests go over: way, name, addresses, TLS, and which HTTP is
//! spoken.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;
use url::Host;

use crate::{
    runtime::{
        http::{Route, TlsSource, Via},
        tasks,
    },
    scrape::{
        failure::{Failure, Stage, io_reason},
        fetch::{
            connection::Connection,
            place::{Form, Origin},
            tunnel,
        },
    },
};

/// Name lookups at once. Each holds a thread of the pool that also writes the outbox to disk, for
/// as long as the resolver takes, which may be far longer than the scrape waits: more wait in line.
const LOOKUPS_MAX: usize = 32;

/// Other addresses of a name are not tried.
const ADDRESSES_MAX: usize = 16;

/// A plain connection stays one type, so that most targets cost no allocation for it.
pub(super) type Stream = Either<TcpStream, Box<dyn Io>>;

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Io for T {}

/// By which way a job's targets are reached, and in which TLS.
pub(super) struct Line {
    pub(super) tls: TlsSource,
    pub(super) route: Route,
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
        origin: &Arc<Origin>,
        line: &Line,
        deadline: Instant,
        stage: &mut Stage,
    ) -> Result<Connection, Failure> {
        let via = line.route.to(&origin.url).map_err(Failure::Settings)?;
        let stream = match via {
            None => {
                *stage = Stage::Lookup;
                Either::Left(self.dial(&origin.host, origin.port, deadline, stage).await?)
            }
            Some(via) => {
                *stage = Stage::Proxy;
                self.through(via, origin, line, deadline).await?
            }
        };
        if !origin.tls {
            let absolute = |via: &Via| Form::Absolute(via.authorization.clone());
            let form = via.map_or(Form::Origin, absolute);
            return Ok(Connection::plain(origin, form, stream));
        }
        *stage = Stage::Handshake;
        let (version, config) = line.tls.current().map_err(Failure::Settings)?;
        let stream = handshake(stream, config, &origin.host, &line.tls).await?;
        Connection::secure(origin, version, stream).await
    }

    /// To the server behind `via`, or for plain HTTP to the proxy itself.
    async fn through(
        &self,
        via: &Via,
        origin: &Origin,
        line: &Line,
        deadline: Instant,
    ) -> Result<Stream, Failure> {
        let told = |failure: Failure| match failure {
            Failure::Settings(_) => failure,
            other => Failure::Proxy(format!("proxyconnect tcp: {other}")),
        };
        let (host, port) = (via.host().to_owned(), via.port());
        let tcp = self.dial(&host, port, deadline, &mut Stage::Proxy).await.map_err(told)?;
        let mut stream: Stream = Either::Left(tcp);
        if via.is_https() {
            let (_, config) = line.tls.current().map_err(Failure::Settings)?;
            let mut config = (*config).clone();
            // A proxy is spoken to in HTTP/1.1.
            config.alpn_protocols.clear();
            let secure = handshake(stream, Arc::new(config), &host, &line.tls).await;
            stream = Either::Right(Box::new(secure.map_err(told)?));
        }
        if origin.tls {
            tunnel::open(&mut stream, via, &origin.host, origin.port).await?;
        }
        Ok(stream)
    }

    async fn dial(
        &self,
        host: &Host<String>,
        port: u16,
        deadline: Instant,
        stage: &mut Stage,
    ) -> Result<TcpStream, Failure> {
        let addresses = self.addresses(host, port).await?;
        if *stage == Stage::Lookup {
            *stage = Stage::Connect;
        }
        let tcp = first_to_answer(&addresses, deadline).await?;
        // Without it the request may wait for an acknowledgement before it leaves.
        let _ = tcp.set_nodelay(true);
        Ok(tcp)
    }

    async fn addresses(&self, host: &Host<String>, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let name = match host {
            Host::Ipv4(ip) => return Ok(vec![(*ip, port).into()]),
            Host::Ipv6(ip) => return Ok(vec![(*ip, port).into()]),
            Host::Domain(name) => name.clone(),
        };
        let failed = |reason: String| Failure::Lookup { host: name.clone(), reason };
        let permit = Arc::clone(&self.lookups).acquire_owned().await.expect("it is never closed");
        // A task of its own, as a lookup that nobody waits for any more goes on, and must go on
        // counting.
        let host = name.clone();
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
    stream: Stream,
    config: Arc<rustls::ClientConfig>,
    host: &Host<String>,
    tls: &TlsSource,
) -> Result<TlsStream<Stream>, Failure> {
    let name = match (tls.server_name(), host) {
        (Some(name), _) => server_name(name)?,
        (None, Host::Domain(name)) => server_name(name)?,
        (None, Host::Ipv4(ip)) => ServerName::from(std::net::IpAddr::V4(*ip)),
        (None, Host::Ipv6(ip)) => ServerName::from(std::net::IpAddr::V6(*ip)),
    };
    TlsConnector::from(config)
        .connect(name, stream)
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
