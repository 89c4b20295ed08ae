//! What was given up, and why: every sample that does not arrive is counted here under one reason.

/// Why samples left the outbox without being stored, as far as anybody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// More unsent bytes than `outbox.max_bytes`.
    Bytes,
    /// More unsent records than memory keeps references to.
    Records,
    /// Unsent for longer than `outbox.max_age`.
    Age,
    /// Unsent for longer than the destination's `sample_age_limit`.
    SampleAge,
    /// The disk is full, and the oldest had to make room.
    DiskFull,
    /// The disk does not work, and memory holds no more.
    Memory,
    /// What lay on disk can no longer be read.
    Corrupt,
    /// The destination refused this very sample.
    Rejected,
    /// The destination refused a batch, and the search for the bad sample took too long.
    RejectedUnresolved,
    /// Rejected after an attempt of unknown outcome: most likely stored by that one.
    MaybeStored,
    /// The destination refused the request with a status that no repetition changes.
    Refused,
    /// One sample is more than the destination takes.
    TooLarge,
    /// The destination stored the request without them, and said how many.
    NotWritten,
    /// The version of remote write that the destination understands has no way to say them.
    Unsendable,
    /// Taken over when the destination had newer samples of the same series already.
    Late,
    /// The agent ended without a disk to keep it on.
    Stopped,
}

impl Reason {
    pub(super) const ALL: [Self; 16] = [
        Self::Bytes,
        Self::Records,
        Self::Age,
        Self::SampleAge,
        Self::DiskFull,
        Self::Memory,
        Self::Corrupt,
        Self::Rejected,
        Self::RejectedUnresolved,
        Self::MaybeStored,
        Self::Refused,
        Self::TooLarge,
        Self::NotWritten,
        Self::Unsendable,
        Self::Late,
        Self::Stopped,
    ];

    /// The label `reason` of a metric.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bytes => "max_bytes",
            Self::Records => "max_records",
            Self::Age => "max_age",
            Self::SampleAge => "sample_age_limit",
            Self::DiskFull => "disk_full",
            Self::Memory => "memory_full",
            Self::Corrupt => "corrupt",
            Self::Rejected => "rejected",
            Self::RejectedUnresolved => "rejected_unresolved",
            Self::MaybeStored => "maybe_stored",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::NotWritten => "not_written",
            Self::Unsendable => "unsendable",
            Self::Late => "late",
            Self::Stopped => "stopped",
        }
    }
}

/// Losses of one reason since they were last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) reason: Reason,
    pub(super) samples: u64,
    /// When the first and the last of it were scraped.
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
}

/// Gathers losses until they are taken, so that a burst is one line in the log.
#[derive(Debug, Default)]
pub(super) struct Losses(Vec<Loss>);

impl Losses {
    pub(super) fn add(&mut self, reason: Reason, samples: u64, at_ms: i64) {
        if samples > 0 {
            self.merge(Loss { reason, samples, first_ms: at_ms, last_ms: at_ms });
        }
    }

    pub(super) fn merge(&mut self, more: Loss) {
        if let Some(loss) = self.0.iter_mut().find(|loss| loss.reason == more.reason) {
            loss.samples += more.samples;
            loss.first_ms = loss.first_ms.min(more.first_ms);
            loss.last_ms = loss.last_ms.max(more.last_ms);
        } else {
            self.0.push(more);
        }
    }

    pub(super) fn take(&mut self) -> Vec<Loss> {
        std::mem::take(&mut self.0)
    }
}
