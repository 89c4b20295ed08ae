//! One way through one body: each line is recognised or shaped, judged, and handed to the packer.

mod metadata;
mod runs;

use std::borrow::Cow;

use crate::{
    config::NativeHistograms,
    model::{
        histogram::{
            Counts as Observations, Histogram, ResetHint, SCHEMA_KNOWN_MAX, SCHEMA_MAX,
            schema_for_factor,
        },
        sample::{Exemplar, NORMAL_NAN_BITS, Point, PointValue, normalise},
    },
    scrape::{
        exemplars::Last,
        failure::Failure,
        known::{Expected, Lead, TextId},
        metadata::Telling,
        read::{Counts, Moment, Reader, pass::runs::Met},
        staleness::{Kind, Sight, Verdict},
    },
    wire::{self, Entry, Exposed, Format, Parser, Place, Value},
};

/// A sample that is further ahead of the clock is dropped, as Prometheus does.
const AHEAD_MS_MAX: i64 = 10 * 60 * 1000;
/// Labels of a line that room is made for at once.
const PAIRS_EXPECTED: usize = 16;

pub(super) struct Pass<'r> {
    reader: &'r mut Reader,
    moment: Moment,
    counts: Counts,
    wants_exemplars: bool,
    wants_metadata: bool,
    /// What counts against the limit of samples.
    limited: usize,
    /// Why a histogram can't be kept, and with it the scrape.
    unfit: Option<Failure>,
    /// Series and their last timestamp before an explicit one, and their last exemplar: if the
    /// scrape is not kept, the same may come again.
    taken_back: Vec<(u32, i64)>,
    exemplars_taken_back: Vec<(u64, Option<Last>)>,
    /// Lines of metadata in a row that were recognised and so not read.
    unheard: Option<(Place, Place)>,
    /// Of the run that is being read.
    values: Vec<f64>,
}

impl<'r> Pass<'r> {
    pub(super) fn new(reader: &'r mut Reader, moment: Moment) -> Self {
        let shapings = reader.packer.shapings();
        Self {
            wants_exemplars: shapings.wants_exemplars(),
            wants_metadata: shapings.wants_metadata(),
            reader,
            moment,
            counts: Counts::default(),
            limited: 0,
            unfit: None,
            taken_back: Vec::new(),
            exemplars_taken_back: Vec::new(),
            unheard: None,
            values: Vec::new(),
        }
    }

    /// What the scrape held, and where nothing of it may be kept, why.
    pub(super) fn read(mut self, format: Format, body: &[u8]) -> (Counts, Result<(), Failure>) {
        let exposed = Exposed::new(format, body, self.reader.options);
        let mut outcome = self.body(&exposed);
        if outcome.is_ok() && self.is_over_limit() {
            let samples_max = self.reader.limits.samples_max;
            outcome = Err(Failure::SampleLimit { samples_max });
        }
        outcome = outcome.and(self.unfit.take().map_or(Ok(()), Err));
        if outcome.is_err() {
            let known = &mut self.reader.known;
            for (series, last_ms) in self.taken_back.into_iter().rev() {
                known.series_mut(series).presence.take_back(last_ms);
            }
            for (series, before) in self.exemplars_taken_back.into_iter().rev() {
                known.exemplars.take_back(series, before);
            }
        }
        (self.counts, outcome)
    }

    fn body(&mut self, exposed: &Exposed<'_>) -> Result<(), Failure> {
        let mut parser = exposed.parser();
        let mut telling = Telling::default();
        let mut scratch = String::new();
        self.reader.known.set_may_settle(parser.place().is_some());
        loop {
            if self.known_next(&mut parser) {
                continue;
            }
            match parser.next() {
                None => return Ok(()),
                Some(Err(error)) => return Err(Failure::Parse(error.to_string())),
                Some(Ok(Entry::Series(series))) => {
                    self.hear_skipped(&parser, &mut telling);
                    let lead = self.lead_of(&series, &telling, &mut scratch)?;
                    self.line(lead, series.facts());
                }
                Some(Ok(entry)) => {
                    self.metadata(&parser, &entry);
                    if self.wants_metadata {
                        self.unheard = None;
                        telling.hear(entry);
                    }
                }
            }
        }
    }

    /// Takes the next line, or the next lines, if they are what came next the last time.
    #[inline]
    fn known_next(&mut self, parser: &mut Parser<'_>) -> bool {
        match self.reader.known.expected() {
            Expected::Nothing => false,
            Expected::Sample(at, id) => self.known_sample(at, id, parser),
            Expected::Metadata(at, id, kind) => self.known_metadata(at, id, kind, parser),
            Expected::Run(at) => match self.run(at, parser) {
                Met::Whole => true,
                Met::Apart => self.known_next(parser),
                Met::Not => false,
            },
        }
    }

    #[inline]
    fn known_sample(&mut self, at: u32, id: TextId, parser: &mut Parser<'_>) -> bool {
        let context = parser.context();
        let is_expected =
            |text: &[u8]| text.first() != Some(&b'#') && TextId::of(text, context) == id;
        let Some(value) = parser.next_if(id.length(), context, is_expected) else { return false };
        let lead = self.reader.known.reach(at);
        self.line(lead, value);
        true
    }

    fn lead_of(
        &mut self,
        line: &wire::Series<'_>,
        telling: &Telling<'_>,
        scratch: &mut String,
    ) -> Result<Lead, Failure> {
        let context = line.context();
        let id = TextId::of(line.text.as_bytes(), context);
        if let Some(at) = self.reader.known.find(id, self.reader.packer.shapings()) {
            return Ok(self.reader.known.reach(at));
        }
        let mut pairs = Vec::with_capacity(PAIRS_EXPECTED);
        line.pairs(&mut pairs);
        let metadata = pairs.first().and_then(|(_, metric)| telling.of(metric));
        let labels = self.reader.shape.labels(pairs, scratch)?;
        let lead = match labels {
            None => Lead::Dropped,
            // Nothing of this scrape is kept, so nothing more is remembered of it.
            Some(_) if self.is_over_limit() => return Ok(Lead::Excess),
            Some(labels) => match self.reader.series_with(&labels, metadata) {
                Some(series) => Lead::Series(series),
                None => Lead::Excluded,
            },
        };
        self.reader.known.add(id, context, lead);
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
        if self.plain(&value).is_none() {
            self.reader.known.note_special();
        }
        match value.value {
            PointValue::Float(float) => {
                self.sample(at, &value, Kind::Float, PointValue::Float(normalise(float)));
            }
            PointValue::Histogram(histogram) => match self.fitted(histogram) {
                Ok(histogram) => {
                    self.sample(at, &value, Kind::Histogram, PointValue::Histogram(&histogram));
                }
                // That one has too many buckets is told where there is nothing worse.
                Err(Failure::BucketLimit { .. }) if self.unfit.is_some() => {}
                Err(failure) => self.unfit = Some(failure),
            },
        }
    }

    /// `value` is the one of the line, `stored` what is left of it.
    #[inline]
    fn sample(&mut self, at: u32, value: &Value<'_>, kind: Kind, stored: PointValue<'_>) {
        let job = &self.reader.job;
        let explicit = value.timestamp_ms.filter(|_| job.honor_timestamps);
        let timestamp_ms = explicit.unwrap_or(self.moment.timestamp_ms);
        if timestamp_ms.saturating_sub(self.moment.now_ms) > AHEAD_MS_MAX {
            self.limited += 1;
            self.counts.untimely += 1;
            return;
        }
        let is_tracked = explicit.is_none() || job.track_timestamps_staleness;
        let sight = Sight {
            timestamp_ms,
            explicit: explicit.is_some(),
            tracked: is_tracked.then_some(kind),
        };
        let start_ms = value.start_ms.filter(|start_ms| *start_ms < timestamp_ms);
        let zero_ms = start_ms.filter(|_| job.start_timestamp_zeros);
        let rounds = self.reader.known.rounds;
        let presence = &mut self.reader.known.series_mut(at).presence;
        let last_ms = presence.last_ms();
        let zero_ms = zero_ms.filter(|zero_ms| presence.takes_start(*zero_ms));
        match presence.see(rounds, sight) {
            Verdict::Repeated => return,
            Verdict::OutOfOrder => self.counts.untimely += 1,
            Verdict::Take { is_new, layer } => {
                if explicit.is_some() {
                    self.taken_back.push((at, last_ms));
                }
                let samples_max = self.reader.limits.samples_max;
                let fits = samples_max == 0 || self.limited < samples_max;
                self.counts.added += usize::from(is_new && fits);
                if let Some(zero_ms) = zero_ms.filter(|_| layer == 0) {
                    self.push_zero(at, stored, zero_ms);
                }
                let exemplars = self.exemplars(at, value, kind, timestamp_ms);
                let point = Point { value: stored, timestamp_ms, start_ms, exemplars: &exemplars };
                let layer = layer + self.reader.layer();
                let series = self.reader.known.series_mut(at);
                self.reader.packer.push(&series.blobs, &point, layer);
            }
        }
        self.limited += 1;
    }

    /// Those that have not gone yet.
    #[inline]
    fn exemplars(
        &mut self,
        at: u32,
        value: &Value<'_>,
        kind: Kind,
        timestamp_ms: i64,
    ) -> Vec<Exemplar> {
        if !self.wants_exemplars || value.exemplars.is_empty() {
            return Vec::new();
        }
        let known = &mut self.reader.known;
        let series = known.series_mut(at).identity;
        let shown = value.exemplars.decode();
        let (news, before) = known.exemplars.news(series, kind, shown, timestamp_ms);
        if !news.is_empty() {
            self.exemplars_taken_back.push((series, before));
        }
        news
    }

    /// That the series was at zero when it began to count. In a layer of its own: a backend that has
    /// samples behind that already refuses the request, and no other sample must be in it.
    fn push_zero(&mut self, at: u32, value: PointValue<'_>, timestamp_ms: i64) {
        let zero = match value {
            PointValue::Float(_) => None,
            PointValue::Histogram(histogram) => Some(zero_of(histogram)),
        };
        let value = zero.as_ref().map_or(PointValue::Float(0.0), PointValue::Histogram);
        let point = Point { value, timestamp_ms, start_ms: None, exemplars: &[] };
        let series = self.reader.known.series_mut(at);
        self.reader.packer.push(&series.blobs, &point, 0);
    }

    /// With no more buckets than it may have.
    fn fitted<'h>(&self, histogram: &'h Histogram) -> Result<Cow<'h, Histogram>, Failure> {
        let NativeHistograms { buckets_max, bucket_factor_min } = self.reader.job.native_histograms;
        let mut fitted = Cow::Borrowed(histogram);
        // What is finer than can be stored is made to fit, before it is held to the rules.
        if (SCHEMA_MAX + 1..=SCHEMA_KNOWN_MAX).contains(&histogram.schema) {
            fitted.to_mut().reduce_to_schema(SCHEMA_MAX);
        }
        fitted.validate().map_err(|fault| Failure::Parse(fault.to_string()))?;
        let schema_max = schema_for_factor(bucket_factor_min);
        if fitted.schema > schema_max {
            fitted.to_mut().reduce_to_schema(schema_max);
        }
        let is_over = buckets_max > 0 && fitted.bucket_count() > buckets_max;
        if is_over && !fitted.to_mut().reduce_to_buckets(buckets_max) {
            return Err(Failure::BucketLimit { buckets_max });
        }
        if fitted.sum.is_nan() && fitted.sum.to_bits() != NORMAL_NAN_BITS {
            fitted.to_mut().sum = normalise(fitted.sum);
        }
        Ok(fitted)
    }

    fn is_over_limit(&self) -> bool {
        let samples_max = self.reader.limits.samples_max;
        samples_max > 0 && self.limited > samples_max
    }
}

/// One like it without an observation.
fn zero_of(histogram: &Histogram) -> Histogram {
    let counts = match histogram.counts {
        Observations::Integer { .. } => Observations::Integer {
            count: 0,
            zero_count: 0,
            positive_deltas: Vec::new(),
            negative_deltas: Vec::new(),
        },
        Observations::Float { .. } => Observations::Float {
            count: 0.0,
            zero_count: 0.0,
            positive: Vec::new(),
            negative: Vec::new(),
        },
    };
    Histogram {
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        sum: 0.0,
        reset_hint: ResetHint::Yes,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        counts,
        custom_bounds: histogram.custom_bounds.clone(),
    }
}
