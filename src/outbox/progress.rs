//! How far each line has come, for the position that is kept of it on disk: all up to there is done
//! with. Pure; part of `queue`.

use std::collections::{BTreeMap, BTreeSet};

use crate::{model::slot::Slot, outbox::entry::Entry};

#[derive(Debug, Default)]
pub(super) struct Progress {
    ways: BTreeMap<Line, Way>,
    /// Whose position is to be persisted.
    moved: BTreeSet<Line>,
}

/// What one slot has in the lane of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) slot: Slot,
    pub(super) divided: bool,
    pub(super) lane: usize,
}

#[derive(Debug, Default)]
struct Way {
    in_lane: usize,
    /// Of those, how many entered as they were appended, and a number that none of these is below:
    /// they leave in order.
    ordinary: usize,
    floor: u64,
    /// Those that had to wait leave in any order: the position stays below each.
    pinned: BTreeSet<u64>,
}

impl Line {
    pub(super) fn of(entry: &Entry, lane: usize) -> Self {
        Self { slot: entry.slot(), divided: entry.is_divided(), lane }
    }
}

impl Progress {
    /// As it was appended, or, where it is pinned, after it had to wait.
    pub(super) fn entered(&mut self, lane: usize, entry: &Entry) {
        let way = self.way(lane, entry);
        way.in_lane += 1;
        if !way.pinned.contains(&entry.sequence) {
            way.floor = if way.ordinary == 0 { entry.sequence } else { way.floor };
            way.ordinary += 1;
        }
    }

    /// The lane's first record is done with.
    pub(super) fn left_first(&mut self, lane: usize, entry: &Entry) {
        let way = self.way(lane, entry);
        way.in_lane -= 1;
        let was_pinned = way.pinned.remove(&entry.sequence);
        if !was_pinned {
            way.ordinary -= 1;
            way.floor = entry.sequence + 1;
        }
        if was_pinned || entry.place.is_some() {
            self.moved.insert(Line::of(entry, lane));
        }
    }

    /// From anywhere in the lane, to wait outside or to be forgotten.
    pub(super) fn left(&mut self, lane: usize, entry: &Entry) {
        let way = self.way(lane, entry);
        way.in_lane -= 1;
        way.ordinary -= usize::from(!way.pinned.contains(&entry.sequence));
    }

    pub(super) fn pin(&mut self, lane: usize, entry: &Entry) {
        self.way(lane, entry).pinned.insert(entry.sequence);
    }

    pub(super) fn unpin(&mut self, lane: usize, entry: &Entry) {
        self.way(lane, entry).pinned.remove(&entry.sequence);
        self.moved.insert(Line::of(entry, lane));
    }

    /// It has come to disk when it was done with already.
    pub(super) fn written_late(&mut self, line: Line) {
        self.moved.insert(line);
    }

    /// The lanes in which the slot has divided records.
    pub(super) fn lanes_of(&self, slot: Slot) -> impl Iterator<Item = usize> {
        let line = |lane| Line { slot, divided: true, lane };
        let ways = self.ways.range(line(usize::MIN)..=line(usize::MAX));
        ways.filter(|(_, way)| way.in_lane > 0).map(|(line, _)| line.lane)
    }

    /// The slots that have divided records in a lane.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        let ways = self.ways.iter().filter(|(line, way)| line.divided && way.in_lane > 0);
        ways.map(|(line, _)| line.slot)
    }

    /// The positions that have changed. No number above `last` was given away yet.
    pub(super) fn take(&mut self, last: u64) -> Vec<(Line, u64)> {
        let moved = std::mem::take(&mut self.moved);
        let position = |line: Line| {
            let way = self.ways.get(&line)?;
            let ordinary = if way.ordinary == 0 { last } else { way.floor - 1 };
            let pinned = way.pinned.first().map_or(u64::MAX, |first| first - 1);
            Some((line, ordinary.min(pinned)))
        };
        moved.into_iter().filter_map(position).collect()
    }

    fn way(&mut self, lane: usize, entry: &Entry) -> &mut Way {
        self.ways.entry(Line::of(entry, lane)).or_default()
    }
}
