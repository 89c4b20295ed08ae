//! After a scrape: what stays becomes runs, and what is long gone is forgotten. Part of `known`.

use std::{mem, ops::Range};

use crate::{
    outbox::Shapings,
    scrape::{
        known::{
            Known, NONE, Piece, Place, Series, Text, index,
            run::{LINES_MAX, Run, TEXT_LENGTH_MAX},
            text::Line,
        },
        staleness::{End, Kind},
    },
    wire::remote_write::{SKELETON_LABELS_MAX, SKELETON_LENGTH_MAX},
};

/// What was not exposed for so many scrapes is forgotten at the next clearance.
const ROUNDS_KEPT_MAX: u32 = 2;
/// At the latest so often is cleared; at once where a quarter or more could be forgotten. So a
/// cache holds what the last few scrapes held, and one that hardly changes is not rebuilt for it.
const ROUNDS_TO_CLEARANCE: u32 = 16;

/// Fewer series in a row are no run, unless they are all there is.
const SERIES_MIN: usize = 8;
/// Of the labels of a run, encoded: about as much as a skeleton takes, as the first of them is kept
/// in full.
const BLOB_BYTES_MAX: usize = SKELETON_LENGTH_MAX - (1 << 10);
/// What a series needs besides its labels.
const SERIES_BYTES: usize = 24;

/// A run that has been made, and the texts that it stands for: these in the order of the lines.
struct Settled {
    run: Run,
    places: Range<usize>,
}

impl Known {
    pub(super) fn settle(&mut self, end: End, timestamp_ms: i64, shapings: &Shapings) {
        let may_settle =
            self.may_settle && end == End::Kept && !self.has_repeats && self.has_settled_lines();
        let is_crowded = self.is_crowded();
        if !may_settle && !is_crowded {
            return;
        }
        let order = self.order();
        let settled =
            if may_settle { self.runs_among(&order, timestamp_ms, shapings) } else { Vec::new() };
        if is_crowded || !settled.is_empty() {
            self.rebuild(&order, settled);
        }
    }

    /// Whether looking for runs may be worth it.
    fn has_settled_lines(&self) -> bool {
        let settled = self.texts.iter().filter(|text| self.is_settled(text)).count();
        settled >= SERIES_MIN || (settled > 0 && settled == self.texts.len())
    }

    fn is_settled(&self, text: &Text) -> bool {
        let stays = text.seen == self.rounds.now && text.stayed >= self.patience;
        stays && !text.is_special && text.length <= TEXT_LENGTH_MAX
    }

    /// Whether there is much to forget.
    fn is_crowded(&self) -> bool {
        let idle_texts = self.texts.iter().filter(|text| text.seen < self.oldest()).count();
        let idle_series = self.series.iter().filter(|series| !self.keeps(series)).count();
        let idle_runs = self.runs.iter().filter(|piece| !self.keeps_piece(piece)).count();
        let is_time = self.rounds.now.is_multiple_of(ROUNDS_TO_CLEARANCE);
        let is_much = idle_texts * 4 >= self.texts.len()
            || idle_series * 4 >= self.series.len()
            || idle_runs * 4 >= self.runs.len();
        idle_texts + idle_series + idle_runs > 0 && (is_time || is_much)
    }

    fn oldest(&self) -> u32 {
        self.rounds.now.saturating_sub(ROUNDS_KEPT_MAX)
    }

    fn keeps(&self, series: &Series) -> bool {
        series.presence.live().is_some() || series.presence.seen() >= self.oldest()
    }

    fn keeps_piece(&self, piece: &Piece) -> bool {
        match piece {
            Piece::Whole(run) => run.is_live() || run.seen() >= self.oldest(),
            Piece::Apart { .. } => false,
        }
    }

    /// Texts and whole runs in the order of the target, so that memory is walked in order as well;
    /// those of earlier scrapes behind.
    fn order(&self) -> Vec<Place> {
        let mut seen_texts = vec![false; self.texts.len()];
        let mut seen_runs = vec![false; self.runs.len()];
        let mut order = Vec::with_capacity(self.texts.len() + self.runs.len());
        let mut place = self.first;
        loop {
            if let Some(at) = place.run() {
                match &self.runs[at as usize] {
                    Piece::Apart { first, .. } => place = Place::of_text(*first),
                    Piece::Whole(run) => {
                        if mem::replace(&mut seen_runs[at as usize], true) {
                            break;
                        }
                        order.push(place);
                        place = run.next;
                    }
                }
                continue;
            }
            let Some(text) = self.texts.get(place.0 as usize) else { break };
            if mem::replace(&mut seen_texts[place.0 as usize], true) {
                break;
            }
            order.push(place);
            place = text.next;
        }
        let others = |seen: &[bool]| -> Vec<u32> {
            (0..).zip(seen).filter(|(_, seen)| !**seen).map(|(at, _)| at).collect()
        };
        order.extend(others(&seen_texts).into_iter().map(Place::of_text));
        order.extend(others(&seen_runs).into_iter().map(Place::of_run));
        order
    }

    /// Of what stays and stands in a row.
    fn runs_among(&self, order: &[Place], timestamp_ms: i64, shapings: &Shapings) -> Vec<Settled> {
        let samples_max = shapings.run_samples_max();
        let mut settled = Vec::new();
        let (mut start, mut bytes, mut samples) = (0, 0, 0);
        for at in 0..=order.len() {
            let more = order.get(at).and_then(|place| self.weight(*place, timestamp_ms));
            let is_full = more.is_some_and(|more| bytes + more > BLOB_BYTES_MAX)
                || at - start >= LINES_MAX
                || samples >= samples_max;
            if more.is_none() || is_full {
                let is_all = start == 0 && at == order.len();
                if samples > 0 && (samples >= SERIES_MIN || is_all) {
                    settled.extend(self.run_of(order, start..at, timestamp_ms, shapings));
                }
                start = if more.is_none() { at + 1 } else { at };
                (bytes, samples) = (0, 0);
            }
            if let Some(more) = more {
                bytes += more;
                samples += usize::from(more > 0);
            }
        }
        settled
    }

    /// What a line adds to a run, in bytes; `None` where it is for none.
    fn weight(&self, place: Place, timestamp_ms: i64) -> Option<usize> {
        let text = match place.run() {
            Some(_) => return None,
            None => self.texts.get(place.0 as usize).filter(|text| self.is_settled(text))?,
        };
        match text.line {
            Line::Metadata(_) | Line::Dropped(_) => Some(0),
            Line::Series(_) => {
                let series = self.series.get(text.series as usize)?;
                let presence = &series.presence;
                let is_plain = series.texts == 1
                    && presence.live() == Some(Kind::Float)
                    && presence.seen() == self.rounds.now
                    && presence.last_ms() == timestamp_ms;
                let bytes = series.blobs.length() + SERIES_BYTES;
                (is_plain && bytes <= SKELETON_LABELS_MAX).then_some(bytes)
            }
        }
    }

    fn run_of(
        &self,
        order: &[Place],
        places: Range<usize>,
        timestamp_ms: i64,
        shapings: &Shapings,
    ) -> Option<Settled> {
        let texts = || order[places.clone()].iter().map(|place| &self.texts[place.0 as usize]);
        let lines: Vec<_> = texts().map(|text| (text.id(), text.line)).collect();
        let series: Vec<_> = texts()
            .filter_map(|text| self.series.get(text.series as usize))
            .map(|series| (series.identity, &series.blobs))
            .collect();
        let run =
            Run::of(&lines, &series, (shapings, &self.lists), (self.rounds.now, timestamp_ms))?;
        Some(Settled { run, places })
    }

    fn rebuild(&mut self, order: &[Place], settled: Vec<Settled>) {
        let empty = Self {
            patience: self.patience,
            #[cfg(test)]
            stays_loose: self.stays_loose,
            ..Self::new(self.rounds, self.lists.clone())
        };
        let mut old = mem::replace(self, empty);
        self.kept_series = old.kept_series;
        self.has_come_apart = old.has_come_apart;
        let oldest = self.oldest();
        let mut in_run = vec![false; old.series.len()];
        let texts_of = |settled: &Settled| order[settled.places.clone()].iter();
        for place in settled.iter().flat_map(texts_of) {
            let series = old.texts[place.0 as usize].series;
            if let Some(in_run) = in_run.get_mut(series as usize) {
                *in_run = true;
            }
        }
        let mut moved = vec![NONE; old.series.len()];
        for (from, series) in mem::take(&mut old.series).into_iter().enumerate() {
            if !in_run[from] && self.keeps(&series) {
                moved[from] = self.add_series(series.identity, series.blobs, series.presence);
            }
        }
        let mut settled = settled.into_iter().peekable();
        let mut at = 0;
        while let Some(place) = order.get(at) {
            if let Some(Settled { run, places }) =
                settled.next_if(|settled| settled.places.start == at)
            {
                at = places.end;
                self.push_run(run);
                continue;
            }
            at += 1;
            if let Some(number) = place.run() {
                let gone = Piece::Apart { first: NONE, last: NONE };
                let piece = mem::replace(&mut old.runs[number as usize], gone);
                if self.keeps_piece(&piece)
                    && let Piece::Whole(run) = piece
                {
                    self.push_run(run);
                }
                continue;
            }
            let text = old.texts[place.0 as usize];
            if text.seen >= oldest {
                let series = moved.get(text.series as usize).copied().unwrap_or(text.series);
                self.push_text(Text { series, next: Place::NOWHERE, ..text });
                self.link(Place::of_text(index(self.texts.len()) - 1));
            }
        }
        self.texts.shrink_to_fit();
        self.series.shrink_to_fit();
        self.runs.shrink_to_fit();
        let mut exemplars = old.exemplars;
        exemplars.retain(|identity| self.loose_series_of(identity).is_some());
        self.exemplars = exemplars;
    }

    fn push_run(&mut self, mut run: Run) {
        run.next = Place::NOWHERE;
        let at = index(self.runs.len());
        self.runs.push(Piece::Whole(run));
        self.link(Place::of_run(at));
    }
}
