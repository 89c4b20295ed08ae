//! Peers on the same network, by multicast DNS: this node announces itself and browses for others
//! of its cluster. Hints only: an instance that vanished without goodbye stays listed for minutes.
//! The only file that knows the mdns-sd library.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use mdns_sd::{
    DaemonEvent, IfKind, Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo,
};
use tokio::{sync::watch, time};
use tracing::{info, warn};

use crate::{
    model::member::NodeId,
    runtime::{build, stop::Stop},
};

const SERVICE: &str = "_starling._udp.local.";
const CLUSTER: &str = "cluster";
const VERSION: &str = "version";
/// Instances remembered; beyond that many, new ones are passed over.
const INSTANCES_MAX: usize = 1024;
/// After trouble with the daemon it is started anew, so much later.
const RESTART: Duration = Duration::from_secs(5);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub(super) struct MdnsSettings {
    pub(super) cluster: String,
    pub(super) id: NodeId,
    pub(super) interfaces: Interfaces,
}

/// Where to announce and to browse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interfaces {
    /// On all but the loopback. Announced is the one address that others are to use, so neither a
    /// container bridge's nor the loopback's is ever told.
    Outward,
    /// On those with these names, once they are there.
    Named(Vec<String>),
    /// On the loopback alone, with a port of its own in place of 5353: for tests.
    Loopback { port: u16 },
}

/// Publishes what is found until told to stop. `address` is where others are to reach this node.
pub(super) async fn run(
    settings: MdnsSettings,
    mut address: watch::Receiver<SocketAddr>,
    found: watch::Sender<BTreeSet<SocketAddr>>,
    stop: Stop,
) {
    loop {
        match Session::start(&settings) {
            Ok(session) => {
                let fault = session.run(&settings, &mut address, &found, &stop).await;
                let Some(fault) = fault else { return };
                warn!(error = fault, "multicast DNS stopped working; it is started anew");
            }
            Err(error) => warn!(%error, "multicast DNS can't be started; it is tried again"),
        }
        tokio::select! {
            () = time::sleep(RESTART) => {}
            () = stop.raised() => return,
        }
    }
}

/// One life of the daemon.
struct Session {
    daemon: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    monitor: Receiver<DaemonEvent>,
}

impl Session {
    fn start(settings: &MdnsSettings) -> mdns_sd::Result<Self> {
        let daemon = match &settings.interfaces {
            Interfaces::Outward => {
                let daemon = ServiceDaemon::new()?;
                daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
                daemon
            }
            Interfaces::Named(names) => {
                let daemon = ServiceDaemon::new()?;
                daemon.disable_interface(IfKind::All)?;
                daemon.enable_interface(
                    names.iter().cloned().map(IfKind::Name).collect::<Vec<_>>(),
                )?;
                daemon
            }
            Interfaces::Loopback { port } => {
                let daemon = ServiceDaemon::new_with_port(*port)?;
                daemon.disable_interface(IfKind::All)?;
                daemon.enable_interface(IfKind::LoopbackV4)?;
                daemon
            }
        };
        let monitor = daemon.monitor()?;
        let events = daemon.browse(SERVICE)?;
        Ok(Self { daemon, events, monitor })
    }

    /// `None` when told to stop, else why it can't go on.
    async fn run(
        self,
        settings: &MdnsSettings,
        address: &mut watch::Receiver<SocketAddr>,
        found: &watch::Sender<BTreeSet<SocketAddr>>,
        stop: &Stop,
    ) -> Option<String> {
        let mut instances: BTreeMap<String, BTreeSet<SocketAddr>> = BTreeMap::new();
        let mut announced = announce(&self.daemon, settings, *address.borrow_and_update());
        loop {
            tokio::select! {
                event = self.events.recv_async() => match event {
                    Ok(event) => take_in(event, settings, &mut instances),
                    // A browser that lagged behind is dropped by the daemon.
                    Err(_) => return Some("the list of instances ended".to_owned()),
                },
                event = self.monitor.recv_async() => match event {
                    Ok(DaemonEvent::IpAdd(ip)) => {
                        info!(address = %ip, "an interface came; this node is announced anew");
                        announced = announce(&self.daemon, settings, *address.borrow());
                    }
                    Ok(DaemonEvent::NameChange(change)) => {
                        warn!(service = change.new_name, "another process announces this node's id");
                    }
                    Ok(DaemonEvent::Error(error)) => warn!(%error, "multicast DNS has trouble"),
                    Ok(_) => {}
                    Err(_) => return Some("the daemon ended".to_owned()),
                },
                Ok(()) = address.changed() => {
                    announced = announce(&self.daemon, settings, *address.borrow_and_update());
                }
                () = stop.raised() => break,
            }
            let all: BTreeSet<SocketAddr> = instances.values().flatten().copied().collect();
            found.send_if_modified(|before| {
                let is_new = *before != all;
                *before = all;
                is_new
            });
        }
        if let Some(name) = announced
            && let Ok(done) = self.daemon.unregister(&name)
        {
            let _ = time::timeout(GOODBYE, done.recv_async()).await;
        }
        if let Ok(done) = self.daemon.shutdown() {
            let _ = time::timeout(GOODBYE, done.recv_async()).await;
        }
        None
    }
}

/// The name under which this node is announced, or `None` and a word in the log.
fn announce(
    daemon: &ServiceDaemon,
    settings: &MdnsSettings,
    address: SocketAddr,
) -> Option<String> {
    let instance = settings.id.to_string();
    let host = format!("{instance}.local.");
    let texts = [(CLUSTER, settings.cluster.as_str()), (VERSION, build::VERSION)];
    let info =
        ServiceInfo::new(SERVICE, &instance, &host, address.ip(), address.port(), &texts[..]);
    let name = info.as_ref().map(|info| info.get_fullname().to_owned()).ok();
    match info.and_then(|info| daemon.register(info)) {
        Ok(()) => name,
        Err(error) => {
            warn!(%error, "this node can't be announced by multicast DNS");
            None
        }
    }
}

fn take_in(
    event: ServiceEvent,
    settings: &MdnsSettings,
    instances: &mut BTreeMap<String, BTreeSet<SocketAddr>>,
) {
    match event {
        ServiceEvent::ServiceResolved(service) => {
            let is_ours = service.get_property_val_str(CLUSTER) == Some(settings.cluster.as_str());
            let is_own = service.get_fullname().starts_with(&settings.id.to_string());
            let has_room = instances.len() < INSTANCES_MAX;
            if is_ours && !is_own && (has_room || instances.contains_key(&service.fullname)) {
                instances.insert(service.fullname.clone(), addresses(&service, settings));
            }
        }
        ServiceEvent::ServiceRemoved(_, name) => {
            instances.remove(&name);
        }
        // The rest tells of the search itself.
        _ => {}
    }
}

/// Those that can be reached from here. A link-local one would need its interface named.
fn addresses(service: &ResolvedService, settings: &MdnsSettings) -> BTreeSet<SocketAddr> {
    let is_link_local = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let is_test = matches!(settings.interfaces, Interfaces::Loopback { .. });
    let ips = service.get_addresses().iter().map(mdns_sd::ScopedIp::to_ip_addr);
    ips.filter(|&ip| !is_link_local(ip) && (is_test || !ip.is_loopback()))
        .map(|ip| SocketAddr::new(ip, service.get_port()))
        .collect()
}
