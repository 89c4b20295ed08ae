//! Asks all members what they scrape, have queued and run by, and answers them the same, over the
//! peer channel. Rounds are shared: however many look in at once, each member is asked once. This
//! file is the part and its handle; `asking` and `answering` are its two sides.

mod answering;
mod asking;
mod catch_up;
mod message;
mod rounds;
mod targets;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, timeout},
};
use tracing::debug;

pub use self::{
    asking::Asked,
    rounds::{
        Config, FleetConfigs, FleetHealth, FleetLoads, FleetQueues, MemberConfig, MemberQueues,
        NAMED_MAX, TargetRef, Verified, VerifiedMember,
    },
    targets::{Fare, FleetTarget, FleetTargets},
};
use self::{
    asking::Asker,
    message::{Message, decode, encode},
};
use crate::{
    discovery::Snapshot,
    fleet::{
        Status,
        channel::{self, Inbox, Topic},
        node_id,
    },
    history,
    model::{
        member::{NodeId, Roster},
        target::TargetId,
    },
    outbox,
    ownership::view::View,
    runtime::{clock::FleetTime, config_state::ConfigState, stop::Stop},
    scrape,
};

/// Answers under way; who asks beyond that is told so.
const ANSWERS_MAX: usize = 64;
/// Of a part of an answer: a hand-over that comes between two of them waits for no more.
const PART_BYTES_MAX: usize = 1 << 20;
/// A member that has not answered by then is named.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// What was told is good for so long.
const FRESH: Duration = Duration::from_secs(2);
/// Of what is asked again and again until it is well.
const FRESH_VERDICT: Duration = Duration::from_millis(500);

/// What this member answers from.
#[derive(Clone)]
pub struct Sources {
    pub me: NodeId,
    /// Of this member; of a newcomer that is not let in, no roster tells it.
    pub name: String,
    pub roster: watch::Receiver<Arc<Roster>>,
    pub time: FleetTime,
    pub found: watch::Receiver<Arc<Snapshot>>,
    pub config: watch::Receiver<Arc<ConfigState>>,
    pub ownership: watch::Receiver<Arc<View>>,
    pub outbox: outbox::Handle,
    pub scrape: scrape::Handle,
    pub history: history::Handle,
    /// Whether the fleet is met, before which there is nobody to ask.
    pub status: watch::Receiver<Arc<Status>>,
}

/// What is to be known of a target's health.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthPast {
    pub target: TargetId,
    /// Where two jobs have the target in common.
    pub job: Option<Arc<str>>,
    /// From this instant on.
    pub from_ms: Option<i64>,
    /// Until before this one.
    pub until_ms: Option<i64>,
    pub limit: usize,
}

/// Asks the fleet. Cloned freely; what one asks serves all who ask within the next seconds.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    asker: Asker,
    targets: Kept<FleetTargets>,
    verified: Kept<Verified>,
    queues: Kept<FleetQueues>,
    configs: Kept<FleetConfigs>,
    loads: Kept<FleetLoads>,
}

impl Handle {
    /// Every target of the fleet, and who scrapes it.
    pub async fn targets(&self) -> Arc<FleetTargets> {
        let before = self.shared.targets.last().await.map_or(0, |last| last.round);
        self.shared.targets.get(FRESH, || rounds::targets(&self.shared.asker, before + 1)).await
    }

    /// Whether every divided target has exactly one owner, and all agree on who that is.
    pub async fn verify(&self) -> Arc<Verified> {
        self.shared.verified.get(FRESH_VERDICT, || rounds::verify(&self.shared.asker)).await
    }

    pub async fn queues(&self) -> Arc<FleetQueues> {
        self.shared.queues.get(FRESH, || rounds::queues(&self.shared.asker)).await
    }

    pub async fn configs(&self) -> Arc<FleetConfigs> {
        self.shared.configs.get(FRESH, || rounds::configs(&self.shared.asker)).await
    }

    /// How a target fared under each member that scraped it, the newest first; at most `limit` of
    /// each, and a thousand.
    pub async fn health_history(&self, past: HealthPast) -> FleetHealth {
        rounds::health_history(&self.shared.asker, past).await
    }

    /// How busy the slots are: what a plan weighs.
    pub async fn loads(&self) -> Arc<FleetLoads> {
        self.shared.loads.get(FRESH, || rounds::loads(&self.shared.asker)).await
    }
}

/// The outcome of the last round. Whoever comes while one is under way waits for it; where the one
/// who began it goes, the next one begins it anew.
struct Kept<T>(Mutex<Option<Outcome<T>>>);

struct Outcome<T> {
    at: Instant,
    value: Arc<T>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Kept<T> {
    async fn get<F: Future<Output = T>>(&self, fresh: Duration, ask: impl FnOnce() -> F) -> Arc<T> {
        let mut kept = self.0.lock().await;
        if let Some(last) = kept.as_ref().filter(|last| last.at.elapsed() < fresh) {
            return Arc::clone(&last.value);
        }
        let value = Arc::new(ask().await);
        *kept = Some(Outcome { at: Instant::now(), value: Arc::clone(&value) });
        value
    }

    async fn last(&self) -> Option<Arc<T>> {
        self.0.lock().await.as_ref().map(|last| Arc::clone(&last.value))
    }
}

pub struct Survey {
    sources: Sources,
    peers: Option<(channel::Handle, Inbox)>,
    asker: Asker,
}

impl Survey {
    pub fn new(sources: Sources, peers: Option<(channel::Handle, Inbox)>) -> (Handle, Self) {
        let channel = peers.as_ref().map(|(channel, _)| channel.clone());
        let first = u64::from_be_bytes(node_id::chance());
        let asker = Asker::new(sources.clone(), channel, first);
        let shared = Shared {
            asker: asker.clone(),
            targets: Kept::default(),
            verified: Kept::default(),
            queues: Kept::default(),
            configs: Kept::default(),
            loads: Kept::default(),
        };
        (Handle { shared: Arc::new(shared) }, Self { sources, peers, asker })
    }

    pub async fn run(mut self, stop: Stop) {
        let mut answers: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let asker = self.asker.clone();
        answers.push(Box::pin(async move { catch_up::catch_up(&asker).await }));
        loop {
            tokio::select! {
                () = stop.raised() => break,
                Some((from, message)) = receive(&mut self.peers) => {
                    answers.extend(self.heard(from, &message, answers.len()));
                }
                Some(()) = answers.next() => {}
            }
        }
        self.asker.close();
    }

    /// What there is to do about it, where that takes time.
    fn heard(
        &self,
        from: NodeId,
        message: &[u8],
        under_way: usize,
    ) -> Option<BoxFuture<'static, ()>> {
        match decode(message) {
            Some(Message::Ask { number, question }) => {
                let (channel, _) = self.peers.as_ref()?;
                let is_busy = under_way >= ANSWERS_MAX;
                let (channel, sources) = (channel.clone(), self.sources.clone());
                if is_busy {
                    let told = Message::Tell {
                        number,
                        bytes_total: answering::busy().len() as u64,
                        part: answering::busy().into(),
                    };
                    channel.send(from, Topic::Survey, encode(&told).into());
                    return None;
                }
                Some(Box::pin(async move {
                    let telling = async {
                        let answer = answering::answer(&sources, &question).await;
                        tell(&channel, from, number, answer.into()).await;
                    };
                    // Who asked waits no longer than that.
                    let _ = timeout(PATIENCE, telling).await;
                }))
            }
            Some(Message::Tell { number, bytes_total, part }) => {
                self.asker.heard(from, number, bytes_total, &part);
                None
            }
            None => {
                debug!(member_id = %from, "a member sent what is no question; it is of another version");
                None
            }
        }
    }
}

async fn tell(channel: &channel::Handle, to: NodeId, number: u64, answer: Bytes) {
    let bytes_total = answer.len() as u64;
    for start in (0..answer.len()).step_by(PART_BYTES_MAX) {
        let part = answer.slice(start..answer.len().min(start + PART_BYTES_MAX));
        let message = encode(&Message::Tell { number, bytes_total, part });
        if !channel.send_when_room(to, Topic::Survey, message.into()).await {
            return;
        }
    }
}

async fn receive(peers: &mut Option<(channel::Handle, Inbox)>) -> Option<(NodeId, Bytes)> {
    match peers {
        Some((_, inbox)) => inbox.receive().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
