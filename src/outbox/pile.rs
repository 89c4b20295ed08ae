//! A batch that grows: plain bytes, compressed block by block, cut where a batch ends. What `packer`
//! and `press` have in common.

use std::{mem, sync::Arc};

use bytes::Bytes;

use crate::{
    model::{
        batch::{Batch, Signal},
        slot::StreamKey,
    },
    wire::remote_write::Compressor,
};

/// Snappy works block by block, so what fills one can be compressed and forgotten: a scrape of any
/// size needs one block of plain bytes.
const BLOCK_BYTES_MAX: usize = 64 << 10;
/// A batch is cut before it unpacks to more; a single larger series goes alone.
const BATCH_RAW_BYTES_MAX: usize = 4 << 20;
/// Of piles.
const BUFFERS_KEPT_MAX: usize = 8;

/// What packing needs and no target should keep for itself: 100 KB and more.
#[derive(Debug, Default)]
pub(super) struct Tools {
    compressor: Option<Compressor>,
    /// Of piles.
    buffers: Vec<Buffers>,
}

/// Plain and packed.
type Buffers = (Vec<u8>, Vec<u8>);

/// Where a batch comes from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) tenant: Arc<str>,
    pub(super) stream: StreamKey,
    pub(super) round: i64,
    pub(super) since_ms: Option<i64>,
    pub(super) pushed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Pile {
    plain: Vec<u8>,
    /// Fragments, one behind the other.
    pub(super) packed: Vec<u8>,
    /// Of `packed`, unpacked.
    pub(super) raw_length: usize,
    pub(super) samples: usize,
    oldest_ms: i64,
}

impl Tools {
    pub(super) fn pile(&mut self) -> Pile {
        let (plain, packed) = self.buffers.pop().unwrap_or_default();
        Pile::with(plain, packed)
    }

    pub(super) fn keep(&mut self, pile: Pile) {
        let Pile { mut plain, mut packed, .. } = pile;
        plain.clear();
        packed.clear();
        let is_small = plain.capacity().max(packed.capacity()) <= 2 * BLOCK_BYTES_MAX;
        if self.buffers.len() < BUFFERS_KEPT_MAX && is_small {
            self.buffers.push((plain, packed));
        }
    }
}

impl Pile {
    fn with(plain: Vec<u8>, packed: Vec<u8>) -> Self {
        Self { plain, packed, oldest_ms: i64::MAX, ..Self::default() }
    }

    pub(super) fn is_full(&self, samples_max: usize) -> bool {
        self.samples >= samples_max || self.raw_length + self.plain.len() >= BATCH_RAW_BYTES_MAX
    }

    /// Where the next so many plain bytes go.
    #[inline]
    pub(super) fn room_for(&mut self, bytes: usize, tools: &mut Tools) -> &mut Vec<u8> {
        if self.plain.len() + bytes > BLOCK_BYTES_MAX {
            self.compress(tools);
        }
        &mut self.plain
    }

    #[inline]
    pub(super) fn count(&mut self, samples: usize, oldest_ms: i64) {
        self.samples += samples;
        self.oldest_ms = self.oldest_ms.min(oldest_ms);
    }

    pub(super) fn compress(&mut self, tools: &mut Tools) {
        if self.plain.is_empty() {
            return;
        }
        let compressor = tools.compressor.get_or_insert_default();
        compressor.append(&self.plain, &mut self.packed);
        self.raw_length += self.plain.len();
        self.plain.clear();
    }

    /// What has grown becomes a batch, and the pile is empty again.
    pub(super) fn seal(&mut self, tools: &mut Tools, origin: &Origin) -> Option<Batch> {
        self.compress(tools);
        if self.packed.is_empty() {
            return None;
        }
        let Origin { tenant, stream, round, since_ms, pushed } = origin;
        let batch = Batch {
            signal: Signal::Metrics,
            tenant: Arc::clone(tenant),
            stream: *stream,
            round: *round,
            since_ms: *since_ms,
            pushed: *pushed,
            samples: u32::try_from(self.samples).expect("a batch is cut long before"),
            oldest_ms: self.oldest_ms,
            raw_length: u32::try_from(self.raw_length).expect("a batch is cut long before"),
            bytes: Bytes::copy_from_slice(&self.packed),
        };
        self.packed.clear();
        *self = Self::with(mem::take(&mut self.plain), mem::take(&mut self.packed));
        Some(batch)
    }
}
