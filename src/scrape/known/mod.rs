//! What one target has exposed before: each line's text by its hash, each series by its labels. A
//! known line costs a comparison and no allocation. Pure.
//!
//! Lines that stay as they are become runs (`run`, made by `settle`), which cost least. A run that a
//! line no longer fits comes apart: its lines are known one by one, until they have stayed for long
//! enough to be a run again.

mod lines;
mod loosen;
mod place;
mod run;
mod settle;
mod text;

use std::{borrow::Cow, mem};

use hashbrown::{HashMap, HashTable};

use self::place::Place;
pub(super) use self::{
    lines::{LineLists, Lines},
    run::Run,
    text::{Line, TextId, identity_of},
};
use crate::{
    outbox::{SeriesBlobs, SeriesRun, Shapings},
    scrape::{
        exemplars::LastExemplars,
        staleness::{End, Kind, Presence, Rounds},
    },
    wire::MetricKind,
};

/// Of a text: it leads to no series, or to none that is kept.
const NONE: u32 = u32::MAX;
/// Of a text: it leads to a series that is kept out.
const EXCLUDED: u32 = u32::MAX - 1;

/// After a run has come apart, how many scrapes a line must have stayed to be in one again; with
/// each further time twice as many, up to the second.
const PATIENCE_MIN: u16 = 8;
const PATIENCE_MAX: u16 = 64;
/// So often it is one less, where nothing came apart meanwhile.
const ROUNDS_TO_LESS_PATIENCE: u32 = 16;

#[derive(Clone, Copy, Debug)]
struct Text {
    hash: u64,
    length: u32,
    /// Or `NONE`, or `EXCLUDED`.
    series: u32,
    /// What came after it the last time. A target writes in the same order, as a rule.
    next: Place,
    seen: u32,
    /// Scrapes in a row in which it came where it was expected.
    stayed: u16,
    line: Line,
    /// Its sample was not a plain one: it had a timestamp of its own, or an exemplar.
    is_special: bool,
}

impl Text {
    fn id(&self) -> TextId {
        TextId { hash: self.hash, length: self.length }
    }
}

/// One label set, however many texts lead to it.
#[derive(Debug)]
pub(super) struct Series {
    /// By `identity_of`.
    pub(super) identity: u64,
    pub(super) blobs: SeriesBlobs,
    pub(super) presence: Presence,
    texts: u32,
}

/// Where a text leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    /// A rule drops it.
    Dropped,
    Series(u32),
    /// To one beyond the limit of series.
    Excluded,
    /// To a series that the scrape has no room for any more.
    Excess,
    Metadata,
}

/// What comes next, if the target writes as it did the last time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    Nothing,
    Sample(u32, TextId),
    Metadata(u32, TextId, Option<MetricKind>),
    Run(u32),
}

/// Whose markers are due.
pub(super) enum Ended<'a> {
    Series(&'a SeriesBlobs, Kind),
    /// All of them floats.
    Run(&'a SeriesRun),
}

#[derive(Debug)]
enum Piece {
    Whole(Run),
    /// It has come apart, to these texts in a row.
    Apart {
        first: u32,
        last: u32,
    },
}

#[derive(Debug)]
#[cfg_attr(test, expect(clippy::struct_excessive_bools, reason = "one is for tests alone"))]
pub(super) struct Known {
    lists: LineLists,
    texts: Vec<Text>,
    by_text: HashTable<u32>,
    series: Vec<Series>,
    by_labels: HashTable<u32>,
    runs: Vec<Piece>,
    /// By what their lines and series are found by; made when a line comes where none is expected.
    in_runs: Option<HashTable<(u64, u32)>>,
    pub(super) exemplars: LastExemplars,
    pub(super) rounds: Rounds,
    first: Place,
    last_reached: Place,
    kept_series: usize,
    patience: u16,
    /// In this round.
    has_come_apart: bool,
    has_repeats: bool,
    /// What is read this way can be read again, from the first line of a run.
    may_settle: bool,
    /// The reference that runs are compared with.
    #[cfg(test)]
    pub(super) stays_loose: bool,
}

impl Known {
    pub(super) fn new(rounds: Rounds, lists: LineLists) -> Self {
        Self {
            lists,
            texts: Vec::new(),
            by_text: HashTable::new(),
            series: Vec::new(),
            by_labels: HashTable::new(),
            runs: Vec::new(),
            in_runs: None,
            exemplars: LastExemplars::default(),
            rounds,
            first: Place::NOWHERE,
            last_reached: Place::NOWHERE,
            kept_series: 0,
            patience: 0,
            has_come_apart: false,
            has_repeats: false,
            may_settle: false,
            #[cfg(test)]
            stays_loose: false,
        }
    }

    /// Nothing of it is known any more.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.rounds, self.lists.clone());
    }

    /// A body follows.
    pub(super) fn begin(&mut self) {
        self.rounds.now += 1;
        self.last_reached = Place::NOWHERE;
        self.in_runs = None;
        let is_quiet = !mem::take(&mut self.has_come_apart);
        if is_quiet && self.rounds.now.is_multiple_of(ROUNDS_TO_LESS_PATIENCE) {
            self.patience = self.patience.saturating_sub(1);
        }
        self.has_repeats = false;
    }

    pub(super) fn set_may_settle(&mut self, may_settle: bool) {
        self.may_settle = may_settle;
        #[cfg(test)]
        {
            self.may_settle &= !self.stays_loose;
        }
    }

    #[inline]
    pub(super) fn expected(&self) -> Expected {
        let next = self.next();
        if let Some(at) = next.run() {
            return Expected::Run(at);
        }
        let at = next.0;
        match self.texts.get(at as usize) {
            None => Expected::Nothing,
            Some(text) => match text.line {
                Line::Metadata(kind) => Expected::Metadata(at, text.id(), kind),
                Line::Series(_) | Line::Dropped(_) => Expected::Sample(at, text.id()),
            },
        }
    }

    pub(super) fn find(&mut self, id: TextId, shapings: &Shapings) -> Option<u32> {
        let found = self.text_of(id);
        if found.is_none() && self.bring_out(id.hash, shapings) {
            return self.text_of(id);
        }
        found
    }

    /// The text stands on the present line.
    #[inline]
    pub(super) fn reach(&mut self, at: u32) -> Lead {
        let is_expected = self.next() == Place::of_text(at);
        self.link(Place::of_text(at));
        let text = &mut self.texts[at as usize];
        self.has_repeats |= text.seen == self.rounds.now;
        text.seen = self.rounds.now;
        text.stayed = if is_expected { text.stayed.saturating_add(1) } else { 0 };
        text.is_special = false;
        match (text.line, text.series) {
            (Line::Metadata(_), _) => Lead::Metadata,
            (_, NONE) => Lead::Dropped,
            (_, EXCLUDED) => Lead::Excluded,
            (_, series) => Lead::Series(series),
        }
    }

    /// A sample that was not known, on the present line; `context` is what it was read in.
    pub(super) fn add(&mut self, id: TextId, context: u8, lead: Lead) {
        let (series, line) = match lead {
            Lead::Series(series) => (series, Line::Series(context)),
            Lead::Excluded => (EXCLUDED, Line::Series(context)),
            Lead::Dropped | Lead::Excess | Lead::Metadata => (NONE, Line::Dropped(context)),
        };
        self.add_text(id, line, series);
    }

    /// The same for a line of metadata.
    pub(super) fn add_metadata(&mut self, id: TextId, kind: Option<MetricKind>) {
        self.add_text(id, Line::Metadata(kind), NONE);
    }

    /// The sample of the text that was reached last is more than a value.
    pub(super) fn note_special(&mut self) {
        if let Some(text) = self.texts.get_mut(self.last_reached.0 as usize) {
            text.is_special = true;
        }
    }

    pub(super) fn run(&self, at: u32) -> Option<&Run> {
        match &self.runs[at as usize] {
            Piece::Whole(run) => Some(run),
            Piece::Apart { .. } => None,
        }
    }

    /// All lines of the run stood in a row; whether its series are new.
    pub(super) fn see_run(&mut self, at: u32, timestamp_ms: i64) -> bool {
        self.link(Place::of_run(at));
        match &mut self.runs[at as usize] {
            Piece::Whole(run) => run.see(self.rounds, timestamp_ms),
            Piece::Apart { .. } => false,
        }
    }

    /// Where texts lead is to be found out anew. What is known of the series stays.
    pub(super) fn forget_texts(&mut self, shapings: &Shapings) {
        self.loosen_all(shapings);
        self.texts.clear();
        self.by_text.clear();
        self.runs.clear();
        for series in &mut self.series {
            series.texts = 0;
        }
        (self.first, self.last_reached) = (Place::NOWHERE, Place::NOWHERE);
    }

    pub(super) fn series_of(&mut self, identity: u64, shapings: &Shapings) -> Option<u32> {
        let found = self.loose_series_of(identity);
        if found.is_none() && self.bring_out(identity, shapings) {
            return self.loose_series_of(identity);
        }
        found
    }

    pub(super) fn add_series(
        &mut self,
        identity: u64,
        blobs: SeriesBlobs,
        presence: Presence,
    ) -> u32 {
        let at = index(self.series.len());
        self.series.push(Series { identity, blobs, presence, texts: 0 });
        let series = &self.series;
        self.by_labels.insert_unique(identity, at, |&at| series[at as usize].identity);
        at
    }

    #[inline]
    pub(super) fn series_mut(&mut self, at: u32) -> &mut Series {
        &mut self.series[at as usize]
    }

    /// The scrape at `timestamp_ms` is over: `ended` gets each that needs markers, and what stays
    /// becomes runs.
    pub(super) fn end(
        &mut self,
        end: End,
        timestamp_ms: i64,
        shapings: &Shapings,
        mut ended: impl FnMut(Ended<'_>),
    ) {
        let mut present = 0;
        for piece in &mut self.runs {
            let Piece::Whole(run) = piece else { continue };
            present += if run.seen() == self.rounds.now { run.series_count() } else { 0 };
            if run.end(self.rounds, end, timestamp_ms) {
                ended(Ended::Run(run.series()));
            }
        }
        for series in &mut self.series {
            present += usize::from(series.presence.seen() == self.rounds.now);
            if let Some(kind) = series.presence.end(self.rounds, end, timestamp_ms) {
                ended(Ended::Series(&series.blobs, kind));
            }
        }
        if end == End::Kept {
            self.rounds.kept = self.rounds.now;
            self.kept_series = present;
        }
        self.settle(end, timestamp_ms, shapings);
    }

    pub(super) fn set_clock_back(&mut self, timestamp_ms: i64) {
        for series in &mut self.series {
            series.presence.set_clock_back(timestamp_ms);
        }
        for piece in &mut self.runs {
            if let Piece::Whole(run) = piece {
                run.set_clock_back(timestamp_ms);
            }
        }
    }

    /// The series that owe a marker if they are not there any more.
    pub(super) fn live<'k>(
        &'k self,
        shapings: &'k Shapings,
    ) -> impl Iterator<Item = (u64, Kind, Cow<'k, SeriesBlobs>)> {
        let in_runs = self.live_runs().flat_map(|run| {
            let blobs = run.blobs(shapings).into_iter().map(Cow::Owned);
            run.identities().iter().zip(blobs).map(|(id, blobs)| (*id, Kind::Float, blobs))
        });
        in_runs.chain(self.series.iter().filter_map(|series| {
            let kind = series.presence.live()?;
            Some((series.identity, kind, Cow::Borrowed(&series.blobs)))
        }))
    }

    pub(super) fn live_identities(&self) -> impl Iterator<Item = u64> {
        let in_runs = self.live_runs().flat_map(|run| run.identities().iter().copied());
        let loose = self.series.iter().filter(|series| series.presence.live().is_some());
        in_runs.chain(loose.map(|series| series.identity))
    }

    /// A series that the target's former owner had in its last scrape, about `last_ms`; not added.
    pub(super) fn adopted(
        &mut self,
        (identity, kind, blobs): (u64, Kind, SeriesBlobs),
        last_ms: i64,
    ) -> Series {
        // To be known, a series must have been there in some round.
        self.rounds.now = self.rounds.now.max(1);
        let presence = Presence::adopted(kind, self.rounds.kept.max(1), last_ms);
        Series { identity, blobs, presence, texts: 0 }
    }

    /// The series that owe a marker or were just there, by the hash of their labels; the tables are
    /// empty after that. For when lines lead to other labels than before.
    pub(super) fn take_series(&mut self, shapings: &Shapings) -> HashMap<u64, Series> {
        self.loosen_all(shapings);
        let rounds = self.rounds;
        let exemplars = mem::take(&mut self.exemplars);
        let lists = self.lists.clone();
        let old = mem::replace(self, Self { exemplars, ..Self::new(rounds, lists) });
        old.series.into_iter().map(|series| (series.identity, series)).collect()
    }

    /// Series in the last scrape that was kept.
    pub(super) fn series_count(&self) -> usize {
        self.kept_series
    }

    /// Lines and series that are known one by one, and lines in runs.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        let in_runs = |piece: &Piece| match piece {
            Piece::Whole(run) => run.series_count(),
            Piece::Apart { .. } => 0,
        };
        let in_runs = self.runs.iter().map(in_runs).sum();
        (self.texts.len(), self.series.len() + in_runs, in_runs)
    }

    fn live_runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter_map(|piece| match piece {
            Piece::Whole(run) => Some(run).filter(|run| run.is_live()),
            Piece::Apart { .. } => None,
        })
    }

    /// Behind the last that was reached. A run that has come apart is its first line.
    #[inline]
    fn next(&self) -> Place {
        let next = match self.last_reached.run() {
            None => match self.texts.get(self.last_reached.0 as usize) {
                None => self.first,
                Some(text) => text.next,
            },
            Some(at) => match &self.runs[at as usize] {
                Piece::Whole(run) => run.next,
                Piece::Apart { last, .. } => self.texts[*last as usize].next,
            },
        };
        match next.run().map(|at| &self.runs[at as usize]) {
            Some(Piece::Apart { first, .. }) => Place::of_text(*first),
            Some(Piece::Whole(_)) | None => next,
        }
    }

    /// What stands here is what came after the last that was reached.
    #[inline]
    fn link(&mut self, place: Place) {
        let next = match self.last_reached.run() {
            None => match self.texts.get_mut(self.last_reached.0 as usize) {
                None => &mut self.first,
                Some(text) => &mut text.next,
            },
            Some(at) => match &mut self.runs[at as usize] {
                Piece::Whole(run) => &mut run.next,
                Piece::Apart { last, .. } => &mut self.texts[*last as usize].next,
            },
        };
        *next = place;
        self.last_reached = place;
    }

    fn add_text(&mut self, id: TextId, line: Line, series: u32) {
        let at = index(self.texts.len());
        // What came after the line before will most likely come after this one.
        let next = self.next();
        self.push_text(Text {
            hash: id.hash,
            length: id.length,
            series,
            next,
            seen: 0,
            stayed: 0,
            line,
            is_special: false,
        });
        self.reach(at);
    }

    fn push_text(&mut self, text: Text) {
        let at = index(self.texts.len());
        if let Some(series) = self.series.get_mut(text.series as usize) {
            series.texts += 1;
        }
        self.texts.push(text);
        let texts = &self.texts;
        self.by_text.insert_unique(text.hash, at, |&at| texts[at as usize].hash);
    }

    fn text_of(&self, id: TextId) -> Option<u32> {
        self.by_text.find(id.hash, |&at| self.texts[at as usize].id() == id).copied()
    }

    fn loose_series_of(&self, identity: u64) -> Option<u32> {
        let is_it = |at: &u32| self.series[*at as usize].identity == identity;
        self.by_labels.find(identity, is_it).copied()
    }
}

fn index(length: usize) -> u32 {
    u32::try_from(length).expect("a body of bounded size has fewer lines")
}
