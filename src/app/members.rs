//! The fleet, or in its place a roster of one: what the wiring needs of either, with one face.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::{
    admin::FleetSources,
    app::running::{Parts, Running},
    config::{self, Config},
    fleet::{
        self, Fleet, FleetSettings, alone,
        channel::{self, Channel, ChannelSettings},
    },
    model::member::{NodeId, Roster},
    ownership,
    runtime::{clock::FleetTime, host, lease::Lease},
};

/// The fleet and the channel between its members; of a cluster of one a roster alone.
pub(super) struct Members {
    pub(super) name: String,
    pub(super) roster: watch::Receiver<Arc<Roster>>,
    pub(super) status: watch::Receiver<Arc<fleet::Status>>,
    pub(super) lease: Lease,
    pub(super) time: FleetTime,
    pub(super) fleet: Option<fleet::Handle>,
    pub(super) channel: Option<channel::Handle>,
    parts: Option<(Fleet, Channel)>,
    running: Vec<Running>,
}

/// The ways to the other members; a node that is alone has none.
pub(super) struct Peers {
    pub(super) letters: Option<(channel::Handle, channel::Inbox)>,
    pub(super) surveys: Option<(channel::Handle, channel::Inbox)>,
    pub(super) pushes: Option<(channel::Handle, channel::Inbox)>,
}

impl Members {
    /// `api_address` is where the others find this node's API.
    pub(super) async fn meet(
        me: NodeId,
        api_address: String,
        config: &Config,
        registry: &mut Registry,
    ) -> Result<(Self, Peers), String> {
        let host = host::name();
        let cluster = &config.cluster;
        let name = cluster.node_name.clone().unwrap_or_else(|| host.clone());
        if !cluster.enabled {
            let (roster, status) = alone::alone(me, name.clone(), api_address);
            let members = Self {
                name,
                roster,
                status,
                lease: Lease::endless(),
                time: FleetTime::default(),
                fleet: None,
                channel: None,
                parts: None,
                running: Vec::new(),
            };
            return Ok((members, Peers { letters: None, surveys: None, pushes: None }));
        }
        let fleet_settings = FleetSettings::of(cluster, me, host, api_address);
        let secrets = fleet_settings.secrets.clone();
        let (fleet, fleet_part) = Fleet::new(fleet_settings, registry).await?;
        let channel_settings = ChannelSettings {
            cluster: cluster.name.clone(),
            me,
            listen: fleet.local_address(),
            secrets,
        };
        let (channel, inboxes, channel_part) =
            Channel::new(channel_settings, fleet.status(), registry).await?;
        let members = Self {
            name,
            roster: fleet.roster(),
            status: fleet.status(),
            lease: fleet.lease(),
            time: fleet.time(),
            fleet: Some(fleet),
            channel: Some(channel.clone()),
            parts: Some((fleet_part, channel_part)),
            running: Vec::new(),
        };
        let channel::Inboxes { letters, surveys, pushes } = inboxes;
        let peers = Peers {
            letters: Some((channel.clone(), letters)),
            surveys: Some((channel.clone(), surveys)),
            pushes: Some((channel, pushes)),
        };
        Ok((members, peers))
    }

    pub(super) fn shown(
        &self,
        me: NodeId,
        cluster: &config::Cluster,
        division: &ownership::Handle,
    ) -> FleetSources {
        FleetSources {
            me,
            name: self.name.clone(),
            cluster: self.fleet.is_some().then(|| cluster.name.clone()),
            roster: self.roster.clone(),
            status: self.status.clone(),
            ownership: division.view(),
            time: self.time.clone(),
        }
    }

    pub(super) fn start(&mut self, parts: &Parts) {
        if let Some((fleet, channel)) = self.parts.take() {
            self.running.push(parts.start("channel", |stop| channel.run(stop)));
            self.running.push(parts.start("fleet", |stop| fleet.run(stop)));
        }
    }

    /// For ever where there are none.
    pub(super) async fn ended(&mut self) -> &'static str {
        if self.running.is_empty() {
            return std::future::pending().await;
        }
        let ends = self.running.iter_mut().map(|running| Box::pin(running.ended()));
        futures_util::future::select_all(ends).await.0
    }

    pub(super) async fn stop(self) {
        for part in self.running {
            part.stop().await;
        }
    }
}
