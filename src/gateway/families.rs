//! What senders of 1.0 say of their metrics, in requests of their own: kept for as long as they repeat
//! it, as destinations are told from time to time.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{outbox::Families, wire::remote_write::Family};

/// Sets that are kept, one a request and sender; the one that was not repeated for longest goes first.
const SETS_MAX: usize = 1_024;
const FAMILIES_MAX: usize = 200_000;

pub(super) struct Told {
    families: Families,
    sets: Mutex<VecDeque<Arc<[Family]>>>,
}

impl Told {
    pub(super) fn new(families: Families) -> Self {
        Self { families, sets: Mutex::default() }
    }

    pub(super) fn add(&self, set: Vec<Family>) {
        if set.is_empty() {
            return;
        }
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = sets.iter().position(|known| **known == *set) {
            let known = sets.remove(at);
            sets.extend(known);
            return;
        }
        let set: Arc<[Family]> = set.into();
        self.families.add(&set);
        sets.push_back(set);
        let mut families: usize = sets.iter().map(|set| set.len()).sum();
        while sets.len() > SETS_MAX || families > FAMILIES_MAX && sets.len() > 1 {
            families -= sets.pop_front().map_or(0, |oldest| oldest.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(metric: &str) -> Family {
        Family { metric: metric.to_owned(), ..Family::default() }
    }

    #[test]
    fn what_is_repeated_is_kept_once_and_the_oldest_goes() {
        let told = Told::new(Families::default());
        let kept = || told.sets.lock().unwrap().iter().map(|set| set[0].metric.clone()).collect();
        for n in 0..SETS_MAX {
            told.add(vec![family(&n.to_string())]);
        }
        told.add(vec![family("0")]);
        told.add(Vec::new());
        told.add(vec![family("new")]);
        let names: Vec<String> = kept();
        assert_eq!(names.len(), SETS_MAX);
        assert_eq!((&*names[0], &*names[SETS_MAX - 2], &*names[SETS_MAX - 1]), ("2", "0", "new"));
    }
}
