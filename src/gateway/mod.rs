//! The gateway: takes what others push and has each series leave by the one member that owns it, so
//! that any member is as good as any other to push to.
//!
//! The way of a push: `receive` (HTTP) → `door` (who, whose, how much) → `metrics` (series to parcels)
//! → `forward` and `route` (to the owners) → there `intake`, `taking` and `ledger` → the outbox. What
//! comes from other members comes by `mail`. This file starts and stops them.

mod addresses;
mod copier;
mod copies;
mod door;
mod families;
mod forward;
mod intake;
pub mod ledger;
pub mod limits;
mod loads;
mod mail;
mod meters;
pub mod metrics;
pub mod parcel;
pub mod placing;
mod receive;
mod renewal;
pub mod replicas;
pub mod retry_after;
pub mod route;
mod series_map;
pub mod taking;
pub mod visitor;

use std::{net::TcpListener, sync::Arc};

use actix_web::dev::ServerHandle;
use prometheus_client::registry::Registry;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tracing::{error, info, warn};

use crate::{
    config::{Config, MetricsGateway},
    fleet::{
        self,
        channel::{self, Inbox},
    },
    gateway::{
        addresses::{Addresses, Teller},
        copier::Copier,
        copies::Copies,
        door::Door,
        families::Told,
        forward::{Forwarder, Waiting},
        intake::Intake,
        mail::Mail,
        meters::Meters,
        receive::Receiver,
        renewal::Renewal,
    },
    model::{
        member::{NodeId, Roster},
        slot::Slot,
    },
    outbox,
    ownership::{balance::Loads, orders::Report, shares::Shares, view::Owners},
    runtime::{
        clock::FleetTime, config_state::ConfigState, http::ServerTls, lease::Lease, listen,
        stop::Stop, tasks,
    },
};

/// Slots that are to be sealed; who asks for more waits.
pub const SEALS_MAX: usize = 4;

/// What the gateway hangs on.
pub struct Links {
    pub me: NodeId,
    pub time: FleetTime,
    pub lease: Lease,
    pub roster: watch::Receiver<Arc<Roster>>,
    pub status: watch::Receiver<Arc<fleet::Status>>,
    pub owners: watch::Receiver<Arc<Owners>>,
    pub shares: watch::Receiver<Shares>,
    pub config: watch::Receiver<Arc<ConfigState>>,
    pub outbox: outbox::Handle,
    /// `None` for a member that is alone.
    pub peers: Option<(channel::Handle, Inbox)>,
    pub seals: mpsc::Receiver<Vec<Slot>>,
    pub reports: mpsc::Sender<Report>,
    /// Where ownership learns how busy the slots are with what is pushed.
    pub loads: watch::Sender<Arc<Loads>>,
    /// Distinguishes what is answered to this run of the agent from what was to earlier ones.
    pub first_number: u64,
}

/// The part. It takes what other members send also where nothing is pushed to this one.
pub struct Gateway {
    config: watch::Receiver<Arc<ConfigState>>,
    /// Bound as the agent starts, so that an address that is taken is told at once.
    bound: Option<Bound>,
    receiver: Receiver,
    intake: Intake,
    mail: Option<(Mail, Copies)>,
    renewal: Renewal,
    teller: Teller,
}

type Bound = (Arc<MetricsGateway>, Vec<TcpListener>);

/// A server on its way.
struct Serving {
    settings: Arc<MetricsGateway>,
    handle: ServerHandle,
    tls: Option<ServerTls>,
    task: JoinHandle<Option<()>>,
}

impl Gateway {
    /// # Errors
    /// Where it was to listen and can't.
    pub fn new(links: Links, registry: &mut Registry) -> Result<Self, String> {
        let meters = Meters::new(registry);
        let settings = links.config.borrow().config.gateway.metrics.clone();
        let bound = settings.map(|settings| bind(&settings).map(|bound| (settings, bound)));
        let channel = links.peers.as_ref().map(|(channel, _)| channel.clone());
        let waiting = Waiting::new(links.first_number);
        let to_runners_up = Copier::new(copier::Links {
            me: links.me,
            roster: links.roster.clone(),
            time: links.time.clone(),
            channel: channel.clone(),
            waiting: waiting.clone(),
            outbox: links.outbox.clone(),
        });
        let renewal = Renewal {
            config: links.config.clone(),
            outbox: links.outbox.clone(),
            copier: to_runners_up.clone(),
            meters: meters.clone(),
        };
        let (orders, intake) = Intake::new(
            intake::Links {
                time: links.time.clone(),
                lease: links.lease,
                shares: links.shares,
                config: links.config.clone(),
                outbox: links.outbox.clone(),
                channel: channel.clone(),
                seals: links.seals,
                reports: links.reports,
                loads: links.loads,
                copier: to_runners_up,
            },
            meters.clone(),
        );
        let addresses = Addresses::default();
        let teller = Teller {
            me: links.me,
            roster: links.roster.clone(),
            status: links.status,
            config: links.config.clone(),
            channel: channel.clone(),
            addresses: addresses.clone(),
        };
        let mail = links.peers.map(|(channel, inbox)| {
            let addresses = addresses.clone();
            let (copied, part) = Copies::new(links.outbox.clone(), channel.clone());
            let (intake, waiting) = (orders.clone(), waiting.clone());
            (Mail { channel, inbox, intake, copies: copied, waiting, addresses }, part)
        });
        let forwarder = Forwarder {
            me: links.me,
            time: links.time,
            owners: links.owners,
            channel,
            intake: orders,
            waiting,
            meters: meters.clone(),
        };
        let receiver = Receiver {
            config: links.config.clone(),
            forwarder,
            door: Arc::new(Door::new()?),
            told: Arc::new(Told::new(links.outbox.families().clone())),
            roster: links.roster,
            addresses,
            meters,
        };
        let bound = bound.transpose()?;
        Ok(Self { config: links.config, bound, receiver, intake, mail, renewal, teller })
    }

    /// Listens where the configuration says, also when that changes.
    pub async fn run(mut self, stop: Stop) {
        let inner = stop.apart();
        let intake = tasks::spawn("gateway intake", self.intake.run(inner.part("gateway intake")));
        let mail = self.mail.map(|(mail, copies)| {
            let copies = copies.run(inner.part("gateway copies"));
            let mail = mail.run(inner.part("gateway mail"));
            [tasks::spawn("gateway mail", mail), tasks::spawn("gateway copies", copies)]
        });
        let renewal = self.renewal.run(inner.part("gateway renewal"));
        let renewal = tasks::spawn("gateway renewal", renewal);
        let teller = self.teller.run(inner.part("gateway addresses"));
        let teller = tasks::spawn("gateway addresses", teller);
        let mut serving = match self.bound.take() {
            Some((settings, bound)) => serve(&self.receiver, settings, bound),
            None => None,
        };
        self.config.mark_changed();
        while !stop.is_raised() {
            tokio::select! {
                Ok(()) = self.config.changed() => {
                    let wanted = self.config.borrow_and_update().config.gateway.metrics.clone();
                    let changing = change(&self.receiver, serving, wanted);
                    serving = stop.during(changing).await;
                }
                () = stop.raised() => {}
            }
        }
        if let Some(serving) = serving {
            stop.during(serving.end()).await;
        }
        inner.raise();
        for task in mail.into_iter().flatten().chain([intake, renewal, teller]) {
            // A panic was told where it happened.
            let _ = stop.during(task).await;
        }
    }
}

impl Serving {
    /// Answers what is under way, then closes.
    async fn end(self) {
        self.handle.stop(true).await;
        let _ = self.task.await;
    }
}

/// What is served already goes on where only other settings are new.
async fn change(
    receiver: &Receiver,
    serving: Option<Serving>,
    wanted: Option<Arc<MetricsGateway>>,
) -> Option<Serving> {
    let Some(wanted) = wanted else {
        if let Some(serving) = serving {
            info!(address = serving.settings.listen_address, "nothing is pushed here any more");
            serving.end().await;
        }
        return None;
    };
    if let Some(mut serving) = serving {
        if serving.settings.listens_as(&wanted) {
            if let (Some(tls), Some(settings)) = (&serving.tls, &wanted.tls) {
                tls.follow(settings);
            }
            serving.settings = wanted;
            return Some(serving);
        }
        // The new address may be the old one, with or without TLS.
        serving.end().await;
    }
    match bind(&wanted) {
        Ok(bound) => serve(receiver, wanted, bound),
        Err(error) => {
            error!(error, "pushes can't be received until the configuration changes again");
            None
        }
    }
}

fn bind(settings: &MetricsGateway) -> Result<Vec<TcpListener>, String> {
    let listen = &settings.listen_address;
    let failed = |error| format!("`gateway.metrics` can't listen on `{listen}`: {error}");
    listen::bind(&listen::resolve(listen).map_err(failed)?, true).map_err(failed)
}

fn serve(
    receiver: &Receiver,
    settings: Arc<MetricsGateway>,
    bound: Vec<TcpListener>,
) -> Option<Serving> {
    let tls = match settings.tls.as_ref().map(ServerTls::new).transpose() {
        Ok(tls) => tls,
        Err(error) => {
            error!(error, "pushes can't be received");
            return None;
        }
    };
    let addresses: Vec<_> = bound.iter().filter_map(|one| one.local_addr().ok()).collect();
    match receive::server(receiver.clone(), bound, tls.as_ref()) {
        Ok(server) => {
            info!(?addresses, "metrics can be pushed");
            if let Some(warning) = visitor::open_to_all(&settings) {
                warn!("{warning}");
            }
            let handle = server.handle();
            let task = tasks::spawn("gateway server", async move {
                if let Err(error) = server.await {
                    error!(%error, "the server of the gateway has ended");
                }
            });
            Some(Serving { settings, handle, tls, task })
        }
        Err(error) => {
            error!(%error, "pushes can't be received");
            None
        }
    }
}

/// What the rules of a configuration make of a series, in a number. Who receives nothing has none.
fn pipeline_of(config: &Config) -> Option<u64> {
    config.gateway.metrics.as_ref().map(|metrics| metrics.pipeline_digest())
}

/// So much older than the newest of its series may a sample be that any destination still takes.
fn late_ms_max(config: &Config) -> i64 {
    let windows = config.destinations.iter().map(|destination| destination.out_of_order_window);
    i64::try_from(windows.max().unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod simulation;
