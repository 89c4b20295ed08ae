//! What recognises the lines of a run, once for all targets that write the same lines: those of one
//! kind do, and it is a quarter of what their series cost.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use hashbrown::HashTable;
use xxhash_rust::xxh3::Xxh3;

use crate::scrape::known::text::{Line, TextId};

/// Lists that nobody has any more are looked for when there are twice as many as after the last look.
const LISTS_MIN: usize = 64;

#[derive(Debug, PartialEq, Eq)]
pub(in crate::scrape) struct Lines {
    hashes: Box<[u64]>,
    lengths: Box<[u16]>,
    meant_for: Box<[Line]>,
}

/// All lists that the runs of one agent's targets have.
#[derive(Clone, Debug, Default)]
pub(in crate::scrape) struct LineLists(Arc<Mutex<Lists>>);

/// By their hashes.
#[derive(Debug)]
struct Lists {
    known: HashTable<(u64, Weak<Lines>)>,
    sweep_at: usize,
}

impl Default for Lists {
    fn default() -> Self {
        Self { known: HashTable::new(), sweep_at: LISTS_MIN }
    }
}

impl Lines {
    /// `None` where a text is too long for it.
    pub(super) fn of(lines: &[(TextId, Line)], lists: &LineLists) -> Option<Arc<Self>> {
        let length = |(id, _): &(TextId, Line)| u16::try_from(id.length).ok();
        let lines = Self {
            hashes: lines.iter().map(|(id, _)| id.hash).collect(),
            lengths: lines.iter().map(length).collect::<Option<_>>()?,
            meant_for: lines.iter().map(|(_, line)| *line).collect(),
        };
        Some(lists.0.lock().unwrap_or_else(PoisonError::into_inner).shared(lines))
    }

    #[inline]
    pub(in crate::scrape) fn iter(&self) -> impl Iterator<Item = (TextId, Line)> {
        let ids = self.hashes.iter().zip(&self.lengths);
        let ids = ids.map(|(hash, length)| TextId { hash: *hash, length: (*length).into() });
        ids.zip(self.meant_for.iter().copied())
    }

    pub(super) fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    fn hash(&self) -> u64 {
        let mut hasher = Xxh3::new();
        for hash in &self.hashes {
            hasher.update(&hash.to_le_bytes());
        }
        hasher.digest()
    }
}

impl Lists {
    fn shared(&mut self, lines: Lines) -> Arc<Lines> {
        let hash = lines.hash();
        let same = self.known.iter_hash(hash).find_map(|(own, known)| {
            known.upgrade().filter(|known| *own == hash && **known == lines)
        });
        if let Some(same) = same {
            return same;
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|(_, known)| known.strong_count() > 0);
            self.sweep_at = LISTS_MIN.max(2 * self.known.len());
        }
        let lines = Arc::new(lines);
        self.known.insert_unique(hash, (hash, Arc::downgrade(&lines)), |(hash, _)| *hash);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(seed: u64) -> Lines {
        let hashes = [seed, seed + 1].into();
        Lines {
            hashes,
            lengths: [3, 4].into(),
            meant_for: [Line::Series(0), Line::Dropped(0)].into(),
        }
    }

    #[test]
    fn equal_lists_are_one() {
        let mut lists = Lists::default();
        let (one, again, other) =
            (lists.shared(lines(1)), lists.shared(lines(1)), lists.shared(lines(2)));
        assert!(Arc::ptr_eq(&one, &again) && !Arc::ptr_eq(&one, &other));
        // The same texts, which are now meant for something else.
        let dropped = Lines { meant_for: [Line::Dropped(0), Line::Dropped(0)].into(), ..lines(1) };
        assert!(!Arc::ptr_eq(&one, &lists.shared(dropped)));
        drop((one, again));
        assert_eq!(*lists.shared(lines(1)), lines(1), "it is there again");
    }

    #[test]
    fn what_nobody_has_is_forgotten() {
        let mut lists = Lists::default();
        let kept: Vec<_> = (0..10).map(|n| lists.shared(lines(n * 2))).collect();
        for n in 100..10_000 {
            lists.shared(lines(n * 2));
            assert!(lists.known.len() <= LISTS_MIN);
        }
        assert!(kept.iter().zip(0..).all(|(one, n)| Arc::ptr_eq(one, &lists.shared(lines(n * 2)))));
    }
}
