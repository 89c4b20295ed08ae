//! What the owner of the slots tells a destination's queue: which records may leave, which are given
//! to another member, which are taken over. The records of one slot make a line, sorted by name.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::model::{
    batch::Batch,
    member::NodeId,
    record::{Record, RecordName, Sent},
    slot::{Slot, StreamKey},
};

/// Obeyed in the order in which they are given. Of batches that are not divided none is concerned.
#[derive(Debug)]
pub enum LineOrder {
    /// Records of ownerships that began before `before_ms` may be sent, the others wait. Until it is
    /// said of a slot, all of it waits.
    Open { slot: Slot, before_ms: i64 },
    /// Nothing of the slot is sent until it is opened again.
    Close { slot: Slot },
    /// Closes the line, lets a request under way come to its end, sets aside what is left and says
    /// what that is. What was appended before this order is part of it.
    Extract { slot: Slot, answer: oneshot::Sender<Extracted> },
    /// What was set aside, or was to be, is here to stay; it leaves when the line is opened.
    PutBack { slot: Slot },
    /// These were handed over: that is written to disk, then they are deleted.
    Bury { slot: Slot, names: Vec<RecordName> },
    /// The batches of those that are set aside, as far as they can be had.
    Read { slot: Slot, names: Vec<RecordName>, answer: oneshot::Sender<Vec<Numbered>> },
    /// What must be known before records are taken over. A request under way with records of the
    /// slot comes to its end first, and no other is made before the line is opened again.
    Look { slot: Slot, streams: Vec<StreamKey>, answer: oneshot::Sender<Look> },
    /// Takes records over. Answered when it is on disk; `false` where the disk did not take it, and
    /// then nothing has changed.
    Store { slot: Slot, stored: Stored, answer: oneshot::Sender<bool> },
    /// Keeps copies of what the owner has, for the case that it dies. Answered as `Store` is.
    Keep { slot: Slot, owner: NodeId, records: Vec<Numbered>, answer: oneshot::Sender<bool> },
    /// The slot is another's and all of it was given: what is known of its streams is of no use.
    Forget { slot: Slot },
    /// Slots that have records, in order.
    Slots { answer: oneshot::Sender<Vec<Slot>> },
    /// `true`: nothing divided is sent at all, until told otherwise.
    Hold(bool),
    /// What becomes of the copies of those who are gone.
    Inherit { heirloom: Heirloom, answer: oneshot::Sender<Inherited> },
    /// What the owners of the copies that are here are to be asked about next, by the slot and the
    /// number that it has there.
    Copies { answer: oneshot::Sender<Vec<CopiesOf>> },
    /// Which of these, that the other member has copies of, this one has no more, be it sent, dropped or
    /// given.
    Done { by: NodeId, asked: Vec<CopyNumber>, answer: oneshot::Sender<Vec<u64>> },
    /// The owner has no use any more for the copies of these numbers there.
    Discard { owner: NodeId, numbers: Vec<u64> },
    /// The other member has copies of these.
    Copied { by: NodeId, numbers: Vec<CopyNumber> },
    /// What was pushed and is unsent, and of which none of these members is known to have a copy.
    Uncopied { keepers: BTreeSet<NodeId>, answer: oneshot::Sender<Uncopied> },
    /// Records of these numbers, as far as they can be had.
    Fetch { slot: Slot, numbers: Vec<u64>, answer: oneshot::Sender<Vec<Numbered>> },
}

/// A record that another member has a copy of: its slot, and its number at the owner.
pub type CopyNumber = (Slot, u64);

/// An owner, and copies of what it has.
pub type CopiesOf = (NodeId, Vec<CopyNumber>);

pub type NamedBatch = (RecordName, Batch);

/// A record with its number at its owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbered {
    pub number: u64,
    pub name: RecordName,
    pub batch: Batch,
}

/// What is on one disk alone.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Uncopied {
    /// Some of it, each with how many bytes it has.
    pub next: Vec<(CopyNumber, u32)>,
    /// Of all of it.
    pub samples: u64,
}

/// What decides which copies are records like all others from now on: those of owners that are
/// neither living nor have left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heirloom {
    pub living: BTreeSet<NodeId>,
    /// They have given what they had to others: their copies are deleted.
    pub left: BTreeSet<NodeId>,
    /// Dead once, when the last record here had this number: what was their copy then is none.
    pub were_dead: Vec<(NodeId, u64)>,
}

/// Copies that have become records of their lines.
#[derive(Debug, Default, PartialEq)]
pub struct Inherited {
    pub names: Vec<(Slot, RecordName)>,
    /// Those of the owners that are dead now.
    pub dead: BTreeSet<NodeId>,
    /// The number of the last record here.
    pub last: u64,
}

#[derive(Debug, Default, PartialEq)]
pub struct Extracted {
    /// Sorted by name.
    pub records: Vec<Record>,
    pub sent: Vec<Sent>,
}

#[derive(Debug, Default, PartialEq)]
pub struct Look {
    /// A part of a hand-over fits into what the queue has for its own samples.
    pub has_room: bool,
    /// It fits, at least into what the queue keeps free for that.
    pub has_reserve: bool,
    /// How much older than the newest a sample may be that the destination still takes.
    pub window_ms: i64,
    /// Of the streams asked for, those of which anything was sent.
    pub sent: Vec<Sent>,
}

#[derive(Debug, Default, PartialEq)]
pub struct Stored {
    /// Each goes into its place, unless one of its name is there.
    pub records: Vec<(RecordName, Batch)>,
    /// Samples that came too late to be of use: counted as lost.
    pub late_samples: u64,
    /// Sent by another: deleted if they are here.
    pub gone: Vec<RecordName>,
    /// What others know to be at the destination. Records here that are too old beside it are late.
    pub sent: Vec<Sent>,
}
