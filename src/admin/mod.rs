//! The window: an HTTP server that shows what the parts publish and hands orders on. Nothing here
//! decides; nothing elsewhere knows HTTP servers or JSON.

mod api;
mod door;
mod listen;
mod listing;
mod meters;
mod pieces;
mod selector;
mod view;
mod web;

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use actix_web::{
    App, Error, HttpServer,
    body::MessageBody,
    dev::{Server, ServiceRequest, ServiceResponse},
    error::InternalError,
    middleware::{Compress, Next, from_fn},
    web::Data,
};
use futures_util::FutureExt;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::{error, info};

pub use crate::admin::{door::open_to_all, listen::Listening, meters::Meters};
use crate::{
    admin::door::Door,
    chronicle,
    discovery::{Snapshot, provider::ProviderState},
    fleet::Status,
    history,
    model::member::{NodeId, Roster},
    outbox,
    ownership::{self, view::View},
    runtime::{
        clock::FleetTime,
        config_state::{ConfigState, ReloadOrder},
        host,
        stop::Stop,
        tasks,
    },
    scrape, survey,
};

/// Threads that answer. One that builds a long list leaves another for `/-/ready`.
const WORKERS: usize = 2;
/// Of all clients; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// For the head of a request; after it the connection is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// By then a connection that was accepted is with the thread that answers it; a thread that is told to
/// end throws away what reaches it later.
const TAKEN: Duration = Duration::from_millis(50);
/// What is answered when the agent stops may take so long, then it is cut off.
const SHUTDOWN_SECONDS_MAX: u64 = 5;

/// What is shown, and who takes orders.
#[derive(Clone)]
pub struct Sources {
    pub config: watch::Receiver<Arc<ConfigState>>,
    pub reload: mpsc::Sender<ReloadOrder>,
    pub targets: watch::Receiver<Arc<Snapshot>>,
    pub providers: watch::Receiver<Arc<[ProviderState]>>,
    pub scrape: scrape::Handle,
    pub outbox: outbox::Handle,
    pub fleet: FleetSources,
    /// Takes orders to drain.
    pub division: ownership::Handle,
    pub history: history::Handle,
    pub chronicle: chronicle::Handle,
    /// Asks the members.
    pub survey: survey::Handle,
    pub ready: watch::Receiver<Readiness>,
    pub registry: Arc<Registry>,
    pub meters: Meters,
    pub flags: BTreeMap<String, String>,
    /// When the agent started, in milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// What `POST /-/quit` raises; `None` refuses it.
    pub quit: Option<Stop>,
}

/// What a node knows of its fleet.
#[derive(Clone)]
pub struct FleetSources {
    pub me: NodeId,
    /// Of this node; of a newcomer that is not let in, no roster tells it.
    pub name: String,
    /// The name of the cluster; `None` where none is configured, and the node a fleet of one.
    pub cluster: Option<String>,
    pub roster: watch::Receiver<Arc<Roster>>,
    pub status: watch::Receiver<Arc<Status>>,
    pub ownership: watch::Receiver<Arc<View>>,
    pub time: FleetTime,
}

/// By the time that anyone can ask, the configuration is loaded and the outbox open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Discovery has not had its first round.
    Starting,
    Ready,
    Stopping,
}

pub struct Admin {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    door: Data<Door>,
    sources: Sources,
    /// How many of the threads that answer have begun to.
    answering: watch::Sender<usize>,
}

/// What every handler sees.
struct Window {
    sources: Sources,
    hostname: String,
    /// Where it is itself found, as `host:port`.
    api_address: String,
    /// Those who listen to events; there is room for so many.
    listeners: Arc<Semaphore>,
    /// Ends what would go on for ever.
    stop: Stop,
    /// The runtime of the parts: each thread that answers has one of its own.
    runtime: tokio::runtime::Handle,
}

impl Admin {
    /// # Errors
    /// What of the door's settings can't be used, and why.
    pub fn new(listening: Listening, sources: Sources) -> Result<Self, String> {
        let addresses = listening.addresses().to_vec();
        let meters = sources.meters.clone();
        let door = Door::new(sources.config.clone(), &addresses, &host::name(), meters)?;
        let answering = watch::channel(0).0;
        let listeners = listening.listeners;
        Ok(Self { listeners, addresses, door: Data::new(door), sources, answering })
    }

    /// Resolves when every thread that answers has begun to.
    pub fn answers(&self) -> impl Future<Output = ()> + Send + use<> {
        let (mut answering, all) = (self.answering.subscribe(), WORKERS * self.listeners.len());
        async move {
            if answering.wait_for(|begun| *begun >= all).await.is_err() {
                // It has ended before; nobody shall take that for readiness.
                std::future::pending::<()>().await;
            }
        }
    }

    pub async fn run(self, stop: Stop) {
        let window = Data::new(Window {
            sources: self.sources,
            api_address: self.addresses.first().map(SocketAddr::to_string).unwrap_or_default(),
            hostname: host::name(),
            listeners: api::events::listeners(),
            stop: stop.clone(),
            runtime: tokio::runtime::Handle::current(),
        });
        let door = self.door.into_inner();
        let begin = {
            let (stop, answering) = (stop.clone(), self.answering);
            move || begin(&stop, answering.clone())
        };
        let mut server = match server(self.listeners, window, &door, begin) {
            Ok(server) => server,
            Err(error) => return error!(%error, "the admin API can't be served"),
        };
        let handle = server.handle();
        info!(addresses = ?self.addresses, "the admin API is served");
        let outcome = tokio::select! {
            outcome = &mut server => outcome,
            never = door.follow() => match never {},
            () = stop.raised() => {
                let ending = async {
                    // Who connects from here on waits for the next process, where the port is kept.
                    handle.pause().await;
                    tokio::time::sleep(TAKEN).await;
                    handle.stop(true).await;
                };
                // The server ends the answers under way only while it is polled itself.
                tokio::join!(ending, server).1
            }
        };
        if let Err(error) = outcome {
            error!(%error, "the admin API has ended");
        }
    }
}

/// From now on this thread is watched, by a task on it: connections that are all taken or a full queue
/// say nothing about its life.
fn begin(stop: &Stop, answering: watch::Sender<usize>) {
    let stop = stop.part("api");
    tasks::spawn("api", async move {
        answering.send_modify(|begun| *begun += 1);
        stop.raised().await;
    });
}

/// Serves only while it is polled.
fn server(
    listeners: Vec<TcpListener>,
    window: Data<Window>,
    door: &Arc<Door>,
    begin: impl Fn() + Clone + Send + 'static,
) -> io::Result<Server> {
    let tls = door.tls().map_err(io::Error::other)?;
    let door = Data::from(Arc::clone(door));
    let server = HttpServer::new(move || {
        // On each thread that answers, for each socket.
        begin();
        App::new()
            .app_data(window.clone())
            .app_data(door.clone())
            .wrap(from_fn(guard))
            .wrap(from_fn(door::enter))
            .wrap(Compress::default())
            .configure(api::routes)
    })
    .workers(WORKERS)
    .max_connections(CONNECTIONS_MAX / WORKERS)
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(HEAD_TIMEOUT)
    .client_disconnect_timeout(DISCONNECT_TIMEOUT)
    .shutdown_timeout(SHUTDOWN_SECONDS_MAX)
    .on_connect(door::connected)
    .disable_signals();
    let server = listeners.into_iter().try_fold(server, |server, listener| match &tls {
        Some(tls) => server.listen_rustls_0_23(listener, tls.clone()),
        None => server.listen(listener),
    })?;
    Ok(server.run())
}

/// Around every request: a panic costs that one answer.
async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    // Not the request: whoever holds another handle to it keeps it from being routed.
    let path = request.path().to_owned();
    let Ok(answer) = AssertUnwindSafe(next.call(request)).catch_unwind().await else {
        error!(path, "an admin request panicked");
        let answer = api::problem(500, "a fault of Starling; its log has more");
        return Err(InternalError::from_response("a panic", answer).into());
    };
    answer
}

#[cfg(test)]
mod tests;
