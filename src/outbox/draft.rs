//! The next request of a lane, as far as its records are there: which of the first may go together.
//! Pure; part of `lane`.

use hashbrown::HashMap;

use crate::{
    model::slot::StreamKey,
    outbox::{entry::Entry, lane::Rules},
};

/// What a receiver must unpack at once. A record that is larger itself goes alone.
const REQUEST_RAW_BYTES_MAX: u64 = 16 << 20;
/// Rounds of a stream in one request, where the destination is slower than they come.
const ROUNDS_MAX: u32 = 16;

#[derive(Debug, Default)]
pub(super) struct Draft {
    records: usize,
    size: Size,
    newest: HashMap<StreamKey, Newest>,
    /// The next record does not fit, so there is nothing to wait for.
    full: bool,
}

/// What a request, or a part of one, takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    samples: u32,
    bytes: u64,
    raw_bytes: u64,
}

/// What a draft has of a stream.
#[derive(Clone, Copy, Debug)]
struct Newest {
    round: i64,
    appended_ms: i64,
    rounds: u32,
}

impl Draft {
    pub(super) fn records(&self) -> usize {
        self.records
    }

    pub(super) fn size(&self) -> Size {
        self.size
    }

    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    pub(super) fn clear(&mut self) {
        self.newest.clear();
        (self.records, self.size, self.full) = (0, Size::default(), false);
    }

    /// Takes what fits of the first records.
    pub(super) fn extend<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a Entry>,
        rules: &Rules,
        took_ms: i64,
    ) {
        for entry in entries {
            self.consider(entry, rules, took_ms);
            if self.full {
                return;
            }
        }
    }

    /// The record behind those it has; it always takes one, so that nothing is stuck.
    pub(super) fn consider(&mut self, entry: &Entry, rules: &Rules, took_ms: i64) {
        let size = self.size.with(Size::of(entry));
        let newest = match self.newest.get(&entry.stream) {
            None => Some(Newest::of(entry)),
            Some(newest) => newest.followed_by(entry, took_ms),
        };
        let fits = newest.is_some() && size.fits(rules);
        if !fits && self.records > 0 {
            self.full = true;
            return;
        }
        self.newest.extend(newest.map(|newest| (entry.stream, newest)));
        self.size = size;
        self.records += 1;
        self.full = size.fills(rules);
    }
}

impl Size {
    fn of(entry: &Entry) -> Self {
        let (bytes, raw_bytes) = (u64::from(entry.bytes), u64::from(entry.raw_length));
        Self { samples: entry.samples, bytes, raw_bytes }
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self {
            samples: self.samples.saturating_add(other.samples),
            bytes: self.bytes.saturating_add(other.bytes),
            raw_bytes: self.raw_bytes.saturating_add(other.raw_bytes),
        }
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self {
            samples: self.samples.saturating_sub(other.samples),
            bytes: self.bytes.saturating_sub(other.bytes),
            raw_bytes: self.raw_bytes.saturating_sub(other.raw_bytes),
        }
    }

    pub(super) fn fits(self, rules: &Rules) -> bool {
        self.samples <= rules.request_samples_max
            && self.bytes <= rules.request_bytes_max
            && self.raw_bytes <= REQUEST_RAW_BYTES_MAX
    }

    /// There is nothing to wait for.
    pub(super) fn fills(self, rules: &Rules) -> bool {
        self.samples >= rules.request_samples_max
            || self.bytes >= rules.request_bytes_max
            || self.raw_bytes >= REQUEST_RAW_BYTES_MAX
    }
}

impl Newest {
    fn of(entry: &Entry) -> Self {
        Self { round: entry.round, appended_ms: entry.appended_ms, rounds: 1 }
    }

    /// Pieces of a round go together; another round does not, or repeating the request after a lost
    /// answer would bring a strict destination samples older than what it has. Except where requests
    /// take longer than rounds are apart: one at a time would then never catch up, and lose it all.
    fn followed_by(self, entry: &Entry, took_ms: i64) -> Option<Self> {
        if self.round == entry.round {
            return Some(self);
        }
        let waited_ms = entry.appended_ms - self.appended_ms;
        // Rounds that came at once are several samples that one scrape had of its series.
        let apart_ms =
            if waited_ms > 0 { waited_ms.max(entry.round - self.round) } else { i64::MAX };
        let needed = i64::from(ROUNDS_MAX).min(took_ms / apart_ms + 1);
        let fits = took_ms > apart_ms && i64::from(self.rounds) < needed;
        fits.then(|| Self { rounds: self.rounds + 1, ..Self::of(entry) })
    }
}
