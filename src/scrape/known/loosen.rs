//! A run comes apart, because a line no longer fits or comes where it is not expected. Part of `known`.

use std::mem;

use hashbrown::HashTable;

use crate::{
    outbox::Shapings,
    scrape::{
        known::{Known, NONE, PATIENCE_MAX, PATIENCE_MIN, Piece, Place, Text, index},
        staleness::Presence,
    },
};

impl Known {
    /// The run comes apart: from now on its lines are known one by one.
    pub(in crate::scrape) fn loosen(&mut self, at: u32, shapings: &Shapings) {
        let (first, number) = (index(self.texts.len()), at as usize);
        let Piece::Whole(run) =
            mem::replace(&mut self.runs[number], Piece::Apart { first, last: first })
        else {
            return;
        };
        if !mem::replace(&mut self.has_come_apart, true) {
            self.patience = (self.patience * 2).clamp(PATIENCE_MIN, PATIENCE_MAX);
        }
        for loose in run.apart(shapings) {
            let series = loose.series.map(|(identity, blobs)| {
                let presence = Presence::resumed(run.is_live(), run.seen(), run.last_ms());
                self.add_series(identity, blobs, presence)
            });
            let next = Place::of_text(index(self.texts.len()) + 1);
            self.push_text(Text {
                hash: loose.id.hash,
                length: loose.id.length,
                series: series.unwrap_or(NONE),
                next,
                seen: run.seen(),
                stayed: 0,
                line: loose.line,
                is_special: false,
            });
        }
        let last = index(self.texts.len()) - 1;
        self.texts[last as usize].next = run.next;
        self.runs[number] = Piece::Apart { first, last };
    }

    /// Loosens the run that has such a line or series; whether there was one.
    pub(super) fn bring_out(&mut self, key: u64, shapings: &Shapings) -> bool {
        if self.runs.is_empty() {
            return false;
        }
        let runs = &self.runs;
        let in_runs = self.in_runs.get_or_insert_with(|| keys_of(runs));
        let found: Vec<u32> =
            in_runs.iter_hash(key).filter(|(own, _)| *own == key).map(|(_, run)| *run).collect();
        let mut has_found = false;
        for at in found {
            has_found |= self.run(at).is_some();
            self.loosen(at, shapings);
        }
        has_found
    }

    pub(super) fn loosen_all(&mut self, shapings: &Shapings) {
        for at in 0..index(self.runs.len()) {
            self.loosen(at, shapings);
        }
    }
}

fn keys_of(runs: &[Piece]) -> HashTable<(u64, u32)> {
    let mut table = HashTable::new();
    for (at, piece) in (0..).zip(runs) {
        if let Piece::Whole(run) = piece {
            for key in run.keys() {
                table.insert_unique(key, (key, at), |(key, _)| *key);
            }
        }
    }
    table
}
