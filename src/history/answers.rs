//! What is asked of history, and what it answers: plain values.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    history::{
        entry::{Entry, MemberSeen, Reason},
        event::{Cursor, Event, Kind, NodeRef, TargetRef},
    },
    model::{
        member::NodeId,
        slot::{SLOTS, Slot},
        target::{TargetId, TargetName},
    },
};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// `history.enabled` is false.
    Off,
    /// The file can't be used now, for this reason.
    Fault(String),
    /// It took longer than it may.
    TooSlow,
    /// So many questions wait already that this one would not be answered in time.
    Busy,
    /// A cursor that was not made for this question.
    Cursor,
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => f.write_str("no history is kept, as `history.enabled` is false"),
            Self::Fault(fault) => write!(f, "the history can't be read: {fault}"),
            Self::TooSlow => f.write_str("the history took too long to answer; ask for less"),
            Self::Busy => f.write_str("too many questions wait for the history; ask again"),
            Self::Cursor => f.write_str("the cursor is of another question; begin without one"),
        }
    }
}

/// Which events; all of them by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventFilter {
    /// With it, moves and its coming and going are told of this one target.
    pub target: Option<TargetId>,
    /// Where two jobs have the target in common.
    pub job: Option<Arc<str>>,
    pub node: Option<NodeId>,
    pub kind: Option<Kind>,
    /// From this instant on.
    pub from_ms: Option<i64>,
    /// Until before this one.
    pub until_ms: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventPage {
    /// The newest first.
    pub items: Vec<Event>,
    /// `None` at the end.
    pub next: Option<Cursor>,
}

/// A stretch of time in which a target was one member's, or nobody's.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub owner: Option<NodeRef>,
    pub from_ms: i64,
    /// `None`: until now.
    pub until_ms: Option<i64>,
    /// Why it began.
    pub reason: Reason,
}

/// What is known of one target over time.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetPast {
    pub target: TargetRef,
    pub labels: Vec<(String, String)>,
    pub slot: Option<Slot>,
    /// The oldest first; of a target that is not divided the owners are unknown.
    pub spans: Vec<Span>,
}

/// The fleet as it was at an instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateAt {
    pub at_ms: i64,
    pub members: Vec<MemberAt>,
    /// By job, URL and id.
    pub items: Vec<(TargetRef, Option<NodeRef>)>,
    /// `None` where counting would take too long: with a node asked for.
    pub total: Option<u64>,
    pub next: Option<StateCursor>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MemberAt {
    pub node: NodeRef,
    /// `alive`, `suspect`, `left` or `dead`; `None` where it is not known for then.
    pub state: Option<String>,
    pub slots: u64,
}

/// Where a page of targets ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateCursor {
    pub job: String,
    pub url: String,
    pub number: i64,
}

/// How the file fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreState {
    /// `None`: it works.
    pub fault: Option<String>,
    /// Of the file and the log of changes beside it.
    pub bytes: u64,
    /// When the oldest that it has happened.
    pub oldest_ms: Option<i64>,
}

/// Of each slot the latest move that is known, by its number.
#[derive(Clone, Debug, PartialEq)]
pub struct LastMoves(pub(super) Box<[Option<LastMove>]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastMove {
    pub at_ms: i64,
    pub from: Option<NodeId>,
    pub to: Option<NodeId>,
    pub reason: Reason,
}

impl Default for LastMoves {
    fn default() -> Self {
        Self(vec![None; usize::from(SLOTS)].into())
    }
}

impl LastMoves {
    pub fn of(&self, slot: Slot) -> Option<LastMove> {
        self.0[usize::from(slot.number())]
    }

    /// Who has each slot by them.
    pub fn owners(&self) -> Vec<Option<NodeId>> {
        self.0.iter().map(|last| last.and_then(|last| last.to)).collect()
    }
}

/// A piece of history on its way to another member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    pub rows: Vec<Entry>,
    /// What to ask for next; `None` at the end.
    pub next: Option<After>,
}

/// Where a page of rows ended: within a table, behind a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    pub(super) table: u8,
    pub(super) at_ms: i64,
    pub(super) row: i64,
}

/// What the file knows last, for who has just started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastKnown {
    pub members: Vec<MemberSeen>,
    /// Those that were there.
    pub targets: Vec<TargetName>,
    /// By slot number; empty where no owner was ever known.
    pub owners: Vec<Option<NodeId>>,
}
