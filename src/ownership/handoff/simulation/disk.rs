//! One line on a simulated member's disk, which outlives the process: what is to be sent, what is set
//! aside, and what is known to have been sent.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    model::slot::StreamKey,
    ownership::handoff::{Record, RecordName, Saved, Sent},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Unsent,
    /// Extracted, and being given.
    SetAside,
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    records: BTreeMap<RecordName, (Record, Place)>,
    sent: BTreeMap<StreamKey, i64>,
    pub(super) saved: Option<Saved>,
}

impl Disk {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &RecordName> {
        self.records.keys()
    }

    pub(super) fn get(&self, name: &RecordName) -> Option<Record> {
        self.records.get(name).map(|(record, _)| *record)
    }

    pub(super) fn add(&mut self, record: Record) {
        self.records.entry(record.name).or_insert((record, Place::Unsent));
    }

    pub(super) fn put_back(&mut self) {
        self.records.values_mut().for_each(|(_, place)| *place = Place::Unsent);
    }

    /// All that is here, and what is known to have been sent.
    pub(super) fn set_aside(&mut self) -> (VecDeque<Record>, Vec<Sent>) {
        self.records.values_mut().for_each(|(_, place)| *place = Place::SetAside);
        let records = self.records.values().map(|(record, _)| *record).collect();
        let sent = self.sent.iter();
        let sent = sent.map(|(stream, ms)| Sent { stream: *stream, newest_ms: *ms }).collect();
        (records, sent)
    }

    pub(super) fn bury(&mut self, names: &[RecordName]) {
        for name in names {
            let buried = self.records.remove(name);
            assert!(buried.is_none_or(|(_, place)| place == Place::SetAside));
        }
    }

    pub(super) fn forget(&mut self, names: &[RecordName]) {
        for name in names {
            self.records.remove(name);
        }
    }

    /// At most one round of a stream.
    pub(super) fn next_request(
        &self,
        before_ms: i64,
        round: &dyn Fn(&RecordName) -> i64,
    ) -> Vec<RecordName> {
        let mut rounds = BTreeMap::new();
        let mut fits = |name: &RecordName, stream: StreamKey| {
            let round = round(name);
            *rounds.entry(stream).or_insert(round) == round
        };
        self.records
            .iter()
            .take_while(|(name, _)| name.interval_ms < before_ms)
            .filter(|(_, (_, place))| *place == Place::Unsent)
            .map_while(|(name, (record, _))| fits(name, record.stream).then_some(*name))
            .collect()
    }

    pub(super) fn sent(&mut self, record: &Record) {
        self.records.remove(&record.name);
        note(&mut self.sent, record);
    }

    /// The newest instant of each stream that was sent; what is under way may have arrived.
    pub(super) fn sent_with<'a>(
        &self,
        under_way: impl Iterator<Item = &'a RecordName>,
    ) -> BTreeMap<StreamKey, i64> {
        let mut sent = self.sent.clone();
        for record in under_way.filter_map(|name| self.get(name)) {
            note(&mut sent, &record);
        }
        sent
    }

    /// What others know to be at the destination; what is here and older is late, and gone.
    pub(super) fn learn(&mut self, sent: &[Sent]) -> Vec<Record> {
        let mut late = Vec::new();
        for Sent { stream, newest_ms } in sent {
            raise(&mut self.sent, *stream, *newest_ms);
            let is_late = |_: &RecordName, (record, _): &mut (Record, Place)| {
                !record.pushed && record.stream == *stream && record.oldest_ms <= *newest_ms
            };
            late.extend(self.records.extract_if(.., is_late).map(|(_, (record, _))| record));
        }
        late
    }
}

/// What is pushed is never late by its stream, which has many series.
fn note(sent: &mut BTreeMap<StreamKey, i64>, record: &Record) {
    if !record.pushed {
        raise(sent, record.stream, record.oldest_ms);
    }
}

fn raise(sent: &mut BTreeMap<StreamKey, i64>, stream: StreamKey, instant_ms: i64) {
    let newest = sent.entry(stream).or_insert(instant_ms);
    *newest = instant_ms.max(*newest);
}
