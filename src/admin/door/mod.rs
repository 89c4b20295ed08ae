//! Who may come in: every request passes here before anything reads it, and every answer on its way
//! out. The rules are beside this file and decide; here they are asked in turn.

mod asked;
mod rate;
mod rules;

use std::{
    any::Any,
    convert::Infallible,
    future::pending,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::{
    Error, HttpMessage, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{Extensions, Payload, ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
        uri::Authority,
    },
    middleware::Next,
    rt::net::TcpStream,
    web::{Bytes, Data},
};
use futures_util::StreamExt;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tracing::warn;

use crate::{
    admin::{
        Meters, api,
        door::{
            asked::{Asked, Names, Refusal},
            rate::{Rate, Table},
            rules::{Certificate, Rules, Visitor, role_name},
        },
    },
    config::Config,
    runtime::{
        audit,
        config_state::ConfigState,
        credentials::Shown,
        host,
        http::{CertificateNames, ServerTls},
        passwords::{Outcome, Passwords},
    },
};

/// Wrong credentials of one address: some typing errors, then as slow as a person. Who is over it is
/// not even looked at, or the answer would tell a right guess.
const FAILURES: Rate = Rate { per_second: 1, burst: 10 };
/// A body that is not there by then is not waited for.
const BODY_WAIT_MAX: Duration = Duration::from_secs(10);
const PATH_SHOWN_BYTES_MAX: usize = 200;

/// One for all threads that answer.
pub(super) struct Door {
    config: watch::Receiver<Arc<ConfigState>>,
    rules: Mutex<InForce>,
    tls: Option<ServerTls>,
    own_names: Vec<String>,
    is_local: bool,
    clients: Mutex<Clients>,
    passwords: Passwords,
    meters: Meters,
    /// What the buckets count time from.
    opened: Instant,
}

struct InForce {
    config: Arc<Config>,
    rules: Arc<Rules>,
}

#[derive(Default)]
struct Clients {
    asking: Table,
    failing: Table,
}

/// A client's certificate, as it was shown when it connected.
struct Connected {
    certificate: Option<Certificate>,
}

impl Door {
    /// # Errors
    /// Which certificate or key can't be used.
    pub(super) fn new(
        config: watch::Receiver<Arc<ConfigState>>,
        addresses: &[SocketAddr],
        hostname: &str,
        meters: Meters,
    ) -> Result<Self, String> {
        let loaded = Arc::clone(&config.borrow().config);
        let tls = loaded.web.tls.as_ref().map(ServerTls::new).transpose()?;
        let rules = Arc::new(Rules::of(&loaded));
        let hostname = hostname.to_ascii_lowercase();
        let short = hostname.split('.').next().unwrap_or_default().to_owned();
        let door = Self {
            config,
            rules: Mutex::new(InForce { config: loaded, rules }),
            tls,
            own_names: vec![hostname, short],
            is_local: addresses.iter().all(|address| address.ip().to_canonical().is_loopback()),
            clients: Mutex::default(),
            passwords: Passwords::new()?,
            meters,
            opened: Instant::now(),
        };
        door.warn_if_open(&door.rules());
        Ok(door)
    }

    /// `None`: plain HTTP is spoken.
    ///
    /// # Errors
    /// TLS settings that leave nothing to speak.
    pub(super) fn tls(&self) -> Result<Option<rustls::ServerConfig>, String> {
        self.tls.as_ref().map(ServerTls::config).transpose()
    }

    /// Brings each new configuration into force, also while nobody asks.
    pub(super) async fn follow(&self) -> Infallible {
        let mut config = self.config.clone();
        while config.changed().await.is_ok() {
            self.rules();
        }
        pending().await
    }

    /// Those of the configuration that is in force now, from the moment that a reload is answered.
    fn rules(&self) -> Arc<Rules> {
        let config = Arc::clone(&self.config.borrow().config);
        let mut in_force = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&in_force.config, &config) {
            let rules = Arc::new(Rules::of(&config));
            if let (Some(tls), Some(settings)) = (&self.tls, &config.web.tls) {
                tls.follow(settings);
            }
            self.warn_if_open(&rules);
            *in_force = InForce { config, rules };
        }
        Arc::clone(&in_force.rules)
    }

    fn warn_if_open(&self, rules: &Rules) {
        if rules.are_open() && !self.is_local {
            warn!("{OPEN_TO_ALL}");
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self, rules: &Rules) -> Names {
        Names {
            own: self.own_names.clone(),
            configured: rules.hosts.clone(),
            is_local: self.is_local,
        }
    }

    /// Everything that can be said of a request before its body is read.
    async fn judge(&self, visit: &Visit<'_>, rules: &Rules) -> Result<Visitor, Answer> {
        if let rate::Verdict::Wait { seconds } =
            self.clients().asking.take(visit.from, rules.rate, self.now_ms())
        {
            return Err(too_many(seconds, "requests"));
        }
        let names = self.names(rules);
        asked::check_request(&visit.asked, &names).map_err(refused)?;
        let visitor = self.identify(visit, rules).await?;
        if visit.asked.is_order && visitor.role == crate::config::Role::ReadOnly {
            let detail = format!("{} may look and not give orders", visitor.who);
            return Err(Answer { visitor: Some(visitor), ..refused((403, detail)) });
        }
        match asked::check_order(&visit.asked, &names) {
            Ok(()) => Ok(visitor),
            Err(refusal) => Err(Answer { visitor: Some(visitor), ..refused(refusal) }),
        }
    }

    async fn identify(&self, visit: &Visit<'_>, rules: &Rules) -> Result<Visitor, Answer> {
        let certificate = visit.certificate.as_ref();
        let draw = |name: &str, count| self.passwords.draw(name, count);
        if rules.are_open() || visit.shown == Shown::Nothing {
            return match rules.judge(&visit.shown, certificate, draw) {
                rules::Verdict::Enter(visitor) => Ok(visitor),
                rules::Verdict::Ask { .. } | rules::Verdict::Missing | rules::Verdict::Wrong => {
                    Err(unauthorized("credentials are needed: a token, or a user and a password"))
                }
            };
        }
        self.may_try(visit, look).map_err(tried_enough)?;
        match rules.judge(&visit.shown, certificate, draw) {
            rules::Verdict::Enter(visitor) => Ok(visitor),
            rules::Verdict::Missing | rules::Verdict::Wrong => {
                self.may_try(visit, take).map_err(tried_enough)?;
                Err(wrong(visit))
            }
            rules::Verdict::Ask { hash, user } => self.ask(visit, hash, user).await,
        }
    }

    async fn ask(
        &self,
        visit: &Visit<'_>,
        hash: &str,
        user: Option<Visitor>,
    ) -> Result<Visitor, Answer> {
        let (name, password) = match &visit.shown {
            Shown::Basic { user, password } => (user.as_str(), password.as_str()),
            Shown::Nothing | Shown::Bearer(_) | Shown::Unreadable => ("", ""),
        };
        if let Some(visitor) = &user
            && self.passwords.remembers(name, password, hash)
        {
            return Ok(visitor.clone());
        }
        // Counted before: who goes away before the answer has tried all the same.
        self.may_try(visit, take).map_err(tried_enough)?;
        let outcome = self.passwords.check(name, password, hash).await;
        match (outcome, user) {
            (Outcome::Right, Some(visitor)) => {
                self.clients().failing.give_back(visit.from, FAILURES);
                Ok(visitor)
            }
            (Outcome::Right | Outcome::Wrong, _) => Err(wrong(visit)),
            (Outcome::Busy, _) => {
                self.clients().failing.give_back(visit.from, FAILURES);
                Err(too_many(1, "passwords to check"))
            }
        }
    }

    /// `ask` looks at the failures of this client, or adds one. The error is how long it waits.
    fn may_try(
        &self,
        visit: &Visit<'_>,
        ask: impl FnOnce(&mut Table, IpAddr, u64) -> rate::Verdict,
    ) -> Result<(), u64> {
        match ask(&mut self.clients().failing, visit.from, self.now_ms()) {
            rate::Verdict::Pass => Ok(()),
            rate::Verdict::Wait { seconds } => Err(seconds),
        }
    }
}

fn look(failing: &mut Table, from: IpAddr, now_ms: u64) -> rate::Verdict {
    failing.look(from, FAILURES, now_ms)
}

fn take(failing: &mut Table, from: IpAddr, now_ms: u64) -> rate::Verdict {
    failing.take(from, FAILURES, now_ms)
}

const OPEN_TO_ALL: &str = "the admin API listens on more than this host and asks for no credentials: whoever reaches it can read everything and give orders; set `tokens` in `admin`, or users or client certificates in --web.config.file";

/// `Some`: a warning, where anyone who reaches `listen_address` over the network may do everything.
pub fn open_to_all(config: &Config, listen_address: &str) -> Option<String> {
    let is_local = host::is_local(listen_address);
    (!is_local && Rules::of(config).are_open()).then(|| OPEN_TO_ALL.to_owned())
}

/// Called for each new connection: what of it the requests need to know.
pub(super) fn connected(io: &dyn Any, extensions: &mut Extensions) {
    let Some(stream) = io.downcast_ref::<TlsStream<TcpStream>>() else { return };
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().and_then(<[_]>::first);
    let certificate = shown.map(|shown| Certificate { names: CertificateNames::of(shown).dns });
    extensions.insert(Connected { certificate });
}

/// Who asks, from where, for what: as far as the head of the request says it.
struct Visit<'a> {
    from: IpAddr,
    path: &'a str,
    asked: Asked<'a>,
    shown: Shown,
    certificate: Option<Certificate>,
}

/// What is answered instead.
struct Answer {
    response: HttpResponse,
    /// Who was refused, where that is known.
    visitor: Option<Visitor>,
    /// No line in the log: it would let anybody fill the disk.
    is_quiet: bool,
}

/// Around every request.
pub(super) async fn enter(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let door = request.app_data::<Data<Door>>().cloned();
    let door = door.expect("the server was made with a door");
    let rules = door.rules();
    let order = Order::of(&request);
    let judged = door.judge(&visit(&request, order.from), &rules).await;
    let judged = match judged {
        Ok(visitor) if order.is_told => match take_body(&mut request).await {
            Ok(()) => Ok(visitor),
            Err(refusal) => Err(Answer { visitor: Some(visitor), ..refused(refusal) }),
        },
        judged => judged,
    };
    let outcome = match judged {
        Ok(visitor) => {
            let outcome = next.call(request).await.map(ServiceResponse::map_into_boxed_body);
            let status = match &outcome {
                Ok(answer) => answer.status(),
                Err(error) => error.as_response_error().status_code(),
            };
            order.tell(Some(&visitor), status);
            outcome
        }
        Err(Answer { response, visitor, is_quiet }) => {
            door.meters.refused(response.status().as_u16(), 1);
            if !is_quiet {
                order.tell(visitor.as_ref(), response.status());
            }
            Ok(request.into_response(response))
        }
    };
    let mut answer = outcome?;
    dress(answer.headers_mut(), &rules);
    Ok(answer)
}

/// What is told of an order, kept apart from the request: whoever holds another handle to that keeps
/// it from being routed.
struct Order {
    is_told: bool,
    method: Method,
    path: String,
    from: IpAddr,
}

impl Order {
    fn of(request: &ServiceRequest) -> Self {
        let is_told = is_order(request.method());
        let path: String = if is_told {
            request.path().chars().take(PATH_SHOWN_BYTES_MAX).collect()
        } else {
            String::new()
        };
        // Always known of a TCP connection.
        let from = request.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip());
        Self { is_told, method: request.method().clone(), path, from }
    }

    /// One line for each order, whatever became of it.
    fn tell(&self, visitor: Option<&Visitor>, status: StatusCode) {
        if !self.is_told {
            return;
        }
        audit::asked(audit::Asked {
            method: self.method.as_str(),
            path: &self.path,
            who: visitor.map_or("unknown", |visitor| &visitor.who),
            role: visitor.map_or("none", |visitor| role_name(visitor.role)),
            from: &self.from.to_string(),
            status: status.as_u16(),
        });
    }
}

fn is_order(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn visit(request: &ServiceRequest, from: IpAddr) -> Visit<'_> {
    let headers = request.headers();
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()).unwrap_or(0);
    let head: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let asked = Asked {
        is_order: is_order(request.method()),
        host: request.uri().authority().map(Authority::as_str).or_else(|| text(header::HOST)),
        // One that is no text is foreign.
        origin: headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("")),
        fetch_site: text(HeaderName::from_static("sec-fetch-site")),
        content_type: text(header::CONTENT_TYPE),
        has_body: length > 0 || headers.contains_key(header::TRANSFER_ENCODING),
        body_bytes: length,
        head_bytes: head + request.uri().path().len() + request.query_string().len(),
    };
    let certificate = request.conn_data::<Connected>().and_then(|known| known.certificate.clone());
    let shown = Shown::read(headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes));
    Visit { from, path: request.path(), asked, shown, certificate }
}

/// Reads the body of an order as far as it may go, so that no handler has to bound it.
async fn take_body(request: &mut ServiceRequest) -> Result<(), Refusal> {
    let mut payload = request.take_payload();
    let reading = async {
        let mut body: Vec<u8> = Vec::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| (400, "the body could not be read".to_owned()))?;
            if body.len() + chunk.len() > asked::BODY_BYTES_MAX {
                return Err(asked::too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    let Ok(body) = timeout(BODY_WAIT_MAX, reading).await else {
        let seconds = BODY_WAIT_MAX.as_secs();
        return Err((408, format!("the body was not there within {seconds} s")));
    };
    request.set_payload(Payload::from(Bytes::from(body?)));
    Ok(())
}

/// The headers of every answer, whoever made it.
fn dress(headers: &mut HeaderMap, rules: &Rules) {
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    if !headers.contains_key(header::CACHE_CONTROL) {
        // What has a tag may be kept by who asks each time whether it still holds.
        let has_tag = headers.contains_key(header::ETAG);
        let value = HeaderValue::from_static(if has_tag { "no-cache" } else { "no-store" });
        headers.insert(header::CACHE_CONTROL, value);
    }
    for (name, value) in &rules.headers {
        let name = HeaderName::try_from(name.as_str());
        let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value.as_str())) else { continue };
        if name == header::CONTENT_SECURITY_POLICY {
            // Beside the page's own: a browser obeys both.
            headers.append(name, value);
        } else {
            headers.insert(name, value);
        }
    }
}

fn refused((status, detail): Refusal) -> Answer {
    Answer { response: api::problem(status, &detail), visitor: None, is_quiet: false }
}

/// Not the name that was typed: it may be a password in the wrong field.
fn wrong(visit: &Visit<'_>) -> Answer {
    warn!(from = %visit.from, path = visit.path, "wrong credentials for the admin API");
    unauthorized("these credentials are not known")
}

fn unauthorized(detail: &str) -> Answer {
    let mut answer = refused((401, detail.to_owned()));
    // A browser asks its user then.
    let ask = HeaderValue::from_static(r#"Basic realm="starling""#);
    answer.response.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
    answer
}

fn tried_enough(seconds: u64) -> Answer {
    too_many(seconds, "wrong credentials")
}

fn too_many(seconds: u64, what: &str) -> Answer {
    let detail = format!("too many {what}: come again in {seconds} s");
    let mut answer = Answer { is_quiet: true, ..refused((429, detail)) };
    answer.response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    answer
}
