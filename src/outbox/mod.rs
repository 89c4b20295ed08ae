//! What must leave: batches come in from the packer, lie in ordered lanes and on disk, and go out.
//! One loop a destination, none waits for another.

mod body;
mod cursors;
mod destination;
pub mod dialect;
mod disk;
mod draft;
mod entries;
mod entry;
mod families;
pub mod frame;
mod fresh;
mod held;
mod hold;
mod keeping;
mod lane;
mod legs;
mod line_work;
pub mod lines;
mod log;
mod loss;
mod meters;
pub mod packer;
mod pile;
mod placing;
pub mod press;
mod progress;
mod push;
mod queue;
mod recovery;
mod reporter;
mod requests;
mod room;
mod sender;
mod sent;
mod settings;
mod shaping;
mod steady;
pub mod verdict;
mod view;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use prometheus_client::registry::Registry;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, spawn_blocking},
};
use tracing::{info, warn};

pub use crate::outbox::{
    families::Families,
    packer::{Packed, Packer},
    press::{KeptSeries, Press, PushOrigin},
    push::{NotKept, RecordsOf, UnderWay},
    shaping::{SeriesBlobs, SeriesRun, Shaping, Shapings},
    view::{DiskView, LaneState, LaneView, QueueView},
};
use crate::{
    config::{Destination, OutboxSettings},
    model::member::NodeId,
    outbox::{
        destination::{Appended, DestinationLoop, Left, Order, Setup},
        lines::LineOrder,
        log::{Log, LogSettings},
        meters::Meters,
        push::Pushed,
        recovery::Recovery,
        room::Room,
        settings::{SEGMENT_BYTES_MAX, Settings},
    },
    runtime::{lease::Lease, stop::Stop, tasks},
};

/// Scrapes on their way to a destination's loop; the next one waits.
const APPENDS_MAX: usize = 64;
/// Pushes on their way to a destination's loop; the next one waits.
const PUSHES_MAX: usize = 256;
const ORDERS_MAX: usize = 4;
/// Orders to lines on their way to a destination's loop; who gives more waits.
const LINE_ORDERS_MAX: usize = 64;
/// Of a directory's name; a longer destination's name ends in a hash.
const NAME_BYTES_MAX: usize = 128;

/// Appends, and looks in.
#[derive(Clone)]
pub struct Handle {
    me: NodeId,
    shapings: watch::Receiver<Arc<Shapings>>,
    routes: watch::Receiver<Arc<Vec<Route>>>,
    orders: mpsc::Sender<Apply>,
    families: Families,
}

/// The way to one destination's loop.
#[derive(Clone)]
struct Route {
    name: Arc<str>,
    fleet_name: Arc<str>,
    appends: mpsc::Sender<Appended>,
    pushes: mpsc::Sender<Pushed>,
    room: Arc<Room>,
    lines: mpsc::Sender<Vec<LineOrder>>,
    view: watch::Receiver<Arc<QueueView>>,
}

struct Apply {
    settings: OutboxSettings,
    destinations: Vec<Arc<Destination>>,
    answer: oneshot::Sender<Result<(), String>>,
}

/// The member that an outbox belongs to.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it makes is named after it.
    pub me: NodeId,
    /// What is divided leaves while it is valid.
    pub lease: Lease,
}

impl Node {
    /// One that is alone.
    pub fn alone(me: NodeId) -> Self {
        Self { me, lease: Lease::endless() }
    }
}

/// The part: owns the destinations' loops.
pub struct Outbox {
    opening: Opening,
    shapings: watch::Sender<Arc<Shapings>>,
    routes: watch::Sender<Arc<Vec<Route>>>,
    orders: mpsc::Receiver<Apply>,
    /// Opened, not running yet.
    opened: Vec<Opened>,
    running: BTreeMap<Arc<str>, Running>,
}

/// What every destination's queue is opened with.
#[derive(Clone)]
struct Opening {
    node: Node,
    settings: OutboxSettings,
    directory: PathBuf,
    meters: Meters,
    families: Families,
}

struct Opened {
    destination: Arc<Destination>,
    route: Route,
    orders: mpsc::Sender<Order>,
    part: DestinationLoop,
}

struct Running {
    destination: Arc<Destination>,
    route: Route,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<Option<Left>>,
}

impl Handle {
    /// How series are to be encoded. When it changes, encode anew.
    pub fn shapings(&self) -> watch::Receiver<Arc<Shapings>> {
        self.shapings.clone()
    }

    /// What targets say of their metrics goes here.
    pub fn families(&self) -> &Families {
        &self.families
    }

    /// Hands a scrape to every destination that it is for. Waits while one of them takes nothing,
    /// but not before all the others have theirs. Kept within a second, whatever happens then.
    pub async fn append(&self, packed: Packed) {
        let routes = Arc::clone(&self.routes.borrow());
        let mut full = Vec::new();
        for route in routes.iter() {
            let batches = packed.batches_for(&route.fleet_name);
            if batches.is_empty() {
                continue;
            }
            match route.appends.try_send(batches) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(batches)) => full.push((route, batches)),
                Err(mpsc::error::TrySendError::Closed(_)) => route.tell_closed(),
            }
        }
        for (route, batches) in full {
            if route.appends.send(batches).await.is_err() {
                route.tell_closed();
            }
        }
    }

    /// The destinations by what the fleet calls them, as in all that is said of lines; in the order
    /// of the configuration.
    pub fn destinations(&self) -> Vec<Arc<str>> {
        self.routes.borrow().iter().map(|route| Arc::clone(&route.fleet_name)).collect()
    }

    /// Resolves when there are other destinations than before; for ever where the outbox has ended.
    pub async fn destinations_changed(&mut self) {
        if self.routes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Tells the destination of that name about its lines; `false` where there is none.
    pub async fn order(&self, destination: &str, orders: Vec<LineOrder>) -> bool {
        let routes = Arc::clone(&self.routes.borrow());
        let Some(route) = routes.iter().find(|route| *route.fleet_name == *destination) else {
            return false;
        };
        route.lines.send(orders).await.is_ok()
    }

    /// Whether the destination takes what it is sent: its last answer was no failure.
    pub fn accepts(&self, destination: &str) -> bool {
        let routes = self.routes.borrow();
        let route = routes.iter().find(|route| *route.fleet_name == *destination);
        route.is_some_and(|route| route.view.borrow().accepts)
    }

    /// Whole or not at all: on an error everything runs on as before.
    pub async fn apply(
        &self,
        settings: OutboxSettings,
        destinations: Vec<Arc<Destination>>,
    ) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let order = Apply { settings, destinations, answer };
        let ended = || "the outbox has ended".to_owned();
        self.orders.send(order).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// In the order of the configuration.
    pub fn queues(&self) -> Vec<Arc<QueueView>> {
        self.routes.borrow().iter().map(|route| Arc::clone(&route.view.borrow())).collect()
    }
}

impl Route {
    fn tell_closed(&self) {
        warn!(destination = %self.name, "a scrape came too late to be queued");
    }
}

impl Outbox {
    /// Opens each destination's queue below `directory`. Blocking, as the agent starts.
    pub fn new(
        node: Node,
        settings: &OutboxSettings,
        destinations: &[Arc<Destination>],
        directory: &Path,
        registry: &mut Registry,
    ) -> Result<(Handle, Self), String> {
        let families = Families::default();
        let opening = Opening {
            node,
            settings: settings.clone(),
            directory: directory.to_owned(),
            meters: Meters::new(registry),
            families: families.clone(),
        };
        let mut opened = Vec::new();
        for destination in destinations {
            opened.push(opening.open(destination)?);
        }
        warn_of_strays(directory, destinations);
        let (shapings, shapings_seen) = watch::channel(Arc::new(Shapings::of(destinations)));
        let all = opened.iter().map(|opened| opened.route.clone()).collect();
        let (routes, routes_seen) = watch::channel(Arc::new(all));
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        let handle = Handle {
            me: opening.node.me,
            shapings: shapings_seen,
            routes: routes_seen,
            orders: sender,
            families,
        };
        let part = Self { opening, shapings, routes, orders, opened, running: BTreeMap::new() };
        Ok((handle, part))
    }

    /// Returns when every destination has written what it holds, and sent what it could.
    pub async fn run(mut self, stop: Stop) {
        // The loops end by this one, so that an order that is being carried out is finished first.
        let end = stop.apart();
        for opened in std::mem::take(&mut self.opened) {
            self.start(opened, &end);
        }
        loop {
            tokio::select! {
                () = stop.raised() => break,
                Some(order) = self.orders.recv() => {
                    let applied = self.apply(order.settings, order.destinations, &end);
                    // Queues are opened, and those of former destinations closed.
                    let outcome = stop.during(applied).await;
                    // Who ordered may have gone away meanwhile.
                    let _ = order.answer.send(outcome);
                }
            }
        }
        end.raise();
        for running in std::mem::take(&mut self.running).into_values() {
            // A panic was told where it happened.
            let _ = running.task.await;
        }
    }

    async fn apply(
        &mut self,
        settings: OutboxSettings,
        destinations: Vec<Arc<Destination>>,
        end: &Stop,
    ) -> Result<(), String> {
        let new: Vec<Arc<Destination>> =
            destinations.iter().filter(|d| !self.running.contains_key(&d.name)).cloned().collect();
        // The only step that can fail comes first.
        let opening = Opening { settings: settings.clone(), ..self.opening.clone() };
        let opened = opening.open_all(new).await?;
        if settings.lanes != self.opening.settings.lanes {
            info!(lanes = settings.lanes, "a new number of lanes takes effect at the next start");
        }
        for destination in &destinations {
            let Some(running) = self.running.get_mut(&destination.name) else { continue };
            if settings == self.opening.settings && *destination == running.destination {
                continue;
            }
            running.destination = Arc::clone(destination);
            let order =
                Order::Change(Arc::clone(destination), Settings::of(&settings, destination));
            // One that has ended by a panic has been told of.
            let _ = running.orders.send(order).await;
        }
        for opened in opened {
            self.start(opened, end);
        }
        self.opening.settings = settings;
        let route = |destination: &Arc<Destination>| self.running[&destination.name].route.clone();
        self.routes.send_replace(Arc::new(destinations.iter().map(route).collect()));
        self.shapings.send_if_modified(|old| {
            let new = Shapings::of(&destinations);
            let changed = !new.is_same_as(old);
            if changed {
                *old = Arc::new(new);
            }
            changed
        });
        self.retire_all_but(&destinations).await;
        Ok(())
    }

    async fn retire_all_but(&mut self, destinations: &[Arc<Destination>]) {
        let stays = |name: &Arc<str>| destinations.iter().any(|d| d.name == *name);
        let gone: Vec<Arc<str>> =
            self.running.keys().filter(|name| !stays(name)).cloned().collect();
        for name in gone {
            let Some(running) = self.running.remove(&name) else { continue };
            let _ = running.orders.send(Order::Retire).await;
            drop(running.route);
            if let Ok(Some(left)) = running.task.await
                && left.samples > 0
            {
                warn!(
                    destination = %name,
                    samples = left.samples,
                    directory = %directory_of(&self.opening.directory, &name).display(),
                    "destination removed, its unsent samples stay on disk until one of that name is configured"
                );
            }
            self.opening.meters.of(&name).retire();
        }
    }

    fn start(&mut self, opened: Opened, end: &Stop) {
        let Opened { destination, route, orders, part } = opened;
        let name = Arc::clone(&destination.name);
        let task = tasks::spawn("outbox", part.run(end.part(&format!("outbox of {name}"))));
        self.running.insert(name, Running { destination, route, orders, task });
    }
}

impl Opening {
    async fn open_all(self, destinations: Vec<Arc<Destination>>) -> Result<Vec<Opened>, String> {
        let opening = spawn_blocking(move || destinations.iter().map(|d| self.open(d)).collect());
        opening.await.map_err(|panic| format!("opening the outbox failed: {panic}"))?
    }

    fn open(&self, destination: &Arc<Destination>) -> Result<Opened, String> {
        let name = Arc::clone(&destination.name);
        let settings = Settings::of(&self.settings, destination);
        let (log, recovery) = Log::open(LogSettings {
            directory: directory_of(&self.directory, &name),
            segment_bytes_max: SEGMENT_BYTES_MAX,
            free_bytes_min: settings.free_bytes_min,
        })?;
        let meters = self.meters.of(&name);
        tell_recovery(&name, &recovery);
        meters.recovered(&recovery);
        let (appends, appended) = mpsc::channel(APPENDS_MAX);
        let (pushes, coming) = mpsc::channel(PUSHES_MAX);
        let room = Arc::new(Room::default());
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let (lines, line_orders) = mpsc::channel(LINE_ORDERS_MAX);
        let (view, seen) = watch::channel(Arc::default());
        let part = DestinationLoop::new(Setup {
            me: self.node.me,
            lease: self.node.lease.clone(),
            families: self.families.clone(),
            destination: Arc::clone(destination),
            settings,
            log,
            recovery,
            appends: appended,
            pushes: coming,
            room: Arc::clone(&room),
            orders: ordered,
            lines: line_orders,
            view,
            meters,
        });
        let fleet_name = Arc::clone(&destination.fleet_name);
        let route = Route { name, fleet_name, appends, pushes, room, lines, view: seen };
        Ok(Opened { destination: Arc::clone(destination), route, orders, part })
    }
}

fn tell_recovery(name: &str, recovery: &Recovery) {
    let records = recovery.unsent.len();
    if records > 0 {
        let samples: u64 =
            recovery.unsent.iter().map(|unsent| u64::from(unsent.entry.samples)).sum();
        info!(destination = %name, records, samples, "unsent samples found, sending goes on there");
    }
    if recovery.torn_bytes > 0 {
        let (bytes, segments) = (recovery.torn_bytes, recovery.torn_segments);
        warn!(destination = %name, bytes, segments, "a torn tail was cut off the outbox");
    }
    if recovery.corrupt_places > 0 {
        let (bytes, places) = (recovery.corrupt_bytes, recovery.corrupt_places);
        tracing::error!(destination = %name, bytes, places, "damaged records of the outbox are lost");
    }
    for reason in &recovery.unreadable {
        tracing::error!(destination = %name, error = reason, "a segment of the outbox can't be read");
    }
    if recovery.cursors_damaged {
        warn!(destination = %name, "the outbox's positions are damaged, samples may be sent again");
    }
}

/// Destinations that are configured no more may have left something.
fn warn_of_strays(directory: &Path, destinations: &[Arc<Destination>]) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let known: Vec<PathBuf> =
        destinations.iter().map(|d| directory_of(directory, &d.name)).collect();
    for path in entries.flatten().map(|entry| entry.path()) {
        if !known.contains(&path) && log::holds_segments(&path) {
            warn!(directory = %path.display(), "unsent samples of a destination that is not configured");
        }
    }
}

/// Readable, and different for different names.
fn directory_of(directory: &Path, name: &str) -> PathBuf {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let escaped = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") }
    };
    let mut folder: String = name.bytes().map(escaped).collect();
    if folder.len() > NAME_BYTES_MAX {
        let hash = xxhash_rust::xxh3::xxh3_64(name.as_bytes());
        folder.truncate(NAME_BYTES_MAX);
        folder = format!("{folder}%{hash:016x}");
    }
    directory.join(folder)
}

#[cfg(test)]
mod tests;
