//! The other ends, for tests: a server of HTTP/1.1 and, over TLS, of HTTP/2; and a proxy before it. Real
//! sockets on free ports.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    config::Source,
    runtime::{stop::Stop, tasks},
};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) version: Version,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// Empty where it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// `None` never answers.
pub(crate) type Reply = Option<Response<Full<Bytes>>>;

#[expect(clippy::unnecessary_wraps, reason = "without one it is `None`")]
pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut reply = Response::builder().status(status);
    for (name, value) in headers {
        reply = reply.header(*name, *value);
    }
    Some(reply.body(Full::from(body.to_owned())).unwrap())
}

/// Answers until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    tls: Arc<Mutex<Option<TlsAcceptor>>>,
    stop: Stop,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.raise();
    }
}

impl Server {
    /// `answer` is told the number of the request, from 0.
    pub(crate) async fn start(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            connections: Arc::default(),
            tls: Arc::new(Mutex::new(tls)),
            stop: Stop::new(),
        };
        let (seen, stop) = (Arc::clone(&server.seen), server.stop.clone());
        let (tls, connections) = (Arc::clone(&server.tls), Arc::clone(&server.connections));
        let answer = Arc::new(answer);
        tasks::spawn("fake server", async move {
            loop {
                let stream = tokio::select! {
                    () = stop.raised() => return,
                    accepted = listener.accept() => accepted.unwrap().0,
                };
                connections.fetch_add(1, Ordering::SeqCst);
                let (seen, answer, stop) = (Arc::clone(&seen), Arc::clone(&answer), stop.clone());
                let tls = tls.lock().unwrap().clone();
                tasks::spawn("fake server's connection", async move {
                    let serving = async {
                        match tls {
                            None => serve(stream, false, seen, answer).await,
                            Some(tls) => {
                                let Ok(stream) = tls.accept(stream).await else { return };
                                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                                serve(stream, is_http2, seen, answer).await;
                            }
                        }
                    };
                    tokio::select! { () = stop.raised() => {}, () = serving => {} }
                });
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.tls.lock().unwrap().is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// New connections show another certificate.
    pub(crate) fn rotate(&self, tls: TlsAcceptor) {
        *self.tls.lock().unwrap() = Some(tls);
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    is_http2: bool,
    seen: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes().to_vec());
            let one = Seen {
                version: head.version,
                method: head.method,
                uri: head.uri,
                headers: head.headers,
                body: body.unwrap_or_default(),
            };
            let number = {
                let mut seen = seen.lock().unwrap();
                seen.push(one.clone());
                seen.len() - 1
            };
            match answer(number, &one) {
                Some(reply) => Ok::<_, Infallible>(reply),
                None => std::future::pending().await,
            }
        }
    });
    let stream = TokioIo::new(stream);
    let _ = if is_http2 {
        http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await
    } else {
        http1::Builder::new().serve_connection(stream, service).await
    };
}

/// An authority in a folder, and what it issues.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) path: PathBuf,
}

impl Authority {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let path = folder.join(format!("{name}.pem"));
        std::fs::write(&path, issuer.pem()).unwrap();
        Self { issuer, path }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the setting that it is for may be none")]
    pub(crate) fn source(&self) -> Option<Source> {
        Some(Source::File(self.path.clone()))
    }

    /// For 127.0.0.1; `protocols` are those of ALPN.
    pub(crate) fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let (certificate, key) = self.pair();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    fn pair(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "server");
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

/// How a proxy behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    Serves,
    /// Whoever does not show this in `Proxy-Authorization` gets a 407.
    Demands(&'static str),
    /// This is all it says.
    Says(&'static str),
    Hangs,
}

/// Passes on until it is dropped.
pub(crate) struct FakeProxy {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    stop: Stop,
}

impl Drop for FakeProxy {
    fn drop(&mut self) {
        self.stop.raise();
    }
}

impl FakeProxy {
    /// `tls`: it is spoken to in TLS itself.
    pub(crate) async fn start(manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heads, stop) = (Arc::<Mutex<Vec<String>>>::default(), Stop::new());
        let proxy = Self { address, heads: Arc::clone(&heads), stop: stop.clone() };
        tasks::spawn("fake proxy", async move {
            loop {
                let stream = tokio::select! {
                    () = stop.raised() => return,
                    accepted = listener.accept() => accepted.unwrap().0,
                };
                let (heads, stop, tls) = (Arc::clone(&heads), stop.clone(), tls.clone());
                tasks::spawn("fake proxy's connection", async move {
                    let passing = async {
                        match tls {
                            None => pass(stream, manner, &heads).await,
                            Some(tls) => {
                                let Ok(stream) = tls.accept(stream).await else { return };
                                pass(stream, manner, &heads).await;
                            }
                        }
                    };
                    tokio::select! { () = stop.raised() => {}, () = passing => {} }
                });
            }
        });
        proxy
    }

    /// Of the requests that began a connection.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    pub(crate) fn tunnels(&self) -> usize {
        self.heads().iter().filter(|head| head.starts_with("CONNECT ")).count()
    }
}

async fn pass(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    manner: Manner,
    heads: &Mutex<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    heads.lock().unwrap().push(head.clone());
    let demanded = match manner {
        Manner::Serves => None,
        Manner::Demands(value) => Some(value),
        Manner::Says(text) => {
            let _ = client.write_all(text.as_bytes()).await;
            let _ = client.shutdown().await;
            return;
        }
        Manner::Hangs => std::future::pending().await,
    };
    let shown = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization").then_some(value)
    });
    if demanded.is_some() && shown != demanded {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        let _ = client.write_all(refusal.as_bytes()).await;
        return;
    }
    let asked = head.split(' ').nth(1).unwrap();
    let authority = asked.strip_prefix("http://").unwrap_or(asked).split('/').next().unwrap();
    let Ok(mut server) = TcpStream::connect(authority).await else { return };
    let answered = if head.starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await
    } else {
        server.write_all(head.as_bytes()).await
    };
    if answered.is_ok() && client.flush().await.is_ok() {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}
