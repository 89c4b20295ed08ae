//! What one target has exposed before: each line's text by its hash, each series by its labels. A
//! known line costs a comparison and no allocation. Pure.

use hashbrown::{HashMap, HashTable};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    outbox::SeriesBlobs,
    scrape::{
        exemplars::LastExemplars,
        staleness::{End, Kind, Presence, Rounds},
    },
};

/// Of the tables: no such entry.
const NONE: u32 = u32::MAX;
/// Of a text: it leads to a series that is kept out.
const EXCLUDED: u32 = u32::MAX - 1;

/// What was not exposed for so many scrapes is forgotten at the next clearance.
const ROUNDS_KEPT_MAX: u32 = 2;
/// At the latest so often is cleared; at once where a quarter or more could be forgotten. So a
/// cache holds what the last few scrapes held, and one that hardly changes is not rebuilt for it.
const ROUNDS_TO_CLEARANCE: u32 = 16;

/// How a line's text is recognised: the text itself would be most of what a target costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TextId {
    hash: u64,
    length: u32,
}

impl TextId {
    /// `context` is what else decides the labels of the line.
    #[inline]
    pub(super) fn of(text: &[u8], context: u8) -> Self {
        let length = u32::try_from(text.len()).expect("a line has a limit far below");
        Self { hash: xxh3_64_with_seed(text, u64::from(context)), length }
    }

    pub(super) fn length(self) -> usize {
        self.length as usize
    }
}

#[derive(Clone, Copy, Debug)]
struct Text {
    id: TextId,
    /// `NONE`: a rule drops it. `EXCLUDED`: the limit of series does.
    series: u32,
    /// The text that came after it the last time. A target writes in the same order, as a rule.
    next: u32,
    seen: u32,
}

/// One label set, however many texts lead to it.
#[derive(Debug)]
pub(super) struct Series {
    /// The hash of the labels.
    pub(super) identity: u128,
    pub(super) blobs: SeriesBlobs,
    pub(super) presence: Presence,
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
}

#[derive(Debug)]
pub(super) struct Known {
    texts: Vec<Text>,
    by_text: HashTable<u32>,
    series: Vec<Series>,
    by_labels: HashTable<u32>,
    pub(super) exemplars: LastExemplars,
    pub(super) rounds: Rounds,
    first: u32,
    last_reached: u32,
    kept_series: usize,
}

impl Default for Known {
    fn default() -> Self {
        Self::new(Rounds::default())
    }
}

impl Known {
    pub(super) fn new(rounds: Rounds) -> Self {
        Self {
            texts: Vec::new(),
            by_text: HashTable::new(),
            series: Vec::new(),
            by_labels: HashTable::new(),
            exemplars: LastExemplars::default(),
            rounds,
            first: NONE,
            last_reached: NONE,
            kept_series: 0,
        }
    }

    /// A body follows.
    pub(super) fn begin(&mut self) {
        self.rounds.now += 1;
        self.last_reached = NONE;
    }

    /// The text that the next line has, if the target writes as it did the last time.
    #[inline]
    pub(super) fn expected(&self) -> Option<(u32, TextId)> {
        let at = self.texts.get(self.last_reached as usize).map_or(self.first, |last| last.next);
        self.texts.get(at as usize).map(|text| (at, text.id))
    }

    pub(super) fn find(&self, id: TextId) -> Option<u32> {
        self.by_text.find(id.hash, |&at| self.texts[at as usize].id == id).copied()
    }

    /// The text stands on the present line.
    #[inline]
    pub(super) fn reach(&mut self, at: u32) -> Lead {
        match self.texts.get_mut(self.last_reached as usize) {
            Some(last) => last.next = at,
            None => self.first = at,
        }
        self.last_reached = at;
        let text = &mut self.texts[at as usize];
        text.seen = self.rounds.now;
        match text.series {
            NONE => Lead::Dropped,
            EXCLUDED => Lead::Excluded,
            series => Lead::Series(series),
        }
    }

    /// A text that was not known, on the present line.
    pub(super) fn add(&mut self, id: TextId, lead: Lead) {
        let at = index(self.texts.len());
        let series = match lead {
            Lead::Dropped | Lead::Excess => NONE,
            Lead::Excluded => EXCLUDED,
            Lead::Series(series) => series,
        };
        // What came after the line before will most likely come after this one.
        let next = self.expected().map_or(NONE, |(next, _)| next);
        self.texts.push(Text { id, series, next, seen: self.rounds.now });
        let texts = &self.texts;
        self.by_text.insert_unique(id.hash, at, |&at| texts[at as usize].id.hash);
        self.reach(at);
    }

    /// Where texts lead is to be found out anew. What is known of the series stays.
    pub(super) fn forget_texts(&mut self) {
        self.texts.clear();
        self.by_text.clear();
        (self.first, self.last_reached) = (NONE, NONE);
    }

    pub(super) fn series_of(&self, identity: u128) -> Option<u32> {
        let found = self
            .by_labels
            .find(short(identity), |&at| self.series[at as usize].identity == identity);
        found.copied()
    }

    pub(super) fn add_series(
        &mut self,
        identity: u128,
        blobs: SeriesBlobs,
        presence: Presence,
    ) -> u32 {
        let at = index(self.series.len());
        self.series.push(Series { identity, blobs, presence });
        let series = &self.series;
        self.by_labels
            .insert_unique(short(identity), at, |&at| short(series[at as usize].identity));
        at
    }

    #[inline]
    pub(super) fn series_mut(&mut self, at: u32) -> &mut Series {
        &mut self.series[at as usize]
    }

    /// The scrape is over: `ended` gets each series that needs a marker.
    pub(super) fn end(
        &mut self,
        end: End,
        timestamp_ms: i64,
        mut ended: impl FnMut(&SeriesBlobs, Kind),
    ) {
        let mut present = 0;
        for series in &mut self.series {
            present += usize::from(series.presence.seen() == self.rounds.now);
            if let Some(kind) = series.presence.end(self.rounds, end, timestamp_ms) {
                ended(&series.blobs, kind);
            }
        }
        if end == End::Kept {
            self.rounds.kept = self.rounds.now;
            self.kept_series = present;
        }
        self.clear_out();
    }

    pub(super) fn set_clock_back(&mut self, timestamp_ms: i64) {
        for series in &mut self.series {
            series.presence.set_clock_back(timestamp_ms);
        }
    }

    /// The series that owe a marker if they are not there any more.
    pub(super) fn live(&self) -> impl Iterator<Item = (u128, Kind, &SeriesBlobs)> {
        self.series
            .iter()
            .filter_map(|series| Some((series.identity, series.presence.live()?, &series.blobs)))
    }

    /// A series that the target's former owner had in its last scrape, about `last_ms`; not added.
    pub(super) fn adopted(
        &mut self,
        (identity, kind, blobs): (u128, Kind, SeriesBlobs),
        last_ms: i64,
    ) -> Series {
        // To be known, a series must have been there in some round.
        self.rounds.now = self.rounds.now.max(1);
        let presence = Presence::adopted(kind, self.rounds.kept.max(1), last_ms);
        Series { identity, blobs, presence }
    }

    /// The series that owe a marker or were just there, by the hash of their labels; the tables are
    /// empty after that. For when lines lead to other labels than before.
    pub(super) fn take_series(&mut self) -> HashMap<u128, Series> {
        let rounds = self.rounds;
        let exemplars = std::mem::take(&mut self.exemplars);
        let old = std::mem::replace(self, Self { exemplars, ..Self::new(rounds) });
        old.series.into_iter().map(|series| (series.identity, series)).collect()
    }

    /// Series in the last scrape that was kept.
    pub(super) fn series_count(&self) -> usize {
        self.kept_series
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.texts.len(), self.series.len())
    }

    fn clear_out(&mut self) {
        let oldest = self.rounds.now.saturating_sub(ROUNDS_KEPT_MAX);
        let keeps_series =
            |series: &Series| series.presence.live().is_some() || series.presence.seen() >= oldest;
        let idle_texts = self.texts.iter().filter(|text| text.seen < oldest).count();
        let idle_series = self.series.iter().filter(|series| !keeps_series(series)).count();
        let is_time = self.rounds.now.is_multiple_of(ROUNDS_TO_CLEARANCE);
        let is_much = idle_texts * 4 >= self.texts.len() || idle_series * 4 >= self.series.len();
        if idle_texts + idle_series == 0 || !(is_time || is_much) {
            return;
        }
        let old = std::mem::replace(self, Self::new(self.rounds));
        self.kept_series = old.kept_series;
        self.exemplars = old.exemplars;
        let mut moved = vec![NONE; old.series.len()];
        self.series.reserve_exact(old.series.len() - idle_series);
        for (from, series) in old.series.into_iter().enumerate() {
            if keeps_series(&series) {
                moved[from] = self.add_series(series.identity, series.blobs, series.presence);
            }
        }
        self.texts.reserve_exact(old.texts.len() - idle_texts);
        // In the order of the target, so that memory is walked in order as well.
        let mut at = old.first;
        let mut placed = vec![false; old.texts.len()];
        let chained = std::iter::from_fn(|| {
            let text = *old.texts.get(at as usize)?;
            let is_first_visit = !std::mem::replace(&mut placed[at as usize], true);
            at = text.next;
            is_first_visit.then_some(text)
        });
        let mut ordered: Vec<Text> = chained.collect();
        ordered.extend(old.texts.iter().zip(&placed).filter(|(_, p)| !**p).map(|(text, _)| *text));
        for text in ordered.into_iter().filter(|text| text.seen >= oldest) {
            let lead = match moved.get(text.series as usize) {
                Some(&series) => Lead::Series(series),
                None if text.series == EXCLUDED => Lead::Excluded,
                None => Lead::Dropped,
            };
            self.add(text.id, lead);
            self.texts.last_mut().expect("it was just added").seen = text.seen;
        }
        let mut exemplars = std::mem::take(&mut self.exemplars);
        exemplars.retain(|identity| self.series_of(identity).is_some());
        self.exemplars = exemplars;
    }
}

fn index(length: usize) -> u32 {
    u32::try_from(length).expect("a body of bounded size has fewer lines")
}

pub(super) fn short(identity: u128) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
    let half = identity as u64;
    half
}
