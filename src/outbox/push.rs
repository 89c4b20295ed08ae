//! How pushes come in: with an answer, once they are on disk wherever they are to go, or that there is
//! no room. `room` says whether there is, `keeping` has the answer.

use std::sync::Arc;

use futures_util::future::try_join_all;
use tokio::sync::{mpsc, oneshot};

use crate::{
    model::{batch::Batch, tenant::is_tenant},
    outbox::{
        Handle, Route,
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
    pub(super) answer: oneshot::Sender<Result<(), NotKept>>,
}

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

    async fn push(&self, packed: Packed, ack: Ack) -> Result<(), NotKept> {
        if !packed.tenants().all(|tenant| tenant.is_empty() || is_tenant(tenant.as_bytes())) {
            return Err(NotKept::BadTenant);
        }
        let routes = Arc::clone(&self.routes.borrow());
        let mut answers = Vec::new();
        let mut waiting = Vec::new();
        // All that have room for the message get it before anybody is waited for.
        for (route, batches, claim) in claims(&routes, &packed, ack)? {
            let (answer, answered) = oneshot::channel();
            answers.push(answered);
            match route.pushes.try_send(Pushed { batches, ack, claim, answer }) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(pushed)) => waiting.push((route, pushed)),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(NotKept::Ended),
            }
        }
        let sent = waiting.into_iter().map(|(route, pushed)| route.pushes.send(pushed));
        try_join_all(sent).await.map_err(|_| NotKept::Ended)?;
        for answered in answers {
            answered.await.unwrap_or(Err(NotKept::Ended))?;
        }
        Ok(())
    }
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
