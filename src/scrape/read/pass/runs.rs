//! The fast way through a body: a run of lines that stand where they stood the last time is taken as
//! one, or not at all. Whatever is not as plain as that goes line by line. Part of `pass`.

use std::sync::Arc;

use crate::{
    model::sample::{PointValue, normalise},
    scrape::{
        known::{Line, Lines, TextId},
        read::pass::{AHEAD_MS_MAX, Pass},
    },
    wire::{Parser, Value},
};

/// What has become of a run that was expected.
pub(super) enum Met {
    /// All of its lines stood there.
    Whole,
    /// Some did, so it has come apart; nothing is taken.
    Apart,
    /// None did; nothing is taken.
    Not,
}

impl Pass<'_> {
    /// Takes the lines of a run, or nothing.
    pub(super) fn run(&mut self, at: u32, parser: &mut Parser<'_>) -> Met {
        let (Some(start), Some(run)) = (parser.place(), self.reader.known.run(at)) else {
            return Met::Not;
        };
        let series = run.series_count();
        let lines = Arc::clone(run.lines());
        let (metadata, unheard) = (self.counts.metadata, self.unheard);
        let read = if self.takes(run.takes(self.moment.timestamp_ms), series) {
            self.run_lines(&lines, parser)
        } else {
            Err(true)
        };
        let shapings = self.reader.packer.shapings();
        let samples = match read {
            Ok(samples) => samples,
            Err(has_begun) => {
                parser.go_back(start);
                (self.counts.metadata, self.unheard) = (metadata, unheard);
                if !has_begun {
                    return Met::Not;
                }
                self.reader.known.loosen(at, &Arc::clone(shapings));
                return Met::Apart;
            }
        };
        let timestamp_ms = self.moment.timestamp_ms;
        let is_new = self.reader.known.see_run(at, timestamp_ms);
        self.counts.scraped += samples;
        self.counts.relabelled += series;
        self.counts.added += if is_new { series } else { 0 };
        self.limited += series;
        let layer = self.reader.layer();
        if let Some(run) = self.reader.known.run(at) {
            let values = self.values.iter().copied();
            self.reader.packer.push_run(run.series(), &values, timestamp_ms, layer);
        }
        Met::Whole
    }

    /// Whether what may be said of each sample of a run may be said of all of them.
    fn takes(&self, run_takes: bool, series: usize) -> bool {
        let samples_max = self.reader.limits.samples_max;
        let ahead_ms = self.moment.timestamp_ms.saturating_sub(self.moment.now_ms);
        run_takes
            && ahead_ms <= AHEAD_MS_MAX
            && (samples_max == 0 || self.limited + series <= samples_max)
    }

    /// Reads the lines of a run into `values`, and tells how many samples they are. An error says
    /// whether a sample of it was read before something else came.
    fn run_lines(&mut self, lines: &Lines, parser: &mut Parser<'_>) -> Result<usize, bool> {
        let mut samples = 0;
        self.values.clear();
        for (id, line) in lines.iter() {
            let (context, is_kept) = match line {
                Line::Series(context) => (context, true),
                Line::Dropped(context) => (context, false),
                Line::Metadata(kind) => {
                    // Where it has gone or changed, no sample is another for it.
                    self.skip_metadata(id, kind, parser);
                    continue;
                }
            };
            let value = self.run_sample(id, context, parser).ok_or(samples > 0)?;
            samples += 1;
            if is_kept {
                self.values.push(self.plain(&value).ok_or(true)?);
            }
        }
        Ok(samples)
    }

    #[inline]
    fn run_sample<'b>(
        &mut self,
        id: TextId,
        context: u8,
        parser: &mut Parser<'b>,
    ) -> Option<Value<'b>> {
        loop {
            let is_expected =
                |text: &[u8]| text.first() != Some(&b'#') && TextId::of(text, context) == id;
            if let Some(value) = parser.next_if(id.length(), context, is_expected) {
                return Some(value);
            }
            let before = parser.place()?;
            let entry = parser.next_comment()?.ok()?;
            self.count_metadata(parser, &entry);
            self.skipped(Some(before), parser.place());
        }
    }

    /// The value that is stored, where there is nothing else to it.
    #[inline]
    pub(super) fn plain(&self, value: &Value<'_>) -> Option<f64> {
        let is_plain = (value.timestamp_ms.is_none() || !self.reader.job.honor_timestamps)
            && (value.start_ms.is_none() || !self.reader.options.starts)
            && (value.exemplars.is_empty() || !self.wants_exemplars);
        match value.value {
            PointValue::Float(float) if is_plain => Some(normalise(float)),
            PointValue::Float(_) | PointValue::Histogram(_) => None,
        }
    }
}
