//! Targets whose series have ended here a short while ago: what a former owner knew of them and tells
//! later must not end them again, at an earlier instant. Pure.

use std::collections::{BTreeMap, VecDeque};

use crate::model::target::TargetName;

/// A former owner tells what it knows for half as long.
const KEPT_MS: i64 = 60_000;
/// Beyond it the oldest is forgotten.
const TARGETS_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub struct Past {
    /// At which instant, of the last end of each.
    ended_ms: BTreeMap<TargetName, i64>,
    /// When each was told, the oldest first.
    told_ms: VecDeque<(i64, TargetName)>,
}

impl Past {
    pub fn add(&mut self, target: TargetName, ended_ms: i64, now_ms: i64) {
        let is_old = |told_ms: i64| told_ms + KEPT_MS < now_ms;
        while self.told_ms.len() >= TARGETS_MAX
            || self.told_ms.front().is_some_and(|(told_ms, _)| is_old(*told_ms))
        {
            let Some((_, oldest)) = self.told_ms.pop_front() else { break };
            // One that ended twice goes a little early.
            self.ended_ms.remove(&oldest);
        }
        self.told_ms.push_back((now_ms, target.clone()));
        let ended = self.ended_ms.entry(target).or_insert(ended_ms);
        *ended = ended_ms.max(*ended);
    }

    /// Whether it ended behind that scrape.
    pub fn has_ended_after(&self, target: &TargetName, last_ms: i64) -> bool {
        self.ended_ms.get(target).is_some_and(|ended_ms| *ended_ms > last_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::target::TargetId;

    fn target(id: usize) -> TargetName {
        (TargetId(id as u64), "j".into())
    }

    #[test]
    fn what_ended_later_is_remembered_for_a_while() {
        let mut past = Past::default();
        past.add(target(1), 500, 0);
        assert!(past.has_ended_after(&target(1), 499));
        assert!(!past.has_ended_after(&target(1), 500));
        assert!(!past.has_ended_after(&target(2), 0));
        past.add(target(1), 400, 10);
        assert!(past.has_ended_after(&target(1), 499), "the latest end counts");
        past.add(target(2), 1, KEPT_MS + 11);
        assert!(!past.has_ended_after(&target(1), 0));
        assert!(past.ended_ms.len() == 1 && past.told_ms.len() == 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut past = Past::default();
        (0..=TARGETS_MAX).for_each(|id| past.add(target(id), 1, 0));
        assert!(past.told_ms.len() == TARGETS_MAX && past.ended_ms.len() == TARGETS_MAX);
        assert!(!past.has_ended_after(&target(0), 0) && past.has_ended_after(&target(1), 0));
    }
}
