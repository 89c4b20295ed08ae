//! Where pushes come in: an HTTP server that reads a request as far as its sender may push it, hands
//! its series to their owners, and says what became of them (remote write 1.0 and 2.0).

use std::{any::Any, io, net::TcpListener, panic::AssertUnwindSafe, sync::Arc};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::{
    App, Error, HttpRequest, HttpResponse, HttpServer,
    body::MessageBody,
    dev::{Extensions, Server, ServiceRequest, ServiceResponse},
    error::{InternalError, PayloadError},
    http::{StatusCode, header},
    middleware::{Next, from_fn},
    rt::net::TcpStream,
    web::{self, Bytes, BytesMut, Data, Payload},
};
use futures_util::{FutureExt, StreamExt, future::join_all};
use tokio::{
    sync::watch,
    time::{Duration, Instant, timeout_at},
};
use tracing::error;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    gateway::{
        addresses::Addresses,
        door::{Door, Refusal},
        families::Told,
        forward::{Delivered, Forwarder, Undelivered},
        meters::{Meters, Reason},
        metrics::Read,
        parcel::{Kind, Unwanted},
        placing,
        visitor::Whose,
    },
    model::member::Roster,
    runtime::{
        clock,
        config_state::ConfigState,
        http::{CertificateNames, ServerTls},
    },
    wire::{
        placement::{PlacedMember, Placement},
        remote_write::{Packing, UnpackError, WriteVersion, unpack},
    },
};

/// Those of Alloy, of Prometheus and `VictoriaMetrics`, of Mimir and of Thanos.
const PATHS: [&str; 4] =
    ["/api/v1/metrics/write", "/api/v1/write", "/api/v1/push", "/api/v1/receive"];
/// Beside them stands who owns what.
const PLACEMENT_PATHS: [&str; 2] = ["/api/v1/metrics/placement", "/api/v1/placement"];
/// Threads that read requests.
const WORKERS: usize = 2;
/// Of all clients; more wait in the kernel's queue. One that is idle takes some 10 KB.
const CONNECTIONS_MAX: usize = 16_384;
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// For the head of a request; after it the connection is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const SHUTDOWN_SECONDS_MAX: u64 = 8;
/// A body that is not there by then is not waited for.
const BODY_WAIT_MAX: Duration = Duration::from_secs(30);
/// So long owners are looked for and waited for. Longer than it takes to notice that one has died, and
/// shorter than senders wait for an answer (10 s and more).
const DELIVERY_MAX: Duration = Duration::from_secs(7);

/// A tenant that has as many series as it may has fewer when some were silent for long.
const SERIES_WAIT: Duration = Duration::from_secs(60);

const V1_MESSAGE: &str = "prometheus.WriteRequest";
const V2_MESSAGE: &str = "io.prometheus.write.v2.Request";
const CONTENT_TYPE: &str = "application/x-protobuf";
const RETRY_ATTEMPT: &str = "Retry-Attempt";
/// How many samples of a push went to other members: those who could have sent them there hear of it.
const FORWARDED: &str = "x-starling-forwarded";

/// What every request needs; one for all threads.
#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) config: watch::Receiver<Arc<ConfigState>>,
    pub(super) forwarder: Forwarder,
    pub(super) door: Arc<Door>,
    pub(super) told: Arc<Told>,
    pub(super) roster: watch::Receiver<Arc<Roster>>,
    pub(super) addresses: Addresses,
    pub(super) meters: Meters,
}

/// What a client's certificate calls it, as it was shown when it connected.
#[derive(Clone)]
pub(super) struct Certified(pub(super) CertificateNames);

/// Serves only while it is polled.
pub(super) fn server(
    receiver: Receiver,
    listeners: Vec<TcpListener>,
    tls: Option<&ServerTls>,
) -> io::Result<Server> {
    let tls = tls.map(ServerTls::config).transpose().map_err(io::Error::other)?;
    let receiver = Data::new(receiver);
    let server = HttpServer::new(move || {
        let app = App::new().app_data(receiver.clone()).wrap(from_fn(guard));
        let app = PLACEMENT_PATHS.iter().fold(app, |app, path| {
            let wrong = || async { refusal(StatusCode::METHOD_NOT_ALLOWED, "expected GET") };
            let resource = web::resource(*path).route(web::get().to(placement));
            app.service(resource.default_service(web::route().to(wrong)))
        });
        PATHS.iter().fold(app, |app, path| {
            let wrong = || async { refusal(StatusCode::METHOD_NOT_ALLOWED, "expected POST") };
            let resource = web::resource(*path).route(web::post().to(push));
            app.service(resource.default_service(web::route().to(wrong)))
        })
    })
    .workers(WORKERS)
    .max_connections(CONNECTIONS_MAX / WORKERS)
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(HEAD_TIMEOUT)
    .client_disconnect_timeout(DISCONNECT_TIMEOUT)
    .shutdown_timeout(SHUTDOWN_SECONDS_MAX)
    .on_connect(connected)
    .disable_signals();
    let server = listeners.into_iter().try_fold(server, |server, listener| match &tls {
        Some(tls) => server.listen_rustls_0_23(listener, tls.clone()),
        None => server.listen(listener),
    })?;
    Ok(server.run())
}

fn connected(io: &dyn Any, extensions: &mut Extensions) {
    let Some(stream) = io.downcast_ref::<TlsStream<TcpStream>>() else { return };
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().and_then(<[_]>::first);
    if let Some(shown) = shown {
        extensions.insert(Certified(CertificateNames::of(shown)));
    }
}

/// Around every request: a panic costs that one answer.
async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let Ok(answer) = AssertUnwindSafe(next.call(request)).catch_unwind().await else {
        error!("a push has panicked");
        // Not 500: some senders throw away what is answered so.
        let answer = refusal(StatusCode::SERVICE_UNAVAILABLE, "a fault of Starling");
        return Err(InternalError::from_response("a panic", answer).into());
    };
    answer
}

async fn push(request: HttpRequest, body: Payload, receiver: Data<Receiver>) -> HttpResponse {
    let began = Instant::now();
    let answer = match receiver.take(&request, body).await {
        Ok(taken) => {
            receiver.meters.acknowledged(began.elapsed());
            taken.answer()
        }
        Err(refused) => refused_answer(&request, &refused),
    };
    receiver.meters.answered(answer.status().as_u16());
    answer
}

/// Who owns what, for those who would send it there at once.
async fn placement(request: HttpRequest, receiver: Data<Receiver>) -> HttpResponse {
    let placement = match receiver.place(&request).await {
        Ok(placement) => placement.bytes(),
        Err(refused) => return refused_answer(&request, &refused),
    };
    let version = format!("\"{:016x}\"", xxh3_64(&placement));
    let known = request.headers().get(header::IF_NONE_MATCH);
    let is_known = known.is_some_and(|known| known.as_bytes() == version.as_bytes());
    let status = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let mut answer = HttpResponse::build(status);
    answer.insert_header((header::ETAG, version));
    if is_known { answer.finish() } else { answer.content_type("application/json").body(placement) }
}

/// What the head of a request says of its body.
struct Form {
    version: WriteVersion,
    packing: Packing,
}

/// What is kept of a request.
struct Taken {
    version: WriteVersion,
    samples: u64,
    histograms: u64,
    exemplars: u64,
    /// What is not, where anything is not.
    fault: Option<String>,
    /// Of that, something may be kept when it comes again.
    is_over_limit: bool,
    forwarded: u64,
}

impl Receiver {
    async fn take(&self, request: &HttpRequest, body: Payload) -> Result<Taken, Refusal> {
        let config = Arc::clone(&self.config.borrow().config);
        let Some(settings) = config.gateway.metrics.clone() else {
            return Err(Refusal::Unavailable("nothing is taken here any more"));
        };
        let form = Form::of(request)?;
        let admitted = self.door.admit(request, &settings).await?;
        let limits = admitted.limits();
        let (body, room) = self.read_body(request, body, bytes(limits.body_bytes_max)).await?;
        self.meters.received(body.len());
        let raw =
            unpack(&body, form.packing, bytes(limits.decoded_bytes_max)).map_err(|fault| {
                let text = fault.to_string();
                match fault {
                    UnpackError::TooLarge { .. } => Refusal::TooLarge(text),
                    UnpackError::Broken(_) => Refusal::Malformed(text),
                }
            })?;
        drop(body);
        let mut read = admitted.read(&raw, form.version, clock::now_ms())?;
        drop(raw);
        let room = self.door.resize(room, read.bytes())?;
        let members = self.forwarder.members();
        for parcel in &read.parcels {
            let samples = parcel.pieces.len() as u64;
            let pass = self.door.may_push(&settings, &parcel.tenant, samples, members);
            pass.inspect_err(|_| self.meters.refused(Reason::Rate, samples))?;
        }
        // Where each series says whose it is, nobody knows whose these are.
        if let Whose::Tenant(tenant) = admitted.whose() {
            self.told.add(tenant, std::mem::take(&mut read.families));
        }
        let taken = self.deliver(&form, read).await;
        drop(room);
        taken
    }

    async fn place(&self, request: &HttpRequest) -> Result<Placement, Refusal> {
        let config = Arc::clone(&self.config.borrow().config);
        let Some(settings) = &config.gateway.metrics else {
            return Err(Refusal::Unavailable("nothing is taken here any more"));
        };
        let admitted = self.door.admit(request, settings).await?;
        let table = self.forwarder.owners.borrow().table.clone();
        let roster = Arc::clone(&self.roster.borrow());
        let member = |id| PlacedMember {
            name: roster.members.get(&id).map(|member| member.name.clone()).unwrap_or_default(),
            url: self.addresses.url_of(id).map(|url| url.to_string()),
        };
        Ok(placing::placement(settings, admitted.whose(), table.as_deref(), member))
    }

    async fn deliver(&self, form: &Form, read: Read) -> Result<Taken, Refusal> {
        let until = Instant::now() + DELIVERY_MAX;
        let parcels = read.parcels.iter();
        let delivering = parcels.map(|parcel| self.forwarder.deliver(parcel, until));
        let mut all: Vec<Delivered> = Vec::new();
        for delivered in join_all(delivering).await {
            all.push(delivered.map_err(|why| match why {
                Undelivered::Full => Refusal::Full("there is no room for more"),
                Undelivered::Disk => Refusal::Full("the disk does not work"),
                Undelivered::OtherPipeline => Refusal::Unavailable(
                    "the members of the fleet have different rules for what is pushed",
                ),
                Undelivered::Unsettled => {
                    Refusal::Unavailable("an owner of these series can't be reached yet")
                }
            })?);
        }
        Ok(self.count(form, read, all))
    }

    fn count(&self, form: &Form, read: Read, delivered: Vec<Delivered>) -> Taken {
        let Read { parcels, exemplars, mut faults, .. } = read;
        self.meters.refused(Reason::Invalid, (faults.series + faults.samples) as u64);
        let [mut samples, mut histograms, mut all_exemplars] = [0; 3];
        let (mut is_over_limit, mut all_forwarded) = (false, 0);
        for ((parcel, exemplars), delivered) in parcels.iter().zip(exemplars).zip(delivered) {
            let Delivered { mut unwanted, forwarded } = delivered;
            all_forwarded += forwarded;
            unwanted.sort_unstable();
            let mut unwanted = unwanted.into_iter().peekable();
            for (place, (piece, exemplars)) in (0..).zip(parcel.pieces.iter().zip(exemplars)) {
                if let Some((_, why)) = unwanted.next_if(|(at, _)| *at == place) {
                    self.meters.refused(why.into(), 1);
                    is_over_limit |= why == Unwanted::Limit;
                    faults.add_sample(match why {
                        Unwanted::Late => "a sample is older than the newest of its series",
                        Unwanted::Conflict => {
                            "a sample has the time of the newest of its series, and another value"
                        }
                        Unwanted::Limit => "its tenant has as many active series as it may",
                    });
                    continue;
                }
                match piece.kind {
                    Kind::Float => samples += 1,
                    Kind::Histogram => histograms += 1,
                    Kind::Exemplars => {}
                }
                all_exemplars += u64::from(exemplars);
            }
        }
        self.meters.kept(Kind::Float, samples);
        self.meters.kept(Kind::Histogram, histograms);
        self.meters.kept(Kind::Exemplars, all_exemplars);
        Taken {
            version: form.version,
            samples,
            histograms,
            exemplars: all_exemplars,
            fault: (!faults.is_empty()).then(|| faults.to_string()),
            is_over_limit,
            forwarded: all_forwarded,
        }
    }

    /// The body, and the room for it and what it unpacks to.
    async fn read_body(
        &self,
        request: &HttpRequest,
        mut body: Payload,
        bytes_max: usize,
    ) -> Result<(Bytes, tokio::sync::OwnedSemaphorePermit), Refusal> {
        let too_large = || Refusal::TooLarge(format!("a body has at most {bytes_max} bytes here"));
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > bytes_max as u64) {
            return Err(too_large());
        }
        let expected = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(bytes_max);
        let room = self.door.room_for(expected).await?;
        let until = Instant::now() + BODY_WAIT_MAX;
        let mut read = BytesMut::new();
        loop {
            match timeout_at(until, body.next()).await {
                Ok(Some(Ok(part))) if read.len() + part.len() <= bytes_max => {
                    read.extend_from_slice(&part);
                }
                Ok(Some(Ok(_))) => return Err(too_large()),
                Ok(Some(Err(fault))) => return Err(unreadable(&fault)),
                Ok(None) => return Ok((read.freeze(), room)),
                Err(_) => return Err(Refusal::Slow),
            }
        }
    }
}

fn refused_answer(request: &HttpRequest, refused: &Refusal) -> HttpResponse {
    let attempt = request.headers().get(RETRY_ATTEMPT).map(header::HeaderValue::as_bytes);
    let mut answer = refusal(refused.status(), refused.to_string());
    if let Some(seconds) = refused.retry_after(attempt) {
        answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    if refused.status() == StatusCode::UNAUTHORIZED {
        let scheme = header::HeaderValue::from_static("Basic realm=\"starling\"");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    }
    answer
}

impl Form {
    fn of(request: &HttpRequest) -> Result<Self, Refusal> {
        let text = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
        let unsupported = |what: &str, found: &str| {
            let found: String = found.chars().take(100).collect();
            Refusal::Unsupported(format!("`{what}: {found}` is not supported"))
        };
        // Senders of the first hour said nothing.
        let content_type = text(header::CONTENT_TYPE).unwrap_or(CONTENT_TYPE);
        let version =
            version_of(content_type).ok_or_else(|| unsupported("Content-Type", content_type))?;
        let encoding = text(header::CONTENT_ENCODING);
        let packing = Packing::of(encoding)
            .ok_or_else(|| unsupported("Content-Encoding", encoding.unwrap_or_default()))?;
        Ok(Self { version, packing })
    }
}

/// `application/x-protobuf`, with the message that it is as its parameter `proto`.
fn version_of(content_type: &str) -> Option<WriteVersion> {
    let mut parts = content_type.split(';').map(str::trim);
    let mime = parts.next().unwrap_or_default();
    if !mime.eq_ignore_ascii_case(CONTENT_TYPE) {
        return None;
    }
    let mut version = WriteVersion::V1;
    for parameter in parts {
        let (name, value) = parameter.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("proto") {
            version = match value.trim().trim_matches('"') {
                V1_MESSAGE => WriteVersion::V1,
                V2_MESSAGE => WriteVersion::V2,
                _ => return None,
            };
        }
    }
    Some(version)
}

fn bytes(max: u64) -> usize {
    usize::try_from(max).unwrap_or(usize::MAX)
}

fn unreadable(fault: &PayloadError) -> Refusal {
    Refusal::Malformed(format!("the body can't be read: {fault}"))
}

impl Taken {
    fn answer(self) -> HttpResponse {
        let mut answer = match self.fault {
            None => HttpResponse::NoContent().finish(),
            Some(fault) if self.is_over_limit => refusal(StatusCode::TOO_MANY_REQUESTS, fault),
            Some(fault) => refusal(StatusCode::BAD_REQUEST, fault),
        };
        if self.is_over_limit {
            let seconds = SERIES_WAIT.as_secs().into();
            answer.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        if self.forwarded > 0 {
            let name = header::HeaderName::from_static(FORWARDED);
            answer.headers_mut().insert(name, self.forwarded.into());
        }
        if self.version == WriteVersion::V2 {
            for (kind, count) in [
                ("samples", self.samples),
                ("histograms", self.histograms),
                ("exemplars", self.exemplars),
            ] {
                let name = format!("x-prometheus-remote-write-{kind}-written");
                let name = header::HeaderName::try_from(name).expect("it is lower case");
                answer.headers_mut().insert(name, count.into());
            }
        }
        answer
    }
}

fn refusal(status: StatusCode, why: impl Into<String>) -> HttpResponse {
    let mut why = why.into();
    why.push('\n');
    HttpResponse::build(status).content_type("text/plain; charset=utf-8").body(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_tells_the_version() {
        for (content_type, expected) in [
            ("application/x-protobuf", Some(WriteVersion::V1)),
            ("application/x-protobuf;proto=prometheus.WriteRequest", Some(WriteVersion::V1)),
            (
                "Application/X-Protobuf; charset=utf-8; proto=\"io.prometheus.write.v2.Request\"",
                Some(WriteVersion::V2),
            ),
            ("application/x-protobuf;proto=no.such.Message", None),
            ("application/x-protobuf; what", None),
            ("application/json", None),
            ("image/png", None),
        ] {
            assert_eq!(version_of(content_type), expected, "{content_type}");
        }
    }
}
