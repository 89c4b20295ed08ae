//! What targets and senders say of their metrics, for destinations that get it in requests of its own.
//! Whoever scrapes or is pushed to puts it here; each destination's loop looks now and then.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use crate::wire::remote_write::Family;

/// Of one tenant's round to one destination; what is beyond is not sent.
const FAMILIES_MAX: usize = 200_000;

/// The sets that are said, each for as long as somebody holds it: nobody has to take one back.
#[derive(Clone, Debug, Default)]
pub struct Families(Arc<Mutex<Sets>>);

/// With the tenant of each, empty for none.
type Sets = Vec<(Arc<str>, Weak<[Family]>)>;

/// A tenant, and all that is said under it.
type OfTenant = (Arc<str>, Vec<Family>);

type HeldSets = Vec<Arc<[Family]>>;

impl Families {
    /// `set` is what a target or a sender says from now on; one that others say as well is added once.
    pub fn add(&self, tenant: &Arc<str>, set: &Arc<[Family]>) {
        let mut sets = self.lock();
        if sets.len() == sets.capacity() {
            sets.retain(|(_, set)| set.strong_count() > 0);
        }
        sets.push((Arc::clone(tenant), Arc::downgrade(set)));
    }

    /// Of each tenant each once, in order.
    pub(super) fn all(&self) -> Vec<OfTenant> {
        let mut sets: BTreeMap<Arc<str>, HeldSets> = BTreeMap::new();
        for (tenant, set) in &*self.lock() {
            if let Some(set) = set.upgrade() {
                sets.entry(Arc::clone(tenant)).or_default().push(set);
            }
        }
        sets.into_iter().map(|(tenant, sets)| (tenant, united(&sets))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Sets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn united(sets: &[Arc<[Family]>]) -> Vec<Family> {
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
            let of_tenant = |(tenant, all): OfTenant| {
                all.into_iter().map(move |family| format!("{tenant}:{}", family.metric))
            };
            families.all().into_iter().flat_map(of_tenant).collect()
        };
        let families = Families::default();
        let (nobody, tenant) = (Arc::from(""), Arc::from("t"));
        let (one, two) = (set(&["b", "a"]), set(&["c", "b"]));
        families.add(&nobody, &one);
        families.add(&tenant, &two);
        families.add(&nobody, &two);
        assert_eq!(names(&families), [":a", ":b", ":c", "t:b", "t:c"]);
        drop(one);
        assert_eq!(names(&families), [":b", ":c", "t:b", "t:c"]);
        for _ in 0..1000 {
            families.add(&tenant, &set(&["d"]));
        }
        assert!(families.lock().len() < 10);
    }
}
