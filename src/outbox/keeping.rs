//! Pushes that somebody waits for: each is answered when the last of its records is on disk, or
//! needs no disk any more. Part of `destination`; `queue` tells of the records.

use std::{collections::BTreeMap, ops::Range};

use tokio::sync::oneshot;

use crate::outbox::{
    push::{Ack, NotKept, Pushed},
    queue::{Queue, Settled},
};

/// Pushes that are waited for; who brings more waits.
const WAITING_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// By the number of its first record: those of one push follow each other.
    waiting: BTreeMap<u64, Waiting>,
    /// Of pushes that were taken since that was last asked.
    taken_samples: u64,
}

#[derive(Debug)]
struct Waiting {
    /// The number behind its last record.
    end: u64,
    /// Records that are in memory alone.
    left: u64,
    samples: u64,
    answer: oneshot::Sender<Result<(), NotKept>>,
}

impl Keeping {
    /// False: more have to wait.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    /// `fault`: why the disk takes nothing now.
    pub(super) fn take(
        &mut self,
        pushed: Pushed,
        fault: Option<&str>,
        queue: &mut Queue,
        now_ms: i64,
    ) {
        let Pushed { batches, ack, claim, numbers, answer } = pushed;
        let samples = batches.iter().map(|batch| u64::from(batch.samples)).sum();
        // Who asked may have gone away, as after each answer.
        match (ack, fault) {
            (Ack::Queued, _) => {
                for batch in batches {
                    queue.append(batch, now_ms);
                }
                self.taken_samples += samples;
                let _ = answer.send(Ok(()));
            }
            (Ack::Kept, Some(fault)) => {
                let _ = answer.send(Err(NotKept::Disk(fault.to_owned())));
            }
            (Ack::Kept, None) => {
                let first = queue.next_sequence();
                let mut appended = Vec::with_capacity(batches.len());
                for batch in batches {
                    let number = queue.next_sequence();
                    queue.append_urgent(batch, now_ms);
                    // One that is too large has none.
                    appended.push((queue.next_sequence() > number).then_some(number));
                }
                let end = queue.next_sequence();
                if let Some(numbers) = numbers {
                    let _ = numbers.send(appended);
                }
                let waiting = Waiting { end, left: end - first, samples, answer };
                if waiting.left > 0 {
                    self.waiting.insert(first, waiting);
                } else {
                    self.finish(waiting);
                }
            }
        }
        claim.end(queue.free());
    }

    /// What has become of records since. A push that has lost one to a bound is refused, and the rest
    /// of it leaves as well.
    pub(super) fn settle(&mut self, queue: &mut Queue) {
        let mut refused = Vec::new();
        for (sequence, settled) in queue.take_settled() {
            let Some((&first, waiting)) = self.waiting.range_mut(..=sequence).next_back() else {
                continue;
            };
            if sequence >= waiting.end {
                continue;
            }
            waiting.left -= 1;
            match settled {
                Settled::Safe if waiting.left > 0 => {}
                Settled::Safe => {
                    let waiting = self.waiting.remove(&first).expect("it has just been found");
                    self.finish(waiting);
                }
                Settled::Lost => {
                    let waiting = self.waiting.remove(&first).expect("it has just been found");
                    let _ = waiting.answer.send(Err(NotKept::Full));
                    refused.push(first..waiting.end);
                }
            }
        }
        withdraw(&refused, queue);
    }

    /// The disk does not take them: nobody is kept waiting until it does.
    pub(super) fn refuse_all(&mut self, fault: &str, queue: &mut Queue) {
        let mut refused = Vec::new();
        for (first, waiting) in std::mem::take(&mut self.waiting) {
            let _ = waiting.answer.send(Err(NotKept::Disk(fault.to_owned())));
            refused.push(first..waiting.end);
        }
        withdraw(&refused, queue);
    }

    pub(super) fn take_samples(&mut self) -> u64 {
        std::mem::take(&mut self.taken_samples)
    }

    fn finish(&mut self, waiting: Waiting) {
        self.taken_samples += waiting.samples;
        let _ = waiting.answer.send(Ok(()));
    }
}

fn withdraw(refused: &[Range<u64>], queue: &mut Queue) {
    if !refused.is_empty() {
        queue.withdraw(refused);
    }
}
