//! The records of a lane, in the order in which they are to leave. Pure; part of `lane`.
//!
//! Those that come as they are appended stand in order of sequence. Those that had to wait outside
//! go before them, as they are older, and among themselves by time: what several lines had to keep
//! for an hour then leaves round by round, many streams in a request, and not line by line.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;

use crate::{model::slot::Slot, outbox::entry::Entry};

#[derive(Debug, Default)]
pub(super) struct Entries {
    late: BTreeMap<LateKey, Entry>,
    /// By sequence.
    late_keys: HashMap<u64, LateKey>,
    /// The last time that was given to one of a slot: the order within a line is that in which they
    /// enter, whatever the clocks of their makers said.
    late_ms: BTreeMap<Slot, i64>,
    ordinary: VecDeque<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LateKey {
    time_ms: i64,
    /// Rises with each that enters.
    order: u64,
}

/// A record that was taken out from the front, and can be put back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) entry: Entry,
    late: Option<LateKey>,
}

impl Entries {
    /// As it is appended.
    pub(super) fn push(&mut self, entry: Entry) {
        self.ordinary.push_back(entry);
    }

    /// After it had to wait; `order` is above that of all that did before.
    pub(super) fn push_late(&mut self, entry: Entry, order: u64) {
        let last_ms = self.late_ms.entry(entry.slot()).or_insert(i64::MIN);
        *last_ms = entry.appended_ms.max(*last_ms);
        let key = LateKey { time_ms: *last_ms, order };
        self.late_keys.insert(entry.sequence, key);
        self.late.insert(key, entry);
    }

    pub(super) fn pop(&mut self) -> Option<Taken> {
        if let Some((key, entry)) = self.late.pop_first() {
            self.late_keys.remove(&entry.sequence);
            return Some(Taken { entry, late: Some(key) });
        }
        self.ordinary.pop_front().map(|entry| Taken { entry, late: None })
    }

    /// Those that were taken last, in the order in which they were.
    pub(super) fn put_back(&mut self, taken: Vec<Taken>) {
        for Taken { entry, late } in taken.into_iter().rev() {
            match late {
                Some(key) => {
                    self.late_keys.insert(entry.sequence, key);
                    self.late.insert(key, entry);
                }
                None => self.ordinary.push_front(entry),
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.late.values().chain(&self.ordinary)
    }

    pub(super) fn len(&self) -> usize {
        self.late.len() + self.ordinary.len()
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Entry> {
        match self.late_keys.get(&sequence) {
            Some(key) => self.late.get(key),
            None => self.ordinary.get(self.index_of(sequence)?),
        }
    }

    pub(super) fn get_mut(&mut self, sequence: u64) -> Option<&mut Entry> {
        if let Some(key) = self.late_keys.get(&sequence) {
            return self.late.get_mut(key);
        }
        let at = self.index_of(sequence)?;
        self.ordinary.get_mut(at)
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<Entry> {
        match self.late_keys.remove(&sequence) {
            Some(key) => self.late.remove(&key),
            None => self.ordinary.remove(self.index_of(sequence)?),
        }
    }

    /// Takes out all that go; where that is a whole slot, it may enter again in another order.
    pub(super) fn pull(&mut self, goes: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let pulled = self.withdraw(goes);
        for entry in &pulled {
            self.late_ms.remove(&entry.slot());
        }
        pulled
    }

    /// Takes out all that go, and none of which comes back.
    pub(super) fn withdraw(&mut self, goes: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut pulled = Vec::new();
        let mut stays = |entry: &Entry| {
            let goes = goes(entry);
            if goes {
                pulled.push(*entry);
            }
            !goes
        };
        self.late.retain(|_, entry| stays(entry));
        self.ordinary.retain(|entry| stays(entry));
        for entry in &pulled {
            self.late_keys.remove(&entry.sequence);
        }
        pulled
    }

    fn index_of(&self, sequence: u64) -> Option<usize> {
        self.ordinary.binary_search_by_key(&sequence, |entry| entry.sequence).ok()
    }
}
