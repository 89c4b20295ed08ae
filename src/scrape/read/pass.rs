//! One way through one body: each line is recognised or shaped, judged, and handed to the packer.

use crate::{
    model::sample::{Exemplar, Sample, normalise},
    scrape::{
        failure::Failure,
        known::{Lead, TextId},
        read::{Counts, Moment, Reader},
        staleness::{Sight, Verdict},
    },
    wire::{self, Entry, Format, Parser, Value},
};

/// A sample that is further ahead of the clock is dropped, as Prometheus does.
const AHEAD_MS_MAX: i64 = 10 * 60 * 1000;

/// One way through one body.
pub(super) struct Pass<'r> {
    reader: &'r mut Reader,
    moment: Moment,
    counts: Counts,
    wants_exemplars: bool,
    /// What counts against the limit of samples.
    limited: usize,
    /// Series and their last timestamp before an explicit one: if the scrape is not kept, the same
    /// samples may come again.
    taken_back: Vec<(u32, i64)>,
}

impl<'r> Pass<'r> {
    pub(super) fn new(reader: &'r mut Reader, moment: Moment) -> Self {
        Self {
            wants_exemplars: reader.packer.shapings().wants_exemplars(),
            reader,
            moment,
            counts: Counts::default(),
            limited: 0,
            taken_back: Vec::new(),
        }
    }

    /// What the scrape held, and where nothing of it may be kept, why.
    pub(super) fn read(mut self, format: Format, body: &[u8]) -> (Counts, Result<(), Failure>) {
        let mut outcome = self.body(format, body);
        if outcome.is_ok() && self.is_over_limit() {
            let samples_max = self.reader.limits.samples_max;
            outcome = Err(Failure::SampleLimit { samples_max });
        }
        if outcome.is_err() {
            for (series, last_ms) in self.taken_back.into_iter().rev() {
                self.reader.known.series_mut(series).presence.take_back(last_ms);
            }
        }
        (self.counts, outcome)
    }

    fn body(&mut self, format: Format, body: &[u8]) -> Result<(), Failure> {
        let mut parser = Parser::new(format, body);
        let mut scratch = String::new();
        loop {
            if self.known_line(&mut parser) {
                continue;
            }
            match parser.next() {
                None => return Ok(()),
                Some(Err(error)) => return Err(Failure::Parse(error.to_string())),
                Some(Ok(Entry::Series(series))) => {
                    let lead = self.lead_of(&series, &mut scratch)?;
                    let (value, timestamp_ms) = (series.value, series.timestamp_ms);
                    self.line(lead, Value { value, timestamp_ms, exemplar: series.exemplar });
                }
                Some(Ok(entry)) => self.counts.metadata.add(&entry),
            }
        }
    }

    /// Takes the next line if it is the one that came next the last time.
    #[inline]
    fn known_line(&mut self, parser: &mut Parser<'_>) -> bool {
        let Some((at, id)) = self.reader.known.expected() else { return false };
        let context = parser.context();
        let is_expected =
            |text: &[u8]| text.first() != Some(&b'#') && TextId::of(text, context) == id;
        let Some(value) = parser.next_if(id.length(), context, is_expected) else { return false };
        let lead = self.reader.known.reach(at);
        self.line(lead, value);
        true
    }

    fn lead_of(&mut self, line: &wire::Series<'_>, scratch: &mut String) -> Result<Lead, Failure> {
        let id = TextId::of(line.text.as_bytes(), line.context());
        if let Some(at) = self.reader.known.find(id) {
            return Ok(self.reader.known.reach(at));
        }
        let mut pairs = Vec::new();
        line.pairs(&mut pairs);
        let labels = self.reader.shape.labels(pairs, scratch)?;
        let lead = match labels {
            None => Lead::Dropped,
            // Nothing of this scrape is kept, so nothing more is remembered of it.
            Some(_) if self.is_over_limit() => return Ok(Lead::Excess),
            Some(labels) => match self.reader.series_with(&labels) {
                Some(series) => Lead::Series(series),
                None => Lead::Excluded,
            },
        };
        self.reader.known.add(id, lead);
        Ok(lead)
    }

    #[inline]
    fn line(&mut self, lead: Lead, value: Value<'_>) {
        self.counts.scraped += 1;
        if lead == Lead::Dropped {
            return;
        }
        self.counts.relabelled += 1;
        self.counts.excluded += usize::from(lead == Lead::Excluded);
        let Lead::Series(at) = lead else { return };
        if self.is_over_limit() {
            return;
        }
        let explicit = value.timestamp_ms.filter(|_| self.reader.job.honor_timestamps);
        let timestamp_ms = explicit.unwrap_or(self.moment.timestamp_ms);
        if timestamp_ms.saturating_sub(self.moment.now_ms) > AHEAD_MS_MAX {
            self.limited += 1;
            self.counts.untimely += 1;
            return;
        }
        let sight = Sight {
            timestamp_ms,
            explicit: explicit.is_some(),
            tracked: explicit.is_none() || self.reader.job.track_timestamps_staleness,
        };
        let rounds = self.reader.known.rounds;
        let series = self.reader.known.series_mut(at);
        let last_ms = series.presence.last_ms();
        match series.presence.see(rounds, sight) {
            Verdict::Repeated => return,
            Verdict::OutOfOrder => self.counts.untimely += 1,
            Verdict::Take { is_new, layer } => {
                if explicit.is_some() {
                    self.taken_back.push((at, last_ms));
                }
                let samples_max = self.reader.limits.samples_max;
                let fits = samples_max == 0 || self.limited < samples_max;
                self.counts.added += usize::from(is_new && fits);
                let exemplar = value.exemplar.filter(|_| self.wants_exemplars).map(|text| {
                    let exemplar = text.decode();
                    let timestamp_ms = exemplar.timestamp_ms.or(Some(timestamp_ms));
                    Exemplar { timestamp_ms, ..exemplar }
                });
                let sample = Sample { value: normalise(value.value), timestamp_ms };
                self.reader.packer.push(&series.blobs, sample, exemplar.as_ref(), layer);
            }
        }
        self.limited += 1;
    }

    fn is_over_limit(&self) -> bool {
        let samples_max = self.reader.limits.samples_max;
        samples_max > 0 && self.limited > samples_max
    }
}
