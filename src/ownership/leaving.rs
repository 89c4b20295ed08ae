//! How this member gives up its share: to end, or to stay without one until it is told to come back.
//! Part of the shell in `mod`.

use tokio::sync::oneshot;
use tracing::info;

use crate::{
    fleet::{membership::Order, standing::Standing},
    model::member::{Member, MemberState},
    ownership::{Handle, Ownership, exchange::Present, view::Drain},
};

/// What is wanted of this member's share.
pub(super) enum Will {
    /// The answer comes when others have all of it, or nobody is there to take the rest: how many
    /// lines that is.
    Leave(oneshot::Sender<usize>),
    Drain(oneshot::Sender<Result<Drain, String>>),
    Undrain(oneshot::Sender<Drain>),
}

impl Handle {
    /// Gives up the share of this member. Resolves when others have all that it had, or when there
    /// is nobody to take it: then of so many lines; of two that ask, the second resolves at once.
    pub async fn leave(&self) -> usize {
        let (done, left) = oneshot::channel();
        if self.wills.send(Will::Leave(done)).await.is_err() {
            return 0;
        }
        // An error: the part has ended, and nothing is handed over any more.
        left.await.unwrap_or(0)
    }

    /// Gives up the share of this member, which stays up: it answers, sends what it still has, and
    /// goes on with the jobs that are not divided. `View::drain` shows how far that is; asked again,
    /// it changes nothing. It is not kept on disk: a member that is started again works.
    ///
    /// # Errors
    /// Why there is nothing to give up, or nobody to give it to: one sentence.
    pub async fn drain(&self) -> Result<Drain, String> {
        let (answer, answered) = oneshot::channel();
        if self.wills.send(Will::Drain(answer)).await.is_err() {
            return Err(ENDED.to_owned());
        }
        answered.await.unwrap_or_else(|_| Err(ENDED.to_owned()))
    }

    /// Takes its share again, as a member that joins: from a settling time on. A member that works
    /// goes on.
    pub async fn undrain(&self) -> Drain {
        let (answer, answered) = oneshot::channel();
        if self.wills.send(Will::Undrain(answer)).await.is_err() {
            return self.view.borrow().drain;
        }
        answered.await.unwrap_or_else(|_| self.view.borrow().drain)
    }
}

const ENDED: &str = "this member is stopping";

impl Ownership {
    pub(super) async fn will(&mut self, will: Will) {
        match will {
            Will::Leave(done) => {
                if self.leaving.is_none() {
                    self.leaving = Some(done);
                    self.give_up_share().await;
                }
            }
            // Who asked may have lost patience.
            Will::Drain(answer) => drop(answer.send(self.drain().await)),
            Will::Undrain(answer) => drop(answer.send(self.undrain().await)),
        }
    }

    async fn give_up_share(&mut self) {
        if let Some(fleet) = &self.links.fleet {
            fleet.order(Order::Leave).await;
        }
    }

    async fn drain(&mut self) -> Result<Drain, String> {
        if self.leaving.is_some() {
            return Err(ENDED.to_owned());
        }
        if self.drain != Drain::Working {
            return Ok(self.drain);
        }
        if self.links.fleet.is_none() {
            return Err("this member is in no cluster, nobody would take its share".to_owned());
        }
        match self.links.status.borrow().standing {
            Standing::Active { .. } | Standing::Holding | Standing::Leaving { .. } => {}
            Standing::Seeking | Standing::Waiting | Standing::Refused | Standing::Gone => {
                return Err("this member has no share yet that it could give up".to_owned());
            }
        }
        if !self.has_heir() {
            return Err("no other member works that would take the share of this one".to_owned());
        }
        info!("this member gives up its share and stays");
        self.drain = Drain::Draining;
        self.give_up_share().await;
        Ok(self.drain)
    }

    async fn undrain(&mut self) -> Drain {
        if self.drain != Drain::Working
            && self.leaving.is_none()
            && let Some(fleet) = &self.links.fleet
        {
            info!("this member takes its share again");
            self.drain = Drain::Working;
            fleet.order(Order::Ready).await;
        }
        self.drain
    }

    fn has_heir(&self) -> bool {
        let roster = self.links.roster.borrow();
        let works = |member: &Member| {
            member.id != self.settings.me
                && member.weight > 0
                && member.state == MemberState::Alive
                && member.intervals.last().is_some_and(|last| last.until_ms.is_none())
        };
        roster.members.values().any(works)
    }

    /// Tells those who wait for it that the share is given up.
    pub(super) fn look_at_leaving(&mut self, present: &Present) {
        let waits = self.leaving.is_some() || self.drain == Drain::Draining;
        if !waits || !self.has_left(present) {
            return;
        }
        if let Some(done) = self.leaving.take() {
            // Who asked may have lost patience.
            let _ = done.send(self.exchange.rules().unfinished());
        }
        if self.drain == Drain::Draining {
            self.drain = Drain::Drained;
            info!("this member's share is handed over, it stays");
        }
    }

    fn has_left(&self, present: &Present) -> bool {
        let has_share = match self.links.status.borrow().standing {
            Standing::Active { .. } | Standing::Holding => true,
            Standing::Leaving { until_ms } => present.now_ms < until_ms,
            Standing::Seeking | Standing::Waiting | Standing::Refused | Standing::Gone => false,
        };
        if self.links.fleet.is_none() {
            return true;
        }
        let has_given = self.exchange.is_idle() && self.succession.is_empty();
        let is_told = !self.division.has_orders();
        !has_share
            && is_told
            && (has_given || self.division.is_alone(self.settings.me, present.now_ms))
    }
}
