//! Who is alive, by foca's SWIM: the identity it knows members by, its settings, and a shell that
//! turns its callbacks into values. Stands between `message` and `membership`.

use std::{
    net::SocketAddr,
    num::{NonZeroU8, NonZeroUsize},
    time::Duration,
};

use foca::{
    Config, Foca, Identity, Member, NoCustomBroadcast, Notification, PeriodicParams, PostcardCodec,
    Runtime, State, Timer,
};
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use crate::{
    fleet::message::{NodeKey, SWIM_BYTES_MAX},
    model::member::NodeId,
};

/// A suspected member has so long to answer before it is declared dead.
pub const SUSPICION_MS: u64 = 2000;

/// One generation of a member. It rides in every update, so it stays small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwimId {
    pub id: NodeKey,
    pub generation: u64,
    pub address: SocketAddr,
}

impl Identity for SwimId {
    /// Not the address: a member that comes back elsewhere is the same one.
    type Addr = NodeKey;

    /// `membership` decides when and as what to come back.
    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> NodeKey {
        self.id
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.generation > adversary.generation
    }
}

pub type SwimTimer = Timer<SwimId>;

/// What came of one step.
#[derive(Default)]
pub struct SwimEffects {
    pub packets: Vec<(SocketAddr, Vec<u8>)>,
    pub timers: Vec<(Duration, SwimTimer)>,
    pub news: Vec<SwimNews>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwimNews {
    Up(SwimId),
    Down(SwimId),
    /// The others say that this node is dead.
    Defunct,
}

pub struct Swim {
    foca: Foca<SwimId, PostcardCodec, StdRng, NoCustomBroadcast>,
    joined: bool,
}

impl Swim {
    pub fn new(own: SwimId, rng: StdRng) -> Self {
        Self { foca: Foca::new(own, config(), rng, PostcardCodec), joined: false }
    }

    pub fn own(&self) -> SwimId {
        *self.foca.identity()
    }

    pub fn is_joined(&self) -> bool {
        self.joined
    }

    /// Becomes `own`, a later generation, and lives among `members`.
    pub fn join(&mut self, own: SwimId, members: impl Iterator<Item = SwimId>) -> SwimEffects {
        self.joined = true;
        let mut effects = SwimEffects::default();
        // An error would only say that nothing changed, which is then the case.
        let _ = self.foca.change_identity(own, &mut effects);
        let members = members.map(Member::alive);
        let _ = self.foca.apply_many(members, false, &mut effects);
        effects
    }

    /// Says goodbye, and is nobody until the next `join`.
    pub fn leave(&mut self) -> SwimEffects {
        self.joined = false;
        let mut effects = SwimEffects::default();
        let _ = self.foca.leave_cluster(&mut effects);
        effects.news.clear();
        effects
    }

    /// Bytes from a member; what foca cannot read changes nothing.
    pub fn packet(&mut self, bytes: &[u8]) -> SwimEffects {
        let mut effects = SwimEffects::default();
        if self.joined {
            let _ = self.foca.handle_data(bytes, &mut effects);
        }
        effects
    }

    pub fn timer(&mut self, timer: SwimTimer) -> SwimEffects {
        let mut effects = SwimEffects::default();
        // It errs where a late timer finds a probe unfinished, and has begun the next one then.
        let _ = self.foca.handle_timer(timer, &mut effects);
        effects
    }

    /// What is known from elsewhere.
    pub fn learn(&mut self, id: SwimId, alive: bool) -> SwimEffects {
        let mut effects = SwimEffects::default();
        if self.joined && id.id != self.own().id {
            let member = if alive { Member::alive(id) } else { Member::down(id) };
            let _ = self.foca.apply_many(std::iter::once(member), true, &mut effects);
        }
        effects
    }

    /// The generations held for alive, and whether they are suspected.
    pub fn alive(&self) -> impl Iterator<Item = (NodeId, bool)> {
        let suspect = |member: &Member<SwimId>| member.state() == State::Suspect;
        self.foca.iter_members().map(move |member| (member.id().id.into(), suspect(member)))
    }
}

impl Runtime<SwimId> for SwimEffects {
    fn notify(&mut self, notification: Notification<'_, SwimId>) {
        match notification {
            Notification::MemberUp(id) | Notification::Rename(_, id) => {
                self.news.push(SwimNews::Up(*id));
            }
            Notification::MemberDown(id) => self.news.push(SwimNews::Down(*id)),
            Notification::Defunct => self.news.push(SwimNews::Defunct),
            // The rest tells whether foca has company, which the records tell better.
            _ => {}
        }
    }

    fn send_to(&mut self, to: SwimId, data: &[u8]) {
        self.packets.push((to.address, data.to_vec()));
    }

    fn submit_after(&mut self, event: SwimTimer, after: Duration) {
        self.timers.push((after, event));
    }
}

/// Measured in simulations of thousands of seeds. With fewer transmissions than 20 some member now
/// and then did not hear of a death for 8 s and more. With a probe every 500 ms, all of 20 members
/// knew of a death after 3.3 s at the median and 6.3 s at most, as a member is now and then nobody's
/// next one to probe for seconds; with one every 300 ms after 2.7 s and 4.5 s.
fn config() -> Config {
    let count = |n| NonZeroUsize::new(n).expect("not zero");
    Config {
        probe_period: Duration::from_millis(300),
        probe_rtt: Duration::from_millis(100),
        num_indirect_probes: count(5),
        max_transmissions: NonZeroU8::new(20).expect("not zero"),
        suspect_to_down_after: Duration::from_millis(SUSPICION_MS),
        remove_down_after: Some(Duration::from_secs(3600)),
        max_packet_size: count(SWIM_BYTES_MAX),
        // foca 2.0.0 also notifies those who were suspected and have answered since, which fells the
        // healthy (at 5 % loss, of three members one every few minutes); the records tell the dead.
        notify_down_members: false,
        // Members are made known by the records, which also reach the dead and the strangers.
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        periodic_gossip: Some(PeriodicParams {
            frequency: Duration::from_millis(100),
            num_members: count(3),
        }),
    }
}
