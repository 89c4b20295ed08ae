//! What is pushed, on its way to the members that own it: many series, one sample each, in the form
//! in which the outbox keeps them. And what an owner answers. Pure.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    model::{
        identity::{SeriesKey, TenantKey},
        slot::Slot,
    },
    outbox::lines::{CopyNumber, Numbered},
    wire::remote_write::{Compressor, Packing, unpack},
};

/// The fields of one parcel, unpacked; more go in several. A message with as much, however little it
/// can be packed, is one that the peer channel takes.
pub const FIELDS_BYTES_MAX: usize = 1 << 20;
/// Samples of one parcel.
pub const PIECES_MAX: usize = 16_384;

/// One sample of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    pub series: u64,
    /// Of its value: equal for equal ones.
    pub digest: u64,
    pub timestamp_ms: i64,
    /// Of its field.
    pub bytes: u32,
    pub kind: Kind,
    /// Its field has labels and one value, and nothing else.
    pub is_plain: bool,
    /// Which of the parcel's replicas it is from, counted from 1; 0: of none.
    pub replica: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Float,
    Histogram,
    /// Of a series, without a sample.
    Exemplars,
}

/// One of several that push the same: whose, and which.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Replica {
    pub cluster: Arc<str>,
    pub replica: Arc<str>,
}

/// What a client is told of its samples. Each promises more than those before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Promise {
    /// They are here.
    Memory,
    /// They are on disk.
    #[default]
    Durable,
    /// They are on the disks of two members.
    Replicated,
}

/// Of one tenant and one push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    pub tenant: Arc<str>,
    /// Of the rules that have made these labels of what was pushed.
    pub pipeline: u64,
    pub promise: Promise,
    pub replicas: Vec<Replica>,
    pub pieces: Vec<Piece>,
    /// `timeseries` fields in the order of the pieces, one behind the other.
    pub fields: Bytes,
}

/// What became of a parcel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// All of it is kept, or was before, but for these.
    Kept(Exceptions),
    /// Nothing of it is.
    Refused(Refusal),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exceptions {
    /// By their place in the parcel.
    pub unwanted: Vec<(u32, Unwanted)>,
    /// These slots are not this member's, or not for long.
    pub elsewhere: Vec<Slot>,
}

/// Why a sample is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Unwanted {
    /// Older than the newest of its series.
    Late,
    /// Of the time of the newest of its series, with another value.
    Conflict,
    /// Of a series that is new, where its tenant has as many as it may: later there may be room.
    Limit,
}

/// Why nothing is taken; it may be, later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The queue or the disk has no room.
    Full,
    /// The disk does not work.
    Disk,
    /// This member's rules would have made other labels.
    OtherPipeline,
    /// This member does not know whether it still is one.
    NotNow,
}

/// What goes over the peer channel.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// `fields` of the parcel are packed.
    Push {
        number: u64,
        /// Whoever sent it waits no longer (fleet time): taken later, it could come behind newer
        /// samples that were pushed elsewhere meanwhile.
        until_ms: i64,
        raw_bytes: u32,
        parcel: Parcel,
    },
    Answer {
        number: u64,
        answer: Answer,
    },
    /// What the sender has as its owner is to be kept for the case that it dies. Answered when it is
    /// on disk; where there is no such destination, slots are named as `elsewhere`.
    Copies {
        number: u64,
        destination: Arc<str>,
        records: Vec<Numbered>,
    },
    /// The sender has copies of these: which of them does the owner have no more?
    AskDone {
        destination: Arc<str>,
        numbers: Vec<CopyNumber>,
    },
    /// These.
    Done {
        destination: Arc<str>,
        numbers: Vec<u64>,
    },
    /// Where the sender takes pushes, if it does. It is said again and again.
    Listens {
        url: Option<Arc<str>>,
    },
}

impl Piece {
    pub fn slot(&self, tenant: TenantKey) -> Slot {
        tenant.slot(SeriesKey(self.series))
    }
}

impl Parcel {
    /// Each piece with its field. Ends early where there are not as many bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&Piece, &[u8])> {
        let mut rest = &*self.fields;
        self.pieces.iter().map_while(move |piece| {
            let (field, behind) = rest.split_at_checked(piece.bytes as usize)?;
            rest = behind;
            Some((piece, field))
        })
    }

    /// Whether it is what it says, whoever sent it.
    pub fn is_sound(&self) -> bool {
        let bytes: u64 = self.pieces.iter().map(|piece| u64::from(piece.bytes)).sum();
        let replicas_max = self.pieces.iter().map(|piece| piece.replica).max().unwrap_or(0);
        bytes == self.fields.len() as u64 && usize::from(replicas_max) <= self.replicas.len()
    }

    pub fn replica_of(&self, piece: &Piece) -> Option<&Replica> {
        self.replicas.get(usize::from(piece.replica.checked_sub(1)?))
    }
}

impl Message {
    pub fn push(number: u64, until_ms: i64, parcel: &Parcel) -> Bytes {
        let packed = Compressor::default().body(&parcel.fields);
        let raw_bytes = u32::try_from(parcel.fields.len()).unwrap_or(u32::MAX);
        let parcel = Parcel { fields: packed, ..parcel.clone() };
        Self::Push { number, until_ms, raw_bytes, parcel }.bytes()
    }

    pub fn answer(number: u64, answer: Answer) -> Bytes {
        Self::Answer { number, answer }.bytes()
    }

    /// `None`: of another version, or not whole.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let message = postcard::from_bytes(bytes).ok()?;
        let Self::Push { number, until_ms, raw_bytes, parcel } = message else {
            return Some(message);
        };
        let fields = unpack(&parcel.fields, Packing::Snappy, 2 * FIELDS_BYTES_MAX).ok()?;
        let parcel = Parcel { fields: fields.into(), ..parcel };
        let is_whole = parcel.fields.len() as u64 == u64::from(raw_bytes) && parcel.is_sound();
        is_whole.then_some(Self::Push { number, until_ms, raw_bytes, parcel })
    }

    pub(super) fn bytes(&self) -> Bytes {
        postcard::to_stdvec(self).expect("plain values have a form").into()
    }
}
