//! From the records of an attempt to the body of its request. Pure; the one file of the outbox, with
//! the packer, that knows that a signal has a codec.

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;

use crate::{
    config::WriteMessage,
    model::batch::Signal,
    outbox::{
        dialect::{Form, Packing, Sent},
        entry::Entry,
    },
    wire::{
        placement::SentLabels,
        remote_write::{
            Compressor, Counts, Fragment, V1Writer, V2Writer, each_series, join, split, unpack_all,
        },
    },
};

/// Of Zstandard; the levels above cost more than they save.
const ZSTD_LEVEL: i32 = 1;

/// What is kept from one body to the next; each made when it is first needed.
#[derive(Default)]
pub(super) struct Tools {
    snappy: Compressor,
    zstd: Option<Zstd>,
}

struct Zstd {
    compressor: zstd::bulk::Compressor<'static>,
    scratch: Vec<u8>,
}

/// The part of a record that an attempt sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) sequence: u64,
    /// Counted within the record.
    pub(super) samples: Range<u32>,
    pub(super) whole: bool,
    pub(super) raw_length: u32,
}

/// Which records of `entries` the `samples` touch, counted over all of them, and where.
pub(super) fn cuts(entries: &[Entry], samples: &Range<u32>) -> Vec<Cut> {
    let mut start = 0_u32;
    let mut cuts = Vec::new();
    for entry in entries {
        let end = start.saturating_add(entry.samples);
        if start < samples.end && samples.start < end {
            let own = samples.start.max(start) - start..samples.end.min(end) - start;
            let whole = own == (0..entry.samples);
            let (sequence, raw_length) = (entry.sequence, entry.raw_length);
            cuts.push(Cut { sequence, samples: own, whole, raw_length });
        }
        start = end;
    }
    cuts
}

/// What a request carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) sent: Sent,
}

/// `parts` are the cuts with the bytes of their records. An error names the record that can't be
/// taken apart.
pub(super) fn build(
    signal: Signal,
    form: Form,
    parts: &[(Cut, Bytes)],
    tools: &mut Option<Tools>,
) -> Result<Body, u64> {
    match signal {
        Signal::Metrics => assemble(form, &fragments_of(parts, tools)?, tools),
    }
}

/// Bodies, each with where it goes.
type Apart<P> = Vec<(P, Body)>;
/// What is sent of each record.
type Fragments<'c> = Vec<(&'c Cut, Fragment)>;

/// One body for each place that `place_of` names for series with such labels, of those of its series,
/// in their order. An error names the record that can't be taken apart.
pub(super) fn build_apart<P: Ord>(
    form: Form,
    parts: &[(Cut, Bytes)],
    mut place_of: impl FnMut(&SentLabels<'_>) -> P,
    tools: &mut Option<Tools>,
) -> Result<Apart<P>, u64> {
    let fragments = fragments_of(parts, tools)?;
    let is_whole = |raw: &[u8]| each_series(raw, |_, _| {}).is_ok();
    let unreadable = || {
        let is_bad =
            |(_, one): &&(&Cut, Fragment)| !unpack_all([one]).is_ok_and(|raw| is_whole(&raw));
        fragments.iter().find(is_bad).or(fragments.last()).map_or(0, |(cut, _)| cut.sequence)
    };
    let raw = unpack_all(only(&fragments)).map_err(|_| unreadable())?;
    let mut growing: BTreeMap<P, (Vec<u8>, u32)> = BTreeMap::new();
    let divided = each_series(&raw, |series, labels| {
        let (own, samples) = growing.entry(place_of(labels)).or_default();
        own.extend_from_slice(series.bytes);
        *samples += series.samples;
    });
    divided.map_err(|_| unreadable())?;
    let written = growing.into_iter().map(|(place, (raw, samples))| {
        let counts = Counts { samples, ..Counts::default() };
        let (raw, counts) =
            write_raw(form, raw, counts, |raw| vec![vec![raw]]).ok_or_else(unreadable)?;
        Ok((place, Body { bytes: pack(form, &raw, tools), sent: Sent { form, counts } }))
    });
    written.collect()
}

fn fragments_of<'c>(
    parts: &'c [(Cut, Bytes)],
    tools: &mut Option<Tools>,
) -> Result<Fragments<'c>, u64> {
    let mut fragments = Vec::with_capacity(parts.len());
    for (cut, bytes) in parts {
        let whole = Fragment { bytes: bytes.clone(), raw_length: cut.raw_length };
        let fragment = if cut.whole {
            whole
        } else {
            let Tools { snappy, .. } = tools.get_or_insert_default();
            extract(whole, &cut.samples, snappy).ok_or(cut.sequence)?
        };
        fragments.push((cut, fragment));
    }
    Ok(fragments)
}

/// What is sent as it lies there needs no unpacking.
fn assemble(
    form: Form,
    fragments: &[(&Cut, Fragment)],
    tools: &mut Option<Tools>,
) -> Result<Body, u64> {
    if (form.message, form.packing, form.rewrites) == (WriteMessage::V1, Packing::Snappy, false) {
        let sent = Sent { form, counts: plain_counts(fragments) };
        return Ok(Body { bytes: join(only(fragments)).into(), sent });
    }
    let Some((raw, counts)) = write(form, fragments) else {
        // Which of them it is that can't be taken apart.
        let bad = fragments.iter().find(|one| write(form, std::slice::from_ref(one)).is_none());
        return Err(bad.or(fragments.last()).map_or(0, |(cut, _)| cut.sequence));
    };
    Ok(Body { bytes: pack(form, &raw, tools), sent: Sent { form, counts } })
}

fn pack(form: Form, raw: &[u8], tools: &mut Option<Tools>) -> Bytes {
    let tools = tools.get_or_insert_default();
    match form.packing {
        Packing::Snappy => tools.snappy.body(raw),
        Packing::Zstd => tools.zstd.get_or_insert_with(Zstd::new).body(raw),
    }
}

/// The message before it is compressed; `None` where something in it can't be taken apart.
fn write(form: Form, fragments: &[(&Cut, Fragment)]) -> Option<(Vec<u8>, Counts)> {
    let raw = unpack_all(only(fragments)).ok()?;
    write_raw(form, raw, plain_counts(fragments), |raw| alike(fragments, raw).collect())
}

/// The same of what is unpacked; `in_turn` has the parts of it whose series are to stand in turn.
fn write_raw(
    form: Form,
    raw: Vec<u8>,
    counts: Counts,
    in_turn: impl FnOnce(&[u8]) -> Vec<Vec<&[u8]>>,
) -> Option<(Vec<u8>, Counts)> {
    match (form.message, form.rewrites) {
        (WriteMessage::V1, false) => Some((raw, counts)),
        (WriteMessage::V1, true) => {
            let mut writer = V1Writer::default();
            writer.add(&raw).ok()?;
            Some(writer.finish())
        }
        (WriteMessage::V2, _) => {
            let mut writer = V2Writer::default();
            for alike in in_turn(&raw) {
                writer.add_in_turn(alike).ok()?;
            }
            Some(writer.finish())
        }
    }
}

/// The parts of `raw` that are a fragment's each, together where they hold as many samples: most likely
/// they are of targets that are alike.
fn alike<'a>(fragments: &[(&Cut, Fragment)], raw: &'a [u8]) -> impl Iterator<Item = Vec<&'a [u8]>> {
    let mut all: BTreeMap<u32, Vec<&'a [u8]>> = BTreeMap::new();
    let mut rest = raw;
    for (cut, fragment) in fragments {
        let (own, behind) = rest.split_at(rest.len().min(fragment.raw_length as usize));
        all.entry(cut.samples.end - cut.samples.start).or_default().push(own);
        rest = behind;
    }
    all.into_values()
}

fn only<'a>(fragments: &'a [(&Cut, Fragment)]) -> impl Iterator<Item = &'a Fragment> + Clone {
    fragments.iter().map(|(_, fragment)| fragment)
}

impl Zstd {
    fn new() -> Self {
        let compressor =
            zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("the level is one of zstd's");
        Self { compressor, scratch: Vec::new() }
    }

    fn body(&mut self, raw: &[u8]) -> Bytes {
        self.scratch.clear();
        self.scratch.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        self.compressor
            .compress_to_buffer(raw, &mut self.scratch)
            .expect("the buffer has room for the worst case");
        // What is sent may wait long for its answer: without the room that was not needed.
        Bytes::copy_from_slice(&self.scratch)
    }
}

/// Of records that nobody has looked into.
fn plain_counts(fragments: &[(&Cut, Fragment)]) -> Counts {
    let samples = fragments.iter().map(|(cut, _)| cut.samples.end - cut.samples.start);
    Counts { samples: samples.sum(), ..Counts::default() }
}

fn extract(
    fragment: Fragment,
    samples: &Range<u32>,
    compressor: &mut Compressor,
) -> Option<Fragment> {
    let mut rest = fragment;
    if samples.start > 0 {
        let pieces = split(&rest, samples.start, compressor).ok()?;
        let behind: Vec<&[u8]> =
            pieces.iter().skip(1).map(|piece| &*piece.fragment.bytes).collect();
        let raw_length = pieces.iter().skip(1).map(|piece| piece.fragment.raw_length).sum();
        rest = Fragment { bytes: behind.concat().into(), raw_length };
    }
    let pieces = split(&rest, samples.end - samples.start, compressor).ok()?;
    pieces.into_iter().next().map(|piece| piece.fragment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            labels::Labels,
            sample::{Point, PointValue},
            slot::StreamKey,
        },
        outbox::entry::Making,
        wire::remote_write::{TimeSeries, decode, decode_v2, encode_labels, push_series},
    };

    fn entry(sequence: u64, samples: u32, raw_length: u32) -> Entry {
        Entry {
            sequence,
            stream: StreamKey(0),
            round: 0,
            making: Making::Whole { pushed: false },
            oldest_ms: 0,
            appended_ms: 0,
            bytes: 0,
            raw_length,
            samples,
            place: None,
        }
    }

    /// Records of these many samples, numbered through.
    fn records(samples: &[u32]) -> Vec<(Entry, Bytes)> {
        let mut number = 0;
        let mut compressor = Compressor::default();
        let record = |(sequence, count): (u64, &u32)| {
            let mut raw = Vec::new();
            for _ in 0..*count {
                let labels: Labels =
                    [("__name__", "m"), ("n", &*number.to_string())].into_iter().collect();
                let value = PointValue::Float(f64::from(number));
                let point = Point { value, timestamp_ms: 7, start_ms: None, exemplars: &[] };
                push_series(&mut raw, &encode_labels(&labels, None), &point);
                number += 1;
            }
            let fragment = compressor.compress(&raw);
            (entry(sequence, *count, fragment.raw_length), fragment.bytes)
        };
        (0..).zip(samples).map(record).collect()
    }

    fn forms() -> Vec<Form> {
        let mut forms = Vec::new();
        for message in [WriteMessage::V1, WriteMessage::V2] {
            for packing in [Packing::Snappy, Packing::Zstd] {
                forms.extend([false, true].map(|rewrites| Form { message, packing, rewrites }));
            }
        }
        forms
    }

    fn read(body: &Body) -> Vec<TimeSeries> {
        let bytes = match body.sent.form.packing {
            Packing::Snappy => body.bytes.clone(),
            Packing::Zstd => {
                let raw = zstd::bulk::decompress(&body.bytes, 1 << 20).unwrap();
                Compressor::default().body(&raw)
            }
        };
        match body.sent.form.message {
            WriteMessage::V1 => decode(&bytes).unwrap(),
            WriteMessage::V2 => decode_v2(&bytes).unwrap(),
        }
    }

    #[test]
    fn every_range_of_samples_can_be_sent_alone() {
        let records = records(&[3, 1, 40, 5]);
        let entries: Vec<Entry> = records.iter().map(|(entry, _)| *entry).collect();
        for start in 0..49 {
            for end in start + 1..=49 {
                let cuts = cuts(&entries, &(start..end));
                let with_bytes = |cut: Cut| {
                    let at = usize::try_from(cut.sequence).unwrap();
                    (cut, records[at].1.clone())
                };
                let parts: Vec<(Cut, Bytes)> = cuts.into_iter().map(with_bytes).collect();
                let expected: Vec<f64> = (start..end).map(f64::from).collect();
                for form in forms() {
                    let body = build(Signal::Metrics, form, &parts, &mut None).unwrap();
                    let read = read(&body);
                    let mut values: Vec<f64> = read.iter().map(|s| s.samples[0].value).collect();
                    if form.message == WriteMessage::V2 {
                        // Series of records that are alike come in turn.
                        values.sort_unstable_by(f64::total_cmp);
                    }
                    assert_eq!(values, expected, "{start}..{end} as {form:?}");
                    let counts = Counts { samples: end - start, ..Counts::default() };
                    assert_eq!(body.sent, Sent { form, counts });
                }
            }
        }
    }

    #[test]
    fn what_goes_apart_is_all_of_it_each_series_once_and_in_order() {
        let records = records(&[3, 1, 40, 5]);
        let entries: Vec<Entry> = records.iter().map(|(entry, _)| *entry).collect();
        for samples in [0..49, 2..44, 7..8] {
            let cuts = cuts(&entries, &samples);
            let bytes_of = |cut: &Cut| records[usize::try_from(cut.sequence).unwrap()].1.clone();
            let parts: Vec<(Cut, Bytes)> =
                cuts.into_iter().map(|cut| (cut.clone(), bytes_of(&cut))).collect();
            for form in forms() {
                let place_of = |labels: &SentLabels<'_>| {
                    let [("__name__", "m"), ("n", number)] = labels else { panic!("{labels:?}") };
                    number.parse::<u32>().unwrap() % 3
                };
                let bodies = build_apart(form, &parts, place_of, &mut None).unwrap();
                let mut all = Vec::new();
                for (place, body) in &bodies {
                    let read = read(body);
                    let values: Vec<f64> = read.iter().map(|s| s.samples[0].value).collect();
                    let own = |n: u32| n % 3 == *place;
                    let expected = samples.clone().filter(|n| own(*n)).map(f64::from);
                    assert!(expected.eq(values.iter().copied()), "{values:?}");
                    let samples = u32::try_from(values.len()).unwrap();
                    let counts = Counts { samples, ..Counts::default() };
                    assert_eq!(body.sent, Sent { form, counts });
                    all.extend(values);
                }
                all.sort_unstable_by(f64::total_cmp);
                let expected: Vec<f64> = samples.clone().map(f64::from).collect();
                assert_eq!(all, expected, "{samples:?} as {form:?}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_batch_are_named() {
        let cut = Cut { sequence: 9, samples: 1..2, whole: false, raw_length: 3 };
        let parts = [(cut, Bytes::from_static(b"\xff\xff\xff"))];
        for form in forms() {
            assert_eq!(build(Signal::Metrics, form, &parts, &mut None), Err(9), "{form:?}");
            assert_eq!(build_apart(form, &parts, |_| (), &mut None), Err(9), "{form:?}");
        }
    }
}
