//! What becomes of a series on its way to each destination, encoded once a series: `packer` puts the
//! values in.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    config::{Destination, WriteMessage},
    model::{
        labels::{Labels, METRIC_NAME},
        relabel::{self, Rule},
        sample::{Point, PointValue},
    },
    outbox::pile::Tools,
    wire::{
        protobuf::push_varint,
        remote_write::{Metadata, Skeleton, encode_labels},
    },
};

/// Tools for packing that are kept between scrapes; more are made when that many pack at once.
const TOOLS_KEPT_MAX: usize = 16;

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

/// The labels of several series that come again one after the other, as each shaping makes them.
#[derive(Debug)]
pub struct SeriesRun {
    /// One a shaping.
    skeletons: Box<[Skeleton]>,
    series: usize,
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
        blobs.parts(self.shapings.len())
    }

    /// Of series that come again one after the other, at times like this one. `None` where they are
    /// more than one can be.
    pub fn run_of<'a>(
        &self,
        series: impl Iterator<Item = &'a SeriesBlobs> + Clone,
        timestamp_ms: i64,
    ) -> Option<SeriesRun> {
        let skeleton = |number| {
            let blobs = series.clone();
            let blobs = blobs.map(|blobs| self.part(blobs).nth(number).unwrap_or_default());
            Skeleton::of(blobs, timestamp_ms)
        };
        let skeletons = (0..self.shapings.len()).map(skeleton).collect::<Option<_>>()?;
        Some(SeriesRun { skeletons, series: series.count() })
    }

    /// What the run was made of.
    pub fn blobs_of(&self, run: &SeriesRun) -> Vec<SeriesBlobs> {
        let parts: Vec<Vec<Box<[u8]>>> = run.skeletons.iter().map(Skeleton::blobs).collect();
        (0..run.series).map(|n| self.gather(parts.iter().map(|part| &part[n]))).collect()
    }

    /// A longer run finds no room in a batch.
    pub fn run_samples_max(&self) -> usize {
        let each = self.shapings.iter().map(|(shaping, _)| shaping.samples_max);
        each.min().unwrap_or(usize::MAX)
    }

    pub(super) fn each(&self) -> impl ExactSizeIterator<Item = &Shaping> {
        self.shapings.iter().map(|(shaping, _)| shaping)
    }

    pub(super) fn shaping(&self, number: usize) -> &Shaping {
        &self.shapings[number].0
    }

    pub(super) fn users_of(&self, number: usize) -> &[Arc<str>] {
        &self.shapings[number].1
    }

    pub(super) fn borrow_tools(&self) -> Tools {
        let mut kept = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        kept.pop().unwrap_or_default()
    }

    pub(super) fn give_back(&self, tools: Tools) {
        let mut kept = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < TOOLS_KEPT_MAX {
            kept.push(tools);
        }
    }
}

impl Shaping {
    /// Empty where a rule drops the series, or leaves it without a name.
    pub(super) fn encode(&self, labels: &Labels, metadata: Option<&Metadata<'_>>) -> Vec<u8> {
        let metadata = metadata.filter(|_| self.is_v2());
        if self.keeps_labels() {
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
    pub(super) fn part_of<'a>(&self, point: &Point<'a>) -> Option<Point<'a>> {
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

    /// What becomes of the labels is what they are.
    pub(super) fn keeps_labels(&self) -> bool {
        self.external_labels.is_empty() && self.write_relabel.is_empty()
    }

    pub(super) fn is_v2(&self) -> bool {
        match self.message {
            WriteMessage::V1 => false,
            WriteMessage::V2 => true,
        }
    }
}

impl SeriesBlobs {
    /// In bytes, of all shapings.
    pub fn length(&self) -> usize {
        self.0.len()
    }

    /// The blob of each shaping, of which there are `count`.
    #[inline]
    pub(super) fn parts(&self, count: usize) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.0;
        let next = move |_| if count == 1 { Some(rest) } else { next_blob(&mut rest) };
        (0..count).map_while(next)
    }
}

impl SeriesRun {
    /// Whether samples at that time can be put in.
    pub fn takes(&self, timestamp_ms: i64) -> bool {
        self.skeletons.iter().all(|skeleton| skeleton.takes(timestamp_ms))
    }

    /// A skeleton a shaping.
    pub(super) fn skeletons(&self) -> &[Skeleton] {
        &self.skeletons
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
