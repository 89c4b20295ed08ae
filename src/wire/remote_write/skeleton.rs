//! Series that come again with the same labels, compressed once: at each scrape the values and one
//! timestamp are put between what lies ready, and nothing is compressed. The fast way; `push_series`
//! and `Compressor` are the plain one, and what both make unpacks to the same bytes.
//!
//! A snappy block is a list of elements: literals, and copies of what was unpacked some distance
//! before. Distances count unpacked bytes, and each value unpacks to eight: so the elements for the
//! labels stay right whatever values stand between them, and however those are written.
//!
//! ```text
//! labels₀ | value₀ | timestamp | labels₁ | value₁ | timestamp labels₂ | value₂ | … | timestamp
//!   kept    put in    put in      kept     put in     kept (a copy)      put in       put in
//! ```

use crate::wire::{
    protobuf::{
        FieldValue, Fields, bytes_tag, fixed64_tag, push_varint, take_varint, varint_length,
        varint_tag,
    },
    remote_write::{
        Fragment, SAMPLE_TIMESTAMP, SAMPLE_VALUE, SAMPLES, TIMESERIES, bits, fragment::unpack_all,
    },
};

/// What a skeleton may unpack to.
pub const SKELETON_LENGTH_MAX: usize = 256 << 10;
/// A copy reaches back no further; it may cross the border of what encoders call a block.
const COPY_DISTANCE_MAX: usize = 0xffff;
/// Of one series, encoded: the next one copies the timestamp from behind it.
pub const SKELETON_LABELS_MAX: usize = 60 << 10;
const VALUE_LENGTH: usize = 8;
/// Before the timestamp itself.
const TIMESTAMP_TAG_LENGTH: usize = 1;
/// The tag of a value before it, and that of the timestamp behind it.
const SAMPLE_TAGS_LENGTH: usize = 2;

/// A shorter copy costs as much as the bytes themselves.
const COPY_LENGTH_MIN: usize = 4;
const COPY_LENGTH_MAX: usize = 64;
/// Copies of so little from so near take two bytes instead of three.
const SHORT_COPY_LENGTH_MAX: usize = 11;
const SHORT_COPY_DISTANCE_MAX: usize = 2047;
/// Earlier places that are looked at for the longest copy. More are worth a percent.
const PLACES_TRIED_MAX: usize = 16;

/// The labels of a run of series, all for one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skeleton {
    /// A part a series: the length of its elements, to what they unpack, and the elements. A length
    /// of 0, and nothing else, for a series that does not go there.
    parts: Box<[u8]>,
    /// Those that go there.
    samples: u32,
    raw_length: u32,
    timestamp_length: u8,
}

/// What stands between two values.
struct Part<'a> {
    elements: &'a [u8],
    raw_length: usize,
}

impl Skeleton {
    /// `blobs` are what `encode_labels` made, one a series; an empty one does not go there. For
    /// timestamps that are as long as this one. `None` for more than `SKELETON_LENGTH_MAX`, or
    /// a series of more than `SKELETON_LABELS_MAX`.
    pub fn of<'b>(blobs: impl Iterator<Item = &'b [u8]>, timestamp_ms: i64) -> Option<Self> {
        let timestamp_length = varint_length(bits(timestamp_ms));
        let mut plan = Plan::new(timestamp_length);
        for blob in blobs {
            plan.add(blob)?;
        }
        Some(plan.finish())
    }

    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// In bytes, unpacked.
    pub fn raw_length(&self) -> u32 {
        self.raw_length
    }

    /// Whether it can be written with this timestamp.
    pub fn takes(&self, timestamp_ms: i64) -> bool {
        varint_length(bits(timestamp_ms)) == usize::from(self.timestamp_length)
    }

    /// Appends the fragment of `samples` samples that unpacks to `raw_length` bytes. `values` are one
    /// a series, in order, also for those that do not go there.
    pub fn write(&self, values: impl Iterator<Item = f64>, timestamp_ms: i64, out: &mut Vec<u8>) {
        debug_assert!(self.takes(timestamp_ms), "who writes has asked");
        let mut timestamp = Vec::with_capacity(TIMESTAMP_TAG_LENGTH + 10);
        push_varint(&mut timestamp, varint_tag(SAMPLE_TIMESTAMP));
        push_varint(&mut timestamp, bits(timestamp_ms));
        out.reserve(self.parts.len() + self.samples as usize * (VALUE_LENGTH + 1));
        let mut pen = Pen { out, at: 0, same: None, zeros: None };
        let mut timestamp_at = 0;
        let mut written = 0;
        for (part, value) in self.parts().zip(values) {
            let Some(part) = part else { continue };
            if written == 1 {
                timestamp_at = pen.at;
                pen.literal(&timestamp);
            } else if written > 1 {
                // The part begins with it.
                timestamp_at = pen.at;
            }
            pen.out.extend_from_slice(part.elements);
            pen.at += part.raw_length;
            pen.value(value);
            written += 1;
        }
        match written {
            0 => {}
            1 => pen.literal(&timestamp),
            _ => pen.copy(pen.at - timestamp_at, timestamp.len()),
        }
    }

    /// The blobs that it was made of.
    pub fn blobs(&self) -> Vec<Box<[u8]>> {
        // Of the right length is all that it must be.
        let timestamp_ms = 1_i64 << (7 * (self.timestamp_length - 1));
        let mut bytes = Vec::new();
        self.write(std::iter::repeat(0.0), timestamp_ms, &mut bytes);
        let fragment = Fragment { bytes: bytes.into(), raw_length: self.raw_length };
        let raw = unpack_all([&fragment]).expect("what was written can be read");
        let mut series = Fields::of(&raw).map(|field| match field {
            Ok((TIMESERIES, FieldValue::Bytes(series))) => {
                let sample = sample_length(self.timestamp_length.into());
                let labels = series.len() - 1 - varint_length(sample as u64) - sample;
                series[..labels].into()
            }
            field => unreachable!("only series are written, not {field:?}"),
        });
        let blob = |part: Option<Part<'_>>| part.and_then(|_| series.next()).unwrap_or_default();
        self.parts().map(blob).collect()
    }

    fn parts(&self) -> impl Iterator<Item = Option<Part<'_>>> {
        let mut rest = &*self.parts;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let length = length(&mut rest);
            if length == 0 {
                return Some(None);
            }
            let raw_length = self::length(&mut rest);
            let (elements, behind) = rest.split_at(length);
            rest = behind;
            Some(Some(Part { elements, raw_length }))
        })
    }
}

/// Of a message that is known to have one here.
#[inline]
fn length(rest: &mut &[u8]) -> usize {
    if let [byte @ 0..0x80, behind @ ..] = *rest {
        *rest = behind;
        return usize::from(*byte);
    }
    let length = take_varint(rest).expect("a skeleton is whole");
    usize::try_from(length).expect("it was made of a usize")
}

fn sample_length(timestamp_length: usize) -> usize {
    SAMPLE_TAGS_LENGTH + VALUE_LENGTH + timestamp_length
}

/// Writes elements, and knows how much they unpack to.
struct Pen<'o> {
    out: &'o mut Vec<u8>,
    at: usize,
    /// The last value, and where it stands.
    same: Option<(usize, u64)>,
    /// Where so many zeros stand: four or more.
    zeros: Option<(usize, usize)>,
}

impl Pen<'_> {
    /// Most values are integers or come twice in a row: what is zero, or the same, is copied.
    #[inline]
    fn value(&mut self, value: f64) {
        let (at, bits) = (self.at, value.to_bits());
        let bytes = bits.to_le_bytes();
        let zeros = bits.trailing_zeros() as usize / 8;
        match (self.same, self.zeros) {
            (Some((same_at, same)), _) if same == bits => self.copy(at - same_at, VALUE_LENGTH),
            (_, Some((zeros_at, there)))
                if zeros >= COPY_LENGTH_MIN && at - zeros_at <= COPY_DISTANCE_MAX =>
            {
                let length = zeros.min(there);
                self.copy(at - zeros_at, length);
                self.literal(&bytes[length..]);
            }
            _ => self.literal(&bytes),
        }
        self.same = Some((at, bits));
        // The nearest, but for a longer one that is near enough.
        let is_near = |&(zeros_at, there): &(usize, usize)| {
            there > zeros && at - zeros_at < SHORT_COPY_DISTANCE_MAX / 2
        };
        if zeros >= COPY_LENGTH_MIN && !self.zeros.as_ref().is_some_and(is_near) {
            self.zeros = Some((at, zeros));
        }
    }

    #[inline]
    fn literal(&mut self, bytes: &[u8]) {
        push_literal(self.out, bytes);
        self.at += bytes.len();
    }

    #[inline]
    fn copy(&mut self, distance: usize, length: usize) {
        push_copy(self.out, distance, length);
        self.at += length;
    }
}

#[inline]
fn push_literal(out: &mut Vec<u8>, bytes: &[u8]) {
    let Some(length) = bytes.len().checked_sub(1) else { return };
    #[expect(clippy::cast_possible_truncation, reason = "each is below what it is compared with")]
    match length {
        0..60 => out.push((length << 2) as u8),
        60..0x100 => out.extend_from_slice(&[60 << 2, length as u8]),
        _ => {
            out.push(61 << 2);
            out.extend_from_slice(&(length as u16).to_le_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

/// At most `COPY_LENGTH_MAX` bytes.
#[inline]
fn push_copy(out: &mut Vec<u8>, distance: usize, length: usize) {
    #[expect(clippy::cast_possible_truncation, reason = "a distance is below 64 KiB")]
    let [low, high] = (distance as u16).to_le_bytes();
    #[expect(clippy::cast_possible_truncation, reason = "a length is at most 64")]
    let length_bits = length as u8;
    let is_short = (COPY_LENGTH_MIN..=SHORT_COPY_LENGTH_MAX).contains(&length)
        && distance <= SHORT_COPY_DISTANCE_MAX;
    if is_short {
        out.extend_from_slice(&[1 | (length_bits - 4) << 2 | high << 5, low]);
    } else {
        out.extend_from_slice(&[2 | (length_bits - 1) << 2, low, high]);
    }
}

/// A byte of the plain form, or a place whose byte is not known yet. Places of the timestamp are
/// alike, so they may be copied from each other, and no label can be copied from one by accident.
type Symbol = u16;

const TIMESTAMP: Symbol = 0x100;
const VALUE: Symbol = 0x200;

/// A skeleton that is being made: the plain form so far, and where four symbols in a row stand in it.
struct Plan {
    symbols: Vec<Symbol>,
    timestamp_length: usize,
    /// By a hash of four symbols: the last place where it was seen; `earlier` leads on from there.
    latest: Vec<u32>,
    earlier: Vec<u32>,
    parts: Vec<u8>,
    elements: Vec<u8>,
    samples: u32,
}

/// Symbols that are compared at once.
const CHUNK: usize = 8;
const NOWHERE: u32 = u32::MAX;
const HASH_BITS: u32 = 15;

impl Plan {
    fn new(timestamp_length: usize) -> Self {
        Self {
            symbols: Vec::new(),
            timestamp_length,
            latest: vec![NOWHERE; 1 << HASH_BITS],
            earlier: Vec::new(),
            parts: Vec::new(),
            elements: Vec::new(),
            samples: 0,
        }
    }

    fn add(&mut self, blob: &[u8]) -> Option<()> {
        if blob.is_empty() {
            self.parts.push(0);
            return Some(());
        }
        if blob.len() > SKELETON_LABELS_MAX {
            return None;
        }
        let mut begin = self.symbols.len();
        if self.samples > 0 {
            self.push_timestamp();
        }
        // The first one is put in; the second is the first that can be copied.
        if self.samples == 1 {
            self.earlier.resize(self.symbols.len(), NOWHERE);
            for at in begin..self.symbols.len() {
                self.index(at);
            }
            begin = self.symbols.len();
        }
        let mut head = Vec::with_capacity(8);
        let sample = sample_length(self.timestamp_length);
        push_varint(&mut head, bytes_tag(TIMESERIES));
        let sample_head = 1 + varint_length(sample as u64);
        push_varint(&mut head, (blob.len() + sample_head + sample) as u64);
        self.symbols.extend(head.drain(..).map(Symbol::from));
        self.symbols.extend(blob.iter().copied().map(Symbol::from));
        push_varint(&mut head, bytes_tag(SAMPLES));
        push_varint(&mut head, sample as u64);
        push_varint(&mut head, fixed64_tag(SAMPLE_VALUE));
        self.symbols.extend(head.into_iter().map(Symbol::from));
        let end = self.symbols.len();
        self.earlier.resize(end, NOWHERE);
        self.compress(begin, end);
        self.symbols.extend([VALUE; VALUE_LENGTH]);
        if self.symbols.len() + TIMESTAMP_TAG_LENGTH + self.timestamp_length > SKELETON_LENGTH_MAX {
            return None;
        }
        push_varint(&mut self.parts, self.elements.len() as u64);
        push_varint(&mut self.parts, (end - begin) as u64);
        self.parts.append(&mut self.elements);
        self.samples += 1;
        Some(())
    }

    fn finish(mut self) -> Skeleton {
        if self.samples > 0 {
            self.push_timestamp();
        }
        Skeleton {
            parts: self.parts.into_boxed_slice(),
            samples: self.samples,
            raw_length: u32::try_from(self.symbols.len()).expect("it is below SKELETON_LENGTH_MAX"),
            timestamp_length: u8::try_from(self.timestamp_length).expect("a varint is short"),
        }
    }

    fn push_timestamp(&mut self) {
        let length = TIMESTAMP_TAG_LENGTH + self.timestamp_length;
        self.symbols.extend((0..).map(|n| TIMESTAMP + n).take(length));
    }

    /// From `begin` to `end` to elements: copies where there are any, literals between them.
    fn compress(&mut self, begin: usize, end: usize) {
        let mut literal: Vec<u8> = Vec::new();
        let mut at = begin;
        while at < end {
            let (distance, length) = self.longest(at, end);
            let is_timestamp = self.symbols[at] == TIMESTAMP;
            debug_assert!(!is_timestamp || length > self.timestamp_length, "it stands before");
            if length < COPY_LENGTH_MIN && !is_timestamp {
                literal.push(u8::try_from(self.symbols[at]).expect("timestamps are copied"));
                self.index(at);
                at += 1;
                continue;
            }
            push_literal(&mut self.elements, &literal);
            literal.clear();
            push_copy(&mut self.elements, distance, length);
            for at in at..at + length {
                self.index(at);
            }
            at += length;
        }
        push_literal(&mut self.elements, &literal);
    }

    /// How far back the longest copy of what stands at `at` is, and its length; of two the nearer.
    fn longest(&self, at: usize, end: usize) -> (usize, usize) {
        let here = &self.symbols[at..end.min(at + COPY_LENGTH_MAX)];
        let mut longest = (0, 0);
        if self.symbols[at] == TIMESTAMP {
            // Also where it is too short to be found otherwise.
            let before = self.symbols[..at].iter().rposition(|symbol| *symbol == TIMESTAMP);
            if let Some(place) = before {
                longest = (at - place, self.alike(here, place, 0));
            }
        }
        let mut place = self.hash_at(at).map_or(NOWHERE, |hash| self.latest[hash]);
        for _ in 0..PLACES_TRIED_MAX {
            // Those before are further away.
            let is_far = place == NOWHERE || at - place as usize > COPY_DISTANCE_MAX;
            if is_far || longest.1 == here.len() {
                break;
            }
            let length = self.alike(here, place as usize, longest.1);
            if length > longest.1 {
                longest = (at - place as usize, length);
            }
            place = self.earlier[place as usize];
        }
        longest
    }

    /// To what length `place` has what `here` has; 0 where that can't be more than `least`.
    fn alike(&self, here: &[Symbol], place: usize, least: usize) -> usize {
        let there = &self.symbols[place..];
        if here.get(least).is_none_or(|next| *next != there[least]) {
            return 0;
        }
        let chunks = here.as_chunks::<CHUNK>().0.iter().zip(there.as_chunks::<CHUNK>().0);
        let whole = CHUNK * chunks.take_while(|(here, there)| here == there).count();
        let rest = here[whole..].iter().zip(&there[whole..]);
        whole + rest.take_while(|(here, there)| here == there).count()
    }

    /// What stands at `at` may be copied from now on.
    fn index(&mut self, at: usize) {
        let Some(hash) = self.hash_at(at) else { return };
        let place = u32::try_from(at).expect("it is below SKELETON_LENGTH_MAX");
        self.earlier[at] = std::mem::replace(&mut self.latest[hash], place);
    }

    /// Of the four symbols there; `None` where there are fewer before the next value.
    fn hash_at(&self, at: usize) -> Option<usize> {
        let four: &[Symbol; COPY_LENGTH_MIN] = self.symbols.get(at..)?.first_chunk()?;
        let [a, b, c, d] = four.map(u64::from);
        let together = a | b << 16 | c << 32 | d << 48;
        let hash = together.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - HASH_BITS);
        usize::try_from(hash).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::{
            labels::Labels,
            sample::{Point, PointValue, stale_marker},
        },
        wire::remote_write::{Compressor, encode_labels, push_series},
    };

    /// What the plain way makes of it, unpacked.
    fn plain(blobs: &[Vec<u8>], values: &[f64], timestamp_ms: i64) -> Vec<u8> {
        let mut raw = Vec::new();
        for (blob, value) in blobs.iter().zip(values).filter(|(blob, _)| !blob.is_empty()) {
            let value = PointValue::Float(*value);
            let point = Point { value, timestamp_ms, start_ms: None, exemplars: &[] };
            push_series(&mut raw, blob, &point);
        }
        raw
    }

    fn written(skeleton: &Skeleton, values: &[f64], timestamp_ms: i64) -> Fragment {
        let mut bytes = Vec::new();
        skeleton.write(values.iter().copied(), timestamp_ms, &mut bytes);
        Fragment { bytes: bytes.into(), raw_length: skeleton.raw_length() }
    }

    fn check(blobs: &[Vec<u8>], scrapes: &[(Vec<f64>, i64)]) {
        let of = |timestamp_ms| Skeleton::of(blobs.iter().map(Vec::as_slice), timestamp_ms);
        for (values, timestamp_ms) in scrapes {
            let skeleton = of(*timestamp_ms).unwrap();
            assert!(skeleton.takes(*timestamp_ms));
            let expected = plain(blobs, values, *timestamp_ms);
            let fragment = written(&skeleton, values, *timestamp_ms);
            assert_eq!(unpack_all([&fragment]).unwrap(), expected, "at {timestamp_ms}");
            let there = blobs.iter().filter(|blob| !blob.is_empty()).count();
            assert_eq!(skeleton.samples() as usize, there);
            assert_eq!(skeleton.blobs().iter().map(|b| b.to_vec()).collect::<Vec<_>>(), blobs);
        }
    }

    fn blob(pairs: &[(&str, String)]) -> Vec<u8> {
        encode_labels(&pairs.iter().map(|(n, v)| (*n, v.clone())).collect::<Labels>(), None)
    }

    /// Much like what a host exposes.
    fn host(series: usize) -> Vec<Vec<u8>> {
        let one = |n: usize| {
            blob(&[
                ("__name__", format!("node_network_{}_bytes_total", n / 20)),
                ("device", format!("veth{n:06x}")),
                ("instance", "server-117.example.org:9100".to_owned()),
                ("job", "node".to_owned()),
            ])
        };
        (0..series).map(one).collect()
    }

    proptest! {
        #[test]
        fn it_unpacks_to_what_the_plain_way_makes(
            names in prop::collection::vec("[ab]{0,6}|[\\x10\\x00a]{8,20}", 0..40),
            bits in prop::collection::vec(
                prop_oneof![
                    any::<u64>(),
                    Just(0_u64),
                    (0_u16..50).prop_map(|n| f64::from(n).to_bits()),
                    (any::<u64>(), 0_u32..8).prop_map(|(bits, zeros)| bits << (8 * zeros)),
                    Just(stale_marker().to_bits()),
                ],
                40,
            ),
            timestamp_ms in prop_oneof![any::<i64>(), 0_i64..40_000, 1_700_000_000_000_i64..1_900_000_000_000],
        ) {
            let blobs: Vec<Vec<u8>> = names
                .iter()
                .map(|name| if name.is_empty() { Vec::new() } else { blob(&[("__name__", name.clone())]) })
                .collect();
            let values: Vec<f64> = bits.into_iter().map(f64::from_bits).collect();
            let raw = |values: &[f64], at| {
                let skeleton = Skeleton::of(blobs.iter().map(Vec::as_slice), timestamp_ms).unwrap();
                let mut bytes = Vec::new();
                skeleton.write(values.iter().copied(), at, &mut bytes);
                unpack_all([&Fragment { bytes: bytes.into(), raw_length: skeleton.raw_length() }]).unwrap()
            };
            prop_assert_eq!(raw(&values, timestamp_ms), plain(&blobs, &values, timestamp_ms));
        }
    }

    #[test]
    fn labels_of_any_length_and_destinations_that_take_a_part() {
        let long = |length: usize| blob(&[("__name__", "m".repeat(length))]);
        let timestamps = [1, 200, 20_000, 1_795_255_200_000, i64::MAX, -1];
        let scrapes = |n: u32| -> Vec<(Vec<f64>, i64)> {
            timestamps.map(|at| ((0..n).map(|v| f64::from(v) * 1.5).collect(), at)).to_vec()
        };
        check(&[], &scrapes(0));
        check(&[Vec::new()], &scrapes(1));
        check(&[long(1)], &scrapes(1));
        check(&[Vec::new(), long(59), Vec::new(), long(60), long(61), long(300)], &scrapes(6));
        check(&host(200), &scrapes(200));
        check(&[long(30_000), long(30_000)], &scrapes(2));
        let longest = || long(SKELETON_LABELS_MAX - 40);
        check(&[longest(), longest(), longest(), longest()], &scrapes(4));
        let none = [vec![long(70_000)], vec![longest(); 5], host(2_000)];
        for blobs in none {
            assert_eq!(Skeleton::of(blobs.iter().map(Vec::as_slice), 0), None);
        }
    }

    /// Labels, timestamps and values are all copied from within 64 KiB.
    #[test]
    fn what_is_far_back_is_not_copied() {
        let blobs = host(1_400);
        // Zeros at the beginning, then none for long.
        let value =
            |n: u32| if n.is_multiple_of(1_000) { f64::from(n) } else { f64::from(n) + 0.1 };
        check(&blobs, &[((0..1_400).map(value).collect(), 1_795_255_200_000)]);
        assert!(plain(&blobs, &vec![0.0; 1_400], 1).len() > 2 * COPY_DISTANCE_MAX);
    }

    #[test]
    fn a_skeleton_is_hardly_larger_than_what_snappy_makes() {
        let blobs = host(250);
        let values: Vec<f64> = (0..250).map(|n| f64::from(n % 9) * 1000.0).collect();
        let timestamp_ms = 1_795_255_200_000;
        let skeleton = Skeleton::of(blobs.iter().map(Vec::as_slice), timestamp_ms).unwrap();
        let ours = written(&skeleton, &values, timestamp_ms).bytes.len();
        let theirs = Compressor::default().compress(&plain(&blobs, &values, timestamp_ms));
        let theirs = theirs.bytes.len();
        // Snappy copies values as well, which here are nearly all alike.
        assert!(ours <= theirs + theirs / 2, "{ours} instead of {theirs}");
    }
}
