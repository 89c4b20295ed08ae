//! Keeps what was pushed on two disks until it is sent: where its owner or whoever had a copy has died or
//! left, or it has changed hands, it is copied again, to who is the runner-up now. A shell: the outbox
//! knows what is where, `copier` to whom it goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::future::join_all;
use tokio::{
    sync::{oneshot, watch},
    time::{Duration, Instant, MissedTickBehavior, interval_at},
};
use tracing::debug;

use crate::{
    config::Ack,
    gateway::{copier::Copier, meters::Meters},
    model::{member::NodeId, slot::Slot},
    outbox::{
        self, NotKept,
        lines::{CopyNumber, LineOrder, Numbered, Uncopied},
    },
    runtime::{config_state::ConfigState, stop::Stop},
};

/// By then those who have copies of what a member had before it was started again have asked it for
/// these, and so told.
const FIRST: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(500);
/// After a member had no room, or did not answer, or something can be copied by nobody.
const AGAIN: Duration = Duration::from_secs(5);
/// What is read and copied at once.
const BYTES_MAX: u64 = 1 << 20;

pub(super) struct Renewal {
    pub(super) config: watch::Receiver<Arc<ConfigState>>,
    pub(super) outbox: outbox::Handle,
    pub(super) copier: Copier,
    pub(super) meters: Meters,
}

impl Renewal {
    pub(super) async fn run(mut self, stop: Stop) {
        let mut looks = interval_at(Instant::now() + FIRST, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_raised() {
            tokio::select! {
                _ = looks.tick() => {}
                () = stop.raised() => return,
            }
            let looked = tokio::select! {
                looked = stop.during(self.look()) => looked,
                () = stop.raised() => return,
            };
            match looked {
                Ok(0) => continue,
                Ok(samples) => {
                    debug!(samples, "there is nobody who could have unsent samples, too");
                }
                Err(error) => debug!(?error, "unsent samples can't be copied"),
            }
            looks.reset_after(AGAIN);
        }
    }

    /// Of how many samples nobody could have a copy.
    ///
    /// # Errors
    /// Somebody who could does not take them.
    async fn look(&mut self) -> Result<u64, NotKept> {
        let is_wanted = {
            let config = &self.config.borrow().config;
            config.gateway.metrics.as_ref().is_some_and(|own| own.ack == Ack::Replicated)
        };
        let keepers = self.copier.keepers();
        let is_alone = keepers.is_empty();
        let mut uncopied = Vec::new();
        if is_wanted {
            for destination in self.outbox.destinations() {
                let of_it = self.uncopied(&destination, keepers.clone()).await;
                uncopied.push((destination, of_it));
            }
        }
        let samples = uncopied.iter().map(|(_, of_it)| of_it.samples).sum::<u64>();
        self.meters.uncopied.set(i64::try_from(samples).unwrap_or(i64::MAX));
        if is_alone {
            return Ok(samples);
        }
        let mut outcome = Ok(0);
        for (destination, of_it) in uncopied {
            // One for which a member has no room keeps no other from its copies.
            outcome = match (outcome, self.copy(&destination, of_it.next).await) {
                (Ok(before), Ok(alone)) => Ok(before + alone),
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
        }
        outcome
    }

    async fn copy(
        &mut self,
        destination: &Arc<str>,
        uncopied: Vec<(CopyNumber, u32)>,
    ) -> Result<u64, NotKept> {
        let mut alone = 0;
        for numbers in messages(uncopied) {
            let records = self.fetch(destination, numbers).await;
            alone += self.copier.copy(vec![(Arc::clone(destination), records)]).await?;
        }
        Ok(alone)
    }

    async fn uncopied(&self, destination: &str, keepers: BTreeSet<NodeId>) -> Uncopied {
        let (answer, answered) = oneshot::channel();
        let uncopied = LineOrder::Uncopied { keepers, answer };
        self.outbox.order(destination, vec![uncopied]).await;
        // Without such a destination there is nothing.
        answered.await.unwrap_or_default()
    }

    async fn fetch(&self, destination: &str, numbers: Vec<CopyNumber>) -> Vec<Numbered> {
        let mut by_slot: BTreeMap<Slot, Vec<u64>> = BTreeMap::new();
        for (slot, number) in numbers {
            by_slot.entry(slot).or_default().push(number);
        }
        let (mut orders, mut answers) = (Vec::new(), Vec::new());
        for (slot, numbers) in by_slot {
            let (answer, answered) = oneshot::channel();
            orders.push(LineOrder::Fetch { slot, numbers, answer });
            answers.push(answered);
        }
        self.outbox.order(destination, orders).await;
        join_all(answers).await.into_iter().flat_map(Result::unwrap_or_default).collect()
    }
}

/// Of at most so many bytes, or of one record.
fn messages(records: Vec<(CopyNumber, u32)>) -> Vec<Vec<CopyNumber>> {
    let (mut messages, mut bytes) = (Vec::<Vec<CopyNumber>>::new(), 0);
    for (number, own) in records {
        bytes += u64::from(own);
        match messages.last_mut() {
            Some(last) if bytes <= BYTES_MAX => last.push(number),
            Some(_) | None => {
                bytes = u64::from(own);
                messages.push(vec![number]);
            }
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_at_once_is_bounded() {
        let check = |bytes: &[u32], expected: &[usize]| {
            let slot = Slot::new(1).unwrap();
            let records =
                (1..).zip(bytes).map(|(number, bytes)| ((slot, number), *bytes)).collect();
            let counts: Vec<usize> = messages(records).iter().map(Vec::len).collect();
            assert_eq!(counts, expected, "{bytes:?}");
        };
        check(&[], &[]);
        check(&[1, 2, 3], &[3]);
        check(&[1 << 19, 1 << 19, 1, 1], &[2, 2]);
        check(&[1, 1 << 21, 1], &[1, 1, 1]);
    }
}
