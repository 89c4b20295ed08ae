//! Between a scraped series and bytes: each destination's labels are encoded once a series, then
//! every scrape puts values behind them and compresses. The result goes to the queues as batches.

use std::{mem, sync::Arc};

use crate::{
    model::{batch::Batch, sample::Point, slot::StreamKey},
    outbox::{
        pile::{Origin, Pile, Tools},
        shaping::{SeriesBlobs, SeriesRun, Shapings},
    },
    wire::remote_write::push_series,
};

/// Of a sample, besides its labels and exemplars.
const SAMPLE_BYTES_MAX: usize = 50;

/// One scrape, or what was pushed at once, ready for the queues.
#[derive(Debug)]
pub struct Packed {
    /// Those it was packed with, which a reload may have replaced since.
    shapings: Arc<Shapings>,
    /// By number of shaping, in the order in which they must leave.
    batches: Vec<(usize, Batch)>,
}

/// Packs the scrapes of one target. Holds no memory between two of them.
#[derive(Debug)]
pub struct Packer {
    shapings: Arc<Shapings>,
    stream: StreamKey,
    round: i64,
    since_ms: Option<i64>,
    /// Above every round given away so far.
    next_round: i64,
    /// One row a layer, in a row one pile a shaping.
    layers: Vec<Vec<Pile>>,
    tools: Tools,
    batches: Vec<(usize, Batch)>,
}

impl Packed {
    /// By number of shaping, in the order in which they must leave.
    pub(super) fn of(shapings: Arc<Shapings>, batches: Vec<(usize, Batch)>) -> Self {
        Self { shapings, batches }
    }

    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub fn samples(&self) -> usize {
        self.batches.iter().map(|(_, batch)| batch.samples as usize).sum()
    }

    /// Those of the batches; of some that follow each other, one at least.
    pub(super) fn tenants(&self) -> impl Iterator<Item = &Arc<str>> {
        let runs =
            self.batches.chunk_by(|(_, one), (_, next)| Arc::ptr_eq(&one.tenant, &next.tenant));
        runs.map(|run| &run[0].1.tenant)
    }

    /// What goes to the destination of that name, in order.
    pub fn batches_for(&self, name: &str) -> Vec<Batch> {
        let is_user =
            |number: usize| self.shapings.users_of(number).iter().any(|user| **user == *name);
        let own = self.batches.iter().filter(|(number, _)| is_user(*number));
        own.map(|(_, batch)| batch.clone()).collect()
    }
}

impl Packer {
    pub fn new(shapings: Arc<Shapings>) -> Self {
        Self {
            shapings,
            stream: StreamKey(0),
            round: 0,
            since_ms: None,
            next_round: i64::MIN,
            layers: Vec::new(),
            tools: Tools::default(),
            batches: Vec::new(),
        }
    }

    pub fn shapings(&self) -> &Arc<Shapings> {
        &self.shapings
    }

    /// From the next `begin` on. Series must be encoded anew, unless the two are the same.
    pub fn set_shapings(&mut self, shapings: Arc<Shapings>) {
        self.shapings = shapings;
    }

    /// A new scrape of `stream`. `round` is the scheduled instant in milliseconds; it is raised
    /// where the stream has come further already. `since_ms`: when the ownership began in which the
    /// scrape falls; `None` where its target is not divided.
    pub fn begin(&mut self, stream: StreamKey, round: i64, since_ms: Option<i64>) {
        self.since_ms = since_ms;
        self.stream = stream;
        self.round = round.max(self.next_round);
        self.next_round = self.round.saturating_add(1);
        self.layers.clear();
        self.batches.clear();
        self.tools = self.shapings.borrow_tools();
        self.grow(0);
    }

    /// `layer` is how many samples of this series the scrape has had before (explicit timestamps
    /// can bring several): each layer leaves in a round of its own, behind the one before.
    #[inline]
    pub fn push(&mut self, blobs: &SeriesBlobs, point: &Point<'_>, layer: usize) {
        if layer >= self.layers.len() {
            self.grow(layer);
        }
        let count = self.layers[layer].len();
        for (number, blob) in blobs.parts(count).enumerate() {
            self.push_to(number, layer, blob, point);
        }
    }

    /// A float of each series of the run, in order, all at the same time, which it `takes`. The same
    /// as to push one after the other, and much cheaper.
    pub fn push_run(
        &mut self,
        run: &SeriesRun,
        values: &(impl Iterator<Item = f64> + Clone),
        timestamp_ms: i64,
        layer: usize,
    ) {
        if layer >= self.layers.len() {
            self.grow(layer);
        }
        for (number, skeleton) in run.skeletons().iter().enumerate() {
            let samples = skeleton.samples() as usize;
            if samples == 0 {
                continue;
            }
            let samples_max = self.shapings.shaping(number).samples_max;
            if self.layers[layer][number].samples + samples > samples_max {
                self.seal(number, layer);
            }
            let pile = &mut self.layers[layer][number];
            pile.compress(&mut self.tools);
            skeleton.write(values.clone(), timestamp_ms, &mut pile.packed);
            pile.raw_length += skeleton.raw_length() as usize;
            pile.count(samples, timestamp_ms);
            if pile.is_full(samples_max) {
                self.seal(number, layer);
            }
        }
    }

    pub fn finish(&mut self) -> Packed {
        for (layer, row) in mem::take(&mut self.layers).into_iter().enumerate() {
            for (number, mut pile) in row.into_iter().enumerate() {
                let origin = self.origin_of(layer);
                self.batches.extend(pile.seal(&mut self.tools, &origin).map(|b| (number, b)));
                self.tools.keep(pile);
            }
        }
        self.shapings.give_back(mem::take(&mut self.tools));
        let mut batches = mem::take(&mut self.batches);
        // Stable: within a round the order of the scrape stays.
        batches.sort_by_key(|(_, batch)| batch.round);
        Packed::of(Arc::clone(&self.shapings), batches)
    }

    #[inline]
    fn push_to(&mut self, number: usize, layer: usize, blob: &[u8], point: &Point<'_>) {
        let shaping = self.shapings.shaping(number);
        let Some(point) = shaping.part_of(point).filter(|_| !blob.is_empty()) else { return };
        let samples_max = shaping.samples_max;
        let pile = &mut self.layers[layer][number];
        let plain = pile.room_for(blob.len() + SAMPLE_BYTES_MAX, &mut self.tools);
        push_series(plain, blob, &point);
        pile.count(1, point.timestamp_ms);
        if pile.is_full(samples_max) {
            self.seal(number, layer);
        }
    }

    fn seal(&mut self, number: usize, layer: usize) {
        let origin = self.origin_of(layer);
        let pile = &mut self.layers[layer][number];
        self.batches.extend(pile.seal(&mut self.tools, &origin).map(|b| (number, b)));
    }

    fn origin_of(&mut self, layer: usize) -> Origin {
        let round = self.round.saturating_add(i64::try_from(layer).unwrap_or(i64::MAX));
        self.next_round = self.next_round.max(round.saturating_add(1));
        let tenant = Arc::default();
        Origin { tenant, stream: self.stream, round, since_ms: self.since_ms, pushed: false }
    }

    fn grow(&mut self, layer: usize) {
        while self.layers.len() <= layer {
            let tools = &mut self.tools;
            let row = self.shapings.each().map(|_| tools.pile());
            self.layers.push(row.collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Destination, HttpClient, MetadataSending, Queue, WriteCompression, WriteMessage},
        model::{
            histogram::{Counts, Histogram, ResetHint},
            labels::Labels,
            relabel::{Action, NameValidation, Rule, RuleSpec},
            sample::{Exemplar, PointValue},
        },
        wire::remote_write::{Fragment, Metadata, TimeSeries, decode, join},
    };

    fn destination(name: &str, change: impl FnOnce(&mut Destination)) -> Arc<Destination> {
        let mut destination = Destination {
            fleet_name: name.into(),
            name: name.into(),
            url: crate::config::TypedUrl::default(),
            timeout: std::time::Duration::ZERO,
            http: HttpClient::default(),
            external_labels: Labels::new(),
            write_relabel: Vec::new(),
            send_exemplars: false,
            send_native_histograms: false,
            message: WriteMessage::V1,
            compression: WriteCompression::Auto,
            metadata: MetadataSending::default(),
            round_robin_dns: false,
            placement: false,
            out_of_order_window: std::time::Duration::ZERO,
            queue: Queue {
                samples_per_send_max: 500,
                batch_send_deadline: std::time::Duration::ZERO,
                min_backoff: std::time::Duration::ZERO,
                max_backoff: std::time::Duration::ZERO,
                sample_age_limit: std::time::Duration::ZERO,
            },
        };
        change(&mut destination);
        Arc::new(destination)
    }

    fn packer(destinations: &[Arc<Destination>]) -> Packer {
        Packer::new(Arc::new(Shapings::of(destinations)))
    }

    fn series(n: usize) -> Labels {
        [("__name__", "m".to_owned()), ("n", n.to_string())].into_iter().collect()
    }

    fn push(packer: &mut Packer, labels: &Labels, value: f64, layer: usize) {
        let blobs = packer.shapings().encode(labels, None);
        packer.push(&blobs, &float(value, 1_000 + i64::try_from(layer).unwrap()), layer);
    }

    fn float(value: f64, timestamp_ms: i64) -> Point<'static> {
        Point { value: PointValue::Float(value), timestamp_ms, start_ms: None, exemplars: &[] }
    }

    fn unpacked(batch: &Batch) -> Vec<TimeSeries> {
        let fragment = Fragment { bytes: batch.bytes.clone(), raw_length: batch.raw_length };
        decode(&join([&fragment])).unwrap()
    }

    /// The labels that reach each destination.
    fn labels_for(packed: &Packed, name: &str) -> Vec<String> {
        let batches = packed.batches_for(name);
        batches.iter().flat_map(unpacked).map(|series| series.labels.to_string()).collect()
    }

    fn rule(action: Action, source: &str, regex: &str, target: Option<&str>) -> Rule {
        let spec = RuleSpec {
            source_labels: Some(vec![source.to_owned()]),
            regex: Some(regex.to_owned()),
            target_label: target.map(str::to_owned),
            action: Some(action),
            ..RuleSpec::default()
        };
        Rule::compile(spec, NameValidation::Utf8).unwrap()
    }

    fn unnamed() -> Rule {
        let spec = RuleSpec {
            regex: Some("__name__".to_owned()),
            action: Some(Action::LabelDrop),
            ..RuleSpec::default()
        };
        Rule::compile(spec, NameValidation::Utf8).unwrap()
    }

    #[test]
    fn each_destination_gets_the_labels_it_asked_for() {
        let destinations = [
            destination("plain", |_| {}),
            destination("external", |d| {
                d.external_labels = [("dc", "x"), ("n", "other")].into_iter().collect();
            }),
            destination("relabelled", |d| {
                d.external_labels = [("dc", "x")].into_iter().collect();
                d.write_relabel = vec![
                    rule(Action::Drop, "n", "2", None),
                    rule(Action::Replace, "dc", "(.*)", Some("a_copy")),
                    rule(Action::Replace, "n", "(3)", Some("__name__")),
                    rule(Action::Replace, "gone", "(.*)", Some("n")),
                ];
            }),
            destination("nameless", |d| d.write_relabel = vec![unnamed()]),
            destination("plain as well", |_| {}),
        ];
        let mut packer = packer(&destinations);
        assert_eq!(packer.shapings().users().len(), 4);
        packer.begin(StreamKey(1), 0, None);
        for n in 1..=3 {
            push(&mut packer, &series(n), 0.0, 0);
        }
        let scrape = packer.finish();
        let plain = [1, 2, 3].map(|n| format!(r#"{{__name__="m", n="{n}"}}"#));
        assert_eq!(labels_for(&scrape, "plain"), plain);
        assert_eq!(labels_for(&scrape, "plain as well"), plain);
        let external = [1, 2, 3].map(|n| format!(r#"{{__name__="m", dc="x", n="{n}"}}"#));
        assert_eq!(labels_for(&scrape, "external"), external);
        let relabelled =
            [r#"{__name__="m", a_copy="x", dc="x"}"#, r#"{__name__="3", a_copy="x", dc="x"}"#];
        assert_eq!(labels_for(&scrape, "relabelled"), relabelled);
        assert!(labels_for(&scrape, "nameless").is_empty());
        assert!(labels_for(&scrape, "unknown").is_empty());
    }

    #[test]
    fn a_scrape_is_cut_into_batches_of_one_round() {
        let mut packer = packer(&[destination("a", |_| {})]);
        for time in 0..2 {
            packer.begin(StreamKey(1), 7000, None);
            for n in 0..1234 {
                push(&mut packer, &series(n), 1.5, 0);
            }
            let scrape = packer.finish();
            let batches = scrape.batches_for("a");
            let sizes: Vec<u32> = batches.iter().map(|batch| batch.samples).collect();
            assert_eq!(sizes, [500, 500, 234]);
            assert_eq!(scrape.samples(), 1234);
            assert!(batches.iter().all(|batch| batch.round == 7000 + time));
            let all: Vec<TimeSeries> = batches.iter().flat_map(unpacked).collect();
            let numbers: Vec<String> = all.iter().map(|s| s.labels.get("n").to_owned()).collect();
            assert_eq!(numbers, (0..1234).map(|n| n.to_string()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn more_than_a_block_comes_back_as_it_was() {
        let mut packer = packer(&[destination("a", |d| d.queue.samples_per_send_max = 100_000)]);
        packer.begin(StreamKey(1), 0, None);
        let long = |n: usize| {
            let value = "v".repeat(if n.is_multiple_of(100) { 100_000 } else { n % 300 });
            series(n).iter().chain([("long", value.as_str())]).collect::<Labels>()
        };
        for n in 0..2000 {
            push(&mut packer, &long(n), 0.0, 0);
        }
        let batches = packer.finish().batches_for("a");
        assert!(batches.iter().all(|batch| batch.raw_length < 5 << 20));
        let all: Vec<TimeSeries> = batches.iter().flat_map(unpacked).collect();
        assert_eq!(all.len(), 2000);
        assert!(all.iter().enumerate().all(|(n, series)| series.labels == long(n)));
    }

    #[test]
    fn several_samples_of_a_series_leave_in_rounds_of_their_own() {
        let mut packer = packer(&[destination("a", |_| {})]);
        packer.begin(StreamKey(1), 100, None);
        for layer in 0..3 {
            push(&mut packer, &series(1), 0.0, layer);
        }
        push(&mut packer, &series(2), 0.0, 0);
        let batches = packer.finish().batches_for("a");
        let rounds: Vec<(i64, u32, i64)> =
            batches.iter().map(|b| (b.round, b.samples, b.oldest_ms)).collect();
        assert_eq!(rounds, [(100, 2, 1000), (101, 1, 1001), (102, 1, 1002)]);
        packer.begin(StreamKey(1), 101, None);
        push(&mut packer, &series(1), 0.0, 0);
        assert_eq!(packer.finish().batches_for("a")[0].round, 103, "no round comes twice");
    }

    #[test]
    fn exemplars_go_where_they_are_wanted() {
        let mut packer = packer(&[
            destination("with", |d| d.send_exemplars = true),
            destination("without", |_| {}),
        ]);
        packer.begin(StreamKey(1), 0, None);
        let blobs = packer.shapings().encode(&series(1), None);
        let exemplar = Exemplar {
            labels: [("trace_id", "abc")].into_iter().collect(),
            value: 1.0,
            timestamp_ms: Some(5),
        };
        let exemplars = std::slice::from_ref(&exemplar);
        packer.push(&blobs, &Point { exemplars, ..float(2.0, 6) }, 0);
        let scrape = packer.finish();
        let exemplars = |name: &str| unpacked(&scrape.batches_for(name)[0])[0].exemplars.clone();
        assert_eq!(exemplars("with"), [exemplar]);
        assert_eq!(exemplars("without"), []);
    }

    #[test]
    fn what_1_0_has_no_place_for_goes_by_2_0_alone() {
        let mut packer = packer(&[
            destination("v1", |_| {}),
            destination("v2", |d| d.message = WriteMessage::V2),
            destination("histograms", |d| d.send_native_histograms = true),
        ]);
        assert!(packer.shapings().wants_metadata() && packer.shapings().wants_histograms());
        packer.begin(StreamKey(1), 0, None);
        let metadata = Metadata { help: "what it is".into(), ..Metadata::default() };
        let blobs = packer.shapings().encode(&series(1), Some(&metadata));
        packer.push(&blobs, &Point { start_ms: Some(5), ..float(2.0, 6) }, 0);
        let histogram = Histogram {
            schema: 0,
            zero_threshold: 0.0,
            sum: 1.0,
            reset_hint: ResetHint::Unknown,
            positive_spans: Vec::new(),
            negative_spans: Vec::new(),
            counts: Counts::Float {
                count: 0.0,
                zero_count: 0.0,
                positive: Vec::new(),
                negative: Vec::new(),
            },
            custom_bounds: Vec::new(),
        };
        let value = PointValue::Histogram(&histogram);
        packer.push(&blobs, &Point { value, ..float(0.0, 7) }, 1);
        let scrape = packer.finish();
        let told = |name: &str| -> Vec<_> {
            let all = scrape.batches_for(name).iter().flat_map(unpacked).collect::<Vec<_>>();
            let has = |s: &TimeSeries| (s.metadata.is_some(), s.start_ms, s.histograms.len());
            all.iter().map(has).collect()
        };
        assert_eq!(told("v1"), [(false, None, 0)]);
        assert_eq!(told("v2"), [(true, Some(5), 0)]);
        assert_eq!(told("histograms"), [(false, None, 0), (false, None, 1)]);
    }

    #[test]
    fn without_destinations_there_is_nothing_to_pack() {
        let mut packer = packer(&[]);
        packer.begin(StreamKey(1), 0, None);
        push(&mut packer, &series(1), 0.0, 0);
        assert!(packer.finish().is_empty());
    }
}
