//! The peer channel's own metrics.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::fleet::channel::frame::Refused;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Of all connections together.
#[derive(Clone, Default)]
pub(super) struct Meters {
    bytes: Family<Direction, Counter>,
    messages: Family<Direction, Counter>,
    connections: Family<Direction, Gauge>,
    refused: Family<Reason, Counter>,
    dropped: Counter,
    unread: Counter,
}

impl Meters {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let meters = Self::default();
        let registry = registry.sub_registry_with_prefix("starling_cluster_channel");
        let bytes = meters.bytes.clone();
        registry.register("bytes", "Bytes of frames between members, by direction", bytes);
        let messages = meters.messages.clone();
        registry.register("messages", "Messages between members, by direction", messages);
        let connections = meters.connections.clone();
        let help = "Proven connections between members, by who dialed";
        registry.register("connections", help, connections);
        let refused = meters.refused.clone();
        let help = "Connections turned away or ended by this node, by reason";
        registry.register("rejected", help, refused);
        let dropped = meters.dropped.clone();
        let help = "Messages thrown away unsent, as their member could not be reached";
        registry.register("dropped_messages", help, dropped);
        let unread = meters.unread.clone();
        let help = "Questions and answers between members that arrived faster than they were read";
        registry.register("unread_messages", help, unread);
        // Shown from the start, not from the first connection on.
        let _ = (meters.outgoing(), meters.incoming());
        meters
    }

    pub(super) fn refused(&self, why: Refused) {
        self.refused.get_or_create(&Reason { reason: why.reason() }).inc();
    }

    pub(super) fn dropped(&self, messages: u64) {
        self.dropped.inc_by(messages);
    }

    pub(super) fn unread(&self) {
        self.unread.inc();
    }

    pub(super) fn outgoing(&self) -> DirectionMeters {
        self.direction("out")
    }

    pub(super) fn incoming(&self) -> DirectionMeters {
        self.direction("in")
    }

    fn direction(&self, direction: &'static str) -> DirectionMeters {
        let label = Direction { direction };
        DirectionMeters {
            bytes: self.bytes.get_or_create(&label).clone(),
            messages: self.messages.get_or_create(&label).clone(),
            connections: self.connections.get_or_create(&label).clone(),
        }
    }
}

#[derive(Clone)]
pub(super) struct DirectionMeters {
    bytes: Counter,
    messages: Counter,
    connections: Gauge,
}

impl DirectionMeters {
    pub(super) fn message(&self, bytes: usize) {
        self.messages.inc();
        self.bytes(bytes);
    }

    pub(super) fn bytes(&self, bytes: usize) {
        self.bytes.inc_by(bytes as u64);
    }

    /// Counts a connection for as long as the guard lives.
    pub(super) fn connected(&self) -> Connected {
        self.connections.inc();
        Connected(self.connections.clone())
    }
}

pub(super) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}
