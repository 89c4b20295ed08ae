//! What is kept: one value for each thing that happened, as the observer makes it, the writer stores
//! it and members send it to each other. Plain; all times are the fleet's.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{
    member::{MemberState, NodeId},
    slot::Slot,
    target::TargetId,
};

/// Of a text that comes from elsewhere (an error, a notice); more is cut off.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// Of what a new configuration changed; more is cut off, and the cut is told.
pub const CHANGES_BYTES_MAX: usize = 16_384;
/// Targets that one entry tells of; more come in several.
pub const ENTRY_TARGETS_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    Member(MemberChange),
    Moves(SlotMoves),
    Targets(TargetsChange),
    Health(HealthChange),
    Config(ConfigVersion),
    Placement(Placement),
    Notice(NoticeChange),
    Drop(SamplesDrop),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberChange {
    pub at_ms: i64,
    pub member: MemberSeen,
    pub step: Step,
    /// What of it has changed, where it is not the step alone.
    pub detail: Option<String>,
}

/// A member as it was after the change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberSeen {
    pub id: NodeId,
    pub name: String,
    pub api_address: String,
    pub weight: u32,
    pub zone: String,
    pub state: MemberState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Step {
    Joined,
    Left,
    Crashed,
    Suspected,
    Recovered,
    /// Its name, address, weight or zone.
    Changed,
}

/// Slots that went the same way at the same instant for the same reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlotMoves {
    pub at_ms: i64,
    /// When it was learnt; of two that contradict each other the one learnt later counts.
    pub recorded_ms: i64,
    pub reason: Reason,
    pub from: Option<NodeId>,
    pub to: Option<NodeId>,
    pub slots: Vec<Slot>,
    /// That hang on these slots, as far as this member knows.
    pub targets: Option<u64>,
}

/// Targets of one job that came or went at once, at most `ENTRY_TARGETS_MAX`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetsChange {
    pub at_ms: i64,
    pub job: Arc<str>,
    pub came: bool,
    pub reason: Reason,
    pub targets: Vec<TargetSeen>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetSeen {
    pub id: TargetId,
    /// Without credentials and parameters.
    pub url: String,
    /// Those that samples get.
    pub labels: Vec<(String, String)>,
    /// `None`: its job is not divided.
    pub slot: Option<Slot>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthChange {
    pub at_ms: i64,
    pub target: TargetId,
    pub job: Arc<str>,
    pub url: String,
    pub is_up: bool,
    pub error: Option<String>,
    /// Who scraped it.
    pub by: NodeId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigVersion {
    pub at_ms: i64,
    pub by: NodeId,
    /// Of what all members must have alike; the one that gossip compares.
    pub digest: u64,
    /// Who or what made it load.
    pub cause: String,
    /// The lines that changed, secrets removed.
    pub changes: String,
    /// Why it was refused, where it was.
    pub refused: Option<String>,
}

/// How many slots each member had from then on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    pub at_ms: i64,
    pub reason: Reason,
    pub shares: Vec<(NodeId, u16)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoticeChange {
    pub at_ms: i64,
    /// Who shows it.
    pub by: NodeId,
    pub about: Option<NodeId>,
    pub kind: String,
    pub text: String,
    /// It is over otherwise.
    pub is_raised: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplesDrop {
    pub at_ms: i64,
    pub by: NodeId,
    pub destination: String,
    pub reason: String,
    pub samples: u64,
}

/// Why a slot or a target is elsewhere than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    Start,
    Join,
    Leave,
    Crash,
    Rebalance,
    Weight,
    Discovered,
    Vanished,
    Config,
    /// It changed while this member did not look.
    Unseen,
}

impl Reason {
    pub const ALL: [Self; 10] = [
        Self::Start,
        Self::Join,
        Self::Leave,
        Self::Crash,
        Self::Rebalance,
        Self::Weight,
        Self::Discovered,
        Self::Vanished,
        Self::Config,
        Self::Unseen,
    ];

    /// The name under which it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Crash => "crash",
            Self::Rebalance => "rebalance",
            Self::Weight => "weight",
            Self::Discovered => "discovered",
            Self::Vanished => "vanished",
            Self::Config => "config",
            Self::Unseen => "unseen",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

impl Step {
    pub const ALL: [Self; 6] =
        [Self::Joined, Self::Left, Self::Crashed, Self::Suspected, Self::Recovered, Self::Changed];

    /// The name under which it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Left => "left",
            Self::Crashed => "crashed",
            Self::Suspected => "suspected",
            Self::Recovered => "recovered",
            Self::Changed => "changed",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }
}

impl Entry {
    pub fn at_ms(&self) -> i64 {
        match self {
            Self::Member(change) => change.at_ms,
            Self::Moves(moves) => moves.at_ms,
            Self::Targets(change) => change.at_ms,
            Self::Health(change) => change.at_ms,
            Self::Config(version) => version.at_ms,
            Self::Placement(placement) => placement.at_ms,
            Self::Notice(change) => change.at_ms,
            Self::Drop(drop) => drop.at_ms,
        }
    }

    /// How many rows it becomes.
    pub fn rows(&self) -> usize {
        match self {
            Self::Moves(moves) => moves.slots.len() + 1,
            Self::Targets(change) => change.targets.len() + 1,
            Self::Member(_)
            | Self::Health(_)
            | Self::Config(_)
            | Self::Placement(_)
            | Self::Notice(_)
            | Self::Drop(_) => 1,
        }
    }
}

/// `text`, with at most `bytes_max` bytes of it; a cut is told.
pub fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let room = bytes_max.saturating_sub('…'.len_utf8());
    let end = (0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::named(reason.name()), Some(reason));
        }
        for step in Step::ALL {
            assert_eq!(Step::named(step.name()), Some(step));
        }
        assert_eq!(Reason::named("no reason"), None);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let check = |text: &str, expected: &str| assert_eq!(cut(text, 8), expected);
        check("12345678", "12345678");
        check("123456789", "12345…");
        check("1234ß6789", "1234…");
    }
}
