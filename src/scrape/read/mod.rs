//! Bodies to packed samples, scrape after scrape: keeps what must be known of the target's series in
//! between. Decides all and waits for nothing; the clock and the bytes are handed in.

mod pass;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use hashbrown::HashMap;

use crate::{
    config::{Job, Limits},
    discovery::per_target,
    model::{
        labels::Labels,
        sample::{Point, PointValue, stale_marker},
        slot::StreamKey,
        target::Target,
    },
    outbox::{Packed, Packer, SeriesBlobs, Shapings},
    scrape::{
        admission::Admission,
        failure::Failure,
        inventory::{Inventory, Writer},
        known::{Ended, Known, LineLists, Series, identity_of},
        metadata::Fingerprint,
        read::pass::Pass,
        report::{self, Report, Written},
        shape::Shape,
        staleness::{End, Kind, Presence, Rounds, marker},
    },
    wire::{Format, ParseOptions, remote_write::Metadata},
};

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
    /// Samples of series that the limit of series keeps out.
    pub(super) excluded: usize,
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
    /// Of this target.
    limits: Limits,
    options: ParseOptions,
    stream: StreamKey,
    shape: Shape,
    known: Known,
    admission: Admission,
    /// Series encoded under rules that have been replaced, which may be there still.
    former: Vec<Former>,
    packer: Packer,
    reports: Vec<SeriesBlobs>,
    /// Which of `reports` the last scrape wrote.
    reported: Written,
    /// Of the last scrape that was kept.
    told: Option<Fingerprint>,
    /// What the target says of its metrics has changed: series get it anew.
    encodes_anew: bool,
}

struct Former {
    shapings: Arc<Shapings>,
    series: HashMap<u64, Series>,
}

impl Reader {
    /// `lists` are shared by all readers.
    pub(super) fn new(
        job: Arc<Job>,
        target: &Target,
        shapings: Arc<Shapings>,
        lists: LineLists,
    ) -> Self {
        let limits = limits(&job, target);
        let shape = Shape::new(Arc::clone(&job), limits, target);
        let reports = encode_reports(&shape, &shapings);
        Self {
            options: parse_options(&job, target, &shapings),
            job,
            limits,
            stream: target.key,
            shape,
            known: Known::new(Rounds::default(), lists),
            admission: Admission::new(limits.series_max),
            former: Vec::new(),
            packer: Packer::new(shapings),
            reports,
            reported: Written::default(),
            told: None,
            encodes_anew: false,
        }
    }

    /// From now on these rules. Series that they no longer give end at the next scrape.
    pub(super) fn change(&mut self, job: Arc<Job>, target: &Target, shapings: Arc<Shapings>) {
        let series = self.known.take_series(self.packer.shapings());
        if !series.is_empty() {
            let shapings = Arc::clone(self.packer.shapings());
            self.former.push(Former { shapings, series });
        }
        self.limits = limits(&job, target);
        self.options = parse_options(&job, target, &shapings);
        self.encodes_anew = false;
        self.admission.set_max(self.limits.series_max);
        self.shape = Shape::new(Arc::clone(&job), self.limits, target);
        self.reports = encode_reports(&self.shape, &shapings);
        self.job = job;
        self.stream = target.key;
        self.packer.set_shapings(shapings);
    }

    /// Series that tell of the scrape itself.
    pub(super) fn report_count(&self) -> usize {
        let written = report::written(&self.job, &self.limits);
        written.into_iter().filter(|written| *written).count()
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
        if self.admission.is_over(moment.now_ms) {
            let there = self.known.live_identities();
            self.admission.renew(moment.now_ms, there);
            self.known.forget_texts(self.packer.shapings());
        }
        if self.encodes_anew {
            self.known.forget_texts(self.packer.shapings());
        }
        self.known.begin();
        let (counts, outcome) = Pass::new(self, moment).read(format, body);
        if outcome.is_ok() {
            self.heed(counts.metadata);
        } else {
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
            Some(failure) if failure.is_over_limit() => End::OverLimit,
            Some(_) => End::Failed,
        };
        let mut packed = self.end_series(end, moment);
        let written = report::written(&self.job, &self.limits);
        let values = report.values(&self.limits, self.admission.count());
        let layer = self.layer();
        for (n, blobs) in self.reports.iter().enumerate() {
            if written[n] || self.reported[n] {
                let value = PointValue::Float(values[n]);
                let value = if written[n] { value } else { marker(Kind::Float) };
                self.packer.push(blobs, &point(value, moment), layer);
            }
        }
        self.reported = written;
        packed.push(self.packer.finish());
        packed
    }

    /// The target is gone: markers for all of it.
    pub(super) fn end(&mut self, moment: Moment) -> Vec<Packed> {
        self.begin(moment);
        let mut packed = self.end_series(End::Failed, moment);
        for (blobs, _) in self.reports.iter().zip(self.reported).filter(|(_, written)| *written) {
            self.packer.push(blobs, &point(marker(Kind::Float), moment), 0);
        }
        self.reported = Written::default();
        packed.push(self.packer.finish());
        packed
    }

    /// What the target's next owner must know of its series; and how many found no room in it.
    pub(super) fn pack(&self) -> (Bytes, usize) {
        let mut writer = Writer::new();
        let shapings = self.packer.shapings();
        let last = self.reported.iter().rposition(|written| *written).map_or(0, |last| last + 1);
        let none = SeriesBlobs::default();
        let reports = self.reports.iter().zip(self.reported).take(last);
        writer
            .report(shapings, reports.map(|(blobs, written)| if written { blobs } else { &none }));
        writer.series(shapings, self.known.live(shapings));
        for former in &self.former {
            let live = former.series.values().filter_map(|series| {
                Some((series.identity, series.presence.live()?, Cow::Borrowed(&series.blobs)))
            });
            writer.series(&former.shapings, live);
        }
        writer.finish()
    }

    /// The target was scraped by another until about `last_ms`, and these were there. What the next
    /// kept scrape lacks of them ends then; what is known here is left as it is.
    pub(super) fn adopt(&mut self, inventory: Inventory, last_ms: i64) {
        let shapings = Arc::clone(self.packer.shapings());
        for (reported, blobs) in self.reported.iter_mut().zip(&inventory.reports) {
            *reported |= shapings.part(blobs).any(|blob| !blob.is_empty());
        }
        let mut series = HashMap::new();
        for (identity, kind, blobs) in inventory.series {
            let is_owed = |former: &Former| former.series.contains_key(&identity);
            if self.known.series_of(identity, &shapings).is_none()
                && !self.former.iter().any(is_owed)
            {
                series.insert(identity, self.known.adopted((identity, kind, blobs), last_ms));
            }
        }
        if !series.is_empty() {
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
        self.known.clear();
        self.former.clear();
    }

    /// `None`: the limit of series keeps it out.
    fn series_with(&mut self, labels: &Labels, metadata: Option<&Metadata<'_>>) -> Option<u32> {
        let identity = identity_of(labels);
        if let Some(at) = self.known.series_of(identity, self.packer.shapings()) {
            if self.encodes_anew {
                self.known.series_mut(at).blobs = self.packer.shapings().encode(labels, metadata);
            }
            return Some(at);
        }
        if !self.admission.lets_in(identity) {
            return None;
        }
        let former = self.former.iter_mut().find_map(|former| former.series.remove(&identity));
        let presence = former.map_or_else(Presence::default, |series| series.presence);
        let blobs = self.packer.shapings().encode(labels, metadata);
        Some(self.known.add_series(identity, blobs, presence))
    }

    /// In which samples are packed: behind that of the zeros, where there may be some.
    fn layer(&self) -> usize {
        usize::from(self.job.start_timestamp_zeros)
    }

    /// What is told is known when the first series comes, but for what was told otherwise before.
    fn heed(&mut self, told: Fingerprint) {
        let is_news = self.told.replace(told).is_some_and(|before| before != told);
        self.encodes_anew = is_news && self.packer.shapings().wants_metadata();
    }

    fn end_series(&mut self, end: End, moment: Moment) -> Vec<Packed> {
        let (layer, timestamp_ms) = (self.layer(), moment.timestamp_ms);
        let shapings = Arc::clone(self.packer.shapings());
        let packer = &mut self.packer;
        self.known.end(end, timestamp_ms, &shapings, |ended| match ended {
            Ended::Series(blobs, kind) => {
                packer.push(blobs, &point(marker(kind), moment), layer);
            }
            Ended::Run(run) if run.takes(timestamp_ms) => {
                packer.push_run(run, &std::iter::repeat(stale_marker()), timestamp_ms, layer);
            }
            // Between now and the year 2109 no timestamp is shorter or longer than those before.
            Ended::Run(run) => {
                for blobs in shapings.blobs_of(run) {
                    packer.push(&blobs, &point(marker(Kind::Float), moment), layer);
                }
            }
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
            let mut series: Vec<(u64, Series)> = former.series.into_iter().collect();
            series.sort_unstable_by_key(|(identity, _)| *identity);
            for (_, mut series) in series {
                let end = End::Failed;
                if let Some(kind) = series.presence.end(self.known.rounds, end, moment.timestamp_ms)
                {
                    packer.push(&series.blobs, &point(marker(kind), moment), 0);
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
    let series = inventory.series.iter().map(|(_, kind, blobs)| (*kind, blobs));
    let reports = inventory.reports.iter().map(|blobs| (Kind::Float, blobs));
    for (kind, blobs) in series.chain(reports) {
        packer.push(blobs, &point(marker(kind), moment), 0);
    }
    packer.finish()
}

fn limits(job: &Job, target: &Target) -> Limits {
    // One that can't be read was refused where the target was found.
    per_target::limits(job, &target.labels).unwrap_or(job.limits)
}

fn encode_reports(shape: &Shape, shapings: &Shapings) -> Vec<SeriesBlobs> {
    let encode =
        |(name, metadata): (&str, _)| shapings.encode(&shape.report(name), Some(&metadata));
    report::all().map(encode).collect()
}

fn parse_options(job: &Job, target: &Target, shapings: &Shapings) -> ParseOptions {
    let histograms = per_target::histograms(job, &target.labels);
    ParseOptions {
        native: histograms.native,
        classic: histograms.always_classic,
        custom_buckets: histograms.convert_classic,
        starts: job.start_timestamp_zeros || shapings.wants_starts(),
        // As in Prometheus, which takes them for nothing else only with its feature flag.
        keeps_created: !job.start_timestamp_zeros,
        type_and_unit: job.type_and_unit_labels,
    }
}

fn point(value: PointValue<'_>, moment: Moment) -> Point<'_> {
    Point { value, timestamp_ms: moment.timestamp_ms, start_ms: None, exemplars: &[] }
}
