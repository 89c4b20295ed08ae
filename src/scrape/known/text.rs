//! How a line is recognised: by a hash of its text. The text itself would be most of what a target
//! costs. And a series, by one of its labels.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{model::labels::Labels, wire::MetricKind};

/// In the place of a sample's context: no sample hashes like a line of metadata.
const METADATA: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scrape) struct TextId {
    pub(super) hash: u64,
    pub(super) length: u32,
}

impl TextId {
    /// Of a sample's name and labels. `context` is what else decides the labels of the line.
    #[inline]
    pub(in crate::scrape) fn of(text: &[u8], context: u8) -> Self {
        Self::hashed(text, u64::from(context))
    }

    /// Of a whole line of metadata.
    #[inline]
    pub(in crate::scrape) fn of_metadata(line: &[u8]) -> Self {
        Self::hashed(line, METADATA)
    }

    pub(in crate::scrape) fn length(self) -> usize {
        self.length as usize
    }

    pub(in crate::scrape) fn hash(self) -> u64 {
        self.hash
    }

    #[inline]
    fn hashed(text: &[u8], seed: u64) -> Self {
        let length = u32::try_from(text.len()).expect("a line has a limit far below");
        Self { hash: xxh3_64_with_seed(text, seed), length }
    }
}

/// What a line is for, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scrape) enum Line {
    /// Of a series, read in this context.
    Series(u8),
    /// A rule drops what it says; read in this context.
    Dropped(u8),
    /// Metadata; `# TYPE` says a kind.
    Metadata(Option<MetricKind>),
}

/// What a target's series are told apart by: of a million of them two are taken for one with a
/// probability of one in 37 million.
pub(in crate::scrape) fn identity_of(labels: &Labels) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
    let half = labels.hash() as u64;
    half
}
