//! A body to packed samples: each line is recognised or shaped, judged and handed to the packer.
//! Keeps what must be known of the target's series from scrape to scrape. Decides all and waits for
//! nothing; the clock and the bytes are handed in.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;

use crate::{
    config::Job,
    model::{
        labels::Labels,
        sample::{Exemplar, PointValue, Sample, normalise, stale_marker},
        slot::StreamKey,
        target::Target,
    },
    outbox::{Packed, Packer, SeriesBlobs, Shapings},
    scrape::{
        failure::Failure,
        inventory::{Inventory, Writer},
        known::{Known, Lead, Series, TextId},
        metadata::Fingerprint,
        report::{self, Report},
        shape::Shape,
        staleness::{End, Presence, Sight, Verdict},
    },
    wire::{self, Entry, Exposed, Format, ParseOptions, Parser, Value},
};

/// A sample that is further ahead of the clock is dropped, as Prometheus does.
const AHEAD_MS_MAX: i64 = 10 * 60 * 1000;

/// What a scrape held, told also where nothing of it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Samples of the body.
    pub(super) scraped: usize,
    /// Those that metric relabelling left.
    pub(super) relabelled: usize,
    /// Series that the last kept scrape had not, as far as the limit allowed.
    pub(super) added: usize,
    /// Samples that were left out because of their timestamp.
    pub(super) untimely: usize,
    pub(super) metadata: Fingerprint,
}

/// One scrape's place in time.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "the unit is part of each name")]
pub(super) struct Moment {
    /// For samples that bring no timestamp.
    pub(super) timestamp_ms: i64,
    pub(super) now_ms: i64,
    /// When the ownership began that the scrape is of; `None` where the target is not divided.
    pub(super) since_ms: Option<i64>,
}

/// Reads the bodies of one target.
pub(super) struct Reader {
    job: Arc<Job>,
    stream: StreamKey,
    shape: Shape,
    known: Known,
    /// Series encoded under rules that have been replaced, which may be there still.
    former: Vec<Former>,
    packer: Packer,
    reports: Vec<SeriesBlobs>,
    /// How many of `reports` the last scrape wrote.
    reported: usize,
}

struct Former {
    shapings: Arc<Shapings>,
    series: HashMap<u128, Series>,
}

impl Reader {
    pub(super) fn new(job: Arc<Job>, target: &Target, shapings: Arc<Shapings>) -> Self {
        let shape = Shape::new(Arc::clone(&job), target);
        let reports = encode_reports(&shape, &shapings);
        Self {
            job,
            stream: target.key,
            shape,
            known: Known::default(),
            former: Vec::new(),
            packer: Packer::new(shapings),
            reports,
            reported: 0,
        }
    }

    /// From now on these rules. Series that they no longer give end at the next scrape.
    pub(super) fn change(&mut self, job: Arc<Job>, target: &Target, shapings: Arc<Shapings>) {
        let series = self.known.take_series();
        if !series.is_empty() {
            let shapings = Arc::clone(self.packer.shapings());
            self.former.push(Former { shapings, series });
        }
        self.shape = Shape::new(Arc::clone(&job), target);
        self.reports = encode_reports(&self.shape, &shapings);
        self.job = job;
        self.stream = target.key;
        self.packer.set_shapings(shapings);
    }

    pub(super) fn shapings(&self) -> &Arc<Shapings> {
        self.packer.shapings()
    }

    /// Series in the last scrape that was kept.
    pub(super) fn series_count(&self) -> usize {
        self.known.series_count()
    }

    /// Takes the samples of `body`; on a failure none. `finish` must follow.
    pub(super) fn read(
        &mut self,
        format: Format,
        body: &[u8],
        moment: Moment,
    ) -> (Counts, Result<(), Failure>) {
        self.begin(moment);
        self.known.begin();
        let mut pass = Pass {
            wants_exemplars: self.packer.shapings().wants_exemplars(),
            reader: self,
            moment,
            counts: Counts::default(),
            limited: 0,
            taken_back: Vec::new(),
        };
        let mut outcome = pass.body(format, body);
        let (counts, samples_max) = (pass.counts, pass.reader.job.limits.samples_max);
        if outcome.is_ok() && pass.is_over_limit() {
            outcome = Err(Failure::SampleLimit { samples_max });
        }
        if outcome.is_err() {
            let taken_back = pass.taken_back;
            for (series, last_ms) in taken_back.into_iter().rev() {
                self.known.series_mut(series).presence.take_back(last_ms);
            }
            self.begin(moment);
        }
        (counts, outcome)
    }

    /// For a scrape that brought no body to `read`.
    pub(super) fn begin(&mut self, moment: Moment) {
        self.packer.begin(self.stream, moment.timestamp_ms, moment.since_ms);
    }

    /// Adds the markers of what has ended, and the report.
    pub(super) fn finish(&mut self, report: &Report<'_>, moment: Moment) -> Vec<Packed> {
        let end = match report.failure {
            None => End::Kept,
            Some(Failure::SampleLimit { .. }) => End::OverLimit,
            Some(_) => End::Failed,
        };
        let mut packed = self.end_series(end, moment);
        let count = report::count(self.job.extra_scrape_metrics);
        let values = report.values();
        for (n, blobs) in self.reports.iter().enumerate().take(count.max(self.reported)) {
            let value = if n < count { values[n] } else { stale_marker() };
            let sample = Sample { value, timestamp_ms: moment.timestamp_ms };
            self.packer.push(blobs, sample, None, 0);
        }
        self.reported = count;
        packed.push(self.packer.finish());
        packed
    }

    /// The target is gone: markers for all of it.
    pub(super) fn end(&mut self, moment: Moment) -> Vec<Packed> {
        self.begin(moment);
        let mut packed = self.end_series(End::Failed, moment);
        for blobs in self.reports.iter().take(self.reported) {
            self.packer.push(blobs, marker(moment), None, 0);
        }
        self.reported = 0;
        packed.push(self.packer.finish());
        packed
    }

    /// What the target's next owner must know of its series; and how many found no room in it.
    pub(super) fn pack(&self) -> (Bytes, usize) {
        let mut writer = Writer::new();
        let shapings = self.packer.shapings();
        writer.report(shapings, &self.reports[..self.reported]);
        writer.series(shapings, self.known.live());
        for former in &self.former {
            let live = former.series.values().filter(|series| series.presence.is_live());
            writer.series(&former.shapings, live.map(|series| (series.identity, &series.blobs)));
        }
        writer.finish()
    }

    /// The target was scraped by another until about `last_ms`, and these were there. What the next
    /// kept scrape lacks of them ends then; what is known here is left as it is.
    pub(super) fn adopt(&mut self, inventory: Inventory, last_ms: i64) {
        self.reported = self.reported.max(inventory.reports.len().min(self.reports.len()));
        let mut series = HashMap::new();
        for (identity, blobs) in inventory.series {
            let is_owed = |former: &Former| former.series.contains_key(&identity);
            if self.known.series_of(identity).is_none() && !self.former.iter().any(is_owed) {
                series.insert(identity, self.known.adopted(identity, blobs, last_ms));
            }
        }
        if !series.is_empty() {
            let shapings = Arc::clone(self.packer.shapings());
            self.former.push(Former { shapings, series });
        }
    }

    /// The clock was set back: samples from now on may be older than those before, as nothing else
    /// will come for a while.
    pub(super) fn set_clock_back(&mut self, timestamp_ms: i64) {
        self.known.set_clock_back(timestamp_ms);
    }

    /// Gives back the memory of a target that has not answered for long.
    pub(super) fn forget(&mut self) {
        self.known = Known::new(self.known.rounds);
        self.former.clear();
    }

    fn series_with(&mut self, labels: &Labels) -> u32 {
        let identity = labels.hash();
        if let Some(at) = self.known.series_of(identity) {
            return at;
        }
        let former = self.former.iter_mut().find_map(|former| former.series.remove(&identity));
        let presence = former.map_or_else(Presence::default, |series| series.presence);
        let blobs = self.packer.shapings().encode(labels);
        self.known.add_series(identity, blobs, presence)
    }

    fn end_series(&mut self, end: End, moment: Moment) -> Vec<Packed> {
        let current = &mut self.packer;
        self.known.end(end, moment.timestamp_ms, |blobs| {
            current.push(blobs, marker(moment), None, 0);
        });
        if end == End::OverLimit { Vec::new() } else { self.end_former(moment) }
    }

    /// The markers of adopted series, and of those under former rules, that the scrape at `moment`
    /// did not have: where it is over already, and what another knew of the target came after it.
    pub(super) fn end_former(&mut self, moment: Moment) -> Vec<Packed> {
        let mut ended = Vec::new();
        for former in self.former.drain(..) {
            let mut packer = Packer::new(former.shapings);
            packer.begin(self.stream, moment.timestamp_ms, moment.since_ms);
            let mut series: Vec<(u128, Series)> = former.series.into_iter().collect();
            series.sort_unstable_by_key(|(identity, _)| *identity);
            for (_, mut series) in series {
                if series.presence.end(self.known.rounds, End::Failed, moment.timestamp_ms) {
                    packer.push(&series.blobs, marker(moment), None, 0);
                }
            }
            ended.push(packer.finish());
        }
        ended
    }
}

/// The markers of all series of a target that is gone, by what its former owner knew of it.
pub(super) fn end_all(
    inventory: &Inventory,
    shapings: Arc<Shapings>,
    stream: StreamKey,
    moment: Moment,
) -> Packed {
    let mut packer = Packer::new(shapings);
    packer.begin(stream, moment.timestamp_ms, moment.since_ms);
    for blobs in inventory.series.iter().map(|(_, blobs)| blobs).chain(&inventory.reports) {
        packer.push(blobs, marker(moment), None, 0);
    }
    packer.finish()
}

fn encode_reports(shape: &Shape, shapings: &Shapings) -> Vec<SeriesBlobs> {
    report::names().map(|name| shapings.encode(&shape.report(name))).collect()
}

fn marker(moment: Moment) -> Sample {
    Sample { value: stale_marker(), timestamp_ms: moment.timestamp_ms }
}

/// One way through one body.
struct Pass<'r> {
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

impl Pass<'_> {
    fn body(&mut self, format: Format, body: &[u8]) -> Result<(), Failure> {
        let exposed = Exposed::new(format, body, ParseOptions::default());
        let mut parser = exposed.parser();
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
                    self.line(lead, series.facts());
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
            Some(labels) => Lead::Series(self.reader.series_with(&labels)),
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
                let samples_max = self.reader.job.limits.samples_max;
                let fits = samples_max == 0 || self.limited < samples_max;
                self.counts.added += usize::from(is_new && fits);
                let PointValue::Float(float) = value.value else { return };
                let wanted = Some(value.exemplars).filter(|_| self.wants_exemplars);
                let exemplar = wanted.and_then(|exemplars| exemplars.decode().pop());
                let exemplar = exemplar.map(|exemplar| Exemplar {
                    timestamp_ms: exemplar.timestamp_ms.or(Some(timestamp_ms)),
                    ..exemplar
                });
                let sample = Sample { value: normalise(float), timestamp_ms };
                self.reader.packer.push(&series.blobs, sample, exemplar.as_ref(), layer);
            }
        }
        self.limited += 1;
    }

    fn is_over_limit(&self) -> bool {
        let samples_max = self.reader.job.limits.samples_max;
        samples_max > 0 && self.limited > samples_max
    }
}
