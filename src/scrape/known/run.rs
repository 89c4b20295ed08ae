//! Lines that come again in the same order, scrape after scrape, as one: what recognises them, and
//! their labels compressed. Some 40 bytes a series instead of 400, and no table is asked for them.

use std::sync::Arc;

use crate::{
    outbox::{SeriesBlobs, SeriesRun, Shapings},
    scrape::{
        known::{
            Place,
            lines::{LineLists, Lines},
            text::{Line, TextId},
        },
        staleness::{End, Rounds},
    },
};

/// In a run. More share more of their labels; fewer are less work when one of them changes.
pub(super) const LINES_MAX: usize = 1_024;
/// Of a text; a longer one is in no run.
pub(super) const TEXT_LENGTH_MAX: u32 = 0xffff;

#[derive(Debug)]
pub(in crate::scrape) struct Run {
    lines: Arc<Lines>,
    /// Of the labels; in the order of the lines, without those that are dropped.
    identities: Box<[u64]>,
    series: Arc<SeriesRun>,
    /// Of the last samples that were taken.
    last_ms: i64,
    /// The round in which they were.
    seen: u32,
    /// Markers are owed when it is not there any more.
    is_live: bool,
    pub(super) next: Place,
}

/// One line of a run that has come apart.
pub(super) struct Loose {
    pub(super) id: TextId,
    pub(super) line: Line,
    pub(super) series: Option<(u64, SeriesBlobs)>,
}

impl Run {
    /// Of lines that were all read in the scrape `seen`, at `timestamp_ms`, and the series that they
    /// lead to. `None` where the labels are too long to be one.
    pub(super) fn of(
        lines: &[(TextId, Line)],
        series: &[(u64, &SeriesBlobs)],
        (shapings, lists): (&Shapings, &LineLists),
        (seen, timestamp_ms): (u32, i64),
    ) -> Option<Self> {
        let run = shapings.run_of(series.iter().map(|(_, blobs)| *blobs), timestamp_ms)?;
        Some(Self {
            lines: Lines::of(lines, lists)?,
            identities: series.iter().map(|(identity, _)| *identity).collect(),
            series: Arc::new(run),
            last_ms: timestamp_ms,
            seen,
            is_live: true,
            next: Place::NOWHERE,
        })
    }

    pub(in crate::scrape) fn lines(&self) -> &Arc<Lines> {
        &self.lines
    }

    pub(in crate::scrape) fn series_count(&self) -> usize {
        self.identities.len()
    }

    pub(in crate::scrape) fn series(&self) -> &Arc<SeriesRun> {
        &self.series
    }

    /// Whether samples at that time can follow its last ones.
    pub(in crate::scrape) fn takes(&self, timestamp_ms: i64) -> bool {
        timestamp_ms > self.last_ms && self.series.takes(timestamp_ms)
    }

    /// Its samples are taken; whether the series were not there in the last scrape that was kept.
    pub(super) fn see(&mut self, rounds: Rounds, timestamp_ms: i64) -> bool {
        let is_new = self.seen < rounds.kept;
        (self.seen, self.last_ms) = (rounds.now, timestamp_ms);
        is_new
    }

    /// Whether markers are due at `timestamp_ms`. As `Presence::end`, for all of it.
    pub(super) fn end(&mut self, rounds: Rounds, end: End, timestamp_ms: i64) -> bool {
        match end {
            End::OverLimit => return false,
            End::Kept if self.seen == rounds.now => {
                self.is_live = true;
                return false;
            }
            End::Kept | End::Failed => {}
        }
        let is_due = std::mem::take(&mut self.is_live) && timestamp_ms >= self.last_ms;
        if is_due {
            self.last_ms = timestamp_ms;
        }
        is_due
    }

    pub(super) fn set_clock_back(&mut self, timestamp_ms: i64) {
        self.last_ms = self.last_ms.min(timestamp_ms.saturating_sub(1));
    }

    pub(super) fn last_ms(&self) -> i64 {
        self.last_ms
    }

    pub(super) fn seen(&self) -> u32 {
        self.seen
    }

    pub(super) fn is_live(&self) -> bool {
        self.is_live
    }

    pub(super) fn identities(&self) -> &[u64] {
        &self.identities
    }

    /// Of its series, in order.
    pub(super) fn blobs(&self, shapings: &Shapings) -> Vec<SeriesBlobs> {
        shapings.blobs_of(&self.series)
    }

    /// What any of its lines or series may be found by.
    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.lines.hashes().iter().copied().chain(self.identities.iter().copied())
    }

    /// What it was made of.
    pub(super) fn apart(&self, shapings: &Shapings) -> Vec<Loose> {
        let mut series = self.identities.iter().copied().zip(self.blobs(shapings));
        let loosen = |(id, line)| {
            let series = match line {
                Line::Series(_) => series.next(),
                Line::Dropped(_) | Line::Metadata(_) => None,
            };
            Loose { id, line, series }
        };
        self.lines.iter().map(loosen).collect()
    }
}
