//! Between pushed series and batches: they come encoded, so that most are copied as they are, and
//! only what a destination wants otherwise is taken apart. Beside `packer`, which does scrapes.

use std::{mem, sync::Arc};

use crate::{
    model::{batch::Batch, slot::StreamKey},
    outbox::{
        packer::Packed,
        pile::{Origin, Pile, Tools},
        shaping::{Shaping, Shapings},
    },
    wire::remote_write::{KeptParts, KeptTakes, tells_more_than_1_0},
};

/// Where pushed series come from, and belong.
#[derive(Clone, Debug)]
pub struct PushOrigin {
    /// Empty where there is no tenancy.
    pub tenant: Arc<str>,
    pub stream: StreamKey,
    /// Rises from push to push of the stream; of one round, no series comes twice.
    pub round: i64,
    /// When the ownership began in which it was taken; `None` where it is not divided.
    pub since_ms: Option<i64>,
}

/// A series in the form that the outbox keeps.
#[derive(Clone, Copy, Debug)]
pub struct KeptSeries<'a> {
    /// Tag, length and message of a `timeseries` field, with one point at most.
    pub field: &'a [u8],
    pub timestamp_ms: i64,
    /// A float and nothing besides: any destination takes it as it is.
    pub is_plain: bool,
}

/// Packs what was pushed, stream by stream. Holds no memory between two pushes.
#[derive(Debug)]
pub struct Press {
    shapings: Arc<Shapings>,
    origin: Option<Origin>,
    /// One a shaping, once anything has begun.
    piles: Vec<Pile>,
    tools: Tools,
    parts: KeptParts,
    batches: Vec<(usize, Batch)>,
}

impl Press {
    pub fn new(shapings: Arc<Shapings>) -> Self {
        Self {
            shapings,
            origin: None,
            piles: Vec::new(),
            tools: Tools::default(),
            parts: KeptParts::default(),
            batches: Vec::new(),
        }
    }

    /// What is added from now on comes from there. Ends the batch of the origin before.
    pub fn begin(&mut self, origin: PushOrigin) {
        if self.origin.is_none() {
            let mut tools = self.shapings.borrow_tools();
            self.piles = self.shapings.each().map(|_| tools.pile()).collect();
            self.tools = tools;
        }
        self.seal_all();
        let PushOrigin { tenant, stream, round, since_ms } = origin;
        self.origin = Some(Origin { tenant, stream, round, since_ms, pushed: true });
    }

    /// One that can't be taken apart goes nowhere where it would have to be: who brings it has looked
    /// into it before.
    pub fn add(&mut self, series: KeptSeries<'_>) {
        debug_assert!(self.origin.is_some(), "what is added has an origin");
        let mut tells_more = None;
        let mut is_apart = None;
        for number in 0..self.piles.len() {
            let shaping = self.shapings.shaping(number);
            let samples_max = shaping.samples_max;
            let is_copied = shaping.keeps_labels()
                && (series.is_plain
                    || shaping.exemplars
                        && shaping.histograms
                        && (shaping.is_v2()
                            || !*tells_more
                                .get_or_insert_with(|| tells_more_than_1_0(series.field))));
            let pile = &mut self.piles[number];
            if is_copied {
                let plain = pile.room_for(series.field.len(), &mut self.tools);
                plain.extend_from_slice(series.field);
            } else if !*is_apart.get_or_insert_with(|| self.parts.read(series.field))
                || !shape(&self.parts, series.field, shaping, pile, &mut self.tools)
            {
                continue;
            }
            pile.count(1, series.timestamp_ms);
            if pile.is_full(samples_max) {
                self.seal(number);
            }
        }
    }

    pub fn finish(&mut self) -> Packed {
        self.seal_all();
        self.origin = None;
        let mut tools = mem::take(&mut self.tools);
        for pile in mem::take(&mut self.piles) {
            tools.keep(pile);
        }
        self.shapings.give_back(tools);
        Packed::of(Arc::clone(&self.shapings), mem::take(&mut self.batches))
    }

    fn seal_all(&mut self) {
        for number in 0..self.piles.len() {
            self.seal(number);
        }
    }

    fn seal(&mut self, number: usize) {
        let Some(origin) = &self.origin else { return };
        let sealed = self.piles[number].seal(&mut self.tools, origin);
        self.batches.extend(sealed.map(|batch| (number, batch)));
    }
}

/// As scraped series are shaped. False: it does not go there.
fn shape(
    parts: &KeptParts,
    field: &[u8],
    shaping: &Shaping,
    pile: &mut Pile,
    tools: &mut Tools,
) -> bool {
    let blob = shaping.encode(parts.labels(), parts.metadata(field).as_ref());
    if blob.is_empty() {
        return false;
    }
    let takes = KeptTakes {
        histograms: shaping.histograms,
        exemplars: shaping.exemplars,
        start: shaping.is_v2(),
    };
    // What is not labels is no longer than it was.
    let plain = pile.room_for(blob.len() + field.len(), tools);
    parts.push(plain, &blob, takes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Destination, WriteMessage},
        model::{
            histogram::{Counts, Histogram, ResetHint},
            labels::Labels,
            relabel::{Action, NameValidation, Rule, RuleSpec},
            sample::{Exemplar, Point, PointValue, STALE_NAN_BITS},
        },
        outbox::tests::destination,
        wire::{
            protobuf::push_bytes,
            remote_write::{
                Fragment, Metadata, TimeSeries, decode, encode_labels, join, push_series,
                unpack_all,
            },
        },
    };

    /// Of the destination of that name.
    type Change = (&'static str, fn(&mut Destination));

    fn press(changes: Vec<Change>) -> Press {
        let destination = |(name, change): Change| {
            let mut destination = destination(name, "");
            change(&mut destination);
            Arc::new(destination)
        };
        let destinations: Vec<_> = changes.into_iter().map(destination).collect();
        Press::new(Arc::new(Shapings::of(&destinations)))
    }

    fn origin(stream: u64, round: i64) -> PushOrigin {
        PushOrigin { tenant: "team".into(), stream: StreamKey(stream), round, since_ms: Some(3) }
    }

    fn labels(n: usize) -> Labels {
        [("__name__", "m".to_owned()), ("n", n.to_string())].into_iter().collect()
    }

    fn encoded(n: usize, metadata: Option<&Metadata<'_>>, point: &Point<'_>) -> Vec<u8> {
        let mut field = Vec::new();
        push_series(&mut field, &encode_labels(&labels(n), metadata), point);
        field
    }

    fn float(bits: u64, timestamp_ms: i64) -> Point<'static> {
        let value = PointValue::Float(f64::from_bits(bits));
        Point { value, timestamp_ms, start_ms: None, exemplars: &[] }
    }

    fn add(press: &mut Press, field: &[u8], timestamp_ms: i64, is_plain: bool) {
        press.add(KeptSeries { field, timestamp_ms, is_plain });
    }

    fn unpacked(batch: &Batch) -> Vec<TimeSeries> {
        decode(&join([&fragment(batch)])).unwrap()
    }

    fn fragment(batch: &Batch) -> Fragment {
        Fragment { bytes: batch.bytes.clone(), raw_length: batch.raw_length }
    }

    fn raw(packed: &Packed, name: &str) -> Vec<u8> {
        let fragments: Vec<_> = packed.batches_for(name).iter().map(fragment).collect();
        unpack_all(fragments.iter()).unwrap()
    }

    #[test]
    fn a_plain_series_is_copied_as_it_is() {
        let mut press = press(vec![("a", |_| {})]);
        press.begin(origin(7, 1));
        let nans = [STALE_NAN_BITS, 0xfff8_0000_0000_beef, 1];
        let fields: Vec<_> = nans.iter().map(|bits| encoded(1, None, &float(*bits, 5))).collect();
        for field in &fields {
            add(&mut press, field, 5, true);
        }
        let packed = press.finish();
        assert_eq!(raw(&packed, "a"), fields.concat());
        let batch = &packed.batches_for("a")[0];
        assert_eq!((&*batch.tenant, batch.stream, batch.round), ("team", StreamKey(7), 1));
        assert_eq!((batch.since_ms, batch.pushed), (Some(3), true));
        assert_eq!((batch.samples, batch.oldest_ms), (3, 5));
    }

    #[test]
    fn origins_are_kept_apart_and_batches_cut() {
        let mut press = press(vec![("a", |d| d.queue.samples_per_send_max = 3)]);
        for (stream, round) in [(1, 5), (2, 5), (1, 6)] {
            press.begin(origin(stream, round));
            for n in 0..4 {
                let timestamp_ms = 100 - i64::try_from(n).unwrap();
                add(&mut press, &encoded(n, None, &float(0, timestamp_ms)), timestamp_ms, true);
            }
        }
        press.begin(origin(9, 9));
        let of = |b: &Batch| (b.stream.0, b.round, b.samples, b.oldest_ms);
        let batches: Vec<_> = press.finish().batches_for("a").iter().map(of).collect();
        let expected = [
            (1, 5, 3, 98),
            (1, 5, 1, 97),
            (2, 5, 3, 98),
            (2, 5, 1, 97),
            (1, 6, 3, 98),
            (1, 6, 1, 97),
        ];
        assert_eq!(batches, expected);
        assert!(press.finish().is_empty(), "nothing is packed twice");
    }

    #[test]
    fn a_batch_is_cut_before_it_unpacks_to_too_much() {
        let mut press = press(vec![("a", |d| d.queue.samples_per_send_max = 100_000)]);
        press.begin(origin(1, 1));
        let long = "v".repeat(100_000);
        let labels: Labels = [("__name__", "m"), ("long", long.as_str())].into_iter().collect();
        let mut field = Vec::new();
        push_series(&mut field, &encode_labels(&labels, None), &float(0, 1));
        for _ in 0..100 {
            add(&mut press, &field, 1, true);
        }
        let packed = press.finish();
        assert!(packed.batches_for("a").iter().all(|batch| batch.raw_length < 5 << 20));
        assert_eq!(raw(&packed, "a"), field.repeat(100));
    }

    fn renamed(d: &mut Destination) {
        d.external_labels = [("dc", "x"), ("n", "other")].into_iter().collect();
        let spec = RuleSpec {
            source_labels: Some(vec!["n".to_owned()]),
            regex: Some("2".to_owned()),
            action: Some(Action::Drop),
            ..RuleSpec::default()
        };
        d.write_relabel = vec![Rule::compile(spec, NameValidation::Utf8).unwrap()];
    }

    #[test]
    fn each_destination_gets_the_labels_it_asked_for_and_the_same_values() {
        let mut press = press(vec![("plain", |_| {}), ("shaped", renamed)]);
        press.begin(origin(1, 1));
        for n in 1..=3 {
            add(&mut press, &encoded(n, None, &float(STALE_NAN_BITS, 5)), 5, true);
        }
        let packed = press.finish();
        let labels_for = |name| -> Vec<String> {
            let all = packed.batches_for(name).iter().flat_map(unpacked).collect::<Vec<_>>();
            let bits = all.iter().map(|series| series.samples[0].value.to_bits());
            assert!(bits.into_iter().all(|bits| bits == STALE_NAN_BITS));
            all.iter().map(|series| series.labels.to_string()).collect()
        };
        let plain = [1, 2, 3].map(|n| format!(r#"{{__name__="m", n="{n}"}}"#));
        assert_eq!(labels_for("plain"), plain);
        let shaped = [1, 3].map(|n| format!(r#"{{__name__="m", dc="x", n="{n}"}}"#));
        assert_eq!(labels_for("shaped"), shaped);
    }

    #[test]
    fn a_destination_gets_no_more_than_it_takes() {
        let mut press = press(vec![
            ("v1", |_| {}),
            ("v2", |d| d.message = WriteMessage::V2),
            ("exemplars", |d| d.send_exemplars = true),
            ("histograms", |d| d.send_native_histograms = true),
        ]);
        press.begin(origin(1, 1));
        let metadata = Metadata { help: "what it is".into(), ..Metadata::default() };
        let exemplar = Exemplar { labels: labels(8), value: 1.0, timestamp_ms: Some(5) };
        let exemplars = std::slice::from_ref(&exemplar);
        let told = Point { start_ms: Some(4), ..float(0, 6) };
        add(&mut press, &encoded(1, Some(&metadata), &told), 6, false);
        add(&mut press, &encoded(2, None, &Point { exemplars, ..float(0, 6) }), 6, false);
        let histogram = histogram();
        let value = PointValue::Histogram(&histogram);
        let counted = Point { value, exemplars, ..float(0, 6) };
        add(&mut press, &encoded(3, None, &counted), 6, false);
        let packed = press.finish();
        let told = |name: &str| -> Vec<_> {
            let all = packed.batches_for(name).iter().flat_map(unpacked).collect::<Vec<_>>();
            let has = |s: &TimeSeries| {
                let more = (s.metadata.is_some(), s.start_ms);
                (s.samples.len(), s.histograms.len(), s.exemplars.len(), more)
            };
            all.iter().map(has).collect()
        };
        let no = (false, None);
        assert_eq!(told("v1"), [(1, 0, 0, no), (1, 0, 0, no)]);
        assert_eq!(told("v2"), [(1, 0, 0, (true, Some(4))), (1, 0, 0, no)]);
        assert_eq!(told("exemplars"), [(1, 0, 0, no), (1, 0, 1, no)]);
        assert_eq!(told("histograms"), [(1, 0, 0, no), (1, 0, 0, no), (0, 1, 0, no)]);
    }

    /// Prometheus sends exemplars as series of their own.
    #[test]
    fn exemplars_without_a_sample_go_where_they_are_wanted() {
        let mut press = press(vec![("with", |d| d.send_exemplars = true), ("without", |_| {})]);
        press.begin(origin(1, 1));
        let mut series = encode_labels(&labels(1), None);
        push_bytes(&mut series, 3, b"");
        let mut field = Vec::new();
        push_bytes(&mut field, 1, &series);
        add(&mut press, &field, 6, false);
        let packed = press.finish();
        let with = packed.batches_for("with");
        assert_eq!((with[0].samples, raw(&packed, "with")), (1, field));
        assert!(packed.batches_for("without").is_empty());
    }

    fn histogram() -> Histogram {
        Histogram {
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
        }
    }
}
