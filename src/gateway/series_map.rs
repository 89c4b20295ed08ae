//! The series of one slot by their keys, for `ledger`. Senders push their series in the same order time
//! and again, so the one behind the last is looked at before any other: what is in order is found without
//! a search, and lies together in memory. Pure.

use std::mem;

use hashbrown::HashTable;

use crate::model::identity::SeriesKey;

#[derive(Debug)]
pub(super) struct SeriesMap<T> {
    /// In the order in which they came first, as far as none is gone.
    entries: Vec<(SeriesKey, T)>,
    /// Where each lies.
    places: HashTable<u32>,
    /// Behind the one that was found last.
    next: usize,
}

impl<T> Default for SeriesMap<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), places: HashTable::new(), next: 0 }
    }
}

impl<T> SeriesMap<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|(_, value)| value)
    }

    pub(super) fn get(&self, key: SeriesKey) -> Option<&T> {
        self.place_of(key).map(|place| &self.entries[place].1)
    }

    pub(super) fn get_mut(&mut self, key: SeriesKey) -> Option<&mut T> {
        let is_next = self.entries.get(self.next).is_some_and(|(next, _)| *next == key);
        let place = if is_next { self.next } else { self.place_of(key)? };
        self.next = place + 1;
        Some(&mut self.entries[place].1)
    }

    /// Of one that is not known yet.
    pub(super) fn add(&mut self, key: SeriesKey, value: T) {
        debug_assert!(self.place_of(key).is_none(), "it is new");
        let place = u32::try_from(self.entries.len()).expect("a ledger has fewer series");
        self.entries.push((key, value));
        let entries = &self.entries;
        self.places.insert_unique(key.0, place, |place| entries[*place as usize].0.0);
        self.next = self.entries.len();
    }

    pub(super) fn remove(&mut self, key: SeriesKey) -> Option<T> {
        let place = self.forget_place(key)?;
        let last = self.entries.len() - 1;
        if place < last {
            // The last one fills the hole.
            let moved = self.entries[last].0;
            let found = self.places.find_mut(moved.0, |found| *found as usize == last);
            *found.expect("each has its place") =
                u32::try_from(place).expect("it is before the last");
        }
        Some(self.entries.swap_remove(place).1)
    }

    /// Takes out those for which `is_gone`.
    pub(super) fn extract_if(&mut self, is_gone: impl Fn(&T) -> bool) -> Vec<T> {
        if !self.values().any(&is_gone) {
            return Vec::new();
        }
        let mut gone = Vec::new();
        for (key, value) in mem::take(self).entries {
            if is_gone(&value) {
                gone.push(value);
            } else {
                self.add(key, value);
            }
        }
        gone
    }

    fn place_of(&self, key: SeriesKey) -> Option<usize> {
        let is_it = |place: &u32| self.entries[*place as usize].0 == key;
        self.places.find(key.0, is_it).map(|place| *place as usize)
    }

    fn forget_place(&mut self, key: SeriesKey) -> Option<usize> {
        let entries = &self.entries;
        let is_it = |place: &u32| entries[*place as usize].0 == key;
        let found = self.places.find_entry(key.0, is_it).ok()?;
        Some(found.remove().0 as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Put(u64, u32),
        Remove(u64),
        Drop(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0_u64..40, any::<u32>()).prop_map(|(key, value)| Step::Put(key, value)),
            2 => (0_u64..40).prop_map(Step::Remove),
            1 => (2_u32..9).prop_map(Step::Drop),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec(step(), 1..200)) {
            let (mut map, mut model) = (SeriesMap::default(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Put(key, value) => {
                        match map.get_mut(SeriesKey(key)) {
                            Some(known) => *known = value,
                            None => map.add(SeriesKey(key), value),
                        }
                        model.insert(key, value);
                    }
                    Step::Remove(key) => {
                        prop_assert_eq!(map.remove(SeriesKey(key)), model.remove(&key));
                    }
                    Step::Drop(divisor) => {
                        let mut gone = map.extract_if(|value| value.is_multiple_of(divisor));
                        gone.sort_unstable();
                        let drops = |_: &u64, value: &mut u32| value.is_multiple_of(divisor);
                        let mut expected: Vec<u32> =
                            model.extract_if(.., drops).map(|(_, value)| value).collect();
                        expected.sort_unstable();
                        prop_assert_eq!(gone, expected);
                    }
                }
                prop_assert_eq!(map.values().count(), model.len());
                for key in 0..40 {
                    prop_assert_eq!(map.get(SeriesKey(key)), model.get(&key));
                }
            }
        }
    }
}
