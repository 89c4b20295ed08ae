//! The fleet's own metrics.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{
    fleet::{
        Status,
        notice::{Notice, Raised},
        seal::Rejected,
    },
    model::member::{MemberState, Roster},
};

const STATES: [(MemberState, &str); 4] = [
    (MemberState::Alive, "alive"),
    (MemberState::Suspect, "suspect"),
    (MemberState::Left, "left"),
    (MemberState::Dead, "dead"),
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

pub(super) struct Meters {
    members: Family<State, Gauge>,
    notices: Family<Kind, Gauge>,
    sent_bytes: Counter,
    received_bytes: Counter,
    rejected: Family<Reason, Counter>,
    clock_offset: Gauge<f64, std::sync::atomic::AtomicU64>,
}

impl Meters {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let meters = Self {
            members: Family::default(),
            notices: Family::default(),
            sent_bytes: Counter::default(),
            received_bytes: Counter::default(),
            rejected: Family::default(),
            clock_offset: Gauge::default(),
        };
        // An alert can only see a state begin that was there before as a 0.
        meters.roster(&Roster::default());
        meters.raised(&[]);
        for reason in Rejected::REASONS {
            meters.rejected.get_or_create(&Reason { reason }).inc_by(0);
        }
        let registry = registry.sub_registry_with_prefix("starling_cluster");
        let members = meters.members.clone();
        registry.register("members", "Members of the fleet by state, this one included", members);
        let notices = meters.notices.clone();
        let help = "States of the fleet that someone should look at, by kind; 0 where all is well";
        registry.register("notices", help, notices);
        let sent = meters.sent_bytes.clone();
        registry.register("gossip_sent_bytes", "Bytes of datagrams sent to members", sent);
        let received = meters.received_bytes.clone();
        registry.register("gossip_received_bytes", "Bytes of datagrams received", received);
        let rejected = meters.rejected.clone();
        registry.register("rejected_datagrams", "Datagrams thrown away, by reason", rejected);
        let offset = meters.clock_offset.clone();
        let help = "Fleet time minus this host's clock";
        registry.register("clock_offset_seconds", help, offset);
        meters
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent_bytes.inc_by(bytes as u64);
    }

    pub(super) fn received(&self, bytes: usize, outcome: Result<(), Rejected>) {
        self.received_bytes.inc_by(bytes as u64);
        if let Err(why) = outcome {
            self.rejected.get_or_create(&Reason { reason: why.reason() }).inc();
        }
    }

    pub(super) fn roster(&self, roster: &Roster) {
        for (state, label) in STATES {
            let count = roster.members.values().filter(|member| member.state == state).count();
            let count = i64::try_from(count).expect("members are bounded");
            self.members.get_or_create(&State { state: label }).set(count);
        }
    }

    pub(super) fn status(&self, status: &Status) {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a clock's error")]
        self.clock_offset.set(status.fleet_offset_ms as f64 / 1000.0);
        self.raised(&status.notices);
    }

    fn raised(&self, notices: &[Raised]) {
        for kind in Notice::KINDS {
            let count = notices.iter().filter(|raised| raised.notice.kind() == kind).count();
            let count = i64::try_from(count).expect("notices are bounded");
            self.notices.get_or_create(&Kind { kind }).set(count);
        }
    }
}
