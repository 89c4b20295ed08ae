//! How pushes come in: with an answer, once they are on disk wherever they are to go, or that there is
//! no room. `room` says whether there is, `keeping` has the answer.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::try_join_all;
use tokio::sync::{mpsc, oneshot};

use crate::{
    model::{batch::Batch, member::NodeId, record::RecordName, slot::Slot, tenant::is_tenant},
    outbox::{
        Handle, Route,
        lines::{LineOrder, Numbered},
        packer::Packed,
        room::{Claim, Fit},
    },
};

/// Why a push was not taken. Nothing of it is counted as lost, and it is not sent later, unless it was
/// on its way already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// There is no room, or for no more tenants.
    Full,
    /// The disk of a destination does not take it, and says this.
    Disk(String),
    /// The outbox ends, or all the destinations that it was packed for are others by now.
    Ended,
    /// Not the name of a tenant; nobody should have let it in.
    BadTenant,
}

/// A push on its way to a destination's loop.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) batches: Vec<Batch>,
    pub(super) ack: Ack,
    /// Given back when the batches count in the queue.
    pub(super) claim: Claim,
    /// Where it is told what numbers the batches got, as soon as they have them.
    pub(super) numbers: Option<oneshot::Sender<Numbers>>,
    pub(super) answer: oneshot::Sender<Result<(), NotKept>>,
}

/// Of each batch; none for one that can't be kept anywhere.
type Numbers = Vec<Option<u64>>;

/// A push that is in the queues, and not yet on every disk.
#[derive(Debug)]
pub struct UnderWay {
    /// By destination: what another member may keep as copies.
    pub records: Vec<RecordsOf>,
    answers: Answers,
}

/// A destination, and what goes there.
pub type RecordsOf = (Arc<str>, Vec<Numbered>);

/// A destination's loop, and where it tells the numbers.
type Named<'a> = (&'a Route, oneshot::Receiver<Numbers>);

type Answers = Vec<oneshot::Receiver<Result<(), NotKept>>>;

/// When a push is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ack {
    /// It is on disk, or has been sent.
    Kept,
    /// It is in the queue: on disk within a second, as what is scraped.
    Queued,
}

impl Handle {
    /// Resolves when every destination that the push is for has it on disk, or has sent it. What is
    /// pushed to one stream leaves in the order in which these are first polled.
    ///
    /// # Errors
    /// It was not taken, or not by all of them: whoever pushed it should do so again.
    pub async fn keep(&self, packed: Packed) -> Result<(), NotKept> {
        self.push(packed, Ack::Kept).await
    }

    /// The same, but resolves as soon as it is in the queues.
    ///
    /// # Errors
    /// As of `keep`; a disk that does not work is none.
    pub async fn queue(&self, packed: Packed) -> Result<(), NotKept> {
        self.push(packed, Ack::Queued).await
    }

    /// As `keep`, but resolves as soon as all of it has names, with what is to be waited for.
    ///
    /// # Errors
    /// As of `keep`.
    pub async fn begin_to_keep(&self, packed: Packed) -> Result<UnderWay, NotKept> {
        let routes = Arc::clone(&self.routes.borrow());
        let mut named = Vec::new();
        let answers = self.hand_over(&routes, &packed, Ack::Kept, Some(&mut named)).await?;
        let mut records = Vec::new();
        for (route, numbers) in named {
            // Where the disk takes nothing there are none, and the answer says so.
            let numbers: Numbers = numbers.await.unwrap_or_default();
            let batches = packed.batches_for(&route.fleet_name).into_iter().zip(numbers);
            let record = |(batch, number): (Batch, Option<u64>)| {
                let (interval_ms, number) = (batch.since_ms?, number?);
                let name = RecordName { interval_ms, node: self.me, sequence: number };
                Some(Numbered { number, name, batch })
            };
            records.push((Arc::clone(&route.fleet_name), batches.filter_map(record).collect()));
        }
        Ok(UnderWay { records, answers })
    }

    /// Keeps copies of what another member has, which sends it as long as it lives. Resolves when they
    /// are on disk. `None`: there is no destination of that name.
    ///
    /// # Errors
    /// There is no room for them, or the disk does not take them.
    pub async fn keep_copies(
        &self,
        destination: &str,
        owner: NodeId,
        records: Vec<Numbered>,
    ) -> Option<Result<(), NotKept>> {
        let routes = Arc::clone(&self.routes.borrow());
        let route = routes.iter().find(|route| *route.fleet_name == *destination)?;
        let batches: Vec<Batch> = records.iter().map(|record| record.batch.clone()).collect();
        let claim = route.room.claim(&batches);
        if claim.fit != Fit::HasRoom || !route.room.admit(batches.iter().map(|batch| &batch.tenant))
        {
            return Some(Err(NotKept::Full));
        }
        let mut by_slot: BTreeMap<Slot, Vec<Numbered>> = BTreeMap::new();
        for record in records {
            by_slot.entry(record.batch.stream.slot()).or_default().push(record);
        }
        let (mut orders, mut answers) = (Vec::new(), Vec::new());
        for (slot, records) in by_slot {
            let (answer, answered) = oneshot::channel();
            answers.push(answered);
            orders.push(LineOrder::Keep { slot, owner, records, answer });
        }
        if route.lines.send(orders).await.is_err() {
            return Some(Err(NotKept::Ended));
        }
        for answered in answers {
            match answered.await {
                Ok(true) => {}
                Ok(false) => return Some(Err(NotKept::Disk("it takes no copies".to_owned()))),
                Err(_) => return Some(Err(NotKept::Ended)),
            }
        }
        Some(Ok(()))
    }

    async fn push(&self, packed: Packed, ack: Ack) -> Result<(), NotKept> {
        let routes = Arc::clone(&self.routes.borrow());
        let answers = self.hand_over(&routes, &packed, ack, None).await?;
        all_kept(answers).await
    }

    /// `named` gets where each destination tells what it has called its part.
    async fn hand_over<'a>(
        &self,
        routes: &'a [Route],
        packed: &Packed,
        ack: Ack,
        mut named: Option<&mut Vec<Named<'a>>>,
    ) -> Result<Answers, NotKept> {
        if !packed.tenants().all(|tenant| tenant.is_empty() || is_tenant(tenant.as_bytes())) {
            return Err(NotKept::BadTenant);
        }
        let mut answers = Vec::new();
        let mut waiting = Vec::new();
        // All that have room for the message get it before anybody is waited for.
        for (route, batches, claim) in claims(routes, packed, ack)? {
            let (answer, answered) = oneshot::channel();
            answers.push(answered);
            let numbers = named.as_mut().map(|named| {
                let (numbers, numbered) = oneshot::channel();
                named.push((route, numbered));
                numbers
            });
            match route.pushes.try_send(Pushed { batches, ack, claim, numbers, answer }) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(pushed)) => waiting.push((route, pushed)),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(NotKept::Ended),
            }
        }
        let sent = waiting.into_iter().map(|(route, pushed)| route.pushes.send(pushed));
        try_join_all(sent).await.map_err(|_| NotKept::Ended)?;
        Ok(answers)
    }
}

impl UnderWay {
    /// # Errors
    /// As of `Handle::keep`.
    pub async fn kept(self) -> Result<(), NotKept> {
        all_kept(self.answers).await
    }
}

async fn all_kept(answers: Answers) -> Result<(), NotKept> {
    for answered in answers {
        answered.await.unwrap_or(Err(NotKept::Ended))?;
    }
    Ok(())
}

type Claims<'a> = Vec<(&'a Route, Vec<Batch>, Claim)>;

/// A push is refused where every destination that it is for is full, or one that is told to push back.
fn claims<'a>(routes: &'a [Route], packed: &Packed, ack: Ack) -> Result<Claims<'a>, NotKept> {
    let mut claims = Vec::new();
    for route in routes {
        let batches = packed.batches_for(&route.fleet_name);
        if batches.is_empty() {
            continue;
        }
        if let (Ack::Kept, Some(fault)) = (ack, route.room.fault()) {
            return Err(NotKept::Disk(fault.to_string()));
        }
        let claim = route.room.claim(&batches);
        claims.push((route, batches, claim));
    }
    if claims.is_empty() && !packed.is_empty() {
        return Err(NotKept::Ended);
    }
    let fits = || claims.iter().map(|(.., claim)| claim.fit);
    let has_none = fits().all(|fit| fit != Fit::HasRoom);
    if has_none && !claims.is_empty() || fits().any(|fit| fit == Fit::Refused) {
        return Err(NotKept::Full);
    }
    let admits = |route: &Route| route.room.admit(packed.tenants());
    if claims.iter().all(|(route, ..)| admits(route)) { Ok(claims) } else { Err(NotKept::Full) }
}
