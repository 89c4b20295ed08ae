//! What senders of 1.0 say of their metrics, in requests of their own: kept for as long as they repeat
//! it, as destinations are told from time to time, under the tenant of each.

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
    sets: Mutex<VecDeque<Set>>,
}

/// A tenant, empty for none, and what one of its senders says.
type Set = (Arc<str>, Arc<[Family]>);

impl Told {
    pub(super) fn new(families: Families) -> Self {
        Self { families, sets: Mutex::default() }
    }

    pub(super) fn add(&self, tenant: &Arc<str>, set: Vec<Family>) {
        if set.is_empty() {
            return;
        }
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = sets.iter().position(|(whose, known)| whose == tenant && **known == *set)
        {
            let known = sets.remove(at);
            sets.extend(known);
            return;
        }
        let set: Arc<[Family]> = set.into();
        self.families.add(tenant, &set);
        sets.push_back((Arc::clone(tenant), set));
        let mut families: usize = sets.iter().map(|(_, set)| set.len()).sum();
        while sets.len() > SETS_MAX || families > FAMILIES_MAX && sets.len() > 1 {
            families -= sets.pop_front().map_or(0, |(_, oldest)| oldest.len());
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
        let tenant = Arc::from("t");
        let kept = || -> Vec<String> {
            let sets = told.sets.lock().unwrap();
            sets.iter().map(|(tenant, set)| format!("{tenant}{}", set[0].metric)).collect()
        };
        for n in 0..SETS_MAX {
            told.add(&tenant, vec![family(&n.to_string())]);
        }
        told.add(&tenant, vec![family("0")]);
        told.add(&tenant, Vec::new());
        told.add(&Arc::from("u"), vec![family("0")]);
        let names = kept();
        assert_eq!(names.len(), SETS_MAX);
        let ends = [0, SETS_MAX - 2, SETS_MAX - 1].map(|at| &*names[at]);
        assert_eq!(ends, ["t2", "t0", "u0"]);
    }
}
