//! What this node knows of every member, and how two such books become one: each rule takes the
//! same side wherever it is applied, so that nodes that have heard the same know the same, in
//! whatever order and however often they heard it.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    fleet::message::{Closure, MESSAGE_BYTES_MAX, Message, NodeKey, Record, Version},
    model::member::NodeId,
};

/// Members known, dead ones included. Beyond that many the longest dead is forgotten, and where all
/// live, the new one is not taken.
pub const RECORDS_MAX: usize = 1024;
/// The dead are remembered for a day, for those who come back to ask what they owned.
const FORGET_AFTER_MS: i64 = 24 * 3600 * 1000;
/// What an entry of `Message::Versions` takes at most.
const VERSION_BYTES_MAX: usize = 17 + 10 + 5 + 5;
const VERSIONS_PER_PAGE: usize = (MESSAGE_BYTES_MAX - 64) / VERSION_BYTES_MAX;

/// What became of what another knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    News,
    /// It is known, or too old to be of use.
    Known,
    /// A member that is not known, and the book is full of the living.
    NoRoom,
}

#[derive(Default)]
pub struct Records {
    records: BTreeMap<NodeId, Record>,
    /// Of all versions; equal where two nodes know the same.
    hash: u64,
}

impl Records {
    pub fn get(&self, id: NodeId) -> Option<&Record> {
        self.records.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Record)> {
        self.records.iter().map(|(&id, record)| (id, record))
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Takes in what another knows.
    pub fn merge(&mut self, heard: Record, fleet_ms: i64) -> Merged {
        let id = NodeId::from(heard.id);
        if is_expired(&heard, fleet_ms) {
            return Merged::Known;
        }
        if !self.has_room_for(id) {
            return Merged::NoRoom;
        }
        let Some(known) = self.records.get(&id) else {
            self.put(id, heard);
            return Merged::News;
        };
        let own_word = (heard.generation, heard.version) > (known.generation, known.version);
        let news = heard.closure.filter(|new| known.closure.is_none_or(|old| new.outweighs(&old)));
        if !own_word && news.is_none() {
            return Merged::Known;
        }
        let closure = news.or(known.closure);
        let said = if own_word { heard } else { known.clone() };
        self.put(id, Record { closure, ..said });
        Merged::News
    }

    /// Notes a death. True where it was news.
    pub fn close(&mut self, id: NodeId, closure: Closure) -> bool {
        let Some(known) = self.records.get(&id) else { return false };
        if known.closure.is_some_and(|old| !closure.outweighs(&old)) {
            return false;
        }
        let closed = Record { closure: Some(closure), ..known.clone() };
        self.put(id, closed);
        true
    }

    /// What a node says of itself replaces what it said.
    pub fn put(&mut self, id: NodeId, record: Record) {
        self.remove(id);
        self.hash ^= version_hash(&record);
        self.records.insert(id, record);
    }

    fn remove(&mut self, id: NodeId) {
        if let Some(old) = self.records.remove(&id) {
            self.hash ^= version_hash(&old);
        }
    }

    /// Forgets who has been dead for long. True where somebody was.
    pub fn forget_old(&mut self, fleet_ms: i64) -> bool {
        let old = self.records.iter().filter(|(_, record)| is_expired(record, fleet_ms));
        let old: Vec<NodeId> = old.map(|(&id, _)| id).collect();
        for &id in &old {
            self.remove(id);
        }
        !old.is_empty()
    }

    fn has_room_for(&mut self, id: NodeId) -> bool {
        if self.records.len() < RECORDS_MAX || self.records.contains_key(&id) {
            return true;
        }
        let dead = self.records.iter().filter(|(_, record)| record.is_closed());
        let longest = dead.min_by_key(|(_, record)| end_ms(record)).map(|(&id, _)| id);
        longest.inspect(|&id| self.remove(id)).is_some()
    }

    /// All that this node knows, in as many messages as it takes.
    pub fn versions(&self) -> Vec<Message> {
        let all: Vec<Version> = self.records.values().map(version_of).collect();
        if all.is_empty() {
            let (first, last) = (NodeId(0).into(), NodeId(u128::MAX).into());
            return vec![Message::Versions { first, last, versions: all }];
        }
        let pages = all.chunks(VERSIONS_PER_PAGE);
        let last_page = pages.len().saturating_sub(1);
        let mut first = NodeKey::from(NodeId(0));
        let mut messages = Vec::new();
        for (n, page) in pages.enumerate() {
            // Pages meet, so that an id between two of them is known to be missing.
            let end = page.last().expect("a chunk is not empty").id;
            let last = if n == last_page { NodeKey::from(NodeId(u128::MAX)) } else { end };
            messages.push(Message::Versions { first, last, versions: page.to_vec() });
            first = NodeId(NodeId::from(end).0.saturating_add(1)).into();
        }
        messages
    }

    /// What to tell one who knows `theirs` of the ids from `first` to `last`, and what to ask it for.
    pub fn differences(
        &self,
        first: NodeKey,
        last: NodeKey,
        theirs: &[Version],
    ) -> (Vec<NodeId>, Vec<NodeKey>) {
        let theirs: BTreeMap<NodeKey, &Version> = theirs.iter().map(|one| (one.id, one)).collect();
        let (mut tell, mut ask) = (Vec::new(), Vec::new());
        if first > last {
            return (tell, ask);
        }
        for (&id, record) in self.records.range(NodeId::from(first)..=NodeId::from(last)) {
            let mine = version_of(record);
            match theirs.get(&mine.id) {
                None => tell.push(id),
                Some(&their) if *their == mine => {}
                Some(their) => {
                    let other_death = their.closure_hash != mine.closure_hash;
                    let order =
                        (mine.generation, mine.version).cmp(&(their.generation, their.version));
                    if order.is_gt() || other_death {
                        tell.push(id);
                    }
                    if order.is_lt() || other_death {
                        ask.push(mine.id);
                    }
                }
            }
        }
        ask.extend(theirs.keys().filter(|&&key| !self.records.contains_key(&key.into())));
        (tell, ask)
    }

    /// The records of `ids`, in as few messages as hold them.
    pub fn told(&self, ids: impl IntoIterator<Item = NodeId>) -> Vec<Message> {
        let mut messages = Vec::new();
        let (mut page, mut page_bytes) = (Vec::new(), 0);
        for record in ids.into_iter().filter_map(|id| self.records.get(&id)) {
            let bytes = postcard::experimental::serialized_size(record).unwrap_or(0);
            // Four bytes: the kind of message and the number of records.
            if page_bytes + bytes + 4 > MESSAGE_BYTES_MAX {
                messages.push(Message::Records(std::mem::take(&mut page)));
                page_bytes = 0;
            }
            page.push(record.clone());
            page_bytes += bytes;
        }
        if !page.is_empty() {
            messages.push(Message::Records(page));
        }
        messages
    }
}

fn is_expired(record: &Record, fleet_ms: i64) -> bool {
    record.is_closed() && end_ms(record).saturating_add(FORGET_AFTER_MS) < fleet_ms
}

/// When a closed member's last interval ended; of one that never had any, when it started.
fn end_ms(record: &Record) -> i64 {
    let ends = record.effective().into_iter().filter_map(|interval| interval.until_ms);
    let death = record.death().map(|closure| closure.until_ms);
    ends.chain(death).max().unwrap_or(record.about.started_ms)
}

fn version_of(record: &Record) -> Version {
    let closure_hash = record.closure.map_or(0, |closure| {
        let bytes = postcard::to_stdvec(&closure).expect("plain values serialize into memory");
        // Never 0, which stands for no death.
        (xxh3_64(&bytes) >> 32) as u32 | 1
    });
    Version { id: record.id, generation: record.generation, version: record.version, closure_hash }
}

fn version_hash(record: &Record) -> u64 {
    let version = version_of(record);
    xxh3_64(&postcard::to_stdvec(&version).expect("plain values serialize into memory"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fleet::message::{About, Phase};

    fn record(id: u128, generation: u64, version: u32, death: Option<(u64, i64)>) -> Record {
        Record {
            id: NodeId(id).into(),
            generation,
            version,
            about: About::example(u32::try_from(generation).unwrap() * 100 + version),
            phase: Phase::Here,
            intervals: vec![(0, None)],
            closure: death.map(|(generation, until_ms)| Closure {
                generation,
                until_ms,
                by: NodeId(1).into(),
                forgotten: false,
            }),
        }
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let death = prop::option::of((0..4_u64, 0..5_i64));
        (0..6_u128, 0..4_u64, 0..4_u32, death).prop_map(|(id, g, v, d)| record(id, g, v, d))
    }

    fn book(records: &[Record]) -> Records {
        let mut book = Records::default();
        for record in records {
            book.merge(record.clone(), 0);
        }
        book
    }

    /// What `a` and `b` know after one exchange of what differs.
    fn exchange(a: &mut Records, b: &mut Records) {
        for message in a.versions() {
            let Message::Versions { first, last, versions } = message else { panic!() };
            let (tell, ask) = b.differences(first, last, &versions);
            let told = b.told(tell);
            let answered = a.told(ask.into_iter().map(NodeId::from));
            for (book, messages) in [(&mut *a, told), (&mut *b, answered)] {
                for message in messages {
                    assert!(message.bytes().len() <= MESSAGE_BYTES_MAX);
                    let Message::Records(records) = message else { panic!() };
                    for record in records {
                        book.merge(record, 0);
                    }
                }
            }
        }
    }

    #[test]
    fn the_dead_are_forgotten_after_a_day() {
        let mut book = book(&[record(1, 1, 1, Some((1, 1000))), record(2, 1, 1, None)]);
        let day = FORGET_AFTER_MS;
        assert!(!book.forget_old(day + 1000));
        assert!(book.forget_old(day + 1001));
        let dead = record(1, 1, 1, Some((1, 1000)));
        assert_eq!(book.merge(dead, day + 1001), Merged::Known, "nor taken back");
        assert_eq!(book.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn the_living_push_out_the_dead_and_not_each_other() {
        let mut full = Records::default();
        for (id, end_ms) in (0..RECORDS_MAX as u128).zip((0..=10).rev().chain(std::iter::repeat(0)))
        {
            let record = record(id, 1, 1, (id < 2).then_some((1, end_ms)));
            assert_eq!(full.merge(record, 0), Merged::News);
        }
        for (id, taken) in [(5000, Merged::News), (5001, Merged::News), (5002, Merged::NoRoom)] {
            assert_eq!(full.merge(record(id, 1, 1, None), 0), taken);
        }
        assert!(full.get(NodeId(0)).is_none() && full.get(NodeId(1)).is_none());
    }

    #[test]
    fn many_pages_are_one_book() {
        let mut a = book(&(0..200).map(|id| record(id * 3, 1, 1, None)).collect::<Vec<_>>());
        let mut b = book(&(0..300).map(|id| record(id * 2, 1, 2, None)).collect::<Vec<_>>());
        assert!(a.versions().len() > 5);
        assert!(a.versions().iter().all(|page| page.bytes().len() <= MESSAGE_BYTES_MAX));
        exchange(&mut a, &mut b);
        assert_eq!((a.hash(), a.records == b.records), (b.hash(), true));
    }

    proptest! {
        #[test]
        fn order_and_repetition_do_not_matter(
            heard in prop::collection::vec(any_record(), 0..30), seed in any::<u64>(),
        ) {
            let mut other = heard.clone();
            other.extend_from_slice(&heard[..heard.len() / 2]);
            other.sort_by_key(|record| xxh3_64(&[&seed.to_le_bytes()[..], &postcard::to_stdvec(record).unwrap()].concat()));
            let (a, b) = (book(&heard), book(&other));
            prop_assert_eq!(a.hash(), b.hash());
            prop_assert_eq!(a.records, b.records);
        }

        #[test]
        fn one_exchange_makes_one_book(
            a in prop::collection::vec(any_record(), 0..20), b in prop::collection::vec(any_record(), 0..20),
        ) {
            let (mut a, mut b) = (book(&a), book(&b));
            exchange(&mut a, &mut b);
            prop_assert_eq!(a.hash(), b.hash());
            prop_assert_eq!(a.records, b.records);
        }
    }
}
