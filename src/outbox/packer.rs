//! Between a scraped series and bytes: each destination's labels are encoded once a series, then
//! every scrape puts values behind them and compresses. The result goes to the queues as batches.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use crate::{
    config::{Destination, WriteMessage},
    model::{
        batch::{Batch, Signal},
        labels::{Labels, METRIC_NAME},
        relabel::{self, Rule},
        sample::{Point, PointValue},
        slot::StreamKey,
    },
    wire::{
        protobuf::push_varint,
        remote_write::{Compressor, Metadata, encode_labels, push_series},
    },
};

/// Snappy works block by block, so what fills one can be compressed and forgotten: a scrape of any
/// size needs one block of plain bytes.
const BLOCK_BYTES_MAX: usize = 64 << 10;
/// A batch is cut before it unpacks to more; a single larger series goes alone.
const BATCH_RAW_BYTES_MAX: usize = 4 << 20;
/// Of a sample, besides its labels and exemplars.
const SAMPLE_BYTES_MAX: usize = 50;
/// Tools for packing that are kept between scrapes; more are made when that many pack at once.
const TOOLS_KEPT_MAX: usize = 16;
const PLAIN_KEPT_MAX: usize = 8;

/// What becomes of a series on its way to a destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Shaping {
    /// Added where the series lacks that label.
    pub external_labels: Labels,
    pub write_relabel: Vec<Rule>,
    pub exemplars: bool,
    /// Native ones; where they do not go, the series that have nothing else do not either.
    pub histograms: bool,
    /// With 2.0 goes what 1.0 has no place for: metadata and starts.
    pub message: WriteMessage,
    /// Of one batch, and so of one request.
    pub samples_max: usize,
}

/// The distinct shapings of all destinations: usually one, however many destinations there are.
#[derive(Debug, Default)]
pub struct Shapings {
    shapings: Vec<(Shaping, Users)>,
    tools: Mutex<Vec<Tools>>,
}

/// The destinations that a shaping is for, by what the fleet calls them.
type Users = Vec<Arc<str>>;

/// The labels of one series as each shaping makes them, encoded. For a single shaping the blob
/// itself; else each with its length before it. An empty one: the series does not go there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesBlobs(Box<[u8]>);

/// One scrape, ready for the queues.
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

/// What packing needs and no target should keep for itself: 100 KB and more.
#[derive(Debug, Default)]
struct Tools {
    compressor: Option<Compressor>,
    plain: Vec<Vec<u8>>,
}

/// Where a batch comes from.
#[derive(Clone, Copy, Debug)]
struct Origin {
    stream: StreamKey,
    round: i64,
    since_ms: Option<i64>,
}

/// A batch that is growing.
#[derive(Debug, Default)]
struct Pile {
    plain: Vec<u8>,
    fragments: Vec<Bytes>,
    /// Of the fragments, unpacked.
    raw_length: usize,
    samples: usize,
    oldest_ms: i64,
}

impl Shapings {
    pub fn of(destinations: &[Arc<Destination>]) -> Self {
        let mut shapings: Vec<(Shaping, Users)> = Vec::new();
        for destination in destinations {
            let shaping = Shaping {
                external_labels: destination.external_labels.clone(),
                write_relabel: destination.write_relabel.clone(),
                exemplars: destination.send_exemplars,
                histograms: destination.send_native_histograms,
                message: destination.message,
                samples_max: destination.queue.samples_per_send_max.max(1),
            };
            let name = Arc::clone(&destination.fleet_name);
            match shapings.iter_mut().find(|(other, _)| *other == shaping) {
                Some((_, users)) => users.push(name),
                None => shapings.push((shaping, vec![name])),
            }
        }
        Self { shapings, tools: Mutex::default() }
    }

    /// Whether a series that was encoded by `other` means the same here.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.shapings == other.shapings
    }

    /// Whether any destination takes exemplars; where none does they need not be decoded.
    pub fn wants_exemplars(&self) -> bool {
        self.shapings.iter().any(|(shaping, _)| shaping.exemplars)
    }

    /// Whether any destination takes native histograms; where none does they need not be decoded.
    pub fn wants_histograms(&self) -> bool {
        self.shapings.iter().any(|(shaping, _)| shaping.histograms)
    }

    /// Whether any destination gets what targets say of a series with the series. Where that has
    /// changed, encode the series anew.
    pub fn wants_metadata(&self) -> bool {
        self.shapings.iter().any(|(shaping, _)| shaping.is_v2())
    }

    /// Whether any destination takes the instants since when series have counted.
    pub fn wants_starts(&self) -> bool {
        self.wants_metadata()
    }

    /// Once a series, not once a sample. The metadata goes to those that want it with each series.
    pub fn encode(&self, labels: &Labels, metadata: Option<&Metadata<'_>>) -> SeriesBlobs {
        self.gather(self.shapings.iter().map(|(shaping, _)| shaping.encode(labels, metadata)))
    }

    /// The names of the destinations that each shaping is for.
    pub fn users(&self) -> impl ExactSizeIterator<Item = &[Arc<str>]> {
        self.shapings.iter().map(|(_, users)| users.as_slice())
    }

    /// One blob a shaping, in the order of `users`, made one.
    pub fn gather(&self, blobs: impl IntoIterator<Item = impl AsRef<[u8]>>) -> SeriesBlobs {
        let mut all = Vec::new();
        for blob in blobs {
            let blob = blob.as_ref();
            if self.shapings.len() > 1 {
                push_varint(&mut all, blob.len() as u64);
            }
            all.extend_from_slice(blob);
        }
        SeriesBlobs(all.into_boxed_slice())
    }

    /// The blob of each shaping, in the order of `users`.
    pub fn part<'a>(&self, blobs: &'a SeriesBlobs) -> impl Iterator<Item = &'a [u8]> {
        let (count, mut rest) = (self.shapings.len(), &*blobs.0);
        let next = move |_| if count == 1 { Some(rest) } else { next_blob(&mut rest) };
        (0..count).map_while(next)
    }

    fn borrow_tools(&self) -> Tools {
        let mut kept = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        kept.pop().unwrap_or_default()
    }

    fn give_back(&self, tools: Tools) {
        let mut kept = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < TOOLS_KEPT_MAX {
            kept.push(tools);
        }
    }
}

impl Shaping {
    /// Empty where a rule drops the series, or leaves it without a name.
    fn encode(&self, labels: &Labels, metadata: Option<&Metadata<'_>>) -> Vec<u8> {
        let metadata = metadata.filter(|_| self.is_v2());
        if self.external_labels.is_empty() && self.write_relabel.is_empty() {
            let is_named = labels.contains(METRIC_NAME);
            return if is_named { encode_labels(labels, metadata) } else { Vec::new() };
        }
        let mut labels = labels.clone();
        for (name, value) in self.external_labels.iter() {
            if !labels.contains(name) {
                labels.set(name, value);
            }
        }
        match relabel::apply(&self.write_relabel, labels) {
            Some(labels) if labels.contains(METRIC_NAME) => encode_labels(&labels, metadata),
            Some(_) | None => Vec::new(),
        }
    }

    /// What of a point goes there; `None`: not even its value.
    #[inline]
    fn part_of<'a>(&self, point: &Point<'a>) -> Option<Point<'a>> {
        let takes = match point.value {
            PointValue::Float(_) => true,
            PointValue::Histogram(_) => self.histograms,
        };
        takes.then(|| Point {
            start_ms: point.start_ms.filter(|_| self.is_v2()),
            exemplars: if self.exemplars { point.exemplars } else { &[] },
            ..*point
        })
    }

    fn is_v2(&self) -> bool {
        match self.message {
            WriteMessage::V1 => false,
            WriteMessage::V2 => true,
        }
    }
}

impl Packed {
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub fn samples(&self) -> usize {
        self.batches.iter().map(|(_, batch)| batch.samples as usize).sum()
    }

    /// What goes to the destination of that name, in order.
    pub fn batches_for(&self, name: &str) -> Vec<Batch> {
        let users = |number: usize| &self.shapings.shapings[number].1;
        let own = self.batches.iter().filter(|(n, _)| users(*n).iter().any(|user| **user == *name));
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
        if self.shapings.shapings.len() == 1 {
            self.push_to(0, layer, &blobs.0, point);
            return;
        }
        let mut rest = &*blobs.0;
        for number in 0..self.shapings.shapings.len() {
            let Some(blob) = next_blob(&mut rest) else { return };
            self.push_to(number, layer, blob, point);
        }
    }

    pub fn finish(&mut self) -> Packed {
        for (layer, row) in mem::take(&mut self.layers).into_iter().enumerate() {
            for (number, mut pile) in row.into_iter().enumerate() {
                let origin = self.origin_of(layer);
                self.batches.extend(pile.seal(&mut self.tools, origin).map(|b| (number, b)));
                self.tools.keep(pile.plain);
            }
        }
        self.shapings.give_back(mem::take(&mut self.tools));
        let mut batches = mem::take(&mut self.batches);
        // Stable: within a round the order of the scrape stays.
        batches.sort_by_key(|(_, batch)| batch.round);
        Packed { shapings: Arc::clone(&self.shapings), batches }
    }

    #[inline]
    fn push_to(&mut self, number: usize, layer: usize, blob: &[u8], point: &Point<'_>) {
        let shaping = &self.shapings.shapings[number].0;
        let Some(point) = shaping.part_of(point).filter(|_| !blob.is_empty()) else { return };
        let pile = &mut self.layers[layer][number];
        if pile.plain.len() + blob.len() + SAMPLE_BYTES_MAX > BLOCK_BYTES_MAX {
            pile.compress(&mut self.tools);
        }
        push_series(&mut pile.plain, blob, &point);
        pile.samples += 1;
        pile.oldest_ms = pile.oldest_ms.min(point.timestamp_ms);
        let full = pile.samples >= shaping.samples_max
            || pile.raw_length + pile.plain.len() >= BATCH_RAW_BYTES_MAX;
        if full {
            let origin = self.origin_of(layer);
            let pile = &mut self.layers[layer][number];
            self.batches.extend(pile.seal(&mut self.tools, origin).map(|b| (number, b)));
        }
    }

    fn origin_of(&mut self, layer: usize) -> Origin {
        let round = self.round.saturating_add(i64::try_from(layer).unwrap_or(i64::MAX));
        self.next_round = self.next_round.max(round.saturating_add(1));
        Origin { stream: self.stream, round, since_ms: self.since_ms }
    }

    fn grow(&mut self, layer: usize) {
        while self.layers.len() <= layer {
            let shapings = self.shapings.shapings.len();
            let tools = &mut self.tools;
            let row = (0..shapings).map(|_| Pile::with(tools.plain.pop().unwrap_or_default()));
            self.layers.push(row.collect());
        }
    }
}

impl Tools {
    fn keep(&mut self, mut plain: Vec<u8>) {
        plain.clear();
        if self.plain.len() < PLAIN_KEPT_MAX && plain.capacity() <= 2 * BLOCK_BYTES_MAX {
            self.plain.push(plain);
        }
    }
}

impl Pile {
    fn with(plain: Vec<u8>) -> Self {
        Self { plain, oldest_ms: i64::MAX, ..Self::default() }
    }

    fn compress(&mut self, tools: &mut Tools) {
        if self.plain.is_empty() {
            return;
        }
        let compressor = tools.compressor.get_or_insert_default();
        self.fragments.push(compressor.compress(&self.plain).bytes);
        self.raw_length += self.plain.len();
        self.plain.clear();
    }

    /// What has grown becomes a batch, and the pile is empty again.
    fn seal(&mut self, tools: &mut Tools, origin: Origin) -> Option<Batch> {
        let Origin { stream, round, since_ms } = origin;
        self.compress(tools);
        let bytes = match self.fragments.len() {
            0 => return None,
            1 => self.fragments.remove(0),
            _ => self.fragments.concat().into(),
        };
        let batch = Batch {
            signal: Signal::Metrics,
            tenant: Arc::from(""),
            stream,
            round,
            since_ms,
            samples: u32::try_from(self.samples).expect("a batch is cut long before"),
            oldest_ms: self.oldest_ms,
            raw_length: u32::try_from(self.raw_length).expect("a batch is cut long before"),
            bytes,
        };
        *self = Self::with(mem::take(&mut self.plain));
        Some(batch)
    }
}

/// Takes the first blob off `rest`.
#[inline]
fn next_blob<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut length = 0;
    for (n, byte) in rest.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << (7 * n);
        if *byte < 0x80 {
            let (blob, behind) = rest[n + 1..].split_at_checked(length)?;
            *rest = behind;
            return Some(blob);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{HttpClient, MetadataSending, Queue, WriteCompression, WriteMessage},
        model::{
            histogram::{Counts, Histogram, ResetHint},
            relabel::{Action, NameValidation, RuleSpec},
            sample::Exemplar,
        },
        wire::remote_write::{Fragment, TimeSeries, decode, join},
    };

    fn destination(name: &str, change: impl FnOnce(&mut Destination)) -> Arc<Destination> {
        let mut destination = Destination {
            fleet_name: name.into(),
            name: name.into(),
            url: String::new(),
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
        assert_eq!(packer.shapings().shapings.len(), 4);
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
