//! What the targets that are scraped here say of their metrics, for destinations that get it in
//! requests of its own. Whoever scrapes puts it here; each destination's loop looks now and then.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use crate::wire::remote_write::Family;

/// Of one destination's round; what is beyond is not sent.
const FAMILIES_MAX: usize = 200_000;

/// The sets that targets say, each for as long as a target holds it: nobody has to take one back.
#[derive(Clone, Debug, Default)]
pub struct Families(Arc<Mutex<Sets>>);

type Sets = Vec<Weak<[Family]>>;

impl Families {
    /// `set` is what a target says from now on; one that others say as well is added once.
    pub fn add(&self, set: &Arc<[Family]>) {
        let mut sets = self.lock();
        if sets.len() == sets.capacity() {
            sets.retain(|set| set.strong_count() > 0);
        }
        sets.push(Arc::downgrade(set));
    }

    /// Each once, in order.
    pub(super) fn all(&self) -> Vec<Family> {
        let sets: Vec<Arc<[Family]>> = self.lock().iter().filter_map(Weak::upgrade).collect();
        let mut told = BTreeSet::new();
        for family in sets.iter().flat_map(|set| set.iter()) {
            told.insert((&*family.metric, family.kind.name(), &*family.help, &*family.unit));
            if told.len() == FAMILIES_MAX {
                break;
            }
        }
        let mut all: Vec<Family> = sets
            .iter()
            .flat_map(|set| set.iter())
            .filter(|family| {
                told.remove(&(&*family.metric, family.kind.name(), &*family.help, &*family.unit))
            })
            .cloned()
            .collect();
        all.sort_unstable_by(|one, other| one.metric.cmp(&other.metric));
        all
    }

    fn lock(&self) -> MutexGuard<'_, Sets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_comes_once_and_for_as_long_as_it_is_said() {
        let set = |metrics: &[&str]| -> Arc<[Family]> {
            let family = |name: &&str| Family { metric: (*name).to_owned(), ..Family::default() };
            metrics.iter().map(family).collect()
        };
        let names = |families: &Families| -> Vec<String> {
            families.all().into_iter().map(|family| family.metric).collect()
        };
        let families = Families::default();
        let (one, two) = (set(&["b", "a"]), set(&["c", "b"]));
        families.add(&one);
        families.add(&two);
        assert_eq!(names(&families), ["a", "b", "c"]);
        drop(one);
        assert_eq!(names(&families), ["b", "c"]);
        for _ in 0..1000 {
            families.add(&set(&["d"]));
        }
        assert!(families.lock().len() < 10);
    }
}
