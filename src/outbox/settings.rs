//! What the configuration means for one destination's queue, and the bounds that it does not name.

use std::time::Duration;

use crate::{
    config::{Destination, OutboxSettings, WhenFull},
    outbox::lane::{REQUEST_BYTES_MAX, Rules},
};

/// Unsent records of a destination; each takes 64 bytes of memory, and beyond it the oldest goes.
const RECORDS_MAX: usize = 1 << 22;
/// Batches of a destination that are in memory alone, where the disk does not take them.
const MEMORY_BYTES_MAX: u64 = 64 << 20;
/// Batches that are on disk and stay in memory; of what does not fit the youngest are read back. A
/// destination that is down for long costs no more memory than that, and one that answers within
/// seconds costs no reading: it holds a few full requests.
const WRITTEN_BYTES_MAX: u64 = 4 << 20;
/// A tenant that the destination refuses is tried again after so many of the longest backoff: every
/// 30 s, where nothing else is configured.
const HOLD_BACKOFFS: i64 = 6;
/// At the end, how long sending may go on.
const GRACE: Duration = Duration::from_secs(5);
pub(super) const SEGMENT_BYTES_MAX: u64 = 16 << 20;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) limits: Limits,
    pub(super) rules: Rules,
    pub(super) free_bytes_min: u64,
    pub(super) grace: Duration,
}

/// The bounds of a queue; what happens at each is said in `loss`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Limits {
    pub(super) lanes: u16,
    pub(super) in_flight_max: usize,
    /// Unsent, in memory or on disk.
    pub(super) bytes_max: u64,
    pub(super) records_max: usize,
    /// Batches in memory alone.
    pub(super) memory_bytes_max: u64,
    /// Batches in memory that are on disk as well: beyond it, they are on disk alone.
    pub(super) written_bytes_max: u64,
    /// 0 is no limit, in both.
    pub(super) age_ms_max: i64,
    pub(super) sample_age_ms_max: i64,
    /// So much older than what was sent of its stream may a record be that is taken over.
    pub(super) late_ms_max: i64,
    /// How long a tenant is left alone whom the destination refuses.
    pub(super) hold_ms: i64,
    pub(super) drops_oldest: bool,
}

impl Settings {
    pub(super) fn of(outbox: &OutboxSettings, destination: &Destination) -> Self {
        let queue = &destination.queue;
        Self {
            limits: Limits {
                lanes: outbox.lanes.max(1),
                in_flight_max: outbox.in_flight_max.max(1),
                bytes_max: outbox.bytes_max,
                records_max: RECORDS_MAX,
                memory_bytes_max: MEMORY_BYTES_MAX.min(outbox.bytes_max),
                written_bytes_max: WRITTEN_BYTES_MAX.min(outbox.bytes_max),
                age_ms_max: ms(outbox.age_max),
                sample_age_ms_max: ms(queue.sample_age_limit),
                late_ms_max: ms(destination.out_of_order_window),
                hold_ms: ms(queue.max_backoff).saturating_mul(HOLD_BACKOFFS),
                drops_oldest: match outbox.when_full {
                    WhenFull::DropOldest => true,
                    WhenFull::PushBack => false,
                },
            },
            rules: Rules {
                request_samples_max: u32::try_from(queue.samples_per_send_max).unwrap_or(u32::MAX),
                request_bytes_max: REQUEST_BYTES_MAX,
                deadline_ms: ms(queue.batch_send_deadline),
                backoff_min_ms: ms(queue.min_backoff),
                backoff_max_ms: ms(queue.max_backoff),
            },
            free_bytes_min: outbox.free_disk_bytes_min,
            grace: GRACE,
        }
    }
}

/// A century is as good as for ever, and can be added to any instant.
pub(super) fn ms(duration: Duration) -> i64 {
    const CENTURY_MS: i64 = 100 * 365 * 86_400_000;
    i64::try_from(duration.as_millis()).unwrap_or(CENTURY_MS).min(CENTURY_MS)
}
