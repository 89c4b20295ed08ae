//! The receiver's side: brings the parts of a push to their owners, this member or others, and knows
//! when each of them has it. An owner that has changed meanwhile is not waited for: what it had is
//! split again. A shell: `route` decides.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::join_all;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Duration, Instant, sleep_until},
};
use tracing::warn;

use crate::{
    fleet::channel::{self, Topic},
    gateway::{
        intake::{Order, Reply},
        meters::Meters,
        parcel::{Answer, Message, Parcel, Refusal, Unwanted},
        route::{Part, places_in, split},
    },
    model::member::NodeId,
    ownership::view::Owners,
    runtime::clock::FleetTime,
};

/// An owner that has not answered by then is asked again; what it had taken it knows.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// Before what nobody would take is tried again: owners change within some milliseconds.
const PAUSE: Duration = Duration::from_millis(15);
/// Members whose rules differ are asked so often, in the hope that one of them is about to reload.
const PIPELINE_TRIES_MAX: u32 = 3;
const PIPELINE_PAUSE: Duration = Duration::from_millis(200);

/// Brings pushes to their owners; cloned to every thread that receives.
#[derive(Clone)]
pub(super) struct Forwarder {
    pub(super) me: NodeId,
    pub(super) time: FleetTime,
    pub(super) owners: watch::Receiver<Arc<Owners>>,
    pub(super) channel: Option<channel::Handle>,
    pub(super) intake: mpsc::Sender<Order>,
    pub(super) waiting: Waiting,
    pub(super) meters: Meters,
}

/// What has become of a push.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    /// What no owner wants, by its place; all else is kept.
    pub(super) unwanted: Vec<(u32, Unwanted)>,
    /// How much of it went to other members.
    pub(super) forwarded: u64,
}

/// Why a push is not kept, or not all of it. It may be, when it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undelivered {
    /// An owner has no room.
    Full,
    /// An owner's disk does not work.
    Disk,
    /// The members' rules differ.
    OtherPipeline,
    /// In time no owner was found, or none has answered.
    Unsettled,
}

impl Forwarder {
    /// How many members share what is pushed.
    pub(super) fn members(&self) -> usize {
        self.owners.borrow().table.as_ref().map_or(1, |table| table.nodes().len())
    }

    /// Whole, or the client is to send it again: owners know what they have.
    pub(super) async fn deliver(
        &self,
        push: &Parcel,
        until: Instant,
    ) -> Result<Delivered, Undelivered> {
        let mut owners = self.owners.clone();
        let mut delivered = Delivered::default();
        let mut places: Option<Vec<u32>> = None;
        let mut differed = 0;
        loop {
            let table = owners.borrow_and_update().table.clone();
            let mut pause = PAUSE;
            if let Some(table) = table {
                let split = split(push, places.as_deref(), &table);
                let mut left = split.unowned;
                let asked =
                    split.parts.into_iter().map(|(owner, part)| self.ask(owner, part, until));
                let mut differs = false;
                for (owner, part, answer) in join_all(asked).await {
                    let is_other = owner != self.me;
                    delivered.forwarded += if is_other { part.places.len() as u64 } else { 0 };
                    match answer {
                        Some(Answer::Kept(exceptions)) => {
                            let told = exceptions.unwanted.into_iter();
                            delivered.unwanted.extend(told.filter_map(|(at, why)| {
                                Some((*part.places.get(at as usize)?, why))
                            }));
                            left.extend(places_in(&part, &exceptions.elsewhere));
                        }
                        Some(Answer::Refused(Refusal::Full)) => return Err(Undelivered::Full),
                        Some(Answer::Refused(Refusal::Disk)) => return Err(Undelivered::Disk),
                        Some(Answer::Refused(Refusal::OtherPipeline)) => {
                            warn!(member_id = %owner, "a member has other rules for what is pushed: its `relabel_configs`, `tenants` or `ha` differ, and pushes for it are refused");
                            differs = true;
                            left.extend(&part.places);
                        }
                        Some(Answer::Refused(Refusal::NotNow)) | None => left.extend(&part.places),
                    }
                }
                if left.is_empty() {
                    return Ok(delivered);
                }
                if differs {
                    differed += 1;
                    pause = PIPELINE_PAUSE;
                }
                if differed > PIPELINE_TRIES_MAX {
                    return Err(Undelivered::OtherPipeline);
                }
                left.sort_unstable();
                places = Some(left);
            }
            let now = Instant::now();
            if now >= until {
                return Err(Undelivered::Unsettled);
            }
            tokio::select! {
                Ok(()) = owners.changed() => {}
                () = sleep_until((now + pause).min(until)) => {}
            }
        }
    }

    async fn ask(
        &self,
        owner: NodeId,
        part: Part,
        until: Instant,
    ) -> (NodeId, Part, Option<Answer>) {
        let (done, answered) = oneshot::channel();
        let now = Instant::now();
        let until = until.min(now + ANSWER_WAIT);
        let wait_ms = i64::try_from(until.saturating_duration_since(now).as_millis());
        let until_ms = self.time.now_ms() + wait_ms.expect("a wait is short");
        let _open = if owner == self.me {
            let order = Order { parcel: part.parcel.clone(), until_ms, reply: Reply::Here(done) };
            if self.intake.send(order).await.is_err() {
                return (owner, part, None);
            }
            None
        } else {
            self.meters.forwarded(part.parcel.pieces.len());
            let open = self.waiting.open(owner, done);
            let message = Message::push(open.number, until_ms, &part.parcel);
            let Some(channel) = &self.channel else { return (owner, part, None) };
            if !channel.send(owner, Topic::Push, message) {
                return (owner, part, None);
            }
            Some(open)
        };
        let answer = self.answer_of(owner, answered, until).await;
        (owner, part, answer)
    }

    /// `None` where the owner takes part no more, or does not answer in time.
    async fn answer_of(
        &self,
        owner: NodeId,
        mut answered: oneshot::Receiver<Answer>,
        until: Instant,
    ) -> Option<Answer> {
        let mut owners = self.owners.clone();
        loop {
            tokio::select! {
                answer = &mut answered => return answer.ok(),
                Ok(()) = owners.changed() => {
                    let table = owners.borrow_and_update().table.clone();
                    if table.is_none_or(|table| !table.nodes().contains(&owner)) {
                        return None;
                    }
                }
                () = sleep_until(until) => return None,
            }
        }
    }
}

/// What is on its way to other members, by number: parcels, and copies of what is in them.
#[derive(Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    next: u64,
    asked: BTreeMap<u64, (NodeId, oneshot::Sender<Answer>)>,
}

/// A parcel that is waited for; who stops waiting takes it back.
pub(super) struct OpenGuard {
    pub(super) number: u64,
    waiting: Waiting,
}

impl Waiting {
    /// `first` should be random: what is answered to an earlier run of this agent is then told apart.
    pub(super) fn new(first: u64) -> Self {
        Self(Arc::new(Mutex::new(Open { next: first, asked: BTreeMap::new() })))
    }

    /// One that nobody waits for any more is passed over.
    pub(super) fn heard(&self, from: NodeId, number: u64, answer: Answer) {
        let mut open = self.lock();
        if open.asked.get(&number).is_some_and(|(to, _)| *to == from)
            && let Some((_, done)) = open.asked.remove(&number)
        {
            // Who asked may have lost patience.
            let _ = done.send(answer);
        }
    }

    pub(super) fn open(&self, to: NodeId, done: oneshot::Sender<Answer>) -> OpenGuard {
        let mut open = self.lock();
        let number = open.next;
        open.next = number.wrapping_add(1);
        open.asked.insert(number, (to, done));
        OpenGuard { number, waiting: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.waiting.lock().asked.remove(&self.number);
    }
}
