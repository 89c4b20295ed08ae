//! Who belongs to the fleet, and when each takes its share: what placement is decided from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Chosen at random once and kept on disk: placement hashes it, so it outlives addresses and names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId(pub u128);

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Of the address at which a member takes pushes; longer ones are refused, and not believed of others.
pub const PUSH_URL_BYTES_MAX: usize = 512;

/// Older intervals of a member are forgotten: no tick that old is still to be decided.
pub const INTERVALS_MAX: usize = 4;

/// A stretch of fleet time in which a member takes its share: `from_ms` on, until before `until_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    pub from_ms: i64,
    /// `None` while the member means to stay.
    pub until_ms: Option<i64>,
}

impl Interval {
    pub fn contains(self, instant_ms: i64) -> bool {
        self.from_ms <= instant_ms && self.until_ms.is_none_or(|until| instant_ms < until)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberState {
    Alive,
    /// It has not answered for a while; nobody takes its share yet.
    Suspect,
    /// It said goodbye.
    Left,
    /// It was declared dead, and its last interval closed.
    Dead,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub id: NodeId,
    pub name: String,
    /// Where its admin API answers, as `host:port`.
    pub api_address: String,
    /// Its share of the slots beside the others' weights; 100 is the default, 0 takes none.
    pub weight: u32,
    pub zone: String,
    pub state: MemberState,
    /// In order of time, at most `INTERVALS_MAX`.
    pub intervals: Vec<Interval>,
}

impl Member {
    pub fn is_active_at(&self, instant_ms: i64) -> bool {
        self.intervals.iter().any(|interval| interval.contains(instant_ms))
    }
}

/// All members that are known, dead ones included, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roster {
    pub members: BTreeMap<NodeId, Member>,
    /// Rises with each change that this node saw; tells snapshots apart, not nodes.
    pub version: u64,
}

impl Roster {
    /// Whose interval covers `instant_ms` (fleet time).
    pub fn active_at(&self, instant_ms: i64) -> impl Iterator<Item = &Member> {
        self.members.values().filter(move |member| member.is_active_at(instant_ms))
    }
}
