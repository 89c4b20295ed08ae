//! What there is of a target's series, packed by one owner of the target and unpacked by the next:
//! whom it may write markers for, and with which labels. Pure.
//!
//! Of a series the hash of its labels goes over, by which the new owner knows it again, and the
//! labels as each destination got them. Those it was scraped with are kept nowhere; and a marker has
//! to meet the series where it was stored.

use std::{
    borrow::Cow,
    io::{Read, Write},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use snap::{read::FrameDecoder, write::FrameEncoder};

use crate::{
    outbox::{SeriesBlobs, Shapings},
    scrape::staleness::Kind,
    wire::remote_write::is_labels,
};

/// Of one target, packed: some 100,000 series. What is more is left out, so that it gets no marker
/// if it ends with the move; and is counted.
const PACKED_BYTES_MAX: usize = 4 << 20;
/// No peer makes us unpack more than this.
const RAW_BYTES_MAX: usize = 64 << 20;
/// The compression holds so much back, and may make it a little longer.
const HELD_BACK_BYTES: usize = 128 << 10;

#[derive(Debug, Default, PartialEq)]
pub(super) struct Inventory {
    /// The series about the scrape itself, in their order; empty where one was not written.
    pub(super) reports: Vec<SeriesBlobs>,
    /// By the hash of their labels.
    pub(super) series: Vec<(u64, Kind, SeriesBlobs)>,
}

/// In the order in which they are written.
#[derive(Debug, Serialize, Deserialize)]
enum Item<'a> {
    /// For whom the blobs behind it are, in their order: the destinations of each shaping.
    Users(#[serde(borrow)] Vec<Vec<&'a str>>),
    Report(#[serde(borrow)] Vec<&'a [u8]>),
    Series([u8; 8], #[serde(borrow)] Vec<&'a [u8]>),
    /// The same of one whose values are native histograms.
    HistogramSeries([u8; 8], #[serde(borrow)] Vec<&'a [u8]>),
}

pub(super) struct Writer {
    out: FrameEncoder<Vec<u8>>,
    raw_bytes: usize,
    scratch: Vec<u8>,
    left_out: usize,
    is_empty: bool,
}

impl Writer {
    pub(super) fn new() -> Self {
        let out = FrameEncoder::new(Vec::new());
        Self { out, raw_bytes: 0, scratch: Vec::new(), left_out: 0, is_empty: true }
    }

    pub(super) fn report<'a>(
        &mut self,
        shapings: &Shapings,
        reports: impl Iterator<Item = &'a SeriesBlobs>,
    ) {
        self.users(shapings);
        for blobs in reports {
            self.add(&Item::Report(shapings.part(blobs).collect()));
        }
    }

    pub(super) fn series<'a>(
        &mut self,
        shapings: &Shapings,
        series: impl Iterator<Item = (u64, Kind, Cow<'a, SeriesBlobs>)>,
    ) {
        self.users(shapings);
        for (identity, kind, blobs) in series {
            let (identity, blobs) = (identity.to_le_bytes(), shapings.part(&blobs).collect());
            self.add(&match kind {
                Kind::Float => Item::Series(identity, blobs),
                Kind::Histogram => Item::HistogramSeries(identity, blobs),
            });
        }
    }

    /// And how many series found no room. Of no series it is nothing.
    pub(super) fn finish(self) -> (Bytes, usize) {
        if self.is_empty {
            return (Bytes::new(), 0);
        }
        let packed = self.out.into_inner().expect("memory takes what is written to it");
        (packed.into(), self.left_out)
    }

    fn users(&mut self, shapings: &Shapings) {
        let users = shapings.users().map(names_of).collect();
        self.add(&Item::Users(users));
    }

    fn add(&mut self, item: &Item<'_>) {
        self.is_empty &= matches!(item, Item::Users(_));
        let mut raw = std::mem::take(&mut self.scratch);
        raw.clear();
        raw = postcard::to_extend(item, raw).expect("lists of bytes have a length");
        let written = self.out.get_ref().len() + HELD_BACK_BYTES + 2 * raw.len();
        if written > PACKED_BYTES_MAX || self.raw_bytes + raw.len() > RAW_BYTES_MAX {
            self.left_out += 1;
        } else {
            self.raw_bytes += raw.len();
            self.out.write_all(&raw).expect("memory takes what is written to it");
        }
        self.scratch = raw;
    }
}

impl Inventory {
    /// As the destinations here know the series; matched by the destinations' names.
    pub(super) fn unpack(packed: &[u8], shapings: &Shapings) -> Result<Self, String> {
        let mut raw = Vec::new();
        FrameDecoder::new(packed)
            .take(RAW_BYTES_MAX as u64)
            .read_to_end(&mut raw)
            .map_err(|e| e.to_string())?;
        let mut inventory = Self::default();
        let mut sources = Vec::new();
        let mut rest = raw.as_slice();
        while !rest.is_empty() {
            let (item, behind) = postcard::take_from_bytes(rest).map_err(|e| e.to_string())?;
            rest = behind;
            let blobs_for = |blobs: Vec<&[u8]>| {
                let own = sources.iter().map(|source: &Option<usize>| {
                    let blob = source.and_then(|number| blobs.get(number).copied());
                    blob.filter(|blob| is_labels(blob)).unwrap_or_default()
                });
                shapings.gather(own)
            };
            match item {
                Item::Users(users) => sources = sources_of(shapings, &users),
                Item::Report(blobs) => inventory.reports.push(blobs_for(blobs)),
                Item::Series(identity, blobs) => {
                    let identity = u64::from_le_bytes(identity);
                    inventory.series.push((identity, Kind::Float, blobs_for(blobs)));
                }
                Item::HistogramSeries(identity, blobs) => {
                    let identity = u64::from_le_bytes(identity);
                    inventory.series.push((identity, Kind::Histogram, blobs_for(blobs)));
                }
            }
        }
        Ok(inventory)
    }
}

fn names_of(users: &[Arc<str>]) -> Vec<&str> {
    users.iter().map(|name| &**name).collect()
}

/// For each shaping here the number of the one there that served one of its destinations.
fn sources_of(shapings: &Shapings, users: &[Vec<&str>]) -> Vec<Option<usize>> {
    let source = |own: &[Arc<str>]| {
        let is_shared =
            |theirs: &Vec<&str>| theirs.iter().any(|name| own.iter().any(|o| **o == **name));
        users.iter().position(is_shared)
    };
    shapings.users().map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Destination, model::labels::Labels, scrape::test_job::destination};

    fn shapings(destinations: &[(&str, &str)]) -> Shapings {
        let named = |(name, dc): &(&str, &str)| {
            let base = destination(&[("dc", dc)], String::new());
            Arc::new(Destination {
                name: (*name).into(),
                fleet_name: (*name).into(),
                ..(*base).clone()
            })
        };
        Shapings::of(&destinations.iter().map(named).collect::<Vec<_>>())
    }

    const KINDS: [Kind; 3] = [Kind::Float, Kind::Float, Kind::Histogram];

    fn labels(n: usize) -> Labels {
        [("__name__", "m".to_owned()), ("n", n.to_string())].into_iter().collect()
    }

    /// What there has a series of each kind and a report is unpacked here.
    fn pass(there: &[(&str, &str)], here: &[(&str, &str)]) -> (Shapings, Inventory) {
        let (there, here) = (shapings(there), shapings(here));
        let encoded: Vec<SeriesBlobs> = (0..3).map(|n| there.encode(&labels(n), None)).collect();
        let mut writer = Writer::new();
        writer.report(&there, encoded[..1].iter());
        writer.series(
            &there,
            encoded
                .iter()
                .zip(KINDS)
                .enumerate()
                .skip(1)
                .map(|(n, (b, kind))| (n as u64, kind, Cow::Borrowed(b))),
        );
        let (packed, left_out) = writer.finish();
        assert_eq!(left_out, 0);
        let inventory = Inventory::unpack(&packed, &here).unwrap();
        (here, inventory)
    }

    #[test]
    fn of_one_configuration_the_blobs_are_the_same() {
        for destinations in
            [&[("a", "1")][..], &[("a", "1"), ("b", "2")], &[("a", "1"), ("b", "1")], &[]]
        {
            let (here, inventory) = pass(destinations, destinations);
            assert_eq!(inventory.reports, [here.encode(&labels(0), None)], "{destinations:?}");
            let expected = [1, 2].map(|n| (n as u64, KINDS[n], here.encode(&labels(n), None)));
            assert_eq!(inventory.series, expected, "{destinations:?}");
        }
    }

    #[test]
    fn destinations_are_matched_by_name() {
        // There the labels were others, and markers must meet those.
        for (there, here, expected) in [
            (&[("a", "1"), ("b", "2")][..], &[("b", "2"), ("a", "1")][..], &["2", "1"][..]),
            (&[("a", "1")], &[("a", "7"), ("b", "7")], &["1"]),
            (&[("a", "1"), ("b", "2")], &[("a", "7")], &["1"]),
            (&[("a", "1"), ("b", "1"), ("c", "3")], &[("c", "8"), ("b", "9")], &["3", "1"]),
            (&[("a", "1")], &[("b", "1"), ("a", "2")], &["", "1"]),
        ] {
            let (here, inventory) = pass(there, here);
            for (identity, _, blobs) in &inventory.series {
                let own: Vec<&[u8]> = here.part(blobs).collect();
                let as_made_there = expected.iter().map(|dc| match *dc {
                    "" => Vec::new(),
                    dc => {
                        let mut labels = labels(usize::try_from(*identity).unwrap());
                        labels.set("dc", dc);
                        crate::wire::remote_write::encode_labels(&labels, None)
                    }
                });
                assert_eq!(own, as_made_there.collect::<Vec<_>>(), "{there:?}");
            }
        }
    }

    #[test]
    fn what_is_too_much_is_left_out_and_counted() {
        let here = shapings(&[("a", "1")]);
        let mut writer = Writer::new();
        let noise = |n: usize| xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes());
        let count = 60_000;
        for n in 0..count {
            let hex: String = (0..8)
                .fold(String::new(), |hex, part| hex + &format!("{:016x}", noise(n * 8 + part)));
            let series: Labels = [("__name__", "m"), ("n", &hex)].into_iter().collect();
            let blobs = here.encode(&series, None);
            writer.series(&here, std::iter::once((noise(n), Kind::Float, Cow::Borrowed(&blobs))));
        }
        let (packed, left_out) = writer.finish();
        assert!(packed.len() <= PACKED_BYTES_MAX && packed.len() > PACKED_BYTES_MAX / 2);
        let inventory = Inventory::unpack(&packed, &here).unwrap();
        assert!(left_out > 1_000 && !inventory.series.is_empty(), "{left_out}");
    }

    #[test]
    fn of_no_series_it_is_nothing() {
        let here = shapings(&[("a", "1")]);
        let mut writer = Writer::new();
        writer.report(&here, [].iter());
        writer.series(&here, [].into_iter());
        assert_eq!(writer.finish(), (Bytes::new(), 0));
    }

    #[test]
    fn what_is_damaged_is_told_and_never_stored() {
        let here = shapings(&[("a", "1")]);
        for bad in [&b"garbage"[..], &[0xff, 6, 0, 0], &[]] {
            assert_eq!(Inventory::unpack(bad, &here).is_ok(), bad.is_empty(), "{bad:?}");
        }
        let mut writer = Writer::new();
        writer.series(&here, [].into_iter());
        writer.add(&Item::Series([1; 8], vec![b"no labels"]));
        let (packed, _) = writer.finish();
        let inventory = Inventory::unpack(&packed, &here).unwrap();
        let expected = (u64::from_le_bytes([1; 8]), Kind::Float, SeriesBlobs::default());
        assert_eq!(inventory.series, [expected]);
    }
}
