//! What is known of targets that have moved, on its way to their next owners: sent again until it is
//! noted there, or nobody needs it any more. Pure; part of the shell in `mod`.

use std::collections::BTreeMap;

use crate::{
    model::{member::NodeId, slot::Slot},
    ownership::{letter::Letter, orders::Knowledge},
};

/// An answer takes a round trip, and the next owner may hear of its luck a little later.
const REPEAT_MS: i64 = 1_000;
/// By then the next owner has seen the targets for itself, and what ended ended without a marker.
const KEPT_MS_MAX: i64 = 30_000;
/// Beyond it the oldest is given up, with the same outcome.
const BYTES_MAX: usize = 256 << 20;

#[derive(Debug, Default)]
pub struct Succession {
    pending: BTreeMap<u64, Pending>,
    bytes: usize,
    next_number: u64,
    given_up: u64,
}

#[derive(Debug)]
struct Pending {
    knowledge: Knowledge,
    fence_ms: i64,
    since_ms: i64,
    due_ms: i64,
}

impl Succession {
    pub fn add(&mut self, knowledge: Knowledge, fence_ms: i64, now_ms: i64) {
        self.bytes += knowledge.series.len();
        let pending = Pending { knowledge, fence_ms, since_ms: now_ms, due_ms: now_ms };
        self.pending.insert(self.next_number, pending);
        self.next_number += 1;
        while self.bytes > BYTES_MAX
            && let Some((_, oldest)) = self.pending.pop_first()
        {
            self.bytes -= oldest.knowledge.series.len();
            self.given_up += 1;
        }
    }

    pub fn noted(&mut self, number: u64) {
        if let Some(pending) = self.pending.remove(&number) {
            self.bytes -= pending.knowledge.series.len();
        }
    }

    /// What is to be sent now, to whoever owns it; `None` of a slot: nobody does.
    pub fn take_due(
        &mut self,
        owner: impl Fn(Slot) -> Option<NodeId>,
        now_ms: i64,
    ) -> Vec<(NodeId, Letter)> {
        let old = |pending: &Pending| now_ms - pending.since_ms > KEPT_MS_MAX;
        let (bytes, given_up) = (&mut self.bytes, &mut self.given_up);
        self.pending.retain(|_, pending| {
            let stays = !old(pending);
            if !stays {
                *bytes -= pending.knowledge.series.len();
                *given_up += 1;
            }
            stays
        });
        let mut letters = Vec::new();
        for (number, pending) in self.pending.iter_mut().filter(|(_, p)| p.due_ms <= now_ms) {
            pending.due_ms = now_ms + REPEAT_MS;
            let Some(to) = owner(pending.knowledge.target.key.slot()) else { continue };
            let (number, fence_ms) = (*number, pending.fence_ms);
            let knowledge = pending.knowledge.clone();
            letters.push((to, Letter::Knowledge { number, fence_ms, knowledge }));
        }
        letters
    }

    pub fn len(&self) -> usize {
        self.pending.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Since the last call.
    pub fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::model::{
        labels::Labels,
        slot::StreamKey,
        target::{Target, TargetId},
    };

    fn knowledge(id: u64, bytes: usize) -> Knowledge {
        let target = Target {
            job: "j".into(),
            labels: Labels::new(),
            discovered: Labels::new(),
            id: TargetId(id),
            key: StreamKey(id << 52),
            url: String::new(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
        };
        Knowledge { target: Arc::new(target), last_tick_ms: None, series: vec![0; bytes].into() }
    }

    /// The numbers that are sent, each to node 7, at that instant.
    fn sent(succession: &mut Succession, now_ms: i64) -> Vec<u64> {
        let letters = succession.take_due(|_| Some(NodeId(7)), now_ms);
        let number = |(to, letter): (NodeId, Letter)| match letter {
            Letter::Knowledge { number, .. } if to == NodeId(7) => number,
            other => panic!("{to} {other:?}"),
        };
        letters.into_iter().map(number).collect()
    }

    #[test]
    fn it_is_sent_until_it_is_noted() {
        let mut succession = Succession::default();
        succession.add(knowledge(1, 10), 0, 0);
        succession.add(knowledge(2, 10), 0, 0);
        assert_eq!(sent(&mut succession, 0), [0, 1]);
        assert_eq!(sent(&mut succession, REPEAT_MS - 1), [] as [u64; 0]);
        succession.noted(0);
        assert_eq!(sent(&mut succession, REPEAT_MS), [1]);
        succession.noted(1);
        assert!(succession.is_empty() && succession.bytes == 0);
    }

    #[test]
    fn nobody_is_waited_for_for_ever() {
        let mut succession = Succession::default();
        succession.add(knowledge(1, 10), 0, 0);
        assert!(succession.take_due(|_| None, 0).is_empty());
        assert!(!succession.is_empty());
        assert_eq!(sent(&mut succession, KEPT_MS_MAX + 1), [] as [u64; 0]);
        assert!(succession.is_empty());
        assert_eq!((succession.take_given_up(), succession.bytes), (1, 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut succession = Succession::default();
        for id in 0..5 {
            succession.add(knowledge(id, BYTES_MAX / 4), 0, 0);
        }
        assert_eq!(sent(&mut succession, 0), [1, 2, 3, 4]);
        assert_eq!(succession.take_given_up(), 1);
    }
}
